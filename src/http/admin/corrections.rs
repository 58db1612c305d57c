//! Corrections by hand: an outcome that holds until it is released, whatever vendors report.

use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::diagnostic::did_you_mean;
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::model::{
    Basis, EventId, Fact, Money, Outcome, OutcomeKind, Release, SourceName, Subject, is_ahead,
};
use crate::processing::admin_event::{AdminBody, LaneAddress};
use crate::queue::Acceptance;

/// The rule that corrections name.
const RULE: &str = "by_hand";

/// What holds from now on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Correction {
    outcome: OutcomeKind,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    value: Option<Money>,
    #[serde(default)]
    notes: Option<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
    /// When it happened; now, if it is not said.
    #[serde(default)]
    occurred_at: Option<Timestamp>,
    about: About,
}

/// Corrections that no longer hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Released {
    about: About,
}

/// Whom a correction or its release is about, and who says so.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    #[serde(default)]
    by: Option<String>,
    /// The source whose ids the subject names, and whose routes it takes.
    #[serde(default)]
    source: Option<SourceName>,
    #[serde(default)]
    subject: Subject,
    /// Lanes, in place of those that the subject leads to.
    #[serde(default)]
    at: Vec<LaneAddress>,
}

/// Sets an outcome by hand. It outranks everything until it is released.
pub(super) async fn correct(
    _: Admin,
    correction: web::Json<Correction>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let Correction {
        outcome,
        label,
        value,
        notes,
        metadata,
        occurred_at,
        about,
    } = correction.into_inner();
    let now = office.clock.now();
    let occurred_at = occurred_at.unwrap_or(now);
    past(occurred_at, now).map_err(|mistake| ApiError::new(Code::BadRequest, mistake))?;
    let fact = Fact::Outcome(Outcome {
        kind: outcome,
        label,
        value,
        notes,
        metadata,
        subject: about.subject.clone(),
        occurred_at,
        basis: Basis::Manual,
        // Both are put right when the event is processed.
        source: SourceName::new(SourceName::ADMIN).expect("`admin` is a name"),
        event: EventId(0),
        rule: RULE.to_owned(),
    });
    store(&office, about, fact).await
}

/// Takes corrections back that were made up to now: what vendors report holds again.
pub(super) async fn release(
    _: Admin,
    released: web::Json<Released>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let about = released.into_inner().about;
    let fact = Fact::Release(Release {
        subject: about.subject.clone(),
        occurred_at: office.clock.now(),
        rule: RULE.to_owned(),
    });
    store(&office, about, fact).await
}

/// Refuses what cannot have occurred yet.
pub(super) fn past(occurred_at: Timestamp, now: Timestamp) -> Result<(), String> {
    if is_ahead(occurred_at, now) {
        return Err(format!(
            "`occurred_at` is {occurred_at}, more than a day ahead; outcomes are told of when they have occurred"
        ));
    }
    Ok(())
}

/// Refuses a source that is not configured: its event would fail when it is processed, unseen by who sent it.
pub(super) fn configured(office: &Office, source: Option<&SourceName>) -> Result<(), ApiError> {
    let Some(source) = source else {
        return Ok(());
    };
    if office.sources.contains_key(source) {
        return Ok(());
    }
    let known: Vec<&str> = office.sources.keys().map(SourceName::as_str).collect();
    let hint = did_you_mean(source.as_str(), known.iter().copied())
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    let known = match known.as_slice() {
        [] => "none is configured".to_owned(),
        known => format!("configured: {}", known.join(", ")),
    };
    Err(ApiError::new(
        Code::BadRequest,
        format!("there is no source `{source}`{hint} ({known})"),
    ))
}

/// Stores the fact as an event, to be processed like any other.
async fn store(office: &Office, about: About, fact: Fact) -> Result<HttpResponse, ApiError> {
    configured(office, about.source.as_ref())?;
    let by = about.by.unwrap_or_else(|| "admin API".to_owned());
    let mut body = AdminBody::new(by, vec![fact]).at(about.at);
    if let Some(source) = about.source {
        body = body.on_behalf_of(source);
    }
    let event = body
        .into_event(office.clock.now())
        .map_err(|mistake| ApiError::new(Code::BadRequest, mistake.to_string()))?;
    let (Acceptance::Accepted(id) | Acceptance::Duplicate(id)) =
        office.queue.commit_event(event).await?;
    Ok(HttpResponse::Accepted().json(json!({ "event": id })))
}
