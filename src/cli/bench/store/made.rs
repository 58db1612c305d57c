//! Calls and outcomes as a team of twenty agents would have them after a year, made up by counting.
//!
//! One call in ten is of one and the same phone, since such a phone is what breaks indexes; the others have about two callers
//! for three calls. Each call has three outcomes, one after the other, each of which holds when it comes.

use std::io::{BufWriter, Write};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

/// Each call's outcomes.
pub(super) const ROUNDS: u64 = 3;
/// The phone of every tenth call.
pub(super) const BUSY_PHONE: &str = "+14155550100";
const AGENTS: u64 = 20;
const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The last call is so old that all of its outcomes are past.
const AGE: SignedDuration = SignedDuration::from_hours(10 * 24);

const CALL: [&str; 11] = [
    "call_id",
    "platform",
    "agent_id",
    "phone",
    "direction",
    "started_at",
    "ended_at",
    "recording_url",
    "fields.interest",
    "metadata.campaign",
    "metadata.rep",
];
const OUTCOME: [&str; 7] = [
    "call_id",
    "outcome",
    "occurred_at",
    "value",
    "currency",
    "label",
    "metadata.rep",
];

/// So many calls over the year before a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct World {
    pub(super) calls: u64,
    now: Timestamp,
}

/// What a file is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ware {
    Calls,
    /// The first outcome of each call, the second, or the third.
    Outcomes(u64),
}

impl Ware {
    pub(super) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Calls => &CALL,
            Self::Outcomes(_) => &OUTCOME,
        }
    }
}

/// The same number for the same call, without order (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl World {
    pub(super) fn new(calls: u64, now: Timestamp) -> Self {
        Self { calls, now }
    }

    /// The first moment of its year, and the moment after it.
    pub(super) fn year(&self) -> (Timestamp, Timestamp) {
        (self.now - AGE - YEAR, self.now)
    }

    pub(super) fn agent(&self, call: u64) -> String {
        format!("agent-{}", mixed(call) % AGENTS)
    }

    pub(super) fn call_id(&self, call: u64) -> String {
        format!("bench-{call:07}")
    }

    fn started_at(&self, call: u64) -> Timestamp {
        let ms = YEAR.as_millis() * i128::from(call) / i128::from(self.calls.max(1));
        let after = SignedDuration::from_millis(i64::try_from(ms).unwrap_or_default());
        self.year().0 + after
    }

    fn phone(&self, call: u64) -> String {
        if call.is_multiple_of(10) {
            return BUSY_PHONE.to_owned();
        }
        let callers = (self.calls * 2 / 3).max(1);
        format!("+1415{:07}", 6_000_000 + mixed(call ^ 1) % callers)
    }

    fn call(&self, call: u64) -> Vec<String> {
        let at = self.started_at(call);
        let chance = mixed(call ^ 2);
        let lasted = SignedDuration::from_secs(20 + (chance % 600).cast_signed());
        vec![
            self.call_id(call),
            ["retell", "vapi"][(mixed(call) % AGENTS % 2) as usize].to_owned(),
            self.agent(call),
            self.phone(call),
            ["inbound", "outbound"][(chance >> 12) as usize % 2].to_owned(),
            at.to_string(),
            (at + lasted).to_string(),
            format!("https://recordings.example.com/{chance:016x}/{call:07}.mp3"),
            ["low", "medium", "high"][(chance >> 16) as usize % 3].to_owned(),
            format!("campaign-{}", (chance >> 24) % 40),
            format!("rep-{}", (chance >> 32) % 25),
        ]
    }

    fn outcome(&self, call: u64, round: u64) -> Vec<String> {
        let chance = mixed(call ^ (round + 3) << 32);
        let later = SignedDuration::from_mins((chance % 1_400).cast_signed());
        let days = SignedDuration::from_hours(24 * (round.cast_signed() + 1));
        let share = (chance >> 16) % 10;
        let (kind, label) = match (round, share) {
            (0, _) => ("follow_up", ""),
            (1, 0..6) => ("shown", ""),
            (1, _) => ("no_show", ""),
            (_, 0..3) => ("closed", "Sold"),
            (_, 3..6) => ("lost", "No Sale"),
            _ => ("follow_up", "Call back"),
        };
        let (value, currency) = match kind {
            "closed" => (format!("{}.50", 100 + (chance >> 24) % 4_900), "USD"),
            _ => (String::new(), ""),
        };
        vec![
            self.call_id(call),
            kind.to_owned(),
            (self.started_at(call) + days + later).to_string(),
            value,
            currency.to_owned(),
            label.to_owned(),
            format!("rep-{}", (chance >> 40) % 25),
        ]
    }

    /// One row of a ware.
    pub(super) fn row(&self, ware: Ware, call: u64) -> Vec<String> {
        match ware {
            Ware::Calls => self.call(call),
            Ware::Outcomes(round) => self.outcome(call, round),
        }
    }

    /// Writes a ware as CSV; answers the file's length. No cell needs quotes.
    pub(super) fn write(&self, ware: Ware, path: &Path) -> std::io::Result<u64> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        writeln!(file, "{}", ware.columns().join(","))?;
        for call in 0..self.calls {
            writeln!(file, "{}", self.row(ware, call).join(","))?;
        }
        file.into_inner()?.metadata().map(|about| about.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_columns_and_every_outcome_is_later_than_the_one_before() {
        let world = World::new(100, "2026-05-06T00:00:00Z".parse().unwrap());
        for call in 0..world.calls {
            assert_eq!(world.row(Ware::Calls, call).len(), CALL.len());
            let at: Vec<Timestamp> = (0..ROUNDS)
                .map(|round| {
                    let row = world.row(Ware::Outcomes(round), call);
                    assert_eq!(row.len(), OUTCOME.len());
                    row[2].parse().unwrap()
                })
                .collect();
            assert!(at.is_sorted() && at[2] < world.now, "{at:?}");
        }
        let busy = (0..100).filter(|call| world.phone(*call) == BUSY_PHONE);
        assert_eq!(busy.count(), 10);
    }
}
