//! Wakes: durable timers of events.

use crate::model::EventId;
use crate::queue::Result;

use super::index::Index;
use super::registry_key;
use super::row::EventRow;
use super::tree::{self, Tree};
use super::tx::Tx;
use super::watches;

/// Sets, moves or removes the wake of an event.
pub(super) fn replace(tx: &mut Tx<'_>, id: EventId, old: Option<u64>, new: Option<u64>) {
    if old == new {
        return;
    }
    if let Some(due_ms) = old {
        tx.stage.delete(Tree::Wake, &registry_key::wake(due_ms, id));
    }
    if let Some(due_ms) = new {
        let key = registry_key::wake(due_ms, id);
        tx.stage.put(Tree::Wake, &key, Vec::new());
    }
    tx.effects.wakes = true;
}

/// Lets these events be woken by [`wake_due`], beside whatever they themselves asked for.
pub(super) fn wake_soon(tx: &mut Tx<'_>, events: &[EventId]) {
    for id in events {
        let key = registry_key::wake(tx.now_ms(), *id);
        tx.stage.put(Tree::Wake, &key, Vec::new());
    }
    tx.effects.wakes |= !events.is_empty();
}

/// Marks events whose moment has come, oldest moment first. Answers how many there were.
pub(super) fn wake_due(tx: &mut Tx<'_>, limit: usize) -> Result<usize> {
    let end = registry_key::wake(tx.now_ms().saturating_add(1), EventId(0));
    let due: Vec<_> = tx
        .stage
        .range(Tree::Wake, &[], &end)
        .take(limit)
        .collect::<std::result::Result<_, _>>()?;
    for (key, _) in &due {
        let (due_ms, id) = registry_key::wake_of(key)?;
        tx.stage.delete(Tree::Wake, key);
        let event = tree::event(id);
        if let Some(mut row) = tx.stage.sound_row::<EventRow>(Tree::Event, &event)? {
            if row.wake_ms == Some(due_ms) {
                row.wake_ms = None;
                tx.stage.put_row(Tree::Event, &event, &row);
            }
            watches::mark(tx, id)?;
        }
    }
    tx.effects.wakes |= !due.is_empty();
    Ok(due.len())
}

/// When the next moment comes; `None` also when the index cannot tell.
pub(super) fn next(index: &Index) -> Option<u64> {
    let (key, _) = index.range(Tree::Wake, &[], &[]).next()?.ok()?;
    registry_key::wake_of(&key).ok().map(|(due_ms, _)| due_ms)
}
