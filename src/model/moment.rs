//! Moments as vendors write them. The unit is always spelled out, never guessed.

use std::borrow::Cow;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// Text or a number that is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a moment in time")]
pub struct MomentError(String);

/// The year 0000, the first that RFC 3339 can write. The last one that it can write is the last that there is here.
const FIRST: Timestamp = Timestamp::constant(-62_167_219_200, 0);

/// Whether RFC 3339 can write it. An earlier moment is a mistake of whoever said it, and few could read it back.
pub fn is_writable(at: Timestamp) -> bool {
    at >= FIRST
}

/// How long after it was heard of something may have occurred: clocks and time zones may be wrong by that much.
const MOST_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// No clock was ever further from UTC.
const MOST_OFFSET_SECONDS: i32 = 16 * 60 * 60;

/// Whether something cannot have occurred at a moment, since it was heard of more than a day before. A date years ahead, by
/// mistake, would outlast every truth until then.
pub fn is_ahead(at: Timestamp, heard_at: Timestamp) -> bool {
    at.duration_since(heard_at) > MOST_AHEAD
}

fn refuse(text: &str) -> MomentError {
    MomentError(text.chars().take(40).collect())
}

/// Reads RFC 3339 (`2026-01-02T09:15:00Z`, offsets with or without a colon), also with the name of a zone behind it
/// (`2026-01-02T09:15:00[Europe/Berlin]`; an offset goes before the name). A moment without a zone is read as UTC:
/// Close and older Pipedrive hooks write so.
///
/// # Errors
/// [`MomentError`] for anything else.
pub fn parse_time(text: &str) -> Result<Timestamp, MomentError> {
    let text = text.trim();
    if text.len() > 64 {
        return Err(refuse(text));
    }
    read_time(&zone_joined(text))
        .filter(|at| is_writable(*at))
        .ok_or_else(|| refuse(text))
}

/// A time with the blank taken away that some write before its zone: `2026-05-06 11:00:00 UTC`, `… 11:00:00 -04:00`.
fn zone_joined(text: &str) -> Cow<'_, str> {
    let joined = text.rsplit_once(' ').and_then(|(at, zone)| {
        let zone = match zone {
            "UTC" | "GMT" | "Z" => "Z",
            offset if offset.starts_with(['+', '-']) => offset,
            _ => return None,
        };
        at.contains(':').then(|| format!("{}{zone}", at.trim_end()))
    });
    joined.map_or(Cow::Borrowed(text), Cow::Owned)
}

fn read_time(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok()?;
    if let Some(offset) = pieces.to_numeric_offset() {
        let exists = offset.seconds().abs() <= MOST_OFFSET_SECONDS;
        return text.parse().ok().filter(|_| exists);
    }
    if pieces.time_zone_annotation().is_some() {
        return text.parse::<Zoned>().ok().map(|at| at.timestamp());
    }
    let at: DateTime = text.parse().ok()?;
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

/// Reads text by a `strftime` pattern, e.g. `%d.%m.%Y`. Without a zone in the pattern it is UTC,
/// without a time of day midnight.
///
/// # Errors
/// [`MomentError`] when the text does not fit the pattern.
pub fn parse_time_with(pattern: &str, text: &str) -> Result<Timestamp, MomentError> {
    let text = text.trim();
    let parts = jiff::fmt::strtime::parse(pattern, text).map_err(|_unfit| refuse(text))?;
    parts
        .to_timestamp()
        .or_else(|_no_offset_or_time| {
            let at = match parts.to_datetime() {
                Ok(at) => at,
                Err(_no_time) => parts.to_date()?.to_datetime(jiff::civil::Time::midnight()),
            };
            let zone = match (parts.offset(), parts.iana_time_zone()) {
                (Some(offset), _) => offset.to_time_zone(),
                (None, Some(name)) => TimeZone::get(name)?,
                (None, None) => TimeZone::UTC,
            };
            at.to_zoned(zone).map(|z| z.timestamp())
        })
        .ok()
        .filter(|at| is_writable(*at))
        .ok_or_else(|| refuse(text))
}

/// Reads seconds after the Unix epoch; a fraction is kept to the nanosecond.
///
/// # Errors
/// [`MomentError`] when it is no number or out of range.
pub fn parse_unix_seconds(text: &str) -> Result<Timestamp, MomentError> {
    parse_unix(text, 9)
}

/// Reads milliseconds after the Unix epoch.
///
/// # Errors
/// [`MomentError`] when it is no number or out of range.
pub fn parse_unix_millis(text: &str) -> Result<Timestamp, MomentError> {
    parse_unix(text, 6)
}

fn parse_unix(text: &str, nano_digits: u32) -> Result<Timestamp, MomentError> {
    let number: rust_decimal::Decimal = text.trim().parse().map_err(|_unreadable| refuse(text))?;
    let nanos = number
        .checked_mul(rust_decimal::Decimal::from(10u64.pow(nano_digits)))
        .and_then(|n| i128::try_from(n.trunc()).ok())
        .ok_or_else(|| refuse(text))?;
    Timestamp::from_nanosecond(nanos)
        .ok()
        .filter(|at| is_writable(*at))
        .ok_or_else(|| refuse(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_vendors_write_them() {
        for (text, expected) in [
            ("2026-01-02T09:15:00.089Z", "2026-01-02T09:15:00.089Z"),
            ("2026-01-02T09:15:00-05:00", "2026-01-02T14:15:00Z"),
            ("2026-05-06T11:00:00-0400", "2026-05-06T15:00:00Z"),
            ("2026-01-02T09:15:23.395000", "2026-01-02T09:15:23.395Z"),
            ("2026-01-02 09:15:23", "2026-01-02T09:15:23Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("2026-05-06T10:00:00[Europe/Berlin]", "2026-05-06T08:00:00Z"),
            ("2026-01-06 10:00[Europe/Berlin]", "2026-01-06T09:00:00Z"),
            (
                "2026-05-06T10:00:00+05:00[Europe/Berlin]",
                "2026-05-06T05:00:00Z",
            ),
            ("2026-05-06T10:00:00+14:00", "2026-05-05T20:00:00Z"),
            ("2026-05-06 11:00:00 UTC", "2026-05-06T11:00:00Z"),
            ("2026-05-06 11:00:00 +0000", "2026-05-06T11:00:00Z"),
            ("2026-05-06 11:00:00 -04:00", "2026-05-06T15:00:00Z"),
        ] {
            assert_eq!(parse_time(text).unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "next Tuesday",
            "",
            "2026",
            "99999-01-01T00:00:00Z",
            "-000001-01-01T00:00:00Z",
            "1767312000",
            "2026-05-06T10:00:00+25:00",
            "2026-05-06T10:00:00-16:01",
            "2026-05-06T10:00:00+99:00",
            "2026-05-06T10:00:00[Europe/Atlantis]",
            "2026-05-06T10:00:00+25:00[Europe/Berlin]",
            "2026-05-06T10:00:00+05:00 UTC",
            "2026-05-06 11:00:00 +25:00",
            "2026-05-06 11:00:00 PDT",
        ] {
            assert!(parse_time(text).is_err(), "{text} should be refused");
        }
    }

    #[test]
    fn unix_moments_have_a_stated_unit() {
        assert_eq!(
            parse_unix_seconds("1767312000").unwrap().to_string(),
            "2026-01-02T00:00:00Z"
        );
        assert_eq!(
            parse_unix_millis("1767312000123").unwrap().to_string(),
            "2026-01-02T00:00:00.123Z"
        );
        assert!(parse_unix_seconds("1e300").is_err());
        assert!(parse_unix_seconds("-99999999999").is_err());
        assert!(parse_unix_millis("99999999999999999999999").is_err());
    }

    #[test]
    fn what_can_be_written_is_years_0000_to_9999() {
        for (text, writable) in [
            ("0000-01-01T00:00:00Z", true),
            ("9999-12-30T22:00:00.999Z", true),
            ("-000001-12-31T23:59:59.999Z", false),
            ("-009999-01-03T00:00:00Z", false),
        ] {
            assert_eq!(is_writable(text.parse().unwrap()), writable, "{text}");
        }
        assert!(is_writable(Timestamp::MAX));
    }

    #[test]
    fn a_stated_pattern_reads_a_date_in_the_zone_that_the_text_names() {
        for (pattern, text, expected) in [
            ("%d.%m.%Y", "06.05.2026", "2026-05-06T00:00:00Z"),
            (
                "%d.%m.%Y %H:%M %Q",
                "06.05.2026 10:00 Europe/Berlin",
                "2026-05-06T08:00:00Z",
            ),
            (
                "%d.%m.%Y %Q",
                "06.05.2026 Asia/Tokyo",
                "2026-05-05T15:00:00Z",
            ),
            ("%d.%m.%Y %z", "06.05.2026 -0400", "2026-05-06T04:00:00Z"),
            (
                "%d.%m.%Y %H:%M %z",
                "06.05.2026 10:00 +0200",
                "2026-05-06T08:00:00Z",
            ),
        ] {
            let read = parse_time_with(pattern, text).unwrap();
            assert_eq!(read.to_string(), expected, "{pattern}");
        }
        assert!(parse_time_with("%d.%m.%Y %Q", "06.05.2026 Europe/Atlantis").is_err());
    }
}
