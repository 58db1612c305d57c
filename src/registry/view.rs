//! The registries as one event sees them: what is committed, and over it what the events before it on the
//! same page write. Every read is noted as a watch, so that the event is processed again when it changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contribution::{Contribution, Contributions};
use super::{Appointment, Call, places};
use crate::model::EventId;
use crate::queue::{Order, Place, QueueError, Record, Registry, RegistryKey, Result, Watch};

/// See the module.
pub struct View<'a> {
    committed: &'a dyn Registry,
    /// Records as they were read, so that a page reads each once.
    read: HashMap<RegistryKey, Option<Bytes>>,
    /// What events before this one write.
    written: HashMap<RegistryKey, Written>,
    found: BTreeMap<(RegistryKey, Timestamp), BTreeSet<RegistryKey>>,
    /// What this event writes and read.
    records: Vec<Record>,
    watches: BTreeSet<Watch>,
    has_news: bool,
}

struct Written {
    value: Bytes,
    places: Vec<Place>,
}

impl<'a> View<'a> {
    /// A view of what is committed.
    pub fn new(committed: &'a dyn Registry) -> Self {
        Self {
            committed,
            read: HashMap::new(),
            written: HashMap::new(),
            found: BTreeMap::new(),
            records: Vec::new(),
            watches: BTreeSet::new(),
            has_news: false,
        }
    }

    /// Forgets what was noted of an event that is not to be settled with it.
    pub fn begin(&mut self) {
        self.records.clear();
        self.watches.clear();
        self.has_news = false;
    }

    /// Whether the event says of appointments, calls, deals or contacts what was not known before. Told until the next
    /// event begins.
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// What the event writes and what it watches. Its records are there for the events after it.
    pub fn finish(&mut self) -> (Vec<Record>, Vec<Watch>) {
        let records = std::mem::take(&mut self.records);
        for record in &records {
            self.overlay(record);
        }
        let watches = std::mem::take(&mut self.watches);
        (records, watches.into_iter().collect())
    }

    /// Puts a record as an event before would have.
    #[cfg(test)]
    pub(super) fn overlay_for_test(&mut self, record: &Record) {
        self.overlay(record);
    }

    fn overlay(&mut self, record: &Record) {
        let written = Written {
            value: record.value.clone(),
            places: record.places.clone(),
        };
        if let Some(before) = self.written.insert(record.key, written) {
            for place in before.places {
                if let Some(keys) = self.found.get_mut(&(place.key, place.at)) {
                    keys.remove(&record.key);
                }
            }
        }
        for place in &record.places {
            let keys = self.found.entry((place.key, place.at)).or_default();
            keys.insert(record.key);
        }
    }

    /// Reads a record and watches it. A record that this version cannot read is as if it were not there.
    ///
    /// # Errors
    /// When storage fails.
    pub fn record<T: DeserializeOwned>(&mut self, key: RegistryKey) -> Result<Option<T>> {
        self.watches.insert(Watch::record(key));
        Ok(self.bytes(&key)?.and_then(|value| decode(&value)))
    }

    fn bytes(&mut self, key: &RegistryKey) -> Result<Option<Bytes>> {
        if let Some(own) = self.records.iter().find(|record| record.key == *key) {
            return Ok(Some(own.value.clone()));
        }
        if let Some(written) = self.written.get(key) {
            return Ok(Some(written.value.clone()));
        }
        if let Some(read) = self.read.get(key) {
            return Ok(read.clone());
        }
        let read = self.committed.record(key)?;
        self.read.insert(*key, read.clone());
        Ok(read)
    }

    /// The records found under `key` from one moment to another, both included, at most `limit`; watched.
    ///
    /// # Errors
    /// When storage fails.
    pub fn find(
        &mut self,
        key: RegistryKey,
        (from, to): (Timestamp, Timestamp),
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Timestamp, RegistryKey)>> {
        self.watches.insert(Watch::places(key, from, to));
        if from > to {
            return Ok(Vec::new());
        }
        // What was overwritten on this page may have moved: as many more are asked for.
        let own = self.records.iter().map(|record| record.key);
        let stale: BTreeSet<RegistryKey> = self.written.keys().copied().chain(own).collect();
        let asked = limit.saturating_add(stale.len());
        let mut found = self.committed.find(&key, from, to, order, asked)?;
        found.retain(|(_, record)| !stale.contains(record));
        let own: BTreeSet<RegistryKey> = self.records.iter().map(|record| record.key).collect();
        for ((_, at), keys) in self.found.range((key, from)..=(key, to)) {
            let keys = keys.iter().filter(|record| !own.contains(record));
            found.extend(keys.map(|record| (*at, *record)));
        }
        for record in &self.records {
            let here = record.places.iter();
            let here = here.filter(|place| place.key == key && (from..=to).contains(&place.at));
            found.extend(here.map(|place| (place.at, record.key)));
        }
        found.sort();
        if order == Order::Newest {
            found.reverse();
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Puts what an event says into the records that it is about. They are read for that, but not watched: what
    /// they come to does not decide what the event leads to.
    ///
    /// # Errors
    /// When storage fails.
    pub fn contribute(
        &mut self,
        event: EventId,
        said: Contributions,
        now: Timestamp,
    ) -> Result<()> {
        for (key, said) in said.0 {
            let there = self.bytes(&key)?;
            let record = match said {
                Contribution::Appointment(said) => {
                    let mut record: Appointment = known(there);
                    record.restate(event, *said);
                    (encode(&record)?, record.places(), record.keep_until(now))
                }
                Contribution::Call(said) => {
                    let mut record: Call = known(there);
                    record.restate(event, *said);
                    let keep_until = super::later(now, super::KEPT);
                    (encode(&record)?, record.places(), keep_until)
                }
                Contribution::Link(said) => {
                    let mut record: super::Link = known(there);
                    record.restate(event, *said);
                    (encode(&record)?, Vec::new(), super::later(now, super::KEPT))
                }
                Contribution::Nothing => (
                    Bytes::from_static(b"null"),
                    Vec::new(),
                    super::later(now, super::KEPT),
                ),
                // One fact's own: nobody else speaks of it.
                Contribution::Presence(said) => {
                    let keep_until = super::later(now, super::KEPT);
                    (encode(&*said)?, said.places(), keep_until)
                }
            };
            let (value, places, keep_until) = record;
            self.has_news |= self.bytes(&key)?.is_none_or(|there| there != value);
            self.records.push(Record {
                key,
                value,
                places,
                keep_until,
            });
        }
        Ok(())
    }

    /// Takes back what an event said of these topics, but for those that it spoke of in this view.
    ///
    /// # Errors
    /// When storage fails.
    pub fn take_back(&mut self, event: EventId, topics: &[String], now: Timestamp) -> Result<()> {
        let mut nothing = Contributions::default();
        nothing.take_back(topics);
        let spoken = |key: &RegistryKey| self.records.iter().any(|record| record.key == *key);
        nothing.0.retain(|key, _| !spoken(key));
        self.contribute(event, nothing, now)
    }

    /// An appointment with all that the bookings before it knew of whom it concerns, and when the first of them
    /// was first spoken of.
    ///
    /// # Errors
    /// When storage fails.
    pub fn appointment(&mut self, source: &str, booking_id: &str) -> Result<Option<Appointment>> {
        let key = places::appointment(source, booking_id);
        let Some(mut appointment) = self.record::<Appointment>(key)? else {
            return Ok(None);
        };
        let mut seen = BTreeSet::from([key]);
        let mut before = appointment.moved_from.get().cloned();
        while let Some(old) = before.take() {
            let key = places::appointment(source, &old);
            // Vendors' ids may go in circles; and nobody moves a meeting a hundred times.
            if seen.len() >= MOST_MOVES || !seen.insert(key) {
                break;
            }
            let Some(old) = self.record::<Appointment>(key)? else {
                break;
            };
            before = old.moved_from.get().cloned();
            appointment.inherit(old);
        }
        Ok(Some(appointment))
    }
}

/// The most bookings that are looked through for whom an appointment concerns.
const MOST_MOVES: usize = 16;

fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

fn known<T: DeserializeOwned + Default>(value: Option<Bytes>) -> T {
    value.and_then(|value| decode(&value)).unwrap_or_default()
}

fn encode<T: Serialize>(record: &T) -> Result<Bytes> {
    let json = serde_json::to_vec(record);
    json.map(Bytes::from)
        .map_err(|error| QueueError::State(format!("a record cannot be stored as JSON: {error}")))
}
