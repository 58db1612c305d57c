//! The built-in outcome store: calls, the current outcome of each, and a log of every change.
//!
//! It is a destination like any other: the queue is the source of truth, deliveries write here, and
//! what is here could be written again. It is SQL because the questions asked of it are (how many
//! calls were won last week); it is SQLite because a single file needs no server.
//!
//! # Promises
//!
//! - When a write returns, it is committed and synced. Writes of one moment share
//!   one transaction (`writer`): the store is fast because it commits seldom, not because it is lax.
//! - Recording is idempotent per delivery: the same delivery again changes nothing and logs nothing.
//! - A call's current outcome and its log always agree: both are written in one transaction, and the log's revisions
//!   have no gaps. The log says of every change who made it, what held before and what since; a change that was
//!   refused is in it, too, with the reason.
//! - Readers never wait for the writer (WAL).
//!
//! # Who writes
//!
//! Deliveries of the queue (`record`), clients of the APIs that the store serves (`change`), and whoever tells of
//! calls (`calls`). Deliveries bring the queue's truth of a lane, already ordered. Between them and API
//! clients the last write wins in the store; both are in the log. Only an outcome that an API client set by hand holds
//! until it is set by hand again. A retraction by the queue takes back what deliveries said, nothing else.
//!
//! # Layout
//!
//! `calls` (one row per call, or per target whose call is not known yet), `outcomes` (at most one row per call: what
//! holds now; no row after it was cleared), `outcome_log` (one row per change, append-only), and the tables of
//! analytics, which can be made anew from these (`figure`). The SQL keeps to what PostgreSQL
//! understands too: `$1` parameters, ids as TEXT, moments as BIGINT milliseconds, amounts as BIGINT
//! minor units beside the exact decimal text, `ON CONFLICT … DO UPDATE`.

mod analytics;
mod baseline;
mod call_input;
mod calls;
mod change;
mod error;
mod figure;
mod health;
mod keep;
mod migration;
mod query;
mod record;
mod standing;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use health::Health;
use writer::{Pending, Write, Writer, Written};

pub use analytics::{
    Attribution, Behind, Breakdown, Calendar, Condition, Conversion, Delay, Funnel, Group, Part,
    PartTrend, Period, PeriodError, Reached, Report, Split, Stage, Step, Tally, Trend,
};
pub use baseline::PlainTable;
pub use call_input::CallMistake;
pub use calls::{CallRecord, CallsRecorded};
pub use change::{CallKey, Change, Changed, Preference, Refusal, Sought, kind_of_label};
pub use error::StoreError;
pub use keep::{StoreState, copy, examine, reindex, set_aside};
pub use query::{
    CallFilter, CallRow, CursorError, LogRow, OutcomeFilter, OutcomeOrder, OutcomeRow, RowCursor,
    StoreCounts,
};
pub use record::{Record, Recorded};

/// Connections that read.
const READERS: u32 = 3;
/// Writes that may wait for the writer; more than that wait for room.
const WAITING: usize = 1024;
/// The writer's pages in memory, in SQLite's own words: 24 MB.
const WRITER_CACHE: &str = "-24576";
/// Pages of the write-ahead log that are folded into the file at once: 16 MB.
const CHECKPOINT: &str = "4000";
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle to the store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    writes: mpsc::Sender<Pending>,
    readers: SqlitePool,
    health: Health,
    closing: CancellationToken,
    closed: CancellationToken,
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// Connects the writer, creating or upgrading the file as needed.
async fn connect(
    options: &SqliteConnectOptions,
    clock: &Clock,
) -> Result<SqliteConnection, StoreError> {
    let mut connection = options
        .clone()
        .create_if_missing(true)
        // A large import touches each index all over: room for what it comes back to, and what a statement that fails
        // would undo stays in memory.
        .pragma("cache_size", WRITER_CACHE)
        .pragma("temp_store", "memory")
        .pragma("wal_autocheckpoint", CHECKPOINT)
        .connect()
        .await?;
    migration::migrate(&mut connection, clock).await?;
    Ok(connection)
}

impl Store {
    /// Opens the store at `path`, creating or upgrading it as needed.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the file cannot be opened or is no database,
    /// [`StoreError::Newer`] when a newer version of the program has written it.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::open_with(options(path), clock).await
    }

    async fn open_with(options: SqliteConnectOptions, clock: Clock) -> Result<Self, StoreError> {
        let connection = connect(&options, &clock).await?;
        Ok(Self::over(options, Ok(connection), clock))
    }

    /// Opens the store like [`Store::open`]; when its file cannot be used, answers a store that refuses
    /// everything with [`StoreError::Unavailable`] and tries the file again every second. The queue does
    /// not need the store: what is to be written there waits as for any destination that is down.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a newer version of the program has written it.
    pub async fn open_or_wait(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let options = options(path);
        match connect(&options, &clock).await {
            Err(error @ StoreError::Newer { .. }) => Err(error),
            connected => {
                let connected = connected.map_err(|error| error.to_string());
                Ok(Self::over(options, connected, clock))
            }
        }
    }

    fn over(
        options: SqliteConnectOptions,
        connected: Result<SqliteConnection, String>,
        clock: Clock,
    ) -> Self {
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_lazy_with(options.clone().read_only(true));
        let (writes, pending) = mpsc::channel(WAITING);
        let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
        let done = closed.clone().drop_guard();
        let health = Health::default();
        let connection = connected.inspect_err(|reason| health.fail(reason)).ok();
        let writer = Writer {
            options,
            clock,
            closing: closing.clone(),
            health: health.clone(),
        };
        tokio::spawn(async move {
            let _done = done;
            writer.run(connection, pending).await;
        });
        Self {
            writes,
            readers,
            health,
            closing,
            closed,
        }
    }

    /// Why nothing can be written, if so: the file cannot be opened, or the last write failed.
    pub fn failure(&self) -> Option<String> {
        self.health.failure().map(|reason| reason.to_string())
    }

    /// Records what a delivery brings. Answers once it is committed.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written; nothing of it is there then.
    pub async fn record(&self, record: Record) -> Result<Recorded, StoreError> {
        match self.write(Write::Delivery(Box::new(record))).await? {
            Written::Delivery(recorded) => Ok(recorded),
            Written::Change(_) | Written::Calls(_) => Err(StoreError::Closed),
        }
    }

    /// Changes a call as an API client says. Answers once it is committed. Changes of one call that come at the same
    /// time are made one after the other; none is lost.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written; nothing of it is there then. That it was refused is no error.
    pub async fn change(&self, change: Change) -> Result<Changed, StoreError> {
        match self.write(Write::Change(Box::new(change))).await? {
            Written::Change(changed) => Ok(changed),
            Written::Delivery(_) | Written::Calls(_) => Err(StoreError::Closed),
        }
    }

    /// Records calls: those not known are added, known ones get what is newer, field by field. All of them or none, and
    /// idempotent: the same records again change nothing.
    ///
    /// # Errors
    /// [`StoreError`] when they could not be written; none of them is there then.
    pub async fn record_calls(&self, calls: Vec<CallRecord>) -> Result<CallsRecorded, StoreError> {
        match self.write(Write::Calls(calls)).await? {
            Written::Calls(recorded) => Ok(recorded),
            Written::Delivery(_) | Written::Change(_) => Err(StoreError::Closed),
        }
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.writes
            .send(Pending { write, answer })
            .await
            .map_err(|_closed| StoreError::Closed)?;
        answered.await.map_err(|_closed| StoreError::Closed)?
    }

    /// Writes what was handed in, then closes the file. Every handle is of no use afterwards. Not
    /// needed for safety: what was answered is on disk.
    pub async fn close(&self) {
        // Readers first: the last connection to go folds the write-ahead log into the file.
        self.readers.close().await;
        self.closing.cancel();
        self.closed.cancelled().await;
    }
}
