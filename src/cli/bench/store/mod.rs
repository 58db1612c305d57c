//! The store's measures: a year of calls and their outcomes, loaded by the commands that people load them with; questions
//! over them; updates by API clients. Real processes, real HTTP, the bridge as `serve` runs it.

mod made;
mod questions;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::exit::Failure;
use super::super::terminal::Output;
use super::child::{Child, Setting};
use super::load::{self, Requests};
use crate::clock::Clock;
use crate::store::{PlainTable, Store};
use made::{ROUNDS, Ware, World};

/// Rows of one transaction of the baseline, as many as an import sends at once.
const BATCH: u64 = 1_000;
/// Connections that update calls.
const CONNECTIONS: usize = 64;
/// How long an import may take to reach the store.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Measures the store with so many calls.
pub(super) async fn measure(
    home: &Path,
    calls: u64,
    span: Duration,
    output: &Output,
) -> Result<Value, Failure> {
    let world = World::new(calls, Clock::system().now());
    let bridge = Child::bridge(home, "store", Setting::Store).await?;
    output.note("store: importing calls …");
    let loaded = load(home, &world, Ware::Calls, &bridge).await?;
    let mut outcomes = Vec::new();
    for round in 0..ROUNDS {
        output.note(&format!(
            "store: importing outcomes, {} of {ROUNDS} …",
            round + 1
        ));
        outcomes.push(load(home, &world, Ware::Outcomes(round), &bridge).await?);
    }
    output.note("store: asking …");
    let loading_mb = bridge.peak_resident_mb()?;
    let asked = questions::ask(&bridge, &world).await?;
    let page_ms = questions::page(&bridge, &world).await?;
    output.note("store: updating …");
    let updates = Updates {
        inlet: bridge.inlet,
        world,
        next: Arc::default(),
    };
    let updated = load::run(&updates, CONNECTIONS, span).await?;
    let resident_mb = bridge.peak_resident_mb()?;
    bridge.stop().await?;
    let file = Child::store_file(home, "store");
    let disk_bytes = std::fs::metadata(&file).map_err(Failure::of)?.len();
    let store = Store::open(&file, Clock::system())
        .await
        .map_err(Failure::of)?;
    let counts = store.counts().await.map_err(Failure::of)?;
    store.close().await;
    let expected = calls * ROUNDS + updated.count;
    if counts.changes.cast_unsigned() != expected || counts.calls.cast_unsigned() != calls {
        return Err(Failure::Failed(format!(
            "the store holds {} calls and {} log entries, not {calls} and {expected}",
            counts.calls, counts.changes
        )));
    }
    Ok(json!({
        "calls": counts.calls,
        "log_entries": counts.changes,
        "calls_import": loaded.shown(),
        "outcomes_import": sum(&outcomes).shown(),
        "analytics": asked,
        "page_ms": page_ms,
        "updates": {
            "connections": CONNECTIONS,
            "per_s": updated.per_second().round(),
            "p50_ms": (updated.p50_ms * 1e2).round() / 1e2,
            "p99_ms": (updated.p99_ms * 1e2).round() / 1e2,
        },
        "loading_resident_mb": loading_mb,
        "resident_mb": resident_mb,
        "disk_mb": disk_bytes >> 20,
    }))
}

/// How an import compares with plain inserts.
struct Loaded {
    rows: u64,
    bytes: u64,
    /// Until the command was done.
    sent: Duration,
    /// Until all of it was in the store.
    took: Duration,
    plain: Duration,
    cpu_seconds: f64,
}

impl Loaded {
    fn shown(&self) -> Value {
        let rate = |took: Duration| self.rows as f64 / took.as_secs_f64();
        json!({
            "rows": self.rows,
            "bytes": self.bytes,
            "sent_per_s": rate(self.sent).round(),
            "per_s": rate(self.took).round(),
            "plain_sqlite_per_s": rate(self.plain).round(),
            "of_plain_sqlite": (rate(self.took) / rate(self.plain) * 1e3).round() / 1e3,
            "cpu_us_per_row": (self.cpu_seconds * 1e6 / self.rows as f64).round(),
        })
    }
}

fn sum(parts: &[Loaded]) -> Loaded {
    Loaded {
        rows: parts.iter().map(|part| part.rows).sum(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        sent: parts.iter().map(|part| part.sent).sum(),
        took: parts.iter().map(|part| part.took).sum(),
        plain: parts.iter().map(|part| part.plain).sum(),
        cpu_seconds: parts.iter().map(|part| part.cpu_seconds).sum(),
    }
}

/// Imports a ware with the command, and waits until the store has all of it.
async fn load(home: &Path, world: &World, ware: Ware, bridge: &Child) -> Result<Loaded, Failure> {
    let plain = plainly(home, world, ware).await?;
    let file = home.join("ware.csv");
    let bytes = world.write(ware, &file).map_err(Failure::of)?;
    let noun = match ware {
        Ware::Calls => "calls",
        Ware::Outcomes(_) => "outcomes",
    };
    let before = bridge.cpu_seconds()?;
    let begun = Instant::now();
    bridge.import(noun, &file).await?;
    let sent = begun.elapsed();
    bridge.drained(PATIENCE).await?;
    Ok(Loaded {
        rows: world.calls,
        bytes,
        sent,
        took: begun.elapsed(),
        plain,
        cpu_seconds: bridge.cpu_seconds()? - before,
    })
}

/// The same bytes into a table of SQLite.
async fn plainly(home: &Path, world: &World, ware: Ware) -> Result<Duration, Failure> {
    let dir = tempfile::tempdir_in(home).map_err(Failure::of)?;
    let mut table = PlainTable::create(&dir.path().join("plain.sqlite"), ware.columns().len())
        .await
        .map_err(Failure::of)?;
    for first in (0..world.calls).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let rows: Vec<Vec<String>> = (first..(first + BATCH).min(world.calls))
            .map(|call| world.row(ware, call))
            .collect();
        table.insert(&rows).await.map_err(Failure::of)?;
    }
    Ok(table.took())
}

/// Partial updates of calls all over the year, as Phonely's API takes them.
#[derive(Clone)]
struct Updates {
    inlet: SocketAddr,
    world: World,
    next: Arc<AtomicU64>,
}

impl Requests for Updates {
    fn address(&self) -> SocketAddr {
        self.inlet
    }

    fn write(&self, request: &mut Vec<u8>) {
        // A step without a common factor: neighbours in time are far apart in the store.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let call = number.wrapping_mul(1_000_003) % self.world.calls;
        let body = format!(
            "{{\"custom_call_outcome\":\"Sold\",\"custom_call_outcome_value\":{}.25,\"custom_call_metadata\":{{\"currency\":\"USD\",\"rep\":\"rep-{}\"}}}}",
            100 + number % 900,
            number % 25
        );
        request.clear();
        request.extend_from_slice(
            format!(
                "PATCH /api/calls/{}/{} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
                 x-authorization: {}\r\ncontent-length: {}\r\n\r\n{body}",
                self.world.agent(call),
                self.world.call_id(call),
                Child::STORE_KEY,
                body.len(),
            )
            .as_bytes(),
        );
    }
}

/// The figures as a table.
pub(super) fn print(output: &Output, store: &Value) {
    let import = |name: &str| {
        let row = &store[name];
        format!(
            "{} rows/s, {} of plain SQLite's {}/s; {} µs of processor time a row",
            Output::cell(&row["per_s"]),
            Output::cell(&row["of_plain_sqlite"]),
            Output::cell(&row["plain_sqlite_per_s"]),
            Output::cell(&row["cpu_us_per_row"]),
        )
    };
    let updates = &store["updates"];
    let lines = [
        (
            "store",
            format!(
                "{} calls, {} log entries, {} MB",
                Output::cell(&store["calls"]),
                Output::cell(&store["log_entries"]),
                Output::cell(&store["disk_mb"])
            ),
        ),
        ("calls import", import("calls_import")),
        ("outcomes import", import("outcomes_import")),
        (
            "slowest question of analytics",
            format!("{} ms", Output::cell(&store["analytics"]["slowest_ms"])),
        ),
        (
            "performance page",
            match store["page_ms"].as_f64() {
                Some(ms) => format!("{ms:.0} ms"),
                None => "not served".to_owned(),
            },
        ),
        (
            "updates by API clients",
            format!(
                "{}/s over {} connections, p50 {} ms, p99 {} ms",
                Output::cell(&updates["per_s"]),
                Output::cell(&updates["connections"]),
                Output::cell(&updates["p50_ms"]),
                Output::cell(&updates["p99_ms"])
            ),
        ),
        (
            "most resident memory",
            format!(
                "{} MB, {} MB of it while loading",
                Output::cell(&store["resident_mb"]),
                Output::cell(&store["loading_resident_mb"])
            ),
        ),
    ];
    output.line("");
    for (name, value) in lines {
        output.line(&format!("{name:34} {value}"));
    }
    output.line("");
    let asked = store["analytics"]["by_question_ms"].as_object();
    let rows = asked
        .into_iter()
        .flatten()
        .map(|(name, ms)| vec![name.clone(), Output::cell(ms)]);
    output.table(&["question", "slowest of five, ms"], rows);
}
