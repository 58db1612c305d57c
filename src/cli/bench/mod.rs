//! `bench`: what this machine can do, and what the bridge makes of it, in one run.
//!
//! Every row uses the same load generator, the same bodies and the same machine. The bridge runs as a
//! process of its own, as `serve` runs it, with its default logging to a file; the generator and the
//! instant destination run here. `limit = 1 / (1/bare + 1/engine)` is what the machine could do if the
//! bridge added nothing to an HTTP server and a durable log.

mod backlog;
mod child;
mod destination;
mod isolation;
mod load;
mod report;
mod soak;
mod store;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::terminal::Output;
use crate::queue::local::baseline;
use crate::queue::local::bench::group_commit;
use crate::queue::local::bench_registry::{RegistryCost, registry_cost};

use child::{Child, Setting};
use destination::Destination;
use load::{Measured, Work};

/// Measure this machine and what the bridge makes of it.
#[derive(Debug, clap::Args)]
pub(super) struct Bench {
    /// Seconds for each row.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Connections, one row each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<usize>,
    /// Bytes of each event's body.
    #[arg(long, default_value_t = 1450)]
    body_bytes: usize,
    /// Where the benchmark's data goes; a directory on the disk that matters.
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
    /// Measure, besides, what an event that reads and writes the registries costs with a thousand records and
    /// with so many (1000000 calls and appointments take some minutes and gigabytes), and a tenth as many waiting
    /// events.
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1000..=4_000_000))]
    registries: Option<u64>,
    /// Measure, besides, what a backlog of so many deliveries costs (1000000 take some minutes and gigabytes).
    #[arg(long, value_name = "DELIVERIES", num_args = 0..=1, default_missing_value = "1000000", value_parser = clap::value_parser!(u64).range(10_000..=4_000_000))]
    backlog: Option<u64>,
    /// Measure, besides, the built-in store with so many calls (1000000 if no number is given, which takes many minutes and
    /// gigabytes) and three outcomes of each: imports, questions of analytics, updates by API clients.
    #[arg(long, value_name = "CALLS", num_args = 0..=1, default_missing_value = "1000000",
          value_parser = clap::value_parser!(u64).range(1000..=4_000_000))]
    store: Option<u64>,
    /// Measure, besides, what a healthy destination notices of one beside it that takes requests and never answers.
    #[arg(long)]
    isolation: bool,
    /// Measure, besides, what so many delivered events leave behind in memory and on disk (1000000 if no number is given,
    /// which takes some minutes and gigabytes), how long the bridge takes to come back after it was killed, and what
    /// retention gives back.
    #[arg(long, value_name = "EVENTS", num_args = 0..=1, default_missing_value = "1000000", value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    soak: Option<u64>,
    /// Serve a bare handler and nothing else. Used by the benchmark itself.
    #[arg(long, hide = true)]
    bare: bool,
}

impl Bench {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        if self.bare {
            return child::serve_bare().await;
        }
        if cfg!(debug_assertions) {
            output.note("this is a debug build: the figures say little. Use `cargo run --release -- bench`.");
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix("outcome-bridge-bench-");
        let home = match &self.dir {
            Some(dir) => builder.tempdir_in(dir),
            None => builder.tempdir(),
        }
        .map_err(Failure::of)?;
        let span = Duration::from_secs_f64(self.seconds.clamp(0.2, 600.0));
        let mut rows = Rows::default();

        output.note("raw disk and engine …");
        let raw = baseline::sync(home.path(), Duration::from_secs(1)).map_err(Failure::of)?;
        for &connections in &self.connections {
            let dir = home.path().join(format!("engine-{connections}"));
            let figures = baseline::engine(&dir, connections, self.body_bytes, span)
                .await
                .map_err(Failure::of)?;
            let figures = Measured::from(figures);
            let figures_per_s = figures.per_second();
            rows.push("engine", connections, figures);
            let dir = home.path().join(format!("queue-{connections}"));
            let events = (figures_per_s * span.as_secs_f64() / 2.0) as usize;
            let queue = group_commit(&dir, connections, events.max(100), self.body_bytes)
                .await
                .map_err(Failure::Failed)?;
            rows.push("queue", connections, Measured::from(queue));
        }

        output.note("bare handler …");
        let bare = Child::bare().await?;
        for &connections in &self.connections {
            let work = Work::new(bare.inlet, &bare.secret, self.body_bytes);
            rows.push(
                "bare",
                connections,
                load::run(&work, connections, span).await?,
            );
        }
        drop(bare);

        output.note("accepting …");
        let bridge = Child::bridge(home.path(), "accept", Setting::Bare).await?;
        let mut syncs = Value::Null;
        let mut accepted = 0;
        for &connections in &self.connections {
            let before = bridge.stats().await?;
            let work = Work::new(bridge.inlet, &bridge.secret, self.body_bytes);
            let measured = load::run(&work, connections, span).await?;
            accepted += measured.count;
            rows.push("accepted", connections, measured);
            let after = bridge.stats().await?;
            syncs = ratio(&before, &after);
            bridge.drained(Duration::from_secs(120)).await?;
        }
        let accept = json!({
            "resident_mb": bridge.peak_resident_mb()?,
            "cpu_us_per_event": per_event(bridge.cpu_seconds()?, accepted),
        });
        bridge.stop().await?;

        output.note("delivering …");
        let delivered = self.deliver(home.path(), span).await?;

        let mut document = report::document(&rows, &raw, &delivered, &syncs, &accept);
        if let Some(records) = self.registries {
            output.note("registries …");
            document["registries"] = registries(home.path(), records).await?;
        }
        if let Some(items) = self.backlog {
            output.note("backlog …");
            document["backlog"] = backlog::backlog(home.path(), items).await?;
        }
        if let Some(calls) = self.store {
            document["store"] = store::measure(home.path(), calls, span, output).await?;
        }
        if self.isolation {
            output.note("isolation …");
            document["isolation"] = isolation::measure(home.path(), self.body_bytes).await?;
        }
        if let Some(events) = self.soak {
            output.note("soak …");
            document["soak"] = soak::measure(home.path(), events, self.body_bytes).await?;
        }
        if output.is_json() {
            output.json(&document);
        } else {
            report::print(output, &document, &self.connections);
        }
        Ok(Exit::Done)
    }

    /// End to end into an instant destination: throughput, then latency when idle.
    async fn deliver(&self, home: &std::path::Path, span: Duration) -> Result<Value, Failure> {
        let destination = Destination::start().await.map_err(Failure::of)?;
        let bridge =
            Child::bridge(home, "deliver", Setting::Destination(destination.address)).await?;
        let work = Work::new(bridge.inlet, &bridge.secret, self.body_bytes);
        let idle = destination.idle_latency(&work, 30).await?;

        destination.reset();
        let begun = Instant::now();
        let connections = self.connections.iter().copied().max().unwrap_or(1);
        let before = bridge.cpu_seconds()?;
        let sent = load::run(&work, connections, span).await?;
        let loaded = destination
            .wait_for(sent.count, Duration::from_secs(300))
            .await?;
        let took = begun.elapsed();
        let cpu = bridge.cpu_seconds()? - before;
        let memory = bridge.peak_resident_mb()?;
        bridge.stop().await?;
        Ok(json!({
            "per_s": (sent.count as f64 / took.as_secs_f64()).round(),
            "accepted_per_s": sent.per_second().round(),
            "idle_ms": idle,
            "loaded_p99_ms": loaded,
            "resident_mb": memory,
            "cpu_us_per_event": per_event(cpu, sent.count),
        }))
    }
}

/// What events cost that read and write the registries: with few records, and with many.
async fn registries(home: &std::path::Path, records: u64) -> Result<Value, Failure> {
    // Enough for the index to be written several times meanwhile, as it always is.
    const EVENTS: usize = 40_000;
    let measure = async |name: &str, records: u64| {
        let dir = home.join(name);
        let many = usize::try_from(records).unwrap_or(usize::MAX);
        let cost = registry_cost(&dir, many, many / 10, EVENTS)
            .await
            .map_err(Failure::Failed)?;
        std::fs::remove_dir_all(&dir).map_err(Failure::of)?;
        Ok::<_, Failure>(cost)
    };
    let few = measure("registries-few", 1000).await?;
    let many = measure("registries-many", records).await?;
    let shown = |cost: &RegistryCost| {
        json!({
            "records": cost.records,
            "waiting": cost.waiting,
            "event_us": (cost.per_event.as_secs_f64() * 1e6).round(),
            "wake_ms": (cost.wake.as_secs_f64() * 1e5).round() / 1e2,
            "disk_mb": cost.disk_bytes >> 20,
        })
    };
    Ok(json!({
        "few": shown(&few),
        "many": shown(&many),
        "event_cost_ratio": many.per_event.as_secs_f64() / few.per_event.as_secs_f64(),
        "wake_cost_ratio": many.wake.as_secs_f64() / few.wake.as_secs_f64(),
    }))
}

/// Figures by row and number of connections.
#[derive(Default)]
pub(super) struct Rows(Vec<(&'static str, usize, Measured)>);

impl Rows {
    fn push(&mut self, row: &'static str, connections: usize, measured: Measured) {
        self.0.push((row, connections, measured));
    }

    fn get(&self, row: &str, connections: usize) -> Option<&Measured> {
        self.0
            .iter()
            .find(|(name, c, _)| *name == row && *c == connections)
            .map(|(.., m)| m)
    }

    fn connections(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.0.iter().map(|(_, c, _)| *c).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Microseconds of processor time per event.
fn per_event(cpu_seconds: f64, events: u64) -> f64 {
    (cpu_seconds * 1e6 / events.max(1) as f64).round()
}

/// Syncs of the journal per committed request, between two looks.
fn ratio(before: &Value, after: &Value) -> Value {
    let grown = |key: &str| {
        let of = |stats: &Value| stats["queue"][key].as_f64().unwrap_or(0.0);
        of(after) - of(before)
    };
    let events = grown("events");
    if events > 0.0 {
        json!(grown("syncs") / events)
    } else {
        Value::Null
    }
}
