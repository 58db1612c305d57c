//! `[api]`: where a vendor's API is, and with which credentials a source asks it.
//!
//! The address is the connector's or the operator's alone; nothing of an event gets into it. Secrets stay
//! typed until a request goes out.

use std::num::NonZeroUsize;
use std::time::Duration;

use url::Url;

use super::field::{Checked, Field};
use super::reader::{Reader, Text};
use crate::model::Secret;

/// Requests per second, unless the connector says otherwise.
const RATE: f64 = 5.0;
/// Requests at a time.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
const TIMEOUT: Duration = Duration::from_secs(10);

/// A vendor's API, as one source asks it.
#[derive(Debug, Clone)]
pub struct Api {
    /// What every path is put behind, without a slash at its end.
    pub base: Url,
    /// Requests per second on the long run. Default 5.
    pub rate: f64,
    /// Requests in flight at a time. Default 4.
    pub concurrency: NonZeroUsize,
    /// From sending a request to the end of its answer. Default 10 seconds.
    pub timeout: Duration,
    /// How requests are authenticated.
    pub auth: ApiAuth,
}

/// How requests to an API are authenticated.
#[derive(Debug, Clone)]
pub enum ApiAuth {
    /// Not at all: the connector asks for nothing.
    Open,
    /// The operator set no credentials: nothing is asked. The text says which settings would help.
    NotSet(String),
    /// A header, whole value.
    Header(String, Secret),
    /// A parameter of the query.
    Query(String, Secret),
    /// User and password.
    Basic(Secret, Secret),
    /// Tokens from a token endpoint.
    OAuth2(Box<OAuth2>),
}

/// What tokens are asked for with (RFC 6749).
#[derive(Debug, Clone)]
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: Url,
    /// The client.
    pub client_id: Secret,
    /// Its secret.
    pub client_secret: Secret,
    /// Set: the refresh token grant (section 6); else client credentials (section 4.4).
    pub refresh_token: Option<Secret>,
    /// What is asked for, if the connector says.
    pub scope: Option<String>,
    /// Where the client's credentials stand (section 2.3.1).
    pub client_auth: ClientAuth,
}

/// Where the client's credentials stand in a token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Among the form's fields.
    Body,
    /// As HTTP Basic authentication.
    Basic,
}

impl ApiAuth {
    /// Every secret in it, to be taken out of what is shown.
    pub fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Open | Self::NotSet(_) => Vec::new(),
            Self::Header(_, secret) | Self::Query(_, secret) => vec![secret],
            Self::Basic(user, password) => vec![user, password],
            Self::OAuth2(oauth) => {
                let client = [&oauth.client_id, &oauth.client_secret];
                client.into_iter().chain(&oauth.refresh_token).collect()
            }
        }
    }
}

impl Api {
    /// Reads `[api]`. `None`: a mistake was reported.
    pub(super) fn read(reader: Reader<'_>, fields: &[Field], settings: &Checked) -> Option<Self> {
        let base = reader.required("url", "\"https://api.example.com\"");
        let base = base.and_then(|text| read_url(&reader, &text));
        let rate = reader.number::<u32>("rate");
        let concurrency = reader.number("concurrency");
        let timeout = reader.duration("timeout");
        let timeout = timeout.and_then(|(timeout, _)| Duration::try_from(timeout).ok());
        let auth = read_auth(&reader, fields, settings);
        reader.finish();
        Some(Self {
            base: base?,
            rate: rate.map_or(RATE, |rate| f64::from(rate.max(1))),
            concurrency: concurrency
                .and_then(NonZeroUsize::new)
                .unwrap_or(CONCURRENCY),
            timeout: timeout.unwrap_or(TIMEOUT),
            auth: auth?,
        })
    }
}

fn read_url(reader: &Reader<'_>, text: &Text) -> Option<Url> {
    let url = text.value.trim_end_matches('/').parse::<Url>().ok();
    let usable = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
    };
    let url = url.filter(usable);
    if url.is_none() {
        reader.log.error_with_help(
            text.span.clone(),
            format!("`{}` is not the address of an API", text.value),
            "write for example `https://api.example.com`, without a query",
        );
    }
    url
}

/// The first way whose fields are all set.
fn read_auth(reader: &Reader<'_>, fields: &[Field], settings: &Checked) -> Option<ApiAuth> {
    let ways = reader.children("auth");
    if ways.is_empty() {
        return (!reader.has("auth")).then_some(ApiAuth::Open);
    }
    let mut chosen = None;
    let mut lacking = Vec::new();
    let mut sound = true;
    for way in ways {
        let way = Way {
            reader: way,
            fields,
            settings,
            lacking: Vec::new(),
            sound: true,
        };
        match way.read() {
            Err(Mistaken) => sound = false,
            Ok(Ok(auth)) => chosen = chosen.or(Some(auth)),
            Ok(Err(fields)) => lacking.push(fields.join(" and ")),
        }
    }
    let not_set = || {
        let ways = lacking.join(", or ");
        ApiAuth::NotSet(format!("set {ways} at the source to have it made"))
    };
    sound.then(|| chosen.unwrap_or_else(not_set))
}

/// A mistake was reported.
struct Mistaken;

/// One `[[api.auth]]`.
struct Way<'a> {
    reader: Reader<'a>,
    fields: &'a [Field],
    settings: &'a Checked,
    /// Fields without a value.
    lacking: Vec<String>,
    sound: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Bearer,
    Header,
    Query,
    Basic,
    OAuth2,
}

impl Way<'_> {
    /// `Err` inside: the fields that are not set.
    fn read(mut self) -> Result<Result<ApiAuth, Vec<String>>, Mistaken> {
        let kinds = [
            ("bearer", Kind::Bearer),
            ("header", Kind::Header),
            ("query", Kind::Query),
            ("basic", Kind::Basic),
            ("oauth2", Kind::OAuth2),
        ];
        if !self.reader.has("kind") {
            self.reader.missing("kind", "\"bearer\"");
        }
        let kind = self.reader.choice("kind", &kinds).ok_or(Mistaken)?;
        let auth = match kind {
            Kind::Bearer => self
                .value("secret")
                .map(|token| ApiAuth::Header("authorization".to_owned(), bearer(&token))),
            Kind::Header => self.named(ApiAuth::Header),
            Kind::Query => self.named(ApiAuth::Query),
            Kind::Basic => {
                let user = self.value("user");
                let password = match self.reader.has("password") {
                    true => self.value("password"),
                    false => Some(Secret::new("")),
                };
                user.zip(password)
                    .map(|(user, password)| ApiAuth::Basic(user, password))
            }
            Kind::OAuth2 => self.oauth2(),
        };
        self.reader.finish();
        match auth {
            Some(auth) if self.sound => Ok(Ok(auth)),
            None if self.sound => Ok(Err(self.lacking)),
            _ => Err(Mistaken),
        }
    }

    /// A header or a parameter with a name.
    fn named(&mut self, make: fn(String, Secret) -> ApiAuth) -> Option<ApiAuth> {
        let name = self.reader.required("name", "\"x-api-key\"");
        self.sound &= name.is_some();
        let value = self.value("secret");
        let name = name?.value;
        value.map(|value| make(name, value))
    }

    fn oauth2(&mut self) -> Option<ApiAuth> {
        let token_url = self
            .reader
            .required("token_url", "\"https://…/oauth/token\"");
        let token_url = token_url.and_then(|text| read_url(&self.reader, &text));
        self.sound &= token_url.is_some();
        let client_id = self.value("client_id");
        let client_secret = self.value("client_secret");
        let refresh_token = match self.reader.has("refresh_token") {
            true => self.value("refresh_token").map(Some),
            false => Some(None),
        };
        let scope = self.reader.text("scope").map(|text| text.value);
        let places = [("body", ClientAuth::Body), ("basic", ClientAuth::Basic)];
        let client_auth = self.reader.choice("client_auth", &places);
        Some(ApiAuth::OAuth2(Box::new(OAuth2 {
            token_url: token_url?,
            client_id: client_id?,
            client_secret: client_secret?,
            refresh_token: refresh_token?,
            scope,
            client_auth: client_auth.unwrap_or(ClientAuth::Body),
        })))
    }

    /// The value of the field that `key` names.
    fn value(&mut self, key: &'static str) -> Option<Secret> {
        let Some(field) = self.reader.required(key, "\"api_key\"") else {
            self.sound = false;
            return None;
        };
        if !self.fields.iter().any(|known| known.key == field.value) {
            let message = format!("there is no field `{}`", field.value);
            let help = "declare it with [[field]]";
            self.reader.log.error_with_help(field.span, message, help);
            self.sound = false;
            return None;
        }
        let value = self.settings.values_of(&field.value).into_iter().next();
        let value = value.filter(|value| !value.is_empty());
        if value.is_none() {
            self.lacking.push(format!("`{}`", field.value));
        }
        value
    }
}

/// The value of an `Authorization` header with a bearer token.
pub(crate) fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose().trim()))
}
