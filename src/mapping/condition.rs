//! Conditions: rows of `{ field, operator, value }`, all of which must hold.
//!
//! Nothing there never holds, negative operators included: a rule does not fire because a field is
//! missing. `not = { … }` and `exists = false` are the ways to ask for absence.

use std::ops::ControlFlow;

use serde_json::Value;
use toml::Spanned;
use toml::de::DeValue;

use super::check::Check;
use super::collector::Collector;
use super::path::Path;
use super::scope::Scope;
use super::template::{NO_TABLES, Vocabulary};
use super::trace::{GroupKind, RowStep, Step, Trace, shown};
use super::word::Word;

/// Rows, all of which must hold. Without rows they always hold.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Clone)]
pub(super) enum Row {
    Test(Test),
    Group(GroupKind, Vec<Row>),
}

/// One row.
#[derive(Debug, Clone)]
pub(super) struct Test {
    pub(super) field: Field,
    pub(super) check: Check,
    /// Operator and value as written.
    pub(super) written: Word,
}

/// The paths of a row: the first that is there is asked.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) written: Word,
    pub(super) paths: Vec<Path>,
}

impl Conditions {
    /// Reads a list of rows whose paths start with one of `roots`, without tables. Mistakes go to
    /// `cx`; `None` when there are any.
    pub fn parse(item: &Spanned<DeValue<'_>>, roots: &[&str], cx: &mut Collector) -> Option<Self> {
        let tables = &NO_TABLES;
        Self::parse_with(item, Vocabulary { roots, tables }, cx)
    }

    /// Reads a list of rows that may use tables. Mistakes go to `cx`; `None` when there are any.
    pub fn parse_with(
        item: &Spanned<DeValue<'_>>,
        vocabulary: Vocabulary<'_>,
        cx: &mut Collector,
    ) -> Option<Self> {
        super::rows::read(item, vocabulary, cx).map(|rows| Self { rows })
    }

    /// Which row or group does not hold, in words with what was found; `None` when all hold.
    pub fn failing(&self, scope: &dyn Scope) -> Option<String> {
        let failing = self
            .rows
            .iter()
            .find(|row| !row.holds(scope, 0, &mut None))?;
        Some(match failing {
            Row::Test(test) => test.shown(scope, "does not hold"),
            Row::Group(GroupKind::Not, inner) => match inner.as_slice() {
                [Row::Test(test)] => test.shown(scope, "holds and must not"),
                _ => "a `not` row does not hold".to_owned(),
            },
            Row::Group(kind, _) => format!("no way of its `{}` row holds", kind.as_str()),
        })
    }

    /// Whether all rows hold.
    pub fn hold(&self, scope: &dyn Scope) -> bool {
        all(&self.rows, scope, 0, &mut None)
    }

    /// Whether all rows hold, with each row that was tried told to `trace`.
    pub fn hold_traced(&self, scope: &dyn Scope, trace: &mut Trace) -> bool {
        all(&self.rows, scope, 0, &mut Some(trace))
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every path that is read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let mut tests = Vec::new();
        collect_tests(&self.rows, &mut tests);
        tests.into_iter().flat_map(|test| &test.field.paths)
    }
}

pub(super) fn collect_tests<'r>(rows: &'r [Row], tests: &mut Vec<&'r Test>) {
    for row in rows {
        match row {
            Row::Test(test) => tests.push(test),
            Row::Group(_, inner) => collect_tests(inner, tests),
        }
    }
}

fn all(rows: &[Row], scope: &dyn Scope, depth: u8, trace: &mut Option<&mut Trace>) -> bool {
    rows.iter().all(|row| row.holds(scope, depth, trace))
}

impl Row {
    fn holds(&self, scope: &dyn Scope, depth: u8, trace: &mut Option<&mut Trace>) -> bool {
        match self {
            Self::Test(test) => test.holds(scope, depth, trace),
            Self::Group(kind, rows) => {
                let opened = trace.as_mut().map(|trace| trace.open(depth, *kind));
                let deeper = depth.saturating_add(1);
                let result = match kind {
                    GroupKind::All => all(rows, scope, deeper, trace),
                    GroupKind::Any => rows.iter().any(|row| row.holds(scope, deeper, trace)),
                    GroupKind::Not => !all(rows, scope, deeper, trace),
                };
                if let (Some(trace), Some(at)) = (trace, opened) {
                    trace.close(at, result);
                }
                result
            }
        }
    }
}

impl Test {
    pub(super) fn holds(
        &self,
        scope: &dyn Scope,
        depth: u8,
        trace: &mut Option<&mut Trace>,
    ) -> bool {
        let (found, held) = self.ask(scope);
        if let Some(trace) = trace {
            trace.push(Step::Row(RowStep {
                depth,
                field: self.field.written.clone(),
                test: self.written.clone(),
                found: found.map(shown),
                held,
            }));
        }
        held
    }

    /// `outcome.value over 100 does not hold: 50`.
    fn shown(&self, scope: &dyn Scope, end: &str) -> String {
        let found = self
            .ask(scope)
            .0
            .map_or_else(|| "nothing is there".to_owned(), shown);
        format!("`{} {}` {end}: {found}", self.field.written, self.written)
    }

    /// The value that decided, and whether the row holds.
    fn ask<'v>(&self, scope: &'v dyn Scope) -> (Option<&'v Value>, bool) {
        let mut decisive = None;
        for path in &self.field.paths {
            let mut held = false;
            // The walk ends at the first value that decides; what it found is told by the variables.
            let _ = path.visit(scope, &mut |value| {
                let holds = self.check.holds(value, scope);
                if decisive.is_none() || holds {
                    decisive = Some(value);
                }
                held = holds;
                if holds || !path.is_many() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            if decisive.is_some() {
                return (decisive, held);
            }
        }
        (None, self.check.holds_for_nothing())
    }
}
