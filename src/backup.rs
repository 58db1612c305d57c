//! Backups of a data directory: made while the bridge runs or stands, checked after writing, and restored into an
//! empty directory.
//!
//! # What is in a backup
//!
//! ```text
//! backup.json       what it is, and length and SHA-256 of every file; written last: without it the backup is not whole
//! journal/          the journal, up to its last record: every event with its body, every delivery and attempt
//! outcomes.sqlite   the built-in outcome store
//! admin-token       the admin token that the bridge made, if it made one
//! lookup-tokens/    tokens that vendors gave for look-ups
//! paused-destinations   names of destinations that were paused, if any were
//! ```
//!
//! The index is not in it: restoring makes it from the journal. So a backup holds personal data and working
//! tokens; its files are readable by their owner only. Secrets of the configuration are not in it.
//!
//! The journal is copied first: what the store's copy knows more than the journal's is told to it again, and it
//! takes each delivery once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::queue::local::{
    self, JournalCopy, LocalOptions, OpenError, OpenReport, RESTORING, free_bytes,
};
use crate::store::{self, StoreError};

const MANIFEST: &str = "backup.json";
const STORE: &str = "outcomes.sqlite";
/// The newest form of a backup that is known.
const FORMAT: u32 = 1;
/// What else of a data directory is worth keeping: files, or directories of files.
const SMALL: [&str; 3] = ["admin-token", "lookup-tokens", "paused-destinations"];
/// Room that a backup leaves on its disk.
const ROOM: u64 = 16 << 20;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is no data to back up.
    #[error("{} holds no data of a bridge: name the configuration of the bridge, or its data directory with --data", .0.display())]
    NoData(PathBuf),
    /// The place for the backup is taken.
    #[error("{} exists already and is not empty: name a directory that is not there yet", .0.display())]
    Taken(PathBuf),
    /// An outcome store, or what is left of one, stands where the backup's is to go.
    #[error("{} stands where the outcome store is to be restored: move it away, together with its `-wal` and `-shm` files", .0.display())]
    StoreTaken(PathBuf),
    /// The place for the backup is inside of what is backed up.
    #[error("{} is inside the data directory: name a place outside, best on another disk", .0.display())]
    Inside(PathBuf),
    /// The backup does not fit.
    #[error("{} has {free} bytes free, the backup needs {needed}: make room, or name another place", place.display())]
    NoRoom {
        /// Where it should go.
        place: PathBuf,
        /// Bytes free there.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// It is no backup, or one that was not finished.
    #[error("{} is not a whole backup ({why}): use another one", place.display())]
    NotWhole {
        /// The directory.
        place: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The data directory has something in it.
    #[error("{} is not empty (it holds {holds}): stop the bridge, move what is there away (`mv {} {}.old`), and restore again", dir.display(), dir.display(), dir.display())]
    NotEmpty {
        /// The data directory.
        dir: PathBuf,
        /// Something that is in it.
        holds: String,
    },
    /// A file cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The queue's files.
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// The outcome store's copy.
    #[error("the copy of the outcome store is not usable: {0}")]
    Store(#[from] StoreError),
}

fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Io {
        action,
        path,
        source,
    }
}

/// A file of a backup, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    program: String,
    made_at: Timestamp,
    files: BTreeMap<String, Entry>,
}

/// A backup that was made.
#[derive(Debug, Serialize)]
pub struct Backup {
    /// Where it is.
    pub place: PathBuf,
    /// When it was begun.
    pub made_at: Timestamp,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The journal in it.
    pub journal: JournalCopy,
    /// Whether the outcome store is in it.
    pub outcome_store: bool,
    /// What was damaged before, or could not be copied: the backup is whole without it.
    pub problems: Vec<String>,
}

/// Backs up the data directory `data` and the outcome store at `store` into the directory `place`. The bridge may
/// run meanwhile and is not held up. Everything is read again after it was written.
///
/// # Errors
/// [`BackupError`]; what was written by then has no `backup.json` and cannot be restored.
pub async fn make(
    data: &Path,
    store: Option<&Path>,
    place: &Path,
    now: Timestamp,
) -> Result<Backup, BackupError> {
    if !data.join("journal").is_dir() {
        return Err(BackupError::NoData(data.to_owned()));
    }
    prepare(data, store, place)?;
    let mut problems = Vec::new();
    let journal = local::copy_journal(data, place)?;
    if journal.damaged_bytes > 0 || journal.missing_segments > 0 {
        problems.push(format!(
            "the journal is damaged ({} bytes do not read, {} segments are missing): run `outcome-bridge doctor`",
            journal.damaged_bytes, journal.missing_segments
        ));
    }
    let outcome_store = match store.filter(|store| store.exists()) {
        Some(store) => match copy_store(store, &place.join(STORE)).await {
            Ok(()) => true,
            Err(error) => {
                problems.push(format!(
                    "the outcome store could not be copied ({error}): run `outcome-bridge doctor`"
                ));
                false
            }
        },
        None => false,
    };
    for name in SMALL {
        copy_small(&data.join(name), &place.join(name))?;
    }
    let files = entries(place)?;
    let backup = Backup {
        place: place.to_owned(),
        made_at: now,
        files: files.len(),
        bytes: files.values().map(|entry| entry.bytes).sum(),
        journal,
        outcome_store,
        problems,
    };
    let manifest = Manifest {
        format: FORMAT,
        program: concat!("outcome-bridge ", env!("CARGO_PKG_VERSION")).to_owned(),
        made_at: now,
        files,
    };
    write_manifest(place, &manifest)?;
    Ok(backup)
}

/// Makes the directory, and looks whether there is room.
fn prepare(data: &Path, store: Option<&Path>, place: &Path) -> Result<(), BackupError> {
    if let Some(_taken) = something_in(place)? {
        return Err(BackupError::Taken(place.to_owned()));
    }
    if !place.exists() {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(place)
            .map_err(cannot("create", place))?;
    }
    let resolved = |path: &Path| path.canonicalize().map_err(cannot("find", path));
    if resolved(place)?.starts_with(resolved(data)?) {
        // It was made just now, or was empty: nothing is lost if it stays.
        let _left = fs::remove_dir(place);
        return Err(BackupError::Inside(place.to_owned()));
    }
    owner_only(place, 0o700)?;
    let store_bytes = store.and_then(|store| fs::metadata(store).ok());
    let needed = local::journal_bytes(data)? + store_bytes.map_or(0, |file| file.len()) + ROOM;
    let free = free_bytes(place).map_err(cannot("look at", place))?;
    if free < needed {
        return Err(BackupError::NoRoom {
            place: place.to_owned(),
            free,
            needed,
        });
    }
    Ok(())
}

/// Copies the store and reads the copy to its end.
async fn copy_store(from: &Path, to: &Path) -> Result<(), String> {
    let copied = async {
        store::copy(from, to, true).await?;
        store::examine(to, false).await
    };
    let why = match copied.await {
        Ok(state) if state.problems.is_empty() => return Ok(()),
        Ok(state) => state.problems.join("; "),
        Err(error) => error.to_string(),
    };
    // The copy of a damaged store must not be restored by mistake.
    let _left = fs::remove_file(to);
    Err(why)
}

/// Copies a file, or a directory of files; what is not there is none.
fn copy_small(from: &Path, to: &Path) -> Result<(), BackupError> {
    let kind = match fs::metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(cannot("read", from))?,
    };
    if kind.is_file() {
        return copy_file(from, to);
    }
    make_dir(to)?;
    for entry in fs::read_dir(from).map_err(cannot("read", from))? {
        let entry = entry.map_err(cannot("read", from))?;
        if entry.path().is_file() {
            copy_file(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), BackupError> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.map_err(cannot("create", path))
}

/// Copies into a file that only its owner can read, and syncs it.
fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut source = File::open(from).map_err(cannot("read", from))?;
    let mut copy = || {
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)?;
        io::copy(&mut source, &mut copy)?;
        copy.sync_all()
    };
    copy().map_err(cannot("write", to))
}

fn owner_only(path: &Path, mode: u32) -> Result<(), BackupError> {
    let set = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    set.map_err(cannot("protect", path))
}

/// Something that is in a directory; `None` when it is empty, or not there.
fn something_in(dir: &Path) -> Result<Option<String>, BackupError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(cannot("read", dir))?,
    };
    for entry in entries {
        let name = entry.map_err(cannot("read", dir))?.file_name();
        // Every ext4 file system has that at its top.
        if name != "lost+found" {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Every file below `place` but the manifest, as it reads now.
fn entries(place: &Path) -> Result<BTreeMap<String, Entry>, BackupError> {
    let mut found = BTreeMap::new();
    let mut rest = vec![place.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in fs::read_dir(&dir).map_err(cannot("read", &dir))? {
            let path = entry.map_err(cannot("read", &dir))?.path();
            if path.is_dir() {
                rest.push(path);
                continue;
            }
            let name = path.strip_prefix(place).unwrap_or(&path);
            let name = name.to_string_lossy().into_owned();
            if name != MANIFEST && !name.starts_with("lost+found") {
                found.insert(name, summed(&path)?);
            }
        }
        let synced = File::open(&dir).and_then(|dir| dir.sync_all());
        synced.map_err(cannot("sync", &dir))?;
    }
    Ok(found)
}

/// Length and sum of a file.
fn summed(path: &Path) -> Result<Entry, BackupError> {
    let read = || {
        let mut file = File::open(path)?;
        let (mut hasher, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
        }
        Ok(Entry {
            bytes,
            sha256: hex::encode(hasher.finalize()),
        })
    };
    read().map_err(cannot("read", path))
}

fn write_manifest(place: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let path = place.join(MANIFEST);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
        file.sync_all()?;
        File::open(place)?.sync_all()
    };
    write().map_err(cannot("write", &path))
}

/// What was restored.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// When the backup was begun.
    pub made_at: Timestamp,
    /// The program that made it.
    pub program: String,
    /// Files restored.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Events that are stored now.
    pub events: u64,
    /// Events that are still to be processed.
    pub unprocessed: u64,
    /// Deliveries that still have to happen.
    pub open_deliveries: u64,
    /// Whether the outcome store was in the backup.
    pub outcome_store: bool,
    /// What was damaged in the backed-up data already.
    pub problems: Vec<String>,
}

/// Restores the backup at `place` into the empty data directory of `options`, and the outcome store to `store`. The
/// queue is opened and closed once, so that the bridge starts at once afterwards.
///
/// # Errors
/// [`BackupError`]. A directory with a restore that was not finished is refused by the bridge.
pub fn restore(
    place: &Path,
    options: LocalOptions,
    store: Option<&Path>,
) -> Result<Restored, BackupError> {
    let manifest = read_manifest(place)?;
    let dir = options.dir.clone();
    refuse_taken(&dir, store)?;
    check(place, &manifest)?;
    make_dir(&dir)?;
    owner_only(&dir, 0o700)?;
    let marker = dir.join(RESTORING);
    File::create(&marker)
        .and_then(|file| file.sync_all())
        .map_err(cannot("write", &marker))?;
    let mut dirs = BTreeSet::from([dir.clone()]);
    for name in manifest.files.keys() {
        let to = match (name.as_str(), store) {
            (STORE, Some(store)) => store.to_owned(),
            (STORE, None) => dir.join(STORE),
            _ => dir.join(name),
        };
        if let Some(parent) = to.parent() {
            make_dir(parent)?;
            dirs.insert(parent.to_owned());
        }
        copy_file(&place.join(name), &to)?;
    }
    // A file is there after a power loss once its directory is on disk, too.
    for dir in &dirs {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(cannot("sync", dir))?;
    }
    fs::remove_file(&marker).map_err(cannot("remove", &marker))?;
    let report = local::reopen(options)?;
    Ok(told(&manifest, report))
}

fn told(manifest: &Manifest, report: OpenReport) -> Restored {
    let mut problems = report.notes;
    // That the index was made from the journal is what restoring is.
    problems.retain(|note| !note.starts_with("the index was"));
    Restored {
        made_at: manifest.made_at,
        program: manifest.program.clone(),
        files: manifest.files.len(),
        bytes: manifest.files.values().map(|entry| entry.bytes).sum(),
        events: report.events,
        unprocessed: report.unprocessed,
        open_deliveries: report.open_deliveries,
        outcome_store: manifest.files.contains_key(STORE),
        problems,
    }
}

fn refuse_taken(dir: &Path, store: Option<&Path>) -> Result<(), BackupError> {
    let holds = something_in(dir)?;
    // A store outside of the data directory must not be overwritten either; and SQLite would replay what is left of another
    // one's journal over the restored file.
    let beside = |store: &Path, end: &str| {
        let mut name = store.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let other = store.and_then(|store| {
        let mut files = ["", "-wal", "-shm", "-journal"]
            .into_iter()
            .map(|end| beside(store, end));
        files.find(|file| file.exists())
    });
    match (holds, other) {
        (Some(holds), _) => Err(BackupError::NotEmpty {
            dir: dir.to_owned(),
            holds,
        }),
        (None, Some(file)) => Err(BackupError::StoreTaken(file)),
        (None, None) => Ok(()),
    }
}

fn read_manifest(place: &Path) -> Result<Manifest, BackupError> {
    let not_whole = |why: String| BackupError::NotWhole {
        place: place.to_owned(),
        why,
    };
    let path = place.join(MANIFEST);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(not_whole(format!("there is no {MANIFEST} in it")));
        }
        bytes => bytes.map_err(cannot("read", &path))?,
    };
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| not_whole(format!("{MANIFEST} does not read: {error}")))?;
    if manifest.format > FORMAT {
        return Err(not_whole(format!(
            "{} made it, and its format {} is not known here: restore with that version",
            manifest.program, manifest.format
        )));
    }
    Ok(manifest)
}

/// Whether every file is as it was written.
fn check(place: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    for (name, entry) in &manifest.files {
        let is_below = Path::new(name)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        let path = place.join(name);
        let why = if !is_below {
            format!("{MANIFEST} names `{name}`")
        } else if !path.is_file() {
            format!("{name} is missing")
        } else if summed(&path)? != *entry {
            format!("{name} has changed since it was written")
        } else {
            continue;
        };
        return Err(BackupError::NotWhole {
            place: place.to_owned(),
            why,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_another_store_is_not_replayed_over_a_restored_one() {
        let home = tempfile::tempdir().unwrap();
        let (data, store) = (home.path().join("data"), home.path().join("calls.sqlite"));
        refuse_taken(&data, Some(&store)).unwrap();
        for end in ["-wal", "-shm", "-journal", ""] {
            let left = home.path().join(format!("calls.sqlite{end}"));
            fs::write(&left, "").unwrap();
            let refused = refuse_taken(&data, Some(&store)).unwrap_err().to_string();
            let named = format!("{} stands where the outcome store", left.display());
            assert!(refused.starts_with(&named), "{refused}");
            fs::remove_file(&left).unwrap();
        }
    }
}
