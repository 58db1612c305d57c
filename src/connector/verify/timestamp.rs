//! The signed timestamp: where it stands, and how far it may be off.
//!
//! It is checked as a number but goes into the signed bytes as the text that was received.

use jiff::{SignedDuration, Timestamp};

use super::arrival::Arrival;
use super::envelope::{first_header, lower, missing};
use super::format::Format;
use crate::connector::reader::Reader;
use crate::connector::request::{Refusal, RefusalCode};

/// Where the timestamp stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TimestampPlace {
    Headers(Vec<String>),
    /// A pair's key, or a field's position.
    Key(String),
}

/// Where the timestamp stands, and how far it may be off.
#[derive(Debug, Clone)]
pub(super) struct TimestampRule {
    pub(super) place: TimestampPlace,
    millis: bool,
    past: SignedDuration,
    future: Option<SignedDuration>,
}

impl TimestampRule {
    /// `format` is `None` after a mistake in it. `Some(None)`: an optional timestamp whose place is not set. `None`: a mistake was reported.
    pub(super) fn read(reader: Reader<'_>, format: Option<&Format>) -> Option<Option<Self>> {
        let optional = reader.flag("optional").unwrap_or(false);
        let headers = lower(reader.texts("header"));
        let key = reader.text("key");
        let unit = reader.choice("unit", &[("s", false), ("ms", true)]);
        let five_minutes = SignedDuration::from_mins(5);
        let past = match reader.duration("past") {
            Some((past, span)) if past <= SignedDuration::ZERO => {
                reader.log.error_with_help(
                    span,
                    "`past` has to be longer than nothing",
                    "without it old requests could be sent again; `5 minutes` is usual",
                );
                five_minutes
            }
            Some((past, _)) => past,
            None => five_minutes,
        };
        let unlimited = reader
            .json("future")
            .is_some_and(|(value, _)| value.as_str() == Some("none"));
        let future = if unlimited {
            None
        } else {
            Some(reader.duration("future").map_or(five_minutes, |(d, _)| d))
        };
        let place = match (key, format) {
            (Some(key), Some(Format::Pairs { .. } | Format::Fields { .. })) => {
                Some(TimestampPlace::Key(key.value))
            }
            (Some(key), Some(_)) if headers.is_empty() => {
                reader.log.error_with_help(
                    key.span,
                    "`key` needs `format = \"pairs\"`",
                    "name the timestamp's own `header` instead",
                );
                None
            }
            _ if headers.is_empty() => {
                if !optional {
                    reader.missing("header", "[\"x-timestamp\"]");
                }
                None
            }
            _ => Some(TimestampPlace::Headers(headers)),
        };
        reader.finish();
        if optional && place.is_none() {
            return Some(None);
        }
        Some(Some(Self {
            place: place?,
            millis: unit.unwrap_or(false),
            past,
            future,
        }))
    }

    /// The timestamp as received, once it is known to be near enough.
    pub(super) fn check<'a>(
        &self,
        arrival: &Arrival<'a>,
        header: &'a str,
        format: &Format,
    ) -> Result<&'a str, Refusal> {
        let text = match &self.place {
            TimestampPlace::Headers(names) => {
                first_header(arrival.parts, names).ok_or_else(|| missing(names))?
            }
            TimestampPlace::Key(key) => format.timestamp(header, key).ok_or_else(|| {
                Refusal::new(
                    RefusalCode::CredentialMissing,
                    format!("the signature header has no timestamp `{key}`"),
                )
            })?,
        };
        let unreadable = || {
            Refusal::new(
                RefusalCode::CredentialWrong,
                "the timestamp is not a number in range",
            )
        };
        let number: i64 = text.parse().map_err(|_not_a_number| unreadable())?;
        let at = if self.millis {
            Timestamp::from_millisecond(number)
        } else {
            Timestamp::from_second(number)
        }
        .map_err(|_out_of_range| unreadable())?;
        let age = arrival.now.duration_since(at);
        if age > self.past {
            return Err(stale(&format!("{age:#} old, more than {:#}", self.past)));
        }
        match self.future {
            Some(future) if -age > future => Err(stale(&format!(
                "{:#} ahead of this machine's clock, more than {future:#}",
                -age
            ))),
            _ => Ok(text),
        }
    }

    pub(super) fn text(&self, now: Timestamp) -> String {
        if self.millis {
            now.as_millisecond().to_string()
        } else {
            now.as_second().to_string()
        }
    }
}

fn stale(what: &str) -> Refusal {
    Refusal::new(
        RefusalCode::Stale,
        format!("the signed timestamp is {what}"),
    )
}
