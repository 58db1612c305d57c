//! The tidier: a thread that merges what the keeper writes to the tables of the index, so that look-ups stay short and
//! space is given back. It takes as long as it takes: nobody waits for it unless it falls far behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::committer::is_disk_full;
use super::index::{self, Index, IndexError};
use super::shared::Shared;

/// The tidier's belongings.
pub(super) struct Tidier {
    index: Arc<Index>,
    shared: Arc<Shared>,
    wakes: Receiver<()>,
}

impl Tidier {
    /// Its other end wakes it, and waits for it when sending does.
    pub(super) fn new(index: Arc<Index>, shared: Arc<Shared>) -> (Self, SyncSender<()>) {
        let (wake, wakes) = sync_channel(0);
        let tidier = Self {
            index,
            shared,
            wakes,
        };
        (tidier, wake)
    }

    /// Works until nobody can wake it any more, or storage has failed.
    pub(super) fn run(self) {
        while let Ok(()) = self.wakes.recv() {
            let free_bytes = self.shared.free_bytes.load(Ordering::Relaxed);
            match index::guarded(|| self.index.tidy(free_bytes)) {
                Ok(()) => {}
                // Somebody else took the room; what was to be merged stays as it is.
                Err(error) if is_full(&error) => {
                    tracing::warn!(%error, "queue.index_not_tidied");
                }
                Err(error) => {
                    self.shared.fail(&error.to_string());
                    break;
                }
            }
            if self.shared.failure().is_some() {
                break;
            }
        }
    }
}

fn is_full(error: &IndexError) -> bool {
    error.io().is_some_and(is_disk_full)
}
