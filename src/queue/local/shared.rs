//! What the committer, the keeper and the callers share: numbers, flags and wake-ups.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::queue::{DestinationDepth, QueueError, QueueStats};

use super::journal::Position;
use super::open;
use super::state::State;
use super::tx::moment;

/// When nothing is known to fall due.
const NEVER: u64 = u64::MAX;

/// Longest sleep towards a due time. The wall clock may be set meanwhile, or the machine suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Due {
    /// No lane that is free falls due before this.
    next_ms: u64,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Numbers {
    state: State,
    /// The earliest due time of each destination.
    heads: BTreeMap<String, u64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    clock: Clock,
    dir: PathBuf,
    failure: OnceLock<Arc<str>>,
    closed: AtomicBool,
    /// Less is free than the operator wants to be left.
    pub disk_low: AtomicBool,
    /// There is no room for what has to be written next.
    pub disk_full: AtomicBool,
    pub disk_bytes: AtomicU64,
    pub free_bytes: AtomicU64,
    pub commits: AtomicU64,
    pub syncs: AtomicU64,
    pub committed: AtomicU64,
    numbers: Mutex<Numbers>,
    applied: Mutex<Position>,
    arrived: watch::Sender<u64>,
    /// Up to which change of registries the index holds them.
    visible: AtomicU64,
    /// When the next wake comes.
    next_wake: watch::Sender<u64>,
    due: Mutex<HashMap<String, Due>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(dir: PathBuf, clock: Clock, state: State, applied: Position) -> Self {
        Self {
            clock,
            dir,
            failure: OnceLock::new(),
            closed: AtomicBool::new(false),
            disk_low: AtomicBool::new(false),
            disk_full: AtomicBool::new(false),
            disk_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            numbers: Mutex::new(Numbers {
                state,
                heads: BTreeMap::new(),
            }),
            applied: Mutex::new(applied),
            arrived: watch::Sender::new(0),
            visible: AtomicU64::new(0),
            next_wake: watch::Sender::new(NEVER),
            due: Mutex::default(),
        }
    }

    /// Stops everything for ever. The first reason stands. The next opening reads the whole index: what failed
    /// may be the index, and opening it unread would only fail again.
    pub(super) fn fail(&self, reason: &str) {
        if self.failure.set(reason.into()).is_err() {
            return;
        }
        tracing::error!(reason, "queue.storage_failed");
        if let Err(error) = open::set_mark(&self.dir, open::Mark::Failed) {
            tracing::warn!(%error, "queue.mark_not_written");
        }
        self.wake_processors();
    }

    /// Whether there is no room for what has to be written next.
    pub(super) fn set_disk_full(&self, full: bool) {
        if full != self.disk_full.swap(full, Ordering::Relaxed) {
            let free_bytes = self.free_bytes.load(Ordering::Relaxed);
            if full {
                tracing::error!(
                    free_bytes,
                    "queue.disk_full: new events are refused until there is room"
                );
            } else {
                tracing::warn!(free_bytes, "queue.disk_has_room_again");
            }
        }
    }

    /// Why new events are refused although storage works, if so.
    pub(super) fn disk_refusal(&self) -> Option<&'static str> {
        if self.disk_full.load(Ordering::Relaxed) {
            return Some("the disk is full");
        }
        let low = self.disk_low.load(Ordering::Relaxed);
        low.then_some("the disk is nearly full")
    }

    pub(super) fn failure(&self) -> Option<QueueError> {
        self.failure.get().cloned().map(QueueError::Storage)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Why nothing is accepted, if so.
    pub(super) fn refusal(&self) -> Option<QueueError> {
        let closed = || self.is_closed().then_some(QueueError::Closed);
        self.failure().or_else(closed)
    }

    /// Up to where the index holds the journal.
    pub(super) fn applied(&self) -> Position {
        *lock(&self.applied)
    }

    pub(super) fn set_applied(&self, position: Position) {
        *lock(&self.applied) = position;
    }

    /// Publishes the counters, and the earliest due time of destinations where it may have changed.
    pub(super) fn publish(&self, state: &State, heads: Vec<(String, Option<u64>)>) {
        let mut numbers = lock(&self.numbers);
        numbers.state.clone_from(state);
        for (destination, head) in heads {
            match head {
                Some(due_ms) => numbers.heads.insert(destination, due_ms),
                None => numbers.heads.remove(&destination),
            };
        }
    }

    /// Events that wait to be processed, and open deliveries.
    pub(super) fn backlog(&self) -> (u64, u64) {
        let numbers = lock(&self.numbers);
        (numbers.state.unprocessed, numbers.state.open_deliveries())
    }

    pub(super) fn stats(&self) -> QueueStats {
        let now_ms = self.clock.now_millis();
        let numbers = lock(&self.numbers);
        let destinations = numbers.state.depths.iter().map(|(name, depth)| {
            let head = numbers.heads.get(name).filter(|due_ms| **due_ms <= now_ms);
            let depth = DestinationDepth {
                open: depth.open,
                dead_letters: depth.dead,
                oldest_due_at: head.map(|due_ms| moment(*due_ms)),
            };
            (name.clone(), depth)
        });
        QueueStats {
            events: numbers.state.events,
            unprocessed: numbers.state.unprocessed,
            destinations: destinations.collect(),
            disk_bytes: self.disk_bytes.load(Ordering::Relaxed),
            free_bytes: Some(self.free_bytes.load(Ordering::Relaxed))
                .filter(|free| *free < u64::MAX),
            refusing: self.disk_refusal().map(str::to_owned),
            syncs: self.syncs.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            committed: self.committed.load(Ordering::Relaxed),
            failure: self.failure.get().map(ToString::to_string),
        }
    }

    pub(super) fn wake_processors(&self) {
        self.arrived.send_modify(|n| *n += 1);
    }

    /// Up to which change of registries everybody sees them.
    pub(super) fn visible(&self) -> u64 {
        self.visible.load(Ordering::SeqCst)
    }

    pub(super) fn set_visible(&self, change: u64) {
        self.visible.store(change, Ordering::SeqCst);
    }

    pub(super) fn set_next_wake(&self, due_ms: Option<u64>) {
        let due_ms = due_ms.unwrap_or(NEVER);
        self.next_wake
            .send_if_modified(|next| std::mem::replace(next, due_ms) != due_ms);
    }

    /// Whether a wake has come.
    pub(super) fn is_wake_due(&self) -> bool {
        *self.next_wake.borrow() <= self.clock.now_millis()
    }

    /// Registers now, resolves at the next wake-up of processors or when the next wake of an event comes.
    pub(super) fn events_arrived(&self) -> BoxFuture<'static, ()> {
        let mut arrived = self.arrived.subscribe();
        let mut next_wake = self.next_wake.subscribe();
        let clock = self.clock.clone();
        Box::pin(async move {
            loop {
                let due_ms = *next_wake.borrow_and_update();
                let wait = Duration::from_millis(due_ms.saturating_sub(clock.now_millis()));
                if wait.is_zero() {
                    return;
                }
                tokio::select! {
                    changed = arrived.changed() => return ended(changed).await,
                    changed = next_wake.changed() => ended(changed).await,
                    () = tokio::time::sleep(wait.min(LONGEST_SLEEP)), if due_ms != NEVER => {}
                }
            }
        })
    }

    /// A free lane of `destination` falls due at `due_ms`.
    pub(super) fn wake_workers(&self, destination: &str, due_ms: u64) {
        let mut all = lock(&self.due);
        let due = due_of(&mut all, destination);
        due.next_ms = due.next_ms.min(due_ms);
        due.changed.send_modify(|n| *n += 1);
    }

    /// A mark that changes with every wake-up, to be read before looking for due lanes.
    pub(super) fn due_mark(&self, destination: &str) -> u64 {
        *due_of(&mut lock(&self.due), destination).changed.borrow()
    }

    /// What looking found: no free lane is due before `next_ms`. Does not count if there was a wake-up
    /// since `mark`.
    pub(super) fn set_next_due(&self, destination: &str, mark: u64, next_ms: Option<u64>) {
        let mut all = lock(&self.due);
        let due = due_of(&mut all, destination);
        if *due.changed.borrow() == mark {
            due.next_ms = next_ms.unwrap_or(NEVER);
        }
    }

    /// Registers now, resolves at the next wake-up or when the next due time comes.
    pub(super) fn deliveries_due(&self, destination: &str) -> BoxFuture<'static, ()> {
        let (mut changed, next_ms) = {
            let mut all = lock(&self.due);
            let due = due_of(&mut all, destination);
            (due.changed.subscribe(), due.next_ms)
        };
        let clock = self.clock.clone();
        Box::pin(async move {
            let wait = Duration::from_millis(next_ms.saturating_sub(clock.now_millis()));
            tokio::select! {
                closed = changed.changed() => if closed.is_err() {
                    std::future::pending::<()>().await;
                },
                () = tokio::time::sleep(wait.min(LONGEST_SLEEP)), if next_ms != NEVER => {}
            }
        })
    }
}

/// Never goes on when there is nobody left who could wake anybody.
async fn ended(changed: Result<(), watch::error::RecvError>) {
    if changed.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Before anybody has looked, something may be due.
fn due_of<'a>(all: &'a mut HashMap<String, Due>, destination: &str) -> &'a mut Due {
    if !all.contains_key(destination) {
        let due = Due {
            next_ms: 0,
            changed: watch::Sender::new(0),
        };
        all.insert(destination.to_owned(), due);
    }
    all.get_mut(destination).expect("it was put there above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use jiff::Timestamp;

    fn shared() -> Shared {
        let clock = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
        let start = Position {
            segment: 1,
            offset: 16,
        };
        Shared::new(PathBuf::new(), clock, State::default(), start)
    }

    #[tokio::test]
    async fn a_wake_up_between_registering_and_waiting_is_not_lost() {
        let shared = shared();
        let (arrived, due) = (shared.events_arrived(), shared.deliveries_due("a"));
        shared.wake_processors();
        shared.wake_workers("a", NEVER);
        arrived.await;
        due.await;
    }

    #[tokio::test]
    async fn looking_settles_the_next_due_time_unless_a_wake_up_came_meanwhile() {
        let shared = shared();
        let mark = shared.due_mark("a");
        shared.set_next_due("a", mark, None);
        assert!(shared.deliveries_due("a").now_or_never().is_none());
        let mark = shared.due_mark("a");
        shared.wake_workers("a", 5);
        shared.set_next_due("a", mark, None);
        shared.deliveries_due("a").await;
    }
}
