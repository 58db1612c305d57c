//! `[tables.NAME]`: text to text.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::value::{as_text, decimal_of};
use crate::diagnostic::did_you_mean;

/// Tables by their names.
pub type Tables = BTreeMap<String, Table>;

/// A table of a mapping file: what a vendor's word or id means here.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Arc<BTreeMap<String, Row>>,
}

#[derive(Debug, Clone)]
struct Row {
    text: String,
    /// Where its text stands; `None` for a row of another file.
    span: Option<Range<usize>>,
}

impl Table {
    /// The most rows that a table in a file of rules or in the configuration may have.
    pub const MAX_ROWS: usize = 5_000;

    /// Adds a row; `span` is where its text stands in the file.
    pub(super) fn insert(&mut self, key: String, text: String, span: Range<usize>) {
        let span = Some(span);
        Arc::make_mut(&mut self.rows).insert(key, Row { text, span });
    }

    /// Adds rows that have no place in a file of rules.
    pub(super) fn extend(&mut self, rows: impl IntoIterator<Item = (String, String)>) {
        let rows = rows.into_iter();
        let rows = rows.map(|(key, text)| (key, Row { text, span: None }));
        Arc::make_mut(&mut self.rows).extend(rows);
    }

    /// The text of the row called `value`. Numbers are looked up as they are written, then in their
    /// shortest form (`5.0` finds `5`).
    pub fn get(&self, value: &Value) -> Option<&str> {
        let row = as_text(value).and_then(|text| self.rows.get(&*text));
        let row = row.or_else(|| match value {
            Value::Number(number) => {
                let shortest = decimal_of(number)?.normalize().to_string();
                self.rows.get(&shortest)
            }
            _ => None,
        });
        row.map(|row| row.text.as_str())
    }

    /// The text of the row called `key`.
    pub fn get_text(&self, key: &str) -> Option<&str> {
        self.rows.get(key).map(|row| row.text.as_str())
    }

    /// Name, text and place of every row.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, &str, Option<Range<usize>>)> {
        self.rows
            .iter()
            .map(|(key, row)| (key.as_str(), row.text.as_str(), row.span.clone()))
    }

    /// The same table, seen from another file: its rows have no place there.
    pub(super) fn foreign(&self) -> Self {
        let rows = self.rows.iter().map(|(key, row)| {
            let text = row.text.clone();
            (key.clone(), Row { text, span: None })
        });
        Self {
            rows: Arc::new(rows.collect()),
        }
    }
}

/// What is said about a table that does not exist.
pub(super) fn unknown(name: &str, tables: &Tables) -> (String, Option<String>) {
    let known = tables.keys().map(String::as_str);
    let help = match did_you_mean(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if tables.is_empty() => {
            format!("add it to this file, or for all sources to the configuration: [tables.{name}]")
        }
        None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
    };
    (format!("there is no table called `{name}`"), Some(help))
}
