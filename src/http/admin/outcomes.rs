//! Outcomes in the built-in store: calls with what holds now, and the log of each.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::query::Query;
use crate::connector::Transport;
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::phone::SoughtPhone;
use crate::http::state::Office;
use crate::model::{DeliveryId, DeliveryState};
use crate::queue::QueueError;
use crate::setup::Destination;
use crate::store::{OutcomeFilter, Record, Store};

/// Deliveries that one request writes again: they share a transaction.
const MOST_AGAIN: usize = 1000;

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
    let call: Option<SoughtPhone> = query.take("call", "a call's id, target or phone")?;
    let filter = OutcomeFilter {
        kind: query.take("kind", "shown, no_show, closed, lost or follow_up")?,
        source: query.take("source", "a source's name")?,
        call: call.map(String::from),
        since: query.moment("since")?,
        until: query.moment("until")?,
    };
    let order = query.take("order", "recorded or call")?.unwrap_or_default();
    let page = query.page()?;
    query.finish()?;
    let found = store(&office)?.outcomes(&filter, order, page).await?;
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

/// Which deliveries to write into the store again, in this order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Again {
    deliveries: Vec<DeliveryId>,
}

/// Writes deliveries that the store has got into it again, after its file was lost. What it has already stays, and what
/// it was told since then holds.
pub(super) async fn rebuild(
    _: Admin,
    again: web::Json<Again>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let store = store(&office)?;
    if again.deliveries.len() > MOST_AGAIN {
        return Err(ApiError::new(
            Code::TooLarge,
            format!("at most {MOST_AGAIN} deliveries at a time"),
        ));
    }
    let mut records = Vec::with_capacity(again.deliveries.len());
    for id in &again.deliveries {
        records.extend(delivered(&office, *id).await?);
    }
    // They are written in this order: each is handed in when it is first polled.
    let recorded = records.into_iter().map(|record| store.record(record));
    let recorded = futures_util::future::try_join_all(recorded).await?;
    let written = recorded.iter().filter(|recorded| recorded.changed).count();
    Ok(HttpResponse::Ok().json(json!({ "written": written })))
}

/// What a delivery brought to the store; `None` when it was no such delivery, or is not known any more.
async fn delivered(office: &Office, id: DeliveryId) -> Result<Option<Record>, ApiError> {
    let (view, _) = match office.queue.delivery(id).await {
        Err(QueueError::NotFound(_)) => return Ok(None),
        found => found?,
    };
    let is_store = |destination: &Destination| {
        destination.name == view.destination && destination.outbound.transport() == Transport::Store
    };
    let mut destinations = office.destinations.iter();
    let to_store = destinations.any(|destination| is_store(destination));
    if !to_store || view.state != DeliveryState::Delivered {
        return Ok(None);
    }
    let outcome = match view.outcome {
        None => None,
        Some(wanted) => {
            let outcomes = office.queue.outcomes_of(wanted.event).await?;
            let found = outcomes.into_iter().find(|stored| stored.id == wanted);
            if found.is_none() {
                return Ok(None);
            }
            found
        }
    };
    Ok(Some(Record {
        delivery: id,
        target: view.target,
        outcome,
        furthest: view.furthest,
        again: Some(view.changed_at),
    }))
}
