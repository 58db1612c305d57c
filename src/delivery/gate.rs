//! Whether anything may be claimed for a destination now: pause, hold, breaker and the destination's
//! own wish to be left alone, in one place. Pure: time is an argument.
//!
//! A *hold* means that the destination refuses our credentials (401, 403). Nothing is spent: the
//! delivery is released, and one probe is sent from time to time. A probe that is answered otherwise
//! lifts the hold. So that a single forbidden target cannot keep a whole destination held, the
//! delivery that caused a hold is remembered: if others get through and it is refused again, the
//! refusal is its own.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::breaker::{Breaker, BreakerOptions, BreakerState, Signal};
use super::retry::after;
use crate::model::DeliveryId;

/// The longest a single `Retry-After` keeps a whole destination waiting.
const THROTTLE_AT_MOST: Duration = Duration::from_secs(300);
/// Parts of the probe interval. The first probe comes at once, as it were: if only one target is
/// forbidden, nobody else should wait for long. The delivery that was refused comes back later.
const FIRST_PROBE: u32 = 300;
const SECOND_PROBE: u32 = 10;
const RETURN: u32 = 20;
/// How many deliveries are remembered as having caused a hold.
const SUSPECTS: usize = 256;

/// A destination that refuses our credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Since when.
    pub since: Timestamp,
    /// What it said.
    pub reason: String,
    /// When it is asked again.
    pub next_probe: Timestamp,
    /// Probes that were refused, too.
    pub refused_probes: u32,
}

/// What may be claimed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// As much as there is room for.
    All,
    /// One delivery, to find out whether the destination can be used again.
    Probe,
    /// Nothing, until this moment or until something changes.
    Nothing(Option<Timestamp>),
}

/// What a refusal of credentials means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldRuling {
    /// The destination is held; the delivery may go again at this moment.
    Destination(Timestamp),
    /// The destination takes other deliveries; only this one is refused.
    DeliveryOnly,
}

/// The gate of one destination.
#[derive(Debug)]
pub(crate) struct Gate {
    paused: bool,
    breaker: Breaker,
    held: Option<Held>,
    hold_probe: Duration,
    not_before: Option<Timestamp>,
    probing: bool,
    suspects: VecDeque<DeliveryId>,
}

impl Gate {
    pub(crate) fn new(breaker: BreakerOptions, hold_probe: Duration) -> Self {
        Self {
            paused: false,
            breaker: Breaker::new(breaker),
            held: None,
            hold_probe,
            not_before: None,
            probing: false,
            suspects: VecDeque::new(),
        }
    }

    /// What may be claimed at `now`.
    pub(crate) fn allowance(&mut self, now: Timestamp) -> Allowance {
        if self.paused || self.probing {
            return Allowance::Nothing(None);
        }
        let breaker = self.breaker.state(now);
        self.heed_clock(now);
        let waits = [
            self.not_before,
            self.held.as_ref().map(|held| held.next_probe),
            match breaker {
                BreakerState::Open { until } => Some(until),
                BreakerState::Closed | BreakerState::HalfOpen => None,
            },
        ];
        match waits.into_iter().flatten().max() {
            Some(until) if until > now => Allowance::Nothing(Some(until)),
            _ if self.held.is_some() || breaker == BreakerState::HalfOpen => Allowance::Probe,
            _ => Allowance::All,
        }
    }

    /// A clock that is set back does not make anybody wait for longer than they ever would.
    fn heed_clock(&mut self, now: Timestamp) {
        let waits = [
            (self.not_before.as_mut(), THROTTLE_AT_MOST),
            (
                self.held.as_mut().map(|held| &mut held.next_probe),
                self.hold_probe,
            ),
        ];
        for (until, at_most) in waits {
            if let Some(until) = until {
                *until = (*until).min(after(now, at_most));
            }
        }
    }

    /// A probe is under way: nothing else is claimed until [`Gate::probe_ended`].
    pub(crate) fn probe_began(&mut self) {
        self.probing = true;
    }

    /// The probe has its answer, or there was nothing to probe with.
    pub(crate) fn probe_ended(&mut self) {
        self.probing = false;
    }

    /// Takes note of what an attempt said about the destination.
    pub(crate) fn record(&mut self, signal: Signal, probe: bool, now: Timestamp) {
        self.breaker.record(signal, probe, now);
    }

    /// The destination accepts our credentials. Says whether that lifted a hold; only a probe does,
    /// since other answers may have been under way when the credentials were withdrawn.
    pub(crate) fn credentials_accepted(&mut self, delivery: DeliveryId, probe: bool) -> bool {
        if self.held.is_none() {
            self.suspects.retain(|suspect| *suspect != delivery);
        }
        probe && self.held.take().is_some()
    }

    /// The destination refused our credentials for this delivery.
    pub(crate) fn credentials_refused(
        &mut self,
        delivery: DeliveryId,
        reason: &str,
        now: Timestamp,
    ) -> HoldRuling {
        let suspect = self.suspects.contains(&delivery);
        match &mut self.held {
            None if suspect => return HoldRuling::DeliveryOnly,
            None => {
                self.held = Some(Held {
                    since: now,
                    reason: reason.to_owned(),
                    next_probe: after(now, self.hold_probe / FIRST_PROBE),
                    refused_probes: 0,
                });
            }
            Some(held) if now >= held.next_probe => {
                held.reason.clear();
                held.reason.push_str(reason);
                let part = if held.refused_probes == 0 {
                    SECOND_PROBE
                } else {
                    1
                };
                held.next_probe = after(now, self.hold_probe / part);
                held.refused_probes = held.refused_probes.saturating_add(1);
            }
            // An answer to a request from before the hold: known already.
            Some(_) => {}
        }
        if !suspect {
            if self.suspects.len() == SUSPECTS {
                self.suspects.pop_front();
            }
            self.suspects.push_back(delivery);
        }
        // Later than the first probe, so that it is another delivery.
        HoldRuling::Destination(after(now, self.hold_probe / RETURN))
    }

    /// The destination asked everybody to wait (429 or 503 with `Retry-After`).
    pub(crate) fn throttle(&mut self, wait: Duration, now: Timestamp) {
        let until = after(now, wait.min(THROTTLE_AT_MOST));
        self.not_before = self.not_before.max(Some(until));
    }

    /// Nothing is claimed until [`Gate::resume`].
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Everything that holds deliveries back is forgotten. Answers those that wait for a later moment because of a hold.
    pub(crate) fn resume(&mut self) -> Vec<DeliveryId> {
        self.paused = false;
        self.held = None;
        self.not_before = None;
        self.breaker.reset();
        self.suspects.drain(..).collect()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Until when the destination asked to be left alone, if that lies ahead.
    pub(crate) fn throttled_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.not_before.filter(|until| *until > now)
    }

    pub(crate) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    pub(crate) fn breaker(&mut self, now: Timestamp) -> BreakerState {
        self.breaker.state(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventId;

    const PROBE: Duration = Duration::from_secs(300);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn gate() -> Gate {
        let breaker = BreakerOptions {
            failures: 1,
            open_for: Duration::from_secs(10),
            open_at_most: Duration::from_secs(60),
        };
        Gate::new(breaker, PROBE)
    }

    fn delivery(number: u64) -> DeliveryId {
        DeliveryId {
            event: EventId(number),
            ordinal: 0,
        }
    }

    #[test]
    fn a_refusal_of_credentials_holds_until_a_probe_is_accepted() {
        let mut gate = gate();
        assert_eq!(gate.allowance(at(0)), Allowance::All);
        let ruling = gate.credentials_refused(delivery(1), "401", at(0));
        assert_eq!(ruling, HoldRuling::Destination(at(15)));
        assert_eq!(gate.allowance(at(0)), Allowance::Nothing(Some(at(1))));

        // Soon, then after half a minute, then every five minutes.
        for (probe, next) in [(1, 31), (31, 331), (331, 631)] {
            assert_eq!(gate.allowance(at(probe)), Allowance::Probe);
            gate.probe_began();
            assert_eq!(gate.allowance(at(probe)), Allowance::Nothing(None));
            gate.credentials_refused(delivery(2), "403", at(probe));
            gate.probe_ended();
            assert_eq!(gate.held().unwrap().reason, "403");
            assert_eq!(gate.held().unwrap().since, at(0));
            let until = Some(at(next));
            assert_eq!(gate.allowance(at(probe)), Allowance::Nothing(until));
        }
        assert!(gate.credentials_accepted(delivery(3), true));
        assert_eq!(gate.allowance(at(631)), Allowance::All);
    }

    #[test]
    fn answers_from_before_the_hold_neither_lift_nor_lengthen_it() {
        let mut gate = gate();
        gate.credentials_refused(delivery(1), "401", at(0));
        gate.credentials_refused(delivery(2), "401", at(0));
        assert!(!gate.credentials_accepted(delivery(3), false));
        assert_eq!(gate.allowance(at(0)), Allowance::Nothing(Some(at(1))));
        assert_eq!(gate.held().unwrap().refused_probes, 0);
    }

    #[test]
    fn a_single_forbidden_target_does_not_hold_the_destination_twice() {
        let mut gate = gate();
        gate.credentials_refused(delivery(1), "403", at(0));
        assert!(gate.credentials_accepted(delivery(2), true));
        let ruling = gate.credentials_refused(delivery(1), "403", at(40));
        assert_eq!(ruling, HoldRuling::DeliveryOnly);
        assert_eq!(gate.allowance(at(40)), Allowance::All);
        // Another delivery that is refused then is news again.
        let ruling = gate.credentials_refused(delivery(3), "401", at(41));
        assert!(matches!(ruling, HoldRuling::Destination(_)));
    }

    #[test]
    fn a_suspect_that_gets_through_is_trusted_again() {
        let mut gate = gate();
        gate.credentials_refused(delivery(1), "401", at(0));
        gate.credentials_accepted(delivery(2), true);
        gate.credentials_accepted(delivery(1), false);
        let ruling = gate.credentials_refused(delivery(1), "401", at(50));
        assert!(matches!(ruling, HoldRuling::Destination(_)));
    }

    #[test]
    fn suspects_are_bounded() {
        let mut gate = gate();
        for number in 0..10_000 {
            gate.credentials_refused(delivery(number), "401", at(0));
        }
        assert_eq!(gate.suspects.len(), SUSPECTS);
    }

    #[test]
    fn the_longest_of_all_waits_counts() {
        let mut gate = gate();
        gate.record(Signal::Failing, false, at(0));
        assert_eq!(gate.allowance(at(0)), Allowance::Nothing(Some(at(10))));
        gate.throttle(Duration::from_secs(20), at(0));
        gate.throttle(Duration::from_secs(5), at(0));
        assert_eq!(gate.throttled_until(at(0)), Some(at(20)));
        assert_eq!(gate.throttled_until(at(20)), None);
        assert_eq!(gate.allowance(at(0)), Allowance::Nothing(Some(at(20))));
        assert_eq!(gate.allowance(at(20)), Allowance::Probe);
        gate.record(Signal::Alive, true, at(20));
        assert_eq!(gate.allowance(at(20)), Allowance::All);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait_for_longer() {
        let day = 86_400;
        let mut gate = gate();
        gate.record(Signal::Failing, false, at(day));
        assert_eq!(gate.allowance(at(0)), Allowance::Nothing(Some(at(60))));
        assert_eq!(gate.allowance(at(60)), Allowance::Probe);
        gate.record(Signal::Alive, true, at(60));
        gate.throttle(Duration::from_secs(20), at(day));
        assert_eq!(gate.allowance(at(60)), Allowance::Nothing(Some(at(360))));
        assert_eq!(gate.throttled_until(at(60)), Some(at(360)));
        assert_eq!(gate.allowance(at(360)), Allowance::All);
        gate.credentials_refused(delivery(1), "401", at(day));
        assert_eq!(gate.allowance(at(360)), Allowance::Nothing(Some(at(660))));
        assert_eq!(gate.allowance(at(660)), Allowance::Probe);
    }

    #[test]
    fn no_destination_can_ask_for_more_than_a_few_minutes_for_everybody() {
        let mut gate = gate();
        gate.throttle(Duration::MAX, at(0));
        assert_eq!(gate.allowance(at(0)), Allowance::Nothing(Some(at(300))));
    }

    #[test]
    fn a_pause_lasts_until_resumed_and_resuming_clears_everything() {
        let mut gate = gate();
        gate.pause();
        gate.record(Signal::Failing, false, at(0));
        gate.credentials_refused(delivery(1), "401", at(0));
        assert_eq!(gate.allowance(at(1_000_000)), Allowance::Nothing(None));
        assert_eq!(gate.resume(), [delivery(1)], "it was put off");
        assert_eq!(gate.allowance(at(0)), Allowance::All);
        assert!(gate.held().is_none() && !gate.is_paused());
    }
}
