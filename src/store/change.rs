//! What a client of the store's own APIs changes, inside the writer's transaction.
//!
//! An API client reports like any other source: the last write wins, whoever wrote before. A key may be set up to
//! write by hand (`basis = "manual"`); what it writes holds until such a key writes again, whatever deliveries and
//! other clients say meanwhile. Every request that names a call is in the log, the refused ones with the reason.

use std::collections::HashSet;

use iso_currency::Currency;
use rust_decimal::Decimal;
use serde_json::{Map, Value};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::error::StoreError;
use super::record::{basis_word, minor_units};
use super::standing::{
    COLUMNS, Entry, Held, Holding, MOST_NAMESAKES, Session, Standing, push_among, read_object,
    stage, standing,
};
use crate::model::{Basis, OutcomeKind, Phone, currency};

/// The longest metadata of one call, as JSON.
const LONGEST_METADATA: usize = 2 << 20;

/// Which of several calls of one phone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preference {
    /// The earliest.
    First,
    /// The latest.
    #[default]
    Last,
}

impl Preference {
    /// The word for it in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

/// How a client names a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallKey {
    /// By its id at the platform, or the store's own.
    Id(String),
    /// By the caller's phone.
    Phone(Phone, Preference),
}

/// Which call is meant, among those that the client may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// How it is named.
    pub key: CallKey,
    /// Its agent, if the client says it.
    pub agent: Option<String>,
    /// The agents whose calls the client may see; `None`: all.
    pub scope: Option<Vec<String>>,
}

/// What a client says about a call. Only what is there changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The call.
    pub call: Sought,
    /// Who says it: `api:phonely/KEY`.
    pub actor: String,
    /// The source that analytics sees: `api:phonely`.
    pub source: String,
    /// Reported, or set by hand.
    pub basis: Basis,
    /// What happened, if it is one of the five.
    pub kind: Option<OutcomeKind>,
    /// What happened in the client's own words.
    pub label: Option<String>,
    /// What it is worth.
    pub value: Option<Decimal>,
    /// The currency of a value where nothing else tells it.
    pub currency: Option<String>,
    /// Free text.
    pub notes: Option<String>,
    /// Laid over the call's metadata, key by key.
    pub metadata: Option<Map<String, Value>>,
    /// The names of the fields that were said.
    pub fields: Vec<&'static str>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It holds. The call's id in the store.
    Done(String),
    /// It does not, and why.
    Refused(Refusal),
}

/// Why a change does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such call, or none that the client may see.
    #[error("there is no such call")]
    NoCall,
    /// Calls of several agents have this id.
    #[error("calls of {0} agents have this id; use a key whose scope is one agent")]
    Ambiguous(usize),
    /// Somebody set another outcome by hand.
    #[error("an outcome that was set by hand holds (by {0})")]
    Held(String),
    /// The call has too much metadata.
    #[error("the call's metadata would be over {LONGEST_METADATA} bytes")]
    TooMuchMetadata,
}

/// Writes one change. The caller commits.
pub(super) async fn write(
    session: &mut Session<'_>,
    change: &Change,
) -> Result<Changed, StoreError> {
    let (call, about) = match find(session, &change.call).await? {
        Ok(found) => found,
        Err(refusal) => return Ok(Changed::Refused(refusal)),
    };
    let about = read_object(&about)?;
    let metadata = match merged(&about, change) {
        Ok(metadata) => metadata,
        Err(refusal) => return Ok(Changed::Refused(refusal)),
    };
    let after = after(&call, change, &about, session.now);
    let held = call
        .current
        .as_ref()
        .filter(|_| after.is_some())
        .filter(|current| current.is_manual() && change.basis != Basis::Manual)
        .map(|current| Refusal::Held(current.actor.clone()));
    let reason = held.as_ref().map(ToString::to_string);
    let entry = Entry {
        id: format!("log_{}-{}", call.id, call.revision + 1),
        at: session.now,
        actor: &change.actor,
        changed: &change.fields,
        after: after.as_ref().or(call.current.as_ref()),
        event: None,
        metadata: change
            .metadata
            .clone()
            .map(|patch| Value::Object(patch).to_string()),
        refused: reason.as_deref(),
    };
    session.log(&[(&call, entry)]).await?;
    let reached = match (&held, &after) {
        (None, Some(after)) => stage(
            call.reached,
            after.kind.as_deref(),
            after.label.as_deref(),
            false,
        ),
        _ => call.reached,
    };
    if let Some(refusal) = held {
        count(session, &call, reached, None).await?;
        return Ok(Changed::Refused(refusal));
    }
    count(session, &call, reached, metadata).await?;
    if let Some(after) = &after {
        let held = Held {
            call: &call,
            after: Some(after),
            at: session.now,
        };
        session.hold(&[held]).await?;
    }
    if change.metadata.is_some() {
        session.touched(call.no, true);
    }
    Ok(Changed::Done(call.id))
}

async fn count(
    session: &mut Session<'_>,
    call: &Standing,
    reached: i64,
    metadata: Option<Map<String, Value>>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE calls SET revision = $2, reached = $3, updated_at = $4, metadata = COALESCE($5, metadata) WHERE no = $1",
    )
    .bind(call.no)
    .bind(call.revision + 1)
    .bind(reached)
    .bind(session.now)
    .bind(metadata.map(|metadata| Value::Object(metadata).to_string()))
    .execute(&mut *session.connection)
    .await?;
    Ok(())
}

/// The call that is meant, and its metadata. Agents outside the client's scope do not exist for it.
async fn find(
    session: &mut Session<'_>,
    sought: &Sought,
) -> Result<Result<(Standing, String), Refusal>, StoreError> {
    let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new(format!(
        "SELECT {COLUMNS}, c.metadata AS about FROM calls c LEFT JOIN outcomes o ON o.call_no = c.no"
    ));
    push_sought(&mut query, sought);
    let rows = query.build().fetch_all(&mut *session.connection).await?;
    match meant(&rows)? {
        Ok(row) => Ok(Ok((standing(row)?, row.try_get("about")?))),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// The one that is meant, of calls that [`push_sought`] found: the newest of its agent.
pub(super) fn meant(rows: &[SqliteRow]) -> Result<Result<&SqliteRow, Refusal>, StoreError> {
    let mut agents = HashSet::new();
    for row in rows {
        agents.insert(row.try_get::<Option<&str>, _>("agent_id")?);
    }
    Ok(match (rows.first(), agents.len()) {
        (None, _) => Err(Refusal::NoCall),
        (Some(row), 1) => Ok(row),
        (Some(_), several) => Err(Refusal::Ambiguous(several)),
    })
}

/// `WHERE …` for the call that is meant: at most one row for a phone, those of an id with the newest first: [`meant`] chooses.
pub(super) fn push_sought(query: &mut sqlx::QueryBuilder<sqlx::Sqlite>, sought: &Sought) {
    match &sought.key {
        CallKey::Id(id) => {
            query.push(" WHERE (c.call_id = ").push_bind(id.clone());
            query.push(" OR c.id = ").push_bind(id.clone()).push(")");
        }
        CallKey::Phone(phone, _) => {
            query
                .push(" WHERE c.call_id IS NOT NULL AND c.phone = ")
                .push_bind(phone.as_str().to_owned());
        }
    }
    if let Some(agent) = &sought.agent {
        query.push(" AND c.agent_id = ").push_bind(agent.clone());
    }
    if let Some(scope) = &sought.scope {
        query.push(" AND ");
        push_among(query, "c.agent_id", scope.iter().cloned());
    }
    match &sought.key {
        // A call without a start is taken for as old as what is known of it.
        CallKey::Id(_) => query.push(format!(
            " ORDER BY COALESCE(c.started_at, c.created_at) DESC, c.no DESC LIMIT {MOST_NAMESAKES}"
        )),
        CallKey::Phone(_, Preference::First) => {
            query.push(" ORDER BY COALESCE(c.started_at, c.created_at), c.no LIMIT 1")
        }
        CallKey::Phone(_, Preference::Last) => {
            query.push(" ORDER BY COALESCE(c.started_at, c.created_at) DESC, c.no DESC LIMIT 1")
        }
    };
}

/// The call's metadata with the patch laid over it; `None` when none was said.
fn merged(
    about: &Map<String, Value>,
    change: &Change,
) -> Result<Option<Map<String, Value>>, Refusal> {
    let Some(patch) = &change.metadata else {
        return Ok(None);
    };
    let mut metadata = about.clone();
    for (key, value) in patch {
        metadata.insert(key.clone(), value.clone());
    }
    let length = serde_json::to_string(&metadata).map_or(usize::MAX, |text| text.len());
    if length > LONGEST_METADATA {
        return Err(Refusal::TooMuchMetadata);
    }
    Ok(Some(metadata))
}

/// What holds after the change of a call with the metadata `about`; `None` when it says nothing of the outcome.
fn after(
    call: &Standing,
    change: &Change,
    about: &Map<String, Value>,
    now: i64,
) -> Option<Holding> {
    let says_outcome = change.kind.is_some() || change.label.is_some();
    if !says_outcome && change.value.is_none() && change.notes.is_none() {
        return None;
    }
    let mut after = call.current.clone().unwrap_or_else(|| Holding {
        metadata: "{}".to_owned(),
        occurred_at: now,
        ..Holding::default()
    });
    if says_outcome {
        after.kind = change.kind.map(|kind| kind.as_str().to_owned());
        after.label = change.label.clone();
        after.occurred_at = now;
    }
    if let Some(value) = change.value {
        let named = currency_of(call, change, about);
        after.value_minor = minor_units(value, named);
        after.value = Some(value.normalize().to_string());
        after.currency = named.map(|currency| currency.code().to_owned());
    }
    if change.notes.is_some() {
        after.notes.clone_from(&change.notes);
    }
    // What it is worth, and notes, leave the outcome to whoever said what happened; but what was set by hand is to hold.
    let is_new = says_outcome || call.current.is_none();
    if is_new || change.basis == Basis::Manual {
        after.basis = basis_word(change.basis).to_owned();
        after.actor.clone_from(&change.actor);
    }
    if is_new {
        after.source.clone_from(&change.source);
        (after.outcome_id, after.event_id, after.rule) = (None, None, None);
    }
    Some(after)
}

/// The currency of a value: the one that is said with it, else that of the value that holds, else of the call, else the
/// configured one. What is no currency says nothing.
fn currency_of(call: &Standing, change: &Change, about: &Map<String, Value>) -> Option<Currency> {
    let named = |metadata: &Map<String, Value>| {
        let code = metadata.get("currency").and_then(Value::as_str);
        code.and_then(|code| currency(code).ok())
    };
    let read = |code: &Option<String>| code.as_ref().and_then(|code| currency(code).ok());
    let valued = call.current.as_ref().filter(|held| held.value.is_some());
    (change.metadata.as_ref().and_then(named))
        .or_else(|| valued.and_then(|held| read(&held.currency)))
        .or_else(|| named(about))
        .or_else(|| read(&change.currency))
}

/// The outcome that a platform's own label stands for, if it is a usual one. Other labels are kept as they are.
pub fn kind_of_label(label: &str) -> Option<OutcomeKind> {
    let word: String = label
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    Some(match word.as_str() {
        "closed" | "sold" | "sale" | "won" | "closedwon" | "dealwon" | "purchased" | "paid" => {
            OutcomeKind::Closed
        }
        "lost" | "nosale" | "closedlost" | "deallost" | "notsold" => OutcomeKind::Lost,
        "shown"
        | "showed"
        | "showedup"
        | "attended"
        | "appointmentcompleted"
        | "appointmentattended"
        | "completed" => OutcomeKind::Shown,
        "noshow" | "appointmentnoshow" | "didnotattend" => OutcomeKind::NoShow,
        "followup" | "followuprequired" | "needsfollowup" | "callback" => OutcomeKind::FollowUp,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_labels_stand_for_one_of_the_five() {
        for (label, kind) in [
            ("Sold", Some(OutcomeKind::Closed)),
            ("No Sale", Some(OutcomeKind::Lost)),
            ("Appointment Completed", Some(OutcomeKind::Shown)),
            ("Appointment No-Show", Some(OutcomeKind::NoShow)),
            ("Follow Up Required", Some(OutcomeKind::FollowUp)),
            ("Follow-Up Required", Some(OutcomeKind::FollowUp)),
            ("Qualified Lead", None),
            ("Escalated Successfully", None),
            ("", None),
        ] {
            assert_eq!(kind_of_label(label), kind, "{label}");
        }
    }
}
