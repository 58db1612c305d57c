//! Routes with conditions, tables that rules look things up in, and requests that wait for their time.

use jiff::{SignedDuration, Timestamp};
use outcome_bridge::clock::Clock;
use serde_json::{Value, json};

use crate::support::{
    Answer, FakeDestination, Setup, TestBridge, eventually, minutes_ago, taken_back, told, worth,
    write,
};

const BIG_DEALS: &str = r#"
[[routes]]
outcomes = ["closed"]
when = [{ field = "outcome.value", over = 1000 }]
destinations = ["sales"]

[[routes]]
condition = { field = "metadata.reference", operator = "!=", value = "trial" }
destinations = ["everyone"]
"#;

async fn two() -> (FakeDestination, FakeDestination) {
    (
        FakeDestination::start().await,
        FakeDestination::start().await,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_go_where_the_conditions_of_a_route_hold_and_the_story_says_why() {
    let (sales, everyone) = two().await;
    let setup = Setup::new()
        .webhook("sales", &sales, "")
        .webhook("everyone", &everyone, "")
        .config(BIG_DEALS);
    let bridge = setup.start().await;

    sales.answer(Answer::ok());
    everyone.answer(Answer::ok());
    let story = bridge
        .hear("team", &worth("call-1", "closed", minutes_ago(9), "1500"))
        .await;
    assert_eq!(sales.request().await.body["value"], 1500);
    everyone.request().await;
    let routing = story["trace"]["routing"].as_array().unwrap();
    let by: Vec<_> = routing
        .iter()
        .map(|r| (&r["destination"], &r["route"]))
        .collect();
    assert_eq!(
        by,
        [
            (&json!("everyone"), &json!(2)),
            (&json!("sales"), &json!(1))
        ]
    );

    everyone.answer(Answer::ok());
    let story = bridge
        .hear("team", &worth("call-2", "closed", minutes_ago(8), "50"))
        .await;
    everyone.request().await;
    assert_eq!(
        story["trace"]["withheld"],
        json!([{ "destination": "sales", "kind": "closed",
            "why": "route 1: `outcome.value over 1000` does not hold: 50" }])
    );

    let mut trial = told("call-3", "lost", minutes_ago(7));
    trial["reference"] = "trial".into();
    let story = bridge.hear("team", &trial).await;
    assert_eq!(story["deliveries"], json!([]), "{story}");
    let reason = story["event"]["reason"].as_str().unwrap();
    assert!(
        reason.contains("no route takes it: to everyone"),
        "{reason}"
    );
    assert!(reason.contains("holds and must not: \"trial\""), "{reason}");
    bridge.idle().await;
    sales.finish().await;
    everyone.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_is_taken_back_wherever_a_route_may_have_brought_it() {
    let (sales, everyone) = two().await;
    sales.otherwise(Answer::ok());
    everyone.otherwise(Answer::ok());
    let setup = Setup::new()
        .webhook("sales", &sales, "")
        .webhook("everyone", &everyone, "")
        .config(BIG_DEALS);
    let bridge = setup.start().await;
    for (call, value) in [("big", "1500"), ("small", "50")] {
        let closed = worth(call, "closed", minutes_ago(9), value);
        bridge.hear("team", &closed).await;
        bridge.idle().await;
        bridge
            .hear("team", &taken_back(call, "closed", minutes_ago(3)))
            .await;
        bridge.idle().await;
    }
    let types = |requests: Vec<crate::support::Received>| -> Vec<Value> {
        requests
            .into_iter()
            .map(|r| r.body["type"].clone())
            .collect()
    };
    assert_eq!(
        types(sales.rest().await),
        ["outcome", "outcome.cleared"],
        "the small one was never there, so nothing is taken back"
    );
    assert_eq!(types(everyone.rest().await).len(), 4);
}

const BY_LOCATION: &str = r#"format = 1
[[rule]]
id = "by_location"
when = [{ field = "event.location", in_table = "agents" }]
outcome = "shown"
[rule.set]
call_id = "{event.call}"
occurred_at = "{event.at | time}"
agent_id = "{event.location | table: agents}"
"#;

async fn with_table(destination: &FakeDestination) -> TestBridge {
    Setup::new()
        .file("mappings/team.toml", BY_LOCATION)
        .file("tables/agents.csv", "location,agent\nBerlin,ag_1\n")
        .config("\n[tables.agents]\nfile = \"tables/agents.csv\"\nkey = \"location\"\nvalue = \"agent\"\n")
        .webhook("crm", destination, "")
        .start()
        .await
}

fn at(location: &str) -> Value {
    json!({ "location": location, "call": format!("call-{location}"), "at": minutes_ago(4) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_bridge_reads_a_changed_table_by_itself() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = with_table(&destination).await;
    bridge.hear("team", &at("Berlin")).await;
    assert_eq!(destination.request().await.body["agent_id"], "ag_1");
    let story = bridge.hear("team", &at("Paris")).await;
    assert_eq!(story["event"]["disposition"], "ignored");

    let file = bridge.config_dir().join("tables/agents.csv");
    write(&file, "location,agent\nBerlin,ag_1\nParis,ag_2\n");
    eventually("the new row holds", async || {
        let story = bridge.hear("team", &at("Paris")).await;
        (story["event"]["disposition"] == "mapped").then_some(())
    })
    .await;
    assert_eq!(destination.request().await.body["agent_id"], "ag_2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_mistakes_changes_nothing_and_is_told_with_its_lines() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = with_table(&destination).await;
    let file = bridge.config_dir().join("tables/agents.csv");
    write(
        &file,
        "location,agent\nBerlin,ag_1\nParis,ag_2\nBerlin,ag_3\n",
    );
    let reply = bridge.tell("/mappings/reload", &json!({})).await;
    assert_eq!(reply.status, 409);
    let told = reply.json().to_string();
    assert!(
        told.contains("agents.csv:4:1: `Berlin` stands in line 2 already"),
        "{told}"
    );
    bridge.hear("team", &at("Berlin")).await;
    assert_eq!(destination.request().await.body["agent_id"], "ag_1");

    write(&file, "location,agent\nBerlin,ag_3\n");
    let reply = bridge.tell("/mappings/reload", &json!({})).await;
    assert_eq!(reply.status, 200);
    let mut again = at("Berlin");
    again["call"] = "call-again".into();
    bridge.hear("team", &again).await;
    assert_eq!(destination.request().await.body["agent_id"], "ag_3");
}

fn call_back(destination: &FakeDestination) -> Setup {
    Setup::new().config(&format!(
        r#"
[destinations.agents]
connector = "call2me"
api_key = "sk_call2me_of_the_tests"
schedule_url = "{}/v1/calls"
[[destinations.agents.actions]]
type = "schedule_call"
condition = {{ field = "kind", operator = "==", value = "follow_up" }}
config = {{ use_field = "reference", fallback_delay_minutes = 1440, from_number = "+908501234567" }}
"#,
        destination.url()
    ))
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// A follow-up that asks to be called back.
fn follow_up(phone: &str, minutes: i64, when: Timestamp) -> Value {
    json!({ "outcome": "follow_up", "phone": phone, "occurred_at": minutes_ago(minutes), "reference": when })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_back_is_asked_for_at_its_time_over_a_restart() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(201).json(&json!({ "call_id": "call_a1" })));
    let bridge = call_back(&destination).start().await;
    let when = now() + SignedDuration::from_secs(3);
    let story = bridge
        .hear("team", &follow_up("+905001234567", 5, when))
        .await;
    bridge
        .delivery(&story, "agents-schedule_call", "pending")
        .await;
    let bridge = bridge.restart().await;
    let request = destination.request().await;
    assert!(now() >= when, "it came before its time");
    assert_eq!(request.body["to_number"], "+905001234567");
    assert_eq!(request.body["from_number"], "+908501234567");
    let delivery = bridge
        .delivery(&story, "agents-schedule_call", "delivered")
        .await;
    assert_eq!(delivery["target"], "number/%2B905001234567");
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_date_replaces_the_call_that_was_kept_and_taking_it_back_cancels_it() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(201));
    let bridge = call_back(&destination).start().await;
    let in_an_hour = now() + SignedDuration::from_hours(1);
    let phone = "+905001234567";
    let first = bridge.hear("team", &follow_up(phone, 9, in_an_hour)).await;
    bridge
        .delivery(&first, "agents-schedule_call", "pending")
        .await;
    let when = now() + SignedDuration::from_secs(1);
    bridge.hear("team", &follow_up(phone, 5, when)).await;
    bridge
        .delivery(&first, "agents-schedule_call", "superseded")
        .await;
    assert_eq!(destination.request().await.body["to_number"], phone);
    assert!(now() >= when, "it came before its time");

    let other = "+905007654321";
    let kept = bridge.hear("team", &follow_up(other, 9, in_an_hour)).await;
    bridge
        .delivery(&kept, "agents-schedule_call", "pending")
        .await;
    let back = json!({ "type": "outcome.retracted", "retract": "follow_up", "phone": other, "occurred_at": minutes_ago(1) });
    bridge.hear("team", &back).await;
    bridge
        .delivery(&kept, "agents-schedule_call", "cancelled")
        .await;

    let won = json!({ "outcome": "closed", "phone": other, "occurred_at": minutes_ago(1) });
    let story = bridge.hear("team", &won).await;
    assert_eq!(story["deliveries"], json!([]), "only follow-ups: {story}");
    bridge.idle().await;
    destination.finish().await;
}
