//! The keeper: a thread that writes the index twice a second and brings it to stable storage now and then, prepares the
//! next segment before it is needed, and watches the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::disk::{directory_bytes, free_bytes, is_disk_full};
use super::index::{self, Index};
use super::journal::{Position, Preparer, Segments};
use super::shared::Shared;
use crate::queue::QueueError;

const INTERVAL: Duration = Duration::from_millis(500);
/// The index is brought to stable storage after this time at the latest: what was committed since is what the next start
/// applies to it again.
const CHECKPOINT: Duration = Duration::from_secs(5);
/// Segments behind the newest one that stay in memory: what is read is mostly what has just been written.
const WARM_SEGMENTS: u64 = 2;

/// With less free than this the disk is full: the index is not written any more, since sled does not survive
/// running out of space half-way. What is committed stands in the journal.
pub(super) const LEAST_FREE_BYTES: u64 = 16 << 20;

/// What the keeper is asked to do out of turn.
#[derive(Debug)]
pub(super) enum Chore {
    /// Sync the index and the checkpoint; the second sync makes the checkpoint itself durable. `Busy` while there is no room
    /// for it.
    Checkpoint(oneshot::Sender<Result<(), QueueError>>),
    /// Write and sync the index now: much has changed since the last time.
    Write,
    Stop,
}

/// The keeper's belongings.
pub(super) struct Keeper {
    pub index: Arc<Index>,
    pub segments: Arc<Segments>,
    pub shared: Arc<Shared>,
    pub preparer: Arc<Preparer>,
    pub min_free_disk_bytes: u64,
    pub checkpoint: Position,
    /// When that was.
    pub noted: Instant,
    /// Wakes the tidier; takes nothing while it is at work.
    pub tidier: SyncSender<()>,
    /// Segments before this one are not in memory, as far as this run is concerned.
    pub cold_before: u64,
}

impl Keeper {
    /// Works until it is told to stop.
    pub(super) fn run(mut self, chores: &Receiver<Chore>) {
        loop {
            self.routine();
            match chores.recv_timeout(INTERVAL) {
                Ok(Chore::Checkpoint(to)) => {
                    // What was free a moment ago may be used up by now.
                    self.look_at_disk();
                    let result = match self.is_full() {
                        true => Err(QueueError::Busy("the disk is full")),
                        false => self.checkpoint(true).map_err(QueueError::Storage),
                    };
                    let _ = to.send(result);
                }
                Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Chore::Write) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.index.abandon();
    }

    fn routine(&mut self) {
        self.look_at_disk();
        if let Some(reason) = self.index.unreadable() {
            self.shared.fail(reason);
        }
        if self.shared.failure().is_some() {
            // Whoever failed: nothing is written any more, and nobody may wait for it.
            self.index.abandon();
            return;
        }
        let mut full = self.is_full();
        if !full {
            // A failure was noted.
            if self.checkpoint(false).is_ok() {
                self.learn();
            }
            let newest = self.shared.applied().segment;
            self.let_go(newest);
            let next = newest + 1;
            if let Err(error) = self.preparer.prepare(next) {
                // Not fatal: the committer tries again when it needs the segment.
                tracing::warn!(%error, segment = next, "queue.segment_not_prepared");
                full = is_disk_full(&error);
            }
        }
        if full {
            // There may be room to merge what keeps it from being written.
            let _at_work = self.tidier.try_send(());
        }
        self.shared.set_disk_full(full);
    }

    /// Learns some of the keys that stand in the index. When they cannot be read, storage has failed.
    fn learn(&self) {
        if let Err(error) = index::guarded(|| self.index.learn()) {
            self.shared.fail(&error.to_string());
            self.index.abandon();
        }
    }

    /// Lets go of the segments that have become old since the last time.
    fn let_go(&mut self, newest: u64) {
        let cold_before = newest.saturating_sub(WARM_SEGMENTS);
        for number in self.cold_before..cold_before {
            if let Err(error) = self.segments.let_go(number) {
                // It may have been deleted meanwhile; nothing depends on it.
                tracing::debug!(%error, segment = number, "queue.segment_stays_in_memory");
            }
        }
        self.cold_before = self.cold_before.max(cold_before);
    }

    /// Writes and syncs the index if it changed, and notes up to where. With `durable`, the note is synced, too.
    /// When that fails, storage has failed.
    fn checkpoint(&mut self, durable: bool) -> Result<(), Arc<str>> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure.to_string().into());
        }
        // Read first: what is written below may reach further, never less far.
        let applied = self.shared.applied();
        if applied == self.checkpoint && !durable {
            return Ok(());
        }
        let mut noted = false;
        let written = index::guarded(|| {
            self.index.write()?;
            let is_due = self.index.is_checkpoint_due() || self.noted.elapsed() >= CHECKPOINT;
            if !is_due && !durable {
                return Ok(());
            }
            if self.index.is_untidy() && !durable {
                // Until it has ended what it is at; it may have stopped.
                let _gone = self.tidier.send(());
            }
            noted = true;
            self.index.sync()?;
            // What it does not hear now it sees the next time.
            let _at_work = self.tidier.try_send(());
            self.index.set_checkpoint(applied)?;
            if durable {
                self.index.sync()?;
            }
            Ok(())
        });
        if let Err(error) = written {
            self.shared.fail(&error.to_string());
            self.index.abandon();
            return Err(error.to_string().into());
        }
        if noted {
            self.checkpoint = applied;
            self.noted = Instant::now();
        }
        Ok(())
    }

    /// Whether there is no room for writing the index.
    fn is_full(&self) -> bool {
        let free = self.shared.free_bytes.load(Ordering::Relaxed);
        free < self.least_free() || self.index.is_overgrown()
    }

    /// Bytes that have to be free for writing what stands in memory only.
    fn least_free(&self) -> u64 {
        LEAST_FREE_BYTES + 2 * self.index.unwritten_bytes()
    }

    /// Notes how much is used, and whether too little is free.
    pub(super) fn look_at_disk(&self) {
        let dir = self.segments.dir();
        let used = directory_bytes(dir)
            + dir
                .parent()
                .map_or(0, |p| directory_bytes(&p.join("index")));
        self.shared.disk_bytes.store(used, Ordering::Relaxed);
        let Ok(free) = free_bytes(dir) else {
            return;
        };
        self.shared.free_bytes.store(free, Ordering::Relaxed);
        // First: whoever is refused hears the graver reason.
        if free < self.least_free() {
            self.shared.set_disk_full(true);
        }
        if self.min_free_disk_bytes > 0 {
            let low = free < self.min_free_disk_bytes;
            if low != self.shared.disk_low.swap(low, Ordering::Relaxed) {
                tracing::warn!(low, free_bytes = free, "queue.disk_space");
            }
        }
    }
}
