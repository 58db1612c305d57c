//! Going through rows of the index in order: those in memory laid over those in the engine.
//!
//! Rows are fetched a few at a time, memory first and the engine second. What is written to it meanwhile was
//! in memory before, so no row is missed, and none is seen as it was before it was changed.

use std::collections::VecDeque;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::super::tree::Tree;
use super::overlay::{End, Overlay, Span, over};
use super::store::{Row, Store};
use super::{IndexError, Value};

/// Rows fetched first: most look at very few. Each further time four times as many are fetched.
const FEW: usize = 4;
/// Rows fetched at most at a time.
const MANY: usize = 256;

/// Rows of a span, from either end. Later changes may be seen or not.
#[derive(Debug)]
pub(in super::super) struct Rows {
    overlay: Arc<Overlay>,
    stored: Arc<dyn Store>,
    tree: Tree,
    /// What was not fetched yet.
    rest: Option<Span>,
    /// Fetched, the next one first: from the front, and from the back.
    front: VecDeque<Row>,
    back: VecDeque<Row>,
    count: usize,
}

impl Rows {
    pub(super) fn new(
        overlay: Arc<Overlay>,
        stored: Arc<dyn Store>,
        tree: Tree,
        span: Span,
    ) -> Self {
        Self {
            overlay,
            stored,
            tree,
            rest: Some(span),
            front: VecDeque::new(),
            back: VecDeque::new(),
            count: FEW,
        }
    }

    /// No rows at all.
    pub(super) fn none(overlay: Arc<Overlay>, stored: Arc<dyn Store>, tree: Tree) -> Self {
        Self {
            rest: None,
            ..Self::new(overlay, stored, tree, (Unbounded, Unbounded))
        }
    }

    fn take(&mut self, end: End) -> Option<Result<Row, IndexError>> {
        loop {
            let (near, far) = match end {
                End::Front => (&mut self.front, &mut self.back),
                End::Back => (&mut self.back, &mut self.front),
            };
            if let Some(row) = near.pop_front() {
                return Some(Ok(row));
            }
            let Some(span) = self.rest.take() else {
                // What was fetched from the other end comes last from this one.
                return far.pop_back().map(Ok);
            };
            if let Err(error) = self.fetch(&span, end) {
                return Some(Err(error));
            }
        }
    }

    fn fetch(&mut self, span: &Span, end: End) -> Result<(), IndexError> {
        if is_empty(span) {
            return Ok(());
        }
        let count = self.count;
        self.count = (count * 4).min(MANY);
        let fresh = self.overlay.some(self.tree, span, end, count);
        // Beyond the last one of a full fetch there may be more.
        let mut last = match fresh.last() {
            Some((key, _)) if fresh.len() == count => Some(key.clone()),
            _ => None,
        };
        let span_now = up_to(span, last.as_ref(), end);
        let stored = self.stored.some(span_now, end, count)?;
        if let Some((key, _)) = stored.last().filter(|_| stored.len() == count) {
            last = Some(key.clone());
        }
        let is_reached = |(key, _): &(Value, Option<Value>)| match (&last, end) {
            (None, _) => true,
            (Some(last), End::Front) => key <= last,
            (Some(last), End::Back) => key >= last,
        };
        let fresh = fresh.into_iter().filter(is_reached);
        let rows = over(fresh, stored.into_iter(), end).filter_map(|(key, row)| Some((key, row?)));
        match end {
            End::Front => self.front.extend(rows),
            End::Back => self.back.extend(rows),
        }
        self.rest = last.map(|last| beyond(span, last, end));
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Result<Row, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take(End::Front)
    }
}

impl DoubleEndedIterator for Rows {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.take(End::Back)
    }
}

fn is_empty(span: &Span) -> bool {
    match span {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(from), Included(to)) => from > to,
        (Included(from) | Excluded(from), Included(to) | Excluded(to)) => from >= to,
    }
}

/// The part of the span that ends with `last`, seen from `end`.
fn up_to(span: &Span, last: Option<&Value>, end: End) -> Span {
    let (from, to) = span.clone();
    match (last, end) {
        (None, _) => (from, to),
        (Some(last), End::Front) => (from, Included(last.clone())),
        (Some(last), End::Back) => (Included(last.clone()), to),
    }
}

/// The part of the span that comes after `last`, seen from `end`.
fn beyond(span: &Span, last: Value, end: End) -> Span {
    let (from, to) = span.clone();
    match end {
        End::Front => (Excluded(last), to),
        End::Back => (from, Excluded(last)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::options::SyncMode;
    use super::super::{Change, Index};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, u8),
        Delete(u8),
        Write,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => any::<(u8, u8)>().prop_map(|(key, value)| Step::Put(key, value)),
            4 => any::<u8>().prop_map(Step::Delete),
            1 => Just(Step::Write),
        ]
    }

    fn pair(row: Result<Row, IndexError>) -> (u8, u8) {
        let (key, value) = row.unwrap();
        (key[0], value[0])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Whatever is in memory and whatever in the engine: together they are what was put.
        #[test]
        fn rows_are_those_that_were_put(
            steps in prop::collection::vec(step(), 0..400),
            is_queue: bool,
            bounds: (u8, u8),
            ends in prop::collection::vec(any::<bool>(), 0..300),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let index = Index::open(dir.path(), 8, SyncMode::Off).unwrap();
            let tree = if is_queue { Tree::Due } else { Tree::Event };
            let mut model = BTreeMap::new();
            for step in steps {
                let change = |key: u8, row: Option<u8>| -> Vec<Change> {
                    vec![(tree, [key].as_slice().into(), row.map(|value| [value].as_slice().into()))]
                };
                match step {
                    Step::Put(key, value) => {
                        model.insert(key, value);
                        index.apply(change(key, Some(value))).unwrap();
                    }
                    Step::Delete(key) => {
                        model.remove(&key);
                        index.apply(change(key, None)).unwrap();
                    }
                    Step::Write => index.write().unwrap(),
                }
            }
            for key in 0..=u8::MAX {
                let row = index.get(tree, &[key]).unwrap().map(|value| value[0]);
                prop_assert_eq!(row, model.get(&key).copied());
            }
            let (from, to) = bounds;
            let expected: Vec<(u8, u8)> = match from < to {
                true => model.range(from..to).map(|(k, v)| (*k, *v)).collect(),
                false => Vec::new(),
            };
            let mut rows = index.range(tree, &[from], &[to]);
            let (mut first, mut last) = (Vec::new(), Vec::new());
            for front in ends {
                match front {
                    true => first.extend(rows.next().map(pair)),
                    false => last.extend(rows.next_back().map(pair)),
                }
            }
            first.extend(rows.map(pair));
            first.extend(last.into_iter().rev());
            prop_assert_eq!(first, expected);
            let all: Vec<(u8, u8)> = index.prefix(tree, &[]).rev().map(pair).collect();
            prop_assert_eq!(all, model.into_iter().rev().collect::<Vec<_>>());
        }
    }

    /// One thread changes rows, one writes them, one reads: it never sees a row as it was before.
    #[test]
    fn nothing_is_missed_or_seen_as_it_was_while_rows_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path(), 8, SyncMode::Off).unwrap();
        let rounds = 300_u64;
        let put = |tree, key: u64, row: Option<u64>| -> Change {
            let bytes = |number: u64| Value::from(&number.to_be_bytes());
            (tree, bytes(key), row.map(bytes))
        };
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
        let done = std::sync::atomic::AtomicBool::new(false);
        let seen = std::sync::atomic::AtomicU64::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(order) {
                    index.write().unwrap();
                }
            });
            scope.spawn(|| {
                while !done.load(order) {
                    let at_least = seen.load(order);
                    for row in index.range(Tree::Lane, &[], &[]) {
                        let (_, value) = row.unwrap();
                        assert!(number(&value) >= at_least);
                    }
                    assert!(at_least == 0 || index.range(Tree::Lane, &[], &[]).count() == 40);
                    // The queue holds the marks of this round, and perhaps of the next.
                    let first = index.range(Tree::Todo, &[], &[]).next();
                    if let Some(first) = first {
                        assert!(number(&first.unwrap().0) >= at_least);
                    }
                }
            });
            for round in 1..=rounds {
                let mut changes: Vec<Change> = (0..40)
                    .map(|key| put(Tree::Lane, key, Some(round)))
                    .collect();
                changes.push(put(Tree::Todo, round - 1, None));
                changes.push(put(Tree::Todo, round, Some(0)));
                index.apply(changes).unwrap();
                seen.store(round, order);
            }
            done.store(true, order);
        });
        index.write().unwrap();
        assert_eq!(index.range(Tree::Todo, &[], &[]).count(), 1);
    }
}
