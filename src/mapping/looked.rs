//! What look-ups gave: for an event, or for each item of a batch.

use serde_json::Value;

/// What the look-ups gave for one event, or for one item of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Looked {
    /// Their answers as an object, by their names. A look-up that gave nothing is null.
    Answers(Value),
    /// An answer that the rules need is not there yet, for the reason given.
    Waiting(String),
    /// An answer that the rules need will not come, for the reason given.
    Failed(String),
}

/// What the look-ups gave for an event.
#[derive(Debug, Clone, PartialEq)]
pub struct LookedUp(Vec<Looked>);

impl LookedUp {
    /// What each item got. A list of one holds for all of them.
    pub fn new(each: Vec<Looked>) -> Self {
        Self(each)
    }

    /// Nothing was looked up.
    pub fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Answers as a test or a dry run gives them: an object for all items, or a list with one for each.
    pub fn from_json(answers: Value) -> Self {
        Self(match answers {
            Value::Array(each) => each.into_iter().map(Looked::Answers).collect(),
            shared => vec![Looked::Answers(shared)],
        })
    }

    /// What item `n` got.
    pub(super) fn of(&self, n: usize) -> &Looked {
        const NOTHING: &Looked = &Looked::Answers(Value::Null);
        match self.0.as_slice() {
            [shared] => shared,
            each => each.get(n).unwrap_or(NOTHING),
        }
    }
}
