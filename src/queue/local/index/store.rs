//! What the index asks of the engine of a table.

use std::fmt;

use super::overlay::{End, Span};
use super::{IndexError, Value};

/// A row as stored.
pub(super) type Row = (Value, Value);

/// A row to put, or `None` to delete it.
pub(super) type Put<'a> = (&'a Value, Option<&'a Value>);

/// One table of the index, in the engine that holds it.
pub(super) trait Store: fmt::Debug + Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, IndexError>;

    /// At most `count` rows of the span from its end `end` on, in that order.
    fn some(&self, span: Span, end: End, count: usize) -> Result<Vec<Row>, IndexError>;

    /// Puts and deletes rows that come in the order of their keys, each key once.
    fn write(&self, rows: &[Put<'_>]) -> Result<(), IndexError>;
}
