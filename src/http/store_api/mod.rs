//! The outcome APIs that the built-in store serves: Phonely's, Aura's and change-outcome's, on the inlet.
//!
//! Paths, headers, bodies, status codes and error bodies are those of their documents, so a client changes
//! its base URL and nothing else. What the documents leave open is the same in all three: `GET` for one call and for
//! a list, 401 for a key that does not open, 413 for a body over the limit. Each answers its errors in its own shape.

mod aura;
mod change_outcome;
mod input;
mod key;
mod phonely;
mod resource;

use actix_web::web::{self, ServiceConfig};

use super::body::BodyLimits;
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

/// Every route of the three.
pub(super) fn routes(config: &mut ServiceConfig, apis: web::Data<StoreApis>) {
    config
        .app_data(apis)
        .route("/api/openapi.json", web::get().to(openapi::store_document))
        .service(
            web::resource("/api/calls/{agent}")
                .route(web::get().to(phonely::list))
                .default_service(web::to(phonely::wrong_method)),
        )
        .service(
            web::resource("/api/calls/{agent}/{call}")
                .route(web::patch().to(phonely::update))
                .route(web::get().to(phonely::show))
                .default_service(web::to(phonely::wrong_method)),
        )
        .service(
            web::resource("/api/v1/webhooks/calls/{call}/change-outcome")
                .route(web::patch().to(change_outcome::update))
                .default_service(web::to(change_outcome::wrong_method)),
        )
        .service(
            web::resource("/api/v1/calls")
                .route(web::get().to(change_outcome::list))
                .default_service(web::to(change_outcome::wrong_method)),
        )
        .service(
            web::resource("/api/v1/calls/{call}")
                .route(web::get().to(change_outcome::show))
                .default_service(web::to(change_outcome::wrong_method)),
        )
        .service(
            web::resource("/v1/calls")
                .route(web::get().to(aura::list))
                .default_service(web::to(aura::wrong_method)),
        )
        .service(
            web::resource("/v1/calls/{call}")
                .route(web::get().to(aura::show))
                .default_service(web::to(aura::wrong_method)),
        )
        .service(
            web::resource("/v1/calls/{call}/outcome")
                .route(web::post().to(aura::update))
                .default_service(web::to(aura::wrong_method)),
        );
}
