//! Stand-ins for three outcome APIs, so that the demo and the benchmark need nothing but this binary.
//!
//! They answer as the documents of Phonely, Aura and change-outcome say, remember what each call was
//! told last, and can be made to fail for a while. They keep nothing on disk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::Clock;

/// What the stand-ins know. Shared with whoever wants to look.
#[derive(Debug, Clone, Default)]
pub struct StandIn(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Path of the call → the last body it was told.
    calls: Mutex<BTreeMap<String, Value>>,
    requests: AtomicU64,
    delays_ms: Mutex<Vec<f64>>,
    clock: Clock,
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

    /// The time from an outcome's `occurred_at` to its arrival at `/instant`, in ms: the value that
    /// `share` of the samples do not exceed. One arrival in 16 is a sample.
    pub fn delay(&self, share: f64) -> f64 {
        let mut delays = self
            .0
            .delays_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        delays.sort_by(f64::total_cmp);
        let index = (delays.len() as f64 * share) as usize;
        delays
            .get(index.min(delays.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    }

    /// Forgets the samples.
    pub fn forget_delays(&self) {
        self.0
            .delays_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn sample(&self, body: &[u8]) {
        let Ok(outcome) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        let occurred_at = find_moment(&outcome);
        if let Some(at) = occurred_at {
            let delay = self.0.clock.now().duration_since(at).as_secs_f64() * 1e3;
            self.0
                .delays_ms
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(delay);
        }
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
        // The benchmark's instant destination: answers and forgets.
        .route("/instant", web::post().to(instant))
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

async fn instant(body: web::Bytes, stand_in: web::Data<StandIn>) -> HttpResponse {
    let before = stand_in.0.requests.fetch_add(1, Ordering::Relaxed);
    if before.is_multiple_of(16) {
        stand_in.sample(&body);
    }
    HttpResponse::Ok().finish()
}

async fn bare(body: web::Bytes) -> HttpResponse {
    drop(body);
    HttpResponse::Ok().finish()
}

/// `occurred_at` of an outcome, at the top or one level down.
fn find_moment(outcome: &Value) -> Option<Timestamp> {
    let fields = outcome.as_object()?;
    let direct = fields.get("occurred_at");
    let nested = fields.values().find_map(|value| value.get("occurred_at"));
    direct.or(nested)?.as_str()?.parse().ok()
}
