//! The load: keep-alive connections that post prepared, signed requests as fast as they are answered,
//! and the instant destination that counts what arrives.

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
use crate::http::{Listen, Listener, StandIn, serve_stand_in};
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

/// What is posted, and where.
#[derive(Clone)]
pub(super) struct Work {
    inlet: SocketAddr,
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

    /// One request with its head, unique and signed.
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

/// Posts over `connections` connections for `span`; every answer has to be 200.
pub(super) async fn run(
    work: &Work,
    connections: usize,
    span: Duration,
) -> Result<Measured, Failure> {
    let begun = Instant::now();
    let until = begun + span;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(post_until(work.clone(), until));
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
async fn post_until(work: Work, until: Instant) -> Result<Vec<u32>, Failure> {
    let mut stream = TcpStream::connect(work.inlet).await.map_err(Failure::of)?;
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
async fn exchange(
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

/// The length of the answer in `bytes`, when all of it is there.
fn complete(bytes: &[u8]) -> Option<usize> {
    let head_end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(str::trim)
                .and_then(|n| n.parse::<usize>().ok())
        })
        .unwrap_or(0);
    (bytes.len() >= head_end + length).then_some(head_end + length)
}

/// The instant destination: answers at once and counts.
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    stand_in: StandIn,
    base: AtomicU64,
    _listener: Listener,
}

impl Destination {
    pub(super) fn start() -> std::io::Result<Self> {
        let stand_in = StandIn::default();
        let listener = serve_stand_in(
            &Listen {
                address: ([127, 0, 0, 1], 0).into(),
                workers: std::num::NonZeroUsize::new(1),
                request_timeout: Duration::from_secs(10),
                max_connections: 10_000,
                shutdown_timeout: Duration::from_secs(1),
            },
            &stand_in,
        )?;
        Ok(Self {
            address: listener.address,
            stand_in,
            base: AtomicU64::new(0),
            _listener: listener,
        })
    }

    /// Counts from here.
    pub(super) fn reset(&self) {
        self.base.store(self.stand_in.requests(), Ordering::SeqCst);
        self.stand_in.forget_delays();
    }

    fn arrived(&self) -> u64 {
        self.stand_in.requests() - self.base.load(Ordering::SeqCst)
    }

    /// Waits until `count` have arrived; answers the p99 of the time from accept to arrival, in ms.
    pub(super) async fn wait_for(&self, count: u64, patience: Duration) -> Result<f64, Failure> {
        let begun = Instant::now();
        while self.arrived() < count {
            if begun.elapsed() > patience {
                return Err(Failure::Failed(format!(
                    "{} of {count} outcomes arrived within {} s",
                    self.arrived(),
                    patience.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(self.stand_in.delay(0.99))
    }

    /// One event at a time on an idle bridge: the median from post to arrival, in ms.
    pub(super) async fn idle_latency(&self, work: &Work, samples: u64) -> Result<f64, Failure> {
        let mut waits = Vec::new();
        let mut stream = TcpStream::connect(work.inlet).await.map_err(Failure::of)?;
        stream.set_nodelay(true).map_err(Failure::of)?;
        let (mut request, mut answer) = (Vec::new(), vec![0u8; 4096]);
        for _ in 0..samples {
            self.reset();
            let begun = Instant::now();
            work.write(&mut request);
            exchange(&mut stream, &request, &mut answer).await?;
            while self.arrived() == 0 {
                if begun.elapsed() > Duration::from_secs(10) {
                    return Err(Failure::Failed(
                        "an event on an idle bridge did not arrive".to_owned(),
                    ));
                }
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
            waits.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        waits.sort_by(f64::total_cmp);
        Ok(waits[waits.len() / 2])
    }
}
