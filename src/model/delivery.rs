//! The states of a delivery and the meaning of an answer.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Where a delivery stands.
///
/// ```text
/// pending ──claim──> in_flight ──accepted──────────────────> delivered
///    ^                  │ ├─────try again, time left───────> retrying ──due, claim──> in_flight
///    │                  │ ├─────refused, or time used up───> dead_letter ──redrive──> pending
///    │                  │ └─────process stopping───────────> pending or retrying (not counted)
///    └── held: the destination is held (credentials refused); nothing is tried
/// pending, retrying ──newer truth──> superseded      pending, retrying ──operator──> cancelled
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Due, never tried. Entered when an outcome becomes a lane's truth, and by redrive.
    Pending,
    /// A worker is trying it. Known in memory only: after a crash it is what it was before the claim,
    /// so a request may be sent twice, never lost.
    InFlight,
    /// Tried without success; due again at a stated time.
    Retrying,
    /// The destination accepted it. Final.
    Delivered,
    /// Newer truth for the same target made it pointless, or the target held it already. Final.
    Superseded,
    /// Waiting for its destination to be usable again; no attempts are spent.
    Held,
    /// Given up, with a reason. Only redrive or discard move it.
    DeadLetter,
    /// Taken back before it was sent, by an operator or a retraction. Final.
    Cancelled,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::InFlight,
        Self::Retrying,
        Self::Delivered,
        Self::Superseded,
        Self::Held,
        Self::DeadLetter,
        Self::Cancelled,
    ];

    /// The word used in APIs, logs and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InFlight => "in_flight",
            Self::Retrying => "retrying",
            Self::Delivered => "delivered",
            Self::Superseded => "superseded",
            Self::Held => "held",
            Self::DeadLetter => "dead_letter",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether something still has to happen to it.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Self::Pending | Self::InFlight | Self::Retrying | Self::Held
        )
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeliveryState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or(())
    }
}

/// Which rule of precedence a destination asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precedence {
    /// Final outcomes outrank open ones; within a class the newest wins.
    #[default]
    FinalFirst,
    /// The newest wins, whatever it is.
    Newest,
}

/// Which of a lane's revisions are delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Only the newest truth: what it overtakes is superseded.
    #[default]
    Newest,
    /// Every revision, in the order of arrival. For destinations that note each event.
    Each,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Newest, Self::Each];

    /// The word used in configuration and connectors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Each => "each",
        }
    }
}

/// When an outcome that nobody has reported yet is delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deliver {
    /// At once; a report that contradicts it takes it back.
    #[default]
    Current,
    /// Not before this long after it arose, for destinations that cannot be corrected. Reported outcomes
    /// are delivered at once.
    Final(SignedDuration),
}

impl Deliver {
    /// How long an inferred outcome is held back where `final_after` does not say.
    pub const FINAL_AFTER: SignedDuration = SignedDuration::from_hours(24);
}

/// What an answer, or the lack of one, means for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// The destination has it.
    Delivered,
    /// Try again later.
    Retry,
    /// Trying again cannot help.
    Refused,
    /// The destination does not accept our credentials: stop trying anything there, count nothing.
    Hold,
}

impl VerdictKind {
    /// The word used in APIs, logs and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Refused => "refused",
            Self::Hold => "hold",
        }
    }
}
