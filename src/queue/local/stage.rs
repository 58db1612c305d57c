//! What a commit is going to change: reads see the index with the changes of this commit over it,
//! writes collect, and a request that fails leaves no trace.
//!
//! A row over [`INLINE`] bytes is *spilled*: the journal holds it as a blob and the index only the
//! pointer, since sled never syncs large values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::codec::{Corrupt, Get, Put};
use super::disk::is_shortage;
use super::index::{Change, Index, IndexError, Value};
use super::journal::record::Builder;
use super::journal::{BlobError, Position, Segments};
use super::merged;
use super::row::{Pointer, Row};
use super::tree::Tree;
use crate::queue::QueueError;

/// Rows up to this size stand in the index itself.
const INLINE: usize = 1024;

/// First byte of a value that is a pointer to the row. Versions of rows start at 1.
const SPILLED: u8 = 0;

/// Why something stored cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

impl ReadError {
    /// Whether the row is gone for good, as opposed to: the index does not work, or it cannot be read right now.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Index(_) => false,
            Self::Blob(error) => error.is_damage(),
            Self::Corrupt(_) => true,
        }
    }
}

impl From<ReadError> for QueueError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Index(error) => error.into(),
            ReadError::Blob(error) => error.into(),
            ReadError::Corrupt(error) => Self::Damaged(error.to_string().into()),
        }
    }
}

impl From<IndexError> for QueueError {
    fn from(error: IndexError) -> Self {
        if error.io().is_some_and(is_shortage) {
            tracing::warn!(%error, "queue.not_readable_now");
            return Self::Busy("too many files are open, or memory is short");
        }
        Self::Storage(error.to_string().into())
    }
}

impl From<BlobError> for QueueError {
    fn from(error: BlobError) -> Self {
        if error.is_damage() {
            return Self::Damaged(error.to_string().into());
        }
        tracing::warn!(%error, "queue.not_readable_now");
        Self::Busy("the journal cannot be read right now")
    }
}

// Keys, and rows so small that they stand in the index: another index has them right.
impl From<Corrupt> for QueueError {
    fn from(error: Corrupt) -> Self {
        Self::Storage(error.to_string().into())
    }
}

/// The row behind a stored value.
pub(super) fn resolve<'a>(
    value: &'a [u8],
    segments: &Segments,
) -> Result<Cow<'a, [u8]>, ReadError> {
    match spilled(value)? {
        None => Ok(Cow::Borrowed(value)),
        Some(pointer) => Ok(Cow::Owned(segments.read(&pointer)?)),
    }
}

/// Where a spilled row stands; `None` when the value is the row itself.
pub(super) fn spilled(value: &[u8]) -> Result<Option<Pointer>, Corrupt> {
    let Some((&SPILLED, rest)) = value.split_first() else {
        return Ok(None);
    };
    let mut get = Get::new(rest, "spilled row");
    let pointer = Pointer::read(&mut get)?;
    get.end()?;
    Ok(Some(pointer))
}

/// Reads a committed row.
pub(super) fn read_row<R: Row>(
    index: &Index,
    segments: &Segments,
    tree: Tree,
    key: &[u8],
) -> Result<Option<R>, ReadError> {
    let Some(value) = index.get(tree, key)? else {
        return Ok(None);
    };
    decode(&value, segments).map(Some)
}

/// Reads a committed row. A damaged one counts as absent, see [`sound`].
pub(super) fn read_sound_row<R: Row>(
    index: &Index,
    segments: &Segments,
    tree: Tree,
    key: &[u8],
) -> Result<Option<R>, ReadError> {
    sound(tree, key, twice(|| read_row(index, segments, tree, key)))
}

/// Reads once more what does not read: between the look at the index and the one at the journal it may have been
/// carried forward, and its old segment given back.
pub(super) fn twice<T>(mut read: impl FnMut() -> Result<T, ReadError>) -> Result<T, ReadError> {
    match read() {
        Err(error) if error.is_damage() => read(),
        read => read,
    }
}

/// Nothing in the place of a damaged row, which is told: one row must not stop everything.
pub(super) fn sound<T>(
    tree: Tree,
    key: &[u8],
    read: Result<Option<T>, ReadError>,
) -> Result<Option<T>, ReadError> {
    match read {
        Err(error) if error.is_damage() => {
            tracing::error!(
                tree = tree.name(),
                key = hex::encode(key),
                %error,
                "queue.row_damaged: it counts as absent"
            );
            Ok(None)
        }
        read => read,
    }
}

/// The row that a stored value is, or stands for.
pub(super) fn decode<R: Row>(value: &[u8], segments: &Segments) -> Result<R, ReadError> {
    Ok(R::decode(&resolve(value, segments)?)?)
}

type Changes = BTreeMap<Value, Option<Value>>;

/// A row, and the change of it that was there before, if one was.
type Undo = (Tree, Value, Option<Option<Value>>);

/// The changes of one commit.
#[derive(Debug)]
pub(super) struct Stage {
    index: Arc<Index>,
    segments: Arc<Segments>,
    record: Builder,
    changes: [Changes; Tree::COUNT],
    undo: Vec<Undo>,
    savepoint: usize,
    /// Where rows are encoded.
    scratch: Vec<u8>,
}

impl Stage {
    pub(super) fn new(index: Arc<Index>, segments: Arc<Segments>) -> Self {
        Self {
            index,
            segments,
            record: Builder::default(),
            changes: Default::default(),
            undo: Vec::new(),
            savepoint: 0,
            scratch: Vec::new(),
        }
    }

    /// Begins a commit whose record will stand at `position`.
    pub(super) fn begin(&mut self, position: Position) {
        self.record.begin(position);
        self.changes.iter_mut().for_each(BTreeMap::clear);
        self.savepoint();
    }

    /// Everything up to here stays.
    pub(super) fn savepoint(&mut self) {
        self.undo.clear();
        self.savepoint = self.record.len();
    }

    /// Undoes everything since the last savepoint.
    pub(super) fn rollback(&mut self) {
        for (tree, key, before) in self.undo.drain(..).rev() {
            let changes = &mut self.changes[tree as usize];
            match before {
                Some(change) => changes.insert(key, change),
                None => changes.remove(&key),
            };
        }
        self.record.truncate(self.savepoint);
    }

    /// Bytes that the commit has so far, about.
    pub(super) fn len(&self) -> usize {
        self.record.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.iter().all(BTreeMap::is_empty)
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Reads a row as this commit leaves it.
    pub(super) fn row<R: Row>(&self, tree: Tree, key: &[u8]) -> Result<Option<R>, ReadError> {
        match self.changes[tree as usize].get(key) {
            Some(Some(row)) => Ok(Some(R::decode(row)?)),
            Some(None) => Ok(None),
            None => read_row(&self.index, &self.segments, tree, key),
        }
    }

    /// The same; a damaged row counts as absent, see [`sound`].
    pub(super) fn sound_row<R: Row>(&self, tree: Tree, key: &[u8]) -> Result<Option<R>, ReadError> {
        sound(tree, key, self.row(tree, key))
    }

    /// The value of a row that is never spilled, as this commit leaves it.
    pub(super) fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Value>, ReadError> {
        Ok(match self.changes[tree as usize].get(key) {
            Some(change) => change.clone(),
            None => self.index.get(tree, key)?,
        })
    }

    /// Rows with `from <= key < to`, as this commit leaves them; an empty end is open. For trees whose rows are
    /// never spilled.
    pub(super) fn range(
        &self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = Result<merged::Row, IndexError>> + use<'_> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let end = if to.is_empty() {
            Unbounded
        } else {
            Excluded(to)
        };
        let changes = self.changes[tree as usize].range::<[u8], _>((Included(from), end));
        merged::Merged {
            stored: self.index.range(tree, from, to).peekable(),
            changes: changes.peekable(),
        }
    }

    pub(super) fn contains(&self, tree: Tree, key: &[u8]) -> Result<bool, ReadError> {
        Ok(match self.changes[tree as usize].get(key) {
            Some(change) => change.is_some(),
            None => self.index.get(tree, key)?.is_some(),
        })
    }

    /// Whether this commit already changes the row.
    pub(super) fn changes(&self, tree: Tree, key: &[u8]) -> bool {
        self.changes[tree as usize].contains_key(key)
    }

    pub(super) fn put(&mut self, tree: Tree, key: &[u8], value: Vec<u8>) {
        self.change(tree, key, Some(value.into()));
    }

    pub(super) fn put_row<R: Row>(&mut self, tree: Tree, key: &[u8], row: &R) {
        let mut scratch = mem::take(&mut self.scratch);
        scratch.clear();
        row.encode_into(&mut scratch);
        self.change(tree, key, Some(Value::from(scratch.as_slice())));
        self.scratch = scratch;
    }

    pub(super) fn delete(&mut self, tree: Tree, key: &[u8]) {
        self.change(tree, key, None);
    }

    /// Puts bytes into the journal that the row `key` of `tree` is going to point to.
    pub(super) fn blob(&mut self, tree: Tree, key: &[u8], parts: &[&[u8]]) -> Pointer {
        self.record.blob(tree, key, parts)
    }

    fn change(&mut self, tree: Tree, key: &[u8], value: Option<Value>) {
        let key = Value::from(key);
        let before = self.changes[tree as usize].insert(key.clone(), value);
        self.undo.push((tree, key, before));
    }

    /// Ends the commit: its record for the journal and its changes for the index. `None` as record
    /// when it is too large to be written.
    pub(super) fn finish(&mut self) -> (Option<&[u8]>, Vec<Change>) {
        let mut all = Vec::new();
        for tree in Tree::ALL {
            for (key, value) in mem::take(&mut self.changes[tree as usize]) {
                let value = match value {
                    Some(row) if row.len() > INLINE => {
                        let pointer = self.record.blob(tree, &key, &[&row]);
                        let mut value = Vec::with_capacity(24);
                        value.put_u8(SPILLED);
                        pointer.write(&mut value);
                        Some(value.into())
                    }
                    other => other,
                };
                match &value {
                    Some(value) => self.record.put(tree, &key, value),
                    None => self.record.delete(tree, &key),
                }
                all.push((tree, key, value));
            }
        }
        self.undo.clear();
        (self.record.finish(), all)
    }
}
