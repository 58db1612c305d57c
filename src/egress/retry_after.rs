//! `Retry-After`: how long somebody asks to be left alone.

use std::time::Duration;

use jiff::Timestamp;

/// Reads a `Retry-After` header: seconds, or any of the three date forms of RFC 9110, 5.6.7.
/// A date that has passed asks for no wait. `None` when it is neither.
pub(crate) fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let moment = parse_http_date(text)?;
    Some(Duration::try_from(moment.duration_since(now)).unwrap_or(Duration::ZERO))
}

fn parse_http_date(text: &str) -> Option<Timestamp> {
    let modern = || jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text);
    let utc = |format: &str, text: &str| {
        jiff::civil::DateTime::strptime(format, text)
            .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|zoned| zoned.timestamp())
    };
    modern()
        .or_else(|_other_form| utc("%A, %d-%b-%y %H:%M:%S GMT", text))
        .or_else(|_other_form| utc("%a %b %e %H:%M:%S %Y", text))
        .ok()
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panicking(text: String) {
            let _ = parse_retry_after(&text, Timestamp::UNIX_EPOCH);
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_any_http_date() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("", None),
            ("1.5", None),
        ] {
            let read = parse_retry_after(text, now).map(|wait| wait.as_secs());
            assert_eq!(read, seconds, "{text:?}");
        }
    }
}
