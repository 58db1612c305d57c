//! Brings what the queue holds to destinations.
//!
//! One dispatcher per destination; nothing is shared between two of them but the queue, so a slow or
//! dead destination delays nobody else. A dispatcher's life is told in `dispatcher`, one attempt's
//! in `attempt`:
//!
//! 1. It waits until the destination may be used (`gate`: pause, hold, breaker), the rate allows a
//!    request and a slot is free. Only then it claims, so that what it sends is the newest truth.
//! 2. Each claim becomes a task: render, connect (`egress` refuses private networks), send, judge.
//! 3. The task settles the delivery: delivered with its receipt, retry at a time (`retry`), released
//!    without counting, or dead letter with its reason.
//!
//! # Promises
//!
//! - A claim is always settled, also after a panic or a failed storage; only a crash leaves it to the
//!   queue, which hands it out again. So a request may be sent twice, never lost.
//! - Waiting spends no attempts: not behind a breaker, not behind a hold, not while paused.
//! - The time of a delivery decides whether there is another attempt. An attempt that is due is made
//!   even when the time has run out meanwhile (the destination was held, the process was down).
//! - Stopping finishes what is in flight within a deadline and releases the rest uncounted.
//! - No redirect is followed, no proxy used, no cookie kept, and at most 64 KiB of an answer are read.

mod attempt;
mod breaker;
mod dialect;
mod dispatcher;
mod gate;
mod handle;
mod options;
mod pauses;
mod retry;
mod ruling;
mod worker;

#[cfg(test)]
mod tests;

pub use crate::egress::{AddressKind, AddressPolicy, AddressRefused, ClientError};
pub use breaker::{BreakerOptions, BreakerState};
pub use dialect::{Dialect, Unrenderable};
pub use gate::Held;
pub use handle::{
    DeliveryHandle, Destination, DestinationState, Means, ResumeError, UnknownDestination, start,
};
pub use options::DestinationOptions;
pub use pauses::Pauses;
pub use retry::{Jitter, RetryPolicy};
