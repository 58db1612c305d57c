//! Input that nobody means well with: queries in every field, moments far away, bodies too deep or too large.

use serde_json::{Value, json};

use super::{bring, setup};
use crate::support::TestBridge;

const SQL: &str = "x'); DROP TABLE calls; -- \" \\ \u{0}";

async fn count(bridge: &TestBridge) -> usize {
    let page = bridge.get("/calls?limit=1000").await;
    page["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn text_in_every_field_of_a_call_or_an_outcome_stays_text() {
    let bridge = setup().start().await;
    bring(
        &bridge,
        json!([{
            "call_id": SQL, "agent_id": SQL, "platform": SQL, "email": SQL, "direction": SQL, "transcript": SQL,
            "recording_url": format!("https://x/{SQL}"), "fields": { SQL: SQL }, "metadata": { SQL: [SQL, { SQL: SQL }] },
        }]),
    )
    .await;
    let call = bridge.get("/calls").await["items"][0].clone();
    let trimmed = SQL.trim();
    for field in ["call_id", "agent_id", "platform", "direction"] {
        assert_eq!(call[field], trimmed, "{field}");
    }
    assert_eq!(call["email"], trimmed.to_lowercase());
    assert_eq!(call["metadata"], json!({ SQL: [SQL, { SQL: SQL }] }));
    assert_eq!(call["fields"], json!({ SQL: SQL }));
    let shown = bridge
        .get(&format!("/calls/{}", call["id"].as_str().unwrap()))
        .await;
    assert_eq!(shown["call"]["transcript"], SQL);

    let metadata = format!("metadata.{SQL}");
    let row = json!({
        "outcome": "closed", "occurred_at": "2026-05-02T10:00:00Z", "call_id": SQL, "agent_id": SQL, "booking_id": SQL,
        "deal_id": SQL, "contact_id": SQL, "label": SQL, "notes": SQL, "value": "1.50", "currency": "EUR", metadata: SQL,
    });
    let reply = bridge
        .tell("/outcomes/import", &json!({ "outcomes": [row], "by": SQL }))
        .await;
    assert_eq!(
        (reply.status, &reply.json()["rejected"]),
        (202, &json!([])),
        "{reply:?}"
    );
    bridge.idle().await;
    let page = bridge.get("/outcomes").await;
    let outcome = &page["items"][0];
    assert_eq!(
        (&outcome["label"], &outcome["notes"], &outcome["metadata"]),
        (&json!(trimmed), &json!(trimmed), &json!({ SQL: SQL })),
        "{outcome}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_far_away_are_counted_or_refused() {
    let bridge = setup().start().await;
    let far = ["0000-01-01T00:00:00Z", "9999-12-30T22:00:00Z"];
    bring(
        &bridge,
        json!([{ "call_id": "old", "started_at": far[0] }, { "call_id": "new", "started_at": far[1] }]),
    )
    .await;
    let page = bridge.get("/calls").await;
    assert_eq!(
        (
            &page["items"][0]["started_at"],
            &page["items"][1]["started_at"]
        ),
        (&json!(far[1]), &json!(far[0]))
    );
    for at in [
        "-000001-12-31T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "+275760-09-13T00:00:00Z",
    ] {
        let reply = bridge
            .tell("/calls", &json!({ "call_id": "c", "started_at": at }))
            .await;
        assert_eq!(reply.status, 400, "{at}: {reply:?}");
        let row = json!({ "outcome": "shown", "occurred_at": at, "call_id": "old" });
        let reply = bridge
            .tell("/outcomes/import", &json!({ "outcomes": [row] }))
            .await;
        assert_eq!(reply.json()["accepted"], 0, "{at}");
        let correction = json!({ "outcome": "shown", "occurred_at": at, "about": { "subject": { "call_id": "old" } } });
        let reply = bridge.tell("/outcomes", &correction).await;
        assert_eq!(reply.status, 400, "{at}: {reply:?}");
    }
    let whole = "from=0000-01-01&to=9999-12-29&zone=Asia/Kolkata";
    let report = bridge
        .get(&format!("/analytics/report?{whole}&by=none"))
        .await;
    assert_eq!(report["all"]["calls"], 1, "{report}");
    let reply = bridge
        .ask(&format!("/analytics/report?{whole}&by=day"))
        .await;
    assert_eq!(reply.status, 400, "{reply:?}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_deep_or_too_large_are_refused_and_a_megabyte_is_not() {
    let bridge = setup().start().await;
    let big = json!({ "call_id": "big", "metadata": { "note": "x".repeat(1 << 20) } });
    bring(&bridge, big).await;
    let more = json!({ "call_id": "more", "metadata": { "note": "x".repeat(3 << 20) } });
    let reply = bridge.tell("/calls", &more).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"call_id": "deep", "metadata": {{"deep": {open}{close}}}}}"#)
    };
    for (body, status) in [
        (deep(100), 200),
        (deep(100_000), 400),
        ("[".repeat(1 << 20), 400),
    ] {
        let request = bridge.admin(reqwest::Method::POST, "/admin/v1/calls");
        let request = request.bearer_auth(crate::support::ADMIN_TOKEN).body(body);
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    assert_eq!(count(&bridge).await, 2);
    let kept: Value = bridge.get("/calls?call=big").await;
    let note = kept["items"][0]["metadata"]["note"].as_str().unwrap();
    assert_eq!(note.len(), 1 << 20);
    bridge.stop().await;
}
