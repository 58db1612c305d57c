//! Starting delivery, and what can be seen and done while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dialect::Dialect;
use super::gate::Held;
use super::options::DestinationOptions;
use super::worker::{Courier, Worker};
use crate::clock::Clock;
use crate::egress::{Client, ClientError};
use crate::model::DestinationName;
use crate::queue::{Queue, QueueError};
use crate::store::Store;

pub use super::worker::DestinationState;

/// How long attempts that were told to give up get to record that, after the deadline of a stop.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How deliveries reach a destination.
#[derive(Clone)]
pub enum Means {
    /// By HTTP requests that a connector renders and whose answers it judges.
    Http(Arc<dyn Dialect>),
    /// By a write into the built-in outcome store.
    Store(Store),
}

/// A destination to deliver to.
#[derive(Clone)]
pub struct Destination {
    /// Its name.
    pub name: DestinationName,
    /// How it is reached.
    pub means: Means,
    /// How deliveries are made.
    pub options: DestinationOptions,
}

/// There is no such destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no destination `{0}`")]
pub struct UnknownDestination(pub DestinationName);

/// Why a destination was not resumed.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// There is none of that name.
    #[error(transparent)]
    Unknown(#[from] UnknownDestination),
    /// It takes deliveries again, but those that a hold had put off wait for their time.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Running delivery.
pub struct DeliveryHandle {
    queue: Arc<dyn Queue>,
    clock: Clock,
    stop: CancellationToken,
    abandon: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<BTreeMap<DestinationName, Running>>,
}

struct Running {
    worker: Arc<Worker>,
    stop: CancellationToken,
}

/// Starts one dispatcher per destination. They stop claiming when `shutdown` is cancelled; await
/// [`DeliveryHandle::join`] then.
///
/// # Errors
/// [`ClientError`] when HTTP cannot be set up.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn start(
    queue: Arc<dyn Queue>,
    destinations: Vec<Destination>,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<DeliveryHandle, ClientError> {
    let handle = DeliveryHandle {
        queue,
        clock,
        stop: shutdown,
        abandon: CancellationToken::new(),
        tracker: TaskTracker::new(),
        running: Mutex::default(),
    };
    handle.reload(destinations)?;
    Ok(handle)
}

impl DeliveryHandle {
    /// How each destination is doing, by name.
    pub fn states(&self) -> Vec<DestinationState> {
        let now = self.clock.now();
        let running = self.running();
        running.values().map(|r| r.worker.state(now)).collect()
    }

    /// Why this destination is held, if it is.
    pub fn held(&self, name: &DestinationName) -> Option<Held> {
        let worker = self.worker(name).ok()?;
        worker.state(self.clock.now()).held
    }

    /// Claims nothing for this destination until it is resumed. What is in flight finishes.
    ///
    /// # Errors
    /// [`UnknownDestination`].
    pub fn pause(&self, name: &DestinationName) -> Result<(), UnknownDestination> {
        self.worker(name)?.pause();
        Ok(())
    }

    /// Ends a pause, a hold and an open breaker: deliveries flow at once, also those that a hold had put off.
    ///
    /// # Errors
    /// [`ResumeError`].
    pub async fn resume(&self, name: &DestinationName) -> Result<(), ResumeError> {
        let worker = self.worker(name)?;
        Ok(worker.resume().await?)
    }

    /// Replaces all destinations. Nothing is lost and nothing counted: attempts in flight finish
    /// under the old settings, everything else goes by the new ones. A pause stays, a hold does not,
    /// since new settings may have brought new credentials.
    ///
    /// # Errors
    /// [`ClientError`]; the old destinations run on then.
    pub fn reload(&self, destinations: Vec<Destination>) -> Result<(), ClientError> {
        let mut workers = Vec::with_capacity(destinations.len());
        for destination in destinations {
            let begins_paused = destination.options.paused;
            workers.push((self.worker_for(destination)?, begins_paused));
        }
        let mut running = self.running();
        let old = std::mem::take(&mut *running);
        for former in old.values() {
            former.stop.cancel();
        }
        for (worker, begins_paused) in workers {
            let name = worker.name().clone();
            // What was said while it ran counts more than what held when the options were made.
            let is_paused = old.get(&name).map(|former| former.worker.is_paused());
            if is_paused.unwrap_or(begins_paused) {
                worker.pause();
            }
            let stop = self.stop.child_token();
            self.tracker
                .spawn(Arc::clone(&worker).run(stop.clone(), self.tracker.clone()));
            running.insert(name, Running { worker, stop });
        }
        Ok(())
    }

    /// Waits until everything in flight has ended after the shutdown token was cancelled, at most
    /// `deadline`; what still runs then is released uncounted. Says whether all ended by itself.
    pub async fn join(&self, deadline: Duration) -> bool {
        self.stop.cancelled().await;
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .is_ok()
        {
            return true;
        }
        self.abandon.cancel();
        if tokio::time::timeout(LAST_WORDS, self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                tasks = self.tracker.len(),
                "deliveries could not be settled while stopping; the queue hands them out again at the next start"
            );
        }
        false
    }

    fn worker_for(&self, destination: Destination) -> Result<Arc<Worker>, ClientError> {
        let courier = match destination.means {
            Means::Http(dialect) => Courier::Http {
                client: Client::new(destination.options.client())?,
                dialect,
            },
            Means::Store(store) => Courier::Store(store),
        };
        Ok(Arc::new(Worker::new(
            destination.name,
            courier,
            destination.options,
            Arc::clone(&self.queue),
            self.clock.clone(),
            self.abandon.clone(),
        )))
    }

    fn worker(&self, name: &DestinationName) -> Result<Arc<Worker>, UnknownDestination> {
        self.running()
            .get(name)
            .map(|running| Arc::clone(&running.worker))
            .ok_or_else(|| UnknownDestination(name.clone()))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<DestinationName, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
