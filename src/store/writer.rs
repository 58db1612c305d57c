//! The one writer: gathers what waits into one transaction, commits, answers.

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::StoreError;
use super::record::{Record, Recorded, write};
use crate::clock::Clock;

/// Writes that share one transaction.
const BATCH: usize = 256;

/// A write that waits for its turn.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) record: Record,
    pub(super) answer: oneshot::Sender<Result<Recorded, StoreError>>,
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
        match write_all(&mut connection, &batch, now).await {
            Ok(answers) => answer_all(&mut batch, answers),
            // One record that cannot be written must not take its neighbours along.
            Err(_) => write_one_by_one(&mut connection, &mut batch, now).await,
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the outcome store was not closed cleanly");
    }
}

fn answer_all(batch: &mut Vec<Pending>, answers: Vec<Recorded>) {
    for (pending, recorded) in batch.drain(..).zip(answers) {
        // Nobody listens any more when an attempt was given up; the write stands all the same.
        let _ = pending.answer.send(Ok(recorded));
    }
}

async fn write_one_by_one(connection: &mut SqliteConnection, batch: &mut Vec<Pending>, now: i64) {
    for pending in batch.drain(..) {
        let answer = write_alone(connection, &pending.record, now).await;
        if let Err(error) = &answer {
            tracing::error!(delivery = %pending.record.delivery, %error, "cannot write to the outcome store");
        }
        let _ = pending.answer.send(answer);
    }
}

async fn write_alone(
    connection: &mut SqliteConnection,
    record: &Record,
    now: i64,
) -> Result<Recorded, StoreError> {
    let mut transaction = connection.begin().await?;
    let recorded = write(&mut transaction, record, now).await?;
    transaction.commit().await?;
    Ok(recorded)
}

async fn write_all(
    connection: &mut SqliteConnection,
    batch: &[Pending],
    now: i64,
) -> Result<Vec<Recorded>, StoreError> {
    let mut transaction = connection.begin().await?;
    let mut answers = Vec::with_capacity(batch.len());
    for pending in batch {
        answers.push(write(&mut transaction, &pending.record, now).await?);
    }
    transaction.commit().await?;
    Ok(answers)
}
