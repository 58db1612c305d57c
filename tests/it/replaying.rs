//! Replay: what it would change is seen first, and only what changed is sent.

use serde_json::{Value, json};

use crate::support::{Answer, FakeDestination, Setup, TestBridge, minutes_ago, write};

fn rules(won: &str) -> String {
    format!(
        r#"format = 1

[[rule]]
id = "stage"
when = [{{ field = "event.stage", is = "{won}" }}]
outcome = "closed"
[rule.set]
call_id = "{{event.call}}"
occurred_at = "{{event.at | time}}"
"#
    )
}

fn staged(call: &str, stage: &str) -> Value {
    json!({ "stage": stage, "call": call, "at": minutes_ago(4) })
}

async fn compared(bridge: &TestBridge, body: &Value) -> Value {
    let reply = bridge.tell("/events/replay", body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_difference_and_changes_nothing() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = Setup::new()
        .file("mappings/team.toml", &rules("won"))
        .webhook("crm", &destination, "")
        .start()
        .await;
    let won = bridge.hear("team", &staged("call-1", "won")).await;
    destination.request().await;
    let signed = bridge.hear("team", &staged("call-2", "signed")).await;
    let dry = json!({ "filter": "source=team", "dry_run": true });
    assert_eq!(compared(&bridge, &dry).await["changed"], 0);

    write(
        &bridge.config_dir().join("mappings/team.toml"),
        rules("signed"),
    );
    let answer = compared(&bridge, &dry).await;
    assert_eq!(
        (&answer["events"], &answer["changed"]),
        (&json!(2), &json!(2))
    );
    let [lost, gained] = &answer["differences"].as_array().unwrap()[..] else {
        panic!("two differences: {answer}");
    };
    assert_eq!(lost["event"], won["event"]["id"]);
    assert_eq!(
        lost["disposition"],
        json!({ "before": "mapped", "after": "ignored" })
    );
    assert_eq!(lost["targets"][0]["target"], "call/call-1");
    assert_eq!(lost["targets"][0]["before"][0]["kind"], "closed");
    assert_eq!(lost["targets"][0]["after"], json!([]));
    assert_eq!(gained["event"], signed["event"]["id"]);
    assert_eq!(gained["targets"][0]["after"][0]["kind"], "closed");

    // Nothing was sent and nothing was stored by looking.
    bridge.idle().await;
    destination.finish().await;
    let id = won["event"]["id"].as_str().unwrap();
    assert_eq!(bridge.processed(id).await["event"]["disposition"], "mapped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_many_sends_only_what_changed() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = Setup::new()
        .file("mappings/team.toml", &rules("won"))
        .webhook("crm", &destination, "")
        .start()
        .await;
    for n in 0..20 {
        let stage = if n == 7 { "signed" } else { "won" };
        bridge
            .hear("team", &staged(&format!("call-{n}"), stage))
            .await;
        if n != 7 {
            destination.request().await;
        }
    }
    let both = rules("won").replace("is = \"won\"", "one_of = [\"won\", \"signed\"]");
    write(&bridge.config_dir().join("mappings/team.toml"), both);
    let all = json!({ "filter": "source=team" });
    assert_eq!(
        bridge.tell("/events/replay", &all).await.json()["replayed"],
        20
    );
    assert_eq!(destination.request().await.body["call_id"], "call-7");
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_events_for_one_dry_run_are_said_to_be() {
    let bridge = Setup::new().start().await;
    let ids: Vec<String> = (0..1001u64)
        .map(|n| outcome_bridge::model::EventId(n).to_string())
        .collect();
    let reply = bridge
        .tell("/events/replay", &json!({ "ids": ids, "dry_run": true }))
        .await;
    assert_eq!(reply.status, 400);
    assert!(reply.json()["detail"].to_string().contains("at most 1000"));
}
