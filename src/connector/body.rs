//! Bodies as a tree: JSON, form, XML and JWT in one shape that rules can read.
//!
//! Reading never panics and never takes more than a small multiple of the body's size, whatever
//! comes in: depth and node counts are capped, DTDs are refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::xml;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// JSON.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// XML, SOAP included.
    Xml,
    /// A compact JWT whose claims are the event.
    Jwt,
}

impl BodyKind {
    /// The words of `body = "…"`.
    pub(super) const WORDS: [(&'static str, Self); 4] = [
        ("json", Self::Json),
        ("form", Self::Form),
        ("xml", Self::Xml),
        ("jwt", Self::Jwt),
    ];

    /// The usual content type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
            Self::Xml => "text/xml; charset=utf-8",
            Self::Jwt => "application/jwt",
        }
    }
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// There is none.
    #[error("the body is empty")]
    Empty,
    /// It is no JSON, or nested deeper than 128 levels.
    #[error("the body is no JSON that can be read: {0}")]
    Json(String),
    /// It is no XML, or has a DTD, too many nodes or too many levels.
    #[error("the body is no XML that can be read: {0}")]
    Xml(String),
    /// It is not three base64url parts with JSON claims.
    #[error("the body is no JWT: {0}")]
    Jwt(&'static str),
    /// It was not stored: secrets cannot be removed from what cannot be read.
    #[error("it could not be read well enough to remove secrets from it, so it was not stored")]
    Withheld,
}

/// Reads a body as a tree.
///
/// # Errors
/// [`BodyError`] when it is not what it should be.
pub(super) fn decode_body(kind: BodyKind, body: &[u8]) -> Result<Value, BodyError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(BodyError::Empty);
    }
    match kind {
        BodyKind::Json => {
            serde_json::from_slice(body).map_err(|error| BodyError::Json(error.to_string()))
        }
        BodyKind::Form => Ok(decode_form(body)),
        BodyKind::Xml => xml::decode(body).map_err(BodyError::Xml),
        BodyKind::Jwt => decode_jwt(body),
    }
}

fn decode_form(body: &[u8]) -> Value {
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        let value = Value::String(value.into_owned());
        match fields.get_mut(name.as_ref()) {
            None => {
                fields.insert(name.into_owned(), value);
            }
            Some(Value::Array(items)) => items.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(fields)
}

/// The claims, unverified: the signature was checked when the request arrived.
fn decode_jwt(body: &[u8]) -> Result<Value, BodyError> {
    let text = std::str::from_utf8(body)
        .map_err(|_binary| BodyError::Jwt("it is not text"))?
        .trim();
    let mut parts = text.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(BodyError::Jwt("it does not have three parts"));
    };
    let claims = URL_SAFE_NO_PAD
        .decode(claims)
        .map_err(|_unreadable| BodyError::Jwt("its claims are not base64url"))?;
    serde_json::from_slice(&claims).map_err(|_unreadable| BodyError::Jwt("its claims are no JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn form_fields_keep_their_brackets_and_repeated_ones_become_a_list() {
        let body = b"deal%5Bid%5D=7&tag=a&tag=b&tag=c&note=caf%C3%A9+x&empty=";
        assert_eq!(
            decode_body(BodyKind::Form, body).unwrap(),
            json!({"deal[id]": "7", "tag": ["a", "b", "c"], "note": "café x", "empty": ""})
        );
    }

    #[test]
    fn a_jwt_gives_its_claims() {
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjYWxsX2lkIjoxLCJzdGF0ZSI6Imhhbmd1cCJ9.FFdUV_BXSMghqqkoIgrqRdnLENPblyRERXMwjXAPc_Q";
        assert_eq!(
            decode_body(BodyKind::Jwt, token.as_bytes()).unwrap(),
            json!({"call_id": 1, "state": "hangup"})
        );
        for bad in ["a.b", "a.b.c.d", "a.!!.c", "a.e30.c.", "\u{e9}"] {
            assert!(decode_body(BodyKind::Jwt, bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_json_is_an_error_and_no_crash() {
        let deep = "[".repeat(100_000);
        for bad in [
            deep.as_bytes(),
            b"",
            b"  \n",
            b"{",
            b"\xff\xfe",
            b"{\"a\":\"\0\"}",
        ] {
            assert!(decode_body(BodyKind::Json, bad).is_err());
        }
        assert!(decode_body(BodyKind::Json, b"1e400").is_err());
    }

    proptest! {
        #[test]
        fn reading_arbitrary_bytes_never_panics(body: Vec<u8>) {
            for (_, kind) in BodyKind::WORDS {
                let _read = decode_body(kind, &body);
            }
        }
    }
}
