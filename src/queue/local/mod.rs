//! The local engine: a journal that is synced, and an index in sled and merge trees that can be rebuilt from it.
//!
//! # On disk
//!
//! ```text
//! lock                      held by the process that uses the directory; its id
//! run                       whether the last stop was orderly, and in which run of the machine
//! journal/NNNNNNNNNN.jnl    segments: everything, in the order in which it was committed
//! index/                    sled: what is to be done next, small rows
//! index/tables/             merge trees: what is current, small rows with pointers into the journal
//! index.broken-N/           an index that did not work, kept to be looked at
//! quarantine/               copies of damaged segments
//! ```
//!
//! # A commit
//!
//! The [`committer`] takes what queued up during the previous sync, carries each request out on a
//! [`stage`], writes one record with all changes, syncs the segment once, makes the changes visible in
//! memory (the overlay of the [`index`]) and answers. The changes are physical (this key gets this value), so
//! that applying them again after a crash is harmless. Every half second the [`keeper`] writes to the index what
//! has changed, each row once however often it did; every few seconds it syncs the index and notes how far it is.
//! The [`tidier`] merges the files that this leaves behind.
//!
//! # Opening
//!
//! Records after the checkpoint are applied again. If the index does not open, panics, or holds something
//! unreadable, it is set aside and built anew from the whole journal. See [`open`].
//!
//! # Events that wait
//!
//! What an event read stands in its row and, under each key, in `watch`; when it wants to be woken, in `wake`.
//! Putting a record ([`records`]) finds the watchers of its key and of its places by one range each and marks
//! them "to process"; a mark has a number, so that settling an event takes away only the mark that was read
//! ([`watches`]). What changed between reading and settling is remembered by the committer ([`recent`]).
//! Nobody looks at a waiting event until then, and events that use none of this touch none of these trees.
//!
//! # Space
//!
//! `prune` removes old events and then gives back the oldest segments: what is still needed in them
//! is written again into the newest first. See [`carry`].
//!
//! # Why not sled alone?
//!
//! Its `flush` does not sync its file on Linux, one large value can make it unopenable after a power
//! cut, and it cannot be repaired. As an index that may be lost at any time it is good enough, and as a queue it
//! is fast: what is first is found at once, however much was taken before it. What is looked up by spread keys
//! costs it a page to read and a page to write each, though, and memory for each page; that stands in merge
//! trees. Those would have to search longer and longer for the first row of a queue. So each has what suits it.

mod accept;
pub mod baseline;
pub mod bench;
pub mod bench_backlog;
pub mod bench_codec;
pub mod bench_registry;
mod blob;
mod carry;
mod codec;
mod committer;
mod disk;
mod dump;
mod examine;
mod index;
mod journal;
mod keeper;
mod lane_row;
mod lanes;
mod lease;
mod line;
mod loose;
mod merged;
mod open;
mod options;
mod process;
mod reader;
mod recent;
mod reclaim;
mod records;
mod registry_key;
mod repair;
mod row;
mod settle;
mod shared;
mod slim;
mod snapshot;
mod stage;
mod state;
mod tidier;
mod tree;
mod tx;
mod wakes;
mod watches;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    Acceptance, Attempt, Claim, DeliveryFilter, DeliveryView, EventFilter, EventSummary, NewEvent,
    Operation, Page, PageRequest, Processed, Queue, QueueError, QueueStats, Record, Registry,
    Result, Settlement, Standing, StoredEvent, StoredOutcome,
};
use crate::model::{DeliveryId, DestinationName, Disposition, EventId};

use committer::{Committer, Envelope, Request};
use journal::Writer;
use keeper::{Chore, Keeper};
use lease::Leases;
use process::Prepared;
use reader::Reader;
use recent::Recent;
use shared::Shared;
use stage::Stage;
use tidier::Tidier;

pub use disk::free_bytes;
pub use examine::{Examination, IndexState, examine};
pub use open::RESTORING;
pub use options::{LocalOptions, OpenError, OpenReport, SyncMode, VerifyIndex};
pub use repair::{Repair, reopen, repair};
pub use snapshot::{JournalCopy, copy_journal, journal_bytes};

/// Reads bytes as every kind of row and as a journal record, for a fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_any(bytes: &[u8]) {
    use row::Row;

    let _rows = (
        row::EventRow::decode(bytes),
        row::DeliveryRow::decode(bytes),
        row::DedupeRow::decode(bytes),
        lane_row::LaneRow::decode(bytes),
        state::State::decode(bytes),
        blob::request(bytes.to_vec()).is_ok(),
        stage::spilled(bytes).is_ok(),
    );
    let position = journal::Position {
        segment: 1,
        offset: 16,
    };
    let record = journal::record::parse(bytes, position).map_or(bytes, |(payload, _)| payload);
    for frame in journal::record::frames(record) {
        let _damaged = frame.is_err();
    }
}

/// Requests that may wait for the committer.
const MAX_WAITING: usize = 8192;
/// Kilobytes that may wait for the committer.
const MAX_WAITING_KB: usize = 64 << 10;
/// Events replayed in one request: keeps commits short.
const REPLAY_STEP: usize = 512;

/// The local engine. Dropping it stops its threads; [`Queue::close`] does it in order.
pub struct LocalQueue {
    dir: PathBuf,
    max_unprocessed: u64,
    max_open_deliveries: u64,
    shared: Arc<Shared>,
    reader: Arc<Reader>,
    /// `None` only while being dropped.
    requests: Option<mpsc::Sender<Envelope>>,
    shares: Arc<Semaphore>,
    chores: std::sync::mpsc::Sender<Chore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held while old things are removed: the record at which forgetting goes on.
    reclaiming: tokio::sync::Mutex<Vec<u8>>,
    /// Held as long as the queue is open.
    lock: File,
}

impl fmt::Debug for LocalQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalQueue")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl LocalQueue {
    /// Opens the queue, repairing what can be repaired. Blocks: long when the index is rebuilt.
    ///
    /// # Errors
    /// [`OpenError`], when another process uses the directory or its files cannot be used.
    pub fn open(options: LocalOptions) -> std::result::Result<(Self, OpenReport), OpenError> {
        let opened = open::open(&options)?;
        let journal = opened.segments.dir().to_owned();
        let mut state = opened.state;
        state.run += 1;
        let writer = Writer::open(&journal, opened.tail, options.segment_bytes, options.sync)
            .map_err(OpenError::io("open", &journal))?;
        let shared = Arc::new(Shared::new(
            options.dir.clone(),
            options.clock.clone(),
            state.clone(),
            opened.tail,
        ));
        let heads = state.depths.keys().map(|destination| {
            let head = committer::head_of(&opened.index, destination);
            (destination.clone(), head)
        });
        shared.publish(&state, heads.collect());
        let leases = Arc::new(Leases::default());
        let recent = Recent::new(state.run);
        shared.set_visible(recent.last());
        shared.set_next_wake(wakes::next(&opened.index));
        let (tidier, wake_tidier) = Tidier::new(Arc::clone(&opened.index), Arc::clone(&shared));
        let keeper = Keeper {
            index: Arc::clone(&opened.index),
            segments: Arc::clone(&opened.segments),
            shared: Arc::clone(&shared),
            preparer: writer.preparer(),
            min_free_disk_bytes: options.min_free_disk_bytes,
            checkpoint: opened.tail,
            noted: Instant::now(),
            tidier: wake_tidier,
            cold_before: opened.tail.segment,
        };
        keeper.look_at_disk();
        let reader = Arc::new(Reader {
            index: Arc::clone(&opened.index),
            segments: Arc::clone(&opened.segments),
            shared: Arc::clone(&shared),
            leases: Arc::clone(&leases),
            clock: options.clock.clone(),
        });
        let (chores, todo) = std::sync::mpsc::channel();
        let committer = Committer {
            writer,
            stage: Stage::new(Arc::clone(&opened.index), opened.segments),
            state,
            index: opened.index,
            shared: Arc::clone(&shared),
            leases,
            recent,
            chores: chores.clone(),
            held: VecDeque::new(),
            clock: options.clock,
            on_commit: options.on_commit,
        };
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(OpenError::io("start a thread for", &options.dir))
        };
        let threads = vec![
            spawn("queue-committer", Box::new(|| committer.run(waiting)))?,
            spawn("queue-keeper", Box::new(move || keeper.run(&todo)))?,
            spawn("queue-tidier", Box::new(|| tidier.run()))?,
        ];
        let queue = Self {
            max_unprocessed: options.max_unprocessed,
            max_open_deliveries: options.max_open_deliveries,
            dir: options.dir,
            shared,
            reader,
            requests: Some(requests),
            shares: Arc::new(Semaphore::new(MAX_WAITING_KB)),
            chores,
            threads: Mutex::new(threads),
            reclaiming: tokio::sync::Mutex::default(),
            lock: opened.lock,
        };
        Ok((queue, opened.report))
    }

    /// All tables as readable text, for tests and support. Blocks.
    ///
    /// # Errors
    /// [`QueueError::Storage`] when something does not read.
    pub fn dump(&self) -> Result<String> {
        dump::dump(&self.reader.index, &self.reader.segments)
    }

    /// Why storage failed, if it did.
    pub fn failure(&self) -> Option<QueueError> {
        self.shared.failure()
    }

    fn sender(&self) -> &mpsc::Sender<Envelope> {
        self.requests
            .as_ref()
            .expect("there is a sender until the queue is dropped")
    }

    /// A share of the channel for a request of about so many bytes.
    fn kilobytes(bytes: usize) -> u32 {
        u32::try_from((bytes / 1024 + 1).min(MAX_WAITING_KB)).unwrap_or(u32::MAX)
    }

    /// Hands a request to the committer, waiting for room, and waits for the answer.
    async fn request<T>(
        &self,
        bytes: usize,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request,
    ) -> Result<T> {
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        let share = Arc::clone(&self.shares)
            .acquire_many_owned(Self::kilobytes(bytes))
            .await
            .map_err(|_closed| QueueError::Closed)?;
        let (to, answer) = oneshot::channel();
        let envelope = Envelope {
            request: request(to),
            share,
        };
        self.sender()
            .send(envelope)
            .await
            .map_err(|_closed| self.gone())?;
        answer.await.map_err(|_dropped| self.gone())?
    }

    /// Why the committer does not answer any more.
    fn gone(&self) -> QueueError {
        self.shared.failure().unwrap_or(QueueError::Closed)
    }

    /// Why a new event is not taken right now, if so.
    fn busy(&self) -> Option<QueueError> {
        if let Some(refusal) = self.shared.refusal() {
            return Some(refusal);
        }
        if let Some(why) = self.shared.disk_refusal() {
            return Some(QueueError::Busy(why));
        }
        let (unprocessed, open) = self.shared.backlog();
        if unprocessed >= self.max_unprocessed {
            return Some(QueueError::Busy("too many events wait to be processed"));
        }
        if open >= self.max_open_deliveries {
            return Some(QueueError::Busy("too many deliveries are open"));
        }
        None
    }

    /// Hands an event to the committer without waiting for room.
    fn try_commit(&self, event: NewEvent) -> Result<oneshot::Receiver<Result<Acceptance>>> {
        const FULL: QueueError = QueueError::Busy("too much waits to be committed");
        if let Some(refusal) = self.busy() {
            return Err(refusal);
        }
        let bytes = event.body.len() + event.query.len() + 512;
        let share: OwnedSemaphorePermit = Arc::clone(&self.shares)
            .try_acquire_many_owned(Self::kilobytes(bytes))
            .map_err(|_full| FULL)?;
        let dedupe = tree::dedupe(&event.source, &event.dedupe_key);
        let (to, answer) = oneshot::channel();
        let envelope = Envelope {
            request: Request::Accept(Box::new(event), dedupe, to),
            share,
        };
        self.sender()
            .try_send(envelope)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => FULL,
                mpsc::error::TrySendError::Closed(_) => self.gone(),
            })?;
        Ok(answer)
    }

    /// Reads on a thread that may block.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T>> {
        let reader = Arc::clone(&self.reader);
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(&reader)).await {
                Ok(result) => result,
                // sled panics over damage. Whatever else it would answer is not to be trusted.
                Err(panic) => Err(self.failed(QueueError::Storage(panic.to_string().into()))),
            }
        })
    }

    /// Reads what the bridge cannot go on without: which events and deliveries are next. Rows that do not read
    /// are set apart by the reader: what else keeps it from reading means the index, and storage has failed.
    async fn read_work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read(work).await.map_err(|error| self.failed(error))
    }

    /// Storage has failed, if that is what the error says.
    fn failed(&self, error: QueueError) -> QueueError {
        if let QueueError::Storage(reason) = &error {
            self.shared.fail(reason);
        }
        error
    }

    /// Brings index and checkpoint to stable storage.
    async fn checkpoint(&self) -> Result<()> {
        let (to, done) = oneshot::channel();
        self.chores
            .send(Chore::Checkpoint(to))
            .map_err(|_gone| QueueError::Closed)?;
        done.await.map_err(|_gone| QueueError::Closed)?
    }

    async fn close_in_order(&self) -> Result<()> {
        match self.request(0, Request::Close).await {
            Ok(()) => {}
            // Closed before: nothing is left to do.
            Err(QueueError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.shared.close();
        match self.checkpoint().await {
            // The journal has everything: the next start reads more of it.
            Err(QueueError::Busy(why)) => {
                tracing::warn!(why, "queue.closed_without_checkpoint");
                return Ok(());
            }
            done => done?,
        }
        let dir = self.dir.clone();
        self.read(move |_| {
            open::set_mark(&dir, open::Mark::Clean)
                .map_err(|error| QueueError::Storage(error.to_string().into()))
        })
        .await
    }
}

impl Drop for LocalQueue {
    fn drop(&mut self) {
        self.shared.close();
        self.requests = None;
        let _ = self.chores.send(Chore::Stop);
        let threads = self.threads.get_mut();
        for thread in threads.unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
        // Closing the file is not enough: a process that is being forked right now has it, too.
        let _ = self.lock.unlock();
    }
}

impl Queue for LocalQueue {
    fn commit_event(&self, event: NewEvent) -> BoxFuture<'_, Result<Acceptance>> {
        let handed_in = self.try_commit(event);
        Box::pin(async move { handed_in?.await.map_err(|_dropped| self.gone())? })
    }

    fn unprocessed(
        &self,
        after: Option<EventId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>>> {
        Box::pin(async move {
            let waiting = self
                .read_work(move |reader| reader.unprocessed(after, limit))
                .await?;
            if let Some(error) = waiting.put_off
                && waiting.events.is_empty()
                && waiting.unreadable.is_empty()
            {
                return Err(error);
            }
            for (id, error) in waiting.unreadable {
                tracing::error!(event = %id, error, "queue.event_unreadable");
                let processed = Processed {
                    disposition: Some(Disposition::Failed),
                    reason: format!("it cannot be read: {error}"),
                    keeps_former: true,
                    ..Processed::default()
                };
                self.settle_event(id, processed).await?;
            }
            Ok(waiting.events)
        })
    }

    fn settle_events(&self, events: Vec<(EventId, Processed)>) -> BoxFuture<'_, Vec<Result<()>>> {
        let count = events.len();
        let prepared: Vec<_> = events
            .into_iter()
            .map(|(id, processed)| (id, Prepared::new(id, processed)))
            .collect();
        let weight = |(_, prepared): &(EventId, Result<Prepared>)| {
            prepared.as_ref().map_or(0, Prepared::weight)
        };
        let weight = prepared.iter().map(weight).sum();
        Box::pin(async move {
            let answers = self.request(weight, |to| Request::SettleEvents(prepared, to));
            answers
                .await
                .unwrap_or_else(|error| vec![Err(error); count])
        })
    }

    fn registry(&self) -> Arc<dyn Registry> {
        Arc::<Reader>::clone(&self.reader)
    }

    fn put_records(&self, records: Vec<Record>) -> BoxFuture<'_, Result<()>> {
        let weight = records.iter().map(|record| 128 + record.value.len()).sum();
        Box::pin(self.request(weight, |to| Request::PutRecords(records, to)))
    }

    fn wake_due(&self, limit: usize) -> BoxFuture<'_, Result<usize>> {
        Box::pin(async move {
            if !self.shared.is_wake_due() {
                return self.shared.refusal().map_or(Ok(0), Err);
            }
            self.request(0, |to| Request::WakeDue(limit, to)).await
        })
    }

    fn replay(&self, ids: Vec<EventId>) -> BoxFuture<'_, Result<usize>> {
        Box::pin(async move {
            let mut found = 0;
            for step in ids.chunks(REPLAY_STEP) {
                found += self
                    .request(step.len() * 64, |to| Request::Replay(step.to_vec(), to))
                    .await?;
            }
            Ok(found)
        })
    }

    fn claim(
        &self,
        destination: &DestinationName,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claim>>> {
        let destination = destination.clone();
        Box::pin(async move {
            if let Some(refusal) = self.shared.refusal() {
                return Err(refusal);
            }
            let claimed = self
                .read_work(move |reader| reader.claim(&destination, limit))
                .await?;
            for (lane, delivery, reason) in claimed.unreadable {
                tracing::error!(%delivery, reason, "queue.delivery_unreadable");
                let attempt = None;
                let settled = self.settle(delivery, Settlement::DeadLetter { attempt, reason });
                if let Err(error) = settled.await {
                    // Due as before. The claims of others must not be lost for it.
                    tracing::warn!(%delivery, %error, "queue.delivery_still_due");
                    self.reader.leases.free(&lane);
                }
            }
            for (lane, event) in claimed.lost {
                // What its event says is told by another delivery then, see `lanes::revise`.
                let found = self.replay(vec![event]).await;
                tracing::error!(%event, ?found, "queue.delivery_lost: its event is processed again");
                if found.is_ok_and(|found| found > 0) {
                    self.reader.leases.free(&lane);
                } else {
                    self.reader.leases.set_aside(lane);
                }
            }
            Ok(claimed.claims)
        })
    }

    fn settle(&self, delivery: DeliveryId, settlement: Settlement) -> BoxFuture<'_, Result<()>> {
        let settlement = Box::new(settlement);
        Box::pin(self.request(1024, move |to| Request::Settle(delivery, settlement, to)))
    }

    fn operate(
        &self,
        delivery: DeliveryId,
        operation: Operation,
    ) -> BoxFuture<'_, Result<DeliveryView>> {
        Box::pin(async move {
            self.request(256, |to| Request::Operate(delivery, operation, to))
                .await?;
            let (view, _) = self.delivery(delivery).await?;
            Ok(view)
        })
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<StoredEvent>> {
        self.read(move |reader| reader.event(id))
    }

    fn event_detail(&self, id: EventId) -> BoxFuture<'_, Result<(EventSummary, Option<Value>)>> {
        self.read(move |reader| reader.detail(id))
    }

    fn events(
        &self,
        filter: EventFilter,
        page: PageRequest<EventId>,
    ) -> BoxFuture<'_, Result<Page<EventSummary, EventId>>> {
        self.read(move |reader| reader.events(&filter, page))
    }

    fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: PageRequest<DeliveryId>,
    ) -> BoxFuture<'_, Result<Page<DeliveryView, DeliveryId>>> {
        self.read(move |reader| reader.deliveries(&filter, page))
    }

    fn delivery(&self, id: DeliveryId) -> BoxFuture<'_, Result<(DeliveryView, Vec<Attempt>)>> {
        self.read(move |reader| reader.delivery(id))
    }

    fn deliveries_of(&self, event: EventId) -> BoxFuture<'_, Result<Vec<DeliveryView>>> {
        self.read(move |reader| reader.deliveries_of(event))
    }

    fn outcomes_of(&self, event: EventId) -> BoxFuture<'_, Result<Vec<StoredOutcome>>> {
        self.read(move |reader| reader.outcomes_of(event))
    }

    fn standings_of(&self, event: EventId) -> BoxFuture<'_, Result<Vec<Standing>>> {
        self.read(move |reader| reader.standings_of(event))
    }

    fn stats(&self) -> QueueStats {
        self.shared.stats()
    }

    fn events_arrived(&self) -> BoxFuture<'_, ()> {
        self.shared.events_arrived()
    }

    fn deliveries_due(&self, destination: &DestinationName) -> BoxFuture<'_, ()> {
        self.shared.deliveries_due(destination.as_str())
    }

    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.prune_and_reclaim(before))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.close_in_order())
    }
}
