//! Reads a TOML table key by key and collects every mistake in it, with place and remedy.
//!
//! The keys that are asked for are the keys that are known: [`Reader::finish`] reports all others.
//! So what is accepted and what is documented by the reading code cannot differ.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde_json::{Map, Value};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::fill::{Fill, Filled};
use crate::diagnostic::{Diagnostic, Severity, did_you_mean};
use crate::mapping::{Collector, Conditions, Path, Template, TextMistake};

/// A file that is being read, and what is wrong in it.
#[derive(Debug)]
pub(super) struct Log {
    file: PathBuf,
    text: Arc<str>,
    found: RefCell<Vec<Diagnostic>>,
}

impl Log {
    pub(super) fn new(file: PathBuf, text: Arc<str>) -> Self {
        Self {
            file,
            text,
            found: RefCell::default(),
        }
    }

    pub(super) fn push(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) {
        self.push(self.at(span, message));
    }

    pub(super) fn error_with_help(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(self.at(span, message).help(help));
    }

    fn at(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(&self.file, message).at(&self.text, span)
    }

    /// A mistake within a text. Settings may have been filled in, so the whole text is pointed at.
    fn text_mistake(&self, span: Range<usize>, mistake: TextMistake) {
        let mut diagnostic = self.at(span, mistake.message);
        diagnostic.help = mistake.help;
        self.push(diagnostic);
    }

    /// A warning about what stands at `span`.
    pub(super) fn warning_at(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let warning = Diagnostic::warning(&self.file, message).help(help);
        self.push(warning.at(&self.text, span));
    }

    /// A warning about the file as a whole.
    pub(super) fn warning(&self, message: impl Into<String>, help: impl Into<String>) {
        self.push(Diagnostic::warning(&self.file, message).help(help));
    }

    pub(super) fn has_errors(&self) -> bool {
        let found = self.found.borrow();
        found.iter().any(|d| d.severity == Severity::Error)
    }

    /// All that was found, in the order of the file.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|d| d.span.as_ref().map(|s| s.start));
        found
    }

    /// Parses the text; reports what is no TOML.
    pub(super) fn parse<'a>(&self, text: &'a str) -> Option<Spanned<DeTable<'a>>> {
        match DeTable::parse(text) {
            Ok(table) => Some(table),
            Err(error) => {
                self.error(error.span().unwrap_or(0..0), error.message().to_owned());
                None
            }
        }
    }
}

/// A text and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) span: Range<usize>,
}

/// One table.
pub(super) struct Reader<'a> {
    pub(super) log: &'a Log,
    fill: &'a Fill,
    table: &'a DeTable<'a>,
    /// Where the table begins, for "… is missing".
    pub(super) span: Range<usize>,
    name: String,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        log: &'a Log,
        fill: &'a Fill,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            log,
            fill,
            table,
            span,
            name: name.into(),
            known: RefCell::default(),
        }
    }

    /// Marks a key as known without reading it.
    pub(super) fn skip(&self, key: &'static str) {
        self.known.borrow_mut().insert(key);
    }

    fn raw(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.skip(key);
        self.table.get(key)
    }

    /// Whether the key is there at all.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.raw(key).is_some()
    }

    /// The value as JSON, settings filled in.
    pub(super) fn json(&self, key: &'static str) -> Option<(Value, Range<usize>)> {
        let raw = self.raw(key)?;
        Some((self.to_json(raw)?, raw.span()))
    }

    fn to_json(&self, raw: &Spanned<DeValue<'_>>) -> Option<Value> {
        match raw.get_ref() {
            DeValue::String(text) => match self.fill.apply(text) {
                Ok(Filled::Text(text)) => Some(Value::String(text)),
                Ok(Filled::Value(value)) => Some(value),
                Ok(Filled::Unset) => None,
                Err(mistake) => {
                    self.log
                        .error_with_help(raw.span(), mistake.message, mistake.help);
                    None
                }
            },
            DeValue::Array(items) => Some(Value::Array(
                items.iter().filter_map(|item| self.to_json(item)).collect(),
            )),
            DeValue::Table(table) => Some(Value::Object(
                table
                    .iter()
                    .filter_map(|(key, item)| {
                        Some((key.get_ref().clone().into_owned(), self.to_json(item)?))
                    })
                    .collect::<Map<_, _>>(),
            )),
            other => Some(plain_json(other)),
        }
    }

    /// One text.
    pub(super) fn text(&self, key: &'static str) -> Option<Text> {
        let (value, span) = self.json(key)?;
        match value {
            Value::String(value) => Some(Text { value, span }),
            Value::Number(n) => Some(Text {
                value: n.to_string(),
                span,
            }),
            _ => {
                self.log.error(span, format!("`{key}` has to be one text"));
                None
            }
        }
    }

    /// One text that has to be there.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<Text> {
        if !self.has(key) {
            self.missing(key, example);
            return None;
        }
        self.text(key)
    }

    pub(super) fn missing(&self, key: &str, example: &str) {
        self.log.error_with_help(
            self.span.clone(),
            format!("{} needs `{key}`", self.name),
            format!("for example `{key} = {example}`"),
        );
    }

    /// One text or a list of them.
    pub(super) fn texts(&self, key: &'static str) -> Vec<Text> {
        let Some(raw) = self.raw(key) else {
            return Vec::new();
        };
        let items: Vec<&Spanned<DeValue<'_>>> = match raw.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![raw],
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            let span = item.span();
            let values = match self.to_json(item) {
                None => continue,
                Some(Value::Array(values)) => values,
                Some(value) => vec![value],
            };
            for value in values {
                match value {
                    Value::String(value) => texts.push(Text {
                        value,
                        span: span.clone(),
                    }),
                    _ => self
                        .log
                        .error(span.clone(), format!("`{key}` has to be text")),
                }
            }
        }
        texts
    }

    /// True or false.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let (value, span) = self.json(key)?;
        match value.as_bool() {
            Some(flag) => Some(flag),
            None => {
                self.log
                    .error(span, format!("`{key}` has to be true or false"));
                None
            }
        }
    }

    /// A whole number that fits `T`.
    pub(super) fn number<T: TryFrom<u64>>(&self, key: &'static str) -> Option<T> {
        let (value, span) = self.json(key)?;
        match value.as_u64().and_then(|n| T::try_from(n).ok()) {
            Some(number) => Some(number),
            None => {
                self.log
                    .error(span, format!("`{key}` has to be a whole number in range"));
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(key)?;
        self.choose(key, &text, words)
    }

    pub(super) fn choose<T: Copy>(
        &self,
        key: &str,
        text: &Text,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        if let Some((_, chosen)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(*chosen);
        }
        let known = words.iter().map(|(word, _)| *word);
        let listed = known.clone().collect::<Vec<_>>().join(", ");
        let help = match did_you_mean(&text.value, known) {
            Some(near) => format!("did you mean `{near}`? known: {listed}"),
            None => format!("known: {listed}"),
        };
        self.log.error_with_help(
            text.span.clone(),
            format!("`{}` is not a value of `{key}`", text.value),
            help,
        );
        None
    }

    /// A length of time as text, e.g. `5 minutes`.
    pub(super) fn duration(&self, key: &'static str) -> Option<(SignedDuration, Range<usize>)> {
        let text = self.text(key)?;
        match parse_duration(&text.value) {
            Some(duration) => Some((duration, text.span)),
            None => {
                self.log.error_with_help(
                    text.span,
                    format!("`{}` is not a length of time", text.value),
                    "write for example `5 minutes`, `7 days` or `90s`",
                );
                None
            }
        }
    }

    /// A table within this one.
    pub(super) fn child(&self, key: &'static str) -> Option<Reader<'a>> {
        let raw = self.raw(key)?;
        match raw.get_ref() {
            DeValue::Table(table) => Some(self.reader(table, raw.span(), key)),
            _ => {
                self.log
                    .error(raw.span(), format!("`{key}` has to be a table"));
                None
            }
        }
    }

    /// A list of tables within this one.
    pub(super) fn children(&self, key: &'static str) -> Vec<Reader<'a>> {
        let Some(raw) = self.raw(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = raw.get_ref() else {
            self.log
                .error(raw.span(), format!("`{key}` has to be a list of tables"));
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| match item.get_ref() {
                DeValue::Table(table) => Some(self.reader(table, item.span(), key)),
                _ => {
                    self.log
                        .error(item.span(), format!("`{key}` has to be a list of tables"));
                    None
                }
            })
            .collect()
    }

    /// A table within this one, or a list of tables.
    pub(super) fn one_or_more(&self, key: &'static str) -> Vec<Reader<'a>> {
        match self.raw(key).map(Spanned::get_ref) {
            None => Vec::new(),
            Some(DeValue::Array(_)) => self.children(key),
            Some(_) => self.child(key).into_iter().collect(),
        }
    }

    fn reader(&self, table: &'a DeTable<'a>, span: Range<usize>, key: &str) -> Reader<'a> {
        let name = format!("{}.{key}", self.name);
        Reader::new(self.log, self.fill, table, span, name)
    }

    /// The keys and values of a table that may have any keys.
    pub(super) fn entries(&self) -> Vec<(Text, &'a Spanned<DeValue<'a>>)> {
        self.table
            .iter()
            .map(|(key, value)| {
                let text = Text {
                    value: key.get_ref().clone().into_owned(),
                    span: key.span(),
                };
                (text, value)
            })
            .collect()
    }

    /// Rows as in the rules. `None` when there are none, or a mistake was reported.
    pub(super) fn conditions(&self, key: &'static str, roots: &[&str]) -> Option<Conditions> {
        let raw = self.raw(key)?;
        let mut collector = Collector::new(&self.log.file, &self.log.text);
        let conditions = Conditions::parse(raw, roots, &mut collector);
        let (Ok(found) | Err(found)) = collector.finish();
        found.into_iter().for_each(|mistake| self.log.push(mistake));
        conditions
    }

    /// A template as in the rules.
    pub(super) fn template(&self, key: &'static str, roots: &[&str]) -> Option<Template> {
        let text = self.text(key)?;
        self.parse_template(&text.value, text.span, roots)
    }

    /// Parses text that stands at `span` as a template.
    pub(super) fn parse_template(
        &self,
        text: &str,
        span: Range<usize>,
        roots: &[&str],
    ) -> Option<Template> {
        Template::parse(text, roots)
            .map_err(|mistake| self.log.text_mistake(span, mistake))
            .ok()
    }

    /// Parses text that stands at `span` as a path.
    pub(super) fn parse_path(
        &self,
        text: &str,
        span: Range<usize>,
        roots: &[&str],
    ) -> Option<Path> {
        Path::parse(text, roots)
            .map_err(|mistake| self.log.text_mistake(span, mistake))
            .ok()
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for key in self.table.keys() {
            let word: &str = key.get_ref();
            if known.contains(word) {
                continue;
            }
            let listed = known.iter().copied().collect::<Vec<_>>().join(", ");
            let help = match did_you_mean(word, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {listed}"),
            };
            self.log.error_with_help(
                key.span(),
                format!("{} has no key `{word}`", self.name),
                help,
            );
        }
    }
}

/// Reads `5 minutes`, `7 days`, `1h 30m`; a day has 24 hours.
pub(super) fn parse_duration(text: &str) -> Option<SignedDuration> {
    let span: Span = text.parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

/// A TOML value as JSON, as it stands.
pub(super) fn plain_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(n) => i64::from_str_radix(&n.as_str().replace('_', ""), n.radix())
            .map_or_else(|_large| Value::String(n.as_str().to_owned()), Value::from),
        DeValue::Float(n) => n
            .as_str()
            .replace('_', "")
            .parse::<f64>()
            .map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(at) => Value::String(at.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|i| plain_json(i.get_ref())).collect())
        }
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, item)| {
                    (
                        key.get_ref().clone().into_owned(),
                        plain_json(item.get_ref()),
                    )
                })
                .collect(),
        ),
    }
}
