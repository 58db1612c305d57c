//! The cells of a question: calls and their worth by series and bucket, in one query over one index.

use std::fmt::Write;

use sqlx::Row;

use super::condition::{Attribution, Condition};
use super::period::Period;
use crate::store::figure::Series;
use crate::store::{Store, StoreError};

/// Calls of one series in one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    /// Its series, by its place in the list.
    pub(super) series: usize,
    /// Its bucket, by its place in the list.
    pub(super) bucket: usize,
    pub(super) calls: i64,
    /// In the currency's smallest unit.
    pub(super) value: i64,
}

/// What is asked of a key of metadata; keys and words by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// This word.
    Is(i64, i64),
    /// Any word.
    Known(i64),
    /// None.
    Missing(i64),
}

/// Which table and columns cells are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) attribution: Attribution,
    /// What is asked of metadata; values before all else.
    pub(super) tags: Vec<Tag>,
    /// Only calls whose time to the outcome is known.
    pub(super) timed: bool,
}

impl Base {
    /// The columns of `figures` for series and moment.
    pub(super) fn columns(&self) -> (&'static str, &'static str) {
        match self.attribution {
            Attribution::Recorded => ("series", "at"),
            Attribution::First => ("first_series", "first_at"),
            Attribution::Last => ("last_series", "last_at"),
        }
    }

    /// Further conditions on `figures f`.
    pub(super) fn conditions(&self) -> String {
        let timed = if self.timed {
            " AND f.delay_ms IS NOT NULL"
        } else {
            ""
        };
        let mut conditions = timed.to_owned();
        self.tags
            .iter()
            .for_each(|tag| push_tag(&mut conditions, *tag));
        conditions
    }

    /// Table with the alias `f`, the columns for series and moment, and further conditions. The first value of metadata is
    /// an index of its own.
    pub(super) fn parts(&self) -> (&'static str, &'static str, &'static str, String) {
        let (mut conditions, others) = match (self.tags.as_slice(), self.attribution) {
            ([Tag::Is(key, word), others @ ..], Attribution::Recorded) => {
                (format!(" AND f.key = {key} AND f.word = {word}"), others)
            }
            ([Tag::Known(key), others @ ..], Attribution::Recorded) => {
                (format!(" AND f.key = {key}"), others)
            }
            _ => {
                let (of, at) = self.columns();
                return ("figures", of, at, self.conditions());
            }
        };
        if self.timed {
            conditions.push_str(
                " AND EXISTS (SELECT 1 FROM figures d WHERE d.call_no = f.call_no AND d.delay_ms IS NOT NULL)",
            );
        }
        others
            .iter()
            .for_each(|tag| push_tag(&mut conditions, *tag));
        ("tags", "series", "at", conditions)
    }

    /// Whether its index is not in the order of series, so that they are no ranges of it.
    fn is_unordered(&self) -> bool {
        self.attribution == Attribution::Recorded
            && matches!(self.tags.first(), Some(Tag::Known(_)))
    }
}

fn push_tag(conditions: &mut String, tag: Tag) {
    let (not, key, word) = match tag {
        Tag::Is(key, word) => ("", key, format!(" AND t.word = {word}")),
        Tag::Known(key) => ("", key, String::new()),
        Tag::Missing(key) => ("NOT ", key, String::new()),
    };
    // Writing to a text cannot fail.
    let _ = write!(
        conditions,
        " AND {not}EXISTS (SELECT 1 FROM tags t WHERE t.call_no = f.call_no AND t.key = {key}{word})"
    );
}

/// From so many ranges on, one pass over all rows with a sort is quicker.
const MOST_RANGES: usize = 250_000;
/// Up to so many ranges one reader is quick enough.
const FEW_RANGES: usize = 2_000;

impl Store {
    /// Every series there is, with its number.
    pub(super) async fn all_series(&self) -> Result<Vec<(i64, Series)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, agent_id, platform, direction, source, kind, label, currency, basis, reached FROM series",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let series = Series {
                    agent: row.try_get(1)?,
                    platform: row.try_get(2)?,
                    direction: row.try_get(3)?,
                    source: row.try_get(4)?,
                    kind: row.try_get(5)?,
                    label: row.try_get(6)?,
                    currency: row.try_get(7)?,
                    basis: row.try_get(8)?,
                    reached: row.try_get(9)?,
                };
                Ok((row.try_get(0)?, series))
            })
            .collect()
    }

    /// Where the cells of a condition come from; `None` when it asks for metadata that no call has.
    pub(super) async fn base(
        &self,
        condition: &Condition,
        attribution: Attribution,
    ) -> Result<Option<Base>, StoreError> {
        let (mut tags, mut missing) = (Vec::new(), Vec::new());
        for (key, word) in condition
            .metadata()
            .into_iter()
            .filter_map(|text| text.split_once('='))
        {
            match (self.word(key).await?, self.word(word).await?) {
                // A key that nobody knows is missing everywhere.
                (key, _) if word.is_empty() => missing.extend(key.map(Tag::Missing)),
                (Some(key), Some(word)) => tags.push(Tag::Is(key, word)),
                _ => return Ok(None),
            }
        }
        tags.append(&mut missing);
        Ok(Some(Base {
            attribution,
            tags,
            timed: condition.is_timed(),
        }))
    }

    /// The number of a word of metadata.
    pub(super) async fn word(&self, word: &str) -> Result<Option<i64>, StoreError> {
        let row = sqlx::query("SELECT id FROM words WHERE word = $1")
            .bind(word)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The cells of these series in these buckets.
    pub(super) async fn cells(
        &self,
        base: &Base,
        series: &[(i64, Series)],
        wanted: &[usize],
        buckets: &[Period],
    ) -> Result<Vec<Cell>, StoreError> {
        if wanted.len() * buckets.len() > MOST_RANGES || base.is_unordered() {
            return self
                .read_cells(one_pass(base, buckets), series, wanted)
                .await;
        }
        // A large question is shared by two readers; every second series, so that both have as much to do.
        let readers = if wanted.len() * buckets.len() > FEW_RANGES {
            2
        } else {
            1
        };
        let shares = (0..readers).map(|reader| {
            wanted
                .iter()
                .copied()
                .skip(reader)
                .step_by(readers)
                .collect::<Vec<_>>()
        });
        let shares = shares.filter(|share| !share.is_empty());
        let read = shares.map(async |share| {
            let sql = ranges(base, series, &share, buckets);
            self.read_cells(sql, series, &share).await
        });
        Ok(futures_util::future::try_join_all(read).await?.concat())
    }

    /// Numbers only go into the text of the query, and they are ours.
    async fn read_cells(
        &self,
        sql: String,
        series: &[(i64, Series)],
        wanted: &[usize],
    ) -> Result<Vec<Cell>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_all(&self.readers)
            .await?;
        let places: std::collections::HashMap<i64, usize> = wanted
            .iter()
            .map(|place| (series[*place].0, *place))
            .collect();
        let mut cells = Vec::new();
        for row in &rows {
            let Some(place) = places.get(&row.try_get(0)?) else {
                continue;
            };
            // A series without any cell has no text.
            let text: Option<&str> = row.try_get(1)?;
            for sums in text.unwrap_or_default().split_terminator(';') {
                let cell = read_cell(sums, *place).ok_or_else(|| StoreError::Unreadable {
                    text: sums.to_owned(),
                    expected: "a bucket, a count and a sum",
                })?;
                cells.push(cell);
            }
        }
        Ok(cells)
    }
}

fn read_cell(text: &str, series: usize) -> Option<Cell> {
    let mut numbers = text.split(':');
    let cell = Cell {
        series,
        bucket: numbers.next()?.parse().ok()?,
        calls: numbers.next()?.parse().ok()?,
        value: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(cell)
}

/// Count and sum in one text: so each range is walked once, and a scalar subquery can bring both.
const SUMS: &str = "CAST(COUNT(*) AS TEXT) || ':' || CAST(COALESCE(SUM(f.value_minor), 0) AS TEXT)";

/// Each series and each bucket is a range of the index; nothing is sorted. All cells of a series come in one text: a row for
/// each would take longer to hand over than to count.
fn ranges(base: &Base, series: &[(i64, Series)], wanted: &[usize], buckets: &[Period]) -> String {
    let (table, of, at, and) = base.parts();
    let ids = wanted.iter().map(|place| format!("({})", series[*place].0));
    format!(
        "WITH b(i, lo, hi) AS (VALUES {}), s(id) AS (VALUES {}) \
         SELECT s.id, (SELECT STRING_AGG(b.i || ':' || NULLIF((SELECT {SUMS} FROM {table} f \
         WHERE f.{of} = s.id AND f.{at} >= b.lo AND f.{at} < b.hi{and}), '0:0'), ';') FROM b) FROM s",
        rows(buckets),
        ids.collect::<Vec<_>>().join(", "),
    )
}

/// All rows of the period in one pass.
fn one_pass(base: &Base, buckets: &[Period]) -> String {
    let (table, of, at, and) = base.parts();
    format!(
        "WITH b(i, lo, hi) AS (VALUES {}) SELECT f.{of}, b.i || ':' || {SUMS} FROM b CROSS JOIN {table} f \
         WHERE f.{of} IS NOT NULL AND f.{at} >= b.lo AND f.{at} < b.hi{and} GROUP BY f.{of}, b.i",
        rows(buckets),
    )
}

fn rows(buckets: &[Period]) -> String {
    let mut text = String::new();
    for (i, bucket) in buckets.iter().enumerate() {
        let (from, to) = (bucket.from.as_millisecond(), bucket.to.as_millisecond());
        let comma = if i == 0 { "" } else { ", " };
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "{comma}({i}, CAST({from} AS BIGINT), CAST({to} AS BIGINT))"
        );
    }
    text
}
