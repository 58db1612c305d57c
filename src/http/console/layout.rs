//! What all pages share: who looks at them, the frame around them, failures.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use maud::{DOCTYPE, Markup, html};

use crate::http::auth::{self, Role};
use crate::http::error::ApiError;
use crate::http::state::Office;
use crate::model::{Secret, SourceName};

/// Somebody who is logged in. Every page but the log-in takes one.
pub(super) struct Visitor {
    pub(super) role: Role,
    csrf: Secret,
    /// Sources whose requests nobody verifies: every page says so.
    unverified: Vec<SourceName>,
}

/// Sends browsers to the log-in, and from there back.
#[derive(Debug)]
pub(super) struct LogInFirst {
    next: String,
}

impl std::fmt::Display for LogInFirst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("log in first")
    }
}

impl ResponseError for LogInFirst {
    fn status_code(&self) -> StatusCode {
        StatusCode::SEE_OTHER
    }

    fn error_response(&self) -> HttpResponse {
        let next: String = form_urlencoded::byte_serialize(self.next.as_bytes()).collect();
        see_other(&format!("/console/login?next={next}"))
    }
}

impl FromRequest for Visitor {
    type Error = LogInFirst;
    type Future = Ready<Result<Self, LogInFirst>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let office = request.app_data::<web::Data<Office>>();
        let session = office.and_then(|office| Some((office, auth::session(request, office)?)));
        ready(match session {
            Some((office, session)) => Ok(Self {
                role: session.role,
                csrf: session.csrf,
                unverified: office.unverified().cloned().collect(),
            }),
            None => Err(LogInFirst {
                next: request
                    .uri()
                    .path_and_query()
                    .map_or_else(String::new, ToString::to_string),
            }),
        })
    }
}

/// Sends the browser to a page of ours.
pub(super) fn see_other(path: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, path))
        .finish()
}

/// A page for somebody who is logged in.
pub(super) fn page(visitor: &Visitor, title: &str, content: &Markup) -> HttpResponse {
    framed(StatusCode::OK, Some(visitor), title, content)
}

/// What went wrong, as a page.
pub(super) fn failure(visitor: &Visitor, error: &ApiError) -> HttpResponse {
    went_wrong(error.status_code(), Some(visitor), error.detail())
}

/// A page that does not take the method that it was asked with.
pub(super) fn wrong_method(takes: &str) -> HttpResponse {
    let why = format!("This page takes {takes}.");
    went_wrong(StatusCode::METHOD_NOT_ALLOWED, None, &why)
}

/// A form or an address that cannot be read.
pub(super) fn unreadable(error: impl ResponseError + 'static) -> actix_web::Error {
    let page = went_wrong(error.status_code(), None, &error.to_string());
    InternalError::from_response(error, page).into()
}

fn went_wrong(status: StatusCode, visitor: Option<&Visitor>, why: &str) -> HttpResponse {
    let content = html! {
        h1 { "That did not work" }
        p class="notice" role="alert" { (why) }
        p { a href="/console" { "Back to the console" } }
    };
    framed(status, visitor, "Error", &content)
}

/// A page as it is sent. Without a visitor it has no navigation.
pub(super) fn framed(
    status: StatusCode,
    visitor: Option<&Visitor>,
    title: &str,
    content: &Markup,
) -> HttpResponse {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · outcome-bridge" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/console/style.css";
            }
            body {
                a class="skip" href="#main" { "Skip to the content" }
                header {
                    a class="brand" href="/console" { "outcome-bridge" }
                    @if let Some(visitor) = visitor {
                        nav aria-label="Console" {
                            a href="/console/performance" aria-current=[(title == "Performance").then_some("page")] { "Performance" }
                            a href="/console/calls" aria-current=[(title == "Calls").then_some("page")] { "Calls" }
                        }
                        form method="post" action="/console/logout" {
                            input type="hidden" name="csrf" value=(visitor.csrf.expose());
                            span class="role" { (visitor.role.as_str()) }
                            button class="plain" { "Log out" }
                        }
                    }
                }
                main id="main" tabindex="-1" {
                    @for source in visitor.iter().flat_map(|visitor| &visitor.unverified) {
                        p class="notice" {
                            "The source " strong { (source) } " accepts requests without verification: anybody can forge its events."
                        }
                    }
                    (content)
                }
            }
        }
    };
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .body(document.into_string())
}
