//! One commit as bytes.
//!
//! ```text
//! magic u32 | length u32 | crc32 u32 | version u8 | frames … | zeros up to a multiple of 8
//! ```
//!
//! `length` counts version and frames; the checksum covers segment number, offset, length, version
//! and frames. A frame is a blob with the row that owns it, or a put or delete in a tree of the index:
//! the physical change, so that applying it twice is harmless.

use crate::queue::local::codec::{Corrupt, Get, Put};
use crate::queue::local::row::Pointer;
use crate::queue::local::tree::Tree;

use super::Position;

pub(in crate::queue::local) const MAGIC: u32 = 0x4f42_4a52;
pub(in crate::queue::local) const HEADER: usize = 12;
pub(in crate::queue::local) const ALIGN: usize = 8;
const VERSION: u8 = 1;

const BLOB: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;

/// One frame of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::queue::local) enum Frame<'a> {
    /// Bytes that a row points to.
    Blob {
        tree: Tree,
        key: &'a [u8],
        /// Where the bytes start, counted from the record's first byte.
        start: usize,
        bytes: &'a [u8],
    },
    /// A row was written.
    Put {
        tree: Tree,
        key: &'a [u8],
        value: &'a [u8],
    },
    /// A row was removed.
    Delete { tree: Tree, key: &'a [u8] },
}

/// Collects one record; its buffer is used again for the next.
#[derive(Debug, Default)]
pub(in crate::queue::local) struct Builder {
    buffer: Vec<u8>,
    segment: u64,
    offset: u64,
}

impl Builder {
    /// Begins a record that will stand at `position`.
    pub(in crate::queue::local) fn begin(&mut self, position: Position) {
        self.segment = position.segment;
        self.offset = position.offset;
        self.buffer.clear();
        // A buffer that one huge commit left behind is given back.
        self.buffer.shrink_to(16 << 20);
        self.buffer.resize(HEADER, 0);
        self.buffer.put_u8(VERSION);
    }

    /// Bytes so far.
    pub(in crate::queue::local) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Forgets what was added after `length`.
    pub(in crate::queue::local) fn truncate(&mut self, length: usize) {
        self.buffer.truncate(length);
    }

    /// Adds a blob made of `parts`, owned by a row, and says where it will stand.
    pub(in crate::queue::local) fn blob(
        &mut self,
        tree: Tree,
        key: &[u8],
        parts: &[&[u8]],
    ) -> Pointer {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.buffer.put_u8(BLOB);
        self.buffer.put_u8(tree as u8);
        self.buffer.put_bytes(key);
        self.buffer.put_number(length as u64);
        let start = self.buffer.len();
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        Pointer {
            segment: self.segment,
            offset: self.offset + start as u64,
            length: length as u64,
            crc: crc32fast::hash(&self.buffer[start..]),
        }
    }

    pub(in crate::queue::local) fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.buffer.put_u8(PUT);
        self.buffer.put_u8(tree as u8);
        self.buffer.put_bytes(key);
        self.buffer.put_bytes(value);
    }

    pub(in crate::queue::local) fn delete(&mut self, tree: Tree, key: &[u8]) {
        self.buffer.put_u8(DELETE);
        self.buffer.put_u8(tree as u8);
        self.buffer.put_bytes(key);
    }

    /// Closes the record: fills in length and checksum. `None` when it is too large to be written.
    pub(in crate::queue::local) fn finish(&mut self) -> Option<&[u8]> {
        let length = u32::try_from(self.buffer.len() - HEADER).ok()?;
        let position = Position {
            segment: self.segment,
            offset: self.offset,
        };
        let crc = checksum(position, length, &self.buffer[HEADER..]);
        self.buffer[..4].copy_from_slice(&MAGIC.to_be_bytes());
        self.buffer[4..8].copy_from_slice(&length.to_be_bytes());
        self.buffer[8..12].copy_from_slice(&crc.to_be_bytes());
        let padded = self.buffer.len().next_multiple_of(ALIGN);
        self.buffer.resize(padded, 0);
        Some(&self.buffer)
    }
}

/// A record that says nothing, as long as `damaged`, which it replaces at `position`. But for its own first bytes it
/// leaves everything as it stands: a blob in there that is whole can still be pointed at. `None` when there is not
/// even room for an empty record.
pub(in crate::queue::local) fn filler(position: Position, damaged: &[u8]) -> Option<Vec<u8>> {
    let bytes = damaged.len();
    // A blob's length takes up to five bytes, according to the length.
    (0..=5).find_map(|spare| {
        let mut builder = Builder::default();
        builder.begin(position);
        if let Some(length) = bytes.checked_sub(HEADER + 4 + spare) {
            // Where it will stand depends on how long its length is: as long as `spare`, or this is not the one.
            let start = bytes - length;
            builder.blob(Tree::Meta, &[], &[&damaged[start..]]);
            if builder.len() != bytes {
                return None;
            }
        }
        let record = builder.finish()?;
        (record.len() == bytes).then(|| record.to_vec())
    })
}

/// Whether a frame is what a [`filler`] has in the place of changes.
pub(in crate::queue::local) fn is_filler(frame: &Frame<'_>) -> bool {
    matches!(
        frame,
        Frame::Blob {
            tree: Tree::Meta,
            key: [],
            ..
        }
    )
}

fn checksum(position: Position, length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.segment.to_be_bytes());
    hasher.update(&position.offset.to_be_bytes());
    hasher.update(&length.to_be_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// The record at the front of `bytes`, which stand at `position`: its payload and its length with
/// padding. `None` when there is no valid record.
pub(in crate::queue::local) fn parse(bytes: &[u8], position: Position) -> Option<(&[u8], usize)> {
    let word = |at: usize| {
        let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(four))
    };
    if word(0)? != MAGIC {
        return None;
    }
    let length = word(4)?;
    let payload = bytes.get(HEADER..HEADER.checked_add(length as usize)?)?;
    if payload.first() != Some(&VERSION) || checksum(position, length, payload) != word(8)? {
        return None;
    }
    Some((
        payload,
        (HEADER + payload.len())
            .next_multiple_of(ALIGN)
            .min(bytes.len()),
    ))
}

/// Reads the frames of a payload.
pub(in crate::queue::local) fn frames(payload: &[u8]) -> Frames<'_> {
    Frames {
        get: Get::new(payload.get(1..).unwrap_or_default(), "journal record"),
        length: payload.len(),
    }
}

/// Iterator over the frames of a record.
#[derive(Debug)]
pub(in crate::queue::local) struct Frames<'a> {
    get: Get<'a>,
    length: usize,
}

impl<'a> Frames<'a> {
    fn read(&mut self) -> Result<Frame<'a>, Corrupt> {
        let kind = self.get.u8()?;
        let tree = Tree::from_u8(self.get.u8()?)?;
        let key = self.get.bytes()?;
        match kind {
            BLOB => {
                let bytes = self.get.bytes()?;
                let start = HEADER + self.length - self.get.rest().len() - bytes.len();
                Ok(Frame::Blob {
                    tree,
                    key,
                    start,
                    bytes,
                })
            }
            PUT => {
                let value = self.get.bytes()?;
                Ok(Frame::Put { tree, key, value })
            }
            DELETE => Ok(Frame::Delete { tree, key }),
            _ => Err(self.get.corrupt()),
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.get.is_empty() {
            return None;
        }
        let frame = self.read();
        if frame.is_err() {
            self.get = Get::new(&[], "journal record");
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: Position = Position {
        segment: 7,
        offset: 1024,
    };

    proptest! {
        #[test]
        fn records_read_back(key: Vec<u8>, value: Vec<u8>, body: Vec<u8>) {
            let mut builder = Builder::default();
            builder.begin(AT);
            let pointer = builder.blob(Tree::Event, &key, &[&body, b"!"]);
            builder.put(Tree::Lane, &key, &value);
            builder.delete(Tree::Todo, &key);
            let bytes = builder.finish().unwrap().to_vec();
            prop_assert_eq!(bytes.len() % ALIGN, 0);
            let (payload, length) = parse(&bytes, AT).unwrap();
            prop_assert_eq!(length, bytes.len());
            let all: Vec<Frame<'_>> = frames(payload).collect::<Result<_, _>>().unwrap();
            let start = (pointer.offset - AT.offset) as usize;
            let blob = &bytes[start..start + pointer.length as usize];
            prop_assert_eq!(&blob[..body.len()], &body[..]);
            prop_assert_eq!(all, vec![
                Frame::Blob { tree: Tree::Event, key: &key, start, bytes: blob },
                Frame::Put { tree: Tree::Lane, key: &key, value: &value },
                Frame::Delete { tree: Tree::Todo, key: &key },
            ]);
        }

        #[test]
        fn a_changed_byte_or_place_makes_it_invalid(at in 0usize..40, flip in 1u8..) {
            let mut builder = Builder::default();
            builder.begin(AT);
            builder.put(Tree::Lane, b"key", b"a value of some bytes");
            let bytes = builder.finish().unwrap();
            let meaningful = 12 + u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
            let mut other = bytes.to_vec();
            other[at % meaningful] ^= flip;
            prop_assert!(parse(&other, AT).is_none());
            let elsewhere = [Position { offset: 8, ..AT }, Position { segment: 8, ..AT }];
            for place in elsewhere {
                prop_assert!(parse(bytes, place).is_none());
            }
        }

        #[test]
        fn a_filler_of_any_size_is_a_record_without_changes(words in 2usize..5000) {
            let bytes = words * ALIGN;
            let damaged: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            let filler = filler(AT, &damaged).unwrap();
            prop_assert!(bytes < 24 || filler[24..] == damaged[24..]);
            let (payload, length) = parse(&filler, AT).unwrap();
            prop_assert_eq!(length, bytes);
            let is_blob = |frame| matches!(frame, Ok(Frame::Blob { .. }));
            prop_assert!(frames(payload).all(is_blob));
        }

        #[test]
        fn any_bytes_are_frames_or_refused(bytes: Vec<u8>) {
            let _ = frames(&bytes).count();
            let _ = parse(&bytes, AT);
        }
    }
}
