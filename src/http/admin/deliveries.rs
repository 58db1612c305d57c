//! Deliveries and dead letters: list, show, redrive, discard.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::query::Query;
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::model::{DeliveryId, DeliveryState};
use crate::queue::{
    Attempt, DeliveryFilter, DeliveryView, Operation, Page, PageRequest, QueueError,
};

/// The most dead letters that one request moves. Its answer says where to go on.
const MOST_MOVED: usize = 10_000;
/// The most deliveries that one request looks through for those that are held, and how many at a time.
const MOST_LOOKED_THROUGH: usize = 100_000;
const LOOKED_THROUGH: usize = 1000;

/// A delivery as people see it: one that waits for a held destination is `held`.
pub(super) fn shown(office: &Office, mut view: DeliveryView) -> DeliveryView {
    let waiting = matches!(view.state, DeliveryState::Pending | DeliveryState::Retrying);
    let held = waiting
        .then(|| office.delivery.held(&view.destination))
        .flatten();
    if let Some(held) = held {
        view.state = DeliveryState::Held;
        view.reason = held.reason;
    }
    view
}

/// Attempts with their number in the delivery's life: each redrive counts anew, so that a retry schedule begins anew.
pub(super) fn numbered(mut attempts: Vec<Attempt>) -> Vec<Attempt> {
    for (attempt, number) in attempts.iter_mut().zip(1..) {
        attempt.number = number;
    }
    attempts
}

fn filter(query: &mut Query) -> Result<DeliveryFilter, ApiError> {
    Ok(DeliveryFilter {
        destination: query.take("destination", "a destination's name")?,
        state: query.take(
            "state",
            "pending, in_flight, retrying, delivered, superseded, held, dead_letter or cancelled",
        )?,
        event: query.take("event", "an event id")?,
        since: query.moment("since")?,
        until: query.moment("until")?,
    })
}

async fn page(
    office: &Office,
    filter: DeliveryFilter,
    page: PageRequest<DeliveryId>,
) -> Result<Page<DeliveryView, DeliveryId>, ApiError> {
    let mut found = office.queue.deliveries(filter, page).await?;
    found.items = found
        .items
        .into_iter()
        .map(|view| shown(office, view))
        .collect();
    Ok(found)
}

pub(super) async fn list(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::new(request.query_string(), office.clock.now());
    let wanted = filter(&mut query)?;
    let request = query.page()?;
    query.finish()?;
    let found = match wanted.state {
        Some(DeliveryState::Held) => held(&office, wanted, request).await?,
        _ => page(&office, wanted, request).await?,
    };
    Ok(HttpResponse::Ok().json(found))
}

/// A page of those that are held. That is not stored: they are pending or retrying at a destination that is held.
async fn held(
    office: &Office,
    mut wanted: DeliveryFilter,
    request: PageRequest<DeliveryId>,
) -> Result<Page<DeliveryView, DeliveryId>, ApiError> {
    wanted.state = None;
    let mut found = Page {
        items: Vec::new(),
        next: None,
    };
    let states = office.delivery.states();
    let mut named = states.iter().map(|state| &state.name).filter(|name| {
        let destination = wanted.destination.as_ref();
        destination.is_none_or(|wanted| wanted == *name)
    });
    if !named.any(|name| office.delivery.held(name).is_some()) {
        return Ok(found);
    }
    let mut some = PageRequest {
        limit: LOOKED_THROUGH,
        ..request
    };
    for _ in 0..MOST_LOOKED_THROUGH / LOOKED_THROUGH {
        let all = page(office, wanted.clone(), some).await?;
        for view in all.items {
            if view.state == DeliveryState::Held {
                found.next = Some(view.id);
                found.items.push(view);
            }
            if found.items.len() == request.limit {
                return Ok(found);
            }
        }
        found.next = all.next;
        if all.next.is_none() {
            break;
        }
        some.after = all.next;
    }
    Ok(found)
}

pub(super) async fn show(
    _: Admin,
    path: web::Path<String>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let id: DeliveryId = path.parse().map_err(|error: crate::model::IdError| {
        ApiError::new(Code::BadRequest, error.to_string())
    })?;
    let (view, attempts) = office.queue.delivery(id).await?;
    Ok(HttpResponse::Ok().json(json!({
        "delivery": shown(&office, view), "attempts": numbered(attempts),
    })))
}

pub(super) async fn dead_letters(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::new(request.query_string(), office.clock.now());
    let mut wanted = filter(&mut query)?;
    let request = query.page()?;
    query.finish()?;
    wanted.state = Some(DeliveryState::DeadLetter);
    Ok(HttpResponse::Ok().json(page(&office, wanted, request).await?))
}

/// Which dead letters: ids, all, or a filter in the words of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Selection {
    #[serde(default)]
    ids: Vec<DeliveryId>,
    #[serde(default)]
    filter: Option<String>,
    /// With `filter`: go on behind this one, as the answer before said in `next`.
    #[serde(default)]
    after: Option<DeliveryId>,
    #[serde(default)]
    dry_run: bool,
    /// Of `ids` also those that were delivered: they are sent again.
    #[serde(default)]
    delivered: bool,
}

pub(super) async fn redrive(
    _: Admin,
    selection: web::Json<Selection>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    operate(&office, selection.into_inner(), Operation::Redrive).await
}

pub(super) async fn discard(
    _: Admin,
    selection: web::Json<Selection>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    operate(&office, selection.into_inner(), Operation::Discard).await
}

async fn operate(
    office: &Office,
    selection: Selection,
    operation: Operation,
) -> Result<HttpResponse, ApiError> {
    let Selection {
        ids,
        filter,
        after,
        dry_run,
        delivered,
    } = selection;
    let delivered = delivered && operation == Operation::Redrive;
    let by_id = filter.is_none();
    let (mut wanted, next) = select(office, ids, filter, after).await?;
    let mut refused = Vec::new();
    if by_id {
        (wanted, refused) = only_dead(office, wanted, delivered).await?;
    }
    if dry_run {
        let deliveries = wanted.len();
        return Ok(HttpResponse::Ok().json(
            json!({ "deliveries": deliveries, "dry_run": true, "refused": refused, "next": next }),
        ));
    }
    let mut moved = Vec::new();
    for id in wanted {
        match office.queue.operate(id, operation).await {
            Ok(view) => moved.push(view),
            Err(error @ (QueueError::State(_) | QueueError::NotFound(_))) => {
                refused.push(json!({ "id": id, "reason": error.to_string() }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(HttpResponse::Ok().json(json!({ "moved": moved, "refused": refused, "next": next })))
}

/// Those of the ids that are dead letters, or were `delivered` where that is asked for; and why the others are not moved.
async fn only_dead(
    office: &Office,
    ids: Vec<DeliveryId>,
    delivered: bool,
) -> Result<(Vec<DeliveryId>, Vec<Value>), ApiError> {
    let (mut wanted, mut refused) = (Vec::new(), Vec::new());
    for id in ids {
        let reason = match office.queue.delivery(id).await {
            Ok((view, _)) => match view.state {
                DeliveryState::DeadLetter => None,
                DeliveryState::Delivered if delivered => None,
                state => Some(format!("{id} is no dead letter, it is {state}")),
            },
            Err(QueueError::NotFound(what)) => Some(format!("there is no {what}")),
            Err(error) => return Err(error.into()),
        };
        match reason {
            None => wanted.push(id),
            Some(reason) => refused.push(json!({ "id": id, "reason": reason })),
        }
    }
    Ok((wanted, refused))
}

/// Those that are meant, and where to go on when there are more than one request moves.
async fn select(
    office: &Office,
    ids: Vec<DeliveryId>,
    text: Option<String>,
    after: Option<DeliveryId>,
) -> Result<(Vec<DeliveryId>, Option<DeliveryId>), ApiError> {
    let text = match text {
        None if !ids.is_empty() && after.is_none() => return Ok((ids, None)),
        Some(text) if ids.is_empty() => text,
        _ => {
            return Err(ApiError::new(
                Code::BadRequest,
                "give either `ids`, or `filter` (an empty text means all dead letters) and `after`",
            ));
        }
    };
    let mut query = Query::new(&text, office.clock.now());
    let mut wanted = filter(&mut query)?;
    query.finish()?;
    wanted.state = Some(DeliveryState::DeadLetter);
    let mut selected = Vec::new();
    let mut request = PageRequest { after, limit: 1000 };
    loop {
        let found = office.queue.deliveries(wanted.clone(), request).await?;
        selected.extend(found.items.iter().map(|view| view.id));
        match found.next {
            Some(next) if selected.len() < MOST_MOVED => request.after = Some(next),
            next => return Ok((selected, next)),
        }
    }
}
