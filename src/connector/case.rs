//! Cases: a request or an outcome, and what must come of it. Read here, run in `run`.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::fill::Fill;
use super::folder::Folder;
use super::reader::{Log, Reader};
use super::request::RequestParts;
use crate::diagnostic::Diagnostic;
use crate::model::VerdictKind;

/// When a case takes place that does not say so.
const NOW: &str = "2026-01-02T03:04:05Z";

/// One case of a connector.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its folder's name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// When it takes place.
    pub now: Timestamp,
    /// The settings of its source or destination.
    pub settings: Value,
    /// What it is about.
    pub kind: CaseKind,
}

/// What a case is about.
#[derive(Debug, Clone)]
pub enum CaseKind {
    /// A request that is received.
    Inbound(InboundCase),
    /// An outcome that is brought to a destination.
    Outbound(OutboundCase),
}

/// A request that is received.
#[derive(Debug, Clone)]
pub struct InboundCase {
    /// Which of the connector's event types it covers.
    pub event_type: Option<String>,
    /// The source's public URL, where the case needs a certain one.
    pub public_url: Option<String>,
    /// The request, before it is signed.
    pub request: RequestParts,
    /// Whether it is signed as the vendor does.
    pub sign: bool,
    /// What the vendor's API would answer, by look-up; of a batch a list with what each item gets.
    pub lookup: Value,
    pub(super) expect: InboundExpectation,
}

#[derive(Debug, Clone)]
pub(super) struct InboundExpectation {
    pub(super) disposition: String,
    pub(super) reason: Option<String>,
    pub(super) warnings: Option<usize>,
    /// Methods and URLs of the look-ups, in order, if they are compared.
    pub(super) lookups: Option<Vec<String>>,
    pub(super) facts: Vec<Map<String, Value>>,
    pub(super) answer: Option<ExpectedAnswer>,
}

#[derive(Debug, Clone)]
pub(super) struct ExpectedAnswer {
    pub(super) status: Option<u16>,
    pub(super) body: Option<String>,
    pub(super) headers: Map<String, Value>,
}

/// An outcome that is brought to a destination.
#[derive(Debug, Clone)]
pub struct OutboundCase {
    /// The outcome's fields; `None` when the target is told that nothing holds any more.
    pub(super) outcome: Option<Map<String, Value>>,
    pub(super) receipt: Map<String, Value>,
    pub(super) target: Option<String>,
    pub(super) unresolved: Option<String>,
    pub(super) not_before: Option<String>,
    pub(super) request: Option<ExpectedRequest>,
    pub(super) answers: Vec<DestinationCase>,
}

#[derive(Debug, Clone)]
pub(super) struct ExpectedRequest {
    pub(super) method: Option<String>,
    pub(super) url: Option<String>,
    pub(super) headers: Map<String, Value>,
    pub(super) body: Option<Value>,
}

#[derive(Debug, Clone)]
pub(super) struct DestinationCase {
    pub(super) status: u16,
    pub(super) headers: Map<String, Value>,
    pub(super) body: String,
    pub(super) age: jiff::SignedDuration,
    pub(super) verdict: VerdictKind,
    pub(super) reason: Option<String>,
    pub(super) receipt: Option<Map<String, Value>>,
}

impl Case {
    /// Reads all cases of a folder; mistakes are added to `found`.
    pub(super) fn read_all(folder: &Folder, found: &mut Vec<Diagnostic>) -> Vec<Self> {
        let names = folder.cases().into_iter();
        names
            .filter_map(|name| Self::read(folder, name, found))
            .collect()
    }

    fn read(folder: &Folder, name: &str, found: &mut Vec<Diagnostic>) -> Option<Self> {
        let relative = format!("cases/{name}/case.toml");
        let path = folder.path.join(&relative);
        let Some(text) = folder.text(&relative) else {
            found.push(Diagnostic::error(path, "a case needs a `case.toml`"));
            return None;
        };
        let log = Log::new(path, text.into());
        let case = log.parse(text).and_then(|table| {
            let fill = Fill::nothing();
            let reader = Reader::new(&log, &fill, table.get_ref(), 0..0, "case.toml");
            let lookup = lookup_of(folder, name, &log);
            Self::read_table(reader, name, body_of(folder, name), lookup)
        });
        let failed = log.has_errors();
        found.extend(log.into_diagnostics());
        case.filter(|_| !failed)
    }

    fn read_table(
        reader: Reader<'_>,
        name: &str,
        body: Option<Bytes>,
        lookup: Value,
    ) -> Option<Self> {
        let about = reader.required("about", "\"a paid invoice in yen\"");
        let now = moment(&reader, "now").or_else(|| NOW.parse().ok());
        let settings = reader.json("settings").map(|(value, _)| value);
        let kind = match body {
            Some(body) => InboundCase::read(&reader, body, lookup).map(CaseKind::Inbound),
            None => OutboundCase::read(&reader).map(CaseKind::Outbound),
        };
        reader.finish();
        Some(Self {
            name: name.to_owned(),
            about: about?.value,
            now: now?,
            settings: settings.unwrap_or_else(|| Value::Object(Map::new())),
            kind: kind?,
        })
    }

    /// The request of an inbound case, before it is signed.
    pub fn request(&self) -> Option<&RequestParts> {
        match &self.kind {
            CaseKind::Inbound(case) => Some(&case.request),
            CaseKind::Outbound(_) => None,
        }
    }
}

fn body_of(folder: &Folder, name: &str) -> Option<Bytes> {
    ["body.json", "body.xml", "body.form", "body.txt"]
        .iter()
        .find_map(|file| folder.bytes(&format!("cases/{name}/{file}")))
        .map(Bytes::copy_from_slice)
}

/// What the vendor's API would answer.
fn lookup_of(folder: &Folder, name: &str, log: &Log) -> Value {
    let Some(text) = folder.text(&format!("cases/{name}/lookup.json")) else {
        return Value::Null;
    };
    serde_json::from_str(text).unwrap_or_else(|error| {
        log.error(0..0, format!("its lookup.json is not JSON: {error}"));
        Value::Null
    })
}

fn moment(reader: &Reader<'_>, key: &'static str) -> Option<Timestamp> {
    let text = reader.text(key)?;
    let parsed = text.value.parse().ok();
    if parsed.is_none() {
        reader.log.error(text.span, format!("`{key}` is no moment"));
    }
    parsed
}

fn object(reader: &Reader<'_>, key: &'static str) -> Option<Map<String, Value>> {
    let (value, span) = reader.json(key)?;
    match value {
        Value::Object(map) => Some(map),
        _ => {
            reader.log.error(span, format!("`{key}` has to be a table"));
            None
        }
    }
}

fn text(reader: &Reader<'_>, key: &'static str) -> Option<String> {
    reader.text(key).map(|text| text.value)
}

impl InboundCase {
    fn read(reader: &Reader<'_>, body: Bytes, lookup: Value) -> Option<Self> {
        let headers = object(reader, "headers").unwrap_or_default();
        let request = RequestParts {
            method: text(reader, "method").unwrap_or_else(|| "POST".to_owned()),
            path_token: text(reader, "path_token"),
            query: text(reader, "query").unwrap_or_default(),
            headers: headers
                .into_iter()
                .filter_map(|(k, v)| Some((k.to_ascii_lowercase(), v.as_str()?.to_owned())))
                .collect(),
            body,
        };
        let event_type = text(reader, "event_type");
        let public_url = text(reader, "public_url");
        let sign = reader.flag("sign").unwrap_or(true);
        let Some(expect) = reader.child("expect") else {
            reader.missing("expect", "{ disposition = \"mapped\" }");
            return None;
        };
        Some(Self {
            event_type,
            public_url,
            request,
            sign,
            lookup,
            expect: InboundExpectation::read(expect)?,
        })
    }
}

impl InboundExpectation {
    fn read(reader: Reader<'_>) -> Option<Self> {
        const DISPOSITIONS: [(&str, &str); 7] = [
            ("mapped", "mapped"),
            ("ignored", "ignored"),
            ("waiting", "waiting"),
            ("unmatched", "unmatched"),
            ("failed", "failed"),
            ("refused", "refused"),
            ("handshake", "handshake"),
        ];
        if !reader.has("disposition") {
            reader.missing("disposition", "\"mapped\"");
        }
        let disposition = reader.choice("disposition", &DISPOSITIONS);
        let reason = text(&reader, "reason");
        let warnings = reader.number("warnings");
        let texts = || reader.texts("lookups").into_iter().map(|text| text.value);
        let lookups = reader.has("lookups").then(|| texts().collect());
        let facts = match reader.json("fact") {
            Some((Value::Array(facts), _)) => facts
                .into_iter()
                .filter_map(|fact| match fact {
                    Value::Object(fact) => Some(fact),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let answer = reader.child("answer").map(|answer| {
            let expected = ExpectedAnswer {
                status: answer.number("status"),
                body: text(&answer, "body"),
                headers: object(&answer, "headers").unwrap_or_default(),
            };
            answer.finish();
            expected
        });
        reader.finish();
        Some(Self {
            disposition: disposition?.to_owned(),
            reason,
            warnings,
            lookups,
            facts,
            answer,
        })
    }
}

impl OutboundCase {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let outcome = object(reader, "outcome");
        let receipt = object(reader, "receipt").unwrap_or_default();
        let Some(expect) = reader.child("expect") else {
            reader.missing("expect", "{ target = \"…\" }");
            return None;
        };
        let target = text(&expect, "target");
        let unresolved = text(&expect, "unresolved");
        let not_before = text(&expect, "not_before");
        let request = expect.child("request").map(|request| {
            let expected = ExpectedRequest {
                method: text(&request, "method"),
                url: text(&request, "url"),
                headers: object(&request, "headers").unwrap_or_default(),
                body: request.json("body").map(|(body, _)| body),
            };
            request.finish();
            expected
        });
        let answers = expect.children("answers").into_iter();
        let answers = answers.filter_map(DestinationCase::read).collect();
        expect.finish();
        Some(Self {
            outcome,
            receipt,
            target,
            unresolved,
            not_before,
            request,
            answers,
        })
    }
}

impl DestinationCase {
    fn read(reader: Reader<'_>) -> Option<Self> {
        let verdicts = [
            ("delivered", VerdictKind::Delivered),
            ("retry", VerdictKind::Retry),
            ("refused", VerdictKind::Refused),
            ("hold", VerdictKind::Hold),
        ];
        if !reader.has("verdict") {
            reader.missing("verdict", "\"delivered\"");
        }
        let case = reader.choice("verdict", &verdicts).map(|verdict| Self {
            status: reader.number("status").unwrap_or(200),
            headers: object(&reader, "headers").unwrap_or_default(),
            body: text(&reader, "body").unwrap_or_default(),
            age: reader
                .duration("after")
                .map_or(jiff::SignedDuration::ZERO, |(after, _)| after),
            verdict,
            reason: text(&reader, "reason"),
            receipt: object(&reader, "receipt"),
        });
        reader.finish();
        case
    }
}
