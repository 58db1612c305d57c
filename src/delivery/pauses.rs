//! Which destinations an operator has paused, kept in a file: a pause is a decision, and no restart may undo it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::model::DestinationName;

/// Its name in the data directory: one name in a line.
const FILE: &str = "paused-destinations";

/// See the module.
#[derive(Debug)]
pub struct Pauses {
    file: PathBuf,
    names: Mutex<BTreeSet<DestinationName>>,
}

impl Pauses {
    /// Those of a data directory. What cannot be read as a name is no destination, so it is left out.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let file = dir.join(FILE);
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        // A damaged name is left out; the others are still paused.
        let text = String::from_utf8_lossy(&bytes);
        let names = text.lines().filter_map(|line| line.parse().ok()).collect();
        Ok(Self {
            file,
            names: Mutex::new(names),
        })
    }

    /// Whether `name` is paused.
    pub fn has(&self, name: &DestinationName) -> bool {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.contains(name)
    }

    /// Notes durably that `name` is paused, or is not any more.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing has changed.
    pub fn set(&self, name: &DestinationName, paused: bool) -> io::Result<()> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = names.clone();
        let changed = match paused {
            true => next.insert(name.clone()),
            false => next.remove(name),
        };
        if changed {
            self.write(&next)?;
            *names = next;
        }
        Ok(())
    }

    fn write(&self, names: &BTreeSet<DestinationName>) -> io::Result<()> {
        let unfinished = self.file.with_extension("new");
        let mut file = File::create(&unfinished)?;
        for name in names {
            writeln!(file, "{name}")?;
        }
        file.sync_all()?;
        fs::rename(&unfinished, &self.file)?;
        match self.file.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_known_until_it_is_ended_whoever_opens_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["crm", "slack"].map(|name| name.parse::<DestinationName>().unwrap());
        let [crm, slack] = &names;
        let paused = || {
            let pauses = Pauses::open(dir.path()).unwrap();
            names.each_ref().map(|name| pauses.has(name))
        };
        assert_eq!(paused(), [false, false]);
        let pauses = Pauses::open(dir.path()).unwrap();
        for name in [crm, slack, crm] {
            pauses.set(name, true).unwrap();
        }
        assert_eq!(paused(), [true, true]);
        pauses.set(crm, false).unwrap();
        assert_eq!(paused(), [false, true]);
    }

    #[test]
    fn what_cannot_be_kept_is_not_taken_for_kept() {
        let dir = tempfile::tempdir().unwrap();
        let pauses = Pauses::open(&dir.path().join("not there")).unwrap();
        let crm: DestinationName = "crm".parse().unwrap();
        assert!(pauses.set(&crm, true).is_err());
        assert!(!pauses.has(&crm));
    }
}
