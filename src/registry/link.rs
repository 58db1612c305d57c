//! Deals and contacts: whom each concerns, as far as any event named it together with them.

use serde::{Deserialize, Serialize};

use super::known::Known;
use super::latest::{Earliest, Latest, Stamp};
use crate::model::{EventId, Subject};

/// What a link is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// A deal, an order, an invoice.
    Deal,
    /// A contact.
    Contact,
}

impl LinkKind {
    /// The word used in keys and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deal => "deal",
            Self::Contact => "contact",
        }
    }
}

/// What is known of a deal or contact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The format of this record.
    #[serde(default)]
    v: u8,
    /// Whom it concerns.
    #[serde(default)]
    pub known: Known,
    /// When the deal was first spoken of. A contact lives for years: that it was known before says nothing about
    /// which of its calls is meant.
    #[serde(default, skip_serializing_if = "Earliest::is_empty")]
    pub first_seen: Earliest,
    /// When the deal was first won or lost.
    #[serde(default, skip_serializing_if = "Earliest::is_empty")]
    pub decided: Earliest,
}

impl Link {
    /// What a fact with this subject says of its deal or contact. What is special to one of many deals of a
    /// contact (its call, booking and deal) is not the contact's.
    pub fn of(kind: LinkKind, subject: &Subject, stamp: Stamp) -> Self {
        let mut known = Known::of(subject, stamp);
        let mut first_seen = Earliest::said(stamp);
        match kind {
            LinkKind::Deal => known.deal_id = Latest::default(),
            LinkKind::Contact => {
                first_seen = Earliest::default();
                known.contact_id = Latest::default();
                known.deal_id = Latest::default();
                known.booking_id = Latest::default();
                known.call_id = Latest::default();
                known.agent_id = Latest::default();
            }
        }
        Self {
            v: 1,
            known,
            first_seen,
            decided: Earliest::default(),
        }
    }

    /// The deal was won or lost.
    #[must_use]
    pub fn decided(self, stamp: Stamp) -> Self {
        Self {
            decided: Earliest::said(stamp),
            ..self
        }
    }

    /// Takes what another one knows.
    pub fn join(&mut self, other: Self) {
        self.v = self.v.max(other.v);
        self.known.join(other.known);
        self.first_seen.join(&other.first_seen);
        self.decided.join(&other.decided);
    }

    /// Takes what `event` says now, in place of what it said before.
    pub fn restate(&mut self, event: EventId, said: Self) {
        self.v = self.v.max(said.v);
        self.known.restate(event, said.known);
        self.first_seen.restate(event, &said.first_seen);
        self.decided.restate(event, &said.decided);
    }
}
