//! Power loss, simulated: builds the shim, and undoes what it says was never synced.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;

/// What becomes of writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// None of them reached the disk.
    All,
    /// Each block of 4 KB did or did not, by the toss of a coin.
    Random,
}

struct Entry<'a> {
    kind: u64,
    sequence: u64,
    inode: u64,
    offset: usize,
    old: &'a [u8],
    old_size: usize,
    new_bytes: usize,
}

const CHANGED: u64 = 1;

/// The entries of the log; a last one that the kill cut off is left out (its write did not happen).
fn entries(log: &[u8]) -> Vec<Entry<'_>> {
    let mut all = Vec::new();
    let mut rest = log;
    while rest.len() >= 56 {
        let number = |i: usize| u64::from_ne_bytes(rest[i * 8..i * 8 + 8].try_into().unwrap());
        let length = number(4) as usize;
        let Some(old) = rest.get(56..56 + length) else {
            break;
        };
        all.push(Entry {
            kind: number(0),
            sequence: number(1),
            inode: number(2),
            offset: number(3) as usize,
            old,
            old_size: number(5) as usize,
            new_bytes: number(6) as usize,
        });
        rest = &rest[56 + length..];
    }
    all
}

fn files(dir: &Path, found: &mut HashMap<u64, PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        if metadata.is_dir() {
            files(&path, found);
        } else {
            found.insert(metadata.ino(), path);
        }
    }
}

/// Takes the files under `dir` back to what a power cut may leave. Answers how many writes were undone.
pub(crate) fn cut(dir: &Path, log: &Path, loss: Loss, random: &mut StdRng) -> usize {
    let log = fs::read(log).unwrap_or_default();
    let entries = entries(&log);
    let mut synced: HashMap<u64, u64> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.kind != CHANGED) {
        let upto = synced.entry(entry.inode).or_default();
        *upto = entry.sequence.max(*upto);
    }
    let mut paths = HashMap::new();
    files(dir, &mut paths);
    let mut undone = 0;
    for (inode, path) in paths {
        let upto = synced.get(&inode).copied().unwrap_or(0);
        let unsynced: Vec<&Entry<'_>> = entries
            .iter()
            .filter(|e| e.kind == CHANGED && e.inode == inode && e.sequence > upto)
            .collect();
        if !unsynced.is_empty() {
            undone += unsynced.len();
            let now = fs::read(&path).unwrap();
            fs::write(&path, take_back(&now, &unsynced, loss, random)).unwrap();
        }
    }
    undone
}

fn take_back(now: &[u8], unsynced: &[&Entry<'_>], loss: Loss, random: &mut StdRng) -> Vec<u8> {
    let mut file = now.to_vec();
    let mut blocks = BTreeSet::new();
    for entry in unsynced.iter().rev() {
        let end = entry.offset + entry.old.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[entry.offset..end].copy_from_slice(entry.old);
        file.resize(entry.old_size, 0);
        blocks.extend(entry.offset / 4096..(entry.offset + entry.new_bytes).div_ceil(4096));
    }
    if loss == Loss::Random {
        for block in blocks {
            let (start, end) = (block * 4096, ((block + 1) * 4096).min(now.len()));
            if start < end && random.random::<bool>() {
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[start..end].copy_from_slice(&now[start..end]);
            }
        }
    }
    file
}
