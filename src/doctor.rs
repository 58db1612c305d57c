//! The doctor: what is wrong with a data directory, and the repair of what can be repaired.
//!
//! Examining changes nothing, and works beside a running bridge (its index is then left out). A repair needs the
//! bridge to be stopped; what is broken is put aside, never deleted, and counted.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::queue::local::{self, Examination, LocalOptions, OpenError, Repair};
use crate::store::{self, StoreError, StoreState};

/// Why the doctor could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoctorError {
    /// There is nothing to look at.
    #[error("{} holds no data of a bridge: name the configuration of the bridge, or its data directory with --data", .0.display())]
    NoData(PathBuf),
    /// There is no place for the copy of the index.
    #[error("the index is examined in a copy, and there is no place for it in {}: {source}; set TMPDIR to a place with room", place.display())]
    Scratch {
        /// Where it should be.
        place: PathBuf,
        /// Why it cannot.
        #[source]
        source: std::io::Error,
    },
    /// The queue's files.
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// The outcome store's file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The outcome store cannot be moved.
    #[error("the outcome store {} cannot be set aside: {source}", path.display())]
    Aside {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// The queue.
    pub queue: Examination,
    /// The outcome store, if there is one.
    pub outcome_store: Option<StoreState>,
}

/// What was repaired.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// What was wrong before.
    pub before: Findings,
    /// What was done to the queue.
    pub queue: Repair,
    /// Whether the indices of the outcome store were made anew.
    pub store_reindexed: bool,
    /// Where the outcome store is now, if it could not be repaired. The bridge begins an empty one.
    pub store_set_aside: Option<PathBuf>,
}

/// Examines the data directory `data` and the outcome store at `store`. Changes nothing.
///
/// # Errors
/// [`DoctorError`] when something cannot be looked at. Damage is no error.
pub async fn examine(data: &Path, store: Option<&Path>) -> Result<Findings, DoctorError> {
    if !data.join("journal").is_dir() {
        return Err(DoctorError::NoData(data.to_owned()));
    }
    let scratch = scratch()?;
    let queue = local::examine(data, scratch.path())?;
    let outcome_store = match store.filter(|store| store.exists()) {
        Some(store) => Some(store::examine(store, queue.in_use).await?),
        None => None,
    };
    let store_is_sound = |store: &StoreState| store.problems.is_empty();
    Ok(Findings {
        sound: queue.is_sound() && outcome_store.as_ref().is_none_or(store_is_sound),
        queue,
        outcome_store,
    })
}

/// Repairs what [`examine`] finds. The bridge must not run.
///
/// # Errors
/// [`DoctorError`], when a bridge is using the directory among others.
pub async fn repair(options: LocalOptions, store: Option<&Path>) -> Result<Repaired, DoctorError> {
    let before = examine(&options.dir, store).await?;
    let scratch = scratch()?;
    let queue = local::repair(options, scratch.path())?;
    let mut repaired = Repaired {
        before,
        queue,
        store_reindexed: false,
        store_set_aside: None,
    };
    let is_broken = |state: &StoreState| !state.problems.is_empty();
    if let Some(store) = store
        && repaired
            .before
            .outcome_store
            .as_ref()
            .is_some_and(is_broken)
    {
        // Damaged indices are made anew; damaged tables make that fail, or stay.
        let reindexed = store::reindex(store).await.is_ok();
        repaired.store_reindexed = reindexed && !is_broken(&store::examine(store, false).await?);
        if !repaired.store_reindexed {
            let aside = store::set_aside(store).map_err(|source| DoctorError::Aside {
                path: store.to_owned(),
                source,
            })?;
            repaired.store_set_aside = Some(aside);
        }
    }
    Ok(repaired)
}

fn scratch() -> Result<tempfile::TempDir, DoctorError> {
    let made = tempfile::Builder::new()
        .prefix("outcome-bridge-doctor-")
        .tempdir();
    made.map_err(|source| DoctorError::Scratch {
        place: std::env::temp_dir(),
        source,
    })
}
