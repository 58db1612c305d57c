//! The tidier: a thread that merges what the keeper writes to the tables of the index, so that look-ups stay short and
//! space is given back. It takes as long as it takes: nobody waits for it unless it falls far behind.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::disk::{is_disk_full, is_shortage};
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
            match index::guarded(|| self.index.tidy(|| self.shared.is_closed())) {
                Ok(()) => {}
                // It passes; what was to be merged stays as it is.
                Err(error) if may_pass(&error) => {
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

fn may_pass(error: &IndexError) -> bool {
    let may_pass = |error| is_disk_full(error) || is_shortage(error);
    error.io().is_some_and(may_pass)
}
