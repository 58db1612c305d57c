//! Calls as they come in: from call facts, the admin API, and files. Merged field by field, newer words win.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::error::StoreError;
use super::figure::{self, Plain, Series, Stale, Touch};
use super::standing::{Session, read_object};
use crate::model::{CallChange, CallFact, Phone, Subject, is_writable};

/// What is known of one call. Fields that are not there leave what was known before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallRecord {
    /// The voice platform.
    pub platform: Option<String>,
    /// The voice agent.
    pub agent_id: Option<String>,
    /// The call's id at the platform.
    pub call_id: String,
    /// The caller's phone.
    pub phone: Option<Phone>,
    /// The caller's e-mail address.
    pub email: Option<String>,
    /// `inbound`, `outbound`, or the platform's own word.
    pub direction: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<i64>,
    /// Where it can be listened to.
    pub recording_url: Option<String>,
    /// What was said.
    pub transcript: Option<String>,
    /// What the platform extracted from it. Merged key by key.
    pub fields: Map<String, Value>,
    /// Further named values. Merged key by key.
    pub metadata: Map<String, Value>,
    /// Of when this is. Newer words win over older ones, field by field, whatever the order of arrival.
    pub as_of: Option<Timestamp>,
}

/// What became of calls that came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct CallsRecorded {
    /// Not known before.
    pub created: u64,
    /// Known, and now more or otherwise.
    pub updated: u64,
    /// Known like this.
    pub unchanged: u64,
}

/// Names of a fact's metadata that have a place of their own in a call.
const PLACES: [&str; 8] = [
    "recording_url",
    "transcript",
    "direction",
    "started_at",
    "ended_at",
    "duration",
    "duration_seconds",
    "duration_ms",
];

impl CallRecord {
    /// What a call fact of a webhook tells, for the platform (its connector's name). `None` when it names no call.
    pub fn from_fact(platform: &str, fact: &CallFact) -> Option<Self> {
        let said = |key: &str| fact.metadata.get(key);
        let text = |key: &str| said(key).and_then(Value::as_str).map(str::to_owned);
        let moment = |key: &str| {
            let at: Option<Timestamp> = text(key).and_then(|text| text.parse().ok());
            at.filter(|at| is_writable(*at))
        };
        let number = |key: &str| {
            said(key).and_then(|v| v.as_f64().or_else(|| v.as_str()?.trim().parse().ok()))
        };
        let seconds = number("duration").or_else(|| number("duration_seconds"));
        let (started, ended) = match fact.change {
            CallChange::Started => (Some(fact.occurred_at), None),
            CallChange::Ended => (None, Some(fact.occurred_at)),
            CallChange::Analyzed => (None, None),
        };
        Some(Self {
            platform: Some(platform.to_owned()),
            agent_id: fact.subject.agent_id.clone(),
            call_id: fact.subject.call_id.clone()?,
            phone: fact.subject.phone.clone(),
            email: fact.subject.email.clone(),
            direction: text("direction"),
            started_at: fact.start.or(moment("started_at")).or(started),
            ended_at: fact.end.or(moment("ended_at")).or(ended),
            duration_ms: number("duration_ms")
                .or(seconds.map(|s| s * 1e3))
                .filter(|ms| (0.0..1e12).contains(ms))
                .map(|ms| ms.round() as i64),
            recording_url: text("recording_url"),
            transcript: text("transcript"),
            fields: Map::new(),
            metadata: fact
                .metadata
                .iter()
                .filter(|(key, _)| !PLACES.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            as_of: Some(fact.occurred_at),
        })
    }

    /// What the record tells the registry of calls: whom it was with, and when. `now` is of when it is, where it does
    /// not say.
    pub fn to_fact(&self, now: Timestamp) -> CallFact {
        let started = self
            .started_at
            .map(|at| ("started_at".to_owned(), at.to_string().into()));
        let direction = self
            .direction
            .clone()
            .map(|word| ("direction".to_owned(), word.into()));
        CallFact {
            change: match self.ended_at {
                Some(_) => CallChange::Ended,
                None => CallChange::Started,
            },
            subject: Subject {
                call_id: Some(self.call_id.clone()),
                phone: self.phone.clone(),
                email: self
                    .email
                    .as_ref()
                    .filter(|email| email.contains('@'))
                    .map(|email| email.to_lowercase()),
                agent_id: self.agent_id.clone(),
                ..Subject::default()
            },
            occurred_at: self
                .as_of
                .or(self.ended_at)
                .or(self.started_at)
                .unwrap_or(now),
            start: self.started_at,
            end: self.ended_at,
            metadata: started.into_iter().chain(direction).collect(),
            rule: "calls".to_owned(),
        }
    }

    /// Of when the record is: what it says, else when the call was over, else now.
    fn moment(&self, now: i64) -> i64 {
        self.as_of
            .or(self.ended_at)
            .or(self.started_at)
            .map_or(now, Timestamp::as_millisecond)
    }
}

/// A call's row as far as records change it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Facts {
    texts: BTreeMap<&'static str, String>,
    numbers: BTreeMap<&'static str, i64>,
    fields: Map<String, Value>,
    metadata: Map<String, Value>,
    /// When each field was last said.
    seen: BTreeMap<String, i64>,
}

const TEXTS: [&str; 7] = [
    "platform",
    "agent_id",
    "call_id",
    "phone",
    "email",
    "direction",
    "recording_url",
];
const NUMBERS: [&str; 3] = ["started_at", "ended_at", "duration_ms"];

impl Facts {
    fn said(record: &CallRecord) -> (BTreeMap<&'static str, String>, BTreeMap<&'static str, i64>) {
        let texts = [
            ("platform", record.platform.clone()),
            ("agent_id", record.agent_id.clone()),
            ("call_id", Some(record.call_id.clone())),
            ("phone", record.phone.as_ref().map(ToString::to_string)),
            ("email", record.email.clone()),
            ("direction", record.direction.clone()),
            ("recording_url", record.recording_url.clone()),
        ];
        let numbers = [
            (
                "started_at",
                record.started_at.map(Timestamp::as_millisecond),
            ),
            ("ended_at", record.ended_at.map(Timestamp::as_millisecond)),
            ("duration_ms", record.duration_ms),
        ];
        let some = |(name, value): (&'static str, Option<String>)| Some((name, value?));
        (
            texts.into_iter().filter_map(some).collect(),
            numbers
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        )
    }

    /// Whether words of `moment` about a field are at least as new as what is there.
    fn newer(&mut self, field: &str, known: bool, moment: i64) -> bool {
        let newer = !known || self.seen.get(field).is_none_or(|seen| *seen <= moment);
        if newer {
            self.seen.insert(field.to_owned(), moment);
        }
        newer
    }

    fn lay(&mut self, record: &CallRecord, moment: i64) {
        let (texts, numbers) = Self::said(record);
        for (name, text) in texts {
            let known = self.texts.contains_key(name);
            if self.newer(name, known, moment) {
                self.texts.insert(name, text);
            }
        }
        for (name, number) in numbers {
            let known = self.numbers.contains_key(name);
            if self.newer(name, known, moment) {
                self.numbers.insert(name, number);
            }
        }
        for (part, said) in [("fields", &record.fields), ("metadata", &record.metadata)] {
            for (key, value) in said {
                let name = format!("{part}.{key}");
                let whole = if part == "fields" {
                    &self.fields
                } else {
                    &self.metadata
                };
                let known = whole.contains_key(key);
                if self.newer(&name, known, moment) {
                    let whole = if part == "fields" {
                        &mut self.fields
                    } else {
                        &mut self.metadata
                    };
                    whole.insert(key.clone(), value.clone());
                }
            }
        }
    }

    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let mut known = Self {
            fields: read_object(row.try_get("fields")?)?,
            metadata: read_object(row.try_get("metadata")?)?,
            ..Self::default()
        };
        for name in TEXTS {
            if let Some(text) = row.try_get(name)? {
                known.texts.insert(name, text);
            }
        }
        for name in NUMBERS {
            if let Some(number) = row.try_get(name)? {
                known.numbers.insert(name, number);
            }
        }
        for (name, moment) in read_object(row.try_get("seen")?)? {
            known.seen.insert(name, moment.as_i64().unwrap_or(i64::MIN));
        }
        Ok(known)
    }

    /// Whether it says the same, whenever that was said.
    fn says_the_same_as(&self, other: &Self) -> bool {
        self.texts == other.texts
            && self.numbers == other.numbers
            && self.fields == other.fields
            && self.metadata == other.metadata
    }

    fn seen_text(&self) -> String {
        serde_json::to_string(&self.seen).unwrap_or_else(|_impossible| "{}".to_owned())
    }

    fn touch(&self) -> Option<Touch> {
        let phone = self.texts.get("phone").map(String::as_str);
        Touch::of(phone, self.numbers.get("started_at").copied())
    }

    fn series(&self) -> Series {
        let text = |name| self.texts.get(name).cloned().unwrap_or_default();
        Series {
            agent: text("agent_id"),
            platform: text("platform"),
            direction: text("direction"),
            ..Series::default()
        }
    }
}

/// A call that is there already.
struct Known {
    no: i64,
    row: Facts,
}

/// Writes many calls. The caller commits.
pub(super) async fn write(
    session: &mut Session<'_>,
    records: &[CallRecord],
) -> Result<CallsRecorded, StoreError> {
    session.freshen().await?;
    let mut done = CallsRecorded::default();
    for chunk in records.chunks(200) {
        let mut known = look_up(session, chunk).await?;
        let mut fresh: Vec<&CallRecord> = Vec::new();
        let mut again: Vec<&CallRecord> = Vec::new();
        for record in chunk {
            if fresh.iter().any(|other| same(other, record)) {
                again.push(record);
            } else if let Some(call) = known
                .get_mut(record.call_id.as_str())
                .and_then(|calls| choose(calls, record))
            {
                if update(session, call, record).await? {
                    done.updated += 1;
                } else {
                    done.unchanged += 1;
                }
            } else {
                fresh.push(record);
            }
        }
        done.created += fresh.len() as u64;
        insert(session, &fresh).await?;
        for record in again {
            let mut known = look_up(session, std::slice::from_ref(record)).await?;
            let calls = known.get_mut(record.call_id.as_str());
            let Some(call) = calls.and_then(|calls| choose(calls, record)) else {
                // The one that it could have been has become another agent's meanwhile.
                insert(session, &[record]).await?;
                done.created += 1;
                continue;
            };
            if update(session, call, record).await? {
                done.updated += 1;
            } else {
                done.unchanged += 1;
            }
        }
    }
    Ok(done)
}

/// Whether two records may be about one call: same id, and nothing that speaks against it.
fn same(one: &CallRecord, other: &CallRecord) -> bool {
    let agree = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
    one.call_id == other.call_id
        && agree(&one.platform, &other.platform)
        && agree(&one.agent_id, &other.agent_id)
}

/// Among calls of one id the one that fits best: what both know must agree.
fn choose<'a>(calls: &'a mut [Known], record: &CallRecord) -> Option<&'a mut Known> {
    let fit = |call: &Known, name: &'static str, said: &Option<String>| match (
        call.row.texts.get(name),
        said,
    ) {
        (Some(known), Some(said)) => (known == said).then_some(1),
        _ => Some(0),
    };
    calls
        .iter_mut()
        .filter_map(|call| {
            let score =
                fit(call, "platform", &record.platform)? + fit(call, "agent_id", &record.agent_id)?;
            Some((score, call))
        })
        .max_by_key(|(score, call)| (*score, std::cmp::Reverse(call.no)))
        .map(|(_, call)| call)
}

async fn look_up<'r>(
    session: &mut Session<'_>,
    records: &'r [CallRecord],
) -> Result<BTreeMap<&'r str, Vec<Known>>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT no, platform, agent_id, call_id, phone, email, direction, recording_url, started_at, ended_at, \
         duration_ms, fields, metadata, seen FROM calls WHERE call_id IN (",
    );
    let mut list = query.separated(", ");
    for record in records {
        list.push_bind(record.call_id.as_str());
    }
    query.push(")");
    let mut known: BTreeMap<&str, Vec<Known>> = BTreeMap::new();
    for row in query.build().fetch_all(&mut *session.connection).await? {
        let id: String = row.try_get("call_id")?;
        if let Some(record) = records.iter().find(|record| record.call_id == id) {
            let call = Known {
                no: row.try_get("no")?,
                row: Facts::read(&row)?,
            };
            known.entry(record.call_id.as_str()).or_default().push(call);
        }
    }
    Ok(known)
}

async fn insert(session: &mut Session<'_>, records: &[&CallRecord]) -> Result<(), StoreError> {
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let mut row = Facts::default();
        let moment = record.moment(session.now);
        row.lay(record, moment);
        if record.transcript.is_some() {
            row.seen.insert("transcript".to_owned(), moment);
        }
        rows.push((
            session.book.next_call(session.connection).await?,
            row,
            *record,
        ));
    }
    let now = session.now;
    for chunk in rows.chunks(50) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO calls (no, id, revision, reached, platform, agent_id, call_id, phone, email, direction, \
             recording_url, started_at, ended_at, duration_ms, created_at, updated_at, seen, fields, metadata) ",
        );
        query.push_values(chunk, |mut values, (no, row, _)| {
            values
                .push_bind(*no)
                .push_bind(format!("call_{no:013}"))
                .push("0")
                .push("0");
            for name in TEXTS {
                values.push_bind(row.texts.get(name).cloned());
            }
            for name in NUMBERS {
                values.push_bind(row.numbers.get(name).copied());
            }
            values
                .push_bind(now)
                .push_bind(now)
                .push_bind(row.seen_text())
                .push_bind(Value::Object(row.fields.clone()).to_string())
                .push_bind(Value::Object(row.metadata.clone()).to_string());
        });
        query.build().execute(&mut *session.connection).await?;
    }
    for (no, _, record) in &rows {
        set_transcript(session, *no, record).await?;
    }
    let plain: Vec<Plain<'_>> = rows
        .iter()
        .map(|(no, row, _)| Plain {
            call: *no,
            series: row.series(),
            at: row.numbers.get("started_at").copied().unwrap_or(now),
            phone: row.texts.get("phone").map(String::as_str),
            started_at: row.numbers.get("started_at").copied(),
            parts: [&row.metadata, &row.fields],
        })
        .collect();
    figure::add_all(session.connection, session.book, &plain).await
}

async fn set_transcript(
    session: &mut Session<'_>,
    call: i64,
    record: &CallRecord,
) -> Result<(), StoreError> {
    let Some(transcript) = &record.transcript else {
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO transcripts (call_no, transcript) VALUES ($1, $2) \
         ON CONFLICT (call_no) DO UPDATE SET transcript = excluded.transcript",
    )
    .bind(call)
    .bind(transcript)
    .execute(&mut *session.connection)
    .await?;
    Ok(())
}

async fn transcript(session: &mut Session<'_>, call: i64) -> Result<Option<String>, StoreError> {
    let row = sqlx::query("SELECT transcript FROM transcripts WHERE call_no = $1")
        .bind(call)
        .fetch_optional(&mut *session.connection)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Lays a record over a call; answers whether anything is otherwise now.
async fn update(
    session: &mut Session<'_>,
    call: &mut Known,
    record: &CallRecord,
) -> Result<bool, StoreError> {
    let before = call.row.clone();
    let moment = record.moment(session.now);
    call.row.lay(record, moment);
    let known = before.seen.contains_key("transcript");
    let fresh_transcript = match &record.transcript {
        Some(said) if call.row.newer("transcript", known, moment) => {
            transcript(session, call.no).await?.as_ref() != Some(said)
        }
        _ => false,
    };
    if call.row.says_the_same_as(&before) && !fresh_transcript {
        if call.row.seen != before.seen {
            // It was only said again: that counts against older words that are still to come.
            sqlx::query("UPDATE calls SET seen = $2 WHERE no = $1")
                .bind(call.no)
                .bind(call.row.seen_text())
                .execute(&mut *session.connection)
                .await?;
        }
        return Ok(false);
    }
    let mut query = QueryBuilder::<Sqlite>::new("UPDATE calls SET ");
    let mut set = query.separated(", ");
    for name in TEXTS {
        set.push(format!("{name} = "))
            .push_bind_unseparated(call.row.texts.get(name).cloned());
    }
    for name in NUMBERS {
        set.push(format!("{name} = "))
            .push_bind_unseparated(call.row.numbers.get(name).copied());
    }
    set.push("seen = ")
        .push_bind_unseparated(call.row.seen_text());
    set.push("fields = ")
        .push_bind_unseparated(Value::Object(call.row.fields.clone()).to_string());
    set.push("metadata = ")
        .push_bind_unseparated(Value::Object(call.row.metadata.clone()).to_string());
    set.push("updated_at = ").push_bind_unseparated(session.now);
    query.push(" WHERE no = ").push_bind(call.no);
    query.build().execute(&mut *session.connection).await?;
    if fresh_transcript {
        set_transcript(session, call.no, record).await?;
    }
    let stale = Stale {
        call: call.no,
        retag: call.row.metadata != before.metadata || call.row.fields != before.fields,
    };
    figure::refresh(session.connection, session.book, stale, before.touch()).await?;
    Ok(true)
}
