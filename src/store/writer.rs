//! The one writer: gathers what waits into one transaction, commits, answers.
//!
//! # Why it begins and ends transactions by itself
//!
//! When the disk is full, SQLite may roll back on its own. sqlx's `Transaction` does not notice: its own `ROLLBACK` fails,
//! and from then on it takes what it begins for a part of a transaction that is not there, or that nobody commits. Then
//! writes are answered that are nowhere. Three statements leave nothing to lose count of.

use std::collections::BTreeMap;

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::calls::{self, CallRecord, CallsRecorded};
use super::change::{self, Change, Changed};
use super::connect;
use super::error::StoreError;
use super::figure::Book;
use super::health::Health;
use super::record::{self, Record, Recorded};
use super::standing::Session;
use crate::clock::Clock;
use crate::fault::{self, Point};

/// How often a file that does not open, or cannot be written, is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Writes that share one transaction.
const BATCH: usize = 512;

/// Something to write.
#[derive(Debug)]
pub(super) enum Write {
    Delivery(Box<Record>),
    Change(Box<Change>),
    Calls(Vec<CallRecord>),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Written {
    Delivery(Recorded),
    Change(Changed),
    Calls(CallsRecorded),
}

/// A write that waits for its turn.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) write: Write,
    pub(super) answer: oneshot::Sender<Result<Written, StoreError>>,
}

/// What the writer works with.
pub(super) struct Writer {
    pub(super) options: SqliteConnectOptions,
    pub(super) clock: Clock,
    pub(super) closing: CancellationToken,
    pub(super) health: Health,
}

/// The connection, and what is remembered of what was written through it.
struct Desk {
    connection: SqliteConnection,
    book: Book,
}

impl Desk {
    fn new(connection: SqliteConnection) -> Self {
        Self {
            connection,
            book: Book::default(),
        }
    }
}

impl Writer {
    /// Runs until every handle is gone or `closing` is cancelled, writes what was handed in by then, and
    /// closes the connection. Without a connection it waits until the file can be opened.
    pub(super) async fn run(
        self,
        connection: Option<SqliteConnection>,
        mut pending: mpsc::Receiver<Pending>,
    ) {
        let mut desk = connection.map(Desk::new);
        loop {
            let Some(open) = &mut desk else {
                match self.wait(&mut pending).await {
                    None => return,
                    connected => desk = connected,
                }
                continue;
            };
            let mut batch = Vec::with_capacity(BATCH);
            let count = tokio::select! {
                biased;
                () = self.closing.cancelled(), if !pending.is_closed() => {
                    pending.close();
                    continue;
                }
                count = pending.recv_many(&mut batch, BATCH) => count,
                () = tokio::time::sleep(OPEN_AGAIN), if self.health.failure().is_some() => {
                    // Nobody writes who would find out that it works again.
                    match probe(open).await {
                        Ok(()) => self.health.recover(),
                        Err(error) => {
                            self.health.fail(&error.to_string());
                            drop(desk.take());
                        }
                    }
                    continue;
                }
            };
            if count == 0 {
                break;
            }
            let now = self.clock.now().as_millisecond();
            match write_all(open, &batch, now).await {
                Ok(answers) => {
                    self.health.recover();
                    answer_all(&mut batch, answers);
                }
                // One record that cannot be written must not take its neighbours along.
                Err(_) => {
                    // First: it may hold the file's lock.
                    drop(desk.take());
                    desk = self.write_one_by_one(batch, now).await;
                }
            }
        }
        if let Some(Desk { connection, .. }) = desk
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the outcome store was not closed cleanly");
        }
    }

    /// Begins with a new connection, and again after each failure: what is remembered of the file may be wrong now, and
    /// the file itself may be another one.
    async fn write_one_by_one(&self, batch: Vec<Pending>, now: i64) -> Option<Desk> {
        let mut desk = None;
        for pending in batch {
            if desk.is_none() {
                desk = self.reconnect().await;
            }
            let Some(open) = &mut desk else {
                let reason = self.health.failure().unwrap_or_default();
                let _gone = pending.answer.send(Err(StoreError::Unavailable(reason)));
                continue;
            };
            let answer = match write_all(open, std::slice::from_ref(&pending), now).await {
                Ok(mut answers) => {
                    self.health.recover();
                    answers.pop().ok_or(StoreError::Closed)
                }
                Err(error) => {
                    desk = None;
                    self.health.fail(&error.to_string());
                    Err(error)
                }
            };
            let _gone = pending.answer.send(answer);
        }
        desk
    }

    async fn reconnect(&self) -> Option<Desk> {
        match connect(&self.options, &self.clock).await {
            Ok(connection) => Some(Desk::new(connection)),
            Err(error) => {
                self.health.fail(&error.to_string());
                None
            }
        }
    }

    /// Refuses what is handed in until the file opens. `None` when the store is closed before.
    async fn wait(&self, pending: &mut mpsc::Receiver<Pending>) -> Option<Desk> {
        loop {
            // At once for the first time: one write that failed does not refuse the next.
            if let Some(desk) = self.reconnect().await {
                return Some(desk);
            }
            tokio::select! {
                () = self.closing.cancelled() => return None,
                () = self.refuse(pending) => return None,
                () = tokio::time::sleep(OPEN_AGAIN) => {}
            }
        }
    }

    /// Refuses everything until nobody can hand anything in any more.
    async fn refuse(&self, pending: &mut mpsc::Receiver<Pending>) {
        while let Some(refused) = pending.recv().await {
            let reason = self.health.failure().unwrap_or_default();
            // Nobody listens any more when an attempt was given up.
            let _gone = refused.answer.send(Err(StoreError::Unavailable(reason)));
        }
    }
}

fn answer_all(batch: &mut Vec<Pending>, answers: Vec<Written>) {
    for (pending, written) in batch.drain(..).zip(answers) {
        // Nobody listens any more when an attempt was given up; the write stands all the same.
        let _ = pending.answer.send(Ok(written));
    }
}

/// Writes something and takes it back, down to the disk.
async fn probe(desk: &mut Desk) -> Result<(), StoreError> {
    let connection = &mut desk.connection;
    for statement in [
        "BEGIN",
        "INSERT INTO layout (version, applied_at) VALUES (0, 0)",
        "DELETE FROM layout WHERE version = 0",
        "COMMIT",
    ] {
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn write_all(
    desk: &mut Desk,
    batch: &[Pending],
    now: i64,
) -> Result<Vec<Written>, StoreError> {
    let Desk { connection, book } = desk;
    sqlx::query("BEGIN").execute(&mut *connection).await?;
    let mut written = write_each(connection, book, batch, now).await;
    fault::pass(Point::StoreWritten);
    if written.is_ok()
        && let Err(error) = sqlx::query("COMMIT").execute(&mut *connection).await
    {
        written = Err(error.into());
    }
    fault::pass(Point::StoreCommitted);
    if written.is_err() {
        // So that the file is free before the connection is dropped. It fails when SQLite has rolled back already.
        let _rolled_back = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    }
    written
}

async fn write_each(
    connection: &mut SqliteConnection,
    book: &mut Book,
    batch: &[Pending],
    now: i64,
) -> Result<Vec<Written>, StoreError> {
    let mut session = Session {
        connection,
        book,
        now,
        stale: BTreeMap::new(),
    };
    let mut answers = Vec::with_capacity(batch.len());
    while let Some(pending) = batch.get(answers.len()) {
        match &pending.write {
            Write::Delivery(_) => {
                // Those that stand next to each other are written together.
                let records: Vec<&Record> = batch[answers.len()..]
                    .iter()
                    .map_while(|pending| match &pending.write {
                        Write::Delivery(record) => Some(&**record),
                        Write::Change(_) | Write::Calls(_) => None,
                    })
                    .collect();
                let recorded = record::write_all(&mut session, &records).await?;
                answers.extend(recorded.into_iter().map(Written::Delivery));
            }
            Write::Change(change) => {
                answers.push(Written::Change(change::write(&mut session, change).await?));
            }
            Write::Calls(records) => {
                answers.push(Written::Calls(calls::write(&mut session, records).await?));
            }
        }
    }
    session.freshen().await?;
    Ok(answers)
}
