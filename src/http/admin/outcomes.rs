//! Outcomes in the built-in store: calls with what holds now, and the log of each.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::query::Query;
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::store::{OutcomeFilter, Store};

/// The store, unless it is turned off.
pub(in crate::http) fn store(office: &Office) -> Result<&Store, ApiError> {
    office.store.as_ref().ok_or_else(|| {
        ApiError::new(
            Code::NotFound,
            "the built-in store is turned off (`[store] enabled = false`)",
        )
    })
}

pub(super) async fn list(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::new(request.query_string(), office.clock.now());
    let filter = OutcomeFilter {
        kind: query.take("kind", "shown, no_show, closed, lost or follow_up")?,
        source: query.take("source", "a source's name")?,
        call: query.take("call", "a call's id or target")?,
        since: query.moment("since")?,
        until: query.moment("until")?,
    };
    let page = query.page()?;
    query.finish()?;
    let found = store(&office)?.outcomes(&filter, page).await?;
    Ok(HttpResponse::Ok().json(found))
}

pub(super) async fn log(
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
    Ok(HttpResponse::Ok().json(json!({ "call": call, "items": log })))
}
