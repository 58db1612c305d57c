//! Operators: exact decimals, text and lists. Nothing is converted to fit.

use std::cmp::Ordering;

use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::budget::Budget;
use super::tree::Arithmetic;
use super::value::{Fault, Value};
use crate::mapping::datum::Datum;
use crate::mapping::operation::MAX_TEXT;
use crate::mapping::value::decimal_of;

/// `a + b` and its like.
///
/// # Errors
/// [`Fault::Unusable`] for values of the wrong type, a result beyond the limits, a division by zero.
pub(super) fn calculate<'v>(
    operator: Arithmetic,
    a: &Value<'v>,
    b: &Value<'v>,
    budget: &Budget,
) -> Result<Value<'v>, Fault> {
    if let (Some(a), Some(b)) = (a.as_number()?, b.as_number()?) {
        return numbers(operator, a, b).map(Value::number);
    }
    if operator == Arithmetic::Add {
        if let (Some(a), Some(b)) = (a.as_text(), b.as_text()) {
            return texts(&a, &b, budget);
        }
        if let (Value::List(a), Value::List(b)) = (a, b) {
            budget.spend(a.len() + b.len())?;
            return Ok(Value::List(a.iter().chain(b.iter()).cloned().collect()));
        }
    }
    Err(wrong_types(operator.sign(), a, b))
}

fn numbers(operator: Arithmetic, a: Decimal, b: Decimal) -> Result<Decimal, Fault> {
    let result = match operator {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide | Arithmetic::Remainder if b.is_zero() => {
            return Err(Fault::Unusable(format!("{a} cannot be divided by zero")));
        }
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Remainder => a.checked_rem(b),
    };
    let sign = operator.sign();
    let result = result.ok_or_else(|| Fault::Unusable(format!("{a} {sign} {b} is too large")))?;
    // `19.90 / 100 * 100` is 19.9: zeros that a calculation left behind say nothing.
    Ok(match operator {
        Arithmetic::Divide | Arithmetic::Multiply => result.normalize(),
        _ => result,
    })
}

fn texts<'v>(a: &str, b: &str, budget: &Budget) -> Result<Value<'v>, Fault> {
    let length = a.len() + b.len();
    budget.spend_text(length)?;
    if length > MAX_TEXT {
        return Err(Fault::Unusable(format!(
            "a text of more than {MAX_TEXT} bytes"
        )));
    }
    Ok(Value::text([a, b].concat()))
}

fn wrong_types(sign: &str, a: &Value<'_>, b: &Value<'_>) -> Fault {
    Fault::Unusable(format!(
        "`{sign}` cannot be used on {} and {}",
        a.shown(),
        b.shown()
    ))
}

/// Which of two is smaller: numbers, texts, moments.
///
/// # Errors
/// [`Fault::Unusable`] for anything else, and for two of different types.
pub(super) fn compare(a: &Value<'_>, b: &Value<'_>, budget: &Budget) -> Result<Ordering, Fault> {
    if let (Some(a), Some(b)) = (a.as_number()?, b.as_number()?) {
        return Ok(a.cmp(&b));
    }
    if let (Value::One(Datum::Moment(a)), Value::One(Datum::Moment(b))) = (a, b) {
        return Ok(a.cmp(b));
    }
    let (Some(text), Some(other)) = (a.as_text(), b.as_text()) else {
        return Err(wrong_types("<", a, b));
    };
    budget.spend_text(text.len().min(other.len()))?;
    Ok(text.cmp(&other))
}

/// Whether two are equal. Values of different types are not.
///
/// # Errors
/// [`Fault::Unusable`] for a number that no decimal can hold.
pub(super) fn equal(a: &Value<'_>, b: &Value<'_>, budget: &Budget) -> Result<bool, Fault> {
    if let (Some(a), Some(b)) = (a.as_number()?, b.as_number()?) {
        return Ok(a == b);
    }
    if let (Some(a), Some(b)) = (a.as_text(), b.as_text()) {
        if a.len() == b.len() {
            budget.spend_text(a.len())?;
        }
        return Ok(a == b);
    }
    match (a, b) {
        (Value::One(Datum::Json(a)), Value::One(Datum::Json(b))) => same(a, b, budget),
        (Value::List(_), _) | (_, Value::List(_)) => lists(a, b, budget),
        _ => Ok(false),
    }
}

fn lists(a: &Value<'_>, b: &Value<'_>, budget: &Budget) -> Result<bool, Fault> {
    let is_list = |value: &Value<'_>| {
        matches!(
            value,
            Value::List(_) | Value::One(Datum::Json(Json::Array(_)))
        )
    };
    if !is_list(a) || !is_list(b) {
        return Ok(false);
    }
    let (a, b) = (a.clone().into_items()?, b.clone().into_items()?);
    if a.len() != b.len() {
        return Ok(false);
    }
    budget.spend(a.len())?;
    for at in 0..a.len() {
        let (Some(a), Some(b)) = (a.get(at), b.get(at)) else {
            return Ok(false);
        };
        if !equal(&a, &b, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares JSON in depth; `serde_json` reads no deeper than 128 levels.
fn same(a: &Json, b: &Json, budget: &Budget) -> Result<bool, Fault> {
    budget.spend(1)?;
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => Ok(match (decimal_of(a), decimal_of(b)) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        }),
        (Json::String(a), Json::String(b)) => {
            if a.len() == b.len() {
                budget.spend_text(a.len())?;
            }
            Ok(a == b)
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            for (a, b) in a.iter().zip(b) {
                if !same(a, b, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Json::Object(a), Json::Object(b)) if a.len() == b.len() => {
            for (name, a) in a {
                let Some(b) = b.get(name) else {
                    return Ok(false);
                };
                if !same(a, b, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(a == b && !matches!(a, Json::Array(_) | Json::Object(_))),
    }
}
