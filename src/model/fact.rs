//! What a rule derives from an event.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Outcome, OutcomeKind, Subject};

/// A fact of one of five kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// An outcome arose.
    Outcome(Outcome),
    /// An outcome said earlier is taken back.
    Retraction(Retraction),
    /// An appointment was made, moved, cancelled or is over.
    Appointment(AppointmentFact),
    /// A call was seen.
    Call(CallFact),
    /// Corrections by hand no longer hold.
    Release(Release),
}

impl Fact {
    /// When it occurred.
    pub fn occurred_at_mut(&mut self) -> &mut Timestamp {
        match self {
            Self::Outcome(fact) => &mut fact.occurred_at,
            Self::Retraction(fact) => &mut fact.occurred_at,
            Self::Appointment(fact) => &mut fact.occurred_at,
            Self::Call(fact) => &mut fact.occurred_at,
            Self::Release(fact) => &mut fact.occurred_at,
        }
    }
}

/// Corrections made by hand, of any kind, no longer hold: what the world says counts again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Whom they were about.
    pub subject: Subject,
    /// When they were released.
    pub occurred_at: Timestamp,
    /// Who or what said so.
    pub rule: String,
}

/// An outcome said earlier is taken back: a deal was reopened, a no-show unmarked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retraction {
    /// Which kind of outcome no longer holds.
    pub kind: OutcomeKind,
    /// Whom it is about.
    pub subject: Subject,
    /// When it was taken back at the vendor. Outcomes of `kind` that occurred up to then no longer hold.
    pub occurred_at: Timestamp,
    /// The rule that said so.
    pub rule: String,
}

/// What happened to an appointment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppointmentChange {
    /// It was made.
    Booked,
    /// It was moved to another time; with `metadata.old_booking_id` by a new booking in place of the old one.
    #[serde(alias = "moved")]
    Rescheduled,
    /// It was called off.
    #[serde(alias = "cancelled")]
    Canceled,
    /// Its end has passed, by the vendor's clock. Says nothing about who came.
    Ended,
    /// Somebody marked that it did not take place, whoever stayed away. By itself no outcome: a host who did
    /// not come is not a lead who did not.
    NoShowMarked,
    /// That mark was taken away.
    NoShowCleared,
}

impl AppointmentChange {
    /// The word used in rules and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Rescheduled => "rescheduled",
            Self::Canceled => "canceled",
            Self::Ended => "ended",
            Self::NoShowMarked => "no_show_marked",
            Self::NoShowCleared => "no_show_cleared",
        }
    }
}

/// A change of an appointment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppointmentFact {
    /// What happened.
    pub change: AppointmentChange,
    /// Whom it is about; `booking_id` names the appointment.
    pub subject: Subject,
    /// When it changed at the vendor.
    pub occurred_at: Timestamp,
    /// When it starts, where the event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// When it ends, where the event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// Further named values.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// The rule that said so.
    pub rule: String,
}

/// What happened to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallChange {
    /// It began.
    Started,
    /// It is over.
    Ended,
    /// Its transcript was analysed.
    Analyzed,
}

impl CallChange {
    /// The word used in rules and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ended => "ended",
            Self::Analyzed => "analyzed",
        }
    }
}

/// A call that the voice platform told us of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallFact {
    /// What happened.
    pub change: CallChange,
    /// Whom it is about; `call_id` names the call.
    pub subject: Subject,
    /// When it changed at the vendor.
    pub occurred_at: Timestamp,
    /// When the call began, where the event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// When the call ended, where the event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// Further named values, e.g. `direction`, `duration_seconds`, `recording_url`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// The rule that said so.
    pub rule: String,
}
