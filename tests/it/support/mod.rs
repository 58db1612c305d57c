//! What all promises are tested with: a bridge, those who post to it, and a destination that is strict.

mod bridge;
mod destination;
mod process;
mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use outcome_bridge::clock::Clock;
use serde_json::{Value, json};

pub(crate) use bridge::{ADMIN_TOKEN, Reply, Setup, TEAM_SECRET, TestBridge, client};
pub(crate) use destination::{Answer, FakeDestination, Received};
pub(crate) use process::{Child, Finished, run};
pub(crate) use wire::{Talk, gzip};

/// How long anything may take before a test gives up on it. Far more than it ever needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until there is something to see.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A moment so many minutes ago.
pub(crate) fn minutes_ago(minutes: i64) -> Timestamp {
    let now = Clock::system().now();
    let at = now.checked_sub(SignedDuration::from_mins(minutes)).unwrap();
    // Whole seconds: vendors rarely send more, and texts stay comparable.
    Timestamp::from_second(at.as_second()).unwrap()
}

/// What the team's own tool posts: an outcome about a call.
pub(crate) fn told(call: &str, outcome: &str, at: Timestamp) -> Value {
    json!({ "outcome": outcome, "call_id": call, "occurred_at": at })
}

/// The same, with a value.
pub(crate) fn worth(call: &str, outcome: &str, at: Timestamp, value: &str) -> Value {
    json!({ "outcome": outcome, "call_id": call, "occurred_at": at, "value": value, "currency": "USD" })
}

/// The outcome taken back.
pub(crate) fn taken_back(call: &str, outcome: &str, at: Timestamp) -> Value {
    json!({ "type": "outcome.retracted", "retract": outcome, "call_id": call, "occurred_at": at })
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
