//! The business fact about a call.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{EventId, Money, SourceName, Subject};

/// The five normalized outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// The lead attended.
    Shown,
    /// The lead did not attend.
    NoShow,
    /// The deal was won, or money arrived.
    Closed,
    /// The deal was lost.
    Lost,
    /// Somebody has to get in touch again.
    FollowUp,
}

impl OutcomeKind {
    /// All five, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Shown,
        Self::NoShow,
        Self::Closed,
        Self::Lost,
        Self::FollowUp,
    ];

    /// The word used in configuration, APIs and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::NoShow => "no_show",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::FollowUp => "follow_up",
        }
    }

    /// How far the lead had come when it happened: 0 says nothing, 1 had an appointment, 2 attended it, 3 bought.
    pub fn progress(self) -> u8 {
        match self {
            Self::Lost | Self::FollowUp => 0,
            Self::NoShow => 1,
            Self::Shown => 2,
            Self::Closed => 3,
        }
    }

    /// Whether the matter is decided (`closed`, `lost`). Decided outcomes outrank open ones.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Closed | Self::Lost)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OutcomeKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(())
    }
}

/// How an outcome is known.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A clock or a guess said so.
    Inferred,
    /// A person or the vendor's own record said so.
    #[default]
    Reported,
    /// Somebody set it by hand. It holds until it is released.
    Manual,
}

impl Outcome {
    /// What templates and conditions may read of an outcome, as `outcome.…`. Values of people's own are below
    /// `metadata`.
    pub const FIELDS: [&str; 18] = [
        "kind",
        "label",
        "value",
        "currency",
        "notes",
        "metadata",
        "call_id",
        "phone",
        "email",
        "booking_id",
        "deal_id",
        "contact_id",
        "agent_id",
        "occurred_at",
        "basis",
        "source",
        "event",
        "rule",
    ];
}

/// A normalized outcome, as rules derive it and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What happened.
    pub kind: OutcomeKind,
    /// A label of the team's own ("Sold") that rides on `kind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it is worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Money>,
    /// Free text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Further named values.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Whom it is about.
    pub subject: Subject,
    /// When it happened at the vendor, not when we heard of it.
    pub occurred_at: Timestamp,
    /// How it is known.
    #[serde(default)]
    pub basis: Basis,
    /// The source whose event it was derived from.
    pub source: SourceName,
    /// The event it was derived from.
    pub event: EventId,
    /// The rule that derived it.
    pub rule: String,
}
