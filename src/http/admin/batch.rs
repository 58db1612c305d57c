//! Bodies with many items, as imports send them.

use actix_web::web;
use serde::de::DeserializeOwned;

use crate::http::error::{ApiError, Code};

/// The largest body.
const LARGEST: usize = 32 << 20;
/// The most items in it.
pub(super) const MOST: usize = 10_000;

/// Reads a large body as JSON.
pub(super) async fn read<T: DeserializeOwned>(payload: web::Payload) -> Result<T, ApiError> {
    let too_large = |_| ApiError::new(Code::TooLarge, format!("the body is over {LARGEST} bytes"));
    let bad = |detail| ApiError::new(Code::BadRequest, detail);
    let body = payload
        .to_bytes_limited(LARGEST)
        .await
        .map_err(too_large)?
        .map_err(|error| bad(format!("the body cannot be read: {error}")))?;
    serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is not as expected: {error}")))
}
