//! The tables of the index and their keys. All integers in keys are big-endian, so that keys sort
//! as their values do.
//!
//! | tree | key | value |
//! | --- | --- | --- |
//! | `event` | event id | [`EventRow`](super::row::EventRow) |
//! | `todo` | event id | nothing, or the number of its mark: the event waits to be processed |
//! | `delivery` | event id, ordinal | [`DeliveryRow`](super::row::DeliveryRow) |
//! | `dead` | event id, ordinal | nothing: the delivery is a dead letter |
//! | `lane` | hash of destination and target | [`LaneRow`](super::lane_row::LaneRow) |
//! | `line` | lane hash, place in the line, event id, ordinal | nothing: the delivery waits its turn |
//! | `due` | destination, 0, due in ms, lane hash | nothing |
//! | `record` | registry key | [`RecordRow`](super::records::RecordRow) |
//! | `place` | registry key, moment, key of the record | nothing |
//! | `watch` | registry key, last moment, event id | the first moment |
//! | `wake` | due in ms, event id | nothing |
//! | `dedupe` | hash of source and duplicate key | event id, expiry in ms |
//! | `dedupe_exp` | minute of expiry, event id | the duplicate keys that expire then |
//! | `meta` | name | `state`: [`State`](super::state::State); `checkpoint`; `format` |

use sha2::{Digest, Sha256};

use crate::model::{DeliveryId, DestinationName, EventId, SourceName};

use super::codec::{Corrupt, Get};

/// A table of the index. The numbers stand in the journal: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Tree {
    Event = 0,
    Delivery = 1,
    Dead = 2,
    Lane = 3,
    Due = 4,
    Todo = 5,
    Dedupe = 6,
    DedupeExpiry = 7,
    Meta = 8,
    Record = 9,
    Place = 10,
    Watch = 11,
    Wake = 12,
    Line = 13,
}

impl Tree {
    pub(super) const COUNT: usize = 14;

    /// All of them, in the order in which a commit is applied: what is pointed at comes before what points at
    /// it, so that a reader beside the committer finds no loose ends; and what an event reads comes before its
    /// mark "to process", so that whoever sees the mark sees what caused it.
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Event,
        Self::Delivery,
        Self::Dead,
        Self::Record,
        Self::Place,
        Self::Watch,
        Self::Wake,
        Self::Lane,
        Self::Line,
        Self::Due,
        Self::Todo,
        Self::Dedupe,
        Self::DedupeExpiry,
        Self::Meta,
    ];

    /// Whether rows are taken from its front all the time: what was taken must be gone at once, or whoever
    /// looks at the front goes through all of it again and again.
    pub(super) fn is_queue(self) -> bool {
        matches!(
            self,
            Self::Todo | Self::Due | Self::Line | Self::Wake | Self::DedupeExpiry
        )
    }

    /// Whether its rows are looked up by their keys, and live long: there may be millions of them.
    pub(super) fn is_looked_up(self) -> bool {
        match self {
            Self::Event | Self::Delivery | Self::Lane | Self::Dedupe => true,
            Self::Record | Self::Place | Self::Watch => true,
            Self::Dead | Self::Due | Self::Todo | Self::Line | Self::Wake => false,
            Self::DedupeExpiry | Self::Meta => false,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Delivery => "delivery",
            Self::Dead => "dead",
            Self::Lane => "lane",
            Self::Due => "due",
            Self::Todo => "todo",
            Self::Dedupe => "dedupe",
            Self::DedupeExpiry => "dedupe_exp",
            Self::Meta => "meta",
            Self::Record => "record",
            Self::Place => "place",
            Self::Watch => "watch",
            Self::Wake => "wake",
            Self::Line => "line",
        }
    }

    pub(super) fn from_u8(tag: u8) -> Result<Self, Corrupt> {
        let found = Self::ALL.into_iter().find(|tree| *tree as u8 == tag);
        found.ok_or(Corrupt("tree"))
    }
}

/// 16 bytes of a SHA-256: identifies a lane, or a duplicate key.
pub(super) type Hash16 = [u8; 16];

fn hash(parts: [&[u8]; 2]) -> Hash16 {
    let mut hasher = Sha256::new();
    // Neither a source's nor a destination's name has a zero in it.
    hasher.update(parts[0]);
    hasher.update([0]);
    hasher.update(parts[1]);
    let digest = hasher.finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// The lane of `target` at `destination`.
pub(super) fn lane(destination: &DestinationName, target: &str) -> Hash16 {
    hash([destination.as_str().as_bytes(), target.as_bytes()])
}

/// The key under which a request of `source` is known.
pub(super) fn dedupe(source: &SourceName, key: &[u8; 16]) -> Hash16 {
    hash([source.as_str().as_bytes(), key])
}

pub(super) fn event(id: EventId) -> [u8; 8] {
    id.0.to_be_bytes()
}

pub(super) fn event_of(key: &[u8]) -> Result<EventId, Corrupt> {
    let mut get = Get::new(key, "event key");
    let id = u64::from_be_bytes(get.array()?);
    get.end()?;
    Ok(EventId(id))
}

pub(super) fn delivery(id: DeliveryId) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&id.event.0.to_be_bytes());
    key[8..].copy_from_slice(&id.ordinal.to_be_bytes());
    key
}

pub(super) fn delivery_of(key: &[u8]) -> Result<DeliveryId, Corrupt> {
    let mut get = Get::new(key, "delivery key");
    let event = EventId(u64::from_be_bytes(get.array()?));
    let ordinal = u16::from_be_bytes(get.array()?);
    get.end()?;
    Ok(DeliveryId { event, ordinal })
}

/// All due lanes of a destination start with this.
pub(super) fn due_prefix(destination: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(destination.len() + 25);
    key.extend_from_slice(destination.as_bytes());
    key.push(0);
    key
}

pub(super) fn due(destination: &str, due_ms: u64, lane: &Hash16) -> Vec<u8> {
    let mut key = due_prefix(destination);
    key.extend_from_slice(&due_ms.to_be_bytes());
    key.extend_from_slice(lane);
    key
}

pub(super) fn due_of(key: &[u8]) -> Result<(&str, u64, Hash16), Corrupt> {
    let corrupt = Corrupt("due key");
    let at = key.iter().position(|&b| b == 0).ok_or(corrupt)?;
    let name = std::str::from_utf8(&key[..at]).map_err(|_utf8| corrupt)?;
    let mut get = Get::new(&key[at + 1..], "due key");
    let due_ms = u64::from_be_bytes(get.array()?);
    let lane = get.array()?;
    get.end()?;
    Ok((name, due_ms, lane))
}

/// Duplicate keys that expire in the same minute are kept together; `first` is an event among them.
pub(super) fn dedupe_expiry(minute: u64, first: EventId) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&minute.to_be_bytes());
    key[8..].copy_from_slice(&first.0.to_be_bytes());
    key
}

pub(super) const STATE: &[u8] = b"state";
pub(super) const CHECKPOINT: &[u8] = b"checkpoint";
pub(super) const FORMAT: &[u8] = b"format";
pub(super) const SLIM: &[u8] = b"slim";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn due_keys_sort_by_destination_then_time(a: u64, b: u64, x: [u8; 16], y: [u8; 16]) {
            let (first, second) = (due("slow", a, &x), due("slow", b, &y));
            prop_assert_eq!(first.cmp(&second), (a, x).cmp(&(b, y)));
            prop_assert!(first.starts_with(&due_prefix("slow")));
            prop_assert!(!due("slow2", a, &x).starts_with(&due_prefix("slow")));
            prop_assert_eq!(due_of(&first), Ok(("slow", a, x)));
        }

        #[test]
        fn delivery_keys_sort_as_ids_do(a: (u64, u16), b: (u64, u16)) {
            let id = |(event, ordinal)| DeliveryId { event: EventId(event), ordinal };
            prop_assert_eq!(delivery(id(a)).cmp(&delivery(id(b))), id(a).cmp(&id(b)));
            prop_assert_eq!(delivery_of(&delivery(id(a))), Ok(id(a)));
            prop_assert_eq!(event_of(&event(EventId(a.0))), Ok(EventId(a.0)));
        }

        #[test]
        fn any_bytes_as_key_are_read_or_refused(bytes: Vec<u8>) {
            let _ = (due_of(&bytes), delivery_of(&bytes), event_of(&bytes));
        }
    }
}
