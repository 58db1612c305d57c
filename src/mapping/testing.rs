//! Scopes for the unit tests of this module.

use serde_json::Value;

use super::scope::Scope;
use super::table::{Table, Tables};
use crate::model::{Region, parse_region};

/// A scope with an event and nothing else; phone numbers are American.
pub(super) struct Event(pub(super) Value);

impl Scope for Event {
    fn root(&self, name: &str) -> Option<&Value> {
        (name == "event").then_some(&self.0)
    }

    fn region(&self) -> Option<Region> {
        parse_region("US").ok()
    }
}

/// An event beside a table `stage`: `closedwon` is `closed`, `5` is `five`.
pub(super) struct Tabled {
    event: Event,
    pub(super) tables: Tables,
}

impl Tabled {
    pub(super) fn new(event: Value) -> Self {
        let mut stage = Table::default();
        stage.insert("closedwon".into(), "closed".into(), 0..0);
        stage.insert("5".into(), "five".into(), 0..0);
        Self {
            event: Event(event),
            tables: Tables::from([("stage".to_owned(), stage)]),
        }
    }
}

impl Scope for Tabled {
    fn root(&self, name: &str) -> Option<&Value> {
        self.event.root(name)
    }

    fn region(&self) -> Option<Region> {
        self.event.region()
    }

    fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name)
    }
}
