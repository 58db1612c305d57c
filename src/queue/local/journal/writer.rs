//! Appending to the journal.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::fault::{self, Point};
use crate::queue::local::options::SyncMode;

use super::{Position, SEGMENT_HEADER, segment_header, segments};

/// Bytes that a segment is longer than where the next one begins: the last record may reach over, and nearly every
/// commit is smaller than this.
const OVERHANG: u64 = 4 << 20;

/// Makes segments ready ahead of their use.
#[derive(Debug)]
pub(in crate::queue::local) struct Preparer {
    dir: PathBuf,
    segment_bytes: u64,
    sync: SyncMode,
    /// The highest segment that is ready. The lock is held while one is being made.
    ready: Mutex<u64>,
}

impl Preparer {
    /// Makes segment `number` ready, if it is not yet.
    pub(in crate::queue::local) fn prepare(&self, number: u64) -> io::Result<()> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if *ready >= number {
            return Ok(());
        }
        let path = segments::path(&self.dir, number);
        if let Err(error) = self.make(&path, number) {
            // What was allocated so far would only keep the disk full. If it cannot be removed it is
            // made anew the next time.
            let _kept = std::fs::remove_file(&path);
            return Err(error);
        }
        *ready = number;
        Ok(())
    }

    fn make(&self, path: &Path, number: u64) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        fault::pass(Point::SegmentCreated);
        file.write_all_at(&segment_header(number), 0)?;
        fault::pass(Point::SegmentHeaded);
        allocate(
            &file,
            0,
            self.segment_bytes + self.segment_bytes.min(OVERHANG),
        )?;
        fault::pass(Point::SegmentAllocated);
        if self.sync == SyncMode::Full {
            file.sync_all()?;
            fault::pass(Point::SegmentSynced);
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }
}

/// Gives the file the length `end`, read as zeros from `start` on, and the blocks for it, so that an append
/// neither grows the file nor can run out of space half-way. Blocks that are promised but not written cost each
/// sync a little; writing zeros first would cost every byte of the journal twice.
fn allocate(file: &File, start: u64, end: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), start, end - start) {
        Ok(()) => Ok(()),
        // Not every file system can.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            zero(file, start.max(SEGMENT_HEADER), end)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes zeros from `start` to `end`.
fn zero(file: &File, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut at = start;
    while at < end {
        let count = zeros.len().min((end - at) as usize);
        file.write_all_at(&zeros[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

/// Appends records. There is one, owned by the committer.
#[derive(Debug)]
pub(in crate::queue::local) struct Writer {
    preparer: Arc<Preparer>,
    file: File,
    /// Length of the file: up to there its blocks are ours.
    length: u64,
    position: Position,
}

impl Writer {
    /// Goes on at `tail`: what stands after it in its segment is wiped, later segments are removed.
    pub(in crate::queue::local) fn open(
        dir: &Path,
        tail: Position,
        segment_bytes: u64,
        sync: SyncMode,
    ) -> io::Result<Self> {
        for number in segments::list(dir)? {
            if number > tail.segment {
                std::fs::remove_file(segments::path(dir, number))?;
            }
        }
        let path = segments::path(dir, tail.segment);
        let is_new = !path.exists();
        let preparer = Preparer {
            dir: dir.to_owned(),
            segment_bytes,
            sync,
            ready: Mutex::new(tail.segment - u64::from(is_new)),
        };
        preparer.prepare(tail.segment)?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if !is_new {
            file.write_all_at(&segment_header(tail.segment), 0)?;
            fault::pass(Point::TailHeaded);
            // Zeros, not a shorter file: the space stays allocated, and nothing that a torn record
            // left there can ever be taken for a record.
            let end = file.metadata()?.len();
            zero(&file, tail.offset, end)?;
            fault::pass(Point::TailWiped);
        }
        if sync == SyncMode::Full {
            file.sync_all()?;
            File::open(dir)?.sync_all()?;
        }
        Ok(Self {
            preparer: Arc::new(preparer),
            length: file.metadata()?.len(),
            file,
            position: tail,
        })
    }

    pub(in crate::queue::local) fn preparer(&self) -> Arc<Preparer> {
        Arc::clone(&self.preparer)
    }

    /// Where the next record will stand. Goes to the next segment when this one is full.
    pub(in crate::queue::local) fn place(&mut self) -> io::Result<Position> {
        if self.position.offset >= self.preparer.segment_bytes {
            self.next_segment()?;
        }
        Ok(self.position)
    }

    /// Where the last record ended.
    pub(in crate::queue::local) fn position(&self) -> Position {
        self.position
    }

    /// Leaves the current segment, exactly as long as its records.
    pub(in crate::queue::local) fn next_segment(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.position.offset {
            self.file.set_len(self.position.offset)?;
            self.length = self.position.offset;
            if self.preparer.sync == SyncMode::Full {
                self.file.sync_all()?;
            }
        }
        let number = self.position.segment + 1;
        self.preparer.prepare(number)?;
        fault::pass(Point::SegmentLeft);
        self.file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(segments::path(&self.preparer.dir, number))?;
        self.length = self.file.metadata()?.len();
        self.position = Position {
            segment: number,
            offset: SEGMENT_HEADER,
        };
        Ok(())
    }

    /// Writes a finished record at the place that [`Writer::place`] gave. When that fails because the disk is
    /// full it may be tried again: nothing counts before it was synced.
    pub(in crate::queue::local) fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let end = self.position.offset + record.len() as u64;
        if end > self.length {
            allocate(&self.file, self.length, end)?;
            self.length = end;
        }
        self.file.write_all_at(record, self.position.offset)?;
        fault::pass(Point::JournalWritten);
        Ok(())
    }

    /// Makes the record that was written durable. When that fails nobody knows what is on the disk.
    pub(in crate::queue::local) fn sync(&mut self, record: &[u8]) -> io::Result<()> {
        if self.preparer.sync == SyncMode::Full {
            self.file.sync_data()?;
        }
        fault::pass(Point::JournalSynced);
        self.position.offset += record.len() as u64;
        Ok(())
    }

    /// Writes a finished record durably.
    pub(in crate::queue::local) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.write(record)?;
        self.sync(record)
    }
}
