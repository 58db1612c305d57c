//! What an event's facts say to the registries.

use std::collections::BTreeMap;

use super::appointment::{Appointment, old_booking};
use super::call::Call;
use super::latest::Stamp;
use super::link::{Link, LinkKind};
use super::places;
use super::presence::Presence;
use crate::model::{EventId, Fact, Subject};
use crate::queue::RegistryKey;

/// What one event says of one record, all its facts together.
#[derive(Debug, Clone, PartialEq)]
pub enum Contribution {
    /// Of an appointment.
    Appointment(Box<Appointment>),
    /// Of a call.
    Call(Box<Call>),
    /// Of a deal or contact.
    Link(Box<Link>),
    /// Of a person's presence.
    Presence(Box<Presence>),
    /// Nothing any more, of what only this event spoke of.
    Nothing,
}

impl Contribution {
    /// What it speaks of, in a word.
    fn word(&self) -> &'static str {
        match self {
            Self::Appointment(_) => "appointment",
            Self::Call(_) => "call",
            Self::Link(_) => "link",
            Self::Presence(_) | Self::Nothing => "presence",
        }
    }

    /// Nothing said of what the word stands for.
    fn nothing_of(word: &str) -> Option<Self> {
        match word {
            "appointment" => Some(Self::Appointment(Box::default())),
            "call" => Some(Self::Call(Box::default())),
            "link" => Some(Self::Link(Box::default())),
            "presence" => Some(Self::Nothing),
            _ => None,
        }
    }
}

/// What the facts of one event say, by the record's key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contributions(pub BTreeMap<RegistryKey, Contribution>);

impl Contributions {
    /// What `facts` of `event` say. `source` is the one whose ids they carry, `platform` its connector.
    pub fn of(facts: &[Fact], event: EventId, source: &str, platform: &str) -> Self {
        let mut said = Self::default();
        for (n, fact) in facts.iter().enumerate() {
            let number = u16::try_from(n).unwrap_or(u16::MAX);
            said.add(fact, (event, number), source, platform);
            said.presence(fact, (event, number), source);
        }
        said
    }

    /// The records that are spoken of, as texts to be kept with the event.
    pub fn topics(&self) -> Vec<String> {
        let all = self.0.iter();
        all.map(|(key, said)| format!("{}:{}", said.word(), hex::encode(key.0)))
            .collect()
    }

    /// Takes back what the event said of these topics, where it says nothing of them now. A topic that another
    /// version wrote is passed over.
    pub fn take_back(&mut self, topics: &[String]) {
        for topic in topics {
            let Some((word, key)) = topic.split_once(':') else {
                continue;
            };
            let mut bytes = [0; 16];
            if hex::decode_to_slice(key, &mut bytes).is_ok()
                && let Some(nothing) = Contribution::nothing_of(word)
            {
                self.0.entry(RegistryKey(bytes)).or_insert(nothing);
            }
        }
    }

    fn add(
        &mut self,
        fact: &Fact,
        (event, fact_number): (EventId, u16),
        source: &str,
        platform: &str,
    ) {
        let stamp = |at| Stamp {
            at,
            event,
            fact: fact_number,
        };
        match fact {
            Fact::Appointment(change) => {
                let stamp = stamp(change.occurred_at);
                if let Some(booking) = &change.subject.booking_id {
                    self.appointment(source, booking, Appointment::of_change(change, stamp));
                    if let Some(old) = old_booking(change) {
                        self.appointment(source, &old, Appointment::replaced_by(booking, stamp));
                    }
                }
                self.links(source, &change.subject, stamp);
            }
            Fact::Outcome(outcome) => {
                let stamp = stamp(outcome.occurred_at);
                if let Some(booking) = &outcome.subject.booking_id {
                    self.appointment(source, booking, Appointment::of_outcome(outcome, stamp));
                }
                self.links(source, &outcome.subject, stamp);
                if let (Some(deal), true) = (&outcome.subject.deal_id, outcome.kind.is_final()) {
                    let decided = Link::default().decided(stamp);
                    let key = places::link(LinkKind::Deal, source, deal);
                    self.put(key, Contribution::Link(Box::new(decided)));
                }
            }
            Fact::Retraction(retraction) => {
                let stamp = stamp(retraction.occurred_at);
                if let Some(booking) = &retraction.subject.booking_id {
                    let said = Appointment::of_retraction(retraction, stamp);
                    self.appointment(source, booking, said);
                }
                self.links(source, &retraction.subject, stamp);
            }
            Fact::Call(call) => {
                let stamp = stamp(call.occurred_at);
                if let Some(said) = Call::of(call, source, platform, stamp) {
                    let key = places::call(source, &said.call_id);
                    self.put(key, Contribution::Call(Box::new(said)));
                }
                self.links(source, &call.subject, stamp);
            }
            Fact::Release(_) => {}
        }
    }

    fn presence(&mut self, fact: &Fact, (event, number): (EventId, u16), source: &str) {
        let at = match fact {
            Fact::Outcome(outcome) => outcome.occurred_at,
            Fact::Retraction(retraction) => retraction.occurred_at,
            Fact::Appointment(_) | Fact::Call(_) | Fact::Release(_) => return,
        };
        let stamp = Stamp {
            at,
            event,
            fact: number,
        };
        if let Some(said) = Presence::of(fact, source, stamp) {
            let key = places::presence(event, number);
            self.put(key, Contribution::Presence(Box::new(said)));
        }
    }

    fn appointment(&mut self, source: &str, booking: &str, said: Appointment) {
        let key = places::appointment(source, booking);
        self.put(key, Contribution::Appointment(Box::new(said)));
    }

    fn links(&mut self, source: &str, subject: &Subject, stamp: Stamp) {
        if let Some(deal) = &subject.deal_id {
            let said = Link::of(LinkKind::Deal, subject, stamp);
            let key = places::link(LinkKind::Deal, source, deal);
            self.put(key, Contribution::Link(Box::new(said)));
        }
        // A contact is only worth a record when something is known of it.
        if let Some(contact) = &subject.contact_id
            && (subject.phone.is_some() || subject.email.is_some())
        {
            let said = Link::of(LinkKind::Contact, subject, stamp);
            let key = places::link(LinkKind::Contact, source, contact);
            self.put(key, Contribution::Link(Box::new(said)));
        }
    }

    fn put(&mut self, key: RegistryKey, said: Contribution) {
        match (self.0.get_mut(&key), said) {
            (Some(Contribution::Appointment(there)), Contribution::Appointment(said)) => {
                there.join(*said);
            }
            (Some(Contribution::Call(there)), Contribution::Call(said)) => there.join(*said),
            (Some(Contribution::Link(there)), Contribution::Link(said)) => there.join(*said),
            (_, said) => {
                self.0.insert(key, said);
            }
        }
    }
}
