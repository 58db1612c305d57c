//! A fact as named fields, for comparing it with what a test or a case expects.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::trace::shown;
use super::value::{Literal, as_text};
use crate::model::{Basis, Fact, Subject, parse_time};

/// What a fact is: the key a rule says it by, and its word, e.g. `outcome` and `closed`.
pub fn kind_of(fact: &Fact) -> (&'static str, &'static str) {
    match fact {
        Fact::Outcome(outcome) => ("outcome", outcome.kind.as_str()),
        Fact::Retraction(retraction) => ("retract", retraction.kind.as_str()),
        Fact::Appointment(appointment) => ("appointment", appointment.change.as_str()),
        Fact::Call(call) => ("call", call.change.as_str()),
        Fact::Release(_) => ("release", "manual"),
    }
}

/// The fields of a fact by the names that rules set them by, with `rule`, its kind, and `inferred`.
pub fn fields(fact: &Fact) -> Map<String, Value> {
    let mut fields = Map::new();
    let (key, word) = kind_of(fact);
    fields.insert(key.to_owned(), word.into());
    let (rule, subject, occurred_at) = match fact {
        Fact::Outcome(outcome) => (&outcome.rule, &outcome.subject, outcome.occurred_at),
        Fact::Retraction(fact) => (&fact.rule, &fact.subject, fact.occurred_at),
        Fact::Appointment(fact) => (&fact.rule, &fact.subject, fact.occurred_at),
        Fact::Call(fact) => (&fact.rule, &fact.subject, fact.occurred_at),
        Fact::Release(fact) => (&fact.rule, &fact.subject, fact.occurred_at),
    };
    fields.insert("rule".to_owned(), rule.as_str().into());
    fields.insert("occurred_at".to_owned(), occurred_at.to_string().into());
    insert_subject(&mut fields, subject);
    match fact {
        Fact::Outcome(outcome) => {
            if let Some(money) = &outcome.value {
                fields.insert("value".to_owned(), money.amount.to_string().into());
                fields.insert("currency".to_owned(), money.currency.code().into());
            }
            insert_text(&mut fields, "label", outcome.label.as_deref());
            insert_text(&mut fields, "notes", outcome.notes.as_deref());
            let inferred = outcome.basis == Basis::Inferred;
            fields.insert("inferred".to_owned(), inferred.into());
            insert_metadata(&mut fields, &outcome.metadata);
        }
        Fact::Appointment(fact) => {
            insert_times(&mut fields, fact.start, fact.end);
            insert_metadata(&mut fields, &fact.metadata);
        }
        Fact::Call(fact) => {
            insert_times(&mut fields, fact.start, fact.end);
            insert_metadata(&mut fields, &fact.metadata);
        }
        Fact::Retraction(_) | Fact::Release(_) => {}
    }
    fields
}

fn insert_text(fields: &mut Map<String, Value>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        fields.insert(name.to_owned(), text.into());
    }
}

fn insert_times(fields: &mut Map<String, Value>, start: Option<Timestamp>, end: Option<Timestamp>) {
    for (name, at) in [("start", start), ("end", end)] {
        insert_text(fields, name, at.map(|at| at.to_string()).as_deref());
    }
}

fn insert_subject(fields: &mut Map<String, Value>, subject: &Subject) {
    insert_text(fields, "call_id", subject.call_id.as_deref());
    insert_text(
        fields,
        "phone",
        subject.phone.as_ref().map(crate::model::Phone::as_str),
    );
    insert_text(fields, "email", subject.email.as_deref());
    insert_text(fields, "booking_id", subject.booking_id.as_deref());
    insert_text(fields, "deal_id", subject.deal_id.as_deref());
    insert_text(fields, "contact_id", subject.contact_id.as_deref());
    insert_text(fields, "agent_id", subject.agent_id.as_deref());
}

fn insert_metadata(fields: &mut Map<String, Value>, metadata: &Map<String, Value>) {
    if !metadata.is_empty() {
        fields.insert("metadata".to_owned(), Value::Object(metadata.clone()));
    }
}

/// How a fact differs from what is expected of it, one line for each difference. Only the keys of
/// `expected` are compared; `false` means that nothing may be set. Values are compared as rules do
/// it, moments as moments.
pub fn differences(expected: &Map<String, Value>, fact: &Fact) -> Vec<String> {
    let mut differences = Vec::new();
    compare("", expected, &fields(fact), &mut differences);
    differences
}

/// Older words of appointment changes, as tests beside the rules may still write them.
fn is_older_word(key: &str, expected: &Value, got: &Value) -> bool {
    key == "appointment"
        && matches!(
            (expected.as_str(), got.as_str()),
            (Some("moved"), Some("rescheduled")) | (Some("cancelled"), Some("canceled"))
        )
}

fn compare(
    prefix: &str,
    expected: &Map<String, Value>,
    got: &Map<String, Value>,
    differences: &mut Vec<String>,
) {
    for (key, expected) in expected {
        let got = got.get(key);
        if let (Value::Object(expected), Some(Value::Object(got))) = (expected, got) {
            compare(&format!("{prefix}{key}."), expected, got, differences);
        } else if !same(expected, got) && !got.is_some_and(|got| is_older_word(key, expected, got))
        {
            let got = got.map_or_else(|| "nothing".to_owned(), shown);
            let wanted = match expected {
                Value::Bool(false) => "nothing".to_owned(),
                other => shown(other),
            };
            differences.push(format!("{prefix}{key}: expected {wanted}, got {got}"));
        }
    }
}

fn same(expected: &Value, got: Option<&Value>) -> bool {
    let Some(got) = got else {
        return *expected == Value::Bool(false);
    };
    if expected == got {
        return true;
    }
    let Some(text) = as_text(expected) else {
        return false;
    };
    if Literal::new(&text).equals(got) {
        return true;
    }
    match (parse_time(&text), as_text(got).map(|got| parse_time(&got))) {
        (Ok(expected), Some(Ok(got))) => expected == got,
        _ => false,
    }
}
