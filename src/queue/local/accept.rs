//! Storing an event, and recognising its repeats.

use crate::model::{Disposition, EventId};
use crate::queue::{Acceptance, NewEvent, Result};

use super::blob;
use super::row::{DedupeRow, EventRow, Row};
use super::stage::Stage;
use super::tree::{self, Hash16, Tree};
use super::tx::Tx;

const MINUTE_MS: u64 = 60_000;

/// Duplicate keys in one row of `dedupe_exp`: keeps the row small.
const KEYS_PER_ROW: usize = 48;

/// Stores `event`, or counts it as a repeat of one that is stored.
pub(super) fn accept(tx: &mut Tx<'_>, event: &NewEvent, dedupe: Hash16) -> Result<Acceptance> {
    let now_ms = tx.now_ms();
    if let Some(known) = tx.stage.row::<DedupeRow>(Tree::Dedupe, &dedupe)?
        && known.expires_ms > now_ms
    {
        count_repeat(tx, known.event)?;
        return Ok(Acceptance::Duplicate(known.event));
    }
    let id = tx.state.next_id(now_ms);
    let key = tree::event(id);
    let head = blob::head(&event.headers, &event.query);
    let body = tx.stage.blob(Tree::Event, &key, &[&head, &event.body]);
    let row = EventRow {
        source: event.source.as_str().to_owned(),
        received_at: event.received_at,
        event_type: event.event_type.clone(),
        disposition: Disposition::Accepted,
        reason: String::new(),
        duplicates: 0,
        body_bytes: u32::try_from(event.body.len()).unwrap_or(u32::MAX),
        body,
        trace: None,
        outcomes: Vec::new(),
        lanes: Vec::new(),
        next_delivery: 0,
        watches: Vec::new(),
        wake_ms: None,
    };
    tx.stage.put_row(Tree::Event, &key, &row);
    tx.stage.put(Tree::Todo, &key, Vec::new());
    let window_ms = u64::try_from(event.dedupe_window.as_millis()).unwrap_or(0);
    if window_ms > 0 {
        let expires_ms = now_ms.saturating_add(window_ms);
        let row = DedupeRow {
            event: id,
            expires_ms,
        };
        tx.stage.put_row(Tree::Dedupe, &dedupe, &row);
        tx.effects
            .expiring
            .push((expires_ms / MINUTE_MS, id, dedupe));
    }
    tx.delta.events += 1;
    tx.delta.unprocessed += 1;
    tx.effects.arrived = true;
    Ok(Acceptance::Accepted(id))
}

fn count_repeat(tx: &mut Tx<'_>, id: EventId) -> Result<()> {
    let key = tree::event(id);
    // The event may have been pruned; its key is still recognised.
    if let Some(mut row) = tx.stage.sound_row::<EventRow>(Tree::Event, &key)? {
        row.duplicates = row.duplicates.saturating_add(1);
        tx.stage.put_row(Tree::Event, &key, &row);
    }
    Ok(())
}

/// Notes when the duplicate keys of this commit expire, and removes about twice as many that have:
/// the table shrinks back after a flood without anybody scanning it.
pub(super) fn expire(
    stage: &mut Stage,
    mut added: Vec<(u64, EventId, Hash16)>,
    now_ms: u64,
) -> Result<()> {
    if added.is_empty() {
        return Ok(());
    }
    let mut budget = added.len() * 2;
    added.sort_unstable();
    for group in added.chunk_by(|a, b| a.0 == b.0) {
        for part in group.chunks(KEYS_PER_ROW) {
            let mut keys = Vec::with_capacity(1 + part.len() * 16);
            keys.push(1);
            part.iter()
                .for_each(|(_, _, key)| keys.extend_from_slice(key));
            let row = tree::dedupe_expiry(part[0].0, part[0].1);
            stage.put(Tree::DedupeExpiry, &row, keys);
        }
    }
    // A minute is over when the next one has begun.
    let end = tree::dedupe_expiry(now_ms / MINUTE_MS, EventId(0));
    let expired = stage.index().range(Tree::DedupeExpiry, &[], &end);
    for row in expired {
        let (key, keys) = row?;
        for dedupe in keys.get(1..).unwrap_or_default().chunks_exact(16) {
            remove_if_expired(stage, dedupe, now_ms)?;
            budget = budget.saturating_sub(1);
        }
        stage.delete(Tree::DedupeExpiry, &key);
        if budget == 0 {
            break;
        }
    }
    Ok(())
}

/// The same key may have been stored again since, with a later expiry.
fn remove_if_expired(stage: &mut Stage, dedupe: &[u8], now_ms: u64) -> Result<()> {
    let row: Option<DedupeRow> = stage.row(Tree::Dedupe, dedupe)?;
    if row.is_some_and(|row| row.expires_ms <= now_ms) {
        stage.delete(Tree::Dedupe, dedupe);
    }
    Ok(())
}

/// Reads a row of `dedupe_exp`, for checks.
pub(super) fn check_expiry_row(value: &[u8]) -> bool {
    value.first() == Some(&1) && (value.len() - 1).is_multiple_of(16)
}

/// Reads a duplicate key's row, for checks.
pub(super) fn check_dedupe_row(value: &[u8]) -> bool {
    DedupeRow::decode(value).is_ok()
}
