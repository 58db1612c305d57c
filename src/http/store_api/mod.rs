//! The outcome APIs that the built-in store serves: Phonely's, Aura's and change-outcome's, on the inlet.
//!
//! Paths, headers, bodies, status codes and error bodies are those of their documents, so a client changes
//! its base URL and nothing else. What the documents leave open is the same in all three: `GET` for one call and for
//! a list, `HEAD` as `GET`, 401 for a key that does not open, 413 for a body over the limit. Each answers its errors in its
//! own shape.

mod aura;
mod change_outcome;
mod input;
mod key;
mod phonely;
mod resource;

use actix_web::web::{self, ServiceConfig};

use super::body::BodyLimits;
use super::endpoint::{Endpoint, Refusal, get, patch, post, resources};
use super::openapi;
use crate::clock::Clock;
use crate::config::{StoreApi, StoreKey};
use crate::store::Store;

/// What the APIs need.
pub struct StoreApis {
    /// The store.
    pub store: Store,
    /// The keys that open.
    pub keys: Vec<StoreKey>,
    /// APIs that need none.
    pub open: std::collections::BTreeSet<StoreApi>,
    /// The currency of values without one.
    pub currency: Option<String>,
    /// Tells whether a key has expired.
    pub clock: Clock,
    /// How much of a body is read, and for how long.
    pub body: BodyLimits,
}

/// Every route of the three, and how each API says that a method is not taken.
pub(super) fn endpoints() -> Vec<(Vec<Endpoint>, Refusal)> {
    vec![
        (
            vec![
                get("/api/openapi.json", openapi::store),
                get("/api/calls/{agent}", phonely::list),
                get("/api/calls/{agent}/{call}", phonely::show),
                patch("/api/calls/{agent}/{call}", phonely::update),
            ],
            phonely::wrong_method,
        ),
        (
            vec![
                patch(
                    "/api/v1/webhooks/calls/{call}/change-outcome",
                    change_outcome::update,
                ),
                get("/api/v1/calls", change_outcome::list),
                get("/api/v1/calls/{call}", change_outcome::show),
            ],
            change_outcome::wrong_method,
        ),
        (
            vec![
                get("/v1/calls", aura::list),
                get("/v1/calls/{call}", aura::show),
                post("/v1/calls/{call}/outcome", aura::update),
            ],
            aura::wrong_method,
        ),
    ]
}

/// Registers them.
pub(super) fn routes(config: &mut ServiceConfig, apis: web::Data<StoreApis>) {
    config.app_data(apis);
    for (endpoints, refusal) in endpoints() {
        for resource in resources(endpoints, refusal) {
            config.service(resource);
        }
    }
}
