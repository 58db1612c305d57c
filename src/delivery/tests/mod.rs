//! Delivery against a scripted destination and a queue in memory.

mod destination;
mod faults;
mod flow;
mod holding;
mod queue;
mod seen;
mod stopping;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::connector::{DestinationAnswer, PreparedRequest, RenderInput, Verdict};
use crate::model::{DestinationName, VerdictKind};
use crate::queue::{Attempt, Settlement};
use destination::{Answer, FakeDestination, Reply, answer, answer_with};
use queue::FakeQueue;

const KEY: &str = "sk_live_secret";

/// Speaks plainly: POSTs the outcome's kind to `/target` and judges by status as connectors do when
/// they say nothing else.
struct PlainDialect {
    base: String,
}

impl Dialect for PlainDialect {
    fn render(&self, input: RenderInput<'_>) -> Result<PreparedRequest, Unrenderable> {
        match input.target {
            "unrenderable" => return Err(Unrenderable("the outcome has no label".to_owned())),
            "panics" => panic!("a fault on purpose"),
            _ => {}
        }
        let kind = input.outcome.map_or("cleared", |o| o.outcome.kind.as_str());
        let url = format!("{}/{}", self.base, input.target);
        Ok(PreparedRequest {
            method: "POST".to_owned(),
            shown: format!("POST {url}"),
            url: url::Url::parse(&url).unwrap(),
            headers: vec![("x-key".to_owned(), KEY.to_owned())],
            body: format!("{kind} {}", Value::from(input.receipt.clone())).into(),
        })
    }

    fn judge(&self, answer: &DestinationAnswer<'_>, lasted: SignedDuration) -> Verdict {
        let kind = match answer.status {
            404 if lasted < SignedDuration::from_mins(10) => VerdictKind::Retry,
            200..=299 => VerdictKind::Delivered,
            401 | 403 => VerdictKind::Hold,
            408 | 429 | 500..=599 => VerdictKind::Retry,
            _ => VerdictKind::Refused,
        };
        let body = String::from_utf8_lossy(answer.body);
        Verdict {
            kind,
            reason: self.scrub(&format!(
                "{}: {}",
                answer.status,
                &body[..body.len().min(60)]
            )),
            receipt: serde_json::from_slice(answer.body).unwrap_or_else(|_| Map::new()),
            retry_after: None,
        }
    }

    fn scrub(&self, text: &str) -> String {
        text.replace(KEY, "[secret]")
    }
}

/// Quick to retry, loopback allowed, breaker off.
fn options() -> DestinationOptions {
    DestinationOptions {
        timeout: Duration::from_secs(20),
        retry: RetryPolicy {
            first: Duration::from_millis(5),
            cap: Duration::from_secs(3600),
            ..RetryPolicy::default()
        },
        breaker: BreakerOptions {
            failures: 0,
            ..BreakerOptions::default()
        },
        allow_private: true,
        ..DestinationOptions::default()
    }
}

fn name(name: &str) -> DestinationName {
    DestinationName::new(name).unwrap()
}

fn at(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn http(destination: &str, base: String, options: DestinationOptions) -> Destination {
    Destination {
        name: name(destination),
        means: Means::Http(Arc::new(PlainDialect { base })),
        options,
    }
}

struct Bench {
    queue: Arc<FakeQueue>,
    handle: DeliveryHandle,
    shutdown: CancellationToken,
}

impl Bench {
    fn new(destinations: Vec<Destination>) -> Self {
        let clock = Clock::system();
        let queue = FakeQueue::new(clock.clone());
        let shutdown = CancellationToken::new();
        let handle = start(queue.clone(), destinations, clock, shutdown.clone()).unwrap();
        Self {
            queue,
            handle,
            shutdown,
        }
    }

    /// One destination named `crm`.
    fn crm(destination: &FakeDestination, options: DestinationOptions) -> Self {
        Self::new(vec![http("crm", at(destination.address), options)])
    }

    fn state(&self) -> DestinationState {
        self.handle.states().remove(0)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        assert!(self.handle.join(Duration::from_secs(10)).await);
    }
}

fn kind_of(settlement: &Settlement) -> &'static str {
    match settlement {
        Settlement::Delivered { .. } => "delivered",
        Settlement::Retry { .. } => "retry",
        Settlement::DeadLetter { .. } => "dead_letter",
        Settlement::Released { .. } => "released",
    }
}

fn attempt_of(settlement: &Settlement) -> &Attempt {
    match settlement {
        Settlement::Delivered { attempt, .. }
        | Settlement::Retry { attempt, .. }
        | Settlement::DeadLetter {
            attempt: Some(attempt),
            ..
        } => attempt,
        other => panic!("no attempt in {other:?}"),
    }
}
