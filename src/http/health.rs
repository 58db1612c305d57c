//! Whether the process lives, whether it can do its work, and its metrics.

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::auth::Admin;
use super::state::{Inlet, Office};
use crate::lookup::LookupState;
use crate::model::SourceName;
use crate::queue::QueueStats;

/// Whether new events are taken. A held or failing destination does not make the bridge unready, nor does the outcome
/// store: it goes on accepting for all the others.
enum Readiness {
    Ready,
    /// It stops: what is in flight ends, nothing new is begun.
    Draining,
    /// Storage works, but has no room.
    Refusing(String),
    Failed(String),
}

impl Readiness {
    fn of(stats: &QueueStats, draining: &CancellationToken) -> Self {
        match (&stats.failure, &stats.refusing) {
            (Some(reason), _) => Self::Failed(reason.clone()),
            (None, _) if draining.is_cancelled() => Self::Draining,
            (None, Some(reason)) => Self::Refusing(reason.clone()),
            (None, None) => Self::Ready,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Ready => StatusCode::OK,
            Self::Draining | Self::Refusing(_) | Self::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The process answers.
pub(super) async fn live() -> HttpResponse {
    answer(StatusCode::OK, &json!({ "status": "live" }))
}

/// Readiness for whoever operates the bridge, with what is known of it.
pub(super) async fn ready(office: web::Data<Office>) -> HttpResponse {
    let stats = office.queue.stats();
    let readiness = Readiness::of(&stats, &office.draining);
    let body = match &readiness {
        Readiness::Ready => json!({
            "status": "ready",
            "unprocessed": stats.unprocessed,
            "held_destinations": held(&office),
            "held_lookups": held_lookups(&office),
            "outcome_store": outcome_store(&office),
        }),
        Readiness::Draining => json!({ "status": "draining" }),
        Readiness::Refusing(reason) => json!({
            "status": "refusing events",
            "reason": reason,
            "free_bytes": stats.free_bytes,
        }),
        Readiness::Failed(reason) => json!({ "status": "storage failed", "reason": reason }),
    };
    answer(readiness.status(), &body)
}

/// Readiness for the world: load balancers need the status, and nobody there needs the reason.
pub(super) async fn ready_to_receive(inlet: web::Data<Inlet>) -> HttpResponse {
    let readiness = Readiness::of(&inlet.queue.stats(), &inlet.draining);
    let word = match readiness {
        Readiness::Ready => "ready",
        Readiness::Draining | Readiness::Refusing(_) | Readiness::Failed(_) => "not ready",
    };
    answer(readiness.status(), &json!({ "status": word }))
}

/// Readiness where one address serves both sides: who brings the admin token is told more than the world.
pub(super) async fn ready_on_both_sides(
    admin: Option<Admin>,
    inlet: web::Data<Inlet>,
    office: web::Data<Office>,
) -> HttpResponse {
    match admin {
        Some(_) => ready(office).await,
        None => ready_to_receive(inlet).await,
    }
}

fn held(office: &Office) -> Vec<String> {
    office
        .delivery
        .states()
        .into_iter()
        .filter(|state| state.held.is_some())
        .map(|state| state.name.to_string())
        .collect()
}

/// The sources whose look-ups are held.
fn held_lookups(office: &Office) -> Vec<&SourceName> {
    let is_held = |source: &&SourceName| {
        let state = office.lookups.state(source);
        matches!(state, Some(LookupState::Held { .. }))
    };
    office.sources.keys().filter(is_held).collect()
}

fn outcome_store(office: &Office) -> Option<Value> {
    office.store.as_ref().map(|store| match store.failure() {
        None => json!({ "ready": true }),
        Some(reason) => json!({ "ready": false, "reason": reason }),
    })
}

/// What holds now; a cache in between would tell what held before.
fn answer(status: StatusCode, body: &Value) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body)
}

/// Prometheus text.
pub(super) async fn metrics(office: web::Data<Office>) -> HttpResponse {
    crate::metrics::queue(&office.queue.stats(), office.clock.now());
    if let Some(store) = &office.store {
        crate::metrics::outcome_store(store.failure().is_none());
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(office.metrics.render())
}

/// The same where the world reaches it: for who brings the admin token.
pub(super) async fn metrics_for_admins(_: Admin, office: web::Data<Office>) -> HttpResponse {
    metrics(office).await
}
