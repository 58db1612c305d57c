//! What happened while a template was filled in, for traces and warnings.

use serde_json::Value;

use super::trace::{Origin, shown};
use super::word::Word;

/// Collects what a template used, missed and could not read.
#[derive(Debug, Default)]
pub struct Notes {
    silent: bool,
    /// The paths that gave a value, with the value and the functions behind it.
    pub used: Vec<Origin>,
    /// The look-ups that gave nothing.
    pub missing: Vec<Word>,
    /// What is there but could not be used, in words.
    pub unusable: Vec<String>,
}

impl Notes {
    /// Notes that nobody reads: nothing is collected.
    pub(crate) fn silent() -> Self {
        Self {
            silent: true,
            ..Self::default()
        }
    }

    /// Why nothing came out, in words.
    pub(super) fn why_nothing(&self) -> String {
        if self.unusable.is_empty() {
            let missing: Vec<&str> = self.missing.iter().map(|word| &**word).collect();
            format!("nothing at {}", missing.join(", "))
        } else {
            self.unusable.join("; ")
        }
    }

    pub(super) fn used(&mut self, path: &Word, value: &Value, functions: &Word, alone: bool) {
        if !self.silent {
            let itself = alone && functions.is_empty();
            self.used.push(Origin {
                path: path.clone(),
                found: (!itself).then(|| shown(value)),
                functions: functions.clone(),
            });
        }
    }

    pub(super) fn missing(&mut self, alternatives: &Word) {
        if !self.silent {
            self.missing.push(alternatives.clone());
        }
    }

    pub(super) fn unusable(&mut self, why: String) {
        if !self.silent {
            self.unusable.push(why);
        }
    }
}
