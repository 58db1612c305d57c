//! Expressions, the marked way out of rows and look-ups: `if = "…"` beside `when`, and `{= … }` in a text.
//!
//! The language is CEL, read by the parser of the crate `cel`; only `parse` and `compile` know that
//! crate. Evaluation is our own, because five habits of CEL do not fit vendors' payloads:
//!
//! - **Nothing is unknown.** What is absent, `null`, blank or empty is one thing, nothing there. A test
//!   of it is unknown: `unknown || true` is true, `unknown && false` is false, and all the rest,
//!   `!unknown` too, does not match. `has(x)` and `.?x.orValue(y)` ask explicitly.
//! - **Numbers are exact decimals.** There are no floats: `0.1 + 0.2 == 0.3`, and `1999 / 100` is 19.99.
//! - **Work is bounded.** An expression has limits of length, depth and size, and all expressions
//!   that an event meets share one [`Budget`].
//! - **Nothing is converted.** Values are borrowed from the event.
//! - **Explained.** An `if` is taken apart at `&&`, `||` and `!`; each leaf is told with what it read.

mod budget;
mod calculate;
mod call;
mod compile;
mod condition;
mod evaluate;
mod parse;
mod span;
mod tree;
mod value;

use serde_json::Value;

pub use budget::Budget;
pub(super) use condition::Condition;
use evaluate::Evaluator;
use tree::Node;
use value::Fault;

use super::cursor::TextMistake;
use super::datum::Datum;
use super::notes::Notes;
use super::path::Path;
use super::scope::Scope;
use super::template::Vocabulary;
use super::word::Word;

/// An expression that gives a value.
#[derive(Debug, Clone)]
pub(super) struct Computed {
    node: Node,
    written: Word,
    paths: Vec<Path>,
}

static NO_FUNCTIONS: std::sync::LazyLock<Word> =
    std::sync::LazyLock::new(|| "in an expression".into());

impl Computed {
    /// Reads an expression.
    ///
    /// # Errors
    /// Every mistake, each with its place in `text`.
    pub(super) fn parse(text: &str, vocabulary: Vocabulary<'_>) -> Result<Self, Vec<TextMistake>> {
        let node = parse::read(text, vocabulary)?;
        let paths = node.paths(vocabulary.roots);
        let written = text.trim().into();
        Ok(Self {
            node,
            written,
            paths,
        })
    }

    /// Every path that it reads.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter()
    }

    /// The expression as written.
    pub(super) fn written(&self) -> &Word {
        &self.written
    }

    /// The value; `None` when nothing is there or the expression cannot be computed, which is told
    /// to `notes`.
    pub(super) fn find<'v>(&'v self, scope: &'v dyn Scope, notes: &mut Notes) -> Option<Datum<'v>> {
        let own = Budget::default();
        let budget = scope.budget().unwrap_or(&own);
        let result = Evaluator::new(scope, budget)
            .value(&self.node)
            .and_then(value::Value::into_datum);
        match result {
            Ok(datum) => {
                for (path, value) in self.read(scope) {
                    notes.used(path.written(), value, &NO_FUNCTIONS, false);
                }
                Some(datum).filter(|datum| !datum.is_nothing())
            }
            Err(Fault::Nothing) => {
                let absent = || self.paths.iter().filter(|path| path.first(scope).is_none());
                absent().for_each(|path| notes.missing(path.written()));
                if absent().next().is_none() {
                    notes.missing(&self.written);
                }
                None
            }
            Err(fault) => {
                notes.unusable(fault.to_string());
                None
            }
        }
    }

    /// What its paths find, for a trace.
    fn read<'v>(&'v self, scope: &'v dyn Scope) -> impl Iterator<Item = (&'v Path, &'v Value)> {
        self.paths
            .iter()
            .filter_map(|path| Some((path, path.first(scope)?)))
    }
}

#[cfg(test)]
mod tests;
