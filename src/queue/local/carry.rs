//! Carrying forward: rows that still depend on an old segment are written again into the newest, so
//! that the old one can be deleted.
//!
//! What has to stay true: the segments that remain hold the last change of every row of the index and
//! every blob that a row points to. Since only the oldest segment ever goes, a deletion always outlives
//! the row that it deleted.

use std::ops::Range;

use crate::queue::Result;

use super::index::Index;
use super::journal::record::{self, Frame};
use super::journal::{Position, SEGMENT_HEADER, Segments, read_file};
use super::row::{DeliveryRow, EventRow, Pointer, Row};
use super::stage::{ReadError, resolve, sound, spilled};
use super::tree::Tree;
use super::tx::Tx;

/// Rows of a segment that are still needed.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub rows: Vec<(Tree, Vec<u8>)>,
    /// Bytes that they need, about.
    pub bytes: u64,
    /// Bytes of records in the segment.
    pub total: u64,
}

/// Finds the rows that depend on `segment`, the oldest.
pub(super) fn live(
    index: &Index,
    segments: &Segments,
    segment: u64,
) -> std::result::Result<Live, ReadError> {
    let bytes = read_file(&segments.path(segment)).map_err(super::index::IndexError::from)?;
    let mut live = Live::default();
    let mut dark = Vec::new();
    let mut at = SEGMENT_HEADER as usize;
    while at < bytes.len() {
        let position = Position {
            segment,
            offset: at as u64,
        };
        let Some((payload, length)) = record::parse(&bytes[at..], position) else {
            // Damage was reported when the queue was opened; records after it are looked for.
            let next = (at + record::ALIGN).min(bytes.len());
            if bytes[at..next].iter().any(|byte| *byte != 0) {
                darken(&mut dark, at as u64..next as u64);
            }
            at = next;
            continue;
        };
        for frame in record::frames(payload) {
            let frame = frame?;
            if record::is_filler(&frame) {
                darken(&mut dark, at as u64..(at + length) as u64);
            }
            consider(index, position, frame, &mut live)?;
        }
        at += length;
        live.total += length as u64;
    }
    if !dark.is_empty() {
        seek(index, segments, segment, &dark, &mut live)?;
    }
    live.rows.sort_unstable();
    live.rows.dedup();
    Ok(live)
}

fn darken(dark: &mut Vec<Range<u64>>, stretch: Range<u64>) {
    match dark.last_mut() {
        Some(last) if last.end == stretch.start => last.end = stretch.end,
        _ => dark.push(stretch),
    }
}

/// Finds the rows that point into stretches of the segment that no record tells of: a damaged record may still hold
/// blobs that are whole. Goes through the index, since nothing else knows of them.
fn seek(
    index: &Index,
    segments: &Segments,
    segment: u64,
    dark: &[Range<u64>],
    live: &mut Live,
) -> std::result::Result<(), ReadError> {
    let is_dark = |pointer: &Pointer| {
        pointer.segment == segment && dark.iter().any(|one| one.contains(&pointer.offset))
    };
    for tree in [Tree::Event, Tree::Delivery, Tree::Lane, Tree::Record] {
        for row in index.range(tree, &[], &[]) {
            let (key, value) = row?;
            let own = spilled(&value)?;
            let bytes = match resolve(&value, segments) {
                Ok(bytes) => bytes,
                // It goes on saying so when it is read.
                Err(ReadError::Blob(error)) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            let mut pointers: Vec<Pointer> = match tree {
                Tree::Event => EventRow::decode(&bytes)?.pointers().map(|p| *p).collect(),
                Tree::Delivery => DeliveryRow::decode(&bytes)?.tried,
                _ => Vec::new(),
            };
            pointers.extend(own);
            pointers.retain(is_dark);
            if !pointers.is_empty() {
                live.bytes += pointers.iter().map(|p| p.length).sum::<u64>();
                live.rows.push((tree, key.to_vec()));
            }
        }
    }
    Ok(())
}

fn consider(
    index: &Index,
    record: Position,
    frame: Frame<'_>,
    live: &mut Live,
) -> std::result::Result<(), ReadError> {
    let (tree, key, size, needed) = match frame {
        Frame::Delete { .. } => return Ok(()),
        Frame::Put { tree, key, value } => {
            let current = index.get(tree, key)?;
            let needed = current.is_some_and(|current| *current == *value);
            (tree, key, value.len(), needed)
        }
        Frame::Blob {
            tree,
            key,
            start,
            bytes,
        } => {
            let at = Position {
                offset: record.offset + start as u64,
                ..record
            };
            (tree, key, bytes.len(), is_pointed_at(index, tree, key, at)?)
        }
    };
    if needed {
        live.bytes += (size + key.len()) as u64;
        live.rows.push((tree, key.to_vec()));
    }
    Ok(())
}

fn is_pointed_at(
    index: &Index,
    tree: Tree,
    key: &[u8],
    at: Position,
) -> std::result::Result<bool, ReadError> {
    let Some(value) = index.get(tree, key)? else {
        return Ok(false);
    };
    let hits = |pointer: &Pointer| (pointer.segment, pointer.offset) == (at.segment, at.offset);
    if let Some(pointer) = spilled(&value)? {
        // What a spilled row points to cannot be seen from here: it is looked at when it is carried.
        return Ok(hits(&pointer) || matches!(tree, Tree::Event | Tree::Delivery));
    }
    Ok(match tree {
        Tree::Event => EventRow::decode(&value)?.pointers().any(|p| hits(p)),
        Tree::Delivery => DeliveryRow::decode(&value)?.tried.iter().any(hits),
        _ => false,
    })
}

/// Writes rows again, with every blob that stands in `segment` or before.
pub(super) fn carry(tx: &mut Tx<'_>, segment: u64, rows: &[(Tree, Vec<u8>)]) -> Result<()> {
    for (tree, key) in rows {
        match tree {
            Tree::Event => carry_event(tx, segment, key)?,
            Tree::Delivery => carry_delivery(tx, segment, key)?,
            _ if tx.stage.changes(*tree, key) => {}
            _ => carry_plain(tx, *tree, key)?,
        }
    }
    Ok(())
}

fn carry_plain(tx: &mut Tx<'_>, tree: Tree, key: &[u8]) -> Result<()> {
    if let Some(value) = tx.stage.index().get(tree, key)? {
        let row = resolve(&value, tx.stage.segments()).map(|row| Some(row.into_owned()));
        // A damaged row stays where it is, and goes on saying so.
        if let Some(row) = sound(tree, key, row)? {
            tx.stage.put(tree, key, row);
        }
    }
    Ok(())
}

fn carry_event(tx: &mut Tx<'_>, segment: u64, key: &[u8]) -> Result<()> {
    if let Some(mut row) = tx.stage.sound_row::<EventRow>(Tree::Event, key)? {
        for pointer in row.pointers() {
            carry_blob(tx, segment, Tree::Event, key, pointer)?;
        }
        tx.stage.put_row(Tree::Event, key, &row);
    }
    Ok(())
}

fn carry_delivery(tx: &mut Tx<'_>, segment: u64, key: &[u8]) -> Result<()> {
    if let Some(mut row) = tx.stage.sound_row::<DeliveryRow>(Tree::Delivery, key)? {
        for pointer in &mut row.tried {
            carry_blob(tx, segment, Tree::Delivery, key, pointer)?;
        }
        tx.stage.put_row(Tree::Delivery, key, &row);
    }
    Ok(())
}

fn carry_blob(
    tx: &mut Tx<'_>,
    segment: u64,
    tree: Tree,
    key: &[u8],
    pointer: &mut Pointer,
) -> Result<()> {
    if pointer.segment > segment {
        return Ok(());
    }
    match tx.stage.segments().read(pointer) {
        Ok(bytes) => *pointer = tx.stage.blob(tree, key, &[&bytes]),
        // A damaged blob stays where it is: its row goes on saying so when it is read.
        Err(error) if error.is_damage() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
