//! Values that many events speak about: which event's word holds.
//!
//! Both kinds are *joins*: putting the same words together in any order, grouping or number gives the same.

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::EventId;

/// Who said something: when it was so at the vendor, then the event, then the fact within the event. Later
/// stamps hold over earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// When it was so at the vendor.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The event that said so.
    #[serde(rename = "e")]
    pub event: EventId,
    /// The fact's number within the event.
    #[serde(rename = "n", default, skip_serializing_if = "is_first")]
    pub fact: u16,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_first(fact: &u16) -> bool {
    *fact == 0
}

/// A value as the latest stamp has it; and as the event before that one has it, in case the latest takes its
/// word back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest<T> {
    holds: Option<(Stamp, T)>,
    before: Option<(Stamp, T)>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self {
            holds: None,
            before: None,
        }
    }
}

impl<T> Latest<T> {
    /// The value, as said with `stamp`; nothing for nothing.
    pub fn said(stamp: Stamp, value: Option<T>) -> Self {
        Self {
            holds: value.map(|value| (stamp, value)),
            before: None,
        }
    }

    /// The value that holds.
    pub fn get(&self) -> Option<&T> {
        self.holds.as_ref().map(|(_, value)| value)
    }

    /// Who said it.
    pub fn stamp(&self) -> Option<Stamp> {
        self.holds.as_ref().map(|(stamp, _)| *stamp)
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.holds.is_none()
    }

    /// Takes what another one knows: of all words the latest, and the latest of any other event.
    pub fn join(&mut self, other: Self) {
        for word in [other.holds, other.before].into_iter().flatten() {
            self.hear(word);
        }
    }

    fn hear(&mut self, word: (Stamp, T)) {
        let later =
            |than: &Option<(Stamp, T)>| than.as_ref().is_none_or(|(stamp, _)| word.0 > *stamp);
        let same_event = |held: &Option<(Stamp, T)>| {
            held.as_ref()
                .is_some_and(|(stamp, _)| stamp.event == word.0.event)
        };
        match (later(&self.holds), same_event(&self.holds)) {
            (true, true) => self.holds = Some(word),
            (true, false) => self.before = self.holds.replace(word),
            (false, true) => {}
            (false, false) if later(&self.before) => self.before = Some(word),
            (false, false) => {}
        }
    }

    /// Takes what `event` says *now*. What the same event said before, under other rules, no longer counts.
    pub fn restate(&mut self, event: EventId, said: Self) {
        let by_it = |word: &(Stamp, T)| word.0.event == event;
        self.before = self.before.take().filter(|word| !by_it(word));
        if self.holds.as_ref().is_some_and(by_it) {
            self.holds = self.before.take();
        }
        self.join(said);
    }
}

/// As a list: stamp and value, and once more for the event before.
impl<T: Serialize> Serialize for Latest<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (stamp, value) in [&self.holds, &self.before].into_iter().flatten() {
            list.serialize_element(stamp)?;
            list.serialize_element(value)?;
        }
        list.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Latest<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Words(PhantomData))
    }
}

struct Words<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Words<T> {
    type Value = Latest<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stamps, each with its value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Latest<T>, A::Error> {
        let mut word = || -> Result<Option<(Stamp, T)>, A::Error> {
            let Some(stamp) = list.next_element()? else {
                return Ok(None);
            };
            let value = list.next_element()?;
            let value = value.ok_or_else(|| A::Error::custom("a stamp without its value"))?;
            Ok(Some((stamp, value)))
        };
        Ok(Latest {
            holds: word()?,
            before: word()?,
        })
    }
}

/// The earliest moment at which something was spoken of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earliest(Option<(Timestamp, EventId)>);

impl Earliest {
    /// Spoken of with `stamp`.
    pub fn said(stamp: Stamp) -> Self {
        Self(Some((stamp.at, stamp.event)))
    }

    /// The moment.
    pub fn get(&self) -> Option<Timestamp> {
        self.0.map(|(at, _)| at)
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes what another one knows.
    pub fn join(&mut self, other: &Self) {
        self.0 = match (self.0, other.0) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Takes what `event` says now, in place of what it said before. Who else spoke of it later is not known: they
    /// say so again when they are processed again, since it changed.
    pub fn restate(&mut self, event: EventId, said: &Self) {
        if self.0.is_some_and(|(_, by)| by == event) {
            self.0 = said.0;
        } else {
            self.join(said);
        }
    }
}
