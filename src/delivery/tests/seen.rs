//! What an attempt leaves behind for people: one wide line and its metrics.

use std::io::Write;
use std::sync::Mutex;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The fields of every line with this target.
    fn of(&self, target: &str) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["target"] == target)
            .map(|mut line| line["fields"].take())
            .collect()
    }
}

// The runtime of this test has one thread, so what is set for the thread holds for all its tasks.
#[tokio::test]
async fn an_attempt_is_one_wide_line_and_counted_once() {
    let lines = Lines::default();
    let sink = lines.clone();
    // With a single subscriber alive, a log statement that another test's thread reaches first is
    // switched off for all threads, since that thread has none. A second one prevents that.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(move || sink.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);

    let body = format!("cannot {KEY} now");
    let destination = FakeDestination::scripted([answer(503, &body), answer(200, "")]).await;
    let bench = Bench::crm(&destination, options());
    let delivery = bench.queue.add("crm", "agent/%2B14155551234");
    bench.queue.settlements(2).await;
    bench.stop().await;

    let seen = lines.of("delivery.attempted");
    assert_eq!(seen.len(), 2, "{seen:?}");
    let first = &seen[0];
    assert_eq!(first["delivery"], delivery.to_string());
    assert_eq!(first["event"], delivery.event.to_string());
    assert_eq!(first["outcome"], "out_0000000000001-0");
    assert_eq!(first["destination"], "crm");
    assert_eq!(first["to"], "agent/+14…34");
    assert_eq!(first["attempt"], 1);
    assert_eq!(first["status"], 503);
    assert_eq!(first["verdict"], "retry");
    assert_eq!(first["reason"], "503: cannot [secret] now");
    assert_eq!(first["dead_letter"], false);
    assert!(first["due_at"].is_string() && first["duration_ms"].is_u64());
    assert_eq!(seen[1]["verdict"], "delivered");
    assert!(seen[1]["due_at"].is_null());
    let all = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!all.contains(KEY) && !all.contains("4155551234"), "{all}");

    let text = recorder.handle().render();
    for line in [
        r#"outcome_bridge_delivery_attempts_total{destination="crm",verdict="retry"} 1"#,
        r#"outcome_bridge_delivery_attempts_total{destination="crm",verdict="delivered"} 1"#,
        r#"outcome_bridge_delivery_latency_seconds_count{destination="crm"} 1"#,
        r#"outcome_bridge_delivery_attempt_duration_seconds_count{destination="crm"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}
