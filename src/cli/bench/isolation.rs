//! Isolation: what a healthy destination notices of a dead one beside it.
//!
//! Two bridges run side by side, each with the measured destination and a neighbour: one neighbour answers at
//! once, the other takes every request and never answers, the worst way of being dead, since each request
//! holds its connection and its slot until the time limit. Both are measured in turns, so that whatever else the
//! machine does falls on both alike.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::exit::Failure;
use super::super::terminal::Output;
use super::child::{Child, Setting};
use super::destination::Destination;
use super::load::{self, Work};

/// Turns of each bridge.
const TURNS: u64 = 160;
/// Events of one turn, one after the other.
const EVENTS: u64 = 25;
/// How long the neighbour may take to have all its slots hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bridge, its measured destination, and what that destination waited, in ms.
struct Side {
    /// Dropping it kills it: an orderly stop would wait for what hangs.
    _bridge: Child,
    healthy: Destination,
    work: Work,
    waits: Vec<f64>,
}

impl Side {
    async fn start(
        home: &Path,
        name: &str,
        neighbour: SocketAddr,
        body_bytes: usize,
    ) -> Result<Self, Failure> {
        let healthy = Destination::start().await.map_err(Failure::of)?;
        let setting = Setting::Neighbours(healthy.address, neighbour);
        let bridge = Child::bridge(home, name, setting).await?;
        let work = Work::new(bridge.inlet, &bridge.secret, body_bytes);
        Ok(Self {
            _bridge: bridge,
            healthy,
            work,
            waits: Vec::new(),
        })
    }

    /// Some hundred events at once, so that a dead neighbour has all its slots taken before anything is measured.
    async fn warm(&self) -> Result<(), Failure> {
        self.healthy.reset();
        let sent = load::run(&self.work, 16, Duration::from_millis(500)).await?;
        self.healthy.wait_for(sent.count, PATIENCE).await?;
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), Failure> {
        let waits = self.healthy.waits(&self.work, EVENTS).await?;
        self.waits.extend(waits);
        Ok(())
    }

    /// The wait that this part of all waits is below.
    fn quantile(&mut self, part: f64) -> f64 {
        self.waits.sort_by(f64::total_cmp);
        let place = (self.waits.len() as f64 * part) as usize;
        self.waits.get(place).copied().unwrap_or_default()
    }
}

/// Latency of the healthy destination beside a living and beside a dead neighbour.
pub(super) async fn measure(home: &Path, body_bytes: usize) -> Result<Value, Failure> {
    let living = Destination::start().await.map_err(Failure::of)?;
    let dead = Dead::start().await.map_err(Failure::of)?;
    let mut alive = Side::start(home, "isolation-alive", living.address, body_bytes).await?;
    let mut beside = Side::start(home, "isolation-dead", dead.address, body_bytes).await?;
    alive.warm().await?;
    beside.warm().await?;
    dead.holds(Child::NEIGHBOURS_SLOTS).await?;
    for _ in 0..TURNS {
        alive.turn().await?;
        beside.turn().await?;
    }
    let hanging = dead.hanging.load(Ordering::Relaxed);
    let quantiles = |side: &mut Side| (side.quantile(0.5), side.quantile(0.99));
    let (alive, beside) = (quantiles(&mut alive), quantiles(&mut beside));
    let shown = |(p50, p99)| json!({ "p50_ms": rounded(p50), "p99_ms": rounded(p99) });
    Ok(json!({
        "events": TURNS * EVENTS,
        "hanging": hanging,
        "alive": shown(alive),
        "dead": shown(beside),
        "p50_ratio": rounded(beside.0 / alive.0),
        "p99_ratio": rounded(beside.1 / alive.1),
    }))
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// A destination that takes requests and never answers.
struct Dead {
    address: SocketAddr,
    /// Connections that are open.
    hanging: Arc<AtomicUsize>,
    listener: JoinHandle<()>,
}

impl Drop for Dead {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Dead {
    async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let hanging: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&hanging);
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(swallow(stream, Arc::clone(&count)));
            }
        });
        Ok(Self {
            address,
            hanging,
            listener,
        })
    }

    /// Waits until so many requests hang here.
    async fn holds(&self, count: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let hanging = self.hanging.load(Ordering::Relaxed);
            if hanging >= count {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failure::Failed(format!(
                    "only {hanging} of {count} requests hang at the dead destination"
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Reads what comes until the bridge hangs up.
async fn swallow(mut stream: TcpStream, hanging: Arc<AtomicUsize>) {
    hanging.fetch_add(1, Ordering::Relaxed);
    let mut unread = [0; 4096];
    while matches!(stream.read(&mut unread).await, Ok(read) if read > 0) {}
    hanging.fetch_sub(1, Ordering::Relaxed);
}

/// The figures in words.
pub(super) fn print(output: &Output, isolation: &Value) {
    let of = |side: &str| {
        let figure = |key: &str| isolation[side][key].as_f64().unwrap_or(f64::NAN);
        format!(
            "p50 {:.2} ms, p99 {:.2} ms",
            figure("p50_ms"),
            figure("p99_ms")
        )
    };
    output.line("");
    output.line(&format!(
        "{:34} {}",
        "beside a living destination",
        of("alive")
    ));
    output.line(&format!(
        "{:34} {}",
        "beside a dead destination",
        of("dead")
    ));
}
