//! Functions at work: each reads its input exactly, or says that it cannot.

use std::borrow::Cow;

use iso_currency::Currency;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;

use super::argument::Argument;
use super::datum::{Datum, quoted};
use super::path::Path;
use super::reckon::{self, Unit};
use super::scope::Scope;
use super::value::{cut, decimal_of, numeric, numeric_text};
use crate::model::{
    Region, currency, from_minor_units, parse_amount, parse_amount_comma, parse_phone,
    parse_region, parse_time, parse_time_with, parse_unix_millis, parse_unix_seconds,
};

/// The most bytes that a function may give.
pub(super) const MAX_TEXT: usize = 64 * 1024;

/// Why a function gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// A table has no row for the value. `default` mends it.
    NoRow(String),
    /// The function cannot read its input.
    Unreadable(String),
}

/// A function with its arguments, ready to be applied.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Lower,
    Upper,
    Trim,
    Text,
    LastSegment,
    Digits,
    Phone(Option<Argument<Region>>),
    Time,
    TimeSeconds,
    TimeMillis,
    Date(Box<str>),
    Money,
    MoneyComma,
    MinorUnits(Argument<Currency>),
    Minus(Argument<Decimal>),
    Times(Argument<Decimal>),
    Later(Argument<Decimal>, Unit),
    Earlier(Argument<Decimal>, Unit),
    Unix(Unit),
    Sha256,
    Uuid,
    Table(Box<str>),
    Default(Box<str>),
    Cut(usize),
    Replace(Box<str>, Box<str>),
}

impl Operation {
    /// The name it is written by.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Upper => "upper",
            Self::Trim => "trim",
            Self::Text => "text",
            Self::LastSegment => "last_segment",
            Self::Digits => "digits",
            Self::Phone(_) => "phone",
            Self::Time => "time",
            Self::TimeSeconds => "time_s",
            Self::TimeMillis => "time_ms",
            Self::Date(_) => "date",
            Self::Money | Self::MoneyComma => "money",
            Self::MinorUnits(_) => "minor_units",
            Self::Minus(_) => "minus",
            Self::Times(_) => "times",
            Self::Later(..) => "later",
            Self::Earlier(..) => "earlier",
            Self::Unix(_) => "unix",
            Self::Sha256 => "sha256",
            Self::Uuid => "uuid",
            Self::Table(_) => "table",
            Self::Default(_) => "default",
            Self::Cut(_) => "cut",
            Self::Replace(..) => "replace",
        }
    }

    /// The paths that its arguments read.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Phone(Some(Argument::Path(path)))
            | Self::MinorUnits(Argument::Path(path))
            | Self::Minus(Argument::Path(path))
            | Self::Times(Argument::Path(path))
            | Self::Later(Argument::Path(path), _)
            | Self::Earlier(Argument::Path(path), _) => Some(path),
            _ => None,
        }
    }

    /// Applies it to something that is there.
    pub(super) fn apply<'v>(
        &self,
        input: &Datum<'v>,
        scope: &dyn Scope,
    ) -> Result<Datum<'v>, Unusable> {
        let unreadable =
            || Unusable::Unreadable(format!("`{}` cannot read {}", self.name(), quoted(input)));
        let text = || {
            let text = input.clone().into_text();
            text.ok_or_else(unreadable)
        };
        let moment = |at: Result<Timestamp, _>| at.ok().map(Datum::Moment);
        // `None`: it cannot be read.
        let given = match self {
            Self::Default(_) => Some(input.clone()),
            Self::Money | Self::MoneyComma => self.money(input).map(Datum::Decimal),
            Self::MinorUnits(argument) => return minor_units(input, argument, scope),
            Self::Minus(argument) => {
                let less = argument.get(scope, "minus", numeric_text)?;
                let rest = number(input).and_then(|whole| whole.checked_sub(less));
                rest.map(Datum::Decimal)
            }
            Self::Times(factor) => {
                let factor = factor.get(scope, "times", numeric_text)?;
                let product = number(input).and_then(|number| reckon::product(number, factor));
                product.map(Datum::Decimal)
            }
            Self::Later(count, unit) | Self::Earlier(count, unit) => {
                let count = count.get(scope, self.name(), numeric_text)?;
                let back = matches!(self, Self::Earlier(..));
                moment_of(input)
                    .and_then(|at| reckon::shifted(at, if back { -count } else { count }, *unit))
                    .map(Datum::Moment)
            }
            Self::Unix(unit) => moment_of(input)
                .and_then(|at| reckon::since_epoch(at, *unit))
                .map(Datum::Decimal),
            Self::Table(name) => return look_up(input, name, scope),
            Self::Text => Some(Datum::Text(text()?)),
            Self::Lower => Some(Datum::Text(text()?.to_lowercase().into())),
            Self::Upper => Some(Datum::Text(text()?.to_uppercase().into())),
            Self::Trim => Some(Datum::Text(text()?.trim().to_owned().into())),
            Self::LastSegment => Some(Datum::Text(last_segment(&text()?).to_owned().into())),
            Self::Digits => {
                let digits: String = text()?.chars().filter(char::is_ascii_digit).collect();
                (!digits.is_empty()).then(|| Datum::Text(digits.into()))
            }
            Self::Sha256 => Some(Datum::Text(reckon::sha256(&text()?).into())),
            Self::Uuid => Some(Datum::Text(reckon::uuid(&text()?).into())),
            Self::Cut(count) => Some(Datum::Text(text()?.chars().take(*count).collect())),
            Self::Replace(from, to) => Some(Datum::Text(replaced(&text()?, from, to).into())),
            Self::Phone(argument) => {
                let text = text()?;
                let region = match argument {
                    Some(argument) => {
                        Some(argument.get(scope, "phone", |code| parse_region(code).ok())?)
                    }
                    None => scope.region(),
                };
                parse_phone(&text, region).ok().map(Datum::Phone)
            }
            Self::Time => moment(parse_time(&text()?)),
            Self::TimeSeconds => moment(parse_unix_seconds(&text()?)),
            Self::TimeMillis => moment(parse_unix_millis(&text()?)),
            Self::Date(pattern) => moment(parse_time_with(pattern, &text()?)),
        };
        given.ok_or_else(unreadable)
    }

    fn money(&self, input: &Datum<'_>) -> Option<Decimal> {
        match input {
            Datum::Decimal(amount) => Some(*amount),
            Datum::Json(Value::Number(number)) => decimal_of(number),
            other => {
                let text = other.text()?;
                let read = if matches!(self, Self::MoneyComma) {
                    parse_amount_comma(&text)
                } else {
                    parse_amount(&text)
                };
                read.ok()
            }
        }
    }
}

fn minor_units<'v>(
    input: &Datum<'v>,
    argument: &Argument<Currency>,
    scope: &dyn Scope,
) -> Result<Datum<'v>, Unusable> {
    let currency = argument.get(scope, "minor_units", |code| currency(code).ok())?;
    number(input)
        .filter(Decimal::is_integer)
        .and_then(|whole| i64::try_from(whole).ok())
        .and_then(|whole| from_minor_units(whole, currency).ok())
        .map(Datum::Decimal)
        .ok_or_else(|| {
            Unusable::Unreadable(format!(
                "`minor_units` cannot read {}: it takes whole minor units",
                quoted(input)
            ))
        })
}

/// A number, or text that is nothing but a number.
fn number(input: &Datum<'_>) -> Option<Decimal> {
    match input {
        Datum::Json(value) => numeric(value),
        Datum::Decimal(number) => Some(*number),
        other => numeric_text(&other.text()?),
    }
}

/// A moment, or text that `time` reads.
fn moment_of(input: &Datum<'_>) -> Option<Timestamp> {
    match input {
        Datum::Moment(at) => Some(*at),
        other => parse_time(&other.text()?).ok(),
    }
}

fn look_up<'v>(input: &Datum<'v>, name: &str, scope: &dyn Scope) -> Result<Datum<'v>, Unusable> {
    let row = scope.table(name).and_then(|table| match input {
        Datum::Json(value) => table.get(value),
        other => table.get_text(&other.text()?),
    });
    row.map(|text| Datum::Text(Cow::Owned(text.to_owned())))
        .ok_or_else(|| Unusable::NoRow(format!("table `{name}` has no row for {}", quoted(input))))
}

fn last_segment(text: &str) -> &str {
    let trimmed = text.trim().trim_end_matches('/');
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

/// Replaces, but never beyond the limit: two uses could make gigabytes of a kilobyte.
fn replaced(text: &str, from: &str, to: &str) -> String {
    let mut result = String::new();
    for (n, part) in text.split(from).enumerate() {
        if n > 0 {
            result.push_str(to);
        }
        result.push_str(part);
        if result.len() > MAX_TEXT {
            return cut(&result, MAX_TEXT).to_owned();
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_cannot_fill_the_memory() {
        let long = "a".repeat(1000);
        let text = replaced(&"a".repeat(1000), "a", &long);
        assert_eq!(text.len(), MAX_TEXT);
    }
}
