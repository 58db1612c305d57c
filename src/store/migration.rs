//! The tables, as a list of steps that only ever grows.

use sqlx::{Connection, Row, SqliteConnection};

use super::error::StoreError;
use super::figure;
use crate::clock::Clock;

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS layout (
    version BIGINT PRIMARY KEY,
    applied_at BIGINT NOT NULL
)";

/// Statements per layout version; the first is version 1. Never change one that was released.
pub(super) const STEPS: &[&[&str]] = &[
    &[
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
    ],
    CALLS_AND_FIGURES,
    // The first and the last call of a phone with one agent, found without reading the others.
    &[
        "CREATE INDEX calls_by_phone_and_agent ON calls (phone, agent_id, COALESCE(started_at, created_at), no)
        WHERE phone IS NOT NULL",
    ],
];

/// Version 2: calls in full, a log that says who did it, and figures for analytics. The tables of version 1
/// are carried over; a call is numbered now, because three million log entries should not repeat its id.
const CALLS_AND_FIGURES: &[&str] = &[
    "DROP INDEX calls_by_call_id",
    "DROP INDEX calls_by_phone",
    "DROP INDEX calls_by_start",
    "DROP INDEX outcomes_by_record",
    "DROP INDEX outcomes_by_occurrence",
    "ALTER TABLE calls RENAME TO calls_1",
    "ALTER TABLE outcomes RENAME TO outcomes_1",
    "ALTER TABLE outcome_log RENAME TO outcome_log_1",
    // `seen` tells when each field was last said, so that newer words win whatever the order of arrival.
    // `reached` is how far the call came: 1 booked, 2 shown, 4 closed.
    "CREATE TABLE calls (
        no INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        target TEXT UNIQUE,
        revision BIGINT NOT NULL,
        reached BIGINT NOT NULL,
        platform TEXT,
        agent_id TEXT,
        call_id TEXT,
        phone TEXT,
        email TEXT,
        direction TEXT,
        started_at BIGINT,
        ended_at BIGINT,
        duration_ms BIGINT,
        recording_url TEXT,
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL,
        seen TEXT NOT NULL,
        fields TEXT NOT NULL,
        metadata TEXT NOT NULL
    )",
    "INSERT INTO calls SELECT ROW_NUMBER() OVER (ORDER BY created_at, id), id, target, revision, 0, platform,
        agent_id, call_id, phone, email, NULL, started_at, NULL, NULL, NULL, created_at, updated_at, '{}', '{}',
        metadata FROM calls_1",
    "CREATE INDEX calls_by_call_id ON calls (call_id)",
    "CREATE INDEX calls_by_phone ON calls (phone, started_at)",
    "CREATE INDEX calls_by_email ON calls (email)",
    // Text that only the page of one call shows, away from rows that many questions read.
    "CREATE TABLE transcripts (
        call_no INTEGER PRIMARY KEY REFERENCES calls (no),
        transcript TEXT NOT NULL
    )",
    "CREATE TABLE outcomes (
        call_no INTEGER PRIMARY KEY REFERENCES calls (no),
        outcome_id TEXT,
        kind TEXT,
        label TEXT,
        value_minor BIGINT,
        value TEXT,
        currency TEXT,
        notes TEXT,
        metadata TEXT NOT NULL,
        basis TEXT NOT NULL,
        occurred_at BIGINT NOT NULL,
        source TEXT NOT NULL,
        actor TEXT NOT NULL,
        event_id TEXT,
        rule TEXT,
        recorded_at BIGINT NOT NULL
    )",
    "INSERT INTO outcomes SELECT c.no, o.outcome_id, o.kind, o.label, o.value_minor, o.value, o.currency,
        o.notes, o.metadata, o.basis, o.occurred_at, o.source, 'delivery', o.event_id, o.rule, o.recorded_at
        FROM outcomes_1 o JOIN calls c ON c.id = o.call_ref",
    "CREATE INDEX outcomes_by_record ON outcomes (recorded_at, call_no)",
    "CREATE INDEX outcomes_by_occurrence ON outcomes (occurred_at)",
    // `changed` names what the writer said; `metadata` is what it said, not what came of it.
    "CREATE TABLE outcome_log (
        id TEXT PRIMARY KEY,
        call_no INTEGER NOT NULL REFERENCES calls (no),
        revision BIGINT NOT NULL,
        actor TEXT NOT NULL,
        changed TEXT NOT NULL,
        event_id TEXT,
        outcome_id TEXT,
        source TEXT,
        rule TEXT,
        previous_kind TEXT,
        previous_label TEXT,
        previous_value TEXT,
        previous_currency TEXT,
        kind TEXT,
        label TEXT,
        value_minor BIGINT,
        value TEXT,
        currency TEXT,
        notes TEXT,
        metadata TEXT,
        basis TEXT,
        occurred_at BIGINT,
        recorded_at BIGINT NOT NULL,
        status TEXT NOT NULL,
        failure_reason TEXT,
        UNIQUE (call_no, revision)
    )",
    "INSERT INTO outcome_log SELECT l.id, c.no, l.revision, 'delivery', '[\"outcome\"]', l.event_id, l.outcome_id,
        l.source, l.rule, l.previous_kind, NULL, NULL, NULL, l.kind, l.label, l.value_minor, l.value,
        l.currency, NULL, NULL, l.basis, l.occurred_at, l.recorded_at, l.status, l.failure_reason
        FROM outcome_log_1 l JOIN calls c ON c.id = l.call_ref",
    "DROP TABLE outcome_log_1",
    "DROP TABLE outcomes_1",
    "DROP TABLE calls_1",
    "CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        agent_id TEXT NOT NULL,
        platform TEXT NOT NULL,
        direction TEXT NOT NULL,
        source TEXT NOT NULL,
        kind TEXT NOT NULL,
        label TEXT NOT NULL,
        currency TEXT NOT NULL,
        basis TEXT NOT NULL,
        reached BIGINT NOT NULL,
        UNIQUE (agent_id, platform, direction, source, kind, label, currency, basis, reached)
    )",
    "CREATE TABLE figures (
        call_no INTEGER PRIMARY KEY REFERENCES calls (no),
        series INTEGER NOT NULL REFERENCES series (id),
        at BIGINT NOT NULL,
        value_minor BIGINT,
        outcome_at BIGINT,
        delay_ms BIGINT,
        person BIGINT,
        first_series INTEGER,
        first_at BIGINT,
        last_series INTEGER,
        last_at BIGINT
    )",
    "CREATE INDEX figures_as_recorded ON figures (series, at, value_minor)",
    "CREATE INDEX figures_by_moment ON figures (at, call_no, series)",
    "CREATE INDEX figures_by_first_touch ON figures (first_series, first_at, value_minor) WHERE first_series IS NOT NULL",
    "CREATE INDEX figures_by_last_touch ON figures (last_series, last_at, value_minor) WHERE last_series IS NOT NULL",
    "CREATE INDEX figures_by_delay ON figures (delay_ms, at, series) WHERE delay_ms IS NOT NULL",
    "CREATE INDEX figures_by_person_first ON figures (person, first_at) WHERE first_series IS NOT NULL",
    "CREATE INDEX figures_by_person_outcome ON figures (person, outcome_at) WHERE first_series IS NOT NULL",
    "CREATE TABLE words (
        id INTEGER PRIMARY KEY,
        word TEXT NOT NULL UNIQUE
    )",
    "CREATE TABLE tags (
        call_no INTEGER NOT NULL REFERENCES calls (no),
        key INTEGER NOT NULL,
        word INTEGER NOT NULL,
        series INTEGER NOT NULL,
        at BIGINT NOT NULL,
        value_minor BIGINT,
        PRIMARY KEY (call_no, key)
    )",
    "CREATE INDEX tags_by_word ON tags (key, word, series, at, value_minor)",
];

/// The layout that first had figures.
const FIGURES: i64 = 2;

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
        if version == FIGURES {
            figure::build_all(&mut step).await?;
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
