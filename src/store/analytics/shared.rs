//! Calls that several outcomes are credited to: by first or last touch a caller's outcomes may all count at one call.
//!
//! A count of outcomes is a sum over cells, a share of calls is not: a call with three outcomes is one call, whichever series
//! they are of. So for questions by touch one more query brings the calls with more than one outcome, and what is too much is
//! taken off before a share is told. Caller and moment name a call; two calls of one caller at the same millisecond count as one.

use std::collections::{BTreeMap, HashMap};

use sqlx::Row;

use super::cells::{Base, Cell};
use super::period::Period;
use crate::store::figure::Series;
use crate::store::{Store, StoreError};

/// Calls of one bucket with outcomes of the same series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    /// The series of each outcome, by their places; more than one.
    series: Vec<usize>,
    /// Their bucket, by its place in the list.
    bucket: usize,
    calls: i64,
}

/// Up to so many outcomes are found by the index of their series; more are found quicker in the order of the table.
const FEW_OUTCOMES: i64 = 50_000;

impl Store {
    /// The calls that several outcomes of these cells are credited to.
    pub(super) async fn shared(
        &self,
        base: &Base,
        series: &[(i64, Series)],
        outcomes: &[Cell],
        buckets: &[Period],
    ) -> Result<Vec<Shared>, StoreError> {
        let count: i64 = outcomes.iter().map(|cell| cell.calls).sum();
        let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else {
            return Ok(Vec::new());
        };
        if count < 2 {
            return Ok(Vec::new());
        }
        let places: HashMap<i64, usize> = outcomes
            .iter()
            .map(|cell| (series[cell.series].0, cell.series))
            .collect();
        let ids: Vec<String> = places.keys().map(i64::to_string).collect();
        let (of, at) = base.columns();
        // What is computed keeps the planner off the indexes.
        let (sought, moment) = match count > FEW_OUTCOMES {
            true => (format!("COALESCE(f.{of}, 0)"), format!("+f.{at}")),
            false => (format!("f.{of}"), format!("f.{at}")),
        };
        let sql = format!(
            "SELECT STRING_AGG(s.shared, ';') FROM (SELECT f.{at} || ':' || STRING_AGG(CAST(f.{of} AS TEXT), ',') AS shared \
             FROM figures f WHERE {sought} IN ({}) AND {moment} >= {} AND {moment} < {} AND +f.person IS NOT NULL{} \
             GROUP BY +f.person, f.{at} HAVING COUNT(*) > 1) s",
            ids.join(", "),
            first.from.as_millisecond(),
            last.to.as_millisecond(),
            base.conditions(),
        );
        // Numbers only go into the text of the query, and they are ours.
        let text: Option<String> = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_one(&self.readers)
            .await?
            .try_get(0)?;
        let mut found: HashMap<(usize, Vec<usize>), i64> = HashMap::new();
        for shared in text.as_deref().unwrap_or_default().split_terminator(';') {
            let (at, mut series) =
                read_shared(shared, &places).ok_or_else(|| StoreError::Unreadable {
                    text: shared.to_owned(),
                    expected: "a moment and numbers of series",
                })?;
            series.sort_unstable();
            let after = buckets.partition_point(|bucket| bucket.from.as_millisecond() <= at);
            *found.entry((after.saturating_sub(1), series)).or_default() += 1;
        }
        let shared = found.into_iter();
        Ok(shared
            .map(|((bucket, series), calls)| Shared {
                series,
                bucket,
                calls,
            })
            .collect())
    }
}

fn read_shared(text: &str, places: &HashMap<i64, usize>) -> Option<(i64, Vec<usize>)> {
    let (at, series) = text.split_once(':')?;
    let series = series
        .split(',')
        .map(|id| places.get(&id.parse().ok()?).copied());
    Some((at.parse().ok()?, series.collect::<Option<_>>()?))
}

/// By how much outcomes outnumber the calls that they are credited to, by part and bucket, where each series belongs to one
/// part or to none.
pub(super) fn surplus(
    shared: &[Shared],
    part: impl Fn(usize) -> Option<usize>,
) -> BTreeMap<(usize, usize), i64> {
    let mut surplus = BTreeMap::new();
    for one in shared {
        let mut parts: Vec<usize> = one.series.iter().filter_map(|place| part(*place)).collect();
        parts.sort_unstable();
        for pair in parts.windows(2).filter(|pair| pair[0] == pair[1]) {
            *surplus.entry((pair[0], one.bucket)).or_default() += one.calls;
        }
    }
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_once_for_each_part_that_has_outcomes_of_them() {
        let shared = [
            Shared {
                series: vec![0, 0, 1],
                bucket: 0,
                calls: 2,
            },
            Shared {
                series: vec![1, 2],
                bucket: 1,
                calls: 5,
            },
        ];
        let apart = surplus(&shared, Some);
        assert_eq!(apart, BTreeMap::from([((0, 0), 2)]));
        let together = surplus(&shared, |_| Some(7));
        assert_eq!(together, BTreeMap::from([((7, 0), 4), ((7, 1), 5)]));
        let some = surplus(&shared, |place| (place > 0).then_some(0));
        assert_eq!(some, BTreeMap::from([((0, 1), 5)]));
    }
}
