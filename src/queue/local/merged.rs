//! Rows of the index with the changes of a commit laid over them, in order.

use std::collections::btree_map;
use std::iter::Peekable;

use super::index::{IndexError, Value};

/// A row as a commit leaves it.
pub(super) type Row = (Value, Value);

/// Goes through both at once; a change hides the row that it replaces or removes.
pub(super) struct Merged<'a, I: Iterator> {
    pub stored: Peekable<I>,
    pub changes: Peekable<btree_map::Range<'a, Value, Option<Value>>>,
}

impl<I: Iterator<Item = Result<(Value, Value), IndexError>>> Iterator for Merged<'_, I> {
    type Item = Result<Row, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((changed, _)) = self.changes.peek() else {
                return self.stored.next();
            };
            let is_before = |row: &Result<(Value, Value), IndexError>| match row {
                Ok((key, _)) => **key < ***changed,
                Err(_) => true,
            };
            if let Some(row) = self.stored.next_if(is_before) {
                return Some(row);
            }
            let is_same = |row: &Result<(Value, Value), IndexError>| {
                row.as_ref().is_ok_and(|(key, _)| **key == ***changed)
            };
            let _hidden = self.stored.next_if(is_same);
            if let Some((key, Some(value))) = self.changes.next() {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}
