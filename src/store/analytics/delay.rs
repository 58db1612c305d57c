//! The time from call to outcome: exact percentiles, by walking an index that is in their order.

use sqlx::Row;

use super::answer::Delay;
use super::ask::Asked;
use super::condition::{Attribution, Condition, has_outcome};
use super::period::Period;
use crate::store::{Store, StoreError};

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
        let ids: Vec<String> = asked
            .wanted
            .iter()
            .filter(|place| has_outcome(&asked.series[**place].1))
            .map(|place| asked.series[*place].0.to_string())
            .collect();
        if ids.is_empty() {
            return Ok(nothing);
        }
        // The plus signs keep the planner on the index that is in order of the delay.
        let mut conditions = format!(
            "FROM figures f WHERE f.delay_ms IS NOT NULL AND +f.at >= {} AND +f.at < {}",
            period.from.as_millisecond(),
            period.to.as_millisecond()
        );
        if ids.len() < all {
            conditions.push_str(&format!(" AND +f.series IN ({})", ids.join(", ")));
        }
        conditions.push_str(&base.conditions());
        let count = format!("SELECT COUNT(*) {conditions}");
        let calls: i64 = sqlx::query(sqlx::AssertSqlSafe(count))
            .fetch_one(&self.readers)
            .await?
            .try_get(0)?;
        let at = async |share: i64| -> Result<Option<i64>, StoreError> {
            // The smallest delay that so many hundredths do not exceed.
            let place = ((calls * share + 99) / 100 - 1).max(0);
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
}
