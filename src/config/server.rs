//! `[server]`: the listener that senders reach.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use config::Value;
use url::Url;

use super::ByteSize;
use super::read::{self, Read};
use super::section::Section;
use crate::model::SourceName;

/// The most header lines that a request may have at all: the HTTP parser refuses more, with 431, before anybody is asked.
const MOST_HEADERS: usize = 96;

/// The listener for webhooks.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where to listen. Default `127.0.0.1:8080`; `0.0.0.0:8080` to be reached from outside without a
    /// proxy on the same machine.
    pub bind: SocketAddr,
    /// How senders reach this listener, without the path. Default: `http://` and `bind`. Set it when a
    /// proxy or tunnel stands in front, since some vendors sign the URL they post to.
    pub public_url: Option<Url>,
    /// The largest body, after decompression. Default 1 MB; more for vendors that send big batches.
    pub body_limit: ByteSize,
    /// The most header lines of a webhook. Default 96, which is also the most there can be.
    pub header_limit: usize,
    /// How long a sender may take for its whole request. Default 10 seconds.
    pub request_timeout: Duration,
    /// Threads that serve requests. Default (0 in the file): one for each processor.
    pub workers: Option<NonZeroUsize>,
    /// How long a stop waits for what is in flight. Default 30 seconds.
    pub shutdown_timeout: Duration,
    /// The most connections at once. Default 10 000; keep it below the limit of open files.
    pub max_connections: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: None,
            body_limit: ByteSize::new(1_000_000),
            header_limit: MOST_HEADERS,
            request_timeout: Duration::from_secs(10),
            workers: None,
            shutdown_timeout: Duration::from_secs(30),
            max_connections: 10_000,
        }
    }
}

impl Server {
    /// Where senders reach `source`, e.g. `https://hooks.example.com/webhooks/hubspot`.
    pub fn webhook_url(&self, source: &SourceName) -> Url {
        let mut url = self.public_url.clone().unwrap_or_else(|| self.bound_url());
        let path = format!("{}/webhooks/{source}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// `http://` and the address that is listened on.
    fn bound_url(&self) -> Url {
        Url::parse(&format!("http://{}", self.bind))
            .expect("a socket address is a URL's host and port")
    }
}

impl Server {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let default = Self::default();
        let seconds = Duration::from_secs;
        let server = Self {
            bind: section.get("bind", read::address).unwrap_or(default.bind),
            public_url: section.optional("public_url", read::public_url),
            body_limit: section
                .get(
                    "body_limit",
                    read::size(ByteSize::new(1_000)..=ByteSize::new(256_000_000)),
                )
                .unwrap_or(default.body_limit),
            header_limit: section
                .get("header_limit", header_limit)
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(default.header_limit),
            request_timeout: section
                .get("request_timeout", read::duration(seconds(1)..=seconds(600)))
                .unwrap_or(default.request_timeout),
            workers: section
                .get("workers", read::count(0..=1_024))
                .and_then(|count| NonZeroUsize::new(usize::try_from(count).ok()?)),
            shutdown_timeout: section
                .get(
                    "shutdown_timeout",
                    read::duration(seconds(1)..=seconds(3_600)),
                )
                .unwrap_or(default.shutdown_timeout),
            max_connections: section
                .get("max_connections", read::count(1..=1_000_000))
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(default.max_connections),
        };
        section.finish();
        server
    }
}

fn header_limit(value: &Value) -> Read<u64> {
    let limit = read::count(1..=MOST_HEADERS as u64);
    limit(value).map_err(|wrong| {
        wrong.help(format!(
            "the HTTP parser takes no more than {MOST_HEADERS} header lines; leave the option out for as many as it takes"
        ))
    })
}
