//! A registry in memory: for dry runs, which know nothing yet, and for tests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use crate::queue::{Order, Record, Registry, RegistryKey, Result};

/// See the module.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<RegistryKey, Record>>);

impl Memory {
    /// Keeps records in place of those with the same keys.
    pub fn put(&self, records: impl IntoIterator<Item = Record>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            all.insert(record.key, record);
        }
    }
}

impl Registry for Memory {
    fn record(&self, key: &RegistryKey) -> Result<Option<Bytes>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(all.get(key).map(|record| record.value.clone()))
    }

    fn find(
        &self,
        key: &RegistryKey,
        from: Timestamp,
        to: Timestamp,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Timestamp, RegistryKey)>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let places = all.values().flat_map(|record| {
            let here = record.places.iter().filter(|place| place.key == *key);
            here.map(|place| (place.at, record.key))
        });
        let mut found: Vec<_> = places.filter(|(at, _)| (from..=to).contains(at)).collect();
        found.sort();
        if order == Order::Newest {
            found.reverse();
        }
        found.truncate(limit);
        Ok(found)
    }
}
