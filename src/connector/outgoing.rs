//! A request as a template: method, URL, headers, JSON body, signature.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha2::Sha256;

use super::field::Checked;
use super::outbound::{PreparedRequest, RenderError, RenderInput, Roots};
use super::reader::{Reader, plain_json};
use crate::mapping::{Datum, Notes, Path, Scope, Template, is_nothing};

/// What requests may be made of.
const ROOTS: [&str; 4] = ["outcome", "setting", "receipt", "target"];

/// The key whose object's members are put side by side with the others.
const SPREAD: &str = "...";

/// See the module.
pub(super) struct RequestTemplate {
    method: String,
    /// The first whose parts are all known is used.
    urls: Vec<UrlTemplate>,
    /// The last URL that was made: most destinations have but one.
    last_url: Mutex<Option<(String, url::Url)>>,
    headers: Vec<(String, Template)>,
    body: Option<BodyTemplate>,
    /// The key for Standard Webhooks signatures.
    signing_key: Option<Vec<u8>>,
}

/// A URL, cut at `{target}`, which is put in as it is.
struct UrlTemplate(Vec<Template>);

pub(super) enum BodyTemplate {
    Text(Template),
    List(Vec<BodyTemplate>),
    Object(Vec<(String, BodyTemplate)>),
    Fixed(Value),
}

impl RequestTemplate {
    pub(super) fn read(reader: Reader<'_>, settings: &Checked) -> Option<Self> {
        let method = reader.required("method", "\"POST\"");
        let urls = reader.texts("url");
        if !reader.has("url") {
            reader.missing("url", "\"{setting.url}\"");
        }
        let urls: Option<Vec<_>> = urls
            .into_iter()
            .map(|url| {
                let pieces = url.value.split("{target}");
                pieces
                    .map(|piece| reader.parse_template(piece, url.span.clone(), &ROOTS))
                    .collect::<Option<Vec<_>>>()
                    .map(UrlTemplate)
            })
            .collect();
        let headers = read_headers(&reader, &ROOTS);
        let body = BodyTemplate::read_object(&reader, &ROOTS);
        let signing_key = read_signing(&reader, settings);
        reader.finish();
        Some(Self {
            method: method?.value.to_ascii_uppercase(),
            urls: urls?,
            last_url: Mutex::default(),
            headers: headers?,
            body: body?,
            signing_key: signing_key?,
        })
    }

    /// Every path that it reads.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let urls = self.urls.iter().flat_map(|url| &url.0);
        let headers = self.headers.iter().map(|(_, value)| value);
        let body = self.body.iter().flat_map(BodyTemplate::paths);
        urls.chain(headers).flat_map(Template::paths).chain(body)
    }

    pub(super) fn render(
        &self,
        scope: &Roots<'_>,
        input: RenderInput<'_>,
    ) -> Result<PreparedRequest, RenderError> {
        let url = self.url(scope, input.target)?;
        let mut headers: Vec<(String, String)> = Vec::with_capacity(self.headers.len() + 4);
        for (name, value) in &self.headers {
            if let Some(value) = value.text(scope) {
                headers.push((name.clone(), value));
            }
        }
        let body = self.body.as_ref().map(|body| body.to_json(scope));
        let has_type = headers.iter().any(|(name, _)| name == "content-type");
        if body.is_some() && !has_type {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let body = Bytes::from(body.unwrap_or_default());
        if let Some(key) = &self.signing_key {
            sign(key, &mut headers, &body, input);
        }
        Ok(PreparedRequest {
            method: self.method.clone(),
            url,
            headers,
            body,
            shown: String::new(),
        })
    }

    fn url(&self, scope: &Roots<'_>, target: &str) -> Result<url::Url, RenderError> {
        let mut missing = Vec::new();
        for template in &self.urls {
            match template.render(scope, target) {
                Ok(text) => return self.parsed(text),
                Err(lacking) => missing.extend(lacking),
            }
        }
        Err(RenderError::Missing(missing.join(" and ")))
    }

    fn parsed(&self, text: String) -> Result<url::Url, RenderError> {
        let mut last = self.last_url.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, url)) = last.as_ref().filter(|(known, _)| *known == text) {
            return Ok(url.clone());
        }
        let parsed = text.parse::<url::Url>();
        let url = parsed.map_err(|error| RenderError::Url(error.to_string()))?;
        *last = Some((text, url.clone()));
        Ok(url)
    }
}

impl UrlTemplate {
    fn render(&self, scope: &Roots<'_>, target: &str) -> Result<String, Vec<String>> {
        let mut url = String::new();
        for (at, piece) in self.0.iter().enumerate() {
            if at > 0 {
                url.push_str(target);
            }
            let begins = url.is_empty();
            // A value at the very start is a base URL.
            let part = piece.complete(scope, &|value, text| {
                if begins && text.is_empty() {
                    text.push_str(value.trim_end_matches('/'));
                } else {
                    encoded_part(value, text);
                }
            })?;
            url.push_str(&part);
        }
        Ok(url)
    }
}

impl BodyTemplate {
    /// The table `body` of a request. `Some(None)`: there is none. `None`: a mistake was reported.
    #[expect(
        clippy::option_option,
        reason = "a mistake and no body are different things"
    )]
    pub(super) fn read_object(reader: &Reader<'_>, roots: &[&str]) -> Option<Option<Self>> {
        let Some(body) = reader.child("body") else {
            return (!reader.has("body")).then_some(None);
        };
        let members = body.entries().into_iter();
        members
            .map(|(key, value)| Some((key.value, Self::read(&body, value, roots)?)))
            .collect::<Option<Vec<_>>>()
            .map(|members| Some(Self::Object(members)))
    }

    fn read(
        reader: &Reader<'_>,
        value: &toml::Spanned<toml::de::DeValue<'_>>,
        roots: &[&str],
    ) -> Option<Self> {
        use toml::de::DeValue;
        match value.get_ref() {
            DeValue::String(text) => reader
                .parse_template(text, value.span(), roots)
                .map(Self::Text),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| Self::read(reader, item, roots));
                items.collect::<Option<Vec<_>>>().map(Self::List)
            }
            DeValue::Table(table) => {
                let members = table.iter().map(|(key, item)| {
                    let key = key.get_ref().clone().into_owned();
                    Some((key, Self::read(reader, item, roots)?))
                });
                members.collect::<Option<Vec<_>>>().map(Self::Object)
            }
            other => Some(Self::Fixed(plain_json(other))),
        }
    }

    /// The body as JSON text; `{}` when nothing of it is known.
    pub(super) fn to_json(&self, scope: &dyn Scope) -> String {
        let mut text = Vec::with_capacity(2048);
        if !self.write(scope, &mut text) {
            text.extend_from_slice(b"{}");
        }
        String::from_utf8(text).expect("JSON is text")
    }

    /// Writes it as JSON. `false` when nothing of it is known: then nothing was written. Gives the same text as
    /// [`BodyTemplate::render`], without a copy of every value on the way.
    fn write(&self, scope: &dyn Scope, text: &mut Vec<u8>) -> bool {
        let start = text.len();
        let is_known = match self {
            Self::Text(template) => match template.evaluate(scope, &mut Notes::silent()) {
                Some(Datum::Json(value)) => append(text, value),
                Some(Datum::Text(value)) => append(text, &value),
                Some(other) => {
                    let value = other.into_json();
                    !is_nothing(&value) && append(text, &value)
                }
                None => false,
            },
            Self::Object(members) if members.iter().all(|(key, _)| key != SPREAD) => {
                let mut mark = b'{';
                for (key, member) in members {
                    let before = text.len();
                    text.push(mark);
                    append(text, key);
                    text.push(b':');
                    if member.write(scope, text) {
                        mark = b',';
                    } else {
                        text.truncate(before);
                    }
                }
                text.push(b'}');
                mark == b','
            }
            other => other
                .render(scope)
                .is_some_and(|value| append(text, &value)),
        };
        if !is_known {
            text.truncate(start);
        }
        is_known
    }

    /// What it needs and is not there, as written.
    pub(super) fn lacking(&self, scope: &dyn Scope) -> Vec<String> {
        match self {
            Self::Text(template) => {
                let is_whole = |value: Value| value.is_array() || value.is_object();
                match template.complete(scope, &|value, text| text.push_str(value)) {
                    Err(missing) if !template.value(scope).is_some_and(is_whole) => missing,
                    _ => Vec::new(),
                }
            }
            Self::List(items) => items.iter().flat_map(|item| item.lacking(scope)).collect(),
            Self::Object(members) => {
                let members = members.iter().map(|(_, member)| member);
                members.flat_map(|member| member.lacking(scope)).collect()
            }
            Self::Fixed(_) => Vec::new(),
        }
    }

    /// Every path that it reads.
    pub(super) fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Text(template) => template.paths().collect(),
            Self::List(items) => items.iter().flat_map(Self::paths).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, m)| m.paths()).collect(),
            Self::Fixed(_) => Vec::new(),
        }
    }

    /// `None` when nothing of it is known: then it is left out.
    fn render(&self, scope: &dyn Scope) -> Option<Value> {
        let value = match self {
            Self::Fixed(value) => return Some(value.clone()),
            Self::Text(template) => template.value(scope)?,
            Self::List(items) => items.iter().filter_map(|item| item.render(scope)).collect(),
            Self::Object(members) => render_members(members, scope).into(),
        };
        (!is_nothing(&value)).then_some(value)
    }
}

/// Appends a value as JSON.
fn append<T: serde::Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) -> bool {
    serde_json::to_writer(text, value).is_ok()
}

/// What stands before the name of a member that was put in, where the object has a member of that name already.
const TAKEN: &str = "metadata_";

/// `"..." = "{outcome.metadata}"` puts the members of another object in. Where the object has a member of that name already,
/// the other one is called `metadata_NAME`, so that neither is lost.
fn render_members(members: &[(String, BodyTemplate)], scope: &dyn Scope) -> Map<String, Value> {
    let mut object = Map::new();
    let mut spread = Map::new();
    for (key, member) in members {
        match member.render(scope) {
            Some(Value::Object(inner)) if key == SPREAD => spread = inner,
            Some(value) if key != SPREAD => {
                object.insert(key.clone(), value);
            }
            _ => {}
        }
    }
    let (taken, free): (Vec<_>, Vec<_>) = spread
        .into_iter()
        .partition(|(key, _)| object.contains_key(key));
    object.extend(free);
    for (key, value) in taken {
        object.entry(format!("{TAKEN}{key}")).or_insert(value);
    }
    object
}

/// The table `headers` of a request, names in lower case. `None`: a mistake was reported.
pub(super) fn read_headers(reader: &Reader<'_>, roots: &[&str]) -> Option<Vec<(String, Template)>> {
    let Some(headers) = reader.child("headers") else {
        return Some(Vec::new());
    };
    let entries = headers.entries().into_iter();
    entries
        .map(|(name, value)| {
            let Some(text) = value.get_ref().as_str() else {
                headers.log.error(value.span(), "a header has to be text");
                return None;
            };
            let template = headers.parse_template(text, value.span(), roots)?;
            Some((name.value.to_ascii_lowercase(), template))
        })
        .collect()
}

/// `Some(None)`: not signed. `None`: a mistake was reported.
fn read_signing(reader: &Reader<'_>, settings: &Checked) -> Option<Option<Vec<u8>>> {
    let sign = reader.choice("sign", &[("standard-webhooks", ())]);
    let field = reader.text("secret");
    let (Some(()), Some(field)) = (sign, &field) else {
        if sign.is_some() {
            reader.missing("secret", "\"signing_secret\"");
            return None;
        }
        return (!reader.has("sign")).then_some(None);
    };
    let Some(secret) = settings.values_of(&field.value).into_iter().next() else {
        return Some(None);
    };
    let text = secret.expose().trim();
    match STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)) {
        Ok(key) if !key.is_empty() => Some(Some(key)),
        _ => {
            reader.log.error_with_help(
                field.span.clone(),
                format!("the value of `{}` is not base64", field.value),
                "Standard Webhooks secrets are `whsec_` and base64 of 24 to 64 bytes, e.g. from `openssl rand -base64 32`",
            );
            None
        }
    }
}

/// Signs by Standard Webhooks. The id stays the same over all attempts of a delivery, so that the
/// receiver can drop repeats.
fn sign(key: &[u8], headers: &mut Vec<(String, String)>, body: &[u8], input: RenderInput<'_>) {
    let delivery = input.delivery.to_string();
    let id = format!("msg_{}", delivery.trim_start_matches("dlv_"));
    let timestamp = input.now.as_second().to_string();
    let signature = signature(key, &id, &timestamp, body);
    headers.push(("webhook-id".to_owned(), id));
    headers.push(("webhook-timestamp".to_owned(), timestamp));
    headers.push(("webhook-signature".to_owned(), signature));
}

/// The value of `webhook-signature`.
pub(super) fn signature(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut hasher = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        hasher.update(part);
    }
    format!("v1,{}", STANDARD.encode(hasher.finalize().into_bytes()))
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub(super) fn encoded_part(value: &str, text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}
