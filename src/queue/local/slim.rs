//! Giving back the space of an index that has become small.
//!
//! sled uses space again that rows have left, but its file never shrinks, and a table of its pages stays in memory. Once
//! a backlog is worked off and its events are gone, the index is much larger than the journal that it points to; then its
//! rows are copied into a new one beside it, which takes its place. Whenever that is cut short, one of the two is whole.

use std::fs;
use std::path::{Path, PathBuf};

use super::disk::directory_bytes;
use super::index::IndexError;
use super::journal::Segments;

/// An index is worth slimming from so many segments' size on.
const WORTH: u64 = 4;
/// It is slimmed when it is so many times as large as the journal, and as it was when it was slim.
const TIMES: u64 = 2;

/// The index of a data directory, and those beside it while it is replaced.
#[derive(Debug)]
pub(super) struct Places {
    pub index: PathBuf,
    /// The one that is being made.
    pub fresh: PathBuf,
    /// The one that has been replaced.
    old: PathBuf,
}

impl Places {
    pub(super) fn of(dir: &Path) -> Self {
        Self {
            index: dir.join("index"),
            fresh: dir.join("index.fresh"),
            old: dir.join("index.old"),
        }
    }

    /// Ends a replacement that was cut short, or undoes it. Before the index is opened.
    pub(super) fn settle(&self) -> Result<(), IndexError> {
        if self.old.exists() && !self.index.exists() && self.fresh.exists() {
            fs::rename(&self.fresh, &self.index)?;
        }
        for place in [&self.fresh, &self.old] {
            if place.exists() {
                fs::remove_dir_all(place)?;
            }
        }
        Ok(())
    }

    /// Puts the new one, which is whole, in the place of the other. Neither may be open.
    pub(super) fn swap(&self) -> Result<(), IndexError> {
        for entry in fs::read_dir(&self.fresh)? {
            fs::File::open(entry?.path())?.sync_all()?;
        }
        fs::File::open(&self.fresh)?.sync_all()?;
        fs::rename(&self.index, &self.old)?;
        fs::rename(&self.fresh, &self.index)?;
        fs::remove_dir_all(&self.old)?;
        Ok(())
    }

    /// Whether the index, which had `slim_bytes` when it was slim, is much larger than it need be.
    pub(super) fn is_bloated(
        &self,
        segments: &Segments,
        segment_bytes: u64,
        slim_bytes: u64,
    ) -> bool {
        let index = self.index_bytes();
        let needed = directory_bytes(segments.dir()).max(slim_bytes);
        index > WORTH * segment_bytes && index > TIMES * needed
    }

    /// Bytes of the index's files.
    pub(super) fn index_bytes(&self) -> u64 {
        directory_bytes(&self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn have(place: &Path, what: &str) {
        fs::create_dir_all(place).unwrap();
        fs::write(place.join("db"), what).unwrap();
    }

    fn holds(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn wherever_it_is_cut_short_one_whole_index_is_left() {
        // What there is: index, fresh, old. And what must be there in the end.
        for (there, left) in [
            ([true, false, false], "index"),
            ([true, true, false], "index"),
            ([false, true, true], "fresh"),
            ([true, false, true], "index"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let places = Places::of(dir.path());
            let all = [&places.index, &places.fresh, &places.old];
            for ((place, name), is_there) in all.iter().zip(["index", "fresh", "old"]).zip(there) {
                if is_there {
                    have(place, name);
                }
            }
            places.settle().unwrap();
            assert_eq!(holds(dir.path()), ["index"], "{there:?}");
            let kept = fs::read_to_string(places.index.join("db")).unwrap();
            assert_eq!(kept, left, "{there:?}");
        }
    }
}
