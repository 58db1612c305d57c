//! Opening: lock the directory, read the journal's end, bring the index up to it, rebuild the index if
//! it does not work.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fault::{self, Point};

use super::accept;
use super::disk::free_bytes;
use super::index::{self, Change, FORMAT, Index, IndexError, Value};
use super::journal::record::{self, Frame};
use super::journal::scan::{Found, scan};
use super::journal::{self, Position, SEGMENT_HEADER, Segments};
use super::keeper::LEAST_FREE_BYTES;
use super::lane_row::LaneRow;
use super::line;
use super::options::{LocalOptions, OpenError, OpenReport, VerifyIndex};
use super::records::RecordRow;
use super::row::{DeliveryRow, EventRow, Row};
use super::slim::Places;
use super::stage::{ReadError, read_row, resolve};
use super::state::State;
use super::tree::{self, Tree};
use super::{registry_key, watches};

/// Changes applied to the index in one step while replaying.
const REPLAY_CHANGES: usize = 8192;

/// Changes collected while replaying: the last one of each row counts.
type Pending = BTreeMap<(Tree, Value), Option<Value>>;

/// Where a journal that was never reclaimed starts.
const START: Position = Position {
    segment: 1,
    offset: SEGMENT_HEADER,
};

/// What is open after [`open`].
pub(super) struct Opened {
    pub lock: File,
    pub index: Arc<Index>,
    pub segments: Arc<Segments>,
    pub state: State,
    pub tail: Position,
    pub report: OpenReport,
}

/// Takes the directory for this process.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(OpenError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            return Err(OpenError::Locked {
                dir: dir.to_owned(),
                holder: if known {
                    holder.trim().to_owned()
                } else {
                    "unknown".to_owned()
                },
            });
        }
        Err(TryLockError::Error(source)) => return Err(OpenError::io("lock", &path)(source)),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(OpenError::io("write", &path))?;
    Ok(file)
}

/// Refuses a disk that is full: sled does not survive running out of space half-way.
fn leave_room(dir: &Path) -> Result<(), OpenError> {
    match free_bytes(dir) {
        Ok(free) if free < LEAST_FREE_BYTES => {
            let full = std::io::ErrorKind::StorageFull;
            Err(OpenError::io("write", dir)(full.into()))
        }
        // Some file systems do not tell.
        _ => Ok(()),
    }
}

/// Remembers whether the queue was closed in order, and in which run of the machine it was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Open,
    Clean,
    /// Storage failed, or held what does not read.
    Failed,
}

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Writes the mark.
pub(super) fn set_mark(dir: &Path, mark: Mark) -> Result<(), OpenError> {
    let path = dir.join("run");
    let word = match mark {
        Mark::Open => "open",
        Mark::Clean => "clean",
        Mark::Failed => "failed",
    };
    let write = || {
        let mut file = File::create(&path)?;
        fault::pass(Point::MarkEmptied);
        writeln!(file, "{word} {}", boot_id())?;
        file.sync_all()
    };
    write().map_err(OpenError::io("write", &path))
}

/// How the last run ended.
struct LastRun {
    clean: bool,
    /// The index may hold what does not read.
    doubtful: bool,
}

fn last_run(dir: &Path) -> LastRun {
    let text = std::fs::read_to_string(dir.join("run")).unwrap_or_default();
    let (word, boot) = text.trim().split_once(' ').unwrap_or_default();
    let same_boot = !boot.is_empty() && boot == boot_id();
    LastRun {
        clean: word == "clean",
        doubtful: match word {
            "clean" => false,
            "open" => !same_boot,
            _ => true,
        },
    }
}

/// Stands in a directory while a backup is being restored into it.
pub const RESTORING: &str = "restoring";

/// Opens everything; see the module.
pub(super) fn open(options: &LocalOptions) -> Result<Opened, OpenError> {
    let dir = &options.dir;
    let journal = dir.join("journal");
    if dir.join(RESTORING).exists() {
        return Err(OpenError::Unfinished { dir: dir.clone() });
    }
    std::fs::create_dir_all(&journal).map_err(OpenError::io("create", &journal))?;
    let lock = lock(dir)?;
    leave_room(dir)?;
    let is_new = Segments::new(journal.clone())
        .list()
        .map_err(OpenError::io("read", &journal))?
        .is_empty();
    let last = last_run(dir);
    let mut opening = Opening {
        options,
        segments: Arc::new(Segments::new(journal)),
        report: OpenReport {
            clean: last.clean || is_new,
            ..OpenReport::default()
        },
    };
    let verify = options.verify_index == VerifyIndex::Always || (last.doubtful && !is_new);
    let (index, found) = opening.bring_up(verify)?;
    opening.quarantine(&found)?;
    opening.report.torn_bytes = keep_torn(dir, &opening.segments, found.tail)?;
    let state =
        read_state(&index, &opening.segments).map_err(|error| opening.index_error(&error))?;
    opening.report.events = state.events;
    opening.report.unprocessed = state.unprocessed;
    opening.report.open_deliveries = state.open_deliveries();
    set_mark(dir, Mark::Open)?;
    Ok(Opened {
        lock,
        index: Arc::new(index),
        segments: opening.segments,
        state,
        tail: found.tail,
        report: opening.report,
    })
}

struct Opening<'a> {
    options: &'a LocalOptions,
    segments: Arc<Segments>,
    report: OpenReport,
}

impl Opening<'_> {
    fn index_dir(&self) -> PathBuf {
        self.options.dir.join("index")
    }

    fn index_error(&self, error: &IndexError) -> OpenError {
        OpenError::Index {
            dir: self.index_dir(),
            reason: error.to_string(),
        }
    }

    /// The index up to the journal's end: the one that is there, or a new one.
    fn bring_up(&mut self, verify: bool) -> Result<(Index, Found), OpenError> {
        let reason = match self.use_index(verify) {
            Ok(done) => return Ok(done),
            Err(error) => self.not_the_index(&error)?,
        };
        if let Some(found) = newer_format(&reason) {
            return Err(OpenError::Format {
                dir: self.options.dir.clone(),
                found,
                known: FORMAT,
            });
        }
        tracing::error!(reason, "queue.index_rebuilding");
        self.report.rebuilt = true;
        self.report
            .notes
            .push(format!("the index was rebuilt from the journal: {reason}"));
        set_aside(&self.options.dir)?;
        let rebuilt = index::guarded(|| {
            let index = self.open_index()?;
            let first = self.segments.list()?.first().copied();
            let from = Position {
                segment: first.unwrap_or(START.segment),
                ..START
            };
            let found = self.replay(&index, from)?;
            self.finish(&index, &found)?;
            Ok((index, found))
        });
        rebuilt.map_err(|error| match self.not_the_index(&error) {
            Ok(reason) => OpenError::Index {
                dir: self.index_dir(),
                reason,
            },
            Err(error) => error,
        })
    }

    /// What is wrong with the index; an error when it is not the index's fault, so that making another would not
    /// help. A full disk is none of its faults, however it is met.
    fn not_the_index(&self, error: &IndexError) -> Result<String, OpenError> {
        let io = |source| OpenError::io("read or write", &self.options.dir)(source);
        match (error.io(), error) {
            (Some(source), IndexError::Io(_)) => Err(io(copy_of(source))),
            (Some(source), _) if io(copy_of(source)).may_pass() => Err(io(copy_of(source))),
            _ => Ok(error.to_string()),
        }
    }

    fn open_index(&self) -> Result<Index, IndexError> {
        Index::open(&self.index_dir(), self.options.cache_mb, self.options.sync)
    }

    /// Uses the index that is there.
    fn use_index(&mut self, verify: bool) -> Result<(Index, Found), IndexError> {
        index::guarded(|| {
            let places = Places::of(&self.options.dir);
            places.settle()?;
            let had_index = self.index_dir().join("db").exists();
            let index = self.open_index()?;
            if let Some(found) = index.format()?.filter(|found| *found > FORMAT) {
                return Err(IndexError::Broken(format!("{NEWER}{found}")));
            }
            let first = self.segments.list()?.first().copied();
            // It may have died before the first segment was made: there was nothing to lose yet.
            let is_blank = first.is_none() && index.get(Tree::Meta, tree::STATE)?.is_none();
            let from = if is_blank {
                START
            } else {
                start_of_replay(index.checkpoint()?, first, had_index)?
            };
            let found = self.replay(&index, from)?;
            fault::pass(Point::JournalReplayed);
            if verify {
                check(&index, &self.segments)?;
            }
            self.finish(&index, &found)?;
            if !had_index && first.is_some() {
                self.report.rebuilt = true;
                let note = "the index was not there: it was built from the journal";
                self.report.notes.push(note.to_owned());
            }
            let slim_bytes = index.slim_bytes()?;
            if places.is_bloated(&self.segments, self.options.segment_bytes, slim_bytes) {
                self.report.slimmed = true;
                return Ok((self.slim(&places, index)?, found));
            }
            Ok((index, found))
        })
    }

    /// Copies the index, row by row and in order, to give its space back.
    fn slim(&self, places: &Places, index: Index) -> Result<Index, IndexError> {
        let fresh = Index::open(&places.fresh, self.options.cache_mb, self.options.sync)?;
        for tree in Tree::ALL {
            fresh.copy_in(tree, &mut index.range(tree, &[], &[]))?;
        }
        fresh.sync()?;
        drop((fresh, index));
        places.swap()?;
        tracing::info!("queue.index_made_anew: most of its rows were gone");
        let index = self.open_index()?;
        index.set_slim_bytes(places.index_bytes())?;
        index.sync()?;
        Ok(index)
    }

    fn finish(&mut self, index: &Index, found: &Found) -> Result<(), IndexError> {
        index.set_format(FORMAT)?;
        index.sync()?;
        index.set_checkpoint(found.tail)?;
        index.sync()?;
        self.report.replayed += found.records;
        Ok(())
    }

    /// Applies the journal from `from` on.
    fn replay(&self, index: &Index, from: Position) -> Result<Found, IndexError> {
        let mut pending = Pending::new();
        let apply = |pending: &mut Pending| {
            let changes: Vec<Change> = std::mem::take(pending)
                .into_iter()
                .map(|((tree, key), value)| (tree, key, value))
                .collect();
            index.apply_now(&changes)
        };
        let found = scan::<IndexError>(self.segments.dir(), from, |_, payload| {
            for frame in record::frames(payload) {
                match frame? {
                    Frame::Blob { .. } => {}
                    Frame::Put { tree, key, value } => {
                        pending.insert((tree, key.into()), Some(value.into()));
                    }
                    Frame::Delete { tree, key } => {
                        pending.insert((tree, key.into()), None);
                    }
                }
            }
            if pending.len() >= REPLAY_CHANGES {
                apply(&mut pending)?;
            }
            Ok(())
        })?;
        apply(&mut pending)?;
        Ok(found)
    }

    /// Reports damage, and keeps a copy of each damaged segment.
    fn quarantine(&mut self, found: &Found) -> Result<(), OpenError> {
        for damage in &found.damages {
            self.report.damaged_bytes += damage.bytes;
            self.report.notes.push(format!(
                "{} bytes of journal segment {} at {} are damaged",
                damage.bytes, damage.at.segment, damage.at.offset
            ));
            let path = self.segments.path(damage.at.segment);
            let dir = self.options.dir.join("quarantine");
            std::fs::create_dir_all(&dir).map_err(OpenError::io("create", &dir))?;
            let copy = dir.join(path.file_name().unwrap_or_default());
            if !copy.exists() {
                std::fs::copy(&path, &copy).map_err(OpenError::io("copy", &path))?;
            }
            if !self.report.quarantined.contains(&copy) {
                self.report.quarantined.push(copy);
            }
        }
        for segment in &found.missing {
            self.report
                .notes
                .push(format!("journal segment {segment} is missing"));
        }
        if let Some(cut) = found.cut {
            self.report.damaged_bytes += cut.bytes;
            self.report.notes.push(format!(
                "journal segment {} ends {} bytes before what the index knows of it",
                cut.at.segment, cut.bytes
            ));
        }
        for note in &self.report.notes {
            tracing::error!(note, "queue.opened_with_damage");
        }
        Ok(())
    }
}

/// What stands behind the last record: normally nothing, or what a crash tore; in the tail's segment, and in later ones,
/// which are empty unless something is very wrong.
pub(super) fn torn(
    segments: &Segments,
    tail: Position,
) -> Result<Vec<(Position, Vec<u8>)>, OpenError> {
    let list = segments.list();
    let list = list.map_err(OpenError::io("read", segments.dir()))?;
    let mut torn = Vec::new();
    for segment in list.into_iter().filter(|number| *number >= tail.segment) {
        let offset = match segment == tail.segment {
            true => tail.offset,
            false => SEGMENT_HEADER,
        };
        let path = segments.path(segment);
        let bytes = journal::read_file(&path).map_err(OpenError::io("read", &path))?;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        if let Some(last) = rest.iter().rposition(|byte| *byte != 0) {
            torn.push((Position { segment, offset }, rest[..=last].to_vec()));
        }
    }
    Ok(torn)
}

/// Keeps a copy of what stands behind the last record, see [`torn`]. Answers how many bytes.
pub(super) fn keep_torn(
    data: &Path,
    segments: &Segments,
    tail: Position,
) -> Result<u64, OpenError> {
    let dir = data.join("quarantine");
    let mut kept = 0;
    for (at, torn) in torn(segments, tail)? {
        std::fs::create_dir_all(&dir).map_err(OpenError::io("create", &dir))?;
        let copy = dir.join(format!("{:010}-{}.torn", at.segment, at.offset));
        std::fs::write(&copy, &torn).map_err(OpenError::io("write", &copy))?;
        tracing::warn!(
            bytes = torn.len(),
            copy = %copy.display(),
            "queue.torn_tail: what was being written when the last run ended was never acknowledged"
        );
        kept += torn.len() as u64;
    }
    Ok(kept)
}

/// Moves the index out of the way, for whoever wants to look at it. Answers where it is now.
pub(super) fn set_aside(dir: &Path) -> Result<Option<PathBuf>, OpenError> {
    let index = dir.join("index");
    for n in 1u32.. {
        let aside = dir.join(format!("index.broken-{n}"));
        if !aside.exists() {
            std::fs::rename(&index, &aside).map_err(OpenError::io("rename", &index))?;
            return Ok(Some(aside));
        }
    }
    Ok(None)
}

/// The same error again: errors of the operating system are known by their number.
fn copy_of(error: &std::io::Error) -> std::io::Error {
    let number = error.raw_os_error();
    number.map_or_else(|| error.kind().into(), std::io::Error::from_raw_os_error)
}

const NEWER: &str = "format ";

fn newer_format(reason: &str) -> Option<u32> {
    let at = reason.find(NEWER)? + NEWER.len();
    reason[at..].parse().ok()
}

/// Where replay starts; an error when the index cannot be brought up from there.
fn start_of_replay(
    checkpoint: Option<Position>,
    first: Option<u64>,
    had_index: bool,
) -> Result<Position, IndexError> {
    match (checkpoint, first) {
        (None, None) => Ok(START),
        (None, Some(first)) if first == START.segment => Ok(START),
        (Some(checkpoint), Some(first)) if first <= checkpoint.segment => Ok(checkpoint),
        (Some(_), None) => Err(IndexError::Broken("there is no journal".to_owned())),
        (None, Some(_)) if !had_index => Err(IndexError::Broken("there was none".to_owned())),
        _ => Err(IndexError::Broken(
            "it does not reach to where the journal starts".to_owned(),
        )),
    }
}

pub(super) fn read_state(index: &Index, segments: &Segments) -> Result<State, IndexError> {
    let state = read_row(index, segments, Tree::Meta, tree::STATE);
    let state = state.map_err(|error| IndexError::Broken(error.to_string()))?;
    Ok(state.unwrap_or_default())
}

/// Reads the whole index: every row reads that the journal still has, and the counters are right.
pub(super) fn check(index: &Index, segments: &Segments) -> Result<(), IndexError> {
    let state = read_state(index, segments)?;
    let mut counted = State {
        last_id: state.last_id,
        run: state.run,
        ..State::default()
    };
    let mut unreadable = 0u64;
    for tree in Tree::ALL {
        for row in index.range(tree, &[], &[]) {
            let (key, value) = row?;
            let row = match resolve(&value, segments) {
                Ok(row) => row,
                // The journal's fault: another index would not have it either, and less besides.
                Err(ReadError::Blob(error)) if error.is_damage() => {
                    unreadable += 1;
                    continue;
                }
                Err(error) => return Err(IndexError::Broken(error.to_string())),
            };
            check_row(tree, &key, &row, &mut counted)?;
        }
    }
    counted
        .depths
        .retain(|_, depth| *depth != super::state::Depth::default());
    let mut said = state;
    said.depths
        .retain(|_, depth| *depth != super::state::Depth::default());
    // What does not read cannot be counted.
    if counted != said && unreadable == 0 {
        return Err(IndexError::Broken(format!(
            "it says {said:?}, but holds {counted:?}"
        )));
    }
    Ok(())
}

fn check_row(tree: Tree, key: &[u8], row: &[u8], counted: &mut State) -> Result<(), IndexError> {
    let bad = || IndexError::Broken(format!("a row of {} is unreadable", tree.name()));
    match tree {
        Tree::Event => {
            tree::event_of(key)?;
            EventRow::decode(row)?;
            counted.events += 1;
        }
        Tree::Todo => {
            tree::event_of(key)?;
            watches::mark_number(row)?;
            counted.unprocessed += 1;
        }
        Tree::Delivery => {
            tree::delivery_of(key)?;
            let row = DeliveryRow::decode(row)?;
            let depth = counted.depths.entry(row.destination).or_default();
            depth.open += u64::from(row.state.is_open());
            depth.dead += u64::from(row.state == crate::model::DeliveryState::DeadLetter);
        }
        Tree::Dead => {
            tree::delivery_of(key)?;
        }
        Tree::Lane => {
            LaneRow::decode(row)?;
        }
        Tree::Due => {
            tree::due_of(key)?;
        }
        Tree::Record => {
            RecordRow::decode(row)?;
        }
        Tree::Place => {
            registry_key::place_of(key)?;
        }
        Tree::Watch => {
            registry_key::watch_of(key, row)?;
        }
        Tree::Wake => {
            registry_key::wake_of(key)?;
        }
        Tree::Line => {
            line::place_of(key)?;
        }
        Tree::Dedupe if !accept::check_dedupe_row(row) => return Err(bad()),
        Tree::DedupeExpiry if !accept::check_expiry_row(row) => return Err(bad()),
        Tree::Dedupe | Tree::DedupeExpiry | Tree::Meta => {}
    }
    Ok(())
}
