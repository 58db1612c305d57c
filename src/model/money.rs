//! Money: a decimal amount with an ISO 4217 currency. Never a float.

use std::fmt;
use std::str::FromStr;

use iso_currency::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// An exact amount in major units (dollars, not cents) with its currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// The amount in major units; may be negative (a refund larger than the sale).
    pub amount: Decimal,
    /// The currency; three capital letters.
    pub currency: Currency,
}

/// Text or a number that is not an amount, or a code that is not a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// It cannot be read as an amount without guessing.
    #[error("`{0}` is not an amount of money")]
    Amount(String),
    /// No such currency.
    #[error("`{0}` is not an ISO 4217 currency code")]
    Currency(String),
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency.code())
    }
}

/// Reads a currency code in any case, e.g. Stripe's `usd`.
///
/// # Errors
/// [`MoneyError::Currency`] when there is no such currency.
pub fn currency(code: &str) -> Result<Currency, MoneyError> {
    Currency::from_str(&code.trim().to_ascii_uppercase())
        .map_err(|_unknown| MoneyError::Currency(code.chars().take(20).collect()))
}

/// Reads an amount with a decimal point: `1234.5`, `1,234.50`, `$ 1,234,567.891`, `12 345.6`, `1’234.50`, `12,34,567`, `.5`,
/// and `(1,234.50)` as accountants write what is negative.
/// Anything that would have to be guessed (`1.234,50`, `1,5`, words) is refused, and so are a currency's code, which would be
/// lost, and more digits than are kept exactly.
///
/// # Errors
/// [`MoneyError::Amount`].
pub fn parse_amount(text: &str) -> Result<Decimal, MoneyError> {
    parse_grouped(text, '.', ',')
}

/// Reads an amount with a decimal comma: `1.234,50`.
///
/// # Errors
/// [`MoneyError::Amount`].
pub fn parse_amount_comma(text: &str) -> Result<Decimal, MoneyError> {
    parse_grouped(text, ',', '.')
}

fn parse_grouped(text: &str, decimal: char, group: char) -> Result<Decimal, MoneyError> {
    let refuse = || MoneyError::Amount(text.chars().take(40).collect());
    if text.len() > 64 {
        return Err(refuse());
    }
    let trimmed = text
        .trim()
        .trim_matches(|c: char| c.is_whitespace() || is_currency_sign(c));
    let in_brackets = trimmed
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    let (sign, digits) = match (in_brackets, trimmed.strip_prefix(['-', '\u{2212}'])) {
        (Some(inner), _) => ("-", inner),
        (None, Some(rest)) => ("-", rest),
        (None, None) => ("", trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let digits = digits.trim_matches(|c: char| c == ' ' || is_currency_sign(c));
    let (whole, fraction) = digits.split_once(decimal).unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(fraction) || (digits.contains(decimal) && fraction.is_empty()) {
        return Err(refuse());
    }
    let space = |c: char| {
        matches!(
            c,
            ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}' | '\'' | '\u{2019}'
        )
    };
    let parts: Vec<&str> = if whole.contains(group) {
        whole.split(group).collect()
    } else {
        whole.split(space).collect()
    };
    let [first, groups @ ..] = parts.as_slice() else {
        return Err(refuse());
    };
    let grouped_in =
        |size: usize, groups: &[&str]| groups.iter().all(|g| g.len() == size && all_digits(g));
    // As in India: 12,34,567.
    let is_in_lakhs = match groups {
        [twos @ .., last] if group == ',' && first.len() <= 2 => {
            grouped_in(2, twos) && grouped_in(3, &[last])
        }
        _ => false,
    };
    let is_bare_fraction = first.is_empty() && groups.is_empty() && !fraction.is_empty();
    let first_fits = is_bare_fraction
        || (!first.is_empty() && all_digits(first) && (groups.is_empty() || first.len() <= 3));
    if !(is_in_lakhs || grouped_in(3, groups)) || !first_fits {
        return Err(refuse());
    }
    let plain = format!(
        "{sign}{}{}{fraction}",
        parts.concat(),
        if fraction.is_empty() { "" } else { "." }
    );
    Decimal::from_str_exact(&plain).map_err(|_unreadable| refuse())
}

fn is_currency_sign(c: char) -> bool {
    matches!(
        c,
        '$' | '€' | '£' | '¥' | '₺' | '₹' | '₽' | '₩' | '₪' | '₫' | '₴' | '₦' | '฿'
    )
}

/// Turns minor units (cents) into major units by the currency's exponent: 199999 USD → 1999.99,
/// 5000 JPY → 5000, 5250 KWD → 5.250.
///
/// # Errors
/// [`MoneyError::Amount`] when the result does not fit.
pub fn from_minor_units(minor: i64, currency: Currency) -> Result<Decimal, MoneyError> {
    let exponent = u32::from(currency.exponent().unwrap_or(0));
    Decimal::try_from_i128_with_scale(i128::from(minor), exponent)
        .map_err(|_overflow| MoneyError::Amount(minor.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_or_refused() {
        for (text, expected) in [
            ("1234.5", "1234.5"),
            ("1,234.50", "1234.50"),
            ("$ 1,234,567.891", "1234567.891"),
            ("12 345.6", "12345.6"),
            ("1,234", "1234"),
            ("1.234", "1.234"),
            ("-42", "-42"),
            (".5", "0.5"),
            ("-$.05", "-0.05"),
            ("-$42.10", "-42.10"),
            ("1234567890123.45", "1234567890123.45"),
            ("1’234.50", "1234.50"),
            ("1\u{2009}234.50", "1234.50"),
            ("(1,234.50)", "-1234.50"),
            ("($12)", "-12"),
            ("\u{2212}5.00", "-5.00"),
            ("+$12", "12"),
            ("1,23,456.00", "123456.00"),
            ("12,34,567", "1234567"),
        ] {
            assert_eq!(parse_amount(text).unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "1.234,50",
            "1,5",
            "next Tuesday",
            "",
            "1e400",
            "1,23,45",
            "123,45,678",
            "12,34,56",
            "(-5)",
            "(5",
            "12345678901234567890.1234567890",
            "--1",
            "1.",
            ".",
            ",234",
            "12.50 EUR",
            "NaN",
        ] {
            assert!(parse_amount(text).is_err(), "{text} should be refused");
        }
        assert_eq!(
            parse_amount_comma("1.234,50").unwrap().to_string(),
            "1234.50"
        );
    }

    #[test]
    fn minor_units_follow_the_currency() {
        for (minor, code, expected) in [
            (199_999, "usd", "1999.99"),
            (5000, "JPY", "5000"),
            (5250, "KWD", "5.250"),
        ] {
            let amount = from_minor_units(minor, currency(code).unwrap()).unwrap();
            assert_eq!(amount.to_string(), expected);
        }
        assert!(currency("XYZW").is_err());
    }
}
