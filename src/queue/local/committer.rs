//! The committer: one thread that owns the journal and is the only one to change the index.
//!
//! It takes what queued up during the previous sync, carries each request out on a [`Stage`], writes
//! one record, syncs once, applies the changes to the index, and only then answers. An error while
//! writing or syncing stops it for ever: after a failed sync nobody knows what is on the disk, and a
//! second try may say "done" about pages that the kernel has already dropped.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::clock::Clock;
use crate::fault::{self, Point};
use crate::model::{DeliveryId, EventId};
use crate::queue::{
    Acceptance, NewEvent, Operation, QueueError, Record, RegistryKey, Result, Settlement,
};

use super::disk::is_disk_full;
use super::index::{self, Index};
use super::journal::Writer;
use super::keeper::Chore;
use super::lease::Leases;
use super::process::{Company, Prepared};
use super::recent::Recent;
use super::row::Row;
use super::shared::Shared;
use super::stage::Stage;
use super::state::{Delta, State};
use super::tree::{self, Hash16, Tree};
use super::tx::{Effects, Tx, millis};
use super::{accept, carry, process, records, settle, wakes};

/// Requests in one commit, at most.
const MAX_REQUESTS: usize = 1024;
/// Bytes after which a commit takes no further request.
const MAX_BYTES: usize = 4 << 20;

/// Waits between looks whether a full disk has room again.
const ROOM_AGAIN: Duration = Duration::from_millis(100);
const FULL: &str = "the disk is full";

type To<T> = oneshot::Sender<Result<T>>;

/// What the committer is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    Accept(Box<NewEvent>, Hash16, To<Acceptance>),
    /// Each with what was wrong with it, if it could not even be prepared.
    SettleEvents(Vec<(EventId, Result<Prepared>)>, To<Vec<Result<()>>>),
    PutRecords(Vec<Record>, To<()>),
    ForgetRecords(Vec<RegistryKey>, To<()>),
    WakeDue(usize, To<usize>),
    Replay(Vec<EventId>, To<usize>),
    Settle(DeliveryId, Box<Settlement>, To<()>),
    Operate(DeliveryId, Operation, To<()>),
    Prune(Vec<EventId>, To<u64>),
    /// Writes rows that depend on this segment, or an older one, into the newest.
    Carry(u64, Vec<(Tree, Vec<u8>)>, To<()>),
    Close(To<()>),
}

/// A request and its share of the channel.
#[derive(Debug)]
pub(super) struct Envelope {
    pub request: Request,
    pub share: OwnedSemaphorePermit,
}

/// Answers a request; given the error when the commit failed.
type Answer = Box<dyn FnOnce(Option<&QueueError>) + Send>;

fn answer<T: Send + 'static>(to: To<T>, result: Result<T>) -> Answer {
    Box::new(move |failure| {
        // Nobody may be waiting any more; the effect stands all the same.
        let _ = to.send(match failure {
            Some(failure) => Err(failure.clone()),
            None => result,
        });
    })
}

/// One commit in the making.
#[derive(Default)]
struct Round {
    answers: Vec<Answer>,
    shares: Vec<OwnedSemaphorePermit>,
    effects: Effects,
    closing: Vec<To<()>>,
}

/// The committer's belongings.
pub(super) struct Committer {
    pub writer: Writer,
    pub stage: Stage,
    pub state: State,
    pub index: Arc<Index>,
    pub shared: Arc<Shared>,
    pub leases: Arc<Leases>,
    pub recent: Recent,
    pub chores: Sender<Chore>,
    /// Requests that were taken from the channel while the disk was full: they come first.
    pub held: VecDeque<Envelope>,
    pub clock: Clock,
    pub on_commit: fn(usize, Duration),
}

impl Committer {
    /// Serves requests until all senders are gone or it is told to close.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Envelope>) {
        let shared = Arc::clone(&self.shared);
        let served = index::guarded(|| {
            self.serve(&mut requests);
            Ok(())
        });
        if let Err(panic) = served {
            shared.fail(&format!("the committer stopped: {panic}"));
        }
        // Whoever still waits is told so by the channel's end.
        requests.close();
    }

    fn serve(&mut self, requests: &mut mpsc::Receiver<Envelope>) {
        while let Some(first) = self.next(requests) {
            let closing = self.commit(first, requests);
            if !closing.is_empty() {
                requests.close();
                let mut all = closing;
                while let Some(next) = self.next(requests) {
                    all.extend(self.commit(next, requests));
                }
                for to in all {
                    let _ = to.send(self.shared.failure().map_or(Ok(()), Err));
                }
                return;
            }
        }
    }

    fn next(&mut self, requests: &mut mpsc::Receiver<Envelope>) -> Option<Envelope> {
        self.held.pop_front().or_else(|| requests.blocking_recv())
    }

    /// One round. Answers those who wait for the end.
    fn commit(&mut self, first: Envelope, requests: &mut mpsc::Receiver<Envelope>) -> Vec<To<()>> {
        let mut round = Round::default();
        let result = match self.shared.failure() {
            Some(failure) => Err(failure),
            None => {
                self.held.push_front(first);
                self.begin(requests)
            }
        };
        if let Ok(has_room) = result {
            while has_room && round.answers.len() < MAX_REQUESTS && self.stage.len() < MAX_BYTES {
                let next = self.held.pop_front();
                let Some(next) = next.or_else(|| requests.try_recv().ok()) else {
                    break;
                };
                self.take(next, &mut round);
            }
        } else {
            // They are answered below, with the failure.
            for held in std::mem::take(&mut self.held) {
                self.refuse(held, &mut round);
            }
        }
        let result = result.and_then(|_has_room| self.write(&mut round));
        if let Err(error) = &result {
            self.shared.fail(&text(error));
        }
        let failure = self.shared.failure();
        self.after(&mut round);
        self.shared
            .committed
            .fetch_add(round.answers.len() as u64, Ordering::Relaxed);
        for answer in round.answers {
            answer(failure.as_ref().filter(|_| result.is_err()));
        }
        round.closing
    }

    /// Begins a commit once there is room for it. `false` when nothing is left to be committed by then.
    fn begin(&mut self, requests: &mut mpsc::Receiver<Envelope>) -> Result<bool> {
        loop {
            match self.writer.place() {
                Ok(place) => {
                    self.stage.begin(place);
                    return Ok(true);
                }
                Err(error) if is_disk_full(&error) && !self.is_closing() => {
                    self.shared.set_disk_full(true);
                    self.hold(requests);
                    if self.held.is_empty() {
                        return Ok(false);
                    }
                    std::thread::sleep(ROOM_AGAIN);
                }
                Err(error) => return Err(storage(&error)),
            }
        }
    }

    /// While there is no room for a record: new events are told to come back, everything else waits.
    fn hold(&mut self, requests: &mut mpsc::Receiver<Envelope>) {
        while let Ok(envelope) = requests.try_recv() {
            self.held.push_back(envelope);
        }
        let held = std::mem::take(&mut self.held);
        for envelope in held {
            match envelope.request {
                Request::Accept(_, _, to) => {
                    // Nobody may be waiting any more.
                    let _gone = to.send(Err(QueueError::Busy(FULL)));
                }
                _ => self.held.push_back(envelope),
            }
        }
    }

    /// Whether nobody waits for room any more.
    fn is_closing(&self) -> bool {
        let is_close = |held: &Envelope| matches!(held.request, Request::Close(_));
        self.shared.is_closed() || self.held.iter().any(is_close)
    }

    /// Carries one request out on the stage.
    fn take(&mut self, envelope: Envelope, round: &mut Round) {
        round.shares.push(envelope.share);
        let answer = match envelope.request {
            Request::Accept(event, dedupe, to) => {
                self.attempt(to, round, |tx| accept::accept(tx, &event, dedupe))
            }
            Request::SettleEvents(events, to) => {
                let answers = self.settle_events(events, round);
                answer(to, Ok(answers))
            }
            Request::PutRecords(records, to) => {
                self.attempt(to, round, |tx| records::put_all(tx, &records))
            }
            Request::ForgetRecords(keys, to) => {
                self.attempt(to, round, |tx| records::forget(tx, &keys))
            }
            Request::WakeDue(limit, to) => self.attempt(to, round, |tx| wakes::wake_due(tx, limit)),
            Request::Replay(ids, to) => self.attempt(to, round, |tx| process::replay(tx, &ids)),
            Request::Settle(id, settlement, to) => {
                self.attempt(to, round, |tx| settle::settle(tx, id, &settlement))
            }
            Request::Operate(id, operation, to) => {
                self.attempt(to, round, |tx| settle::operate(tx, id, operation))
            }
            Request::Prune(ids, to) => self.attempt(to, round, |tx| settle::prune(tx, &ids)),
            Request::Carry(segment, rows, to) => {
                self.attempt(to, round, |tx| carry::carry(tx, segment, &rows))
            }
            Request::Close(to) => {
                round.closing.push(to);
                return;
            }
        };
        // Only now: those who were settled together know what the others changed.
        let changed = std::mem::take(&mut round.effects.changed);
        self.recent.note(changed);
        round.answers.push(answer);
    }

    /// Carries a request out and prepares its answer.
    fn attempt<T: Send + 'static>(
        &mut self,
        to: To<T>,
        round: &mut Round,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T>,
    ) -> Answer {
        let result = self.carry_out(round, work);
        answer(to, result)
    }

    /// Settles events one after the other, each wholly or not at all.
    fn settle_events(
        &mut self,
        events: Vec<(EventId, Result<Prepared>)>,
        round: &mut Round,
    ) -> Vec<Result<()>> {
        let mut company = Company {
            to_come: events.iter().map(|(id, _)| *id).collect(),
            refused: false,
        };
        let settle = |(id, prepared): (EventId, Result<Prepared>)| {
            let result = prepared.and_then(|prepared| {
                self.carry_out(round, |tx| {
                    process::settle_event(tx, id, &prepared, &company)
                })
            });
            company.refused |= result.is_err();
            company.to_come.remove(&id);
            result
        };
        events.into_iter().map(settle).collect()
    }

    /// Does `work` on the stage; nothing of it stays when it fails.
    fn carry_out<T>(
        &mut self,
        round: &mut Round,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut tx = Tx {
            stage: &mut self.stage,
            state: &mut self.state,
            leases: &self.leases,
            recent: &mut self.recent,
            now: self.clock.now(),
            delta: Delta::default(),
            effects: Effects::default(),
        };
        let result = work(&mut tx);
        let (delta, effects) = (tx.delta, tx.effects);
        if result.is_ok() {
            self.state.apply(delta);
            round.effects.extend(effects);
            self.stage.savepoint();
        } else {
            round.effects.blocked.extend(effects.blocked);
            self.stage.rollback();
        }
        result
    }

    /// Answers a request without carrying it out.
    fn refuse(&mut self, envelope: Envelope, round: &mut Round) {
        let refusal = || QueueError::Closed;
        round.answers.push(match envelope.request {
            Request::Accept(_, _, to) => answer(to, Err(refusal())),
            Request::Replay(_, to) => answer(to, Err(refusal())),
            Request::Prune(_, to) => answer(to, Err(refusal())),
            Request::WakeDue(_, to) => answer(to, Err(refusal())),
            Request::SettleEvents(_, to) => answer(to, Err(refusal())),
            Request::PutRecords(_, to) => answer(to, Err(refusal())),
            Request::ForgetRecords(_, to) => answer(to, Err(refusal())),
            Request::Settle(_, _, to) | Request::Operate(_, _, to) | Request::Carry(_, _, to) => {
                answer(to, Err(refusal()))
            }
            Request::Close(to) => {
                round.closing.push(to);
                return;
            }
        });
    }

    /// Makes the round durable and visible.
    fn write(&mut self, round: &mut Round) -> Result<()> {
        if self.stage.is_empty() {
            return Ok(());
        }
        let now_ms = millis(self.clock.now());
        let added = std::mem::take(&mut round.effects.expiring);
        accept::expire(&mut self.stage, added, now_ms)?;
        self.stage.put(Tree::Meta, tree::STATE, self.state.encode());
        let (record, changes) = self.stage.finish();
        let record = record.ok_or_else(|| QueueError::Storage("a commit is too large".into()))?;
        let begun = Instant::now();
        while let Err(error) = self.writer.write(record) {
            if !is_disk_full(&error) || self.shared.is_closed() {
                return Err(storage(&error));
            }
            self.shared.set_disk_full(true);
            std::thread::sleep(ROOM_AGAIN);
        }
        self.writer.sync(record).map_err(|error| storage(&error))?;
        (self.on_commit)(round.answers.len(), begun.elapsed());
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        self.index.apply(changes)?;
        fault::pass(Point::IndexApplied);
        if self.index.is_heavy() {
            // When the keeper is gone, so is the queue.
            let _gone = self.chores.send(Chore::Write);
        }
        self.shared.set_applied(self.writer.position());
        self.shared.set_visible(self.recent.last());
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Tells everybody whom the round concerns, whether or not it succeeded.
    fn after(&mut self, round: &mut Round) {
        let effects = std::mem::take(&mut round.effects);
        for id in effects.known {
            self.leases.forget(id);
        }
        effects.freed.iter().for_each(|lane| self.leases.free(lane));
        let mut due = effects.due;
        for (destination, lane) in effects.blocked {
            self.leases.free(&lane);
            due.push((destination, 0));
        }
        let touched: BTreeSet<&String> = due.iter().map(|(destination, _)| destination).collect();
        let heads = touched.into_iter().map(|destination| {
            let head = self.head(destination);
            (destination.clone(), head)
        });
        let heads = heads.collect();
        self.shared.publish(&self.state, heads);
        for (destination, due_ms) in &due {
            self.shared.wake_workers(destination, *due_ms);
        }
        if effects.wakes {
            self.shared.set_next_wake(wakes::next(&self.index));
        }
        if effects.arrived {
            self.shared.wake_processors();
        }
    }

    /// The earliest due time of a destination.
    fn head(&self, destination: &str) -> Option<u64> {
        head_of(&self.index, destination)
    }
}

/// The earliest due time of a destination; `None` also when the index cannot tell.
pub(super) fn head_of(index: &Index, destination: &str) -> Option<u64> {
    let (key, _) = index
        .prefix(Tree::Due, &tree::due_prefix(destination))
        .next()?
        .ok()?;
    tree::due_of(&key).ok().map(|(_, due_ms, _)| due_ms)
}

fn storage(error: &io::Error) -> QueueError {
    QueueError::Storage(format!("journal: {error}").into())
}

/// The reason without the variant's words.
fn text(error: &QueueError) -> String {
    match error {
        QueueError::Storage(reason) => reason.to_string(),
        other => other.to_string(),
    }
}
