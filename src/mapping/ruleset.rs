//! A mapping file, and how an admin's file is laid over a connector's.

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::cases::{self, Case};
use super::collector::{Collector, in_file_order};
use super::expression::Condition;
use super::path::Path;
use super::rule::{self, ROOTS, Rule};
use super::table::{Table, Tables};
use super::template::Vocabulary;
use crate::diagnostic::Diagnostic;
use crate::model::{Region, parse_region};

/// The version of the language.
const FORMAT: i64 = 1;

/// The most rules that a file may have.
const MAX_RULES: usize = 200;

/// The most items that a batch may have.
pub(super) const MAX_ITEMS: usize = 1_000;

const KEYS: [&str; 7] = [
    "format", "extends", "region", "batch", "tables", "rule", "test",
];

/// The rules of a source.
#[derive(Debug, Clone, Default)]
pub struct Ruleset {
    pub(super) rules: Vec<Arc<Rule>>,
    /// How many of the rules, from the top, stand in the file itself.
    pub(super) own: usize,
    pub(super) tables: Tables,
    /// The region of the admin's file.
    pub(super) admin_region: Option<Region>,
    /// The region of the connector's file.
    pub(super) region: Option<Region>,
    batch: Option<Batch>,
    extends: bool,
    pub(super) tests: Vec<Case>,
    /// Whether anything but the event itself is read; worked out once.
    reads_request: OnceLock<bool>,
}

/// Where the events of a body stand.
#[derive(Debug, Clone)]
enum Batch {
    /// The body is one event.
    No,
    /// The body is the list.
    Body,
    /// The list stands there.
    At(Path),
}

impl Ruleset {
    /// Reads a mapping file. All its mistakes are told at once.
    ///
    /// # Errors
    /// Mistakes and warnings, in the order of the file.
    pub fn parse(file: &FilePath, text: &str) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        read(file, text, None, &Tables::new())
    }

    /// Reads an admin's file and lays it over the connector's rules. With `extends = true` it may
    /// use the connector's tables, and tables that it replaces are checked against the rules that
    /// use them.
    ///
    /// # Errors
    /// Mistakes and warnings of the admin's file, in its order.
    pub fn parse_over(
        file: &FilePath,
        text: &str,
        base: &Self,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        Self::parse_with(file, text, Some(base), &Tables::new())
    }

    /// Reads an admin's file, lays it over the connector's rules if there are any, and lets it use `shared` tables.
    /// Tables of the rules themselves go before shared ones of the same name.
    ///
    /// # Errors
    /// Mistakes and warnings of the admin's file, in its order.
    pub fn parse_with(
        file: &FilePath,
        text: &str,
        base: Option<&Self>,
        shared: &Tables,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let (mut rules, warnings) = read(file, text, base, shared)?;
        if let Some(base) = base {
            rules = rules.over(base);
        }
        for (name, table) in shared {
            let known = rules.tables.entry(name.clone());
            known.or_insert_with(|| table.clone());
        }
        Ok((rules, warnings))
    }

    /// Lays an admin's file over a connector's. With `extends = true` its rules are asked first and
    /// its tables replace those of the same name; without, only its own rules hold. How the body is
    /// split is the vendor's doing and is kept unless the file says otherwise.
    ///
    /// Phone numbers without a country code are read in the region of the admin's file, else of the
    /// source's settings, else of the connector's file.
    #[must_use]
    pub fn over(mut self, base: &Self) -> Self {
        self.admin_region = self.admin_region.or(self.region);
        self.region = base.region;
        self.reads_request = OnceLock::new();
        self.batch = self.batch.or_else(|| base.batch.clone());
        if self.extends {
            self.rules.extend(base.rules.iter().cloned());
            for (name, table) in &base.tables {
                let foreign = || table.foreign();
                self.tables.entry(name.clone()).or_insert_with(foreign);
            }
        }
        self
    }

    /// The names of the rules, in the order in which they are asked.
    pub fn rule_ids(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.id)
    }

    /// Every path that the rules read, once: what a vendor has to send for them to work.
    pub fn paths(&self) -> BTreeSet<&str> {
        let mut paths = BTreeSet::new();
        for rule in &self.rules {
            paths.extend(rule.when.paths().map(Path::as_str));
            let condition = rule.condition.iter().flat_map(Condition::paths);
            paths.extend(condition.map(Path::as_str));
            let set = rule.set.iter().map(|assignment| &assignment.template);
            for template in set.chain(rule.gives.template()) {
                paths.extend(template.paths().map(Path::as_str));
            }
        }
        paths
    }

    /// Whether the rules, or look-ups that they need, may read headers or the query.
    pub(crate) fn reads_request(&self) -> bool {
        let reads = |path: &str| {
            ["header", "query", "lookup"]
                .iter()
                .any(|root| path.starts_with(root))
        };
        *self
            .reads_request
            .get_or_init(|| self.paths().into_iter().any(reads))
    }

    /// The events of a body.
    ///
    /// # Errors
    /// Why the body is not as declared, in words.
    pub(super) fn items<'v>(&self, body: &'v Value) -> Result<Items<'v>, String> {
        let list = match &self.batch {
            None | Some(Batch::No) => return Ok(Items::One(body)),
            Some(Batch::Body) => body,
            Some(Batch::At(path)) => path
                .first_in(body)
                .or_else(|| path.empty_list_in(body))
                .ok_or_else(|| format!("the body has no events at {}", path.as_str()))?,
        };
        let items = match list {
            Value::Array(items) => items.as_slice(),
            // XML and some vendors send one event without a list around it.
            Value::Object(_) => std::slice::from_ref(list),
            _ => return Err("the body is not the list of events that the rules expect".to_owned()),
        };
        if items.len() > MAX_ITEMS {
            let count = items.len();
            return Err(format!(
                "the batch has {count} items; at most {MAX_ITEMS} are taken"
            ));
        }
        Ok(Items::Many(items))
    }
}

/// The events of a body.
pub(super) enum Items<'v> {
    One(&'v Value),
    Many(&'v [Value]),
}

type Loaded = Result<(Ruleset, Vec<Diagnostic>), Vec<Diagnostic>>;

fn read(file: &FilePath, text: &str, base: Option<&Ruleset>, shared: &Tables) -> Loaded {
    let mut cx = Collector::new(file, text);
    let Some(table) = cx.read(text) else {
        return Err(cx.finish().err().unwrap_or_default());
    };
    let rules = read_file(&table, base, shared, &mut cx);
    super::lint::lint(&rules, &mut cx);
    let warnings = cx.finish()?;
    Ok((rules, warnings))
}

fn read_file(
    table: &DeTable<'_>,
    base: Option<&Ruleset>,
    shared: &Tables,
    cx: &mut Collector,
) -> Ruleset {
    cx.unknown_keys(table, &KEYS);
    check_format(table, cx);
    let extends = table
        .get("extends")
        .and_then(|item| cx.truth("extends", item))
        .unwrap_or(false);
    let own_tables = table
        .get("tables")
        .map_or_else(Tables::new, |item| read_tables(item, cx));
    let base = base.filter(|_| extends);
    let mut visible = own_tables.clone();
    for (name, foreign) in base.iter().flat_map(|base| &base.tables) {
        visible
            .entry(name.clone())
            .or_insert_with(|| foreign.foreign());
    }
    for (name, table) in shared {
        let known = visible.entry(name.clone());
        known.or_insert_with(|| table.clone());
    }
    for rule in base.iter().flat_map(|base| &base.rules) {
        cx.within(Some(format!("rule \"{}\" of the connector", rule.id)));
        rule.gives.check_replaced_table(&own_tables, cx);
        cx.within(None);
    }
    let vocabulary = Vocabulary {
        roots: &ROOTS,
        tables: &visible,
    };
    let rules = read_rules(table, vocabulary, cx);
    Ruleset {
        own: rules.len(),
        rules,
        tables: own_tables,
        admin_region: None,
        region: table.get("region").and_then(|item| read_region(item, cx)),
        batch: table.get("batch").and_then(|item| read_batch(item, cx)),
        extends,
        tests: table
            .get("test")
            .map_or_else(Vec::new, |item| cases::read(item, cx)),
        reads_request: OnceLock::new(),
    }
}

fn check_format(table: &DeTable<'_>, cx: &mut Collector) {
    let help = || Some(format!("write format = {FORMAT} at the top"));
    match table.get("format") {
        None => cx.error(0..0, "the file does not say its `format`", help()),
        Some(item) => {
            let format = super::rows::scalar(item.get_ref());
            if format.as_deref() != Some("1") {
                cx.error(item.span(), "this version reads `format = 1` only", help());
            }
        }
    }
}

fn read_tables(item: &Spanned<DeValue<'_>>, cx: &mut Collector) -> Tables {
    let mut tables = Tables::new();
    let Some(entries) = cx.table("tables", item) else {
        return tables;
    };
    for (name, _, item) in in_file_order(entries) {
        cx.within(Some(format!("table \"{name}\"")));
        let Some(rows) = cx.table(name, item) else {
            continue;
        };
        if rows.len() > Table::MAX_ROWS {
            let message = format!(
                "{} rows; at most {} are allowed",
                rows.len(),
                Table::MAX_ROWS
            );
            cx.error(item.span(), message, None);
        }
        let mut table = Table::default();
        for (key, value) in rows.iter() {
            let key = key.get_ref();
            if let Some(text) = cx.text(key, value) {
                table.insert(key.to_string(), text.to_owned(), value.span());
            }
        }
        tables.insert(name.to_owned(), table);
    }
    cx.within(None);
    tables
}

fn read_region(item: &Spanned<DeValue<'_>>, cx: &mut Collector) -> Option<Region> {
    let code = cx.text("region", item)?;
    match parse_region(code) {
        Ok(region) => Some(region),
        Err(error) => {
            cx.error(item.span(), error.to_string(), None);
            None
        }
    }
}

fn read_batch(item: &Spanned<DeValue<'_>>, cx: &mut Collector) -> Option<Batch> {
    match item.get_ref() {
        DeValue::Boolean(true) => Some(Batch::Body),
        DeValue::Boolean(false) => Some(Batch::No),
        DeValue::String(text) => match Path::parse(text, &["event"]) {
            // It would take the first list, and lose the others.
            Ok(path) if path.is_many() => {
                let help = "name the list itself, without `[*]`; lists within a list cannot be taken apart";
                let message = format!("`{text}` names several lists, and `batch` takes one");
                cx.error(item.span(), message, Some(help.to_owned()));
                None
            }
            Ok(path) => Some(Batch::At(path)),
            Err(mistake) => {
                cx.text_mistake(item, mistake);
                None
            }
        },
        _ => {
            cx.wrong_type("batch", item, "true or the path of a list");
            None
        }
    }
}

fn read_rules(
    table: &DeTable<'_>,
    vocabulary: Vocabulary<'_>,
    cx: &mut Collector,
) -> Vec<Arc<Rule>> {
    let mut rules: Vec<Arc<Rule>> = Vec::new();
    let Some(item) = table.get("rule") else {
        return rules;
    };
    let Some(list) = item.get_ref().as_array() else {
        cx.error(item.span(), "a rule begins with [[rule]]", None);
        return rules;
    };
    if list.len() > MAX_RULES {
        let message = format!("{} rules; at most {MAX_RULES} are allowed", list.len());
        cx.error(item.span(), message, None);
        return rules;
    }
    let mut ids = BTreeSet::new();
    for item in list.iter() {
        // Looked at by itself: a rule with other mistakes has an id, too.
        let id = item.get_ref().as_table().and_then(|rule| rule.get("id"));
        if let Some((span, id)) = id.and_then(|id| Some((id.span(), id.get_ref().as_str()?)))
            && !ids.insert(id)
        {
            cx.error(span, format!("two rules are called `{id}`"), None);
        }
        rules.extend(rule::read(item, vocabulary, cx).map(Arc::new));
        cx.within(None);
    }
    rules
}
