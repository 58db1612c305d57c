//! A call of the store in the shapes of the three documents. What a document names and the store has no place for is
//! taken from the call's metadata or extracted fields of that name, else it is null.

use rust_decimal::Decimal;
use serde_json::{Map, Number, Value, json};

use crate::store::{CallRow, LogRow};

/// A call as Phonely's API tells of it.
pub(super) fn phonely(call: &CallRow) -> Value {
    let outcome = call.outcome.as_ref();
    json!({
        "call_id": call.call_id.as_deref().unwrap_or(&call.id),
        "agent_id": call.agent_id,
        "phone": call.phone,
        "direction": call.direction,
        "started_at": call.started_at,
        "ended_at": call.ended_at,
        "duration_ms": call.duration_ms,
        "recording_url": call.recording_url,
        "custom_call_outcome": word(call),
        "custom_call_outcome_value": outcome.and_then(|o| o.value.as_deref()).map_or(Value::Null, number),
        "currency": outcome.and_then(|o| o.currency.as_deref()),
        "custom_call_metadata": call.metadata,
        "updated_at": call.updated_at,
    })
}

const AURA: [&str; 29] = [
    "id",
    "call_kind",
    "lead_id",
    "closer_id",
    "setter_id",
    "booking_link_id",
    "product_id",
    "scheduled_at",
    "started_at",
    "ended_at",
    "duration_minutes",
    "status",
    "conferencing_link",
    "expected_deal_value",
    "linked_payment_id",
    "ai_summary",
    "action_items",
    "form_data",
    "notes",
    "recording_url",
    "has_recording",
    "has_analysis",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "referral",
    "transcript_data",
];

/// A call as Aura's API tells of it.
pub(super) fn aura(call: &CallRow) -> Value {
    let outcome = call.outcome.as_ref();
    let mut shown = taken(&AURA, call);
    shown.extend([
        (
            "id".to_owned(),
            json!(call.call_id.as_deref().unwrap_or(&call.id)),
        ),
        ("started_at".to_owned(), json!(call.started_at)),
        ("ended_at".to_owned(), json!(call.ended_at)),
        (
            "duration_minutes".to_owned(),
            json!(call.duration_ms.map(|ms| (ms + 30_000) / 60_000)),
        ),
        ("status".to_owned(), json!(outcome.and_then(|o| o.kind))),
        (
            "notes".to_owned(),
            json!(outcome.and_then(|o| o.notes.as_deref())),
        ),
        ("recording_url".to_owned(), json!(call.recording_url)),
        (
            "has_recording".to_owned(),
            json!(call.recording_url.is_some()),
        ),
        ("has_analysis".to_owned(), json!(!call.fields.is_empty())),
        ("created_at".to_owned(), json!(call.created_at)),
        ("updated_at".to_owned(), json!(call.updated_at)),
    ]);
    Value::Object(shown)
}

const CHANGE_OUTCOME: [&str; 25] = [
    "id",
    "team_id",
    "contact_id",
    "number_id",
    "to_number",
    "events_count",
    "tool_logs_count",
    "created_at_formatted",
    "deleted_at",
    "voice_campaign_id",
    "voice_campaign_send_id",
    "is_answer_machine",
    "is_answered",
    "is_lead",
    "is_picked_up",
    "chat",
    "status",
    "scheduled_at",
    "lead_submitted_at",
    "country_id",
    "created_at_tz",
    "date_key",
    "timezone",
    "vapi_ended_reason",
    "call_source",
];

/// A call as change-outcome's API tells of it, with its log.
pub(super) fn change_outcome(call: &CallRow, log: &[LogRow]) -> Value {
    let kind = call.outcome.as_ref().and_then(|o| o.kind);
    let mut shown = taken(&CHANGE_OUTCOME, call);
    shown.extend([
        (
            "id".to_owned(),
            json!(call.call_id.as_deref().unwrap_or(&call.id)),
        ),
        ("meta".to_owned(), json!([call.metadata])),
        ("is_processed".to_owned(), json!(word(call).is_some())),
        (
            "is_sale".to_owned(),
            json!(kind == Some(crate::model::OutcomeKind::Closed)),
        ),
        ("call_agent_id".to_owned(), json!(call.agent_id)),
        ("agent_id".to_owned(), json!(call.agent_id)),
        ("call_outcome".to_owned(), json!(word(call))),
        ("created_at".to_owned(), json!(call.created_at)),
        ("updated_at".to_owned(), json!(call.updated_at)),
        (
            "call_outcome_logs".to_owned(),
            log.iter().map(|entry| log_entry(call, entry)).collect(),
        ),
    ]);
    Value::Object(shown)
}

fn log_entry(call: &CallRow, entry: &LogRow) -> Value {
    let word = |label: &Option<String>, kind: Option<crate::model::OutcomeKind>| {
        label.clone().or(kind.map(|kind| kind.to_string()))
    };
    json!({
        "id": entry.id,
        "team_id": null,
        "call_id": call.call_id.as_deref().unwrap_or(&call.id),
        "call_outcome_classifier_id": null,
        "call_outcome_classifier_run_id": null,
        "initial_call_outcome": word(&entry.previous_label, entry.previous_kind),
        "new_call_outcome": word(&entry.label, entry.kind),
        "status": entry.status,
        "failure_reason": entry.failure_reason,
        "created_at": entry.recorded_at,
    })
}

/// The outcome in one word: the team's own, else ours.
fn word(call: &CallRow) -> Option<String> {
    let outcome = call.outcome.as_ref()?;
    outcome
        .label
        .clone()
        .or(outcome.kind.map(|kind| kind.to_string()))
}

fn taken(names: &[&str], call: &CallRow) -> Map<String, Value> {
    let value = |name: &str| call.metadata.get(name).or_else(|| call.fields.get(name));
    names
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                value(name).cloned().unwrap_or(Value::Null),
            )
        })
        .collect()
}

/// A decimal as a JSON number; as text where a number could not hold it.
fn number(text: &str) -> Value {
    let exact = |text: &str| {
        text.parse::<Decimal>()
            .or_else(|_| Decimal::from_scientific(text))
    };
    match serde_json::from_str::<Number>(text) {
        Ok(number) if exact(&number.to_string()) == exact(text) => Value::Number(number),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_would_not_be_exact_is_text() {
        for (text, shown) in [
            ("299", json!(299)),
            ("-299.90", json!(-299.9)),
            ("0.0000000000001", json!(1e-13)),
            ("9007199254740993", json!(9_007_199_254_740_993_u64)),
            ("12345678901234567.89", json!("12345678901234567.89")),
        ] {
            assert_eq!(number(text), shown);
        }
    }
}
