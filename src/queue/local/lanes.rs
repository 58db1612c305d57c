//! Revising a lane: what an event says about a target is laid over what is known, the truth is found
//! anew, and what has to be delivered follows from it.
//!
//! Three steps, each looking only at the lane's row: is the open delivery still right; does the target
//! need something; and what became of each outcome of this event, so that everything is accounted for.

use crate::model::{DeliveryId, DeliveryState, EventId, OutcomeId, OutcomeKind};
use crate::queue::{QueueError, Result};
use crate::truth::{self, Entry, Revision};

use super::lane_row::{Holds, LaneRow, Open, Rules};
use super::line;
use super::row::DeliveryRow;
use super::tree::{self, Hash16, Tree};
use super::tx::{Tx, due_after, moment};

/// Entries that a lane remembers at most.
const MAX_ENTRIES: usize = 256;

/// The event that revises a lane.
#[derive(Debug)]
pub(super) struct Reviser<'a> {
    pub event: EventId,
    /// The number that the event's next delivery gets.
    pub next_delivery: &'a mut u16,
    pub max_age_ms: u64,
    /// What the event says of the destination.
    pub rules: Option<Rules>,
}

/// A delivery to be noted.
pub(super) struct Note {
    pub brings: Option<(OutcomeId, OutcomeKind)>,
    pub fingerprint: u64,
    pub state: DeliveryState,
    pub reason: String,
    /// When it is due; in the past for one that never is.
    pub due_ms: u64,
    /// See [`DeliveryRow::turn`].
    pub turn: u64,
}

impl Note {
    fn of(revision: &Revision, state: DeliveryState, reason: String) -> Self {
        Self {
            brings: Some((revision.outcome, revision.kind)),
            fingerprint: revision.fingerprint,
            state,
            reason,
            due_ms: 0,
            turn: 0,
        }
    }

    fn clearing(state: DeliveryState, reason: &str) -> Self {
        Self {
            brings: None,
            fingerprint: 0,
            state,
            reason: reason.to_owned(),
            due_ms: 0,
            turn: 0,
        }
    }
}

/// Replaces what the event said about the lane before by `said`, and draws the consequences. Answers whether the
/// lane's row changed: an event that says what it said before changes nothing and sends nothing.
pub(super) fn revise(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    said: &[Entry],
    reviser: &mut Reviser<'_>,
) -> Result<bool> {
    if is_known(lane, said, reviser) && !is_open_lost(tx, lane)? {
        return Ok(false);
    }
    let before = truth_of(lane);
    if let Some(rules) = reviser.rules {
        lane.rules = rules;
    }
    lane.entries.retain(|entry| entry.event() != reviser.event);
    for entry in said {
        if !lane.entries.contains(entry) {
            lane.entries.push(entry.clone());
        }
    }
    let all = lane.entries.clone();
    truth::compact(&mut lane.entries, lane.rules.precedence, MAX_ENTRIES);
    let now = truth_of(lane);

    close_outdated(tx, key, lane, now.as_ref(), &all)?;
    let opened = open_needed(tx, key, lane, before.as_ref(), now.as_ref(), reviser)?;
    let now = now.map(|(truth, _)| truth);
    for entry in said {
        if let Entry::Outcome(revision) = entry
            && opened != Some(revision.outcome)
        {
            account(tx, key, lane, now.as_ref(), revision, &all, reviser)?;
        }
    }
    Ok(true)
}

/// What a target is told with the truth: the outcome, and the hash of everything it is told with it.
type Content = (OutcomeId, u64);

/// What a delivery of `truth`, which is the lane's, brings to its target.
pub(super) fn content(lane: &LaneRow, truth: &Revision) -> Content {
    let beyond = truth::furthest(&lane.entries)
        .filter(|kind| lane.rules.counts_progress && kind.progress() > truth.kind.progress());
    // Told by the truth itself in most lanes, whose hash it leaves as it is.
    let beyond = beyond.map_or(0, OutcomeKind::progress);
    (truth.outcome, with_progress(truth.fingerprint, beyond))
}

fn with_progress(fingerprint: u64, beyond: u8) -> u64 {
    fingerprint ^ u64::from(beyond).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Whether `told`, the hash of a [`Content`], is that of the same outcome, however far the lead had come.
pub(super) fn tells_same(told: u64, outcome: &Revision) -> bool {
    let mut stages = OutcomeKind::ALL.iter().map(|kind| kind.progress());
    stages.any(|beyond| with_progress(outcome.fingerprint, beyond) == told)
}

fn truth_of(lane: &LaneRow) -> Option<(Revision, Content)> {
    let truth = truth::current(&lane.entries, lane.rules.precedence)?;
    Some((truth.clone(), content(lane, truth)))
}

/// Whether the lane knows all this already from the event, and nothing else of it.
fn is_known(lane: &LaneRow, said: &[Entry], reviser: &Reviser<'_>) -> bool {
    let of_event = || lane.entries.iter().filter(|e| e.event() == reviser.event);
    reviser.rules.is_none_or(|asked| asked == lane.rules)
        && said.iter().all(|entry| lane.entries.contains(entry))
        && of_event().all(|entry| said.contains(entry))
}

/// Whether the lane waits for a delivery that damage took away.
pub(super) fn is_open_lost(tx: &Tx<'_>, lane: &LaneRow) -> Result<bool> {
    let Some(open) = lane.open else {
        return Ok(false);
    };
    let key = tree::delivery(open.delivery);
    let row: Option<DeliveryRow> = tx.stage.sound_row(Tree::Delivery, &key)?;
    Ok(row.is_none())
}

/// Closes the open delivery unless it brings exactly the truth. One that damage took away may have brought anything.
fn close_outdated(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    now: Option<&(Revision, Content)>,
    all: &[Entry],
) -> Result<()> {
    let Some(open) = lane.open else {
        return Ok(());
    };
    let delivery_key = tree::delivery(open.delivery);
    let row: Option<DeliveryRow> = tx.stage.sound_row(Tree::Delivery, &delivery_key)?;
    let wanted = now.map(|(_, content)| *content);
    let brings = |row: &DeliveryRow| row.outcome.map(|(outcome, _)| (outcome, row.fingerprint));
    if row.as_ref().is_some_and(|row| wanted == brings(row)) {
        return Ok(());
    }
    // From here on no worker may take it; one that has it already may still bring it to the target.
    let free = line::keep_from_claims(tx, key, lane);
    let tried = |row: &DeliveryRow| row.attempts > 0 || row.run != tx.state.run;
    if !free || row.as_ref().is_none_or(tried) || tx.leases.was_handed_out(open.delivery) {
        lane.holds = Holds::Unknown;
    }
    if let Some(mut row) = row {
        let (state, reason) = why_closed(&row, now.map(|(truth, _)| truth), lane, all);
        row.state = state;
        row.reason = reason;
        row.changed_at = tx.now;
        tx.stage.put_row(Tree::Delivery, &delivery_key, &row);
    }
    tx.stage
        .delete(Tree::Due, &tree::due(&lane.destination, open.due_ms, key));
    tx.count(&lane.destination, -1, 0);
    lane.open = None;
    Ok(())
}

fn why_closed(
    row: &DeliveryRow,
    now: Option<&Revision>,
    lane: &LaneRow,
    all: &[Entry],
) -> (DeliveryState, String) {
    let brought = row.outcome.and_then(|(outcome, _)| find(all, outcome));
    match (now, brought) {
        (_, Some(brought)) if truth::is_withdrawn(all, brought) => (
            DeliveryState::Cancelled,
            "retracted before it was sent".to_owned(),
        ),
        (Some(now), Some(brought)) if brought.outcome != now.outcome => {
            (DeliveryState::Superseded, outranked(now, brought, lane))
        }
        (Some(now), None) if row.outcome.is_none() => (
            DeliveryState::Superseded,
            format!("{} holds again", now.outcome),
        ),
        (Some(now), Some(brought)) if now.fingerprint == brought.fingerprint => (
            DeliveryState::Superseded,
            "how far the lead came changed".to_owned(),
        ),
        _ => (
            DeliveryState::Superseded,
            "its event was processed again, with another result".to_owned(),
        ),
    }
}

fn find(entries: &[Entry], outcome: OutcomeId) -> Option<&Revision> {
    entries.iter().find_map(|entry| match entry {
        Entry::Outcome(revision) if revision.outcome == outcome => Some(revision),
        _ => None,
    })
}

fn outranked(winner: &Revision, loser: &Revision, lane: &LaneRow) -> String {
    format!(
        "{} ({}) is the truth: {}",
        winner.outcome,
        winner.kind,
        truth::reason(winner, loser, lane.rules.precedence)
    )
}

/// Opens a delivery if the target needs one. Answers the outcome that is taken care of.
fn open_needed(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    before: Option<&(Revision, Content)>,
    now: Option<&(Revision, Content)>,
    reviser: &mut Reviser<'_>,
) -> Result<Option<OutcomeId>> {
    if lane.open.is_some() {
        return Ok(now.map(|(truth, _)| truth.outcome));
    }
    let contents = [before, now].map(|one| one.map(|(_, content)| *content));
    let changed = contents[0] != contents[1];
    match now {
        Some((now, (_, fingerprint))) => {
            let asserted = changed || now.outcome.event == reviser.event;
            if !asserted || lane.holds == Holds::Content(*fingerprint) {
                return Ok(None);
            }
            if !has_content(tx, now.outcome, reviser.event)? {
                let reason = "its outcome is past retention".to_owned();
                let note = Note::of(now, DeliveryState::Cancelled, reason);
                write_note(tx, key, lane, note, reviser)?;
                return Ok(Some(now.outcome));
            }
            let note = Note {
                due_ms: due_after(tx.now, now.not_before),
                fingerprint: *fingerprint,
                ..Note::of(now, DeliveryState::Pending, String::new())
            };
            open_delivery(tx, key, lane, note, reviser)?;
            Ok(Some(now.outcome))
        }
        None => {
            if changed && lane.holds != Holds::Nothing {
                let reason = "nothing holds any more";
                if lane.rules.can_clear {
                    let note = Note::clearing(DeliveryState::Pending, reason);
                    open_delivery(tx, key, lane, note, reviser)?;
                } else {
                    let reason = "nothing holds any more, and the destination cannot be told so";
                    let note = Note::clearing(DeliveryState::Cancelled, reason);
                    write_note(tx, key, lane, note, reviser)?;
                }
            }
            Ok(None)
        }
    }
}

/// The truth may have outlived the event that brought it.
fn has_content(tx: &Tx<'_>, outcome: OutcomeId, reviser: EventId) -> Result<bool> {
    Ok(outcome.event == reviser
        || tx
            .stage
            .contains(Tree::Event, &tree::event(outcome.event))?)
}

fn open_delivery(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    note: Note,
    reviser: &mut Reviser<'_>,
) -> Result<()> {
    let due_ms = note.due_ms.max(tx.now_ms());
    let delivery = write_note(tx, key, lane, note, reviser)?;
    open_lane(tx, key, lane, delivery, due_ms);
    Ok(())
}

/// Makes `delivery` the one that the lane waits for.
pub(super) fn open_lane(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    delivery: DeliveryId,
    due_ms: u64,
) {
    lane.open = Some(Open { delivery, due_ms });
    let due = tree::due(&lane.destination, due_ms, key);
    tx.stage.put(Tree::Due, &due, Vec::new());
    tx.count(&lane.destination, 1, 0);
    tx.effects.due.push((lane.destination.clone(), due_ms));
}

/// Notes what became of an outcome of this event that no delivery brings.
fn account(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &LaneRow,
    now: Option<&Revision>,
    revision: &Revision,
    all: &[Entry],
    reviser: &mut Reviser<'_>,
) -> Result<()> {
    let note = match now {
        _ if truth::is_withdrawn(all, revision) => Note::of(
            revision,
            DeliveryState::Cancelled,
            "it was retracted".to_owned(),
        ),
        Some(now) if now.outcome == revision.outcome => Note::of(
            revision,
            DeliveryState::Superseded,
            "the target holds this already".to_owned(),
        ),
        Some(now) => Note::of(
            revision,
            DeliveryState::Superseded,
            outranked(now, revision, lane),
        ),
        // Not withdrawn, and yet nothing is the truth: cannot be, but must not go unnoticed.
        None => Note::of(revision, DeliveryState::Cancelled, "no truth".to_owned()),
    };
    write_note(tx, key, lane, note, reviser)?;
    Ok(())
}

/// Writes a delivery of the event that revises the lane.
pub(super) fn write_note(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &LaneRow,
    note: Note,
    reviser: &mut Reviser<'_>,
) -> Result<DeliveryId> {
    let delivery = DeliveryId {
        event: reviser.event,
        ordinal: *reviser.next_delivery,
    };
    *reviser.next_delivery = delivery
        .ordinal
        .checked_add(1)
        .ok_or_else(|| QueueError::State(format!("{} has too many deliveries", reviser.event)))?;
    let due_ms = note.due_ms.max(tx.now_ms());
    let row = DeliveryRow {
        destination: lane.destination.clone(),
        lane: *key,
        outcome: note.brings,
        fingerprint: note.fingerprint,
        state: note.state,
        reason: note.reason,
        attempts: 0,
        created_at: tx.now,
        changed_at: tx.now,
        due_ms,
        max_age_ms: reviser.max_age_ms,
        expires_ms: moment(due_ms.saturating_add(reviser.max_age_ms))
            .as_millisecond()
            .unsigned_abs(),
        run: tx.state.run,
        tried: Vec::new(),
        turn: note.turn,
        former: 0,
        answered: None,
    };
    tx.stage
        .put_row(Tree::Delivery, &tree::delivery(delivery), &row);
    Ok(delivery)
}
