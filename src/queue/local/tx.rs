//! What one request may see and change while it is carried out.

use jiff::Timestamp;

use crate::model::{DeliveryId, EventId};

use super::lease::Leases;
use super::recent::Recent;
use super::stage::Stage;
use super::state::{Delta, State};
use super::tree::Hash16;

/// What a request causes outside of the tables, once it is committed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// There are events to process.
    pub arrived: bool,
    /// Something is due at a destination, at a moment.
    pub due: Vec<(String, u64)>,
    /// Lanes whose worker is done.
    pub freed: Vec<Hash16>,
    /// Lanes that were kept from being claimed; given back whether or not the request succeeds.
    pub blocked: Vec<(String, Hash16)>,
    /// Deliveries whose effect on their target is known.
    pub known: Vec<DeliveryId>,
    /// New duplicate keys: minute of expiry, event, key.
    pub expiring: Vec<(u64, EventId, Hash16)>,
    /// Registry keys that changed.
    pub changed: Vec<Hash16>,
    /// The next wake may be another one.
    pub wakes: bool,
}

impl Effects {
    /// Adds those of another request.
    pub(super) fn extend(&mut self, other: Self) {
        self.arrived |= other.arrived;
        self.due.extend(other.due);
        self.freed.extend(other.freed);
        self.blocked.extend(other.blocked);
        self.known.extend(other.known);
        self.expiring.extend(other.expiring);
        self.changed.extend(other.changed);
        self.wakes |= other.wakes;
    }
}

/// One request's view of the queue.
#[derive(Debug)]
pub(super) struct Tx<'a> {
    pub stage: &'a mut Stage,
    pub state: &'a mut State,
    pub leases: &'a Leases,
    pub recent: &'a mut Recent,
    pub now: Timestamp,
    pub delta: Delta,
    pub effects: Effects,
}

impl Tx<'_> {
    /// Now, in milliseconds after the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        millis(self.now)
    }

    /// Counts open deliveries and dead letters of a destination.
    pub(super) fn count(&mut self, destination: &str, open: i64, dead: i64) {
        self.delta.depths.push((destination.to_owned(), open, dead));
    }
}

/// Milliseconds after the Unix epoch, never negative.
pub(super) fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

/// The first millisecond that is not before `moment`.
pub(super) fn millis_up(at: Timestamp) -> u64 {
    let ms = millis(at);
    ms.saturating_add(u64::from(moment(ms) < at))
}

/// When something is due that may happen now, but not before a moment.
pub(super) fn due_after(now: Timestamp, not_before: Option<Timestamp>) -> u64 {
    millis(now).max(not_before.map_or(0, millis_up))
}

/// The moment of a number of milliseconds; one that is out of range is the last moment there is.
pub(super) fn moment(ms: u64) -> Timestamp {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}
