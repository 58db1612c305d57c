//! The one table of API errors: code, status, and a body that helps.
//!
//! Bodies are `application/problem+json`. Senders of webhooks get the same shape, but no hint about
//! which secret failed or how: the reason is in the log and on the source's page.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, ALLOW, ContentType, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

use crate::queue::QueueError;
use crate::store::StoreError;

/// When to come back where that may help.
pub(super) const RETRY_SECONDS: &str = "30";

/// What went wrong, by code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Conflict,
    TooLarge,
    TooSlow,
    TooManyHeaders,
    UnsupportedEncoding,
    Busy,
    StorageFull,
    Internal,
}

impl Code {
    /// The code in the body, and the status.
    fn entry(self) -> (&'static str, StatusCode) {
        match self {
            Self::BadRequest => ("bad_request", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::Conflict => ("conflict", StatusCode::CONFLICT),
            Self::TooLarge => ("too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::TooSlow => ("too_slow", StatusCode::REQUEST_TIMEOUT),
            Self::TooManyHeaders => (
                "too_many_headers",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ),
            Self::UnsupportedEncoding => {
                ("unsupported_encoding", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Self::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE),
            Self::StorageFull => ("storage_full", StatusCode::INSUFFICIENT_STORAGE),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// An answer with the status, and the headers that tell a client what to do about it. The body is still to come: the
    /// store's APIs have shapes of their own.
    pub(super) fn response(self) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(self.entry().1);
        match self {
            Self::Busy | Self::StorageFull => {
                response.insert_header((RETRY_AFTER, RETRY_SECONDS));
            }
            Self::Unauthorized => {
                response.insert_header((WWW_AUTHENTICATE, "Bearer"));
            }
            Self::UnsupportedEncoding => {
                response.insert_header((ACCEPT_ENCODING, "gzip, identity"));
            }
            _ => {}
        }
        response
    }
}

/// An error as a client sees it.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    code: Code,
    detail: String,
    /// With a method that is not taken: those that are.
    allow: Option<&'static str>,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
}

impl ApiError {
    /// An error with a sentence for the person who reads it.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            allow: None,
        }
    }

    /// A method that is not taken; `allow` are those that are.
    pub(super) fn wrong_method(allow: &'static str, detail: impl Into<String>) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(Code::MethodNotAllowed, detail)
        }
    }

    /// What went wrong.
    pub(super) fn kind(&self) -> Code {
        self.code
    }

    /// The sentence.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// Its code, for metrics and logs.
    pub(super) fn code(&self) -> &'static str {
        self.code.entry().0
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.entry().1
    }

    fn error_response(&self) -> HttpResponse {
        let (code, status) = self.code.entry();
        let mut response = self.code.response();
        response.content_type(ContentType(
            "application/problem+json"
                .parse()
                .unwrap_or(actix_web::mime::APPLICATION_JSON),
        ));
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        response.json(Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: &self.detail,
        })
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(target: "store.failed", %error, "a request failed in the outcome store");
        if error.is_full() {
            Self::new(
                Code::StorageFull,
                "the disk of the outcome store is full: nothing was written; make room and send it again",
            )
        } else {
            Self::new(
                Code::Internal,
                "the outcome store could not answer; the log has the reason",
            )
        }
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::NotFound(what) => Self::new(
                Code::NotFound,
                format!(
                    "there is no {what}: mistyped, or past its retention (`storage.retention`)"
                ),
            ),
            QueueError::State(why) => Self::new(Code::Conflict, why),
            QueueError::Busy(why) => Self::new(Code::Busy, why),
            QueueError::Closed => Self::new(Code::Busy, "shutting down"),
            error => {
                tracing::error!(target: "admin.failed", %error, "an admin request failed in storage");
                Self::new(Code::Internal, "storage failed; the log has the reason")
            }
        }
    }
}
