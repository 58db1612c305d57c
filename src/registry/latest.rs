//! Values that many events speak about: which event's word holds.
//!
//! Both kinds are *joins*: putting the same words together in any order, grouping or number gives the same.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::EventId;

/// Who said something: when it was so at the vendor, then the event, then the fact within the event. Later
/// stamps hold over earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// When it was so at the vendor.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The event that said so.
    #[serde(rename = "e")]
    pub event: EventId,
    /// The fact's number within the event.
    #[serde(rename = "n", default, skip_serializing_if = "is_first")]
    pub fact: u16,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_first(fact: &u16) -> bool {
    *fact == 0
}

/// A value as the latest stamp has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latest<T>(Option<(Stamp, T)>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Latest<T> {
    /// The value, as said with `stamp`; nothing for nothing.
    pub fn said(stamp: Stamp, value: Option<T>) -> Self {
        Self(value.map(|value| (stamp, value)))
    }

    /// The value that holds.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, value)| value)
    }

    /// Who said it.
    pub fn stamp(&self) -> Option<Stamp> {
        self.0.as_ref().map(|(stamp, _)| *stamp)
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes what another one knows.
    pub fn join(&mut self, other: Self) {
        if other.stamp() > self.stamp() {
            *self = other;
        }
    }

    /// Takes what `event` says *now*. What the same event said before, under other rules, no longer counts.
    pub fn restate(&mut self, event: EventId, said: Self) {
        if self.stamp().is_some_and(|stamp| stamp.event == event) {
            *self = said;
        } else {
            self.join(said);
        }
    }
}

/// The earliest moment at which something was spoken of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earliest(Option<(Timestamp, EventId)>);

impl Earliest {
    /// Spoken of with `stamp`.
    pub fn said(stamp: Stamp) -> Self {
        Self(Some((stamp.at, stamp.event)))
    }

    /// The moment.
    pub fn get(&self) -> Option<Timestamp> {
        self.0.map(|(at, _)| at)
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes what another one knows.
    pub fn join(&mut self, other: &Self) {
        self.0 = match (self.0, other.0) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Takes what `event` says now, in place of what it said before.
    pub fn restate(&mut self, event: EventId, said: &Self) {
        if self.0.is_some_and(|(_, by)| by == event) && !said.is_empty() {
            self.0 = said.0;
        } else {
            self.join(said);
        }
    }
}
