//! Rows of the index: events, deliveries, duplicate keys. Each value starts with a version byte.

use jiff::Timestamp;

use crate::model::{DeliveryState, Disposition, EventId, OutcomeId, OutcomeKind};
use crate::queue::{Answered, RegistryKey, Watch};

use super::codec::{Corrupt, Get, Put};
use super::tree::Hash16;

/// Where a blob stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer {
    /// The segment's number.
    pub segment: u64,
    /// The blob's first byte within it.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// Its CRC-32.
    pub crc: u32,
}

/// Something that is stored as a versioned row.
pub(super) trait Row: Sized {
    /// Its name in errors.
    const WHAT: &'static str;

    /// The version that is written. All from 1 up to it are read.
    const VERSION: u8 = 1;

    fn write(&self, out: &mut Vec<u8>);
    fn read(get: &mut Get<'_>, version: u8) -> Result<Self, Corrupt>;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.encode_into(&mut out);
        out
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u8(Self::VERSION);
        self.write(out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut get = Get::new(bytes, Self::WHAT);
        let version = get.u8()?;
        if !(1..=Self::VERSION).contains(&version) {
            return Err(get.corrupt());
        }
        let row = Self::read(&mut get, version)?;
        get.end()?;
        Ok(row)
    }
}

impl Pointer {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_number(self.segment);
        out.put_number(self.offset);
        out.put_number(self.length);
        out.extend_from_slice(&self.crc.to_be_bytes());
    }

    pub(super) fn read(get: &mut Get<'_>) -> Result<Self, Corrupt> {
        Ok(Self {
            segment: get.number()?,
            offset: get.number()?,
            length: get.number()?,
            crc: u32::from_be_bytes(get.array()?),
        })
    }
}

/// Writes `Some` as its number among `all` plus one, `None` as 0.
pub(super) fn put_choice<T: PartialEq>(out: &mut Vec<u8>, value: Option<T>, all: &[T]) {
    let place = value.and_then(|value| all.iter().position(|one| *one == value));
    out.put_u8(place.map_or(0, |place| place as u8 + 1));
}

pub(super) fn get_choice<T: Copy>(get: &mut Get<'_>, all: &[T]) -> Result<Option<T>, Corrupt> {
    match get.u8()? {
        0 => Ok(None),
        tag => all
            .get(usize::from(tag) - 1)
            .copied()
            .map(Some)
            .ok_or_else(|| get.corrupt()),
    }
}

pub(super) fn put_list<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.put_number(items.len() as u64);
    for item in items {
        put(out, item);
    }
}

pub(super) fn get_list<T>(
    get: &mut Get<'_>,
    read: impl Fn(&mut Get<'_>) -> Result<T, Corrupt>,
) -> Result<Vec<T>, Corrupt> {
    // Grown as items are read: a damaged length must not allocate.
    let count: usize = get.small()?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read(get)?);
    }
    Ok(items)
}

fn get_lane(get: &mut Get<'_>) -> Result<Hash16, Corrupt> {
    get.array()
}

fn get_watch(get: &mut Get<'_>) -> Result<Watch, Corrupt> {
    Ok(Watch {
        key: RegistryKey(get.array()?),
        from: get.time()?,
        to: get.time()?,
    })
}

/// A stored event and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventRow {
    pub source: String,
    pub received_at: Timestamp,
    pub event_type: Option<String>,
    pub disposition: Disposition,
    pub reason: String,
    pub duplicates: u32,
    pub body_bytes: u32,
    /// Headers, query and body, see [`super::blob`].
    pub body: Pointer,
    /// The trace as JSON, once it was processed.
    pub trace: Option<Pointer>,
    /// Its outcomes as JSON, by their numbers; `null` where a number has none.
    pub outcomes: Vec<Pointer>,
    /// Lanes that hold revisions of it.
    pub lanes: Vec<Hash16>,
    /// The number that its next delivery gets.
    pub next_delivery: u16,
    /// Since version 2: what it watches, as it stands in `watch`.
    pub watches: Vec<Watch>,
    /// Since version 2: when it is woken, as it stands in `wake`.
    pub wake_ms: Option<u64>,
}

impl EventRow {
    /// Every pointer, to be changed in place.
    pub(super) fn pointers(&mut self) -> impl Iterator<Item = &mut Pointer> {
        std::iter::once(&mut self.body)
            .chain(self.trace.as_mut())
            .chain(self.outcomes.iter_mut())
    }
}

impl Row for EventRow {
    const WHAT: &'static str = "event row";
    const VERSION: u8 = 2;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_text(&self.source);
        out.put_time(self.received_at);
        out.put_u8(u8::from(self.event_type.is_some()) | u8::from(self.trace.is_some()) << 1);
        if let Some(event_type) = &self.event_type {
            out.put_text(event_type);
        }
        put_choice(out, Some(self.disposition), &Disposition::ALL);
        out.put_text(&self.reason);
        out.put_number(u64::from(self.duplicates));
        out.put_number(u64::from(self.body_bytes));
        self.body.write(out);
        if let Some(trace) = &self.trace {
            trace.write(out);
        }
        put_list(out, &self.outcomes, |out, pointer| pointer.write(out));
        put_list(out, &self.lanes, |out, lane| out.extend_from_slice(lane));
        out.put_number(u64::from(self.next_delivery));
        put_list(out, &self.watches, |out, watch| {
            out.extend_from_slice(&watch.key.0);
            out.put_time(watch.from);
            out.put_time(watch.to);
        });
        // 0 says that there is none.
        out.put_number(self.wake_ms.map_or(0, |due_ms| due_ms.saturating_add(1)));
    }

    fn read(get: &mut Get<'_>, version: u8) -> Result<Self, Corrupt> {
        let source = get.text()?.to_owned();
        let received_at = get.time()?;
        let flags = get.u8()?;
        let event_type = match flags & 1 {
            0 => None,
            _ => Some(get.text()?.to_owned()),
        };
        let corrupt = get.corrupt();
        Ok(Self {
            source,
            received_at,
            event_type,
            disposition: get_choice(get, &Disposition::ALL)?.ok_or(corrupt)?,
            reason: get.text()?.to_owned(),
            duplicates: get.small()?,
            body_bytes: get.small()?,
            body: Pointer::read(get)?,
            trace: match flags & 2 {
                0 => None,
                _ => Some(Pointer::read(get)?),
            },
            outcomes: get_list(get, Pointer::read)?,
            lanes: get_list(get, get_lane)?,
            next_delivery: get.small()?,
            watches: match version {
                1 => Vec::new(),
                _ => get_list(get, get_watch)?,
            },
            wake_ms: match version {
                1 => None,
                _ => get.number()?.checked_sub(1),
            },
        })
    }
}

pub(super) fn put_outcome_id(out: &mut Vec<u8>, id: OutcomeId) {
    out.extend_from_slice(&id.event.0.to_be_bytes());
    out.put_number(u64::from(id.ordinal));
}

pub(super) fn get_outcome_id(get: &mut Get<'_>) -> Result<OutcomeId, Corrupt> {
    Ok(OutcomeId {
        event: EventId(u64::from_be_bytes(get.array()?)),
        ordinal: get.small()?,
    })
}

fn get_answered(get: &mut Get<'_>) -> Result<Option<Answered>, Corrupt> {
    Ok(match get.small()? {
        0 => None,
        status => Some(Answered {
            status,
            since: get.time()?,
        }),
    })
}

/// A delivery. Its target stands in its lane's row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeliveryRow {
    pub destination: String,
    pub lane: Hash16,
    /// What it brings, with its kind; `None` tells the target that nothing holds any more.
    pub outcome: Option<(OutcomeId, OutcomeKind)>,
    /// Hash of what it brings; 0 when it brings nothing.
    pub fingerprint: u64,
    pub state: DeliveryState,
    pub reason: String,
    /// Attempts since it was created or redriven.
    pub attempts: u32,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    pub due_ms: u64,
    pub max_age_ms: u64,
    pub expires_ms: u64,
    /// The run of the process that created it: in a later run nobody knows whether it was tried.
    pub run: u64,
    /// All attempts ever made, as JSON, oldest first.
    pub tried: Vec<Pointer>,
    /// Since version 2: its place in the line of a lane that delivers each revision; 0 when it stands in none.
    pub turn: u64,
    /// Since version 2: its fingerprint from before its event stopped saying so, when the target may know it; 0 otherwise.
    pub former: u64,
    /// Since version 3: what the last attempts since it was created or redriven were answered with.
    pub answered: Option<Answered>,
}

impl Row for DeliveryRow {
    const WHAT: &'static str = "delivery row";
    const VERSION: u8 = 3;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_text(&self.destination);
        out.extend_from_slice(&self.lane);
        put_choice(out, self.outcome.map(|(_, kind)| kind), &OutcomeKind::ALL);
        if let Some((id, _)) = self.outcome {
            put_outcome_id(out, id);
        }
        out.extend_from_slice(&self.fingerprint.to_be_bytes());
        put_choice(out, Some(self.state), &DeliveryState::ALL);
        out.put_text(&self.reason);
        out.put_number(u64::from(self.attempts));
        out.put_time(self.created_at);
        out.put_time(self.changed_at);
        out.put_number(self.due_ms);
        out.put_number(self.max_age_ms);
        out.put_number(self.expires_ms);
        out.put_number(self.run);
        put_list(out, &self.tried, |out, pointer| pointer.write(out));
        out.put_number(self.turn);
        out.put_number(self.former);
        // 0 says that there is none.
        out.put_number(self.answered.map_or(0, |last| u64::from(last.status)));
        if let Some(last) = self.answered {
            out.put_time(last.since);
        }
    }

    fn read(get: &mut Get<'_>, version: u8) -> Result<Self, Corrupt> {
        let corrupt = get.corrupt();
        Ok(Self {
            destination: get.text()?.to_owned(),
            lane: get.array()?,
            outcome: match get_choice(get, &OutcomeKind::ALL)? {
                None => None,
                Some(kind) => Some((get_outcome_id(get)?, kind)),
            },
            fingerprint: u64::from_be_bytes(get.array()?),
            state: get_choice(get, &DeliveryState::ALL)?.ok_or(corrupt)?,
            reason: get.text()?.to_owned(),
            attempts: get.small()?,
            created_at: get.time()?,
            changed_at: get.time()?,
            due_ms: get.number()?,
            max_age_ms: get.number()?,
            expires_ms: get.number()?,
            run: get.number()?,
            tried: get_list(get, Pointer::read)?,
            turn: match version {
                1 => 0,
                _ => get.number()?,
            },
            former: match version {
                1 => 0,
                _ => get.number()?,
            },
            answered: match version {
                1 | 2 => None,
                _ => get_answered(get)?,
            },
        })
    }
}

/// A duplicate key: the event it belongs to, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DedupeRow {
    pub event: EventId,
    pub expires_ms: u64,
}

impl Row for DedupeRow {
    const WHAT: &'static str = "duplicate key";

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.event.0.to_be_bytes());
        out.put_number(self.expires_ms);
    }

    fn read(get: &mut Get<'_>, _version: u8) -> Result<Self, Corrupt> {
        Ok(Self {
            event: EventId(u64::from_be_bytes(get.array()?)),
            expires_ms: get.number()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Timestamp> {
        (-9_000_000_000i64..9_000_000_000, 0..1_000_000_000i32)
            .prop_map(|(s, n)| Timestamp::new(s, n).unwrap())
    }

    fn pointer() -> impl Strategy<Value = Pointer> {
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
            |(segment, offset, length, crc)| Pointer {
                segment,
                offset,
                length,
                crc,
            },
        )
    }

    fn event_row() -> impl Strategy<Value = EventRow> {
        (
            (any::<String>(), time(), any::<Option<String>>(), 0..6usize),
            (any::<String>(), any::<u32>(), any::<u32>(), pointer()),
            (
                prop::option::of(pointer()),
                prop::collection::vec(pointer(), 0..4),
                prop::collection::vec(any::<Hash16>(), 0..4),
                any::<u16>(),
            ),
            (
                prop::collection::vec((any::<[u8; 16]>(), time(), time()), 0..4),
                prop::option::of(0..u64::MAX),
            ),
        )
            .prop_map(|(a, b, c, d)| EventRow {
                source: a.0,
                received_at: a.1,
                event_type: a.2,
                disposition: Disposition::ALL[a.3],
                reason: b.0,
                duplicates: b.1,
                body_bytes: b.2,
                body: b.3,
                trace: c.0,
                outcomes: c.1,
                lanes: c.2,
                next_delivery: c.3,
                watches: d
                    .0
                    .into_iter()
                    .map(|(key, from, to)| Watch::places(RegistryKey(key), from, to))
                    .collect(),
                wake_ms: d.1,
            })
    }

    fn delivery_row() -> impl Strategy<Value = DeliveryRow> {
        (
            (
                any::<String>(),
                any::<Hash16>(),
                any::<Option<(u64, u16)>>(),
            ),
            (any::<u64>(), 0..8usize, any::<String>(), any::<u32>()),
            (time(), time(), any::<[u64; 6]>()),
            prop::collection::vec(pointer(), 0..4),
            prop::option::of((1u16.., time())),
        )
            .prop_map(|(a, b, c, tried, answered)| DeliveryRow {
                destination: a.0,
                lane: a.1,
                outcome: a.2.map(|(event, ordinal)| {
                    let event = EventId(event);
                    (OutcomeId { event, ordinal }, OutcomeKind::Lost)
                }),
                fingerprint: b.0,
                state: DeliveryState::ALL[b.1],
                reason: b.2,
                attempts: b.3,
                created_at: c.0,
                changed_at: c.1,
                due_ms: c.2[0],
                max_age_ms: c.2[1],
                expires_ms: c.2[2],
                run: c.2[3],
                tried,
                turn: c.2[4],
                former: c.2[5],
                answered: answered.map(|(status, since)| Answered { status, since }),
            })
    }

    proptest! {
        #[test]
        fn event_rows_read_back(row in event_row()) {
            prop_assert_eq!(EventRow::decode(&row.encode()).unwrap(), row);
        }

        #[test]
        fn delivery_rows_read_back(row in delivery_row()) {
            prop_assert_eq!(DeliveryRow::decode(&row.encode()).unwrap(), row);
        }

        #[test]
        fn any_bytes_are_a_row_or_refused(mut bytes: Vec<u8>) {
            bytes.insert(0, 1);
            let _ = (EventRow::decode(&bytes), DeliveryRow::decode(&bytes), DedupeRow::decode(&bytes));
        }
    }

    #[test]
    fn a_row_of_another_version_is_refused() {
        let mut bytes = DedupeRow {
            event: EventId(1),
            expires_ms: 2,
        }
        .encode();
        bytes[0] = 9;
        assert_eq!(DedupeRow::decode(&bytes), Err(Corrupt("duplicate key")));
    }
}
