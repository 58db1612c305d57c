//! Settling an event: what the rules made of it, and what follows for the lanes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::{Disposition, EventId, Fact, Outcome, OutcomeId};
use crate::queue::{Change, LaneChange, Processed, QueueError, Result};
use crate::truth::{Entry, Revision, Withdrawal};

use super::lane_row::{Holds, LaneRow};
use super::lanes::{self, Reviser};
use super::row::EventRow;
use super::tree::{self, Hash16, Tree};
use super::tx::Tx;

/// A [`Processed`] with everything serialised and hashed, done before the committer sees it.
#[derive(Debug)]
pub(super) struct Prepared {
    disposition: Disposition,
    reason: String,
    trace: Bytes,
    outcomes: Vec<(Vec<u8>, Revision)>,
    changes: Vec<(Hash16, LaneChange)>,
}

impl Prepared {
    pub(super) fn new(event: EventId, processed: Processed) -> Result<Self> {
        let disposition = match processed.disposition {
            None | Some(Disposition::Accepted) => {
                return Err(QueueError::State(format!(
                    "{event} was processed without a disposition"
                )));
            }
            Some(disposition) => disposition,
        };
        let outcomes = processed
            .facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Outcome(outcome) => Some(outcome),
                _ => None,
            })
            .enumerate()
            .map(|(ordinal, outcome)| prepare_outcome(event, ordinal, outcome))
            .collect::<Result<Vec<_>>>()?;
        for change in &processed.changes {
            if let Change::Outcome(ordinal) = change.change
                && usize::from(ordinal) >= outcomes.len()
            {
                return Err(QueueError::State(format!(
                    "{event} has no outcome {ordinal}"
                )));
            }
        }
        let changes = processed
            .changes
            .into_iter()
            .map(|change| (tree::lane(&change.destination, &change.target), change))
            .collect();
        Ok(Self {
            disposition,
            reason: processed.reason,
            trace: processed.trace,
            outcomes,
            changes,
        })
    }

    /// Bytes that it adds to the journal, about.
    pub(super) fn weight(&self) -> usize {
        let outcomes: usize = self.outcomes.iter().map(|(json, _)| json.len()).sum();
        self.trace.len() + outcomes + self.changes.len() * 512
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| QueueError::State(format!("cannot be stored as JSON: {error}")))
}

fn prepare_outcome(
    event: EventId,
    ordinal: usize,
    outcome: &Outcome,
) -> Result<(Vec<u8>, Revision)> {
    let ordinal = u16::try_from(ordinal)
        .map_err(|_many| QueueError::State(format!("{event} has too many outcomes")))?;
    let revision = Revision {
        outcome: OutcomeId { event, ordinal },
        kind: outcome.kind,
        basis: outcome.basis,
        occurred_at: outcome.occurred_at,
        origin: 0,
        fingerprint: fingerprint(outcome)?,
    };
    Ok((json(outcome)?, revision))
}

/// Hash of all that a destination can be told: not which event or rule said so.
fn fingerprint(outcome: &Outcome) -> Result<u64> {
    let told = (
        (outcome.kind, &outcome.label, &outcome.value, &outcome.notes),
        sorted(&Value::Object(outcome.metadata.clone())),
        (&outcome.subject, outcome.occurred_at),
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

/// Stores what the rules made of an event and revises the lanes that it touches or touched.
pub(super) fn settle_event(tx: &mut Tx<'_>, id: EventId, prepared: &Prepared) -> Result<()> {
    let key = tree::event(id);
    let mut row: EventRow = tx
        .stage
        .row(Tree::Event, &key)?
        .ok_or_else(|| QueueError::NotFound(format!("event {id}")))?;
    row.disposition = prepared.disposition;
    row.reason.clone_from(&prepared.reason);
    row.trace =
        (!prepared.trace.is_empty()).then(|| tx.stage.blob(Tree::Event, &key, &[&prepared.trace]));
    row.outcomes = prepared
        .outcomes
        .iter()
        .map(|(json, _)| tx.stage.blob(Tree::Event, &key, &[json]))
        .collect();
    revise_lanes(tx, id, &mut row, prepared)?;
    if tx.stage.contains(Tree::Todo, &key)? {
        tx.stage.delete(Tree::Todo, &key);
        tx.delta.unprocessed -= 1;
    }
    tx.stage.put_row(Tree::Event, &key, &row);
    Ok(())
}

fn revise_lanes(
    tx: &mut Tx<'_>,
    id: EventId,
    row: &mut EventRow,
    prepared: &Prepared,
) -> Result<()> {
    let mut touched: BTreeMap<Hash16, Vec<&LaneChange>> =
        row.lanes.iter().map(|lane| (*lane, Vec::new())).collect();
    for (lane, change) in &prepared.changes {
        touched.entry(*lane).or_default().push(change);
    }
    row.lanes.clear();
    for (key, changes) in touched {
        let Some(mut lane) = lane_for(tx, &key, changes.last().copied())? else {
            continue;
        };
        let said: Vec<Entry> = changes
            .iter()
            .filter_map(|change| entry(id, change, prepared))
            .collect();
        let longest = changes
            .iter()
            .map(|change| change.max_age.as_millis())
            .max();
        let mut reviser = Reviser {
            event: id,
            next_delivery: &mut row.next_delivery,
            max_age_ms: longest.map_or(DEFAULT_MAX_AGE_MS, |ms| u64::try_from(ms).unwrap_or(0)),
            rules: changes
                .last()
                .map(|change| (change.precedence, change.can_clear)),
        };
        lanes::revise(tx, &key, &mut lane, &said, &mut reviser)?;
        if !said.is_empty() {
            row.lanes.push(key);
        }
        tx.stage.put_row(Tree::Lane, &key, &lane);
    }
    Ok(())
}

/// For a lane that an event no longer touches when it is settled again: nobody said how long.
const DEFAULT_MAX_AGE_MS: u64 = 3 * 24 * 60 * 60 * 1000;

/// The lane's row; a new one if need be.
fn lane_for(tx: &Tx<'_>, key: &Hash16, change: Option<&LaneChange>) -> Result<Option<LaneRow>> {
    let known: Option<LaneRow> = tx.stage.row(Tree::Lane, key)?;
    let Some(change) = change else {
        return Ok(known);
    };
    Ok(Some(known.unwrap_or_else(|| LaneRow {
        destination: change.destination.as_str().to_owned(),
        target: change.target.clone(),
        precedence: change.precedence,
        can_clear: change.can_clear,
        entries: Vec::new(),
        holds: Holds::Nothing,
        open: None,
        receipt: Vec::new(),
    })))
}

fn entry(event: EventId, change: &LaneChange, prepared: &Prepared) -> Option<Entry> {
    match change.change {
        Change::Outcome(ordinal) => {
            let (_, revision) = prepared.outcomes.get(usize::from(ordinal))?;
            Some(Entry::Outcome(Revision {
                origin: change.origin,
                ..revision.clone()
            }))
        }
        Change::Retract(kind, up_to) => Some(Entry::Withdrawal(Withdrawal {
            event,
            kind,
            up_to,
            origin: change.origin,
        })),
    }
}

/// Marks stored events "to process" again. Answers how many there were.
pub(super) fn replay(tx: &mut Tx<'_>, ids: &[EventId]) -> Result<usize> {
    let mut found = 0;
    for id in ids {
        let key = tree::event(*id);
        let Some(mut row) = tx.stage.row::<EventRow>(Tree::Event, &key)? else {
            continue;
        };
        found += 1;
        if !tx.stage.contains(Tree::Todo, &key)? {
            row.disposition = Disposition::Accepted;
            row.reason = "to be processed again".to_owned();
            tx.stage.put_row(Tree::Event, &key, &row);
            tx.stage.put(Tree::Todo, &key, Vec::new());
            tx.delta.unprocessed += 1;
            tx.effects.arrived = true;
        }
    }
    Ok(found)
}
