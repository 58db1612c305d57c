//! Reading what a client sends, and what is wrong with it; each API says that in its own shape.

use actix_web::{HttpRequest, HttpResponseBuilder, web};
use rust_decimal::Decimal;
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

/// The body as a JSON object, not empty, with known fields only.
pub(super) async fn object(
    request: &HttpRequest,
    payload: web::Payload,
    apis: &StoreApis,
    known: &[&str],
) -> Result<Map<String, Value>, Trouble> {
    let bytes = body::read(request, payload, apis.body).await?;
    let fields = known.join(", ");
    if bytes.is_empty() {
        return Err(Trouble::bad(format!(
            "the body is empty; send a JSON object with any of {fields}"
        )));
    }
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Trouble::bad(format!("the body is not JSON: {error}")))?;
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
    Ok(object)
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

/// An amount, exactly as it was written.
pub(super) fn amount(value: &Value, name: &str) -> Result<Decimal, Trouble> {
    let Value::Number(number) = value else {
        return Err(Trouble::bad(format!(
            "`{name}` must be a number, such as 299 or 299.99"
        )));
    };
    let text = number.to_string();
    text.parse()
        .or_else(|_not_plain| Decimal::from_scientific(&text))
        .map_err(|_too_large| {
            Trouble::bad(format!("`{name}` is too large or too fine for an amount"))
        })
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
    use serde_json::json;

    #[test]
    fn amounts_are_exact_or_refused() {
        for (value, expected) in [
            (json!(299), "299"),
            (json!(299.99), "299.99"),
            (json!(-0.1), "-0.1"),
            (json!(1e3), "1000"),
        ] {
            assert_eq!(
                amount(&value, "v").unwrap().normalize(),
                expected.parse::<Decimal>().unwrap()
            );
        }
        for value in [
            json!("299"),
            json!(null),
            json!(1e300),
            json!(true),
            json!([1]),
        ] {
            assert!(amount(&value, "v").is_err(), "{value}");
        }
    }
}
