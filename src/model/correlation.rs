//! How the call that an outcome belongs to is found at a destination.

use std::collections::BTreeSet;
use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::SourceName;

/// One way of finding the call that an outcome belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matcher {
    /// The event itself names the call.
    Field,
    /// The booking named it, when it was made or later.
    Booking,
    /// An earlier event about the same deal named it.
    Deal,
    /// An earlier event about the same contact named it.
    Contact,
    /// A call with the same phone number.
    Phone,
    /// A call with the same e-mail address.
    Email,
}

impl Matcher {
    /// All of them, in the order in which they are tried unless a destination says otherwise.
    pub const ALL: [Self; 6] = [
        Self::Field,
        Self::Booking,
        Self::Deal,
        Self::Contact,
        Self::Phone,
        Self::Email,
    ];

    /// The word used in configuration and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Booking => "booking",
            Self::Deal => "deal",
            Self::Contact => "contact",
            Self::Phone => "phone",
            Self::Email => "email",
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of several calls with the same phone number or e-mail address an outcome belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Touch {
    /// The last one before it.
    #[default]
    Last,
    /// The first one within the time looked back.
    First,
    /// The only one; when there are several it is ambiguous.
    Only,
}

impl Touch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Last, Self::First, Self::Only];

    /// The word used in configuration and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::First => "first",
            Self::Only => "only",
        }
    }
}

/// How calls are found at one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlation {
    /// What is tried, in this order; each once.
    pub matchers: Vec<Matcher>,
    /// Which of several calls is taken.
    pub touch: Touch,
    /// How long before an outcome its call may have been.
    pub look_back: SignedDuration,
    /// How long an outcome waits for its call, from the receipt of its event.
    pub wait: SignedDuration,
    /// The sources whose call ids the destination knows. `None`: those of any source.
    pub calls: Option<BTreeSet<SourceName>>,
}

impl Default for Correlation {
    fn default() -> Self {
        Self {
            matchers: Matcher::ALL.to_vec(),
            touch: Touch::default(),
            look_back: SignedDuration::from_hours(30 * 24),
            wait: SignedDuration::from_hours(7 * 24),
            calls: None,
        }
    }
}
