//! The keys of what registries and waiting events stand under. Integers are big-endian and moments are
//! written so that they sort as time does.

use jiff::Timestamp;

use crate::model::EventId;
use crate::queue::{Place, RegistryKey, Watch};

use super::codec::{Corrupt, Get};

const NANOS: i128 = 1_000_000_000;

/// Bytes of a moment.
const MOMENT: usize = 12;

/// First byte of a watch's value.
const WATCH_VERSION: u8 = 1;

/// Seconds, with the sign turned over so that the past comes before the future, then nanoseconds.
fn moment(at: Timestamp) -> [u8; MOMENT] {
    let nanos = at.as_nanosecond();
    let seconds = nanos.div_euclid(NANOS) as i64;
    let rest = nanos.rem_euclid(NANOS) as u32;
    let mut key = [0; MOMENT];
    key[..8].copy_from_slice(&(seconds as u64 ^ 1 << 63).to_be_bytes());
    key[8..].copy_from_slice(&rest.to_be_bytes());
    key
}

fn moment_of(get: &mut Get<'_>) -> Result<Timestamp, Corrupt> {
    let corrupt = get.corrupt();
    let seconds = (u64::from_be_bytes(get.array()?) ^ 1 << 63) as i64;
    let rest = u32::from_be_bytes(get.array()?);
    Timestamp::from_nanosecond(i128::from(seconds) * NANOS + i128::from(rest))
        .map_err(|_range| corrupt)
}

/// All places and watches under `key` from `at` on start at this key.
pub(super) fn from_moment(key: &RegistryKey, at: Timestamp) -> Vec<u8> {
    [&key.0[..], &moment(at)].concat()
}

/// The first key after all those under `key` up to and with `at`.
pub(super) fn after_moment(key: &RegistryKey, at: Timestamp) -> Vec<u8> {
    let mut end = from_moment(key, at);
    // What follows a moment is an id, and no id is longer than this.
    end.extend_from_slice(&[0xff; 17]);
    end
}

/// A place at which `record` is found.
pub(super) fn place(place: &Place, record: &RegistryKey) -> Vec<u8> {
    let mut key = from_moment(&place.key, place.at);
    key.extend_from_slice(&record.0);
    key
}

pub(super) fn place_of(key: &[u8]) -> Result<(Place, RegistryKey), Corrupt> {
    let mut get = Get::new(key, "place key");
    let place = Place {
        key: RegistryKey(get.array()?),
        at: moment_of(&mut get)?,
    };
    let record = RegistryKey(get.array()?);
    get.end()?;
    Ok((place, record))
}

/// An event's watch: sorted by its last moment, so that those that can cover a moment start at it.
pub(super) fn watch(watch: &Watch, event: EventId) -> Vec<u8> {
    let mut key = from_moment(&watch.key, watch.to);
    key.extend_from_slice(&event.0.to_be_bytes());
    key
}

/// The value that goes with a watch's key.
pub(super) fn watch_value(watch: &Watch) -> Vec<u8> {
    [&[WATCH_VERSION][..], &moment(watch.from)].concat()
}

pub(super) fn watch_of(key: &[u8], value: &[u8]) -> Result<(Watch, EventId), Corrupt> {
    let mut get = Get::new(key, "watch key");
    let (key, to) = (RegistryKey(get.array()?), moment_of(&mut get)?);
    let event = EventId(u64::from_be_bytes(get.array()?));
    get.end()?;
    let mut get = Get::new(value, "watch");
    if get.u8()? != WATCH_VERSION {
        return Err(get.corrupt());
    }
    let from = moment_of(&mut get)?;
    get.end()?;
    Ok((Watch { key, from, to }, event))
}

/// An event's wake.
pub(super) fn wake(due_ms: u64, event: EventId) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&due_ms.to_be_bytes());
    key[8..].copy_from_slice(&event.0.to_be_bytes());
    key
}

pub(super) fn wake_of(key: &[u8]) -> Result<(u64, EventId), Corrupt> {
    let mut get = Get::new(key, "wake key");
    let due_ms = u64::from_be_bytes(get.array()?);
    let event = EventId(u64::from_be_bytes(get.array()?));
    get.end()?;
    Ok((due_ms, event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Timestamp> {
        let (min, max) = (
            Timestamp::MIN.as_nanosecond(),
            Timestamp::MAX.as_nanosecond(),
        );
        prop_oneof![min..=max, -3_000_000_000i128..3_000_000_000]
            .prop_map(|nanos| Timestamp::from_nanosecond(nanos).unwrap())
    }

    proptest! {
        #[test]
        fn places_sort_by_key_then_moment_and_read_back(
            a in (0..2u8, time(), any::<[u8; 16]>()), b in (0..2u8, time(), any::<[u8; 16]>()),
        ) {
            let written = |(under, at, record): (u8, Timestamp, [u8; 16])| {
                place(&Place { key: RegistryKey([under; 16]), at }, &RegistryKey(record))
            };
            prop_assert_eq!(written(a).cmp(&written(b)), a.cmp(&b));
            let expected = Place { key: RegistryKey([a.0; 16]), at: a.1 };
            prop_assert_eq!(place_of(&written(a)), Ok((expected, RegistryKey(a.2))));
            let within = |key: &[u8]| {
                *key >= *from_moment(&RegistryKey([a.0; 16]), a.1)
                    && *key < *after_moment(&RegistryKey([a.0; 16]), a.1)
            };
            prop_assert!(within(&written(a)));
            prop_assert_eq!(within(&written(b)), (a.0, a.1) == (b.0, b.1));
        }

        #[test]
        fn watches_read_back(under: [u8; 16], from in time(), to in time(), event: u64) {
            let one = Watch { key: RegistryKey(under), from, to };
            let key = watch(&one, EventId(event));
            prop_assert_eq!(watch_of(&key, &watch_value(&one)), Ok((one, EventId(event))));
        }

        #[test]
        fn wakes_sort_by_moment_then_event(a: (u64, u64), b: (u64, u64)) {
            let written = |(due, event)| wake(due, EventId(event));
            prop_assert_eq!(written(a).cmp(&written(b)), a.cmp(&b));
            prop_assert_eq!(wake_of(&written(a)), Ok((a.0, EventId(a.1))));
        }

        #[test]
        fn any_bytes_are_a_key_or_refused(key: Vec<u8>, value: Vec<u8>) {
            let _ = (place_of(&key), watch_of(&key, &value), wake_of(&key));
        }
    }
}
