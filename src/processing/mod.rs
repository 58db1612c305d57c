//! From stored events to facts, dispositions and lanes.
//!
//! The processor takes stored events oldest first, runs the rules of their source, routes the facts
//! and stores everything in one write per event. It holds no state: a crash at any moment leaves the
//! event marked "to process", and doing it again gives the same result. One event that cannot be read
//! becomes `failed` with its reason and delays nothing.

mod routing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::connector::{Derived, Reading};
use crate::mapping::Trace;
use crate::model::{Disposition, Fact, SourceName};
use crate::queue::{Processed, Queue, QueueError, StoredEvent};
use crate::setup::{Routes, Source};

pub use routing::{Routed, Routing, Withheld};

/// Events taken from the queue at a time; their results share commits.
const PAGE: usize = 512;

/// Runs rules over stored events.
#[derive(Clone)]
pub struct Processor {
    sources: Arc<BTreeMap<SourceName, Arc<Source>>>,
    routes: Arc<Routes>,
}

impl Processor {
    /// A processor for these sources and routes.
    pub fn new(sources: Arc<BTreeMap<SourceName, Arc<Source>>>, routes: Arc<Routes>) -> Self {
        Self { sources, routes }
    }

    /// What becomes of one event. Pure: nothing is stored, nothing is sent.
    pub fn process(&self, event: &StoredEvent) -> Processed {
        let Some(source) = self.sources.get(&event.source) else {
            return failed(format!(
                "there is no source `{}` in the configuration",
                event.source
            ));
        };
        // Belt and braces: a mistake in our own code must cost one event, not the processor.
        catch_unwind(AssertUnwindSafe(|| process(source, &self.routes, event)))
            .unwrap_or_else(|_panic| failed("reading it failed inside outcome-bridge".to_owned()))
    }

    fn count(&self, event: &StoredEvent, processed: &Processed, took: Duration) {
        if let (Some(source), Some(disposition)) =
            (self.sources.get(&event.source), processed.disposition)
        {
            source.metrics.processed(disposition, took);
        }
    }

    /// Processes stored events until `shutdown`, then finishes the page at hand.
    ///
    /// # Errors
    /// When storage fails. The events stay marked, a restart goes on with them.
    pub async fn run(
        self,
        queue: Arc<dyn Queue>,
        shutdown: CancellationToken,
    ) -> Result<(), QueueError> {
        while !shutdown.is_cancelled() {
            let arrived = queue.events_arrived();
            if self.step(&queue).await? == 0 {
                tokio::select! {
                    () = arrived => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
        Ok(())
    }

    /// Processes one page. Answers how many events it took.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn step(&self, queue: &Arc<dyn Queue>) -> Result<usize, QueueError> {
        let events = queue.unprocessed(None, PAGE).await?;
        if events.is_empty() {
            return Ok(0);
        }
        let count = events.len();
        let processor = self.clone();
        // Rules may take milliseconds for a large body: not on a thread that serves sockets.
        let processed = tokio::task::spawn_blocking(move || {
            events
                .iter()
                .map(|event| {
                    let started = Instant::now();
                    let processed = processor.process(event);
                    processor.count(event, &processed, started.elapsed());
                    (event.id, processed)
                })
                .collect::<Vec<_>>()
        })
        .await
        .map_err(|error| QueueError::Storage(error.to_string().into()))?;
        let settled = processed.into_iter().map(|(id, processed)| async move {
            match queue
                .settle_event(id, processed)
                .await
                .err()
                .map(refused)
                .transpose()?
            {
                None => Ok(()),
                Some(failed) => queue.settle_event(id, failed).await,
            }
        });
        join_all(settled)
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
        Ok(count)
    }
}

/// What is kept of how an event was processed, for `explain`. Written straight to JSON text: it is made
/// for every event and read for few.
#[derive(Default, Serialize)]
struct Story<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<&'a Trace>,
    #[serde(skip_serializing_if = "<[Routed]>::is_empty")]
    routing: &'a [Routed],
    #[serde(skip_serializing_if = "<[Withheld]>::is_empty")]
    withheld: &'a [Withheld],
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a str>,
}

impl Story<'_> {
    fn to_json(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("texts, numbers and lists are always JSON")
            .into()
    }
}

/// What to store instead when the queue does not take a result: the event's own fault must cost that event
/// and no other.
///
/// # Errors
/// When it is not the event's fault: storage failed, or the queue is closing.
fn refused(error: QueueError) -> Result<Processed, QueueError> {
    match error {
        QueueError::State(why) => Ok(failed(format!("its result cannot be stored: {why}"))),
        other => Err(other),
    }
}

fn failed(reason: String) -> Processed {
    Processed {
        disposition: Some(Disposition::Failed),
        trace: Story {
            failed: Some(&reason),
            ..Story::default()
        }
        .to_json(),
        reason,
        ..Processed::default()
    }
}

fn process(source: &Source, routes: &Routes, event: &StoredEvent) -> Processed {
    let rules = source.rules();
    let reading = Reading {
        rules: &rules.ruleset,
        setting: &source.settings,
        region: source.region,
    };
    let (derivation, left_out) = match source.inbound.derive(event, &reading) {
        Ok(Derived::Asked {
            derivation,
            left_out,
        }) => (derivation, left_out),
        Ok(Derived::Foreign(reason)) => return foreign(reason),
        Err(error) => return failed(format!("the body cannot be read: {error}")),
    };
    let routing = Routing::of(&derivation.facts, routes, &event.source, event.id);
    let (disposition, mut reason) = conclude(
        derivation.disposition,
        derivation.reason,
        &derivation.facts,
        &routing,
    );
    if let Some(left_out) = &left_out {
        reason = format!("{reason}; {left_out}");
    }
    let trace = Story {
        rules: Some(&derivation.trace),
        routing: &routing.routed,
        withheld: &routing.withheld,
        foreign: left_out.as_deref(),
        failed: None,
    }
    .to_json();
    Processed {
        disposition: Some(disposition),
        reason,
        trace,
        facts: derivation.facts,
        changes: routing.changes,
        mark: event.mark,
        ..Processed::default()
    }
}

/// A genuine event of another account: the vendor signs for all its customers with one key.
fn foreign(reason: String) -> Processed {
    Processed {
        disposition: Some(Disposition::Ignored),
        trace: Story {
            foreign: Some(&reason),
            ..Story::default()
        }
        .to_json(),
        reason,
        ..Processed::default()
    }
}

/// The disposition after routing: an outcome that no destination can address is `unmatched`; one
/// that only some can address stays `mapped`, and the reason names the others.
fn conclude(
    disposition: Disposition,
    reason: String,
    facts: &[Fact],
    routing: &Routing,
) -> (Disposition, String) {
    let unresolved = routing.unresolved();
    let has_outcomes = facts
        .iter()
        .any(|f| matches!(f, Fact::Outcome(_) | Fact::Retraction(_)));
    if disposition == Disposition::Mapped && has_outcomes && routing.routed.is_empty() {
        let why = match routing.withheld.first() {
            Some(withheld) => format!(
                "no route takes it: to {}, {}",
                withheld.destination, withheld.why
            ),
            None => "no route leads to a destination".to_owned(),
        };
        return (disposition, format!("{reason}; {why}"));
    }
    if disposition != Disposition::Mapped || unresolved.is_empty() {
        return (disposition, reason);
    }
    let only_outcomes = !facts
        .iter()
        .any(|f| matches!(f, Fact::Appointment(_) | Fact::Call(_)));
    let disposition = if routing.changes.is_empty() && only_outcomes {
        Disposition::Unmatched
    } else {
        disposition
    };
    (disposition, format!("{reason}; no address at {unresolved}"))
}
