//! `[[test]]`: an event beside the rules, and what must come out.
//!
//! Only the keys that a test lists are compared; `false` says that a value must not be set. A test
//! that fails shows each difference and the whole trace.

use std::path::Path as FilePath;

use jiff::Timestamp;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::collector::Collector;
use super::derive::{Context, Derivation, derive};
use super::fields::{differences, fields};
use super::looked::LookedUp;
use super::ruleset::Ruleset;
use super::trace::{Step, Trace};
use crate::model::{Disposition, EventId, Region, SourceName, parse_time};

const KEYS: [&str; 11] = [
    "name",
    "event",
    "lookup",
    "header",
    "query",
    "setting",
    "received_at",
    "expect",
    "warnings",
    "disposition",
    "reason",
];

/// When a test's event was received, unless it says so.
const RECEIVED_AT: &str = "2026-01-01T00:00:00Z";

/// A test of a mapping file.
#[derive(Debug, Clone)]
pub(super) struct Case {
    name: String,
    event: Input,
    lookup: Input,
    header: Value,
    query: Value,
    setting: Value,
    received_at: Timestamp,
    expect: Option<Vec<Map<String, Value>>>,
    warnings: Option<usize>,
    disposition: Option<Disposition>,
    reason: Option<String>,
}

/// JSON beside the test or in a file.
#[derive(Debug, Clone)]
enum Input {
    Json(Value),
    File(String),
}

/// Gives the text of a file by its name, or says why it cannot.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// How a test went.
#[derive(Debug, Clone, PartialEq)]
pub struct TestResult {
    /// The test's name.
    pub name: String,
    /// What is not as expected; empty when the test passed.
    pub failures: Vec<String>,
    /// How the event was derived; `None` when it could not even be read.
    pub trace: Option<Trace>,
    /// The rules that matched.
    pub matched: Vec<String>,
}

impl TestResult {
    /// Whether everything is as expected.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// What the source has whose rules are tested; a test's own settings go over it.
#[derive(Debug, Clone, Default)]
pub struct TestSource {
    /// Where phone numbers without a country code are from.
    pub region: Option<Region>,
    /// The settings that rules may read.
    pub setting: Map<String, Value>,
}

impl Ruleset {
    /// Runs the tests of the file as rules of any source. `dir` is where the files stand that they name.
    pub fn run_tests(&self, dir: &FilePath) -> Vec<TestResult> {
        self.run_tests_at(dir, &TestSource::default())
    }

    /// The same, as rules of one source.
    pub fn run_tests_at(&self, dir: &FilePath, of: &TestSource) -> Vec<TestResult> {
        let read =
            |name: &str| std::fs::read_to_string(dir.join(name)).map_err(|error| error.to_string());
        self.run_all(&read, of)
    }

    /// Runs the tests of the file. `read` gives the text of a file that they name, e.g. one that is
    /// compiled in.
    pub fn run_tests_with(&self, read: ReadFile<'_>) -> Vec<TestResult> {
        self.run_all(read, &TestSource::default())
    }

    fn run_all(&self, read: ReadFile<'_>, of: &TestSource) -> Vec<TestResult> {
        let run = |case: &Case| case.run(self, read, of);
        self.tests.iter().map(run).collect()
    }

    /// The rules of the file that no test reaches.
    pub fn untested_rules(&self, results: &[TestResult]) -> Vec<&str> {
        let reached = |id: &str| {
            let mut matched = results.iter().flat_map(|result| &result.matched);
            matched.any(|matched| matched == id)
        };
        let own = self.rule_ids().take(self.own);
        own.filter(|id| !reached(id)).collect()
    }
}

/// Reads the tests of a file; those with a mistake are left out.
pub(super) fn read(item: &Spanned<DeValue<'_>>, cx: &mut Collector) -> Vec<Case> {
    let Some(list) = item.get_ref().as_array() else {
        cx.error(item.span(), "a test begins with [[test]]", None);
        return Vec::new();
    };
    let mut cases = Vec::new();
    for item in list.iter() {
        cases.extend(
            cx.table("test", item)
                .and_then(|table| read_case(table, item, cx)),
        );
        cx.within(None);
    }
    cases
}

fn read_case(table: &DeTable<'_>, item: &Spanned<DeValue<'_>>, cx: &mut Collector) -> Option<Case> {
    let before = cx.errors();
    let name = table.get("name").and_then(|name| cx.text("name", name));
    cx.within(name.map(|name| format!("test \"{name}\"")));
    cx.unknown_keys(table, &KEYS);
    for key in ["name", "event", "expect"] {
        let instead = key == "expect" && table.contains_key("disposition");
        if !table.contains_key(key) && !instead {
            cx.error(item.span(), format!("this test has no `{key}`"), None);
        }
    }
    let event = table
        .get("event")
        .and_then(|item| read_input("event", item, cx));
    let lookup = match table.get("lookup") {
        Some(item) => read_input("lookup", item, cx),
        None => Some(Input::Json(Value::Object(Map::new()))),
    };
    let mut object = |key: &str| match table.get(key) {
        Some(item) => cx.table(key, item).map(|_| to_json(item.get_ref())),
        None => Some(Value::Object(Map::new())),
    };
    let (header, query, setting) = (object("header"), object("query"), object("setting"));
    let received_at = read_moment(table, cx);
    let expect = match table.get("expect") {
        Some(item) => Some(read_expect(item, cx)?),
        None => None,
    };
    let warnings = table.get("warnings").and_then(|item| {
        let count = super::rows::scalar(item.get_ref()).and_then(|text| text.parse().ok());
        if count.is_none() {
            cx.wrong_type("warnings", item, "a number of warnings");
        }
        count
    });
    let disposition = table.get("disposition").and_then(|item| {
        let read = cx.text("disposition", item)?.parse().ok();
        if read.is_none() {
            let known = "known: mapped, ignored, waiting, unmatched, failed";
            cx.error(
                item.span(),
                "this is not a disposition",
                Some(known.to_owned()),
            );
        }
        read
    });
    let reason = table
        .get("reason")
        .and_then(|item| cx.text("reason", item).map(str::to_owned));
    if cx.errors() > before {
        return None;
    }
    Some(Case {
        name: name?.to_owned(),
        event: event?,
        lookup: lookup?,
        header: header?,
        query: query?,
        setting: setting?,
        received_at: received_at?,
        expect,
        warnings,
        disposition,
        reason,
    })
}

fn read_moment(table: &DeTable<'_>, cx: &mut Collector) -> Option<Timestamp> {
    let Some(item) = table.get("received_at") else {
        return parse_time(RECEIVED_AT).ok();
    };
    let text = super::rows::scalar(item.get_ref()).unwrap_or_default();
    match parse_time(&text) {
        Ok(at) => Some(at),
        Err(error) => {
            cx.error(item.span(), error.to_string(), None);
            None
        }
    }
}

/// JSON text, a table, or the name of a file.
fn read_input(key: &str, item: &Spanned<DeValue<'_>>, cx: &mut Collector) -> Option<Input> {
    if item.get_ref().is_table() {
        return Some(Input::Json(to_json(item.get_ref())));
    }
    let text = cx.text(key, item)?;
    if !text.trim_start().starts_with(['{', '[']) {
        return Some(Input::File(text.to_owned()));
    }
    match serde_json::from_str(text) {
        Ok(value) => Some(Input::Json(value)),
        Err(error) => {
            cx.error(item.span(), format!("`{key}` is not JSON: {error}"), None);
            None
        }
    }
}

fn read_expect(item: &Spanned<DeValue<'_>>, cx: &mut Collector) -> Option<Vec<Map<String, Value>>> {
    let facts = match item.get_ref() {
        DeValue::String(text) if text == "nothing" => return Some(Vec::new()),
        DeValue::Table(_) => vec![to_json(item.get_ref())],
        DeValue::Array(list) => list.iter().map(|item| to_json(item.get_ref())).collect(),
        _ => Vec::new(),
    };
    let maps: Option<Vec<_>> = facts
        .into_iter()
        .map(|fact| match fact {
            Value::Object(map) => Some(map),
            _ => None,
        })
        .collect();
    match maps {
        Some(maps) if !maps.is_empty() => Some(maps),
        _ => {
            let help = "write \"nothing\", { outcome = \"closed\", … }, or a list of those";
            cx.error(
                item.span(),
                "`expect` must say which facts come out",
                Some(help.to_owned()),
            );
            None
        }
    }
}

/// TOML as JSON; dates become text.
pub(super) fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())))
                .collect(),
        ),
        DeValue::Integer(_) | DeValue::Float(_) => {
            let text = super::rows::scalar(value).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        scalar => super::rows::scalar(scalar).map_or(Value::Null, Value::String),
    }
}

impl Input {
    fn load(&self, read: ReadFile<'_>) -> Result<Value, String> {
        match self {
            Self::Json(value) => Ok(value.clone()),
            Self::File(name) => {
                let text = read(name).map_err(|error| format!("cannot read `{name}`: {error}"))?;
                serde_json::from_str(&text)
                    .map_err(|error| format!("`{name}` is not JSON: {error}"))
            }
        }
    }
}

impl Case {
    fn run(&self, rules: &Ruleset, read: ReadFile<'_>, of: &TestSource) -> TestResult {
        let derivation = self
            .event
            .load(read)
            .and_then(|event| Ok((event, self.lookup.load(read)?)))
            .and_then(|(event, lookup)| self.derive(rules, &event, lookup, of));
        let (failures, derivation) = match derivation {
            Ok(derivation) => (self.compare(&derivation), Some(derivation)),
            Err(failure) => (vec![failure], None),
        };
        let trace = derivation.map(|derivation| derivation.trace);
        TestResult {
            name: self.name.clone(),
            failures,
            matched: trace.as_ref().map_or_else(Vec::new, matched),
            trace,
        }
    }

    fn derive(
        &self,
        rules: &Ruleset,
        event: &Value,
        lookup: Value,
        of: &TestSource,
    ) -> Result<Derivation, String> {
        let mut setting = of.setting.clone();
        if let Value::Object(own) = &self.setting {
            setting.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        let source = SourceName::new("test").map_err(|error| error.to_string())?;
        let context = Context {
            source: &source,
            event: EventId::first_at(0),
            header: &self.header,
            query: &self.query,
            setting: &Value::Object(setting),
            looked_up: &LookedUp::from_json(lookup),
            region: of.region,
            received_at: self.received_at,
        };
        Ok(derive(rules, event, &context))
    }

    fn compare(&self, derivation: &Derivation) -> Vec<String> {
        let mut failures = Vec::new();
        let facts = &derivation.facts;
        match self.expect.as_deref() {
            // One expected fact may stand beside others: an appointment beside an outcome.
            Some([one]) if !facts.is_empty() => {
                let each = facts.iter().map(|fact| differences(one, fact));
                failures.extend(each.min_by_key(Vec::len).unwrap_or_default());
            }
            Some(expected) if expected.len() != facts.len() => {
                let got: Vec<String> = facts
                    .iter()
                    .map(|fact| Value::Object(fields(fact)).to_string())
                    .collect();
                failures.push(format!(
                    "expected {} facts, got {}: [{}]; {}: {}",
                    expected.len(),
                    facts.len(),
                    got.join(", "),
                    derivation.disposition,
                    derivation.reason
                ));
            }
            Some(expected) => {
                for (expected, fact) in expected.iter().zip(facts) {
                    failures.extend(differences(expected, fact));
                }
            }
            None => {}
        }
        if let Some(expected) = self.disposition.filter(|d| *d != derivation.disposition) {
            let got = derivation.disposition;
            failures.push(format!("disposition: expected {expected}, got {got}"));
        }
        if let Some(expected) = &self.reason
            && !derivation.reason.contains(expected.as_str())
        {
            failures.push(format!(
                "reason: expected \"{expected}\", got \"{}\"",
                derivation.reason
            ));
        }
        if let Some(expected) = self.warnings.filter(|n| *n != derivation.warnings.len()) {
            failures.push(format!(
                "expected {expected} warnings, got {}: {}",
                derivation.warnings.len(),
                derivation.warnings.join("; ")
            ));
        }
        failures
    }
}

/// The rules that matched, in order.
fn matched(trace: &Trace) -> Vec<String> {
    let mut asked = None;
    let mut matched = Vec::new();
    for step in &trace.steps {
        match step {
            Step::Rule(id) => asked = Some(id),
            Step::Matched => matched.extend(asked.map(ToString::to_string)),
            _ => {}
        }
    }
    matched
}
