//! Runs a connector's cases: the same for the conformance suite and for `connectors test`.

use serde_json::{Map, Value};

use super::case::{
    Case, CaseKind, DestinationCase, ExpectedAnswer, ExpectedRequest, InboundCase, OutboundCase,
};
use super::gather::GivenAnswers;
use super::request::{Answer, InboundRequest, Reception, Unverified, VerifiedRequest};
use super::{
    Connector, Derived, DestinationAnswer, Inbound, Outbound, PreparedRequest, Reading,
    RenderInput, SourceOptions, Verification,
};
use crate::diagnostic::Diagnostic;
use crate::mapping::{Derivation, differences};
use crate::model::{
    Basis, DeliveryId, EventId, Money, Outcome, OutcomeId, OutcomeKind, Settings, SourceName,
    Subject, currency, parse_amount, parse_phone, parse_region,
};
use crate::queue::{Mark, StoredEvent, StoredOutcome};

/// How one case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseReport {
    /// The case's name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// What is not as expected; empty when it passed.
    pub problems: Vec<String>,
}

/// Runs every case and every `[[test]]` of a connector.
pub fn run_cases(connector: &Connector) -> Vec<CaseReport> {
    let mut reports: Vec<CaseReport> = connector
        .cases
        .iter()
        .map(|case| CaseReport {
            name: case.name.clone(),
            about: case.about.clone(),
            problems: run(connector, case),
        })
        .collect();
    if let Some(rules) = &connector.rules {
        let results = rules.run_tests(connector.folder());
        reports.extend(results.into_iter().map(|result| CaseReport {
            about: "a test of mapping.toml".to_owned(),
            name: result.name,
            problems: result.failures,
        }));
    }
    reports
}

fn run(connector: &Connector, case: &Case) -> Vec<String> {
    let ran = match &case.kind {
        CaseKind::Inbound(inbound) => run_inbound(connector, case, inbound),
        CaseKind::Outbound(outbound) => run_outbound(connector, case, outbound),
    };
    ran.unwrap_or_else(|problem| vec![problem])
}

/// The source that a case is received by.
///
/// # Errors
/// The mistakes in the case's settings, in words.
pub fn source_of(
    connector: &Connector,
    case: &Case,
    inbound: &InboundCase,
) -> Result<Inbound, String> {
    let url = format!("https://bridge.example.com/webhooks/{}", connector.name);
    let options = SourceOptions {
        source: SourceName::new(connector.name.as_str()).map_err(|e| e.to_string())?,
        public_url: inbound.public_url.clone().unwrap_or(url),
        verification: Verification::AsConnector,
        dedupe_window: None,
    };
    let mut settings = Settings::from_json(case.settings.clone());
    // A general option of every source, which the configuration takes out.
    settings.entries.remove("region");
    Inbound::new(connector, &settings, &options)
        .map(|(inbound, _)| inbound)
        .map_err(|mistakes| in_words(&mistakes))
}

/// The request of a case as it arrives, signed if the case wants that.
///
/// # Errors
/// Why it cannot be signed, in words.
pub fn request_of(
    source: &Inbound,
    case: &Case,
    inbound: &InboundCase,
) -> Result<InboundRequest<Unverified>, String> {
    if !inbound.sign {
        return Ok(InboundRequest::new(inbound.request.clone()));
    }
    let signed = source.sign(inbound.request.clone(), case.now);
    signed.map_err(|error| error.to_string())
}

/// The destination that a case is brought to.
///
/// # Errors
/// The mistakes in the case's settings, in words.
pub fn destination_of(connector: &Connector, case: &Case) -> Result<Outbound, String> {
    let settings = Settings::from_json(case.settings.clone());
    Outbound::new(connector, &settings)
        .map(|(destination, _)| destination)
        .map_err(|mistakes| in_words(&mistakes))
}

/// The outcome of a case; `None` when the target is told that nothing holds any more.
///
/// # Errors
/// What is wrong with the case's fields, in words.
pub fn outcome_of(outbound: &OutboundCase) -> Result<Option<StoredOutcome>, String> {
    outbound.outcome.as_ref().map(read_outcome).transpose()
}

fn in_words(mistakes: &[Diagnostic]) -> String {
    let words = mistakes.iter().map(|d| d.message.as_str());
    words.collect::<Vec<_>>().join("; ")
}

fn run_inbound(
    connector: &Connector,
    case: &Case,
    inbound: &InboundCase,
) -> Result<Vec<String>, String> {
    let source = source_of(connector, case, inbound)?;
    let request = request_of(&source, case, inbound)?;
    let expect = &inbound.expect;
    let mut problems = Vec::new();
    let (disposition, reason) = match source.receive(request, case.now) {
        Reception::Refused(refusal) => ("refused".to_owned(), refusal.reason),
        Reception::Handshake(answer) => {
            compare_answer(expect.answer.as_ref(), &answer, &mut problems);
            ("handshake".to_owned(), String::new())
        }
        Reception::Verified(request) => {
            compare_answer(
                expect.answer.as_ref(),
                source.accepted_answer(),
                &mut problems,
            );
            compare_event_type(inbound, &request, &mut problems);
            let mut answers = GivenAnswers::new(&inbound.lookup);
            let processed = process(connector, &source, request, case, &mut answers);
            compare_lookups(expect.lookups.as_deref(), &answers, &mut problems);
            match processed {
                Err(reason) => ("failed".to_owned(), reason),
                Ok(Derived::Foreign(reason)) => ("ignored".to_owned(), reason),
                Ok(Derived::Asked {
                    derivation,
                    left_out,
                }) => {
                    compare_facts(inbound, &derivation, &mut problems);
                    let reasons = std::iter::once(derivation.reason).chain(left_out);
                    let reason = reasons.collect::<Vec<_>>().join("; ");
                    (derivation.disposition.to_string(), reason)
                }
            }
        }
    };
    if disposition != expect.disposition {
        problems.insert(
            0,
            format!(
                "disposition: expected {}, got {disposition} ({reason})",
                expect.disposition
            ),
        );
    }
    if let Some(part) = &expect.reason
        && !reason.contains(part.as_str())
    {
        problems.push(format!("reason: expected `{part}` in `{reason}`"));
    }
    Ok(problems)
}

/// Does with a verified request what the processor does with a stored event.
fn process(
    connector: &Connector,
    source: &Inbound,
    request: VerifiedRequest,
    case: &Case,
    answers: &mut GivenAnswers<'_>,
) -> Result<Derived, String> {
    let rules = connector.rules.as_ref();
    let rules = rules.ok_or("the connector has no default rules")?;
    let event = request.into_new_event(source.source().clone(), case.now);
    let event = StoredEvent {
        id: EventId(1),
        source: event.source,
        received_at: event.received_at,
        event_type: event.event_type,
        headers: event.headers,
        query: event.query,
        body: event.body,
        mark: Mark::default(),
    };
    let region = case.settings.get("region").and_then(Value::as_str);
    let reading = Reading {
        rules,
        setting: source.settings_value(),
        region: region.and_then(|code| parse_region(code).ok()),
    };
    let lookups = source.lookups();
    source
        .derive(&event, &reading, &mut |body, context| {
            lookups.gather(rules, body, context, answers)
        })
        .map_err(|e| e.to_string())
}

fn compare_lookups(
    expected: Option<&[String]>,
    answers: &GivenAnswers<'_>,
    problems: &mut Vec<String>,
) {
    let asked = answers.asked();
    if let Some(expected) = expected
        && expected != asked
    {
        problems.push(format!("lookups: expected {expected:?}, got {asked:?}"));
    }
}

fn compare_event_type(
    inbound: &InboundCase,
    request: &VerifiedRequest,
    problems: &mut Vec<String>,
) {
    if let (Some(expected), Some(got)) = (inbound.event_type.as_deref(), request.event_type())
        && expected != got
    {
        problems.push(format!("event_type: expected {expected}, got {got}"));
    }
}

fn compare_facts(inbound: &InboundCase, derived: &Derivation, problems: &mut Vec<String>) {
    let expect = &inbound.expect;
    if derived.facts.len() != expect.facts.len() {
        problems.push(format!(
            "facts: expected {}, got {}",
            expect.facts.len(),
            derived.facts.len()
        ));
    }
    for (at, (expected, fact)) in expect.facts.iter().zip(&derived.facts).enumerate() {
        let differences = differences(expected, fact).into_iter();
        problems.extend(differences.map(|difference| format!("fact {at}: {difference}")));
    }
    if let Some(warnings) = expect.warnings
        && warnings != derived.warnings.len()
    {
        problems.push(format!(
            "warnings: expected {warnings}, got {:?}",
            derived.warnings
        ));
    }
}

fn compare_answer(expected: Option<&ExpectedAnswer>, got: &Answer, problems: &mut Vec<String>) {
    let Some(expected) = expected else { return };
    if let Some(status) = expected.status
        && status != got.status
    {
        problems.push(format!("answer: expected {status}, got {}", got.status));
    }
    if let Some(body) = &expected.body {
        let text = String::from_utf8_lossy(&got.body);
        let same = match (
            serde_json::from_str::<Value>(body),
            serde_json::from_str::<Value>(&text),
        ) {
            (Ok(expected), Ok(got)) => expected == got,
            _ => *body == text,
        };
        if !same {
            problems.push(format!("answer: expected `{body}`, got `{text}`"));
        }
    }
    compare_headers(&expected.headers, &got.headers, problems);
}

fn compare_headers(
    expected: &Map<String, Value>,
    got: &[(String, String)],
    problems: &mut Vec<String>,
) {
    for (name, value) in expected {
        let found = got.iter().find(|(known, _)| known == name);
        let found = found.map(|(_, value)| value.as_str());
        let right = match value {
            // `false`: it must not be there; `true`: it must, whatever it says.
            Value::Bool(there) => found.is_some() == *there,
            other => found == other.as_str(),
        };
        if !right {
            let found = found.unwrap_or("nothing");
            problems.push(format!("header {name}: expected {value}, got {found}"));
        }
    }
}

fn run_outbound(
    connector: &Connector,
    case: &Case,
    outbound: &OutboundCase,
) -> Result<Vec<String>, String> {
    let destination = destination_of(connector, case)?;
    let mut problems = Vec::new();
    let stored = outcome_of(outbound)?;
    let target = match stored
        .as_ref()
        .map(|stored| destination.target(&stored.outcome))
    {
        // Told that nothing holds: the address is the case's own.
        None => outbound.target.clone().unwrap_or_default(),
        Some(Ok(target)) => {
            if outbound.unresolved.is_some() || outbound.target.as_ref() != Some(&target.address) {
                let expected = outbound.target.as_deref().unwrap_or("none");
                problems.push(format!(
                    "target: expected {expected}, got {}",
                    target.address
                ));
            }
            target.address
        }
        Some(Err(reason)) => {
            match &outbound.unresolved {
                Some(part) if reason.contains(part.as_str()) => {}
                _ => problems.push(format!("target: {reason}")),
            }
            return Ok(problems);
        }
    };
    let moment = stored
        .as_ref()
        .and_then(|stored| destination.not_before(&stored.outcome))
        .map(|moment| moment.to_string());
    if outbound.not_before.is_some() && moment != outbound.not_before {
        let (expected, got) = (outbound.not_before.as_deref(), moment.as_deref());
        problems.push(format!(
            "not before: expected {}, got {}",
            expected.unwrap_or("none"),
            got.unwrap_or("none")
        ));
    }
    if let Some(expected) = &outbound.request {
        let rendered = destination.render(RenderInput {
            target: &target,
            outcome: stored.as_ref(),
            receipt: &outbound.receipt,
            delivery: DeliveryId {
                event: EventId(1),
                ordinal: 0,
            },
            now: case.now,
        });
        match rendered {
            Ok(request) => {
                compare_request(expected, &request, &mut problems);
                if destination.scrub(&request.shown) != request.shown {
                    problems.push("a secret is shown in the request's URL".to_owned());
                }
            }
            Err(error) => problems.push(format!("request: {error}")),
        }
    }
    for (at, answer) in outbound.answers.iter().enumerate() {
        compare_verdict(&destination, answer, at, &mut problems);
    }
    Ok(problems)
}

fn read_outcome(fields: &Map<String, Value>) -> Result<StoredOutcome, String> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
    let known = [
        "kind",
        "label",
        "value",
        "currency",
        "notes",
        "metadata",
        "call_id",
        "phone",
        "email",
        "booking_id",
        "deal_id",
        "contact_id",
        "agent_id",
        "occurred_at",
        "basis",
    ];
    if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("an outcome has no `{key}`"));
    }
    let kind = text("kind").unwrap_or_default();
    let kind: OutcomeKind = kind
        .parse()
        .map_err(|()| format!("`{kind}` is no outcome"))?;
    let value = match text("value") {
        None => None,
        Some(value) => Some(Money {
            amount: parse_amount(&value).map_err(|error| error.to_string())?,
            currency: currency(&text("currency").unwrap_or_default())
                .map_err(|error| error.to_string())?,
        }),
    };
    let phone = match text("phone") {
        None => None,
        Some(phone) => Some(parse_phone(&phone, None).map_err(|error| error.to_string())?),
    };
    let metadata = fields.get("metadata").and_then(Value::as_object).cloned();
    let occurred_at = text("occurred_at").unwrap_or_else(|| "2026-01-02T00:00:00Z".to_owned());
    let basis = match text("basis").as_deref() {
        None | Some("reported") => Basis::Reported,
        Some("inferred") => Basis::Inferred,
        Some("manual") => Basis::Manual,
        Some(other) => return Err(format!("`{other}` is no basis")),
    };
    let event = EventId(1);
    Ok(StoredOutcome {
        id: OutcomeId { event, ordinal: 0 },
        outcome: Outcome {
            kind,
            label: text("label"),
            value,
            notes: text("notes"),
            metadata: metadata.unwrap_or_default(),
            subject: Subject {
                call_id: text("call_id"),
                phone,
                email: text("email"),
                booking_id: text("booking_id"),
                deal_id: text("deal_id"),
                contact_id: text("contact_id"),
                agent_id: text("agent_id"),
            },
            occurred_at: occurred_at
                .parse()
                .map_err(|_unreadable| format!("`{occurred_at}` is no moment"))?,
            basis,
            source: SourceName::new("case").map_err(|error| error.to_string())?,
            event,
            rule: "case".to_owned(),
        },
    })
}

fn compare_request(expected: &ExpectedRequest, got: &PreparedRequest, problems: &mut Vec<String>) {
    if let Some(method) = &expected.method
        && *method != got.method
    {
        problems.push(format!("method: expected {method}, got {}", got.method));
    }
    if let Some(url) = &expected.url
        && url != got.url.as_str()
    {
        problems.push(format!("url: expected {url}, got {}", got.url));
    }
    compare_headers(&expected.headers, &got.headers, problems);
    if let Some(body) = &expected.body {
        let got: Value = serde_json::from_slice(&got.body).unwrap_or(Value::Null);
        if !same_json(body, &got) {
            problems.push(format!("body: expected {body}, got {got}"));
        }
    }
}

/// TOML tells 299 from 299.0, JSON does not.
fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same_json(a, b)))
        }
        _ => a == b,
    }
}

fn compare_verdict(
    destination: &Outbound,
    case: &DestinationCase,
    at: usize,
    problems: &mut Vec<String>,
) {
    let headers = case.headers.iter();
    let headers: Vec<(String, String)> = headers
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let answer = DestinationAnswer {
        status: case.status,
        headers: &headers,
        body: case.body.as_bytes(),
    };
    let verdict = destination.judge(&answer, case.age);
    if verdict.kind != case.verdict {
        problems.push(format!(
            "answer {at}: expected {}, got {} ({})",
            case.verdict.as_str(),
            verdict.kind.as_str(),
            verdict.reason
        ));
    }
    if let Some(part) = &case.reason
        && !verdict.reason.contains(part.as_str())
    {
        problems.push(format!(
            "answer {at}: expected `{part}` in `{}`",
            verdict.reason
        ));
    }
    if let Some(receipt) = &case.receipt
        && *receipt != verdict.receipt
    {
        problems.push(format!(
            "answer {at}: expected receipt {}, got {}",
            Value::Object(receipt.clone()),
            Value::Object(verdict.receipt)
        ));
    }
}
