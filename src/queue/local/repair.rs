//! Repairing a data directory that no process uses: what is broken is put aside, what can be known is made whole.
//!
//! Damaged stretches of the journal are kept in `quarantine` and replaced by records that say nothing, so that
//! they are found once. Rows that only the index still has are written into the journal again. An index that does
//! not work is set aside and built from the journal. Rows that do not read, or stand for what is not there, are taken out.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::examine::{Copied, Difference, IndexState, Journal};
use super::index::{self, Index};
use super::journal::record::{self, Builder};
use super::journal::{Writer, segment_header};
use super::options::{LocalOptions, OpenError, OpenReport};
use super::stage::Stage;
use super::{LocalQueue, loose, open};

/// Rows in one record.
const ROWS: usize = 1000;

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Repair {
    /// Copies of damaged segments.
    pub quarantined: Vec<PathBuf>,
    /// Bytes of the journal that were damaged, and are gone from it.
    pub removed_bytes: u64,
    /// Bytes behind the last record, which were never acknowledged. A copy is in `quarantine`, too.
    pub torn_bytes: u64,
    /// Segments that were missing, and are empty now.
    pub emptied_segments: Vec<u64>,
    /// Rows that only the index still had, written into the journal again.
    pub rows_written_again: u64,
    /// Rows that did not read or stood for nothing, taken out.
    pub rows_taken_out: u64,
    /// Events that are to be processed again, since they bring back what was lost.
    pub events_again: u64,
    /// Where the index that did not work is now.
    pub index_set_aside: Option<PathBuf>,
    /// Events that are stored now.
    pub events: u64,
    /// Deliveries that still have to happen.
    pub open_deliveries: u64,
}

/// Repairs the queue in the directory of `options`; `scratch` is an empty directory with room for twice the index.
/// Blocks. Nothing that can be read is lost by it.
///
/// # Errors
/// [`OpenError::Locked`] when a process uses the directory, [`OpenError::Io`] when files cannot be used.
pub fn repair(options: LocalOptions, scratch: &Path) -> Result<Repair, OpenError> {
    let dir = options.dir.clone();
    let mut repair = Repair::default();
    let lock = open::lock(&dir)?;
    let mut journal = Journal::read(&dir)?;
    let copied = Copied::of(&dir, &mut journal, scratch)?;
    repair.torn_bytes = open::keep_torn(&dir, &journal.segments, journal.found.tail)?;
    if matches!(
        copied.state,
        IndexState::Broken(_) | IndexState::Differs { .. }
    ) {
        repair.index_set_aside = open::set_aside(&dir)?;
    }
    quarantine(&dir, &journal, &mut repair)?;
    fill(&journal, &mut repair)?;
    if matches!(copied.state, IndexState::HoldsMore { .. }) {
        write_again(&options, &journal, &copied.differences)?;
        repair.rows_written_again = copied.differences.len() as u64;
    }
    // The index is read to its end when it is opened below.
    open::set_mark(&dir, open::Mark::Failed)?;
    drop(copied);
    let _unlocked_with_the_file = lock.unlock();
    drop(lock);
    let mut report = reopen(options.clone())?;
    if take_out(&options, &mut repair)? {
        report = reopen(options)?;
    }
    repair.events = report.events;
    repair.open_deliveries = report.open_deliveries;
    Ok(repair)
}

/// Opens the queue as the bridge will, and closes it again: opening has brought everything to stable storage.
///
/// # Errors
/// See [`LocalQueue::open`].
pub fn reopen(options: LocalOptions) -> Result<OpenReport, OpenError> {
    let dir = options.dir.clone();
    let (queue, report) = LocalQueue::open(options)?;
    drop(queue);
    open::set_mark(&dir, open::Mark::Clean)?;
    Ok(report)
}

/// Takes rows out that do not read or stand for nothing, by writing so into the journal. Answers whether there were any.
fn take_out(options: &LocalOptions, repair: &mut Repair) -> Result<bool, OpenError> {
    let dir = &options.dir;
    let lock = open::lock(dir)?;
    let journal = Journal::read(dir)?;
    let place = dir.join("index");
    let looked = index::guarded(|| {
        let index = Index::open(&place, options.cache_mb, options.sync)?;
        let loose = loose::look(&index, &journal.segments)?;
        Ok((index, loose))
    });
    let (index, loose) = looked.map_err(|error| OpenError::Index {
        dir: place,
        reason: error.to_string(),
    })?;
    repair.rows_taken_out = loose.rows;
    repair.events_again = loose.events;
    if loose.changes.is_empty() {
        return Ok(false);
    }
    let path = journal.segments.dir().to_owned();
    let mut stage = Stage::new(Arc::new(index), Arc::new(journal.segments));
    let mut write = || {
        let (tail, bytes) = (journal.found.tail, options.segment_bytes);
        let mut writer = Writer::open(&path, tail, bytes, options.sync)?;
        for changes in loose.changes.chunks(ROWS) {
            stage.begin(writer.place()?);
            for (tree, key, row) in changes {
                match row {
                    Some(row) => stage.put(*tree, key, row.clone()),
                    None => stage.delete(*tree, key),
                }
            }
            if let (Some(record), _) = stage.finish() {
                writer.append(record)?;
            }
        }
        Ok(())
    };
    write().map_err(OpenError::io("write", &path))?;
    open::set_mark(dir, open::Mark::Failed)?;
    let _unlocked_with_the_file = lock.unlock();
    Ok(true)
}

fn quarantine(dir: &Path, journal: &Journal, repair: &mut Repair) -> Result<(), OpenError> {
    let place = dir.join("quarantine");
    for damage in &journal.found.damages {
        std::fs::create_dir_all(&place).map_err(OpenError::io("create", &place))?;
        let path = journal.segments.path(damage.at.segment);
        repair.removed_bytes += damage.bytes;
        if !path.exists() {
            continue;
        }
        let copy = place.join(path.file_name().unwrap_or_default());
        if !copy.exists() {
            super::snapshot::copy_file(&path, &copy).map_err(OpenError::io("copy", &path))?;
        }
        if !repair.quarantined.contains(&copy) {
            repair.quarantined.push(copy);
        }
    }
    Ok(())
}

/// Puts records that say nothing where the journal does not read, and empty segments where some are missing.
fn fill(journal: &Journal, repair: &mut Repair) -> Result<(), OpenError> {
    for damage in &journal.found.damages {
        let path = journal.segments.path(damage.at.segment);
        let write = || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            file.write_all_at(&segment_header(damage.at.segment), 0)?;
            let bytes = (damage.bytes as usize).next_multiple_of(record::ALIGN);
            let there = file.metadata()?.len().saturating_sub(damage.at.offset);
            let mut damaged = vec![0; bytes];
            let there = bytes.min(usize::try_from(there).unwrap_or(bytes));
            file.read_exact_at(&mut damaged[..there], damage.at.offset)?;
            if let Some(filler) = record::filler(damage.at, &damaged) {
                file.write_all_at(&filler, damage.at.offset)?;
            }
            file.sync_all()
        };
        write().map_err(OpenError::io("write", &path))?;
    }
    for number in &journal.found.missing {
        let path = journal.segments.path(*number);
        std::fs::write(&path, segment_header(*number)).map_err(OpenError::io("write", &path))?;
        repair.emptied_segments.push(*number);
    }
    Ok(())
}

/// Writes rows of the index into the journal again, behind everything else.
fn write_again(
    options: &LocalOptions,
    journal: &Journal,
    rows: &[Difference],
) -> Result<(), OpenError> {
    let dir = journal.segments.dir();
    let write = || {
        let mut writer =
            Writer::open(dir, journal.found.tail, options.segment_bytes, options.sync)?;
        let mut builder = Builder::default();
        for rows in rows.chunks(ROWS) {
            builder.begin(writer.place()?);
            for (tree, key, value) in rows {
                match value {
                    Some(value) => builder.put(*tree, key, value),
                    None => builder.delete(*tree, key),
                }
            }
            if let Some(record) = builder.finish() {
                writer.append(record)?;
            }
        }
        Ok(())
    };
    write().map_err(OpenError::io("write", dir))
}
