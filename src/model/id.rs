//! Identifiers: time-ordered, short, and safe to print anywhere.
//!
//! An [`EventId`] is 64 bits: the millisecond it was given out, then a counter. It sorts by time, in
//! memory, as text and as a big-endian key. Outcomes and deliveries are numbered within their event,
//! so that "all deliveries of this event" is a prefix and needs no second index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LEN: usize = 13;
const COUNTER_BITS: u32 = 20;

/// Text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

/// Identifies a stored event. Printed as `evt_` and 13 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u64);

/// Identifies an outcome: its event and its number within that event. Printed as `out_…-0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutcomeId {
    /// The event it was derived from.
    pub event: EventId,
    /// Its number within the event: see [`OutcomeNumbers`].
    pub ordinal: u16,
}

/// How the outcomes of an event are numbered: from 0 in the order in which they were derived, unless numbers are given.
///
/// Destinations know an outcome by its id. In a batch it must not depend on whether the other items are known yet, so
/// the number of the item decides there, and some numbers have no outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutcomeNumbers(pub Vec<u16>);

impl OutcomeNumbers {
    /// The number of the `n`th outcome; nothing when there are too many.
    pub fn of(&self, n: usize) -> Option<u16> {
        match &self.0[..] {
            [] => u16::try_from(n).ok(),
            given => given.get(n).copied(),
        }
    }
}

/// Identifies a delivery: the event that caused it and its number within that event.
/// Printed as `dlv_…-0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId {
    /// The event that caused it.
    pub event: EventId,
    /// Its number within the event, over all runs of its rules.
    pub ordinal: u16,
}

impl EventId {
    /// The smallest identifier that may be given out at `millis` after the Unix epoch.
    pub fn first_at(millis: u64) -> Self {
        Self(millis << COUNTER_BITS)
    }

    /// The identifier that follows `self`, or the first of `millis` when that is later.
    /// Identifiers never repeat, also when the clock runs backwards.
    pub fn next(self, millis: u64) -> Self {
        Self((self.0 + 1).max(Self::first_at(millis).0))
    }

    /// Milliseconds after the Unix epoch at which it was given out.
    pub fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }
}

fn write_base32(f: &mut fmt::Formatter<'_>, value: u64) -> fmt::Result {
    let mut text = [0u8; TEXT_LEN];
    let mut rest = value;
    for slot in text.iter_mut().rev() {
        *slot = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    f.write_str(std::str::from_utf8(&text).map_err(|_not_text| fmt::Error)?)
}

fn read_base32(text: &str) -> Option<u64> {
    if text.len() != TEXT_LEN {
        return None;
    }
    text.bytes().try_fold(0u64, |value, byte| {
        let digit = ALPHABET
            .iter()
            .position(|&a| a == byte.to_ascii_lowercase())? as u64;
        if value >> 59 != 0 {
            return None;
        }
        Some(value << 5 | digit)
    })
}

fn read_numbered(text: &str, prefix: &str) -> Option<(EventId, u16)> {
    let (event, ordinal) = text.strip_prefix(prefix)?.split_once('-')?;
    Some((EventId(read_base32(event)?), ordinal.parse().ok()?))
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("evt_")?;
        write_base32(f, self.0)
    }
}

impl fmt::Display for OutcomeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out_")?;
        write_base32(f, self.event.0)?;
        write!(f, "-{}", self.ordinal)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dlv_")?;
        write_base32(f, self.event.0)?;
        write!(f, "-{}", self.ordinal)
    }
}

impl FromStr for EventId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("evt_")
            .and_then(read_base32)
            .map(Self)
            .ok_or_else(|| IdError {
                text: text.chars().take(40).collect(),
                expected: "an event id (`evt_` and 13 characters)",
            })
    }
}

impl FromStr for OutcomeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        read_numbered(text, "out_")
            .map(|(event, ordinal)| Self { event, ordinal })
            .ok_or_else(|| IdError {
                text: text.chars().take(40).collect(),
                expected: "an outcome id (`out_`, 13 characters, `-` and a number)",
            })
    }
}

impl FromStr for DeliveryId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        read_numbered(text, "dlv_")
            .map(|(event, ordinal)| Self { event, ordinal })
            .ok_or_else(|| IdError {
                text: text.chars().take(40).collect(),
                expected: "a delivery id (`dlv_`, 13 characters, `-` and a number)",
            })
    }
}

macro_rules! as_text {
    ($($id:ty),*) => {$(
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(EventId, OutcomeId, DeliveryId);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_reads_back_and_sorts_as_the_number_does(a: u64, b: u64, ordinal: u16) {
            let (a, b) = (EventId(a), EventId(b));
            prop_assert_eq!(a.to_string().parse::<EventId>().unwrap(), a);
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
            let delivery = DeliveryId { event: a, ordinal };
            prop_assert_eq!(delivery.to_string().parse::<DeliveryId>().unwrap(), delivery);
            let outcome = OutcomeId { event: a, ordinal };
            prop_assert_eq!(outcome.to_string().parse::<OutcomeId>().unwrap(), outcome);
        }

        #[test]
        fn any_text_is_refused_or_read_without_panicking(text: String) {
            let _ = text.parse::<EventId>();
            let _ = text.parse::<DeliveryId>();
        }
    }

    #[test]
    fn ids_never_repeat_when_the_clock_runs_backwards() {
        let first = EventId::first_at(1_700_000_000_000);
        let second = first.next(1_600_000_000_000);
        assert!(second > first);
        assert_eq!(
            second.next(1_700_000_000_001),
            EventId::first_at(1_700_000_000_001)
        );
    }

    #[test]
    fn a_wrong_prefix_names_what_was_expected() {
        let error = "dlv_0000000000000".parse::<EventId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`dlv_0000000000000` is not an event id (`evt_` and 13 characters)"
        );
    }
}
