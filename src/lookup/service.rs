//! The look-up service: a desk for every source that has something to look up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desk::{Desk, INBOX, LookupState};
use super::pace::Pace;
use super::plan::Job;
use super::token::Tokens;
use crate::clock::Clock;
use crate::connector::{ApiAuth, Lookups};
use crate::egress::{AddressPolicy, Client, ClientError, ClientOptions};
use crate::metrics::LookupMetrics;
use crate::model::SourceName;
use crate::queue::Queue;

/// For the connection to an API, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a source is asked again whose credentials are refused.
const PROBE: Duration = Duration::from_secs(300);
/// Where refresh tokens are kept, within the data directory.
const TOKENS: &str = "lookup-tokens";

/// A source that may look something up.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// Its name.
    pub source: SourceName,
    /// What it looks up.
    pub lookups: Arc<Lookups>,
    /// Which addresses may be connected to for it.
    pub addresses: AddressPolicy,
}

/// See the module.
pub struct LookupService {
    desks: BTreeMap<SourceName, Arc<Desk>>,
    off: BTreeMap<SourceName, String>,
    tasks: TaskTracker,
}

impl LookupService {
    /// Starts a desk for each source that has look-ups and credentials for them. `data` is where refresh
    /// tokens are kept that a vendor replaces.
    ///
    /// # Errors
    /// [`ClientError`] when HTTP cannot be set up.
    pub fn start(
        subscribers: Vec<Subscriber>,
        queue: &Arc<dyn Queue>,
        clock: &Clock,
        data: &Path,
        shutdown: &CancellationToken,
    ) -> Result<Self, ClientError> {
        Self::start_with(subscribers, queue, clock, data, shutdown, PROBE)
    }

    /// As [`LookupService::start`], with another interval of probes.
    ///
    /// # Errors
    /// [`ClientError`] when HTTP cannot be set up.
    pub fn start_with(
        subscribers: Vec<Subscriber>,
        queue: &Arc<dyn Queue>,
        clock: &Clock,
        data: &Path,
        shutdown: &CancellationToken,
        probe_every: Duration,
    ) -> Result<Self, ClientError> {
        let mut service = Self {
            desks: BTreeMap::new(),
            off: BTreeMap::new(),
            tasks: TaskTracker::new(),
        };
        for subscriber in subscribers {
            let Some(api) = subscriber.lookups.api() else {
                continue;
            };
            if let ApiAuth::NotSet(help) = &api.auth {
                service.off.insert(subscriber.source, help.clone());
                continue;
            }
            let client = Client::new(ClientOptions {
                timeout: api.timeout,
                connect_timeout: CONNECT_TIMEOUT.min(api.timeout),
                idle_connections: api.concurrency.get(),
                addresses: subscriber.addresses,
            })?;
            let file = data
                .join(TOKENS)
                .join(format!("{}.json", subscriber.source));
            let tokens = match &api.auth {
                ApiAuth::OAuth2(oauth) => Some(Tokens::new((**oauth).clone(), file)),
                _ => None,
            };
            let (inbox, questions) = mpsc::channel(INBOX);
            let desk = Arc::new(Desk {
                metrics: LookupMetrics::new(&subscriber.source),
                source: subscriber.source.clone(),
                api: api.clone(),
                client,
                tokens,
                queue: Arc::clone(queue),
                clock: clock.clone(),
                probe_every,
                pace: Pace::new(api.rate),
                inbox,
                state: Mutex::default(),
                hold_changed: Notify::new(),
            });
            let running = Arc::clone(&desk).run(questions, shutdown.clone(), service.tasks.clone());
            service.tasks.spawn(running);
            service.desks.insert(subscriber.source, desk);
        }
        service.tasks.close();
        Ok(service)
    }

    /// Has questions asked, after the events that wait for them were settled. What cannot be taken now comes
    /// again with its event.
    pub fn ask(&self, jobs: Vec<Job>) {
        for job in jobs {
            if let Some(desk) = self.desks.get(&job.source) {
                desk.take(job);
            }
        }
    }

    /// How a source's look-ups stand; `None` when it has none.
    pub fn state(&self, source: &SourceName) -> Option<LookupState> {
        let off = || {
            let reason = self.off.get(source)?.clone();
            Some(LookupState::Off { reason })
        };
        self.desks.get(source).map(|desk| desk.shown()).or_else(off)
    }

    /// Waits until everything has ended after `shutdown`.
    pub async fn join(&self) {
        self.tasks.wait().await;
    }
}
