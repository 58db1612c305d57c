//! Whether the process lives, whether it can do its work, and its metrics.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::state::Office;

/// The process answers.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "live" }))
}

/// Events can be stored. A held or failing destination does not make the bridge unready, nor does the outcome
/// store: it goes on accepting for all the others, and says so here.
pub(super) async fn ready(office: web::Data<Office>) -> HttpResponse {
    let stats = office.queue.stats();
    let troubled: Vec<_> = office
        .delivery
        .states()
        .into_iter()
        .filter(|state| state.held.is_some())
        .map(|state| state.name)
        .collect();
    let store = office.store.as_ref().map(|store| match store.failure() {
        None => json!({ "ready": true }),
        Some(reason) => json!({ "ready": false, "reason": reason }),
    });
    match (stats.failure, stats.refusing) {
        (None, None) => HttpResponse::Ok().json(json!({
            "status": "ready",
            "unprocessed": stats.unprocessed,
            "held_destinations": troubled,
            "outcome_store": store,
        })),
        (None, Some(reason)) => HttpResponse::ServiceUnavailable().json(json!({
            "status": "refusing events",
            "reason": reason,
            "free_bytes": stats.free_bytes,
        })),
        (Some(reason), _) => HttpResponse::ServiceUnavailable().json(json!({
            "status": "storage failed",
            "reason": reason,
        })),
    }
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
