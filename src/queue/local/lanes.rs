//! Revising a lane: what an event says about a target is laid over what is known, the truth is found
//! anew, and what has to be delivered follows from it.
//!
//! Three steps, each looking only at the lane's row: is the open delivery still right; does the target
//! need something; and what became of each outcome of this event, so that everything is accounted for.

use crate::model::{DeliveryId, DeliveryState, EventId, OutcomeId, OutcomeKind, Precedence};
use crate::queue::{QueueError, Result};
use crate::truth::{self, Entry, Revision};

use super::lane_row::{Holds, LaneRow, Open};
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
    /// What the event says of the destination: its precedence, and whether it can be cleared.
    pub rules: Option<(Precedence, bool)>,
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
    if is_known(lane, said, reviser) {
        return Ok(false);
    }
    let before = truth::current(&lane.entries, lane.precedence).cloned();
    if let Some((precedence, can_clear)) = reviser.rules {
        lane.precedence = precedence;
        lane.can_clear = can_clear;
    }
    lane.entries.retain(|entry| entry.event() != reviser.event);
    for entry in said {
        if !lane.entries.contains(entry) {
            lane.entries.push(entry.clone());
        }
    }
    let all = lane.entries.clone();
    truth::compact(&mut lane.entries, lane.precedence, MAX_ENTRIES);
    let now = truth::current(&lane.entries, lane.precedence).cloned();

    close_outdated(tx, key, lane, now.as_ref(), &all)?;
    let opened = open_needed(tx, key, lane, before.as_ref(), now.as_ref(), reviser)?;
    for entry in said {
        if let Entry::Outcome(revision) = entry
            && opened != Some(revision.outcome)
        {
            account(tx, key, lane, now.as_ref(), revision, &all, reviser)?;
        }
    }
    Ok(true)
}

/// Whether the lane knows all this already from the event, and nothing else of it.
fn is_known(lane: &LaneRow, said: &[Entry], reviser: &Reviser<'_>) -> bool {
    let rules = (lane.precedence, lane.can_clear);
    let of_event = || lane.entries.iter().filter(|e| e.event() == reviser.event);
    reviser.rules.is_none_or(|asked| asked == rules)
        && said.iter().all(|entry| lane.entries.contains(entry))
        && of_event().all(|entry| said.contains(entry))
}

/// Closes the open delivery unless it brings exactly the truth.
fn close_outdated(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    now: Option<&Revision>,
    all: &[Entry],
) -> Result<()> {
    let Some(open) = lane.open else {
        return Ok(());
    };
    let delivery_key = tree::delivery(open.delivery);
    let Some(mut row) = tx.stage.row::<DeliveryRow>(Tree::Delivery, &delivery_key)? else {
        return Err(QueueError::Storage(
            format!("{} is open, but not there", open.delivery).into(),
        ));
    };
    let wanted = now.map(|revision| (revision.outcome, revision.fingerprint));
    let brings = row.outcome.map(|(outcome, _)| (outcome, row.fingerprint));
    if wanted == brings {
        return Ok(());
    }
    // From here on no worker may take it; one that has it already may still bring it to the target.
    let free = tx.leases.block(*key);
    if free {
        tx.effects.blocked.push((lane.destination.clone(), *key));
    }
    let tried = row.attempts > 0 || row.run != tx.state.run;
    if !free || tried || tx.leases.was_handed_out(open.delivery) {
        lane.holds = Holds::Unknown;
    }
    let (state, reason) = why_closed(&row, now, lane, all);
    row.state = state;
    row.reason = reason;
    row.changed_at = tx.now;
    tx.stage.put_row(Tree::Delivery, &delivery_key, &row);
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
        truth::reason(winner, loser, lane.precedence)
    )
}

/// Opens a delivery if the target needs one. Answers the outcome that is taken care of.
fn open_needed(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    before: Option<&Revision>,
    now: Option<&Revision>,
    reviser: &mut Reviser<'_>,
) -> Result<Option<OutcomeId>> {
    if lane.open.is_some() {
        return Ok(now.map(|revision| revision.outcome));
    }
    let identity = |revision: &Revision| (revision.outcome, revision.fingerprint);
    let changed = before.map(identity) != now.map(identity);
    match now {
        Some(now) => {
            let asserted = changed || now.outcome.event == reviser.event;
            if !asserted || lane.holds == Holds::Content(now.fingerprint) {
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
                ..Note::of(now, DeliveryState::Pending, String::new())
            };
            open_delivery(tx, key, lane, note, reviser)?;
            Ok(Some(now.outcome))
        }
        None => {
            if changed && lane.holds != Holds::Nothing {
                let reason = "nothing holds any more";
                if lane.can_clear {
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
    };
    tx.stage
        .put_row(Tree::Delivery, &tree::delivery(delivery), &row);
    Ok(delivery)
}
