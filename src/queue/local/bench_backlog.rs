//! Measures what a backlog costs: storing events and claiming their deliveries, with few open deliveries and with
//! many.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Map;

use super::{LocalOptions, LocalQueue};
use crate::clock::Clock;
use crate::model::{
    Basis, DestinationName, Disposition, EventId, Fact, Mode, Outcome, OutcomeKind, Precedence,
    SourceName, Subject, VerdictKind,
};
use crate::queue::{
    Acceptance, Attempt, Change, LaneChange, NewEvent, Processed, Queue, QueueError, Result,
    Settlement,
};

/// What was measured, for each event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BacklogCost {
    /// Open deliveries at the end.
    pub items: u64,
    /// Storing an event and what the rules made of it, at the end.
    pub enqueue: Duration,
    /// Claiming a delivery and recording that it arrived, at the end.
    pub claim: Duration,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// Events in one step.
const STEP: u64 = 512;
/// Steps whose time counts at the end: long enough for the index to be written several times meanwhile, as it always is.
pub const TIMED: u64 = 80;
const BODY: [u8; 300] = [b'x'; 300];

/// Fills a new queue in `dir` with at least `items` open deliveries to `destination`, and claims some of them; `timed`
/// steps of 512 are measured of each ([`TIMED`] for figures that say something).
///
/// # Errors
/// What the queue answers, as text.
pub async fn backlog_cost(
    dir: &Path,
    items: u64,
    timed: u64,
    destination: &DestinationName,
) -> std::result::Result<BacklogCost, String> {
    let options = LocalOptions {
        max_unprocessed: u64::MAX,
        max_open_deliveries: u64::MAX,
        ..LocalOptions::new(dir)
    };
    let opened = tokio::task::spawn_blocking(|| LocalQueue::open(options)).await;
    let (queue, _) = opened
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    measure(&queue, items, timed, destination)
        .await
        .map_err(|error| error.to_string())
}

async fn measure(
    queue: &LocalQueue,
    items: u64,
    timed: u64,
    destination: &DestinationName,
) -> Result<BacklogCost> {
    let source = SourceName::new("bench").map_err(|error| QueueError::State(error.to_string()))?;
    let steps = items.div_ceil(STEP).max(2 * timed);
    let mut enqueued = Duration::ZERO;
    for step in 0..steps {
        let begun = Instant::now();
        enqueue(queue, &source, destination, step * STEP).await?;
        if step >= steps - timed {
            enqueued += begun.elapsed();
        }
    }
    let begun = Instant::now();
    let mut claimed = 0;
    while claimed < timed * STEP {
        claimed += claim(queue, destination).await?;
    }
    let claim = begun.elapsed() / u32::try_from(claimed).unwrap_or(u32::MAX);
    queue.close().await?;
    Ok(BacklogCost {
        items: steps * STEP - claimed,
        enqueue: enqueued / u32::try_from(timed * STEP).unwrap_or(u32::MAX),
        claim,
        disk_bytes: queue.stats().disk_bytes,
    })
}

/// Stores a step of events, each with an outcome for a call of its own.
async fn enqueue(
    queue: &LocalQueue,
    source: &SourceName,
    destination: &DestinationName,
    from: u64,
) -> Result<()> {
    let now = Clock::system().now();
    let commits = (from..from + STEP).map(|number| {
        queue.commit_event(NewEvent {
            source: source.clone(),
            received_at: now,
            event_type: None,
            dedupe_key: u128::from(number).to_be_bytes(),
            dedupe_window: SignedDuration::from_hours(1),
            headers: Vec::new(),
            query: String::new(),
            body: Bytes::from_static(&BODY),
        })
    });
    let accepted = futures_util::future::try_join_all(commits).await?;
    let settled = accepted.into_iter().zip(from..).map(|(accepted, number)| {
        let (Acceptance::Accepted(id) | Acceptance::Duplicate(id)) = accepted;
        (id, closed(id, source, destination, number, now))
    });
    let answers = queue.settle_events(settled.collect()).await;
    answers.into_iter().collect()
}

fn closed(
    event: EventId,
    source: &SourceName,
    destination: &DestinationName,
    number: u64,
    now: Timestamp,
) -> Processed {
    let call = format!("call-{number}");
    let change = LaneChange {
        destination: destination.clone(),
        target: format!("call/{call}"),
        mode: Mode::Newest,
        precedence: Precedence::default(),
        can_clear: false,
        counts_progress: false,
        max_age: SignedDuration::from_hours(72),
        change: Change::Outcome(0),
        not_before: None,
        origin: 0,
        told: Subject::default(),
    };
    let outcome = Outcome {
        kind: OutcomeKind::Closed,
        label: None,
        value: None,
        notes: None,
        metadata: Map::new(),
        subject: Subject {
            call_id: Some(call),
            ..Subject::default()
        },
        occurred_at: now,
        basis: Basis::default(),
        source: source.clone(),
        event,
        rule: "bench".to_owned(),
    };
    Processed {
        disposition: Some(Disposition::Mapped),
        facts: vec![Fact::Outcome(outcome)],
        changes: vec![change],
        ..Processed::default()
    }
}

/// Claims a step of deliveries, and records that each arrived. Answers how many there were.
async fn claim(queue: &LocalQueue, destination: &DestinationName) -> Result<u64> {
    let step = usize::try_from(STEP).unwrap_or(usize::MAX);
    let claims = queue.claim(destination, step).await?;
    if claims.is_empty() {
        return Err(QueueError::State("nothing is due".to_owned()));
    }
    let settled = claims.iter().map(|claim| {
        let attempt = Attempt {
            number: 1,
            started_at: claim.created_at,
            duration_ms: 1,
            request: "POST http://destination.example/".to_owned(),
            status: Some(200),
            response: String::new(),
            verdict: VerdictKind::Delivered,
            reason: "answered 200".to_owned(),
        };
        let settlement = Settlement::Delivered {
            attempt,
            receipt: Map::new(),
        };
        queue.settle(claim.delivery, settlement)
    });
    futures_util::future::try_join_all(settled).await?;
    Ok(claims.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_backlog_is_measured_while_it_grows() {
        let dir = tempfile::tempdir().unwrap();
        let destination = DestinationName::new("instant").unwrap();
        let cost = backlog_cost(dir.path(), 1, 2, &destination).await.unwrap();
        assert_eq!(cost.items, 2 * STEP);
        assert!(cost.enqueue > Duration::ZERO && cost.claim > Duration::ZERO);
    }
}
