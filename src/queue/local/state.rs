//! The counters: one row that every commit writes, so that numbers need no scan and are exact after
//! replay.

use std::collections::BTreeMap;

use crate::model::EventId;

use super::codec::{Corrupt, Get, Put};
use super::row::Row;

/// What is open and what is dead at one destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Depth {
    pub open: u64,
    pub dead: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The last event id given out.
    pub last_id: u64,
    /// Counts the times the queue was opened.
    pub run: u64,
    pub events: u64,
    pub unprocessed: u64,
    pub depths: BTreeMap<String, Depth>,
}

/// How one request changes the counters; applied only when the request succeeds.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub events: i64,
    pub unprocessed: i64,
    pub depths: Vec<(String, i64, i64)>,
}

impl State {
    pub(super) fn next_id(&mut self, now_ms: u64) -> EventId {
        let id = EventId(self.last_id).next(now_ms);
        self.last_id = id.0;
        id
    }

    pub(super) fn apply(&mut self, delta: Delta) {
        self.events = self.events.saturating_add_signed(delta.events);
        self.unprocessed = self.unprocessed.saturating_add_signed(delta.unprocessed);
        for (destination, open, dead) in delta.depths {
            let depth = self.depths.entry(destination).or_default();
            depth.open = depth.open.saturating_add_signed(open);
            depth.dead = depth.dead.saturating_add_signed(dead);
        }
    }

    pub(super) fn open_deliveries(&self) -> u64 {
        self.depths.values().map(|depth| depth.open).sum()
    }
}

impl Row for State {
    const WHAT: &'static str = "state";

    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.last_id, self.run, self.events, self.unprocessed] {
            out.put_number(number);
        }
        out.put_number(self.depths.len() as u64);
        for (destination, depth) in &self.depths {
            out.put_text(destination);
            out.put_number(depth.open);
            out.put_number(depth.dead);
        }
    }

    fn read(get: &mut Get<'_>, _version: u8) -> Result<Self, Corrupt> {
        let mut state = Self {
            last_id: get.number()?,
            run: get.number()?,
            events: get.number()?,
            unprocessed: get.number()?,
            depths: BTreeMap::new(),
        };
        for _ in 0..get.number()? {
            let destination = get.text()?.to_owned();
            let (open, dead) = (get.number()?, get.number()?);
            state.depths.insert(destination, Depth { open, dead });
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_reads_back() {
        let mut state = State {
            last_id: u64::MAX,
            run: 3,
            ..State::default()
        };
        state.apply(Delta {
            events: 2,
            unprocessed: 1,
            depths: vec![("a".into(), 2, 0), ("a".into(), -1, 1)],
        });
        assert_eq!(state.depths["a"], Depth { open: 1, dead: 1 });
        assert_eq!(State::decode(&state.encode()), Ok(state));
    }
}
