//! A call as people and programs write it down: a JSON object, or a row of a file with text in every cell.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::calls::CallRecord;
use crate::diagnostic::did_you_mean;
use crate::model::{Phone, is_writable, parse_phone};

/// Everything that a call may say. In a file, `fields.NAME` and `metadata.NAME` are columns, too.
const NAMES: [&str; 15] = [
    "platform",
    "agent_id",
    "call_id",
    "phone",
    "email",
    "direction",
    "started_at",
    "ended_at",
    "duration_seconds",
    "duration_ms",
    "recording_url",
    "transcript",
    "fields",
    "metadata",
    "as_of",
];

/// The longest of the short texts, in characters.
const LONGEST: usize = 500;
/// The longest transcript, recording URL and metadata, in bytes.
const LARGEST: usize = 2 << 20;

/// What is wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallMistake(String);

fn wrong<T>(message: impl fmt::Display) -> Result<T, CallMistake> {
    Err(CallMistake(message.to_string()))
}

impl CallRecord {
    /// Reads a call. Empty text counts as not said; numbers and JSON may be written as text.
    ///
    /// # Errors
    /// [`CallMistake`] with the field and what it should be.
    pub fn read(written: &Map<String, Value>) -> Result<Self, CallMistake> {
        let mut call = Self::default();
        for (name, value) in written {
            if value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()) {
                continue;
            }
            call.take(name, value)?;
        }
        if call.call_id.is_empty() {
            return wrong("`call_id` is missing");
        }
        if let (Some(start), Some(end)) = (call.started_at, call.ended_at)
            && end < start
        {
            return wrong("`ended_at` is before `started_at`");
        }
        Ok(call)
    }

    fn take(&mut self, name: &str, value: &Value) -> Result<(), CallMistake> {
        match name {
            "platform" => self.platform = Some(short(name, value)?),
            "agent_id" => self.agent_id = Some(short(name, value)?),
            "call_id" => self.call_id = short(name, value)?,
            "phone" => self.phone = Some(phone(name, value)?),
            "email" => self.email = Some(short(name, value)?.to_lowercase()),
            "direction" => self.direction = Some(short(name, value)?),
            "started_at" => self.started_at = Some(moment(name, value)?),
            "ended_at" => self.ended_at = Some(moment(name, value)?),
            "as_of" => self.as_of = Some(moment(name, value)?),
            "duration_seconds" => self.duration_ms = Some(millis(name, value, 1e3)?),
            "duration_ms" => self.duration_ms = Some(millis(name, value, 1.0)?),
            "recording_url" => {
                let url = text(name, value)?;
                if !(url.starts_with("https://") || url.starts_with("http://")) {
                    return wrong(
                        "`recording_url` must be a URL that starts with https:// or http://",
                    );
                }
                self.recording_url = Some(url);
            }
            "transcript" => self.transcript = Some(text(name, value)?),
            "fields" => self.fields.extend(object(name, value)?),
            "metadata" => self.metadata.extend(object(name, value)?),
            other => {
                if let Some(key) = other.strip_prefix("fields.") {
                    self.fields.insert(key.to_owned(), value.clone());
                } else if let Some(key) = other.strip_prefix("metadata.") {
                    self.metadata.insert(key.to_owned(), value.clone());
                } else {
                    return wrong(unknown(other));
                }
            }
        }
        Ok(())
    }
}

fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(60).collect();
    let hint = match did_you_mean(name, NAMES) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("name it `metadata.{}` to keep it", shown.escape_debug()),
    };
    format!("there is no field `{}`; {hint}", shown.escape_debug())
}

fn text(name: &str, value: &Value) -> Result<String, CallMistake> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return wrong(format!("`{name}` must be text")),
    };
    if text.len() > LARGEST {
        return wrong(format!("`{name}` is over {LARGEST} bytes"));
    }
    Ok(text)
}

fn short(name: &str, value: &Value) -> Result<String, CallMistake> {
    let text = text(name, value)?;
    let text = text.trim();
    if text.chars().count() > LONGEST {
        return wrong(format!("`{name}` is longer than {LONGEST} characters"));
    }
    Ok(text.to_owned())
}

/// E.164 as it is; else whatever is a number with its country code.
fn phone(name: &str, value: &Value) -> Result<Phone, CallMistake> {
    let text = short(name, value)?;
    serde_json::from_value(Value::String(text.clone()))
        .or_else(|_not_e164| parse_phone(&text, None))
        .map_err(|_not_a_phone| {
            CallMistake(format!(
                "`{name}` must be in E.164 format: +14155551234, not 4155551234"
            ))
        })
}

fn moment(name: &str, value: &Value) -> Result<Timestamp, CallMistake> {
    let read = match value {
        Value::String(text) => text.trim().parse().ok().filter(|at| is_writable(*at)),
        _ => None,
    };
    read.ok_or_else(|| {
        CallMistake(format!(
            "`{name}` must be a moment with its offset: 2026-05-06T16:10:00Z"
        ))
    })
}

fn millis(name: &str, value: &Value, factor: f64) -> Result<i64, CallMistake> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .map(|number: f64| number * factor)
        .filter(|ms| (0.0..=1e11).contains(ms))
        .map(|ms| ms.round() as i64)
        .ok_or_else(|| CallMistake(format!("`{name}` must be a number from 0 up")))
}

fn object(name: &str, value: &Value) -> Result<Map<String, Value>, CallMistake> {
    let read = match value {
        Value::Object(object) => Some(object.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    };
    let object = read.ok_or_else(|| CallMistake(format!("`{name}` must be a JSON object")))?;
    if serde_json::to_string(&object).map_or(0, |text| text.len()) > LARGEST {
        return wrong(format!("`{name}` is over {LARGEST} bytes"));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<CallRecord, String> {
        CallRecord::read(value.as_object().unwrap()).map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn a_row_of_text_is_read_like_json() {
        let row = read(&json!({
            "call_id": "c1", "phone": "+1 (415) 555-2671", "duration_seconds": "90.5", "metadata.campaign": "spring",
            "fields": "{\"interest\":\"high\"}", "started_at": "2026-05-06T16:10:00+02:00", "email": "", "agent_id": 7,
        }))
        .unwrap();
        assert_eq!(row.phone.unwrap().as_str(), "+14155552671");
        assert_eq!(row.duration_ms, Some(90_500));
        assert_eq!(row.started_at.unwrap().to_string(), "2026-05-06T14:10:00Z");
        assert_eq!(
            (
                row.metadata["campaign"].as_str(),
                row.fields["interest"].as_str()
            ),
            (Some("spring"), Some("high"))
        );
        assert_eq!((row.email, row.agent_id.as_deref()), (None, Some("7")));
    }

    #[test]
    fn mistakes_name_the_field_and_what_it_should_be() {
        for (value, part) in [
            (json!({}), "`call_id` is missing"),
            (json!({"call_id": "c", "phone": "4155551234"}), "E.164"),
            (
                json!({"call_id": "c", "started_at": "yesterday"}),
                "`started_at` must be a moment",
            ),
            (
                json!({"call_id": "c", "started_at": "-009999-01-03T00:00:00Z"}),
                "`started_at` must be a moment",
            ),
            (
                json!({"call_id": "c", "stared_at": "x"}),
                "did you mean `started_at`?",
            ),
            (json!({"call_id": "c", "zzz": "x"}), "metadata.zzz"),
            (json!({"call_id": "c", "duration_ms": -1}), "from 0 up"),
            (json!({"call_id": "c", "metadata": [1]}), "JSON object"),
            (
                json!({"call_id": "c", "recording_url": "javascript:alert(1)"}),
                "https://",
            ),
            (
                json!({"call_id": "c", "started_at": "2026-05-06T16:10:00Z", "ended_at": "2026-05-06T16:09:00Z"}),
                "before",
            ),
        ] {
            let mistake = read(&value).unwrap_err();
            assert!(mistake.contains(part), "{value}: {mistake}");
        }
    }

    proptest! {
        #[test]
        fn any_text_in_any_field_is_read_or_refused(name in 0usize..NAMES.len(), text: String) {
            let mut row = Map::new();
            row.insert("call_id".to_owned(), json!("c"));
            row.insert(NAMES[name].to_owned(), Value::String(text));
            let _ = CallRecord::read(&row);
        }
    }
}
