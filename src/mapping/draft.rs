//! The values of a fact while its rule is being applied.

use iso_currency::Currency;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::datum::{Datum, quoted};
use super::key::Key;
use super::value::{cut, decimal_of};
use crate::model::{Money, Region, Subject, currency, parse_amount, parse_phone, parse_time};

/// The most bytes of `notes`.
const MAX_NOTES: usize = 4 * 1024;

/// The most bytes of any other text.
const MAX_TEXT: usize = 1024;

/// What has been set so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) subject: Subject,
    pub(super) occurred_at: Option<Timestamp>,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
    pub(super) value: Option<Decimal>,
    pub(super) currency: Option<Currency>,
    pub(super) label: Option<String>,
    pub(super) notes: Option<String>,
    pub(super) metadata: Map<String, Value>,
}

impl Draft {
    /// Sets a value.
    ///
    /// # Errors
    /// Why it cannot be that, in words; it is then not set.
    pub(super) fn put(
        &mut self,
        key: &Key,
        datum: Datum<'_>,
        region: Option<Region>,
    ) -> Result<(), String> {
        let subject = &mut self.subject;
        match key {
            Key::CallId => subject.call_id = Some(identifier(&datum)?),
            Key::BookingId => subject.booking_id = Some(identifier(&datum)?),
            Key::DealId => subject.deal_id = Some(identifier(&datum)?),
            Key::ContactId => subject.contact_id = Some(identifier(&datum)?),
            Key::AgentId => subject.agent_id = Some(identifier(&datum)?),
            Key::Email => subject.email = Some(email(&datum)?),
            Key::Phone => {
                subject.phone = Some(match datum {
                    Datum::Phone(phone) => phone,
                    other => {
                        parse_phone(&identifier(&other)?, region).map_err(|e| e.to_string())?
                    }
                });
            }
            Key::OccurredAt => self.occurred_at = Some(moment(&datum)?),
            Key::Start => self.start = Some(moment(&datum)?),
            Key::End => self.end = Some(moment(&datum)?),
            Key::Value => self.value = Some(amount(&datum)?),
            Key::Currency => {
                let code = identifier(&datum)?;
                self.currency = Some(currency(&code).map_err(|e| e.to_string())?);
            }
            Key::Label => self.label = Some(identifier(&datum)?),
            Key::Notes => {
                let text = datum.text().ok_or_else(|| no_text(&datum))?;
                self.notes = Some(cut(text.trim(), MAX_NOTES).to_owned());
            }
            Key::Metadata(name) => {
                self.metadata.insert(name.to_string(), metadata(datum)?);
            }
        }
        Ok(())
    }

    /// The amount with its currency.
    pub(super) fn money(&self) -> Option<Money> {
        Some(Money {
            amount: self.value?,
            currency: self.currency?,
        })
    }

    /// Whether something was set.
    pub(super) fn has(&self, key: &Key) -> bool {
        let subject = &self.subject;
        match key {
            Key::CallId => subject.call_id.is_some(),
            Key::Phone => subject.phone.is_some(),
            Key::Email => subject.email.is_some(),
            Key::BookingId => subject.booking_id.is_some(),
            Key::DealId => subject.deal_id.is_some(),
            Key::ContactId => subject.contact_id.is_some(),
            Key::AgentId => subject.agent_id.is_some(),
            Key::OccurredAt => self.occurred_at.is_some(),
            Key::Start => self.start.is_some(),
            Key::End => self.end.is_some(),
            Key::Value => self.money().is_some(),
            Key::Currency => self.currency.is_some(),
            Key::Label => self.label.is_some(),
            Key::Notes => self.notes.is_some(),
            Key::Metadata(name) => self.metadata.contains_key(&**name),
        }
    }
}

fn no_text(datum: &Datum<'_>) -> String {
    format!("{} is not a text", quoted(datum))
}

/// Text that means nothing when it is cut: too long is refused.
fn identifier(datum: &Datum<'_>) -> Result<String, String> {
    let text = datum.text().ok_or_else(|| no_text(datum))?;
    let text = text.trim();
    if text.len() > MAX_TEXT {
        return Err(format!(
            "{} bytes; at most {MAX_TEXT} are taken",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// An address without what people and forms write around it: `Ada <ada@x.com>`, `mailto:ada@x.com`, `ada@x.com;`.
fn bare_address(text: &str) -> &str {
    let text = text.trim_end_matches([';', ',', ' ']);
    let inner = text
        .strip_suffix('>')
        .and_then(|named| named.rsplit_once('<'));
    let text = inner.map_or(text, |(_, address)| address);
    text.strip_prefix("mailto:").unwrap_or(text).trim()
}

fn email(datum: &Datum<'_>) -> Result<String, String> {
    let text = bare_address(&identifier(datum)?.to_lowercase()).to_owned();
    let is_address = text
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if !is_address || text.contains(char::is_whitespace) {
        return Err(format!("{} is not an e-mail address", quoted(datum)));
    }
    Ok(text)
}

fn moment(datum: &Datum<'_>) -> Result<Timestamp, String> {
    match datum {
        Datum::Moment(at) => Ok(*at),
        Datum::Json(Value::Number(number)) => Err(format!(
            "{number} could be seconds or milliseconds: say `| time_s` or `| time_ms`"
        )),
        other => parse_time(&identifier(other)?).map_err(|e| e.to_string()),
    }
}

fn amount(datum: &Datum<'_>) -> Result<Decimal, String> {
    match datum {
        Datum::Decimal(amount) => Ok(*amount),
        Datum::Json(Value::Number(number)) => {
            decimal_of(number).ok_or_else(|| format!("{number} is not an amount of money"))
        }
        other => parse_amount(&identifier(other)?).map_err(|e| e.to_string()),
    }
}

fn metadata(datum: Datum<'_>) -> Result<Value, String> {
    match datum {
        Datum::Json(value @ (Value::Array(_) | Value::Object(_))) => {
            let fits = value.to_string().len() <= MAX_TEXT;
            let size = || format!("longer than {MAX_TEXT} bytes as JSON");
            fits.then(|| value.clone()).ok_or_else(size)
        }
        other => Ok(match other.into_json() {
            Value::String(text) if text.len() > MAX_TEXT => cut(&text, MAX_TEXT).into(),
            value => value,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::word::Word;

    #[test]
    fn values_become_what_a_fact_needs_or_say_why_not() {
        let long = "x".repeat(2000);
        for (key, value, refusal) in [
            (Key::CallId, json!(5), None),
            (
                Key::CallId,
                json!({"a": 1}),
                Some("{\"a\":1} is not a text"),
            ),
            (
                Key::CallId,
                json!(long),
                Some("2000 bytes; at most 1024 are taken"),
            ),
            (Key::Email, json!("Ada@Example.com"), None),
            (
                Key::Email,
                json!("nobody"),
                Some("\"nobody\" is not an e-mail address"),
            ),
            (Key::Phone, json!("+1 415 555 7777"), None),
            (Key::Phone, json!("12"), Some("`12` is not a phone number")),
            (Key::OccurredAt, json!("2026-01-02T00:00:00Z"), None),
            (
                Key::OccurredAt,
                json!(1_767_312_000),
                Some("1767312000 could be seconds or milliseconds: say `| time_s` or `| time_ms`"),
            ),
            (Key::Value, json!(12.5), None),
            (
                Key::Value,
                json!("12,5"),
                Some("`12,5` is not an amount of money"),
            ),
            (Key::Currency, json!("eur"), None),
            (
                Key::Currency,
                json!("euro"),
                Some("`euro` is not an ISO 4217 currency code"),
            ),
            (Key::Notes, json!(long.repeat(4)), None),
            (Key::Metadata(Word::from("m")), json!([1, 2]), None),
            (
                Key::Metadata(Word::from("m")),
                json!([long]),
                Some("longer than 1024 bytes as JSON"),
            ),
        ] {
            let mut draft = Draft::default();
            let result = draft.put(&key, Datum::Json(&value), None);
            assert_eq!(
                result.as_ref().err().map(String::as_str),
                refusal,
                "{}",
                key.name()
            );
            // A value needs its currency before it counts.
            assert_eq!(
                draft.has(&key),
                refusal.is_none() && key != Key::Value,
                "{}",
                key.name()
            );
        }
    }

    #[test]
    fn notes_are_cut_and_email_is_lower_case() {
        let mut draft = Draft::default();
        let notes = json!("é".repeat(4000));
        draft.put(&Key::Notes, Datum::Json(&notes), None).unwrap();
        assert_eq!(draft.notes.unwrap().len(), MAX_NOTES);
        let email = json!(" Ada@Example.COM ");
        let mut draft = Draft::default();
        draft.put(&Key::Email, Datum::Json(&email), None).unwrap();
        assert_eq!(draft.subject.email.as_deref(), Some("ada@example.com"));
    }

    #[test]
    fn an_address_is_read_without_what_is_written_around_it() {
        for text in [
            "Ada <ada@x.com>",
            "\"Lovelace, Ada\" <mailto:ada@x.com>",
            "mailto:ada@x.com",
            "ada@x.com;",
            "ada@x.com, ",
        ] {
            let read = email(&Datum::Json(&json!(text)));
            assert_eq!(read.as_deref(), Ok("ada@x.com"), "{text}");
        }
        for text in ["ada@x.com; bob@x.com", "Ada <ada>", "<>", "ada@x.com <bob"] {
            assert!(email(&Datum::Json(&json!(text))).is_err(), "{text}");
        }
    }
}
