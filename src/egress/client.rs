//! The only user of `reqwest` on the way out: one client per destination, and one per source that
//! looks things up.
//!
//! It follows no redirect (the operator named the address, nobody else does), uses no proxy,
//! keeps no cookie, never repeats a request by itself (attempts are counted elsewhere), reads a
//! bounded part of an answer in bounded time, and tells faults apart by the types of errors.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, redirect, retry};

use super::address::{AddressPolicy, AddressRefused, GuardedResolver};
use crate::connector::PreparedRequest;

/// How much of an answer is read; the rest is dropped with its connection.
const ANSWER_LIMIT: usize = 64 * 1024;
/// Idle connections are closed before most servers close theirs, so that a request seldom meets a
/// connection that has just gone.
const IDLE_CONNECTIONS: Duration = Duration::from_secs(45);
const AGENT: &str = concat!("outcome-bridge/", env!("CARGO_PKG_VERSION"));

/// A client could not be built, e.g. because the system's certificates are unreadable.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up HTTP for outgoing requests")]
pub struct ClientError(#[from] reqwest::Error);

/// How a client connects and how long it waits.
#[derive(Debug, Clone)]
pub(crate) struct ClientOptions {
    /// From sending a request to the end of its answer.
    pub(crate) timeout: Duration,
    /// For the connection, TLS included.
    pub(crate) connect_timeout: Duration,
    /// Idle connections that are kept for each host.
    pub(crate) idle_connections: usize,
    /// Which addresses may be connected to.
    pub(crate) addresses: AddressPolicy,
}

/// Sends requests to one product.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    inner: reqwest::Client,
    addresses: Arc<AddressPolicy>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// At most [`ANSWER_LIMIT`] bytes.
    pub(crate) body: Vec<u8>,
    /// There was more than [`ANSWER_LIMIT`] bytes; the rest was not read.
    pub(crate) cut: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// The request cannot be written as HTTP; nothing was sent.
    #[error("the request cannot be sent: {0}")]
    Malformed(&'static str),
    /// The address must not be connected to; nothing was sent.
    #[error(transparent)]
    Address(#[from] AddressRefused),
    /// The network or the other side failed us.
    #[error("{0}")]
    Fault(Fault),
}

/// How the network or the other side failed us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Dns,
    Refused,
    Unreachable,
    ConnectTimeout,
    Tls,
    Connect,
    Timeout,
    Reset,
    Broken,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "the host name cannot be resolved",
            Self::Refused => "the connection was refused",
            Self::Unreachable => "the host cannot be reached",
            Self::ConnectTimeout => "no connection in time",
            Self::Tls => "no trusted TLS connection (check the certificate)",
            Self::Connect => "no connection",
            Self::Timeout => "no complete answer in time",
            Self::Reset => "the connection was reset",
            Self::Broken => "the answer broke off or is not HTTP",
        })
    }
}

impl Client {
    /// A client with its own connections.
    pub(crate) fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let addresses = Arc::new(options.addresses);
        let inner = reqwest::Client::builder()
            .user_agent(AGENT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .dns_resolver(GuardedResolver::new(Arc::clone(&addresses)))
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .pool_idle_timeout(IDLE_CONNECTIONS)
            .pool_max_idle_per_host(options.idle_connections)
            .build()?;
        Ok(Self { inner, addresses })
    }

    /// Sends `request` and reads the answer.
    pub(crate) async fn send(&self, request: PreparedRequest) -> Result<Answer, SendError> {
        self.addresses.check_literal(&request.url)?;
        let request = to_http(request)?;
        self.exchange(request).await.map_err(|error| sort(&error))
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<Answer, reqwest::Error> {
        let mut response = self.inner.execute(request).await?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        let mut body = Vec::new();
        let mut cut = false;
        while let Some(chunk) = response.chunk().await? {
            let room = ANSWER_LIMIT - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                cut = true;
                break;
            }
        }
        Ok(Answer {
            status,
            headers,
            body,
            cut,
        })
    }
}

fn to_http(request: PreparedRequest) -> Result<reqwest::Request, SendError> {
    let malformed = |what: &'static str| SendError::Malformed(what);
    if !matches!(request.url.scheme(), "http" | "https") {
        return Err(malformed("its URL is neither http nor https"));
    }
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_invalid| malformed("its method is not one of HTTP"))?;
    let mut http = reqwest::Request::new(method, request.url);
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_invalid| malformed("a header's name is not one of HTTP"))?;
        let mut value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_invalid| malformed("a header's value holds control characters"))?;
        // Any of them may carry a credential: kept out of debug output and of HTTP/2's tables.
        value.set_sensitive(true);
        http.headers_mut().append(name, value);
    }
    *http.body_mut() = Some(request.body.into());
    Ok(http)
}

fn sort(error: &reqwest::Error) -> SendError {
    let refused = chain(error).find_map(|cause| cause.downcast_ref::<AddressRefused>());
    if let Some(refused) = refused {
        return refused.clone().into();
    }
    let connecting = error.is_connect();
    // The innermost one says most: TLS wraps what it found in errors of kind `Other`.
    let io_kind = chain(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .last()
        .map(io::Error::kind);
    SendError::Fault(match io_kind {
        _ if error.is_timeout() && connecting => Fault::ConnectTimeout,
        _ if error.is_timeout() => Fault::Timeout,
        _ if error.is_dns() => Fault::Dns,
        Some(io::ErrorKind::ConnectionRefused) => Fault::Refused,
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            Fault::Unreachable
        }
        // rustls reports what it does not trust or understand as invalid data.
        Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) if connecting => Fault::Tls,
        _ if connecting => Fault::Connect,
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe,
        ) => Fault::Reset,
        _ => Fault::Broken,
    })
}

/// The error and its causes, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An `io::Error` names as its source not what it wraps, but the source of that.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}
