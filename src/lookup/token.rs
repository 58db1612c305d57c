//! Access tokens by OAuth 2 (RFC 6749): asked for when needed, kept until shortly before they expire.
//!
//! Some vendors (HighLevel) give a new refresh token with every use of the old one. Such a token has to
//! survive a restart, so it is kept in a file of its own that only its owner can read, and used in place of
//! the configured one for as long as the configured one stays what it was.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::connector::{ClientAuth, OAuth2, PreparedRequest};
use crate::egress::{Answer, Client};
use crate::model::Secret;

/// How long a token holds whose answer does not say.
const LIFE: Duration = Duration::from_secs(300);
/// A token is not used in its last minute, so that it does not expire on its way.
const MARGIN: Duration = Duration::from_secs(60);

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoToken {
    /// The client or its refresh token is refused.
    Refused(String),
    /// The endpoint failed. Asking again may help.
    Failed(String),
}

/// The tokens of one source.
#[derive(Debug)]
pub(super) struct Tokens {
    oauth: OAuth2,
    /// Where a refresh token that replaced the configured one is kept.
    file: PathBuf,
    held: tokio::sync::Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    access: Option<(Secret, Instant)>,
    refresh: Option<Secret>,
}

/// A refresh token that replaced the configured one.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Tells whether the configured one is still the one that it replaced.
    replaces: String,
    refresh_token: String,
}

/// A token endpoint's answer.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    refresh_token: Option<String>,
}

impl Tokens {
    /// Tokens that keep what has to survive a restart in `file`.
    pub(super) fn new(oauth: OAuth2, file: PathBuf) -> Self {
        let refresh = oauth.refresh_token.as_ref().map(|configured| {
            let kept = read_kept(&file).filter(|kept| kept.replaces == digest(configured));
            kept.map_or_else(
                || configured.clone(),
                |kept| Secret::new(kept.refresh_token),
            )
        });
        Self {
            oauth,
            file,
            held: tokio::sync::Mutex::new(Held {
                access: None,
                refresh,
            }),
        }
    }

    /// A token that holds. Several that ask at once wait for one answer.
    pub(super) async fn get(&self, client: &Client) -> Result<Secret, NoToken> {
        let mut held = self.held.lock().await;
        if let Some((token, until)) = &held.access
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let asked = Instant::now();
        let answer = client
            .send(self.request(held.refresh.as_ref()))
            .await
            .map_err(|error| NoToken::Failed(format!("no token: {error}")))?;
        let granted = judge(&answer)?;
        let token = Secret::new(granted.access_token);
        let life = seconds(&granted.expires_in).map_or(LIFE, Duration::from_secs);
        let life = life.saturating_sub(MARGIN).max(life / 2);
        held.access = asked.checked_add(life).map(|until| (token.clone(), until));
        if let (Some(fresh), Some(_)) = (granted.refresh_token, &self.oauth.refresh_token) {
            self.keep(&mut held, Secret::new(fresh));
        }
        Ok(token)
    }

    /// The vendor refused `token` before its time: the next question gets another one.
    pub(super) async fn forget(&self, token: &Secret) {
        let mut held = self.held.lock().await;
        held.access
            .take_if(|(known, _)| known.matches(token.expose().as_bytes()));
    }

    fn keep(&self, held: &mut Held, fresh: Secret) {
        let unchanged = held
            .refresh
            .as_ref()
            .is_some_and(|known| known.matches(fresh.expose().as_bytes()));
        let Some(configured) = self.oauth.refresh_token.as_ref().filter(|_| !unchanged) else {
            return;
        };
        let kept = Kept {
            replaces: digest(configured),
            refresh_token: fresh.expose().to_owned(),
        };
        held.refresh = Some(fresh);
        if let Err(error) = write_kept(&self.file, &kept) {
            tracing::error!(
                target: "lookup.token", %error, file = %self.file.display(),
                "a new refresh token cannot be kept; after a restart the source has to be connected again"
            );
        }
    }

    fn request(&self, refresh: Option<&Secret>) -> PreparedRequest {
        let OAuth2 {
            token_url,
            client_id,
            client_secret,
            scope,
            client_auth,
            ..
        } = &self.oauth;
        let mut form = form_urlencoded::Serializer::new(String::new());
        match refresh {
            Some(token) => form
                .append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", token.expose()),
            None => form.append_pair("grant_type", "client_credentials"),
        };
        if let Some(scope) = scope {
            form.append_pair("scope", scope);
        }
        let mut headers = vec![
            ("accept".to_owned(), "application/json".to_owned()),
            (
                "content-type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ),
        ];
        match client_auth {
            ClientAuth::Body => {
                form.append_pair("client_id", client_id.expose())
                    .append_pair("client_secret", client_secret.expose());
            }
            ClientAuth::Basic => {
                headers.push(("authorization".to_owned(), basic(client_id, client_secret)));
            }
        }
        PreparedRequest {
            method: "POST".to_owned(),
            url: token_url.clone(),
            headers,
            body: Bytes::from(form.finish()),
            shown: format!("POST {token_url}"),
        }
    }
}

/// The value of an `Authorization` header with user and password (RFC 7617).
pub(super) fn basic(user: &Secret, password: &Secret) -> String {
    let pair = format!("{}:{}", user.expose(), password.expose());
    format!("Basic {}", STANDARD.encode(pair))
}

fn judge(answer: &Answer) -> Result<Granted, NoToken> {
    let status = answer.status;
    match status {
        200..=299 => serde_json::from_slice::<Granted>(&answer.body)
            .ok()
            .filter(|granted| !granted.access_token.trim().is_empty())
            .ok_or_else(|| NoToken::Failed("the token endpoint's answer has no token".to_owned())),
        400 | 401 | 403 => {
            let why = error_code(&answer.body).map_or_else(String::new, |code| format!(", {code}"));
            let why = format!("the token endpoint refuses the credentials ({status}{why})");
            Err(NoToken::Refused(why))
        }
        _ => Err(NoToken::Failed(format!(
            "the token endpoint answered {status}"
        ))),
    }
}

/// The `error` of RFC 6749, 5.2: one word such as `invalid_grant`.
fn error_code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body.get("error")?.as_str()?;
    let is_word =
        |code: &str| code.len() <= 40 && code.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    Some(code).filter(|code| is_word(code)).map(str::to_owned)
}

/// A number of seconds; some vendors write it as text.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn digest(secret: &Secret) -> String {
    hex::encode(&Sha256::digest(secret.expose())[..16])
}

fn read_kept(file: &Path) -> Option<Kept> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Written beside the old file and put in its place, so that a crash leaves one of them whole.
fn write_kept(file: &Path, kept: &Kept) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let unfinished = file.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(&unfinished)?;
    out.write_all(&serde_json::to_vec(kept)?)?;
    out.sync_all()?;
    fs::rename(unfinished, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oauth(refresh: &str) -> OAuth2 {
        OAuth2 {
            token_url: "https://auth.example.com/token".parse().unwrap(),
            client_id: Secret::new("id"),
            client_secret: Secret::new("s&cret"),
            refresh_token: Some(Secret::new(refresh)),
            scope: Some("contacts.readonly".to_owned()),
            client_auth: ClientAuth::Body,
        }
    }

    async fn refresh_of(tokens: &Tokens) -> String {
        let held = tokens.held.lock().await;
        held.refresh.as_ref().unwrap().expose().to_owned()
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
            cut: false,
        }
    }

    #[tokio::test]
    async fn a_replaced_refresh_token_survives_a_restart_until_another_is_configured() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens/crm.json");
        let tokens = Tokens::new(oauth("first"), file.clone());
        tokens.keep(&mut *tokens.held.lock().await, Secret::new("second"));
        assert_eq!(
            refresh_of(&Tokens::new(oauth("first"), file.clone())).await,
            "second"
        );
        assert_eq!(
            refresh_of(&Tokens::new(oauth("new"), file.clone())).await,
            "new"
        );
        std::fs::write(&file, "garbage").unwrap();
        assert_eq!(
            refresh_of(&Tokens::new(oauth("first"), file)).await,
            "first"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("crm.json");
        let tokens = Tokens::new(oauth("first"), file.clone());
        tokens.keep(&mut *tokens.held.lock().await, Secret::new("second"));
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_request_is_a_form_as_the_rfc_has_it() {
        let tokens = Tokens::new(oauth("r 1"), PathBuf::new());
        let request = tokens.request(Some(&Secret::new("r 1")));
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        assert_eq!(
            body,
            "grant_type=refresh_token&refresh_token=r+1&scope=contacts.readonly&client_id=id&client_secret=s%26cret"
        );
        assert!(!format!("{request:?}").contains("cret"));
        let mut basic = oauth("r");
        (basic.refresh_token, basic.client_auth) = (None, ClientAuth::Basic);
        let request = Tokens::new(basic, PathBuf::new()).request(None);
        assert_eq!(
            request.body,
            "grant_type=client_credentials&scope=contacts.readonly"
        );
        assert!(
            request
                .headers
                .iter()
                .any(|(_, value)| value == "Basic aWQ6cyZjcmV0")
        );
    }

    #[test]
    fn answers_are_told_apart() {
        let granted = judge(&answer(200, r#"{"access_token":"a","expires_in":"1799"}"#)).ok();
        let granted = granted.unwrap();
        assert_eq!(
            (granted.access_token.as_str(), seconds(&granted.expires_in)),
            ("a", Some(1799))
        );
        for (status, body, expected) in [
            (
                200,
                "{}",
                NoToken::Failed("the token endpoint's answer has no token".to_owned()),
            ),
            (
                200,
                r#"{"access_token":" "}"#,
                NoToken::Failed("the token endpoint's answer has no token".to_owned()),
            ),
            (
                503,
                "",
                NoToken::Failed("the token endpoint answered 503".to_owned()),
            ),
            (
                302,
                "",
                NoToken::Failed("the token endpoint answered 302".to_owned()),
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"token s3cret"}"#,
                NoToken::Refused(
                    "the token endpoint refuses the credentials (400, invalid_grant)".to_owned(),
                ),
            ),
            (
                401,
                r#"{"error":"s3cret of somebody"}"#,
                NoToken::Refused("the token endpoint refuses the credentials (401)".to_owned()),
            ),
        ] {
            assert_eq!(
                judge(&answer(status, body)).err(),
                Some(expected),
                "{status} {body}"
            );
        }
    }
}
