//! What processing an event again would change: before anybody says "do it".
//!
//! Compared is what targets are told and what is known of appointments, calls, deals and contacts, not how it was
//! derived: rules that were renamed or reordered make no difference. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{Disposition, EventId, Outcome, OutcomeKind};
use crate::queue::{Processed, StoredOutcome};

/// What became of an event when it was last processed.
#[derive(Debug)]
pub struct Before {
    /// Its disposition then.
    pub disposition: Disposition,
    /// And the reason.
    pub reason: String,
    /// Its outcomes, in order.
    pub outcomes: Vec<StoredOutcome>,
    /// The trace that was kept; nothing when it was never processed.
    pub trace: Option<Value>,
}

/// Something before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn<T> {
    /// As it is now.
    pub before: T,
    /// As it would be.
    pub after: T,
}

/// What an event says to one target, changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetDifference {
    /// The destination.
    pub destination: String,
    /// The address there.
    pub target: String,
    /// Each thing that the event says, before and after; nothing said is an empty list.
    #[serde(flatten)]
    pub said: Turn<Vec<Value>>,
}

/// What processing an event again would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The event.
    pub event: EventId,
    /// Its disposition, if it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disposition: Option<Turn<Disposition>>,
    /// Its reason, if it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Turn<String>>,
    /// The targets that it says something else to, in the order of their destinations.
    pub targets: Vec<TargetDifference>,
    /// What is decided about the attendance of its appointments, if that changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attendance: Option<Turn<Vec<String>>>,
    /// Whether it says something else of appointments, calls, deals or contacts. Other events that read this are
    /// processed again then, and may change, too.
    pub registries: bool,
}

impl Difference {
    /// Compares what became of `event` with what would become of it; `registries` says whether it tells the registries
    /// something else. `None`: nothing changes.
    pub fn between(
        event: EventId,
        before: &Before,
        after: &Processed,
        registries: bool,
    ) -> Option<Self> {
        let stored = before.outcomes.iter();
        let outcomes = stored.map(|stored| (stored.id.ordinal, &stored.outcome));
        let outcomes: Outcomes<'_> = outcomes.collect();
        let then = told(&outcomes, &reached(before.trace.as_ref()));
        let there = attendance(before.trace.as_ref());
        let (now, here) = if after.keeps_former {
            (then.clone(), there.clone())
        } else {
            let trace = serde_json::from_slice(&after.trace).ok();
            let outcomes = after.outcomes().unwrap_or_default();
            let now = told(&outcomes, &reached(trace.as_ref()));
            (now, attendance(trace.as_ref()))
        };
        let targets = turned(then, now);
        let attendance = Turn {
            before: there,
            after: here,
        };
        let attendance = (attendance.before != attendance.after).then_some(attendance);
        let disposition = after
            .disposition
            .filter(|after| *after != before.disposition)
            .map(|after| Turn {
                before: before.disposition,
                after,
            });
        let is_another = without_rules(&before.reason) != without_rules(&after.reason);
        let reason = is_another.then(|| Turn {
            before: before.reason.clone(),
            after: after.reason.clone(),
        });
        let same = disposition.is_none()
            && reason.is_none()
            && targets.is_empty()
            && attendance.is_none()
            && !registries;
        (!same).then_some(Self {
            event,
            disposition,
            reason,
            targets,
            attendance,
            registries,
        })
    }
}

/// An event's outcomes by their numbers.
type Outcomes<'a> = BTreeMap<u16, &'a Outcome>;

type Told = BTreeMap<(String, String), Vec<Value>>;

/// Where a fact went: what a trace says of it, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Reached {
    destination: String,
    #[serde(default)]
    target: Option<String>,
    /// Which of the event's outcomes it is; nothing when it takes something back.
    #[serde(default)]
    outcome: Option<u16>,
    #[serde(default)]
    kind: Option<OutcomeKind>,
    #[serde(default)]
    up_to: Option<Timestamp>,
}

/// Where the facts of a trace went. A trace of another version may not read: then it says nothing.
fn reached(trace: Option<&Value>) -> Vec<Reached> {
    trace
        .and_then(|trace| trace.get("routing"))
        .and_then(|routing| Vec::deserialize(routing).ok())
        .unwrap_or_default()
}

/// What a trace says of the attendance of appointments.
fn attendance(trace: Option<&Value>) -> Vec<String> {
    trace
        .and_then(|trace| Vec::deserialize(&trace["attendance"]).ok())
        .unwrap_or_default()
}

/// A reason without the ids of the rules that it names.
fn without_rules(reason: &str) -> String {
    let mut pieces = reason.split("rule `");
    let first = pieces.next().unwrap_or_default();
    let others = pieces.map(|named| named.split_once('`').map_or(named, |(_, rest)| rest));
    std::iter::once(first).chain(others).collect()
}

/// What each target is told.
fn told(outcomes: &Outcomes<'_>, reached: &[Reached]) -> Told {
    let mut told = Told::new();
    for one in reached {
        let Some(target) = &one.target else {
            continue;
        };
        let outcome = one.outcome.and_then(|number| outcomes.get(&number));
        let said = match outcome {
            Some(outcome) => content(outcome),
            None => json!({ "takes_back": one.kind, "up_to": one.up_to }),
        };
        told.entry((one.destination.clone(), target.clone()))
            .or_default()
            .push(said);
    }
    told
}

/// What a destination can be told of an outcome: not which event or rule said so.
fn content(outcome: &Outcome) -> Value {
    let mut content = serde_json::to_value(outcome).unwrap_or_default();
    if let Some(content) = content.as_object_mut() {
        for internal in ["event", "rule", "source"] {
            content.remove(internal);
        }
    }
    content
}

fn turned(mut before: Told, after: Told) -> Vec<TargetDifference> {
    let mut all: Vec<_> = after
        .into_iter()
        .map(|(place, after)| (before.remove(&place).unwrap_or_default(), after, place))
        .collect();
    all.extend(
        before
            .into_iter()
            .map(|(place, before)| (before, Vec::new(), place)),
    );
    all.sort_by(|(.., one), (.., other)| one.cmp(other));
    all.into_iter()
        .filter(|(before, after, _)| before != after)
        .map(|(before, after, (destination, target))| TargetDifference {
            destination,
            target,
            said: Turn { before, after },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Map;

    use super::*;
    use crate::model::{Basis, Fact, OutcomeId, SourceName, Subject};

    const EVENT: EventId = EventId(7);

    fn outcome(kind: OutcomeKind, rule: &str) -> Outcome {
        Outcome {
            kind,
            label: None,
            value: None,
            notes: None,
            metadata: Map::new(),
            subject: Subject::default(),
            occurred_at: Timestamp::UNIX_EPOCH,
            basis: Basis::Reported,
            source: SourceName::new("crm").unwrap(),
            event: EVENT,
            rule: rule.to_owned(),
        }
    }

    fn before(outcomes: Vec<Outcome>, routing: &Value) -> Before {
        let stored = outcomes
            .into_iter()
            .zip(0..)
            .map(|(outcome, ordinal)| StoredOutcome {
                id: OutcomeId {
                    event: EVENT,
                    ordinal,
                },
                outcome,
            });
        Before {
            disposition: Disposition::Mapped,
            reason: "won".to_owned(),
            outcomes: stored.collect(),
            trace: Some(json!({ "routing": routing })),
        }
    }

    fn after(outcomes: Vec<Outcome>, routing: &Value) -> Processed {
        Processed {
            disposition: Some(Disposition::Mapped),
            reason: "won".to_owned(),
            trace: Bytes::from(json!({ "routing": routing }).to_string()),
            facts: outcomes.into_iter().map(Fact::Outcome).collect(),
            ..Processed::default()
        }
    }

    fn between(then: &Before, now: &Processed) -> Option<Difference> {
        Difference::between(EVENT, then, now, false)
    }

    fn at(target: &str) -> Value {
        json!([{ "destination": "aura", "kind": "closed", "target": target, "outcome": 0, "matcher": "field" }])
    }

    #[test]
    fn a_renamed_rule_makes_no_difference() {
        let then = before(vec![outcome(OutcomeKind::Closed, "old")], &at("1"));
        let now = after(vec![outcome(OutcomeKind::Closed, "new")], &at("1"));
        assert_eq!(between(&then, &now), None);
        let reasoned = |rule: &str| format!("rule `{rule}`: outcome closed; rule `{rule}`: no");
        let then = Before {
            reason: reasoned("old"),
            ..then
        };
        let now = Processed {
            reason: reasoned("new"),
            ..now
        };
        assert_eq!(between(&then, &now), None);
        let now = Processed {
            reason: "rule `new`: outcome lost".to_owned(),
            ..now
        };
        assert!(between(&then, &now).unwrap().reason.is_some());
    }

    #[test]
    fn a_retraction_up_to_another_moment_is_a_difference() {
        let routing = |up_to: &str| json!([{ "destination": "aura", "kind": "closed", "target": "1", "retract": true, "up_to": up_to }]);
        let then = before(Vec::new(), &routing("2026-05-06T10:00:00Z"));
        let same = after(Vec::new(), &routing("2026-05-06T10:00:00Z"));
        assert_eq!(between(&then, &same), None);
        let now = after(Vec::new(), &routing("2026-05-06T12:00:00Z"));
        let [target] = &between(&then, &now).unwrap().targets[..] else {
            panic!("one target");
        };
        assert_eq!(target.said.after[0]["up_to"], "2026-05-06T12:00:00Z");
    }

    #[test]
    fn what_registries_are_told_and_when_attendance_is_expected_are_differences() {
        let then = before(Vec::new(), &json!([]));
        let now = after(Vec::new(), &json!([]));
        assert_eq!(between(&then, &now), None);
        let told = Difference::between(EVENT, &then, &now, true).unwrap();
        assert!(told.registries && told.targets.is_empty());
        let now = Processed {
            trace: Bytes::from_static(b"{\"attendance\": [\"expected\"]}"),
            ..now
        };
        let expected = between(&then, &now).unwrap().attendance.unwrap();
        assert_eq!((expected.before.len(), expected.after.len()), (0, 1));
    }

    #[test]
    fn another_outcome_at_the_same_target_is_told_as_before_and_after() {
        let then = before(vec![outcome(OutcomeKind::Closed, "r")], &at("1"));
        let now = after(vec![outcome(OutcomeKind::Lost, "r")], &at("1"));
        let difference = between(&then, &now).unwrap();
        let [target] = &difference.targets[..] else {
            panic!("one target: {difference:?}");
        };
        assert_eq!(target.said.before[0]["kind"], "closed");
        assert_eq!(target.said.after[0]["kind"], "lost");
        assert!(difference.disposition.is_none() && difference.reason.is_none());
    }

    #[test]
    fn an_outcome_that_moves_leaves_one_target_and_comes_to_another() {
        let then = before(vec![outcome(OutcomeKind::Closed, "r")], &at("1"));
        let now = after(vec![outcome(OutcomeKind::Closed, "r")], &at("2"));
        let difference = between(&then, &now).unwrap();
        let moved: Vec<_> = difference
            .targets
            .iter()
            .map(|t| (t.target.as_str(), t.said.before.len(), t.said.after.len()))
            .collect();
        assert_eq!(moved, [("1", 1, 0), ("2", 0, 1)]);
    }

    #[test]
    fn an_event_that_was_never_processed_differs_by_all_it_would_say() {
        let then = Before {
            disposition: Disposition::Accepted,
            reason: String::new(),
            outcomes: Vec::new(),
            trace: None,
        };
        let now = after(vec![outcome(OutcomeKind::Closed, "r")], &at("1"));
        let difference = between(&then, &now).unwrap();
        assert_eq!(difference.targets.len(), 1);
        assert!(difference.disposition.is_some());
    }
}
