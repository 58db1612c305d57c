//! Why an event became what it became: every rule that was asked, every row, every value.
//!
//! A trace is data, stored as JSON with its event and shown as text. It is written on the hot path:
//! names are shared, values are kept only so far as a person reads them.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::cut;
use super::word::Word;
use crate::model::Disposition;

/// The most bytes of a found value that a trace keeps.
const MAX_SHOWN: usize = 200;

/// The most steps that a trace keeps: a batch of a thousand items must not outgrow its event.
const MAX_STEPS: usize = 4_000;

/// The whole derivation of an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// Whether steps were left out because there were too many.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// An item of a batch begins; counted from 0.
    Item(usize),
    /// A rule is asked.
    Rule(Word),
    /// A row was tried.
    Row(RowStep),
    /// `any`, `all` or `not` around the rows that follow one level deeper.
    Group(GroupStep),
    /// All rows of the rule hold.
    Matched,
    /// A value was set.
    Set(SetStep),
    /// A value was not set: nothing is there.
    Unset {
        /// Which value.
        name: Word,
        /// The look-ups that found nothing.
        nothing_at: Vec<Word>,
    },
    /// Something is there but cannot be used.
    Warning(String),
    /// Something worth knowing.
    Note(String),
    /// A fact was derived, in words.
    Fact(String),
    /// What became of the item or the event.
    Decision {
        /// What.
        disposition: Disposition,
        /// Why.
        reason: String,
    },
}

/// A row that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowStep {
    /// How deep it stands in groups.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u8,
    /// The field as written.
    pub field: Word,
    /// Operator and value as written, e.g. `is "won"`.
    pub test: Word,
    /// What was found there; `None` when nothing is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Whether the row holds.
    pub held: bool,
}

/// A group of rows that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupStep {
    /// How deep it stands in other groups.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u8,
    /// Which kind.
    pub kind: GroupKind,
    /// Whether it holds.
    pub held: bool,
}

/// How the rows of a group are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    /// One of them is enough.
    Any,
    /// All must hold.
    All,
    /// The row must not hold.
    Not,
}

impl GroupKind {
    /// The key it is written by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::All => "all",
            Self::Not => "not",
        }
    }
}

/// A value that was set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetStep {
    /// Which value.
    pub name: Word,
    /// What it is, as shown.
    pub value: String,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Origin>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The path.
    pub path: Word,
    /// What was found there, unless it is the value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The functions that were applied, as written.
    #[serde(default, skip_serializing_if = "no_functions")]
    pub functions: Word,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(depth: &u8) -> bool {
    *depth == 0
}

fn no_functions(functions: &Word) -> bool {
    functions.is_empty()
}

impl Trace {
    /// Adds a step, as long as there is room.
    pub(super) fn push(&mut self, step: Step) {
        if self.steps.len() < MAX_STEPS {
            self.steps.push(step);
        } else {
            self.cut = true;
        }
    }

    /// Adds a group whose result is not known yet, and says where it stands.
    pub(super) fn open(&mut self, depth: u8, kind: GroupKind) -> usize {
        let at = self.steps.len();
        let held = false;
        self.push(Step::Group(GroupStep { depth, kind, held }));
        at
    }

    /// Says how the group at `at` ended.
    pub(super) fn close(&mut self, at: usize, result: bool) {
        if let Some(Step::Group(group)) = self.steps.get_mut(at) {
            group.held = result;
        }
    }

    /// Adds the last step, room or not.
    pub(super) fn decide(&mut self, disposition: Disposition, reason: String) {
        self.steps.push(Step::Decision {
            disposition,
            reason,
        });
    }
}

/// A value as it is shown to people: JSON, cut where it becomes long.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => shown_text(text),
        Value::Array(_) | Value::Object(_) => shown_json(value),
        scalar => scalar.to_string(),
    }
}

/// Text as it is shown to people: quoted, cut where it becomes long.
pub(super) fn shown_text(text: &str) -> String {
    let short = cut(text, MAX_SHOWN);
    let mut shown = String::with_capacity(short.len() + 5);
    shown.push('"');
    for c in short.chars() {
        match c {
            '"' | '\\' => shown.extend(['\\', c]),
            '\n' => shown.push_str("\\n"),
            c if c.is_control() => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown.push('"');
    if short.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Writes only the beginning: an event may be a megabyte.
fn shown_json(value: &Value) -> String {
    struct Beginning(Vec<u8>);
    impl io::Write for Beginning {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() >= MAX_SHOWN {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let room = bytes.len().min(MAX_SHOWN - self.0.len());
            self.0.extend_from_slice(&bytes[..room]);
            Ok(room)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut beginning = Beginning(Vec::with_capacity(MAX_SHOWN));
    let whole = serde_json::to_writer(&mut beginning, value).is_ok();
    let mut text = String::from_utf8_lossy(&beginning.0).into_owned();
    if !whole {
        text.truncate(text.trim_end_matches('\u{fffd}').len());
        text.push('…');
    }
    text
}
