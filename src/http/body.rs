//! Reading a request's body once: limited in size and time, gzip decoded within the same limit.

use std::io::Read;
use std::time::Duration;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use actix_web::{HttpRequest, web};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

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
    let gzip = is_gzip(request.headers())?;
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

/// Whether the body is compressed. Codings are told apart by their names in any case, over all lines of the header.
fn is_gzip(headers: &HeaderMap) -> Result<bool, ApiError> {
    let mut codings = headers
        .get_all(CONTENT_ENCODING)
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let gzip = |coding: &[u8]| {
        [&b"gzip"[..], b"x-gzip"]
            .iter()
            .any(|name| coding.eq_ignore_ascii_case(name))
    };
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(only), None) if gzip(only) => Ok(true),
        _ => Err(ApiError::new(
            Code::UnsupportedEncoding,
            "content-encoding may be gzip, once, or identity",
        )),
    }
}

/// Decodes gzip up to `limit` bytes; `None` when there would be more. The limit is for all members together, and every
/// byte has to belong to one: what follows the last would be verified by nobody.
pub(super) fn gunzip(body: &[u8], limit: usize) -> Result<Option<Bytes>, ApiError> {
    let mut decoded = Vec::with_capacity(body.len().saturating_mul(4).min(limit));
    MultiGzDecoder::new(body)
        .take(limit as u64 + 1)
        .read_to_end(&mut decoded)
        .map_err(|broken| {
            ApiError::new(
                Code::BadRequest,
                format!("the body is not valid gzip to its last byte: {broken}"),
            )
        })?;
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
    fn all_members_are_decoded_within_one_limit() {
        let members = [gzip(b"hello"), gzip(b""), gzip(b" world")].concat();
        assert_eq!(gunzip(&members, 11).unwrap().unwrap(), "hello world");
        assert_eq!(gunzip(&members, 10).unwrap(), None);
        let bombs = gzip(&vec![0u8; 1 << 20]).repeat(50);
        assert_eq!(gunzip(&bombs, 2 << 20).unwrap(), None);
    }

    #[test]
    fn broken_gzip_is_a_bad_request() {
        let whole = gzip(b"hello");
        let mut wrong_sum = whole.clone();
        wrong_sum[whole.len() - 8] ^= 1;
        for (name, broken) in [
            ("cut off", whole[..12].to_vec()),
            ("no gzip at all", b"hello".to_vec()),
            ("nothing", Vec::new()),
            ("a wrong checksum", wrong_sum),
            ("text behind it", [&whole[..], b"more"].concat()),
            ("zeros behind it", [&whole[..], &[0; 16]].concat()),
            (
                "a second member cut off",
                [&whole[..], &whole[..12]].concat(),
            ),
        ] {
            let error = gunzip(&broken, 100).unwrap_err();
            assert_eq!(error.code(), "bad_request", "{name}");
            assert!(
                error.detail().contains("not valid gzip to its last byte"),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn codings_are_told_by_their_names_in_any_case() {
        use actix_web::test::TestRequest;
        let told = |lines: &[&'static str]| {
            let request = lines.iter().fold(TestRequest::post(), |request, line| {
                request.append_header((CONTENT_ENCODING, *line))
            });
            is_gzip(request.to_http_request().headers()).map_err(|error| error.code())
        };
        for gzip in [
            "gzip",
            "GZIP",
            "Gzip",
            "x-gzip",
            "X-GZip",
            " gzip ",
            "identity, gzip",
        ] {
            assert_eq!(told(&[gzip]), Ok(true), "{gzip}");
        }
        for plain in ["", "identity", "Identity", "IDENTITY", "identity,identity"] {
            assert_eq!(told(&[plain]), Ok(false), "{plain}");
        }
        assert_eq!(told(&[]), Ok(false));
        assert_eq!(
            told(&["identity", "gzip"]),
            Ok(true),
            "on lines of their own"
        );
        for other in [
            &["br"][..],
            &["gzip, gzip"],
            &["gzip", "gzip"],
            &["gzip, br"],
            &["gzipp"],
        ] {
            assert_eq!(told(other), Err("unsupported_encoding"), "{other:?}");
        }
    }
}
