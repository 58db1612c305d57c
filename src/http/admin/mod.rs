//! The admin API, `/admin/v1/…`: everything the command line shows and does to a running bridge.

pub(super) mod analytics;
mod batch;
mod calls;
mod connectors;
mod corrections;
mod deliveries;
mod destinations;
pub(super) mod events;
mod import;
mod mappings;
mod outcomes;
mod query;
mod sources;
mod stats;

pub use connectors::{detail as connector_detail, summary as connector_summary};
pub use events::EventDocument;
pub(super) use outcomes::store;
pub(super) use query::Query;

use actix_web::ResponseError;
use actix_web::error::JsonPayloadError;
use actix_web::web::{self, ServiceConfig};

use super::endpoint::{Endpoint, get, post, resources};
use super::error::{ApiError, Code};
use super::openapi;

/// Where they are.
pub(super) const PREFIX: &str = "/admin/v1";

/// Every admin route in one list, below [`PREFIX`].
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/events", events::list),
        post("/events/replay", events::replay),
        get("/events/{id}", events::show),
        get("/events/{id}/raw", events::raw),
        get("/deliveries", deliveries::list),
        get("/deliveries/{id}", deliveries::show),
        get("/dead-letters", deliveries::dead_letters),
        post("/dead-letters/redrive", deliveries::redrive),
        post("/dead-letters/discard", deliveries::discard),
        get("/outcomes", outcomes::list),
        post("/outcomes", corrections::correct),
        post("/outcomes/import", import::add),
        post("/outcomes/release", corrections::release),
        post("/outcomes/rebuild", outcomes::rebuild),
        get("/outcomes/{call}/log", outcomes::log),
        get("/calls", calls::list),
        post("/calls", calls::add),
        get("/calls/{call}", calls::show),
        get("/analytics/report", analytics::report),
        get("/analytics/breakdown", analytics::breakdown),
        get("/analytics/conversion", analytics::conversion),
        get("/analytics/funnel", analytics::funnel),
        get("/analytics/delay", analytics::delay),
        get("/analytics/calls", analytics::calls),
        get("/sources", sources::list),
        get("/destinations", destinations::list),
        post("/destinations/{name}/pause", destinations::pause),
        post("/destinations/{name}/resume", destinations::resume),
        get("/connectors", connectors::list),
        get("/connectors/{name}", connectors::show),
        get("/mappings", mappings::list),
        post("/mappings/reload", mappings::reload),
        get("/stats", stats::show),
        get("/openapi.json", openapi::admin),
    ]
}

/// Registers them.
pub(super) fn routes(config: &mut ServiceConfig) {
    let refusal = |takes: &str| {
        ApiError::new(
            Code::MethodNotAllowed,
            format!("this route takes {takes}; /admin/v1/openapi.json describes it"),
        )
        .error_response()
    };
    let scope = web::scope(PREFIX).app_data(json_config());
    let scope = resources(endpoints(), refusal).fold(scope, actix_web::Scope::service);
    config.service(scope.default_service(web::to(|| async {
        Err::<web::Bytes, _>(ApiError::new(
            Code::NotFound,
            "there is no such admin route; /admin/v1/openapi.json lists them",
        ))
    })));
}

fn json_config() -> web::JsonConfig {
    web::JsonConfig::default()
        .limit(1 << 20)
        .error_handler(|error, _| {
            let (code, why) = match error {
                JsonPayloadError::Overflow { .. }
                | JsonPayloadError::OverflowKnownLength { .. } => {
                    (Code::TooLarge, error.to_string())
                }
                JsonPayloadError::ContentType => (
                    Code::BadRequest,
                    "send JSON, with `Content-Type: application/json`".to_owned(),
                ),
                _ => (Code::BadRequest, error.to_string()),
            };
            ApiError::new(code, format!("the body is not as expected: {why}")).into()
        })
}

/// Reads bytes as a query string and as request bodies, for a fuzz target.
#[cfg(any(test, fuzzing))]
pub(super) fn read_any(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut query = query::Query::new(&text, jiff::Timestamp::UNIX_EPOCH);
    let _wrong = events::filter(&mut query).and_then(|_| query.finish());
    let _unfit = (
        serde_json::from_slice::<events::Replay>(bytes).is_ok(),
        serde_json::from_slice::<EventDocument>(bytes)
            .is_ok_and(|document| document.into_body().is_ok()),
    );
}
