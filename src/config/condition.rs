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
            _ => Conditions::parse_comparison(item, ROOT, &whole, &mut cx),
        };
        check_fields(item, &mut cx);
        both = both.and(read.unwrap_or_default());
        let (Ok(found) | Err(found)) = cx.finish();
        section.findings.mistakes.extend(found);
    }
    both
}

/// The path of a field of a comparison that leaves out the root. What no outcome has is a value of the vendor's own, as
/// Call2Me writes its conditions: `follow_up_required`.
fn whole(field: &str) -> String {
    if is_own(first_name(field)) {
        format!("{ROOT}.metadata.{field}")
    } else {
        format!("{ROOT}.{field}")
    }
}

/// The name that a path begins with.
fn first_name(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or_default()
}

/// Whether it is no field of an outcome, and not one that is mistyped.
fn is_own(name: &str) -> bool {
    !name.is_empty()
        && !Outcome::FIELDS.contains(&name)
        && did_you_mean(name, Outcome::FIELDS).is_none()
}

/// A field that no outcome has would never hold, without a word. What is no path at all has been reported.
fn check_fields(item: &Spanned<DeValue<'_>>, cx: &mut Collector) {
    let mut fields = Vec::new();
    collect_fields(item, &mut fields);
    for field in fields {
        let text = field.get_ref().as_str().unwrap_or_default();
        for path in text.split(" or ").map(str::trim) {
            let (root, rest) = path.split_once('.').unwrap_or(("", path));
            let inner = if root == ROOT { rest } else { path };
            let name = first_name(inner);
            let is_known = Outcome::FIELDS.contains(&name);
            if name.is_empty() || is_known || root != ROOT && (is_row(item) || is_own(name)) {
                continue;
            }
            let help = match did_you_mean(name, Outcome::FIELDS) {
                Some(near) => {
                    format!("did you mean `{near}`? a value of your own is `metadata.{name}`")
                }
                None => format!(
                    "there are {}; a value of your own is `metadata.{name}`",
                    Outcome::FIELDS.join(", ")
                ),
            };
            cx.error(
                field.span(),
                format!("an outcome has no `{name}`"),
                Some(help),
            );
        }
    }
}

/// Rows name their root, comparisons need not.
fn is_row(item: &Spanned<DeValue<'_>>) -> bool {
    item.get_ref().as_array().is_some()
}

/// The `field` of every row, groups included.
fn collect_fields<'i, 't>(
    item: &'i Spanned<DeValue<'t>>,
    fields: &mut Vec<&'i Spanned<DeValue<'t>>>,
) {
    match item.get_ref() {
        DeValue::Array(items) => items.iter().for_each(|item| collect_fields(item, fields)),
        DeValue::Table(table) => {
            fields.extend(table.get("field"));
            let groups = ["any", "all", "not"];
            let groups = groups.into_iter().filter_map(|key| table.get(key));
            groups.for_each(|item| collect_fields(item, fields));
        }
        _ => {}
    }
}
