//! HTTP: webhooks in, the admin API, health and metrics. The only module that knows actix-web.
//!
//! | route | side | who |
//! | --- | --- | --- |
//! | `POST /webhooks/{source}[/{token}]` | inlet | CRMs, calendars, payment tools |
//! | `/api/calls/…`, `/api/v1/…`, `/v1/calls/…` | inlet | clients of the store's outcome APIs; a key each |
//! | `GET /health/live`, `GET /health/ready` | both | load balancers; the office says why it is not ready |
//! | `GET /metrics` | office | Prometheus |
//! | `/admin/v1/…` | office | the command line, operators; bearer token or log-in |
//! | `/console/…`, and `/` leads there | office | people with a browser; log-in |
//!
//! Wherever `GET` is taken, `HEAD` is too; a method that is not taken is 405 with `Allow`.
//!
//! The two sides listen on addresses of their own by default: the inlet faces the internet, the
//! office stays on loopback.

mod admin;
mod auth;
mod body;
mod console;
mod endpoint;
mod error;
mod health;
mod openapi;
mod phone;
mod receive;
mod server;
mod session;
mod stand_in;
mod state;
mod store_api;

pub use admin::{EventDocument, connector_detail, connector_summary};
pub use auth::Tokens;
pub use body::BodyLimits;
pub use server::{Listen, Listener, serve, serve_stand_in};
pub use session::Sessions;
pub use stand_in::StandIn;
pub use state::{Inlet, Office};
pub use store_api::StoreApis;

/// Reads bytes as compressed body, query string and request bodies, for a fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_any(bytes: &[u8]) {
    const LIMIT: usize = 1 << 16;
    if let Ok(Some(decoded)) = body::gunzip(bytes, LIMIT) {
        assert!(decoded.len() <= LIMIT, "the limit holds");
    }
    admin::read_any(bytes);
}
