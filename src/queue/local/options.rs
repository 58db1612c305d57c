//! How the local engine is opened, and what opening it found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;

/// Whether commits wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Every commit is on stable storage before it is answered.
    Full,
    /// Nothing waits for the disk. Only for tests of everything but durability.
    Off,
}

/// When the whole index is read through on opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyIndex {
    /// When the machine itself stopped since the index was last in use. A killed process leaves what
    /// it wrote with the operating system, so that is no reason.
    AfterPowerLoss,
    /// On every opening.
    Always,
}

/// How the local engine is opened.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The directory that holds everything. One process at a time may use it.
    pub dir: PathBuf,
    /// Size at which a journal segment is closed and the next one begun, in bytes.
    pub segment_bytes: u64,
    /// Events that may wait to be processed before new ones are refused as busy.
    pub max_unprocessed: u64,
    /// Open deliveries that may stand before new events are refused as busy.
    pub max_open_deliveries: u64,
    /// Free disk space below which new events are refused as busy, in bytes. 0 switches it off.
    pub min_free_disk_bytes: u64,
    /// Whether commits wait for the disk.
    pub sync: SyncMode,
    /// When the whole index is read through on opening.
    pub verify_index: VerifyIndex,
    /// Memory for the index's cache, in megabytes.
    pub cache_mb: u64,
    /// Tells the time.
    pub clock: Clock,
    /// Told of every commit: how many requests shared it, and how long writing and syncing took.
    pub on_commit: fn(requests: usize, took: Duration),
}

impl LocalOptions {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 32 << 20,
            max_unprocessed: 1_000_000,
            max_open_deliveries: 2_000_000,
            min_free_disk_bytes: 256 << 20,
            sync: SyncMode::Full,
            verify_index: VerifyIndex::AfterPowerLoss,
            cache_mb: 8,
            clock: Clock::system(),
            on_commit: |_, _| {},
        }
    }
}

/// What opening found. Worth a log line; `notes` are worth a warning each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Events stored.
    pub events: u64,
    /// Events that wait to be processed.
    pub unprocessed: u64,
    /// Deliveries that still have to happen.
    pub open_deliveries: u64,
    /// Journal records applied to the index again.
    pub replayed: u64,
    /// Whether the index did not work or was not there, and was built from the journal.
    pub rebuilt: bool,
    /// Whether the last stop was orderly.
    pub clean: bool,
    /// Damaged journal segments; a copy of each stands in the folder `quarantine`.
    pub quarantined: Vec<PathBuf>,
    /// Bytes of damaged journal that could not be used.
    pub damaged_bytes: u64,
    /// Whether the index gave space back that its rows had left.
    pub slimmed: bool,
    /// Bytes at the journal's end that are no whole record: what was being written when the process or the
    /// machine stopped, and was never acknowledged. A copy stands in the folder `quarantine`.
    pub torn_bytes: u64,
    /// What a person should know, in words.
    pub notes: Vec<String>,
}

/// Why the queue cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("{} is in use by process {holder}: stop that process, or give this one a directory of its own", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, as far as it is known.
        holder: String,
    },
    /// A file could not be made, read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A backup was being restored into the directory, and that was not finished.
    #[error("{} holds a backup that was not restored to its end: empty the directory and run `outcome-bridge restore` again", dir.display())]
    Unfinished {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer version of the program wrote it.
    #[error("{} was written by a newer version (format {found}, known up to {known}): run that version", dir.display())]
    Format {
        /// The directory.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The index does not work although it was just made anew from the journal.
    #[error("the index in {} cannot be built: {reason}", dir.display())]
    Index {
        /// The directory.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
}

impl OpenError {
    /// Whether it may pass without anybody looking at the data: the disk is full, or mounted read-only.
    pub fn may_pass(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem))
    }

    /// For `map_err`: what was tried, and with which file.
    pub(super) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
