//! Which keys the index surely does not have.
//!
//! Most keys that are looked up for the first time are not there: a new duplicate key, a new target, a record of a call
//! that begins. They are hashes, so that each look-up would go into several files only to find nothing. The files
//! have filters of their own, but none for what a key begins with. This Bloom filter in memory answers both for 12 bits a
//! key, and lets no more than one look-up in fifty through.
//!
//! A filter knows every row that was put since it began to learn, and learns those that were there before by reading
//! them. Until it has, and when it is full, it answers that everything may be there. It never forgets a key, so one that
//! is full of keys that are gone begins anew.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use super::super::tree::{Hash16, Tree};
use super::Value;

/// Keys of the first layer. Each further layer takes twice as many as the one before.
const FIRST_KEYS: u64 = 1 << 16;
/// Layers at most: 8 million keys, 12 MB.
const LAYERS: usize = 7;
const BITS_A_KEY: u64 = 12;
/// Bits of a key, all in one block: one look at the memory for each layer.
const MARKS: usize = 6;
/// Words of a block: a line of the processor's cache.
const BLOCK: usize = 8;

/// The trees whose keys begin with a hash that is looked up.
const TREES: [Tree; 5] = [
    Tree::Lane,
    Tree::Dedupe,
    Tree::Record,
    Tree::Place,
    Tree::Watch,
];

fn place_of(tree: Tree) -> Option<usize> {
    TREES.iter().position(|one| *one == tree)
}

type Layer = Box<[AtomicU64]>;

/// The keys of one tree.
#[derive(Debug, Default)]
struct Filter {
    layers: [OnceLock<Layer>; LAYERS],
    keys: AtomicU64,
    /// It has every key there is.
    complete: AtomicBool,
    /// There were more keys than it can have.
    full: AtomicBool,
}

/// Where the marks of a hash stand in a layer of so many blocks: the first word of its block, and its bits there.
fn marks(hash: &Hash16, blocks: usize) -> (usize, impl Iterator<Item = (usize, u64)>) {
    // The keys are hashes: their bytes are as good as any that could be made from them.
    let number = u128::from_be_bytes(*hash);
    let (block, mut bits) = ((number >> 64) as usize % blocks, number as u64);
    let words = std::iter::repeat_with(move || {
        let bit = bits as usize % (BLOCK * 64);
        bits >>= (BLOCK * 64).ilog2();
        (bit / 64, 1 << (bit % 64))
    });
    (block * BLOCK, words.take(MARKS))
}

impl Filter {
    fn has(&self, hash: &Hash16) -> bool {
        let layers = self.layers.iter().map_while(OnceLock::get);
        layers.into_iter().any(|layer| {
            let (block, mut marks) = marks(hash, layer.len() / BLOCK);
            marks.all(|(word, bit)| layer[block + word].load(Ordering::Relaxed) & bit != 0)
        })
    }

    fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    fn lacks(&self, hash: &Hash16) -> bool {
        self.complete.load(Ordering::Acquire) && !self.is_full() && !self.has(hash)
    }

    fn add(&self, hash: &Hash16) {
        if self.is_full() || self.has(hash) {
            return;
        }
        let keys = self.keys.fetch_add(1, Ordering::Relaxed);
        let number = (keys / FIRST_KEYS + 1).ilog2();
        let Some(newest) = self.layers.get(number as usize) else {
            self.full.store(true, Ordering::Release);
            return;
        };
        let newest = newest.get_or_init(|| {
            let bits = (FIRST_KEYS << number) * BITS_A_KEY;
            (0..bits / 64).map(|_| AtomicU64::new(0)).collect()
        });
        let (block, marks) = marks(hash, newest.len() / BLOCK);
        for (word, bit) in marks {
            newest[block + word].fetch_or(bit, Ordering::Relaxed);
        }
    }
}

/// How far the keys of a tree are learnt that were there before.
#[derive(Debug)]
enum Progress {
    /// Up to this key; `None` is before the first one.
    Until(Option<Value>),
    All,
    /// There are more than fit: it is of no use to try again.
    TooMany,
}

impl Default for Progress {
    fn default() -> Self {
        Self::Until(None)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Filters {
    filters: RwLock<[Filter; TREES.len()]>,
    progress: Mutex<[Progress; TREES.len()]>,
}

impl Filters {
    fn filters(&self) -> RwLockReadGuard<'_, [Filter; TREES.len()]> {
        self.filters.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, [Progress; TREES.len()]> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the tree surely has no key that begins as this one.
    pub(super) fn lacks(&self, tree: Tree, key: &[u8]) -> bool {
        let (Some(place), Some(hash)) = (place_of(tree), key.first_chunk()) else {
            return false;
        };
        self.filters()[place].lacks(hash)
    }

    /// Notes that a row is put, before anybody can know of it.
    pub(super) fn add(&self, tree: Tree, key: &[u8]) {
        if let (Some(place), Some(hash)) = (place_of(tree), key.first_chunk()) {
            self.filters()[place].add(hash);
        }
    }

    /// Begins anew where a filter is full of keys that may be gone. While nobody puts rows; all that were put before must
    /// be in their engine when [`Filters::learn`] is called next.
    pub(super) fn renew(&self) {
        for (place, progress) in self.progress().iter_mut().enumerate() {
            let is_full = self.filters()[place].is_full();
            if is_full && matches!(progress, Progress::All) {
                let mut filters = self.filters.write().unwrap_or_else(PoisonError::into_inner);
                filters[place] = Filter::default();
                *progress = Progress::default();
            }
        }
    }

    /// Goes on learning what was there before, at most so many rows. `after` answers the keys of a tree that follow one.
    pub(super) fn learn<E, R: Iterator<Item = Result<Value, E>>>(
        &self,
        limit: usize,
        after: impl Fn(Tree, Option<&Value>) -> R,
    ) -> Result<(), E> {
        let mut left = limit;
        for (place, progress) in self.progress().iter_mut().enumerate() {
            let Progress::Until(last) = progress else {
                continue;
            };
            let filter = &self.filters()[place];
            for key in after(TREES[place], last.as_ref()) {
                if left == 0 || filter.is_full() {
                    break;
                }
                left -= 1;
                let key = key?;
                if let Some(hash) = key.first_chunk() {
                    filter.add(hash);
                }
                *last = Some(key);
            }
            if filter.is_full() {
                *progress = Progress::TooMany;
            } else if left == 0 {
                // There may be more.
                break;
            } else {
                filter.complete.store(true, Ordering::Release);
                *progress = Progress::All;
            }
        }
        Ok(())
    }

    /// Makes all of them full.
    #[cfg(test)]
    pub(super) fn fill(&self) {
        for filter in self.filters().iter() {
            filter.full.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn hash(number: u64) -> Hash16 {
        let digest = <sha2::Sha256 as sha2::Digest>::digest(number.to_be_bytes());
        *digest.first_chunk().unwrap()
    }

    fn learnt() -> Filters {
        let filters = Filters::default();
        let nothing = |_, _: Option<&Value>| std::iter::empty::<Result<Value, Infallible>>();
        filters.learn(1, nothing).unwrap();
        filters
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_was_put_or_learnt_is_never_lacking(
            before in prop::collection::btree_set(0..5_000_u64, 0..400),
            put in prop::collection::vec((0..5_000_u64, any::<bool>()), 0..400),
            step in 1..50_usize,
        ) {
            let filters = Filters::default();
            let mut stored: Vec<Value> = before.iter().map(|n| Value::from(&hash(*n))).collect();
            stored.sort();
            let after = |tree: Tree, last: Option<&Value>| {
                let rows = if tree == Tree::Lane { &stored[..] } else { &[] };
                let begin = last.map_or(0, |last| rows.partition_point(|row| row <= last));
                rows[begin..].iter().cloned().map(Ok::<_, Infallible>)
            };
            for (number, learn) in &put {
                filters.add(Tree::Lane, &hash(*number));
                if *learn {
                    filters.learn(step, after).unwrap();
                }
                for known in before.iter().take(5).chain([number]) {
                    prop_assert!(!filters.lacks(Tree::Lane, &hash(*known)));
                }
            }
            filters.learn(usize::MAX, after).unwrap();
            for known in before.iter().chain(put.iter().map(|(number, _)| number)) {
                prop_assert!(!filters.lacks(Tree::Lane, &hash(*known)));
            }
            prop_assert!(filters.lacks(Tree::Lane, &hash(9_999_999)));
        }
    }

    #[test]
    fn most_of_what_was_not_put_is_lacking_however_many_were() {
        let filters = learnt();
        let many = 3 * FIRST_KEYS;
        (0..many).for_each(|number| filters.add(Tree::Dedupe, &hash(number)));
        assert!((0..many).all(|number| !filters.lacks(Tree::Dedupe, &hash(number))));
        let asked = 100_000;
        let through = (many..many + asked)
            .filter(|number| !filters.lacks(Tree::Dedupe, &hash(*number)))
            .count();
        assert!(through < asked as usize / 50, "{through}");
    }

    #[test]
    fn keys_without_a_hash_and_trees_without_a_filter_may_have_everything() {
        let filters = learnt();
        assert!(filters.lacks(Tree::Place, &[7; 40]));
        assert!(!filters.lacks(Tree::Place, &[7; 15]));
        assert!(!filters.lacks(Tree::Event, &[7; 16]));
    }

    #[test]
    fn a_full_filter_lets_everything_through_until_it_is_renewed_and_has_learnt() {
        let filters = learnt();
        filters.fill();
        filters.add(Tree::Lane, &hash(1));
        assert!(!filters.lacks(Tree::Lane, &hash(2)));
        filters.renew();
        filters.add(Tree::Lane, &hash(3));
        assert!(
            !filters.lacks(Tree::Lane, &hash(2)),
            "it has not learnt yet"
        );
        let stored = |tree, last: Option<&Value>| {
            let first = (tree == Tree::Lane && last.is_none()).then(|| Value::from(&hash(1)));
            first.into_iter().map(Ok::<_, Infallible>)
        };
        filters.learn(10, stored).unwrap();
        assert!(filters.lacks(Tree::Lane, &hash(2)));
        assert!(
            [1, 3]
                .iter()
                .all(|known| !filters.lacks(Tree::Lane, &hash(*known)))
        );
        // What does not fit is not tried again and again.
        filters.fill();
        filters.renew();
        filters.fill();
        filters.learn(10, stored).unwrap();
        filters.renew();
        assert!(filters.filters()[0].is_full() && !filters.lacks(Tree::Lane, &hash(2)));
    }
}
