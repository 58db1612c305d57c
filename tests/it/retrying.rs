//! Delivery and Isolation: what fails is tried again as it should be, and delays nobody else.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Answer, FakeDestination, Setup, TestBridge, eventually, minutes_ago, told};

async fn bridge_to(destination: &FakeDestination, options: &str) -> TestBridge {
    Setup::new()
        .webhook("crm", destination, options)
        .start()
        .await
}

fn verdicts(delivery: &Value) -> Vec<(Option<u64>, &str)> {
    let history = delivery["history"].as_array().unwrap();
    history
        .iter()
        .map(|a| (a["status"].as_u64(), a["verdict"].as_str().unwrap()))
        .collect()
}

fn moment(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_pass_are_tried_again() {
    let destination = FakeDestination::start().await;
    for status in [503, 500, 408] {
        destination.answer(Answer::new(status));
    }
    destination.answer(Answer::ok());
    let bridge = bridge_to(&destination, "").await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let delivery = bridge.delivery(&story, "crm", "delivered").await;
    let expected = [
        (Some(503), "retry"),
        (Some(500), "retry"),
        (Some(408), "retry"),
        (Some(200), "delivered"),
    ];
    assert_eq!(verdicts(&delivery), expected);
    assert_eq!(delivery["attempts"], 4);
    for _ in 0..4 {
        assert_eq!(destination.request().await.body["call_id"], "call-1");
    }
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_up_connections_and_garbage_are_tried_again() {
    let destination = FakeDestination::start().await;
    destination.hang_up();
    destination.garbage(b"\x00\x01\x02 this is no HTTP\r\n\r\n");
    destination.garbage(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbroken off");
    destination.garbage(b"");
    destination.answer(Answer::ok());
    let bridge = bridge_to(&destination, "").await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let delivery = bridge.delivery(&story, "crm", "delivered").await;
    let verdicts: Vec<_> = verdicts(&delivery)
        .into_iter()
        .map(|(_, verdict)| verdict)
        .collect();
    assert_eq!(
        verdicts,
        ["retry", "retry", "retry", "retry", "delivered"],
        "{delivery}"
    );
    let history = delivery["history"].as_array().unwrap();
    assert!(
        history.iter().all(|attempt| attempt["reason"] != ""),
        "{delivery}"
    );
    for _ in 0..5 {
        destination.request().await;
    }
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_in_time_is_tried_again() {
    let destination = FakeDestination::start().await;
    let _never = destination.hold();
    destination.answer(Answer::ok());
    let bridge = bridge_to(&destination, "timeout = \"1 s\"").await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let delivery = bridge.delivery(&story, "crm", "delivered").await;
    assert_eq!(
        verdicts(&delivery),
        [(None, "retry"), (Some(200), "delivered")]
    );
    assert!(
        delivery["history"][0]["duration_ms"].as_u64().unwrap() >= 1000,
        "{delivery}"
    );
    destination.request().await;
    destination.request().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(429).header("retry-after", "1"));
    destination.answer(Answer::ok());
    let bridge = bridge_to(&destination, "").await;
    bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    destination.request().await;
    let asked = Instant::now();
    destination.request().await;
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_retry_after_is_seen_as_the_next_due_time() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(503).header("retry-after", "1800"));
    let bridge = bridge_to(&destination, "").await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    destination.request().await;
    let delivery = bridge.delivery(&story, "crm", "retrying").await;
    let wait = moment(&delivery["due_at"])
        .duration_since(moment(&delivery["changed_at"]))
        .as_secs();
    assert!((1790..=1810).contains(&wait), "{wait} s");
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_a_dead_letter_with_its_reason() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(400).json(&json!({ "error": "no such outcome" })));
    let bridge = Setup::new()
        .phonely("phonely", &destination, "")
        .start()
        .await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let delivery = bridge.delivery(&story, "phonely", "dead_letter").await;
    assert_eq!(delivery["reason"], "refused: no such outcome");
    assert_eq!(verdicts(&delivery), [(Some(400), "refused")]);
    destination.request().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_inside_a_200_is_a_failure() {
    let destination = FakeDestination::start().await;
    destination
        .answer(Answer::ok().json(&json!({ "success": false, "error": "call is archived" })));
    let bridge = Setup::new()
        .phonely("phonely", &destination, "")
        .start()
        .await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let delivery = bridge.delivery(&story, "phonely", "dead_letter").await;
    assert_eq!(delivery["reason"], "refused: call is archived");
    destination.request().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_too_long_is_given_up() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::new(503));
    let options = "max_age = \"1 s\"\nretry_first = \"200 ms\"\nretry_factor = 1";
    let bridge = bridge_to(&destination, options).await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let delivery = bridge.delivery(&story, "crm", "dead_letter").await;
    let reason = delivery["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("gave up after ") && reason.contains("503"),
        "{reason}"
    );
    let attempts = delivery["attempts"].as_u64().unwrap();
    assert!((2..20).contains(&attempts), "{attempts} attempts");
    let age = moment(&delivery["changed_at"]).duration_since(moment(&delivery["created_at"]));
    assert!(age.as_millis() >= 900, "{age}");
    bridge.idle().await;
    assert_eq!(
        destination.rest().await.len(),
        usize::try_from(attempts).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_hold_the_destination_and_cost_no_attempt() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(401));
    // Probes are far away: only the operator ends this hold.
    let bridge = bridge_to(&destination, "hold_probe = \"20 hours\"\nconcurrency = 1").await;
    let first = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let delivery = bridge.delivery(&first, "crm", "held").await;
    assert!(
        delivery["reason"].as_str().unwrap().contains("401"),
        "{delivery}"
    );
    assert_eq!(
        (&delivery["attempts"], verdicts(&delivery)),
        (&json!(0), vec![])
    );
    destination.request().await;

    let second = bridge
        .hear("team", &told("call-2", "shown", minutes_ago(10)))
        .await;
    let second_held = bridge.delivery(&second, "crm", "held").await;
    // Both are found, though the store's deliveries stand between them.
    let page = bridge.get("/deliveries?state=held&limit=1").await;
    assert_eq!(page["items"][0]["id"], second_held["id"], "{page}");
    let next = page["next"].as_str().unwrap();
    let page = bridge
        .get(&format!("/deliveries?state=held&limit=1&cursor={next}"))
        .await;
    assert_eq!(page["items"][0]["id"], delivery["id"], "{page}");
    let ready = bridge
        .admin(reqwest::Method::GET, "/health/ready")
        .send()
        .await
        .unwrap();
    assert_eq!(
        ready.status().as_u16(),
        200,
        "the bridge goes on for all the others"
    );
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["held_destinations"], json!(["crm"]));
    destination.finish().await;

    destination.answer(Answer::ok());
    destination.answer(Answer::ok());
    let reply = bridge.tell("/destinations/crm/resume", &Value::Null).await;
    assert_eq!(reply.status, 204);
    for story in [&second, &first] {
        let delivery = bridge.delivery(story, "crm", "delivered").await;
        assert_eq!(delivery["attempts"], 1);
    }
    destination.request().await;
    destination.request().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_destination_is_probed_and_goes_on_by_itself() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(403));
    destination.answer(Answer::ok());
    let bridge = bridge_to(&destination, "hold_probe = \"1 s\"").await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let delivery = bridge.delivery(&story, "crm", "delivered").await;
    assert_eq!(delivery["attempts"], 1);
    destination.request().await;
    destination.request().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let (destination, elsewhere) = (
        FakeDestination::start().await,
        FakeDestination::start().await,
    );
    for status in [301, 302, 307, 308] {
        destination.answer(Answer::new(status).header("location", &elsewhere.url()));
    }
    let bridge = bridge_to(&destination, "").await;
    for call in 0..4 {
        let story = bridge
            .hear(
                "team",
                &told(&format!("call-{call}"), "shown", minutes_ago(10)),
            )
            .await;
        let delivery = bridge.delivery(&story, "crm", "dead_letter").await;
        assert_ne!(delivery["reason"], "");
        destination.request().await;
    }
    destination.finish().await;
    elsewhere.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_refused_unless_allowed() {
    let destination = FakeDestination::start().await;
    let by_name = destination.url().replace("127.0.0.1", "localhost");
    let named = format!(
        "\n[destinations.named]\nconnector = \"webhook\"\nurl = \"{by_name}\"\nsigning_secret = \"{}\"\nallow_private = false\n",
        crate::support::TEAM_SECRET
    );
    let setup = Setup::new()
        .webhook("closed", &destination, "allow_private = false")
        .config(&named)
        .webhook(
            "allowed",
            &destination,
            "allow_private = false\nallow_networks = [\"127.0.0.0/8\"]",
        );
    let bridge = setup.start().await;
    destination.answer(Answer::ok());
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    bridge.delivery(&story, "allowed", "delivered").await;
    for name in ["closed", "named"] {
        let delivery = bridge.delivery(&story, name, "held").await;
        let reason = delivery["reason"].as_str().unwrap();
        assert!(
            reason.contains("loopback") && reason.contains("allow_private"),
            "{reason}"
        );
        assert_eq!(delivery["attempts"], 0);
    }
    destination.request().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_never_answers_delays_no_other() {
    let (dead, alive) = (
        FakeDestination::start().await,
        FakeDestination::start().await,
    );
    let setup = Setup::new()
        .webhook("dead", &dead, "concurrency = 2")
        .webhook("alive", &alive, "concurrency = 2");
    let bridge = setup.start().await;
    let _never = [dead.hold(), dead.hold()];
    alive.otherwise(Answer::ok());
    let started = Instant::now();
    let mut stories = Vec::new();
    for call in 0..20 {
        stories.push(
            bridge
                .hear(
                    "team",
                    &told(&format!("call-{call}"), "shown", minutes_ago(10)),
                )
                .await,
        );
    }
    for story in &stories {
        bridge.delivery(story, "alive", "delivered").await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(alive.rest().await.len(), 20);
    assert_eq!(dead.most_in_flight(), 2, "its own limit");
    dead.request().await;
    dead.request().await;
    let stats = bridge.get("/stats").await;
    assert_eq!(stats["queue"]["destinations"]["dead"]["open"], 20);
    dead.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_delays_nothing() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::ok());
    let bridge = bridge_to(&destination, "").await;
    for _ in 0..5 {
        assert_eq!(bridge.post("team", "[".repeat(100_000)).await.status, 200);
    }
    bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    destination.request().await;
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_stay_within_concurrency_and_rate() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = bridge_to(&destination, "concurrency = 3\nrate_per_second = 10").await;
    assert_eq!(
        bridge
            .tell("/destinations/crm/pause", &Value::Null)
            .await
            .status,
        204
    );
    for call in 0..25 {
        let body = told(&format!("call-{call}"), "shown", minutes_ago(10)).to_string();
        assert_eq!(bridge.post("team", body).await.status, 200);
    }
    eventually("all are waiting", async || {
        (bridge.get("/stats").await["queue"]["destinations"]["crm"]["open"] == 25).then_some(())
    })
    .await;
    let started = Instant::now();
    assert_eq!(
        bridge
            .tell("/destinations/crm/resume", &Value::Null)
            .await
            .status,
        204
    );
    bridge.idle().await;
    // One second's worth at once, the other 15 at ten in a second.
    assert!(
        started.elapsed() >= Duration::from_millis(1400),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(destination.rest().await.len(), 25);
    assert!(destination.most_in_flight() <= 3);
}
