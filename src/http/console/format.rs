//! Numbers, moments and conditions in words, the same on every page.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use rust_decimal::Decimal;

use crate::store::{Condition, OutcomeRow, Period};

/// A count, with commas between thousands.
pub(super) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 call`, `2 calls`.
pub(super) fn calls(number: i64) -> String {
    format!(
        "{} {}",
        count(number),
        if number == 1 { "call" } else { "calls" }
    )
}

/// A share of 0 to 1 in per cent; a dash for a share of nothing.
pub(super) fn share(rate: Option<f64>) -> String {
    rate.map_or_else(
        || "–".to_owned(),
        |rate| format!("{:.1}\u{a0}%", rate * 100.0),
    )
}

/// By how much something grew.
pub(super) fn growth(growth: Option<f64>) -> String {
    match growth {
        None => "–".to_owned(),
        Some(growth) if growth > 0.0 => format!("▲\u{a0}{:.1}\u{a0}%", growth * 100.0),
        Some(growth) if growth < 0.0 => format!("▼\u{a0}{:.1}\u{a0}%", -growth * 100.0),
        Some(_) => "±\u{a0}0\u{a0}%".to_owned(),
    }
}

/// Amounts by currency, never added up.
pub(super) fn values(values: &BTreeMap<String, Decimal>) -> Vec<(String, String)> {
    let text = |code: &str, amount: &Decimal| {
        let (whole, rest) = amount.to_string().split_once('.').map_or_else(
            || (amount.to_string(), String::new()),
            |(whole, rest)| (whole.to_owned(), format!(".{rest}")),
        );
        let whole = whole.parse().map(count).unwrap_or(whole);
        let sign = if amount.is_sign_negative() && !whole.starts_with('-') {
            "-"
        } else {
            ""
        };
        let unit = if code.is_empty() { "no currency" } else { code };
        format!("{sign}{whole}{rest}\u{a0}{unit}")
    };
    values
        .iter()
        .map(|(code, amount)| (code.clone(), text(code, amount)))
        .collect()
}

/// A span in two units at most.
pub(super) fn span(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    let mut left = millis.max(0);
    let mut parts = Vec::new();
    for (length, unit) in UNITS {
        let many = left / length;
        left %= length;
        if many > 0 {
            parts.push(format!("{}\u{a0}{unit}", count(many)));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() {
        format!("{left}\u{a0}ms")
    } else {
        parts.join(" ")
    }
}

/// A day.
pub(super) fn day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%-d %b %Y").to_string()
}

/// A day where the year is clear.
pub(super) fn short_day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%-d %b").to_string()
}

/// The last moment of a period, of which its end is no part.
pub(super) fn last(period: Period) -> Timestamp {
    period
        .to
        .checked_sub(jiff::SignedDuration::from_millis(1))
        .unwrap_or(period.from)
        .max(period.from)
}

/// A period by its days.
pub(super) fn days(period: Period, zone: &TimeZone) -> String {
    let (first, last) = (day(period.from, zone), day(last(period), zone));
    if first == last {
        first
    } else {
        format!("{first} – {last}")
    }
}

/// A moment.
pub(super) fn moment(at: Timestamp, zone: &TimeZone) -> Markup {
    let text = at
        .to_zoned(zone.clone())
        .strftime("%-d %b %Y, %H:%M")
        .to_string();
    html! { time datetime=(at) { (text) } }
}

/// What an outcome is called: its label, or the kind where it has none.
pub(super) fn outcome(outcome: &OutcomeRow) -> Markup {
    html! {
        @match (&outcome.label, outcome.kind) {
            (Some(label), Some(kind)) => { (label) " " span class="tag" { (kind.as_str()) } }
            (Some(label), None) => { (label) }
            (None, Some(kind)) => { span class="tag" { (kind.as_str()) } }
            (None, None) => { "–" }
        }
    }
}

/// A value of a list; empty where it is not known.
pub(super) fn known(value: &str) -> &str {
    if value.is_empty() || value == "-" {
        "not known"
    } else {
        value
    }
}

/// What a condition asks for, as names and values.
pub(super) fn condition(condition: &Condition) -> Vec<(&'static str, String)> {
    let mut asked = Vec::new();
    for (name, values) in [
        ("agent", &condition.agents),
        ("platform", &condition.platforms),
        ("direction", &condition.directions),
        ("source", &condition.sources),
        ("outcome", &condition.kinds),
        ("label", &condition.labels),
        ("currency", &condition.currencies),
        ("basis", &condition.bases),
    ] {
        if !values.is_empty() {
            let values: Vec<&str> = values.iter().map(|value| known(value)).collect();
            asked.push((name, values.join(" or ")));
        }
    }
    if let Some(metadata) = &condition.metadata {
        let missing = metadata.strip_suffix('=');
        asked.push(match missing.filter(|key| !key.contains('=')) {
            Some(key) => ("without metadata", key.to_owned()),
            None => ("metadata", metadata.clone()),
        });
    }
    match condition.has_outcome {
        Some(true) => asked.push(("has", "an outcome".to_owned())),
        Some(false) => asked.push(("has", "no outcome yet".to_owned())),
        None => {}
    }
    if let Some(stage) = condition.reached {
        asked.push(("came to", stage.as_str().to_owned()));
    }
    if condition.timed {
        asked.push(("has", "a known time to its outcome".to_owned()));
    }
    asked.extend(condition.and.iter().flat_map(self::condition));
    asked.dedup();
    asked
}

/// A text cut off at so many characters, and whether it was.
pub(super) fn cut(text: &str, most: usize) -> (&str, bool) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (&text[..end], true),
        None => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(
            ["0", "999", "1,000", "-12,345,678"],
            [0, 999, 1000, -12_345_678]
                .map(count)
                .each_ref()
                .map(String::as_str)
        );
        assert_eq!(
            (calls(1), calls(0)),
            ("1 call".to_owned(), "0 calls".to_owned())
        );
        assert_eq!(
            (share(Some(0.3333)), share(None)),
            ("33.3\u{a0}%".to_owned(), "–".to_owned())
        );
        let amounts = [
            ("USD", "1234567.50"),
            ("EUR", "-0.50"),
            ("", "3"),
            ("JPY", "-1200"),
        ];
        let amounts = amounts.map(|(code, amount)| (code.to_owned(), amount.parse().unwrap()));
        let texts: Vec<String> = values(&amounts.into())
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            texts,
            [
                "3\u{a0}no currency",
                "-0.50\u{a0}EUR",
                "-1,200\u{a0}JPY",
                "1,234,567.50\u{a0}USD"
            ]
        );
    }

    #[test]
    fn spans_have_two_units_at_most() {
        for (millis, text) in [
            (0, "0 ms"),
            (59_999, "59 s"),
            (3_600_000, "1 h"),
            (90_061_000, "1 d 1 h"),
            (86_460_000, "1 d"),
            (i64::MIN, "0 ms"),
        ] {
            assert_eq!(span(millis).replace('\u{a0}', " "), text);
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("äöü", 2), ("äö", true));
        assert_eq!(cut("äöü", 3), ("äöü", false));
    }

    #[test]
    fn conditions_are_told_with_all_that_they_ask_for() {
        let condition: Condition = serde_json::from_str(
            r#"{"agents":["a","-"],"and":[{"reached":"booked","metadata":"k=v"},{"has_outcome":false,"metadata":"n="}]}"#,
        )
        .unwrap();
        let told: Vec<String> = super::condition(&condition)
            .into_iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        assert_eq!(
            told,
            [
                "agent a or not known",
                "metadata k=v",
                "came to booked",
                "without metadata n",
                "has no outcome yet"
            ]
        );
    }
}
