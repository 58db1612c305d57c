//! A value on its way from the event to a fact.

use std::borrow::Cow;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;

use super::trace::{shown, shown_text};
use super::value::{as_text, decimal_to_json, is_nothing};
use crate::model::Phone;

/// A value on its way through functions.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum<'v> {
    /// As it stands in the event.
    Json(&'v Value),
    /// Text that was made.
    Text(Cow<'v, str>),
    /// An exact number.
    Decimal(Decimal),
    /// A moment.
    Moment(Timestamp),
    /// A phone number.
    Phone(Phone),
}

impl<'v> Datum<'v> {
    /// The value as text; lists and objects have none.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Json(value) => as_text(value),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Decimal(number) => Some(Cow::Owned(number.to_string())),
            Self::Moment(at) => Some(Cow::Owned(at.to_string())),
            Self::Phone(phone) => Some(Cow::Borrowed(phone.as_str())),
        }
    }

    /// The value as JSON, its type kept.
    pub fn into_json(self) -> Value {
        match self {
            Self::Json(value) => value.clone(),
            Self::Text(text) => Value::String(text.into_owned()),
            Self::Decimal(number) => decimal_to_json(number),
            Self::Moment(at) => Value::String(at.to_string()),
            Self::Phone(phone) => Value::String(phone.as_str().to_owned()),
        }
    }

    /// Whether there is nothing in it.
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Json(value) => is_nothing(value),
            Self::Text(text) => text.trim().is_empty(),
            Self::Decimal(_) | Self::Moment(_) | Self::Phone(_) => false,
        }
    }

    /// The value as text, without a copy where it is text already.
    pub(super) fn into_text(self) -> Option<Cow<'v, str>> {
        match self {
            Self::Json(value) => as_text(value),
            Self::Text(text) => Some(text),
            other => other.text().map(|text| Cow::Owned(text.into_owned())),
        }
    }
}

/// The value as it is shown to people.
pub(super) fn quoted(datum: &Datum<'_>) -> String {
    match datum {
        Datum::Json(value) => shown(value),
        other => {
            let text = other.text().unwrap_or_default();
            shown_text(&text)
        }
    }
}
