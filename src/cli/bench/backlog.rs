//! What a backlog costs: memory, disk, time until the first delivery, and each event.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::exit::Failure;
use super::child::{Child, Setting};
use super::destination::Destination;
use crate::model::DestinationName;
use crate::queue::local::bench_backlog::{TIMED, backlog_cost};

/// Deliveries whose rate is measured.
const DRAINED: u64 = 20_000;

/// Measures a queue with some ten thousand open deliveries and one with `items`, then starts the bridge on the latter.
pub(super) async fn backlog(home: &Path, items: u64) -> Result<Value, Failure> {
    let name = DestinationName::new(Child::DESTINATION).map_err(Failure::of)?;
    let few = home.join("backlog-few");
    let empty = backlog_cost(&few, 0, TIMED, &name)
        .await
        .map_err(Failure::Failed)?;
    std::fs::remove_dir_all(&few).map_err(Failure::of)?;
    let full = backlog_cost(&home.join("backlog/data"), items, TIMED, &name)
        .await
        .map_err(Failure::Failed)?;

    let destination = Destination::start().await.map_err(Failure::of)?;
    let begun = Instant::now();
    let (bridge, first) = tokio::join!(
        Child::bridge(home, "backlog", Setting::Destination(destination.address)),
        async {
            let arrived = destination.wait_for(1, Duration::from_secs(120)).await;
            arrived.map(|_delay| begun.elapsed())
        },
    );
    let (bridge, first) = (bridge?, first?);
    let begun = Instant::now();
    let drained = DRAINED.min(full.items);
    destination
        .wait_for(drained, Duration::from_secs(300))
        .await?;
    let per_s = drained as f64 / begun.elapsed().as_secs_f64();
    let resident = bridge.peak_resident_mb()?;
    bridge.stop().await?;
    let ratio = |many: Duration, few: Duration| many.as_secs_f64() / few.as_secs_f64();
    let micros = |time: Duration| (time.as_secs_f64() * 1e7).round() / 10.0;
    Ok(json!({
        "items": full.items,
        "resident_mb": resident,
        "disk_mb": full.disk_bytes >> 20,
        "first_delivery_s": (first.as_secs_f64() * 1e3).round() / 1e3,
        "drained_per_s": per_s.round(),
        "enqueue_us": micros(full.enqueue),
        "claim_us": micros(full.claim),
        "enqueue_cost_ratio": ratio(full.enqueue, empty.enqueue),
        "claim_cost_ratio": ratio(full.claim, empty.claim),
        "compared_with": {
            "items": empty.items,
            "enqueue_us": micros(empty.enqueue),
            "claim_us": micros(empty.claim),
        },
    }))
}
