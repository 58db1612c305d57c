//! `POST /webhooks/{source}[/{token}]`: verify, make durable, answer. Nothing else.
//!
//! The answer depends on storage alone, never on mapping. Our fault is 5xx or the vendor's "busy"
//! status, theirs is 4xx; never 410, since several vendors switch a webhook off on it.

use std::time::Instant;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use percent_encoding::percent_decode_str;

use super::body;
use super::error::{ApiError, Code};
use super::state::Inlet;
use crate::connector::{Answer, InboundRequest, Reception, RequestParts};
use crate::fault::{self, Point};
use crate::metrics::{self, ReceiveResult};
use crate::queue::{Acceptance, QueueError};
use crate::setup::Source;

/// The methods that a source's path takes.
const METHODS: &str = "GET, HEAD, POST";

/// Whatever comes to a path below `/webhooks`.
pub(super) async fn webhook(
    request: HttpRequest,
    payload: web::Payload,
    inlet: web::Data<Inlet>,
) -> HttpResponse {
    match *request.method() {
        // Some vendors probe with GET or HEAD before they subscribe.
        Method::POST | Method::GET => receive(request, payload, inlet).await,
        Method::HEAD if source_of(&request, &inlet).is_some() => HttpResponse::Ok().finish(),
        Method::HEAD => unknown_source(),
        _ => ApiError::wrong_method(METHODS, "webhooks are posted: use POST").error_response(),
    }
}

/// The name of the source in the request's path, and the token after it, if there is one, as it was sent: the router
/// decodes all but `%2F`, `%2B` and `%25`, so that parts are told apart before.
fn address(request: &HttpRequest) -> Option<(&str, Option<&str>)> {
    let rest = request.match_info().unprocessed().strip_prefix('/')?;
    match rest.split_once('/') {
        None => Some((rest, None)),
        Some((name, token)) if !token.is_empty() && !token.contains('/') => {
            Some((name, Some(token)))
        }
        Some(_) => None,
    }
}

/// A token as its sender means it: it may hold a `/`.
fn decoded(token: &str) -> String {
    percent_decode_str(token).decode_utf8_lossy().into_owned()
}

fn source_of<'a>(request: &HttpRequest, inlet: &'a Inlet) -> Option<&'a Source> {
    let (name, _) = address(request)?;
    inlet.sources.get(name).map(|source| &**source)
}

fn unknown_source() -> HttpResponse {
    ApiError::new(
        Code::NotFound,
        "there is no such source; the URL is /webhooks/{source}",
    )
    .error_response()
}

/// Receives one webhook.
async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    inlet: web::Data<Inlet>,
) -> HttpResponse {
    let started = Instant::now();
    let Some(source) = source_of(&request, &inlet) else {
        // The name comes from outside: it must not become a metric label.
        metrics::unknown_source();
        tracing::info!(target: "event.received", result = "unknown_source", "no such source");
        return unknown_source();
    };
    let (response, result) = match take(&request, payload, &inlet, source).await {
        Ok(taken) => taken,
        Err(error) => {
            let code = error.code();
            tracing::info!(target: "event.received", source = %source.name, result = code, reason = %error, "refused");
            (error.error_response(), ReceiveResult::Refused)
        }
    };
    source.metrics.received(result, started.elapsed());
    response
}

type Taken = (HttpResponse, ReceiveResult);

async fn take(
    request: &HttpRequest,
    payload: web::Payload,
    inlet: &Inlet,
    source: &Source,
) -> Result<Taken, ApiError> {
    if request.headers().len() > inlet.header_limit {
        return Err(ApiError::new(
            Code::TooManyHeaders,
            format!(
                "a webhook may have {} header lines (`header_limit` of `[server]`)",
                inlet.header_limit
            ),
        ));
    }
    let body = body::read(request, payload, inlet.body).await?;
    let size = body.len();
    let now = inlet.clock.now();
    let inbound = InboundRequest::new(RequestParts {
        method: request.method().as_str().to_owned(),
        path_token: address(request).and_then(|(_, token)| token).map(decoded),
        query: request.query_string().to_owned(),
        headers: headers(request),
        body,
    });
    match source.inbound.receive(inbound, now) {
        Reception::Handshake(answer) => {
            tracing::info!(target: "event.received", source = %source.name, result = "handshake", "answered a handshake");
            Ok((respond(&answer), ReceiveResult::Handshake))
        }
        Reception::Refused(refusal) => {
            source.metrics.verification_failed(refusal.code.as_str());
            tracing::warn!(target: "event.received", source = %source.name, result = "refused", code = refusal.code.as_str(), reason = %refusal.reason, "refused");
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::UNAUTHORIZED);
            let code = if status == StatusCode::UNAUTHORIZED {
                Code::Unauthorized
            } else {
                Code::BadRequest
            };
            let answer = ApiError::new(code, "the request could not be verified").error_response();
            Ok((answer, ReceiveResult::Refused))
        }
        Reception::Verified(_) if request.method() != Method::POST => {
            // Handshakes may come as GET; events are posted.
            Err(ApiError::wrong_method(
                Method::POST.as_str(),
                "webhooks are posted: use POST",
            ))
        }
        Reception::Verified(verified) => {
            let event = verified.into_new_event(source.name.clone(), now);
            let event_type = event.event_type.clone();
            let committed = inlet.queue.commit_event(event).await;
            if matches!(committed, Ok(Acceptance::Accepted(_))) {
                fault::pass(Point::EventCommitted);
                source.metrics.accepted(size, now);
            }
            Ok(answer(source, committed, event_type.as_deref(), size))
        }
    }
}

fn answer(
    source: &Source,
    committed: Result<Acceptance, QueueError>,
    event_type: Option<&str>,
    size: usize,
) -> Taken {
    let event_type = event_type.unwrap_or("-");
    match committed {
        Ok(Acceptance::Accepted(id)) => {
            tracing::info!(target: "event.received", source = %source.name, event = %id, event_type, bytes = size, result = "accepted", "accepted");
            (
                respond(source.inbound.accepted_answer()),
                ReceiveResult::Accepted,
            )
        }
        Ok(Acceptance::Duplicate(id)) => {
            tracing::info!(target: "event.received", source = %source.name, event = %id, event_type, bytes = size, result = "duplicate", "seen before");
            (
                respond(source.inbound.accepted_answer()),
                ReceiveResult::Duplicate,
            )
        }
        Err(error) => {
            tracing::error!(target: "event.received", source = %source.name, event_type, result = "busy", reason = %error, "not stored");
            (respond(source.inbound.busy_answer()), ReceiveResult::Busy)
        }
    }
}

fn respond(answer: &Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    for (name, value) in &answer.headers {
        // Answers are checked when a connector loads; echoed headers are checked here.
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_str()),
            HeaderValue::try_from(value.as_str()),
        ) {
            response.insert_header((name, value));
        }
    }
    response.body(answer.body.clone())
}

/// All headers, with lower-case names. A value that is not text is shown in hex: it can be signed
/// over by nobody, but it must not make the request vanish.
fn headers(request: &HttpRequest) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| match value.to_str() {
        Ok(text) => text.to_owned(),
        Err(_not_ascii) => String::from_utf8(value.as_bytes().to_vec())
            .unwrap_or_else(|error| hex::encode(error.as_bytes())),
    };
    request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}
