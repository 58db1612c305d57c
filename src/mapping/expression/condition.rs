//! `if = "…"` of a rule, asked after its rows.

use super::budget::Budget;
use super::evaluate::{Evaluator, join};
use super::parse;
use super::tree::{Kind, Logic, Node};
use super::value::Fault;
use crate::mapping::cursor::TextMistake;
use crate::mapping::path::Path;
use crate::mapping::scope::Scope;
use crate::mapping::template::Vocabulary;
use crate::mapping::trace::{GroupKind, RowStep, Step, Trace, shown};
use crate::mapping::word::Word;

/// The most values that a leaf shows in a trace.
const MAX_SHOWN: usize = 8;

/// An expression that holds or does not.
#[derive(Debug, Clone)]
pub(in crate::mapping) struct Condition {
    part: Part,
    written: Word,
}

/// The expression, taken apart where a trace tells its parts one by one.
#[derive(Debug, Clone)]
enum Part {
    Leaf(Leaf),
    Not(Box<Part>),
    Both(Logic, Vec<Part>),
}

#[derive(Debug, Clone)]
struct Leaf {
    node: Node,
    written: Word,
    paths: Vec<Path>,
}

type Truth = Result<bool, Fault>;

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// Every mistake, each with its place in `text`.
    pub(in crate::mapping) fn parse(
        text: &str,
        vocabulary: Vocabulary<'_>,
    ) -> Result<Self, Vec<TextMistake>> {
        let node = parse::read(text, vocabulary)?;
        let written = text.trim().into();
        let part = Part::of(node, text, vocabulary.roots);
        Ok(Self { part, written })
    }

    /// The expression as written.
    pub(in crate::mapping) fn as_str(&self) -> &str {
        &self.written
    }

    /// Every path that it reads.
    pub(in crate::mapping) fn paths(&self) -> impl Iterator<Item = &Path> {
        let mut leaves = Vec::new();
        self.part.leaves(&mut leaves);
        leaves.into_iter().flat_map(|leaf| &leaf.paths)
    }

    /// Whether it holds, with each leaf that was asked told to `trace`. What is unknown does not hold.
    ///
    /// # Errors
    /// What is there but cannot be used so, in words. Then it does not hold either.
    pub(in crate::mapping) fn hold_traced(
        &self,
        scope: &dyn Scope,
        trace: &mut Trace,
    ) -> Result<bool, String> {
        let own = Budget::default();
        let budget = scope.budget().unwrap_or(&own);
        match self.part.ask(scope, budget, 0, trace) {
            Ok(held) => Ok(held),
            Err(Fault::Nothing) => Ok(false),
            Err(fault) => Err(fault.to_string()),
        }
    }
}

impl Part {
    fn of(node: Node, text: &str, roots: &[&str]) -> Self {
        match node.kind {
            Kind::Both(logic, a, b) => {
                let mut parts = Vec::new();
                for side in [a, b] {
                    match Self::of(*side, text, roots) {
                        // `a && b && c` is one group.
                        Self::Both(inner, more) if inner == logic => parts.extend(more),
                        part => parts.push(part),
                    }
                }
                Self::Both(logic, parts)
            }
            Kind::Not(of) if matches!(of.kind, Kind::Both(..) | Kind::Not(_)) => {
                Self::Not(Box::new(Self::of(*of, text, roots)))
            }
            _ => {
                let written = text.get(node.span.clone()).unwrap_or(text).trim().into();
                let paths = node.paths(roots);
                Self::Leaf(Leaf {
                    node,
                    written,
                    paths,
                })
            }
        }
    }

    fn leaves<'p>(&'p self, leaves: &mut Vec<&'p Leaf>) {
        match self {
            Self::Leaf(leaf) => leaves.push(leaf),
            Self::Not(part) => part.leaves(leaves),
            Self::Both(_, parts) => parts.iter().for_each(|part| part.leaves(leaves)),
        }
    }

    fn ask(&self, scope: &dyn Scope, budget: &Budget, depth: u8, trace: &mut Trace) -> Truth {
        let (kind, parts) = match self {
            Self::Leaf(leaf) => return leaf.ask(scope, budget, depth, trace),
            Self::Not(part) => (GroupKind::Not, std::slice::from_ref(&**part)),
            Self::Both(Logic::And, parts) => (GroupKind::All, parts.as_slice()),
            Self::Both(Logic::Or, parts) => (GroupKind::Any, parts.as_slice()),
        };
        let opened = trace.open(depth, kind);
        let logic = if kind == GroupKind::Any {
            Logic::Or
        } else {
            Logic::And
        };
        let mut result: Truth = Ok(!logic.decisive());
        for part in parts {
            let truth = part.ask(scope, budget, depth.saturating_add(1), trace);
            result = join(logic, result, truth);
            if result == Ok(logic.decisive()) || result == Err(Fault::Spent) {
                break;
            }
        }
        if kind == GroupKind::Not {
            result = result.map(|truth| !truth);
        }
        trace.close(opened, result == Ok(true));
        result
    }
}

impl Leaf {
    fn ask(&self, scope: &dyn Scope, budget: &Budget, depth: u8, trace: &mut Trace) -> Truth {
        let truth = Evaluator::new(scope, budget).truth(&self.node);
        trace.push(Step::Row(RowStep {
            depth,
            field: "if".into(),
            test: self.written.clone(),
            found: self.found(scope, &truth),
            held: truth == Ok(true),
        }));
        truth
    }

    /// What its paths find, and what is wrong with it.
    fn found(&self, scope: &dyn Scope, truth: &Truth) -> Option<String> {
        let value =
            |path: &Path| Some(format!("{} = {}", path.as_str(), shown(path.first(scope)?)));
        let mut found: Vec<String> = self
            .paths
            .iter()
            .filter_map(value)
            .take(MAX_SHOWN)
            .collect();
        if let Err(fault @ (Fault::NoRow(_) | Fault::Unusable(_) | Fault::Spent)) = truth {
            found.push(fault.to_string());
        }
        (!found.is_empty()).then(|| found.join(", "))
    }
}
