//! The text of a configuration file, with the place of everything in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::env::Env;
use super::reference::resolve;
use super::veil::veil;
use super::wrong::Wrong;
use crate::diagnostic::Diagnostic;
use crate::model::Place;

/// Where a key and its value stand.
#[derive(Debug, Clone)]
struct Spans {
    key: Range<usize>,
    value: Range<usize>,
}

/// A file that was read: what stands in it, and where.
#[derive(Debug)]
pub(super) struct Document {
    file: PathBuf,
    /// The text with secrets hidden; only shown, never read.
    shown: Arc<str>,
    spans: BTreeMap<String, Spans>,
    /// References that lead nowhere and numbers that are none, by the paths of their values.
    unreadable: Vec<(String, Wrong)>,
    /// Tables and values, with references filled in.
    pub(super) tree: Map<String, Value>,
}

impl Document {
    /// Reads `text` as the content of `file`; its values carry `origin`. What is wrong with single values is told by
    /// [`Document::mistakes`].
    ///
    /// # Errors
    /// All mistakes of syntax.
    pub(super) fn parse(
        file: &Path,
        text: &str,
        origin: &str,
        env: &Env,
        dir: &Path,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut document = Self {
            file: file.to_owned(),
            shown: veil(text).into(),
            spans: BTreeMap::new(),
            unreadable: Vec::new(),
            tree: Map::new(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(errors.iter().map(|error| document.syntax(error)).collect());
        }
        let mut walk = Walk {
            origin: origin.to_owned(),
            env,
            dir,
            spans: BTreeMap::new(),
            mistakes: Vec::new(),
        };
        document.tree = walk.table("", table.get_ref());
        document.spans = walk.spans;
        document.unreadable = walk.mistakes;
        Ok(document)
    }

    /// What is wrong with single values, but for those that `is_replaced` by another layer.
    pub(super) fn mistakes(&self, is_replaced: impl Fn(&str) -> bool) -> Vec<Diagnostic> {
        let held = self.unreadable.iter();
        held.filter(|(path, _)| !is_replaced(path))
            .map(|(path, wrong)| self.mistake_at(path, wrong.clone()))
            .collect()
    }

    /// Where the value at `path` stands.
    pub(super) fn place(&self, path: &str) -> Option<Place> {
        self.spans
            .get(path)
            .map(|spans| self.place_of(&spans.value))
    }

    /// Where the key of `path` stands.
    pub(super) fn key_place(&self, path: &str) -> Option<Place> {
        self.spans.get(path).map(|spans| self.place_of(&spans.key))
    }

    /// The dotted paths of everything in it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.spans.keys().map(String::as_str)
    }

    /// Its text with secrets hidden; places fit.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The file's name as the person knows it.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    fn place_of(&self, span: &Range<usize>) -> Place {
        Place {
            file: self.file.clone(),
            text: Arc::clone(&self.shown),
            span: span.clone(),
        }
    }

    fn mistake_at(&self, path: &str, wrong: Wrong) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(&self.file, format!("`{path}`: {}", wrong.message));
        diagnostic.help = wrong.help;
        match self.spans.get(path) {
            Some(spans) => diagnostic.at(&self.shown, spans.value.clone()),
            None => diagnostic,
        }
    }

    fn syntax(&self, error: &toml::de::Error) -> Diagnostic {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let diagnostic = Diagnostic::error(&self.file, format!("not valid TOML: {message}"))
            .help("the rest of the file is looked at when this is put right");
        match error.span() {
            Some(span) => diagnostic.at(&self.shown, span),
            None => diagnostic,
        }
    }
}

/// One pass over a document: fills in references, notes places, gathers mistakes.
struct Walk<'a> {
    origin: String,
    env: &'a Env,
    dir: &'a Path,
    spans: BTreeMap<String, Spans>,
    mistakes: Vec<(String, Wrong)>,
}

impl Walk<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>) -> Map<String, Value> {
        let mut entries = Map::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let path = join(path, &name);
            let spans = Spans {
                key: key.span(),
                value: value.span(),
            };
            self.spans.insert(path.clone(), spans);
            entries.insert(name, self.value(&path, value.get_ref()));
        }
        entries
    }

    fn value(&mut self, path: &str, value: &DeValue<'_>) -> Value {
        let kind = match value {
            DeValue::String(text) => self.text(path, text),
            DeValue::Integer(integer) => {
                let number = i64::from_str_radix(integer.as_str(), integer.radix());
                self.checked(path, number.ok().map(ValueKind::I64))
            }
            DeValue::Float(float) => {
                let number = float.as_str().parse().ok().filter(|n: &f64| n.is_finite());
                self.checked(path, number.map(ValueKind::Float))
            }
            DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
            DeValue::Datetime(moment) => ValueKind::String(moment.to_string()),
            DeValue::Array(items) => ValueKind::Array(self.items(path, items)),
            DeValue::Table(table) => ValueKind::Table(self.table(path, table)),
        };
        Value::new(Some(&self.origin), kind)
    }

    fn items(&mut self, path: &str, items: &toml::de::DeArray<'_>) -> Vec<Value> {
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let spans = Spans {
                key: item.span(),
                value: item.span(),
            };
            self.spans.insert(path.clone(), spans);
            values.push(self.value(&path, item.get_ref()));
        }
        values
    }

    fn text(&mut self, path: &str, text: &str) -> ValueKind {
        match resolve(text, self.env, self.dir) {
            Ok(filled) => ValueKind::String(filled),
            Err(mistakes) => {
                let placed = mistakes.into_iter().map(|wrong| (path.to_owned(), wrong));
                self.mistakes.extend(placed);
                ValueKind::Nil
            }
        }
    }

    fn checked(&mut self, path: &str, number: Option<ValueKind>) -> ValueKind {
        number.unwrap_or_else(|| {
            let wrong = Wrong::new("the number is out of range");
            self.mistakes.push((path.to_owned(), wrong));
            ValueKind::Nil
        })
    }
}

/// `path` and `key` with a dot between them.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
