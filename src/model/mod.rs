//! Plain values that every other module speaks in. No I/O, no async, no framework.
//!
//! The words are those of the field: an *event* is a verified inbound request, a *fact* is what a
//! rule derives from it, an *outcome* is the business fact about a call, a *delivery* is the duty to
//! bring one outcome to one *target* of one *destination*, and an *attempt* is one try at it.

mod correlation;
mod delivery;
mod disposition;
mod fact;
mod id;
mod moment;
mod money;
mod name;
mod outcome;
mod phone;
mod secret;
mod settings;
mod subject;

pub use correlation::{Correlation, Matcher, Touch};
pub use delivery::{Deliver, DeliveryState, Mode, Precedence, VerdictKind};
pub use disposition::Disposition;
pub use fact::{
    AppointmentChange, AppointmentFact, CallChange, CallFact, Fact, Release, Retraction,
};
pub use id::{DeliveryId, EventId, IdError, OutcomeId, OutcomeNumbers};
pub use moment::{
    MomentError, is_ahead, is_writable, parse_time, parse_time_with, parse_unix_millis,
    parse_unix_seconds,
};
pub use money::{Money, MoneyError, currency, from_minor_units, parse_amount, parse_amount_comma};
pub use name::{ConnectorName, DestinationName, NameError, SourceName, TableName};
pub use outcome::{Basis, Outcome, OutcomeKind};
pub use phone::{Phone, PhoneError, Region, parse_phone, parse_region};
pub use secret::Secret;
pub use settings::{Place, Setting, Settings};
pub use subject::Subject;
