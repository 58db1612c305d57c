//! Filters and pages, shared by the queue, the admin API and the command line.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::{DeliveryState, DestinationName, Disposition, EventId, SourceName};

/// Which events are wanted. All conditions hold together; an empty filter wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this source.
    pub source: Option<SourceName>,
    /// Only those that ended so.
    pub disposition: Option<Disposition>,
    /// Only those of this event type, exactly.
    pub event_type: Option<String>,
    /// Only those received at or after.
    pub since: Option<Timestamp>,
    /// Only those received before.
    pub until: Option<Timestamp>,
}

/// Which deliveries are wanted. All conditions hold together; an empty filter wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only of this destination.
    pub destination: Option<DestinationName>,
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Only those that this event caused.
    pub event: Option<EventId>,
    /// Only those created at or after.
    pub since: Option<Timestamp>,
    /// Only those created before.
    pub until: Option<Timestamp>,
}

/// Where a page starts and how much it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<C> {
    /// Continue after this one; `None` starts at the newest.
    pub after: Option<C>,
    /// At most so many.
    pub limit: usize,
}

impl<C> PageRequest<C> {
    /// The first page.
    pub fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T, C> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts, if there may be one.
    pub next: Option<C>,
}
