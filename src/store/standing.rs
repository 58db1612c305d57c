//! A call as it stands before a change, and the two writes that every change makes: an entry of the log, and
//! what holds from now on. Both in the writer's transaction.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::error::StoreError;
use super::figure::{self, Book, Stale};

/// Stages of the funnel, as bits of `calls.reached`.
pub(super) const BOOKED: i64 = 1;
pub(super) const SHOWN: i64 = 2;
pub(super) const CLOSED: i64 = 4;

/// The word for a delivery as the one who changed something. Others name themselves `api:…`.
pub(super) const DELIVERY: &str = "delivery";

/// What a transaction of the writer works with.
pub(super) struct Session<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) book: &'a mut Book,
    pub(super) now: i64,
    /// Calls whose figures are made anew before the transaction ends, and whether with their tags: once, however often
    /// they changed in it.
    pub(super) stale: BTreeMap<i64, bool>,
}

/// A call as it stands.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) no: i64,
    pub(super) id: String,
    pub(super) revision: i64,
    pub(super) reached: i64,
    pub(super) target: Option<String>,
    pub(super) agent_id: Option<String>,
    pub(super) call_id: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) email: Option<String>,
    pub(super) current: Option<Holding>,
}

/// An outcome as it is written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) outcome_id: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) label: Option<String>,
    pub(super) value_minor: Option<i64>,
    pub(super) value: Option<String>,
    pub(super) currency: Option<String>,
    pub(super) notes: Option<String>,
    pub(super) metadata: String,
    pub(super) basis: String,
    pub(super) occurred_at: i64,
    pub(super) source: String,
    pub(super) actor: String,
    pub(super) event_id: Option<String>,
    pub(super) rule: Option<String>,
}

impl Holding {
    /// Whether it was corrected by hand.
    pub(super) fn is_manual(&self) -> bool {
        self.basis == "manual"
    }
}

/// That a row of `outcomes o` is an outcome. A client may tell a value or notes before anybody says what happened: they
/// are kept there for when that is known, and count as nothing until then.
pub(super) const SAYS_WHAT_HAPPENED: &str = "(o.kind IS NOT NULL OR o.label IS NOT NULL)";

/// The columns that [`standing`] reads.
pub(super) const COLUMNS: &str = "c.no, c.id, c.revision, c.reached, c.target, c.agent_id, c.call_id, c.phone, c.email, \
     o.call_no AS holds, o.outcome_id, o.kind, o.label, o.value_minor, o.value, o.currency, o.notes, \
     o.metadata, o.basis, o.occurred_at, o.source, o.actor, o.event_id, o.rule";

pub(super) fn standing(row: &SqliteRow) -> Result<Standing, StoreError> {
    let holds: Option<i64> = row.try_get("holds")?;
    let current = match holds {
        None => None,
        Some(_) => Some(Holding {
            outcome_id: row.try_get("outcome_id")?,
            kind: row.try_get("kind")?,
            label: row.try_get("label")?,
            value_minor: row.try_get("value_minor")?,
            value: row.try_get("value")?,
            currency: row.try_get("currency")?,
            notes: row.try_get("notes")?,
            metadata: row.try_get("metadata")?,
            basis: row.try_get("basis")?,
            occurred_at: row.try_get("occurred_at")?,
            source: row.try_get("source")?,
            actor: row.try_get("actor")?,
            event_id: row.try_get("event_id")?,
            rule: row.try_get("rule")?,
        }),
    };
    Ok(Standing {
        no: row.try_get("no")?,
        id: row.try_get("id")?,
        revision: row.try_get("revision")?,
        reached: row.try_get("reached")?,
        target: row.try_get("target")?,
        agent_id: row.try_get("agent_id")?,
        call_id: row.try_get("call_id")?,
        phone: row.try_get("phone")?,
        email: row.try_get("email")?,
        current,
    })
}

/// One entry of the log: what a writer said, and how that went.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    pub(super) id: String,
    /// When it was said.
    pub(super) at: i64,
    pub(super) actor: &'a str,
    /// The fields that were said.
    pub(super) changed: &'a [&'a str],
    /// What holds since; of a refused change what was wanted.
    pub(super) after: Option<&'a Holding>,
    /// The event, where nothing holds since.
    pub(super) event: Option<String>,
    /// Metadata as it was said.
    pub(super) metadata: Option<String>,
    /// Why it was refused.
    pub(super) refused: Option<&'a str>,
}

/// Rows in pieces of a few sizes only, so that few statements have to be prepared.
pub(super) fn in_pieces<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    const SIZES: [usize; 4] = [64, 16, 4, 1];
    let mut rest = rows;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rest.len())?;
        let (piece, more) = rest.split_at(size);
        rest = more;
        Some(piece)
    })
}

/// Calls of one id that are looked at, the newest ones.
pub(super) const MOST_NAMESAKES: usize = 50;

/// `(…, …)` with every value; there must be one.
pub(super) fn push_list<'a, T>(
    query: &mut QueryBuilder<Sqlite>,
    values: impl IntoIterator<Item = T>,
) where
    T: 'a + sqlx::Encode<'a, Sqlite> + sqlx::Type<Sqlite>,
{
    query.push("(");
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value);
    }
    query.push(")");
}

/// That the column has one of these values. An empty list is no list in SQL; nothing is in it.
pub(super) fn push_among<'a, T>(
    query: &mut QueryBuilder<Sqlite>,
    column: &str,
    values: impl ExactSizeIterator<Item = T>,
) where
    T: 'a + sqlx::Encode<'a, Sqlite> + sqlx::Type<Sqlite>,
{
    if values.len() == 0 {
        query.push("1 = 0");
    } else {
        query.push(format!("{column} IN "));
        push_list(query, values);
    }
}

const LOG: &str = "INSERT INTO outcome_log (id, call_no, revision, actor, changed, event_id, outcome_id, source, rule, \
     previous_kind, previous_label, previous_value, previous_currency, kind, label, value_minor, value, \
     currency, notes, metadata, basis, occurred_at, recorded_at, status, failure_reason) ";

const HOLD: &str = "INSERT INTO outcomes (call_no, outcome_id, kind, label, value_minor, value, currency, notes, \
     metadata, basis, occurred_at, source, actor, event_id, rule, recorded_at) ";

const INSTEAD: &str = " ON CONFLICT (call_no) DO UPDATE SET outcome_id = excluded.outcome_id, \
     kind = excluded.kind, label = excluded.label, value_minor = excluded.value_minor, \
     value = excluded.value, currency = excluded.currency, notes = excluded.notes, \
     metadata = excluded.metadata, basis = excluded.basis, \
     occurred_at = excluded.occurred_at, source = excluded.source, actor = excluded.actor, \
     event_id = excluded.event_id, rule = excluded.rule, recorded_at = excluded.recorded_at";

/// A call, and what holds about it from now on.
pub(super) struct Held<'a> {
    pub(super) call: &'a Standing,
    pub(super) after: Option<&'a Holding>,
    /// When it was said.
    pub(super) at: i64,
}

impl Session<'_> {
    /// Counts the change of each call and writes its entry.
    pub(super) async fn log(
        &mut self,
        entries: &[(&Standing, Entry<'_>)],
    ) -> Result<(), StoreError> {
        for piece in in_pieces(entries) {
            let mut query = QueryBuilder::<Sqlite>::new(LOG);
            query.push_values(piece, |mut row, (call, entry)| {
                let (before, after) = (call.current.as_ref(), entry.after);
                // A client's change is of no event, even if it leaves the outcome to the one that brought it.
                let event = after.and_then(|a| a.event_id.as_ref());
                let event = event.filter(|_| entry.actor == DELIVERY);
                row.push_bind(entry.id.as_str())
                    .push_bind(call.no)
                    .push_bind(call.revision + 1)
                    .push_bind(entry.actor)
                    .push_bind(serde_json::to_string(entry.changed).unwrap_or_default())
                    .push_bind(event.or(entry.event.as_ref()).map(String::as_str))
                    .push_bind(after.and_then(|a| a.outcome_id.as_deref()))
                    .push_bind(after.map(|a| a.source.as_str()))
                    .push_bind(after.and_then(|a| a.rule.as_deref()))
                    .push_bind(before.and_then(|b| b.kind.as_deref()))
                    .push_bind(before.and_then(|b| b.label.as_deref()))
                    .push_bind(before.and_then(|b| b.value.as_deref()))
                    .push_bind(before.and_then(|b| b.currency.as_deref()))
                    .push_bind(after.and_then(|a| a.kind.as_deref()))
                    .push_bind(after.and_then(|a| a.label.as_deref()))
                    .push_bind(after.and_then(|a| a.value_minor))
                    .push_bind(after.and_then(|a| a.value.as_deref()))
                    .push_bind(after.and_then(|a| a.currency.as_deref()))
                    .push_bind(after.and_then(|a| a.notes.as_deref()))
                    .push_bind(entry.metadata.as_deref())
                    .push_bind(after.map(|a| a.basis.as_str()))
                    .push_bind(after.map(|a| a.occurred_at))
                    .push_bind(entry.at)
                    .push_bind(match entry.refused {
                        Some(_) => "failed",
                        None => "success",
                    })
                    .push_bind(entry.refused);
            });
            query.build().execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    /// Makes what holds about each call be so. No call is named twice.
    pub(super) async fn hold(&mut self, held: &[Held<'_>]) -> Result<(), StoreError> {
        let set: Vec<(&Held<'_>, &Holding)> = held
            .iter()
            .filter_map(|held| Some((held, held.after?)))
            .collect();
        self.set(&set).await?;
        let cleared: Vec<i64> = held
            .iter()
            .filter(|held| held.after.is_none())
            .map(|held| held.call.no)
            .collect();
        for piece in in_pieces(&cleared) {
            let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM outcomes WHERE call_no IN ");
            push_list(&mut query, piece.iter().copied());
            query.build().execute(&mut *self.connection).await?;
        }
        for Held { call, after, .. } in held {
            let before = call.current.as_ref().map_or("{}", |b| b.metadata.as_str());
            let retag = after.map_or("{}", |a| a.metadata.as_str()) != before;
            self.touched(call.no, retag);
        }
        Ok(())
    }

    /// Notes that a call's figure may no longer be right, nor its tags if its metadata changed.
    pub(super) fn touched(&mut self, call: i64, retag: bool) {
        *self.stale.entry(call).or_default() |= retag;
    }

    /// Brings figures and tags in step. Before the transaction ends, and before figures are read in it.
    pub(super) async fn freshen(&mut self) -> Result<(), StoreError> {
        let stale: Vec<Stale> = std::mem::take(&mut self.stale)
            .into_iter()
            .map(|(call, retag)| Stale { call, retag })
            .collect();
        figure::refresh_all(self.connection, self.book, &stale).await?;
        Ok(())
    }

    async fn set(&mut self, held: &[(&Held<'_>, &Holding)]) -> Result<(), StoreError> {
        for piece in in_pieces(held) {
            let mut query = QueryBuilder::<Sqlite>::new(HOLD);
            query.push_values(piece, |mut row, (held, after)| {
                row.push_bind(held.call.no)
                    .push_bind(after.outcome_id.as_deref())
                    .push_bind(after.kind.as_deref())
                    .push_bind(after.label.as_deref())
                    .push_bind(after.value_minor)
                    .push_bind(after.value.as_deref())
                    .push_bind(after.currency.as_deref())
                    .push_bind(after.notes.as_deref())
                    .push_bind(after.metadata.as_str())
                    .push_bind(after.basis.as_str())
                    .push_bind(after.occurred_at)
                    .push_bind(after.source.as_str())
                    .push_bind(after.actor.as_str())
                    .push_bind(after.event_id.as_deref())
                    .push_bind(after.rule.as_deref())
                    .push_bind(held.at);
            });
            query.push(INSTEAD);
            query.build().execute(&mut *self.connection).await?;
        }
        Ok(())
    }
}

/// How far a call has come after `kind` and `label` hold. A stage that was only assumed goes with the outcome
/// that told of it: a call that was closed by mistake is no longer closed, but it stays booked.
pub(super) fn stage(before: i64, kind: Option<&str>, label: Option<&str>, booking: bool) -> i64 {
    let booked = booking
        || before & BOOKED != 0
        || matches!(kind, Some("shown" | "no_show" | "closed"))
        || label.is_some_and(says_booked);
    let shown = match kind {
        Some("shown" | "closed") => true,
        Some("lost" | "follow_up") => before & SHOWN != 0,
        _ => false,
    };
    let closed = kind == Some("closed");
    [(booked, BOOKED), (shown, SHOWN), (closed, CLOSED)]
        .into_iter()
        .filter(|(reached, _)| *reached)
        .map(|(_, bit)| bit)
        .sum()
}

fn says_booked(label: &str) -> bool {
    let label = label.to_lowercase();
    ["booked", "appointment set", "scheduled"]
        .iter()
        .any(|word| label.contains(word))
}

pub(super) fn read_object(text: &str) -> Result<Map<String, Value>, StoreError> {
    serde_json::from_str(text).map_err(|_unreadable| StoreError::Unreadable {
        text: text.chars().take(80).collect(),
        expected: "a JSON object",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_build_on_each_other_and_go_with_what_told_of_them() {
        let closed = stage(0, Some("closed"), None, false);
        assert_eq!(closed, BOOKED | SHOWN | CLOSED);
        assert_eq!(stage(closed, Some("lost"), None, false), BOOKED | SHOWN);
        assert_eq!(stage(closed, Some("no_show"), None, false), BOOKED);
        assert_eq!(stage(0, Some("lost"), None, false), 0);
        assert_eq!(stage(0, None, Some("Appointment Booked"), false), BOOKED);
        assert_eq!(stage(0, Some("follow_up"), None, true), BOOKED);
    }
}
