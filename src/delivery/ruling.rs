//! What becomes of a delivery after a try, and what the gate learns from it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::breaker::Signal;
use super::gate::HoldRuling;
use super::retry::Failure;
use super::worker::Worker;
use crate::connector::Verdict;
use crate::egress::printable;
use crate::metrics::AttemptResult;
use crate::model::{DeliveryId, VerdictKind};
use crate::queue::{Attempt, Claim, Settlement};
use crate::telemetry::mask_text;

/// How far a try came.
pub(super) enum Tried {
    /// The process stops; the try was given up and does not count.
    Abandoned,
    /// No request could be made of it.
    Unrenderable(String),
    /// Its address must not be connected to. Nothing was sent.
    Forbidden { request: String, reason: String },
    /// It was sent, or at least tried.
    Sent(Sent),
}

/// An attempt that counts, with what is known about it.
pub(super) struct Sent {
    pub(super) request: String,
    pub(super) status: Option<u16>,
    pub(super) response: String,
    pub(super) verdict: Verdict,
    pub(super) signal: Signal,
    /// Handling it panicked.
    pub(super) panicked: bool,
}

/// When a try was made.
pub(super) struct Timing {
    pub(super) started_at: Timestamp,
    pub(super) took: Duration,
    pub(super) now: Timestamp,
}

/// How a try is settled, with what the log line says about it.
pub(super) struct Ruling {
    pub(super) settlement: Settlement,
    pub(super) result: AttemptResult,
    pub(super) status: Option<u16>,
    pub(super) reason: String,
    pub(super) due_at: Option<Timestamp>,
}

impl Sent {
    pub(super) fn recorded_in_store(call: String) -> Self {
        let receipt = Map::from_iter([("call_ref".to_owned(), Value::String(call))]);
        Self {
            request: "store".to_owned(),
            status: None,
            response: String::new(),
            verdict: Verdict {
                kind: VerdictKind::Delivered,
                reason: "recorded".to_owned(),
                receipt,
                retry_after: None,
            },
            signal: Signal::Alive,
            panicked: false,
        }
    }

    pub(super) fn no_answer(request: String, reason: String) -> Self {
        Self {
            request,
            status: None,
            response: String::new(),
            verdict: Verdict {
                kind: VerdictKind::Retry,
                reason,
                receipt: Map::new(),
                retry_after: None,
            },
            signal: Signal::Failing,
            panicked: false,
        }
    }

    /// The panic itself has been shown by the panic hook; its text may hold anything and stays out.
    pub(super) fn panicked() -> Self {
        Self {
            panicked: true,
            signal: Signal::Alive,
            ..Self::no_answer(
                String::new(),
                "a fault in outcome-bridge: handling this delivery panicked (see the log)"
                    .to_owned(),
            )
        }
    }
}

impl Worker {
    /// Decides what becomes of the delivery, and tells the gate what was learnt.
    pub(super) fn rule(&self, claim: &Claim, tried: Tried, timing: &Timing, probe: bool) -> Ruling {
        match tried {
            Tried::Abandoned => Ruling {
                settlement: Settlement::Released { due_at: None },
                result: AttemptResult::Abandoned,
                status: None,
                reason: "stopped before the answer came; it does not count".to_owned(),
                due_at: None,
            },
            Tried::Unrenderable(reason) => {
                let reason = printable(&reason);
                Ruling {
                    settlement: Settlement::DeadLetter {
                        attempt: None,
                        reason: format!("no request can be made of it: {reason}"),
                    },
                    result: AttemptResult::Unrenderable,
                    status: None,
                    reason,
                    due_at: None,
                }
            }
            Tried::Forbidden { request, reason } => {
                let verdict = Verdict {
                    kind: VerdictKind::Hold,
                    reason,
                    receipt: Map::new(),
                    retry_after: None,
                };
                // Nobody was asked, so nothing is known about the destination but this.
                let sent = Sent {
                    request,
                    status: None,
                    response: String::new(),
                    verdict,
                    signal: Signal::Alive,
                    panicked: false,
                };
                self.rule_on_hold(claim, sent, timing)
            }
            Tried::Sent(sent) => self.rule_on_sent(claim, sent, timing, probe),
        }
    }

    fn rule_on_sent(&self, claim: &Claim, mut sent: Sent, timing: &Timing, probe: bool) -> Ruling {
        let give_up = self.panicked_too_often(claim.delivery, sent.panicked);
        if !sent.panicked {
            self.learn(claim.delivery, &sent, timing.now, probe);
        }
        let status = sent.status;
        match sent.verdict.kind {
            VerdictKind::Delivered => {
                let mut receipt = claim.receipt.clone();
                receipt.extend(std::mem::take(&mut sent.verdict.receipt));
                Ruling {
                    result: AttemptResult::Verdict(VerdictKind::Delivered),
                    reason: sent.verdict.reason.clone(),
                    settlement: Settlement::Delivered {
                        attempt: attempt(claim, sent, timing),
                        receipt,
                    },
                    status,
                    due_at: None,
                }
            }
            VerdictKind::Refused => Ruling {
                result: AttemptResult::Verdict(VerdictKind::Refused),
                reason: sent.verdict.reason.clone(),
                settlement: Settlement::DeadLetter {
                    reason: format!("refused: {}", sent.verdict.reason),
                    attempt: Some(attempt(claim, sent, timing)),
                },
                status,
                due_at: None,
            },
            VerdictKind::Retry => self.rule_on_retry(claim, sent, timing, give_up),
            VerdictKind::Hold => self.rule_on_hold(claim, sent, timing),
        }
    }

    fn rule_on_retry(&self, claim: &Claim, sent: Sent, timing: &Timing, give_up: bool) -> Ruling {
        let failure = Failure {
            attempts: claim.attempts.saturating_add(1),
            retry_after: sent.verdict.retry_after,
            now: timing.now,
            expires_at: claim.expires_at,
        };
        let due_at = self
            .options
            .retry
            .next_due(failure, rand::random())
            .filter(|_| !give_up);
        let (result, status) = (AttemptResult::Verdict(sent.verdict.kind), sent.status);
        let reason = sent.verdict.reason.clone();
        let attempt = attempt(claim, sent, timing);
        let settlement = match due_at {
            Some(due_at) => Settlement::Retry { attempt, due_at },
            None => Settlement::DeadLetter {
                reason: gave_up(claim, failure.attempts, timing.now, &reason),
                attempt: Some(attempt),
            },
        };
        Ruling {
            settlement,
            result,
            status,
            reason,
            due_at,
        }
    }

    fn rule_on_hold(&self, claim: &Claim, sent: Sent, timing: &Timing) -> Ruling {
        let reason = &sent.verdict.reason;
        let (ruling, is_new) = {
            let mut gate = self.gate();
            let was_held = gate.held().is_some();
            let ruling = gate.credentials_refused(claim.delivery, reason, timing.now);
            (ruling, !was_held)
        };
        let HoldRuling::Destination(due_at) = ruling else {
            return self.rule_on_retry(claim, sent, timing, false);
        };
        if is_new {
            self.gate_changed(timing.now);
            tracing::warn!(
                destination = %self.name,
                reason = %mask_text(reason),
                "the destination is held: it does not accept our credentials or its address is not allowed; deliveries wait and no attempt is spent"
            );
        }
        Ruling {
            settlement: Settlement::Released {
                due_at: Some(due_at),
            },
            result: AttemptResult::Verdict(VerdictKind::Hold),
            status: sent.status,
            reason: sent.verdict.reason,
            due_at: Some(due_at),
        }
    }

    /// Tells the gate what an attempt said about the destination.
    fn learn(&self, delivery: DeliveryId, sent: &Sent, now: Timestamp, probe: bool) {
        let (lifted, changed) = {
            let mut gate = self.gate();
            let before = gate.breaker(now);
            gate.record(sent.signal, probe, now);
            let accepted = sent.signal == Signal::Alive && sent.verdict.kind != VerdictKind::Hold;
            let lifted = accepted && gate.credentials_accepted(delivery, probe);
            let throttled =
                matches!(sent.status, Some(429 | 503)) && sent.verdict.kind == VerdictKind::Retry;
            if let Some(wait) = sent.verdict.retry_after.filter(|_| throttled) {
                gate.throttle(wait, now);
            }
            (lifted, gate.breaker(now) != before)
        };
        if lifted {
            tracing::info!(destination = %self.name, "the destination accepts us again; deliveries go on");
        }
        if changed {
            let breaker = self.gate().breaker(now).as_str();
            tracing::warn!(destination = %self.name, breaker, "the circuit breaker has changed");
        }
        if lifted || changed {
            self.gate_changed(now);
        }
    }
}

fn attempt(claim: &Claim, sent: Sent, timing: &Timing) -> Attempt {
    Attempt {
        number: claim.attempts.saturating_add(1),
        started_at: timing.started_at,
        duration_ms: millis(timing.took),
        request: sent.request,
        status: sent.status,
        response: sent.response,
        verdict: sent.verdict.kind,
        reason: sent.verdict.reason,
    }
}

fn gave_up(claim: &Claim, attempts: u32, now: Timestamp, last: &str) -> String {
    let age = now.duration_since(claim.created_at).as_secs();
    let age = match age {
        ..60 => format!("{age} s"),
        60..3600 => format!("{} min", age / 60),
        3600..172_800 => format!("{} h", age / 3600),
        _ => format!("{} days", age / 86_400),
    };
    let plural = if attempts == 1 { "" } else { "s" };
    format!("gave up after {attempts} attempt{plural} in {age}; the last one: {last}")
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
