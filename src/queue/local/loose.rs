//! Rows that do not read, and rows that stand for something that is not there: what damage of the journal leaves in
//! the index. A repair takes them out, and has events processed again where that brings back what was lost.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::model::{DeliveryId, DeliveryState, EventId};
use crate::queue::RegistryKey;

use super::index::{Index, IndexError};
use super::journal::Segments;
use super::lane_row::{Holds, LaneRow, Open};
use super::recent::Recent;
use super::records::RecordRow;
use super::row::{DeliveryRow, EventRow, Row};
use super::stage::{ReadError, decode, read_row};
use super::state::{Depth, State};
use super::tree::{self, Hash16, Tree};
use super::{line, open, registry_key, watches};

/// A change of a row: what it is to be, or `None` when it is to go.
pub(super) type Change = (Tree, Vec<u8>, Option<Vec<u8>>);

/// What has to be changed.
#[derive(Debug, Default)]
pub(super) struct Loose {
    pub changes: Vec<Change>,
    /// Rows among them that are damaged or stand for nothing.
    pub rows: u64,
    /// Events that are to be processed again.
    pub events: u64,
}

impl Loose {
    fn drop(&mut self, tree: Tree, key: &[u8]) {
        self.changes.push((tree, key.to_vec(), None));
        self.rows += 1;
    }

    fn put<R: Row>(&mut self, tree: Tree, key: &[u8], row: &R) {
        self.changes.push((tree, key.to_vec(), Some(row.encode())));
    }

    /// Gives every row of a tree that reads to `each`.
    fn each<R: Row>(
        &mut self,
        (index, segments): (&Index, &Segments),
        tree: Tree,
        mut each: impl FnMut(&mut Self, &[u8], R) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        for row in index.range(tree, &[], &[]) {
            let (key, value) = row?;
            match decode(&value, segments) {
                Ok(row) => each(self, &key, row)?,
                Err(error) if error.is_damage() => self.drop(tree, &key),
                Err(error) => return Err(index_error(error)),
            }
        }
        Ok(())
    }

    /// Drops the rows of a tree that stand for nothing. Answers how many are left.
    fn keep(
        &mut self,
        index: &Index,
        tree: Tree,
        mut stands: impl FnMut(&[u8], &[u8]) -> Result<bool, IndexError>,
    ) -> Result<u64, IndexError> {
        let mut left = 0;
        for row in index.range(tree, &[], &[]) {
            let (key, value) = row?;
            if stands(&key, &value)? {
                left += 1;
            } else {
                self.drop(tree, &key);
            }
        }
        Ok(left)
    }
}

fn index_error(error: ReadError) -> IndexError {
    match error {
        ReadError::Index(error) => error,
        error => IndexError::Broken(error.to_string()),
    }
}

/// Goes through the whole index, which nobody else uses.
pub(super) fn look(index: &Index, segments: &Segments) -> Result<Loose, IndexError> {
    let mut loose = Loose::default();
    let both = (index, segments);
    let said = open::read_state(index, segments)?;
    let mut state = State {
        last_id: said.last_id,
        run: said.run,
        ..State::default()
    };
    let mut again = BTreeSet::new();

    let mut lanes: HashMap<Hash16, Option<Open>> = HashMap::new();
    loose.each(both, Tree::Lane, |_, key, lane: LaneRow| {
        lanes.insert(lane_of(key)?, lane.open);
        Ok(())
    })?;
    let mut deliveries = HashSet::new();
    loose.each(both, Tree::Delivery, |loose, key, mut row: DeliveryRow| {
        let id = tree::delivery_of(key)?;
        if row.state.is_open() && !lanes.contains_key(&row.lane) {
            again.insert(id.event);
            again.extend(row.outcome.map(|(outcome, _)| outcome.event));
            // Not cancelled, which would be for good.
            row.state = DeliveryState::Superseded;
            row.reason =
                "what was known of its target was damaged; its event is processed again".to_owned();
            row.turn = 0;
            loose.put(Tree::Delivery, key, &row);
        }
        let depth: &mut Depth = state.depths.entry(row.destination).or_default();
        depth.open += u64::from(row.state.is_open());
        depth.dead += u64::from(row.state == DeliveryState::DeadLetter);
        deliveries.insert(id);
        Ok(())
    })?;
    let mut events = HashSet::new();
    loose.each(both, Tree::Event, |_, key, row: EventRow| {
        let id = tree::event_of(key)?;
        events.insert(id);
        if row.lanes.iter().any(|lane| !lanes.contains_key(lane)) {
            again.insert(id);
        }
        Ok(())
    })?;
    close_lost(
        both,
        &mut lanes,
        &deliveries,
        &mut loose,
        &events,
        &mut again,
    )?;
    let mut records = HashSet::new();
    loose.each(both, Tree::Record, |_, key, _: RecordRow| {
        records.insert(key.to_vec());
        Ok(())
    })?;

    loose.keep(index, Tree::Dead, |key, _| {
        Ok(deliveries.contains(&tree::delivery_of(key)?))
    })?;
    loose.keep(index, Tree::Due, |key, _| {
        let (_, due_ms, lane) = tree::due_of(key)?;
        let open = lanes.get(&lane).copied().flatten();
        Ok(open.is_some_and(|open| open.due_ms == due_ms))
    })?;
    loose.keep(index, Tree::Line, |key, _| {
        let (lane, _, delivery) = line::place_of(key)?;
        let is_there = deliveries.contains(&delivery);
        if !is_there {
            again.insert(delivery.event);
        }
        Ok(lanes.contains_key(&lane) && is_there)
    })?;
    loose.keep(index, Tree::Place, |key, _| {
        let RegistryKey(record) = registry_key::place_of(key)?.1;
        Ok(records.contains(&record[..]))
    })?;
    loose.keep(index, Tree::Watch, |key, value| {
        Ok(events.contains(&registry_key::watch_of(key, value)?.1))
    })?;
    state.unprocessed = loose.keep(index, Tree::Todo, |key, value| {
        watches::mark_number(value)?;
        Ok(events.contains(&tree::event_of(key)?))
    })?;
    state.events = events.len() as u64;

    // With a number: they were processed before. Nobody holds a mark of a run that has ended.
    let mark = watches::numbered(Recent::new(said.run).next());
    for id in again.intersection(&events.into_iter().collect()) {
        let key = tree::event(*id);
        if index.get(Tree::Todo, &key)?.is_none() {
            loose
                .changes
                .push((Tree::Todo, key.to_vec(), Some(mark.clone())));
            state.unprocessed += 1;
        }
        loose.events += 1;
    }
    let known = |state: &State| {
        let mut state = state.clone();
        state.depths.retain(|_, depth| *depth != Depth::default());
        state
    };
    if known(&state) != known(&said) {
        loose.put(Tree::Meta, tree::STATE, &state);
    }
    Ok(loose)
}

fn lane_of(key: &[u8]) -> Result<Hash16, IndexError> {
    let lane = key.try_into();
    lane.map_err(|_length| IndexError::Broken("a lane's key is no hash".to_owned()))
}

/// Closes what is open at lanes and not there. What the target knows of it nobody knows; its event says again what it is to
/// be told, if it is still there.
fn close_lost(
    (index, segments): (&Index, &Segments),
    lanes: &mut HashMap<Hash16, Option<Open>>,
    deliveries: &HashSet<DeliveryId>,
    loose: &mut Loose,
    events: &HashSet<EventId>,
    again: &mut BTreeSet<EventId>,
) -> Result<(), IndexError> {
    for (key, open) in lanes {
        let Some(lost) = open.filter(|open| !deliveries.contains(&open.delivery)) else {
            continue;
        };
        let row = read_row(index, segments, Tree::Lane, key).map_err(index_error)?;
        let Some(mut lane): Option<LaneRow> = row else {
            continue;
        };
        let event = lane.teller(lost.delivery);
        if events.contains(&event) {
            // What the lane knows already is not told.
            lane.entries.retain(|entry| entry.event() != event);
            again.insert(event);
        }
        lane.open = None;
        lane.holds = Holds::Unknown;
        loose.put(Tree::Lane, key, &lane);
        loose.rows += 1;
        *open = None;
    }
    Ok(())
}
