//! Measures what registries and waiting events cost: the same work with none and with many of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{LocalOptions, LocalQueue};
use crate::model::{Disposition, EventId, SourceName};
use crate::queue::{
    Acceptance, NewEvent, Order, Place, Processed, Queue, Record, Registry, RegistryKey, Result,
    Watch,
};

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegistryCost {
    /// Records that were there.
    pub records: usize,
    /// Events that waited.
    pub waiting: usize,
    /// For each event: a record read, a phone looked up, a record with two places and two watches written.
    pub per_event: Duration,
    /// From handing in a record until the one event that waits for it is marked, durably.
    pub wake: Duration,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// Records and events in one request.
const STEP: usize = 500;
const VALUE: [u8; 300] = [b'x'; 300];
/// Changes whose wake-ups are timed.
const WAKES: u64 = 100;

/// Measures `events` events in a new queue in `dir` with `records` records and `waiting` waiting events.
///
/// # Errors
/// What the queue answers, as text.
pub async fn registry_cost(
    dir: &Path,
    records: usize,
    waiting: usize,
    events: usize,
) -> std::result::Result<RegistryCost, String> {
    let options = LocalOptions {
        max_unprocessed: u64::MAX,
        ..LocalOptions::new(dir)
    };
    let opened = tokio::task::spawn_blocking(|| LocalQueue::open(options)).await;
    let (queue, _) = opened
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    let queue = Arc::new(queue);
    measure(&queue, records, waiting, events)
        .await
        .map_err(|error| error.to_string())
}

async fn measure(
    queue: &Arc<LocalQueue>,
    records: usize,
    waiting: usize,
    events: usize,
) -> Result<RegistryCost> {
    let base = Timestamp::UNIX_EPOCH;
    let all: Vec<u64> = (0..records as u64).collect();
    for step in all.chunks(STEP) {
        let put = step.iter().map(|n| record("stored", *n, base)).collect();
        queue.put_records(put).await?;
    }
    wait(queue, waiting as u64 + WAKES, base).await?;
    let mut per_event = Duration::ZERO;
    let fresh: Vec<u64> = (0..events as u64).collect();
    for step in fresh.chunks(STEP) {
        let ids = accept(queue, "fresh", step).await?;
        let begun = Instant::now();
        let (registry, step, known) = (queue.registry(), step.to_vec(), records as u64);
        let read = move || process(registry.as_ref(), &ids, &step, known, base);
        let processed = tokio::task::spawn_blocking(read).await;
        let processed = processed
            .unwrap_or_else(|panic| Err(super::QueueError::Storage(panic.to_string().into())))?;
        settle(queue, processed).await?;
        per_event += begun.elapsed();
    }
    let begun = Instant::now();
    for n in 0..WAKES {
        queue.put_records(vec![record("awaited", n, base)]).await?;
    }
    let wake = begun.elapsed() / WAKES as u32;
    queue.close().await?;
    Ok(RegistryCost {
        records,
        waiting,
        per_event: per_event / u32::try_from(events.max(1)).unwrap_or(u32::MAX),
        wake,
        disk_bytes: queue.stats().disk_bytes,
    })
}

fn key(kind: &str, n: u64) -> RegistryKey {
    RegistryKey::of(&[kind, &n.to_string()])
}

fn record(kind: &str, n: u64, base: Timestamp) -> Record {
    let at = base + SignedDuration::from_secs(n as i64 % 1_000_000);
    let place = |found: &str| Place {
        key: key(found, n / 4),
        at,
    };
    Record {
        key: key(kind, n),
        value: Bytes::from_static(&VALUE),
        places: vec![place("phone"), place("mail")],
        keep_until: Timestamp::MAX,
    }
}

/// Lets events wait, each for a record of its own.
async fn wait(queue: &LocalQueue, count: u64, base: Timestamp) -> Result<()> {
    let all: Vec<u64> = (0..count).collect();
    for step in all.chunks(STEP) {
        let ids = accept(queue, "waiting", step).await?;
        let waits = |(id, n): (EventId, &u64)| {
            let processed = Processed {
                disposition: Some(Disposition::Waiting),
                reason: "for its call".to_owned(),
                watches: vec![
                    Watch::record(key("awaited", *n)),
                    Watch::places(key("caller", *n), base, Timestamp::MAX),
                ],
                ..Processed::default()
            };
            (id, processed)
        };
        settle(queue, ids.into_iter().zip(step).map(waits).collect()).await?;
    }
    Ok(())
}

/// What a processor does for each event of a page.
fn process(
    registry: &dyn Registry,
    ids: &[EventId],
    step: &[u64],
    known: u64,
    base: Timestamp,
) -> Result<Vec<(EventId, Processed)>> {
    let mut processed = Vec::with_capacity(ids.len());
    for (id, n) in ids.iter().zip(step) {
        // Spread over all that is there.
        let other = n.wrapping_mul(7_919) % known.max(1);
        let (seen, caller) = (key("stored", other), key("phone", other / 4));
        let _value = registry.record(&seen)?;
        let _found = registry.find(&caller, base, Timestamp::MAX, Order::Newest, 1)?;
        let result = Processed {
            disposition: Some(Disposition::Mapped),
            records: vec![record("written", *n, base)],
            watches: vec![
                Watch::record(seen),
                Watch::places(caller, base, Timestamp::MAX),
            ],
            ..Processed::default()
        };
        processed.push((*id, result));
    }
    Ok(processed)
}

async fn accept(queue: &LocalQueue, kind: &str, step: &[u64]) -> Result<Vec<EventId>> {
    let source =
        SourceName::new(kind).map_err(|error| super::QueueError::State(error.to_string()))?;
    let commits = step.iter().map(|n| {
        queue.commit_event(NewEvent {
            source: source.clone(),
            received_at: Timestamp::UNIX_EPOCH,
            event_type: None,
            dedupe_key: u128::from(*n).to_be_bytes(),
            dedupe_window: SignedDuration::from_hours(1),
            headers: Vec::new(),
            query: String::new(),
            body: Bytes::from_static(&VALUE),
        })
    });
    let accepted = futures_util::future::try_join_all(commits).await?;
    let id = |acceptance| match acceptance {
        Acceptance::Accepted(id) | Acceptance::Duplicate(id) => id,
    };
    Ok(accepted.into_iter().map(id).collect())
}

async fn settle(queue: &LocalQueue, processed: Vec<(EventId, Processed)>) -> Result<()> {
    let answers = queue.settle_events(processed).await;
    answers.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn registries_are_measured_empty_and_full() {
        let dir = tempfile::tempdir().unwrap();
        for (n, (records, waiting)) in [(0, 0), (2000, 700)].into_iter().enumerate() {
            let cost = registry_cost(&dir.path().join(n.to_string()), records, waiting, 600)
                .await
                .unwrap();
            assert_eq!((cost.records, cost.waiting), (records, waiting));
            assert!(cost.per_event > Duration::ZERO && cost.wake > Duration::ZERO);
        }
    }
}
