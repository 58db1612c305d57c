//! The index: the only module that knows sled.
//!
//! sled 0.34.7 holds nothing that the journal could not bring back. Three of its habits are dealt with
//! here: its `flush` does not sync the file, so [`Index::sync`] does; a half-written snapshot makes it
//! refuse to open, so such files are removed first; damage makes it panic, so opening is done under
//! `catch_unwind`. Values are kept small (see [`super::stage`]): sled never syncs large ones.
//!
//! Changes are seen at once, but reach sled when the keeper writes them, see [`super::overlay`]. Keys that are not there
//! are mostly known without sled, see [`super::filter`].

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fault::{self, Point};

use super::codec::{Corrupt, Get, Put};
use super::filter::Filters;
use super::journal::Position;
use super::options::SyncMode;
use super::overlay::Overlay;
use super::rows::Rows;
use super::tree::{self, Tree};

/// A value as stored.
pub(super) type Value = sled::IVec;

/// One change of a tree: a value to put, or `None` to delete.
pub(super) type Change = (Tree, Value, Option<Value>);

/// Why the index does not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("index: {0}")]
    Sled(#[from] sled::Error),
    #[error("index: {0}")]
    Corrupt(#[from] Corrupt),
    #[error("index: {0}")]
    Io(#[from] io::Error),
    #[error("index: {0}")]
    Broken(String),
}

/// The open index.
#[derive(Debug)]
pub(super) struct Index {
    db: sled::Db,
    trees: [sled::Tree; Tree::COUNT],
    overlay: Arc<Overlay>,
    filters: Filters,
    /// sled's file, to be synced after each flush.
    file: File,
    sync: SyncMode,
}

/// Runs what sled may panic in.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("panic");
        // sled shows whole pages in its panics: what is stored must not get into logs.
        Err(IndexError::Broken(text.chars().take(80).collect()))
    })
}

impl Index {
    /// Opens the index in `dir`, or makes a new one. Snapshots that stand in the way are moved aside:
    /// sled makes a new one from its log.
    pub(super) fn open(dir: &Path, cache_mb: u64, sync: SyncMode) -> Result<Self, IndexError> {
        std::fs::create_dir_all(dir)?;
        for path in snapshots(dir)? {
            if path.extension().is_some_and(|e| e == "generating") {
                std::fs::remove_file(path)?;
            }
        }
        Self::open_unlocked(dir, cache_mb, sync).or_else(|first| {
            let snapshots = snapshots(dir)?;
            if is_locked(&first) {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, first.to_string()).into());
            }
            if snapshots.is_empty() {
                return Err(first);
            }
            for path in snapshots {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                std::fs::rename(&path, dir.join(format!("aside.{name}")))?;
            }
            guarded(|| Self::try_open(dir, cache_mb, sync))
        })
    }

    /// We hold the directory, so sled's own lock can only be a leftover: of a read that has not ended
    /// in this process, or of a process that is being forked from it. Both pass.
    fn open_unlocked(dir: &Path, cache_mb: u64, sync: SyncMode) -> Result<Self, IndexError> {
        for _ in 0..LOCK_TRIES {
            match guarded(|| Self::try_open(dir, cache_mb, sync)) {
                Err(error) if is_locked(&error) => std::thread::sleep(LOCK_WAIT),
                other => return other,
            }
        }
        guarded(|| Self::try_open(dir, cache_mb, sync))
    }

    fn try_open(dir: &Path, cache_mb: u64, sync: SyncMode) -> Result<Self, IndexError> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_mb.max(8) << 20)
            // sled frees space in this flusher only.
            .flush_every_ms(Some(500))
            .open()?;
        let mut all = Tree::ALL;
        // They are found by their number.
        all.sort_unstable();
        let mut trees = Vec::with_capacity(Tree::COUNT);
        for tree in all {
            trees.push(db.open_tree(tree.name())?);
        }
        let trees = trees
            .try_into()
            .map_err(|_count| IndexError::Broken("trees are missing".into()))?;
        Ok(Self {
            db,
            trees,
            overlay: Arc::default(),
            filters: Filters::default(),
            file: File::open(dir.join("db"))?,
            sync,
        })
    }

    fn tree(&self, tree: Tree) -> &sled::Tree {
        &self.trees[tree as usize]
    }

    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Value>, IndexError> {
        if self.filters.lacks(tree, key) {
            return Ok(None);
        }
        match self.overlay.get(tree, key) {
            Some(row) => Ok(row),
            None => Ok(self.tree(tree).get(key)?),
        }
    }

    /// Rows whose key starts with `prefix`, in order.
    pub(super) fn prefix(&self, tree: Tree, prefix: &[u8]) -> Rows {
        self.range(tree, prefix, &after(prefix))
    }

    /// Rows with `from <= key < to`; an empty bound is open.
    pub(super) fn range(&self, tree: Tree, from: &[u8], to: &[u8]) -> Rows {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let hash = from.first_chunk::<16>();
        if hash.is_some() && hash == to.first_chunk() && self.filters.lacks(tree, from) {
            return Rows::none(Arc::clone(&self.overlay), self.tree(tree).clone(), tree);
        }
        let to = match to {
            [] => Unbounded,
            to => Excluded(to.into()),
        };
        let span = (Included(from.into()), to);
        Rows::new(
            Arc::clone(&self.overlay),
            self.tree(tree).clone(),
            tree,
            span,
        )
    }

    /// Makes changes visible, all at one moment. They reach sled with [`Index::write`]: whoever changes
    /// the index has to see to that, and calls [`Index::abandon`] when nobody does any more.
    pub(super) fn apply(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        let hidden = self.overlay.lay(changes, &self.filters);
        for (tree, key) in &hidden {
            self.tree(*tree).remove(key)?;
        }
        self.overlay.uncover(&hidden);
        Ok(())
    }

    /// Applies changes to sled itself, none of them to a row that another one changes: while nobody else uses the index, and
    /// before it learns its keys.
    pub(super) fn apply_now(&self, changes: &[Change]) -> Result<(), IndexError> {
        for (tree, key, row) in spread(changes) {
            match row {
                Some(row) => self.tree(*tree).insert(key, row.clone())?,
                None => self.tree(*tree).remove(key)?,
            };
        }
        Ok(())
    }

    /// Writes what was applied before the call to sled. One caller at a time.
    pub(super) fn write(&self) -> Result<(), IndexError> {
        self.overlay.still(|| self.filters.renew());
        for tree in Tree::ALL {
            let rows = self.overlay.leave(tree);
            for (key, row) in spread(&*rows) {
                match row {
                    Some(row) => self.tree(tree).insert(key, row.clone())?,
                    None => self.tree(tree).remove(key)?,
                };
            }
            self.overlay.written();
            fault::pass(Point::IndexTreeWritten);
        }
        fault::pass(Point::IndexWritten);
        Ok(())
    }

    /// Learns which keys are in sled, some of them at a time, so that those that are not need no look. By the one who
    /// calls [`Index::write`], after it.
    pub(super) fn learn(&self) -> Result<(), IndexError> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.filters.learn(LEARNT_AT_ONCE, |tree, last| {
            let after = last.map_or(Unbounded, |last| Excluded(last.clone()));
            let rows = self.tree(tree).range::<Value, _>((after, Unbounded));
            rows.keys().map(|key| key.map_err(IndexError::from))
        })
    }

    /// Whether [`Index::write`] should be called soon. Says so once until it is.
    pub(super) fn is_heavy(&self) -> bool {
        self.overlay.is_heavy()
    }

    /// Nobody is going to call [`Index::write`] any more.
    pub(super) fn abandon(&self) {
        self.overlay.abandon();
    }

    /// Brings everything written so far to stable storage.
    pub(super) fn sync(&self) -> Result<(), IndexError> {
        if self.sync == SyncMode::Full {
            self.db.flush()?;
            fault::pass(Point::IndexFlushed);
            self.file.sync_data()?;
            fault::pass(Point::IndexSynced);
        }
        Ok(())
    }

    /// Up to where the journal is surely contained in the index.
    pub(super) fn checkpoint(&self) -> Result<Option<Position>, IndexError> {
        let Some(value) = self.get(Tree::Meta, tree::CHECKPOINT)? else {
            return Ok(None);
        };
        let mut get = Get::new(&value, "checkpoint");
        Ok(Some(Position {
            segment: get.number()?,
            offset: get.number()?,
        }))
    }

    /// Notes a checkpoint. It becomes durable with the next sync; an older one is only slower.
    pub(super) fn set_checkpoint(&self, position: Position) -> Result<(), IndexError> {
        let mut value = Vec::new();
        value.put_number(position.segment);
        value.put_number(position.offset);
        self.tree(Tree::Meta).insert(tree::CHECKPOINT, value)?;
        fault::pass(Point::CheckpointNoted);
        Ok(())
    }

    /// How many bytes it had when it gave its space back the last time; 0 when it never did.
    pub(super) fn slim_bytes(&self) -> Result<u64, IndexError> {
        match self.get(Tree::Meta, tree::SLIM)? {
            Some(value) => Ok(Get::new(&value, "slim size").number()?),
            None => Ok(0),
        }
    }

    pub(super) fn set_slim_bytes(&self, bytes: u64) -> Result<(), IndexError> {
        let mut value = Vec::new();
        value.put_number(bytes);
        self.tree(Tree::Meta).insert(tree::SLIM, value)?;
        Ok(())
    }

    /// The format that wrote the index, if it says so.
    pub(super) fn format(&self) -> Result<Option<u32>, IndexError> {
        let value = self.get(Tree::Meta, tree::FORMAT)?;
        value
            .map(|value| Ok(Get::new(&value, "format").small()?))
            .transpose()
    }

    pub(super) fn set_format(&self, format: u32) -> Result<(), IndexError> {
        let mut value = Vec::new();
        value.put_number(u64::from(format));
        self.tree(Tree::Meta).insert(tree::FORMAT, value)?;
        Ok(())
    }
}

/// Rows in an order that fills sled's leaves. A leaf that has more than 16 rows is split: 9 stay, the others move on. So
/// rows that are put in their own order leave leaves of 9 behind, which never get another row. Here 9 of 16 come first,
/// spread evenly, and then the others, which fill the leaves: half as many pages for what comes in order, which most does.
fn spread<R: IntoIterator + Copy>(rows: R) -> impl Iterator<Item = R::Item> {
    const SPLIT: usize = 16;
    const STAY: usize = 9;
    let comes_first = |at: usize| at * STAY % SPLIT < STAY;
    let pass = |first: bool| {
        rows.into_iter()
            .enumerate()
            .filter(move |(at, _)| comes_first(*at) == first)
            .map(|(_, row)| row)
    };
    pass(true).chain(pass(false))
}

/// The first key after all that start with `prefix`; empty when there is none.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// Keys that are learnt at once: a tenth of a second.
const LEARNT_AT_ONCE: usize = 1 << 16;

const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_millis(20);

fn is_locked(error: &IndexError) -> bool {
    // sled gives this error no kind of its own.
    error.to_string().contains("could not acquire lock")
}

/// sled's snapshot files.
fn snapshots(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Result<Index, IndexError> {
        Index::open(dir, 8, SyncMode::Full)
    }

    #[test]
    fn a_half_written_snapshot_does_not_keep_it_from_opening() {
        let dir = tempfile::tempdir().unwrap();
        let index = open(dir.path()).unwrap();
        index
            .apply_now(&[(
                Tree::Todo,
                [1].as_slice().into(),
                Some([2].as_slice().into()),
            )])
            .unwrap();
        index.sync().unwrap();
        drop(index);
        std::fs::write(dir.path().join("snap.0000000000000042.generating"), b"x").unwrap();
        let index = open(dir.path()).unwrap();
        assert_eq!(&*index.get(Tree::Todo, &[1]).unwrap().unwrap(), &[2]);
    }

    #[test]
    fn a_damaged_snapshot_is_moved_aside_and_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let index = open(dir.path()).unwrap();
        index
            .apply_now(&[(
                Tree::Todo,
                [1].as_slice().into(),
                Some([2].as_slice().into()),
            )])
            .unwrap();
        index.sync().unwrap();
        drop(index);
        drop(open(dir.path()).unwrap());
        let all = snapshots(dir.path()).unwrap();
        assert!(!all.is_empty(), "sled wrote a snapshot on opening");
        for path in all {
            std::fs::write(path, b"not a snapshot at all").unwrap();
        }
        let index = open(dir.path()).unwrap();
        assert_eq!(&*index.get(Tree::Todo, &[1]).unwrap().unwrap(), &[2]);
    }

    /// Rows of each leaf, after rows are put in this order into leaves that are split as sled splits them.
    fn leaves(rows: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut leaves: Vec<Vec<usize>> = vec![Vec::new()];
        for row in rows {
            let after =
                leaves.partition_point(|leaf| leaf.first().is_some_and(|first| *first <= row));
            let at = after.saturating_sub(1);
            let place = leaves[at].partition_point(|one| *one < row);
            leaves[at].insert(place, row);
            if leaves[at].len() > 16 {
                let moved = leaves[at].split_off(9);
                leaves.insert(at + 1, moved);
            }
        }
        leaves.iter().map(Vec::len).collect()
    }

    #[test]
    fn rows_that_come_in_order_fill_leaves_however_many_come_at_a_time() {
        let rows = 20_000;
        assert!(leaves(0..rows).len() > rows / 10);
        for (at_a_time, pages) in [
            (rows, rows / 15),
            (5_000, rows / 15),
            (100, rows / 13),
            (1, rows / 9),
        ] {
            let begins = (0..rows).step_by(at_a_time);
            let order = begins.flat_map(|begin| {
                let rows: Vec<usize> = (begin..begin + at_a_time).collect();
                spread(&rows).copied().collect::<Vec<usize>>()
            });
            let order: Vec<usize> = order.collect();
            assert_eq!(
                order
                    .iter()
                    .collect::<std::collections::BTreeSet<_>>()
                    .len(),
                rows
            );
            let leaves = leaves(order.into_iter()).len();
            assert!(leaves <= pages, "{at_a_time}: {leaves} leaves");
        }
    }

    /// One thread puts rows, another writes and learns as the keeper does, a third fills the filters up.
    #[test]
    fn what_was_put_is_found_while_filters_learn_and_are_renewed() {
        use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
        let dir = tempfile::tempdir().unwrap();
        let key = |number: u64| <sha2::Sha256 as sha2::Digest>::digest(number.to_be_bytes());
        let put = |index: &Index, number: u64| {
            let row = (
                Tree::Dedupe,
                Value::from(&key(number)[..16]),
                Some(Value::from(&[1])),
            );
            index.apply(vec![row]).unwrap();
        };
        let is_there = |index: &Index, number: u64| {
            let found = index.get(Tree::Dedupe, &key(number)[..16]).unwrap();
            assert!(found.is_some(), "{number}");
        };
        let index = Index::open(dir.path(), 8, SyncMode::Off).unwrap();
        let (done, filled) = (AtomicBool::new(false), AtomicU64::new(0));
        let absent = key(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    index.write().unwrap();
                    index.learn().unwrap();
                }
            });
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    if index.filters.lacks(Tree::Dedupe, &absent[..16]) {
                        index.filters.fill();
                        filled.fetch_add(1, SeqCst);
                    }
                }
            });
            let mut last = 0;
            while last < 3_000 || filled.load(SeqCst) < 5 {
                last += 1;
                put(&index, last);
                is_there(&index, last);
                is_there(&index, last / 2 + 1);
            }
            done.store(true, SeqCst);
        });
        index.write().unwrap();
        drop(index);
        // What was there before is not known by anybody, until it is learnt.
        let index = Index::open(dir.path(), 8, SyncMode::Off).unwrap();
        (1..=3_000).for_each(|number| is_there(&index, number));
        index.learn().unwrap();
        (1..=3_000).for_each(|number| is_there(&index, number));
        assert!(index.filters.lacks(Tree::Dedupe, &absent[..16]));
        assert!(index.get(Tree::Dedupe, &absent[..16]).unwrap().is_none());
        let none = index.range(Tree::Dedupe, &absent[..20], &absent[..21]);
        assert_eq!(none.count(), 0);
    }
}
