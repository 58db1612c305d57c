//! When a failed delivery is tried again. Pure: time and chance are arguments.
//!
//! The wait grows by a factor from attempt to attempt up to a cap, is spread by jitter so that a
//! recovering destination is not met by everybody at once, and never undercuts a `Retry-After`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How waits are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all: every wait is exactly the schedule's.
    None,
    /// Between half the schedule's wait and the whole of it.
    #[default]
    Equal,
    /// Between nothing and the schedule's wait.
    Full,
}

/// A retry schedule with a limit in time, not in attempts.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The wait after the first failed attempt. Default 5 seconds.
    pub first: Duration,
    /// What each further wait is multiplied by; below 1 counts as 1. Default 2.
    pub factor: f64,
    /// The longest wait, also the most that a `Retry-After` can ask for. Default 1 hour.
    pub cap: Duration,
    /// How waits are spread. Default [`Jitter::Equal`].
    pub jitter: Jitter,
    /// How long a delivery may be tried, counted from when it falls due first. Default 3 days.
    pub max_age: SignedDuration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            factor: 2.0,
            cap: Duration::from_secs(3600),
            jitter: Jitter::default(),
            max_age: SignedDuration::from_hours(72),
        }
    }
}

/// A failed attempt, as far as the schedule cares.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// Attempts made, this one included.
    pub attempts: u32,
    /// What the destination asked for.
    pub retry_after: Option<Duration>,
    /// Now.
    pub now: Timestamp,
    /// When the delivery's time is up.
    pub expires_at: Timestamp,
}

impl RetryPolicy {
    /// When to try again; `None` when the delivery's time is up, or would be before the destination
    /// wants to hear from us. The last attempt falls on the moment of expiry rather than before it,
    /// so the whole time is used. `random` is uniform in `0.0..1.0`.
    pub fn next_due(&self, failure: Failure, random: f64) -> Option<Timestamp> {
        let Failure {
            attempts,
            retry_after,
            now,
            expires_at,
        } = failure;
        if now >= expires_at {
            return None;
        }
        let floor = retry_after.unwrap_or_default().min(self.cap);
        if after(now, floor) > expires_at {
            return None;
        }
        let wait = self.spread(self.wait(attempts), random).max(floor);
        Some(after(now, wait).min(expires_at))
    }

    /// The schedule's wait after so many attempts, before jitter.
    pub fn wait(&self, attempts: u32) -> Duration {
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let factor = if self.factor >= 1.0 { self.factor } else { 1.0 };
        // Infinity is fine here: the cap takes it back.
        let seconds = self.first.as_secs_f64() * factor.powi(exponent);
        if seconds < self.cap.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.cap
        }
    }

    fn spread(&self, wait: Duration, random: f64) -> Duration {
        let random = if random.is_finite() {
            random.clamp(0.0, 1.0)
        } else {
            1.0
        };
        match self.jitter {
            Jitter::None => wait,
            Jitter::Equal => wait.mul_f64(0.5 + random / 2.0),
            Jitter::Full => wait.mul_f64(random),
        }
    }
}

/// `now + wait`, at most the end of representable time.
pub(crate) fn after(now: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| now.checked_add(wait).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn failure(attempts: u32, retry_after: Option<u64>) -> Failure {
        Failure {
            attempts,
            retry_after: retry_after.map(Duration::from_secs),
            now: at(1_000),
            expires_at: at(100_000),
        }
    }

    fn exact() -> RetryPolicy {
        RetryPolicy {
            jitter: Jitter::None,
            ..RetryPolicy::default()
        }
    }

    #[test]
    fn waits_double_up_to_an_hour() {
        let waits: Vec<u64> = (1..=12).map(|n| exact().wait(n).as_secs()).collect();
        assert_eq!(
            waits,
            [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
        );
        assert_eq!(exact().wait(0).as_secs(), 5);
        assert_eq!(exact().wait(u32::MAX).as_secs(), 3600);
    }

    #[test]
    fn retry_after_only_ever_lengthens_the_wait() {
        for (asked, expected) in [
            (None, 5),
            (Some(0), 5),
            (Some(3), 5),
            (Some(90), 90),
            (Some(1_000_000), 3600),
        ] {
            let due = exact().next_due(failure(1, asked), 0.3).unwrap();
            assert_eq!(due, at(1_000 + expected), "Retry-After: {asked:?}");
        }
    }

    #[test]
    fn the_last_attempt_falls_on_the_expiry_and_none_after_it() {
        let mut last = failure(11, None);
        last.expires_at = at(1_500);
        assert_eq!(exact().next_due(last, 0.0), Some(at(1_500)));
        last.retry_after = Some(Duration::from_secs(501));
        assert_eq!(exact().next_due(last, 0.0), None);
        last.retry_after = None;
        last.now = at(1_500);
        assert_eq!(exact().next_due(last, 0.0), None);
    }

    proptest! {
        #[test]
        fn waits_stay_within_bounds_and_never_shrink(
            first in 0u64..100_000, cap in 0u64..1_000_000, factor in -2.0f64..1e9,
            attempts in 0u32..2_000,
        ) {
            let policy = RetryPolicy {
                first: Duration::from_millis(first),
                cap: Duration::from_millis(cap),
                factor,
                ..RetryPolicy::default()
            };
            prop_assert!(policy.wait(attempts) <= policy.cap);
            prop_assert!(policy.wait(attempts) <= policy.wait(attempts + 1));
        }

        #[test]
        fn the_next_attempt_is_neither_before_what_was_asked_nor_after_the_expiry(
            attempts in 0u32..60, asked in proptest::option::of(0u64..10_000_000),
            random in 0.0f64..1.0, full: bool, left in 1i64..1_000_000,
        ) {
            let jitter = if full { Jitter::Full } else { Jitter::Equal };
            let policy = RetryPolicy { jitter, ..RetryPolicy::default() };
            let mut failure = failure(attempts, asked);
            failure.expires_at = at(1_000 + left);
            let floor = Duration::from_secs(asked.unwrap_or(0)).min(policy.cap);
            match policy.next_due(failure, random) {
                Some(due) => {
                    prop_assert!(due >= after(failure.now, floor));
                    prop_assert!(due <= failure.expires_at);
                    prop_assert!(due <= after(failure.now, policy.cap));
                    let least = if full { Duration::ZERO } else { policy.wait(attempts) / 2 };
                    prop_assert!(due >= after(failure.now, least).min(failure.expires_at));
                }
                None => prop_assert!(after(failure.now, floor) > failure.expires_at),
            }
        }
    }
}
