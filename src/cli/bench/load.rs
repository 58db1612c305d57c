//! The load: keep-alive connections that post unique, signed requests as fast as they are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::exit::Failure;
use crate::clock::Clock;
use crate::queue::local::baseline::Figures;
use crate::queue::local::bench::GroupCommit;

/// What one row measured.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) count: u64,
    pub(super) took: Duration,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Measured {
    pub(super) fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }
}

impl From<Figures> for Measured {
    fn from(figures: Figures) -> Self {
        Self {
            count: figures.count,
            took: figures.took,
            p50_ms: figures.p50.as_secs_f64() * 1e3,
            p99_ms: figures.p99.as_secs_f64() * 1e3,
        }
    }
}

impl From<GroupCommit> for Measured {
    fn from(figures: GroupCommit) -> Self {
        Self {
            count: figures.events as u64,
            took: Duration::from_secs_f64(figures.events as f64 / figures.per_s.max(1.0)),
            p50_ms: figures.p50.as_secs_f64() * 1e3,
            p99_ms: figures.p99.as_secs_f64() * 1e3,
        }
    }
}

/// What is sent, and where.
pub(super) trait Requests: Clone + Send + Sync + 'static {
    fn address(&self) -> SocketAddr;

    /// One request with its head, another one each time.
    fn write(&self, request: &mut Vec<u8>);
}

/// Events that are posted, each unique and signed.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) inlet: SocketAddr,
    mac: Hmac<Sha256>,
    filler: Arc<str>,
    next: Arc<AtomicU64>,
    clock: Clock,
}

impl Work {
    /// Events of about `bytes` bytes, signed by Standard Webhooks with `secret` (base64).
    pub(super) fn new(inlet: SocketAddr, secret: &[u8], bytes: usize) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        Self {
            inlet,
            mac,
            filler: "n".repeat(bytes.saturating_sub(120)).into(),
            // Numbers differ between runs on one bridge, or they would be duplicates.
            next: Arc::new(AtomicU64::new(rand::random::<u32>().into())),
            clock: Clock::system(),
        }
    }
}

impl Requests for Work {
    fn address(&self) -> SocketAddr {
        self.inlet
    }

    fn write(&self, request: &mut Vec<u8>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        let body = format!(
            "{{\"outcome\":\"closed\",\"call_id\":\"call-{number}\",\"occurred_at\":\"{now}\",\"notes\":\"{}\"}}",
            self.filler
        );
        let id = format!("msg_{number}");
        let seconds = now.as_second();
        let mut mac = self.mac.clone();
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        request.clear();
        request.extend_from_slice(
            format!(
                "POST /webhooks/bench HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
                 webhook-id: {id}\r\nwebhook-timestamp: {seconds}\r\nwebhook-signature: v1,{signature}\r\n\
                 content-length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        );
        request.extend_from_slice(body.as_bytes());
    }
}

/// Sends over `connections` connections for `span`; every answer has to be 200.
pub(super) async fn run(
    work: &impl Requests,
    connections: usize,
    span: Duration,
) -> Result<Measured, Failure> {
    let begun = Instant::now();
    let until = begun + span;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(send_until(work.clone(), until));
    }
    let mut waits: Vec<u32> = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        waits.extend(ended.map_err(Failure::of)??);
    }
    let took = begun.elapsed();
    waits.sort_unstable();
    let at = |share: f64| {
        let index = ((waits.len() as f64 * share) as usize).min(waits.len().saturating_sub(1));
        f64::from(waits.get(index).copied().unwrap_or(0)) / 1e3
    };
    Ok(Measured {
        count: waits.len() as u64,
        took,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
    })
}

/// One connection. Answers how long each request took, in microseconds.
async fn send_until(work: impl Requests, until: Instant) -> Result<Vec<u32>, Failure> {
    let mut stream = TcpStream::connect(work.address())
        .await
        .map_err(Failure::of)?;
    stream.set_nodelay(true).map_err(Failure::of)?;
    let mut request = Vec::new();
    let mut answer = vec![0u8; 4096];
    let mut waits = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        work.write(&mut request);
        exchange(&mut stream, &request, &mut answer).await?;
        waits.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(waits)
}

/// Posts one request and reads its whole answer.
pub(super) async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    answer: &mut [u8],
) -> Result<(), Failure> {
    stream.write_all(request).await.map_err(Failure::of)?;
    let mut filled = 0;
    loop {
        let read = stream
            .read(&mut answer[filled..])
            .await
            .map_err(Failure::of)?;
        filled += read;
        if read == 0 {
            return Err(Failure::Failed(
                "the connection was closed by the server".to_owned(),
            ));
        }
        if let Some(length) = complete(&answer[..filled]) {
            if !answer.starts_with(b"HTTP/1.1 200") {
                let text = String::from_utf8_lossy(&answer[..filled]).into_owned();
                return Err(Failure::Failed(format!("the bridge answered: {text}")));
            }
            debug_assert_eq!(length, filled, "one answer per request");
            return Ok(());
        }
    }
}

/// The length of the message in `bytes`, when all of it is there.
fn complete(bytes: &[u8]) -> Option<usize> {
    let (head, body) = split(bytes)?;
    let length = content_length(head)?;
    (body.len() >= length).then_some(head.len() + length)
}

/// A message's head with the empty line after it, and what follows.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    Some(bytes.split_at(end))
}

/// What the head says about the body's length; 0 when it says nothing.
pub(super) fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut lines = head.split(|byte| *byte == b'\n');
    let Some(line) = lines.find(|line| {
        line.get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    }) else {
        return Some(0);
    };
    std::str::from_utf8(&line[NAME.len()..])
        .ok()?
        .trim()
        .parse()
        .ok()
}
