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

use actix_web::http::header::LOCATION;
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::endpoint::{Endpoint, get, post, resources};
use layout::Visitor;

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'";
const STYLE: &str = include_str!("style.css");

/// Where it is.
const PREFIX: &str = "/console";

/// Every page in one list, below [`PREFIX`].
fn endpoints() -> Vec<Endpoint> {
    vec![
        get("", home),
        get("/", home),
        get("/style.css", style),
        get("/performance", performance::show),
        get("/performance/groups", performance::change),
        get("/calls", calls::list),
        get("/calls/{call}", call::show),
        get("/events/{event}", event::show),
        get("/login", login::form),
        post("/login", login::log_in),
        post("/logout", login::log_out),
    ]
}

/// Registers them.
pub(super) fn routes(config: &mut ServiceConfig) {
    let headers = DefaultHeaders::new()
        .add(("content-security-policy", POLICY))
        .add(("x-content-type-options", "nosniff"))
        .add(("x-frame-options", "DENY"))
        .add(("referrer-policy", "same-origin"))
        .add(("cross-origin-opener-policy", "same-origin"))
        .add(("cache-control", "no-store"));
    let forms = web::FormConfig::default().limit(4096);
    let scope = web::scope(PREFIX)
        .app_data(forms.error_handler(|error, _| layout::unreadable(error)))
        .app_data(web::QueryConfig::default().error_handler(|error, _| layout::unreadable(error)));
    let scope = resources(endpoints(), layout::wrong_method).fold(scope, actix_web::Scope::service);
    config.service(scope.default_service(web::to(missing)).wrap(headers));
}

/// Lets in who knows the address and no page of it. Not for ever: browsers would remember it.
pub(super) async fn door() -> HttpResponse {
    HttpResponse::TemporaryRedirect()
        .insert_header((LOCATION, PREFIX))
        .finish()
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
