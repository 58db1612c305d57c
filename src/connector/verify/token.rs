//! One shared value in a header, Basic credentials, the query, the path or the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use super::arrival::Arrival;
use super::secret::{Keys, SecretForm};
use crate::connector::field::Checked;
use crate::connector::reader::Reader;
use crate::connector::redact::{Redaction, pointer_tokens};
use crate::connector::request::{Refusal, RefusalCode, RequestParts};
use crate::connector::sign::SignError;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Header(String),
    Basic,
    Query(String),
    Path,
    Json(String),
    Form(String),
}

/// See the module.
pub(in crate::connector) struct Token {
    place: Place,
    prefix: String,
    keys: Keys,
}

impl Token {
    pub(super) fn read(reader: &Reader<'_>, settings: &Checked) -> Option<Self> {
        let keys = Keys::read(reader, settings, SecretForm::Raw);
        let prefix = reader.text("prefix").map(|text| text.value);
        let at = reader.required("at", "\"header:x-token\"")?;
        let Some(place) = Place::parse(&at.value) else {
            reader.log.error_with_help(
                at.span,
                format!("`{}` is no place for a token", at.value),
                "known: header:NAME, basic, query:NAME, path, json:/POINTER, form:NAME",
            );
            return None;
        };
        let keys = keys?;
        let is_dots = |key: &Vec<u8>| matches!(key.as_slice(), b"." | b"..");
        if place == Place::Path && keys.bytes.iter().any(is_dots) {
            reader.log.error_with_help(
                keys.span,
                format!("`{}` cannot stand at the end of a URL", keys.field),
                "`.` and `..` are taken away from a path: take a long random text",
            );
            return None;
        }
        Some(Self {
            place,
            prefix: prefix.unwrap_or_default(),
            keys,
        })
    }

    pub(super) fn told(&self) -> String {
        format!("the token at {}", self.place.described())
    }

    pub(super) fn is_present(&self, arrival: &Arrival<'_>) -> bool {
        matches!(self.find(arrival), Ok(Some(_)))
    }

    pub(super) fn verify(&self, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let Some(found) = self.find(arrival)? else {
            return Err(Refusal::new(
                RefusalCode::CredentialMissing,
                format!("there is no token at {}", self.place.described()),
            ));
        };
        let right = self.keys.bytes.iter().fold(false, |right, key| {
            right | bool::from(key.as_slice().ct_eq(found.as_bytes()))
        });
        if right {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::CredentialWrong,
            format!(
                "the token at {} is not `{}`",
                self.place.described(),
                self.keys.field
            ),
        ))
    }

    /// What stands at the place, prefix taken off; `None` when there is nothing.
    fn find(&self, arrival: &Arrival<'_>) -> Result<Option<String>, Refusal> {
        let parts = arrival.parts;
        let found = match &self.place {
            Place::Header(name) => parts.header(name).map(str::to_owned),
            Place::Basic => parts.header("authorization").and_then(basic),
            Place::Query(name) => parts.query_value(name),
            Place::Path => parts.path_token.clone(),
            Place::Json(pointer) => {
                let event = arrival.event().map_err(|error| {
                    Refusal::new(RefusalCode::BodyUnreadable, error.to_string())
                })?;
                let found = event.pointer(pointer).and_then(|value| value.as_str());
                found.map(str::to_owned)
            }
            Place::Form(name) => form_urlencoded::parse(&parts.body)
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.into_owned()),
        };
        let found = found.and_then(|text| strip_prefix(&text, &self.prefix));
        Ok(found.filter(|text| !text.is_empty()))
    }

    /// Keeps the token out of what is stored.
    pub(super) fn redact(&self, redaction: &mut Redaction) {
        match &self.place {
            Place::Header(name) => redaction.headers.push(name.clone()),
            Place::Query(name) => redaction.query.push(name.clone()),
            Place::Json(pointer) => redaction.json.push(pointer_tokens(pointer)),
            Place::Form(name) => redaction.form.push(name.clone()),
            Place::Basic | Place::Path => {}
        }
    }

    pub(super) fn sign(&self, parts: &mut RequestParts) -> Result<(), SignError> {
        let key = self.keys.bytes.first().ok_or(SignError::NoSecret)?;
        let secret = String::from_utf8_lossy(key).into_owned();
        match &self.place {
            Place::Header(name) => parts.set_header(name, format!("{}{secret}", self.prefix)),
            Place::Basic => {
                parts.set_header(
                    "authorization",
                    format!("Basic {}", STANDARD.encode(secret)),
                );
            }
            Place::Query(name) => parts.set_query(name, &secret),
            Place::Path => parts.path_token = Some(secret),
            Place::Json(pointer) => put_json(parts, pointer, secret)?,
            Place::Form(name) => {
                let own = form_urlencoded::parse(&parts.body).filter(|(known, _)| known != name);
                let body = form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(own)
                    .append_pair(name, &secret)
                    .finish();
                parts.body = body.into();
            }
        }
        Ok(())
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "basic" => Some(Self::Basic),
            None if text == "path" => Some(Self::Path),
            Some((_, "")) => None,
            Some(("header", name)) => Some(Self::Header(name.to_ascii_lowercase())),
            Some(("query", name)) => Some(Self::Query(name.to_owned())),
            Some(("json", pointer)) if pointer.starts_with('/') => {
                Some(Self::Json(pointer.to_owned()))
            }
            Some(("form", name)) => Some(Self::Form(name.to_owned())),
            _ => None,
        }
    }

    fn described(&self) -> String {
        match self {
            Self::Header(name) => format!("header `{name}`"),
            Self::Basic => "`authorization: Basic`".to_owned(),
            Self::Query(name) => format!("query parameter `{name}`"),
            Self::Path => "the end of the path".to_owned(),
            Self::Json(pointer) => format!("`{pointer}` in the body"),
            Self::Form(name) => format!("form field `{name}`"),
        }
    }
}

/// Takes a prefix off. Its case does not matter: HTTP's scheme names have none.
fn strip_prefix(text: &str, prefix: &str) -> Option<String> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| text[prefix.len()..].trim().to_owned())
}

/// `user:password`, compared as a whole: a password may hold colons.
fn basic(header: &str) -> Option<String> {
    let encoded = strip_prefix(header, "Basic ")?;
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok()
}

/// Leaves a body alone that has the token already, so that cases stay byte for byte.
fn put_json(parts: &mut RequestParts, pointer: &str, secret: String) -> Result<(), SignError> {
    let unreadable = || SignError::Content(format!("the body has no place for `{pointer}`"));
    let mut body: serde_json::Value =
        serde_json::from_slice(&parts.body).map_err(|_not_json| unreadable())?;
    if body.pointer(pointer).and_then(|value| value.as_str()) == Some(&secret) {
        return Ok(());
    }
    let (parent, key) = pointer.rsplit_once('/').ok_or_else(unreadable)?;
    let object = body
        .pointer_mut(parent)
        .and_then(|value| value.as_object_mut())
        .ok_or_else(unreadable)?;
    object.insert(key.to_owned(), secret.into());
    parts.body = body.to_string().into();
    Ok(())
}
