//! The console, `/console/…`: pages for people, rendered here, behind a log-in.
//!
//! No page needs a script, none is allowed, and nothing is loaded from another host: the policy in the headers says so to
//! the browser. Everything from outside is escaped by the templates.

mod address;
mod call;
mod calls;
mod chart;
mod event;
mod format;
mod layout;
mod login;
mod performance;

use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, ServiceConfig, get, post};
use actix_web::{HttpRequest, HttpResponse};

use layout::Visitor;

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'";
const STYLE: &str = include_str!("style.css");

/// Every page in one list.
pub(super) fn routes(config: &mut ServiceConfig) {
    let headers = DefaultHeaders::new()
        .add(("content-security-policy", POLICY))
        .add(("x-content-type-options", "nosniff"))
        .add(("x-frame-options", "DENY"))
        .add(("referrer-policy", "same-origin"))
        .add(("cross-origin-opener-policy", "same-origin"))
        .add(("cache-control", "no-store"));
    config.service(
        web::scope("/console")
            .wrap(headers)
            .app_data(web::FormConfig::default().limit(4096))
            .route("", get().to(home))
            .route("/", get().to(home))
            .route("/style.css", get().to(style))
            .route("/performance", get().to(performance::show))
            .route("/performance/groups", get().to(performance::change))
            .route("/calls", get().to(calls::list))
            .route("/calls/{call}", get().to(call::show))
            .route("/events/{event}", get().to(event::show))
            .route("/login", get().to(login::form))
            .route("/login", post().to(login::log_in))
            .route("/logout", post().to(login::log_out))
            .default_service(web::to(missing)),
    );
}

async fn home(visitor: Visitor) -> HttpResponse {
    layout::page(
        &visitor,
        "Console",
        &maud::html! {
            h1 { "outcome-bridge" }
            p { "You are logged in as " strong { (visitor.role.as_str()) } "." }
            ul class="doors" {
                li { a href=(performance::PATH) { strong { "Performance" } span { "What calls led to: over time, by group, against the period before" } } }
                li { a href=(calls::PATH) { strong { "Calls" } span { "Each call with its outcome, and the events that led to it" } } }
            }
        },
    )
}

async fn missing(visitor: Visitor, request: HttpRequest) -> HttpResponse {
    layout::failure(
        &visitor,
        &super::error::ApiError::new(
            super::error::Code::NotFound,
            format!("there is no page {}", request.path()),
        ),
    )
}

async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .insert_header(("cache-control", "public, max-age=300"))
        .body(STYLE)
}
