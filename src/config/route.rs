//! `[[routes]]`: which outcomes go where.

use std::collections::BTreeSet;
use std::str::FromStr;

use config::{Map, Value, ValueKind};

use super::OUTCOME_STORE;
use super::condition;
use super::read::{self, Read};
use super::section::{Findings, Section};
use super::wrong::Wrong;
use crate::diagnostic::{Severity, did_you_mean};
use crate::mapping::Conditions;
use crate::model::{DestinationName, OutcomeKind, SourceName};

/// One route. An outcome goes to the destinations of every route that takes it.
#[derive(Debug, Clone)]
pub struct Route {
    /// The sources whose outcomes it takes. Empty: all.
    pub sources: BTreeSet<SourceName>,
    /// The outcomes it takes. Empty: all.
    pub outcomes: BTreeSet<OutcomeKind>,
    /// What else has to hold of an outcome, read as `outcome.…`. Empty: nothing.
    pub when: Conditions,
    /// Where they go. Required.
    pub destinations: BTreeSet<DestinationName>,
}

impl Route {
    /// Whether it takes an outcome of `kind` from `source` if its conditions hold. Corrections by hand reach every
    /// route that may have led the outcome that they correct, whatever its sources.
    pub fn takes(&self, source: &SourceName, kind: OutcomeKind) -> bool {
        let any_source = self.sources.is_empty() || source.as_str() == SourceName::ADMIN;
        (any_source || self.sources.contains(source))
            && (self.outcomes.is_empty() || self.outcomes.contains(&kind))
    }
}

/// The names that a route may use, as they are written, so that a source with a mistake in it does not
/// make its routes mistakes too.
pub(super) struct Names {
    sources: Vec<String>,
    destinations: Vec<String>,
}

impl Names {
    /// The names of sources.
    pub(super) fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The names in the merged layers.
    pub(super) fn of(merged: &Map<String, Value>) -> Self {
        let names = |key| match merged.get(key).map(|value| &value.kind) {
            Some(ValueKind::Table(entries)) => entries.keys().cloned().collect(),
            _ => Vec::new(),
        };
        Self {
            sources: names("sources"),
            destinations: names("destinations"),
        }
    }
}

/// Reads `[[routes]]`.
pub(super) fn read(
    findings: &mut Findings<'_>,
    value: Option<Value>,
    names: &Names,
    has_store: bool,
) -> Vec<Route> {
    let items = match value.map(|value| value.kind) {
        Some(ValueKind::Array(items)) => items,
        None | Some(ValueKind::Nil) => return Vec::new(),
        Some(other) => {
            let place = findings.file.key_place("routes");
            let wrong = read::mistyped("a list of tables", &other);
            let wrong = Wrong::new(format!("`routes`: {}", wrong.message)).help("write [[routes]]");
            findings.note(Severity::Error, place, None, wrong);
            return Vec::new();
        }
    };
    let store = has_store.then(|| OUTCOME_STORE.to_owned());
    let destinations: Vec<String> = names.destinations.iter().cloned().chain(store).collect();
    let read = |(index, item)| {
        let path = format!("routes[{index}]");
        let section = Section::new(findings, (path, Some(item)));
        one(
            section.within(format!("route {}", index + 1)),
            &names.sources,
            &destinations,
        )
    };
    items.into_iter().enumerate().map(read).collect()
}

fn one(mut section: Section<'_, '_>, sources: &[String], destinations: &[String]) -> Route {
    let kinds = OutcomeKind::ALL.map(|kind| kind.as_str().to_owned());
    let route = Route {
        sources: pick(&mut section, "sources", sources),
        outcomes: pick(&mut section, "outcomes", &kinds),
        when: condition::read(&mut section),
        destinations: section
            .required(
                "destinations",
                "name the destinations that it leads to",
                some_texts,
            )
            .map(|written| {
                look_up(
                    &mut section,
                    "destinations",
                    "destination",
                    written,
                    destinations,
                )
            })
            .unwrap_or_default(),
    };
    section.finish();
    route
}

fn some_texts(value: &Value) -> Read<Vec<String>> {
    let names = read::texts(value)?;
    if names.is_empty() {
        return Err(Wrong::new("leads nowhere").help("name at least one destination"));
    }
    Ok(names)
}

fn pick<T: FromStr + Ord>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    known: &[String],
) -> BTreeSet<T> {
    let some = read::some(read::texts, "leave it out for all");
    let written = section.get(key, some).unwrap_or_default();
    look_up(section, key, key.trim_end_matches('s'), written, known)
}

/// The names that are `known`; each other one is a mistake.
pub(super) fn look_up<T: FromStr + Ord>(
    section: &mut Section<'_, '_>,
    key: &str,
    what: &str,
    written: Vec<String>,
    known: &[String],
) -> BTreeSet<T> {
    let mut found = BTreeSet::new();
    for (index, name) in written.into_iter().enumerate() {
        if known.contains(&name) {
            found.extend(name.parse().ok());
            continue;
        }
        let help = match (did_you_mean(&name, known.iter().map(String::as_str)), known) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => format!("no {what} is configured"),
            (None, known) => format!("there are {}", known.join(", ")),
        };
        let wrong = Wrong::new(format!("there is no {what} `{name}`")).help(help);
        section.wrong(&format!("{key}[{index}]"), wrong);
    }
    found
}
