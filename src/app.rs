//! The composition root: a running bridge made from a blueprint, and its orderly end.
//!
//! Start: open the queue (repairing what can be repaired), the store, the destinations, the processor,
//! then listen. Stop, in the reverse direction of the data: stop listening, let the processor finish
//! its page, let attempts in flight end, close the queue. Nothing depends on a clean stop: every stage
//! restarts from disk.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web;
use futures_util::future::{BoxFuture, join_all};
use jiff::SignedDuration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{self, DeliveryHandle, Pauses};
use crate::diagnostic::Diagnostic;
use crate::egress::AddressPolicy;
use crate::http::{self, BodyLimits, Inlet, Listen, Listener, Office, Sessions, StoreApis, Tokens};
use crate::lookup::{LookupService, Subscriber};
use crate::metrics;
use crate::model::{Secret, SourceName};
use crate::processing::{CallBook, Processor, ToldCall};
use crate::queue::local::{LocalOptions, LocalQueue, OpenReport};
use crate::queue::{Queue, QueueError};
use crate::setup::{Blueprint, Destination, Source};
use crate::store::{CallRecord, Store};

/// How often mapping files are looked at for changes, and old events for pruning.
const RELOAD_EVERY: Duration = Duration::from_secs(2);
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// How often a disk that cannot be written is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// How long requests may take to get their answer after storage has failed.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// What each part gets at the least when the bridge stops, however long those before it took.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Why a bridge could not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// The queue's files.
    #[error("the queue in {dir} cannot be opened: {source}")]
    Queue {
        /// The data directory.
        dir: String,
        /// Why.
        source: crate::queue::local::OpenError,
    },
    /// The outcome store's file.
    #[error("the outcome store cannot be opened: {0}")]
    Store(#[from] crate::store::StoreError),
    /// A destination.
    #[error(transparent)]
    Delivery(#[from] crate::delivery::ClientError),
    /// An address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The admin token's file.
    #[error("the admin token cannot be kept in {dir}: {source}")]
    Token {
        /// The data directory.
        dir: String,
        /// Why.
        source: io::Error,
    },
    /// The file of paused destinations.
    #[error("the paused destinations in {dir} cannot be read: {source}")]
    Pauses {
        /// The data directory.
        dir: String,
        /// Why.
        source: io::Error,
    },
    /// Storage failed while running.
    #[error(transparent)]
    Storage(#[from] QueueError),
    /// A server ended with an error.
    #[error("a listener failed: {0}")]
    Server(#[from] io::Error),
}

/// A bridge that runs.
pub struct Bridge {
    /// Where webhooks are received.
    pub inlet: SocketAddr,
    /// Where the admin API is.
    pub office: SocketAddr,
    /// The admin token in force.
    pub token: Secret,
    /// What opening the queue found.
    pub report: OpenReport,
    /// The durable queue.
    pub queue: Arc<dyn Queue>,
    /// The outcome store, unless it is turned off.
    pub store: Option<Store>,
    sources: Arc<BTreeMap<SourceName, Arc<Source>>>,
    listeners: Vec<Listener>,
    processor: JoinHandle<Result<(), QueueError>>,
    upkeep: JoinHandle<()>,
    delivery: Arc<DeliveryHandle>,
    lookups: Arc<LookupService>,
    drain: Duration,
    draining: CancellationToken,
    intake: CancellationToken,
    outflow: CancellationToken,
}

impl Bridge {
    /// Starts everything a blueprint describes.
    ///
    /// # Errors
    /// When files, addresses or credentials cannot be used.
    pub async fn start(blueprint: Blueprint, warnings: Vec<String>) -> Result<Self, AppError> {
        let Blueprint {
            config,
            catalogue,
            sources,
            destinations,
            routes,
        } = blueprint;
        let clock = Clock::system();
        let exposition = metrics::exposition();
        let (queue, report) = open_queue(&config, &clock).await?;
        metrics::opened(&report);
        let dir = &config.storage.dir;
        let token = config
            .admin
            .token_or_make(dir)
            .map_err(|source| AppError::Token {
                dir: dir.display().to_string(),
                source,
            })?;
        let store = match config.store.enabled {
            true => Some(Store::open_or_wait(&config.store_path(), clock.clone()).await?),
            false => None,
        };

        let pauses = Pauses::open(dir).map_err(|source| AppError::Pauses {
            dir: dir.display().to_string(),
            source,
        })?;
        let outflow = CancellationToken::new();
        let with_pause = |destination: &Arc<Destination>| {
            let mut made = destination.for_delivery(store.as_ref())?;
            made.options.paused = pauses.has(&made.name);
            Some(made)
        };
        let delivery = Arc::new(delivery::start(
            Arc::clone(&queue),
            destinations.values().filter_map(with_pause).collect(),
            clock.clone(),
            outflow.clone(),
        )?);

        let intake = CancellationToken::new();
        let lookups = Arc::new(LookupService::start(
            subscribers(&config, &sources),
            &queue,
            &clock,
            dir,
            &intake,
        )?);
        let processor = Processor::new(Arc::clone(&sources), Arc::clone(&routes), clock.clone())
            .with_lookups(queue.registry(), Arc::clone(&lookups));
        let processor = match store.clone() {
            Some(store) => processor.with_call_book(Arc::new(StoreBook(store))),
            None => processor,
        };
        let processing = tokio::spawn(processor.clone().run(Arc::clone(&queue), intake.clone()));

        let body = BodyLimits {
            bytes: config.server.body_limit.as_usize(),
            time: config.server.request_timeout,
        };
        let apis = store.clone().map(|store| {
            web::Data::new(StoreApis {
                store,
                keys: config.store.keys.clone(),
                open: config.store.open.clone(),
                currency: config.store.currency.clone(),
                clock: clock.clone(),
                body,
            })
        });
        let draining = CancellationToken::new();
        let inlet = web::Data::new(Inlet {
            sources: Arc::clone(&sources),
            queue: Arc::clone(&queue),
            clock: clock.clone(),
            body,
            header_limit: config.server.header_limit,
            apis,
            draining: draining.clone(),
        });
        let office = web::Data::new(Office {
            sources: Arc::clone(&sources),
            destinations: destinations.values().cloned().collect(),
            catalogue,
            queue: Arc::clone(&queue),
            store: store.clone(),
            delivery: Arc::clone(&delivery),
            pauses,
            lookups: Arc::clone(&lookups),
            processor,
            tokens: Tokens {
                admin: token.clone(),
                viewer: config.admin.viewer_token.clone(),
            },
            sessions: Sessions::default(),
            metrics: exposition,
            clock: clock.clone(),
            draining: draining.clone(),
            warnings,
        });
        let listeners = listen(&config, inlet, office)?;
        let upkeep = tokio::spawn(upkeep(
            Arc::clone(&queue),
            Arc::clone(&sources),
            clock,
            config.storage.retention,
            intake.clone(),
        ));
        Ok(Self {
            inlet: listeners[0].address,
            office: listeners.last().map_or(listeners[0].address, |l| l.address),
            token,
            report,
            queue,
            store,
            sources,
            listeners,
            processor: processing,
            upkeep,
            delivery,
            lookups,
            drain: config.server.shutdown_timeout,
            draining,
            intake,
            outflow,
        })
    }

    /// Resolves when a part that must not end has ended: storage failed.
    pub async fn failed(&mut self) -> AppError {
        match (&mut self.processor).await {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) => QueueError::Closed.into(),
            Err(panic) => QueueError::Storage(panic.to_string().into()).into(),
        }
    }

    /// Reads mapping files and tables again now, as it does by itself every few seconds. What has mistakes changes nothing, and the
    /// log says so.
    pub fn reload(&self) {
        for source in self.sources.values() {
            report_reload(source, source.reload());
        }
    }

    /// Ends after storage has failed: those who wait for an answer are told to come back, nothing else is done.
    pub async fn abandon(self) {
        self.draining.cancel();
        let stopping = self.listeners.into_iter().map(Listener::stop);
        let answers = join_all(stopping);
        // Whoever is not answered by then comes back by itself.
        let _answered = tokio::time::timeout(LAST_ANSWERS, answers).await;
    }

    /// Stops in order: no new requests, no new attempts, everything on disk. Requests and attempts together have the time
    /// of `server.shutdown_timeout`.
    ///
    /// # Errors
    /// The first thing that could not be finished; what comes after it is done all the same. Nothing acknowledged is lost
    /// by it.
    pub async fn stop(self) -> Result<(), AppError> {
        self.draining.cancel();
        let begun = Instant::now();
        let left = || self.drain.saturating_sub(begun.elapsed()).max(LAST_MOMENT);
        let mut stopped = Ok(());
        // One after the other: while the inlet answers what it has begun, the office tells that the bridge drains.
        for listener in self.listeners {
            if let Ok(ended) = tokio::time::timeout(left(), listener.stop()).await {
                stopped = stopped.and(ended);
            }
        }
        self.intake.cancel();
        if !self.processor.is_finished() {
            // A failed processor was reported by `failed`; its events stay marked.
            let _ended = self.processor.await;
        }
        let _ended = self.upkeep.await;
        self.lookups.join().await;
        self.outflow.cancel();
        self.delivery.join(left()).await;
        if let Some(store) = &self.store {
            store.close().await;
        }
        let closed = self.queue.close().await;
        stopped?;
        Ok(closed?)
    }
}

/// The sources that may look something up.
fn subscribers(config: &Config, sources: &BTreeMap<SourceName, Arc<Source>>) -> Vec<Subscriber> {
    let addresses = |source: &Source| match config.sources.get(&source.name) {
        Some(options) if options.allow_private => AddressPolicy::Any,
        Some(options) => AddressPolicy::PublicAnd(options.allow_networks.clone()),
        None => AddressPolicy::PublicAnd(Vec::new()),
    };
    let subscriber = |source: &Arc<Source>| Subscriber {
        source: source.name.clone(),
        lookups: Arc::clone(source.inbound.lookups()),
        addresses: addresses(source),
    };
    sources.values().map(subscriber).collect()
}

/// How the queue of a configuration is opened.
pub fn queue_options(config: &Config, clock: &Clock) -> LocalOptions {
    let storage = &config.storage;
    let mut options = LocalOptions::new(&storage.dir);
    options.segment_bytes = storage.segment.bytes();
    options.max_unprocessed = storage.max_unprocessed;
    options.max_open_deliveries = storage.max_open_deliveries;
    options.min_free_disk_bytes = storage.min_free_disk.bytes();
    options.cache_mb = storage.index_cache.bytes().div_ceil(1 << 20);
    options.clock = clock.clone();
    options.on_commit = metrics::commit;
    options
}

/// Opens the queue. On a full or read-only disk it waits: ending would only have it started again and again.
async fn open_queue(
    config: &Config,
    clock: &Clock,
) -> Result<(Arc<dyn Queue>, OpenReport), AppError> {
    let options = queue_options(config, clock);
    loop {
        match LocalQueue::open(options.clone()) {
            Ok((queue, report)) => return Ok((Arc::new(queue), report)),
            Err(error) if error.may_pass() => {
                tracing::error!(target: "bridge.waiting", %error, "not started: waiting until the disk can be written");
                tokio::time::sleep(OPEN_AGAIN).await;
            }
            Err(source) => {
                return Err(AppError::Queue {
                    dir: config.storage.dir.display().to_string(),
                    source,
                });
            }
        }
    }
}

/// The inlet's listener first, the office's last; one for both when they share an address.
fn listen(
    config: &Config,
    inlet: web::Data<Inlet>,
    office: web::Data<Office>,
) -> Result<Vec<Listener>, AppError> {
    let server = &config.server;
    let front = Listen {
        address: server.bind,
        workers: server.workers,
        request_timeout: server.request_timeout,
        max_connections: server.max_connections,
        shutdown_timeout: server.shutdown_timeout,
    };
    let serve = |listen: &Listen, inlet, office| {
        http::serve(listen, inlet, office).map_err(|source| AppError::Listen {
            address: listen.address,
            source,
        })
    };
    if config.admin.bind == server.bind && server.bind.port() != 0 {
        return Ok(vec![serve(&front, Some(inlet), Some(office))?]);
    }
    // One worker is plenty for operators, and leaves the cores to the inlet.
    let back = Listen {
        address: config.admin.bind,
        workers: std::num::NonZeroUsize::new(1),
        ..front.clone()
    };
    Ok(vec![
        serve(&front, Some(inlet), None)?,
        serve(&back, None, Some(office))?,
    ])
}

/// Looks after what changes slowly: mapping files, and events past their retention.
async fn upkeep(
    queue: Arc<dyn Queue>,
    sources: Arc<std::collections::BTreeMap<crate::model::SourceName, Arc<crate::setup::Source>>>,
    clock: Clock,
    retention: Duration,
    shutdown: CancellationToken,
) {
    let mut reload = tokio::time::interval(RELOAD_EVERY);
    let mut prune = tokio::time::interval(PRUNE_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = reload.tick() => {
                for source in sources.values() {
                    report_reload(source, source.watch());
                }
            }
            _ = prune.tick() => {
                let age = SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX);
                let Ok(before) = clock.now().checked_sub(age) else { continue };
                match queue.prune(before).await {
                    Ok(0) => {}
                    Ok(events) => tracing::info!(target: "queue.pruned", events, "removed events past their retention"),
                    Err(error) => tracing::warn!(target: "queue.pruned", %error, "pruning failed; it is tried again"),
                }
            }
        }
    }
}

fn report_reload(source: &Source, reloaded: Result<bool, Vec<Diagnostic>>) {
    match reloaded {
        Ok(false) => {}
        Ok(true) => {
            metrics::config_reloaded(true);
            tracing::info!(target: "mapping.reloaded", source = %source.name, "new rules hold");
        }
        Err(mistakes) => {
            metrics::config_reloaded(false);
            let first = mistakes
                .first()
                .map(|m| m.message.clone())
                .unwrap_or_default();
            tracing::warn!(target: "mapping.refused", source = %source.name, mistakes = mistakes.len(), %first, "the old rules go on holding");
        }
    }
}

/// The outcome store as the place where calls are kept.
struct StoreBook(Store);

impl CallBook for StoreBook {
    fn record<'a>(&'a self, calls: &'a [ToldCall]) -> BoxFuture<'a, Result<(), String>> {
        let records = calls
            .iter()
            .filter_map(|told| CallRecord::from_fact(&told.platform, &told.fact))
            .collect();
        Box::pin(async move {
            let recorded = self.0.record_calls(records).await;
            recorded
                .map(|_counts| ())
                .map_err(|error| error.to_string())
        })
    }
}
