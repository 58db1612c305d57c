//! `[storage]`: the data directory.

use std::path::PathBuf;
use std::time::Duration;

use super::ByteSize;
use super::read;
use super::section::Section;

const DAY: u64 = 24 * 60 * 60;

/// Where data is kept, how much and for how long.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The data directory, relative to the working directory. Default `data`.
    pub dir: PathBuf,
    /// How long finished events and deliveries are kept. Default 30 days; longer to replay further
    /// back, shorter to hold less personal data. What is unfinished is kept whatever its age.
    pub retention: Duration,
    /// The most events that may wait to be processed; beyond it senders are told to come back.
    /// Default 1 000 000.
    pub max_unprocessed: u64,
    /// The most deliveries that may be open; beyond it senders are told to come back. Default 5 000 000.
    pub max_open_deliveries: u64,
    /// Below this much free disk senders are told to come back. Default 256 MB.
    pub min_free_disk: ByteSize,
    /// The size of a journal segment, the unit in which disk space is given back. Default 32 MB.
    pub segment: ByteSize,
    /// Memory for the cache of each of the index's two engines. Default 8 MB; more saves no time.
    pub index_cache: ByteSize,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            dir: "data".into(),
            retention: Duration::from_secs(30 * DAY),
            max_unprocessed: 1_000_000,
            max_open_deliveries: 5_000_000,
            min_free_disk: ByteSize::new(256_000_000),
            segment: ByteSize::new(32_000_000),
            index_cache: ByteSize::new(8_000_000),
        }
    }
}

impl Storage {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let default = Self::default();
        let megabytes = |count: u64| ByteSize::new(count * 1_000_000);
        let storage = Self {
            dir: section
                .optional("dir", read::text)
                .map_or(default.dir, PathBuf::from),
            retention: section
                .get(
                    "retention",
                    read::duration(Duration::from_secs(DAY)..=Duration::from_secs(3_650 * DAY)),
                )
                .unwrap_or(default.retention),
            max_unprocessed: section
                .get("max_unprocessed", read::count(1_000..=1_000_000_000))
                .unwrap_or(default.max_unprocessed),
            max_open_deliveries: section
                .get("max_open_deliveries", read::count(1_000..=1_000_000_000))
                .unwrap_or(default.max_open_deliveries),
            min_free_disk: section
                .get(
                    "min_free_disk",
                    read::size(megabytes(0)..=megabytes(1_000_000_000)),
                )
                .unwrap_or(default.min_free_disk),
            segment: section
                .get("segment", read::size(megabytes(1)..=megabytes(1_000)))
                .unwrap_or(default.segment),
            index_cache: section
                .get(
                    "index_cache",
                    read::size(megabytes(8)..=megabytes(1_000_000)),
                )
                .unwrap_or(default.index_cache),
        };
        section.finish();
        storage
    }
}
