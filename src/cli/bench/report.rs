//! The benchmark's figures as one JSON object and as a table.

use serde_json::{Map, Value, json};

use super::super::terminal::Output;
use super::Rows;
use crate::queue::local::baseline::Figures;

fn limit(bare: f64, engine: f64) -> f64 {
    1.0 / (1.0 / bare + 1.0 / engine)
}

/// One object that scripts can rely on.
pub(super) fn document(
    rows: &Rows,
    raw: &Figures,
    delivered: &Value,
    syncs: &Value,
    accept: &Value,
) -> Value {
    let mut document = json!({
        "bare": {}, "engine": {}, "queue": {}, "accepted": {}, "limit": {},
        "raw_sync": { "p50_ms": raw.p50.as_secs_f64() * 1e3, "p99_ms": raw.p99.as_secs_f64() * 1e3 },
        "syncs_per_event": syncs,
        "delivered": { "per_s": delivered["per_s"], "accepted_per_s": delivered["accepted_per_s"] },
        "accept_to_delivered": {
            "idle_ms": delivered["idle_ms"],
            "loaded_p99_ms": delivered["loaded_p99_ms"],
        },
        "resident_mb": accept["resident_mb"].as_f64().unwrap_or(0.0).max(delivered["resident_mb"].as_f64().unwrap_or(0.0)),
        "cpu_us_per_event": {
            "accepted": accept["cpu_us_per_event"],
            "delivered": delivered["cpu_us_per_event"],
        },
        "machine": machine(),
    });
    for connections in rows.connections() {
        let key = format!("c{connections}");
        for row in ["bare", "engine", "queue", "accepted"] {
            if let Some(measured) = rows.get(row, connections) {
                document[row][&key] = json!({
                    "per_s": measured.per_second().round(),
                    "p50_ms": round(measured.p50_ms),
                    "p99_ms": round(measured.p99_ms),
                });
            }
        }
        if let (Some(bare), Some(engine)) = (
            rows.get("bare", connections),
            rows.get("engine", connections),
        ) {
            let limit = limit(bare.per_second(), engine.per_second());
            document["limit"][&key] = json!({ "per_s": limit.round() });
            document["commit"] = json!({ "p99_ms": round(engine.p99_ms) });
        }
    }
    document
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map(|l| l.trim_start_matches([' ', '\t', ':']).to_owned());
    let mut machine = Map::new();
    machine.insert(
        "cores".to_owned(),
        json!(std::thread::available_parallelism().map_or(0, usize::from)),
    );
    machine.insert("cpu".to_owned(), json!(model));
    machine.insert(
        "kernel".to_owned(),
        json!(read("/proc/sys/kernel/osrelease").trim()),
    );
    machine.insert(
        "build".to_owned(),
        json!(if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }),
    );
    machine.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    Value::Object(machine)
}

/// The figures as tables with their ratios.
pub(super) fn print(output: &Output, document: &Value, connections: &[usize]) {
    let number = |value: &Value| {
        value
            .as_f64()
            .map_or_else(|| "-".to_owned(), |n| format!("{n:.0}"))
    };
    let millis = |value: &Value| {
        value
            .as_f64()
            .map_or_else(|| "-".to_owned(), |n| format!("{n:.2}"))
    };
    let rows = connections.iter().map(|c| {
        let key = format!("c{c}");
        let of = |row: &str| document[row][&key]["per_s"].as_f64().unwrap_or(0.0);
        vec![
            c.to_string(),
            number(&document["bare"][&key]["per_s"]),
            number(&document["engine"][&key]["per_s"]),
            number(&document["queue"][&key]["per_s"]),
            number(&document["limit"][&key]["per_s"]),
            number(&document["accepted"][&key]["per_s"]),
            format!("{:.2}", of("accepted") / of("limit")),
            millis(&document["accepted"][&key]["p50_ms"]),
            millis(&document["accepted"][&key]["p99_ms"]),
        ]
    });
    output.figures(
        &[
            "connections",
            "bare/s",
            "engine/s",
            "queue/s",
            "limit/s",
            "accepted/s",
            "of limit",
            "ack p50 ms",
            "ack p99 ms",
        ],
        rows,
    );
    let accepted = document["delivered"]["accepted_per_s"]
        .as_f64()
        .unwrap_or(0.0);
    let delivered = document["delivered"]["per_s"].as_f64().unwrap_or(0.0);
    let last = connections
        .iter()
        .max()
        .map(|c| format!("c{c}"))
        .unwrap_or_default();
    let limit = document["limit"][&last]["per_s"]
        .as_f64()
        .unwrap_or(f64::NAN);
    let lines = [
        (
            "delivered/s, end to end",
            format!(
                "{delivered:.0} ({:.2} of the limit) while accepting {accepted:.0}/s",
                delivered / limit
            ),
        ),
        (
            "accept to delivered, idle",
            format!("{} ms", millis(&document["accept_to_delivered"]["idle_ms"])),
        ),
        (
            "accept to delivered, loaded p99",
            format!(
                "{} ms",
                millis(&document["accept_to_delivered"]["loaded_p99_ms"])
            ),
        ),
        (
            "syncs per event",
            document["syncs_per_event"]
                .as_f64()
                .map_or_else(|| "-".to_owned(), |n| format!("{n:.4}")),
        ),
        (
            "one sync of this disk",
            format!(
                "p50 {} ms, p99 {} ms",
                millis(&document["raw_sync"]["p50_ms"]),
                millis(&document["raw_sync"]["p99_ms"])
            ),
        ),
        (
            "processor time per event",
            format!(
                "{} µs accepted and processed, {} µs delivered, too",
                number(&document["cpu_us_per_event"]["accepted"]),
                number(&document["cpu_us_per_event"]["delivered"])
            ),
        ),
        (
            "most resident memory",
            format!("{} MB", number(&document["resident_mb"])),
        ),
    ];
    for (name, value) in lines {
        output.line(&format!("{name:34} {value}"));
    }
    let backlog = &document["backlog"];
    if !backlog.is_null() {
        output.line("");
        let row = [
            "items",
            "resident_mb",
            "disk_mb",
            "first_delivery_s",
            "drained_per_s",
            "enqueue_us",
            "enqueue_cost_ratio",
            "claim_us",
            "claim_cost_ratio",
        ];
        let shown = row.map(|key| match key {
            "items" | "resident_mb" | "disk_mb" | "drained_per_s" => number(&backlog[key]),
            _ => millis(&backlog[key]),
        });
        output.figures(
            &[
                "backlog",
                "resident MB",
                "disk MB",
                "first delivery s",
                "drained/s",
                "enqueue µs",
                "against few",
                "claim µs",
                "against few",
            ],
            [shown.to_vec()],
        );
    }
    let registries = &document["registries"];
    if !registries.is_null() {
        output.line("");
        let rows = ["few", "many"].map(|name| {
            let row = &registries[name];
            ["records", "waiting", "event_us", "wake_ms", "disk_mb"]
                .map(|key| Output::cell(&row[key]))
                .to_vec()
        });
        output.figures(
            &["records", "waiting", "us an event", "ms to wake", "disk MB"],
            rows,
        );
    }
    if !document["store"].is_null() {
        super::store::print(output, &document["store"]);
    }
    if !document["isolation"].is_null() {
        super::isolation::print(output, &document["isolation"]);
    }
    if !document["soak"].is_null() {
        super::soak::print(output, &document["soak"]);
    }
}
