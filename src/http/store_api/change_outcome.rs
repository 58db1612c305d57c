//! The store as change-outcome's API: `PATCH /api/v1/webhooks/calls/{call}/change-outcome`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::input::{self, Trouble};
use super::key::{Client, admit};
use super::{StoreApis, resource};
use crate::config::StoreApi;
use crate::http::admin::Query;
use crate::http::error::Code;
use crate::http::phone::SoughtPhone;
use crate::store::{CallFilter, CallKey, CallRow, Change, Changed, Refusal, Sought, kind_of_label};

const HEADER: &str = "authorization";
const OUTCOME: &str = "call_outcome";
/// The newest entries of a call's log that an answer has.
const LOGS: usize = 100;

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
    let client = admit(request, apis, StoreApi::ChangeOutcome, HEADER)?;
    let sought = sought(&client, call);
    let body = input::object(request, payload, apis, &[OUTCOME]).await?;
    let label = body
        .get(OUTCOME)
        .map(|v| input::label(v, OUTCOME))
        .transpose()?;
    let said = Change {
        call: sought.clone(),
        actor: client.actor,
        source: "api:change-outcome".to_owned(),
        basis: client.basis,
        kind: label.as_deref().and_then(kind_of_label),
        label,
        value: None,
        currency: None,
        notes: None,
        metadata: None,
        fields: vec![OUTCOME],
    };
    match apis.store.change(said).await? {
        // As the document has it: a change that failed is the last log of an answer that succeeded.
        Changed::Done(_) | Changed::Refused(Refusal::Held(_)) => {
            let changed = apis.store.find_call(&sought).await??;
            whole(apis, &changed).await
        }
        Changed::Refused(refusal) => Err(refusal.into()),
    }
}

pub(super) async fn show(
    request: HttpRequest,
    call: web::Path<String>,
    apis: web::Data<StoreApis>,
) -> HttpResponse {
    let shown = async {
        let client = admit(&request, &apis, StoreApi::ChangeOutcome, HEADER)?;
        let found = apis.store.find_call(&sought(&client, &call)).await??;
        whole(&apis, &found).await
    };
    answer(shown.await)
}

async fn whole(apis: &StoreApis, call: &CallRow) -> Result<Value, Trouble> {
    let log = apis.store.latest_log(&call.id, LOGS).await?;
    Ok(json!({ "data": resource::change_outcome(call, &log) }))
}

pub(super) async fn list(request: HttpRequest, apis: web::Data<StoreApis>) -> HttpResponse {
    let listed = async {
        let client = admit(&request, &apis, StoreApi::ChangeOutcome, HEADER)?;
        let mut query = Query::new(request.query_string(), apis.clock.now());
        let phone: Option<SoughtPhone> = query.take("phone", "a phone")?;
        let filter = CallFilter {
            agents: client.scope,
            phone: phone.map(String::from),
            since: query.moment("since")?,
            until: query.moment("until")?,
            has_outcome: query.take("has_outcome", "true or false")?,
            ..CallFilter::default()
        };
        let page = query.page()?;
        query.finish()?;
        let found = apis.store.calls(&filter, page).await?;
        let calls: Vec<Value> = found
            .items
            .iter()
            .map(|call| resource::change_outcome(call, &[]))
            .collect();
        Ok(json!({ "data": calls, "next": found.next }))
    };
    answer(listed.await)
}

pub(super) fn wrong_method(takes: &str) -> HttpResponse {
    answer(Err(Trouble::new(
        Code::MethodNotAllowed,
        format!(
            "this path takes {takes}; an outcome is changed by PATCH /api/v1/webhooks/calls/{{call}}/change-outcome, \
             a call is read by GET /api/v1/calls/{{call}}"
        ),
    )))
}

fn sought(client: &Client, call: &str) -> Sought {
    Sought {
        key: CallKey::Id(call.to_owned()),
        agent: None,
        scope: client.scope.clone(),
    }
}

fn answer(result: Result<Value, Trouble>) -> HttpResponse {
    match result {
        Ok(body) => HttpResponse::Ok().json(body),
        // A body that can be read but does not fit is 422 with this API.
        Err(trouble) if trouble.code == Code::BadRequest => {
            HttpResponse::build(StatusCode::UNPROCESSABLE_ENTITY).json(json!({
                "message": trouble.detail, "errors": { OUTCOME: [trouble.detail] },
            }))
        }
        Err(trouble) => trouble
            .response()
            .json(json!({ "message": trouble.detail })),
    }
}
