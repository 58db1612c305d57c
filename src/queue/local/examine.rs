//! Examining a data directory without changing it: does the journal read, and does the index say what it says?
//!
//! The engines change their files by opening them, so a copy of the index is examined, in a directory of its own. It is
//! brought up to the journal's end as on every opening, read row by row, and compared with an index that is made
//! from the journal alone.

use std::fs::File;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};

use super::index::{self, Index, IndexError, Value};
use super::journal::record::{self, Frame};
use super::journal::scan::{Damage, Found, scan};
use super::journal::{Position, SEGMENT_HEADER, Segments};
use super::loose;
use super::open;
use super::options::{OpenError, SyncMode};
use super::row::{EventRow, Row};
use super::snapshot::{copy_file, start};
use super::stage::resolve;
use super::tree::{self, Tree};

/// Memory for the cache of each of the two indices, in megabytes.
const CACHE_MB: u64 = 16;

/// Looks at a journal that is being written to.
const LOOKS: usize = 10;

/// What is wrong with the index.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum IndexState {
    /// It says what the journal says.
    Sound,
    /// There is none: it is made from the journal at the next start.
    Missing,
    /// It cannot be used: it is made from the journal at the next start, or by a repair.
    Broken(String),
    /// It reads, but does not say what the journal says, which is not damaged.
    Differs {
        /// Rows that are not the same.
        rows: u64,
    },
    /// It reads, and holds rows that the journal lost by its damage.
    HoldsMore {
        /// Rows that only the index has, or has differently.
        rows: u64,
    },
    /// A bridge is using it.
    InUse,
}

/// What examining found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Examination {
    /// Whether a process is using the directory.
    pub in_use: bool,
    /// Segment files of the journal.
    pub segments: u64,
    /// Their bytes.
    pub journal_bytes: u64,
    /// Commits that read.
    pub records: u64,
    /// Stretches of the journal that do not read although records follow them.
    pub damages: u64,
    /// Their bytes.
    pub damaged_bytes: u64,
    /// Segments that are missing between others.
    pub missing_segments: Vec<u64>,
    /// Bytes behind the last record: what a crash tore. They are no damage.
    pub torn_bytes: u64,
    /// The index.
    pub index: IndexState,
    /// Events that are stored, as far as the index reads.
    pub events: Option<u64>,
    /// Events whose body, trace or outcomes do not read any more.
    pub unreadable_events: u64,
    /// Rows that do not read, or stand for what is not there.
    pub loose_rows: u64,
    /// Files kept by earlier repairs and starts (`quarantine`, `index.broken-N`), to be deleted once nobody wants to
    /// look at them.
    pub kept: Vec<PathBuf>,
}

impl Examination {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        !self.is_repairable() && self.unreadable_events == 0
    }

    /// Whether a repair has something to do. What does not read any more it cannot bring back.
    pub fn is_repairable(&self) -> bool {
        let index = matches!(
            self.index,
            IndexState::Sound | IndexState::InUse | IndexState::Missing
        );
        !index || self.damaged_bytes > 0 || !self.missing_segments.is_empty() || self.loose_rows > 0
    }
}

/// A row of the index that is not what the journal says: its value there, or `None`.
pub(super) type Difference = (Tree, Value, Option<Value>);

/// The journal as a whole, and its damage.
pub(super) struct Journal {
    pub segments: Segments,
    pub found: Found,
}

impl Journal {
    pub(super) fn read(dir: &Path) -> Result<Self, OpenError> {
        let segments = Segments::new(dir.join("journal"));
        let found = start(&segments)
            .and_then(|start| scan::<std::io::Error>(segments.dir(), start, |_, _| Ok(())));
        let found = found.map_err(OpenError::io("read", segments.dir()))?;
        Ok(Self { segments, found })
    }

    /// Reads what somebody is writing to: what only looked damaged, or went, is all right the next time.
    fn read_while_it_grows(dir: &Path) -> Result<Self, OpenError> {
        let mut before: Option<Self> = None;
        for _ in 0..LOOKS {
            match Self::read(dir) {
                Ok(now) if now.found.damages.is_empty() => return Ok(now),
                Ok(mut now) => {
                    if let Some(before) = &before {
                        let was = |damage: &Damage| before.found.damages.contains(damage);
                        now.found.damages.retain(was);
                        return Ok(now);
                    }
                    before = Some(now);
                }
                Err(OpenError::Io { source, .. }) if source.kind() == NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Self::read(dir)
    }

    /// Counts as damage what the index has seen of the journal and is not there any more.
    fn extend_to(&mut self, known: Position) {
        let tail = self.found.tail;
        let mut lost = |at: Position| {
            let bytes = known.offset - at.offset;
            self.found
                .damages
                .extend((bytes > 0).then_some(Damage { at, bytes }));
        };
        if known <= tail {
            return;
        }
        if known.segment == tail.segment {
            lost(tail);
        } else {
            lost(Position {
                segment: known.segment,
                offset: SEGMENT_HEADER,
            });
            let between = tail.segment + 1..known.segment;
            let is_there = |number: &u64| self.segments.path(*number).exists();
            let missing = between.filter(|number| !is_there(number));
            self.found.missing.extend(missing);
        }
        self.found.tail = known;
    }

    pub(super) fn is_damaged(&self) -> bool {
        !self.found.damages.is_empty() || !self.found.missing.is_empty()
    }
}

/// Examines the data directory `dir`; `scratch` is an empty directory with room for twice the index. Blocks.
///
/// # Errors
/// [`OpenError::Io`] when something cannot be read, or `scratch` not written. Damage is no error.
pub fn examine(dir: &Path, scratch: &Path) -> Result<Examination, OpenError> {
    let in_use = is_in_use(dir)?;
    let mut journal = if in_use {
        Journal::read_while_it_grows(dir)?
    } else {
        Journal::read(dir)?
    };
    let torn_bytes = if in_use { 0 } else { torn(&journal)? };
    let copied = match in_use {
        true => None,
        false => Some(Copied::of(dir, &mut journal, scratch)?),
    };
    let bytes = super::snapshot::journal_bytes(dir)?;
    let list = journal.segments.list();
    let list = list.map_err(OpenError::io("read", journal.segments.dir()))?;
    let Found {
        records, damages, ..
    } = &journal.found;
    let mut examination = Examination {
        in_use,
        segments: list.len() as u64,
        journal_bytes: bytes,
        records: *records,
        damages: damages.len() as u64,
        damaged_bytes: damages.iter().map(|damage: &Damage| damage.bytes).sum(),
        missing_segments: journal.found.missing.clone(),
        torn_bytes,
        index: IndexState::InUse,
        events: None,
        unreadable_events: 0,
        loose_rows: 0,
        kept: kept(dir)?,
    };
    if let Some(copied) = copied {
        examination.index = copied.state;
        let counted = events(&copied.index, &journal.segments);
        let (events, unreadable) = counted.map_err(|error| index_error(dir, &error))?;
        examination.events = Some(events);
        examination.unreadable_events = unreadable;
        let loose = index::guarded(|| loose::look(&copied.index, &journal.segments));
        examination.loose_rows = loose.map_err(|error| index_error(dir, &error))?.rows;
    }
    Ok(examination)
}

fn index_error(dir: &Path, error: &IndexError) -> OpenError {
    OpenError::Index {
        dir: dir.join("index"),
        reason: error.to_string(),
    }
}

/// Whether a process holds the directory. Nobody is kept out by looking.
fn is_in_use(dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Err(error) if error.kind() == NotFound => return Ok(false),
        file => file.map_err(OpenError::io("open", &path))?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(error)) => Err(OpenError::io("lock", &path)(error)),
    }
}

fn torn(journal: &Journal) -> Result<u64, OpenError> {
    let torn = open::torn(&journal.segments, journal.found.tail)?;
    Ok(torn.iter().map(|(_, bytes)| bytes.len() as u64).sum())
}

/// What repairs and starts have put aside.
fn kept(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let io = |error| OpenError::io("read", dir)(error);
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "quarantine" || name.contains(".broken-") {
            kept.push(entry.path());
        }
    }
    kept.sort();
    Ok(kept)
}

/// A copy of the index, brought up to the journal's end, and what it differs in.
pub(super) struct Copied {
    pub state: IndexState,
    /// What can be read of the queue: the copy, or what the journal gives.
    pub index: Index,
    pub differences: Vec<Difference>,
}

impl Copied {
    pub(super) fn of(dir: &Path, journal: &mut Journal, scratch: &Path) -> Result<Self, OpenError> {
        let rebuilt = index::guarded(|| {
            let index = Index::open(&scratch.join("rebuilt"), CACHE_MB, SyncMode::Off)?;
            replay(&index, journal, None)?;
            Ok(index)
        });
        let rebuilt = rebuilt.map_err(|error| index_error(dir, &error))?;
        let source = dir.join("index");
        if !source.join("db").exists() {
            return Ok(Self {
                state: IndexState::Missing,
                index: rebuilt,
                differences: Vec::new(),
            });
        }
        let copy = scratch.join("copy");
        copy_dir(&source, &copy).map_err(OpenError::io("copy the index to", &copy))?;
        let compared = index::guarded(|| {
            let index = Index::open(&copy, CACHE_MB, SyncMode::Off)?;
            let Some(checkpoint) = index.checkpoint()? else {
                return Err(IndexError::Broken("it has no checkpoint".to_owned()));
            };
            replay(&index, journal, Some(checkpoint))?;
            journal.extend_to(checkpoint);
            let differences = differences(&index, &rebuilt)?;
            open::check(&index, &journal.segments)?;
            Ok((index, differences))
        });
        Ok(match compared {
            Err(error) => Self {
                state: IndexState::Broken(error.to_string()),
                index: rebuilt,
                differences: Vec::new(),
            },
            Ok((index, differences)) => Self {
                state: match (differences.len() as u64, journal.is_damaged()) {
                    (0, _) => IndexState::Sound,
                    (rows, true) => IndexState::HoldsMore { rows },
                    (rows, false) => IndexState::Differs { rows },
                },
                index,
                differences,
            },
        })
    }
}

/// Applies the journal to an index, from a place on or from its start.
fn replay(index: &Index, journal: &Journal, from: Option<Position>) -> Result<(), IndexError> {
    let from = match from {
        Some(from) => from,
        None => start(&journal.segments)?,
    };
    scan::<IndexError>(journal.segments.dir(), from, |_, payload| {
        let mut changes = Vec::new();
        for frame in record::frames(payload) {
            match frame? {
                Frame::Blob { .. } => {}
                Frame::Put { tree, key, value } => {
                    changes.push((tree, key.into(), Some(value.into())));
                }
                Frame::Delete { tree, key } => changes.push((tree, key.into(), None)),
            }
        }
        index.apply_now(&changes)
    })?;
    Ok(())
}

/// Rows that are not the same in both, as `index` has them.
fn differences(index: &Index, rebuilt: &Index) -> Result<Vec<Difference>, IndexError> {
    let is_ours = |tree: Tree, key: &[u8]| tree != Tree::Meta || key == tree::STATE;
    let mut found = Vec::new();
    for tree in Tree::ALL {
        let (mut left, mut right) = (index.range(tree, &[], &[]), rebuilt.range(tree, &[], &[]));
        let (mut here, mut there) = (left.next().transpose()?, right.next().transpose()?);
        loop {
            let order = match (&here, &there) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let differs = match (&here, &there) {
                (Some((_, a)), Some((_, b))) if order.is_eq() => a != b,
                _ => true,
            };
            let row = match (order.is_le(), &here, &there) {
                (true, Some((key, value)), _) => Some((key.clone(), Some(value.clone()))),
                (_, _, Some((key, _))) => Some((key.clone(), None)),
                _ => None,
            };
            if let Some((key, value)) = row.filter(|(key, _)| differs && is_ours(tree, key)) {
                found.push((tree, key, value));
            }
            if order.is_le() {
                here = left.next().transpose()?;
            }
            if order.is_ge() {
                there = right.next().transpose()?;
            }
        }
    }
    Ok(found)
}

/// How many events there are, and how many of them do not read in full.
fn events(index: &Index, segments: &Segments) -> Result<(u64, u64), IndexError> {
    index::guarded(|| {
        let (mut count, mut unreadable) = (0, 0);
        for row in index.range(Tree::Event, &[], &[]) {
            let (_, value) = row?;
            count += 1;
            let row = resolve(&value, segments).ok();
            let row = row.and_then(|row| EventRow::decode(&row).ok());
            let reads = row.is_some_and(|mut row| {
                let mut pointers = row.pointers();
                pointers.all(|pointer| segments.read(pointer).is_ok())
            });
            unreadable += u64::from(!reads);
        }
        Ok((count, unreadable))
    })
}

/// Copies the files of a directory, and of those in it.
fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}
