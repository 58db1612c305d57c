//! The loop of one destination: wait until it may be used, claim, hand out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::gate::Allowance;
use super::options::DestinationOptions;
use super::worker::Worker;
use crate::queue::QueueError;

/// Claims taken in one go.
const BATCH: usize = 256;
/// How often attempts under way are let go on before a claim, while few of their slots are free.
const GATHER_ROUNDS: usize = 8;
/// Waits between claims that the queue failed to answer.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The slowest rate: a request a day.
const LONGEST_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Room for claims, taken before anything is claimed.
struct Room {
    slots: OwnedSemaphorePermit,
    unsettled: OwnedSemaphorePermit,
    /// Whether the one claim is a probe.
    probe: bool,
}

impl Room {
    fn size(&self) -> usize {
        self.slots.num_permits().min(self.unsettled.num_permits())
    }
}

impl Worker {
    /// Runs until `stop` is cancelled. Attempts run as tasks of `tracker` and may outlive it.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken, tracker: TaskTracker) {
        let mut rate = Rate::new(&self.options);
        let mut due: Option<BoxFuture<'_, ()>> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let mut room = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                room = self.room(&mut rate) => room,
            };
            // Not within a select: a claim whose answer is dropped would be lost until a restart.
            let claims = match self.queue.claim(&self.name, room.size()).await {
                Ok(claims) => claims,
                Err(error) => {
                    self.probe_unused(&room);
                    if matches!(error, QueueError::Closed) {
                        break;
                    }
                    tracing::error!(destination = %self.name, %error, "cannot claim deliveries");
                    drop(room);
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            pause = FIRST_PAUSE;
            if claims.is_empty() {
                self.probe_unused(&room);
                drop(room);
                // Register, look again, and only then wait.
                let Some(wake_up) = due.take() else {
                    due = Some(self.queue.deliveries_due(&self.name));
                    continue;
                };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = wake_up => {}
                    () = self.changed.notified() => {}
                }
                continue;
            }
            rate.spend();
            // Fewer than there was room for: most likely the last ones, so register at once.
            let rest = claims.len() < room.size();
            due = rest.then(|| self.queue.deliveries_due(&self.name));
            for claim in claims {
                let permits = (room.slots.split(1), room.unsettled.split(1));
                let attempt = Arc::clone(&self).deliver(claim, permits, room.probe);
                tracker.spawn(attempt);
            }
        }
    }

    /// Waits for the rate, for room, and last for the gate, so that its word is fresh.
    async fn room(&self, rate: &mut Rate) -> Room {
        rate.ready().await;
        let mut slots = take(&self.slots, 1).await;
        let mut unsettled = take(&self.unsettled, 1).await;
        // Attempts that are ready to end do so first: one claim for several slots costs the queue
        // little more than one for a single slot. The fewer slots are free, the more are about to be.
        for _ in 0..GATHER_ROUNDS {
            tokio::task::yield_now().await;
            let busy = self.counts.in_flight.load(Ordering::Relaxed);
            if self.slots.available_permits() as u64 >= busy / 4 {
                break;
            }
        }
        let probe = self.gate_open().await;
        if !probe && rate.is_unlimited() {
            let free = self.slots.available_permits();
            let more = free.min(self.unsettled.available_permits()).min(BATCH - 1);
            if let Some((more_slots, more_unsettled)) = self.take_more(more) {
                slots.merge(more_slots);
                unsettled.merge(more_unsettled);
            }
        }
        Room {
            slots,
            unsettled,
            probe,
        }
    }

    fn take_more(&self, count: usize) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let count = u32::try_from(count).ok()?;
        let slots = Arc::clone(&self.slots).try_acquire_many_owned(count).ok()?;
        let unsettled = Arc::clone(&self.unsettled)
            .try_acquire_many_owned(count)
            .ok()?;
        Some((slots, unsettled))
    }

    /// Waits until something may be claimed, and says whether that is a single probe.
    async fn gate_open(&self) -> bool {
        loop {
            let now = self.clock.now();
            let until = {
                let mut gate = self.gate();
                match gate.allowance(now) {
                    Allowance::All => return false,
                    Allowance::Probe => {
                        gate.probe_began();
                        return true;
                    }
                    Allowance::Nothing(until) => until,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(until, now) => {}
            }
        }
    }

    fn probe_unused(&self, room: &Room) {
        if room.probe {
            self.gate().probe_ended();
        }
    }
}

async fn take(semaphore: &Arc<Semaphore>, count: u32) -> OwnedSemaphorePermit {
    Arc::clone(semaphore)
        .acquire_many_owned(count)
        .await
        .expect("the semaphores of a worker are never closed")
}

async fn sleep_until(until: Option<Timestamp>, now: Timestamp) {
    match until {
        // A millisecond more: timers may fire a little early, and a wake-up too soon would spin.
        Some(until) => {
            let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            tokio::time::sleep(wait + Duration::from_millis(1)).await;
        }
        None => std::future::pending().await,
    }
}

/// The rate of one destination. A token is drawn before a claim, since a claim that waits for its
/// turn grows stale; a token for which there was nothing to claim is kept for the next claim. So
/// over any time at most `rate × time + burst + 1` requests go out.
struct Rate {
    limiter: Option<DefaultDirectRateLimiter>,
    token: bool,
}

impl Rate {
    fn new(options: &DestinationOptions) -> Self {
        Self {
            limiter: quota(options).map(RateLimiter::direct),
            token: false,
        }
    }

    fn is_unlimited(&self) -> bool {
        self.limiter.is_none()
    }

    async fn ready(&mut self) {
        if let Some(limiter) = &self.limiter
            && !self.token
        {
            limiter.until_ready().await;
            self.token = true;
        }
    }

    fn spend(&mut self) {
        self.token = false;
    }
}

/// `None` when the rate is unset, no number, or faster than any clock.
fn quota(options: &DestinationOptions) -> Option<Quota> {
    let rate = options.rate_per_second.filter(|rate| *rate > 0.0)?;
    let period = Duration::try_from_secs_f64(rate.recip()).unwrap_or(Duration::MAX);
    let quota = Quota::with_period(period.min(LONGEST_PERIOD))?;
    let a_second = rate.ceil().clamp(1.0, f64::from(u32::MAX)) as u32;
    let burst = options.burst.unwrap_or(a_second);
    Some(quota.allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota_of(rate_per_second: Option<f64>, burst: Option<u32>) -> Option<Quota> {
        quota(&DestinationOptions {
            rate_per_second,
            burst,
            ..DestinationOptions::default()
        })
    }

    #[test]
    fn a_rate_becomes_a_period_and_a_burst() {
        let slow = quota_of(Some(0.5), None).unwrap();
        assert_eq!(slow.replenish_interval(), Duration::from_secs(2));
        assert_eq!(slow.burst_size().get(), 1);
        let fast = quota_of(Some(10.0), Some(25)).unwrap();
        assert_eq!(fast.replenish_interval(), Duration::from_millis(100));
        assert_eq!(fast.burst_size().get(), 25);
        assert_eq!(quota_of(Some(2.5), Some(0)).unwrap().burst_size().get(), 1);
    }

    #[test]
    fn what_is_no_rate_limits_nothing_and_never_panics() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(quota_of(Some(rate), None).is_none(), "{rate}");
        }
        assert!(quota_of(None, Some(3)).is_none());
        let slowest = quota_of(Some(1e-300), None).unwrap();
        assert_eq!(slowest.replenish_interval(), LONGEST_PERIOD);
    }
}
