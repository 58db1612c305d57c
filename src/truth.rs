//! Which of a lane's revisions is its current truth.
//!
//! A pure function of the *set* of revisions and the destination's precedence: neither the order in
//! which they came nor repeats change the answer. The rules, first to last:
//!
//! 1. a manual correction holds until it is released; what a vendor takes back leaves it alone;
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

/// What a withdrawal takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Withdrawn {
    /// Outcomes of this kind, by when they occurred. Manual corrections are left alone.
    Kind(OutcomeKind),
    /// Manual corrections of any kind, by when they arrived: those of earlier events, whatever the clock said.
    Manual,
}

/// Outcomes that no longer hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The event that took them back.
    pub event: EventId,
    /// Which ones.
    pub what: Withdrawn,
    /// Those up to this moment. Of manual corrections it says nothing but when they were released.
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
                Withdrawn::Manual => manual && revision.outcome.event < self.event,
            }
    }

    /// Whether everything that `other` takes back is taken back by this one, too.
    fn includes(&self, other: &Self) -> bool {
        let reaches = match self.what {
            Withdrawn::Kind(_) => self.up_to >= other.up_to,
            Withdrawn::Manual => self.event >= other.event,
        };
        self.what == other.what && reaches && (self.origin == 0 || self.origin == other.origin)
    }
}

/// The order of two revisions: the larger is the truth.
fn rank(revision: &Revision, precedence: Precedence) -> Rank {
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

/// The revisions that nothing takes back.
pub fn holding(entries: &[Entry]) -> impl Iterator<Item = &Revision> {
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Outcome(revision) => Some(revision),
            Entry::Withdrawal(_) => None,
        })
        .filter(|revision| !is_withdrawn(entries, revision))
}

/// The current truth of `entries`.
pub fn current(entries: &[Entry], precedence: Precedence) -> Option<&Revision> {
    holding(entries).max_by_key(|revision| rank(revision, precedence))
}

/// The furthest that the lead came, by what holds in `entries`, be it the truth or not: a deal that is lost does not undo
/// that its appointment was attended.
pub fn furthest(entries: &[Entry]) -> Option<OutcomeKind> {
    holding(entries)
        .map(|revision| revision.kind)
        .max_by_key(|kind| kind.progress())
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

/// What an event changes at a target: the truth of `entries` without it, the truth with it, and the rule that
/// decides between the two, in words.
pub fn influence(
    entries: &[Entry],
    event: EventId,
    precedence: Precedence,
) -> (Option<Revision>, Option<Revision>, &'static str) {
    let others: Vec<Entry> = entries
        .iter()
        .filter(|entry| entry.event() != event)
        .cloned()
        .collect();
    let without = current(&others, precedence).cloned();
    let with = current(entries, precedence).cloned();
    let own_taken_back = entries.iter().any(|entry| {
        matches!(entry, Entry::Outcome(own) if own.outcome.event == event && is_withdrawn(entries, own))
    });
    let why = match (&without, &with) {
        (None, None) if own_taken_back => "what it says was taken back",
        (None, None) => "nothing holds",
        (None, Some(_)) => "nothing else is known",
        (Some(without), with) if is_withdrawn(entries, without) => match with {
            Some(_) => "the other was taken back, this is the next best",
            None => "it was taken back, and nothing else is known",
        },
        (Some(_), None) => "nothing holds any more",
        (Some(without), Some(with)) if without.outcome != with.outcome => {
            reason(with, without, precedence)
        }
        (Some(without), Some(_)) => entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Outcome(revision) if revision.outcome.event == event => Some(revision),
                _ => None,
            })
            .max_by_key(|revision| rank(revision, precedence))
            .map_or("it says nothing that holds", |own| {
                if is_withdrawn(entries, own) {
                    "what it says was taken back"
                } else {
                    reason(without, own, precedence)
                }
            }),
    };
    (without, with, why)
}

/// Forgets entries until at most `cap` are left, never changing the current truth.
///
/// What goes first can matter least, whatever comes later: withdrawals that a wider one includes; then
/// revisions that are taken back; then the lowest of the revisions that hold, down to half of the cap; then
/// the oldest withdrawals. A withdrawal goes only when nothing is left that it takes back. So with no more
/// than half a cap each of revisions that hold and of withdrawals that no other includes, the order in which
/// entries came does not show afterwards.
pub fn compact(entries: &mut Vec<Entry>, precedence: Precedence, cap: usize) {
    let cap = cap.max(1);
    let Some(surplus) = entries
        .len()
        .checked_sub(cap)
        .filter(|surplus| *surplus > 0)
    else {
        return;
    };
    let mut holding: Vec<_> = holding(entries)
        .map(|revision| rank(revision, precedence))
        .collect();
    holding.sort_unstable_by(|a, b| b.cmp(a));
    let best = holding.get((cap / 2).max(1) - 1).or(holding.last());
    let mut by_worth: Vec<_> = entries
        .iter()
        .enumerate()
        .map(|(place, entry)| (worth(entry, entries, precedence, best), place))
        .collect();
    by_worth.sort_unstable();
    let gone: Vec<usize> = by_worth.drain(..surplus).map(|(_, place)| place).collect();
    let mut place = 0..;
    entries.retain(|_| place.next().is_none_or(|place| !gone.contains(&place)));
}

type Rank = (bool, bool, Timestamp, Basis, OutcomeId);

/// How much an entry matters: by class, and within it by age or rank.
fn worth(
    entry: &Entry,
    entries: &[Entry],
    precedence: Precedence,
    best: Option<&Rank>,
) -> (u8, Option<Rank>, Option<(Timestamp, EventId)>) {
    match entry {
        Entry::Withdrawal(one) => {
            let included = entries.iter().any(|other| {
                matches!(other, Entry::Withdrawal(wider)
                    if wider.includes(one) && (!one.includes(wider) || wider.event > one.event))
            });
            let class = if included { 0 } else { 3 };
            (class, None, Some((one.up_to, one.event)))
        }
        Entry::Outcome(revision) => {
            let rank = rank(revision, precedence);
            let class = if is_withdrawn(entries, revision) {
                1
            } else if best.is_some_and(|best| rank < *best) {
                2
            } else {
                4
            };
            (class, Some(rank), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The event that was stored `n` seconds after the epoch.
    fn event(n: u64) -> EventId {
        EventId::first_at(n * 1000)
    }

    fn number(event: EventId) -> u64 {
        event.millis() / 1000
    }

    fn revision(n: u64, kind: OutcomeKind, at: i64) -> Revision {
        Revision {
            outcome: OutcomeId {
                event: event(n),
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

    fn taken_back(n: u64, what: Withdrawn, at: i64, origin: u64) -> Entry {
        Entry::Withdrawal(Withdrawal {
            event: event(n),
            what,
            up_to: Timestamp::from_second(at).unwrap(),
            origin,
        })
    }

    fn withdrawal(n: u64, kind: OutcomeKind, at: i64, origin: u64) -> Entry {
        taken_back(n, Withdrawn::Kind(kind), at, origin)
    }

    fn manual(n: u64, kind: OutcomeKind, at: i64) -> Entry {
        Entry::Outcome(Revision {
            basis: Basis::Manual,
            ..revision(n, kind, at)
        })
    }

    fn truth(entries: &[Entry], precedence: Precedence) -> Option<u64> {
        current(entries, precedence).map(|r| number(r.outcome.event))
    }

    #[test]
    fn the_furthest_is_what_holds_whether_it_is_the_truth_or_not() {
        let mut entries = vec![
            Entry::Outcome(revision(1, OutcomeKind::Lost, 30)),
            Entry::Outcome(revision(2, OutcomeKind::NoShow, 10)),
            Entry::Outcome(revision(3, OutcomeKind::Shown, 20)),
        ];
        assert_eq!(truth(&entries, Precedence::FinalFirst), Some(1));
        assert_eq!(furthest(&entries), Some(OutcomeKind::Shown));
        entries.push(withdrawal(4, OutcomeKind::Shown, 20, 0));
        assert_eq!(furthest(&entries), Some(OutcomeKind::NoShow));
        assert_eq!(furthest(&[]), None);
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
        let entries = [
            manual(1, OutcomeKind::Shown, 1),
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

    #[test]
    fn a_release_takes_back_corrections_made_by_then_whatever_they_say() {
        let release = |n, up_to| taken_back(n, Withdrawn::Manual, up_to, 0);
        let reported = Entry::Outcome(revision(1, OutcomeKind::Closed, 10));
        // It says when the lead came, which may be long after the correction was made.
        let corrected = manual(20, OutcomeKind::Shown, 5_000);
        let again = manual(40, OutcomeKind::NoShow, 2);
        let entries = [reported, corrected, release(30, 30), again];
        assert_eq!(truth(&entries[..2], Precedence::FinalFirst), Some(20));
        assert_eq!(truth(&entries[..3], Precedence::FinalFirst), Some(1));
        assert_eq!(truth(&entries, Precedence::FinalFirst), Some(40));
        let too_early = [entries[1].clone(), release(19, 30)];
        assert_eq!(truth(&too_early, Precedence::FinalFirst), Some(20));
        // The clock was set back in between.
        let by_arrival = [entries[1].clone(), release(21, 3)];
        assert_eq!(truth(&by_arrival, Precedence::FinalFirst), None);
    }

    #[test]
    fn compaction_keeps_what_the_truth_may_fall_back_to() {
        let mut entries = vec![
            manual(1, OutcomeKind::Shown, 1),
            Entry::Outcome(revision(2, OutcomeKind::Closed, 2)),
        ];
        let open = |n| Entry::Outcome(revision(n, OutcomeKind::NoShow, n as i64));
        entries.extend((3..40).map(open));
        compact(&mut entries, Precedence::FinalFirst, 8);
        assert_eq!(entries.len(), 8);
        entries.push(taken_back(50, Withdrawn::Manual, 50, 0));
        assert_eq!(truth(&entries, Precedence::FinalFirst), Some(2));
    }

    #[test]
    fn an_events_influence_is_the_truth_with_it_and_without_it_and_why() {
        let shown = Entry::Outcome(revision(1, OutcomeKind::Shown, 10));
        let closed = Entry::Outcome(revision(2, OutcomeKind::Closed, 5));
        let reopened = withdrawal(3, OutcomeKind::Closed, 20, 0);
        let (first, second, third) = (shown.event(), closed.event(), reopened.event());
        let told = |entries: &[Entry], event| {
            let (without, with, why) = influence(entries, event, Precedence::FinalFirst);
            let event_of = |held: Option<Revision>| held.map(|revision| revision.outcome.event);
            (event_of(without), event_of(with), why)
        };
        let both = [shown.clone(), closed.clone()];
        let outranks = "a final outcome outranks an open one";
        assert_eq!(told(&both, second), (Some(first), Some(second), outranks));
        assert_eq!(told(&both, first), (Some(second), Some(second), outranks));
        assert_eq!(
            told(&both[..1], first),
            (None, Some(first), "nothing else is known")
        );
        let all = [shown, closed, reopened];
        assert_eq!(
            told(&all, third),
            (
                Some(second),
                Some(first),
                "the other was taken back, this is the next best"
            )
        );
        assert_eq!(told(&all, second).2, "what it says was taken back");
        let nothing_left = [all[1].clone(), all[2].clone()];
        assert_eq!(
            told(&nothing_left, second),
            (None, None, "what it says was taken back")
        );
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
        let released = (1..40u64, 0..40i64, 0..3u64)
            .prop_map(|(n, at, origin)| taken_back_manual(n, at, origin));
        prop_oneof![6 => outcome, 2 => taken_back, 1 => released]
    }

    fn taken_back_manual(n: u64, at: i64, origin: u64) -> Entry {
        taken_back(n, Withdrawn::Manual, at, origin)
    }

    fn shuffle<T>(items: &mut [T], mut state: u64) {
        for i in (1..items.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            items.swap(i, (state >> 33) as usize % (i + 1));
        }
    }

    /// The rules as they are written down, one after the other.
    fn by_the_book(entries: &[Entry], precedence: Precedence) -> Option<u64> {
        let mut left: Vec<&Revision> = entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Outcome(revision) => Some(revision),
                Entry::Withdrawal(_) => None,
            })
            .filter(|revision| {
                !entries.iter().any(|entry| match entry {
                    Entry::Outcome(_) => false,
                    Entry::Withdrawal(w) => {
                        let about =
                            [0, revision.origin].contains(&w.origin) || revision.origin == 0;
                        about
                            && match (w.what, revision.basis) {
                                (Withdrawn::Manual, Basis::Manual) => {
                                    revision.outcome.event < w.event
                                }
                                (Withdrawn::Manual, _) | (Withdrawn::Kind(_), Basis::Manual) => {
                                    false
                                }
                                (Withdrawn::Kind(kind), _) => {
                                    kind == revision.kind && revision.occurred_at <= w.up_to
                                }
                            }
                    }
                })
            })
            .collect();
        let mut prefer = |wanted: &dyn Fn(&Revision) -> bool| {
            if left.iter().any(|revision| wanted(revision)) {
                left.retain(|revision| wanted(revision));
            }
        };
        prefer(&|r| r.basis == Basis::Manual);
        if precedence == Precedence::FinalFirst {
            prefer(&|r| r.basis == Basis::Manual || r.kind.is_final());
        }
        let newest = left.iter().map(|r| r.occurred_at).max();
        left.retain(|r| Some(r.occurred_at) == newest);
        if left.iter().any(|r| r.basis == Basis::Reported) {
            left.retain(|r| r.basis != Basis::Inferred);
        }
        left.iter().map(|r| number(r.outcome.event)).max()
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
            shuffle(&mut other, seed);
            if let Some(again) = other.first().cloned() {
                other.push(again);
            }
            prop_assert_eq!(truth(&other, precedence), expected);
        }

        #[test]
        fn the_truth_is_what_the_rules_say(entries in entries(), newest: bool) {
            let precedence = if newest { Precedence::Newest } else { Precedence::FinalFirst };
            prop_assert_eq!(truth(&entries, precedence), by_the_book(&entries, precedence));
        }

        #[test]
        fn what_is_taken_back_counts_as_if_it_had_never_been_said(
            entries in entries(), newest: bool,
        ) {
            let precedence = if newest { Precedence::Newest } else { Precedence::FinalFirst };
            let mut without = entries.clone();
            without.retain(|e| !matches!(e, Entry::Outcome(r) if is_withdrawn(&entries, r)));
            prop_assert_eq!(truth(&without, precedence), truth(&entries, precedence));
        }

        #[test]
        fn compacting_after_each_entry_gives_the_same_truth_in_every_order(
            entries in entries(), seed: u64, newest: bool,
        ) {
            let precedence = if newest { Precedence::Newest } else { Precedence::FinalFirst };
            // Room for all that can hold at once: 18 withdrawals that no other includes, and the revisions
            // of this history.
            let mut revisions = 0;
            let mut few = entries;
            few.retain(|entry| match entry {
                Entry::Outcome(_) => { revisions += 1; revisions <= 18 }
                Entry::Withdrawal(_) => true,
            });
            let expected = truth(&few, precedence);
            shuffle(&mut few, seed);
            let mut lane = Vec::new();
            for entry in few {
                lane.push(entry);
                compact(&mut lane, precedence, 36);
            }
            prop_assert_eq!(truth(&lane, precedence), expected);
        }

        #[test]
        fn with_nothing_taken_back_any_cap_gives_the_same_truth_in_every_order(
            entries in entries(), seed: u64, newest: bool, cap in 1..6usize,
        ) {
            let precedence = if newest { Precedence::Newest } else { Precedence::FinalFirst };
            let mut said = entries;
            said.retain(|entry| matches!(entry, Entry::Outcome(_)));
            let expected = truth(&said, precedence);
            shuffle(&mut said, seed);
            let mut lane = Vec::new();
            for entry in said {
                lane.push(entry);
                compact(&mut lane, precedence, cap);
            }
            prop_assert_eq!(truth(&lane, precedence), expected);
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
