//! The durable queue: what it promises, as one trait of domain operations.
//!
//! Everything that must survive a crash goes through [`Queue`]. There is one engine now
//! (`local`: a journal with an index in sled and merge trees); a shared engine for several nodes has to pass the
//! same contract suite (`contract`). Nothing outside this module knows which engine runs.
//!
//! # Promises
//!
//! - When [`Queue::commit_event`] returns `Accepted`, the event and its duplicate key are on stable
//!   storage: they survive `kill -9` and power loss. Requests of one moment share one sync.
//! - When any other changing operation returns, its effect is ordered after everything that returned
//!   before it and is applied wholly or not at all; it is durable at the latest with the next commit.
//!   `settle` and `settle_event` are durable when they return, too.
//! - One delivery of a lane is handed out at a time, until it is settled or released.
//! - A lane's current truth depends on the set of its revisions, never on the order in which they
//!   arrived (see [`crate::truth`]).
//! - An event is processed again after every change of what it watches, whenever that change came: before,
//!   while or after it was processed. Settling it again with an unchanged result sends nothing.

#[cfg(test)]
pub(crate) mod contract;
pub mod local;
mod page;
pub(crate) mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{
    Basis, DeliveryId, DeliveryState, DestinationName, Disposition, EventId, Fact, Mode, Outcome,
    OutcomeId, OutcomeKind, OutcomeNumbers, Precedence, SourceName, Subject, VerdictKind,
};

pub use page::{DeliveryFilter, EventFilter, Page, PageRequest};
pub use registry::{Mark, Order, Place, Record, Registry, RegistryKey, Watch};

/// Why an operation did not happen.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Not right now: too much is waiting to be committed, the backlog limit is reached, the disk is nearly full,
    /// or something cannot be read for a reason that may pass. The caller may come back later.
    #[error("busy: {0}")]
    Busy(&'static str),
    /// Storage failed. Nothing is accepted any more until it works again.
    #[error("storage failed: {0}")]
    Storage(Arc<str>),
    /// A single row, or what it points to, is gone for good. Everything else goes on.
    #[error("damaged: {0}")]
    Damaged(Arc<str>),
    /// There is no such event or delivery.
    #[error("there is no {0}")]
    NotFound(String),
    /// The delivery's state does not allow it.
    #[error("{0}")]
    State(String),
    /// The queue is shutting down.
    #[error("shutting down")]
    Closed,
}

/// The result of a queue operation.
pub type Result<T> = std::result::Result<T, QueueError>;

/// A verified request, to be stored.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The source that received it.
    pub source: SourceName,
    /// When it was received.
    pub received_at: Timestamp,
    /// The vendor's own name for what happened, where it is known without mapping.
    pub event_type: Option<String>,
    /// Identifies the event among repeats of the same request: 16 bytes of a hash.
    pub dedupe_key: [u8; 16],
    /// How long repeats are recognised.
    pub dedupe_window: jiff::SignedDuration,
    /// Headers worth keeping, lower-case names, secrets removed.
    pub headers: Vec<(String, String)>,
    /// The query string as received, secrets removed.
    pub query: String,
    /// The body, byte for byte as verified (vendor tokens in it redacted).
    pub body: Bytes,
}

/// What [`Queue::commit_event`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// The event is stored under this id.
    Accepted(EventId),
    /// The same event was stored before, under this id; nothing was written.
    Duplicate(EventId),
}

/// A stored event.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its id.
    pub id: EventId,
    /// The source that received it.
    pub source: SourceName,
    /// When it was received.
    pub received_at: Timestamp,
    /// The vendor's own name for what happened.
    pub event_type: Option<String>,
    /// Headers kept, lower-case names.
    pub headers: Vec<(String, String)>,
    /// The query string.
    pub query: String,
    /// The body, byte for byte.
    pub body: Bytes,
    /// How it stood when it was read; [`Processed`] brings it back.
    pub mark: Mark,
}

/// What became of an event, short enough for lists.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventSummary {
    /// Its id.
    pub id: EventId,
    /// The source that received it.
    pub source: SourceName,
    /// When it was received.
    pub received_at: Timestamp,
    /// The vendor's own name for what happened.
    pub event_type: Option<String>,
    /// What became of it.
    pub disposition: Disposition,
    /// Why, in words.
    pub reason: String,
    /// How often the same event came again within its window.
    pub duplicates: u32,
    /// Bytes of its body.
    pub body_bytes: u32,
}

/// An outcome with its id, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredOutcome {
    /// Its id.
    pub id: OutcomeId,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What the rules made of an event, to be stored in one write.
#[derive(Debug, Clone, Default)]
pub struct Processed {
    /// What became of the event. `None` only in `Default`; settling without one is a mistake.
    pub disposition: Option<Disposition>,
    /// Why, in words.
    pub reason: String,
    /// The whole derivation as JSON text, as shown by `events explain`; empty when there is none.
    pub trace: Bytes,
    /// The facts derived.
    pub facts: Vec<Fact>,
    /// The numbers of the outcomes among them, in the same order. They rise.
    pub numbers: OutcomeNumbers,
    /// What changes at which lane.
    pub changes: Vec<LaneChange>,
    /// Records that the event writes. Whoever watches them is woken, but not the event itself.
    pub records: Vec<Record>,
    /// What the event read, present or not: it is processed again when that changes. Replaces what it
    /// watched before.
    pub watches: Vec<Watch>,
    /// When it is to be processed again although nothing changed. Replaces what it said before.
    pub wake_at: Option<Timestamp>,
    /// [`StoredEvent::mark`] of the event that was processed.
    pub mark: Mark,
    /// Nothing is known that could replace what the event led to before: its outcomes, its lanes, its trace and what it
    /// watches stay. Of all that is said here only disposition, reason, further watches and an earlier wake count.
    pub keeps_former: bool,
    /// The destinations that there are; what an event said to others stays until they are there again. `None`: all are.
    pub destinations: Option<Arc<BTreeSet<DestinationName>>>,
}

impl Processed {
    /// Its outcomes with their numbers. `None`: there are more than can be numbered.
    pub fn outcomes(&self) -> Option<BTreeMap<u16, &Outcome>> {
        let outcomes = self.facts.iter().filter_map(|fact| match fact {
            Fact::Outcome(outcome) => Some(outcome),
            _ => None,
        });
        let numbered = outcomes.enumerate();
        numbered
            .map(|(n, outcome)| Some((self.numbers.of(n)?, outcome)))
            .collect()
    }
}

/// One fact's effect on one lane.
#[derive(Debug, Clone)]
pub struct LaneChange {
    /// The destination.
    pub destination: DestinationName,
    /// The address at that destination; with `destination` it identifies the lane.
    pub target: String,
    /// Which of its revisions are delivered there.
    pub mode: Mode,
    /// Which rule of precedence holds there. Without meaning for [`Mode::Each`].
    pub precedence: Precedence,
    /// Whether the destination can be told that nothing holds any more.
    pub can_clear: bool,
    /// Whether the destination counts how far a call came, so that it is told when that changes, too. Without meaning
    /// for [`Mode::Each`].
    pub counts_progress: bool,
    /// How long deliveries may be tried before they become dead letters, counted from when they fall due first: now, or at
    /// [`LaneChange::not_before`].
    pub max_age: jiff::SignedDuration,
    /// What changes.
    pub change: Change,
    /// What the destination is told of whom the outcome is about: told once, it is not told again before this or the
    /// outcome's content changes.
    pub told: Subject,
    /// The delivery of this outcome is not due before this moment. That it waits until then is no part of its age.
    pub not_before: Option<Timestamp>,
    /// Ties revisions to what they are about (a booking, a deal), so that taking one back leaves the
    /// others alone. 0 means unknown and ties to everything.
    pub origin: u64,
}

/// What changes at a lane.
#[derive(Debug, Clone)]
pub enum Change {
    /// The outcome with this ordinal among the event's outcomes.
    Outcome(u16),
    /// Outcomes of this kind that occurred up to the moment no longer hold.
    Retract(OutcomeKind, Timestamp),
    /// Manual corrections of any kind that arrived before this event no longer hold. The moment is that of the release.
    Release(Timestamp),
}

/// A delivery, as shown to people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// The event that caused it.
    pub event: EventId,
    /// The outcome it brings; `None` when it tells the target that nothing holds any more.
    pub outcome: Option<OutcomeId>,
    /// What it brings.
    pub kind: Option<OutcomeKind>,
    /// The destination.
    pub destination: DestinationName,
    /// The address there.
    pub target: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why it stands there, in words.
    pub reason: String,
    /// Attempts made.
    pub attempts: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it is due next, if it is open.
    pub due_at: Option<Timestamp>,
    /// When it reached its state.
    pub changed_at: Timestamp,
    /// The furthest that the lead came, as far as its lane knows now.
    #[serde(skip)]
    pub furthest: Option<OutcomeKind>,
}

/// A revision as it is shown beside others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    /// The outcome.
    pub outcome: OutcomeId,
    /// What it says.
    pub kind: OutcomeKind,
    /// When it occurred.
    pub occurred_at: Timestamp,
    /// How it is known.
    pub basis: Basis,
}

/// What an event changes at the truth of a lane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// The destination.
    pub destination: DestinationName,
    /// The address there.
    pub target: String,
    /// What would be the truth if the event had not been.
    pub without: Option<Held>,
    /// What is the truth.
    pub with: Option<Held>,
    /// The rule of precedence that decides, in words.
    pub why: &'static str,
}

/// One try at a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When the request was begun.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Method and URL, secrets removed.
    pub request: String,
    /// The answer's status, if there was an answer.
    pub status: Option<u16>,
    /// The first part of the answer's body, secrets removed.
    pub response: String,
    /// What it means.
    pub verdict: VerdictKind,
    /// Why, in words.
    pub reason: String,
}

/// A delivery handed to a worker, with all that is needed to render its request.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The destination.
    pub destination: DestinationName,
    /// The address there.
    pub target: String,
    /// The outcome to bring; `None` when the target has to be told that nothing holds any more.
    pub outcome: Option<StoredOutcome>,
    /// The furthest that the lead came, as far as the lane knows: see [`crate::truth::furthest`].
    pub furthest: Option<OutcomeKind>,
    /// Attempts made before this one, since it was created or redriven.
    pub attempts: u32,
    /// What the last of them were answered with.
    pub answered: Option<Answered>,
    /// When the delivery was created.
    pub created_at: Timestamp,
    /// When it becomes a dead letter.
    pub expires_at: Timestamp,
    /// What earlier answers at this lane gave back (e.g. `call_id`), empty at first.
    pub receipt: Map<String, Value>,
}

/// What the last attempts at a delivery were answered with, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// When the first of these attempts began.
    pub since: Timestamp,
}

/// How a claimed delivery ended.
#[derive(Debug, Clone)]
pub enum Settlement {
    /// The destination has it. The receipt is kept with the lane.
    Delivered {
        /// The attempt.
        attempt: Attempt,
        /// What the destination returned that is worth keeping.
        receipt: Map<String, Value>,
    },
    /// To be tried again.
    Retry {
        /// The attempt.
        attempt: Attempt,
        /// When.
        due_at: Timestamp,
    },
    /// Given up. Also for a request that could not even be rendered (`attempt` is `None` then).
    DeadLetter {
        /// The attempt, if one was made.
        attempt: Option<Attempt>,
        /// Why, in words.
        reason: String,
    },
    /// Nothing was tried or the try does not count: it stays due, at the given moment if there is one.
    Released {
        /// When it is due again; `None` keeps what it was.
        due_at: Option<Timestamp>,
    },
}

/// What an operator wants done with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A dead letter (or a delivered one, when asked for) becomes pending again with fresh attempts.
    Redrive,
    /// A dead letter is put aside for good: it becomes `cancelled`.
    Discard,
    /// An open delivery that waits for its time is due now; any other stays as it is.
    Hasten,
}

/// A destination's numbers, kept up to date without scanning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DestinationDepth {
    /// Deliveries that still have to happen.
    pub open: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// When the oldest due lane fell due.
    pub oldest_due_at: Option<Timestamp>,
}

/// The queue's numbers.
#[derive(Debug, Clone, Default, Serialize)]
pub struct QueueStats {
    /// Events stored.
    pub events: u64,
    /// Events that wait to be processed.
    pub unprocessed: u64,
    /// Per destination.
    pub destinations: BTreeMap<String, DestinationDepth>,
    /// Bytes on disk: journal and index.
    pub disk_bytes: u64,
    /// Bytes free on the disk, once it was looked at.
    pub free_bytes: Option<u64>,
    /// Why new events are refused for now although storage works: the disk is full, or nearly.
    pub refusing: Option<String>,
    /// Syncs of the journal since start.
    pub syncs: u64,
    /// Commits since start.
    pub commits: u64,
    /// Requests committed since start.
    pub committed: u64,
    /// Why storage failed, if it did. Nothing is accepted from then on.
    pub failure: Option<String>,
}

/// Domain operations of the durable queue. See the module's promises.
pub trait Queue: Send + Sync + 'static {
    /// Stores a verified event with its duplicate key and the mark "to process", durably.
    /// Answers `Busy` at once instead of waiting when too much is queued.
    fn commit_event(&self, event: NewEvent) -> BoxFuture<'_, Result<Acceptance>>;

    /// Events that wait to be processed, oldest first, after `after`. Fewer than `limit` where their bodies are large; none
    /// only when none wait. Those that cannot be read for good become `failed`; those that cannot be read right now are left
    /// out.
    ///
    /// # Errors
    /// [`QueueError::Busy`] when none that waits can be read right now.
    fn unprocessed(
        &self,
        after: Option<EventId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>>>;

    /// Stores what the rules made of an event and applies it to the lanes, in one durable write.
    /// Settling an event again (a replay) replaces its disposition, trace and facts; revisions that
    /// it gave to lanes before are replaced by the new ones.
    ///
    /// Settling removes the mark "to process", unless something marked the event again since it was read, or a
    /// registry key that it watches changed since: then it stays, and the event is processed once more.
    fn settle_event(&self, id: EventId, processed: Processed) -> BoxFuture<'_, Result<()>> {
        let settled = self.settle_events(vec![(id, processed)]);
        Box::pin(async move {
            let mut answers = settled.await;
            answers.pop().unwrap_or(Err(QueueError::Closed))
        })
    }

    /// Settles events strictly in this order, each wholly or not at all, and answers for each in the same
    /// order. Each has to be processed in view of the records that those before it write: it is not woken by
    /// them. When one is refused, those after it stay marked, since they saw what then did not happen.
    fn settle_events(&self, events: Vec<(EventId, Processed)>) -> BoxFuture<'_, Vec<Result<()>>>;

    /// Marks stored events "to process" again. Answers how many there were.
    fn replay(&self, ids: Vec<EventId>) -> BoxFuture<'_, Result<usize>>;

    /// What the registries hold.
    fn registry(&self) -> Arc<dyn Registry>;

    /// Puts records in one write and wakes whoever watches them. A record whose value and places are what they
    /// were writes nothing and wakes nobody.
    fn put_records(&self, records: Vec<Record>) -> BoxFuture<'_, Result<()>>;

    /// Marks events whose [`Processed::wake_at`] has come "to process", oldest moment first, at most `limit`.
    /// Answers how many moments had come. Each comes once; after a stop, those that were missed come at once.
    fn wake_due(&self, limit: usize) -> BoxFuture<'_, Result<usize>>;

    /// Hands out at most `limit` due deliveries of one destination, one per lane, oldest due first.
    fn claim(
        &self,
        destination: &DestinationName,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claim>>>;

    /// Records how a claimed delivery ended and frees its lane.
    fn settle(&self, delivery: DeliveryId, settlement: Settlement) -> BoxFuture<'_, Result<()>>;

    /// Does what an operator asks for, and answers the delivery as it is then.
    ///
    /// # Errors
    /// [`QueueError::State`] when the delivery's state does not allow it.
    fn operate(
        &self,
        delivery: DeliveryId,
        operation: Operation,
    ) -> BoxFuture<'_, Result<DeliveryView>>;

    /// One stored event with its body.
    fn event(&self, id: EventId) -> BoxFuture<'_, Result<StoredEvent>>;

    /// One event's summary and, once processed, its trace.
    fn event_detail(&self, id: EventId) -> BoxFuture<'_, Result<(EventSummary, Option<Value>)>>;

    /// Events, newest first.
    fn events(
        &self,
        filter: EventFilter,
        page: PageRequest<EventId>,
    ) -> BoxFuture<'_, Result<Page<EventSummary, EventId>>>;

    /// Deliveries, newest first.
    fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: PageRequest<DeliveryId>,
    ) -> BoxFuture<'_, Result<Page<DeliveryView, DeliveryId>>>;

    /// One delivery with its attempts, oldest first.
    fn delivery(&self, id: DeliveryId) -> BoxFuture<'_, Result<(DeliveryView, Vec<Attempt>)>>;

    /// All deliveries of one event.
    fn deliveries_of(&self, event: EventId) -> BoxFuture<'_, Result<Vec<DeliveryView>>>;

    /// The outcomes of one event.
    fn outcomes_of(&self, event: EventId) -> BoxFuture<'_, Result<Vec<StoredOutcome>>>;

    /// What one event changes at the truth of each lane that it touches, as things stand now.
    fn standings_of(&self, event: EventId) -> BoxFuture<'_, Result<Vec<Standing>>>;

    /// The queue's numbers.
    fn stats(&self) -> QueueStats;

    /// Resolves when there may be events to process, and when the next [`Processed::wake_at`] comes. Register
    /// before looking: a wake-up between the call and the await is not lost.
    fn events_arrived(&self) -> BoxFuture<'_, ()>;

    /// Resolves when a lane of this destination may have fallen due, at the latest when the next due
    /// time comes. Register before looking.
    fn deliveries_due(&self, destination: &DestinationName) -> BoxFuture<'_, ()>;

    /// Removes events older than `before` that nothing waits for, with all that belongs to them, and
    /// gives the disk space back. Answers how many events went.
    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>>;

    /// Finishes what was handed in, syncs everything, and stops accepting.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}
