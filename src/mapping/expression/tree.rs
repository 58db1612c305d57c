//! A checked expression, ready to be evaluated.

use std::ops::Range;

use regex::Regex;
use rust_decimal::Decimal;
use serde_json::Value as Json;

use crate::mapping::operation::Operation;
use crate::mapping::path::Path;

/// A part of an expression, with its place in the text.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Bytes of the expression's text.
    pub(super) span: Range<usize>,
    /// The path that it reads, where it is nothing but one.
    pub(super) path: Option<Box<str>>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Json(Json),
    Decimal(Decimal),
    /// `null`: nothing there.
    Nothing,
    Root(Box<str>),
    /// The item of the loop at this depth.
    Item(usize),
    Member {
        of: Box<Node>,
        name: Box<str>,
    },
    Index {
        of: Box<Node>,
        at: Box<Node>,
    },
    /// `.?name`, `[?x]`: what stands inside may be nothing.
    Maybe(Box<Node>),
    List(Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// `&&` and `||`.
    Both(Logic, Box<Node>, Box<Node>),
    Choice(Box<[Node; 3]>),
    Calculate(Arithmetic, Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    In(Box<Node>, Box<Node>),
    Has(Box<Node>),
    Loop(Box<Loop>),
    /// A function of the rule language.
    Apply(Operation, Box<Node>),
    Call(Builtin, Vec<Node>),
    Matches(Regex, Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logic {
    And,
    Or,
}

impl Logic {
    /// The truth value that decides whatever the other side is.
    pub(super) fn decisive(self) -> bool {
        self == Self::Or
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Arithmetic {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// A loop over a list.
#[derive(Debug, Clone)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) list: Node,
    /// Of `map` with a condition.
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// A function of CEL, or beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builtin {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Join,
    HasValue,
    Or,
    OrValue,
}

impl Builtin {
    /// Name, number of arguments, and what it is.
    pub(super) const ALL: [(&'static str, usize, Self); 8] = [
        ("size", 1, Self::Size),
        ("contains", 2, Self::Contains),
        ("startsWith", 2, Self::StartsWith),
        ("endsWith", 2, Self::EndsWith),
        ("join", 2, Self::Join),
        ("hasValue", 1, Self::HasValue),
        ("or", 2, Self::Or),
        ("orValue", 2, Self::OrValue),
    ];
}

impl Node {
    /// The nodes right below.
    pub(super) fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Json(_) | Kind::Decimal(_) | Kind::Nothing | Kind::Root(_) | Kind::Item(_) => {
                Vec::new()
            }
            Kind::Member { of, .. } => vec![of],
            Kind::Index { of, at } => vec![of, at],
            Kind::Maybe(of)
            | Kind::Not(of)
            | Kind::Negate(of)
            | Kind::Has(of)
            | Kind::Apply(_, of)
            | Kind::Matches(_, of) => vec![of],
            Kind::List(items) | Kind::Call(_, items) => items.iter().collect(),
            Kind::Both(_, a, b)
            | Kind::Calculate(_, a, b)
            | Kind::Compare(_, a, b)
            | Kind::In(a, b) => vec![a, b],
            Kind::Choice(three) => three.iter().collect(),
            Kind::Loop(l) => {
                let inner = [Some(&l.list), l.filter.as_ref(), Some(&l.body)];
                inner.into_iter().flatten().collect()
            }
        }
    }

    /// The paths that it reads, each once.
    pub(super) fn paths(&self, roots: &[&str]) -> Vec<Path> {
        let mut paths = Vec::new();
        self.collect_paths(roots, &mut paths);
        paths
    }

    fn collect_paths(&self, roots: &[&str], paths: &mut Vec<Path>) {
        if let Kind::Apply(operation, _) = &self.kind {
            operation
                .path()
                .into_iter()
                .for_each(|path| add(path.clone(), paths));
        }
        match &self.path {
            // What compilation wrote down is a path of the language.
            Some(path) => {
                if let Ok(path) = Path::parse(path, roots) {
                    add(path, paths);
                }
            }
            None => {
                for child in self.children() {
                    child.collect_paths(roots, paths);
                }
            }
        }
    }
}

fn add(path: Path, paths: &mut Vec<Path>) {
    if paths.iter().all(|known| known.as_str() != path.as_str()) {
        paths.push(path);
    }
}
