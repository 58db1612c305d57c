//! What a delivery brings, inside the writer's transaction.
//!
//! The queue has chosen the truth of its lane already, so a delivery replaces whatever an earlier delivery or an
//! API client reported: the last write wins. Two things are not the queue's to change: an outcome that an API client
//! set by hand, and, when a lane's truth is retracted, what an API client set at all. A delivery that is written again, after
//! the store's file was lost, holds only where nothing newer was said meanwhile. The log has the delivery either way.

use std::collections::{BTreeSet, HashMap, HashSet};

use iso_currency::Currency;
use jiff::Timestamp;
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::error::StoreError;
use super::figure::{self, Stale};
use super::standing::{
    BOOKED, COLUMNS, DELIVERY, Entry, Held, Holding, MOST_NAMESAKES, SHOWN, Session, Standing,
    in_pieces, push_list, stage, standing,
};
use crate::model::{Basis, DeliveryId, OutcomeKind, Phone, Subject};
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
    /// The furthest that the lead came, as far as the queue knows, whatever holds.
    pub furthest: Option<OutcomeKind>,
    /// When it was delivered, if it is written again because the store may have lost it: what was said since holds.
    pub again: Option<Timestamp>,
}

/// What recording did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The call's id in the store.
    pub call: String,
    /// The id of the log's entry; `None` when it brought what held already.
    pub log: Option<String>,
    /// Whether anything was written; `false` when this delivery was recorded before.
    pub changed: bool,
}

/// A manual outcome that an API client set holds against deliveries: the queue does not know of it.
const HELD: &str = "an outcome that was set by hand in the store holds";
/// A retraction takes back what deliveries said, not what an API client did.
const NOT_OURS: &str =
    "the outcome that holds was set by an API client; this retraction does not concern it";
/// What is written again brings back what was lost, not what was overtaken meanwhile.
const OVERTAKEN: &str = "written again after something newer had been said of the call";

/// Which of two entries of a call's log was said later: by when it was said, then by its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    at: i64,
    log: String,
}

/// A delivery that is being recorded.
struct Entering<'r> {
    place: usize,
    record: &'r Record,
    mark: Mark,
    call: Standing,
    is_new: bool,
    after: Option<Holding>,
    /// It brings what holds already: only how far the call came may be another.
    is_repeat: bool,
    refused: Option<&'static str>,
    reached: i64,
}

/// Records deliveries, as if one after the other. The caller commits.
///
/// Deliveries to different calls are written together, a few statements for all of them; a second one to the same call waits
/// for the next round.
pub(super) async fn write_all(
    session: &mut Session<'_>,
    records: &[&Record],
) -> Result<Vec<Recorded>, StoreError> {
    let mut answers: Vec<Option<Recorded>> = vec![None; records.len()];
    let mut waiting: Vec<usize> = (0..records.len()).collect();
    while !waiting.is_empty() {
        let sought: Vec<&Record> = waiting.iter().map(|place| records[*place]).collect();
        let known = Known::look_up(session, &sought).await?;
        let mut round = Round::default();
        for place in std::mem::take(&mut waiting) {
            let (record, log) = (records[place], log_id(records[place].delivery));
            if let Some(call) = known.logged.get(&log) {
                answers[place] = Some(Recorded {
                    call: call.clone(),
                    log: Some(log),
                    changed: false,
                });
                continue;
            }
            let found = known.call(record);
            if !round.admits(&log, &record.target, found.map(|call| call.no)) {
                waiting.push(place);
                continue;
            }
            let (call, is_new) = match found {
                Some(call) => (call.clone(), false),
                None => (new_call(session, record).await?, true),
            };
            let at = record.again.map_or(session.now, Timestamp::as_millisecond);
            let mark = Mark { at, log };
            let is_overtaken = known.latest.get(&call.no).is_some_and(|said| *said > mark);
            let entering = Entering::of(place, record, mark, call, is_overtaken);
            round.entering.push(Entering { is_new, ..entering });
        }
        round.write(session).await?;
        for entering in round.entering {
            answers[entering.place] = Some(Recorded {
                changed: !entering.is_repeat || entering.reached != entering.call.reached,
                log: (!entering.is_repeat).then_some(entering.mark.log),
                call: entering.call.id,
            });
        }
    }
    // Every place was answered: each round takes at least the first one that waits.
    answers
        .into_iter()
        .map(|answer| answer.ok_or(StoreError::Closed))
        .collect()
}

impl<'r> Entering<'r> {
    /// Of a call that is known.
    fn of(
        place: usize,
        record: &'r Record,
        mark: Mark,
        call: Standing,
        is_overtaken: bool,
    ) -> Self {
        let after = record.outcome.as_ref().map(holding);
        let refused = refusal(call.current.as_ref(), after.as_ref());
        let refused = refused.or(is_overtaken.then_some(OVERTAKEN));
        let is_repeat = after.is_some() && after == call.current;
        let reached = match (refused, &record.outcome) {
            (None, Some(stored)) => {
                // What holds already does not tell again of what only it was known to have reached.
                let before = if is_repeat { BOOKED } else { i64::MAX };
                furthest_stage(record.furthest)
                    | stage(
                        call.reached & before,
                        Some(stored.outcome.kind.as_str()),
                        stored.outcome.label.as_deref(),
                        stored.outcome.subject.booking_id.is_some(),
                    )
            }
            (None, None) => stage(call.reached, None, None, false),
            (Some(_), _) => call.reached,
        };
        Self {
            place,
            record,
            mark,
            call,
            is_new: false,
            after,
            is_repeat,
            refused,
            reached,
        }
    }

    /// The number of the call's change, which a repeat does not count as.
    fn revision(&self) -> i64 {
        self.call.revision + i64::from(!self.is_repeat)
    }

    fn subject(&self) -> Option<&Subject> {
        let stored = self.record.outcome.as_ref();
        stored.map(|stored| &stored.outcome.subject)
    }

    /// Whether something becomes known of the call that was not before.
    fn teaches(&self) -> bool {
        let knows_email = self.call.email.is_some();
        self.call.target.is_none()
            || self.tells_who()
            || (!knows_email && self.subject().is_some_and(|s| s.email.is_some()))
    }

    /// Whether agent, id or caller become known by it, which may change what counts where, even if the outcome is refused.
    fn tells_who(&self) -> bool {
        let call = &self.call;
        self.subject().is_some_and(|said| {
            call.agent_id.is_none() && said.agent_id.is_some()
                || call.call_id.is_none() && said.call_id.is_some()
                || call.phone.is_none() && said.phone.is_some()
        })
    }

    fn entry(&self) -> Entry<'_> {
        let after = self.after.as_ref();
        Entry {
            id: self.mark.log.clone(),
            at: self.mark.at,
            actor: DELIVERY,
            changed: &["outcome"],
            after,
            event: Some(self.record.delivery.event.to_string()),
            metadata: after
                .map(|a| a.metadata.clone())
                .filter(|metadata| metadata != "{}"),
            refused: self.refused,
        }
    }
}

/// Deliveries to different calls.
#[derive(Default)]
struct Round<'r> {
    entering: Vec<Entering<'r>>,
    taken: HashSet<String>,
    calls: HashSet<i64>,
}

impl Round<'_> {
    /// Whether nothing in this round concerns the same log entry, target or call.
    fn admits(&mut self, log: &str, target: &str, call: Option<i64>) -> bool {
        // Ids of entries are no targets, so that one set does for both.
        let log_is_new = self.taken.insert(log.to_owned());
        let target_is_new = self.taken.insert(format!("to {target}"));
        let call_is_new = call.is_none_or(|call| self.calls.insert(call));
        log_is_new && target_is_new && call_is_new
    }

    async fn write(&self, session: &mut Session<'_>) -> Result<(), StoreError> {
        let of = |new: bool, teaches: bool| -> Vec<&Entering<'_>> {
            let all = self.entering.iter();
            all.filter(|one| one.is_new == new && (new || one.teaches() == teaches))
                .collect()
        };
        insert_calls(session, &of(true, false)).await?;
        teach(session, &of(false, true)).await?;
        count(session, &of(false, false)).await?;
        let entries: Vec<_> = self
            .entering
            .iter()
            .filter(|one| !one.is_repeat)
            .map(|one| (&one.call, one.entry()))
            .collect();
        session.log(&entries).await?;
        let held: Vec<Held<'_>> = self
            .entering
            .iter()
            .filter(|one| {
                !one.is_repeat
                    && one.refused.is_none()
                    && (one.after.is_some() || one.call.current.is_some())
            })
            .map(|one| Held {
                call: &one.call,
                after: one.after.as_ref(),
                at: one.mark.at,
            })
            .collect();
        session.hold(&held).await?;
        for one in self.entering.iter().filter(|one| one.is_repeat) {
            session.touched(one.call.no, false);
        }
        for one in &self.entering {
            if !one.is_new && one.tells_who() {
                session.freshen().await?;
                let stale = Stale {
                    call: one.call.no,
                    retag: true,
                };
                // Its start stays as it is, and it had no other caller before.
                figure::refresh(session.connection, session.book, stale, None).await?;
            }
        }
        Ok(())
    }
}

/// The stages that are told by the furthest that the lead came. Whether the sale still holds is told by the outcome alone.
fn furthest_stage(furthest: Option<OutcomeKind>) -> i64 {
    match furthest.map_or(0, OutcomeKind::progress) {
        0 => 0,
        1 => BOOKED,
        _ => BOOKED | SHOWN,
    }
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

/// What the store knows when deliveries come in.
#[derive(Default)]
struct Known {
    /// Ids of calls by the entries of these very deliveries.
    logged: HashMap<String, String>,
    by_target: HashMap<String, Standing>,
    /// Calls without a target by their ids, with their starts.
    by_call_id: HashMap<String, Vec<(Option<i64>, Standing)>>,
    /// The last that was said of the outcome of each call, for deliveries that are written again.
    latest: HashMap<i64, Mark>,
}

impl Known {
    async fn look_up(session: &mut Session<'_>, records: &[&Record]) -> Result<Self, StoreError> {
        let mut known = Self::default();
        for piece in in_pieces(records) {
            known.read_logged(session, piece).await?;
            known.read_targets(session, piece).await?;
        }
        let mut ids: Vec<&str> = records
            .iter()
            .filter(|record| !known.by_target.contains_key(&record.target))
            .filter_map(|record| record.target.strip_prefix("call/"))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for piece in in_pieces(&ids) {
            known.read_call_ids(session, piece).await?;
        }
        let again = records.iter().filter(|record| record.again.is_some());
        let again: BTreeSet<i64> = again
            .filter_map(|record| known.call(record).map(|call| call.no))
            .collect();
        for piece in in_pieces(&Vec::from_iter(again)) {
            known.read_latest(session, piece).await?;
        }
        Ok(known)
    }

    async fn read_logged(
        &mut self,
        session: &mut Session<'_>,
        records: &[&Record],
    ) -> Result<(), StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT l.id, c.id FROM outcome_log l JOIN calls c ON c.no = l.call_no WHERE l.id IN ",
        );
        push_list(
            &mut query,
            records.iter().map(|record| log_id(record.delivery)),
        );
        for row in query.build().fetch_all(&mut *session.connection).await? {
            self.logged.insert(row.try_get(0)?, row.try_get(1)?);
        }
        Ok(())
    }

    /// Only what a client says happened is newer than a delivery: a value or metadata alone say nothing of that.
    async fn read_latest(
        &mut self,
        session: &mut Session<'_>,
        calls: &[i64],
    ) -> Result<(), StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT call_no, recorded_at, id FROM outcome_log WHERE status = 'success' \
             AND (changed LIKE '%outcome\"%' OR changed LIKE '%\"status\"%') AND call_no IN ",
        );
        push_list(&mut query, calls.iter().copied());
        for row in query.build().fetch_all(&mut *session.connection).await? {
            let said = Mark {
                at: row.try_get(1)?,
                log: row.try_get(2)?,
            };
            let latest = self.latest.entry(row.try_get(0)?);
            latest
                .and_modify(|latest| *latest = said.clone().max(latest.clone()))
                .or_insert(said);
        }
        Ok(())
    }

    async fn read_targets(
        &mut self,
        session: &mut Session<'_>,
        records: &[&Record],
    ) -> Result<(), StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(format!(
            "SELECT {COLUMNS} FROM calls c LEFT JOIN outcomes o ON o.call_no = c.no WHERE c.target IN "
        ));
        push_list(
            &mut query,
            records.iter().map(|record| record.target.as_str()),
        );
        for row in query.build().fetch_all(&mut *session.connection).await? {
            let call = standing(&row)?;
            if let Some(target) = call.target.clone() {
                self.by_target.insert(target, call);
            }
        }
        Ok(())
    }

    /// A bare `target IS NULL` would draw the planner to the index over targets, where all imported calls are alike.
    async fn read_call_ids(
        &mut self,
        session: &mut Session<'_>,
        ids: &[&str],
    ) -> Result<(), StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("WITH q(id) AS (");
        query.push_values(ids, |mut row, id| {
            row.push("CAST(")
                .push_bind_unseparated(*id)
                .push_unseparated(" AS TEXT)");
        });
        query.push(format!(
            ") SELECT c.started_at, {COLUMNS} FROM q CROSS JOIN calls c LEFT JOIN outcomes o ON o.call_no = c.no \
             WHERE c.no IN (SELECT s.no FROM calls s WHERE s.call_id = q.id AND COALESCE(s.target, '') = '' \
             ORDER BY s.started_at DESC, s.no DESC LIMIT {MOST_NAMESAKES})"
        ));
        for row in query.build().fetch_all(&mut *session.connection).await? {
            let call = standing(&row)?;
            let id = call.call_id.clone().unwrap_or_default();
            let started_at = row.try_get("started_at")?;
            self.by_call_id
                .entry(id)
                .or_default()
                .push((started_at, call));
        }
        Ok(())
    }

    /// The call of a delivery: the one that has its target; or, for `call/ID`, the newest that was imported under this id, of
    /// the outcome's agent if several agents share it.
    fn call(&self, record: &Record) -> Option<&Standing> {
        if let Some(call) = self.by_target.get(&record.target) {
            return Some(call);
        }
        let agent = record
            .outcome
            .as_ref()
            .and_then(|stored| stored.outcome.subject.agent_id.as_deref());
        let may_be_of = |call: &Standing| match (agent, call.agent_id.as_deref()) {
            (Some(agent), Some(known)) => agent == known,
            _ => true,
        };
        self.by_call_id
            .get(record.target.strip_prefix("call/")?)?
            .iter()
            .filter(|(_, call)| may_be_of(call))
            .max_by_key(|(started_at, call)| (*started_at, call.no))
            .map(|(_, call)| call)
    }
}

/// A call that nothing was known of, with what its first delivery says.
async fn new_call(session: &mut Session<'_>, record: &Record) -> Result<Standing, StoreError> {
    let subject = record
        .outcome
        .as_ref()
        .map(|stored| &stored.outcome.subject);
    let text = |field: fn(&Subject) -> Option<&str>| subject.and_then(field).map(str::to_owned);
    Ok(Standing {
        no: session.book.next_call(session.connection).await?,
        id: call_id(record.delivery),
        revision: 0,
        reached: 0,
        target: Some(record.target.clone()),
        agent_id: text(|s| s.agent_id.as_deref()),
        call_id: text(|s| s.call_id.as_deref()),
        phone: text(|s| s.phone.as_ref().map(Phone::as_str)),
        email: text(|s| s.email.as_deref()),
        current: None,
    })
}

async fn insert_calls(
    session: &mut Session<'_>,
    fresh: &[&Entering<'_>],
) -> Result<(), StoreError> {
    for piece in in_pieces(fresh) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO calls (no, id, target, revision, reached, agent_id, call_id, phone, email, seen, fields, \
             metadata, created_at, updated_at) ",
        );
        query.push_values(piece, |mut row, one| {
            let call = &one.call;
            row.push_bind(call.no)
                .push_bind(call.id.as_str())
                .push_bind(call.target.as_deref())
                .push_bind(one.revision())
                .push_bind(one.reached)
                .push_bind(call.agent_id.as_deref())
                .push_bind(call.call_id.as_deref())
                .push_bind(call.phone.as_deref())
                .push_bind(call.email.as_deref())
                .push("'{}', '{}', '{}'")
                .push_bind(session.now)
                .push_bind(session.now);
        });
        query.build().execute(&mut *session.connection).await?;
    }
    Ok(())
}

/// Counts the change of each call.
async fn count(session: &mut Session<'_>, known: &[&Entering<'_>]) -> Result<(), StoreError> {
    for piece in in_pieces(known) {
        let mut query = QueryBuilder::<Sqlite>::new("WITH v(no, revision, reached) AS (");
        query.push_values(piece, |mut row, one| {
            push_number(&mut row, one.call.no);
            push_number(&mut row, one.revision());
            push_number(&mut row, one.reached);
        });
        query.push(") UPDATE calls SET revision = v.revision, reached = v.reached, updated_at = ");
        query.push_bind(session.now);
        query.push(" FROM v WHERE calls.no = v.no");
        query.build().execute(&mut *session.connection).await?;
    }
    Ok(())
}

/// Counts the change of each call, and fills in what was not known about it before.
async fn teach(session: &mut Session<'_>, known: &[&Entering<'_>]) -> Result<(), StoreError> {
    for piece in in_pieces(known) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "WITH v(no, revision, reached, agent_id, call_id, phone, email, target) AS (",
        );
        query.push_values(piece, |mut row, one| {
            let subject = one.subject();
            push_number(&mut row, one.call.no);
            push_number(&mut row, one.revision());
            push_number(&mut row, one.reached);
            push_text(&mut row, subject.and_then(|s| s.agent_id.as_deref()));
            push_text(&mut row, subject.and_then(|s| s.call_id.as_deref()));
            push_text(
                &mut row,
                subject.and_then(|s| s.phone.as_ref()).map(Phone::as_str),
            );
            push_text(&mut row, subject.and_then(|s| s.email.as_deref()));
            push_text(&mut row, Some(&one.record.target));
        });
        query.push(
            ") UPDATE calls SET revision = v.revision, reached = v.reached, \
             agent_id = COALESCE(calls.agent_id, v.agent_id), call_id = COALESCE(calls.call_id, v.call_id), \
             phone = COALESCE(calls.phone, v.phone), email = COALESCE(calls.email, v.email), \
             target = COALESCE(calls.target, v.target), updated_at = ",
        );
        query.push_bind(session.now);
        query.push(" FROM v WHERE calls.no = v.no");
        query.build().execute(&mut *session.connection).await?;
    }
    Ok(())
}

type Values<'q> = Separated<'q, Sqlite, &'static str>;

/// PostgreSQL wants to be told the types of values that stand alone.
fn push_number(row: &mut Values<'_>, number: i64) {
    row.push("CAST(")
        .push_bind_unseparated(number)
        .push_unseparated(" AS BIGINT)");
}

fn push_text(row: &mut Values<'_>, text: Option<&str>) {
    row.push("CAST(")
        .push_bind_unseparated(text)
        .push_unseparated(" AS TEXT)");
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
