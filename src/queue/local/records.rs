//! Records: putting them, finding them, forgetting them.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::model::EventId;
use crate::queue::{Order, Place, Record, Registry, RegistryKey, Result};

use super::codec::{Corrupt, Get, Put};
use super::reader::Reader;
use super::registry_key;
use super::row::{Row, get_list, put_list};
use super::stage::{decode, read_sound_row, sound};
use super::tree::Tree;
use super::tx::Tx;
use super::watches;

/// A put that changes nothing else moves `keep_until` only by so much or more.
const KEEP_STEP: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, Clone, PartialEq)]
pub(super) struct RecordRow {
    pub keep_until: Timestamp,
    /// Sorted, each once.
    pub places: Vec<Place>,
    pub value: Bytes,
}

impl Row for RecordRow {
    const WHAT: &'static str = "record row";

    fn write(&self, out: &mut Vec<u8>) {
        out.put_time(self.keep_until);
        put_list(out, &self.places, |out, place| {
            out.extend_from_slice(&place.key.0);
            out.put_time(place.at);
        });
        out.put_bytes(&self.value);
    }

    fn read(get: &mut Get<'_>, _version: u8) -> std::result::Result<Self, Corrupt> {
        Ok(Self {
            keep_until: get.time()?,
            places: get_list(get, |get| {
                Ok(Place {
                    key: RegistryKey(get.array()?),
                    at: get.time()?,
                })
            })?,
            value: Bytes::copy_from_slice(get.bytes()?),
        })
    }
}

impl From<&Record> for RecordRow {
    fn from(record: &Record) -> Self {
        let mut places = record.places.clone();
        places.sort_unstable();
        places.dedup();
        Self {
            keep_until: record.keep_until,
            places,
            value: record.value.clone(),
        }
    }
}

/// Puts a record. Whoever watches it, or a place where it is or was, is woken unless `knows` it.
pub(super) fn put(tx: &mut Tx<'_>, record: &Record, knows: impl Fn(EventId) -> bool) -> Result<()> {
    let new = RecordRow::from(record);
    let old: Option<RecordRow> = tx.stage.sound_row(Tree::Record, &record.key.0)?;
    if old.is_none() && tx.stage.contains(Tree::Record, &record.key.0)? {
        leave_places(tx, &record.key)?;
    }
    let same = |old: &RecordRow| (&old.value, &old.places) == (&new.value, &new.places);
    if let Some(old) = old.as_ref().filter(|old| same(old)) {
        if new.keep_until.duration_since(old.keep_until) >= KEEP_STEP {
            tx.stage.put_row(Tree::Record, &record.key.0, &new);
        }
        return Ok(());
    }
    tx.stage.put_row(Tree::Record, &record.key.0, &new);
    let left = old.map_or_else(Vec::new, |old| old.places);
    for place in left.iter().filter(|place| !new.places.contains(place)) {
        let key = registry_key::place(place, &record.key);
        tx.stage.delete(Tree::Place, &key);
    }
    for place in new.places.iter().filter(|place| !left.contains(place)) {
        let key = registry_key::place(place, &record.key);
        tx.stage.put(Tree::Place, &key, Vec::new());
    }
    let mut places = left;
    places.extend_from_slice(&new.places);
    places.sort_unstable();
    places.dedup();
    watches::wake(tx, &record.key, &places, knows)
}

/// Takes a damaged record from wherever it was: only the places themselves still say where. Looks at all of them, since
/// this happens hardly ever.
fn leave_places(tx: &mut Tx<'_>, record: &RegistryKey) -> Result<()> {
    let mut left = Vec::new();
    for row in tx.stage.range(Tree::Place, &[], &[]) {
        let (key, _) = row?;
        if registry_key::place_of(&key)?.1 == *record {
            left.push(key);
        }
    }
    for key in left {
        tx.stage.delete(Tree::Place, &key);
    }
    Ok(())
}

/// Puts records that no event wrote.
pub(super) fn put_all(tx: &mut Tx<'_>, records: &[Record]) -> Result<()> {
    for record in records {
        put(tx, record, |_| false)?;
    }
    Ok(())
}

/// Forgets those of these records whose time is over. Nobody is woken: nothing happened.
pub(super) fn forget(tx: &mut Tx<'_>, keys: &[RegistryKey]) -> Result<()> {
    for key in keys {
        let row: Option<RecordRow> = tx.stage.sound_row(Tree::Record, &key.0)?;
        let Some(row) = row.filter(|row| row.keep_until < tx.now) else {
            continue;
        };
        for place in &row.places {
            tx.stage
                .delete(Tree::Place, &registry_key::place(place, key));
        }
        tx.stage.delete(Tree::Record, &key.0);
    }
    Ok(())
}

impl Reader {
    /// Looks at no more than `limit` records from `from` on. Answers those whose time is over, and where to go
    /// on: `None` at the end.
    pub(super) fn expired_records(
        &self,
        from: &[u8],
        limit: usize,
    ) -> Result<(Vec<RegistryKey>, Option<Vec<u8>>)> {
        let now = self.clock.now();
        let mut expired = Vec::new();
        let rows = self.index.range(Tree::Record, from, &[]);
        for (looked_at, entry) in rows.enumerate() {
            let (key, value) = entry?;
            if looked_at == limit {
                return Ok((expired, Some(key.to_vec())));
            }
            let row = decode(&value, &self.segments).map(Some);
            let row: Option<RecordRow> = sound(Tree::Record, &key, row)?;
            if row.is_some_and(|row| row.keep_until < now) {
                let mut get = Get::new(&key, "record key");
                expired.push(RegistryKey(get.array()?));
            }
        }
        Ok((expired, None))
    }

    fn found(
        &self,
        rows: impl Iterator<
            Item = std::result::Result<
                (super::index::Value, super::index::Value),
                super::index::IndexError,
            >,
        >,
        limit: usize,
    ) -> Result<Vec<(Timestamp, RegistryKey)>> {
        let mut found = Vec::new();
        for row in rows {
            if found.len() >= limit {
                break;
            }
            let (place, record) = registry_key::place_of(&row?.0)?;
            // Its record may be forgotten at this very moment.
            if self.index.get(Tree::Record, &record.0)?.is_some() {
                found.push((place.at, record));
            }
        }
        Ok(found)
    }
}

impl Registry for Reader {
    fn record(&self, key: &RegistryKey) -> Result<Option<Bytes>> {
        let row: Option<RecordRow> =
            read_sound_row(&self.index, &self.segments, Tree::Record, &key.0)?;
        Ok(row.map(|row| row.value))
    }

    fn find(
        &self,
        key: &RegistryKey,
        from: Timestamp,
        to: Timestamp,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Timestamp, RegistryKey)>> {
        if from > to {
            return Ok(Vec::new());
        }
        let (first, end) = (
            registry_key::from_moment(key, from),
            registry_key::after_moment(key, to),
        );
        let rows = self.index.range(Tree::Place, &first, &end);
        match order {
            Order::Oldest => self.found(rows, limit),
            Order::Newest => self.found(rows.rev(), limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn record_rows_read_back(
            until in 0..9_000_000_000i64,
            places in prop::collection::vec((any::<[u8; 16]>(), -99..99i64), 0..5),
            value: Vec<u8>,
        ) {
            let at = |second| Timestamp::from_second(second).unwrap();
            let place = |(key, second)| Place { key: RegistryKey(key), at: at(second) };
            let row = RecordRow {
                keep_until: at(until),
                places: places.into_iter().map(place).collect(),
                value: value.into(),
            };
            prop_assert_eq!(RecordRow::decode(&row.encode()).unwrap(), row);
        }

        #[test]
        fn any_bytes_are_a_record_row_or_refused(mut bytes: Vec<u8>) {
            bytes.insert(0, 1);
            let _ = RecordRow::decode(&bytes);
        }
    }
}
