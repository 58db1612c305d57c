//! Where calls are kept for people to see, beside the registry that finds them for outcomes.

use futures_util::future::BoxFuture;

use crate::model::CallFact;

/// A call that a voice platform told us of.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldCall {
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
    /// Why it could not, in words. It is tried again.
    fn record(&self, calls: Vec<ToldCall>) -> BoxFuture<'_, Result<(), String>>;
}
