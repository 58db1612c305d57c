//! The one writer: gathers what waits into one transaction, commits, answers.
//!
//! # Why it begins and ends transactions by itself
//!
//! When the disk is full, SQLite may roll back on its own. sqlx's `Transaction` does not notice: its own `ROLLBACK` fails,
//! and from then on it takes what it begins for a part of a transaction that is not there, or that nobody commits. Then
//! writes are answered that are nowhere. Three statements leave nothing to lose count of.

use std::collections::BTreeMap;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::calls::{self, CallRecord, CallsRecorded};
use super::change::{self, Change, Changed};
use super::error::StoreError;
use super::figure::Book;
use super::record::{self, Record, Recorded};
use super::standing::Session;
use crate::clock::Clock;
use crate::fault::{self, Point};

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

/// Runs until every handle is gone or `closing` is cancelled, writes what was handed in by then, and
/// closes the connection.
pub(super) async fn run(
    mut connection: SqliteConnection,
    mut pending: mpsc::Receiver<Pending>,
    clock: Clock,
    closing: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut book = Book::default();
    loop {
        let count = tokio::select! {
            biased;
            () = closing.cancelled(), if !pending.is_closed() => {
                pending.close();
                continue;
            }
            count = pending.recv_many(&mut batch, BATCH) => count,
        };
        if count == 0 {
            break;
        }
        let now = clock.now().as_millisecond();
        match write_all(&mut connection, &mut book, &batch, now).await {
            Ok(answers) => answer_all(&mut batch, answers),
            // One record that cannot be written must not take its neighbours along.
            Err(_) => {
                book.forget();
                write_one_by_one(&mut connection, &mut book, &mut batch, now).await;
            }
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the outcome store was not closed cleanly");
    }
}

fn answer_all(batch: &mut Vec<Pending>, answers: Vec<Written>) {
    for (pending, written) in batch.drain(..).zip(answers) {
        // Nobody listens any more when an attempt was given up; the write stands all the same.
        let _ = pending.answer.send(Ok(written));
    }
}

async fn write_one_by_one(
    connection: &mut SqliteConnection,
    book: &mut Book,
    batch: &mut Vec<Pending>,
    now: i64,
) {
    for pending in batch.drain(..) {
        let alone = std::slice::from_ref(&pending);
        let answer = match write_all(connection, book, alone, now).await {
            Ok(mut answers) => answers.pop().ok_or(StoreError::Closed),
            Err(error) => {
                book.forget();
                tracing::error!(%error, "cannot write to the outcome store");
                Err(error)
            }
        };
        let _ = pending.answer.send(answer);
    }
}

async fn write_all(
    connection: &mut SqliteConnection,
    book: &mut Book,
    batch: &[Pending],
    now: i64,
) -> Result<Vec<Written>, StoreError> {
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
        // It fails when SQLite has rolled back already: then there is nothing to roll back. Should a transaction be left
        // open nevertheless, the next `BEGIN` fails, and nothing is answered that is not there.
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
