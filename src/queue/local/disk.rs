//! What the disk has and says.

use std::io;
use std::path::Path;

/// Bytes free for ordinary users on the file system of `dir`.
///
/// # Errors
/// When the file system does not tell.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes of the files in `dir` and in those below it; what cannot be read counts nothing.
pub(super) fn directory_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let bytes = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        Some(match metadata.is_dir() {
            true => directory_bytes(&entry.path()),
            false => metadata.len(),
        })
    };
    entries.filter_map(|entry| bytes(entry.ok()?)).sum()
}

/// Whether it may pass by itself, as soon as somebody makes room.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Whether too many files are open, or memory is short, which passes by itself.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}
