//! Whether the story came out right: every answer, every event, and what every call was told last.

use serde_json::{Value, json};

use super::story::{ANA, BEN, CLEO, DAN, EVE, FINN, GINA};
use crate::app::Bridge;
use crate::http::StandIn;
use crate::model::EventId;
use crate::queue::QueueError;

/// One step as it went.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) source: &'static str,
    pub(super) expected_status: u16,
    pub(super) status: u16,
    /// The event that came of it, if one was stored.
    pub(super) event: Option<EventId>,
    /// What it had to become at first, and whether it did.
    pub(super) first: Option<(&'static str, bool)>,
    /// What it has to become in the end.
    pub(super) stored: Option<&'static str>,
}

/// What came out.
pub(super) struct Verdict {
    pub(super) steps: Vec<Value>,
    pub(super) calls: Vec<Value>,
}

impl Verdict {
    pub(super) fn is_right(&self) -> bool {
        self.steps
            .iter()
            .chain(&self.calls)
            .all(|item| item["right"] == true)
    }
}

/// What each call has to be told last, at each stand-in.
fn expected() -> Vec<(String, Value)> {
    let phonely = |call: &str, label: &str, value: Option<u32>| {
        let mut told = json!({ "custom_call_outcome": label });
        if let Some(value) = value {
            told["custom_call_outcome_value"] = json!(value);
        }
        (format!("phonely/agent123/{call}"), told)
    };
    let aura = |call: &str, status: &str| (format!("aura/{call}"), json!({ "status": status }));
    let change = |call: &str, outcome: &str| {
        (
            format!("change-outcome/{call}"),
            json!({ "call_outcome": outcome }),
        )
    };
    let mut all = vec![
        phonely(ANA, "Appointment No-Show", None),
        phonely(BEN, "Appointment Completed", None),
        phonely(CLEO, "Appointment No-Show", None),
        phonely(DAN, "Sold", Some(1000)),
        phonely(EVE, "Appointment No-Show", None),
        phonely(GINA, "Follow-Up Required", None),
    ];
    for (call, word) in [
        (ANA, "no_show"),
        (BEN, "shown"),
        (CLEO, "no_show"),
        (DAN, "closed"),
        (EVE, "no_show"),
        (FINN, "closed"),
        (GINA, "follow_up"),
    ] {
        all.push(aura(call, word));
        all.push(change(call, word));
    }
    all
}

/// Compares what happened with what should have.
pub(super) async fn reach(
    bridge: &Bridge,
    stand_in: &StandIn,
    rows: &[Row],
) -> Result<Verdict, QueueError> {
    let mut steps = Vec::new();
    for row in rows {
        steps.push(judge(bridge, row).await?);
    }
    let told = stand_in.calls();
    let mut calls: Vec<Value> = expected()
        .into_iter()
        .map(|(call, wanted)| {
            let last = told.get(&call).cloned().unwrap_or(Value::Null);
            let right = wanted
                .as_object()
                .is_some_and(|fields| fields.iter().all(|(key, value)| same(&last[key], value)));
            json!({ "call": call, "told": brief(&last), "expected": brief(&wanted), "right": right })
        })
        .collect();
    calls.extend(unexpected(&told));
    Ok(Verdict { steps, calls })
}

/// Numbers are the same by value (1000 and 1000.00), everything else exactly.
fn same(told: &Value, wanted: &Value) -> bool {
    match (told.as_f64(), wanted.as_f64()) {
        (Some(told), Some(wanted)) => (told - wanted).abs() < f64::EPSILON,
        _ => told == wanted,
    }
}

/// Calls that should not have been told anything.
fn unexpected(told: &std::collections::BTreeMap<String, Value>) -> Vec<Value> {
    let known: Vec<String> = expected().into_iter().map(|(call, _)| call).collect();
    told.iter()
        .filter(|(call, _)| !known.contains(call))
        .map(|(call, last)| {
            json!({ "call": call, "told": brief(last), "expected": "nothing", "right": false })
        })
        .collect()
}

async fn judge(bridge: &Bridge, row: &Row) -> Result<Value, QueueError> {
    let mut became = "nothing stored".to_owned();
    let mut states: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
    let mut attempts = 0;
    let mut disposition = None;
    if let Some(event) = row.event {
        let (summary, _trace) = bridge.queue.event_detail(event).await?;
        disposition = Some(summary.disposition.as_str());
        became = format!("{}: {}", summary.disposition, summary.reason);
        for delivery in bridge.queue.deliveries_of(event).await? {
            *states.entry(delivery.state.as_str()).or_default() += 1;
            attempts = attempts.max(delivery.attempts);
        }
    }
    let mut deliveries: Vec<String> = states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    if attempts > 1 {
        deliveries.push(format!("one after {attempts} attempts"));
    }
    let begun_right = row.first.is_none_or(|(_, right)| right);
    if let Some((first, true)) = row.first {
        became = format!("{first}, then {became}");
    }
    let right = row.status == row.expected_status && disposition == row.stored && begun_right;
    Ok(json!({
        "title": row.title,
        "source": row.source,
        "status": row.status,
        "event": row.event,
        "became": became,
        "deliveries": deliveries.join(", "),
        "right": right,
    }))
}

/// What a call was told, in one line.
fn brief(told: &Value) -> String {
    let words = ["custom_call_outcome", "status", "call_outcome"];
    let word = words
        .iter()
        .find_map(|key| told[key].as_str())
        .unwrap_or("nothing");
    match &told["custom_call_outcome_value"] {
        Value::Null => word.to_owned(),
        value => format!("{word} {value}"),
    }
}
