//! What became of an event.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What became of an event. Every accepted event ends in exactly one of these, with a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Stored, not processed yet. The only one that does not last.
    Accepted,
    /// At least one fact was derived from it.
    Mapped,
    /// A rule says it does not matter, or no rule matched.
    Ignored,
    /// It waits for something that is not here yet.
    Waiting,
    /// A fact was derived, but nobody can say whom it is about.
    Unmatched,
    /// It could not be read or its rules could not be applied.
    Failed,
}

impl Disposition {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Mapped,
        Self::Ignored,
        Self::Waiting,
        Self::Unmatched,
        Self::Failed,
    ];

    /// The word used in APIs, logs and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Mapped => "mapped",
            Self::Ignored => "ignored",
            Self::Waiting => "waiting",
            Self::Unmatched => "unmatched",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Disposition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|d| d.as_str() == text).ok_or(())
    }
}
