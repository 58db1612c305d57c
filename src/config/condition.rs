//! Conditions on outcomes: `when` with rows as in the rules, and the simple form `condition`.
//!
//! Rows are read from the file's own TOML, which knows the place of every word; the merged layers do not.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::document::join;
use super::env::Env;
use super::reference::resolve;
use super::section::Section;
use super::wrong::Wrong;
use crate::diagnostic::did_you_mean;
use crate::mapping::{Collector, Conditions};
use crate::model::Outcome;

/// What conditions read: the normalized outcome.
const ROOT: &str = "outcome";

/// The configuration file as it is written, with references filled in.
pub(super) struct Written<'t>(DeTable<'t>);

impl<'t> Written<'t> {
    /// Reads `text`. Mistakes in it and in its references have been reported before.
    pub(super) fn parse(text: &'t str, env: &Env, dir: &Path) -> Self {
        let (table, _reported) = DeTable::parse_recoverable(text);
        let mut table = table.into_inner();
        for (_, value) in table.iter_mut() {
            fill(value.get_mut(), env, dir);
        }
        Self(table)
    }

    /// What stands at a path such as `routes[0].when`.
    fn find(&self, path: &str) -> Option<&Spanned<DeValue<'t>>> {
        let mut table = Some(&self.0);
        let mut found = None;
        for part in path.split('.') {
            let (name, index) = match part.split_once('[') {
                Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
                None => (part, None),
            };
            found = table?.get(name);
            if let Some(index) = index {
                found = found?.get_ref().as_array()?.get(index);
            }
            table = found?.get_ref().as_table();
        }
        found
    }
}

fn fill(value: &mut DeValue<'_>, env: &Env, dir: &Path) {
    match value {
        DeValue::String(text) => {
            if let Ok(filled) = resolve(text, env, dir) {
                *text = filled.into();
            }
        }
        DeValue::Array(items) => fill_items(items, env, dir),
        DeValue::Table(table) => {
            for (_, value) in table.iter_mut() {
                fill(value.get_mut(), env, dir);
            }
        }
        _ => {}
    }
}

fn fill_items(items: &mut DeArray<'_>, env: &Env, dir: &Path) {
    for item in items.iter_mut() {
        fill(item.get_mut(), env, dir);
    }
}

/// Reads `when` and `condition` of a section; both have to hold. Without them every outcome will do.
pub(super) fn read(section: &mut Section<'_, '_>) -> Conditions {
    let (file, written) = (section.findings.file, section.findings.written);
    let mut both = Conditions::default();
    for key in ["when", "condition"] {
        if !section.take(key) {
            continue;
        }
        let path = join(section.path(), key);
        let Some(item) = written.find(&path) else {
            let wrong = Wrong::new("conditions cannot come from the environment");
            section.wrong(key, wrong.help("write them into the configuration file"));
            continue;
        };
        let mut cx = Collector::new(file.file(), file.shown());
        cx.within(section.context().map(str::to_owned));
        let read = match key {
            "when" => Conditions::parse(item, &[ROOT], &mut cx),
            _ => Conditions::parse_comparison(item, ROOT, &mut cx),
        };
        if let Some(read) = read {
            check_fields(&read, item, &mut cx, file.shown());
            both = both.and(read);
        }
        let (Ok(found) | Err(found)) = cx.finish();
        section.findings.mistakes.extend(found);
    }
    both
}

/// A field that no outcome has would never hold, without a word.
fn check_fields(
    conditions: &Conditions,
    item: &Spanned<DeValue<'_>>,
    cx: &mut Collector,
    text: &str,
) {
    for path in conditions.paths() {
        let written = path.as_str();
        let field = written.strip_prefix("outcome.").unwrap_or_default();
        let name = field.split(['.', '[']).next().unwrap_or_default();
        if Outcome::FIELDS.contains(&name) {
            continue;
        }
        let help = match did_you_mean(name, Outcome::FIELDS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "there are {}; a value of your own is `metadata.{}`",
                Outcome::FIELDS.join(", "),
                if name.is_empty() { "NAME" } else { name }
            ),
        };
        let whole = item.span();
        let inside = text
            .get(whole.clone())
            .and_then(|inside| inside.find(field));
        let span = match inside {
            Some(at) if !field.is_empty() => whole.start + at..whole.start + at + field.len(),
            _ => whole,
        };
        cx.error(span, format!("an outcome has no `{name}`"), Some(help));
    }
}
