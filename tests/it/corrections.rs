//! Truth: what somebody set by hand holds until it is released.

use serde_json::json;

use crate::support::{Answer, FakeDestination, Setup, minutes_ago, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_holds_against_what_is_reported_until_it_is_released() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    bridge
        .hear("team", &told("call-1", "closed", minutes_ago(30)))
        .await;
    assert_eq!(destination.request().await.body["outcome"], "closed");

    let about =
        json!({ "subject": { "call_id": "call-1" }, "source": "team", "by": "a supervisor" });
    let correction = json!({ "outcome": "lost", "notes": "a test booking", "about": about });
    let reply = bridge.tell("/outcomes", &correction).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let story = bridge
        .processed(reply.json()["event"].as_str().unwrap())
        .await;
    assert_eq!(story["outcomes"][0]["basis"], "manual", "{story}");
    let request = destination.request().await;
    assert_eq!(
        (&request.body["outcome"], &request.body["notes"]),
        (&json!("lost"), &json!("a test booking"))
    );

    // What vendors report afterwards is kept, and does not overwrite it.
    let story = bridge
        .hear("team", &told("call-1", "closed", minutes_ago(1)))
        .await;
    bridge.delivery(&story, "crm", "superseded").await;

    let reply = bridge
        .tell("/outcomes/release", &json!({ "about": about }))
        .await;
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(destination.request().await.body["outcome"], "closed");
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_about_nobody_or_with_a_mistake_is_refused() {
    let bridge = Setup::new().start().await;
    for (body, word) in [
        (json!({ "outcome": "lost", "about": {} }), "whom"),
        (
            json!({ "outcome": "gone", "about": { "subject": { "call_id": "1" } } }),
            "gone",
        ),
        (
            json!({ "outcome": "lost", "colour": 1, "about": { "subject": { "call_id": "1" } } }),
            "colour",
        ),
        (
            json!({ "outcome": "lost", "about": { "subject": { "call_id": "x".repeat(2000) } } }),
            "call_id",
        ),
        (
            json!({ "outcome": "lost", "occurred_at": "2226-05-02T12:00:00Z", "about": { "subject": { "call_id": "1" } } }),
            "ahead",
        ),
    ] {
        let reply = bridge.tell("/outcomes", &body).await;
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
        let detail = reply.json()["detail"].to_string();
        assert!(detail.contains(word), "{word} in {detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_outcomes_reach_the_destinations_and_bad_rows_are_told() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    let at = minutes_ago(5);
    let body = json!({ "outcomes": [
        { "outcome": "closed", "occurred_at": at, "call_id": "call-1", "value": "12.50", "currency": "EUR" },
        { "outcome": "won", "occurred_at": at, "call_id": "call-2" },
        { "outcome": "lost", "occurred_at": at, "call_id": "call-3", "metadata.reason": "price" },
    ]});
    let reply = bridge.tell("/outcomes/import", &body).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let answer = reply.json();
    assert_eq!(answer["accepted"], 2);
    assert_eq!(answer["rejected"][0]["index"], 1);
    let mut told = vec![
        destination.request().await.body["outcome"].clone(),
        destination.request().await.body["outcome"].clone(),
    ];
    told.sort_by_key(ToString::to_string);
    assert_eq!(told, [json!("closed"), json!("lost")]);
    // The same again is the same event, and nothing is sent twice.
    assert_eq!(
        bridge.tell("/outcomes/import", &body).await.json()["events"],
        answer["events"]
    );
    bridge.idle().await;
    destination.finish().await;
}
