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
use super::change::{Refusal, Sought, meant, push_sought};
use super::error::StoreError;
use super::record::basis_word;
use super::standing::{SAYS_WHAT_HAPPENED, push_among, read_object};
use crate::model::{Basis, OutcomeKind, SourceName};
use crate::queue::{Page, PageRequest};

/// Rows on one page at most.
const LONGEST_PAGE: usize = 1_000;

const OUTCOME_COLUMNS: &str = "SELECT c.no, c.id AS call_ref, c.target, c.agent_id, c.call_id, c.phone, \
    c.email, c.revision, o.outcome_id, o.kind, o.label, o.value, o.value_minor, o.currency, \
    o.notes, o.metadata, o.basis, o.occurred_at, o.source, o.actor, o.event_id, o.rule, \
    o.recorded_at FROM outcomes o JOIN calls c ON c.no = o.call_no";

const CALL_FIELDS: &str = "c.no, c.id, c.target, c.revision, c.platform, c.agent_id, c.call_id, \
    c.phone, c.email, c.direction, c.started_at, c.ended_at, c.duration_ms, c.recording_url, c.fields, c.metadata, \
    c.created_at, c.updated_at";

/// Which calls are wanted. All conditions hold together; an empty filter wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// Only of this platform.
    pub platform: Option<String>,
    /// Only of these agents.
    pub agents: Option<Vec<String>>,
    /// Only with this id at the platform.
    pub call_id: Option<String>,
    /// Only of this phone.
    pub phone: Option<String>,
    /// Only of this e-mail address.
    pub email: Option<String>,
    /// Only those that began at or after.
    pub since: Option<Timestamp>,
    /// Only those that began before.
    pub until: Option<Timestamp>,
    /// Only those with an outcome, or without.
    pub has_outcome: Option<bool>,
}

impl CallFilter {
    /// Whether it asks for more than figures have.
    fn is_about_calls(&self) -> bool {
        let texts = [&self.platform, &self.call_id, &self.phone, &self.email];
        self.agents.is_some() || texts.into_iter().any(Option::is_some)
    }
}

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

/// The order of a list of outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutcomeOrder {
    /// Last recorded first. What changes while the list is read moves to its beginning.
    #[default]
    Recorded,
    /// In the order in which calls were first heard of. Nothing moves in it while it is read.
    Call,
}

impl FromStr for OutcomeOrder {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "recorded" => Ok(Self::Recorded),
            "call" => Ok(Self::Call),
            _ => Err(()),
        }
    }
}

/// Where a page of outcomes continues. Printed and read as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCursor {
    at: i64,
    no: i64,
}

/// The current outcome of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutcomeRow {
    /// The call's id in the store.
    pub call_ref: String,
    /// The target under which it was delivered, if it was.
    pub target: Option<String>,
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
    /// The outcome's id; `None` when an API client set it.
    pub outcome_id: Option<String>,
    /// What happened; `None` for a label that stands for none of the five.
    pub kind: Option<OutcomeKind>,
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
    /// The source it came from; `api:…` for clients of the store's own APIs.
    pub source: String,
    /// Who wrote it: `delivery`, or `api:…` with the key's name.
    pub actor: String,
    /// The event it came from.
    pub event_id: Option<String>,
    /// The rule that derived it.
    pub rule: Option<String>,
    /// When it was written here; of what `outcomes rebuild` has brought back, when it was delivered.
    pub recorded_at: Timestamp,
}

/// A call and what holds about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallRow {
    /// The call's id in the store.
    pub id: String,
    /// The target under which outcomes are delivered to it, if any were.
    pub target: Option<String>,
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
    /// `inbound`, `outbound`, or the platform's own word.
    pub direction: Option<String>,
    /// When the call began, if known.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it took, in milliseconds: what the platform says, else from its start to its end.
    pub duration_ms: Option<i64>,
    /// Where it can be listened to.
    pub recording_url: Option<String>,
    /// What was said; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
    /// What the platform extracted from it.
    pub fields: Map<String, Value>,
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
    /// Who made it: `delivery`, or `api:…` with the key's name.
    pub actor: String,
    /// The fields that were said.
    pub changed: Vec<String>,
    /// The event that caused it; `None` for an API client.
    pub event_id: Option<String>,
    /// The outcome; `None` when it was cleared.
    pub outcome_id: Option<String>,
    /// The source of the outcome.
    pub source: Option<String>,
    /// The rule that derived it.
    pub rule: Option<String>,
    /// What held before.
    pub previous_kind: Option<OutcomeKind>,
    /// The label that held before.
    pub previous_label: Option<String>,
    /// The exact amount that held before.
    pub previous_value: Option<String>,
    /// Its currency.
    pub previous_currency: Option<String>,
    /// What holds since.
    pub kind: Option<OutcomeKind>,
    /// The team's own label.
    pub label: Option<String>,
    /// The exact amount in major units.
    pub value: Option<String>,
    /// The currency.
    pub currency: Option<String>,
    /// Free text.
    pub notes: Option<String>,
    /// Metadata as it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// How it is known.
    pub basis: Option<Basis>,
    /// When it happened.
    pub occurred_at: Option<Timestamp>,
    /// When it was written here; of what `outcomes rebuild` has brought back, when it was delivered.
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
    /// Current outcomes.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn outcomes(
        &self,
        filter: &OutcomeFilter,
        order: OutcomeOrder,
        page: PageRequest<RowCursor>,
    ) -> Result<Page<OutcomeRow, RowCursor>, StoreError> {
        let limit = page.limit.clamp(1, LONGEST_PAGE);
        let mut query = QueryBuilder::<Sqlite>::new(OUTCOME_COLUMNS);
        query.push(" WHERE ").push(SAYS_WHAT_HAPPENED);
        narrow(&mut query, filter);
        match (order, page.after) {
            (OutcomeOrder::Recorded, Some(cursor)) => {
                query.push(" AND (o.recorded_at < ").push_bind(cursor.at);
                query.push(" OR (o.recorded_at = ").push_bind(cursor.at);
                query
                    .push(" AND o.call_no < ")
                    .push_bind(cursor.no)
                    .push("))");
            }
            (OutcomeOrder::Call, Some(cursor)) => {
                query.push(" AND o.call_no > ").push_bind(cursor.no);
            }
            (_, None) => {}
        }
        query.push(match order {
            OutcomeOrder::Recorded => " ORDER BY o.recorded_at DESC, o.call_no DESC LIMIT ",
            OutcomeOrder::Call => " ORDER BY o.call_no LIMIT ",
        });
        // One more than wanted tells whether there is a next page.
        query.push_bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let rows = query.build().fetch_all(&self.readers).await?;
        let has_more = rows.len() > limit;
        let items = rows
            .iter()
            .take(limit)
            .map(outcome_row)
            .collect::<Result<Vec<_>, _>>()?;
        let next = next_cursor(&rows, limit, "recorded_at", has_more)?;
        Ok(Page { items, next })
    }

    /// One call by its id in the store or by its target.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn call(&self, id_or_target: &str) -> Result<Option<CallRow>, StoreError> {
        let mut query = only_calls();
        query.push(" WHERE c.id = ").push_bind(id_or_target);
        query.push(" OR c.target = ").push_bind(id_or_target);
        let row = query.build().fetch_optional(&self.readers).await?;
        match row {
            None => Ok(None),
            Some(row) => Ok(Some(self.whole(&row).await?)),
        }
    }

    /// The call that an API client means; of several with one id and one agent the newest.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn find_call(&self, sought: &Sought) -> Result<Result<CallRow, Refusal>, StoreError> {
        let mut query = only_calls();
        push_sought(&mut query, sought);
        let rows = query.build().fetch_all(&self.readers).await?;
        match meant(&rows)? {
            Ok(row) => Ok(Ok(self.whole(row).await?)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// A call with its outcome and its transcript.
    async fn whole(&self, row: &SqliteRow) -> Result<CallRow, StoreError> {
        let mut call = call_row(row)?;
        let no: i64 = row.try_get("no")?;
        let mut query = QueryBuilder::<Sqlite>::new(OUTCOME_COLUMNS);
        query.push(" WHERE o.call_no = ").push_bind(no);
        let outcome = query.build().fetch_optional(&self.readers).await?;
        call.outcome = outcome.as_ref().map(outcome_row).transpose()?;
        let transcript = sqlx::query("SELECT transcript FROM transcripts WHERE call_no = $1")
            .bind(no)
            .fetch_optional(&self.readers)
            .await?;
        call.transcript = transcript.map(|row| row.try_get(0)).transpose()?;
        Ok(call)
    }

    /// Calls, newest start first, without their transcripts.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn calls(
        &self,
        filter: &CallFilter,
        page: PageRequest<RowCursor>,
    ) -> Result<Page<CallRow, RowCursor>, StoreError> {
        let limit = page.limit.clamp(1, LONGEST_PAGE);
        let mut query = pages_of_calls();
        if filter.is_about_calls() {
            query.push(" JOIN calls c ON c.no = f.call_no");
        }
        query.push(" WHERE 1 = 1");
        push_call_filter(&mut query, filter);
        self.page_of_calls(query, page.after, limit).await
    }

    /// The page of a query that [`pages_of_calls`] began, newest first.
    pub(super) async fn page_of_calls(
        &self,
        mut query: QueryBuilder<Sqlite>,
        after: Option<RowCursor>,
        limit: usize,
    ) -> Result<Page<CallRow, RowCursor>, StoreError> {
        if let Some(cursor) = after {
            query.push(" AND (f.at < ").push_bind(cursor.at);
            query.push(" OR (f.at = ").push_bind(cursor.at);
            query
                .push(" AND f.call_no < ")
                .push_bind(cursor.no)
                .push("))");
        }
        query.push(" ORDER BY f.at DESC, f.call_no DESC LIMIT ");
        query.push_bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        query.push(") p JOIN calls c ON c.no = p.call_no ORDER BY p.at DESC, p.call_no DESC");
        let rows = query.build().fetch_all(&self.readers).await?;
        let has_more = rows.len() > limit;
        let next = next_cursor(&rows, limit, "at", has_more)?;
        let mut items = rows
            .iter()
            .take(limit)
            .map(call_row)
            .collect::<Result<Vec<_>, _>>()?;
        self.add_outcomes(&rows, &mut items).await?;
        Ok(Page { items, next })
    }

    async fn add_outcomes(
        &self,
        rows: &[SqliteRow],
        calls: &mut [CallRow],
    ) -> Result<(), StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(OUTCOME_COLUMNS);
        query.push(" WHERE ");
        let numbers: Vec<i64> =
            (rows.iter().map(|row| row.try_get("no"))).collect::<Result<_, _>>()?;
        push_among(&mut query, "o.call_no", numbers.into_iter());
        let mut found = BTreeMap::new();
        for row in query.build().fetch_all(&self.readers).await? {
            let outcome = outcome_row(&row)?;
            found.insert(outcome.call_ref.clone(), outcome);
        }
        for call in calls {
            call.outcome = found.remove(&call.id);
        }
        Ok(())
    }

    /// All changes of one call (its id in the store), oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn log(&self, call_ref: &str) -> Result<Vec<LogRow>, StoreError> {
        self.latest_log(call_ref, usize::MAX).await
    }

    /// The newest changes of one call (its id in the store), oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn latest_log(
        &self,
        call_ref: &str,
        limit: usize,
    ) -> Result<Vec<LogRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT l.id, c.id AS call_ref, l.revision, l.actor, l.changed, l.event_id, l.outcome_id, l.source, l.rule, \
             l.previous_kind, l.previous_label, l.previous_value, l.previous_currency, l.kind, l.label, l.value, \
             l.currency, l.notes, l.metadata, l.basis, l.occurred_at, l.recorded_at, l.status, l.failure_reason \
             FROM outcome_log l JOIN calls c ON c.no = l.call_no WHERE c.id = $1 ORDER BY l.revision DESC LIMIT $2",
        )
        .bind(call_ref)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().rev().map(log_row).collect()
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
        let by_kind =
            sqlx::query("SELECT kind, COUNT(*) FROM outcomes WHERE kind IS NOT NULL GROUP BY kind")
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
        kind: word_if_any(row, "kind", "a kind of outcome", |text| text.parse().ok())?,
        label: row.try_get("label")?,
        value: row.try_get("value")?,
        value_minor: row.try_get("value_minor")?,
        currency: row.try_get("currency")?,
        notes: row.try_get("notes")?,
        metadata: object(row, "metadata")?,
        basis: word(row, "basis", "how an outcome is known", parse_basis)?,
        occurred_at: moment(row.try_get("occurred_at")?)?,
        source: row.try_get("source")?,
        actor: row.try_get("actor")?,
        event_id: row.try_get("event_id")?,
        rule: row.try_get("rule")?,
        recorded_at: moment(row.try_get("recorded_at")?)?,
    })
}

fn call_row(row: &SqliteRow) -> Result<CallRow, StoreError> {
    let started_at: Option<i64> = row.try_get("started_at")?;
    let ended_at: Option<i64> = row.try_get("ended_at")?;
    let told_ms: Option<i64> = row.try_get("duration_ms")?;
    let between_ms = || ended_at?.checked_sub(started_at?).filter(|ms| *ms >= 0);
    Ok(CallRow {
        id: row.try_get("id")?,
        target: row.try_get("target")?,
        revision: row.try_get("revision")?,
        platform: row.try_get("platform")?,
        agent_id: row.try_get("agent_id")?,
        call_id: row.try_get("call_id")?,
        phone: row.try_get("phone")?,
        email: row.try_get("email")?,
        direction: row.try_get("direction")?,
        started_at: started_at.map(moment).transpose()?,
        ended_at: ended_at.map(moment).transpose()?,
        duration_ms: told_ms.or_else(between_ms),
        recording_url: row.try_get("recording_url")?,
        transcript: None,
        fields: object(row, "fields")?,
        metadata: object(row, "metadata")?,
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
        actor: row.try_get("actor")?,
        changed: changed(row)?,
        event_id: row.try_get("event_id")?,
        outcome_id: row.try_get("outcome_id")?,
        source: row.try_get("source")?,
        rule: row.try_get("rule")?,
        previous_kind: word_if_any(row, "previous_kind", "a kind of outcome", kind)?,
        previous_label: row.try_get("previous_label")?,
        previous_value: row.try_get("previous_value")?,
        previous_currency: row.try_get("previous_currency")?,
        kind: word_if_any(row, "kind", "a kind of outcome", kind)?,
        label: row.try_get("label")?,
        value: row.try_get("value")?,
        currency: row.try_get("currency")?,
        notes: row.try_get("notes")?,
        metadata: row
            .try_get::<Option<String>, _>("metadata")?
            .and_then(|text| serde_json::from_str(&text).ok()),
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

fn object(row: &SqliteRow, column: &str) -> Result<Map<String, Value>, StoreError> {
    read_object(row.try_get(column)?)
}

fn changed(row: &SqliteRow) -> Result<Vec<String>, StoreError> {
    let text: String = row.try_get("changed")?;
    serde_json::from_str(&text).map_err(|_unreadable| StoreError::Unreadable {
        text,
        expected: "a list of fields",
    })
}

fn only_calls() -> QueryBuilder<Sqlite> {
    QueryBuilder::new(format!("SELECT {CALL_FIELDS} FROM calls c"))
}

/// Calls that analytics counts, with the moment that they count at. Which ones belong to the page is decided from `figures f`
/// (and the indexes of `calls c`), then only their rows are read: a caller may have a hundred thousand calls.
pub(super) fn pages_of_calls() -> QueryBuilder<Sqlite> {
    QueryBuilder::new(format!(
        "SELECT p.at, {CALL_FIELDS} FROM (SELECT f.at, f.call_no FROM figures f"
    ))
}

fn next_cursor(
    rows: &[SqliteRow],
    limit: usize,
    moment: &str,
    has_more: bool,
) -> Result<Option<RowCursor>, StoreError> {
    match rows.get(limit.saturating_sub(1)).filter(|_| has_more) {
        None => Ok(None),
        Some(last) => Ok(Some(RowCursor {
            at: last.try_get(moment)?,
            no: last.try_get("no")?,
        })),
    }
}

fn push_call_filter(query: &mut QueryBuilder<Sqlite>, filter: &CallFilter) {
    // As addresses are stored.
    let email = filter.email.as_ref().map(|email| email.to_lowercase());
    for (column, value) in [
        ("platform", &filter.platform),
        ("call_id", &filter.call_id),
        ("phone", &filter.phone),
        ("email", &email),
    ] {
        if let Some(value) = value {
            query
                .push(format!(" AND c.{column} = "))
                .push_bind(value.clone());
        }
    }
    if let Some(agents) = &filter.agents {
        query.push(" AND ");
        push_among(query, "c.agent_id", agents.iter().cloned());
    }
    if let Some(since) = filter.since {
        query
            .push(" AND f.at >= ")
            .push_bind(since.as_millisecond());
    }
    if let Some(until) = filter.until {
        query.push(" AND f.at < ").push_bind(until.as_millisecond());
    }
    match filter.has_outcome {
        None => {}
        Some(true) => {
            query.push(" AND f.outcome_at IS NOT NULL");
        }
        Some(false) => {
            query.push(" AND f.outcome_at IS NULL");
        }
    }
}

/// Text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: use the `next` of an earlier page")]
pub struct CursorError;

impl fmt::Display for RowCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.no)
    }
}

impl FromStr for RowCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (at, no) = text.split_once('.').ok_or(CursorError)?;
        Ok(Self {
            at: at.parse().map_err(|_unreadable| CursorError)?,
            no: no.parse().map_err(|_unreadable| CursorError)?,
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
