//! The tables that are worked through from their front, in sled: what is to be done, and when.
//!
//! sled finds and removes the first row of a table in no time, however many were removed before it. Three habits of
//! 0.34.7 are dealt with here: its `flush` does not sync the file, so [`Queues::sync`] does; a half-written snapshot makes
//! it refuse to open, so such files are removed first; damage makes it panic, so opening is done under `catch_unwind`.
//! Rows are kept small (see [`stage`](super::super::stage)): sled never syncs large ones.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::fault::{self, Point};

use super::overlay::{End, Span};
use super::store::{Put, Row, Store};
use super::{IndexError, Value, guarded};

/// The open database.
#[derive(Debug)]
pub(super) struct Queues {
    db: sled::Db,
    /// sled's file, to be synced after each flush.
    file: File,
}

impl Queues {
    /// Opens the database in `dir`, or makes a new one. Snapshots that stand in the way are moved aside:
    /// sled makes a new one from its log.
    pub(super) fn open(dir: &Path, cache_mb: u64) -> Result<Self, IndexError> {
        std::fs::create_dir_all(dir)?;
        for path in snapshots(dir)? {
            if path.extension().is_some_and(|e| e == "generating") {
                std::fs::remove_file(path)?;
            }
        }
        Self::open_unlocked(dir, cache_mb).or_else(|first| {
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
            guarded(|| Self::try_open(dir, cache_mb))
        })
    }

    /// We hold the directory, so sled's own lock can only be a leftover: of a read that has not ended
    /// in this process, or of a process that is being forked from it. Both pass.
    fn open_unlocked(dir: &Path, cache_mb: u64) -> Result<Self, IndexError> {
        for _ in 0..LOCK_TRIES {
            match guarded(|| Self::try_open(dir, cache_mb)) {
                Err(error) if is_locked(&error) => std::thread::sleep(LOCK_WAIT),
                other => return other,
            }
        }
        guarded(|| Self::try_open(dir, cache_mb))
    }

    fn try_open(dir: &Path, cache_mb: u64) -> Result<Self, IndexError> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_mb.max(8) << 20)
            // sled frees space in this flusher only.
            .flush_every_ms(Some(500))
            .open()?;
        let file = File::open(dir.join("db"))?;
        Ok(Self { db, file })
    }

    /// The table of this name, which is made when it is not there.
    pub(super) fn table(&self, name: &str) -> Result<sled::Tree, IndexError> {
        Ok(self.db.open_tree(name)?)
    }

    /// Whether there is a table of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.db
            .tree_names()
            .iter()
            .any(|known| known == name.as_bytes())
    }

    /// Removes a table with its rows.
    pub(super) fn forget(&self, name: &str) -> Result<(), IndexError> {
        self.db.drop_tree(name)?;
        Ok(())
    }

    /// Brings everything written so far to stable storage.
    pub(super) fn sync(&self) -> Result<(), IndexError> {
        self.db.flush()?;
        fault::pass(Point::IndexFlushed);
        self.file.sync_data()?;
        fault::pass(Point::IndexSynced);
        Ok(())
    }
}

impl Store for sled::Tree {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, IndexError> {
        Ok(self.get(key)?)
    }

    fn some(&self, span: Span, end: End, count: usize) -> Result<Vec<Row>, IndexError> {
        let rows = self.range(span);
        let rows: Result<_, sled::Error> = match end {
            End::Front => rows.take(count).collect(),
            End::Back => rows.rev().take(count).collect(),
        };
        Ok(rows?)
    }

    fn write(&self, rows: &[Put<'_>]) -> Result<(), IndexError> {
        for (key, row) in spread(rows) {
            match row {
                Some(row) => self.insert(key, *row)?,
                None => self.remove(key)?,
            };
        }
        Ok(())
    }
}

/// Rows in an order that fills sled's leaves. A leaf that has more than 16 rows is split: 9 stay, the others move on. So
/// rows that are put in their own order leave leaves of 9 behind, which never get another row. Here 9 of 16 come first,
/// spread evenly, and then the others, which fill the leaves: half as many pages for what comes in order, which most does.
fn spread<T>(rows: &[T]) -> impl Iterator<Item = &T> {
    const SPLIT: usize = 16;
    const STAY: usize = 9;
    let comes_first = |at: usize| at * STAY % SPLIT < STAY;
    let pass = |first: bool| {
        rows.iter()
            .enumerate()
            .filter(move |(at, _)| comes_first(*at) == first)
            .map(|(_, row)| row)
    };
    pass(true).chain(pass(false))
}

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

    fn with_a_row(dir: &Path) {
        let queues = Queues::open(dir, 8).unwrap();
        queues.table("todo").unwrap().insert([1], &[2]).unwrap();
        queues.sync().unwrap();
    }

    fn has_the_row(dir: &Path) -> bool {
        let queues = Queues::open(dir, 8).unwrap();
        let row = queues.table("todo").unwrap().get([1]).unwrap();
        row.as_deref() == Some(&[2])
    }

    #[test]
    fn a_half_written_snapshot_does_not_keep_it_from_opening() {
        let dir = tempfile::tempdir().unwrap();
        with_a_row(dir.path());
        std::fs::write(dir.path().join("snap.0000000000000042.generating"), b"x").unwrap();
        assert!(has_the_row(dir.path()));
    }

    #[test]
    fn a_damaged_snapshot_is_moved_aside_and_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        with_a_row(dir.path());
        drop(Queues::open(dir.path(), 8).unwrap());
        let all = snapshots(dir.path()).unwrap();
        assert!(!all.is_empty(), "sled wrote a snapshot on opening");
        for path in all {
            std::fs::write(path, b"not a snapshot at all").unwrap();
        }
        assert!(has_the_row(dir.path()));
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
}
