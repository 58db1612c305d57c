//! Why the store did not do what was asked. Seen by workers (as the reason of a retry), by the API
//! and at start.

use std::sync::Arc;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed: disk full, file unreadable, not a database.
    #[error("the outcome store failed: {0}")]
    Database(#[source] Arc<sqlx::Error>),
    /// The file has a layout that this version does not know.
    #[error(
        "the outcome store has layout {found}, this version knows layouts up to {known}; use the newer version that wrote it"
    )]
    Newer {
        /// The layout found.
        found: i64,
        /// The newest layout known.
        known: i64,
    },
    /// A row holds something that cannot have been written by this program.
    #[error("the outcome store holds `{text}` where {expected} should stand")]
    Unreadable {
        /// What stands there.
        text: String,
        /// What should.
        expected: &'static str,
    },
    /// A period that cannot be asked about.
    #[error(transparent)]
    Period(#[from] super::PeriodError),
    /// The file cannot be used. Opening it is tried again now and then.
    #[error(
        "the outcome store cannot be opened ({0}): `outcome-bridge doctor` tells what is wrong with its file"
    )]
    Unavailable(Arc<str>),
    /// The store has stopped.
    #[error("the outcome store has stopped")]
    Closed,
}

impl StoreError {
    /// Whether there is no room left: on the disk, or for the database. Nothing of the write is there; once there is
    /// room, the same write goes through.
    pub fn is_full(&self) -> bool {
        // SQLITE_FULL; on Unix also what a failed write for want of space becomes.
        const FULL: &str = "13";
        let Self::Database(error) = self else {
            return false;
        };
        error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| code == FULL)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}
