//! The tables, as a list of steps that only ever grows.

use sqlx::{Connection, Row, SqliteConnection};

use super::error::StoreError;
use crate::clock::Clock;

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS layout (
    version BIGINT PRIMARY KEY,
    applied_at BIGINT NOT NULL
)";

/// Statements per layout version; the first is version 1. Never change one that was released.
const STEPS: &[&[&str]] = &[&[
    "CREATE TABLE calls (
        id TEXT PRIMARY KEY,
        target TEXT NOT NULL UNIQUE,
        revision BIGINT NOT NULL,
        platform TEXT,
        agent_id TEXT,
        call_id TEXT,
        phone TEXT,
        email TEXT,
        started_at BIGINT,
        metadata TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL
    )",
    "CREATE INDEX calls_by_call_id ON calls (call_id)",
    "CREATE INDEX calls_by_phone ON calls (phone)",
    "CREATE INDEX calls_by_start ON calls (started_at)",
    "CREATE TABLE outcomes (
        call_ref TEXT PRIMARY KEY REFERENCES calls (id),
        outcome_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        label TEXT,
        value_minor BIGINT,
        value TEXT,
        currency TEXT,
        notes TEXT,
        metadata TEXT NOT NULL,
        basis TEXT NOT NULL,
        occurred_at BIGINT NOT NULL,
        source TEXT NOT NULL,
        event_id TEXT NOT NULL,
        rule TEXT NOT NULL,
        recorded_at BIGINT NOT NULL
    )",
    "CREATE INDEX outcomes_by_record ON outcomes (recorded_at, call_ref)",
    "CREATE INDEX outcomes_by_occurrence ON outcomes (occurred_at)",
    "CREATE TABLE outcome_log (
        id TEXT PRIMARY KEY,
        call_ref TEXT NOT NULL REFERENCES calls (id),
        revision BIGINT NOT NULL,
        event_id TEXT NOT NULL,
        outcome_id TEXT,
        source TEXT,
        rule TEXT,
        previous_kind TEXT,
        kind TEXT,
        label TEXT,
        value_minor BIGINT,
        value TEXT,
        currency TEXT,
        basis TEXT,
        occurred_at BIGINT,
        recorded_at BIGINT NOT NULL,
        status TEXT NOT NULL,
        failure_reason TEXT,
        UNIQUE (call_ref, revision)
    )",
]];

/// Brings the tables up to date. Each version is one transaction: an interrupted upgrade goes on
/// where it stopped.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    clock: &Clock,
) -> Result<(), StoreError> {
    sqlx::query(VERSIONS).execute(&mut *connection).await?;
    let found: i64 = sqlx::query("SELECT COALESCE(MAX(version), 0) FROM layout")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (version, statements) in (1i64..).zip(STEPS) {
        if version <= found {
            continue;
        }
        let mut step = connection.begin().await?;
        for statement in *statements {
            sqlx::query(*statement).execute(&mut *step).await?;
        }
        sqlx::query("INSERT INTO layout (version, applied_at) VALUES ($1, $2)")
            .bind(version)
            .bind(clock.now().as_millisecond())
            .execute(&mut *step)
            .await?;
        step.commit().await?;
    }
    Ok(())
}
