//! Our own destination connectors against the store's own APIs: what one bridge sends is what another one has.

use serde_json::{Value, json};

use super::{AURA_CALL, bring, key, log, request, setup};
use crate::support::{Setup, TestBridge, minutes_ago, told, worth};

async fn pair() -> (TestBridge, TestBridge) {
    let server = setup()
        .config(&key("narrow", "narrow-key", "agents = [\"agent123\"]"))
        .start()
        .await;
    bring(
        &server,
        json!([
            { "call_id": "call456", "agent_id": "agent123", "phone": "+14155551234" },
            { "call_id": AURA_CALL, "agent_id": "closer" },
        ]),
    )
    .await;
    let base = format!("http://{}", server.inlet());
    let sender = Setup::new()
        .config(&format!(
            r#"
[destinations.voice]
connector = "phonely"
base_url = "{base}"
agent_id = "agent123"
api_key = "narrow-key"
[destinations.closer]
connector = "aura"
base_url = "{base}"
authorization = "Bearer your-api-key-here"
[destinations.lines]
connector = "change-outcome"
base_url = "{base}"
token = "your-api-key-here"
[destinations.stranger]
connector = "phonely"
base_url = "{base}"
agent_id = "agent999"
api_key = "narrow-key"
"#
        ))
        .start()
        .await;
    (server, sender)
}

/// The beginning of what the store answered to the last attempt.
fn answer(delivery: &Value) -> String {
    let last = delivery["history"].as_array().unwrap().last().unwrap();
    last["response"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_arrive_by_each_of_the_three() {
    let (server, sender) = pair().await;
    let event = sender
        .hear(
            "team",
            &worth("call456", "closed", minutes_ago(5), "1999.50"),
        )
        .await;
    let delivery = sender.delivery(&event, "voice", "delivered").await;
    assert!(
        answer(&delivery).contains(r#""call_id":"call456""#),
        "{delivery}"
    );
    let delivery = sender.delivery(&event, "lines", "delivered").await;
    assert_eq!(delivery["attempts"], 1, "{delivery}");
    let seen = log(&server, "call456").await;
    let mut actors: Vec<_> = seen
        .iter()
        .map(|entry| {
            (
                entry["actor"].as_str().unwrap(),
                entry["status"].as_str().unwrap(),
            )
        })
        .collect();
    actors.sort_unstable();
    assert_eq!(
        actors,
        [
            ("api:change-outcome/team", "success"),
            ("api:phonely/narrow", "success")
        ]
    );
    let call = server.get("/calls?call=call456").await["items"][0].clone();
    assert_eq!(
        (&call["outcome"]["kind"], &call["outcome"]["value"]),
        (&json!("closed"), &json!("1999.5")),
        "{call}"
    );
    assert_eq!(call["outcome"]["currency"], "USD");
    assert_eq!(call["metadata"]["outcome"], "closed");

    let event = sender
        .hear("team", &told(AURA_CALL, "shown", minutes_ago(4)))
        .await;
    let delivery = sender.delivery(&event, "closer", "delivered").await;
    assert!(
        answer(&delivery).contains(r#""status":"shown""#),
        "{delivery}"
    );
    let actors: Vec<Value> = log(&server, AURA_CALL)
        .await
        .iter()
        .map(|entry| entry["actor"].clone())
        .collect();
    assert!(actors.contains(&json!("api:aura/team")), "{actors:?}");
    sender.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn error_answers_are_understood() {
    let (server, sender) = pair().await;
    // No such call yet: tried again, and delivered when the call has come.
    let event = sender
        .hear("team", &told("late", "lost", minutes_ago(5)))
        .await;
    let waiting = sender.delivery(&event, "voice", "retrying").await;
    assert!(waiting.to_string().contains("no such call"), "{waiting}");
    // A key that does not reach this agent.
    let held = sender.delivery(&event, "stranger", "held").await;
    assert!(held.to_string().contains("403"), "{held}");
    bring(
        &server,
        json!({ "call_id": "late", "agent_id": "agent123" }),
    )
    .await;
    sender.delivery(&event, "voice", "delivered").await;
    // An outcome that was set by hand holds: refused, with the reason.
    let (server, sender) = (server, sender);
    let hand = setup()
        .config(&key("boss", "boss-key", "basis = \"manual\""))
        .start()
        .await;
    bring(
        &hand,
        json!({ "call_id": "call456", "agent_id": "agent123" }),
    )
    .await;
    let body = r#"{"custom_call_outcome":"Sold"}"#;
    request(
        &hand,
        "PATCH /api/calls/agent123/call456",
        &["X-Authorization: boss-key"],
        body,
    )
    .await;
    let other = Setup::new()
        .config(&format!(
            "[destinations.lines]\nconnector = \"change-outcome\"\nbase_url = \"http://{}\"\ntoken = \"your-api-key-here\"\n",
            hand.inlet()
        ))
        .start()
        .await;
    let event = other
        .hear("team", &told("call456", "lost", minutes_ago(1)))
        .await;
    let dead = other.delivery(&event, "lines", "dead_letter").await;
    assert!(dead.to_string().contains("by hand"), "{dead}");
    for bridge in [other, hand, sender, server] {
        bridge.stop().await;
    }
}
