//! One table of the merged layers, read key by key; whatever is wrong is noted with its place.

use std::collections::{BTreeMap, BTreeSet};

use config::{Map, Value, ValueKind};

use super::condition::Written;
use super::document::{Document, join};
use super::layer::Layer;
use super::overrides::ENVIRONMENT;
use super::read::{Read, mistyped};
use super::wrong::Wrong;
use crate::diagnostic::{Diagnostic, Severity, did_you_mean};
use crate::model::{Place, Setting, Settings};

/// What was found so far.
pub(super) struct Findings<'a> {
    /// The configuration file.
    pub(super) file: &'a Document,
    /// The same as TOML.
    pub(super) written: &'a Written<'a>,
    /// The compiled-in defaults, which name every general option.
    pub(super) defaults: &'a Document,
    pub(super) mistakes: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Findings<'_> {
    /// Notes a finding about the value or the key at `place`.
    pub(super) fn note(
        &mut self,
        severity: Severity,
        place: Option<Place>,
        context: Option<&str>,
        wrong: Wrong,
    ) {
        let mut diagnostic = Diagnostic::error(self.file.file(), wrong.message);
        diagnostic.severity = severity;
        diagnostic.help = wrong.help;
        diagnostic.context = context.map(str::to_owned);
        if let Some(place) = place {
            diagnostic = diagnostic.at(&place.text, place.span);
        }
        match severity {
            Severity::Error => self.mistakes.push(diagnostic),
            Severity::Warning => self.warnings.push(diagnostic),
        }
    }
}

/// One table.
pub(super) struct Section<'r, 'a> {
    pub(super) findings: &'r mut Findings<'a>,
    path: String,
    context: Option<String>,
    entries: Map<String, Value>,
    taken: BTreeSet<&'static str>,
}

impl<'r, 'a> Section<'r, 'a> {
    /// The table at a path. Anything but a table is a mistake.
    pub(super) fn new(
        findings: &'r mut Findings<'a>,
        (path, value): (String, Option<Value>),
    ) -> Self {
        let mut section = Self {
            findings,
            path,
            context: None,
            entries: Map::new(),
            taken: BTreeSet::new(),
        };
        match value.map(|value| (Layer::of(&value), value.kind)) {
            None | Some((_, ValueKind::Nil)) => {}
            Some((_, ValueKind::Table(entries))) => section.entries = entries,
            Some((layer, kind)) => {
                let path = section.path.clone();
                section.mistake(&path, &layer, mistyped("a table", &kind));
            }
        }
        section
    }

    /// Says what the table belongs to, for diagnostics.
    #[must_use]
    pub(super) fn within(mut self, context: String) -> Self {
        self.context = Some(context);
        self
    }

    /// The value of `key`, if it is there and `read` can read it.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Read<T>,
    ) -> Option<T> {
        self.taken.insert(key);
        let value = self.entries.remove(key)?;
        if value.kind == ValueKind::Nil {
            return None;
        }
        match read(&value) {
            Ok(read) => Some(read),
            Err(wrong) => {
                let path = join(&self.path, key);
                self.mistake(&path, &Layer::of(&value), wrong);
                None
            }
        }
    }

    /// Like [`Section::get`]; an empty text or list says that it is not set.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Read<T>,
    ) -> Option<T> {
        let is_empty = self
            .entries
            .get(key)
            .is_some_and(|value| match &value.kind {
                ValueKind::String(text) => text.is_empty(),
                ValueKind::Array(items) => items.is_empty(),
                _ => false,
            });
        if is_empty {
            self.taken.insert(key);
            self.entries.remove(key);
            return None;
        }
        self.get(key, read)
    }

    /// Like [`Section::get`]; that it is not there is a mistake.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        help: &str,
        read: impl Fn(&Value) -> Read<T>,
    ) -> Option<T> {
        if !self.entries.contains_key(key) {
            self.taken.insert(key);
            let place = self.findings.file.key_place(&self.path);
            let wrong = Wrong::new(format!("`{key}` is missing")).help(help);
            self.findings
                .note(Severity::Error, place, self.context.as_deref(), wrong);
            return None;
        }
        self.get(key, read)
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reads every key of a table that may have any. `None` when one of them cannot be read.
    pub(super) fn each<T>(self, read: impl Fn(&Value) -> Read<T>) -> Option<BTreeMap<String, T>> {
        let mut section = self;
        let mut entries: Vec<_> = std::mem::take(&mut section.entries).into_iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut values = Some(BTreeMap::new());
        for (key, value) in entries {
            match read(&value) {
                Ok(read) => {
                    if let Some(values) = &mut values {
                        values.insert(key, read);
                    }
                }
                Err(wrong) => {
                    let path = join(&section.path, &key);
                    section.mistake(&path, &Layer::of(&value), wrong);
                    values = None;
                }
            }
        }
        values
    }

    /// Where the value of `key` stands.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.findings.file.place(&join(&self.path, key))
    }

    /// Where the table's own name stands.
    pub(super) fn own_place(&self) -> Option<Place> {
        self.findings.file.key_place(&self.path)
    }

    /// Whether `key` is there, for whoever reads its value elsewhere.
    pub(super) fn take(&mut self, key: &'static str) -> bool {
        self.taken.insert(key);
        self.entries.remove(key).is_some()
    }

    /// Where the table stands, in dotted words.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What the table belongs to.
    pub(super) fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// Notes a mistake in the value of `key`.
    pub(super) fn wrong(&mut self, key: &str, wrong: Wrong) {
        let path = join(&self.path, key);
        self.mistake(&path, &Layer::File, wrong);
    }

    /// Notes a mistake in the table's own name.
    pub(super) fn wrong_name(&mut self, wrong: Wrong) {
        let place = self.findings.file.key_place(&self.path);
        self.findings
            .note(Severity::Error, place, self.context.as_deref(), wrong);
    }

    /// Says that every key that was not taken is unknown.
    pub(super) fn finish(mut self) {
        let mut unknown: Vec<String> = self.entries.keys().cloned().collect();
        unknown.sort();
        for key in unknown {
            let path = join(&self.path, &key);
            let mut wrong = Wrong::new(format!("`{path}` is not an option"));
            wrong.help = self.suggest(&key);
            let place = self.findings.file.key_place(&path);
            self.findings
                .note(Severity::Error, place, self.context.as_deref(), wrong);
        }
        self.entries.clear();
    }

    /// Everything that was not taken, as settings for a connector.
    pub(super) fn into_settings(self) -> Settings {
        let (file, path) = (self.findings.file, self.path);
        let entries = self.entries.into_iter().map(|(key, value)| {
            let place = match Layer::of(&value) {
                Layer::Environment(variable) => Some(variable_place(&variable)),
                _ => file.place(&join(&path, &key)),
            };
            let value = to_json(value);
            (key, Setting { value, place })
        });
        let entries: BTreeMap<_, _> = entries.collect();
        let first = || entries.values().find_map(|setting| setting.place.clone());
        Settings {
            place: file.key_place(&path).or_else(first),
            entries,
        }
    }

    /// The option that was meant: a near one of this table, or one of that name in another.
    fn suggest(&self, key: &str) -> Option<String> {
        if let Some(near) = did_you_mean(key, self.taken.iter().copied()) {
            return Some(format!("did you mean `{}`?", join(&self.path, near)));
        }
        let suffix = format!(".{key}");
        let elsewhere = self
            .findings
            .defaults
            .paths()
            .find(|path| path.ends_with(&suffix));
        Some(match elsewhere {
            Some(path) => format!("did you mean `{path}`?"),
            None => {
                let known: Vec<&str> = self.taken.iter().copied().collect();
                format!("the options here are {}", known.join(", "))
            }
        })
    }

    fn mistake(&mut self, path: &str, layer: &Layer, wrong: Wrong) {
        let mut diagnostic = Diagnostic::error(ENVIRONMENT, format!("`{path}`: {}", wrong.message));
        diagnostic.help = wrong.help;
        diagnostic.context.clone_from(&self.context);
        if let Layer::Environment(variable) = layer {
            self.findings
                .mistakes
                .push(diagnostic.within(format!("variable {variable}")));
            return;
        }
        diagnostic.file = self.findings.file.file().to_owned();
        if let Some(place) = self.findings.file.place(path) {
            diagnostic = diagnostic.at(&place.text, place.span);
        }
        self.findings.mistakes.push(diagnostic);
    }
}

/// The place of a value that a variable of the environment sets: its name is all that may be shown of it.
fn variable_place(variable: &str) -> Place {
    Place {
        file: ENVIRONMENT.into(),
        text: variable.into(),
        span: 0..variable.len(),
    }
}

/// Stands for what a reference could not give, so that its connector does not report it a second time. It can be read
/// as text, as hexadecimal and as base64. Nothing runs with it: the reference is a mistake.
const STAND_IN: &str = "00112233445566778899aabbccddeeff";

fn to_json(value: Value) -> serde_json::Value {
    match value.kind {
        ValueKind::Nil => STAND_IN.into(),
        ValueKind::Boolean(flag) => flag.into(),
        ValueKind::I64(number) => number.into(),
        ValueKind::U64(number) => number.into(),
        ValueKind::I128(number) => number.to_string().into(),
        ValueKind::U128(number) => number.to_string().into(),
        ValueKind::Float(number) => number.into(),
        ValueKind::String(text) => text.into(),
        ValueKind::Array(items) => items.into_iter().map(to_json).collect(),
        ValueKind::Table(entries) => {
            let mut entries: Vec<_> = entries.into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            let entries = entries
                .into_iter()
                .map(|(key, value)| (key, to_json(value)));
            serde_json::Value::Object(entries.collect())
        }
    }
}
