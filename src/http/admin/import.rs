//! Outcomes from elsewhere, many at a time: from a file, or from a tool of the team's own.
//!
//! They go the way of every outcome: stored as events, correlated, routed, delivered, explained.

use actix_web::{HttpResponse, web};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::batch::{self, MOST};
use super::corrections::{configured, past};
use crate::diagnostic::did_you_mean;
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::model::{
    Basis, EventId, Fact, Money, Outcome, OutcomeKind, SourceName, Subject, currency, parse_amount,
    parse_phone, parse_time,
};
use crate::processing::admin_event::{AdminBody, acceptable};
use crate::queue::Acceptance;

/// Outcomes of one event. Each delivery reads the row of its event, which names all of them: fewer make it faster, and
/// more make the story of an import shorter.
const TOGETHER: usize = 100;

/// The rule that imported outcomes name.
const RULE: &str = "imported";
/// What a row may say, beside `metadata.NAME`. An export says `kind` for `outcome`, and all metadata in one object.
const FIELDS: [&str; 17] = [
    "outcome",
    "kind",
    "occurred_at",
    "call_id",
    "phone",
    "email",
    "booking_id",
    "deal_id",
    "contact_id",
    "agent_id",
    "value",
    "currency",
    "label",
    "notes",
    "metadata",
    "basis",
    "target",
];

/// What an export says of how an outcome came into that store. It comes into this one in its own way, so they are
/// passed over: what was exported can be imported as it is.
const OF_THE_EXPORT: [&str; 9] = [
    "call_ref",
    "revision",
    "outcome_id",
    "value_minor",
    "source",
    "actor",
    "event_id",
    "rule",
    "recorded_at",
];

/// Outcomes, each an object of plain fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    outcomes: Vec<Map<String, Value>>,
    /// The source whose ids they name, and whose routes they take.
    #[serde(default)]
    source: Option<SourceName>,
    /// Who brings them.
    #[serde(default)]
    by: Option<String>,
}

/// Stores the good ones as events, and says what is wrong with the others.
pub(super) async fn add(
    _: Admin,
    payload: web::Payload,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let Import {
        outcomes,
        source,
        by,
    } = batch::read(payload).await?;
    configured(&office, source.as_ref())?;
    if outcomes.len() > MOST {
        return Err(bad(format!("at most {MOST} outcomes at a time")));
    }
    let (mut facts, mut rejected) = (Vec::new(), Vec::new());
    let now = office.clock.now();
    for (index, row) in outcomes.iter().enumerate() {
        let read = read(row, source.as_ref()).and_then(|outcome| {
            past(outcome.occurred_at, now)?;
            Ok(Fact::Outcome(outcome))
        });
        match read.and_then(|fact| acceptable(&fact).map(|()| fact)) {
            Ok(fact) => facts.push(fact),
            Err(reason) => rejected.push(json!({ "index": index, "reason": reason })),
        }
    }
    let by = by.unwrap_or_else(|| "outcomes import".to_owned());
    let mut commits = Vec::new();
    for some in facts.chunks(TOGETHER) {
        let mut body = AdminBody::new(by.clone(), some.to_vec());
        if let Some(source) = &source {
            body = body.on_behalf_of(source.clone());
        }
        let event = body
            .into_event(now)
            .map_err(|mistake| bad(mistake.to_string()))?;
        commits.push(office.queue.commit_event(event));
    }
    // One commit for all, in their order.
    let accepted = try_join_all(commits).await?;
    let events: Vec<EventId> = accepted
        .into_iter()
        .map(|(Acceptance::Accepted(id) | Acceptance::Duplicate(id))| id)
        .collect();
    Ok(HttpResponse::Accepted().json(json!({
        "accepted": facts.len(), "events": events, "rejected": rejected,
    })))
}

/// One outcome of a row. `source` is the one whose ids the rows name, if they are somebody's.
///
/// # Errors
/// What is wrong with it, in words.
fn read(row: &Map<String, Value>, source: Option<&SourceName>) -> Result<Outcome, String> {
    let metadata = metadata(row)?;
    let text = |name: &str| match row.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("`{name}` is not a text")),
    };
    let kind = match (text("outcome")?, text("kind")?) {
        (Some(outcome), Some(kind)) if outcome != kind => {
            return Err(format!(
                "`outcome` is `{outcome}` and `kind` is `{kind}`; they mean the same, give one"
            ));
        }
        (outcome, kind) => outcome.or(kind).ok_or("`outcome` is missing")?,
    };
    let kind: OutcomeKind = kind.parse().map_err(|()| {
        format!("`{kind}` is no outcome (known: shown, no_show, closed, lost, follow_up)")
    })?;
    let occurred_at = text("occurred_at")?.ok_or("`occurred_at` is missing")?;
    let occurred_at: Timestamp = parse_time(&occurred_at).map_err(|error| error.to_string())?;
    let phone = text("phone")?
        .map(|phone| parse_phone(&phone, None).map_err(|error| error.to_string()))
        .transpose()?;
    let mut subject = Subject {
        call_id: text("call_id")?,
        phone,
        email: text("email")?.map(|email| email.to_lowercase()),
        booking_id: text("booking_id")?,
        deal_id: text("deal_id")?,
        contact_id: text("contact_id")?,
        agent_id: text("agent_id")?,
    };
    if let (false, Some(target)) = (subject.is_known(), text("target")?) {
        address(&mut subject, &target, source)?;
    }
    if !subject.is_known() {
        return Err("it does not say whom it is about: give call_id, phone, email, booking_id, deal_id or contact_id".to_owned());
    }
    Ok(Outcome {
        kind,
        label: text("label")?,
        value: worth(text("value")?, text("currency")?)?,
        notes: text("notes")?,
        metadata,
        subject,
        occurred_at,
        basis: basis(text("basis")?.as_deref())?,
        // Both are put right when the event is processed.
        source: SourceName::new(SourceName::ADMIN).expect("`admin` is a name"),
        event: EventId(0),
        rule: RULE.to_owned(),
    })
}

/// The named values of a row: one by one as `metadata.NAME`, or all of them in `metadata`, as an object or its text.
fn metadata(row: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let not_an_object = || "`metadata` is no JSON object".to_owned();
    let mut metadata = match row.get("metadata") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(all)) => all.clone(),
        Some(Value::String(text)) if text.trim().is_empty() => Map::new(),
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|_other| not_an_object())?
        }
        Some(_) => return Err(not_an_object()),
    };
    for (name, value) in row {
        match name.strip_prefix("metadata.") {
            Some(name) => {
                metadata.insert(name.to_owned(), value.clone());
            }
            None if FIELDS.contains(&name.as_str()) => {}
            None if OF_THE_EXPORT.contains(&name.as_str()) => {}
            None => {
                let hint = did_you_mean(name, FIELDS)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                return Err(format!("there is no field `{name}`{hint}"));
            }
        }
    }
    Ok(metadata)
}

/// Whom an outcome is about of which an export knows only the address in the store: a booking, a deal or a contact.
fn address(subject: &mut Subject, target: &str, source: Option<&SourceName>) -> Result<(), String> {
    let mut parts = target.splitn(3, '/');
    let (Some(what), Some(owner), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(());
    };
    let place = match what {
        "booking" => &mut subject.booking_id,
        "deal" => &mut subject.deal_id,
        "contact" => &mut subject.contact_id,
        _ => return Ok(()),
    };
    let ours = source.map_or(SourceName::ADMIN, SourceName::as_str);
    if owner != ours {
        return Err(format!(
            "its {what} is known by an id of the source `{owner}`: import such rows with that source (`--source {owner}`)"
        ));
    }
    // Addresses are percent-encoded; without `=` and `&`, which are encoded too, this is one name.
    let decoded = form_urlencoded::parse(id.as_bytes()).next();
    *place = decoded.map(|(id, _)| id.into_owned());
    Ok(())
}

fn basis(text: Option<&str>) -> Result<Basis, String> {
    match text {
        None | Some("reported") => Ok(Basis::Reported),
        Some("inferred") => Ok(Basis::Inferred),
        Some("manual") => Ok(Basis::Manual),
        Some(other) => Err(format!(
            "`{other}` is no basis (known: reported, inferred, manual)"
        )),
    }
}

fn worth(value: Option<String>, code: Option<String>) -> Result<Option<Money>, String> {
    match (value, code) {
        (None, _) => Ok(None),
        (Some(_), None) => Err("`value` needs its `currency`".to_owned()),
        (Some(value), Some(code)) => Ok(Some(Money {
            amount: parse_amount(&value).map_err(|error| error.to_string())?,
            currency: currency(&code).map_err(|error| error.to_string())?,
        })),
    }
}

fn bad(detail: impl Into<String>) -> ApiError {
    ApiError::new(Code::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &Value) -> Result<Outcome, String> {
        read(value.as_object().unwrap(), None)
    }

    #[test]
    fn a_row_of_texts_as_a_spreadsheet_gives_them_is_an_outcome() {
        let outcome = row(&json!({
            "outcome": "closed", "occurred_at": "2026-05-06T16:10:00Z", "phone": "+1 415 555 7777", "email": "",
            "value": "1,234.50", "currency": "usd", "metadata.campaign": "spring",
        }))
        .unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Closed);
        assert_eq!(outcome.value.unwrap().to_string(), "1234.50 USD");
        assert_eq!(outcome.subject.phone.unwrap().to_string(), "+14155557777");
        assert_eq!(outcome.subject.email, None);
        assert_eq!(outcome.metadata["campaign"], "spring");
    }

    #[test]
    fn a_row_of_an_export_is_an_outcome() {
        let mut exported = json!({
            "call_ref": "call_1", "target": "call/c1", "agent_id": null, "call_id": "c1", "phone": "+14155557777",
            "email": null, "revision": 3, "outcome_id": "out_1", "kind": "closed", "label": "Sold", "value": "12.50",
            "value_minor": 1250, "currency": "USD", "notes": null, "metadata": { "a": 1 }, "basis": "manual",
            "occurred_at": "2026-05-06T16:10:00Z", "source": "crm", "actor": "delivery", "event_id": "evt_1",
            "rule": "won", "recorded_at": "2026-05-06T16:10:01Z",
        });
        let outcome = row(&exported).unwrap();
        assert_eq!(
            (outcome.kind, outcome.basis),
            (OutcomeKind::Closed, Basis::Manual)
        );
        assert_eq!(outcome.metadata, *json!({ "a": 1 }).as_object().unwrap());
        exported["metadata"] = json!("{\"a\":1}");
        assert_eq!(row(&exported).unwrap(), outcome, "as a cell of CSV");
    }

    #[test]
    fn an_outcome_known_by_its_address_alone_needs_the_source_of_its_id() {
        let exported = json!({ "kind": "lost", "occurred_at": "2026-05-06T16:10:00Z", "target": "deal/crm/D%2F7" });
        let reason = row(&exported).unwrap_err();
        assert!(reason.contains("--source crm"), "{reason}");
        let source = SourceName::new("crm").unwrap();
        let outcome = read(exported.as_object().unwrap(), Some(&source)).unwrap();
        assert_eq!(outcome.subject.deal_id.as_deref(), Some("D/7"));
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        let at = "2026-05-06T16:10:00Z";
        for (value, word) in [
            (
                json!({ "occurred_at": at, "call_id": "1" }),
                "`outcome` is missing",
            ),
            (
                json!({ "outcome": "won", "occurred_at": at, "call_id": "1" }),
                "`won` is no outcome",
            ),
            (
                json!({ "outcome": "lost", "occurred_at": "soon", "call_id": "1" }),
                "soon",
            ),
            (
                json!({ "outcome": "lost", "occurred_at": at }),
                "whom it is about",
            ),
            (
                json!({ "outcome": "lost", "occurred_at": at, "phone": "12" }),
                "phone",
            ),
            (
                json!({ "outcome": "lost", "occurred_at": at, "call_id": "1", "value": "5" }),
                "currency",
            ),
            (
                json!({ "outcome": "lost", "occurred_at": at, "call_id": "1", "vale": "5" }),
                "did you mean `value`?",
            ),
            (
                json!({ "outcome": "lost", "occurred_at": at, "call_id": { "a": 1 } }),
                "not a text",
            ),
            (
                json!({ "outcome": "lost", "kind": "closed", "occurred_at": at, "call_id": "1" }),
                "give one",
            ),
            (
                json!({ "outcome": "lost", "occurred_at": at, "call_id": "1", "basis": "sure" }),
                "`sure` is no basis",
            ),
            (
                json!({ "outcome": "lost", "occurred_at": at, "call_id": "1", "metadata": "x" }),
                "no JSON object",
            ),
        ] {
            let reason = row(&value).unwrap_err();
            assert!(reason.contains(word), "{word} in {reason}");
        }
    }
}
