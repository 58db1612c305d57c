//! What `[rule.set]` can set, and for which facts.

use super::kind::Gives;
use super::word::Word;

/// Something that a rule can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    CallId,
    Phone,
    Email,
    BookingId,
    DealId,
    ContactId,
    AgentId,
    OccurredAt,
    Start,
    End,
    Value,
    Currency,
    Label,
    Notes,
    /// `metadata.NAME`.
    Metadata(Word),
}

/// All names but `metadata.…`.
pub(super) const NAMES: [(&str, Key); 14] = [
    ("call_id", Key::CallId),
    ("phone", Key::Phone),
    ("email", Key::Email),
    ("booking_id", Key::BookingId),
    ("deal_id", Key::DealId),
    ("contact_id", Key::ContactId),
    ("agent_id", Key::AgentId),
    ("occurred_at", Key::OccurredAt),
    ("start", Key::Start),
    ("end", Key::End),
    ("value", Key::Value),
    ("currency", Key::Currency),
    ("label", Key::Label),
    ("notes", Key::Notes),
];

impl Key {
    /// The key called `name`; not for metadata.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let row = NAMES.iter().find(|(known, _)| *known == name);
        row.map(|(_, key)| key.clone())
    }

    /// Whether a fact of this kind has it.
    pub(super) fn belongs_to(&self, gives: &Gives) -> bool {
        match self {
            Self::Value | Self::Currency | Self::Label | Self::Notes => {
                matches!(gives, Gives::Outcome(_))
            }
            Self::Start | Self::End => matches!(gives, Gives::Appointment(_) | Gives::Call(_)),
            Self::Metadata(_) => !matches!(gives, Gives::Retract(_) | Gives::Ignore(_)),
            _ => !matches!(gives, Gives::Ignore(_)),
        }
    }

    /// The name as written.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Metadata(name) => format!("metadata.{name}"),
            plain => NAMES
                .iter()
                .find(|(_, key)| key == plain)
                .map_or_else(String::new, |(name, _)| (*name).to_owned()),
        }
    }
}
