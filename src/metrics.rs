//! The names, labels and meanings of all metrics, and how they are emitted.
//!
//! Names follow Prometheus practice: one prefix, base units, `_total` on counters. Labels are names
//! from the configuration and closed lists of words, never ids, phones or URLs. Handles are made
//! once per source or destination, since looking a metric up by its labels costs more than counting.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::model::{DestinationName, Disposition, SourceName, VerdictKind};
use crate::queue::QueueStats;
use crate::queue::local::OpenReport;

/// Requests at `/webhooks/{source}` by what became of them.
pub const EVENTS_RECEIVED: &str = "outcome_bridge_events_received_total";
/// Requests refused because they do not verify, by the reason's code.
pub const VERIFICATION_FAILURES: &str = "outcome_bridge_events_verification_failures_total";
/// From the first byte of a request to its answer.
pub const RECEIVE_DURATION: &str = "outcome_bridge_receive_duration_seconds";
/// Bytes of accepted bodies.
pub const BODY_BYTES: &str = "outcome_bridge_event_body_bytes";
/// Processed events by disposition.
pub const EVENTS_PROCESSED: &str = "outcome_bridge_events_processed_total";
/// Running the rules over one event and storing what they made of it.
pub const PROCESSING_DURATION: &str = "outcome_bridge_processing_duration_seconds";
/// Unix time at which a source's last accepted event was received.
pub const LAST_EVENT: &str = "outcome_bridge_source_last_event_timestamp_seconds";
/// Requests that shared one write of the journal.
pub const COMMIT_SIZE: &str = "outcome_bridge_queue_commit_size";
/// Syncs of the journal.
pub const SYNC_DURATION: &str = "outcome_bridge_queue_sync_duration_seconds";
/// Events stored.
pub const QUEUE_EVENTS: &str = "outcome_bridge_queue_events";
/// Events that wait to be processed.
pub const QUEUE_UNPROCESSED: &str = "outcome_bridge_queue_unprocessed_events";
/// Deliveries by destination and state (`open`, `dead_letter`).
pub const DELIVERIES: &str = "outcome_bridge_deliveries";
/// How long the oldest due delivery of a destination has been due.
pub const OLDEST_DUE: &str = "outcome_bridge_delivery_oldest_due_seconds";
/// Bytes of the queue on disk.
pub const STORE_BYTES: &str = "outcome_bridge_store_bytes";
/// Bytes free on the disk of the data directory.
pub const DISK_FREE: &str = "outcome_bridge_disk_free_bytes";
/// 1 while events can be stored, 0 while the disk is full or storage has failed.
pub const STORAGE_READY: &str = "outcome_bridge_storage_ready";
/// 1 while the built-in outcome store can be written.
pub const OUTCOME_STORE_READY: &str = "outcome_bridge_outcome_store_ready";
/// Bytes of the journal that were found damaged when the queue was opened.
pub const DAMAGED_BYTES: &str = "outcome_bridge_journal_damaged_bytes";
/// 1 when the index did not work when the queue was opened and was built anew.
pub const INDEX_REBUILT: &str = "outcome_bridge_index_rebuilt";
/// Attempts by destination and verdict.
pub const ATTEMPTS: &str = "outcome_bridge_delivery_attempts_total";
/// From sending a request to the end of its answer.
pub const ATTEMPT_DURATION: &str = "outcome_bridge_delivery_attempt_duration_seconds";
/// From the creation of a delivery to its receipt.
pub const DELIVERY_LATENCY: &str = "outcome_bridge_delivery_latency_seconds";
/// Deliveries given up.
pub const DEAD_LETTERS: &str = "outcome_bridge_dead_letters_total";
/// 1 for the state that a destination's circuit breaker is in, 0 for the others.
pub const BREAKER_STATE: &str = "outcome_bridge_circuit_breaker_state";
/// 1 while a destination is held because it refuses our credentials.
pub const DESTINATION_HELD: &str = "outcome_bridge_destination_held";
/// Questions to vendors' APIs by source and result.
pub const LOOKUPS: &str = "outcome_bridge_lookups_total";
/// From sending a question to the end of its answer.
pub const LOOKUP_DURATION: &str = "outcome_bridge_lookup_duration_seconds";
/// 1 while a source's look-ups are held because its credentials are refused.
pub const LOOKUPS_HELD: &str = "outcome_bridge_lookups_held";
/// 1 when the last reading of mapping files succeeded.
pub const CONFIG_RELOAD: &str = "outcome_bridge_config_last_reload_successful";

/// Buckets of all histograms of seconds, for the exporter.
pub const SECONDS_BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 300.0,
];
/// Buckets of [`COMMIT_SIZE`].
pub const COMMIT_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Buckets of [`BODY_BYTES`].
pub const BYTES_BUCKETS: [f64; 8] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    16_777_216.0,
];

/// Tells the recorder what every metric means. Call it once, after the recorder is installed.
pub fn describe() {
    describe_counter!(
        EVENTS_RECEIVED,
        "Webhook requests, by source and what became of them"
    );
    describe_counter!(
        VERIFICATION_FAILURES,
        "Requests that do not verify, by source and reason"
    );
    describe_histogram!(
        RECEIVE_DURATION,
        Unit::Seconds,
        "From request to answer, by source"
    );
    describe_histogram!(
        BODY_BYTES,
        Unit::Bytes,
        "Bodies of accepted events, by source"
    );
    describe_counter!(
        EVENTS_PROCESSED,
        "Processed events, by source and disposition"
    );
    describe_histogram!(
        PROCESSING_DURATION,
        Unit::Seconds,
        "Running the rules over one event"
    );
    describe_gauge!(
        LAST_EVENT,
        Unit::Seconds,
        "Unix time of a source's last accepted event"
    );
    describe_histogram!(COMMIT_SIZE, "Requests that shared one write of the journal");
    describe_histogram!(SYNC_DURATION, Unit::Seconds, "Syncs of the journal");
    describe_gauge!(QUEUE_EVENTS, "Events stored");
    describe_gauge!(QUEUE_UNPROCESSED, "Events that wait to be processed");
    describe_gauge!(DELIVERIES, "Deliveries, by destination and state");
    describe_gauge!(
        OLDEST_DUE,
        Unit::Seconds,
        "How long the oldest due delivery has been due"
    );
    describe_gauge!(STORE_BYTES, Unit::Bytes, "Bytes of the queue on disk");
    describe_gauge!(
        DISK_FREE,
        Unit::Bytes,
        "Bytes free on the data directory's disk"
    );
    describe_gauge!(STORAGE_READY, "1 while events can be stored");
    describe_gauge!(
        OUTCOME_STORE_READY,
        "1 while the outcome store can be written"
    );
    describe_gauge!(
        DAMAGED_BYTES,
        Unit::Bytes,
        "Bytes of the journal found damaged at start"
    );
    describe_gauge!(INDEX_REBUILT, "1 when the index was built anew at start");
    describe_counter!(ATTEMPTS, "Attempts, by destination and verdict");
    describe_histogram!(
        ATTEMPT_DURATION,
        Unit::Seconds,
        "From sending to the end of the answer"
    );
    describe_histogram!(
        DELIVERY_LATENCY,
        Unit::Seconds,
        "From a delivery's creation to its receipt"
    );
    describe_counter!(DEAD_LETTERS, "Deliveries given up, by destination");
    describe_gauge!(
        BREAKER_STATE,
        "1 for the state a destination's circuit breaker is in"
    );
    describe_counter!(LOOKUPS, "Questions to vendors' APIs, by source and result");
    describe_histogram!(
        LOOKUP_DURATION,
        Unit::Seconds,
        "From sending a question to the end of its answer"
    );
    describe_gauge!(
        LOOKUPS_HELD,
        "1 while a source's credentials for look-ups are refused"
    );
    describe_gauge!(
        CONFIG_RELOAD,
        "1 when the last reading of mapping files succeeded"
    );
    describe_gauge!(
        DESTINATION_HELD,
        "1 while a destination refuses our credentials"
    );
}

/// What became of a request at `/webhooks/{source}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveResult {
    /// Stored.
    Accepted,
    /// Stored before.
    Duplicate,
    /// A handshake, answered.
    Handshake,
    /// The sender's fault: it does not verify, is too large, or cannot be read.
    Refused,
    /// Ours: too much is queued, or storage failed. The sender comes back.
    Busy,
}

impl ReceiveResult {
    const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Handshake,
        Self::Refused,
        Self::Busy,
    ];

    /// The word used as the label `result` and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Handshake => "handshake",
            Self::Refused => "refused",
            Self::Busy => "busy",
        }
    }
}

/// The metrics of one source.
#[derive(Debug, Clone)]
pub struct SourceMetrics {
    source: String,
    received: [Counter; ReceiveResult::ALL.len()],
    receive_duration: Histogram,
    body_bytes: Histogram,
    last_event: Gauge,
    processed: [Counter; Disposition::ALL.len()],
    processing_duration: Histogram,
}

impl SourceMetrics {
    /// Makes the handles of one source.
    pub fn new(source: &SourceName) -> Self {
        let source = source.to_string();
        Self {
            received: ReceiveResult::ALL.map(|result| {
                counter!(EVENTS_RECEIVED, "source" => source.clone(), "result" => result.as_str())
            }),
            receive_duration: histogram!(RECEIVE_DURATION, "source" => source.clone()),
            body_bytes: histogram!(BODY_BYTES, "source" => source.clone()),
            last_event: gauge!(LAST_EVENT, "source" => source.clone()),
            processed: Disposition::ALL.map(|disposition| {
                counter!(
                    EVENTS_PROCESSED,
                    "source" => source.clone(), "disposition" => disposition.as_str()
                )
            }),
            processing_duration: histogram!(PROCESSING_DURATION, "source" => source.clone()),
            source,
        }
    }

    /// A request was answered.
    pub fn received(&self, result: ReceiveResult, took: Duration) {
        self.received[result as usize].increment(1);
        self.receive_duration.record(took.as_secs_f64());
    }

    /// A request was stored as a new event.
    pub fn accepted(&self, body_bytes: usize, now: jiff::Timestamp) {
        self.body_bytes.record(body_bytes as f64);
        self.last_event.set(now.as_millisecond() as f64 / 1000.0);
    }

    /// A request does not verify. `reason` is one of a closed list of codes.
    pub fn verification_failed(&self, reason: &'static str) {
        counter!(VERIFICATION_FAILURES, "source" => self.source.clone(), "reason" => reason)
            .increment(1);
    }

    /// An event was processed.
    pub fn processed(&self, disposition: Disposition, took: Duration) {
        self.processed[disposition as usize].increment(1);
        self.processing_duration.record(took.as_secs_f64());
    }
}

/// How a question to a vendor's API ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupResult {
    /// It was answered.
    Answered,
    /// The vendor has no such thing.
    None,
    /// The credentials are refused.
    Refused,
    /// It failed and is asked again.
    Failed,
}

impl LookupResult {
    const ALL: [Self; 4] = [Self::Answered, Self::None, Self::Refused, Self::Failed];

    /// The word used as the label `result` and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::None => "none",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The metrics of one source's look-ups.
#[derive(Debug, Clone)]
pub struct LookupMetrics {
    made: [Counter; LookupResult::ALL.len()],
    duration: Histogram,
    held: Gauge,
}

impl LookupMetrics {
    /// Makes the handles of one source, not held.
    pub fn new(source: &SourceName) -> Self {
        let source = source.to_string();
        let metrics = Self {
            made: LookupResult::ALL.map(
                |result| counter!(LOOKUPS, "source" => source.clone(), "result" => result.as_str()),
            ),
            duration: histogram!(LOOKUP_DURATION, "source" => source.clone()),
            held: gauge!(LOOKUPS_HELD, "source" => source),
        };
        metrics.held(false);
        metrics
    }

    /// A question ended.
    pub fn made(&self, result: LookupResult, took: Duration) {
        self.made[result as usize].increment(1);
        self.duration.record(took.as_secs_f64());
    }

    /// The look-ups are held, or made again.
    pub fn held(&self, held: bool) {
        self.held.set(if held { 1.0 } else { 0.0 });
    }
}

/// How an attempt ended, for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// It was judged.
    Verdict(VerdictKind),
    /// No request could be made of the delivery.
    Unrenderable,
    /// It was given up because the process stops.
    Abandoned,
}

impl AttemptResult {
    const ALL: [Self; 6] = [
        Self::Verdict(VerdictKind::Delivered),
        Self::Verdict(VerdictKind::Retry),
        Self::Verdict(VerdictKind::Refused),
        Self::Verdict(VerdictKind::Hold),
        Self::Unrenderable,
        Self::Abandoned,
    ];

    /// The word used as the label `verdict` and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verdict(kind) => kind.as_str(),
            Self::Unrenderable => "unrenderable",
            Self::Abandoned => "abandoned",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Verdict(VerdictKind::Delivered) => 0,
            Self::Verdict(VerdictKind::Retry) => 1,
            Self::Verdict(VerdictKind::Refused) => 2,
            Self::Verdict(VerdictKind::Hold) => 3,
            Self::Unrenderable => 4,
            Self::Abandoned => 5,
        }
    }
}

const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];

/// The metrics of one destination.
#[derive(Debug, Clone)]
pub struct DestinationMetrics {
    attempts: [Counter; AttemptResult::ALL.len()],
    attempt_duration: Histogram,
    latency: Histogram,
    dead_letters: Counter,
    breaker: [Gauge; BREAKER_STATES.len()],
    held: Gauge,
}

impl DestinationMetrics {
    /// Makes the handles of one destination, with its breaker closed.
    pub fn new(destination: &DestinationName) -> Self {
        let name = destination.to_string();
        let metrics = Self {
            attempts: AttemptResult::ALL.map(|result| {
                counter!(ATTEMPTS, "destination" => name.clone(), "verdict" => result.as_str())
            }),
            attempt_duration: histogram!(ATTEMPT_DURATION, "destination" => name.clone()),
            latency: histogram!(DELIVERY_LATENCY, "destination" => name.clone()),
            dead_letters: counter!(DEAD_LETTERS, "destination" => name.clone()),
            breaker: BREAKER_STATES
                .map(|state| gauge!(BREAKER_STATE, "destination" => name.clone(), "state" => state)),
            held: gauge!(DESTINATION_HELD, "destination" => name),
        };
        metrics.gate("closed", false);
        metrics
    }

    /// An attempt ended.
    pub fn attempt(&self, result: AttemptResult, took: Duration) {
        self.attempts[result.index()].increment(1);
        self.attempt_duration.record(took.as_secs_f64());
    }

    /// A delivery reached its destination so many seconds after its creation.
    pub fn delivered(&self, latency_seconds: f64) {
        self.latency.record(latency_seconds);
    }

    /// A delivery was given up.
    pub fn dead_letter(&self) {
        self.dead_letters.increment(1);
    }

    /// The state of the breaker (`closed`, `open`, `half_open`) and of the hold.
    pub fn gate(&self, breaker: &str, held: bool) {
        for (state, gauge) in BREAKER_STATES.iter().zip(&self.breaker) {
            gauge.set(if *state == breaker { 1.0 } else { 0.0 });
        }
        self.held.set(if held { 1.0 } else { 0.0 });
    }
}

/// Sets the gauges of the queue. Called when metrics are scraped.
pub fn queue(stats: &QueueStats, now: jiff::Timestamp) {
    gauge!(QUEUE_EVENTS).set(stats.events as f64);
    gauge!(QUEUE_UNPROCESSED).set(stats.unprocessed as f64);
    gauge!(STORE_BYTES).set(stats.disk_bytes as f64);
    if let Some(free) = stats.free_bytes {
        gauge!(DISK_FREE).set(free as f64);
    }
    let ready = stats.failure.is_none() && stats.refusing.is_none();
    gauge!(STORAGE_READY).set(if ready { 1.0 } else { 0.0 });
    for (destination, depth) in &stats.destinations {
        let deliveries = |state: &'static str| gauge!(DELIVERIES, "destination" => destination.clone(), "state" => state);
        deliveries("open").set(depth.open as f64);
        deliveries("dead_letter").set(depth.dead_letters as f64);
        let waited = depth
            .oldest_due_at
            .map_or(0.0, |due| now.duration_since(due).as_secs_f64());
        gauge!(OLDEST_DUE, "destination" => destination.clone()).set(waited.max(0.0));
    }
}

/// Whether the built-in outcome store can be written.
pub fn outcome_store(ready: bool) {
    gauge!(OUTCOME_STORE_READY).set(if ready { 1.0 } else { 0.0 });
}

/// What opening the queue found. Stays until the next start.
pub fn opened(report: &OpenReport) {
    gauge!(DAMAGED_BYTES).set(report.damaged_bytes as f64);
    gauge!(INDEX_REBUILT).set(if report.rebuilt { 1.0 } else { 0.0 });
}

/// One write of the journal: how many requests shared it and how long its sync took.
pub fn commit(requests: usize, sync: Duration) {
    histogram!(COMMIT_SIZE).record(requests as f64);
    histogram!(SYNC_DURATION).record(sync.as_secs_f64());
}

/// A request for a source that does not exist. Its name comes from outside and is no label.
pub fn unknown_source() {
    counter!(EVENTS_RECEIVED, "source" => "unknown", "result" => "unknown_source").increment(1);
}

/// A mapping file was read again.
pub fn config_reloaded(successful: bool) {
    gauge!(CONFIG_RELOAD).set(if successful { 1.0 } else { 0.0 });
}

/// All metrics as text.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

impl Exposition {
    /// The metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

/// Gives every histogram its buckets: memory is bounded whatever is recorded.
fn buckets(builder: PrometheusBuilder) -> PrometheusBuilder {
    let wanted: [(Matcher, &[f64]); 3] = [
        (Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS),
        (Matcher::Full(COMMIT_SIZE.to_owned()), &COMMIT_BUCKETS),
        (Matcher::Full(BODY_BYTES.to_owned()), &BYTES_BUCKETS),
    ];
    wanted
        .into_iter()
        .fold(builder, |builder, (matcher, values)| {
            builder
                .set_buckets_for_metric(matcher, values)
                .expect("the lists of buckets are not empty")
        })
}

/// Starts counting for the whole process, once; later calls give the same metrics.
pub fn exposition() -> Exposition {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = RECORDER.get_or_init(|| {
        let builder = buckets(PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Fails only when another recorder was installed: then ours stays empty, nothing breaks.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("metrics are recorded elsewhere already; /metrics stays empty");
        }
        describe();
        handle
    });
    Exposition(handle.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn every_label_counts_under_its_own_name() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            describe();
            let destination = DestinationMetrics::new(&DestinationName::new("crm").unwrap());
            for (index, result) in AttemptResult::ALL.into_iter().enumerate() {
                assert_eq!(result.index(), index);
                destination.attempt(result, Duration::from_millis(3));
            }
            destination.gate("open", true);
            let source = SourceMetrics::new(&SourceName::new("stripe").unwrap());
            for result in ReceiveResult::ALL {
                source.received(result, Duration::from_millis(1));
            }
            for disposition in Disposition::ALL {
                source.processed(disposition, Duration::from_millis(1));
            }
            source.verification_failed("stale");
            recorder.handle().render()
        });
        for line in [
            r#"outcome_bridge_delivery_attempts_total{destination="crm",verdict="hold"} 1"#,
            r#"outcome_bridge_delivery_attempts_total{destination="crm",verdict="abandoned"} 1"#,
            r#"outcome_bridge_circuit_breaker_state{destination="crm",state="open"} 1"#,
            r#"outcome_bridge_circuit_breaker_state{destination="crm",state="closed"} 0"#,
            r#"outcome_bridge_destination_held{destination="crm"} 1"#,
            r#"outcome_bridge_events_received_total{source="stripe",result="busy"} 1"#,
            r#"outcome_bridge_events_processed_total{source="stripe",disposition="failed"} 1"#,
            r#"outcome_bridge_events_verification_failures_total{source="stripe",reason="stale"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
