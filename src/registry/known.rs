//! What is known of whom something concerns, value by value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::latest::{Latest, Stamp};
use crate::model::{EventId, Phone, Subject};

/// The most further values that a record keeps: the first by name, so that their order of arrival is nothing.
const MAX_DETAILS: usize = 24;

/// The most bytes of one further value as JSON. Records are read often and must stay small.
const MAX_DETAIL_BYTES: usize = 256;

/// A subject whose values came from many events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The lead's phone.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub phone: Latest<Phone>,
    /// The lead's e-mail address.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub email: Latest<String>,
    /// The call.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub call_id: Latest<String>,
    /// The voice agent.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub agent_id: Latest<String>,
    /// The appointment.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub booking_id: Latest<String>,
    /// The deal.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub deal_id: Latest<String>,
    /// The contact.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub contact_id: Latest<String>,
}

impl Known {
    /// What a fact says of its subject.
    pub fn of(subject: &Subject, stamp: Stamp) -> Self {
        let text = |value: &Option<String>| Latest::said(stamp, value.clone());
        Self {
            phone: Latest::said(stamp, subject.phone.clone()),
            email: text(&subject.email),
            call_id: text(&subject.call_id),
            agent_id: text(&subject.agent_id),
            booking_id: text(&subject.booking_id),
            deal_id: text(&subject.deal_id),
            contact_id: text(&subject.contact_id),
        }
    }

    /// Takes what another one knows.
    pub fn join(&mut self, other: Self) {
        self.each(other, Latest::join, Latest::join);
    }

    /// Takes what `event` says now, in place of what it said before.
    pub fn restate(&mut self, event: EventId, said: Self) {
        self.each(
            said,
            |one, other| one.restate(event, other),
            |one, other| one.restate(event, other),
        );
    }

    /// Takes what another one knows only where nothing is known yet.
    pub fn inherit(&mut self, older: Self) {
        fn where_empty<T>(there: &mut Latest<T>, older: Latest<T>) {
            if there.is_empty() {
                *there = older;
            }
        }
        self.each(older, where_empty, where_empty);
    }

    fn each(
        &mut self,
        other: Self,
        phone: impl Fn(&mut Latest<Phone>, Latest<Phone>),
        text: impl Fn(&mut Latest<String>, Latest<String>),
    ) {
        phone(&mut self.phone, other.phone);
        text(&mut self.email, other.email);
        text(&mut self.call_id, other.call_id);
        text(&mut self.agent_id, other.agent_id);
        text(&mut self.booking_id, other.booking_id);
        text(&mut self.deal_id, other.deal_id);
        text(&mut self.contact_id, other.contact_id);
    }

    /// Adds what is known to `subject` where nothing stands there.
    pub fn fill(&self, subject: &mut Subject) {
        let fill = |there: &mut Option<String>, known: &Latest<String>| {
            if there.is_none() {
                *there = known.get().cloned();
            }
        };
        if subject.phone.is_none() {
            subject.phone = self.phone.get().cloned();
        }
        fill(&mut subject.email, &self.email);
        fill(&mut subject.call_id, &self.call_id);
        fill(&mut subject.agent_id, &self.agent_id);
        fill(&mut subject.booking_id, &self.booking_id);
        fill(&mut subject.deal_id, &self.deal_id);
        fill(&mut subject.contact_id, &self.contact_id);
    }
}

/// Further named values of many events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details(BTreeMap<String, Latest<Value>>);

impl Details {
    /// What a fact says further. Values that are large are left out.
    pub fn of(metadata: &Map<String, Value>, stamp: Stamp) -> Self {
        let small = metadata.iter().filter(|(name, value)| {
            name.len() <= MAX_DETAIL_BYTES && value.to_string().len() <= MAX_DETAIL_BYTES
        });
        let said =
            small.map(|(name, value)| (name.clone(), Latest::said(stamp, Some(value.clone()))));
        let mut details = Self(said.collect());
        details.bound();
        details
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values.
    pub fn get(&self) -> Map<String, Value> {
        let known = self.0.iter();
        known
            .filter_map(|(name, value)| Some((name.clone(), value.get()?.clone())))
            .collect()
    }

    /// Takes what another one knows.
    pub fn join(&mut self, other: Self) {
        for (name, value) in other.0 {
            self.0.entry(name).or_default().join(value);
        }
        self.bound();
    }

    /// Takes what `event` says now, in place of what it said before.
    pub fn restate(&mut self, event: EventId, said: Self) {
        for value in self.0.values_mut() {
            value.restate(event, Latest::default());
        }
        self.0.retain(|_, value| !value.is_empty());
        self.join(said);
    }

    fn bound(&mut self) {
        while self.0.len() > MAX_DETAILS {
            self.0.pop_last();
        }
    }
}
