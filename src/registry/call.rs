//! Calls, as the voice platforms told of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::known::{Details, Known};
use super::latest::{Earliest, Latest, Stamp};
use super::places;
use crate::model::{CallChange, CallFact, EventId};
use crate::queue::Place;

/// What is known of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The format of this record.
    #[serde(default)]
    v: u8,
    /// Its id at the platform.
    #[serde(default)]
    pub call_id: String,
    /// The source that told of it.
    #[serde(default)]
    pub source: String,
    /// That source's connector.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub platform: Latest<String>,
    /// When it began, where an event says so.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub start: Latest<Timestamp>,
    /// When it ended, where an event says so.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub end: Latest<Timestamp>,
    /// Whom it was with, and which agent held it.
    #[serde(default)]
    pub known: Known,
    /// Further values: direction, duration, recording.
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
    /// When it was first spoken of.
    #[serde(default, skip_serializing_if = "Earliest::is_empty")]
    pub first_seen: Earliest,
}

impl Call {
    /// What a fact says of it. `None` when it names no call.
    pub fn of(fact: &CallFact, source: &str, platform: &str, stamp: Stamp) -> Option<Self> {
        let call_id = fact.subject.call_id.clone()?;
        let mut known = Known::of(&fact.subject, stamp);
        known.call_id = Latest::default();
        let ended = (fact.change == CallChange::Ended).then_some(fact.occurred_at);
        Some(Self {
            v: 1,
            call_id,
            source: source.to_owned(),
            platform: Latest::said(stamp, Some(platform.to_owned())),
            start: Latest::said(stamp, fact.start),
            end: Latest::said(stamp, fact.end.or(ended)),
            known,
            details: Details::of(&fact.metadata, stamp),
            first_seen: Earliest::said(stamp),
        })
    }

    /// When it began: as said, else when it was first spoken of.
    pub fn began_at(&self) -> Option<Timestamp> {
        self.start.get().copied().or(self.first_seen.get())
    }

    /// Takes what another one knows.
    pub fn join(&mut self, other: Self) {
        self.take_id(&other);
        self.platform.join(other.platform);
        self.start.join(other.start);
        self.end.join(other.end);
        self.known.join(other.known);
        self.details.join(other.details);
        self.first_seen.join(&other.first_seen);
    }

    /// Takes what `event` says now, in place of what it said before.
    pub fn restate(&mut self, event: EventId, said: Self) {
        self.take_id(&said);
        self.platform.restate(event, said.platform);
        self.start.restate(event, said.start);
        self.end.restate(event, said.end);
        self.known.restate(event, said.known);
        self.details.restate(event, said.details);
        self.first_seen.restate(event, &said.first_seen);
    }

    /// Both are about the same call; one that was never written has no id yet.
    fn take_id(&mut self, other: &Self) {
        self.v = self.v.max(other.v);
        if self.call_id.is_empty() {
            self.call_id.clone_from(&other.call_id);
            self.source.clone_from(&other.source);
        }
    }

    /// Where else it is found: under phone and e-mail, at its beginning. Which agent held it narrows what is
    /// found there; nobody is found by the agent alone.
    pub fn places(&self) -> Vec<Place> {
        let Some(at) = self.began_at() else {
            return Vec::new();
        };
        let phone = self.known.phone.get();
        let email = self.known.email.get();
        let keys = [
            phone.map(places::calls_of_phone),
            email.map(|email| places::calls_of_email(email)),
        ];
        let keys = keys.into_iter().flatten();
        keys.map(|key| Place { key, at }).collect()
    }
}
