//! How a claimed delivery ended, and what an operator does with one.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::model::{DeliveryId, DeliveryState, Disposition, EventId, Mode, OutcomeId};
use crate::queue::{Answered, Attempt, Operation, QueueError, Result, Settlement};
use crate::truth::{self, Revision};

use super::lane_row::{Holds, LaneRow, Open};
use super::lanes;
use super::line;
use super::row::{DeliveryRow, EventRow};
use super::tree::{self, Tree};
use super::tx::{Tx, millis};
use super::watches;

/// Delivery and lane of one settlement.
struct Case {
    id: DeliveryId,
    row: DeliveryRow,
    lane: LaneRow,
}

impl Case {
    fn load(tx: &Tx<'_>, id: DeliveryId) -> Result<Self> {
        let row: DeliveryRow = tx
            .stage
            .row(Tree::Delivery, &tree::delivery(id))?
            .ok_or_else(|| QueueError::NotFound(format!("delivery {id}")))?;
        let lane = tx
            .stage
            .row(Tree::Lane, &row.lane)?
            .ok_or_else(|| QueueError::Damaged(format!("the lane of {id} is not there").into()))?;
        Ok(Self { id, row, lane })
    }

    /// Whether the lane still waits for it.
    fn is_current(&self) -> bool {
        self.lane.open.is_some_and(|open| open.delivery == self.id)
    }

    fn enter(&mut self, tx: &Tx<'_>, state: DeliveryState, reason: String) {
        self.row.state = state;
        self.row.reason = reason;
        self.row.changed_at = tx.now;
    }

    fn record(&mut self, tx: &mut Tx<'_>, attempt: &Attempt) -> Result<()> {
        let json = serde_json::to_vec(attempt)
            .map_err(|error| QueueError::State(format!("cannot be stored as JSON: {error}")))?;
        let key = tree::delivery(self.id);
        let pointer = tx.stage.blob(Tree::Delivery, &key, &[&json]);
        self.row.tried.push(pointer);
        self.row.attempts = self.row.attempts.saturating_add(1);
        let same = self.row.answered;
        let same = same.filter(|last| Some(last.status) == attempt.status);
        let first = |status| Answered {
            status,
            since: attempt.started_at,
        };
        self.row.answered = same.or(attempt.status.map(first));
        Ok(())
    }

    /// The lane no longer waits for it.
    fn close(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        if self.lane.mode == Mode::Each {
            let lane = self.row.lane;
            return line::advance(tx, &lane, &mut self.lane, self.id, &mut self.row);
        }
        if let Some(open) = self.lane.open.take() {
            self.remove_due(tx, open);
            tx.count(&self.lane.destination, -1, 0);
        }
        Ok(())
    }

    fn remove_due(&self, tx: &mut Tx<'_>, open: Open) {
        let due = tree::due(&self.lane.destination, open.due_ms, &self.row.lane);
        tx.stage.delete(Tree::Due, &due);
    }

    fn postpone(&mut self, tx: &mut Tx<'_>, due_ms: u64) {
        if let Some(open) = self.lane.open {
            self.remove_due(tx, open);
            self.lane.open = Some(Open { due_ms, ..open });
            let due = tree::due(&self.lane.destination, due_ms, &self.row.lane);
            tx.stage.put(Tree::Due, &due, Vec::new());
        }
        self.row.due_ms = due_ms;
    }

    fn save(self, tx: &mut Tx<'_>) {
        tx.stage.put_row(Tree::Lane, &self.row.lane, &self.lane);
        let key = tree::delivery(self.id);
        tx.stage.put_row(Tree::Delivery, &key, &self.row);
    }
}

/// Records how a claimed delivery ended and frees its lane.
pub(super) fn settle(tx: &mut Tx<'_>, id: DeliveryId, settlement: &Settlement) -> Result<()> {
    let mut case = Case::load(tx, id)?;
    let lane = case.row.lane;
    if !tx.leases.is_in_flight(&lane, id) {
        return Err(QueueError::State(format!("{id} is not in flight")));
    }
    let current = case.is_current();
    match settlement {
        Settlement::Delivered { attempt, receipt } => {
            delivered(tx, &mut case, attempt, receipt)?;
        }
        Settlement::Retry { attempt, due_at } => {
            case.record(tx, attempt)?;
            if current {
                case.enter(tx, DeliveryState::Retrying, attempt.reason.clone());
                case.postpone(tx, millis(*due_at));
            }
        }
        Settlement::DeadLetter { attempt, reason } => {
            if let Some(attempt) = attempt {
                case.record(tx, attempt)?;
            }
            if current {
                dead_letter(tx, &mut case, reason)?;
            }
        }
        Settlement::Released { due_at } => {
            if let (true, Some(due_at)) = (current, due_at) {
                case.postpone(tx, millis(*due_at));
            }
        }
    }
    if !matches!(settlement, Settlement::Released { .. }) {
        tx.effects.known.push(id);
    }
    // Not in flight any more for what follows in this commit; claimable only when it is durable.
    tx.leases.settle(lane);
    tx.effects.freed.push(lane);
    let due_ms = case.lane.open.map_or(u64::MAX, |open| open.due_ms);
    tx.effects.due.push((case.lane.destination.clone(), due_ms));
    case.save(tx);
    Ok(())
}

fn delivered(
    tx: &mut Tx<'_>,
    case: &mut Case,
    attempt: &Attempt,
    receipt: &Map<String, Value>,
) -> Result<()> {
    case.record(tx, attempt)?;
    case.lane.holds = match case.row.outcome {
        Some(_) => Holds::Content(case.row.fingerprint),
        None => Holds::Nothing,
    };
    keep_receipt(&mut case.lane, receipt)?;
    if case.is_current() {
        case.close(tx)?;
        case.enter(tx, DeliveryState::Delivered, attempt.reason.clone());
    } else {
        let reason = "delivered, though no longer the truth when the answer came";
        case.enter(tx, DeliveryState::Delivered, reason.to_owned());
    }
    Ok(())
}

/// What is new joins what is there.
fn keep_receipt(lane: &mut LaneRow, receipt: &Map<String, Value>) -> Result<()> {
    if receipt.is_empty() {
        return Ok(());
    }
    let mut all = parse_receipt(&lane.receipt)?;
    for (key, value) in receipt {
        all.insert(key.clone(), value.clone());
    }
    lane.receipt = serde_json::to_vec(&all)
        .map_err(|error| QueueError::State(format!("cannot be stored as JSON: {error}")))?;
    Ok(())
}

/// Reads a lane's receipt.
pub(super) fn parse_receipt(receipt: &[u8]) -> Result<Map<String, Value>> {
    if receipt.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(receipt)
        .map_err(|error| QueueError::Damaged(format!("a receipt is unreadable: {error}").into()))
}

fn dead_letter(tx: &mut Tx<'_>, case: &mut Case, reason: &str) -> Result<()> {
    case.close(tx)?;
    case.enter(tx, DeliveryState::DeadLetter, reason.to_owned());
    tx.stage
        .put(Tree::Dead, &tree::delivery(case.id), Vec::new());
    tx.count(&case.lane.destination, 0, 1);
    // An answer that never came says nothing about what the target did.
    if case.row.attempts > 0 || case.row.run != tx.state.run {
        case.lane.holds = Holds::Unknown;
    }
    Ok(())
}

fn leave_dead(tx: &mut Tx<'_>, case: &Case) {
    tx.stage.delete(Tree::Dead, &tree::delivery(case.id));
    tx.count(&case.lane.destination, 0, -1);
}

/// Does what an operator asks for.
pub(super) fn operate(tx: &mut Tx<'_>, id: DeliveryId, operation: Operation) -> Result<()> {
    let mut case = Case::load(tx, id)?;
    let refuse = |what: &str, state: DeliveryState| {
        Err(QueueError::State(format!("{id} is {state}: {what}")))
    };
    if tx.leases.is_in_flight(&case.row.lane, id) {
        return refuse("it is being tried", DeliveryState::InFlight);
    }
    match (operation, case.row.state) {
        (Operation::Discard, DeliveryState::DeadLetter) => {
            leave_dead(tx, &case);
            case.enter(
                tx,
                DeliveryState::Cancelled,
                "discarded by an operator".to_owned(),
            );
        }
        (Operation::Discard, state) => {
            return refuse("only dead letters can be discarded", state);
        }
        (Operation::Redrive, state @ (DeliveryState::DeadLetter | DeliveryState::Delivered)) => {
            redrive(tx, &mut case, state)?;
        }
        (Operation::Redrive, state) => {
            return refuse(
                "only dead letters and delivered ones can be redriven",
                state,
            );
        }
        (Operation::Hasten, _) => {
            let now_ms = tx.now_ms();
            let later = |open: &Open| open.delivery == id && open.due_ms > now_ms;
            if case.lane.open.as_ref().is_some_and(later) {
                case.postpone(tx, now_ms);
                tx.effects.due.push((case.lane.destination.clone(), now_ms));
            }
        }
    }
    case.save(tx);
    Ok(())
}

fn redrive(tx: &mut Tx<'_>, case: &mut Case, state: DeliveryState) -> Result<()> {
    let dead = state == DeliveryState::DeadLetter;
    if let Some(reason) = why_pointless(tx, case)? {
        if !dead {
            return Err(QueueError::State(format!(
                "{} is delivered: {reason}",
                case.id
            )));
        }
        leave_dead(tx, case);
        case.enter(tx, DeliveryState::Superseded, reason);
        return Ok(());
    }
    if dead {
        leave_dead(tx, case);
    }
    case.enter(
        tx,
        DeliveryState::Pending,
        "redriven by an operator".to_owned(),
    );
    case.row.attempts = 0;
    case.row.answered = None;
    let now_ms = tx.now_ms();
    case.row.due_ms = now_ms;
    case.row.expires_ms = now_ms.saturating_add(case.row.max_age_ms);
    let key = case.row.lane;
    match case.lane.mode {
        Mode::Newest => lanes::open_lane(tx, &key, &mut case.lane, case.id, now_ms),
        Mode::Each => line::join_again(tx, &key, &mut case.lane, case.id, &mut case.row)?,
    }
    Ok(())
}

/// Why sending it again would not bring the lane's truth, if so.
fn why_pointless(tx: &Tx<'_>, case: &Case) -> Result<Option<String>> {
    if case.lane.mode == Mode::Each {
        return line::why_pointless(tx, &case.row);
    }
    let truth = truth::current(&case.lane.entries, case.lane.rules.precedence);
    let wanted = truth.map(|revision| lanes::content(&case.lane, revision));
    let brings = case
        .row
        .outcome
        .map(|(outcome, _)| (outcome, case.row.fingerprint));
    if wanted != brings {
        let same = |truth: &Revision| brings.is_some_and(|(outcome, _)| outcome == truth.outcome);
        return Ok(Some(match truth {
            Some(truth) if !same(truth) => {
                format!("{} ({}) is the truth now", truth.outcome, truth.kind)
            }
            Some(truth) if lanes::tells_same(case.row.fingerprint, truth) => {
                "how far the lead came has changed since".to_owned()
            }
            Some(_) => "its event was processed again, with another result".to_owned(),
            None => "nothing holds any more".to_owned(),
        }));
    }
    if let Some(open) = case.lane.open {
        return Ok(Some(format!("{} brings the same", open.delivery)));
    }
    if let Some(truth) = truth
        && !tx
            .stage
            .contains(Tree::Event, &tree::event(truth.outcome.event))?
    {
        return Ok(Some("its outcome is past retention".to_owned()));
    }
    Ok(None)
}

/// Removes events that nothing waits for. Answers how many went. What is damaged stays, and keeps nothing else.
pub(super) fn prune(tx: &mut Tx<'_>, ids: &[EventId]) -> Result<u64> {
    let mut pruned = 0;
    for id in ids {
        pruned += u64::from(prune_one(tx, *id)?);
    }
    Ok(pruned)
}

fn prune_one(tx: &mut Tx<'_>, id: EventId) -> Result<bool> {
    let key = tree::event(id);
    let Some(row) = tx.stage.sound_row::<EventRow>(Tree::Event, &key)? else {
        return Ok(false);
    };
    let waits = row.disposition == Disposition::Waiting || row.wake_ms.is_some();
    if waits || tx.stage.contains(Tree::Todo, &key)? || is_waited_for(tx, id, &row)? {
        return Ok(false);
    }
    watches::replace(tx, id, &row.watches, &[]);
    for lane in &row.lanes {
        forget_entries(tx, id, lane)?;
    }
    for ordinal in 0..row.next_delivery {
        let key = tree::delivery(DeliveryId { event: id, ordinal });
        tx.stage.delete(Tree::Delivery, &key);
    }
    tx.stage.delete(Tree::Event, &key);
    tx.delta.events -= 1;
    Ok(true)
}

/// Whether a delivery of it is open or dead, or a lane waits for one of its outcomes.
fn is_waited_for(tx: &Tx<'_>, id: EventId, row: &EventRow) -> Result<bool> {
    for ordinal in 0..row.next_delivery {
        let delivery = DeliveryId { event: id, ordinal };
        let key = tree::delivery(delivery);
        if let Some(row) = tx.stage.sound_row::<DeliveryRow>(Tree::Delivery, &key)?
            && (row.state.is_open()
                || row.state == DeliveryState::DeadLetter
                || tx.leases.is_in_flight(&row.lane, delivery))
        {
            return Ok(true);
        }
    }
    for lane in &row.lanes {
        let Some(lane) = tx.stage.sound_row::<LaneRow>(Tree::Lane, lane)? else {
            continue;
        };
        let waits = match lane.open {
            Some(open) => brings(tx, open.delivery, id)?,
            None if lane.mode == Mode::Each => false,
            None => is_in_dead_letter(tx, id, &lane)?,
        };
        if waits {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a delivery brings an outcome of the event.
fn brings(tx: &Tx<'_>, delivery: DeliveryId, id: EventId) -> Result<bool> {
    let key = tree::delivery(delivery);
    let row: Option<DeliveryRow> = tx.stage.sound_row(Tree::Delivery, &key)?;
    Ok(row.is_some_and(|row| row.outcome.is_some_and(|(outcome, _)| outcome.event == id)))
}

/// Whether a dead letter of another event brings the lane's truth, which is the event's. Only then a redrive makes sense,
/// see [`why_pointless`]; and only an event that the lane remembers can have made its truth come back.
fn is_in_dead_letter(tx: &Tx<'_>, id: EventId, lane: &LaneRow) -> Result<bool> {
    let truth = truth::current(&lane.entries, lane.rules.precedence);
    let truth = truth.filter(|truth| truth.outcome.event == id);
    let is_told = |truth| lane.holds == Holds::Content(lanes::content(lane, truth).1);
    if truth.is_none_or(is_told) {
        return Ok(false);
    }
    for entry in &lane.entries {
        let (from, to) = (entry.event(), EventId(entry.event().0.saturating_add(1)));
        for row in tx
            .stage
            .range(Tree::Dead, &tree::event(from), &tree::event(to))
        {
            if brings(tx, tree::delivery_of(&row?.0)?, id)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The truth stays known, although its content goes: older truth must not come back in its place. So does what tells how
/// far the lead came, where that counts.
fn forget_entries(tx: &mut Tx<'_>, id: EventId, key: &tree::Hash16) -> Result<()> {
    let Some(mut lane) = tx.stage.sound_row::<LaneRow>(Tree::Lane, key)? else {
        return Ok(());
    };
    let truth = truth::current(&lane.entries, lane.rules.precedence);
    let counted = truth::holding(&lane.entries).filter(|_| lane.rules.counts_progress);
    let kept: HashSet<OutcomeId> = truth
        .into_iter()
        .chain(counted)
        .map(|r| r.outcome)
        .collect();
    lane.entries.retain(|entry| match entry {
        truth::Entry::Outcome(revision) => {
            revision.outcome.event != id || kept.contains(&revision.outcome)
        }
        // What is taken back must not come back either.
        truth::Entry::Withdrawal(_) => true,
    });
    tx.stage.put_row(Tree::Lane, key, &lane);
    Ok(())
}
