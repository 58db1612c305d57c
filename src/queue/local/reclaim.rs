//! Retention: old events go, and then the oldest segments of the journal with them.

use std::fs::File;

use jiff::Timestamp;

use crate::fault::{self, Point};
use crate::queue::{QueueError, Result};

use super::committer::Request;
use super::{LocalQueue, carry, reader};

/// Events removed in one request: keeps commits short.
const PRUNE_STEP: usize = 128;
/// Records looked at in one read.
const FORGET_STEP: usize = 2048;
/// Such reads in one call: a registry of a million records is gone through in sixteen.
const FORGET_STEPS: usize = 32;
/// Rows carried forward in one request: each may bring a body along.
const CARRY_STEP: usize = 32;

impl LocalQueue {
    /// See [`Queue::prune`](crate::queue::Queue::prune).
    pub(super) async fn prune_and_reclaim(&self, before: Timestamp) -> Result<u64> {
        // One at a time.
        let mut looked_at = self.reclaiming.lock().await;
        let before = reader::first_id(before);
        let (mut after, mut pruned) = (None, 0);
        loop {
            let ids = self
                .read(move |reader| reader.older_than(before, after, PRUNE_STEP))
                .await?;
            let Some(last) = ids.last().copied() else {
                break;
            };
            after = Some(last);
            pruned += self
                .request(ids.len() * 64, |to| Request::Prune(ids, to))
                .await?;
        }
        fault::pass(Point::RetentionPruned);
        self.forget_records(&mut looked_at).await?;
        while self.reclaim_oldest().await? {}
        Ok(pruned)
    }

    /// Forgets records whose time is over, looking at a part of them: the next call goes on from there.
    async fn forget_records(&self, looked_at: &mut Vec<u8>) -> Result<()> {
        for _ in 0..FORGET_STEPS {
            let from = std::mem::take(looked_at);
            let (expired, next) = self
                .read(move |reader| reader.expired_records(&from, FORGET_STEP))
                .await?;
            if !expired.is_empty() {
                self.request(expired.len() * 64, |to| Request::ForgetRecords(expired, to))
                    .await?;
            }
            match next {
                Some(next) => *looked_at = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Gives the oldest segment's space back if no more than half of it is still needed.
    async fn reclaim_oldest(&self) -> Result<bool> {
        let current = self.shared.applied().segment;
        let found = self
            .read(move |reader| {
                let oldest = reader
                    .segments
                    .list()
                    .map_err(|error| io_error(&error))?
                    .first()
                    .copied();
                let Some(oldest) = oldest.filter(|oldest| *oldest < current) else {
                    return Ok(None);
                };
                let live = carry::live(&reader.index, &reader.segments, oldest)?;
                Ok((live.bytes * 2 <= live.total).then_some((oldest, live.rows)))
            })
            .await?;
        let Some((oldest, rows)) = found else {
            return Ok(false);
        };
        let carried = rows.len();
        for step in rows.chunks(CARRY_STEP) {
            let rows = step.to_vec();
            self.request(CARRY_STEP * 1024, |to| Request::Carry(oldest, rows, to))
                .await?;
        }
        fault::pass(Point::RetentionCarried);
        // Only when the index and its checkpoint no longer need the segment may it go.
        self.checkpoint().await?;
        fault::pass(Point::RetentionCheckpointed);
        self.read(move |reader| {
            reader
                .segments
                .remove(oldest)
                .map_err(|error| io_error(&error))?;
            fault::pass(Point::RetentionRemoved);
            let dir = File::open(reader.segments.dir()).map_err(|error| io_error(&error))?;
            dir.sync_all().map_err(|error| io_error(&error))
        })
        .await?;
        tracing::info!(segment = oldest, carried, "queue.segment_reclaimed");
        Ok(true)
    }
}

fn io_error(error: &std::io::Error) -> QueueError {
    QueueError::Storage(format!("journal: {error}").into())
}
