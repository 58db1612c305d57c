//! What stands in the journal only: the request as it was received.

use bytes::Bytes;

use super::codec::{Corrupt, Get, Put};

/// Headers and query, to be written before the body.
pub(super) fn head(headers: &[(String, String)], query: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + headers.len() * 48);
    out.put_u8(1);
    out.put_number(headers.len() as u64);
    for (name, value) in headers {
        out.put_text(name);
        out.put_text(value);
    }
    out.put_text(query);
    out
}

/// A request read back.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub headers: Vec<(String, String)>,
    pub query: String,
    pub body: Bytes,
}

/// Reads head and body.
pub(super) fn request(blob: Vec<u8>) -> Result<Request, Corrupt> {
    let mut get = Get::new(&blob, "stored request");
    if get.u8()? != 1 {
        return Err(get.corrupt());
    }
    let mut headers = Vec::new();
    for _ in 0..get.number()? {
        headers.push((get.text()?.to_owned(), get.text()?.to_owned()));
    }
    let query = get.text()?.to_owned();
    let start = blob.len() - get.rest().len();
    Ok(Request {
        headers,
        query,
        body: Bytes::from(blob).slice(start..),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requests_read_back(headers: Vec<(String, String)>, query: String, body: Vec<u8>) {
            let mut blob = head(&headers, &query);
            blob.extend_from_slice(&body);
            let expected = Request { headers, query, body: Bytes::from(body) };
            prop_assert_eq!(request(blob).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_a_request_or_refused(bytes: Vec<u8>) {
            let _ = request(bytes);
        }
    }
}
