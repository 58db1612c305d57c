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

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::error::StoreError;
use super::standing::{SAYS_WHAT_HAPPENED, in_pieces, push_list, read_object};

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
}

/// A phone as a number. Two phones that share one would only share their attribution.
pub(super) fn person(phone: &str) -> i64 {
    let digest = Sha256::digest(phone.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// A call whose figure may no longer be right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stale {
    pub(super) call: i64,
    /// Whether its metadata changed, too.
    pub(super) retag: bool,
}

/// A call with its outcome, as analytics needs them.
pub(super) struct Source {
    call: i64,
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

    /// Whether analytics counts it.
    fn counts(&self) -> bool {
        self.call_known || self.has_outcome
    }

    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let text = |column: &str| -> Result<String, StoreError> {
            Ok(row
                .try_get::<Option<String>, _>(column)?
                .unwrap_or_default())
        };
        Ok(Self {
            call: row.try_get("no")?,
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
        })
    }
}

async fn read_all(
    connection: &mut SqliteConnection,
    calls: &[Stale],
) -> Result<Vec<Source>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(format!(
        "SELECT c.no, c.agent_id, c.platform, c.direction, c.reached, c.call_id, c.phone, c.started_at, c.created_at, \
         o.source, o.kind, o.label, o.currency, o.basis, o.value_minor, o.occurred_at, o.call_no AS outcome, \
         EXISTS (SELECT 1 FROM tags t WHERE t.call_no = c.no) AS tagged \
         FROM calls c LEFT JOIN outcomes o ON o.call_no = c.no AND {SAYS_WHAT_HAPPENED} WHERE c.no IN "
    ));
    push_list(&mut query, calls.iter().map(|stale| stale.call));
    let rows = query.build().fetch_all(connection).await?;
    rows.iter().map(Source::read).collect()
}

/// Who called, and when: what makes a call one that outcomes are credited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Touch {
    person: i64,
    at: i64,
}

impl Touch {
    /// `None` while the caller or the start is not known.
    pub(super) fn of(phone: Option<&str>, started_at: Option<i64>) -> Option<Self> {
        Some(Self {
            person: person(phone?),
            at: started_at?,
        })
    }
}

/// Brings the figure of a call up to date after it changed, and those of the outcomes that are credited to it or were,
/// when it was the touch `before`.
pub(super) async fn refresh(
    connection: &mut SqliteConnection,
    book: &mut Book,
    stale: Stale,
    before: Option<Touch>,
) -> Result<(), StoreError> {
    let source = refresh_all(connection, book, &[stale]).await?.pop();
    let now = source
        .filter(|source| source.call_known)
        .and_then(|source| Touch::of(source.phone.as_deref(), source.started_at));
    let mut credited = BTreeSet::new();
    for touch in now.into_iter().chain(before.filter(|_| before != now)) {
        credited.extend(credited_to(connection, touch, stale.call).await?);
    }
    refresh_credited(connection, book, credited).await
}

async fn refresh_credited(
    connection: &mut SqliteConnection,
    book: &mut Book,
    calls: impl IntoIterator<Item = i64>,
) -> Result<(), StoreError> {
    let stale: Vec<Stale> = calls
        .into_iter()
        .map(|call| Stale { call, retag: false })
        .collect();
    refresh_all(connection, book, &stale).await?;
    Ok(())
}

/// Outcomes of other calls that count at this touch, or would if it is new: as the first call, or as the last one before the
/// outcome.
async fn credited_to(
    connection: &mut SqliteConnection,
    touch: Touch,
    call: i64,
) -> Result<Vec<i64>, StoreError> {
    let rows = sqlx::query(
        "SELECT call_no FROM figures WHERE person = $1 AND first_at >= $2 AND first_series IS NOT NULL AND call_no <> $3 \
         UNION SELECT call_no FROM figures WHERE person = $1 AND outcome_at >= $2 AND first_series IS NOT NULL \
         AND last_at <= $2 AND call_no <> $3 \
         UNION SELECT call_no FROM figures WHERE person = $1 AND outcome_at < $2 AND first_series IS NOT NULL \
         AND last_at = $2 AND call_no <> $3",
    )
    .bind(touch.person)
    .bind(touch.at)
    .bind(call)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// A figure as it is to be.
struct Figure<'a> {
    source: &'a Source,
    series: i64,
    first: Option<Credit>,
    last: Option<Credit>,
}

/// Brings the figures of calls up to date: after their outcomes changed. No call is named twice. Answers what they were
/// made from.
async fn refresh_some(
    connection: &mut SqliteConnection,
    book: &mut Book,
    calls: &[Stale],
) -> Result<Vec<Source>, StoreError> {
    let sources = read_all(connection, calls).await?;
    let gone: Vec<i64> = sources
        .iter()
        .filter(|source| !source.counts())
        .map(|source| source.call)
        .collect();
    for table in ["figures", "tags"] {
        delete_all(connection, table, &gone).await?;
    }
    let credits = credits(connection, book, &sources).await?;
    let mut figures = Vec::with_capacity(sources.len());
    for source in sources.iter().filter(|source| source.counts()) {
        let series = book.series(connection, &source.series).await?;
        let own = source.outcome_at.map(|_| Credit {
            series,
            at: source.at(),
        });
        let (first, last) = match credits.get(&source.call) {
            Some([Some(first), Some(last)]) => (Some(*first), Some(*last)),
            _ => (own, own),
        };
        figures.push(Figure {
            source,
            series,
            first,
            last,
        });
    }
    write_figures(connection, &figures).await?;
    let retagged = calls.iter().filter(|stale| stale.retag);
    let retagged: HashSet<i64> = retagged.map(|stale| stale.call).collect();
    let (anew, kept): (Vec<&Figure<'_>>, Vec<&Figure<'_>>) = figures
        .iter()
        .partition(|figure| retagged.contains(&figure.source.call));
    retag(connection, book, &anew).await?;
    follow(connection, &kept).await?;
    Ok(sources)
}

/// The same for any number of calls.
pub(super) async fn refresh_all(
    connection: &mut SqliteConnection,
    book: &mut Book,
    calls: &[Stale],
) -> Result<Vec<Source>, StoreError> {
    let mut sources = Vec::with_capacity(calls.len());
    for piece in in_pieces(calls) {
        sources.extend(refresh_some(connection, book, piece).await?);
    }
    Ok(sources)
}

async fn delete_all(
    connection: &mut SqliteConnection,
    table: &'static str,
    calls: &[i64],
) -> Result<(), StoreError> {
    for piece in in_pieces(calls) {
        let mut query =
            QueryBuilder::<Sqlite>::new(format!("DELETE FROM {table} WHERE call_no IN "));
        push_list(&mut query, piece.iter().copied());
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn write_figures(
    connection: &mut SqliteConnection,
    figures: &[Figure<'_>],
) -> Result<(), StoreError> {
    for piece in in_pieces(figures) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO figures (call_no, series, at, value_minor, outcome_at, delay_ms, person, first_series, \
             first_at, last_series, last_at) ",
        );
        query.push_values(piece, |mut row, figure| {
            let source = figure.source;
            let delay = match (source.started_at, source.outcome_at) {
                (Some(started), Some(outcome)) if outcome >= started => Some(outcome - started),
                _ => None,
            };
            row.push_bind(source.call)
                .push_bind(figure.series)
                .push_bind(source.at())
                .push_bind(source.value_minor)
                .push_bind(source.outcome_at)
                .push_bind(delay)
                .push_bind(source.phone.as_deref().map(person))
                .push_bind(figure.first.map(|credit| credit.series))
                .push_bind(figure.first.map(|credit| credit.at))
                .push_bind(figure.last.map(|credit| credit.series))
                .push_bind(figure.last.map(|credit| credit.at));
        });
        query.push(
            " ON CONFLICT (call_no) DO UPDATE SET series = excluded.series, at = excluded.at, \
             value_minor = excluded.value_minor, outcome_at = excluded.outcome_at, delay_ms = excluded.delay_ms, \
             person = excluded.person, first_series = excluded.first_series, first_at = excluded.first_at, \
             last_series = excluded.last_series, last_at = excluded.last_at",
        );
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Brings the tags of calls in step with their figures.
async fn follow(
    connection: &mut SqliteConnection,
    figures: &[&Figure<'_>],
) -> Result<(), StoreError> {
    let tagged: Vec<i64> = figures
        .iter()
        .filter(|figure| figure.source.has_tags)
        .map(|figure| figure.source.call)
        .collect();
    for piece in in_pieces(&tagged) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "UPDATE tags SET series = f.series, at = f.at, value_minor = f.value_minor FROM figures f \
             WHERE f.call_no = tags.call_no AND tags.call_no IN ",
        );
        push_list(&mut query, piece.iter().copied());
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes the tags of calls anew, from their metadata, what was said with their outcomes, and their extracted fields; of
/// two values of one key the first one counts.
async fn retag(
    connection: &mut SqliteConnection,
    book: &mut Book,
    figures: &[&Figure<'_>],
) -> Result<(), StoreError> {
    if figures.is_empty() {
        return Ok(());
    }
    let calls: Vec<i64> = figures.iter().map(|figure| figure.source.call).collect();
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT c.no, c.metadata, COALESCE(o.metadata, '{}'), c.fields FROM calls c \
         LEFT JOIN outcomes o ON o.call_no = c.no WHERE c.no IN ",
    );
    push_list(&mut query, calls.iter().copied());
    let mut said = HashMap::new();
    for row in query.build().fetch_all(&mut *connection).await? {
        let object = |column: usize| read_object(row.try_get(column)?);
        said.insert(
            row.try_get::<i64, _>(0)?,
            [object(1)?, object(2)?, object(3)?],
        );
    }
    delete_all(connection, "tags", &calls).await?;
    let mut rows = Vec::new();
    for figure in figures {
        let parts = said.get(&figure.source.call);
        for (key, word) in parts
            .map(|parts| tags(&parts.each_ref()))
            .unwrap_or_default()
        {
            let key = book.word(connection, key).await?;
            rows.push((figure, key, book.word(connection, &word).await?));
        }
    }
    for piece in in_pieces(&rows) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO tags (call_no, key, word, series, at, value_minor) ",
        );
        query.push_values(piece, |mut row, (figure, key, word)| {
            row.push_bind(figure.source.call)
                .push_bind(*key)
                .push_bind(*word)
                .push_bind(figure.series)
                .push_bind(figure.source.at())
                .push_bind(figure.source.value_minor);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Series and moment under which an outcome counts.
#[derive(Debug, Clone, Copy)]
struct Credit {
    series: i64,
    at: i64,
}

/// Where outcomes count when they are credited to their callers' first call, and to the last one before the outcome, by call;
/// nothing where the caller or the start of every call is not known.
async fn credits(
    connection: &mut SqliteConnection,
    book: &mut Book,
    sources: &[Source],
) -> Result<HashMap<i64, [Option<Credit>; 2]>, StoreError> {
    let by_call: HashMap<i64, &Source> = sources.iter().map(|one| (one.call, one)).collect();
    let asked: Vec<(i64, &str, i64)> = sources
        .iter()
        .filter_map(|one| {
            let until = one.outcome_at?.max(one.started_at.unwrap_or(i64::MIN));
            Some((one.call, one.phone.as_deref()?, until))
        })
        .collect();
    let mut found: HashMap<i64, [Option<Credit>; 2]> = HashMap::new();
    for piece in in_pieces(&asked) {
        let mut query = QueryBuilder::<Sqlite>::new("WITH q(call_no, phone, until) AS (");
        query.push_values(piece, |mut row, (call, phone, until)| {
            row.push("CAST(")
                .push_bind_unseparated(*call)
                .push_unseparated(" AS BIGINT)")
                .push("CAST(")
                .push_bind_unseparated(*phone)
                .push_unseparated(" AS TEXT)")
                .push("CAST(")
                .push_bind_unseparated(*until)
                .push_unseparated(" AS BIGINT)");
        });
        query.push(") ").push(FIRST_AND_LAST);
        for row in query.build().fetch_all(&mut *connection).await? {
            let text = |column: usize| -> Result<String, StoreError> {
                Ok(row
                    .try_get::<Option<String>, _>(column)?
                    .unwrap_or_default())
            };
            let (call, is_last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let Some(source) = by_call.get(&call) else {
                continue;
            };
            let series = Series {
                agent: text(2)?,
                platform: text(3)?,
                direction: text(4)?,
                ..source.series.clone()
            };
            let credit = Credit {
                series: book.series(connection, &series).await?,
                at: row.try_get(5)?,
            };
            found.entry(call).or_default()[usize::from(is_last == 1)] = Some(credit);
        }
    }
    Ok(found)
}

/// Callers' first calls, and the last ones before the outcome, in one trip to the database.
const FIRST_AND_LAST: &str = "SELECT q.call_no, 0, c.agent_id, c.platform, c.direction, c.started_at \
     FROM q CROSS JOIN calls c WHERE c.no = (SELECT s.no FROM calls s WHERE s.phone = q.phone \
     AND s.started_at <= q.until AND s.call_id IS NOT NULL ORDER BY s.started_at, s.no LIMIT 1) \
     UNION ALL SELECT q.call_no, 1, c.agent_id, c.platform, c.direction, c.started_at \
     FROM q CROSS JOIN calls c WHERE c.no = (SELECT s.no FROM calls s WHERE s.phone = q.phone \
     AND s.started_at <= q.until AND s.call_id IS NOT NULL ORDER BY s.started_at DESC, s.no DESC LIMIT 1)";

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
    let callers: Vec<(Touch, i64)> = calls
        .iter()
        .filter_map(|plain| Some((Touch::of(plain.phone, plain.started_at)?, plain.call)))
        .collect();
    let mut credited = BTreeSet::new();
    for chunk in callers.chunks(200) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT DISTINCT person FROM figures WHERE first_series IS NOT NULL AND person IN (",
        );
        let mut list = query.separated(", ");
        for (touch, _) in chunk {
            list.push_bind(touch.person);
        }
        query.push(")");
        let known: Vec<i64> = query
            .build()
            .fetch_all(&mut *connection)
            .await?
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        for (touch, call) in chunk
            .iter()
            .filter(|(touch, _)| known.contains(&touch.person))
        {
            credited.extend(credited_to(connection, *touch, *call).await?);
        }
    }
    refresh_credited(connection, book, credited).await
}

/// Figures and tags of every call, for a store that had none.
pub(super) async fn build_all(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut book = Book::default();
    let calls: Vec<i64> = sqlx::query("SELECT no FROM calls ORDER BY no")
        .fetch_all(&mut *connection)
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    for some in calls.chunks(10_000) {
        let stale: Vec<Stale> = some
            .iter()
            .map(|call| Stale {
                call: *call,
                retag: true,
            })
            .collect();
        refresh_all(connection, &mut book, &stale).await?;
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
