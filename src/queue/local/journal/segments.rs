//! The segment files: their names, and reading blobs out of them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::queue::local::row::Pointer;

/// Why a blob cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::queue::local) enum BlobError {
    #[error("journal segment {segment} cannot be read: {source}")]
    Io {
        segment: u64,
        #[source]
        source: std::io::Error,
    },
    #[error("journal segment {segment} is damaged at byte {offset}")]
    Damaged { segment: u64, offset: u64 },
}

impl BlobError {
    /// Whether the bytes are gone for good, as opposed to: cannot be read right now.
    pub(in crate::queue::local) fn is_damage(&self) -> bool {
        use std::io::ErrorKind::{NotFound, UnexpectedEof};
        match self {
            Self::Damaged { .. } => true,
            Self::Io { source, .. } => matches!(source.kind(), NotFound | UnexpectedEof),
        }
    }
}

/// Reads blobs. Files stay open, up to a number of them.
#[derive(Debug)]
pub(in crate::queue::local) struct Segments {
    dir: PathBuf,
    open: Mutex<HashMap<u64, Arc<File>>>,
}

/// Files kept open for reading.
const MAX_OPEN: usize = 64;

/// Blobs larger than this cannot have been written: a length beyond it is damage.
const MAX_BLOB: u64 = 1 << 30;

impl Segments {
    pub(in crate::queue::local) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            open: Mutex::default(),
        }
    }

    /// The file of segment `number`.
    pub(in crate::queue::local) fn path(&self, number: u64) -> PathBuf {
        path(&self.dir, number)
    }

    /// Where the segments are.
    pub(in crate::queue::local) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The numbers of all segments, ascending.
    pub(in crate::queue::local) fn list(&self) -> std::io::Result<Vec<u64>> {
        list(&self.dir)
    }

    /// The bytes that `pointer` names, checked.
    pub(in crate::queue::local) fn read(&self, pointer: &Pointer) -> Result<Vec<u8>, BlobError> {
        let segment = pointer.segment;
        let damaged = || BlobError::Damaged {
            segment,
            offset: pointer.offset,
        };
        if pointer.length > MAX_BLOB {
            return Err(damaged());
        }
        let file = self
            .file(segment)
            .map_err(|source| BlobError::Io { segment, source })?;
        let mut bytes = vec![0; pointer.length as usize];
        file.read_exact_at(&mut bytes, pointer.offset)
            .map_err(|source| BlobError::Io { segment, source })?;
        if crc32fast::hash(&bytes) != pointer.crc {
            return Err(damaged());
        }
        Ok(bytes)
    }

    /// Closes and deletes a segment.
    pub(in crate::queue::local) fn remove(&self, number: u64) -> std::io::Result<()> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
        std::fs::remove_file(self.path(number))
    }

    /// Gives the memory in which the system keeps a copy of a segment back to it: the journal only grows, and the
    /// next segment finds that memory warm. What is read later is read from the disk.
    pub(in crate::queue::local) fn let_go(&self, number: u64) -> std::io::Result<()> {
        let file = self.file(number)?;
        rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    fn file(&self, number: u64) -> std::io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.path(number))?);
        if open.len() >= MAX_OPEN {
            open.clear();
        }
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }
}

/// Bytes that are read at a time where the disk does not give a whole file.
const BLOCK: usize = 4096;

/// The bytes of a file. Blocks that the disk cannot give any more read as zeros, so that they cost what stands
/// in them and nothing else.
pub(in crate::queue::local) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let failed = match std::fs::read(path) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => error,
        other => return other,
    };
    tracing::error!(path = %path.display(), error = %failed, "queue.disk_cannot_read");
    let file = File::open(path)?;
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    for (number, block) in bytes.chunks_mut(BLOCK).enumerate() {
        let offset = (number * BLOCK) as u64;
        if file.read_exact_at(block, offset).is_err() {
            block.fill(0);
        }
    }
    Ok(bytes)
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.jnl"))
}

pub(super) fn list(dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_suffix(".jnl"))
            .and_then(|stem| stem.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}
