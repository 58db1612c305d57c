//! Questions asked of the store.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::Store;
use super::error::StoreError;
use super::record::basis_word;
use crate::model::{Basis, OutcomeKind, SourceName};
use crate::queue::{Page, PageRequest};

/// Rows on one page at most.
const LONGEST_PAGE: usize = 1_000;

const OUTCOME_COLUMNS: &str = "SELECT o.call_ref, c.target, c.agent_id, c.call_id, c.phone, \
    c.email, c.revision, o.outcome_id, o.kind, o.label, o.value, o.value_minor, o.currency, \
    o.notes, o.metadata, o.basis, o.occurred_at, o.source, o.event_id, o.rule, o.recorded_at \
    FROM outcomes o JOIN calls c ON c.id = o.call_ref";

/// Which outcomes are wanted. All conditions hold together; an empty filter wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutcomeFilter {
    /// Only of this kind.
    pub kind: Option<OutcomeKind>,
    /// Only from this source.
    pub source: Option<SourceName>,
    /// Only of this call: its id in the store, its id at the platform, its target, or its phone.
    pub call: Option<String>,
    /// Only those that occurred at or after.
    pub since: Option<Timestamp>,
    /// Only those that occurred before.
    pub until: Option<Timestamp>,
}

/// Where a page of outcomes continues. Printed and read as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCursor {
    recorded_at: i64,
    call: String,
}

/// The current outcome of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutcomeRow {
    /// The call's id in the store.
    pub call_ref: String,
    /// The target under which it was delivered.
    pub target: String,
    /// The voice agent.
    pub agent_id: Option<String>,
    /// The call's id at the platform.
    pub call_id: Option<String>,
    /// The lead's phone.
    pub phone: Option<String>,
    /// The lead's e-mail address.
    pub email: Option<String>,
    /// How often it changed, this time included.
    pub revision: i64,
    /// The outcome's id.
    pub outcome_id: String,
    /// What happened.
    pub kind: OutcomeKind,
    /// The team's own label.
    pub label: Option<String>,
    /// What it is worth: the exact amount in major units.
    pub value: Option<String>,
    /// The same in the currency's smallest unit, rounded to it.
    pub value_minor: Option<i64>,
    /// The currency; three capital letters.
    pub currency: Option<String>,
    /// Free text.
    pub notes: Option<String>,
    /// Further named values.
    pub metadata: Map<String, Value>,
    /// How it is known.
    pub basis: Basis,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The source it came from.
    pub source: String,
    /// The event it came from.
    pub event_id: String,
    /// The rule that derived it.
    pub rule: String,
    /// When it was written here.
    pub recorded_at: Timestamp,
}

/// A call and what holds about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallRow {
    /// The call's id in the store.
    pub id: String,
    /// The target under which outcomes are delivered to it.
    pub target: String,
    /// How often its outcome changed.
    pub revision: i64,
    /// The voice platform, if known.
    pub platform: Option<String>,
    /// The voice agent.
    pub agent_id: Option<String>,
    /// The call's id at the platform.
    pub call_id: Option<String>,
    /// The lead's phone.
    pub phone: Option<String>,
    /// The lead's e-mail address.
    pub email: Option<String>,
    /// When the call began, if known.
    pub started_at: Option<Timestamp>,
    /// Further named values.
    pub metadata: Map<String, Value>,
    /// When it was first heard of.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// Its current outcome, if one holds.
    pub outcome: Option<OutcomeRow>,
}

/// One change of a call's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogRow {
    /// Its id.
    pub id: String,
    /// The call's id in the store.
    pub call_ref: String,
    /// 1 for the call's first change.
    pub revision: i64,
    /// The event that caused it.
    pub event_id: String,
    /// The outcome; `None` when it was cleared.
    pub outcome_id: Option<String>,
    /// The source of the outcome.
    pub source: Option<String>,
    /// The rule that derived it.
    pub rule: Option<String>,
    /// What held before.
    pub previous_kind: Option<OutcomeKind>,
    /// What holds since.
    pub kind: Option<OutcomeKind>,
    /// The team's own label.
    pub label: Option<String>,
    /// The exact amount in major units.
    pub value: Option<String>,
    /// The currency.
    pub currency: Option<String>,
    /// How it is known.
    pub basis: Option<Basis>,
    /// When it happened.
    pub occurred_at: Option<Timestamp>,
    /// When it was written here.
    pub recorded_at: Timestamp,
    /// `success`, or `failed` for a change that was asked for and refused.
    pub status: String,
    /// Why it failed.
    pub failure_reason: Option<String>,
}

/// The store's numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StoreCounts {
    /// Calls known.
    pub calls: i64,
    /// Changes logged.
    pub changes: i64,
    /// Current outcomes by kind; a kind that does not occur is 0.
    pub outcomes: BTreeMap<&'static str, i64>,
}

impl Store {
    /// Current outcomes, last recorded first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn outcomes(
        &self,
        filter: &OutcomeFilter,
        page: PageRequest<RowCursor>,
    ) -> Result<Page<OutcomeRow, RowCursor>, StoreError> {
        let limit = page.limit.clamp(1, LONGEST_PAGE);
        let mut query = QueryBuilder::<Sqlite>::new(OUTCOME_COLUMNS);
        query.push(" WHERE 1 = 1");
        narrow(&mut query, filter);
        if let Some(cursor) = page.after {
            query
                .push(" AND (o.recorded_at < ")
                .push_bind(cursor.recorded_at);
            query
                .push(" OR (o.recorded_at = ")
                .push_bind(cursor.recorded_at);
            query
                .push(" AND o.call_ref < ")
                .push_bind(cursor.call)
                .push("))");
        }
        query.push(" ORDER BY o.recorded_at DESC, o.call_ref DESC LIMIT ");
        // One more than wanted tells whether there is a next page.
        query.push_bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let rows = query.build().fetch_all(&self.readers).await?;
        let has_more = rows.len() > limit;
        let items = rows
            .iter()
            .take(limit)
            .map(outcome_row)
            .collect::<Result<Vec<_>, _>>()?;
        let next = items.last().filter(|_| has_more).map(|last| RowCursor {
            recorded_at: last.recorded_at.as_millisecond(),
            call: last.call_ref.clone(),
        });
        Ok(Page { items, next })
    }

    /// One call by its id in the store or by its target.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn call(&self, id_or_target: &str) -> Result<Option<CallRow>, StoreError> {
        let row = sqlx::query(
            "SELECT id, target, revision, platform, agent_id, call_id, phone, email, started_at, \
             metadata, created_at, updated_at FROM calls WHERE id = $1 OR target = $1",
        )
        .bind(id_or_target)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut call = call_row(&row)?;
        let mut query = QueryBuilder::<Sqlite>::new(OUTCOME_COLUMNS);
        query.push(" WHERE o.call_ref = ").push_bind(&call.id);
        let outcome = query.build().fetch_optional(&self.readers).await?;
        call.outcome = outcome.as_ref().map(outcome_row).transpose()?;
        Ok(Some(call))
    }

    /// All changes of one call (its id in the store), oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn log(&self, call_ref: &str) -> Result<Vec<LogRow>, StoreError> {
        sqlx::query(
            "SELECT id, call_ref, revision, event_id, outcome_id, source, rule, previous_kind, \
             kind, label, value, currency, basis, occurred_at, recorded_at, status, \
             failure_reason FROM outcome_log WHERE call_ref = $1 ORDER BY revision",
        )
        .bind(call_ref)
        .fetch_all(&self.readers)
        .await?
        .iter()
        .map(log_row)
        .collect()
    }

    /// The store's numbers.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn counts(&self) -> Result<StoreCounts, StoreError> {
        let row =
            sqlx::query("SELECT (SELECT COUNT(*) FROM calls), (SELECT COUNT(*) FROM outcome_log)")
                .fetch_one(&self.readers)
                .await?;
        let mut counts = StoreCounts {
            calls: row.try_get(0)?,
            changes: row.try_get(1)?,
            outcomes: OutcomeKind::ALL.map(|kind| (kind.as_str(), 0)).into(),
        };
        let by_kind = sqlx::query("SELECT kind, COUNT(*) FROM outcomes GROUP BY kind")
            .fetch_all(&self.readers)
            .await?;
        for row in &by_kind {
            let kind = word(row, "kind", "a kind of outcome", |text| text.parse().ok())?;
            let kind: OutcomeKind = kind;
            counts.outcomes.insert(kind.as_str(), row.try_get(1)?);
        }
        Ok(counts)
    }
}

fn narrow(query: &mut QueryBuilder<Sqlite>, filter: &OutcomeFilter) {
    if let Some(kind) = filter.kind {
        query.push(" AND o.kind = ").push_bind(kind.as_str());
    }
    if let Some(source) = &filter.source {
        query.push(" AND o.source = ").push_bind(source.to_string());
    }
    if let Some(call) = &filter.call {
        query.push(" AND (c.id = ").push_bind(call.clone());
        query.push(" OR c.target = ").push_bind(call.clone());
        query.push(" OR c.call_id = ").push_bind(call.clone());
        query
            .push(" OR c.phone = ")
            .push_bind(call.clone())
            .push(")");
    }
    if let Some(since) = filter.since {
        query
            .push(" AND o.occurred_at >= ")
            .push_bind(since.as_millisecond());
    }
    if let Some(until) = filter.until {
        query
            .push(" AND o.occurred_at < ")
            .push_bind(until.as_millisecond());
    }
}

fn outcome_row(row: &SqliteRow) -> Result<OutcomeRow, StoreError> {
    Ok(OutcomeRow {
        call_ref: row.try_get("call_ref")?,
        target: row.try_get("target")?,
        agent_id: row.try_get("agent_id")?,
        call_id: row.try_get("call_id")?,
        phone: row.try_get("phone")?,
        email: row.try_get("email")?,
        revision: row.try_get("revision")?,
        outcome_id: row.try_get("outcome_id")?,
        kind: word(row, "kind", "a kind of outcome", |text| text.parse().ok())?,
        label: row.try_get("label")?,
        value: row.try_get("value")?,
        value_minor: row.try_get("value_minor")?,
        currency: row.try_get("currency")?,
        notes: row.try_get("notes")?,
        metadata: object(row)?,
        basis: word(row, "basis", "how an outcome is known", parse_basis)?,
        occurred_at: moment(row.try_get("occurred_at")?)?,
        source: row.try_get("source")?,
        event_id: row.try_get("event_id")?,
        rule: row.try_get("rule")?,
        recorded_at: moment(row.try_get("recorded_at")?)?,
    })
}

fn call_row(row: &SqliteRow) -> Result<CallRow, StoreError> {
    let started_at: Option<i64> = row.try_get("started_at")?;
    Ok(CallRow {
        id: row.try_get("id")?,
        target: row.try_get("target")?,
        revision: row.try_get("revision")?,
        platform: row.try_get("platform")?,
        agent_id: row.try_get("agent_id")?,
        call_id: row.try_get("call_id")?,
        phone: row.try_get("phone")?,
        email: row.try_get("email")?,
        started_at: started_at.map(moment).transpose()?,
        metadata: object(row)?,
        created_at: moment(row.try_get("created_at")?)?,
        updated_at: moment(row.try_get("updated_at")?)?,
        outcome: None,
    })
}

fn log_row(row: &SqliteRow) -> Result<LogRow, StoreError> {
    let occurred_at: Option<i64> = row.try_get("occurred_at")?;
    let kind = |text: &str| text.parse().ok();
    Ok(LogRow {
        id: row.try_get("id")?,
        call_ref: row.try_get("call_ref")?,
        revision: row.try_get("revision")?,
        event_id: row.try_get("event_id")?,
        outcome_id: row.try_get("outcome_id")?,
        source: row.try_get("source")?,
        rule: row.try_get("rule")?,
        previous_kind: word_if_any(row, "previous_kind", "a kind of outcome", kind)?,
        kind: word_if_any(row, "kind", "a kind of outcome", kind)?,
        label: row.try_get("label")?,
        value: row.try_get("value")?,
        currency: row.try_get("currency")?,
        basis: word_if_any(row, "basis", "how an outcome is known", parse_basis)?,
        occurred_at: occurred_at.map(moment).transpose()?,
        recorded_at: moment(row.try_get("recorded_at")?)?,
        status: row.try_get("status")?,
        failure_reason: row.try_get("failure_reason")?,
    })
}

fn word<T>(
    row: &SqliteRow,
    column: &str,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    read(&text).ok_or(StoreError::Unreadable { text, expected })
}

fn word_if_any<T>(
    row: &SqliteRow,
    column: &str,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| read(&text).ok_or(StoreError::Unreadable { text, expected }))
        .transpose()
}

fn parse_basis(text: &str) -> Option<Basis> {
    [Basis::Inferred, Basis::Reported, Basis::Manual]
        .into_iter()
        .find(|basis| basis_word(*basis) == text)
}

fn moment(millis: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millis).map_err(|_out_of_range| StoreError::Unreadable {
        text: millis.to_string(),
        expected: "milliseconds after the Unix epoch",
    })
}

fn object(row: &SqliteRow) -> Result<Map<String, Value>, StoreError> {
    let text: String = row.try_get("metadata")?;
    serde_json::from_str(&text).map_err(|_unreadable| StoreError::Unreadable {
        text: text.chars().take(80).collect(),
        expected: "a JSON object",
    })
}

/// Text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: use the `next` of an earlier page")]
pub struct CursorError;

impl fmt::Display for RowCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.recorded_at, self.call)
    }
}

impl FromStr for RowCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (recorded_at, call) = text.split_once('.').ok_or(CursorError)?;
        Ok(Self {
            recorded_at: recorded_at.parse().map_err(|_unreadable| CursorError)?,
            call: call.to_owned(),
        })
    }
}

impl Serialize for RowCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RowCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
