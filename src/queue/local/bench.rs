//! Measures the engine alone: durable group commit of events from many producers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{LocalOptions, LocalQueue};
use crate::clock::Clock;
use crate::model::SourceName;
use crate::queue::{NewEvent, Queue, QueueError};

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupCommit {
    /// Events that were committed.
    pub events: usize,
    /// Events durably committed in a second.
    pub per_s: f64,
    /// Half of the commits were answered within this.
    pub p50: Duration,
    /// 99 of 100 commits were answered within this.
    pub p99: Duration,
    /// Syncs per event.
    pub syncs_per_event: f64,
}

/// Commits `events` unique events of `body_bytes` each from `producers` tasks, every one of which
/// waits for its answer before it sends the next, into a new queue in `dir`.
///
/// # Errors
/// What the queue answers, as text.
pub async fn group_commit(
    dir: &Path,
    producers: usize,
    events: usize,
    body_bytes: usize,
) -> Result<GroupCommit, String> {
    let options = LocalOptions {
        max_unprocessed: u64::MAX,
        ..LocalOptions::new(dir)
    };
    let opened = tokio::task::spawn_blocking(|| LocalQueue::open(options))
        .await
        .map_err(|error| error.to_string())?;
    let (queue, _) = opened.map_err(|error| error.to_string())?;
    let queue = Arc::new(queue);
    let next = Arc::new(AtomicUsize::new(0));
    let body = Bytes::from(vec![b'x'; body_bytes]);
    let source = SourceName::new("bench").map_err(|error| error.to_string())?;
    let started = Instant::now();
    let tasks: Vec<_> = (0..producers.max(1))
        .map(|_| {
            let (queue, next) = (Arc::clone(&queue), Arc::clone(&next));
            let (body, source) = (body.clone(), source.clone());
            tokio::spawn(async move { produce(&queue, &next, events, &source, &body).await })
        })
        .collect();
    let mut times = Vec::with_capacity(events);
    for task in tasks {
        let taken = task.await.map_err(|error| error.to_string())?;
        times.extend(taken.map_err(|error| error.to_string())?);
    }
    let elapsed = started.elapsed();
    let syncs = queue.stats().syncs;
    queue.close().await.map_err(|error| error.to_string())?;
    times.sort_unstable();
    let at = |share: usize| {
        let place = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(place).copied().unwrap_or_default()
    };
    Ok(GroupCommit {
        events: times.len(),
        per_s: times.len() as f64 / elapsed.as_secs_f64(),
        p50: at(50),
        p99: at(99),
        syncs_per_event: syncs as f64 / times.len().max(1) as f64,
    })
}

async fn produce(
    queue: &LocalQueue,
    next: &AtomicUsize,
    events: usize,
    source: &SourceName,
    body: &Bytes,
) -> Result<Vec<Duration>, QueueError> {
    let mut times = Vec::new();
    let clock = Clock::system();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= events {
            return Ok(times);
        }
        let event = NewEvent {
            source: source.clone(),
            received_at: clock.now(),
            event_type: Some("bench.event".to_owned()),
            dedupe_key: (n as u128).to_be_bytes(),
            dedupe_window: jiff::SignedDuration::from_hours(24),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            query: String::new(),
            body: body.clone(),
        };
        let begun = Instant::now();
        queue.commit_event(event).await?;
        times.push(begun.elapsed());
    }
}
