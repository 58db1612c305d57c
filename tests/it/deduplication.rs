//! The same event counts once, however often and whenever it comes.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Answer, FakeDestination, Setup, minutes_ago, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_acknowledged_and_changes_nothing() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::ok());
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    let body = told("call-1", "shown", minutes_ago(5)).to_string();
    let signed = bridge.signed("team", bridge.unsigned(body));
    for _ in 0..3 {
        assert_eq!(bridge.send("team", signed.clone()).await.status, 200);
    }
    bridge.idle().await;
    let events = bridge.get("/events").await;
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    assert_eq!(events["items"][0]["duplicates"], 2);
    destination.request().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_at_the_same_moment_are_stored_once() {
    let bridge = Setup::new().start().await;
    let signed = bridge.signed(
        "team",
        bridge.unsigned(told("c", "shown", minutes_ago(5)).to_string()),
    );
    let replies = join_all((0..32).map(|_| bridge.send("team", signed.clone()))).await;
    assert!(
        replies.iter().all(|reply| reply.status == 200),
        "{replies:?}"
    );
    let events = bridge.get("/events").await;
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    assert_eq!(events["items"][0]["duplicates"], 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_under_a_new_signature_is_still_the_same_event() {
    let bridge = Setup::new().start().await;
    let unsigned = bridge.unsigned(told("c", "shown", minutes_ago(5)).to_string());
    for minutes in [2, 1, 0] {
        let signed = bridge
            .source("team")
            .inbound
            .sign(unsigned.clone(), minutes_ago(minutes))
            .unwrap();
        assert_eq!(bridge.send("team", signed.into_parts()).await.status, 200);
    }
    assert_eq!(bridge.event_ids().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_alike_is_stored_each_time() {
    let other = "\n[sources.other]\nconnector = \"standard-webhooks\"\nsigning_secret = \"whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==\"\n";
    let bridge = Setup::new().config(other).start().await;
    let body = told("call-1", "shown", minutes_ago(5)).to_string();
    let first = bridge.unsigned(body.clone());
    // The same id at another source, and the same body under another id.
    for (source, parts) in [
        ("team", first.clone()),
        ("other", first),
        ("team", bridge.unsigned(body)),
    ] {
        assert_eq!(
            bridge
                .send(source, bridge.signed(source, parts))
                .await
                .status,
            200
        );
    }
    assert_eq!(bridge.event_ids().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_begin_alike_are_different_events() {
    let source =
        "\n[sources.hubspot]\nconnector = \"hubspot\"\nclient_secret = \"hubspot-secret\"\n";
    let bridge = Setup::new().config(source).start().await;
    let change = |event: u64| json!({ "eventId": event, "subscriptionId": 1, "portalId": 2, "objectId": 3, "propertyName": "dealname", "propertyValue": "x", "occurredAt": 1_767_312_000_123_u64, "subscriptionType": "deal.propertyChange", "attemptNumber": 0 });
    for batch in [
        json!([change(1)]),
        json!([change(1), change(2)]),
        json!([change(1), change(3)]),
    ] {
        bridge.accept("hubspot", &batch).await;
    }
    let mut again = json!([change(1), change(3)]);
    again[0]["attemptNumber"] = json!(1);
    assert_eq!(bridge.post("hubspot", again.to_string()).await.status, 200);
    assert_eq!(
        bridge.event_ids().await.len(),
        3,
        "another attempt is the same event"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_recognised_after_a_restart() {
    let bridge = Setup::new().start().await;
    let signed = bridge.signed(
        "team",
        bridge.unsigned(told("c", "shown", minutes_ago(5)).to_string()),
    );
    assert_eq!(bridge.send("team", signed.clone()).await.status, 200);
    let bridge = bridge.restart().await;
    assert_eq!(bridge.send("team", signed).await.status, 200);
    let events = bridge.get("/events").await;
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    assert_eq!(events["items"][0]["duplicates"], 1);
}
