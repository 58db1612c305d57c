//! What a delivery brings, inside the writer's transaction.
//!
//! The queue has chosen the truth of its lane already, so a delivery replaces whatever an earlier delivery or an
//! API client reported: the last write wins. Two things are not the queue's to change: an outcome that an API client
//! set by hand, and, when a lane's truth is retracted, what an API client set at all. The log has the delivery either way.

use iso_currency::Currency;
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use sqlx::Row;

use super::error::StoreError;
use super::figure;
use super::standing::{COLUMNS, DELIVERY, Entry, Holding, Session, Standing, stage, standing};
use crate::model::{Basis, DeliveryId, Phone};
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

/// What the store knows when a delivery comes in.
enum Known {
    /// This very delivery.
    Recorded(String),
    Call(Box<Standing>),
    Nothing,
}

/// A manual outcome that an API client set holds against deliveries: the queue does not know of it.
const HELD: &str = "an outcome that was set by hand in the store holds";
/// A retraction takes back what deliveries said, not what an API client did.
const NOT_OURS: &str =
    "the outcome that holds was set by an API client; this retraction does not concern it";

/// Writes one change. The caller commits.
pub(super) async fn write(
    session: &mut Session<'_>,
    record: &Record,
) -> Result<Recorded, StoreError> {
    let log = log_id(record.delivery);
    let mut call = match look_up(session, &log, record).await? {
        Known::Recorded(call) => {
            return Ok(Recorded {
                call,
                log,
                changed: false,
            });
        }
        Known::Call(call) => *call,
        Known::Nothing => insert_call(session, record).await?,
    };
    let after = record.outcome.as_ref().map(holding);
    let refused = refusal(call.current.as_ref(), after.as_ref());
    let reached = match (refused, &record.outcome) {
        (None, Some(stored)) => stage(
            call.reached,
            Some(stored.outcome.kind.as_str()),
            stored.outcome.label.as_deref(),
            stored.outcome.subject.booking_id.is_some(),
        ),
        (None, None) => stage(call.reached, None, None, false),
        (Some(_), _) => call.reached,
    };
    touch_call(session, &mut call, record, reached).await?;
    let entry = Entry {
        id: log.clone(),
        actor: DELIVERY,
        changed: &["outcome"],
        after: after.as_ref(),
        event: Some(record.delivery.event.to_string()),
        metadata: after
            .as_ref()
            .map(|a| a.metadata.clone())
            .filter(|m| m != "{}"),
        refused,
    };
    session.log(&call, entry).await?;
    if refused.is_none() && (after.is_some() || call.current.is_some()) {
        session.hold(&call, after.as_ref()).await?;
    }
    if call.phone.is_none() && says_phone(record) {
        figure::refresh(session.connection, session.book, call.no).await?;
    }
    Ok(Recorded {
        call: call.id,
        log,
        changed: true,
    })
}

/// Whether the caller becomes known by it, which may change who is credited with what.
fn says_phone(record: &Record) -> bool {
    let stored = record.outcome.as_ref();
    stored.is_some_and(|stored| stored.outcome.subject.phone.is_some())
}

fn refusal(current: Option<&Holding>, after: Option<&Holding>) -> Option<&'static str> {
    let current = current.filter(|current| current.actor != DELIVERY)?;
    match after {
        None => Some(NOT_OURS),
        Some(after) => (current.is_manual() && !after.is_manual()).then_some(HELD),
    }
}

/// One delivery makes one entry, so its id names it; a call is named after the delivery that first
/// told of it. So writing everything again from the queue gives the same ids.
fn log_id(delivery: DeliveryId) -> String {
    delivery.to_string().replacen("dlv_", "log_", 1)
}

fn call_id(delivery: DeliveryId) -> String {
    delivery.to_string().replacen("dlv_", "call_", 1)
}

/// The call of a delivery: the one that has its target; or, for `call/ID`, one that was imported under this id, of
/// the outcome's agent if several agents share it.
async fn look_up(
    session: &mut Session<'_>,
    log: &str,
    record: &Record,
) -> Result<Known, StoreError> {
    let both = format!(
        "SELECT l.call_no AS logged, {COLUMNS} FROM (SELECT 1 AS one) q LEFT JOIN outcome_log l ON l.id = $1 \
         LEFT JOIN calls c ON c.target = $2 LEFT JOIN outcomes o ON o.call_no = c.no"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(both))
        .bind(log)
        .bind(&record.target)
        .fetch_one(&mut *session.connection)
        .await?;
    if let Some(no) = row.try_get::<Option<i64>, _>("logged")? {
        let call = sqlx::query("SELECT id FROM calls WHERE no = $1")
            .bind(no)
            .fetch_one(&mut *session.connection)
            .await?;
        return Ok(Known::Recorded(call.try_get(0)?));
    }
    if row.try_get::<Option<i64>, _>("no")?.is_some() {
        return Ok(Known::Call(Box::new(standing(&row)?)));
    }
    let Some(id) = record.target.strip_prefix("call/") else {
        return Ok(Known::Nothing);
    };
    // A bare `target IS NULL` would draw the planner to the index over targets, where all imported calls are alike.
    let same_id = format!(
        "SELECT {COLUMNS} FROM calls c LEFT JOIN outcomes o ON o.call_no = c.no \
         WHERE c.call_id = $1 AND COALESCE(c.target, '') = '' ORDER BY c.started_at DESC, c.no DESC LIMIT 50"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(same_id))
        .bind(id)
        .fetch_all(&mut *session.connection)
        .await?;
    let mut calls = rows.iter().map(standing).collect::<Result<Vec<_>, _>>()?;
    let agent = record
        .outcome
        .as_ref()
        .and_then(|stored| stored.outcome.subject.agent_id.as_deref());
    if let Some(agent) = agent {
        calls.retain(|call| call.agent_id.as_deref().is_none_or(|known| known == agent));
    }
    Ok(calls
        .into_iter()
        .next()
        .map_or(Known::Nothing, |call| Known::Call(Box::new(call))))
}

async fn insert_call(session: &mut Session<'_>, record: &Record) -> Result<Standing, StoreError> {
    let id = call_id(record.delivery);
    let subject = record
        .outcome
        .as_ref()
        .map(|stored| &stored.outcome.subject);
    let no = session.book.next_call(session.connection).await?;
    let phone = subject.and_then(|s| s.phone.as_ref()).map(Phone::as_str);
    let (agent, call) = (
        subject.and_then(|s| s.agent_id.clone()),
        subject.and_then(|s| s.call_id.clone()),
    );
    sqlx::query(
        "INSERT INTO calls (no, id, target, revision, reached, agent_id, call_id, phone, email, seen, fields, metadata, \
         created_at, updated_at) VALUES ($1, $2, $3, 0, 0, $4, $5, $6, $7, '{}', '{}', '{}', $8, $8)",
    )
    .bind(no)
    .bind(&id)
    .bind(&record.target)
    .bind(&agent)
    .bind(call)
    .bind(phone)
    .bind(subject.and_then(|s| s.email.as_deref()))
    .bind(session.now)
    .execute(&mut *session.connection)
    .await?;
    Ok(Standing {
        no,
        id,
        revision: 0,
        reached: 0,
        agent_id: agent,
        phone: phone.map(str::to_owned),
        current: None,
    })
}

/// Counts the change and fills in what was not known about the call before.
async fn touch_call(
    session: &mut Session<'_>,
    call: &mut Standing,
    record: &Record,
    reached: i64,
) -> Result<(), StoreError> {
    let subject = record
        .outcome
        .as_ref()
        .map(|stored| &stored.outcome.subject);
    call.reached = reached;
    sqlx::query(
        "UPDATE calls SET revision = $2, updated_at = $3, agent_id = COALESCE(agent_id, $4), \
         call_id = COALESCE(call_id, $5), phone = COALESCE(phone, $6), \
         email = COALESCE(email, $7), target = COALESCE(target, $8), reached = $9 WHERE no = $1",
    )
    .bind(call.no)
    .bind(call.revision + 1)
    .bind(session.now)
    .bind(subject.and_then(|s| s.agent_id.as_deref()))
    .bind(subject.and_then(|s| s.call_id.as_deref()))
    .bind(subject.and_then(|s| s.phone.as_ref()).map(Phone::as_str))
    .bind(subject.and_then(|s| s.email.as_deref()))
    .bind(&record.target)
    .bind(reached)
    .execute(&mut *session.connection)
    .await?;
    Ok(())
}

/// The outcome of a delivery as it is written down.
fn holding(stored: &StoredOutcome) -> Holding {
    let outcome = &stored.outcome;
    let value = outcome.value.as_ref();
    Holding {
        outcome_id: Some(stored.id.to_string()),
        kind: Some(outcome.kind.as_str().to_owned()),
        label: outcome.label.clone(),
        value_minor: value.and_then(|v| minor_units(v.amount, Some(v.currency))),
        value: value.map(|v| v.amount.to_string()),
        currency: value.map(|v| v.currency.code().to_owned()),
        notes: outcome.notes.clone(),
        metadata: serde_json::Value::Object(outcome.metadata.clone()).to_string(),
        basis: basis_word(outcome.basis).to_owned(),
        occurred_at: outcome.occurred_at.as_millisecond(),
        source: outcome.source.to_string(),
        actor: DELIVERY.to_owned(),
        event_id: Some(outcome.event.to_string()),
        rule: Some(outcome.rule.clone()),
    }
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
/// finer than that; hundredths when the currency is not known. `None` when it does not fit; the exact amount stands beside it anyway.
pub(super) fn minor_units(amount: Decimal, currency: Option<Currency>) -> Option<i64> {
    let exponent = currency.map_or(2, |currency| u32::from(currency.exponent().unwrap_or(0)));
    let factor = Decimal::from(10u64.checked_pow(exponent)?);
    amount
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
            let currency = Some(currency(code).unwrap());
            let amount: Decimal = amount.parse().unwrap();
            assert_eq!(minor_units(amount, currency), expected, "{amount} {code}");
        }
    }
}
