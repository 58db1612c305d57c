//! Lanes that deliver each revision ([`Mode::Each`]): the deliveries stand in a line, one row of `line` each,
//! and the lane's row knows only the first. A line of thousands costs its lane nothing.
//!
//! What an event told a lane is remembered in the event's own deliveries: those whose fingerprint is not 0. The lane
//! itself has only the few entries that matter most, so that what was retracted before it came is not told, and so that
//! older truth does not follow newer one when the lane delivers the newest only some day.
//! Settling the event again compares them with what it says now. What it says already
//! is not told again; what is new joins the line at its end; what it no longer says leaves the line, and when
//! the target may know it, the target is told so, if it can be.
//!
//! The line is sorted by *turn*: the microsecond in which a delivery joined, or the one before which it must not
//! be sent. Turns are given out strictly upwards, also when the clock runs backwards.

use sha2::{Digest, Sha256};

use crate::model::{DeliveryId, DeliveryState, EventId, Mode, OutcomeId, OutcomeKind};
use crate::queue::{QueueError, Result};
use crate::truth::{self, Entry, Revision, Withdrawal};

use super::codec::{Corrupt, Get};
use super::lane_row::{Holds, LaneRow, Open, put_entry};
use super::lanes::{Note, Reviser, is_open_lost, write_note};
use super::process;
use super::row::DeliveryRow;
use super::tree::{self, Hash16, Tree};
use super::tx::{Tx, due_after};

/// A delivery's place in the line of its lane.
pub(super) fn place(lane: &Hash16, turn: u64, delivery: DeliveryId) -> Vec<u8> {
    [&lane[..], &turn.to_be_bytes(), &tree::delivery(delivery)].concat()
}

pub(super) fn place_of(key: &[u8]) -> std::result::Result<(Hash16, u64, DeliveryId), Corrupt> {
    let mut get = Get::new(key, "line key");
    let lane = get.array()?;
    let turn = u64::from_be_bytes(get.array()?);
    Ok((lane, turn, tree::delivery_of(get.rest())?))
}

/// Brings a lane to the mode that `event` asks for, which is being settled. Answers whether it changed.
pub(super) fn enter_mode(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    mode: Mode,
    event: EventId,
) -> Result<bool> {
    match (lane.mode, mode) {
        (Mode::Newest, Mode::Each) => {
            let teller = lane.open.map(|open| lane.teller(open.delivery));
            lane.mode = mode;
            truth::compact(&mut lane.entries, lane.rules.precedence, MAX_ENTRIES);
            if let Some(open) = lane.open {
                let delivery_key = tree::delivery(open.delivery);
                let row = tx.stage.sound_row(Tree::Delivery, &delivery_key)?;
                let Some(mut row): Option<DeliveryRow> = row else {
                    leave_lost(tx, key, lane, open.delivery, 0);
                    tell_again(tx, teller.filter(|teller| *teller != event))?;
                    return Ok(true);
                };
                row.turn = next_turn(tx, lane, open.due_ms);
                let place = place(key, row.turn, open.delivery);
                tx.stage.put(Tree::Line, &place, Vec::new());
                tx.stage.put_row(Tree::Delivery, &delivery_key, &row);
            }
            Ok(true)
        }
        // What stands in the line is promised: it goes first.
        (Mode::Each, Mode::Newest) if lane.open.is_none() => {
            lane.mode = mode;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Entries that such a lane remembers at most: few enough for its row to stay small.
const MAX_ENTRIES: usize = 8;

/// Something that an event says now.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    brings: Option<(OutcomeId, OutcomeKind)>,
    fingerprint: u64,
    due_ms: u64,
    /// Another event has taken it back already.
    retracted: bool,
}

impl Wanted {
    fn of(tx: &Tx<'_>, entry: &Entry, others: &[Entry]) -> Self {
        match entry {
            Entry::Outcome(revision) => Self {
                brings: Some((revision.outcome, revision.kind)),
                fingerprint: revision.fingerprint,
                due_ms: due_after(tx.now, revision.not_before),
                retracted: is_withdrawn(others, revision),
            },
            Entry::Withdrawal(withdrawal) => Self {
                brings: None,
                fingerprint: fingerprint(withdrawal),
                due_ms: tx.now_ms(),
                retracted: false,
            },
        }
    }

    /// Whether `row` brings just this.
    fn is_told_by(&self, row: &DeliveryRow) -> bool {
        (self.fingerprint, self.brings.is_some()) == (row.fingerprint, row.outcome.is_some())
    }
}

/// Whether something among `entries` takes just this back. Often one lane stands for all leads: a withdrawal that does
/// not say what it is about, or is about something else, may be another lead's.
fn is_withdrawn(entries: &[Entry], revision: &Revision) -> bool {
    let takes_back = |withdrawal: &Withdrawal| {
        let same = withdrawal.origin != 0 && withdrawal.origin == revision.origin;
        same && withdrawal.covers(revision)
    };
    entries
        .iter()
        .any(|entry| matches!(entry, Entry::Withdrawal(withdrawal) if takes_back(withdrawal)))
}

/// Hash of what is taken back.
fn fingerprint(withdrawal: &Withdrawal) -> u64 {
    let mut bytes = Vec::new();
    put_entry(&mut bytes, &Entry::Withdrawal(withdrawal.clone()));
    let digest = Sha256::digest(bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first).max(1)
}

/// Lets the lane have what the event says now instead of what it said before, with `known` deliveries. Answers
/// whether the lane's row changed.
pub(super) fn revise(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    said: &[Entry],
    known: u16,
    reviser: &mut Reviser<'_>,
) -> Result<bool> {
    if let Some(rules) = reviser.rules {
        lane.rules = rules;
    }
    let mut entries = lane.entries.clone();
    entries.retain(|entry| entry.event() != reviser.event);
    let wanted = said.iter().map(|entry| Wanted::of(tx, entry, &entries));
    let mut wanted: Vec<Wanted> = wanted.collect();
    let gone = match_told(tx, key, reviser.event, known, &mut wanted)?;
    if gone.is_empty() && wanted.is_empty() && !is_stuck(tx, key, lane)? {
        return Ok(false);
    }
    entries.extend_from_slice(said);
    truth::compact(&mut entries, lane.rules.precedence, MAX_ENTRIES);
    lane.entries = entries;
    let is_told = |one: &&Wanted| one.brings.is_some() && !one.retracted;
    let replaced = wanted.iter().filter(is_told).count();
    let mut known_to_target = 0;
    for id in gone {
        known_to_target += usize::from(take_back(tx, key, lane, id, replaced > 0)?);
    }
    recall(tx, key, reviser.event, known, &mut wanted)?;
    for one in wanted {
        tell(tx, key, lane, one, reviser)?;
    }
    if known_to_target > replaced {
        // Nothing that the event says stands behind it: another settlement must not compare it.
        let one = Wanted {
            brings: None,
            fingerprint: 0,
            due_ms: tx.now_ms(),
            retracted: false,
        };
        tell(tx, key, lane, one, reviser)?;
    }
    line_up(tx, key, lane, Some(reviser.event))?;
    Ok(true)
}

/// Whether damage keeps the line from going on: what it waits for is lost, or it waits for nothing.
fn is_stuck(tx: &Tx<'_>, key: &Hash16, lane: &LaneRow) -> Result<bool> {
    match lane.open {
        Some(_) => is_open_lost(tx, lane),
        None => Ok(first(tx, key)?.is_some()),
    }
}

/// Takes from `wanted` what the event told this lane already. Answers the deliveries of what it no longer says.
fn match_told(
    tx: &mut Tx<'_>,
    key: &Hash16,
    event: EventId,
    known: u16,
    wanted: &mut Vec<Wanted>,
) -> Result<Vec<DeliveryId>> {
    let mut gone = Vec::new();
    for ordinal in 0..known {
        let id = DeliveryId { event, ordinal };
        let delivery_key = tree::delivery(id);
        let row: Option<DeliveryRow> = tx.stage.sound_row(Tree::Delivery, &delivery_key)?;
        let Some(mut row) = row.filter(|row| {
            row.lane == *key && row.fingerprint != 0 && row.state != DeliveryState::Superseded
        }) else {
            continue;
        };
        let Some(found) = wanted.iter().position(|one| one.is_told_by(&row)) else {
            gone.push(id);
            continue;
        };
        let brings = wanted.remove(found).brings;
        // The same may have another number among the event's outcomes now.
        if row.outcome != brings {
            row.outcome = brings;
            tx.stage.put_row(Tree::Delivery, &delivery_key, &row);
        }
    }
    Ok(gone)
}

/// Takes from `wanted` what the target still holds: what the event said before something that was taken back again
/// before the target could hear of it.
fn recall(
    tx: &mut Tx<'_>,
    key: &Hash16,
    event: EventId,
    known: u16,
    wanted: &mut Vec<Wanted>,
) -> Result<()> {
    for ordinal in (0..known).rev() {
        let id = DeliveryId { event, ordinal };
        let row: Option<DeliveryRow> = tx.stage.sound_row(Tree::Delivery, &tree::delivery(id))?;
        let Some(mut row) = row.filter(|row| row.lane == *key) else {
            continue;
        };
        let held = |one: &Wanted| {
            let brings = one.brings.is_some() && row.outcome.is_some();
            brings && row.former != 0 && one.fingerprint == row.former
        };
        let may_be_known = row.state.is_open()
            || row.state == DeliveryState::Delivered
            || row.former != 0
            || !row.tried.is_empty();
        if let (DeliveryState::Delivered, Some(found)) = (row.state, wanted.iter().position(held)) {
            row.outcome = wanted.remove(found).brings;
            row.fingerprint = row.former;
            row.former = 0;
            tx.stage.put_row(Tree::Delivery, &tree::delivery(id), &row);
            return Ok(());
        }
        // The target may have heard this after all that came before it.
        if may_be_known {
            return Ok(());
        }
    }
    Ok(())
}

/// The event no longer says what this delivery brings. Answers whether the target may know it.
fn take_back(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    id: DeliveryId,
    replaced: bool,
) -> Result<bool> {
    let mut row = delivery_row(tx, id)?;
    let mut known = row.state == DeliveryState::Delivered || !row.tried.is_empty();
    if row.state.is_open() {
        let open = lane.open.filter(|open| open.delivery == id);
        if open.is_some() {
            known |= row.run != tx.state.run || tx.leases.was_handed_out(id);
            known |= !keep_from_claims(tx, key, lane);
        }
        leave(tx, key, lane, id, row.turn);
        let (state, reason) = if replaced {
            let reason = "its event was processed again, with another result";
            (DeliveryState::Superseded, reason)
        } else {
            (DeliveryState::Cancelled, "retracted before it was sent")
        };
        row.state = state;
        row.reason = reason.to_owned();
        row.changed_at = tx.now;
        row.turn = 0;
    }
    row.former = if known { row.fingerprint } else { 0 };
    row.fingerprint = 0;
    tx.stage.put_row(Tree::Delivery, &tree::delivery(id), &row);
    Ok(known && row.outcome.is_some())
}

/// Opens a delivery at its place in the line, or notes why there is none.
fn tell(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    wanted: Wanted,
    reviser: &mut Reviser<'_>,
) -> Result<()> {
    let clears = wanted.brings.is_none();
    let (state, reason) = match (clears, lane.rules.can_clear) {
        (false, _) if wanted.retracted => (DeliveryState::Cancelled, "it was retracted"),
        (false, _) => (DeliveryState::Pending, ""),
        (true, true) if was_told_nothing(lane) => (
            DeliveryState::Cancelled,
            "taken back before anything was told there",
        ),
        (true, true) => (DeliveryState::Pending, "what was told no longer holds"),
        (true, false) => (
            DeliveryState::Cancelled,
            "what was told no longer holds, and the destination cannot be told so",
        ),
    };
    let turn = match state {
        DeliveryState::Pending => next_turn(tx, lane, wanted.due_ms),
        _ => 0,
    };
    let note = Note {
        brings: wanted.brings,
        fingerprint: wanted.fingerprint,
        state,
        reason: reason.to_owned(),
        due_ms: wanted.due_ms,
        turn,
    };
    let id = write_note(tx, key, lane, note, reviser)?;
    if state.is_open() {
        tx.stage.put(Tree::Line, &place(key, turn, id), Vec::new());
        tx.count(&lane.destination, 1, 0);
    }
    Ok(())
}

/// Whether the target never heard anything of this lane, nor is about to.
fn was_told_nothing(lane: &LaneRow) -> bool {
    lane.holds == Holds::Nothing && lane.open.is_none() && lane.last_turn == 0
}

/// A delivery that was given up joins the line again, at its end.
pub(super) fn join_again(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    id: DeliveryId,
    row: &mut DeliveryRow,
) -> Result<()> {
    row.turn = next_turn(tx, lane, row.due_ms);
    // The line looks at the rows of its deliveries.
    tx.stage.put_row(Tree::Delivery, &tree::delivery(id), row);
    tx.stage
        .put(Tree::Line, &place(key, row.turn, id), Vec::new());
    tx.count(&lane.destination, 1, 0);
    line_up(tx, key, lane, None)
}

/// The turn of a delivery that is due then.
fn next_turn(tx: &Tx<'_>, lane: &mut LaneRow, due_ms: u64) -> u64 {
    if due_ms > tx.now_ms() {
        return due_ms.saturating_mul(1000);
    }
    let now = u64::try_from(tx.now.as_microsecond()).unwrap_or(0);
    lane.last_turn = now.max(lane.last_turn.saturating_add(1));
    lane.last_turn
}

/// A delivery leaves the line. Whoever calls this calls [`line_up`] next.
fn leave(tx: &mut Tx<'_>, key: &Hash16, lane: &mut LaneRow, id: DeliveryId, turn: u64) {
    tx.stage.delete(Tree::Line, &place(key, turn, id));
    tx.count(&lane.destination, -1, 0);
    if let Some(open) = lane.open.filter(|open| open.delivery == id) {
        let due = tree::due(&lane.destination, open.due_ms, key);
        tx.stage.delete(Tree::Due, &due);
        lane.open = None;
    }
}

/// The first of the line is done, however it ended; the next one follows.
pub(super) fn advance(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    id: DeliveryId,
    row: &mut DeliveryRow,
) -> Result<()> {
    leave(tx, key, lane, id, row.turn);
    row.turn = 0;
    line_up(tx, key, lane, None)
}

/// A delivery that damage took away leaves the line, as with [`leave`].
fn leave_lost(tx: &mut Tx<'_>, key: &Hash16, lane: &mut LaneRow, id: DeliveryId, turn: u64) {
    if lane.open.is_some_and(|open| open.delivery == id) {
        // Also when a claim has set the lane aside for it: it is free again then.
        keep_from_claims(tx, key, lane);
        lane.holds = Holds::Unknown;
    }
    leave(tx, key, lane, id, turn);
}

/// Has an event processed again, so that it tells anew what a lost delivery would have brought.
fn tell_again(tx: &mut Tx<'_>, event: Option<EventId>) -> Result<()> {
    process::replay(tx, event.as_slice())?;
    Ok(())
}

/// Turn and delivery of the first of the line.
fn first(tx: &Tx<'_>, key: &Hash16) -> Result<Option<(u64, DeliveryId)>> {
    let mut end = key.to_vec();
    end.extend_from_slice(&[0xff; 19]);
    let first = tx.stage.range(Tree::Line, key, &end).next().transpose()?;
    let Some((place, _)) = first else {
        return Ok(None);
    };
    let (_, turn, delivery) = place_of(&place)?;
    Ok(Some((turn, delivery)))
}

/// Lets the lane wait for the first of its line. `settled` is the event that has just told all that it has to tell.
fn line_up(
    tx: &mut Tx<'_>,
    key: &Hash16,
    lane: &mut LaneRow,
    settled: Option<EventId>,
) -> Result<()> {
    let (delivery, due_ms) = loop {
        let Some((turn, delivery)) = first(tx, key)? else {
            return Ok(());
        };
        let row = tx
            .stage
            .sound_row(Tree::Delivery, &tree::delivery(delivery))?;
        if let Some(DeliveryRow { due_ms, .. }) = row {
            break (delivery, due_ms);
        }
        // Damage took it away: those behind it go on.
        leave_lost(tx, key, lane, delivery, turn);
        tell_again(
            tx,
            Some(delivery.event).filter(|event| Some(*event) != settled),
        )?;
    };
    if let Some(open) = lane.open {
        // One that waits for its moment is overtaken, unless it is being sent.
        if open.delivery == delivery || !keep_from_claims(tx, key, lane) {
            return Ok(());
        }
        let due = tree::due(&lane.destination, open.due_ms, key);
        tx.stage.delete(Tree::Due, &due);
    }
    lane.open = Some(Open { delivery, due_ms });
    let due = tree::due(&lane.destination, due_ms, key);
    tx.stage.put(Tree::Due, &due, Vec::new());
    tx.effects.due.push((lane.destination.clone(), due_ms));
    Ok(())
}

/// From here on no worker may take what the lane waits for. `false` when one has it already.
pub(super) fn keep_from_claims(tx: &mut Tx<'_>, key: &Hash16, lane: &LaneRow) -> bool {
    let blocked = (lane.destination.clone(), *key);
    if tx.leases.block(*key) {
        tx.effects.blocked.push(blocked);
        return true;
    }
    // An earlier request of this commit keeps it.
    tx.leases.is_with_committer(key)
}

/// Why sending a delivery again would bring what nobody says any more, if so.
pub(super) fn why_pointless(tx: &Tx<'_>, row: &DeliveryRow) -> Result<Option<String>> {
    let Some((outcome, _)) = row.outcome else {
        return Ok(None);
    };
    if row.fingerprint == 0 {
        return Ok(Some(
            "its event was processed again, with another result".to_owned(),
        ));
    }
    let key = tree::event(outcome.event);
    let there = tx.stage.contains(Tree::Event, &key)?;
    Ok((!there).then(|| "its outcome is past retention".to_owned()))
}

fn delivery_row(tx: &Tx<'_>, id: DeliveryId) -> Result<DeliveryRow> {
    tx.stage
        .row(Tree::Delivery, &tree::delivery(id))?
        .ok_or_else(|| QueueError::Damaged(format!("{id} is in a line, but not there").into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_sort_by_lane_then_turn_then_delivery(
            a: ([u8; 16], u64, (u64, u16)), b: ([u8; 16], u64, (u64, u16)),
        ) {
            let id = |(event, ordinal)| DeliveryId { event: EventId(event), ordinal };
            let key = |(lane, turn, of)| place(&lane, turn, id(of));
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
            prop_assert_eq!(place_of(&key(a)), Ok((a.0, a.1, id(a.2))));
        }

        #[test]
        fn any_bytes_as_key_are_read_or_refused(bytes: Vec<u8>) {
            let _ = place_of(&bytes);
        }
    }
}
