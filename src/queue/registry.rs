//! Registries: what earlier events told that later ones need, and how an event waits for it.
//!
//! A *record* is a small value under a key, found also at *places*: under another key (a phone, an agent)
//! at a moment. An event that was settled with *watches* is marked "to process" again when a record or
//! place that it watches changes, and with a wake when a moment has come. Nothing polls, and a waiting event
//! costs nothing until then.

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Result;

/// Names a record, or what a record is found under: 16 bytes of SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryKey(pub [u8; 16]);

impl RegistryKey {
    /// The key of these parts. Each part's length counts, so that no two lists of parts share one.
    pub fn of(parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let digest = hasher.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Self(short)
    }
}

/// A place at which a record is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// What it is found under.
    pub key: RegistryKey,
    /// At which moment.
    pub at: Timestamp,
}

/// What is known under a key. Putting it replaces what was there before, places included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: RegistryKey,
    /// Its value, a few kilobytes at most, in whatever versioned encoding its owner chose.
    pub value: Bytes,
    /// Where else it is found.
    pub places: Vec<Place>,
    /// It may be forgotten after this. A put that changes nothing else moves it only when it moves by a day or
    /// more, so that reading the same facts again writes nothing.
    pub keep_until: Timestamp,
}

/// What an event waits for. It is woken by a change of the record `key`, and by a change at a place under
/// `key` whose moment lies within `from` and `to`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watch {
    /// A record's key, or what records are found under.
    pub key: RegistryKey,
    /// The first moment that matters.
    pub from: Timestamp,
    /// The last moment that matters.
    pub to: Timestamp,
}

impl Watch {
    /// Waits for the record with this key.
    pub fn record(key: RegistryKey) -> Self {
        Self {
            key,
            from: Timestamp::MIN,
            to: Timestamp::MAX,
        }
    }

    /// Waits for places under `key` from one moment to another.
    pub fn places(key: RegistryKey, from: Timestamp, to: Timestamp) -> Self {
        Self { key, from, to }
    }
}

/// Which of several places come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Those of the earliest moment.
    Oldest,
    /// Those of the latest moment.
    Newest,
}

/// How an event stood when it was read: its mark "to process", and up to where the registries' changes were
/// visible. Opaque: [`super::StoredEvent`] has it, [`super::Processed`] brings it back, so that whatever
/// changed in between makes the event be processed again. The default says that nothing was read: settling
/// then removes whatever mark there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark(pub(super) Option<Seen>);

impl Mark {
    /// Whether the event was surely never processed when it was read.
    pub fn is_first(&self) -> bool {
        self.0.is_none_or(|seen| seen.mark == 0)
    }
}

/// What a [`Mark`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// The value of the mark "to process".
    pub mark: u64,
    /// Changes of registries up to this one were visible.
    pub change: u64,
}

/// Reads what is committed. Blocks on the disk: to be called on threads that may.
pub trait Registry: Send + Sync {
    /// The value of a record.
    ///
    /// # Errors
    /// When storage fails.
    fn record(&self, key: &RegistryKey) -> Result<Option<Bytes>>;

    /// The records found under `key` from one moment to another, both included: at most `limit`.
    ///
    /// # Errors
    /// When storage fails.
    fn find(
        &self,
        key: &RegistryKey,
        from: Timestamp,
        to: Timestamp,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Timestamp, RegistryKey)>>;
}
