//! Registries: what earlier facts told of appointments, calls, deals and contacts.
//!
//! A no-show that carries only a booking id finds its phone here, a deal finds its call, and an appointment
//! that nothing was reported of is known to have stood. Pure: records are read and written through
//! [`crate::queue::Registry`]; nothing here knows a thread or a clock.
//!
//! # Promises
//!
//! - **Order is nothing.** A record is joined from what events say ([`Latest`], [`Earliest`]): per value the
//!   newest `occurred_at` holds, ties go to the later event. The same facts in any order, repeated or not, make
//!   the same record. An event that is processed again under other rules replaces what it said before.
//! - **Reads are watched.** [`View`] notes what an event read, whether something was there or not. When that
//!   changes the event is processed again, so it does not matter whether it came early or late.
//! - **Ids are the vendor's.** The source is part of every key: the same booking id from two vendors is two
//!   appointments.
//! - **Small.** A record holds a few kilobytes at most, and goes [`KEPT`] after it was last of use.

mod appointment;
mod call;
mod contribution;
mod known;
mod latest;
mod link;
mod memory;
pub mod places;
mod presence;
#[cfg(test)]
mod tests;
mod view;

use jiff::{SignedDuration, Timestamp};

pub use appointment::{Appointment, Obstacle, Report, Schedule, State, old_booking, usable_end};
pub use call::Call;
pub use contribution::{Contribution, Contributions};
pub use known::{Details, Known};
pub use latest::{Earliest, Latest, Stamp};
pub use link::{Link, LinkKind};
pub use memory::Memory;
pub use presence::Presence;
pub use view::View;

/// How long a record is kept after it was last of use.
pub const KEPT: SignedDuration = SignedDuration::from_hours(400 * 24);

/// How far ahead an appointment may end and still be waited for.
const FURTHEST: SignedDuration = SignedDuration::from_hours(5 * 366 * 24);

/// `at` and `by` together; the last moment there is when that is later than any.
pub fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// `at` less `by`; the first moment there is when that is earlier than any.
pub fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}
