//! The store as Phonely's API: `PATCH /api/calls/{agent_id}/{call_id or phone}?preference=first|last`.

use std::ops::RangeInclusive;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::input::{self, Trouble};
use super::key::{Client, admit};
use super::{StoreApis, resource};
use crate::config::StoreApi;
use crate::http::admin::Query;
use crate::http::error::Code;
use crate::http::phone::SoughtPhone;
use crate::model::Phone;
use crate::store::{
    CallFilter, CallKey, Change, Changed, Preference, Refusal, Sought, kind_of_label,
};

const HEADER: &str = "x-authorization";
const OUTCOME: &str = "custom_call_outcome";
const VALUE: &str = "custom_call_outcome_value";
const METADATA: &str = "custom_call_metadata";
const FIELDS: [&str; 3] = [OUTCOME, VALUE, METADATA];
/// How many digits a whole phone number has, with its country's code: no country's are fewer, E.164 has no more.
const DIGITS: RangeInclusive<usize> = 7..=15;

pub(super) async fn update(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    payload: web::Payload,
    apis: web::Data<StoreApis>,
) -> HttpResponse {
    let (agent, call) = path.into_inner();
    answer(change(&request, payload, &apis, agent, call).await)
}

async fn change(
    request: &HttpRequest,
    payload: web::Payload,
    apis: &StoreApis,
    agent: String,
    call: String,
) -> Result<Value, Trouble> {
    let client = enter(request, apis, &agent)?;
    let preference = preference(request, apis)?;
    let body = input::object(request, payload, apis, &FIELDS).await?;
    let sought = sought(&client, &agent, &call, preference)?;
    let label = body
        .get(OUTCOME)
        .map(|v| input::label(v, OUTCOME))
        .transpose()?;
    let said = Change {
        call: sought.clone(),
        actor: client.actor,
        source: "api:phonely".to_owned(),
        basis: client.basis,
        kind: label.as_deref().and_then(kind_of_label),
        label,
        value: body.amount(VALUE)?,
        currency: apis.currency.clone(),
        notes: None,
        metadata: body
            .get(METADATA)
            .map(|v| input::metadata(v, METADATA))
            .transpose()?,
        fields: FIELDS.into_iter().filter(|field| body.has(field)).collect(),
    };
    let fields = said.fields.clone();
    let id = match apis.store.change(said).await? {
        Changed::Done(id) => id,
        Changed::Refused(refusal) => return Err(refused(refusal, &call)),
    };
    let changed = apis.store.call(&id).await?.ok_or(Refusal::NoCall)?;
    let by_phone = matches!(sought.key, CallKey::Phone(..));
    Ok(json!({
        "success": true,
        "call_id": changed.call_id.as_deref().unwrap_or(&changed.id),
        "agent_id": agent,
        "phone": changed.phone,
        "preference": by_phone.then(|| preference.as_str()),
        "updated_fields": fields,
    }))
}

pub(super) async fn show(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    apis: web::Data<StoreApis>,
) -> HttpResponse {
    let (agent, call) = path.into_inner();
    let shown = async {
        let client = enter(&request, &apis, &agent)?;
        let preference = preference(&request, &apis)?;
        let sought = sought(&client, &agent, &call, preference)?;
        let found = apis.store.find_call(&sought).await?;
        let found = found.map_err(|refusal| refused(refusal, &call))?;
        Ok(json!({ "success": true, "call": resource::phonely(&found) }))
    };
    answer(shown.await)
}

pub(super) async fn list(
    request: HttpRequest,
    path: web::Path<String>,
    apis: web::Data<StoreApis>,
) -> HttpResponse {
    let agent = path.into_inner();
    let listed = async {
        enter(&request, &apis, &agent)?;
        let mut query = Query::new(request.query_string(), apis.clock.now());
        let phone: Option<SoughtPhone> = query.take("phone", "a phone")?;
        let filter = CallFilter {
            agents: Some(vec![agent]),
            phone: phone.map(String::from),
            since: query.moment("since")?,
            until: query.moment("until")?,
            has_outcome: query.take("has_outcome", "true or false")?,
            ..CallFilter::default()
        };
        let page = query.page()?;
        query.finish()?;
        let found = apis.store.calls(&filter, page).await?;
        let calls: Vec<Value> = found.items.iter().map(resource::phonely).collect();
        Ok(json!({ "success": true, "calls": calls, "next": found.next }))
    };
    answer(listed.await)
}

pub(super) fn wrong_method(takes: &str) -> HttpResponse {
    answer(Err(Trouble::new(
        Code::MethodNotAllowed,
        format!(
            "this path takes {takes}; a call is updated by PATCH and read by GET at /api/calls/{{agent_id}}/{{call}}"
        ),
    )))
}

fn enter(request: &HttpRequest, apis: &StoreApis, agent: &str) -> Result<Client, Trouble> {
    let client = admit(request, apis, StoreApi::Phonely, HEADER)?;
    if client.reaches(agent) {
        Ok(client)
    } else {
        Err(Trouble::new(
            Code::Forbidden,
            "this key does not reach the calls of this agent",
        ))
    }
}

fn preference(request: &HttpRequest, apis: &StoreApis) -> Result<Preference, Trouble> {
    let mut query = Query::new(request.query_string(), apis.clock.now());
    let word: Option<String> = query.take("preference", "first or last")?;
    query.finish()?;
    match word.as_deref() {
        None | Some("last") => Ok(Preference::Last),
        Some("first") => Ok(Preference::First),
        Some(other) => Err(Trouble::bad(format!(
            "`preference` is `{}`, expected first or last",
            other.chars().take(40).collect::<String>().escape_debug()
        ))),
    }
}

/// A text that starts with `+` is a phone, everything else an id.
fn sought(
    client: &Client,
    agent: &str,
    call: &str,
    preference: Preference,
) -> Result<Sought, Trouble> {
    let key = if call.starts_with('+') {
        let phone: Phone = serde_json::from_value(Value::String(call.to_owned()))
            .map_err(|_not_a_phone| not_e164(call))?;
        CallKey::Phone(phone, preference)
    } else {
        CallKey::Id(call.to_owned())
    };
    Ok(Sought {
        key,
        agent: Some(agent.to_owned()),
        scope: client.scope.clone(),
    })
}

/// No call is found; if that is for a phone that is not written as phones are, then this is what is wrong.
fn refused(refusal: Refusal, call: &str) -> Trouble {
    let misspelt = match call.strip_prefix('+') {
        Some(digits) => !DIGITS.contains(&digits.len()) || digits.starts_with('0'),
        None => {
            let digits = call.chars().filter(char::is_ascii_digit).count();
            let plain = |c: char| c.is_ascii_digit() || " ()-.".contains(c);
            DIGITS.contains(&digits) && call.chars().all(plain)
        }
    };
    if refusal == Refusal::NoCall && misspelt {
        not_e164(call)
    } else {
        refusal.into()
    }
}

fn not_e164(text: &str) -> Trouble {
    let text: String = text.chars().take(40).collect();
    Trouble::bad(format!(
        "`{}` is no call id, and phone numbers must be in E.164 format: +14155551234, not 4155551234",
        text.escape_debug()
    ))
}

fn answer(result: Result<Value, Trouble>) -> HttpResponse {
    match result {
        Ok(body) => HttpResponse::Ok().json(body),
        Err(trouble) => trouble
            .response()
            .json(json!({ "success": false, "error": trouble.detail })),
    }
}
