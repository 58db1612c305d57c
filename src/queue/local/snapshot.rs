//! Copying the journal while it grows: a backup.
//!
//! The journal is the truth and the index is made from it, so a copy of the journal up to any of its records is
//! a consistent copy of the queue. Segments are copied from the newest to the oldest: when a segment held records
//! as it was copied, the one before it was complete by then. What reclaiming takes away meanwhile was carried
//! into newer segments first, so then the copy is brought up to date again. Nothing waits for the copy.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::journal::scan::{Damage, Found, scan};
use super::journal::{Position, SEGMENT_HEADER, Segments};
use super::options::OpenError;

/// How often the copy is brought up to date because segments went while it was made.
const PASSES: usize = 20;

/// What a copy of the journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct JournalCopy {
    /// Segment files.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Commits in them.
    pub records: u64,
    /// Bytes that were damaged in the journal already. They are copied as they are.
    pub damaged_bytes: u64,
    /// Segments that are missing in the journal already.
    pub missing_segments: u64,
}

/// Bytes of the journal in the data directory `dir`: what a copy needs at most.
///
/// # Errors
/// When the directory cannot be read.
pub fn journal_bytes(dir: &Path) -> Result<u64, OpenError> {
    let journal = dir.join("journal");
    let segments = Segments::new(journal.clone());
    let list = segments.list().map_err(OpenError::io("read", &journal))?;
    // One that was removed meanwhile needs no room.
    let length = |number: &u64| std::fs::metadata(segments.path(*number)).map_or(0, |m| m.len());
    Ok(list.iter().map(length).sum())
}

/// Copies the journal of the data directory `dir`, which may be in use, into `to/journal`, which must not exist.
/// The copy is synced, and read again to its end. Blocks; memory is bounded by one segment.
///
/// # Errors
/// [`OpenError::Io`] when something cannot be read or written.
pub fn copy_journal(dir: &Path, to: &Path) -> Result<JournalCopy, OpenError> {
    let (from, to) = (Segments::new(dir.join("journal")), to.join("journal"));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&to)
        .map_err(OpenError::io("create", &to))?;
    let to = Segments::new(to);
    let copy = copy_segments(&from, &to).and_then(|()| check(&from, &to));
    copy.map_err(OpenError::io("copy the journal to", to.dir()))
}

fn copy_segments(from: &Segments, to: &Segments) -> io::Result<()> {
    // Those that were closed when they were copied: they never change again.
    let mut complete: BTreeSet<u64> = BTreeSet::new();
    for _ in 0..PASSES {
        let list = from.list()?;
        if pass(from, to, &list, &mut complete)? {
            for number in to.list()? {
                if list.first().is_some_and(|first| number < *first) {
                    to.remove(number)?;
                }
            }
            return Ok(());
        }
    }
    Err(io::Error::other(
        "segments of the journal were removed faster than they could be copied",
    ))
}

/// Copies what is not complete yet, the newest first. `false` when a segment is gone.
fn pass(
    from: &Segments,
    to: &Segments,
    list: &[u64],
    complete: &mut BTreeSet<u64>,
) -> io::Result<bool> {
    let mut is_closed = false;
    for number in list.iter().rev() {
        if !complete.contains(number) {
            match copy_file(&from.path(*number), &to.path(*number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                copied => copied?,
            }
            if is_closed {
                complete.insert(*number);
            }
        }
        is_closed = is_closed || has_records(&to.path(*number))?;
    }
    Ok(true)
}

/// Whether a segment is in use: one that was only prepared holds zeros.
fn has_records(path: &Path) -> io::Result<bool> {
    let mut first = [0; 4];
    match File::open(path)?.read_exact_at(&mut first, SEGMENT_HEADER) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| first != [0; 4]),
    }
}

/// Copies a file into one that only its owner can read, and syncs it.
pub(super) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.sync_all()
}

/// Cuts the copy behind its last record and reads all of it.
fn check(from: &Segments, to: &Segments) -> io::Result<JournalCopy> {
    let mut found = read(to)?;
    // A record that was being written while it was copied looks damaged when the next one was copied whole.
    for damage in &found.damages {
        copy_again(from, to, damage)?;
    }
    if !found.damages.is_empty() {
        found = read(to)?;
    }
    for number in to.list()? {
        if number > found.tail.segment {
            to.remove(number)?;
        }
    }
    let last = to.path(found.tail.segment);
    if last.exists() {
        let last = OpenOptions::new().write(true).open(last)?;
        last.set_len(found.tail.offset)?;
        last.sync_all()?;
    }
    File::open(to.dir())?.sync_all()?;
    let list = to.list()?;
    let length = |number: &u64| Ok(std::fs::metadata(to.path(*number))?.len());
    Ok(JournalCopy {
        segments: list.len() as u64,
        bytes: list.iter().map(length).sum::<io::Result<u64>>()?,
        records: found.records,
        damaged_bytes: found.damages.iter().map(|damage| damage.bytes).sum(),
        missing_segments: found.missing.len() as u64,
    })
}

fn read(segments: &Segments) -> io::Result<Found> {
    let start = start(segments)?;
    scan::<io::Error>(segments.dir(), start, |_, _| Ok(()))
}

/// Where the first segment begins.
pub(super) fn start(segments: &Segments) -> io::Result<Position> {
    Ok(Position {
        segment: segments.list()?.first().copied().unwrap_or(1),
        offset: SEGMENT_HEADER,
    })
}

fn copy_again(from: &Segments, to: &Segments, damage: &Damage) -> io::Result<()> {
    let source = match File::open(from.path(damage.at.segment)) {
        // It is gone, so it was not being written either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let mut bytes = vec![0; damage.bytes as usize];
    match source.read_exact_at(&mut bytes, damage.at.offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        read => read?,
    }
    let copy = OpenOptions::new()
        .write(true)
        .open(to.path(damage.at.segment))?;
    copy.write_all_at(&bytes, damage.at.offset)?;
    copy.sync_all()
}
