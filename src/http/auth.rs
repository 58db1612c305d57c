//! Access to the admin side: a bearer token, compared in constant time.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};

use super::error::{ApiError, Code};
use super::state::Office;

/// Proof that the request brought the admin token. Every admin handler takes one.
pub(super) struct Admin;

impl FromRequest for Admin {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(check(request).then_some(Self).ok_or_else(|| {
            ApiError::new(
                Code::Unauthorized,
                "bring the admin token: `Authorization: Bearer …` (it is `admin.token` of the \
                 configuration, or in the file `admin-token` of the data directory)",
            )
        }))
    }
}

fn check(request: &HttpRequest) -> bool {
    let Some(office) = request.app_data::<web::Data<Office>>() else {
        return false;
    };
    let Some(value) = request.headers().get(AUTHORIZATION) else {
        return false;
    };
    let bytes = value.as_bytes();
    let scheme = b"bearer ";
    bytes.len() > scheme.len()
        && bytes[..scheme.len()].eq_ignore_ascii_case(scheme)
        && !office.token.is_empty()
        && office.token.matches(&bytes[scheme.len()..])
}
