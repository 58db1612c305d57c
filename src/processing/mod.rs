//! From stored events to facts, dispositions and lanes.
//!
//! The processor takes stored events oldest first, runs the rules of their source, routes the facts
//! and stores everything in one write per event. It holds no state: a crash at any moment leaves the
//! event marked "to process", and doing it again gives the same result. One event that cannot be read
//! becomes `failed` with its reason and delays nothing.

mod routing;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::connector::decode_body;
use crate::mapping::{Context, derive};
use crate::model::{Disposition, Fact, SourceName};
use crate::queue::{Processed, Queue, QueueError, StoredEvent};
use crate::setup::{Routes, Source};

pub use routing::{Routed, Routing};

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
        let settled = processed
            .into_iter()
            .map(|(id, processed)| queue.settle_event(id, processed));
        join_all(settled)
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
        Ok(count)
    }
}

fn failed(reason: String) -> Processed {
    Processed {
        disposition: Some(Disposition::Failed),
        trace: json!({ "failed": &reason }),
        reason,
        ..Processed::default()
    }
}

fn process(source: &Source, routes: &Routes, event: &StoredEvent) -> Processed {
    let body = match decode_body(source.body_kind(), &event.body) {
        Ok(body) => body,
        Err(error) => return failed(format!("the body cannot be read: {error}")),
    };
    let rules = source.rules();
    let derivation = derive(
        &rules.ruleset,
        &body,
        &Context {
            source: &event.source,
            event: event.id,
            header: &headers(&event.headers),
            query: &query(&event.query),
            setting: &source.settings,
            lookup: &Value::Null,
            region: source.region,
            received_at: event.received_at,
        },
    );
    let routing = Routing::of(&derivation.facts, routes, &event.source, event.id);
    let (disposition, reason) = conclude(
        derivation.disposition,
        derivation.reason,
        &derivation.facts,
        &routing,
    );
    let trace = json!({ "rules": derivation.trace, "routing": routing.routed });
    Processed {
        disposition: Some(disposition),
        reason,
        trace,
        facts: derivation.facts,
        changes: routing.changes,
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

/// Headers as rules read them: `header.x-shopify-topic`.
pub fn headers(headers: &[(String, String)]) -> Value {
    object(
        headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    )
}

/// The query as rules read it: `query.name`.
pub fn query(query: &str) -> Value {
    object(form_urlencoded::parse(query.as_bytes()).into_owned())
}

fn object(pairs: impl Iterator<Item = (String, String)>) -> Value {
    Value::Object(
        pairs
            .map(|(name, value)| (name, Value::String(value)))
            .collect::<Map<_, _>>(),
    )
}
