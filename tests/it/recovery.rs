//! Stop and start: nothing lost, nothing told twice, and no manual step.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ADMIN_TOKEN, Answer, Child, FakeDestination, Reply, Setup, TestBridge, eventually, minutes_ago,
    told, worth,
};

/// Everything that the admin API tells, without what may differ from start to start.
async fn everything(bridge: &TestBridge) -> Vec<Value> {
    let mut all = Vec::new();
    for list in ["/events", "/deliveries", "/dead-letters", "/outcomes"] {
        all.push(bridge.get(&format!("{list}?limit=1000")).await);
    }
    for id in bridge.event_ids().await {
        all.push(bridge.get(&format!("/events/{id}")).await);
        all.push(bridge.get(&format!("/events/{id}/raw")).await);
    }
    all
}

/// A bridge with something in every state that lasts: delivered, superseded, dead letter, unmatched.
async fn lived_in(destination: &FakeDestination) -> TestBridge {
    let bridge = Setup::new()
        .with_store()
        .webhook("crm", destination, "")
        .start()
        .await;
    destination.answer(Answer::ok());
    bridge
        .hear("team", &worth("call-1", "closed", minutes_ago(10), "99.90"))
        .await;
    destination.request().await;
    bridge.idle().await;
    bridge
        .hear("team", &told("call-1", "shown", minutes_ago(20)))
        .await;
    destination.answer(Answer::new(400));
    bridge
        .hear("team", &told("call-2", "lost", minutes_ago(20)))
        .await;
    destination.request().await;
    bridge.hear("team", &json!({ "outcome": "shown" })).await;
    bridge.hear("team", &json!({ "something": "else" })).await;
    bridge.idle().await;
    bridge
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_stop_everything_is_there_and_nothing_is_sent_again() {
    let destination = FakeDestination::start().await;
    let bridge = lived_in(&destination).await;
    let before = everything(&bridge).await;
    let bridge = bridge.restart().await;
    let report = bridge.report();
    assert!(report.clean && !report.rebuilt, "{report:?}");
    assert_eq!(
        (report.events, report.unprocessed, report.open_deliveries),
        (5, 0, 0)
    );
    assert_eq!(everything(&bridge).await, before);

    // A new event goes out, and only that one.
    destination.answer(Answer::ok());
    bridge
        .hear("team", &told("call-3", "shown", minutes_ago(1)))
        .await;
    assert_eq!(destination.request().await.body["call_id"], "call-3");
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_is_rebuilt_from_the_journal_with_the_same_answers() {
    let destination = FakeDestination::start().await;
    let bridge = lived_in(&destination).await;
    let before = everything(&bridge).await;
    let data = bridge.data_dir();
    let setup = bridge.stop().await;
    let index = data.join("index");
    assert!(index.is_dir(), "the index is where it is said to be");
    std::fs::remove_dir_all(&index).unwrap();

    let bridge = TestBridge::again(setup).await;
    assert!(bridge.report().rebuilt, "{:?}", bridge.report());
    assert_eq!(everything(&bridge).await, before);
    destination.answer(Answer::ok());
    bridge
        .hear("team", &told("call-3", "shown", minutes_ago(1)))
        .await;
    destination.request().await;
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_set_aside_and_rebuilt() {
    let destination = FakeDestination::start().await;
    let bridge = lived_in(&destination).await;
    let before = everything(&bridge).await;
    let data = bridge.data_dir();
    let setup = bridge.stop().await;
    let mut damaged = 0;
    for entry in std::fs::read_dir(data.join("index")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let length = std::fs::metadata(&path).unwrap().len();
            std::fs::write(&path, vec![0xA5; usize::try_from(length).unwrap()]).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let bridge = TestBridge::again(setup).await;
    assert!(bridge.report().rebuilt, "{:?}", bridge.report());
    assert_eq!(everything(&bridge).await, before);
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_delivered_after_the_restart_exactly_once() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    assert_eq!(
        bridge
            .tell("/destinations/crm/pause", &Value::Null)
            .await
            .status,
        204
    );
    for call in 0..10 {
        bridge
            .hear(
                "team",
                &told(&format!("call-{call}"), "shown", minutes_ago(10)),
            )
            .await;
    }
    destination.finish().await;
    destination.otherwise(Answer::ok());
    let bridge = bridge.restart().await;
    assert_eq!(bridge.report().open_deliveries, 10);
    // A restart does not end the pause.
    let listed = bridge.get("/destinations").await;
    let crm = listed["items"].as_array().unwrap().iter();
    let crm = crm.clone().find(|item| item["name"] == "crm").unwrap();
    assert_eq!(
        (&crm["state"]["paused"], &crm["queue"]["open"]),
        (&Value::Bool(true), &json!(10)),
        "{crm}"
    );
    let resumed = bridge.tell("/destinations/crm/resume", &Value::Null).await;
    assert_eq!(resumed.status, 204);
    bridge.idle().await;
    let mut calls: Vec<_> = destination
        .rest()
        .await
        .into_iter()
        .map(|r| r.body["call_id"].clone())
        .collect();
    calls.sort_by_key(ToString::to_string);
    assert_eq!(
        calls,
        (0..10)
            .map(|call| json!(format!("call-{call}")))
            .collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_attempt_in_flight_finish() {
    let destination = FakeDestination::start().await;
    let held = destination.hold();
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    destination.request().await;
    let inlet = bridge.inlet();
    let mut stopping = tokio::spawn(bridge.stop());
    eventually("the inlet is closed", async || {
        tokio::net::TcpStream::connect(inlet)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    // By itself it does not end: it waits for the answer.
    let early = tokio::time::timeout(Duration::from_secs(2), &mut stopping).await;
    assert!(early.is_err(), "it did not wait for what is in flight");
    held.send(Answer::ok()).unwrap();
    let bridge = TestBridge::again(stopping.await.unwrap()).await;
    let delivery = bridge.delivery(&story, "crm", "delivered").await;
    assert_eq!(delivery["attempts"], 1);
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_outlasts_the_stop_does_not_count() {
    let destination = FakeDestination::start().await;
    let never = destination.hold();
    let setup =
        Setup::new()
            .set("SERVER__SHUTDOWN_TIMEOUT", "1 s")
            .webhook("crm", &destination, "");
    let bridge = setup.start().await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    destination.request().await;
    destination.answer(Answer::ok());
    let bridge = bridge.restart().await;
    let delivery = bridge.delivery(&story, "crm", "delivered").await;
    assert_eq!(
        (
            &delivery["attempts"],
            delivery["history"].as_array().unwrap().len()
        ),
        (&json!(1), 1)
    );
    destination.request().await;
    drop(never);
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bridges_do_not_share_a_data_directory() {
    let setup = Setup::new().written();
    let first = Child::serve(&setup.config_dir());
    let second = crate::support::run(["serve", "--config", setup.config_dir().to_str().unwrap()]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("in use"), "{second:?}");
    drop(first);
}

async fn ask(child: &Child, path: &str) -> Value {
    let url = format!("http://{}/admin/v1{path}", child.admin);
    let request = crate::support::client().get(url).bearer_auth(ADMIN_TOKEN);
    Reply::of(request.send().await.unwrap()).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_the_process_and_exits_0() {
    let destination = FakeDestination::start().await;
    let held = destination.hold();
    let setup = Setup::new().webhook("crm", &destination, "").written();
    let mut child = Child::serve(&setup.config_dir());
    let body = setup.config_dir().join("event.json");
    crate::support::write(&body, told("call-1", "shown", minutes_ago(5)).to_string());
    let config = setup.config_dir();
    let url = format!("http://{}", child.inlet);
    let sent = crate::support::run([
        "send",
        "--config",
        config.to_str().unwrap(),
        "--source",
        "team",
        "--url",
        &url,
        body.to_str().unwrap(),
    ]);
    assert_eq!(sent.code, 0, "{sent:?}");
    destination.request().await;

    child.signal(Signal::TERM);
    child.line("bridge.stopping");
    held.send(Answer::ok()).unwrap();
    let (status, log) = child.ended();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    assert!(
        log.iter().any(|line| line.contains("bridge.stopped")),
        "{log:#?}"
    );

    let child = Child::serve(&setup.config_dir());
    let deliveries = ask(&child, "/deliveries").await;
    assert_eq!(deliveries["items"][0]["state"], "delivered", "{deliveries}");
    assert_eq!(deliveries["items"][0]["attempts"], 1);
    destination.finish().await;
}

#[test]
fn sighup_reads_rules_again_and_a_file_with_mistakes_changes_nothing() {
    let setup = Setup::new().written();
    let file = setup.config_dir().join("mappings/team.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut child = Child::serve(&setup.config_dir());
    crate::support::write(&file, "format = 1\nextends = true\n[[rool]]\n");
    child.signal(Signal::HUP);
    let refused = child.line("config.refused");
    assert_eq!(refused["mistakes"], 1, "{refused}");
    crate::support::write(&file, "format = 1\nextends = true\n");
    child.signal(Signal::HUP);
    child.line("config.reloaded");
    child.signal(Signal::TERM);
    let (status, log) = child.ended();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    let told = |target: &str| log.iter().any(|line| line.contains(target));
    assert!(
        told("mapping.refused") && told("mapping.reloaded"),
        "{log:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    let setup = Setup::new().written();
    let child = Child::serve(&setup.config_dir());
    let config = setup.config_dir();
    let url = format!("http://{}", child.inlet);
    for case in ["outcome", "other-word"] {
        let arguments = [
            "send",
            "--config",
            config.to_str().unwrap(),
            "--source",
            "team",
            "--url",
            &url,
            case,
        ];
        let sent = crate::support::run(arguments);
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    child.signal(Signal::KILL);
    let (status, _) = child.ended();
    assert_eq!(status.code(), None, "it was killed");
    let child = Child::serve(&setup.config_dir());
    let events = ask(&child, "/events").await;
    assert_eq!(events["items"].as_array().unwrap().len(), 2, "{events}");
}
