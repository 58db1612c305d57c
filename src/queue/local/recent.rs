//! Which registry keys changed lately.
//!
//! Between reading the registries for an event and settling it, a key that it read may change, and the event
//! does not watch it yet. Settling compares what the event saw with what is noted here. In memory only: an
//! event that was read before a restart is read again after it.

use std::collections::{HashMap, VecDeque};

use super::tree::Hash16;

/// Keys that are remembered. An event that saw less than that is taken to have missed something.
const REMEMBERED: usize = 16_384;

#[derive(Debug)]
pub(super) struct Recent {
    /// The number of the last change.
    last: u64,
    /// Changes after this one are remembered.
    horizon: u64,
    /// The last change of each key.
    keys: HashMap<Hash16, u64>,
    /// In the order in which they came; a key may stand here several times.
    order: VecDeque<(u64, Hash16)>,
}

impl Recent {
    /// Begins in the `run`th run of the queue: numbers of different runs do not meet.
    pub(super) fn new(run: u64) -> Self {
        let first = run << 40;
        Self {
            last: first,
            horizon: first,
            keys: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The number of the last change.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// A number that no change and no other caller has.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Notes that these keys changed, all at once.
    pub(super) fn note(&mut self, keys: Vec<Hash16>) {
        if keys.is_empty() {
            return;
        }
        let change = self.next();
        for key in keys {
            self.keys.insert(key, change);
            self.order.push_back((change, key));
        }
        while self.order.len() > REMEMBERED
            && let Some((change, key)) = self.order.pop_front()
        {
            self.horizon = change;
            if self.keys.get(&key) == Some(&change) {
                self.keys.remove(&key);
            }
        }
    }

    /// Whether `key` may have changed after the change `seen`.
    pub(super) fn changed_since(&self, key: &Hash16, seen: u64) -> bool {
        seen < self.horizon || self.keys.get(key).is_some_and(|change| *change > seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Hash16 {
        u128::from(n).to_be_bytes()
    }

    #[test]
    fn a_key_has_changed_for_those_who_saw_less() {
        let mut recent = Recent::new(3);
        let before = recent.last();
        recent.note(vec![key(1), key(2)]);
        assert!(recent.changed_since(&key(1), before));
        assert!(!recent.changed_since(&key(1), recent.last()));
        assert!(!recent.changed_since(&key(3), before));
        assert!(recent.changed_since(&key(3), 2 << 40), "of an earlier run");
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let mut recent = Recent::new(1);
        let before = recent.last();
        for n in 0..2 * REMEMBERED as u64 {
            recent.note(vec![key(n)]);
        }
        assert!(recent.changed_since(&key(u64::MAX), before));
        assert!(!recent.changed_since(&key(u64::MAX), recent.last()));
        assert!(recent.keys.len() <= REMEMBERED && recent.order.len() <= REMEMBERED);
    }
}
