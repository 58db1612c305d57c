//! Settling an event: what the rules made of it, and what follows for the lanes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::{DestinationName, Disposition, EventId, Mode, Outcome, OutcomeId, Subject};
use crate::queue::registry::Seen;
use crate::queue::{Change, LaneChange, Mark, Processed, QueueError, Record, Result, Watch};
use crate::truth::{Entry, Revision, Withdrawal, Withdrawn};

use super::lane_row::{Holds, LaneRow, Rules};
use super::lanes::{self, Reviser};
use super::row::{EventRow, Pointer};
use super::tree::{self, Hash16, Tree};
use super::tx::{Tx, millis_up};
use super::{line, records, wakes, watches};

/// A [`Processed`] with everything serialised and hashed, done before the committer sees it.
#[derive(Debug)]
pub(super) struct Prepared {
    disposition: Disposition,
    reason: String,
    trace: Bytes,
    /// Each as JSON, by its number.
    outcomes: BTreeMap<u16, Vec<u8>>,
    changes: Vec<LaneWord>,
    records: Vec<Record>,
    watches: Vec<Watch>,
    wake_ms: Option<u64>,
    mark: Mark,
    keeps_former: bool,
    destinations: Option<Arc<BTreeSet<DestinationName>>>,
}

/// A change with the lane that it is for, and what it adds to its entries.
#[derive(Debug)]
struct LaneWord {
    lane: Hash16,
    change: LaneChange,
    entry: Entry,
}

/// The events that are settled together with one, and what they know.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Those whose turn comes: they were processed in view of what those before them write.
    pub to_come: HashSet<EventId>,
    /// One was refused: what those after it saw did not happen.
    pub refused: bool,
}

impl Prepared {
    pub(super) fn new(event: EventId, mut processed: Processed) -> Result<Self> {
        let disposition = match processed.disposition {
            None | Some(Disposition::Accepted) => {
                return Err(QueueError::State(format!(
                    "{event} was processed without a disposition"
                )));
            }
            Some(disposition) => disposition,
        };
        let too_many = || QueueError::State(format!("{event} has too many outcomes"));
        let changes = std::mem::take(&mut processed.changes);
        let outcomes = processed.outcomes().ok_or_else(too_many)?;
        let changes = changes
            .into_iter()
            .map(|change| LaneWord::new(event, change, &outcomes))
            .collect::<Result<_>>()?;
        let outcomes = outcomes
            .into_iter()
            .map(|(number, outcome)| Ok((number, json(outcome)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            disposition,
            reason: processed.reason,
            trace: processed.trace,
            outcomes,
            changes,
            records: processed.records,
            watches: watches::normalized(processed.watches),
            // Never before its moment, so that whoever is woken finds that it has come.
            wake_ms: processed.wake_at.map(millis_up),
            mark: processed.mark,
            keeps_former: processed.keeps_former,
            destinations: processed.destinations,
        })
    }

    /// Whether there is no such destination at present.
    fn is_absent(&self, destination: &str) -> bool {
        let mut known = self.destinations.iter();
        known.any(|known| !known.iter().any(|name| name.as_str() == destination))
    }

    /// Bytes that it adds to the journal, about.
    pub(super) fn weight(&self) -> usize {
        let outcomes: usize = self.outcomes.values().map(Vec::len).sum();
        let records: usize = self.records.iter().map(|r| 128 + r.value.len()).sum();
        self.trace.len() + outcomes + records + self.changes.len() * 512 + self.watches.len() * 128
    }
}

/// What stands in the place of a number that has no outcome.
const NO_OUTCOME: &[u8] = b"null";

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    // Notes make most of them longer than a serializer thinks at first.
    let mut json = Vec::with_capacity(2048);
    serde_json::to_writer(&mut json, value)
        .map_err(|error| QueueError::State(format!("cannot be stored as JSON: {error}")))?;
    Ok(json)
}

impl LaneWord {
    fn new(event: EventId, change: LaneChange, outcomes: &BTreeMap<u16, &Outcome>) -> Result<Self> {
        let withdrawal = |what, up_to| {
            Entry::Withdrawal(Withdrawal {
                event,
                what,
                up_to,
                origin: change.origin,
            })
        };
        let entry = match change.change {
            Change::Outcome(ordinal) => {
                let outcome = outcomes.get(&ordinal).ok_or_else(|| {
                    QueueError::State(format!("{event} has no outcome {ordinal}"))
                })?;
                Entry::Outcome(Revision {
                    outcome: OutcomeId { event, ordinal },
                    kind: outcome.kind,
                    basis: outcome.basis,
                    occurred_at: outcome.occurred_at,
                    origin: change.origin,
                    fingerprint: fingerprint(outcome, &change.told)?,
                    not_before: change.not_before,
                })
            }
            Change::Retract(kind, up_to) => withdrawal(Withdrawn::Kind(kind), up_to),
            Change::Release(up_to) => withdrawal(Withdrawn::Manual, up_to),
        };
        Ok(Self {
            lane: tree::lane(&change.destination, &change.target),
            change,
            entry,
        })
    }
}

/// Hash of all that a destination is told of an outcome: not which event or rule said so.
fn fingerprint(outcome: &Outcome, about: &Subject) -> Result<u64> {
    let told = (
        (outcome.kind, &outcome.label, &outcome.value, &outcome.notes),
        sorted(&Value::Object(outcome.metadata.clone())),
        (about, outcome.occurred_at),
    );
    let digest = Sha256::digest(json(&told)?);
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // 0 stands for "brings nothing".
    Ok(u64::from_be_bytes(first).max(1))
}

/// The same value with the keys of its objects in order: their order says nothing.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<&String, Value> =
                map.iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(ordered.into_iter().map(|(k, v)| (k.clone(), v)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Stores what the rules made of an event, revises the lanes that it touches or touched, and sets what it
/// waits for. What is as it was is not written again.
pub(super) fn settle_event(
    tx: &mut Tx<'_>,
    id: EventId,
    prepared: &Prepared,
    company: &Company,
) -> Result<()> {
    let key = tree::event(id);
    let Some(before) = tx.stage.sound_row::<EventRow>(Tree::Event, &key)? else {
        return give_up(tx, id);
    };
    for record in &prepared.records {
        records::put(tx, record, |other| {
            other == id || company.to_come.contains(&other)
        })?;
    }
    let mut row = before.clone();
    row.disposition = prepared.disposition;
    row.reason.clone_from(&prepared.reason);
    if prepared.keeps_former {
        row.watches.extend_from_slice(&prepared.watches);
        row.watches = watches::normalized(row.watches);
        row.wake_ms = before.wake_ms.into_iter().chain(prepared.wake_ms).min();
    } else {
        lead_to(tx, id, &mut row, prepared)?;
        row.watches.clone_from(&prepared.watches);
        row.wake_ms = prepared.wake_ms;
    }
    watches::replace(tx, id, &before.watches, &row.watches);
    wakes::replace(tx, id, before.wake_ms, row.wake_ms);
    if row != before {
        tx.stage.put_row(Tree::Event, &key, &row);
    }
    settle_mark(tx, id, prepared, company)
}

/// Replaces what the event led to.
fn lead_to(tx: &mut Tx<'_>, id: EventId, row: &mut EventRow, prepared: &Prepared) -> Result<()> {
    let key = tree::event(id);
    let (trace, outcomes) = (row.trace.take(), std::mem::take(&mut row.outcomes));
    row.trace =
        (!prepared.trace.is_empty()).then(|| content(tx, &key, trace.as_ref(), &prepared.trace));
    let end = prepared.outcomes.keys().last().map_or(0, |last| last + 1);
    row.outcomes = (0..end)
        .map(|ordinal| {
            let outcome = prepared.outcomes.get(&ordinal);
            let json = outcome.map_or(NO_OUTCOME, Vec::as_slice);
            content(tx, &key, outcomes.get(usize::from(ordinal)), json)
        })
        .collect();
    revise_lanes(tx, id, row, prepared)
}

/// The event is not there, or its row is damaged: then nothing can be kept of it any more, and nobody tries it again.
fn give_up(tx: &mut Tx<'_>, id: EventId) -> Result<()> {
    let key = tree::event(id);
    if !tx.stage.contains(Tree::Event, &key)? {
        return Err(QueueError::NotFound(format!("event {id}")));
    }
    if tx.stage.contains(Tree::Todo, &key)? {
        tx.stage.delete(Tree::Todo, &key);
        tx.delta.unprocessed -= 1;
    }
    Ok(())
}

/// Where these bytes stand in the journal: where they stood before, if they are the same.
fn content(tx: &mut Tx<'_>, key: &[u8], before: Option<&Pointer>, bytes: &[u8]) -> Pointer {
    let same = before.filter(|pointer| {
        pointer.length == bytes.len() as u64
            && pointer.crc == crc32fast::hash(bytes)
            // Also when it does not read: then it is time to write it again.
            && tx.stage.segments().read(pointer).is_ok_and(|stored| stored == bytes)
    });
    same.copied()
        .unwrap_or_else(|| tx.stage.blob(Tree::Event, key, &[bytes]))
}

/// Removes the mark "to process" unless something happened since the event was read.
fn settle_mark(tx: &mut Tx<'_>, id: EventId, prepared: &Prepared, company: &Company) -> Result<()> {
    let key = tree::event(id);
    let missed = |seen: Seen| {
        let mut watched = prepared.watches.iter();
        watched.any(|watch| tx.recent.changed_since(&watch.key.0, seen.change))
    };
    let again = company.refused || prepared.mark.0.is_some_and(missed);
    let Some(current) = tx.stage.value(Tree::Todo, &key)? else {
        return if again { watches::mark(tx, id) } else { Ok(()) };
    };
    let number = watches::mark_number(&current)?;
    if again || prepared.mark.0.is_some_and(|seen| seen.mark != number) {
        tx.effects.arrived = true;
    } else {
        tx.stage.delete(Tree::Todo, &key);
        tx.delta.unprocessed -= 1;
    }
    Ok(())
}

fn revise_lanes(
    tx: &mut Tx<'_>,
    id: EventId,
    row: &mut EventRow,
    prepared: &Prepared,
) -> Result<()> {
    let mut touched: BTreeMap<Hash16, (Vec<&LaneChange>, Vec<Entry>)> = row
        .lanes
        .iter()
        .map(|lane| (*lane, <_>::default()))
        .collect();
    for word in &prepared.changes {
        let (changes, said) = touched.entry(word.lane).or_default();
        changes.push(&word.change);
        said.push(word.entry.clone());
    }
    row.lanes.clear();
    let known = row.next_delivery;
    for (key, (changes, said)) in touched {
        let Some(mut lane) = lane_for(tx, &key, changes.last().copied())? else {
            continue;
        };
        if prepared.is_absent(&lane.destination) {
            row.lanes.push(key);
            continue;
        }
        let mut changed = false;
        if let Some(change) = changes.last() {
            changed = line::enter_mode(tx, &key, &mut lane, change.mode, id)?;
        }
        let longest = changes
            .iter()
            .map(|change| change.max_age.as_millis())
            .max();
        let mut reviser = Reviser {
            event: id,
            next_delivery: &mut row.next_delivery,
            max_age_ms: longest.map_or(DEFAULT_MAX_AGE_MS, |ms| u64::try_from(ms).unwrap_or(0)),
            rules: changes.last().map(|change| Rules::of(change)),
        };
        changed |= match lane.mode {
            Mode::Newest => lanes::revise(tx, &key, &mut lane, &said, &mut reviser)?,
            Mode::Each => line::revise(tx, &key, &mut lane, &said, known, &mut reviser)?,
        };
        if !said.is_empty() {
            row.lanes.push(key);
        }
        if changed {
            tx.stage.put_row(Tree::Lane, &key, &lane);
        }
    }
    Ok(())
}

/// For a lane that an event no longer touches when it is settled again: nobody said how long.
const DEFAULT_MAX_AGE_MS: u64 = 3 * 24 * 60 * 60 * 1000;

/// The lane's row; a new one if need be.
fn lane_for(tx: &Tx<'_>, key: &Hash16, change: Option<&LaneChange>) -> Result<Option<LaneRow>> {
    let Some(change) = change else {
        // From a lane that does not read nothing can be taken back.
        return Ok(tx.stage.sound_row(Tree::Lane, key)?);
    };
    // A new one in its place would not know which truth its target was told.
    let known: Option<LaneRow> = tx.stage.row(Tree::Lane, key).map_err(|error| {
        if !error.is_damage() {
            return QueueError::from(error);
        }
        let lane = format!("{} {}", change.destination, change.target);
        QueueError::Damaged(
            format!(
                "what is known of {lane} is damaged ({error}): stop the bridge, run `doctor --repair`, then replay this event"
            )
            .into(),
        )
    })?;
    Ok(Some(known.unwrap_or_else(|| LaneRow {
        destination: change.destination.as_str().to_owned(),
        target: change.target.clone(),
        rules: Rules::of(change),
        mode: change.mode,
        last_turn: 0,
        entries: Vec::new(),
        holds: Holds::Nothing,
        open: None,
        receipt: Vec::new(),
    })))
}

/// Marks stored events "to process" again. Answers how many there were.
pub(super) fn replay(tx: &mut Tx<'_>, ids: &[EventId]) -> Result<usize> {
    let mut found = 0;
    for id in ids {
        let key = tree::event(*id);
        let Some(mut row) = tx.stage.sound_row::<EventRow>(Tree::Event, &key)? else {
            continue;
        };
        found += 1;
        if !tx.stage.contains(Tree::Todo, &key)? {
            row.disposition = Disposition::Accepted;
            row.reason = "to be processed again".to_owned();
            tx.stage.put_row(Tree::Event, &key, &row);
        }
        watches::mark(tx, *id)?;
    }
    Ok(found)
}
