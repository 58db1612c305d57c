//! The store as Aura's API: `POST /v1/calls/{id}/outcome` with one of five statuses.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::input::{self, Trouble};
use super::key::{Client, admit};
use super::{StoreApis, resource};
use crate::config::StoreApi;
use crate::http::admin::Query;
use crate::http::error::Code;
use crate::http::phone::SoughtPhone;
use crate::model::OutcomeKind;
use crate::store::{CallFilter, CallKey, Change, Changed, Refusal, Sought};

const HEADER: &str = "authorization";

pub(super) async fn update(
    request: HttpRequest,
    call: web::Path<String>,
    payload: web::Payload,
    apis: web::Data<StoreApis>,
) -> HttpResponse {
    answer(change(&request, payload, &apis, &call).await)
}

async fn change(
    request: &HttpRequest,
    payload: web::Payload,
    apis: &StoreApis,
    call: &str,
) -> Result<Value, Trouble> {
    let client = admit(request, apis, StoreApi::Aura, HEADER)?;
    let body = input::object(request, payload, apis, &["status", "notes"]).await?;
    let status = body
        .get("status")
        .ok_or_else(|| Trouble::bad(format!("`status` is missing; it is {STATUSES}")))?;
    let kind: OutcomeKind = status
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Trouble::bad(format!("`status` must be {STATUSES}")))?;
    let notes = body.get("notes").filter(|notes| !notes.is_null());
    let mut said = Change {
        call: sought(&client, call),
        actor: client.actor,
        source: "api:aura".to_owned(),
        basis: client.basis,
        kind: Some(kind),
        label: None,
        value: None,
        currency: None,
        notes: notes
            .map(|notes| input::notes(notes, "notes"))
            .transpose()?,
        metadata: None,
        fields: if notes.is_some() {
            vec!["status", "notes"]
        } else {
            vec!["status"]
        },
    };
    let mut changed = apis.store.change(said.clone()).await?;
    for key in other_cases(call) {
        if changed != Changed::Refused(Refusal::NoCall) {
            break;
        }
        said.call.key = key;
        changed = apis.store.change(said.clone()).await?;
    }
    match changed {
        Changed::Refused(refusal) => Err(refusal.into()),
        Changed::Done(id) => {
            let changed = apis.store.call(&id).await?.ok_or(Refusal::NoCall)?;
            Ok(json!({ "success": true, "data": resource::aura(&changed) }))
        }
    }
}

const STATUSES: &str = "one of shown, no_show, closed, lost, follow_up";

pub(super) async fn show(
    request: HttpRequest,
    call: web::Path<String>,
    apis: web::Data<StoreApis>,
) -> HttpResponse {
    let shown = async {
        let client = admit(&request, &apis, StoreApi::Aura, HEADER)?;
        let mut sought = sought(&client, &call);
        let mut found = apis.store.find_call(&sought).await?;
        for key in other_cases(&call) {
            if found != Err(Refusal::NoCall) {
                break;
            }
            sought.key = key;
            found = apis.store.find_call(&sought).await?;
        }
        Ok(json!({ "success": true, "data": resource::aura(&found?) }))
    };
    answer(shown.await)
}

pub(super) async fn list(request: HttpRequest, apis: web::Data<StoreApis>) -> HttpResponse {
    let listed = async {
        let client = admit(&request, &apis, StoreApi::Aura, HEADER)?;
        let mut query = Query::new(request.query_string(), apis.clock.now());
        let phone: Option<SoughtPhone> = query.take("phone", "a phone")?;
        let filter = CallFilter {
            agents: client.scope,
            phone: phone.map(String::from),
            email: query.take("email", "an e-mail address")?,
            since: query.moment("since")?,
            until: query.moment("until")?,
            has_outcome: query.take("has_outcome", "true or false")?,
            ..CallFilter::default()
        };
        let page = query.page()?;
        query.finish()?;
        let found = apis.store.calls(&filter, page).await?;
        let calls: Vec<Value> = found.items.iter().map(resource::aura).collect();
        Ok(json!({ "success": true, "data": calls, "next": found.next }))
    };
    answer(listed.await)
}

pub(super) fn wrong_method(takes: &str) -> HttpResponse {
    answer(Err(Trouble::new(
        Code::MethodNotAllowed,
        format!(
            "this path takes {takes}; an outcome is set by POST /v1/calls/{{id}}/outcome, a call is read by GET \
             /v1/calls/{{id}}"
        ),
    )))
}

/// Any call of the store. At Aura ids are UUIDs; calls of other platforms are reached by theirs, as lists show them.
fn sought(client: &Client, call: &str) -> Sought {
    Sought {
        key: CallKey::Id(call.to_owned()),
        agent: None,
        scope: client.scope.clone(),
    }
}

/// What else the call's id may be written as: a UUID is the same one in either case, every other id is what it is.
fn other_cases(call: &str) -> impl Iterator<Item = CallKey> {
    let cases = is_uuid(call).then(|| [call.to_ascii_lowercase(), call.to_ascii_uppercase()]);
    cases
        .into_iter()
        .flatten()
        .filter(move |other| other != call)
        .map(CallKey::Id)
}

/// Whether it is a UUID as RFC 9562 writes them: 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
fn is_uuid(text: &str) -> bool {
    let hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut groups = text.split('-');
    let fit = |length| {
        groups
            .next()
            .is_some_and(|group| group.len() == length && hex(group))
    };
    [8, 4, 4, 4, 12].into_iter().all(fit) && groups.next().is_none()
}

fn answer(result: Result<Value, Trouble>) -> HttpResponse {
    match result {
        Ok(body) => HttpResponse::Ok().json(body),
        Err(trouble) => trouble.response().json(json!({
            "success": false,
            "error": trouble.detail,
            "code": code(trouble.code),
            "requestId": format!("req_{}", hex::encode(rand::random::<[u8; 8]>())),
        })),
    }
}

fn code(code: Code) -> &'static str {
    match code {
        Code::BadRequest | Code::UnsupportedEncoding | Code::TooManyHeaders => "VALIDATION_ERROR",
        Code::Unauthorized => "UNAUTHORIZED",
        Code::Forbidden => "FORBIDDEN",
        Code::NotFound => "NOT_FOUND",
        Code::MethodNotAllowed => "METHOD_NOT_ALLOWED",
        Code::Conflict => "CONFLICT",
        Code::TooLarge => "PAYLOAD_TOO_LARGE",
        Code::TooSlow => "REQUEST_TIMEOUT",
        Code::Busy => "UNAVAILABLE",
        Code::StorageFull => "STORAGE_FULL",
        Code::Internal => "INTERNAL_ERROR",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uuids_have_other_cases() {
        let others = |call: &str| -> Vec<CallKey> { other_cases(call).collect() };
        let (lower, upper) = (
            "550e8400-e29b-41d4-a716-44665544000a",
            "550E8400-E29B-41D4-A716-44665544000A",
        );
        let id = |id: &str| CallKey::Id(id.to_owned());
        assert_eq!(others(upper), [id(lower)]);
        assert_eq!(others(lower), [id(upper)]);
        assert_eq!(others(&upper.replace('E', "e")), [id(lower), id(upper)]);
        assert_eq!(
            others(&lower.replace(|c: char| c.is_ascii_alphabetic(), "0")),
            []
        );
        for other in [
            "CALL456",
            "",
            "550E8400E29B41D4A71644665544000A",
            "550E8400-E29B-41D4-A716-44665544000A-",
            "550E8400-E29B-41D4-A716-44665544000G",
            "{550E8400-E29B-41D4-A716-44665544000}",
        ] {
            assert_eq!(others(other), [], "{other}");
        }
    }
}
