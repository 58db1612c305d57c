//! Account: rules can be changed while the bridge runs, and every event ends with a reason.

use serde_json::{Value, json};

use crate::support::{
    Answer, FakeDestination, Setup, TestBridge, eventually, minutes_ago, told, write,
};

fn rules(extends: bool, word: &str) -> String {
    format!(
        r#"format = 1
extends = {extends}

[[rule]]
id = "own_{word}"
when = [{{ field = "event.stage", is = "{word}" }}]
outcome = "closed"
[rule.set]
call_id = "{{event.call}}"
occurred_at = "{{event.at | time}}"
notes = "stage {{event.stage}}"
"#
    )
}

fn staged(call: &str, stage: &str) -> Value {
    json!({ "stage": stage, "call": call, "at": minutes_ago(4) })
}

fn verdict(story: &Value) -> (&str, &str) {
    (
        story["event"]["disposition"].as_str().unwrap(),
        story["event"]["reason"].as_str().unwrap(),
    )
}

async fn with_rules(text: &str, destination: &FakeDestination) -> TestBridge {
    Setup::new()
        .file("mappings/team.toml", text)
        .webhook("crm", destination, "")
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admins_file_replaces_the_connectors_rules() {
    let destination = FakeDestination::start().await;
    let bridge = with_rules(&rules(false, "won"), &destination).await;
    destination.answer(Answer::ok());
    let story = bridge.hear("team", &staged("call-1", "won")).await;
    assert_eq!(verdict(&story).0, "mapped", "{story}");
    assert_eq!(story["outcomes"][0]["rule"], "own_won");
    let request = destination.request().await;
    assert_eq!(
        (&request.body["outcome"], &request.body["notes"]),
        (&json!("closed"), &json!("stage won"))
    );

    let story = bridge
        .hear("team", &told("call-2", "shown", minutes_ago(3)))
        .await;
    assert_eq!(
        verdict(&story).0,
        "ignored",
        "the connector's own rule is gone: {story}"
    );
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admins_file_extends_the_connectors_rules() {
    let destination = FakeDestination::start().await;
    let bridge = with_rules(&rules(true, "won"), &destination).await;
    for (body, rule) in [
        (staged("call-1", "won"), "own_won"),
        (told("call-2", "shown", minutes_ago(3)), "outcome"),
    ] {
        destination.answer(Answer::ok());
        let story = bridge.hear("team", &body).await;
        assert_eq!(story["outcomes"][0]["rule"], rule, "{story}");
        destination.request().await;
    }
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rule_holds_for_a_replay_without_a_restart() {
    let destination = FakeDestination::start().await;
    let bridge = with_rules(&rules(false, "won"), &destination).await;
    let story = bridge.hear("team", &staged("call-1", "signed")).await;
    assert_eq!(verdict(&story).0, "ignored");
    assert_ne!(verdict(&story).1, "", "it says why");

    write(
        &bridge.config_dir().join("mappings/team.toml"),
        rules(false, "signed"),
    );
    destination.answer(Answer::ok());
    let reply = bridge.replay(&story).await;
    assert_eq!(
        (reply.status, reply.json()),
        (202, json!({ "replayed": 1, "missing": [] }))
    );
    let request = destination.request().await;
    assert_eq!(request.body["call_id"], "call-1");
    bridge.idle().await;
    let story = bridge
        .processed(story["event"]["id"].as_str().unwrap())
        .await;
    assert_eq!(verdict(&story).0, "mapped");
    assert_eq!(story["deliveries"].as_array().unwrap().len(), 1);

    // Once more: the same outcome is not sent again.
    assert_eq!(bridge.replay(&story).await.status, 202);
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_ignores_takes_back_what_the_old_rules_said() {
    let destination = FakeDestination::start().await;
    let bridge = with_rules(&rules(false, "won"), &destination).await;
    destination.answer(Answer::ok());
    let story = bridge.hear("team", &staged("call-1", "won")).await;
    destination.request().await;
    bridge.delivery(&story, "crm", "delivered").await;

    write(
        &bridge.config_dir().join("mappings/team.toml"),
        rules(false, "signed"),
    );
    destination.answer(Answer::ok());
    assert_eq!(bridge.replay(&story).await.status, 202);
    let request = destination.request().await;
    assert_eq!(request.body["type"], "outcome.cleared", "{request:?}");
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_takes_back_what_the_old_rules_said_of_an_appointment() {
    let rules = |reminder: &str| {
        format!(
            r#"format = 1
[[rule]]
id = "booked"
when = [{{ field = "event.kind", is = "book" }}]
appointment = "booked"
[rule.set]
booking_id = "b-1"
call_id = "call-1"
start = "{{event.start | time}}"
end = "{{event.end | time}}"
occurred_at = "{{event.at | time}}"

[[rule]]
id = "reminded"
when = [{{ field = "event.kind", is = "remind" }}]
{reminder}
"#
        )
    };
    let wrong = "appointment = \"canceled\"\n[rule.set]\nbooking_id = \"b-1\"";
    let destination = FakeDestination::start().await;
    let bridge = with_rules(&rules(wrong), &destination).await;
    let reminded = bridge.hear("team", &json!({ "kind": "remind" })).await;
    let booking = json!({
        "kind": "book", "at": minutes_ago(300), "start": minutes_ago(230), "end": minutes_ago(200),
    });
    bridge.hear("team", &booking).await;
    bridge.idle().await;

    let right = rules("ignore = \"a reminder\"");
    write(&bridge.config_dir().join("mappings/team.toml"), right);
    destination.answer(Answer::ok());
    assert_eq!(bridge.replay(&reminded).await.status, 202);
    let request = destination.request().await;
    assert_eq!(request.body["outcome"], "shown", "{request:?}");
    assert_eq!(request.body["basis"], "inferred");
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_keep_the_old_rules_and_are_told_with_their_place() {
    let destination = FakeDestination::start().await;
    let bridge = with_rules(&rules(false, "won"), &destination).await;
    let ignored = bridge.hear("team", &staged("call-1", "signed")).await;
    let broken = rules(false, "signed").replace("is = ", "iz = ");
    write(&bridge.config_dir().join("mappings/team.toml"), broken);

    for reply in [
        bridge.replay(&ignored).await,
        bridge.tell("/mappings/reload", &json!({})).await,
    ] {
        assert_eq!(reply.status, 409, "{reply:?}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("team.toml:6:") && detail.contains("iz"),
            "{detail}"
        );
    }
    destination.answer(Answer::ok());
    let story = bridge.hear("team", &staged("call-2", "won")).await;
    assert_eq!(verdict(&story).0, "mapped", "the old rules go on holding");
    destination.request().await;
    let story = bridge
        .processed(ignored["event"]["id"].as_str().unwrap())
        .await;
    assert_eq!(verdict(&story).0, "ignored", "nothing was replayed");

    write(
        &bridge.config_dir().join("mappings/team.toml"),
        rules(false, "signed"),
    );
    let reply = bridge.tell("/mappings/reload", &json!({})).await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({ "reloaded": ["team"] }))
    );
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_bridge_reads_a_changed_file_by_itself() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = with_rules(&rules(false, "won"), &destination).await;
    write(
        &bridge.config_dir().join("mappings/team.toml"),
        rules(false, "signed"),
    );
    eventually("new rules hold", async || {
        let story = bridge.hear("team", &staged("call-1", "signed")).await;
        (verdict(&story).0 == "mapped").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_comes_later_is_read_and_one_that_goes_gives_way_to_the_connector() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let setup = Setup::new().webhook("crm", &destination, "");
    let bridge = setup.start().await;
    let dir = bridge.config_dir().join("mappings");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("team.toml");
    let story = bridge.hear("team", &staged("call-1", "won")).await;
    assert_eq!(verdict(&story).0, "ignored", "{story}");

    write(&file, rules(false, "won"));
    let reply = bridge.replay(&story).await;
    assert_eq!(
        (reply.status, reply.json()),
        (202, json!({ "replayed": 1, "missing": [] }))
    );
    assert_eq!(destination.request().await.body["call_id"], "call-1");

    std::fs::remove_file(&file).unwrap();
    let mut call = 1;
    eventually("the connector's rules hold again", async || {
        call += 1;
        let about = told(&format!("call-{call}"), "shown", minutes_ago(3));
        (verdict(&bridge.hear("team", &about).await).0 == "mapped").then_some(())
    })
    .await;

    write(&file, rules(false, "won"));
    let reply = bridge.tell("/mappings/reload", &json!({})).await;
    assert_eq!(reply.json(), json!({ "reloaded": ["team"] }));
    bridge.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_at_two_vendors_is_two_deals() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let setup = Setup::new().webhook("crm", &destination, "").config(
        "\n[sources.other]\nconnector = \"standard-webhooks\"\nsigning_secret = \"whsec_dGhlLXRlYW0ncy1vd24tc2VjcmV0LTMyLWJ5dGVz\"\n",
    );
    let bridge = setup.start().await;
    for (source, outcome, minutes) in [("team", "lost", 1), ("other", "closed", 9)] {
        let body =
            json!({ "outcome": outcome, "deal_id": "796537", "occurred_at": minutes_ago(minutes) });
        let story = bridge.hear(source, &body).await;
        assert_eq!(verdict(&story).0, "mapped", "{story}");
        let request = destination.request().await;
        assert_eq!(
            (&request.body["target"], &request.body["outcome"]),
            (&json!(format!("deal/{source}/796537")), &json!(outcome))
        );
    }
    bridge.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_years_ahead_does_not_outlast_what_is_heard_later() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    // Ten years ahead.
    let ahead = told("call-1", "closed", minutes_ago(-10 * 365 * 24 * 60));
    let story = bridge.hear("team", &ahead).await;
    assert_eq!(
        story["outcomes"][0]["occurred_at"], story["event"]["received_at"],
        "{story}"
    );
    assert_eq!(destination.request().await.body["outcome"], "closed");
    let lost = told("call-1", "lost", minutes_ago(-1));
    bridge.hear("team", &lost).await;
    assert_eq!(destination.request().await.body["outcome"], "lost");
    bridge.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_about_nobody_is_unmatched_with_the_reason() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new()
        .phonely("phonely", &destination, "wait = \"0 s\"\n")
        .start()
        .await;
    let body =
        json!({ "outcome": "shown", "email": "lead@example.com", "occurred_at": minutes_ago(3) });
    let story = bridge.hear("team", &body).await;
    let (disposition, reason) = verdict(&story);
    assert_eq!(disposition, "unmatched", "{story}");
    assert!(reason.contains("no address at phonely: "), "{reason}");
    assert_eq!(story["deliveries"], json!([]));
    assert_eq!(
        story["outcomes"][0]["kind"], "shown",
        "the fact is kept: {story}"
    );
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_some_destinations_can_address_is_mapped_and_names_the_others() {
    let (one, other) = (
        FakeDestination::start().await,
        FakeDestination::start().await,
    );
    other.answer(Answer::ok());
    let setup = Setup::new()
        .phonely("phonely", &one, "wait = \"0 s\"\n")
        .webhook("crm", &other, "");
    let bridge = setup.start().await;
    let body = json!({ "outcome": "shown", "deal_id": "7", "occurred_at": minutes_ago(3) });
    let story = bridge.hear("team", &body).await;
    let (disposition, reason) = verdict(&story);
    assert_eq!(disposition, "mapped");
    assert!(
        reason.contains("phonely") && !reason.contains("crm"),
        "{reason}"
    );
    assert_eq!(other.request().await.body["target"], "deal/team/7");
    bridge.idle().await;
    one.finish().await;
    other.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_choose_by_source_and_outcome() {
    let (one, other) = (
        FakeDestination::start().await,
        FakeDestination::start().await,
    );
    let routes = "\n[[routes]]\noutcomes = [\"closed\", \"lost\"]\ndestinations = [\"one\"]\n\n[[routes]]\nsources = [\"team\"]\noutcomes = [\"shown\"]\ndestinations = [\"other\"]\n";
    let setup = Setup::new()
        .webhook("one", &one, "")
        .webhook("other", &other, "")
        .config(routes);
    let bridge = setup.start().await;
    one.answer(Answer::ok());
    bridge
        .hear("team", &told("call-1", "closed", minutes_ago(3)))
        .await;
    assert_eq!(one.request().await.body["outcome"], "closed");
    other.answer(Answer::ok());
    bridge
        .hear("team", &told("call-2", "shown", minutes_ago(3)))
        .await;
    assert_eq!(other.request().await.body["outcome"], "shown");
    let story = bridge
        .hear("team", &told("call-3", "no_show", minutes_ago(3)))
        .await;
    assert_eq!(story["deliveries"], json!([]), "nobody wants it: {story}");
    assert!(
        verdict(&story)
            .1
            .contains("no route leads to a destination"),
        "{story}"
    );
    bridge.idle().await;
    one.finish().await;
    other.finish().await;
}
