//! Reading a request's body once: limited in size and time, gzip decoded within the same limit.

use std::io::Read;
use std::time::Duration;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use actix_web::{HttpRequest, web};
use bytes::Bytes;
use flate2::read::GzDecoder;

use super::error::{ApiError, Code};

/// How much may be read, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// At most so many bytes, after decoding.
    pub bytes: usize,
    /// At most so long.
    pub time: Duration,
}

/// Reads the body. What comes back is what signatures are over: the decoded bytes.
pub(super) async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    limits: BodyLimits,
) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            Code::TooLarge,
            format!("the body is over the limit of {} bytes", limits.bytes),
        )
    };
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok());
    if announced
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|n| n > limits.bytes as u64)
    {
        return Err(too_large());
    }
    let encoding = request
        .headers()
        .get(CONTENT_ENCODING)
        .map(HeaderValue::as_bytes);
    let gzip = match encoding {
        None | Some(b"" | b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(_) => {
            return Err(ApiError::new(
                Code::UnsupportedEncoding,
                "content-encoding may be gzip or identity",
            ));
        }
    };
    let read = tokio::time::timeout(limits.time, payload.to_bytes_limited(limits.bytes));
    let body = match read.await {
        Err(_elapsed) => {
            return Err(ApiError::new(
                Code::TooSlow,
                "the body did not arrive in time",
            ));
        }
        Ok(Err(_over)) => return Err(too_large()),
        Ok(Ok(Err(error))) => {
            return Err(ApiError::new(
                Code::BadRequest,
                format!("the body cannot be read: {error}"),
            ));
        }
        Ok(Ok(Ok(body))) => body,
    };
    if gzip {
        gunzip(&body, limits.bytes)?.ok_or_else(too_large)
    } else {
        Ok(body)
    }
}

/// Decodes gzip up to `limit` bytes; `None` when there would be more.
pub(super) fn gunzip(body: &[u8], limit: usize) -> Result<Option<Bytes>, ApiError> {
    let mut decoded = Vec::with_capacity(body.len().saturating_mul(4).min(limit));
    GzDecoder::new(body)
        .take(limit as u64 + 1)
        .read_to_end(&mut decoded)
        .map_err(|_broken| ApiError::new(Code::BadRequest, "the body is not valid gzip"))?;
    Ok((decoded.len() <= limit).then(|| decoded.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_decoded_up_to_the_limit_and_not_a_byte_further() {
        assert_eq!(gunzip(&gzip(b"hello"), 5).unwrap().unwrap(), "hello");
        assert_eq!(gunzip(&gzip(b"hello!"), 5).unwrap(), None);
    }

    #[test]
    fn a_gzip_bomb_is_cut_off() {
        let bomb = gzip(&vec![0u8; 50 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(gunzip(&bomb, 1 << 20).unwrap(), None);
    }

    #[test]
    fn broken_gzip_is_a_bad_request() {
        let mut broken = gzip(b"hello");
        broken.truncate(12);
        assert_eq!(gunzip(&broken, 100).unwrap_err().code(), "bad_request");
    }
}
