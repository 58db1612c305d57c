//! Who was there and who was not, by the person that a report names: a calendar's appointment may be reported on
//! by somebody who does not know its booking, a CRM or a meeting tool.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::appointment::Report;
use super::latest::Stamp;
use super::places;
use crate::model::{Basis, Fact, OutcomeKind, Phone, Subject};
use crate::queue::Place;

/// What one fact reports of a person's presence, or takes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The format of this record.
    v: u8,
    /// The source that reports it.
    pub source: String,
    /// The booking that it names, by that source's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booking_id: Option<String>,
    /// `shown` or `no_show`.
    pub kind: OutcomeKind,
    /// When that was so.
    pub at: Timestamp,
    /// Said or taken back.
    pub report: Report,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phone: Option<Phone>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

impl Presence {
    /// What a fact reports. `None` when it reports nobody's presence, or names nobody. A clock's word and a
    /// correction by hand are no reports.
    pub fn of(fact: &Fact, source: &str, stamp: Stamp) -> Option<Self> {
        let (kind, subject, report): (_, &Subject, _) = match fact {
            Fact::Outcome(outcome) if outcome.basis == Basis::Reported => {
                (outcome.kind, &outcome.subject, Report::said(stamp))
            }
            Fact::Retraction(fact) => (fact.kind, &fact.subject, Report::taken_back(stamp)),
            _ => return None,
        };
        let named = subject.phone.is_some() || subject.email.is_some();
        let presence = matches!(kind, OutcomeKind::Shown | OutcomeKind::NoShow);
        (named && presence).then(|| Self {
            v: 1,
            source: source.to_owned(),
            booking_id: subject.booking_id.clone(),
            kind,
            at: stamp.at,
            report,
            phone: subject.phone.clone(),
            email: subject.email.clone(),
        })
    }

    /// Where it is found: under phone and e-mail, at its moment.
    pub fn places(&self) -> Vec<Place> {
        let phone = self.phone.as_ref().map(places::presence_of_phone);
        let email = self.email.as_deref().map(places::presence_of_email);
        let place = |key| Place { key, at: self.at };
        phone.into_iter().chain(email).map(place).collect()
    }
}
