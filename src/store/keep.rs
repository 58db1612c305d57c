//! The store's file as a file: copied while it is in use, examined, repaired or put aside.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::BUSY_TIMEOUT;
use super::error::StoreError;

/// Problems that are listed before the rest is only said to be there.
const LISTED: usize = 20;

/// What examining the store found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct StoreState {
    /// Calls in it.
    pub calls: u64,
    /// Calls with an outcome.
    pub outcomes: u64,
    /// What is wrong with the file, in SQLite's words; empty when it is sound.
    pub problems: Vec<String>,
}

/// How a file that somebody else may be using is read.
fn reading(path: &Path, in_use: bool) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    // Nobody writes, and nothing waits to be folded in: then not even the files beside it are made.
    let alone = !in_use && !beside(path, "-wal").exists();
    options.immutable(alone)
}

/// The file that SQLite keeps beside `path`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Copies the store at `path`, which may be `in_use`, to `to`, which must not exist: a consistent snapshot in a
/// file that only its owner can read. Memory does not grow with the store.
///
/// # Errors
/// [`StoreError::Database`] when either file cannot be used, or the store is damaged.
pub async fn copy(path: &Path, to: &Path, in_use: bool) -> Result<(), StoreError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(sqlx::Error::Io)?;
    let mut connection = reading(path, in_use).connect().await?;
    let copied = sqlx::query("VACUUM INTO $1")
        .bind(to.to_string_lossy().into_owned())
        .execute(&mut connection)
        .await;
    connection.close().await?;
    copied?;
    Ok(())
}

/// Reads the whole store at `path`, which may be `in_use`, and tells what is wrong with it. Changes nothing.
///
/// # Errors
/// [`StoreError::Database`] when the file cannot be read at all, for want of a permission say. That it is damaged
/// is no error.
pub async fn examine(path: &Path, in_use: bool) -> Result<StoreState, StoreError> {
    let looked = async {
        let mut connection = reading(path, in_use).connect().await?;
        let state = look(&mut connection).await;
        connection.close().await?;
        state
    };
    match looked.await {
        Err(sqlx::Error::Database(error)) => Ok(StoreState {
            problems: vec![error.to_string()],
            ..StoreState::default()
        }),
        other => Ok(other?),
    }
}

async fn look(connection: &mut SqliteConnection) -> Result<StoreState, sqlx::Error> {
    let mut state = StoreState::default();
    let rows = sqlx::query("PRAGMA integrity_check(1000)")
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let words: String = row.try_get(0)?;
        if words != "ok" {
            state.problems.push(words);
        }
    }
    let orphans = sqlx::query("PRAGMA foreign_key_check")
        .fetch_all(&mut *connection)
        .await?;
    if !orphans.is_empty() {
        let count = orphans.len();
        state
            .problems
            .push(format!("{count} rows belong to a call that is not there"));
    }
    let rest = state.problems.len().saturating_sub(LISTED);
    if rest > 0 {
        state.problems.truncate(LISTED);
        state.problems.push(format!("and {rest} more"));
    }
    if state.problems.is_empty() {
        state.calls = count(connection, "SELECT COUNT(*) FROM calls").await?;
        let held = "SELECT COUNT(*) FROM outcomes WHERE kind IS NOT NULL";
        state.outcomes = count(connection, held).await?;
    }
    Ok(state)
}

async fn count(
    connection: &mut SqliteConnection,
    question: &'static str,
) -> Result<u64, sqlx::Error> {
    let count: i64 = sqlx::query(question)
        .fetch_one(connection)
        .await?
        .try_get(0)?;
    Ok(count.unsigned_abs())
}

/// Makes the indices of the store anew from its tables: the one kind of damage that costs nothing. Nobody else
/// may use the store meanwhile.
///
/// # Errors
/// [`StoreError::Database`] when the tables themselves are damaged.
pub async fn reindex(path: &Path) -> Result<(), StoreError> {
    let mut connection = super::options(path).connect().await?;
    let done = sqlx::query("REINDEX").execute(&mut connection).await;
    connection.close().await?;
    done?;
    Ok(())
}

/// Moves the store out of the way, with the files beside it. Answers where it is now.
///
/// # Errors
/// When a file cannot be renamed.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = (1u32..)
        .map(|n| beside(path, &format!(".broken-{n}")))
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| beside(path, ".broken"));
    for suffix in ["-wal", "-shm"] {
        match std::fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, &aside)?;
    Ok(aside)
}
