//! Fields: what an operator sets for a source or destination, and the checking of what was set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};

use super::fill::Fill;
use super::reader::Reader;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::model::{Place, Secret, Setting, Settings};

/// Whether a connector is used to receive or to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It receives.
    Source,
    /// It sends.
    Destination,
}

impl Role {
    /// The word used in `connector.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// One thing that an operator sets.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its key in the configuration.
    pub key: String,
    /// Its name for people.
    pub label: String,
    /// Where to find the value.
    pub help: String,
    /// Which use it is for; `None`: both.
    pub role: Option<Role>,
    /// Never shown.
    pub secret: bool,
    /// Several values are allowed.
    pub list: bool,
    /// A table of texts.
    pub table: bool,
    /// It has to be set.
    pub required: bool,
    /// The value when it is not set.
    pub default: Option<Value>,
    /// The only values (of a table: keys) allowed; empty: any.
    pub options: Vec<String>,
    /// What values look like.
    pub example: Option<String>,
    pattern: Option<Regex>,
}

impl Field {
    pub(super) fn read(reader: Reader<'_>) -> Option<Self> {
        let key = reader.required("key", "\"signing_secret\"");
        let default = reader.json("default").map(|(value, _)| value);
        let field = key.map(|key| Self {
            label: text(&reader, "label").unwrap_or_else(|| key.value.clone()),
            key: key.value,
            help: text(&reader, "help").unwrap_or_default(),
            role: reader.choice(
                "for",
                &[("source", Role::Source), ("destination", Role::Destination)],
            ),
            secret: reader.flag("secret").unwrap_or(false),
            list: reader.flag("list").unwrap_or(false),
            table: reader
                .flag("table")
                .unwrap_or(matches!(default, Some(Value::Object(_)))),
            required: reader.flag("required").unwrap_or(false),
            options: reader
                .texts("options")
                .into_iter()
                .map(|t| t.value)
                .collect(),
            example: text(&reader, "example"),
            pattern: pattern(&reader),
            default,
        });
        reader.finish();
        field
    }

    /// Whether it is for this use.
    pub fn is_for(&self, role: Role) -> bool {
        self.role.is_none_or(|own| own == role)
    }

    /// A value that stands for the operator's while the connector itself is checked.
    pub(super) fn sample(&self) -> Option<Value> {
        let text = self.options.first().or(self.example.as_ref()).cloned();
        match (&self.default, text) {
            (Some(default), _) => Some(default.clone()),
            (None, Some(text)) if self.list => Some(Value::Array(vec![Value::String(text)])),
            (None, Some(text)) => Some(Value::String(text)),
            (None, None) => None,
        }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        match value {
            Value::Array(items) if self.list => {
                if items.is_empty() && self.required {
                    return Err("is an empty list".to_owned());
                }
                items.iter().try_for_each(|item| self.check_one(item))
            }
            Value::Object(entries) if self.table => entries
                .iter()
                .try_for_each(|(key, item)| self.check_entry(key, item)),
            _ if self.table => Err("has to be a table".to_owned()),
            Value::Array(_) => Err("has to be one value, not a list".to_owned()),
            one => self.check_one(one),
        }
    }

    fn check_entry(&self, key: &str, item: &Value) -> Result<(), String> {
        let Some(text) = item.as_str() else {
            return Err(format!("has to have a text at `{key}`"));
        };
        if let Some(pattern) = self.pattern.as_ref().filter(|p| !p.is_match(text)) {
            return Err(format!(
                "does not look right at `{key}`: it has to match {pattern}"
            ));
        }
        if self.options.is_empty() || self.options.iter().any(|known| known == key) {
            return Ok(());
        }
        Err(format!(
            "has no entry `{key}`; known: {}",
            self.options.join(", ")
        ))
    }

    fn check_one(&self, value: &Value) -> Result<(), String> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) if !self.secret => value.to_string(),
            _ => return Err("has to be text".to_owned()),
        };
        if text.trim().is_empty() && (self.required || self.secret) {
            return Err("is empty".to_owned());
        }
        if !self.options.is_empty() && !self.options.contains(&text) {
            return Err(format!("has to be one of: {}", self.options.join(", ")));
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(&text) => {
                Err(format!("does not look right: it has to match {pattern}"))
            }
            _ => Ok(()),
        }
    }
}

fn text(reader: &Reader<'_>, key: &'static str) -> Option<String> {
    reader.text(key).map(|text| text.value)
}

fn pattern(reader: &Reader<'_>) -> Option<Regex> {
    let text = reader.text("pattern")?;
    match Regex::new(&text.value) {
        Ok(regex) => Some(regex),
        Err(error) => {
            reader.log.error(
                text.span,
                format!("`pattern` is no regular expression: {error}"),
            );
            None
        }
    }
}

/// Settings that were checked against a connector's fields: defaults filled in, secrets apart.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Everything that may be shown and that rules may read.
    pub(super) public: Map<String, Value>,
    /// The secret values, by field.
    pub(super) secrets: BTreeMap<String, Vec<Secret>>,
    /// Made up, to check the connector itself.
    pub(super) sample: bool,
    /// For a source whose requests are not verified.
    pub(super) unverified: bool,
}

impl Checked {
    /// Checks what an operator set.
    pub(super) fn new(
        fields: &[Field],
        role: Role,
        settings: &Settings,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut mistakes = Vec::new();
        let mut checked = Self::default();
        for (key, setting) in &settings.entries {
            if let Err(mistake) = known_field(fields, role, key, setting) {
                mistakes.push(*mistake);
            }
        }
        for field in fields.iter().filter(|field| field.is_for(role)) {
            let setting = settings.entries.get(&field.key);
            if let Err(mistake) = checked.take(field, setting, settings.place.as_ref()) {
                mistakes.push(*mistake);
            }
        }
        if mistakes.is_empty() {
            Ok(checked)
        } else {
            Err(mistakes)
        }
    }

    /// The same for a source whose requests are not verified: secrets need not be set.
    pub(super) fn unverified(
        fields: &[Field],
        role: Role,
        settings: &Settings,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut fields = fields.to_vec();
        for field in fields.iter_mut().filter(|field| field.secret) {
            field.required = false;
        }
        Ok(Self {
            unverified: true,
            ..Self::new(&fields, role, settings)?
        })
    }

    /// Whether a key that is missing is no mistake.
    pub(super) fn may_lack_keys(&self) -> bool {
        self.sample || self.unverified
    }

    /// Values that stand for an operator's, to check the connector itself.
    pub(super) fn sample(fields: &[Field], role: Role) -> Self {
        let mut checked = Self {
            sample: true,
            ..Self::default()
        };
        for field in fields.iter().filter(|field| field.is_for(role)) {
            if field.secret {
                // Readable as text, as hex and as base64.
                let stand_in = field.default.as_ref().and_then(Value::as_str);
                let stand_in = stand_in.unwrap_or("00112233445566778899aabbccddeeff");
                checked
                    .secrets
                    .insert(field.key.clone(), vec![Secret::new(stand_in)]);
            } else if let Some(value) = field.sample() {
                checked.public.insert(field.key.clone(), value);
            }
        }
        checked
    }

    fn take(
        &mut self,
        field: &Field,
        setting: Option<&Setting>,
        whole: Option<&Place>,
    ) -> Result<(), Box<Diagnostic>> {
        let Some(value) = effective(field, setting) else {
            if field.required {
                let message = format!("`{}` is missing", field.key);
                return Err(Box::new(diagnostic(whole, message).help(help_for(field))));
            }
            return Ok(());
        };
        if let Err(problem) = field.check(&value) {
            let place = setting.and_then(|s| s.place.as_ref()).or(whole);
            let message = format!("`{}` {problem}", field.key);
            return Err(Box::new(diagnostic(place, message).help(help_for(field))));
        }
        if field.secret {
            let secrets = texts(&value).map(Secret::new).collect();
            self.secrets.insert(field.key.clone(), secrets);
        } else {
            let value = match value {
                one @ Value::String(_) if field.list => Value::Array(vec![one]),
                value => value,
            };
            self.public.insert(field.key.clone(), value);
        }
        Ok(())
    }

    /// Whether a field has a value; while the connector itself is checked, all have.
    pub(super) fn has(&self, key: &str) -> bool {
        self.sample || self.secrets.contains_key(key) || self.public.contains_key(key)
    }

    /// The live values of a field, secret or not.
    pub(super) fn values_of(&self, key: &str) -> Vec<Secret> {
        match self.secrets.get(key) {
            Some(secrets) => secrets.clone(),
            None => self
                .public
                .get(key)
                .map(|value| texts(value).map(Secret::new).collect())
                .unwrap_or_default(),
        }
    }

    /// What `[inbound]` texts may take: all public settings and `extra`.
    pub(super) fn fill(&self, fields: &[Field], extra: &[(&str, &str)]) -> Fill {
        let mut values: BTreeMap<String, Value> = BTreeMap::new();
        let mut known: BTreeSet<String> = fields.iter().map(|f| f.key.clone()).collect();
        let secret = fields.iter().filter(|f| f.secret);
        let secret = secret.map(|f| f.key.clone()).collect();
        values.extend(self.public.iter().map(|(k, v)| (k.clone(), v.clone())));
        for (key, value) in extra {
            known.insert((*key).to_owned());
            values.insert((*key).to_owned(), Value::String((*value).to_owned()));
        }
        Fill::with(values, known, secret)
    }
}

/// The value that holds: what was set, over the default. Empty text counts as not set, also in a list; but where a field
/// is required, it is a mistake to be told.
fn effective(field: &Field, setting: Option<&Setting>) -> Option<Value> {
    let set = setting.map(|setting| setting.value.clone());
    let set = match set {
        Some(set) if !field.required => said(set),
        set => set,
    };
    match (set, &field.default) {
        (Some(Value::Object(own)), Some(Value::Object(default))) => {
            let mut merged = default.clone();
            merged.extend(own);
            Some(Value::Object(merged))
        }
        (Some(value), _) => Some(value),
        (None, default) => default.clone(),
    }
}

/// What is left of a value without empty texts.
fn said(value: Value) -> Option<Value> {
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) if !items.is_empty() => {
            let left: Vec<Value> = items.into_iter().filter_map(said).collect();
            (!left.is_empty()).then_some(Value::Array(left))
        }
        value => Some(value),
    }
}

fn texts(value: &Value) -> impl Iterator<Item = String> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    items.iter().filter_map(|item| match item {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn known_field(
    fields: &[Field],
    role: Role,
    key: &str,
    setting: &Setting,
) -> Result<(), Box<Diagnostic>> {
    match fields.iter().find(|field| field.key == key) {
        Some(field) if field.is_for(role) => Ok(()),
        Some(_) => {
            let message = format!("`{key}` is not for a {}", role.as_str());
            Err(Box::new(diagnostic(setting.place.as_ref(), message)))
        }
        None => {
            let known = fields.iter().filter(|f| f.is_for(role));
            let known: Vec<&str> = known.map(|f| f.key.as_str()).collect();
            let help = match did_you_mean(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", known.join(", ")),
            };
            let message = format!("the connector has no field `{key}`");
            Err(Box::new(
                diagnostic(setting.place.as_ref(), message).help(help),
            ))
        }
    }
}

fn help_for(field: &Field) -> String {
    if field.help.is_empty() {
        field.label.clone()
    } else {
        format!("{}: {}", field.label, field.help)
    }
}

pub(super) fn diagnostic(place: Option<&Place>, message: impl Into<String>) -> Diagnostic {
    match place {
        Some(Place { file, text, span }) => {
            Diagnostic::error(file, message).at(&Arc::clone(text), span.clone())
        }
        None => Diagnostic::error(PathBuf::from("settings"), message),
    }
}
