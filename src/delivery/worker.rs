//! What the dispatcher of one destination and its attempts share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::breaker::BreakerState;
use super::dialect::Dialect;
use super::gate::{Gate, Held};
use super::options::DestinationOptions;
use crate::clock::Clock;
use crate::egress::Client;
use crate::metrics::DestinationMetrics;
use crate::model::{DeliveryId, DestinationName};
use crate::queue::{Operation, Queue, QueueError};
use crate::store::Store;

/// Writes to the store are gathered by its writer, 512 at most: while they are committed, as many others are claimed and settled.
const STORE_CONCURRENCY: usize = 1_024;

/// A delivery whose handling panics is tried so often in a row: a fault of ours may be gone after an
/// upgrade, but it must not go on for days.
const PANICS_AT_MOST: u32 = 5;

/// How a destination is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DestinationState {
    /// Its name.
    pub name: DestinationName,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// Set while it refuses our credentials.
    pub held: Option<Held>,
    /// Set while it asked to be left alone (429 or 503 with `Retry-After`).
    pub throttled_until: Option<Timestamp>,
    /// Requests under way.
    pub in_flight: u64,
    /// Delivered since start.
    pub delivered: u64,
    /// Attempts that failed since start, whatever for.
    pub failed: u64,
    /// Given up since start.
    pub dead_letters: u64,
}

/// What carries deliveries to a destination.
pub(super) enum Courier {
    Http {
        client: Client,
        dialect: Arc<dyn Dialect>,
    },
    Store(Store),
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) in_flight: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dead_letters: AtomicU64,
}

/// One destination at work. `dispatcher` has its loop, `attempt` a single attempt.
pub(super) struct Worker {
    pub(super) name: DestinationName,
    pub(super) courier: Courier,
    pub(super) options: DestinationOptions,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: Clock,
    /// Cancelled when a stop has reached its deadline: attempts are given up and released.
    pub(super) abandon: CancellationToken,
    /// Wakes the dispatcher when the gate may have opened.
    pub(super) changed: Notify,
    /// Free room for requests.
    pub(super) slots: Arc<Semaphore>,
    /// Free room for claims that are not settled yet. A request's slot is free again before its
    /// delivery is settled, since settling waits for a disk and not for the destination.
    pub(super) unsettled: Arc<Semaphore>,
    pub(super) counts: Counts,
    pub(super) metrics: DestinationMetrics,
    /// How often handling a delivery panicked, one time after the other.
    panics: Mutex<HashMap<DeliveryId, u32>>,
    gate: Mutex<Gate>,
}

impl Worker {
    pub(super) fn new(
        name: DestinationName,
        courier: Courier,
        options: DestinationOptions,
        queue: Arc<dyn Queue>,
        clock: Clock,
        abandon: CancellationToken,
    ) -> Self {
        let concurrency = match courier {
            Courier::Http { .. } => options.concurrency.get().min(Semaphore::MAX_PERMITS / 8),
            Courier::Store(_) => STORE_CONCURRENCY,
        };
        Self {
            metrics: DestinationMetrics::new(&name),
            gate: Mutex::new(Gate::new(options.breaker.clone(), options.hold_probe)),
            slots: Arc::new(Semaphore::new(concurrency)),
            unsettled: Arc::new(Semaphore::new((concurrency * 4).max(256))),
            changed: Notify::new(),
            panics: Mutex::default(),
            counts: Counts::default(),
            name,
            courier,
            options,
            queue,
            clock,
            abandon,
        }
    }

    pub(super) fn name(&self) -> &DestinationName {
        &self.name
    }

    /// The gate. Held for moments only, never over an await.
    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts how often in a row handling a delivery has panicked. Answers whether that was the last time, and begins anew
    /// then: somebody may redrive it.
    pub(super) fn panicked_too_often(&self, delivery: DeliveryId, panicked: bool) -> bool {
        let mut panics = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        let before = panics.remove(&delivery).unwrap_or_default();
        let too_often = before + u32::from(panicked) >= PANICS_AT_MOST;
        if panicked && !too_often {
            panics.insert(delivery, before + 1);
        }
        too_often
    }

    pub(super) fn is_paused(&self) -> bool {
        self.gate().is_paused()
    }

    pub(super) fn pause(&self) {
        self.gate().pause();
    }

    /// Opens the gate; what a hold had put off is due at once.
    ///
    /// # Errors
    /// When storage fails; the gate is open all the same.
    pub(super) async fn resume(&self) -> Result<(), QueueError> {
        let put_off = self.gate().resume();
        self.gate_changed(self.clock.now());
        for delivery in put_off {
            match self.queue.operate(delivery, Operation::Hasten).await {
                // It is being tried right now, or past its retention.
                Ok(_) | Err(QueueError::State(_) | QueueError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Shows the gate's state in the metrics and wakes the dispatcher.
    pub(super) fn gate_changed(&self, now: Timestamp) {
        {
            let mut gate = self.gate();
            let held = gate.held().is_some();
            self.metrics.gate(gate.breaker(now).as_str(), held);
        }
        self.changed.notify_one();
    }

    pub(super) fn state(&self, now: Timestamp) -> DestinationState {
        let mut gate = self.gate();
        let breaker = gate.breaker(now);
        // A breaker turns half-open by the passing of time alone: looking is what shows it.
        self.metrics.gate(breaker.as_str(), gate.held().is_some());
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DestinationState {
            name: self.name.clone(),
            paused: gate.is_paused(),
            breaker,
            held: gate.held().cloned(),
            throttled_until: gate.throttled_until(now),
            in_flight: read(&self.counts.in_flight),
            delivered: read(&self.counts.delivered),
            failed: read(&self.counts.failed),
            dead_letters: read(&self.counts.dead_letters),
        }
    }
}
