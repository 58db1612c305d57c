//! One attempt: from a claim to its settlement.
//!
//! Three things are kept apart: nothing was sent (no attempt is counted), it was sent (an attempt,
//! good or bad), and it could not be recorded (an alarm; recording is tried until it works). What
//! becomes of a delivery is decided in [`super::ruling`].

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::OwnedSemaphorePermit;

use super::breaker::Signal;
use super::dialect::Dialect;
use super::ruling::{Ruling, Sent, Timing, Tried, millis};
use super::worker::{Courier, Worker};
use crate::connector::{DestinationAnswer, RenderInput};
use crate::egress::{Answer, MaskedTarget, SendError, excerpt, parse_retry_after, printable};
use crate::fault::{self, Point};
use crate::metrics::AttemptResult;
use crate::model::{DeliveryId, VerdictKind};
use crate::queue::{Claim, QueueError, Settlement};
use crate::store::Record;
use crate::telemetry::mask_text;

/// Waits between tries to record a settlement.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Room that an attempt takes up: for its request, and until it is settled.
pub(super) type Permits = (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>);

/// Takes the mark of a probe off, whatever becomes of the attempt.
struct ProbeMark<'a>(&'a Worker);

impl Drop for ProbeMark<'_> {
    fn drop(&mut self) {
        self.0.gate().probe_ended();
        self.0.gate_changed(self.0.clock.now());
    }
}

impl Worker {
    /// Tries one claimed delivery and settles it.
    pub(super) async fn deliver(self: Arc<Self>, claim: Claim, permits: Permits, probe: bool) {
        let (slot, _until_settled) = permits;
        let mark = probe.then(|| ProbeMark(&self));
        self.counts.in_flight.fetch_add(1, Ordering::Relaxed);
        let started_at = self.clock.now();
        let started = Instant::now();
        let tried = tokio::select! {
            biased;
            tried = AssertUnwindSafe(self.try_once(&claim, started_at)).catch_unwind() => {
                tried.unwrap_or_else(|_panic| Tried::Sent(Sent::panicked()))
            }
            () = self.abandon.cancelled() => Tried::Abandoned,
        };
        self.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
        if matches!(tried, Tried::Sent(_)) {
            fault::pass(Point::AttemptAnswered);
        }
        let timing = Timing {
            started_at,
            took: started.elapsed(),
            now: self.clock.now(),
        };
        let ruling = self.rule(&claim, tried, &timing, probe);
        // After the ruling: what it closes is closed before the slot is taken again.
        drop(slot);
        drop(mark);
        self.announce(&claim, &ruling, &timing);
        self.settle(claim.delivery, ruling.settlement).await;
    }

    async fn try_once(&self, claim: &Claim, now: Timestamp) -> Tried {
        match &self.courier {
            Courier::Store(store) => {
                let record = Record {
                    delivery: claim.delivery,
                    target: claim.target.clone(),
                    outcome: claim.outcome.clone(),
                    furthest: claim.furthest,
                    again: None,
                };
                Tried::Sent(match store.record(record).await {
                    Ok(recorded) => Sent::recorded_in_store(recorded.call),
                    Err(error) => Sent::no_answer("store".to_owned(), error.to_string()),
                })
            }
            Courier::Http { client, dialect } => {
                let input = RenderInput {
                    target: &claim.target,
                    outcome: claim.outcome.as_ref(),
                    receipt: &claim.receipt,
                    delivery: claim.delivery,
                    now,
                };
                let request = match dialect.render(input) {
                    Ok(request) => request,
                    Err(unrenderable) => return Tried::Unrenderable(unrenderable.to_string()),
                };
                let shown = request.shown.clone();
                match client.send(request).await {
                    Ok(answer) => {
                        let same = claim.answered.filter(|last| last.status == answer.status);
                        let since = same.map_or(now, |last| last.since);
                        let lasted = self.clock.now().duration_since(since);
                        Tried::Sent(self.answered(dialect.as_ref(), shown, &answer, lasted))
                    }
                    Err(SendError::Malformed(what)) => Tried::Unrenderable(what.to_owned()),
                    Err(SendError::Address(refused)) => Tried::Forbidden {
                        request: shown,
                        reason: refused.to_string(),
                    },
                    Err(SendError::Fault(fault)) => {
                        Tried::Sent(Sent::no_answer(shown, fault.to_string()))
                    }
                }
            }
        }
    }

    fn answered(
        &self,
        dialect: &dyn Dialect,
        request: String,
        answer: &Answer,
        lasted: SignedDuration,
    ) -> Sent {
        let mut verdict = dialect.judge(
            &DestinationAnswer {
                status: answer.status,
                headers: &answer.headers,
                body: &answer.body,
            },
            lasted,
        );
        let asked_to_wait = answer
            .headers
            .iter()
            .find(|(name, _)| name == "retry-after")
            .and_then(|(_, value)| parse_retry_after(value, self.clock.now()));
        verdict.retry_after = verdict.retry_after.or(asked_to_wait);
        verdict.reason = printable(&verdict.reason);
        let is_up = answer.status < 500 || verdict.kind == VerdictKind::Delivered;
        Sent {
            request,
            status: Some(answer.status),
            response: excerpt(&answer.body, |text| dialect.scrub(text)),
            verdict,
            signal: if is_up {
                Signal::Alive
            } else {
                Signal::Failing
            },
            panicked: false,
        }
    }

    /// The wide line of an attempt and its metrics, of one happening in one place.
    fn announce(&self, claim: &Claim, ruling: &Ruling, timing: &Timing) {
        let dead = matches!(ruling.settlement, Settlement::DeadLetter { .. });
        let counts = &self.counts;
        match ruling.result {
            AttemptResult::Verdict(VerdictKind::Delivered) => {
                counts.delivered.fetch_add(1, Ordering::Relaxed);
                let latency = timing.now.duration_since(claim.created_at);
                self.metrics.delivered(latency.as_secs_f64());
            }
            AttemptResult::Abandoned => {}
            AttemptResult::Verdict(_) | AttemptResult::Unrenderable => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        if dead {
            counts.dead_letters.fetch_add(1, Ordering::Relaxed);
            self.metrics.dead_letter();
        }
        self.metrics.attempt(ruling.result, timing.took);
        tracing::info!(
            target: "delivery.attempted",
            delivery = %claim.delivery,
            event = %claim.delivery.event,
            outcome = claim.outcome.as_ref().map(|stored| tracing::field::display(stored.id)),
            destination = %self.name,
            to = %MaskedTarget(&claim.target),
            attempt = claim.attempts + 1,
            status = ruling.status,
            verdict = ruling.result.as_str(),
            dead_letter = dead,
            reason = %mask_text(&ruling.reason),
            duration_ms = millis(timing.took),
            due_at = ruling.due_at.map(tracing::field::display),
            "delivery attempted"
        );
    }

    /// Records a settlement, however long that takes: a delivery that cannot be recorded keeps its
    /// lane, and too many of them stop further claims.
    async fn settle(&self, delivery: DeliveryId, settlement: Settlement) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.queue.settle(delivery, settlement.clone()).await {
                Ok(()) => return fault::pass(Point::AttemptRecorded),
                Err(error) => error,
            };
            tracing::error!(%delivery, destination = %self.name, %error, "cannot record how a delivery ended");
            let may_pass = matches!(error, QueueError::Busy(_) | QueueError::Storage(_));
            if !may_pass || self.abandon.is_cancelled() {
                return;
            }
            tokio::select! {
                () = self.abandon.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
