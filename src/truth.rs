//! Which of a lane's revisions is its current truth.
//!
//! A pure function of the *set* of revisions and the destination's precedence: neither the order in
//! which they came nor repeats change the answer. The rules, first to last:
//!
//! 1. a manual correction holds until it is released (its event is settled without it); what a
//!    vendor takes back leaves it alone;
//! 2. final outcomes outrank open ones, unless the destination asks for the newest;
//! 3. the newest `occurred_at`; then reported over inferred; then the later arrival, which is the
//!    larger outcome id.

use jiff::Timestamp;

use crate::model::{Basis, EventId, OutcomeId, OutcomeKind, Precedence};

/// One outcome that a lane was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The outcome. Its id is also the order of arrival.
    pub outcome: OutcomeId,
    /// What happened.
    pub kind: OutcomeKind,
    /// How it is known.
    pub basis: Basis,
    /// When it happened at the vendor.
    pub occurred_at: Timestamp,
    /// What it is about (a booking, a deal); 0 when unknown.
    pub origin: u64,
    /// Hash of all that a destination is told.
    pub fingerprint: u64,
    /// It is not to be told before this. Without effect on what is the truth.
    pub not_before: Option<Timestamp>,
}

impl Revision {
    /// Whether it was made by the moment: its event was stored by then.
    fn was_made_by(&self, moment: Timestamp) -> bool {
        u64::try_from(moment.as_millisecond()).is_ok_and(|ms| self.outcome.event.millis() <= ms)
    }
}

/// What a withdrawal takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Withdrawn {
    /// Outcomes of this kind, by when they occurred. Manual corrections are left alone.
    Kind(OutcomeKind),
    /// Manual corrections of any kind, by when they were made.
    Manual,
}

/// Outcomes that no longer hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The event that took them back.
    pub event: EventId,
    /// Which ones.
    pub what: Withdrawn,
    /// Those up to this moment.
    pub up_to: Timestamp,
    /// Those about this; 0 means all.
    pub origin: u64,
}

/// What a lane remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An outcome.
    Outcome(Revision),
    /// Outcomes taken back.
    Withdrawal(Withdrawal),
}

impl Entry {
    /// The event that brought it.
    pub fn event(&self) -> EventId {
        match self {
            Self::Outcome(revision) => revision.outcome.event,
            Self::Withdrawal(withdrawal) => withdrawal.event,
        }
    }
}

impl Withdrawal {
    /// Whether it takes `revision` back.
    pub fn covers(&self, revision: &Revision) -> bool {
        let same_origin =
            self.origin == 0 || revision.origin == 0 || self.origin == revision.origin;
        let manual = revision.basis == Basis::Manual;
        same_origin
            && match self.what {
                Withdrawn::Kind(kind) => {
                    !manual && kind == revision.kind && revision.occurred_at <= self.up_to
                }
                Withdrawn::Manual => manual && revision.was_made_by(self.up_to),
            }
    }

    /// Whether everything that `other` takes back is taken back by this one, too.
    fn includes(&self, other: &Self) -> bool {
        self.what == other.what
            && self.up_to >= other.up_to
            && (self.origin == 0 || self.origin == other.origin)
    }
}

/// The order of two revisions: the larger is the truth.
fn rank(revision: &Revision, precedence: Precedence) -> (bool, bool, Timestamp, Basis, OutcomeId) {
    let manual = revision.basis == Basis::Manual;
    let decided = precedence == Precedence::FinalFirst && !manual && revision.kind.is_final();
    (
        manual,
        decided,
        revision.occurred_at,
        revision.basis,
        revision.outcome,
    )
}

/// Whether a withdrawal among `entries` takes `revision` back.
pub fn is_withdrawn(entries: &[Entry], revision: &Revision) -> bool {
    entries
        .iter()
        .any(|entry| matches!(entry, Entry::Withdrawal(w) if w.covers(revision)))
}

/// The current truth of `entries`.
pub fn current(entries: &[Entry], precedence: Precedence) -> Option<&Revision> {
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Outcome(revision) => Some(revision),
            Entry::Withdrawal(_) => None,
        })
        .filter(|revision| !is_withdrawn(entries, revision))
        .max_by_key(|revision| rank(revision, precedence))
}

/// Why `winner` is the truth and `loser` is not, in words that follow "out_… is the truth: ".
pub fn reason(winner: &Revision, loser: &Revision, precedence: Precedence) -> &'static str {
    let (won, lost) = (rank(winner, precedence), rank(loser, precedence));
    if won.0 != lost.0 {
        "a manual correction holds until it is released"
    } else if won.1 != lost.1 {
        "a final outcome outranks an open one"
    } else if won.2 != lost.2 {
        "it occurred later"
    } else if won.3 != lost.3 {
        "it was reported, not inferred"
    } else {
        "it arrived later"
    }
}

/// Forgets entries until at most `cap` are left, never changing the current truth. First go revisions
/// that were taken back and withdrawals that a wider one includes, then whatever is oldest.
pub fn compact(entries: &mut Vec<Entry>, precedence: Precedence, cap: usize) {
    if entries.len() <= cap {
        return;
    }
    let all = entries.clone();
    entries.retain(|entry| match entry {
        Entry::Outcome(revision) => !is_withdrawn(&all, revision),
        Entry::Withdrawal(one) => !all.iter().any(|other| {
            matches!(other, Entry::Withdrawal(wider)
                if wider.includes(one) && !one.includes(wider))
        }),
    });
    let truth = current(entries, precedence).map(|revision| revision.outcome);
    // No revision left is withdrawn, so neither an older revision nor a withdrawal can matter now.
    entries.sort_by_key(|entry| match entry {
        Entry::Outcome(r) => (Some(r.outcome) == truth, r.occurred_at),
        Entry::Withdrawal(w) => (false, w.up_to),
    });
    let surplus = entries.len().saturating_sub(cap.max(1));
    entries.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn revision(n: u64, kind: OutcomeKind, at: i64) -> Revision {
        Revision {
            outcome: OutcomeId {
                event: EventId(n),
                ordinal: 0,
            },
            kind,
            basis: Basis::Reported,
            occurred_at: Timestamp::from_second(at).unwrap(),
            origin: 0,
            fingerprint: n,
            not_before: None,
        }
    }

    fn withdrawal(n: u64, kind: OutcomeKind, at: i64, origin: u64) -> Entry {
        Entry::Withdrawal(Withdrawal {
            event: EventId(n),
            what: Withdrawn::Kind(kind),
            up_to: Timestamp::from_second(at).unwrap(),
            origin,
        })
    }

    fn truth(entries: &[Entry], precedence: Precedence) -> Option<u64> {
        current(entries, precedence).map(|r| r.outcome.event.0)
    }

    #[test]
    fn a_final_outcome_outranks_a_newer_open_one_unless_the_newest_is_wanted() {
        let entries = [
            Entry::Outcome(revision(1, OutcomeKind::Closed, 10)),
            Entry::Outcome(revision(2, OutcomeKind::NoShow, 20)),
        ];
        assert_eq!(truth(&entries, Precedence::FinalFirst), Some(1));
        assert_eq!(truth(&entries, Precedence::Newest), Some(2));
    }

    #[test]
    fn reported_beats_inferred_only_at_the_same_moment() {
        let inferred = |n, at| {
            Entry::Outcome(Revision {
                basis: Basis::Inferred,
                ..revision(n, OutcomeKind::Shown, at)
            })
        };
        let reported = Entry::Outcome(revision(1, OutcomeKind::NoShow, 10));
        let tie = [reported.clone(), inferred(2, 10)];
        assert_eq!(truth(&tie, Precedence::FinalFirst), Some(1));
        let newer = [reported, inferred(2, 11)];
        assert_eq!(truth(&newer, Precedence::FinalFirst), Some(2));
    }

    #[test]
    fn a_manual_correction_holds_against_final_newer_and_withdrawn() {
        let manual = Entry::Outcome(Revision {
            basis: Basis::Manual,
            ..revision(1, OutcomeKind::Shown, 1)
        });
        let entries = [
            manual,
            Entry::Outcome(revision(2, OutcomeKind::Closed, 50)),
            withdrawal(3, OutcomeKind::Shown, 60, 0),
        ];
        assert_eq!(truth(&entries, Precedence::FinalFirst), Some(1));
    }

    #[test]
    fn a_withdrawal_takes_back_its_kind_and_origin_up_to_its_moment() {
        let about = |n, at, origin| {
            Entry::Outcome(Revision {
                origin,
                ..revision(n, OutcomeKind::Closed, at)
            })
        };
        let entries = [
            about(1, 10, 7),
            about(2, 20, 8),
            about(3, 40, 7),
            withdrawal(4, OutcomeKind::Closed, 30, 7),
        ];
        assert_eq!(truth(&entries[..2], Precedence::FinalFirst), Some(2));
        assert_eq!(truth(&entries, Precedence::FinalFirst), Some(3));
        let one = [about(1, 10, 7), withdrawal(4, OutcomeKind::Closed, 30, 8)];
        assert_eq!(truth(&one, Precedence::FinalFirst), Some(1));
        let unknown = [about(1, 10, 7), withdrawal(4, OutcomeKind::Closed, 30, 0)];
        assert_eq!(truth(&unknown, Precedence::FinalFirst), None);
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let outcome = (1..40u64, 0..5usize, 0..3u8, 0..12i64, 0..3u64).prop_map(
            |(n, kind, basis, at, origin)| {
                Entry::Outcome(Revision {
                    basis: [Basis::Inferred, Basis::Reported, Basis::Manual]
                        [usize::from(basis.min(1 + u8::from(n % 9 == 0)))],
                    origin,
                    ..revision(n, OutcomeKind::ALL[kind], at)
                })
            },
        );
        let taken_back = (1..40u64, 0..5usize, 0..12i64, 0..3u64)
            .prop_map(|(n, kind, at, origin)| withdrawal(n, OutcomeKind::ALL[kind], at, origin));
        prop_oneof![3 => outcome, 1 => taken_back]
    }

    /// One entry per outcome id, as a lane has it.
    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        prop::collection::vec(entry(), 0..40).prop_map(|all| {
            let mut seen = std::collections::HashSet::new();
            let fresh = |e: &Entry| !matches!(e, Entry::Outcome(r) if !seen.insert(r.outcome));
            all.into_iter().filter(fresh).collect()
        })
    }

    proptest! {
        #[test]
        fn order_and_repeats_do_not_change_the_truth(
            entries in entries(), seed: u64, newest: bool,
        ) {
            let precedence = if newest { Precedence::Newest } else { Precedence::FinalFirst };
            let expected = truth(&entries, precedence);
            let mut other = entries.clone();
            let mut state = seed;
            for i in (1..other.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                other.swap(i, (state >> 33) as usize % (i + 1));
            }
            if let Some(again) = other.first().cloned() {
                other.push(again);
            }
            prop_assert_eq!(truth(&other, precedence), expected);
        }

        #[test]
        fn compaction_never_changes_the_truth_and_keeps_to_its_cap(
            entries in entries(), cap in 1..20usize, newest: bool,
        ) {
            let precedence = if newest { Precedence::Newest } else { Precedence::FinalFirst };
            let mut compacted = entries.clone();
            compact(&mut compacted, precedence, cap);
            prop_assert!(compacted.len() <= cap.max(1).max(entries.len().min(cap)));
            prop_assert_eq!(truth(&compacted, precedence), truth(&entries, precedence));
        }
    }
}
