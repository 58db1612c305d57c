//! One rule, and how it is read from TOML.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::collector::{Collector, in_file_order};
use super::condition::Conditions;
use super::datum::Datum;
use super::draft::Draft;
use super::expression::Condition;
use super::key::{Key, NAMES};
use super::kind::{self, Gives};
use super::template::{Template, Vocabulary};
use super::word::Word;
use crate::diagnostic::did_you_mean;

/// The words that a path of a rule may start with.
pub const ROOTS: [&str; 5] = ["event", "lookup", "header", "query", "setting"];

/// The most values that a rule may set.
const MAX_VALUES: usize = 200;

/// The most metadata that a fact may have.
const MAX_METADATA: usize = 50;

/// A rule: when it matches, what it gives, and with which values.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) id: Word,
    pub(super) when: Conditions,
    /// `if`, asked after `when`.
    pub(super) condition: Option<Condition>,
    pub(super) gives: Gives,
    pub(super) set: Vec<Assignment>,
    pub(super) require: Vec<Key>,
    /// A clock or a guess says so, not a person.
    pub(super) inferred: bool,
    /// Where it stands in its file.
    pub(super) span: Range<usize>,
}

/// One value to set.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) key: Key,
    pub(super) name: Word,
    pub(super) template: Template,
}

const RULE_KEYS: [&str; 11] = [
    "id",
    "when",
    "if",
    "outcome",
    "retract",
    "appointment",
    "call",
    "ignore",
    "inferred",
    "require",
    "set",
];

/// Reads a rule. `None` when there was a mistake.
pub(super) fn read(
    item: &Spanned<DeValue<'_>>,
    vocabulary: Vocabulary<'_>,
    cx: &mut Collector,
) -> Option<Rule> {
    let before = cx.errors();
    let table = cx.table("rule", item)?;
    let id = read_id(table, item.span(), cx);
    cx.within(id.as_ref().map(|id| format!("rule \"{id}\"")));
    cx.unknown_keys(table, &RULE_KEYS);
    let when = match table.get("when") {
        Some(rows) => Conditions::parse_with(rows, vocabulary, cx),
        None => Some(Conditions::default()),
    };
    let condition = table
        .get("if")
        .and_then(|item| read_condition(item, vocabulary, cx));
    let gives = kind::read(table, item.span(), vocabulary, cx);
    let set = table.get("set").map_or_else(Vec::new, |item| {
        read_set(item, gives.as_ref(), vocabulary, cx)
    });
    let require = table
        .get("require")
        .map_or_else(Vec::new, |item| read_require(item, &set, cx));
    let inferred = match table.get("inferred") {
        Some(item) => cx.truth("inferred", item)?,
        None => false,
    };
    check_together(table, &set, inferred, gives.as_ref(), cx);
    if cx.errors() > before {
        return None;
    }
    Some(Rule {
        id: id?,
        when: when?,
        condition,
        gives: gives?,
        set,
        require,
        inferred,
        span: item.span(),
    })
}

fn read_id(table: &DeTable<'_>, span: Range<usize>, cx: &mut Collector) -> Option<Word> {
    let Some(item) = table.get("id") else {
        let help = "give it a name that explanations can use: id = \"deal_won\"";
        cx.error(span, "this rule has no `id`", Some(help.to_owned()));
        return None;
    };
    let id = cx.text("id", item)?;
    if id.is_empty() || id.chars().count() > 64 || id.chars().any(char::is_control) {
        cx.error(item.span(), "an `id` has 1 to 64 characters", None);
        return None;
    }
    Some(id.into())
}

fn read_condition(
    item: &Spanned<DeValue<'_>>,
    vocabulary: Vocabulary<'_>,
    cx: &mut Collector,
) -> Option<Condition> {
    let text = cx.text("if", item)?;
    match Condition::parse(text, vocabulary) {
        Ok(condition) => Some(condition),
        Err(mistakes) => {
            for mistake in mistakes {
                cx.text_mistake(item, mistake);
            }
            None
        }
    }
}

fn read_set(
    item: &Spanned<DeValue<'_>>,
    gives: Option<&Gives>,
    vocabulary: Vocabulary<'_>,
    cx: &mut Collector,
) -> Vec<Assignment> {
    let Some(table) = cx.table("set", item) else {
        return Vec::new();
    };
    let mut set = Vec::new();
    for (name, span, item) in in_file_order(table) {
        if name == "metadata" {
            read_metadata(item, gives, vocabulary, cx, &mut set);
        } else if let Some(key) = Key::from_name(name) {
            set.extend(read_assignment(key, span, item, gives, vocabulary, cx));
        } else {
            let names = || NAMES.iter().map(|(name, _)| *name);
            let help = match did_you_mean(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "known: {}; anything else goes to metadata.{name}",
                    names().collect::<Vec<_>>().join(", ")
                ),
            };
            cx.error(span, format!("`{name}` cannot be set"), Some(help));
        }
    }
    if set.len() > MAX_VALUES {
        let message = format!("{} values; at most {MAX_VALUES} are allowed", set.len());
        cx.error(item.span(), message, None);
    }
    set
}

fn read_metadata(
    item: &Spanned<DeValue<'_>>,
    gives: Option<&Gives>,
    vocabulary: Vocabulary<'_>,
    cx: &mut Collector,
    set: &mut Vec<Assignment>,
) {
    let Some(table) = cx.table("metadata", item) else {
        return;
    };
    if table.len() > MAX_METADATA {
        let message = format!(
            "{} metadata; at most {MAX_METADATA} are allowed",
            table.len()
        );
        cx.error(item.span(), message, None);
    }
    for (name, span, item) in in_file_order(table) {
        let key = Key::Metadata(name.into());
        set.extend(read_assignment(key, span, item, gives, vocabulary, cx));
    }
}

fn read_assignment(
    key: Key,
    span: Range<usize>,
    item: &Spanned<DeValue<'_>>,
    gives: Option<&Gives>,
    vocabulary: Vocabulary<'_>,
    cx: &mut Collector,
) -> Option<Assignment> {
    let name = key.name();
    if let Some(gives) = gives.filter(|gives| !key.belongs_to(gives)) {
        let what = gives.key();
        cx.error(span, format!("`{name}` cannot be set for `{what}`"), None);
        return None;
    }
    let template = match (item.get_ref(), &key) {
        (DeValue::String(text), _) => match Template::parse_with(text, vocabulary) {
            Ok(template) => {
                if let Some(why) = never_fits(&key, &template, text) {
                    cx.error(
                        item.span(),
                        format!("`{name}` would never be set: {why}"),
                        None,
                    );
                }
                template
            }
            Err(mistake) => {
                cx.text_mistake(item, mistake);
                return None;
            }
        },
        (value, Key::Metadata(_)) => Template::constant(constant(value).or_else(|| {
            cx.wrong_type(&name, item, "a text, a number, or true or false");
            None
        })?),
        _ => {
            cx.wrong_type(&name, item, "a text");
            return None;
        }
    };
    Some(Assignment {
        key,
        name: name.into(),
        template,
    })
}

/// Why a text that is the same for every event cannot be this value, if so. Whether it can be a phone depends on the source.
fn never_fits(key: &Key, template: &Template, text: &str) -> Option<String> {
    let is_same = template.is_literal() && !text.contains(['{', '}']) && !text.trim().is_empty();
    if !is_same || matches!(key, Key::Phone) {
        return None;
    }
    let datum = Datum::Text(text.into());
    Draft::default().put(key, datum, None).err()
}

fn constant(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::Boolean(truth) => Some(Value::Bool(*truth)),
        DeValue::Integer(_) | DeValue::Float(_) => {
            serde_json::from_str(&super::rows::scalar(value)?).ok()
        }
        _ => None,
    }
}

fn read_require(item: &Spanned<DeValue<'_>>, set: &[Assignment], cx: &mut Collector) -> Vec<Key> {
    let mut required = Vec::new();
    let Some(list) = cx.list("require", item) else {
        return required;
    };
    for item in list.iter() {
        let Some(name) = cx.text("require", item) else {
            continue;
        };
        match set.iter().find(|assignment| &*assignment.name == name) {
            Some(assignment) => required.push(assignment.key.clone()),
            None => cx.error(
                item.span(),
                format!("`{name}` is required, but the rule does not set it"),
                Some("name something that stands in [rule.set]".to_owned()),
            ),
        }
    }
    required
}

fn check_together(
    table: &DeTable<'_>,
    set: &[Assignment],
    inferred: bool,
    gives: Option<&Gives>,
    cx: &mut Collector,
) {
    let sets = |key: &Key| set.iter().any(|assignment| assignment.key == *key);
    if sets(&Key::Value) && !sets(&Key::Currency) {
        let values = table.get("set").and_then(|set| set.get_ref().as_table());
        let at = values.and_then(|values| values.get_key_value("value"));
        let span = at.map_or(0..0, |(key, _)| key.span());
        let help =
            "an amount needs its currency: currency = \"{event.currency}\" or currency = \"EUR\"";
        cx.error(
            span,
            "`value` is set but `currency` is not",
            Some(help.to_owned()),
        );
    }
    if inferred && gives.is_some_and(|gives| !matches!(gives, Gives::Outcome(_))) {
        let at = table.get_key_value("inferred");
        let span = at.map_or(0..0, |(key, _)| key.span());
        cx.error(span, "only an `outcome` can be `inferred`", None);
    }
}
