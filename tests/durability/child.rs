//! The process that is killed: takes events, settles them, delivers, and says what was acknowledged.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use outcome_bridge::clock::Clock;
use outcome_bridge::model::{
    Basis, DestinationName, Disposition, EventId, Fact, Mode, Outcome, OutcomeKind, Precedence,
    SourceName, Subject, VerdictKind,
};
use outcome_bridge::queue::local::{LocalOptions, LocalQueue, VerifyIndex};
use outcome_bridge::queue::{
    Acceptance, Attempt, Change, LaneChange, NewEvent, Processed, Queue, QueueError, Settlement,
};

/// Targets that outcomes go to.
pub(crate) const LANES: u64 = 40;

const PRODUCERS: u64 = 16;

pub(crate) fn options(dir: &Path) -> LocalOptions {
    LocalOptions {
        // Small, so that segments are left, prepared and reclaimed while it is killed.
        segment_bytes: 512 << 10,
        min_free_disk_bytes: 0,
        verify_index: VerifyIndex::Always,
        ..LocalOptions::new(dir)
    }
}

/// The body of event `n`: anything from nothing to 20 KB.
pub(crate) fn body(n: u64) -> Bytes {
    let length = if n.is_multiple_of(50) {
        20_000
    } else {
        (n * 37) % 3000
    };
    (0..length).map(|i| (i * 31 + n) as u8).collect()
}

/// When the outcome of event `n` occurred: not in the order of arrival.
pub(crate) fn occurred(n: u64) -> u64 {
    n ^ 21
}

pub(crate) fn destination() -> DestinationName {
    DestinationName::new("target").unwrap()
}

pub(crate) fn event(n: u64) -> NewEvent {
    NewEvent {
        source: SourceName::new("source").unwrap(),
        received_at: Clock::system().now(),
        event_type: Some(n.to_string()),
        dedupe_key: u128::from(n).to_be_bytes(),
        dedupe_window: SignedDuration::from_hours(1),
        headers: vec![("content-type".into(), "application/json".into())],
        query: String::new(),
        body: body(n),
    }
}

fn processed(id: EventId, n: u64) -> Processed {
    let outcome = Outcome {
        kind: OutcomeKind::Shown,
        label: None,
        value: None,
        notes: None,
        metadata: serde_json::Map::new(),
        subject: Subject::default(),
        occurred_at: Timestamp::from_second(occurred(n) as i64).unwrap(),
        basis: Basis::Reported,
        source: SourceName::new("source").unwrap(),
        event: id,
        rule: "rule".into(),
    };
    let change = LaneChange {
        destination: destination(),
        target: (n % LANES).to_string(),
        mode: Mode::Newest,
        precedence: Precedence::FinalFirst,
        can_clear: false,
        counts_progress: false,
        max_age: SignedDuration::from_hours(24),
        change: Change::Outcome(0),
        not_before: None,
        origin: 0,
        told: Subject::default(),
    };
    Processed {
        disposition: Some(Disposition::Mapped),
        reason: "mapped".into(),
        trace: serde_json::json!({ "n": n }).to_string().into(),
        facts: vec![Fact::Outcome(outcome)],
        changes: vec![change],
        ..Processed::default()
    }
}

pub(crate) fn delivered(number: u32) -> Settlement {
    let attempt = Attempt {
        number,
        started_at: Clock::system().now(),
        duration_ms: 1,
        request: "PATCH".into(),
        status: Some(200),
        response: String::new(),
        verdict: VerdictKind::Delivered,
        reason: "accepted".into(),
    };
    Settlement::Delivered {
        attempt,
        receipt: serde_json::Map::new(),
    }
}

/// One line in one write: what was said before the kill was said whole.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

async fn produce(queue: Arc<LocalQueue>, next: Arc<AtomicU64>) {
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        match queue.commit_event(event(n)).await {
            Ok(Acceptance::Accepted(id)) => say(&format!("accepted {n} {id}")),
            Ok(Acceptance::Duplicate(id)) => say(&format!("duplicate {n} {id}")),
            Err(QueueError::Busy(_)) => tokio::task::yield_now().await,
            Err(error) => return say(&format!("refused {error}")),
        }
    }
}

async fn process(queue: Arc<LocalQueue>) {
    loop {
        let arrived = queue.events_arrived();
        let Ok(waiting) = queue.unprocessed(None, 64).await else {
            return;
        };
        if waiting.is_empty() {
            arrived.await;
        }
        let settled = waiting.into_iter().map(|event| {
            let queue = Arc::clone(&queue);
            async move {
                let n = event.event_type.unwrap().parse().unwrap();
                let settled = queue.settle_event(event.id, processed(event.id, n)).await;
                settled.map(|()| say(&format!("settled {n} {}", event.id)))
            }
        });
        if futures_util::future::try_join_all(settled).await.is_err() {
            return;
        }
    }
}

async fn deliver(queue: Arc<LocalQueue>) {
    let destination = destination();
    loop {
        let due = queue.deliveries_due(&destination);
        let Ok(claims) = queue.claim(&destination, 16).await else {
            return;
        };
        if claims.is_empty() {
            due.await;
        }
        for claim in claims {
            let outcome = claim.outcome.unwrap().outcome;
            // The target has it from here on.
            let moment = outcome.occurred_at.as_second();
            say(&format!("applied {} {moment}", claim.target));
            let settled = queue.settle(claim.delivery, delivered(claim.attempts + 1));
            if settled.await.is_err() {
                return;
            }
            say(&format!("delivered {}", claim.delivery));
        }
    }
}

async fn prune(queue: Arc<LocalQueue>) {
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        let before = Clock::system().now() - SignedDuration::from_millis(300);
        say(&format!("pruning {}", before.as_millisecond()));
        if queue.prune(before).await.is_err() {
            return;
        }
    }
}

/// Works until it is killed, or until storage fails.
pub(crate) async fn run(dir: &Path, start: u64, pruning: bool) {
    let (queue, report) = LocalQueue::open(options(dir)).unwrap();
    let queue = Arc::new(queue);
    say(&format!("ready {}", report.events));
    let next = Arc::new(AtomicU64::new(start));
    let mut tasks: Vec<_> = (0..PRODUCERS)
        .map(|_| tokio::spawn(produce(Arc::clone(&queue), Arc::clone(&next))))
        .collect();
    tasks.push(tokio::spawn(process(Arc::clone(&queue))));
    tasks.push(tokio::spawn(deliver(Arc::clone(&queue))));
    if pruning {
        tasks.push(tokio::spawn(prune(Arc::clone(&queue))));
    }
    // Producers end when storage fails only.
    for task in tasks.drain(..PRODUCERS as usize) {
        task.await.unwrap();
    }
    let failure = queue.stats().failure;
    say(&format!("failed {}", failure.unwrap_or_default()));
    let refused = queue.commit_event(event(u64::from(u32::MAX))).await;
    say(&format!(
        "then {}",
        matches!(refused, Err(QueueError::Storage(_)))
    ));
    std::process::exit(0);
}
