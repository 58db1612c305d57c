//! What happens at the vendor: an endless list of outcomes of a few calls, and what is true of a call
//! once some of them are known. It knows nothing of the code under test.

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// How many calls the outcomes are about.
pub(crate) const CALLS: u64 = 40;

/// How far an outcome may be heard of before or after its turn, in outcomes.
const DISORDER: u64 = 300;

/// All outcomes of one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Story {
    /// What everything is drawn from.
    pub(crate) seed: u64,
}

/// One outcome, as the vendor tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Telling {
    /// Its place in the list.
    pub(crate) number: u64,
    /// The call it is about.
    pub(crate) call: String,
    /// The word for it.
    pub(crate) outcome: &'static str,
    /// When it happened. No two outcomes have the same moment, so nothing hangs on arrival.
    pub(crate) occurred_at: Timestamp,
}

/// Which outcomes count for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precedence {
    /// `closed` and `lost` outrank the others; then the newest counts.
    FinalFirst,
    /// The newest counts.
    Newest,
}

impl Story {
    /// The outcome with this number.
    pub(crate) fn telling(self, number: u64) -> Telling {
        let mut rng = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let call = rng.random_range(0..CALLS);
        // Some calls never come to an end, so that open outcomes go on mattering.
        let outcome = match rng.random_range(0..10) {
            0 if call % 3 != 0 => "closed",
            1 if call % 3 != 0 => "lost",
            2..5 => "shown",
            5..8 => "no_show",
            _ => "follow_up",
        };
        let seconds = number + rng.random_range(0..DISORDER);
        // The number itself makes moments of the same second differ.
        let micros = seconds * 1_000_000 + number % 1_000_000;
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let since = SignedDuration::from_micros(i64::try_from(micros).unwrap());
        Telling {
            number,
            call: format!("call-{call:02}"),
            outcome,
            occurred_at: start + since,
        }
    }

    /// What is true of a call when exactly these outcomes of it are known.
    pub(crate) fn truth(
        self,
        numbers: impl Iterator<Item = u64>,
        precedence: Precedence,
    ) -> Option<u64> {
        numbers.max_by_key(|number| self.telling(*number).rank(precedence))
    }
}

impl Telling {
    /// The larger one is the truth.
    pub(crate) fn rank(&self, precedence: Precedence) -> (bool, Timestamp) {
        let ends = matches!(self.outcome, "closed" | "lost");
        (
            precedence == Precedence::FinalFirst && ends,
            self.occurred_at,
        )
    }

    /// The label that names it everywhere.
    pub(crate) fn label(&self) -> String {
        format!("E{}", self.number)
    }

    /// The text beside it.
    pub(crate) fn notes(&self) -> String {
        format!("told as number {}", self.number)
    }

    /// What the vendor posts.
    pub(crate) fn body(&self) -> String {
        json!({
            "outcome": self.outcome,
            "call_id": self.call,
            "occurred_at": self.occurred_at,
            "label": self.label(),
            "notes": self.notes(),
        })
        .to_string()
    }

    /// Whether a document has all that was told, word for word. `outcome` is its key of the outcome.
    pub(crate) fn is_in(&self, document: &Value, outcome: &str) -> bool {
        let moment = document["occurred_at"]
            .as_str()
            .and_then(|text| text.parse().ok());
        document[outcome] == self.outcome
            && document["call_id"] == *self.call
            && document["label"] == *self.label()
            && document["notes"] == *self.notes()
            && moment == Some(self.occurred_at)
    }
}

/// The number behind a label.
pub(crate) fn number(label: &Value) -> Option<u64> {
    label.as_str()?.strip_prefix('E')?.parse().ok()
}

#[test]
fn no_two_outcomes_have_the_same_moment() {
    let story = Story { seed: 7 };
    let moments: std::collections::BTreeSet<_> = (0..20_000)
        .map(|number| story.telling(number).occurred_at)
        .collect();
    assert_eq!(moments.len(), 20_000);
}

#[test]
fn an_end_outranks_what_is_newer_and_open_only_where_that_is_asked_for() {
    let story = Story { seed: 7 };
    let find = |from, outcome| {
        (from..)
            .find(|number| story.telling(*number).outcome == outcome)
            .unwrap()
    };
    let closed = find(0, "closed");
    let shown = find(closed + DISORDER, "shown");
    let both = [closed, shown];
    assert_eq!(
        story.truth(both.into_iter(), Precedence::FinalFirst),
        Some(closed)
    );
    assert_eq!(
        story.truth(both.into_iter(), Precedence::Newest),
        Some(shown)
    );
}
