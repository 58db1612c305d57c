//! Where calls are kept for people to see, beside the registry that finds them for outcomes.

use futures_util::future::BoxFuture;

use crate::model::{CallFact, EventId};

/// A call that a voice platform told us of.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldCall {
    /// The event that told it.
    pub event: EventId,
    /// The platform: its connector's name.
    pub platform: String,
    /// What it told.
    pub fact: CallFact,
}

/// Keeps calls.
///
/// Recording is idempotent and comes before the event is settled: after a crash between the two the same calls
/// are recorded again, and none is missing.
pub trait CallBook: Send + Sync {
    /// Records calls durably; all of them or none.
    ///
    /// # Errors
    /// Why it could not, in words. The events that tell of them come again.
    fn record<'a>(&'a self, calls: &'a [ToldCall]) -> BoxFuture<'a, Result<(), String>>;
}
