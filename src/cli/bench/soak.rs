//! What a long run leaves behind: memory and disk after many events, how long a bridge that was killed takes to come
//! back, and what is given back once events are past their retention.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::exit::Failure;
use super::super::terminal::Output;
use super::child::{Child, Setting};
use super::destination::Destination;
use super::load::{self, Work};
use crate::clock::Clock;
use crate::queue::Queue;
use crate::queue::local::{LocalOptions, LocalQueue};

const CONNECTIONS: usize = 64;
/// Load between two looks at memory and disk.
const SPAN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(300);

/// Sends at least `events` events of `body_bytes` each, all of them delivered; kills the bridge under load; starts it
/// again; and lets everything go at last.
pub(super) async fn measure(home: &Path, events: u64, body_bytes: usize) -> Result<Value, Failure> {
    const NAME: &str = "soak";
    let destination = Destination::start().await.map_err(Failure::of)?;
    let setting = Setting::Destination(destination.address);
    let bridge = Child::bridge(home, NAME, setting).await?;
    let work = Work::new(bridge.inlet, &bridge.secret, body_bytes);
    let (mut sent, mut early_mb) = (0, None);
    while sent < events {
        sent += load::run(&work, CONNECTIONS, SPAN).await?.count;
        bridge.drained(PATIENCE).await?;
        if early_mb.is_none() {
            early_mb = Some(bridge.resident_mb()?);
        }
    }
    let resident_mb = bridge.resident_mb()?;
    let disk_bytes = count(&bridge.stats().await?, "disk_bytes");

    tokio::select! {
        // It ends with the bridge.
        loaded = load::run(&work, CONNECTIONS, PATIENCE) => drop(loaded),
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    bridge.kill().await?;
    let begun = Instant::now();
    let bridge = Child::bridge(home, NAME, setting).await?;
    let recovery = begun.elapsed();
    bridge.drained(PATIENCE).await?;
    bridge.stop().await?;

    let pruned = prune(&home.join(NAME).join("data")).await?;
    let seconds = |time: Duration| (time.as_secs_f64() * 1e3).round() / 1e3;
    Ok(json!({
        "events": sent,
        "early_resident_mb": early_mb,
        "resident_mb": resident_mb,
        "disk_mb": disk_bytes >> 20,
        "disk_bytes_per_event": disk_bytes / sent.max(1),
        "recovery_s": seconds(recovery),
        "pruned_events": pruned.events,
        "pruned_s": seconds(pruned.took),
        "start_after_s": seconds(pruned.start),
        "pruned_disk_mb": pruned.disk_bytes >> 20,
    }))
}

fn count(stats: &Value, key: &str) -> u64 {
    stats["queue"][key].as_u64().unwrap_or_default()
}

struct Pruned {
    events: u64,
    took: Duration,
    /// How long the next start took.
    start: Duration,
    disk_bytes: u64,
}

async fn open(data: &Path) -> Result<LocalQueue, Failure> {
    let options = LocalOptions::new(data);
    let opened = tokio::task::spawn_blocking(|| LocalQueue::open(options)).await;
    let (queue, _) = opened.map_err(Failure::of)?.map_err(Failure::of)?;
    Ok(queue)
}

/// What retention does, without waiting for a day to pass, and the start after it, which gives the index's space back.
async fn prune(data: &Path) -> Result<Pruned, Failure> {
    let queue = open(data).await?;
    let begun = Instant::now();
    let events = queue
        .prune(Clock::system().now())
        .await
        .map_err(Failure::of)?;
    let took = begun.elapsed();
    queue.close().await.map_err(Failure::of)?;
    drop(queue);
    let begun = Instant::now();
    let queue = open(data).await?;
    let start = begun.elapsed();
    queue.close().await.map_err(Failure::of)?;
    Ok(Pruned {
        start,
        events,
        took,
        disk_bytes: directory_bytes(data).map_err(Failure::of)?,
    })
}

/// Bytes that a directory takes up on the disk.
fn directory_bytes(dir: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.metadata()? {
            inner if inner.is_dir() => directory_bytes(&entry.path())?,
            file => file.blocks() * 512,
        };
    }
    Ok(bytes)
}

/// The figures in words.
pub(super) fn print(output: &Output, soak: &Value) {
    let of = |key: &str| Output::cell(&soak[key]);
    let lines = [
        (
            "a long run",
            format!(
                "{} events, {} MB resident after the first, {} MB at the end",
                of("events"),
                of("early_resident_mb"),
                of("resident_mb")
            ),
        ),
        (
            "its disk",
            format!(
                "{} MB, {} bytes an event",
                of("disk_mb"),
                of("disk_bytes_per_event")
            ),
        ),
        (
            "killed under load, ready again",
            format!("in {} s", of("recovery_s")),
        ),
        (
            "past retention",
            format!(
                "{} events gone in {} s; after the next start, which took {} s, {} MB left on the disk",
                of("pruned_events"),
                of("pruned_s"),
                of("start_after_s"),
                of("pruned_disk_mb")
            ),
        ),
    ];
    output.line("");
    for (name, value) in lines {
        output.line(&format!("{name:34} {value}"));
    }
}
