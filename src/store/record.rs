//! One change of one call, inside the writer's transaction.

use rust_decimal::RoundingStrategy;
use rust_decimal::prelude::ToPrimitive;
use sqlx::{Row, SqliteConnection};

use super::error::StoreError;
use crate::model::{Basis, DeliveryId, Money, Phone};
use crate::queue::StoredOutcome;

/// What a delivery brings to the store.
#[derive(Debug, Clone)]
pub struct Record {
    /// The delivery; the same one again changes nothing.
    pub delivery: DeliveryId,
    /// Which call it is about: the delivery's target, as it is.
    pub target: String,
    /// What holds now; `None` when nothing does any more.
    pub outcome: Option<StoredOutcome>,
}

/// What recording did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The call's id in the store.
    pub call: String,
    /// The id of the log's entry.
    pub log: String,
    /// Whether anything was written; `false` when this delivery was recorded before.
    pub changed: bool,
}

/// What the store knows when a change comes in.
enum Known {
    /// This very change.
    Recorded {
        call: String,
    },
    Call(Before),
    Nothing,
}

/// A call as it stands before a change.
struct Before {
    call: String,
    revision: i64,
    kind: Option<String>,
}

/// Writes one change. The caller commits.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    record: &Record,
    now: i64,
) -> Result<Recorded, StoreError> {
    let log = log_id(record.delivery);
    let before = match look_up(connection, &log, &record.target).await? {
        Known::Recorded { call } => {
            return Ok(Recorded {
                call,
                log,
                changed: false,
            });
        }
        Known::Call(before) => {
            touch_call(connection, &before, record, now).await?;
            before
        }
        Known::Nothing => insert_call(connection, record, now).await?,
    };
    append_log(connection, &log, &before, record, now).await?;
    match &record.outcome {
        Some(stored) => set_outcome(connection, &before.call, stored, now).await?,
        None if before.kind.is_some() => clear_outcome(connection, &before.call).await?,
        None => {}
    }
    Ok(Recorded {
        call: before.call,
        log,
        changed: true,
    })
}

/// One delivery makes one entry, so its id names it; a call is named after the delivery that first
/// told of it. So writing everything again from the queue gives the same ids.
fn log_id(delivery: DeliveryId) -> String {
    delivery.to_string().replacen("dlv_", "log_", 1)
}

fn call_id(delivery: DeliveryId) -> String {
    delivery.to_string().replacen("dlv_", "call_", 1)
}

/// Both questions in one statement: each is a trip to the database's thread.
async fn look_up(
    connection: &mut SqliteConnection,
    log: &str,
    target: &str,
) -> Result<Known, StoreError> {
    let row = sqlx::query(
        "SELECT l.call_ref, c.id, c.revision, o.kind FROM (SELECT 1) AS one \
         LEFT JOIN outcome_log l ON l.id = $1 \
         LEFT JOIN calls c ON c.target = $2 \
         LEFT JOIN outcomes o ON o.call_ref = c.id",
    )
    .bind(log)
    .bind(target)
    .fetch_one(connection)
    .await?;
    if let Some(call) = row.try_get(0)? {
        return Ok(Known::Recorded { call });
    }
    let Some(call) = row.try_get(1)? else {
        return Ok(Known::Nothing);
    };
    Ok(Known::Call(Before {
        call,
        revision: row.try_get(2)?,
        kind: row.try_get(3)?,
    }))
}

async fn insert_call(
    connection: &mut SqliteConnection,
    record: &Record,
    now: i64,
) -> Result<Before, StoreError> {
    let id = call_id(record.delivery);
    let subject = record
        .outcome
        .as_ref()
        .map(|stored| &stored.outcome.subject);
    sqlx::query(
        "INSERT INTO calls (id, target, revision, agent_id, call_id, phone, email, metadata, \
         created_at, updated_at) VALUES ($1, $2, 1, $3, $4, $5, $6, '{}', $7, $7)",
    )
    .bind(&id)
    .bind(&record.target)
    .bind(subject.and_then(|s| s.agent_id.as_deref()))
    .bind(subject.and_then(|s| s.call_id.as_deref()))
    .bind(subject.and_then(|s| s.phone.as_ref()).map(Phone::as_str))
    .bind(subject.and_then(|s| s.email.as_deref()))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(Before {
        call: id,
        revision: 0,
        kind: None,
    })
}

/// Counts the change and fills in what was not known about the call before.
async fn touch_call(
    connection: &mut SqliteConnection,
    before: &Before,
    record: &Record,
    now: i64,
) -> Result<(), StoreError> {
    let subject = record
        .outcome
        .as_ref()
        .map(|stored| &stored.outcome.subject);
    sqlx::query(
        "UPDATE calls SET revision = $2, updated_at = $3, agent_id = COALESCE(agent_id, $4), \
         call_id = COALESCE(call_id, $5), phone = COALESCE(phone, $6), \
         email = COALESCE(email, $7) WHERE id = $1",
    )
    .bind(&before.call)
    .bind(before.revision + 1)
    .bind(now)
    .bind(subject.and_then(|s| s.agent_id.as_deref()))
    .bind(subject.and_then(|s| s.call_id.as_deref()))
    .bind(subject.and_then(|s| s.phone.as_ref()).map(Phone::as_str))
    .bind(subject.and_then(|s| s.email.as_deref()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn append_log(
    connection: &mut SqliteConnection,
    log: &str,
    before: &Before,
    record: &Record,
    now: i64,
) -> Result<(), StoreError> {
    let outcome = record.outcome.as_ref().map(|stored| &stored.outcome);
    let value = outcome.and_then(|o| o.value.as_ref());
    sqlx::query(
        "INSERT INTO outcome_log (id, call_ref, revision, event_id, outcome_id, source, rule, \
         previous_kind, kind, label, value_minor, value, currency, basis, occurred_at, recorded_at, \
         status) VALUES \
         ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'success')",
    )
    .bind(log)
    .bind(&before.call)
    .bind(before.revision + 1)
    .bind(record.delivery.event.to_string())
    .bind(record.outcome.as_ref().map(|stored| stored.id.to_string()))
    .bind(outcome.map(|o| o.source.as_str()))
    .bind(outcome.map(|o| o.rule.as_str()))
    .bind(before.kind.as_deref())
    .bind(outcome.map(|o| o.kind.as_str()))
    .bind(outcome.and_then(|o| o.label.as_deref()))
    .bind(value.and_then(minor_units))
    .bind(value.map(|v| v.amount.to_string()))
    .bind(value.map(|v| v.currency.code()))
    .bind(outcome.map(|o| basis_word(o.basis)))
    .bind(outcome.map(|o| o.occurred_at.as_millisecond()))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn set_outcome(
    connection: &mut SqliteConnection,
    call: &str,
    stored: &StoredOutcome,
    now: i64,
) -> Result<(), StoreError> {
    let outcome = &stored.outcome;
    let value = outcome.value.as_ref();
    sqlx::query(
        "INSERT INTO outcomes (call_ref, outcome_id, kind, label, value_minor, value, currency, \
         notes, metadata, basis, occurred_at, source, event_id, rule, recorded_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (call_ref) DO UPDATE SET outcome_id = excluded.outcome_id, \
         kind = excluded.kind, label = excluded.label, value_minor = excluded.value_minor, \
         value = excluded.value, currency = excluded.currency, notes = excluded.notes, \
         metadata = excluded.metadata, basis = excluded.basis, \
         occurred_at = excluded.occurred_at, source = excluded.source, \
         event_id = excluded.event_id, rule = excluded.rule, recorded_at = excluded.recorded_at",
    )
    .bind(call)
    .bind(stored.id.to_string())
    .bind(outcome.kind.as_str())
    .bind(outcome.label.as_deref())
    .bind(value.and_then(minor_units))
    .bind(value.map(|v| v.amount.to_string()))
    .bind(value.map(|v| v.currency.code()))
    .bind(outcome.notes.as_deref())
    .bind(serde_json::Value::Object(outcome.metadata.clone()).to_string())
    .bind(basis_word(outcome.basis))
    .bind(outcome.occurred_at.as_millisecond())
    .bind(outcome.source.as_str())
    .bind(outcome.event.to_string())
    .bind(outcome.rule.as_str())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn clear_outcome(connection: &mut SqliteConnection, call: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM outcomes WHERE call_ref = $1")
        .bind(call)
        .execute(connection)
        .await?;
    Ok(())
}

/// The word for it in the store.
pub(super) fn basis_word(basis: Basis) -> &'static str {
    match basis {
        Basis::Inferred => "inferred",
        Basis::Reported => "reported",
        Basis::Manual => "manual",
    }
}

/// For sums: the amount in the currency's smallest unit, rounded half away from zero where it is
/// finer than that. `None` when it does not fit; the exact amount stands beside it anyway.
fn minor_units(money: &Money) -> Option<i64> {
    let exponent = u32::from(money.currency.exponent().unwrap_or(0));
    let factor = rust_decimal::Decimal::from(10u64.checked_pow(exponent)?);
    money
        .amount
        .checked_mul(factor)?
        .round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero)
        .to_i64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::currency;

    #[test]
    fn minor_units_follow_the_currency_and_round_to_it() {
        for (amount, code, expected) in [
            ("1999.99", "USD", Some(199_999)),
            ("0.005", "USD", Some(1)),
            ("-42.10", "EUR", Some(-4210)),
            ("5000", "JPY", Some(5000)),
            ("5.25", "KWD", Some(5250)),
            ("92233720368547758.08", "USD", None),
            ("79228162514264337593543950335", "USD", None),
        ] {
            let money = Money {
                amount: amount.parse().unwrap(),
                currency: currency(code).unwrap(),
            };
            assert_eq!(minor_units(&money), expected, "{amount} {code}");
        }
    }
}
