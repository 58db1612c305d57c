//! The instant destination: takes each request whole, answers at once, and knows which events have arrived.
//!
//! It is as light as a destination can be, since it runs on the machine that is measured, and yet it takes
//! nothing on trust: it reads from each body which event's outcome it brings, so that an event counts once,
//! however often it is sent.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::exit::Failure;
use super::load::{Requests, Work, content_length, exchange, split};
use crate::clock::Clock;

/// One arrival in so many is asked how long it took.
const SAMPLED: usize = 16;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[derive(Debug, Default)]
struct Arrivals {
    /// Numbers of the events.
    events: HashSet<u64>,
    delays_ms: Vec<f64>,
    /// A request that brought no event's outcome.
    strange: Option<String>,
}

impl Arrivals {
    fn note(&mut self, body: &[u8], clock: &Clock) {
        let Some(number) = number_of(body) else {
            self.strange = Some(String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned());
            return;
        };
        if self.events.insert(number) && self.events.len().is_multiple_of(SAMPLED) {
            let delay = occurred_at(body).map(|at| clock.now().duration_since(at));
            self.delays_ms
                .extend(delay.map(|delay| delay.as_secs_f64() * 1e3));
        }
    }
}

/// See the module.
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    arrivals: Arc<Mutex<Arrivals>>,
    listener: JoinHandle<()>,
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Destination {
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let arrivals: Arc<Mutex<Arrivals>> = Arc::default();
        let shared = Arc::clone(&arrivals);
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Ends when the bridge hangs up; a broken request is noticed as one that did not arrive.
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            arrivals,
            listener,
        })
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        lock(&self.arrivals)
    }

    /// Counts from here.
    pub(super) fn reset(&self) {
        *self.arrivals() = Arrivals::default();
    }

    /// Events of which an outcome has arrived.
    fn arrived(&self) -> Result<u64, Failure> {
        let arrivals = self.arrivals();
        match &arrivals.strange {
            Some(body) => Err(Failure::Failed(format!(
                "the bridge sent what belongs to no event: {body}"
            ))),
            None => Ok(arrivals.events.len() as u64),
        }
    }

    /// Waits until the outcomes of `count` events have arrived; answers the p99 of the time from accept to
    /// arrival, in ms.
    pub(super) async fn wait_for(&self, count: u64, patience: Duration) -> Result<f64, Failure> {
        let begun = Instant::now();
        loop {
            let arrived = self.arrived()?;
            if arrived >= count {
                break;
            }
            if begun.elapsed() > patience {
                return Err(Failure::Failed(format!(
                    "{arrived} of {count} outcomes arrived within {} s",
                    patience.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut delays = std::mem::take(&mut self.arrivals().delays_ms);
        delays.sort_by(f64::total_cmp);
        let place = delays.len() * 99 / 100;
        Ok(delays.get(place).copied().unwrap_or_default())
    }

    /// One event at a time on an idle bridge: the median from post to arrival, in ms.
    pub(super) async fn idle_latency(&self, work: &Work, samples: u64) -> Result<f64, Failure> {
        let mut waits = self.waits(work, samples).await?;
        waits.sort_by(f64::total_cmp);
        Ok(waits[waits.len() / 2])
    }

    /// One event after the other: how long each took from post to arrival, in ms.
    pub(super) async fn waits(&self, work: &Work, samples: u64) -> Result<Vec<f64>, Failure> {
        let mut waits = Vec::new();
        let mut stream = TcpStream::connect(work.inlet).await.map_err(Failure::of)?;
        stream.set_nodelay(true).map_err(Failure::of)?;
        let (mut request, mut answer) = (Vec::new(), vec![0u8; 4096]);
        for _ in 0..samples {
            self.reset();
            let begun = Instant::now();
            work.write(&mut request);
            exchange(&mut stream, &request, &mut answer).await?;
            while self.arrived()? == 0 {
                if begun.elapsed() > Duration::from_secs(10) {
                    return Err(Failure::Failed(
                        "an event on an idle bridge did not arrive".to_owned(),
                    ));
                }
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
            waits.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(waits)
    }
}

fn lock(arrivals: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection.
async fn serve(mut stream: TcpStream, arrivals: Arc<Mutex<Arrivals>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let clock = Clock::system();
    let mut request = Vec::with_capacity(8192);
    loop {
        request.clear();
        let (start, end) = loop {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
            let Some((head, body)) = split(&request) else {
                continue;
            };
            let length = content_length(head)
                .ok_or_else(|| std::io::Error::other("the body's length is no number"))?;
            if body.len() >= length {
                break (head.len(), head.len() + length);
            }
        };
        lock(&arrivals).note(&request[start..end], &clock);
        stream.write_all(ANSWER).await?;
    }
}

/// The number of the event that an outcome is of: its call is `call-` and that number.
fn number_of(body: &[u8]) -> Option<u64> {
    const CALL: &[u8] = b"/call-";
    let start = body.windows(CALL.len()).position(|w| w == CALL)? + CALL.len();
    let rest = &body[start..];
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

fn occurred_at(body: &[u8]) -> Option<Timestamp> {
    let outcome: Value = serde_json::from_slice(body).ok()?;
    outcome["occurred_at"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_counts_once_however_often_it_is_sent_and_nothing_else_counts() {
        let destination = Destination::start().await.unwrap();
        let mut stream = TcpStream::connect(destination.address).await.unwrap();
        let mut answer = vec![0; 4096];
        for number in [7, 8, 7] {
            let body = format!("{{\"target\":\"call/call-{number}\"}}");
            let request = format!(
                "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            exchange(&mut stream, request.as_bytes(), &mut answer)
                .await
                .unwrap();
        }
        assert_eq!(destination.arrived().unwrap(), 2);
        let request = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        exchange(&mut stream, request, &mut answer).await.unwrap();
        assert!(destination.arrived().is_err());
    }
}
