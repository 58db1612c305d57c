//! The operators of a row, with the value that each compares with.

use std::fmt;

use regex::Regex;
use rust_decimal::Decimal;
use serde_json::Value;

use super::scope::Scope;
use super::value::{Literal, Needle, as_text, numeric};

/// An operator as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Equal, loosely: numbers and numeric text as decimals, truth values and their text in any case.
    Is,
    /// There, and not equal.
    IsNot,
    /// Equal to one of a list.
    OneOf,
    /// There, and equal to none of a list.
    NoneOf,
    /// A row of a table has its name.
    InTable,
    /// Contains a text, ignoring case; for a list: one of its items is that text.
    Contains,
    /// Starts with a text, ignoring case.
    StartsWith,
    /// Ends with a text, ignoring case.
    EndsWith,
    /// Fits a regular expression.
    Matches,
    /// A number above.
    Over,
    /// A number below.
    Under,
    /// A number not below.
    AtLeast,
    /// A number not above.
    AtMost,
    /// Whether something is there.
    Exists,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Is,
        Self::IsNot,
        Self::OneOf,
        Self::NoneOf,
        Self::InTable,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
        Self::Matches,
        Self::Over,
        Self::Under,
        Self::AtLeast,
        Self::AtMost,
        Self::Exists,
    ];

    /// The key it is written by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Is => "is",
            Self::IsNot => "is_not",
            Self::OneOf => "one_of",
            Self::NoneOf => "none_of",
            Self::InTable => "in_table",
            Self::Contains => "contains",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
            Self::Matches => "matches",
            Self::Over => "over",
            Self::Under => "under",
            Self::AtLeast => "at_least",
            Self::AtMost => "at_most",
            Self::Exists => "exists",
        }
    }

    /// The operator written as `key`.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operator| operator.as_str() == key)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operator with its value, prepared at load.
#[derive(Debug, Clone)]
pub(super) enum Check {
    Is(Literal),
    IsNot(Literal),
    OneOf(Vec<Literal>),
    NoneOf(Vec<Literal>),
    InTable(Box<str>),
    Contains(Needle),
    StartsWith(Needle),
    EndsWith(Needle),
    Matches(Regex),
    Over(Decimal),
    Under(Decimal),
    AtLeast(Decimal),
    AtMost(Decimal),
    Exists(bool),
}

impl Check {
    /// Whether it holds for a value that is there.
    pub(super) fn holds(&self, value: &Value, scope: &dyn Scope) -> bool {
        let number = |question: &dyn Fn(Decimal) -> bool| numeric(value).is_some_and(question);
        let one_of = |literals: &[Literal]| literals.iter().any(|literal| literal.equals(value));
        match self {
            Self::Is(literal) => literal.equals(value),
            Self::IsNot(literal) => !literal.equals(value),
            Self::OneOf(literals) => one_of(literals),
            Self::NoneOf(literals) => !one_of(literals),
            Self::InTable(name) => scope
                .table(name)
                .is_some_and(|table| table.get(value).is_some()),
            Self::Contains(needle) => needle.within(value),
            Self::StartsWith(needle) => needle.starts(value),
            Self::EndsWith(needle) => needle.ends(value),
            Self::Matches(regex) => as_text(value).is_some_and(|text| regex.is_match(&text)),
            Self::Over(limit) => number(&|n| n > *limit),
            Self::Under(limit) => number(&|n| n < *limit),
            Self::AtLeast(limit) => number(&|n| n >= *limit),
            Self::AtMost(limit) => number(&|n| n <= *limit),
            Self::Exists(wanted) => *wanted,
        }
    }

    /// Whether it holds where nothing is there.
    pub(super) fn holds_for_nothing(&self) -> bool {
        matches!(self, Self::Exists(false))
    }
}
