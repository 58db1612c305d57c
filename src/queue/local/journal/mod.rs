//! The journal: append-only segment files in which everything stands first.
//!
//! A segment is a header of 16 bytes (`OBJSEG01`, its number) and records, each starting at a
//! multiple of 8. A record is one commit; see [`record`] for its layout. Its checksum covers the
//! place where it stands, so that bytes of one record, or of a body inside it, never read as another.
//!
//! A segment gets its length and its blocks, which read as zeros, and is synced before it is used: an append then neither
//! grows the file nor runs out of space half-way. A segment that is left is exactly as long as its records.
//!
//! Since one record at a time is written and synced, at most the very last one can be torn by a
//! crash. Anything else that does not read is damage: it is stepped over, reported, and a copy of
//! the segment is kept ([`scan`]).

pub(super) mod record;
pub(super) mod scan;
mod segments;
mod writer;

pub(super) use segments::{BlobError, Segments, read_file};
pub(super) use writer::{Preparer, Writer};

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub segment: u64,
    pub offset: u64,
}

/// Bytes before the first record of a segment.
pub(super) const SEGMENT_HEADER: u64 = 16;

const SEGMENT_MAGIC: &[u8; 8] = b"OBJSEG01";

pub(super) fn segment_header(number: u64) -> [u8; SEGMENT_HEADER as usize] {
    let mut header = [0; SEGMENT_HEADER as usize];
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..].copy_from_slice(&number.to_be_bytes());
    header
}
