//! Readers: from a value as it was written to the type that the program uses.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use config::{Value, ValueKind};
use ipnet::IpNet;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use url::Url;

use super::ByteSize;
use super::wrong::Wrong;
use crate::diagnostic::did_you_mean;
use crate::model::{Precedence, Secret};

/// What a reader gives.
pub(super) type Read<T> = Result<T, Wrong>;

/// A text, as it is.
pub(super) fn text(value: &Value) -> Read<String> {
    match &value.kind {
        ValueKind::String(text) => Ok(text.clone()),
        other => Err(mistyped("text in quotes", other)),
    }
}

/// A text of a type that can tell what is wrong with it.
pub(super) fn parsed<T>(value: &Value) -> Read<T>
where
    T: FromStr,
    T::Err: Display,
{
    text(value)?
        .parse()
        .map_err(|error: T::Err| Wrong::new(error.to_string()))
}

/// `true` or `false`; from the environment as text.
pub(super) fn flag(value: &Value) -> Read<bool> {
    match &value.kind {
        ValueKind::Boolean(flag) => Ok(*flag),
        ValueKind::String(text) if text == "true" => Ok(true),
        ValueKind::String(text) if text == "false" => Ok(false),
        other => Err(mistyped("`true` or `false`", other)),
    }
}

/// A whole number within `range`; from the environment as text.
pub(super) fn count(range: RangeInclusive<u64>) -> impl Fn(&Value) -> Read<u64> {
    move |value| {
        let number = match &value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::String(text) => match text.trim().parse() {
                Ok(number) => Some(number),
                Err(_not_a_number) => return Err(mistyped("a whole number", &value.kind)),
            },
            other => return Err(mistyped("a whole number", other)),
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| Wrong::new(format!("must be from {} to {}", range.start(), range.end())))
    }
}

/// A number within `range`; from the environment as text.
pub(super) fn factor(range: RangeInclusive<f64>) -> impl Fn(&Value) -> Read<f64> {
    move |value| {
        let number = match &value.kind {
            #[expect(
                clippy::cast_precision_loss,
                reason = "only small numbers are in range"
            )]
            ValueKind::I64(number) => Some(*number as f64),
            ValueKind::Float(number) => Some(*number),
            ValueKind::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| mistyped("a number", &value.kind))?;
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(Wrong::new(format!(
                "must be from {} to {}",
                range.start(),
                range.end()
            )))
        }
    }
}

/// A size within `range`: text with a unit, or a number of bytes.
pub(super) fn size(range: RangeInclusive<ByteSize>) -> impl Fn(&Value) -> Read<ByteSize> {
    move |value| {
        let size = match &value.kind {
            ValueKind::I64(bytes) => u64::try_from(*bytes).ok().map(ByteSize::new),
            ValueKind::String(text) => Some(
                text.parse()
                    .map_err(|error: super::size::SizeError| Wrong::new(error.to_string()))?,
            ),
            other => return Err(mistyped("a size such as \"32 MB\"", other)),
        };
        size.filter(|size| range.contains(size))
            .ok_or_else(|| Wrong::new(format!("must be from {} to {}", range.start(), range.end())))
    }
}

/// A duration within `range`: text with units, such as `"90 s"` or `"1 hour 30 minutes"`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Value) -> Read<Duration> {
    move |value| {
        let ValueKind::String(text) = &value.kind else {
            return Err(mistyped("a duration such as \"30 s\"", &value.kind));
        };
        let duration = parse_duration(text).ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            Wrong::new(format!("`{text}` is not a duration")).help(
                "write a number and a unit, such as \"30 s\", \"5 minutes\", \"1 hour\" or \"3 days\"",
            )
        })?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        Err(Wrong::new(format!(
            "must be from {} to {}",
            shown(*range.start()),
            shown(*range.end())
        )))
    }
}

/// Weeks and days count as 7 times and once 24 hours; months and years are not durations.
fn parse_duration(text: &str) -> Option<Duration> {
    let span: Span = text.trim().parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

/// A duration for people, in the largest unit that holds it without a rest.
fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let named = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    match named
        .iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None => format!(
            "{:#}",
            SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
        ),
    }
}

/// An address to listen on.
pub(super) fn address(value: &Value) -> Read<SocketAddr> {
    let text = text(value)?;
    text.parse().map_err(|_unreadable| {
        let text: String = text.chars().take(60).collect();
        Wrong::new(format!("`{text}` is not an address to listen on"))
            .help("write an IP address and a port, such as \"127.0.0.1:8080\" or \"0.0.0.0:8080\"")
    })
}

/// A public URL: `http` or `https`, without a query or a fragment, since those are the sender's.
pub(super) fn public_url(value: &Value) -> Read<Url> {
    let help = "write it as senders use it, such as \"https://hooks.example.com\"";
    let url = Url::parse(&text(value)?)
        .map_err(|error| Wrong::new(format!("not a URL: {error}")).help(help))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Wrong::new("a public URL starts with https:// or http://").help(help));
    }
    if url.query().is_some() || url.fragment().is_some() || url.password().is_some() {
        let message = "a public URL has no query, no fragment and no password";
        return Err(Wrong::new(message).help(help));
    }
    Ok(url)
}

/// A list of texts, or one text; from the environment with commas.
pub(super) fn texts(value: &Value) -> Read<Vec<String>> {
    match &value.kind {
        ValueKind::Array(items) => items.iter().map(text).collect(),
        ValueKind::String(text) => Ok(text
            .split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect()),
        other => Err(mistyped("a list of texts", other)),
    }
}

/// At least one of what `read` reads a list of. An option that means "all" while it is left out must not mean it when a
/// list, or the variable that it comes from, turns out empty.
pub(super) fn some<C>(
    read: impl Fn(&Value) -> Read<C>,
    otherwise: &'static str,
) -> impl Fn(&Value) -> Read<C>
where
    for<'c> &'c C: IntoIterator,
{
    move |value| {
        let list = read(value)?;
        let is_empty = (&list).into_iter().next().is_none();
        if is_empty {
            return Err(Wrong::new("the list is empty").help(otherwise));
        }
        Ok(list)
    }
}

/// A list of networks; a bare address is a network of one.
pub(super) fn networks(value: &Value) -> Read<Vec<IpNet>> {
    let one = |text: String| {
        let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
        text.parse().ok().or_else(address).ok_or_else(|| {
            Wrong::new(format!("`{text}` is not a network"))
                .help("write it as \"10.0.0.0/8\" or \"fd00::/8\"")
        })
    };
    texts(value)?.into_iter().map(one).collect()
}

/// A rule of precedence.
pub(super) fn precedence(value: &Value) -> Read<Precedence> {
    match text(value)?.as_str() {
        "final_first" => Ok(Precedence::FinalFirst),
        "newest" => Ok(Precedence::Newest),
        other => Err(Wrong::new(format!("`{other}` is not a precedence"))
            .help("use \"final_first\" or \"newest\"")),
    }
}

/// One of `all`, by its word.
pub(super) fn choice<T: Copy>(
    what: &str,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> impl Fn(&Value) -> Read<T> {
    move |value| chosen(&text(value)?, what, all, &word)
}

/// Several of `all`, by their words.
pub(super) fn choices<T: Copy>(
    what: &str,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> impl Fn(&Value) -> Read<Vec<T>> {
    move |value| {
        let written = texts(value)?;
        let chosen = written.iter().map(|text| chosen(text, what, all, &word));
        chosen.collect()
    }
}

fn chosen<T: Copy>(
    written: &str,
    what: &str,
    all: &[T],
    word: &impl Fn(T) -> &'static str,
) -> Read<T> {
    let words = || all.iter().map(|item| word(*item));
    all.iter()
        .copied()
        .find(|item| word(*item) == written)
        .ok_or_else(|| {
            let shown: String = written.chars().take(40).collect();
            let help = match did_you_mean(written, words()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("use one of {}", words().collect::<Vec<_>>().join(", ")),
            };
            Wrong::new(format!("`{shown}` is not a {what}")).help(help)
        })
}

/// The admin token: long enough that it cannot be guessed.
pub(super) fn token(value: &Value) -> Read<Secret> {
    let text = text(value)?;
    if text.len() < 16 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Wrong::new("too short for a token, or with blanks in it").help(
            "use at least 16 characters made by a random generator, or leave it out to have one made",
        ));
    }
    Ok(Secret::new(text))
}

/// What was expected, against the type that is there.
pub(super) fn mistyped(expected: &str, kind: &ValueKind) -> Wrong {
    let found = match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            "a whole number"
        }
        ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    };
    Wrong::new(format!("must be {expected}, not {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(kind: impl Into<ValueKind>) -> Value {
        Value::new(None, kind)
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("30 s", 30),
            ("5 minutes", 300),
            ("1 hour 30 minutes", 5_400),
            ("3 days", 259_200),
            ("2 weeks", 1_209_600),
            ("PT1M", 60),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in ["", "30", "1 month", "-5 s", "soon"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn values_outside_their_range_are_refused_with_the_range() {
        let short = duration(Duration::from_secs(1)..=Duration::from_secs(3_600));
        let wrong = short(&value("2 hours")).unwrap_err();
        assert_eq!(wrong.message, "must be from 1s to 1 hours");
        assert!(count(1..=5)(&value(6)).is_err());
        assert!(count(1..=5)(&value(-1)).is_err());
        assert_eq!(count(1..=5)(&value("5")), Ok(5));
    }

    #[test]
    fn networks_may_be_single_addresses() {
        let read = networks(&value("10.0.0.0/8, ::1")).unwrap();
        assert_eq!(
            read,
            ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]
        );
        assert!(networks(&value("ten")).is_err());
    }

    #[test]
    fn a_public_url_has_nothing_but_scheme_host_and_path() {
        assert!(public_url(&value("https://example.com/x")).is_ok());
        for bad in [
            "example.com",
            "ftp://example.com",
            "https://a.example?x=1",
            "https://a.example#x",
        ] {
            assert!(public_url(&value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_weak_token_is_refused_without_showing_it() {
        let wrong = token(&value("hunter2")).unwrap_err();
        assert!(!format!("{wrong:?}").contains("hunter2"));
        assert!(token(&value("0123456789abcdef")).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panicking(text: String) {
            let text = value(text);
            let _ = duration(Duration::ZERO..=Duration::MAX)(&text);
            let _ = (address(&text), public_url(&text), networks(&text), token(&text));
        }
    }
}
