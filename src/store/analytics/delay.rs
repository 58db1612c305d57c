//! The time from call to outcome: exact percentiles, by walking an index that is in their order, or from the delays themselves
//! where they are few.

use futures_util::TryStreamExt;
use sqlx::Row;

use super::answer::Delay;
use super::ask::Asked;
use super::cells::Base;
use super::condition::{Attribution, Condition, has_outcome};
use super::period::Period;
use crate::store::{Store, StoreError};

/// More than so many calls are not looked at one by one.
const MOST_GATHERED: i64 = 50_000;

impl Store {
    /// How long after their start calls have their outcome.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn delay(&self, scope: &Condition, period: Period) -> Result<Delay, StoreError> {
        let nothing = Delay {
            calls: 0,
            median_ms: None,
            p90_ms: None,
        };
        let asked = Asked::load(self, scope, Attribution::Recorded).await?;
        let Some(base) = asked.base else {
            return Ok(nothing);
        };
        let all = asked
            .series
            .iter()
            .filter(|(_, series)| has_outcome(series))
            .count();
        let wanted: Vec<usize> = asked
            .wanted
            .iter()
            .copied()
            .filter(|place| has_outcome(&asked.series[*place].1))
            .collect();
        if wanted.is_empty() {
            return Ok(nothing);
        }
        let cells = self.cells(&base, &asked.series, &wanted, &[period]).await?;
        let calls: i64 = cells.iter().map(|cell| cell.calls).sum();
        let ids: Vec<String> = wanted
            .iter()
            .map(|place| asked.series[*place].0.to_string())
            .collect();
        let only = match ids.len() < all {
            true => format!(" AND {{plus}}f.series IN ({})", ids.join(", ")),
            false => String::new(),
        };
        if base.tags.is_empty() && calls > MOST_GATHERED {
            self.walk(period, &only).await
        } else {
            self.gather(&base, period, &only).await
        }
    }

    /// Delays of many calls: by their index, which is in their order.
    async fn walk(&self, period: Period, only: &str) -> Result<Delay, StoreError> {
        // The plus signs keep the planner on that index.
        let conditions = format!(
            "FROM figures f WHERE f.delay_ms IS NOT NULL AND +f.at >= {} AND +f.at < {}{}",
            period.from.as_millisecond(),
            period.to.as_millisecond(),
            only.replace("{plus}", "+"),
        );
        let count = format!("SELECT COUNT(*) {conditions}");
        let calls: i64 = sqlx::query(sqlx::AssertSqlSafe(count))
            .fetch_one(&self.readers)
            .await?
            .try_get(0)?;
        let at = async |share: i64| -> Result<Option<i64>, StoreError> {
            let place = place(calls, share);
            let sql = format!(
                "SELECT f.delay_ms {conditions} ORDER BY f.delay_ms LIMIT 1 OFFSET {place}"
            );
            let row = sqlx::query(sqlx::AssertSqlSafe(sql))
                .fetch_optional(&self.readers)
                .await?;
            Ok(row.map(|row| row.try_get(0)).transpose()?)
        };
        Ok(Delay {
            calls,
            median_ms: at(50).await?,
            p90_ms: at(90).await?,
        })
    }

    /// Delays of few calls, or of those with a value of metadata: all of them, put in order here.
    async fn gather(&self, base: &Base, period: Period, only: &str) -> Result<Delay, StoreError> {
        let (from, to) = (period.from.as_millisecond(), period.to.as_millisecond());
        let only = only.replace("{plus}", "");
        let (table, _, _, conditions) = base.parts();
        let within = format!("f.at >= {from} AND f.at < {to}{only}{conditions}");
        // The plus signs keep the planner off the index of delays.
        let sql = match table {
            "tags" => format!(
                "SELECT g.delay_ms FROM tags f CROSS JOIN figures g WHERE g.call_no = f.call_no AND {within} \
                 AND +g.delay_ms IS NOT NULL"
            ),
            _ => format!(
                "SELECT f.delay_ms FROM figures f WHERE {within} AND +f.delay_ms IS NOT NULL"
            ),
        };
        let mut delays: Vec<i64> = Vec::new();
        let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch(&self.readers);
        while let Some(row) = rows.try_next().await? {
            delays.push(row.try_get(0)?);
        }
        delays.sort_unstable();
        let calls = i64::try_from(delays.len()).unwrap_or(i64::MAX);
        let at = |share| {
            let place = usize::try_from(place(calls, share)).ok()?;
            delays.get(place).copied()
        };
        Ok(Delay {
            calls,
            median_ms: at(50),
            p90_ms: at(90),
        })
    }
}

/// The place of the smallest delay that so many hundredths do not exceed.
fn place(calls: i64, share: i64) -> i64 {
    ((calls * share + 99) / 100 - 1).max(0)
}
