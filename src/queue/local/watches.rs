//! Who waits for a change, and waking them: marking events "to process" again.

use std::collections::HashSet;

use crate::model::EventId;
use crate::queue::{Place, RegistryKey, Result, Watch};

use super::codec::{Corrupt, Get, Put};
use super::registry_key;
use super::tree::{self, Tree};
use super::tx::Tx;
use super::wakes;

/// Events that one change wakes at once. The rest are woken as those whose moment has come, some of them in each commit.
const MAX_WOKEN: usize = 4096;

/// Watches that one change looks at most at: those that end after the moment of a place may also begin after it.
const MAX_LOOKED_AT: usize = 64 * MAX_WOKEN;

/// First byte of a mark that has a number.
const MARK_VERSION: u8 = 1;

/// Marks an event "to process". A mark that is there already gets a new number, so that whoever reads the event
/// now does not take the mark away for something it has not seen.
pub(super) fn mark(tx: &mut Tx<'_>, id: EventId) -> Result<()> {
    let key = tree::event(id);
    if !tx.stage.contains(Tree::Todo, &key)? {
        tx.delta.unprocessed += 1;
    }
    let value = numbered(tx.recent.next());
    tx.stage.put(Tree::Todo, &key, value);
    tx.effects.arrived = true;
    Ok(())
}

/// A mark with this number, which is not 0.
pub(super) fn numbered(number: u64) -> Vec<u8> {
    let mut value = vec![MARK_VERSION];
    value.put_number(number);
    value
}

/// The number of a mark. The first mark of an event has none.
pub(super) fn mark_number(value: &[u8]) -> std::result::Result<u64, Corrupt> {
    let mut get = Get::new(value, "mark");
    if get.is_empty() {
        return Ok(0);
    }
    if get.u8()? != MARK_VERSION {
        return Err(get.corrupt());
    }
    get.number()
}

/// Wakes those who watch the record, and those who watch one of these places, except those who know already.
pub(super) fn wake(
    tx: &mut Tx<'_>,
    record: &RegistryKey,
    places: &[Place],
    knows: impl Fn(EventId) -> bool,
) -> Result<()> {
    let mut woken = Vec::new();
    let mut complete = watching(tx, record, None, &mut woken)?;
    tx.effects.changed.push(record.0);
    for place in places {
        complete &= watching(tx, &place.key, Some(place), &mut woken)?;
        tx.effects.changed.push(place.key.0);
    }
    woken.sort_unstable();
    woken.dedup();
    woken.retain(|id| !knows(*id));
    if !complete {
        let record = hex::encode(record.0);
        tracing::warn!(record, woken = woken.len(), "queue.too_many_watchers");
    }
    let later = woken.split_off(woken.len().min(MAX_WOKEN));
    for id in woken {
        mark(tx, id)?;
    }
    wakes::wake_soon(tx, &later);
    Ok(())
}

/// Collects who watches `key`, at the moment of `place` if there is one. Answers whether it saw all.
fn watching(
    tx: &Tx<'_>,
    key: &RegistryKey,
    place: Option<&Place>,
    woken: &mut Vec<EventId>,
) -> Result<bool> {
    let first = place.map_or_else(
        || key.0.to_vec(),
        |place| registry_key::from_moment(key, place.at),
    );
    let end = registry_key::after_moment(key, jiff::Timestamp::MAX);
    for (looked_at, row) in tx.stage.range(Tree::Watch, &first, &end).enumerate() {
        if looked_at == MAX_LOOKED_AT {
            return Ok(false);
        }
        let (key, value) = row?;
        let (watch, event) = registry_key::watch_of(&key, &value)?;
        if place.is_none_or(|place| watch.from <= place.at) {
            woken.push(event);
        }
    }
    Ok(true)
}

/// Sorted, and one for each key and last moment: the widest.
pub(super) fn normalized(mut watches: Vec<Watch>) -> Vec<Watch> {
    watches.sort_unstable_by_key(|watch| (watch.key, watch.to, watch.from));
    watches.dedup_by_key(|watch| (watch.key, watch.to));
    watches
}

/// Replaces what an event watches.
pub(super) fn replace(tx: &mut Tx<'_>, id: EventId, old: &[Watch], new: &[Watch]) {
    let (had, has): (HashSet<&Watch>, HashSet<&Watch>) =
        (old.iter().collect(), new.iter().collect());
    for watch in old.iter().filter(|watch| !has.contains(watch)) {
        tx.stage
            .delete(Tree::Watch, &registry_key::watch(watch, id));
    }
    for watch in new.iter().filter(|watch| !had.contains(watch)) {
        let value = registry_key::watch_value(watch);
        let key = registry_key::watch(watch, id);
        tx.stage.put(Tree::Watch, &key, value);
    }
}
