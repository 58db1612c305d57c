//! The index: what is current, in the order in which it is looked for.
//!
//! Each table stands in the engine that suits it: what is worked through from its front in sled ([`queues`]), what is
//! looked up by its key in merge trees ([`tables`]). Neither holds anything that the journal could not bring back.
//!
//! Changes are seen at once, but reach the engines when the keeper writes them, see [`overlay`], and are durable when it
//! notes a checkpoint. Keys that are not there are mostly known without a look, see [`filter`].

mod filter;
mod overlay;
mod queues;
mod rows;
mod store;
mod tables;

use std::io;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fault::{self, Point};

use self::filter::Filters;
use self::overlay::Overlay;
use self::queues::Queues;
use self::store::{Put, Store};
use self::tables::Tables;

use super::codec::{Corrupt, Get, Put as _};
use super::disk::free_bytes;
use super::journal::Position;
use super::options::SyncMode;
use super::tree::{self, Tree};

use self::rows::Rows;

/// The format of journal and index together.
pub(super) const FORMAT: u32 = 3;

/// The format that first had tables beside sled.
const TABLES_SINCE: u32 = 3;

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
    Table(#[from] lsm_tree::Error),
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
    queues: Queues,
    tables: Tables,
    /// By the number of the tree.
    stores: [Arc<dyn Store>; Tree::COUNT],
    overlay: Arc<Overlay>,
    filters: Filters,
    dir: PathBuf,
    sync: SyncMode,
}

impl IndexError {
    /// What the operating system said, if it was that.
    pub(super) fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Io(error)
            | Self::Sled(sled::Error::Io(error))
            | Self::Table(lsm_tree::Error::Io(error)) => Some(error),
            _ => None,
        }
    }
}

/// Runs what an engine may panic in.
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
    /// Opens the index in `dir`, or makes a new one.
    pub(super) fn open(dir: &Path, cache_mb: u64, sync: SyncMode) -> Result<Self, IndexError> {
        let queues = Queues::open(dir, cache_mb)?;
        guarded(|| {
            let place = dir.join("tables");
            let meta = queues.table(Tree::Meta.name())?;
            let has_tables = format_of(Store::get(&meta, tree::FORMAT)?)? >= Some(TABLES_SINCE);
            if !has_tables && place.exists() {
                // Of a move that was cut short: an older program may have gone on since.
                std::fs::remove_dir_all(&place)?;
            }
            let mut tables = Tables::new(cache_mb);
            let mut stores = Vec::with_capacity(Tree::COUNT);
            let mut all = Tree::ALL;
            // They are found by their number.
            all.sort_unstable();
            for tree in all {
                let name = tree.name();
                let store: Arc<dyn Store> = match tree.is_looked_up() {
                    true => Arc::new(tables.open(&place.join(name), has_tables)?),
                    false => Arc::new(queues.table(name)?),
                };
                stores.push(store);
            }
            for made in [place.as_path(), dir] {
                std::fs::File::open(made)?.sync_all()?;
            }
            let stores = stores
                .try_into()
                .map_err(|_count| IndexError::Broken("trees are missing".into()))?;
            let index = Self {
                queues,
                tables,
                stores,
                overlay: Arc::default(),
                filters: Filters::default(),
                dir: dir.to_owned(),
                sync,
            };
            index.move_in()?;
            Ok(index)
        })
    }

    /// Moves rows that stood in sled until format 2 to where they are now.
    fn move_in(&self) -> Result<(), IndexError> {
        let moved = Tree::ALL.into_iter().filter(|tree| tree.is_looked_up());
        let moved: Vec<Tree> = moved.filter(|tree| self.queues.has(tree.name())).collect();
        if moved.is_empty() {
            return Ok(());
        }
        for tree in &moved {
            let old: Arc<dyn Store> = Arc::new(self.queues.table(tree.name())?);
            let mut rows = Rows::new(Arc::default(), old, *tree, (Unbounded, Unbounded));
            self.copy_in(*tree, &mut rows)?;
        }
        // Whoever opened it as format 2 now would miss them.
        self.set_format(FORMAT)?;
        self.sync()?;
        moved
            .into_iter()
            .try_for_each(|tree| self.queues.forget(tree.name()))
    }

    /// Puts rows that come in order into a table, while nobody else uses the index.
    pub(super) fn copy_in(&self, tree: Tree, rows: &mut Rows) -> Result<(), IndexError> {
        loop {
            let some = rows.by_ref().take(COPIED_AT_ONCE);
            let some: Vec<Change> = some
                .map(|row| row.map(|(key, value)| (tree, key, Some(value))))
                .collect::<Result<_, _>>()?;
            if some.is_empty() {
                return Ok(());
            }
            self.apply_now(&some)?;
        }
    }

    fn store(&self, tree: Tree) -> &Arc<dyn Store> {
        &self.stores[tree as usize]
    }

    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Value>, IndexError> {
        if self.filters.lacks(tree, key) {
            return Ok(None);
        }
        match self.overlay.get(tree, key) {
            Some(row) => Ok(row),
            None => self.store(tree).get(key),
        }
    }

    /// Rows whose key starts with `prefix`, in order.
    pub(super) fn prefix(&self, tree: Tree, prefix: &[u8]) -> Rows {
        self.range(tree, prefix, &after(prefix))
    }

    /// Rows with `from <= key < to`; an empty bound is open.
    pub(super) fn range(&self, tree: Tree, from: &[u8], to: &[u8]) -> Rows {
        let hash = from.first_chunk::<16>();
        if hash.is_some() && hash == to.first_chunk() && self.filters.lacks(tree, from) {
            return Rows::none(
                Arc::clone(&self.overlay),
                Arc::clone(self.store(tree)),
                tree,
            );
        }
        let to = match to {
            [] => Unbounded,
            to => Excluded(to.into()),
        };
        let span = (Included(from.into()), to);
        Rows::new(
            Arc::clone(&self.overlay),
            Arc::clone(self.store(tree)),
            tree,
            span,
        )
    }

    /// Makes changes visible, all at one moment. They reach their engines with [`Index::write`]: whoever changes
    /// the index has to see to that, and calls [`Index::abandon`] when nobody does any more.
    pub(super) fn apply(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        let hidden = self.overlay.lay(changes, &self.filters);
        for (tree, key) in &hidden {
            self.store(*tree).write(&[(key, None)])?;
        }
        self.overlay.uncover(&hidden);
        Ok(())
    }

    /// Writes changes where they belong, none of them to a row that another one changes: while nobody else uses the index,
    /// and before it learns its keys.
    pub(super) fn apply_now(&self, changes: &[Change]) -> Result<(), IndexError> {
        let mut rows: [Vec<Put<'_>>; Tree::COUNT] = std::array::from_fn(|_| Vec::new());
        for (tree, key, row) in changes {
            rows[*tree as usize].push((key, row.as_ref()));
        }
        for (store, mut rows) in self.stores.iter().zip(rows) {
            rows.sort_unstable_by_key(|(key, _)| *key);
            store.write(&rows)?;
        }
        if self.is_checkpoint_due() {
            self.tables.flush()?;
            self.tidy(|| false)?;
        }
        Ok(())
    }

    /// Writes what was applied before the call where it belongs. One caller at a time.
    pub(super) fn write(&self) -> Result<(), IndexError> {
        self.overlay.still(|| self.filters.renew());
        for tree in Tree::ALL {
            let rows = self.overlay.leave(tree);
            let puts: Vec<Put<'_>> = rows.iter().map(|(key, row)| (key, row.as_ref())).collect();
            self.store(tree).write(&puts)?;
            self.overlay.written();
            fault::pass(Point::IndexTreeWritten);
        }
        fault::pass(Point::IndexWritten);
        Ok(())
    }

    /// Whether so much was written that it should be brought to stable storage.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        self.tables.unflushed_bytes() > UNFLUSHED_BYTES
    }

    /// Keeps the tables in order, beside everything else, as far as there is room for it on the disk and until it is told to
    /// stop. One caller at a time.
    pub(super) fn tidy(&self, is_stopped: impl Fn() -> bool) -> Result<(), IndexError> {
        // Some file systems do not tell.
        let free_bytes = || free_bytes(&self.dir).unwrap_or(u64::MAX);
        self.tables.tidy(free_bytes, is_stopped)
    }

    /// Whether nothing more may be written before [`Index::tidy`] has found room.
    pub(super) fn is_overgrown(&self) -> bool {
        self.tables.is_overgrown()
    }

    /// Bytes that stand in memory only, about.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.overlay.bytes() + self.tables.unflushed_bytes()
    }

    /// Why a row could not be read, if that has happened.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.tables.unreadable()
    }

    /// Whether [`Index::tidy`] does not keep up with what is written.
    pub(super) fn is_untidy(&self) -> bool {
        self.tables.is_untidy()
    }

    /// Learns which keys are there, some of them at a time, so that those that are not need no look. By the one who
    /// calls [`Index::write`], after it.
    pub(super) fn learn(&self) -> Result<(), IndexError> {
        self.filters.learn(LEARNT_AT_ONCE, |tree, last| {
            let after = last.map_or(Unbounded, |last| Excluded(last.clone()));
            let (overlay, store) = (Arc::clone(&self.overlay), Arc::clone(self.store(tree)));
            let rows = Rows::new(overlay, store, tree, (after, Unbounded));
            rows.map(|row| row.map(|(key, _)| key))
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
        // It would not be there again otherwise, even when only the process dies.
        self.tables.flush()?;
        match self.sync {
            SyncMode::Full => self.queues.sync(),
            SyncMode::Off => Ok(()),
        }
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

    fn put_meta(&self, name: &[u8], value: Vec<u8>) -> Result<(), IndexError> {
        let (name, value) = (Value::from(name), Value::from(value));
        self.store(Tree::Meta).write(&[(&name, Some(&value))])
    }

    /// Notes a checkpoint. It becomes durable with the next sync; an older one is only slower.
    pub(super) fn set_checkpoint(&self, position: Position) -> Result<(), IndexError> {
        let mut value = Vec::new();
        value.put_number(position.segment);
        value.put_number(position.offset);
        self.put_meta(tree::CHECKPOINT, value)?;
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
        self.put_meta(tree::SLIM, value)
    }

    /// The format that wrote the index, if it says so.
    pub(super) fn format(&self) -> Result<Option<u32>, IndexError> {
        format_of(self.get(Tree::Meta, tree::FORMAT)?)
    }

    pub(super) fn set_format(&self, format: u32) -> Result<(), IndexError> {
        let mut value = Vec::new();
        value.put_number(u64::from(format));
        self.put_meta(tree::FORMAT, value)
    }
}

/// What stands at [`tree::FORMAT`].
fn format_of(value: Option<Value>) -> Result<Option<u32>, IndexError> {
    value
        .map(|value| Ok(Get::new(&value, "format").small()?))
        .transpose()
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

/// Rows that are copied at once.
const COPIED_AT_ONCE: usize = 8192;

/// Bytes of rows that stand in memory only, from which on they are brought to stable storage: a second of a busy bridge.
const UNFLUSHED_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_format_2_are_moved_to_where_they_are_now() {
        let dir = tempfile::tempdir().unwrap();
        let row = |number: u64| (Value::from(&number.to_be_bytes()), Value::from(&[1, 2]));
        let rows: Vec<_> = (0..COPIED_AT_ONCE as u64 + 10).map(row).collect();
        let puts: Vec<Put<'_>> = rows.iter().map(|(key, row)| (key, Some(row))).collect();
        {
            let queues = Queues::open(dir.path(), 8).unwrap();
            for tree in Tree::ALL {
                let table = queues.table(tree.name()).unwrap();
                Store::write(&table, &puts).unwrap();
            }
            queues.sync().unwrap();
        }
        {
            // A move that was cut short, before an older program took a row out.
            let key = Value::from(&u64::MAX.to_be_bytes());
            let place = dir.path().join("tables/lane");
            let mut tables = Tables::new(1);
            let table = tables.open(&place, false).unwrap();
            table.write(&[(&key, Some(&key))]).unwrap();
            tables.flush().unwrap();
        }
        for _again in 0..2 {
            let index = Index::open(dir.path(), 8, SyncMode::Full).unwrap();
            assert_eq!(index.format().unwrap(), Some(FORMAT));
            for tree in Tree::ALL {
                let meta = usize::from(tree == Tree::Meta);
                let found = index.range(tree, &[], &[]).take(rows.len() + 1 - meta);
                let found: Vec<_> = found.map(Result::unwrap).collect();
                assert!(found == rows, "{}", tree.name());
                assert_eq!(index.queues.has(tree.name()), !tree.is_looked_up());
            }
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
        index.set_format(FORMAT).unwrap();
        index.sync().unwrap();
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
