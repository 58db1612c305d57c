//! The one definition of "nothing there", and the one loose rule of comparison.
//!
//! Vendors send `null`, blank text and empty lists where they mean nothing, and forms and XML send
//! every number and truth value as text. Both are settled here, once, for every place that reads a
//! value.

use std::borrow::Cow;

use rust_decimal::Decimal;
use serde_json::{Number, Value};

/// Whether there is nothing: `null`, blank text, `[]` and `{}`. (Absence has no value to ask.)
pub fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A scalar as text; lists and objects have none.
pub(super) fn as_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(true) => Some(Cow::Borrowed("true")),
        Value::Bool(false) => Some(Cow::Borrowed("false")),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number as an exact decimal, by way of its own shortest text. `None` when it does not fit.
pub(super) fn decimal_of(number: &Number) -> Option<Decimal> {
    if let Some(whole) = number.as_i64() {
        return Some(Decimal::from(whole));
    }
    if let Some(whole) = number.as_u64() {
        return Some(Decimal::from(whole));
    }
    let text = number.to_string();
    Decimal::from_str_exact(&text)
        .or_else(|_exponent| Decimal::from_scientific(&text))
        .ok()
}

/// Text that is nothing but a number (`5`, `-5.0`), as an exact decimal.
pub(super) fn numeric_text(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit());
    // `from_str_exact` refuses what it would have to round, so that long ids stay text.
    plain.then(|| Decimal::from_str_exact(text).ok()).flatten()
}

/// A number, or text that is nothing but a number.
pub(super) fn numeric(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => decimal_of(number),
        Value::String(text) => numeric_text(text),
        _ => None,
    }
}

/// A decimal as a JSON number where that is exact, else as text.
pub(super) fn decimal_to_json(decimal: Decimal) -> Value {
    let text = decimal.to_string();
    let number = if decimal.scale() == 0 {
        text.parse::<i64>().ok().map(Number::from)
    } else {
        text.parse::<f64>()
            .ok()
            .and_then(Number::from_f64)
            .filter(|number| decimal_of(number) == Some(decimal))
    };
    number.map_or(Value::String(text), Value::Number)
}

/// `text` cut to at most `bytes` bytes, at a character.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// One value that a rule compares with, prepared at load.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Literal {
    text: Box<str>,
    number: Option<Decimal>,
    truth: Option<bool>,
}

impl Literal {
    /// Prepares `text`.
    pub(super) fn new(text: &str) -> Self {
        Self {
            number: numeric_text(text),
            truth: truth(text),
            text: text.into(),
        }
    }

    /// The text as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The loose rule: numbers and numeric text as decimals, `true` and `false` and their text in
    /// any case, everything else as exact text.
    pub(super) fn equals(&self, value: &Value) -> bool {
        match value {
            Value::Bool(value) => self.truth == Some(*value),
            Value::Number(number) => match (self.number, decimal_of(number)) {
                (Some(own), Some(other)) => own == other,
                _ => *self.text == number.to_string(),
            },
            Value::String(text) => self.equals_text(text),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }

    fn equals_text(&self, text: &str) -> bool {
        if *self.text == *text {
            return true;
        }
        if let Some(own) = self.number {
            return numeric_text(text) == Some(own);
        }
        self.truth.is_some() && truth(text) == self.truth
    }
}

fn truth(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Text that is looked for in other text, ignoring case.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Needle(Box<str>);

impl Needle {
    /// Prepares `text`.
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_lowercase().into())
    }

    /// Whether `value` contains it; a list contains it when one of its items is it.
    pub(super) fn within(&self, value: &Value) -> bool {
        if let Value::Array(items) = value {
            return items
                .iter()
                .any(|item| as_text(item).is_some_and(|text| text.to_lowercase() == *self.0));
        }
        self.ask(value, |text, needle| text.contains(needle))
    }

    /// Whether `value` starts with it.
    pub(super) fn starts(&self, value: &Value) -> bool {
        self.ask(value, |text, needle| text.starts_with(needle))
    }

    /// Whether `value` ends with it.
    pub(super) fn ends(&self, value: &Value) -> bool {
        self.ask(value, |text, needle| text.ends_with(needle))
    }

    fn ask(&self, value: &Value, question: impl Fn(&str, &str) -> bool) -> bool {
        as_text(value).is_some_and(|text| {
            if text
                .bytes()
                .any(|b| b.is_ascii_uppercase() || !b.is_ascii())
            {
                question(&text.to_lowercase(), &self.0)
            } else {
                question(&text, &self.0)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_there_has_one_definition() {
        for nothing in [json!(null), json!(""), json!(" \t\n"), json!([]), json!({})] {
            assert!(is_nothing(&nothing), "{nothing}");
        }
        for something in [
            json!(0),
            json!(false),
            json!("x"),
            json!([null]),
            json!({"a": null}),
        ] {
            assert!(!is_nothing(&something), "{something}");
        }
    }

    #[test]
    fn comparison_is_loose_for_numbers_and_truth_and_exact_for_text() {
        for (own, value, equal) in [
            ("5", json!(5), true),
            ("5", json!(5.0), true),
            ("5", json!("5.0"), true),
            ("5.0", json!("5"), true),
            ("5", json!("five"), false),
            ("true", json!(true), true),
            ("true", json!("True"), true),
            ("TRUE", json!(true), true),
            ("true", json!(1), false),
            ("false", json!("FALSE"), true),
            ("false", json!(null), false),
            ("won", json!("Won"), false),
            ("won", json!("won"), true),
            ("9007199254740993", json!(9_007_199_254_740_993_u64), true),
            ("9007199254740993", json!(9_007_199_254_740_992_u64), false),
            ("1e+300", json!(1e300), true),
            ("x", json!(["x"]), false),
        ] {
            assert_eq!(Literal::new(own).equals(&value), equal, "{own} and {value}");
        }
    }

    #[test]
    fn ids_longer_than_a_decimal_are_compared_as_text() {
        let long = "1234567890123456789012345678901234567890";
        assert!(Literal::new(long).equals(&json!(long)));
        let other = "1234567890123456789012345678901234567891";
        assert!(!Literal::new(long).equals(&json!(other)));
    }

    proptest! {
        #[test]
        fn decimals_survive_json(mantissa in -999_999_999_999_999_i64..=999_999_999_999_999, scale in 0_u32..=6) {
            let decimal = Decimal::new(mantissa, scale);
            prop_assert_eq!(numeric(&decimal_to_json(decimal)), Some(decimal));
            prop_assert_eq!(numeric_text(&decimal.to_string()), Some(decimal));
        }

        #[test]
        fn whole_numbers_of_events_are_exact(number: i64, large: u64) {
            prop_assert_eq!(decimal_of(&Number::from(number)), Some(Decimal::from(number)));
            prop_assert_eq!(decimal_of(&Number::from(large)), Some(Decimal::from(large)));
        }

        #[test]
        fn equality_holds_for_a_text_with_itself(text: String) {
            prop_assert!(Literal::new(&text).equals(&Value::String(text)));
        }

        #[test]
        fn cutting_keeps_a_beginning(text: String, bytes in 0_usize..40) {
            let short = cut(&text, bytes);
            prop_assert!(short.len() <= bytes && text.starts_with(short));
        }
    }
}
