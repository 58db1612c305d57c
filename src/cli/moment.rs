//! Moments as people write and read them: in their own time zone.
//!
//! What is written without an offset (`yesterday`, a date) means the zone of the person who writes it, so it is resolved
//! here, before it is sent. JSON and CSV keep the API's moments, in UTC; everything for people is local, with its offset,
//! to the second.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use serde_json::{Map, Value};

use crate::clock::Clock;

/// What can be written, for messages.
const EXPECTED: &str =
    "write 2h, 3days, today, yesterday, a date (2026-05-06) or a moment (2026-05-06T16:10:00Z)";

/// Parts of an answer that are the vendor's or the team's own: nothing in them is changed.
const VERBATIM: [&str; 5] = ["rules", "metadata", "fields", "notes", "body"];

/// Reads a moment of a filter, as it is sent: a span back from now stays one.
///
/// # Errors
/// What can be written.
pub(super) fn filter(text: &str) -> Result<String, String> {
    let text = text.trim();
    let now = now();
    if text.is_empty() {
        return Ok(String::new());
    }
    match (named(text, &now), ago(text, &now)) {
        (Some(at), _) => Ok(at.to_string()),
        (None, Some(_)) => Ok(text.to_owned()),
        (None, None) => Err(EXPECTED.to_owned()),
    }
}

/// Reads a moment.
///
/// # Errors
/// What can be written.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let (text, now) = (text.trim(), now());
    named(text, &now)
        .or_else(|| ago(text, &now))
        .ok_or_else(|| EXPECTED.to_owned())
}

/// Reads a day or a moment of a report, as it is sent: days are the report's own, in the zone that it is asked for.
///
/// # Errors
/// What can be written.
pub(super) fn day_or_moment(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10 {
        return Ok(text.to_owned());
    }
    let now = now();
    let today = match text {
        "today" => Ok(now.date()),
        "yesterday" => now.date().yesterday(),
        _ => return instant(text).map(|at| at.to_string()),
    };
    today
        .map(|day| day.to_string())
        .map_err(|error| error.to_string())
}

fn now() -> Zoned {
    Clock::system().now().to_zoned(TimeZone::system())
}

/// A moment that does not depend on the hour: RFC 3339, a local date with or without a time, `today`, `yesterday`.
fn named(text: &str, now: &Zoned) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let local: DateTime = match text {
        "now" => return Some(now.timestamp()),
        "today" => now.date().to_datetime(Time::midnight()),
        "yesterday" => now.date().yesterday().ok()?.to_datetime(Time::midnight()),
        // Spans may be read as times of a day; a date has its dashes.
        text if text.contains('-') => text.parse().ok()?,
        _ => return None,
    };
    let zoned = local.to_zoned(now.time_zone().clone()).ok()?;
    Some(zoned.timestamp())
}

/// A span back from now; "2h" and "2h ago" are the same.
fn ago(text: &str, now: &Zoned) -> Option<Timestamp> {
    let span: Span = text.parse().ok()?;
    let then = now.checked_sub(span.abs()).ok()?;
    Some(then.timestamp())
}

/// A moment for people.
pub(super) fn told(at: Timestamp) -> String {
    told_in(at, TimeZone::system())
}

fn told_in(at: Timestamp, zone: TimeZone) -> String {
    at.to_zoned(zone)
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
}

/// An answer with its moments for people.
pub(super) fn localized(answer: &Value) -> Value {
    in_zone(answer, &TimeZone::system())
}

fn in_zone(value: &Value, zone: &TimeZone) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| in_zone(item, zone)).collect(),
        Value::Object(members) => {
            let told = members.iter().map(|(name, value)| {
                let value = match (is_moment(name), value) {
                    _ if VERBATIM.contains(&name.as_str()) => value.clone(),
                    (true, Value::String(text)) => match text.parse() {
                        Ok(at) => told_in(at, zone.clone()).into(),
                        Err(_other) => value.clone(),
                    },
                    _ => in_zone(value, zone),
                };
                (name.clone(), value)
            });
            Value::Object(told.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// Whether a field of an answer is a moment, by its name.
fn is_moment(name: &str) -> bool {
    name.ends_with("_at")
        || name.ends_with("until")
        || matches!(name, "at" | "not_before" | "next_probe")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Zoned {
        "2026-11-21T09:30:15+05:30[Asia/Kolkata]".parse().unwrap()
    }

    #[test]
    fn what_has_no_offset_means_the_zone_of_who_writes_it() {
        for (text, at) in [
            ("2026-05-06T16:10:00Z", "2026-05-06T16:10:00Z"),
            ("2026-05-06T16:10:00+02:00", "2026-05-06T14:10:00Z"),
            ("today", "2026-11-20T18:30:00Z"),
            ("yesterday", "2026-11-19T18:30:00Z"),
            ("2026-11-20", "2026-11-19T18:30:00Z"),
            ("2026-11-20 10:00", "2026-11-20T04:30:00Z"),
            ("now", "2026-11-21T04:00:15Z"),
        ] {
            let read = named(text, &now()).map(|at| at.to_string());
            assert_eq!(read.as_deref(), Some(at), "{text}");
        }
        for (text, at) in [
            ("2h", "2026-11-21T02:00:15Z"),
            ("2h ago", "2026-11-21T02:00:15Z"),
            ("3 days", "2026-11-18T04:00:15Z"),
            ("30days", "2026-10-22T04:00:15Z"),
            ("1week", "2026-11-14T04:00:15Z"),
        ] {
            let read = ago(text, &now()).map(|at| at.to_string());
            assert_eq!(read.as_deref(), Some(at), "{text}");
            assert_eq!(named(text, &now()), None, "{text}");
            assert_eq!(filter(text).as_deref(), Ok(text));
        }
        for text in ["soon", "2026-13-01", "12", "2026"] {
            assert!(filter(text).is_err() && instant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn days_of_a_report_stay_days() {
        assert_eq!(day_or_moment("2026-05-06").as_deref(), Ok("2026-05-06"));
        let today = day_or_moment("today").unwrap();
        assert_eq!(today.len(), 10, "{today}");
        assert!(day_or_moment("30days").unwrap().ends_with('Z'));
        assert!(day_or_moment("whenever").is_err());
    }

    #[test]
    fn moments_are_told_local_with_offset_to_the_second_and_nothing_else_is_touched() {
        let at = "2026-05-06T16:10:00.123Z";
        let answer = json!({
            "received_at": at,
            "reason": at,
            "items": [{ "due_at": null, "at": at, "metadata": { "seen_at": at } }],
        });
        let zone = TimeZone::get("America/New_York").unwrap();
        let local = "2026-05-06T12:10:00-04:00";
        assert_eq!(
            in_zone(&answer, &zone),
            json!({
                "received_at": local,
                "reason": at,
                "items": [{ "due_at": null, "at": local, "metadata": { "seen_at": at } }],
            })
        );
    }
}
