//! The layers and what comes of laying them over each other. The only user of the `config` crate's
//! merging; a value keeps the name of the layer that it came from.

use std::fmt;

use config::{Map, Source, Value, ValueKind};

use super::document::{Document, join};

/// Where an effective value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// The compiled-in default.
    Default,
    /// The configuration file.
    File,
    /// This variable of the environment.
    Environment(String),
}

const DEFAULT: &str = "default";
const FILE: &str = "file";

impl Layer {
    /// The name that values carry.
    pub(super) fn origin(&self) -> &str {
        match self {
            Self::Default => DEFAULT,
            Self::File => FILE,
            Self::Environment(variable) => variable,
        }
    }

    /// The layer of a value.
    pub(super) fn of(value: &Value) -> Self {
        match value.origin() {
            None | Some(DEFAULT) => Self::Default,
            Some(FILE) => Self::File,
            Some(variable) => Self::Environment(variable.to_owned()),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin())
    }
}

/// Tables that the `config` crate can lay over others.
#[derive(Debug, Clone)]
struct Tables(Map<String, Value>);

impl Source for Tables {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// The layers laid over each other, the lowest first. Only keys that stand in `sections` take part:
/// the `config` crate reads others as paths (`a[9]`).
pub(super) fn merge(
    layers: [&Map<String, Value>; 3],
    sections: &[&str],
) -> Result<Map<String, Value>, config::ConfigError> {
    let known = |layer: &Map<String, Value>| {
        let entries = layer
            .iter()
            .filter(|(key, _)| sections.contains(&key.as_str()));
        Tables(
            entries
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    };
    let builder = layers
        .into_iter()
        .fold(config::Config::builder(), |builder, layer| {
            builder.add_source(known(layer))
        });
    builder.build()?.collect()
}

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Its dotted path, e.g. `server.bind`.
    pub path: String,
    /// The value as text; of secrets and of what connectors ask for only whether it is set.
    pub value: String,
    /// The layer that it came from.
    pub layer: Layer,
}

/// Everything that is in effect, by path. Only what `defaults` and the general options name is shown.
pub(super) fn effective(merged: &Map<String, Value>, defaults: &Document) -> Vec<Effective> {
    let mut values = Vec::new();
    for (key, value) in merged {
        list(key.clone(), value, defaults, &mut values);
    }
    values.sort_by(|a, b| a.path.cmp(&b.path));
    values
}

fn list(path: String, value: &Value, defaults: &Document, into: &mut Vec<Effective>) {
    if let ValueKind::Table(entries) = &value.kind {
        for (key, value) in entries {
            list(join(&path, key), value, defaults, into);
        }
        return;
    }
    let is_empty = matches!(&value.kind, ValueKind::Nil) || value.to_string().is_empty();
    let may_be_shown = is_general(&path, defaults) && path != "admin.token";
    let text = match (may_be_shown, is_empty) {
        (true, _) => value.to_string(),
        (false, true) => "not set".to_owned(),
        (false, false) => "set".to_owned(),
    };
    into.push(Effective {
        path,
        value: text,
        layer: Layer::of(value),
    });
}

/// Whether `path` is an option of ours and not one that a connector asks for.
fn is_general(path: &str, defaults: &Document) -> bool {
    let mut parts = path.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("sources"), _, Some(key)) => super::source::OPTIONS.contains(&key),
        (Some("destinations"), _, Some(key)) => super::destination::OPTIONS.contains(&key),
        (Some("routes" | "tables"), ..) => true,
        _ => defaults.place(path).is_some(),
    }
}
