//! The answers, as the API, the command line and the console show them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;

use super::condition::{Attribution, Behind};
use super::period::Period;
use crate::model::currency;

/// Calls, and what they are worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tally {
    /// How many. By first or last touch: those whose outcomes count here.
    pub calls: i64,
    /// What share of all calls that is, from 0 to 1; `None` when there are none. By first or last touch, the share of calls
    /// that any of these outcomes counts at.
    pub rate: Option<f64>,
    /// Worth by currency, as exact decimals; an empty currency where none is known.
    pub values: BTreeMap<String, Decimal>,
}

/// A share of the calls, over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// Its name: a group's, an outcome's label or kind, an agent.
    pub name: String,
    /// The kind of outcome, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// All of it.
    #[serde(flatten)]
    pub tally: Tally,
    /// Calls by bucket.
    pub by_bucket: Vec<i64>,
    /// The share of all calls of the bucket, from 0 to 1; `None` where there are none.
    pub rate_by_bucket: Vec<Option<f64>>,
    /// Which calls these are, scope included.
    #[serde(skip)]
    pub behind: Behind,
}

/// Against the period before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trend {
    /// The period before.
    pub period: Period,
    /// All calls then.
    pub calls: i64,
    /// By how much calls grew, 0.1 for a tenth; `None` from nothing.
    pub growth: Option<f64>,
    /// Each part of the report then, in its order.
    pub parts: Vec<PartTrend>,
}

/// One part against the period before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartTrend {
    /// The part's name.
    pub name: String,
    /// All of it then.
    #[serde(flatten)]
    pub tally: Tally,
    /// By how much its calls grew; `None` from nothing.
    pub growth: Option<f64>,
    /// Its rate now less its rate then.
    pub rate_change: Option<f64>,
}

/// Counts, worth and rates over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What it is about.
    pub period: Period,
    /// Which call of a caller an outcome counts at.
    pub attribution: Attribution,
    /// The buckets.
    pub buckets: Vec<Period>,
    /// All calls in question.
    pub all: Part,
    /// Those with an outcome.
    pub with_outcome: Part,
    /// By outcome, or the groups that were asked for.
    pub parts: Vec<Part>,
    /// Against the period before, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend: Option<Trend>,
}

/// One line of a breakdown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Breakdown {
    /// The value that its calls share; empty: not known.
    pub value: String,
    /// Whether it stands for all the values that are too rare for a line of their own; `value` is only a name for them then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub others: bool,
    /// All calls of it.
    pub calls: i64,
    /// Those with an outcome; by first or last touch, those whose outcome counts at a call of this line.
    pub with_outcome: i64,
    /// What share of its calls has one, or has one credited to it.
    pub outcome_rate: Option<f64>,
    /// Its outcomes by kind; a label of none of the five counts under its own name.
    pub outcomes: BTreeMap<String, i64>,
    /// Worth by currency.
    pub values: BTreeMap<String, Decimal>,
}

/// How many calls came to something, and how sure that is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conversion {
    /// Calls old enough to have their outcome.
    pub calls: i64,
    /// Those that came to it; by first or last touch, those whose outcome counts at a call that is old enough.
    pub converted: i64,
    /// What share of the calls came to it, or has it credited to it.
    pub rate: Option<f64>,
    /// The lower end of the 95 % confidence interval (Wilson).
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// Calls from this moment on are too young to count.
    pub mature_until: Timestamp,
    /// How many those are.
    pub young: i64,
    /// How many of them came to it already.
    pub young_converted: i64,
}

/// How far calls came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Funnel {
    /// call, booked, shown, closed.
    pub stages: Vec<Stage>,
}

/// One stage of the funnel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// Calls that came so far.
    pub calls: i64,
    /// The share of all calls.
    pub rate: Option<f64>,
    /// The share of the stage before.
    pub of_previous: Option<f64>,
    /// Which calls these are, scope included.
    #[serde(skip)]
    pub behind: Behind,
}

/// The time from a call's start to its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delay {
    /// Calls whose start and outcome are known, in this order.
    pub calls: i64,
    /// Half of them took no longer, in milliseconds.
    pub median_ms: Option<i64>,
    /// Nine of ten took no longer, in milliseconds.
    pub p90_ms: Option<i64>,
}

/// A share; `None` of nothing.
pub(super) fn rate(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// By how much something grew; `None` from nothing.
pub(super) fn growth(now: i64, before: i64) -> Option<f64> {
    (before > 0).then(|| (now - before) as f64 / before as f64)
}

/// An amount in the currency's smallest unit as a decimal; hundredths where it is not known.
pub(super) fn amount(minor: i128, code: &str) -> Decimal {
    let exponent = currency(code)
        .ok()
        .map_or(2, |currency| u32::from(currency.exponent().unwrap_or(0)));
    // A decimal has 96 bits, which the sum of four billion cells does not exceed.
    Decimal::try_from_i128_with_scale(minor, exponent).unwrap_or(Decimal::MAX)
}

/// Wilson's 95 % interval: honest for small samples and near 0 and 1, where the usual one is not.
pub(super) fn wilson(part: i64, whole: i64) -> Option<(f64, f64)> {
    const Z: f64 = 1.959_964;
    let p = rate(part, whole)?;
    let n = whole as f64;
    let centre = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Some((
        ((centre - spread) / scale).max(0.0),
        ((centre + spread) / scale).min(1.0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sums_are_exact_beyond_64_bits() {
        let sum = 3 * i128::from(i64::MIN);
        assert_eq!(amount(sum, "USD").to_string(), "-276701161105643274.24");
        assert_eq!(amount(-sum, "JPY").to_string(), "27670116110564327424");
    }

    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = wilson(10, 100).unwrap();
        assert!(
            (low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4,
            "{low} {high}"
        );
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(0, 5).unwrap().0, 0.0);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_rate(whole in 1i64..1_000_000, share in 0.0f64..=1.0) {
            let part = (whole as f64 * share) as i64;
            let (low, high) = wilson(part, whole).unwrap();
            let rate = rate(part, whole).unwrap();
            prop_assert!(low <= rate + 1e-12 && rate <= high + 1e-12);
        }
    }
}
