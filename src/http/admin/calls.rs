//! Calls in the built-in store: taken in, listed, shown.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::batch::{self, MOST};
use super::outcomes::store;
use super::query::Query;
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::phone::SoughtPhone;
use crate::http::state::Office;
use crate::model::Fact;
use crate::processing::admin_event::{AdminBody, MAX_FACTS, acceptable};
use crate::store::{CallFilter, CallRecord};

pub(super) async fn list(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::new(request.query_string(), office.clock.now());
    let agent: Option<String> = query.take("agent", "an agent's id")?;
    let phone: Option<SoughtPhone> = query.take("phone", "a phone")?;
    let filter = CallFilter {
        platform: query.take("platform", "a platform")?,
        agents: agent.map(|agent| vec![agent]),
        call_id: query.take("call", "a call's id at the platform")?,
        phone: phone.map(String::from),
        email: query.take("email", "an e-mail address")?,
        since: query.moment("since")?,
        until: query.moment("until")?,
        has_outcome: query.take("has_outcome", "true or false")?,
    };
    let page = query.page()?;
    query.finish()?;
    let found = store(&office)?.calls(&filter, page).await?;
    Ok(HttpResponse::Ok().json(found))
}

pub(super) async fn show(
    _: Admin,
    path: web::Path<String>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let store = store(&office)?;
    let call = store.call(&path).await?.ok_or_else(|| {
        ApiError::new(
            Code::NotFound,
            format!("there is no call `{}`", path.escape_debug()),
        )
    })?;
    let log = store.log(&call.id).await?;
    Ok(HttpResponse::Ok().json(json!({ "call": call, "log": log })))
}

/// Takes one call, or a list of them. Good ones are recorded even if others are not.
pub(super) async fn add(
    _: Admin,
    payload: web::Payload,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    // Nothing is read for a store that is not there.
    store(&office)?;
    let value: Value = batch::read(payload).await?;
    let written = match value {
        Value::Array(calls) => calls,
        Value::Object(mut one) => match one.remove("calls") {
            Some(Value::Array(calls)) if one.is_empty() => calls,
            Some(_) => return Err(bad("`calls` must be the only field, and a list")),
            None => return add_one(&office, &one).await,
        },
        _ => return Err(bad("send a call, a list of calls, or {\"calls\": […]}")),
    };
    if written.len() > MOST {
        return Err(bad(format!("at most {MOST} calls at a time")));
    }
    let (mut calls, mut rejected) = (Vec::with_capacity(written.len()), Vec::new());
    for (index, call) in written.iter().enumerate() {
        match call.as_object().map(CallRecord::read) {
            Some(Ok(call)) => calls.push(call),
            Some(Err(mistake)) => {
                rejected.push(json!({ "index": index, "reason": mistake.to_string() }));
            }
            None => rejected.push(json!({ "index": index, "reason": "a call is a JSON object" })),
        }
    }
    record(&office, calls, &rejected).await
}

async fn add_one(office: &Office, call: &Map<String, Value>) -> Result<HttpResponse, ApiError> {
    let call = CallRecord::read(call).map_err(|mistake| bad(mistake.to_string()))?;
    record(office, vec![call], &[]).await
}

/// Keeps calls in the store, and tells the registry of them, so that outcomes find them.
async fn record(
    office: &Office,
    calls: Vec<CallRecord>,
    rejected: &[Value],
) -> Result<HttpResponse, ApiError> {
    // Ids and addresses that no event could name find nothing: those calls are in the store alone.
    let facts: Vec<Fact> = calls
        .iter()
        .map(|call| Fact::Call(call.to_fact(office.clock.now())))
        .filter(|fact| acceptable(fact).is_ok())
        .collect();
    let recorded = store(office)?.record_calls(calls).await?;
    for some in facts.chunks(MAX_FACTS) {
        let event = AdminBody::new("calls", some.to_vec())
            .into_event(office.clock.now())
            .map_err(|mistake| bad(mistake.to_string()))?;
        office.queue.commit_event(event).await?;
    }
    Ok(HttpResponse::Ok().json(json!({
        "created": recorded.created, "updated": recorded.updated, "unchanged": recorded.unchanged, "rejected": rejected,
    })))
}

fn bad(detail: impl Into<String>) -> ApiError {
    ApiError::new(Code::BadRequest, detail)
}
