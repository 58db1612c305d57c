//! When nothing more can be taken, senders are told to come back, in their vendor's own way.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{FakeDestination, Setup, TestBridge, minutes_ago, told};

async fn assert_busy(bridge: &TestBridge) {
    let body = told("call-1", "shown", minutes_ago(1)).to_string();
    let reply = bridge.post("team", body).await;
    assert_eq!(
        (reply.status, reply.headers["retry-after"].as_str()),
        (503, "30"),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_backlog_of_events_is_busy() {
    let bridge = Setup::new()
        .adjust(|config| config.storage.max_unprocessed = 0)
        .start()
        .await;
    assert_busy(&bridge).await;
    assert_eq!(
        bridge.event_ids().await,
        Vec::<String>::new(),
        "what was not acknowledged is not there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_backlog_of_deliveries_is_busy_until_it_is_worked_off() {
    let destination = FakeDestination::start().await;
    let setup = Setup::new().webhook("crm", &destination, "");
    let bridge = setup
        .adjust(|config| config.storage.max_open_deliveries = 2)
        .start()
        .await;
    assert_eq!(
        bridge
            .tell("/destinations/crm/pause", &Value::Null)
            .await
            .status,
        204
    );
    for call in ["one", "two"] {
        bridge
            .hear("team", &told(call, "shown", minutes_ago(1)))
            .await;
    }
    assert_busy(&bridge).await;

    destination.otherwise(crate::support::Answer::ok());
    assert_eq!(
        bridge
            .tell("/destinations/crm/resume", &Value::Null)
            .await
            .status,
        204
    );
    bridge.idle().await;
    bridge
        .hear("team", &told("three", "shown", minutes_ago(1)))
        .await;
    bridge.idle().await;
    assert_eq!(destination.rest().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_is_busy() {
    // More than any machine has free.
    let bridge = Setup::new()
        .set("STORAGE__MIN_FREE_DISK", "900 TB")
        .start()
        .await;
    assert_busy(&bridge).await;
    assert_eq!(bridge.get("/stats").await["queue"]["events"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_and_the_wait_are_the_vendors_own() {
    let connector = include_str!("../../../src/cli/skeleton/connector.toml")
        .replace("{{name}}", "impatient")
        + "\n[inbound.busy]\nstatus = 429\nretry_after = 7\n";
    let setup = Setup::new()
        .file("connectors/impatient/connector.toml", &connector)
        .file("connectors/impatient/mapping.toml", include_str!("../../../src/cli/skeleton/mapping.toml"))
        .file("connectors/impatient/setup.md", "# Impatient\n")
        .config("\n[connectors]\ndir = \"connectors\"\n[sources.impatient]\nconnector = \"impatient\"\nsigning_secret = \"s3cr3t-s3cr3t\"\n")
        .adjust(|config| config.storage.max_unprocessed = 0);
    let bridge = setup.start().await;
    assert!(Path::new(&bridge.config_dir()).exists());
    let reply = bridge
        .post("impatient", json!({ "id": 1 }).to_string())
        .await;
    assert_eq!(
        (reply.status, reply.headers["retry-after"].as_str()),
        (429, "7"),
        "{reply:?}"
    );
}
