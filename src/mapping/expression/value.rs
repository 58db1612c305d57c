//! Values of expressions, and why there is none.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::budget::UNITS;
use crate::mapping::datum::{Datum, quoted};
use crate::mapping::value::{decimal_of, is_nothing};

static TRUE: Json = Json::Bool(true);
static FALSE: Json = Json::Bool(false);

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is there.
    Nothing,
    /// A table has no row for a value. `default` mends it, as in a look-up.
    NoRow(String),
    /// What is there cannot be used so.
    Unusable(String),
    /// The work of the event is used up. No `||` makes up for this one.
    Spent,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing there"),
            Self::NoRow(why) | Self::Unusable(why) => f.write_str(why),
            Self::Spent => write!(
                f,
                "the expressions of this event take more than {UNITS} units of work"
            ),
        }
    }
}

/// A value, borrowed from the event where it can be.
#[derive(Debug, Clone)]
pub(super) enum Value<'v> {
    /// A single value, or a list or object of the event.
    One(Datum<'v>),
    /// A list that was made.
    List(Rc<[Value<'v>]>),
    /// What `.?x` found.
    Maybe(Option<Box<Value<'v>>>),
}

impl<'v> Value<'v> {
    pub(super) fn truth(truth: bool) -> Self {
        Self::json(if truth { &TRUE } else { &FALSE })
    }

    pub(super) fn json(value: &'v Json) -> Self {
        Self::One(Datum::Json(value))
    }

    pub(super) fn text(text: impl Into<Cow<'v, str>>) -> Self {
        Self::One(Datum::Text(text.into()))
    }

    pub(super) fn number(number: Decimal) -> Self {
        Self::One(Datum::Decimal(number))
    }

    /// A value read from the event: one that counts as nothing is none.
    pub(super) fn read(value: Option<&'v Json>) -> Result<Self, Fault> {
        value
            .filter(|value| !is_nothing(value))
            .map(Self::json)
            .ok_or(Fault::Nothing)
    }

    /// The value without the `Maybe` around it.
    pub(super) fn plain(self) -> Result<Self, Fault> {
        match self {
            Self::Maybe(Some(value)) => Ok(*value),
            Self::Maybe(None) => Err(Fault::Nothing),
            value => Ok(value),
        }
    }

    /// The single value; a list that was made is none.
    pub(super) fn into_datum(self) -> Result<Datum<'v>, Fault> {
        match self.plain()? {
            Self::One(datum) => Ok(datum),
            _ => Err(Fault::Unusable(
                "the expression gives a list: make a text of it with join(list, ', ')".to_owned(),
            )),
        }
    }

    pub(super) fn as_truth(&self) -> Option<bool> {
        match self {
            Self::One(Datum::Json(Json::Bool(truth))) => Some(*truth),
            _ => None,
        }
    }

    /// `Ok(None)` when it is no number.
    ///
    /// # Errors
    /// [`Fault::Unusable`] for a number that no decimal can hold.
    pub(super) fn as_number(&self) -> Result<Option<Decimal>, Fault> {
        match self {
            Self::One(Datum::Decimal(number)) => Ok(Some(*number)),
            Self::One(Datum::Json(Json::Number(number))) => match decimal_of(number) {
                Some(number) => Ok(Some(number)),
                None => Err(Fault::Unusable(format!(
                    "{number} is too large or too small to be exact"
                ))),
            },
            _ => Ok(None),
        }
    }

    /// Text, and what is written as text: moments and phone numbers.
    pub(super) fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::One(Datum::Json(Json::String(text))) => Some(Cow::Borrowed(text)),
            Self::One(datum @ (Datum::Text(_) | Datum::Moment(_) | Datum::Phone(_))) => {
                datum.text()
            }
            _ => None,
        }
    }

    /// The items of a list. One element of XML is an object and two are a list: an object is a list
    /// of one, as in paths.
    pub(super) fn into_items(self) -> Result<Items<'v>, Fault> {
        match self.plain()? {
            Self::List(items) => Ok(Items::Made(items)),
            Self::One(Datum::Json(Json::Array(items))) => Ok(Items::Read(items)),
            Self::One(Datum::Json(object @ Json::Object(_))) => {
                Ok(Items::Read(std::slice::from_ref(object)))
            }
            other => Err(Fault::Unusable(format!("{} is not a list", other.shown()))),
        }
    }

    /// The value as it is shown to people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::One(Datum::Decimal(number)) => number.to_string(),
            Self::One(datum) => quoted(datum),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Maybe(Some(value)) => value.shown(),
            Self::Maybe(None) => "nothing".to_owned(),
        }
    }
}

/// The items of a list.
#[derive(Debug, Clone)]
pub(super) enum Items<'v> {
    /// Of the event.
    Read(&'v [Json]),
    /// Of a list that was made.
    Made(Rc<[Value<'v>]>),
}

impl<'v> Items<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Read(items) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    /// The item at `at`; an empty `Maybe` for one that counts as nothing.
    pub(super) fn get(&self, at: usize) -> Option<Value<'v>> {
        match self {
            Self::Read(items) => items
                .get(at)
                .map(|item| Value::read(Some(item)).unwrap_or(Value::Maybe(None))),
            Self::Made(items) => items.get(at).cloned(),
        }
    }
}
