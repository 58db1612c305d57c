//! What processing an event again would change: before anybody says "do it".
//!
//! Compared is what targets are told, not how it was derived: rules that were renamed or reordered
//! make no difference. Pure.

use std::collections::BTreeMap;

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
}

impl Difference {
    /// Compares what became of `event` with what would become of it. `None`: nothing changes.
    pub fn between(event: EventId, before: &Before, after: &Processed) -> Option<Self> {
        let stored = before.outcomes.iter();
        let outcomes = stored.map(|stored| (stored.id.ordinal, &stored.outcome));
        let outcomes: Outcomes<'_> = outcomes.collect();
        let targets = {
            let then = told(&outcomes, &reached(before.trace.as_ref()));
            let trace = serde_json::from_slice(&after.trace).ok();
            let now = match after.keeps_former {
                true => then.clone(),
                false => told(
                    &after.outcomes().unwrap_or_default(),
                    &reached(trace.as_ref()),
                ),
            };
            turned(then, now)
        };
        let disposition = after
            .disposition
            .filter(|after| *after != before.disposition)
            .map(|after| Turn {
                before: before.disposition,
                after,
            });
        let reason = (before.reason != after.reason).then(|| Turn {
            before: before.reason.clone(),
            after: after.reason.clone(),
        });
        let same = disposition.is_none() && reason.is_none() && targets.is_empty();
        (!same).then_some(Self {
            event,
            disposition,
            reason,
            targets,
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
}

/// Where the facts of a trace went. A trace of another version may not read: then it says nothing.
fn reached(trace: Option<&Value>) -> Vec<Reached> {
    trace
        .and_then(|trace| trace.get("routing"))
        .and_then(|routing| Vec::deserialize(routing).ok())
        .unwrap_or_default()
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
            None => json!({ "takes_back": one.kind }),
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
    use jiff::Timestamp;
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

    fn at(target: &str) -> Value {
        json!([{ "destination": "aura", "kind": "closed", "target": target, "outcome": 0, "matcher": "field" }])
    }

    #[test]
    fn a_renamed_rule_makes_no_difference() {
        let then = before(vec![outcome(OutcomeKind::Closed, "old")], &at("1"));
        let now = after(vec![outcome(OutcomeKind::Closed, "new")], &at("1"));
        assert_eq!(Difference::between(EVENT, &then, &now), None);
    }

    #[test]
    fn another_outcome_at_the_same_target_is_told_as_before_and_after() {
        let then = before(vec![outcome(OutcomeKind::Closed, "r")], &at("1"));
        let now = after(vec![outcome(OutcomeKind::Lost, "r")], &at("1"));
        let difference = Difference::between(EVENT, &then, &now).unwrap();
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
        let difference = Difference::between(EVENT, &then, &now).unwrap();
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
        let difference = Difference::between(EVENT, &then, &now).unwrap();
        assert_eq!(difference.targets.len(), 1);
        assert!(difference.disposition.is_some());
    }
}
