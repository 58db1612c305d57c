//! Rows of the index that are not in their engines yet.
//!
//! An event's rows change several times within milliseconds: stored, processed, delivered. An engine writes
//! every change to its file, so changes are laid over it in memory first, and the keeper writes each row
//! as it is then, once. Nothing is lost with the memory: the journal holds every change, and the
//! checkpoint moves only when the engines have them.
//!
//! Rows that are being written stay visible until all of their tree are, so that whoever looks here
//! first and into the engine second finds every row.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::super::tree::Tree;
use super::filter::Filters;
use super::{Change, Value};

/// Rows by key; `None` hides the row of the engine.
pub(super) type Rows = BTreeMap<Value, Option<Value>>;

/// Keys between which to look.
pub(super) type Span = (Bound<Value>, Bound<Value>);

/// Bytes after which the keeper is asked to write before its time.
const HEAVY: usize = 8 << 20;
/// Bytes after which changes wait until the keeper has written.
const FULL: usize = 32 << 20;
/// What a row takes up beside its key and value, about.
const ROW_OVERHEAD: usize = 80;

/// From which end a span is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

#[derive(Debug, Default)]
struct Layers {
    fresh: [Rows; Tree::COUNT],
    /// What is being written right now.
    leaving: Option<(Tree, Arc<Rows>)>,
    /// Bytes of `fresh`, about.
    bytes: usize,
    /// The keeper was asked to write.
    asked: bool,
    /// Nobody writes any more.
    abandoned: bool,
}

impl Layers {
    fn leaving(&self, tree: Tree) -> Option<&Arc<Rows>> {
        let (which, rows) = self.leaving.as_ref()?;
        (*which == tree).then_some(rows)
    }

    fn put(&mut self, tree: Tree, key: Value, row: Option<Value>) {
        self.bytes += weight(&key, row.as_ref());
        let length = key.len();
        if let Some(old) = self.fresh[tree as usize].insert(key, row) {
            let value = old.map_or(0, |value| value.len());
            self.bytes = self.bytes.saturating_sub(length + value + ROW_OVERHEAD);
        }
    }
}

fn weight(key: &Value, row: Option<&Value>) -> usize {
    key.len() + row.map_or(0, |value| value.len()) + ROW_OVERHEAD
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    layers: Mutex<Layers>,
    lighter: Condvar,
}

impl Overlay {
    fn layers(&self) -> MutexGuard<'_, Layers> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays changes over what is there, all at one moment, and has the filters know their keys. Waits while there is too
    /// much.
    ///
    /// Answers the rows that it hides although they would better be gone, see
    /// [`Tree::is_queue`]: those that are not just being written.
    pub(super) fn lay(&self, changes: Vec<Change>, filters: &Filters) -> Vec<(Tree, Value)> {
        let mut hidden = Vec::new();
        let mut layers = self.layers();
        while layers.bytes > FULL && !layers.abandoned {
            layers = self
                .lighter
                .wait(layers)
                .unwrap_or_else(PoisonError::into_inner);
        }
        for (tree, key, row) in changes {
            let is_leaving = || {
                layers
                    .leaving(tree)
                    .is_some_and(|rows| rows.contains_key(&key))
            };
            if row.is_none() && tree.is_queue() && !is_leaving() {
                hidden.push((tree, key.clone()));
            }
            if row.is_some() {
                filters.add(tree, &key);
            }
            layers.put(tree, key, row);
        }
        hidden
    }

    /// Does something while nothing is laid over.
    pub(super) fn still(&self, work: impl FnOnce()) {
        let _layers = self.layers();
        work();
    }

    /// Takes off what hides rows that are gone from the engine.
    pub(super) fn uncover(&self, hidden: &[(Tree, Value)]) {
        let mut layers = self.layers();
        for (tree, key) in hidden {
            let rows = &mut layers.fresh[*tree as usize];
            if rows.get(key).is_some_and(Option::is_none) {
                rows.remove(key);
                layers.bytes = layers.bytes.saturating_sub(weight(key, None));
            }
        }
    }

    /// The row, if it is known here: `Some(None)` when there is none.
    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> Option<Option<Value>> {
        let layers = self.layers();
        let fresh = layers.fresh[tree as usize].get(key);
        let row = fresh.or_else(|| layers.leaving(tree)?.get(key));
        row.cloned()
    }

    /// At most `count` rows of the span from its end `end` on, in that order, with those that hide one.
    pub(super) fn some(
        &self,
        tree: Tree,
        span: &Span,
        end: End,
        count: usize,
    ) -> Vec<(Value, Option<Value>)> {
        let layers = self.layers();
        let fresh = layers.fresh[tree as usize].range(span.clone());
        let leaving = layers.leaving(tree).into_iter();
        let leaving = leaving.flat_map(|rows| rows.range(span.clone()));
        let clone = |(key, row): (&Value, &Option<Value>)| (key.clone(), row.clone());
        match end {
            End::Front => over(fresh, leaving, end).map(clone).take(count).collect(),
            End::Back => over(fresh.rev(), leaving.rev(), end)
                .map(clone)
                .take(count)
                .collect(),
        }
    }

    /// Begins writing a tree: its rows stay visible until [`Overlay::written`].
    pub(super) fn leave(&self, tree: Tree) -> Arc<Rows> {
        let mut layers = self.layers();
        let rows = Arc::new(std::mem::take(&mut layers.fresh[tree as usize]));
        let bytes: usize = rows
            .iter()
            .map(|(key, row)| weight(key, row.as_ref()))
            .sum();
        layers.bytes = layers.bytes.saturating_sub(bytes);
        layers.leaving = Some((tree, Arc::clone(&rows)));
        rows
    }

    /// What left last is in its engine.
    pub(super) fn written(&self) {
        let left = {
            let mut layers = self.layers();
            layers.asked = false;
            self.lighter.notify_all();
            layers.leaving.take()
        };
        // Freed when nobody waits for the lock.
        drop(left);
    }

    /// Bytes of what was laid over and is not being written yet, about.
    pub(super) fn bytes(&self) -> u64 {
        self.layers().bytes as u64
    }

    /// Whether the keeper should write now. Says so once until it has.
    pub(super) fn is_heavy(&self) -> bool {
        let mut layers = self.layers();
        layers.bytes > HEAVY && !std::mem::replace(&mut layers.asked, true)
    }

    /// Nobody is going to write any more: nobody may wait for it.
    pub(super) fn abandon(&self) {
        self.layers().abandoned = true;
        self.lighter.notify_all();
    }
}

/// Goes through both, each sorted as seen from `end`; where both have a key the upper one counts.
pub(super) fn over<K: Ord, U, L: Into<U>>(
    upper: impl Iterator<Item = (K, U)>,
    lower: impl Iterator<Item = (K, L)>,
    end: End,
) -> impl Iterator<Item = (K, U)> {
    let (mut upper, mut lower) = (upper.peekable(), lower.peekable());
    std::iter::from_fn(move || {
        let which = match (upper.peek(), lower.peek()) {
            (Some((a, _)), Some((b, _))) if end == End::Front => a.cmp(b),
            (Some((a, _)), Some((b, _))) => b.cmp(a),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        if which == Ordering::Greater {
            return lower.next().map(|(key, row)| (key, row.into()));
        }
        if which == Ordering::Equal {
            lower.next();
        }
        upper.next()
    })
}
