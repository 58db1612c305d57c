//! The tables in which rows are looked up by their keys, in log-structured merge trees: events, targets, records.
//!
//! Their keys are spread and there may be millions of them. A merge tree writes them in order, a table file at a time, and
//! needs a few bytes of memory for each; a tree of pages, as sled is, reads and writes one of its pages for each.
//!
//! What is written stands in memory until [`Tables::flush`], which makes it durable by itself; the journal has it all the
//! while. Every file is read through on opening: a damaged one would be met at some later time, by whoever needs a row of it.
//! [`Tables::tidy`] merges the files that flushing leaves behind, and takes out what was deleted.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use lsm_tree::compaction::Leveled;
use lsm_tree::config::{
    BlockSizePolicy, BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PinningPolicy,
};
use lsm_tree::{
    AbstractTree, AnyTree, Cache, DescriptorTable, Guard, SeqNo, SequenceNumberCounter,
};
use xxhash_rust::xxh3::Xxh3;

use crate::fault::{self, Point};

use super::super::disk::is_shortage;
use super::overlay::{End, Span};
use super::store::{Put, Row, Store};
use super::{IndexError, Value};

/// Bytes of a table file, about.
const FILE_BYTES: u64 = 16 << 20;
/// Files that are open at a time; a process may have a thousand, and needs them for connections.
const MOST_OPEN_FILES: usize = 256;
/// Bytes of a block: what is read to find a row.
const BLOCK_BYTES: u32 = 4 << 10;
/// Bits for each key that say whether a file may have it: one key in a hundred is looked up in vain.
const BITS_A_KEY: f32 = 10.0;
/// A table is written anew, as a whole, once it has so many deletions that wait to be taken out …
const MANY_DELETIONS: u64 = 1 << 16;
/// … and they are so great a part of its rows.
const DELETED_SHARE: u64 = 4;

/// The file without which the engine takes a directory for a new table.
const CURRENT: &str = "current";
/// Bytes of a file that are read at a time.
const PART_BYTES: usize = 1 << 20;
/// Levels of files that are looked at in turn: the newest files, and those they are merged into.
const MERGED_LEVELS: usize = 2;
/// Bytes that a merge writes at most, beside the newest files, which it takes as a whole: the engine takes no more than
/// fifty files of a lower level.
const MERGED_BYTES: u64 = 64 * FILE_BYTES;
/// Bytes on the disk that merging leaves to everybody else.
const SPARED_BYTES: u64 = 64 << 20;
/// Files that were flushed and not merged, from which on merging has fallen behind.
const MANY_RUNS: usize = 16;
/// … and so many, from which on nothing more is flushed.
const MOST_RUNS: usize = 200;

/// Numbers the changes: of two rows with the same key the one with the higher number counts.
#[derive(Debug, Clone, Default)]
struct Moments {
    next: SequenceNumberCounter,
    visible: SequenceNumberCounter,
}

impl Moments {
    /// The number of a change that begins now.
    fn begin(&self) -> SeqNo {
        let moment = self.next.next();
        self.visible.fetch_max(moment + 1);
        moment
    }

    /// Goes on behind what a tree holds.
    fn catch_up(&self, tree: &AnyTree) {
        let next = tree.get_highest_seqno().map_or(0, |last| last + 1);
        self.next.fetch_max(next);
        self.visible.fetch_max(next);
    }

    /// Versions of rows before it are of no use: nobody reads the past.
    fn now(&self) -> SeqNo {
        self.visible.get()
    }
}

/// One table.
#[derive(Clone)]
pub(super) struct Table {
    tree: AnyTree,
    moments: Moments,
    unreadable: Arc<OnceLock<String>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("files", &self.tree.table_count())
            .finish_non_exhaustive()
    }
}

/// The open tables.
pub(super) struct Tables {
    cache: Arc<Cache>,
    open_files: Arc<DescriptorTable>,
    moments: Moments,
    /// Why a row could not be read, the first time.
    unreadable: Arc<OnceLock<String>>,
    tables: Vec<Table>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.tables).finish()
    }
}

impl Tables {
    pub(super) fn new(cache_mb: u64) -> Self {
        Self {
            cache: Arc::new(Cache::with_capacity_bytes(cache_mb << 20)),
            open_files: Arc::new(DescriptorTable::new(MOST_OPEN_FILES)),
            moments: Moments::default(),
            unreadable: Arc::default(),
            tables: Vec::new(),
        }
    }

    /// Opens the table in `dir`, or makes a new one unless it has to be there.
    pub(super) fn open(&mut self, dir: &Path, has_to_be: bool) -> Result<Table, IndexError> {
        if has_to_be && !dir.join(CURRENT).exists() {
            // A new one would say that no row of it was ever there.
            return Err(IndexError::Broken(format!("{} is gone", dir.display())));
        }
        let filter = BloomConstructionPolicy::BitsPerKey(BITS_A_KEY);
        let tree =
            lsm_tree::Config::new(dir, self.moments.next.clone(), self.moments.visible.clone())
                .use_cache(Arc::clone(&self.cache))
                .use_descriptor_table(Some(Arc::clone(&self.open_files)))
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
                .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(filter)))
                // They are small, and without them each look-up would read several blocks.
                .filter_block_pinning_policy(PinningPolicy::all(true))
                .index_block_pinning_policy(PinningPolicy::all(true))
                .filter_block_partitioning_policy(PinningPolicy::all(false))
                .index_block_partitioning_policy(PinningPolicy::all(false))
                .open()?;
        verify(&tree)?;
        self.moments.catch_up(&tree);
        let table = Table {
            tree,
            moments: self.moments.clone(),
            unreadable: Arc::clone(&self.unreadable),
        };
        self.tables.push(table.clone());
        Ok(table)
    }

    /// Bytes that were written and stand in memory only.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        let bytes = |table: &Table| table.tree.active_memtable().size();
        self.tables.iter().map(bytes).sum()
    }

    /// Brings everything written so far to stable storage. One caller at a time.
    pub(super) fn flush(&self) -> Result<(), IndexError> {
        for table in &self.tables {
            // Nothing is rotated when nothing was written.
            let _rotated = table.tree.rotate_memtable();
            let lock = table.tree.get_flush_lock();
            table.tree.flush(&lock, self.moments.now())?;
            drop(lock);
            table.let_go()?;
            fault::pass(Point::IndexTableFlushed);
        }
        Ok(())
    }

    /// Merges some of the files that flushing left behind, as far as there is room for it, and until it is told to stop.
    /// Beside everything else; one caller at a time.
    pub(super) fn tidy(
        &self,
        free_bytes: impl Fn() -> u64,
        is_stopped: impl Fn() -> bool,
    ) -> Result<(), IndexError> {
        let merging = Arc::new(Leveled::default().with_table_target_size(FILE_BYTES));
        // What is written until the old files go. What a merge that fails has written would stay until the next opening.
        let has_room = |bytes| free_bytes() > bytes + SPARED_BYTES;
        for table in &self.tables {
            let tree = &table.tree;
            for _level in 0..MERGED_LEVELS {
                if is_stopped() {
                    return Ok(());
                }
                if has_room(table.merged_bytes()) {
                    tree.compact(Arc::clone(&merging) as _, self.moments.now())?;
                }
            }
            let (deletions, rows) = (tree.tombstone_count(), tree.approximate_len() as u64);
            let is_worth_it = deletions > MANY_DELETIONS && deletions > rows / DELETED_SHARE;
            if is_worth_it && has_room(tree.disk_space()) {
                tree.major_compact(FILE_BYTES, self.moments.now())?;
            }
            table.let_go()?;
        }
        Ok(())
    }

    /// Why a row could not be read, if that has happened: nothing that the tables say is to be trusted then.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable.get().map(String::as_str)
    }

    /// Whether merging has fallen behind: each file that was not merged makes every look-up longer.
    pub(super) fn is_untidy(&self) -> bool {
        self.most_runs() > MANY_RUNS
    }

    /// Whether no more may be flushed before some of it is merged: the engine counts these files in one byte.
    pub(super) fn is_overgrown(&self) -> bool {
        self.most_runs() > MOST_RUNS
    }

    fn most_runs(&self) -> usize {
        let runs = |table: &Table| table.tree.l0_run_count();
        self.tables.iter().map(runs).max().unwrap_or_default()
    }
}

/// Whether the files of a tree are what they were when they were written.
fn verify(tree: &AnyTree) -> Result<(), IndexError> {
    let mut part = vec![0; PART_BYTES];
    for table in tree.current_version().iter_tables() {
        // The engine's kind of error: what does not read here is its file, and it is made anew.
        let mut file = File::open(&*table.path).map_err(lsm_tree::Error::from)?;
        let mut checksum = Xxh3::new();
        loop {
            match file.read(&mut part).map_err(lsm_tree::Error::from)? {
                0 => break,
                bytes => checksum.update(&part[..bytes]),
            }
        }
        if checksum.digest128() != table.checksum().into_u128() {
            let path = table.path.display();
            return Err(IndexError::Broken(format!("{path} is damaged")));
        }
    }
    Ok(())
}

impl Table {
    /// Notes why rows do not read, if they do not.
    fn noted<T>(&self, read: lsm_tree::Result<T>) -> Result<T, IndexError> {
        read.map_err(|error| {
            if !matches!(&error, lsm_tree::Error::Io(error) if is_shortage(error)) {
                // The first one is kept.
                let _known = self.unreadable.set(error.to_string());
            }
            error.into()
        })
    }

    /// Lets go of what was replaced: rows in memory that were flushed, files that were merged. The engine itself does so
    /// only with the next change.
    fn let_go(&self) -> Result<(), IndexError> {
        let mut versions = self.tree.get_version_history_lock();
        versions.maintenance(&self.tree.tree_config().path, self.moments.now())?;
        Ok(())
    }

    /// Bytes that a merge may write.
    fn merged_bytes(&self) -> u64 {
        let version = self.tree.current_version();
        let newest = version.l0().size();
        let others = self.tree.disk_space().saturating_sub(newest);
        newest + others.min(MERGED_BYTES)
    }
}

impl Store for Table {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, IndexError> {
        let row = self.noted(self.tree.get(key, SeqNo::MAX))?;
        Ok(row.map(|row| Value::from(&*row)))
    }

    fn some(&self, span: Span, end: End, count: usize) -> Result<Vec<Row>, IndexError> {
        let rows = self.tree.range(span, SeqNo::MAX, None);
        let row = |row: lsm_tree::IterGuardImpl| {
            let (key, value) = self.noted(row.into_inner())?;
            Ok((Value::from(&*key), Value::from(&*value)))
        };
        match end {
            End::Front => rows.take(count).map(row).collect(),
            End::Back => rows.rev().take(count).map(row).collect(),
        }
    }

    fn write(&self, rows: &[Put<'_>]) -> Result<(), IndexError> {
        let moment = self.moments.begin();
        for (key, row) in rows {
            match row {
                Some(row) => self.tree.insert(&***key, &***row, moment),
                None => self.tree.remove(&***key, moment),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Bound::Unbounded;

    fn value(number: u64) -> Value {
        Value::from(&number.to_be_bytes())
    }

    fn write(table: &Table, numbers: std::ops::Range<u64>, row: Option<&Value>) {
        let keys: Vec<Value> = numbers.map(value).collect();
        let rows: Vec<Put<'_>> = keys.iter().map(|key| (key, row)).collect();
        table.write(&rows).unwrap();
    }

    fn count(table: &Table) -> usize {
        let span = (Unbounded, Unbounded);
        table.some(span, End::Front, usize::MAX).unwrap().len()
    }

    #[test]
    fn what_was_flushed_is_there_again_and_a_later_change_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut tables = Tables::new(1);
        let table = tables.open(dir.path(), false).unwrap();
        write(&table, 0..100, Some(&value(1)));
        tables.flush().unwrap();
        write(&table, 50..60, None);
        assert!(tables.unflushed_bytes() > 0);
        tables.flush().unwrap();
        assert_eq!(tables.unflushed_bytes(), 0);
        write(&table, 60..70, None);
        drop((table, tables));
        let mut tables = Tables::new(1);
        let table = tables.open(dir.path(), false).unwrap();
        assert_eq!(count(&table), 90, "the last ten were never flushed");
        write(&table, 0..10, Some(&value(2)));
        assert_eq!(table.get(&value(5)).unwrap(), Some(value(2)));
        assert_eq!(table.get(&value(15)).unwrap(), Some(value(1)));
        assert_eq!(table.get(&value(55)).unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_found_on_opening_or_when_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut tables = Tables::new(0);
        let table = tables.open(dir.path(), false).unwrap();
        write(&table, 0..5_000, Some(&value(1)));
        tables.flush().unwrap();
        let files = std::fs::read_dir(dir.path().join("tables")).unwrap();
        let file = files.map(|file| file.unwrap().path()).next().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[1_000] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(tables.unreadable(), None);
        assert!(
            table
                .some((Unbounded, Unbounded), End::Front, 5_000)
                .is_err()
        );
        assert!(tables.unreadable().is_some());
        drop((table, tables));
        assert!(Tables::new(1).open(dir.path(), true).is_err());
        let elsewhere = dir.path().join("elsewhere");
        let gone = Tables::new(1).open(&elsewhere, true).unwrap_err();
        assert!(gone.to_string().ends_with("is gone"), "{gone}");
        bytes[1_000] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(
            count(&Tables::new(1).open(dir.path(), true).unwrap()),
            5_000
        );
    }

    #[test]
    fn what_was_deleted_gives_its_space_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut tables = Tables::new(1);
        let table = tables.open(dir.path(), false).unwrap();
        let (many, row) = (4 * MANY_DELETIONS, Value::from(vec![7; 100]));
        write(&table, 0..many, Some(&row));
        tables.flush().unwrap();
        tables.tidy(|| u64::MAX, || false).unwrap();
        let full = table.tree.disk_space();
        write(&table, 0..many - 10, None);
        tables.flush().unwrap();
        tables.tidy(|| full, || false).unwrap();
        assert!(table.tree.disk_space() >= full, "there was no room");
        tables.tidy(|| u64::MAX, || true).unwrap();
        assert!(table.tree.disk_space() >= full, "it was stopped");
        tables.tidy(|| u64::MAX, || false).unwrap();
        assert_eq!(count(&table), 10);
        let files = std::fs::read_dir(dir.path().join("tables")).unwrap();
        assert_eq!(files.count(), 1, "files that were merged are gone at once");
        assert!(table.tree.disk_space() < full / 100, "{full}");
        assert_eq!(table.tree.tombstone_count(), 0);
    }

    #[test]
    fn flushing_often_leaves_few_files_when_they_are_tidied() {
        let dir = tempfile::tempdir().unwrap();
        let mut tables = Tables::new(1);
        let table = tables.open(dir.path(), false).unwrap();
        for round in 0..40 {
            write(&table, 0..20, Some(&value(round)));
            tables.flush().unwrap();
            assert_eq!(tables.is_untidy(), round >= MANY_RUNS as u64);
        }
        while tables.is_untidy() {
            tables.tidy(|| u64::MAX, || false).unwrap();
        }
        assert!(table.tree.table_count() <= 2);
        assert_eq!(count(&table), 20);
        assert_eq!(table.get(&value(3)).unwrap(), Some(value(39)));
    }
}
