//! Whether the store can be written.

use std::sync::{Arc, Mutex, PoisonError};

/// Why nothing can be written, if so. Shared by the writer and all handles.
#[derive(Debug, Clone, Default)]
pub(super) struct Health(Arc<Mutex<Option<Arc<str>>>>);

impl Health {
    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Nothing can be written. Told in the log when it is news.
    pub(super) fn fail(&self, reason: &str) {
        let mut failure = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.as_deref() != Some(reason) {
            tracing::error!(target: "store.failed", reason, "the outcome store cannot be written; everything else goes on");
            *failure = Some(reason.into());
        }
    }

    /// Something was written.
    pub(super) fn recover(&self) {
        let mut failure = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.take().is_some() {
            tracing::warn!(target: "store.recovered", "the outcome store can be written again");
        }
    }
}
