//! Compact JWTs with HS256, in a header or as the whole body.
//!
//! The algorithm is pinned: what the token says about itself decides nothing. Times are checked here
//! against the clock that is passed in, not by the library, which would read the system's.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::{Value, json};

use super::arrival::Arrival;
use super::secret::{Keys, SecretForm};
use crate::connector::field::Checked;
use crate::connector::reader::Reader;
use crate::connector::redact::Redaction;
use crate::connector::request::{Refusal, RefusalCode, RequestParts};
use crate::connector::sign::SignError;

/// How far clocks may be apart, in seconds.
const LEEWAY: i64 = 60;

enum Place {
    Header(String),
    Body,
}

/// See the module.
pub(in crate::connector) struct Jwt {
    place: Place,
    keys: Keys,
    require_exp: bool,
    audience: Option<String>,
}

impl Jwt {
    pub(super) fn read(reader: &Reader<'_>, settings: &Checked) -> Option<Self> {
        let form = SecretForm::read(reader);
        let keys = Keys::read(reader, settings, form);
        let require_exp = reader.flag("require_exp").unwrap_or(true);
        let audience = reader.text("audience").map(|text| text.value);
        let at = reader.required("token", "\"header:authorization\"")?;
        let place = match at.value.split_once(':') {
            None if at.value == "body" => Place::Body,
            Some(("header", name)) if !name.is_empty() => Place::Header(name.to_ascii_lowercase()),
            _ => {
                reader.log.error_with_help(
                    at.span,
                    format!("`{}` is no place for a JWT", at.value),
                    "known: header:NAME, body",
                );
                return None;
            }
        };
        Some(Self {
            place,
            keys: keys?,
            require_exp,
            audience: audience.filter(|audience| !audience.is_empty()),
        })
    }

    pub(super) fn covers_body(&self) -> bool {
        matches!(self.place, Place::Body)
    }

    pub(super) fn told(&self) -> String {
        match &self.place {
            Place::Header(name) => format!("a JWT in the header `{name}`"),
            Place::Body => "a JWT that is the body".to_owned(),
        }
    }

    pub(super) fn is_present(&self, arrival: &Arrival<'_>) -> bool {
        self.find(arrival).is_some()
    }

    fn find<'a>(&self, arrival: &Arrival<'a>) -> Option<&'a str> {
        match &self.place {
            Place::Header(name) => {
                let text = arrival.parts.header(name)?;
                let scheme = text.get(..7).filter(|s| s.eq_ignore_ascii_case("bearer "));
                Some(scheme.map_or(text, |scheme| text[scheme.len()..].trim()))
            }
            Place::Body => std::str::from_utf8(&arrival.parts.body)
                .ok()
                .map(str::trim)
                .filter(|text| !text.is_empty()),
        }
    }

    pub(super) fn verify(&self, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let token = self
            .find(arrival)
            .ok_or_else(|| Refusal::new(RefusalCode::CredentialMissing, "there is no JWT"))?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = self.keys.bytes.iter().find_map(|key| {
            let key = DecodingKey::from_secret(key);
            decode::<Value>(token, &key, &validation).ok()
        });
        let claims = claims.ok_or_else(|| {
            Refusal::new(
                RefusalCode::CredentialWrong,
                format!("the JWT is not signed by `{}` with HS256", self.keys.field),
            )
        })?;
        self.check_claims(&claims.claims, arrival.now)
    }

    fn check_claims(&self, claims: &Value, now: Timestamp) -> Result<(), Refusal> {
        let now = now.as_second();
        let seconds = |name: &str| {
            claims
                .get(name)
                .and_then(|v| v.as_i64().or_else(|| v.as_f64().map(|f| f as i64)))
        };
        let wrong = |reason: &str| Err(Refusal::new(RefusalCode::CredentialWrong, reason));
        match seconds("exp") {
            None if self.require_exp => return wrong("the JWT does not say when it expires"),
            Some(at) if at.saturating_add(LEEWAY) < now => {
                return Err(Refusal::new(RefusalCode::Stale, "the JWT has expired"));
            }
            _ => {}
        }
        if seconds("nbf").is_some_and(|at| at.saturating_sub(LEEWAY) > now) {
            return Err(Refusal::new(RefusalCode::Stale, "the JWT is not valid yet"));
        }
        let Some(audience) = &self.audience else {
            return Ok(());
        };
        let named = match claims.get("aud") {
            Some(Value::String(own)) => own == audience,
            Some(Value::Array(own)) => own.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if named {
            return Ok(());
        }
        wrong("the JWT is meant for another URL than this source's public one")
    }

    pub(super) fn redact(&self, redaction: &mut Redaction) {
        if let Place::Header(name) = &self.place {
            redaction.headers.push(name.clone());
        }
    }

    pub(super) fn sign(&self, parts: &mut RequestParts, now: Timestamp) -> Result<(), SignError> {
        let key = self.keys.bytes.first().ok_or(SignError::NoSecret)?;
        let token = |claims: &Value| {
            encode(
                &Header::new(Algorithm::HS256),
                claims,
                &EncodingKey::from_secret(key),
            )
            .map_err(|error| SignError::Content(error.to_string()))
        };
        match &self.place {
            Place::Header(name) => {
                let at = now.as_second();
                let mut claims = json!({"iat": at, "exp": at + 300});
                if let Some(audience) = &self.audience {
                    claims["aud"] = Value::String(audience.clone());
                }
                parts.set_header(name, token(&claims)?);
            }
            Place::Body => {
                // A case may hold the claims as JSON; a finished token stays as it is.
                if let Ok(claims @ Value::Object(_)) = serde_json::from_slice(&parts.body) {
                    parts.body = token(&claims)?.into();
                }
            }
        }
        Ok(())
    }
}
