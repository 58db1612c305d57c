//! From facts to lanes: which destinations want them, and at which address.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Map;
use sha2::{Digest, Sha256};

use crate::model::{
    Basis, DestinationName, EventId, Fact, Outcome, OutcomeKind, Retraction, SourceName, Subject,
};
use crate::queue::{Change, LaneChange};
use crate::setup::{Destination, Routes, Taken};

/// Where one fact went, as the trace keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Routed {
    /// The destination.
    pub destination: DestinationName,
    /// What it is about.
    pub kind: OutcomeKind,
    /// Whether it takes the outcome back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retract: bool,
    /// The route that led there, counted from 1. `None`: every outcome goes there, or it is a retraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<usize>,
    /// Which way of addressing was taken, e.g. `call` or `phone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matcher: Option<String>,
    /// The address at the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Why there is no address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unresolved: Option<String>,
}

/// A destination that conditions kept an outcome from, as the trace keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Withheld {
    /// The destination.
    pub destination: DestinationName,
    /// What it is about.
    pub kind: OutcomeKind,
    /// Which condition of which route does not hold.
    pub why: String,
}

/// All that routing made of an event's facts.
#[derive(Debug, Default)]
pub struct Routing {
    /// Changes for the lanes.
    pub changes: Vec<LaneChange>,
    /// Every decision, also those without an address.
    pub routed: Vec<Routed>,
    /// Where conditions did not hold.
    pub withheld: Vec<Withheld>,
}

impl Routing {
    /// Routes the facts of one event. Outcomes are numbered in the order of `facts`.
    pub fn of(facts: &[Fact], routes: &Routes, source: &SourceName, event: EventId) -> Self {
        let mut routing = Self::default();
        let mut ordinal = 0;
        for fact in facts {
            match fact {
                Fact::Outcome(outcome) => {
                    let change = Change::Outcome(ordinal);
                    ordinal += 1;
                    let chosen = routes.choose(source, outcome);
                    for Taken { destination, route } in chosen.taken {
                        routing.route(outcome, &change, source, destination, route);
                    }
                    let withheld = chosen.left_out.into_iter().map(|left_out| Withheld {
                        destination: left_out.destination,
                        kind: outcome.kind,
                        why: left_out.why,
                    });
                    routing.withheld.extend(withheld);
                }
                Fact::Retraction(retraction) => {
                    let change = Change::Retract(retraction.kind, retraction.occurred_at);
                    let outcome = stand_in(retraction, source, event);
                    for destination in routes.destinations(source, retraction.kind) {
                        routing.route(&outcome, &change, source, destination, None);
                    }
                }
                Fact::Appointment(_) | Fact::Call(_) | Fact::Release(_) => {}
            }
        }
        routing
    }

    fn route(
        &mut self,
        outcome: &Outcome,
        change: &Change,
        source: &SourceName,
        destination: &Destination,
        route: Option<usize>,
    ) {
        let mut routed = Routed {
            destination: destination.name.clone(),
            kind: outcome.kind,
            retract: matches!(change, Change::Retract(..)),
            route,
            matcher: None,
            target: None,
            unresolved: None,
        };
        match destination.outbound.target(outcome) {
            Err(why) => routed.unresolved = Some(why),
            Ok(target) => {
                let not_before = match change {
                    Change::Outcome(_) => destination.outbound.not_before(outcome),
                    Change::Retract(..) | Change::Release(_) => None,
                };
                self.changes.push(LaneChange {
                    destination: destination.name.clone(),
                    target: target.address.clone(),
                    mode: destination.mode,
                    precedence: destination.precedence,
                    can_clear: destination.outbound.can_clear(),
                    max_age: max_age(destination, outcome, not_before),
                    change: change.clone(),
                    not_before,
                    origin: origin(source, &outcome.subject),
                });
                routed.matcher = Some(target.name);
                routed.target = Some(target.address);
            }
        }
        self.routed.push(routed);
    }

    /// Why some destinations have no address for it, in words; empty when all have one.
    pub fn unresolved(&self) -> String {
        let reasons = self.routed.iter().filter_map(|routed| {
            routed
                .unresolved
                .as_ref()
                .map(|why| format!("{}: {why}", routed.destination))
        });
        reasons.collect::<Vec<_>>().join("; ")
    }
}

/// The outcome that a retraction takes back, as far as addressing needs it.
fn stand_in(retraction: &Retraction, source: &SourceName, event: EventId) -> Outcome {
    Outcome {
        kind: retraction.kind,
        label: None,
        value: None,
        notes: None,
        metadata: Map::new(),
        subject: retraction.subject.clone(),
        occurred_at: retraction.occurred_at,
        basis: Basis::Reported,
        source: source.clone(),
        event,
        rule: retraction.rule.clone(),
    }
}

/// How long a delivery is tried, counted from its creation: what is scheduled gets its time on top.
fn max_age(
    destination: &Destination,
    outcome: &Outcome,
    not_before: Option<Timestamp>,
) -> SignedDuration {
    let received = i64::try_from(outcome.event.millis()).unwrap_or(i64::MAX);
    let ahead = not_before.map_or(0, |at| at.as_millisecond().saturating_sub(received));
    let ahead = SignedDuration::from_millis(ahead.max(0));
    destination.options.retry.max_age.saturating_add(ahead)
}

/// Ties revisions to the booking or deal they are about; 0 when neither is known.
fn origin(source: &SourceName, subject: &Subject) -> u64 {
    let Some(id) = subject.booking_id.as_ref().or(subject.deal_id.as_ref()) else {
        return 0;
    };
    let mut hash = Sha256::new();
    hash.update(source.as_str());
    hash.update([0]);
    hash.update(id);
    let digest = hash.finalize();
    let head = digest.first_chunk::<8>().expect("SHA-256 gives 32 bytes");
    // 0 means "unknown", so a known origin must not be 0.
    u64::from_be_bytes(*head).max(1)
}
