//! The circuit breaker of one destination. Pure: time is an argument.
//!
//! ```text
//! closed ──failures in a row──> open ──its time passes──> half-open ──probe answered──> closed
//!                                ^                            │
//!                                └────────probe failed────────┘ (twice as long, up to a cap)
//! ```
//!
//! While it is open nothing is claimed, so waiting spends no attempts. Only what says "nobody is at
//! home" counts: errors of the connection, timeouts, 5xx. A 404 or a 429 comes from a destination
//! that lives.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::retry::after;

/// When a breaker opens and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures in a row that open it; 0 never opens it. Default 10.
    pub failures: u32,
    /// How long it stays open at first; doubles with each failed probe. Default 10 seconds.
    pub open_for: Duration,
    /// The longest it stays open between probes. Default 5 minutes.
    pub open_at_most: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures: 10,
            open_for: Duration::from_secs(10),
            open_at_most: Duration::from_secs(300),
        }
    }
}

/// What an attempt said about the destination itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Somebody answered, whatever the answer was.
    Alive,
    /// Nobody was at home: no connection, no answer in time, or a 5xx.
    Failing,
}

/// A breaker's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum BreakerState {
    /// Deliveries flow.
    Closed,
    /// Nothing is claimed until the probe.
    Open {
        /// When the probe is sent.
        until: Timestamp,
    },
    /// One probe may be under way.
    HalfOpen,
}

impl BreakerState {
    /// The word used in APIs, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    options: BreakerOptions,
    state: BreakerState,
    failures_in_a_row: u32,
    times_opened: u32,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            state: BreakerState::Closed,
            failures_in_a_row: 0,
            times_opened: 0,
        }
    }

    /// Its state at `now`: open becomes half-open when its time has passed. A clock that is set back does not make it wait
    /// for longer than it ever would.
    pub(super) fn state(&mut self, now: Timestamp) -> BreakerState {
        if let BreakerState::Open { until } = self.state {
            let until = until.min(after(now, self.options.open_at_most));
            self.state = if now < until {
                BreakerState::Open { until }
            } else {
                BreakerState::HalfOpen
            };
        }
        self.state
    }

    /// Takes note of an attempt. `probe` tells whether the attempt was sent to find out: answers to
    /// requests from before it opened neither close it nor open it again.
    pub(super) fn record(&mut self, signal: Signal, probe: bool, now: Timestamp) {
        match (self.state(now), signal) {
            (BreakerState::Closed, Signal::Alive) => self.failures_in_a_row = 0,
            (BreakerState::Closed, Signal::Failing) => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                if self.options.failures > 0 && self.failures_in_a_row >= self.options.failures {
                    self.open(now);
                }
            }
            (BreakerState::HalfOpen | BreakerState::Open { .. }, Signal::Alive) if probe => {
                self.reset();
            }
            (BreakerState::HalfOpen | BreakerState::Open { .. }, Signal::Failing) if probe => {
                self.open(now);
            }
            (BreakerState::HalfOpen | BreakerState::Open { .. }, _) => {}
        }
    }

    /// Closes it and forgets what was.
    pub(super) fn reset(&mut self) {
        self.state = BreakerState::Closed;
        self.failures_in_a_row = 0;
        self.times_opened = 0;
    }

    fn open(&mut self, now: Timestamp) {
        let doubled = 2u32.saturating_pow(self.times_opened);
        let open_for = self
            .options
            .open_for
            .saturating_mul(doubled)
            .min(self.options.open_at_most);
        self.times_opened = self.times_opened.saturating_add(1);
        self.state = BreakerState::Open {
            until: after(now, open_for),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn breaker(failures: u32) -> Breaker {
        Breaker::new(BreakerOptions {
            failures,
            open_for: Duration::from_secs(10),
            open_at_most: Duration::from_secs(60),
        })
    }

    fn opened() -> Breaker {
        let mut breaker = breaker(1);
        breaker.record(Signal::Failing, false, at(0));
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let mut breaker = breaker(3);
        for signal in [
            Signal::Failing,
            Signal::Failing,
            Signal::Alive,
            Signal::Failing,
            Signal::Failing,
        ] {
            breaker.record(signal, false, at(0));
            assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        }
        breaker.record(Signal::Failing, false, at(0));
        assert_eq!(breaker.state(at(0)), BreakerState::Open { until: at(10) });
    }

    #[test]
    fn becomes_half_open_when_its_time_has_passed() {
        let mut breaker = opened();
        assert_eq!(breaker.state(at(9)), BreakerState::Open { until: at(10) });
        assert_eq!(breaker.state(at(10)), BreakerState::HalfOpen);
    }

    #[test]
    fn each_failed_probe_doubles_the_time_up_to_a_cap_and_an_answer_closes() {
        let mut breaker = opened();
        let mut now = 10;
        for open_for in [20, 40, 60, 60] {
            breaker.record(Signal::Failing, true, at(now));
            let until = at(now + open_for);
            assert_eq!(breaker.state(at(now)), BreakerState::Open { until });
            now += open_for;
        }
        breaker.record(Signal::Alive, true, at(now));
        assert_eq!(breaker.state(at(now)), BreakerState::Closed);
        breaker.record(Signal::Failing, false, at(now));
        let until = at(now + 10);
        assert_eq!(breaker.state(at(now)), BreakerState::Open { until });
    }

    #[test]
    fn answers_to_requests_from_before_it_opened_change_nothing() {
        let mut breaker = opened();
        breaker.record(Signal::Alive, false, at(1));
        breaker.record(Signal::Failing, false, at(2));
        assert_eq!(breaker.state(at(3)), BreakerState::Open { until: at(10) });
        breaker.record(Signal::Alive, false, at(11));
        assert_eq!(breaker.state(at(11)), BreakerState::HalfOpen);
    }

    #[test]
    fn with_zero_failures_it_never_opens() {
        let mut breaker = breaker(0);
        for _ in 0..100 {
            breaker.record(Signal::Failing, false, at(0));
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
    }

    proptest! {
        #[test]
        fn it_is_never_open_for_longer_than_the_cap(
            steps in proptest::collection::vec((any::<bool>(), any::<bool>(), 0i64..100), 0..60),
        ) {
            let mut breaker = breaker(2);
            let mut now = 0;
            for (alive, probe, pause) in steps {
                now += pause;
                let signal = if alive { Signal::Alive } else { Signal::Failing };
                breaker.record(signal, probe, at(now));
                if let BreakerState::Open { until } = breaker.state(at(now)) {
                    prop_assert!(until > at(now) && until <= at(now + 60));
                }
            }
        }
    }
}
