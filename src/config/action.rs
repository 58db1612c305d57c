//! `[[destinations.NAME.actions]]`: several things to do at one destination, each with its own condition.
//!
//! An action is a destination of its own: the same connector with the same settings, and over them those of the
//! action. So each has its own lanes, and one that fails does not hold up another. Routes name them all at once,
//! by the name of the destination.

use std::collections::BTreeSet;

use config::{Value, ValueKind};

use super::read::{self, Read};
use super::section::Section;
use super::wrong::Wrong;
use super::{Destination, condition};
use crate::mapping::Conditions;
use crate::model::{DestinationName, Mode, Setting, Settings};

/// One action.
pub(super) struct Action {
    /// What its destination's name ends with.
    suffix: String,
    when: Conditions,
    mode: Option<Mode>,
    settings: Settings,
}

/// Reads `actions`; `None` when there are none.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Vec<Action>> {
    let items = section.get("actions", list)?;
    let mut actions: Vec<Action> = Vec::with_capacity(items.len());
    let mut suffixes = BTreeSet::new();
    let owner = section.context().unwrap_or_default().to_owned();
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{}.actions[{index}]", section.path());
        let inner = Section::new(&mut *section.findings, (path, Some(item)))
            .within(format!("{owner}, action {}", index + 1));
        if let Some(mut action) = one(inner) {
            let same = |n: usize| match n {
                1 => action.suffix.clone(),
                n => format!("{}-{n}", action.suffix),
            };
            let free = (1..).map(same).find(|suffix| !suffixes.contains(suffix));
            action.suffix = free.unwrap_or_default();
            suffixes.insert(action.suffix.clone());
            actions.push(action);
        }
    }
    Some(actions)
}

fn list(value: &Value) -> Read<Vec<Value>> {
    match &value.kind {
        ValueKind::Array(items) if !items.is_empty() => Ok(items.clone()),
        ValueKind::Array(_) => Err(Wrong::new("nothing would be done there")
            .help("name at least one action, or leave `actions` out")),
        other => Err(read::mistyped("a list of tables", other)),
    }
}

fn one(mut section: Section<'_, '_>) -> Option<Action> {
    let help = "say what is to be done, such as \"webhook\"";
    let kind = section.required("type", help, read::text);
    let name = section.optional("name", read::text);
    let when = condition::read(&mut section);
    let mode = section.get("mode", read::choice("mode", &Mode::ALL, Mode::as_str));
    let config = section.get("config", |value| Ok(value.clone()));
    let mut settings = {
        let path = format!("{}.config", section.path());
        Section::new(&mut *section.findings, (path, config)).into_settings()
    };
    let place = section.place_of("type");
    section.finish();
    let kind = kind?;
    let setting = Setting {
        value: kind.clone().into(),
        place: place.clone(),
    };
    settings.entries.insert("action".to_owned(), setting);
    settings.place = place;
    Some(Action {
        suffix: word(name.as_deref().unwrap_or(&kind)),
        when,
        mode,
        settings,
    })
}

/// `Auto follow-up` as a part of a name: `auto-follow-up`.
fn word(text: &str) -> String {
    let sign = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || c == '_' => c,
        _ => '-',
    };
    let word: String = text.chars().map(sign).take(30).collect();
    let word = word.trim_matches('-');
    if word.is_empty() {
        "action".to_owned()
    } else {
        word.to_owned()
    }
}

/// A destination for each action.
pub(super) fn expand(base: &Destination, actions: Vec<Action>) -> Vec<Destination> {
    let one = |action: Action| {
        let mut settings = base.settings.clone();
        settings.entries.extend(action.settings.entries);
        settings.place = action.settings.place.or(settings.place);
        // Names are at most 64 characters long.
        let head: String = base.name.as_str().chars().take(30).collect();
        let name = DestinationName::new(&format!("{head}-{}", action.suffix)).ok()?;
        Some(Destination {
            name,
            action_of: Some(base.name.clone()),
            when: action.when,
            mode: action.mode.or(base.mode),
            settings,
            ..base.clone()
        })
    };
    actions.into_iter().filter_map(one).collect()
}
