//! What a template or a condition may read.

use serde_json::Value;

use super::expression::Budget;
use super::table::Table;
use crate::model::Region;

/// Gives the values behind the first word of a path (`event`, `setting`, …).
pub trait Scope {
    /// The value of a root; `None` when there is nothing of that name.
    fn root(&self, name: &str) -> Option<&Value>;

    /// The region of phone numbers that are written without a country code.
    fn region(&self) -> Option<Region> {
        None
    }

    /// A table by its name.
    fn table(&self, _name: &str) -> Option<&Table> {
        None
    }

    /// What is left of the work that the expressions of this event may do together. Without, each
    /// expression has a budget of its own.
    fn budget(&self) -> Option<&Budget> {
        None
    }
}
