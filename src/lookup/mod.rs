//! Asks vendors' APIs for what their events leave out.
//!
//! A rule reads `lookup.contact.phone`; the connector says how a contact is asked for (`[[lookup]]`). What is
//! asked is *planned* while an event is processed, from its rules and from the answers that are stored
//! (`plan`, pure). What is missing is *asked* afterwards by a service (`service`), with one desk per source
//! (`desk`; `asking` is one question). An answer is stored as a record of the registry; the event watches that record and is processed
//! again when it comes.
//!
//! # Promises
//!
//! - **Nothing in vain.** A look-up is made only for a rule that may still match, and only for a value that
//!   is not there already.
//! - **Durable.** An event that needs an answer is `waiting`, with the reason and the moment of the next try
//!   on disk. What is in memory is only the work at hand; lost by a crash, it is done again at that moment.
//! - **Bounded.** Each source has its own rate, its own places in flight and its own queue, so a slow API
//!   delays only the events that need it. Answers are read up to 64 KiB and within a time limit; of them only
//!   the fields that the connector names are kept. Failures are tried again after 5 seconds to an hour, for
//!   three days; then the event is `failed` with the reason. While the look-ups of a source are held, an event waits for as
//!   long as they are: that nobody may ask is no failure of its question, and new credentials mend it.
//! - **Not led astray.** The host is the connector's or the operator's. Values of events fill parts of a path,
//!   percent-encoded. No redirect is followed, and no address that an event or an answer names.
//! - **Polite.** An API that refuses our credentials is left alone but for a probe now and then.

mod asking;
mod desk;
mod entry;
mod pace;
mod plan;
mod service;
mod token;

#[cfg(test)]
mod tests;

pub use desk::LookupState;
pub use plan::{Job, Made, MadeHow, Plan, ReadRecord};
pub use service::{LookupService, Subscriber};
