//! What analytics knows of each call: one narrow row, kept in step with the call in the same transaction.
//!
//! # Why
//!
//! A question over a million calls must not join, sort or read JSON. So everything that a question may
//! filter or split by is folded into a *series*: one combination of agent, platform, direction, source,
//! kind, label, currency, basis and stage. There are few of them, and a figure names its own by number. An index
//! `(series, at, value)` then holds every count and every sum as a contiguous range, and a question
//! is a list of ranges: series that fit its filter, times the buckets of its calendar.
//!
//! First and last touch are the same with another pair of columns: the series and moment that the outcome
//! has when it is credited to the caller's first call, or to the last one before it happened.
//!
//! Scalars of metadata are *tags*, with series, moment and value repeated beside them for the same reason.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::error::StoreError;

/// Tags of one call at most, and their longest key and value in characters: analytics by metadata is for
/// campaigns and representatives, not for notes.
const MOST_TAGS: usize = 16;
const LONGEST_TAG: usize = 64;

/// Values beyond this are left out of sums: a million of them would not fit. They stand exactly in the outcome.
const LARGEST_VALUE: u64 = 9_000_000_000_000;

/// One combination of everything that questions filter or split by. Empty text: not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Series {
    pub(super) agent: String,
    pub(super) platform: String,
    pub(super) direction: String,
    pub(super) source: String,
    pub(super) kind: String,
    pub(super) label: String,
    pub(super) currency: String,
    pub(super) basis: String,
    pub(super) reached: i64,
}

/// Numbers that were given out already: of series, of words, of calls. Forgotten when a transaction fails,
/// because some of them may not be there then.
#[derive(Debug, Default)]
pub(super) struct Book {
    series: HashMap<Series, i64>,
    words: HashMap<String, i64>,
    next_call: Option<i64>,
}

/// More than so many names in the book, and it starts afresh: labels come from outside.
const LONGEST_BOOK: usize = 50_000;

impl Book {
    pub(super) async fn series(
        &mut self,
        connection: &mut SqliteConnection,
        series: &Series,
    ) -> Result<i64, StoreError> {
        if let Some(id) = self.series.get(series) {
            return Ok(*id);
        }
        let bind = |sql: &'static str| {
            sqlx::query(sql)
                .bind(series.agent.clone())
                .bind(series.platform.clone())
                .bind(series.direction.clone())
                .bind(series.source.clone())
                .bind(series.kind.clone())
                .bind(series.label.clone())
                .bind(series.currency.clone())
                .bind(series.basis.clone())
                .bind(series.reached)
        };
        bind(
            "INSERT INTO series (id, agent_id, platform, direction, source, kind, label, currency, basis, reached) \
             SELECT COALESCE(MAX(id), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9 FROM series WHERE 1 = 1 \
             ON CONFLICT DO NOTHING",
        )
        .execute(&mut *connection)
        .await?;
        let id = bind(
            "SELECT id FROM series WHERE agent_id = $1 AND platform = $2 AND direction = $3 AND source = $4 \
             AND kind = $5 AND label = $6 AND currency = $7 AND basis = $8 AND reached = $9",
        )
        .fetch_one(connection)
        .await?
        .try_get(0)?;
        if self.series.len() >= LONGEST_BOOK {
            self.series.clear();
        }
        self.series.insert(series.clone(), id);
        Ok(id)
    }

    async fn word(
        &mut self,
        connection: &mut SqliteConnection,
        word: &str,
    ) -> Result<i64, StoreError> {
        if let Some(id) = self.words.get(word) {
            return Ok(*id);
        }
        sqlx::query(
            "INSERT INTO words (id, word) SELECT COALESCE(MAX(id), 0) + 1, $1 FROM words WHERE 1 = 1 \
             ON CONFLICT DO NOTHING",
        )
        .bind(word)
        .execute(&mut *connection)
        .await?;
        let id = sqlx::query("SELECT id FROM words WHERE word = $1")
            .bind(word)
            .fetch_one(connection)
            .await?
            .try_get(0)?;
        if self.words.len() >= LONGEST_BOOK {
            self.words.clear();
        }
        self.words.insert(word.to_owned(), id);
        Ok(id)
    }

    /// The number for a new call.
    pub(super) async fn next_call(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<i64, StoreError> {
        let next = match self.next_call {
            Some(next) => next,
            None => sqlx::query("SELECT COALESCE(MAX(no), 0) + 1 FROM calls")
                .fetch_one(connection)
                .await?
                .try_get(0)?,
        };
        self.next_call = Some(next + 1);
        Ok(next)
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// A phone as a number. Two phones that share one would only share their attribution.
pub(super) fn person(phone: &str) -> i64 {
    let digest = Sha256::digest(phone.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// A call with its outcome, as analytics needs them.
pub(super) struct Source {
    series: Series,
    call_known: bool,
    has_outcome: bool,
    has_tags: bool,
    phone: Option<String>,
    started_at: Option<i64>,
    created_at: i64,
    value_minor: Option<i64>,
    outcome_at: Option<i64>,
}

impl Source {
    /// When it happened as far as is known.
    fn at(&self) -> i64 {
        self.started_at
            .or(self.outcome_at)
            .unwrap_or(self.created_at)
    }
}

async fn read(connection: &mut SqliteConnection, call: i64) -> Result<Option<Source>, StoreError> {
    let row = sqlx::query(
        "SELECT c.agent_id, c.platform, c.direction, c.reached, c.call_id, c.phone, c.started_at, c.created_at, \
         o.source, o.kind, o.label, o.currency, o.basis, o.value_minor, o.occurred_at, o.call_no AS outcome, \
         EXISTS (SELECT 1 FROM tags t WHERE t.call_no = c.no) AS tagged \
         FROM calls c LEFT JOIN outcomes o ON o.call_no = c.no WHERE c.no = $1",
    )
    .bind(call)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let text = |column: &str| -> Result<String, StoreError> {
        Ok(row
            .try_get::<Option<String>, _>(column)?
            .unwrap_or_default())
    };
    Ok(Some(Source {
        series: Series {
            agent: text("agent_id")?,
            platform: text("platform")?,
            direction: text("direction")?,
            source: text("source")?,
            kind: text("kind")?,
            label: text("label")?,
            currency: text("currency")?,
            basis: text("basis")?,
            reached: row.try_get("reached")?,
        },
        call_known: row.try_get::<Option<String>, _>("call_id")?.is_some(),
        has_outcome: row.try_get::<Option<i64>, _>("outcome")?.is_some(),
        has_tags: row.try_get("tagged")?,
        phone: row.try_get("phone")?,
        started_at: row.try_get("started_at")?,
        created_at: row.try_get("created_at")?,
        value_minor: row
            .try_get::<Option<i64>, _>("value_minor")?
            .filter(|value| value.unsigned_abs() <= LARGEST_VALUE),
        outcome_at: row.try_get("occurred_at")?,
    }))
}

/// Brings the figure of a call up to date, and of the outcomes that this call is credited with: after its start or
/// its caller became known or changed.
pub(super) async fn refresh(
    connection: &mut SqliteConnection,
    book: &mut Book,
    call: i64,
) -> Result<(), StoreError> {
    let Some(source) = refresh_one(connection, book, call).await? else {
        return Ok(());
    };
    if let (true, Some(phone), Some(at)) = (source.call_known, &source.phone, source.started_at) {
        for other in credited_anew(connection, person(phone), at, call).await? {
            refresh_one(connection, book, other).await?;
        }
    }
    Ok(())
}

/// Outcomes of the person that a call at this moment takes over: as an earlier first call, or as a later last one
/// before the outcome.
async fn credited_anew(
    connection: &mut SqliteConnection,
    person: i64,
    at: i64,
    call: i64,
) -> Result<Vec<i64>, StoreError> {
    let rows = sqlx::query(
        "SELECT call_no FROM figures WHERE person = $1 AND first_at > $2 AND first_series IS NOT NULL AND call_no <> $3 \
         UNION SELECT call_no FROM figures WHERE person = $1 AND outcome_at >= $2 AND first_series IS NOT NULL \
         AND last_at < $2 AND call_no <> $3",
    )
    .bind(person)
    .bind(at)
    .bind(call)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Brings the figure of one call up to date: after its outcome changed. Answers what it was made from.
pub(super) async fn refresh_one(
    connection: &mut SqliteConnection,
    book: &mut Book,
    call: i64,
) -> Result<Option<Source>, StoreError> {
    let Some(source) = read(connection, call).await? else {
        return Ok(None);
    };
    if !source.call_known && !source.has_outcome {
        for table in [
            "DELETE FROM figures WHERE call_no = $1",
            "DELETE FROM tags WHERE call_no = $1",
        ] {
            sqlx::query(table)
                .bind(call)
                .execute(&mut *connection)
                .await?;
        }
        return Ok(Some(source));
    }
    let (at, series) = (source.at(), book.series(connection, &source.series).await?);
    let delay = match (source.started_at, source.outcome_at) {
        (Some(started), Some(outcome)) if outcome >= started => Some(outcome - started),
        _ => None,
    };
    let (first, last) = credits(connection, book, &source).await?.unzip();
    sqlx::query(
        "INSERT INTO figures (call_no, series, at, value_minor, outcome_at, delay_ms, person, first_series, first_at, \
         last_series, last_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (call_no) DO UPDATE SET series = excluded.series, at = excluded.at, \
         value_minor = excluded.value_minor, outcome_at = excluded.outcome_at, delay_ms = excluded.delay_ms, \
         person = excluded.person, first_series = excluded.first_series, first_at = excluded.first_at, \
         last_series = excluded.last_series, last_at = excluded.last_at",
    )
    .bind(call)
    .bind(series)
    .bind(at)
    .bind(source.value_minor)
    .bind(source.outcome_at)
    .bind(delay)
    .bind(source.phone.as_deref().map(person))
    .bind(first.map(|credit: Credit| credit.series))
    .bind(first.map(|credit| credit.at))
    .bind(last.map(|credit: Credit| credit.series))
    .bind(last.map(|credit| credit.at))
    .execute(&mut *connection)
    .await?;
    if source.has_tags {
        sqlx::query("UPDATE tags SET series = $2, at = $3, value_minor = $4 WHERE call_no = $1")
            .bind(call)
            .bind(series)
            .bind(at)
            .bind(source.value_minor)
            .execute(connection)
            .await?;
    }
    Ok(Some(source))
}

/// Series and moment under which an outcome counts.
#[derive(Debug, Clone, Copy)]
struct Credit {
    series: i64,
    at: i64,
}

/// The caller's first call, and the last one before the outcome, in one trip to the database.
const FIRST_AND_LAST: &str = "SELECT * FROM (SELECT agent_id, platform, direction, started_at FROM calls \
     WHERE phone = $1 AND started_at <= $2 AND call_id IS NOT NULL ORDER BY started_at, no LIMIT 1) f \
     UNION ALL SELECT * FROM (SELECT agent_id, platform, direction, started_at FROM calls \
     WHERE phone = $1 AND started_at <= $2 AND call_id IS NOT NULL ORDER BY started_at DESC, no DESC LIMIT 1) l";

/// Where an outcome counts when it is credited to the caller's first call, and to the last one; where it was recorded if the
/// caller or the start of every call is not known. `None` without an outcome.
async fn credits(
    connection: &mut SqliteConnection,
    book: &mut Book,
    source: &Source,
) -> Result<Option<(Credit, Credit)>, StoreError> {
    let Some(outcome_at) = source.outcome_at else {
        return Ok(None);
    };
    let mut found = Vec::with_capacity(2);
    if let Some(phone) = &source.phone {
        let rows = sqlx::query(FIRST_AND_LAST)
            .bind(phone)
            .bind(outcome_at.max(source.started_at.unwrap_or(i64::MIN)))
            .fetch_all(&mut *connection)
            .await?;
        for row in &rows {
            let text = |column: usize| -> Result<String, StoreError> {
                Ok(row
                    .try_get::<Option<String>, _>(column)?
                    .unwrap_or_default())
            };
            let series = Series {
                agent: text(0)?,
                platform: text(1)?,
                direction: text(2)?,
                ..source.series.clone()
            };
            let series = book.series(connection, &series).await?;
            found.push(Credit {
                series,
                at: row.try_get(3)?,
            });
        }
    }
    if let [first, last] = found.as_slice() {
        return Ok(Some((*first, *last)));
    }
    let own = Credit {
        series: book.series(connection, &source.series).await?,
        at: source.at(),
    };
    Ok(Some((own, own)))
}

/// The scalars of metadata that a question may split by: the first few at the top, short ones only.
fn tags<'a>(parts: &[&'a Map<String, Value>]) -> Vec<(&'a str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for (key, value) in parts.iter().flat_map(|part| part.iter()) {
        let word = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => continue,
        };
        let short = |text: &str| !text.is_empty() && text.chars().count() <= LONGEST_TAG;
        if found.len() < MOST_TAGS
            && short(key)
            && short(&word)
            && !found.iter().any(|(known, _)| known == key)
        {
            found.push((key, word));
        }
    }
    found
}

/// Writes the tags of a call anew, from its metadata and its extracted fields; metadata wins. The call's figure is there
/// already.
pub(super) async fn tag(
    connection: &mut SqliteConnection,
    book: &mut Book,
    call: i64,
    parts: &[&Map<String, Value>],
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM tags WHERE call_no = $1")
        .bind(call)
        .execute(&mut *connection)
        .await?;
    let mut rows = Vec::new();
    for (key, word) in tags(parts) {
        let key = book.word(connection, key).await?;
        rows.push((key, book.word(connection, &word).await?));
    }
    for (key, word) in rows {
        sqlx::query(
            "INSERT INTO tags (call_no, key, word, series, at, value_minor) \
             SELECT call_no, $2, $3, series, at, value_minor FROM figures WHERE call_no = $1",
        )
        .bind(call)
        .bind(key)
        .bind(word)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// A new call without an outcome, for [`add_all`].
pub(super) struct Plain<'a> {
    pub(super) call: i64,
    pub(super) series: Series,
    pub(super) at: i64,
    pub(super) phone: Option<&'a str>,
    pub(super) started_at: Option<i64>,
    pub(super) parts: [&'a Map<String, Value>; 2],
}

/// Figures and tags of many new calls at once, which is most of what an import does.
pub(super) async fn add_all(
    connection: &mut SqliteConnection,
    book: &mut Book,
    calls: &[Plain<'_>],
) -> Result<(), StoreError> {
    let mut figures = Vec::with_capacity(calls.len());
    let mut tagged = Vec::new();
    for plain in calls {
        let series = book.series(connection, &plain.series).await?;
        figures.push((plain.call, series, plain.at, plain.phone.map(person)));
        for (key, word) in tags(&plain.parts) {
            let key = book.word(connection, key).await?;
            let word = book.word(connection, &word).await?;
            tagged.push((plain.call, key, word, series, plain.at));
        }
    }
    for chunk in figures.chunks(200) {
        let mut query =
            QueryBuilder::<Sqlite>::new("INSERT INTO figures (call_no, series, at, person) ");
        query.push_values(chunk, |mut row, (call, series, at, person)| {
            row.push_bind(*call)
                .push_bind(*series)
                .push_bind(*at)
                .push_bind(*person);
        });
        query.build().execute(&mut *connection).await?;
    }
    for chunk in tagged.chunks(200) {
        let mut query =
            QueryBuilder::<Sqlite>::new("INSERT INTO tags (call_no, key, word, series, at) ");
        query.push_values(chunk, |mut row, (call, key, word, series, at)| {
            row.push_bind(*call)
                .push_bind(*key)
                .push_bind(*word)
                .push_bind(*series)
                .push_bind(*at);
        });
        query.build().execute(&mut *connection).await?;
    }
    credit_all(connection, book, calls).await
}

/// Outcomes that new calls take over. Most callers have none, which one query tells.
async fn credit_all(
    connection: &mut SqliteConnection,
    book: &mut Book,
    calls: &[Plain<'_>],
) -> Result<(), StoreError> {
    let callers: Vec<(i64, i64, i64)> = calls
        .iter()
        .filter_map(|plain| Some((person(plain.phone?), plain.started_at?, plain.call)))
        .collect();
    let mut touched = std::collections::BTreeSet::new();
    for chunk in callers.chunks(200) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT DISTINCT person FROM figures WHERE first_series IS NOT NULL AND person IN (",
        );
        let mut list = query.separated(", ");
        for (person, ..) in chunk {
            list.push_bind(*person);
        }
        query.push(")");
        let known: Vec<i64> = query
            .build()
            .fetch_all(&mut *connection)
            .await?
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        for (person, at, call) in chunk.iter().filter(|caller| known.contains(&caller.0)) {
            touched.extend(credited_anew(connection, *person, *at, *call).await?);
        }
    }
    for call in touched {
        refresh_one(connection, book, call).await?;
    }
    Ok(())
}

/// Figures of every call, for a store that had none.
pub(super) async fn build_all(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut book = Book::default();
    let calls: Vec<i64> = sqlx::query("SELECT no FROM calls ORDER BY no")
        .fetch_all(&mut *connection)
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    for call in calls {
        refresh_one(connection, &mut book, call).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_short_scalars_and_metadata_wins() {
        let metadata = serde_json::json!({
            "campaign": "spring", "vip": true, "n": 3, "deep": {"a": 1}, "long": "x".repeat(65), "": "e",
        });
        let fields = serde_json::json!({ "campaign": "other", "interest": "high" });
        let found = tags(&[metadata.as_object().unwrap(), fields.as_object().unwrap()]);
        let expected = [
            ("campaign", "spring"),
            ("vip", "true"),
            ("n", "3"),
            ("interest", "high"),
        ];
        assert_eq!(
            found
                .iter()
                .map(|(k, w)| (*k, w.as_str()))
                .collect::<Vec<_>>(),
            expected
        );
    }
}
