//! The admin API, `/admin/v1/…`: everything the command line shows and does to a running bridge.

pub(super) mod analytics;
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

use actix_web::web::{self, ServiceConfig, get, post};

use super::error::{ApiError, Code};

/// Every admin route in one list.
pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(
        web::scope("/admin/v1")
            .app_data(json_config())
            .route("/events", get().to(events::list))
            .route("/events/replay", post().to(events::replay))
            .route("/events/{id}", get().to(events::show))
            .route("/events/{id}/raw", get().to(events::raw))
            .route("/deliveries", get().to(deliveries::list))
            .route("/deliveries/{id}", get().to(deliveries::show))
            .route("/dead-letters", get().to(deliveries::dead_letters))
            .route("/dead-letters/redrive", post().to(deliveries::redrive))
            .route("/dead-letters/discard", post().to(deliveries::discard))
            .route("/outcomes", get().to(outcomes::list))
            .route("/outcomes", post().to(corrections::correct))
            .route("/outcomes/import", post().to(import::add))
            .route("/outcomes/release", post().to(corrections::release))
            .route("/outcomes/{call}/log", get().to(outcomes::log))
            .route("/calls", get().to(calls::list))
            .route("/calls", post().to(calls::add))
            .route("/calls/{call}", get().to(calls::show))
            .route("/analytics/report", get().to(analytics::report))
            .route("/analytics/breakdown", get().to(analytics::breakdown))
            .route("/analytics/conversion", get().to(analytics::conversion))
            .route("/analytics/funnel", get().to(analytics::funnel))
            .route("/analytics/delay", get().to(analytics::delay))
            .route("/analytics/calls", get().to(analytics::calls))
            .route("/sources", get().to(sources::list))
            .route("/destinations", get().to(destinations::list))
            .route("/destinations/{name}/pause", post().to(destinations::pause))
            .route(
                "/destinations/{name}/resume",
                post().to(destinations::resume),
            )
            .route("/connectors", get().to(connectors::list))
            .route("/connectors/{name}", get().to(connectors::show))
            .route("/mappings", get().to(mappings::list))
            .route("/mappings/reload", post().to(mappings::reload))
            .route("/stats", get().to(stats::show))
            .route("/openapi.json", get().to(super::openapi::document))
            .default_service(web::to(|| async {
                Err::<web::Bytes, _>(ApiError::new(
                    Code::NotFound,
                    "there is no such admin route; /admin/v1/openapi.json lists them",
                ))
            })),
    );
}

fn json_config() -> web::JsonConfig {
    web::JsonConfig::default()
        .limit(1 << 20)
        .error_handler(|error, _| {
            ApiError::new(
                Code::BadRequest,
                format!("the body is not as expected: {error}"),
            )
            .into()
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
