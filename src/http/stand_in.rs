//! Stand-ins for three outcome APIs, so that the demo and the benchmark need nothing but this binary.
//!
//! They answer as the documents of Phonely, Aura and change-outcome say, remember what each call was
//! told last, and can be made to fail for a while. They keep nothing on disk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

/// What the stand-ins know. Shared with whoever wants to look.
#[derive(Debug, Clone, Default)]
pub struct StandIn(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Path of the call → the last body it was told.
    calls: Mutex<BTreeMap<String, Value>>,
    requests: AtomicU64,
    aura_failures: AtomicU32,
}

impl StandIn {
    /// Stand-ins whose Aura answers 503 to its first `failures` requests.
    pub fn failing(failures: u32) -> Self {
        let stand_in = Self::default();
        stand_in.0.aura_failures.store(failures, Ordering::SeqCst);
        stand_in
    }

    /// What each call was told last, by the path it was addressed at.
    pub fn calls(&self) -> BTreeMap<String, Value> {
        self.0
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Requests answered so far, failures among them.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    fn tell(&self, path: &str, body: Value) {
        self.0
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned(), body);
    }

    /// Whether Aura fails this once.
    fn aura_fails(&self) -> bool {
        let left = &self.0.aura_failures;
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
    }
}

/// The routes of all three, on paths of their own.
pub(super) fn routes(config: &mut web::ServiceConfig, stand_in: &StandIn) {
    config
        .app_data(web::Data::new(stand_in.clone()))
        .route(
            "/phonely/api/calls/{agent}/{call}",
            web::patch().to(phonely),
        )
        .route("/aura/v1/calls/{call}/outcome", web::post().to(aura))
        .route(
            "/change-outcome/api/v1/webhooks/calls/{call}/change-outcome",
            web::patch().to(change_outcome),
        )
        // The benchmark's bare handler: what an HTTP server costs that does nothing.
        .route("/webhooks/bench", web::post().to(bare));
}

async fn phonely(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    body: web::Json<Value>,
    stand_in: web::Data<StandIn>,
) -> HttpResponse {
    stand_in.0.requests.fetch_add(1, Ordering::Relaxed);
    let (agent, call) = path.into_inner();
    if !request.headers().contains_key("x-authorization") {
        return HttpResponse::Unauthorized().json(json!({ "success": false }));
    }
    let by_phone = call.starts_with('+');
    let fields: Vec<String> = body
        .as_object()
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default();
    stand_in.tell(&format!("phonely/{agent}/{call}"), body.into_inner());
    let digits = call.trim_start_matches('+');
    HttpResponse::Ok().json(json!({
        "success": true,
        "call_id": if by_phone { format!("call_{digits}") } else { call.clone() },
        "agent_id": agent,
        "phone": if by_phone { Some(&call) } else { None },
        "preference": "last",
        "updated_fields": fields,
    }))
}

async fn aura(
    path: web::Path<String>,
    body: web::Json<Value>,
    stand_in: web::Data<StandIn>,
) -> HttpResponse {
    stand_in.0.requests.fetch_add(1, Ordering::Relaxed);
    if stand_in.aura_fails() {
        return HttpResponse::ServiceUnavailable().json(json!({
            "success": false, "error": "try again later", "code": "UNAVAILABLE", "requestId": "req_demo",
        }));
    }
    let status = body["status"].clone();
    stand_in.tell(&format!("aura/{path}"), body.into_inner());
    HttpResponse::Ok()
        .json(json!({ "success": true, "data": { "id": path.as_str(), "status": status } }))
}

async fn change_outcome(
    path: web::Path<String>,
    body: web::Json<Value>,
    stand_in: web::Data<StandIn>,
) -> HttpResponse {
    stand_in.0.requests.fetch_add(1, Ordering::Relaxed);
    let outcome = body["call_outcome"].clone();
    stand_in.tell(&format!("change-outcome/{path}"), body.into_inner());
    HttpResponse::Ok().json(json!({ "data": {
        "id": path.as_str(),
        "call_outcome": outcome,
        "call_outcome_logs": [{ "id": "1", "new_call_outcome": outcome, "status": "success", "failure_reason": null }],
    }}))
}

async fn bare(body: web::Bytes) -> HttpResponse {
    drop(body);
    HttpResponse::Ok().finish()
}
