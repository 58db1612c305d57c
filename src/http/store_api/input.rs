//! Reading what a client sends, and what is wrong with it; each API says that in its own shape.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponseBuilder, web};
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::StoreApis;
use crate::http::body;
use crate::http::error::{ApiError, Code};
use crate::store::{Refusal, StoreError};

/// What is wrong with a request.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) code: Code,
    pub(super) detail: String,
}

impl Trouble {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        let error = ApiError::new(code, detail);
        error.into()
    }

    /// An answer with the status and what goes with it, for a body in the API's own shape.
    pub(super) fn response(&self) -> HttpResponseBuilder {
        self.code.response()
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.kind(),
            detail: error.detail().to_owned(),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NoCall => Code::NotFound,
            Refusal::Ambiguous(_) | Refusal::Held(_) => Code::Conflict,
            Refusal::TooMuchMetadata => Code::TooLarge,
        };
        Self::new(code, refusal.to_string())
    }
}

/// The fields of a body, each also as it was written: a number that was read is no longer exact.
#[derive(Debug)]
pub(super) struct Fields {
    read: Map<String, Value>,
    written: BTreeMap<String, Box<RawValue>>,
}

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.read.get(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.read.contains_key(name)
    }

    /// An amount, exactly as it was written.
    pub(super) fn amount(&self, name: &str) -> Result<Option<Decimal>, Trouble> {
        let written = self.written.get(name);
        written.map(|text| amount(text.get(), name)).transpose()
    }
}

/// The body as a JSON object, not empty, with known fields only.
pub(super) async fn object(
    request: &HttpRequest,
    payload: web::Payload,
    apis: &StoreApis,
    known: &[&str],
) -> Result<Fields, Trouble> {
    let bytes = body::read(request, payload, apis.body).await?;
    let fields = known.join(", ");
    if bytes.is_empty() {
        return Err(Trouble::bad(format!(
            "the body is empty; send a JSON object with any of {fields}"
        )));
    }
    let not_json = |error| Trouble::bad(format!("the body is not JSON: {error}"));
    let value: Value = serde_json::from_slice(&bytes).map_err(not_json)?;
    let Value::Object(object) = value else {
        return Err(Trouble::bad("the body is not a JSON object"));
    };
    if object.is_empty() {
        return Err(Trouble::bad(format!(
            "the body says nothing; send any of {fields}"
        )));
    }
    if let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str())) {
        let name: String = unknown.chars().take(60).collect();
        return Err(Trouble::bad(format!(
            "there is no field `{}`; the fields are {fields}",
            name.escape_debug()
        )));
    }
    Ok(Fields {
        read: object,
        written: serde_json::from_slice(&bytes).map_err(not_json)?,
    })
}

/// The longest text that is taken for a label or for notes.
const LONGEST_LABEL: usize = 500;
const LONGEST_NOTES: usize = 100_000;

/// A label: text that says something.
pub(super) fn label(value: &Value, name: &str) -> Result<String, Trouble> {
    let text = text(value, name, LONGEST_LABEL)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Trouble::bad(format!("`{name}` is empty")));
    }
    Ok(text.to_owned())
}

/// Free text.
pub(super) fn notes(value: &Value, name: &str) -> Result<String, Trouble> {
    text(value, name, LONGEST_NOTES)
}

fn text(value: &Value, name: &str, longest: usize) -> Result<String, Trouble> {
    let Value::String(text) = value else {
        return Err(Trouble::bad(format!("`{name}` must be text")));
    };
    if text.chars().count() > longest {
        return Err(Trouble::bad(format!(
            "`{name}` is longer than {longest} characters"
        )));
    }
    Ok(text.clone())
}

/// A JSON value as an amount; one that a decimal cannot hold exactly is refused.
fn amount(text: &str, name: &str) -> Result<Decimal, Trouble> {
    if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Err(Trouble::bad(format!(
            "`{name}` must be a number, such as 299 or 299.99"
        )));
    }
    let exact = match text.split_once(['e', 'E']) {
        None => Decimal::from_str_exact(text),
        Some((digits, _)) => {
            Decimal::from_str_exact(digits).and_then(|_| Decimal::from_scientific(text))
        }
    };
    exact.map_err(|_unfit| Trouble::bad(format!("`{name}` is too large or too fine for an amount")))
}

/// An object.
pub(super) fn metadata(value: &Value, name: &str) -> Result<Map<String, Value>, Trouble> {
    match value {
        Value::Object(object) => Ok(object.clone()),
        _ => Err(Trouble::bad(format!("`{name}` must be an object"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        for (text, expected) in [
            ("299", "299"),
            ("299.99", "299.99"),
            ("-0.1", "-0.1"),
            ("1e3", "1000"),
            ("1.5E-2", "0.015"),
            ("12345678901234567.89", "12345678901234567.89"),
            (
                "0.1234567890123456789012345678",
                "0.1234567890123456789012345678",
            ),
        ] {
            let read = amount(text, "v").unwrap();
            assert_eq!(read.normalize(), expected.parse().unwrap(), "{text}");
        }
        for text in [
            "\"299\"",
            "null",
            "true",
            "[1]",
            "1e300",
            "1e-300",
            "0.12345678901234567890123456789",
            "12345678901234567890123456789012",
        ] {
            assert!(amount(text, "v").is_err(), "{text}");
        }
    }
}
