//! Truth and Delivery: the newest truth is what a target was told last, in every order.

use outcome_bridge::clock::Clock;
use outcome_bridge::connector::{InboundRequest, Reception, RequestParts};
use serde_json::{Value, json};

use crate::support::{
    Answer, FakeDestination, Received, Setup, TestBridge, minutes_ago, taken_back, told, worth,
};

async fn bridge_to(destination: &FakeDestination, options: &str) -> TestBridge {
    Setup::new()
        .webhook("crm", destination, options)
        .start()
        .await
}

/// What was said last about a call.
fn last<'a>(requests: &'a [Received], call: &str) -> &'a Value {
    let target = format!("call/{call}");
    &requests
        .iter()
        .rfind(|request| request.body["target"] == target.as_str())
        .unwrap()
        .body
}

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Tells three events in every order, one call each, and answers what each call was told last.
async fn in_every_order(options: &str, events: [(&str, i64); 3]) -> Vec<String> {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = bridge_to(&destination, options).await;
    for (call, order) in ORDERS.iter().enumerate() {
        for (outcome, minutes) in order.map(|index| events[index]) {
            let body = told(&format!("call-{call}"), outcome, minutes_ago(minutes));
            assert_eq!(bridge.post("team", body.to_string()).await.status, 200);
            if call % 2 == 0 {
                // Half of them one by one, half as fast as they come.
                bridge.idle().await;
            }
        }
    }
    bridge.idle().await;
    let requests = destination.rest().await;
    let word = |call| {
        last(&requests, &format!("call-{call}"))["outcome"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    (0..ORDERS.len()).map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_that_occurred_last_wins_in_every_order() {
    let told = in_every_order("", [("shown", 30), ("no_show", 20), ("follow_up", 10)]).await;
    assert_eq!(told, ["follow_up"; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decided_outcome_outranks_newer_open_ones_in_every_order() {
    let told = in_every_order("", [("closed", 30), ("no_show", 20), ("shown", 10)]).await;
    assert_eq!(told, ["closed"; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_of_two_decided_outcomes_wins_in_every_order() {
    let told = in_every_order("", [("closed", 30), ("lost", 20), ("shown", 10)]).await;
    assert_eq!(told, ["lost"; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_can_ask_for_the_newest_of_all() {
    let newest = "precedence = \"newest\"";
    let told = in_every_order(newest, [("closed", 30), ("no_show", 20), ("shown", 10)]).await;
    assert_eq!(told, ["shown"; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_truth_heard_later_is_not_sent_and_says_so() {
    let destination = FakeDestination::start().await;
    let bridge = bridge_to(&destination, "").await;
    destination.answer(Answer::ok());
    let newer = bridge
        .hear("team", &told("call-1", "no_show", minutes_ago(10)))
        .await;
    destination.request().await;
    let older = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(20)))
        .await;
    let delivery = bridge.delivery(&older, "crm", "superseded").await;
    assert_ne!(delivery["reason"], "", "{delivery}");
    assert_eq!(delivery["attempts"], 0);
    bridge.delivery(&newer, "crm", "delivered").await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_overtaken_before_it_was_sent_is_superseded_visibly() {
    let destination = FakeDestination::start().await;
    let bridge = bridge_to(&destination, "").await;
    assert_eq!(
        bridge
            .tell("/destinations/crm/pause", &Value::Null)
            .await
            .status,
        204
    );
    let first = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(20)))
        .await;
    let second = bridge
        .hear("team", &told("call-1", "no_show", minutes_ago(10)))
        .await;
    let delivery = bridge.delivery(&first, "crm", "superseded").await;
    assert_ne!(delivery["reason"], "", "{delivery}");

    destination.answer(Answer::ok());
    assert_eq!(
        bridge
            .tell("/destinations/crm/resume", &Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(destination.request().await.body["outcome"], "no_show");
    bridge.delivery(&second, "crm", "delivered").await;
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_of_a_lane_is_under_way_at_a_time() {
    let destination = FakeDestination::start().await;
    let bridge = bridge_to(&destination, "").await;
    let held = destination.hold();
    let first = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(20)))
        .await;
    assert_eq!(destination.request().await.body["target"], "call/call-1");

    bridge.delivery(&first, "crm", "in_flight").await;

    // A newer truth for the same target waits, another target does not.
    let second = bridge
        .hear("team", &told("call-1", "no_show", minutes_ago(10)))
        .await;
    destination.answer(Answer::ok());
    let other = bridge
        .hear("team", &told("call-2", "shown", minutes_ago(5)))
        .await;
    assert_eq!(destination.request().await.body["target"], "call/call-2");
    bridge.delivery(&other, "crm", "delivered").await;
    bridge.delivery(&second, "crm", "pending").await;

    destination.answer(Answer::ok());
    held.send(Answer::ok()).unwrap();
    assert_eq!(destination.request().await.body["outcome"], "no_show");
    bridge.delivery(&second, "crm", "delivered").await;
    bridge.delivery(&first, "crm", "delivered").await;
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_carries_the_truth_of_its_own_moment() {
    let destination = FakeDestination::start().await;
    let bridge = bridge_to(&destination, "").await;
    let held = destination.hold();
    let first = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(20)))
        .await;
    assert_eq!(destination.request().await.body["outcome"], "shown");
    let second = bridge
        .hear("team", &told("call-1", "closed", minutes_ago(10)))
        .await;

    destination.answer(Answer::ok());
    held.send(Answer::new(503)).unwrap();
    assert_eq!(
        destination.request().await.body["outcome"],
        "closed",
        "what failed is not repeated"
    );
    bridge.delivery(&second, "crm", "delivered").await;
    bridge.delivery(&first, "crm", "superseded").await;
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn phonelys_call_id_of_the_first_answer_addresses_what_follows() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new()
        .phonely("phonely", &destination, "")
        .start()
        .await;
    let by_phone = |outcome: &str, minutes| json!({ "outcome": outcome, "phone": "+1 415 555 1234", "occurred_at": minutes_ago(minutes) });

    destination.answer(
        Answer::ok().json(&json!({ "success": true, "call_id": "call_777", "updated_fields": [] })),
    );
    let story = bridge.hear("team", &by_phone("shown", 20)).await;
    let request = destination.request().await;
    assert_eq!(request.method, "PATCH");
    assert_eq!(
        request.path,
        "/api/calls/agent123/%2B14155551234?preference=last"
    );
    assert_eq!(
        request.headers["x-authorization"],
        "phonely-key-of-the-tests"
    );
    assert_eq!(request.body["custom_call_outcome"], "Appointment Completed");
    bridge.delivery(&story, "phonely", "delivered").await;

    // Through a failure and a restart.
    let bridge = bridge.restart().await;
    destination.answer(Answer::new(500));
    destination.answer(Answer::ok());
    let story = bridge.hear("team", &by_phone("closed", 10)).await;
    for _ in 0..2 {
        assert_eq!(
            destination.request().await.path,
            "/api/calls/agent123/call_777"
        );
    }
    bridge.delivery(&story, "phonely", "delivered").await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retraction_falls_back_to_the_next_best_and_then_to_nothing() {
    let destination = FakeDestination::start().await;
    let bridge = bridge_to(&destination, "").await;
    let expect = async |body: Value, word: &str| {
        destination.answer(Answer::ok());
        bridge.hear("team", &body).await;
        let request = destination.request().await;
        assert_eq!(
            request.body["outcome"].as_str().unwrap_or("-"),
            word,
            "{request:?}"
        );
        bridge.idle().await;
        request
    };
    expect(told("call-1", "shown", minutes_ago(30)), "shown").await;
    expect(told("call-1", "no_show", minutes_ago(20)), "no_show").await;
    expect(taken_back("call-1", "no_show", minutes_ago(10)), "shown").await;
    let cleared = expect(taken_back("call-1", "shown", minutes_ago(5)), "-").await;
    assert_eq!(cleared.body["type"], "outcome.cleared");
    assert_eq!(cleared.body["target"], "call/call-1");
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retraction_heard_before_its_outcome_holds_all_the_same() {
    let destination = FakeDestination::start().await;
    let bridge = bridge_to(&destination, "").await;
    bridge
        .hear("team", &taken_back("call-1", "no_show", minutes_ago(10)))
        .await;
    let story = bridge
        .hear("team", &told("call-1", "no_show", minutes_ago(20)))
        .await;
    bridge.idle().await;
    let states: Vec<_> = story["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["state"])
        .collect();
    assert!(states.iter().all(|state| *state != "delivered"), "{story}");

    // Marked again after that: it holds.
    destination.answer(Answer::ok());
    bridge
        .hear("team", &told("call-1", "no_show", minutes_ago(5)))
        .await;
    assert_eq!(destination.request().await.body["outcome"], "no_show");
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_cannot_take_back_is_not_asked_to() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new()
        .phonely("phonely", &destination, "")
        .start()
        .await;
    destination.answer(Answer::ok());
    bridge
        .hear("team", &told("call-1", "no_show", minutes_ago(20)))
        .await;
    destination.request().await;
    bridge.idle().await;
    let story = bridge
        .hear("team", &taken_back("call-1", "no_show", minutes_ago(10)))
        .await;
    bridge.idle().await;
    destination.finish().await;
    let deliveries = bridge.get("/deliveries").await;
    let said = format!("{story} {deliveries}");
    assert!(
        said.contains("cannot"),
        "it is said to be impossible: {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_is_taken_back_leaves_nothing_behind_at_phonely() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new()
        .phonely(
            "phonely",
            &destination,
            "labels = { none = \"No Outcome\" }",
        )
        .start()
        .await;
    let mut sale = told("call-1", "closed", minutes_ago(20));
    sale["value"] = "299".into();
    sale["currency"] = "USD".into();
    for (said, label, value) in [
        (
            told("call-1", "shown", minutes_ago(30)),
            "Appointment Completed",
            None,
        ),
        (sale, "Sold", Some(299)),
        // A newer word about the sale that does not know its amount: the one that was told stays.
        (told("call-1", "closed", minutes_ago(15)), "Sold", None),
        (
            taken_back("call-1", "closed", minutes_ago(10)),
            "Appointment Completed",
            Some(0),
        ),
        (
            taken_back("call-1", "shown", minutes_ago(5)),
            "No Outcome",
            Some(0),
        ),
    ] {
        let updated: &[&str] = match value {
            Some(_) => &["custom_call_outcome", "custom_call_outcome_value"],
            None => &["custom_call_outcome"],
        };
        let answer = json!({ "success": true, "call_id": "call-1", "updated_fields": updated });
        destination.answer(Answer::new(200).json(&answer));
        bridge.hear("team", &said).await;
        let request = destination.request().await;
        assert_eq!(request.path, "/api/calls/agent123/call-1");
        assert_eq!(request.body["custom_call_outcome"], label);
        assert_eq!(
            request.body["custom_call_outcome_value"].as_i64(),
            value,
            "{label}"
        );
        bridge.idle().await;
    }
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_restates_the_value() {
    let destination = FakeDestination::start().await;
    let stripe = "\n[sources.stripe]\nconnector = \"stripe\"\nsigning_secret = \"whsec_stripe\"\n";
    let bridge = Setup::new()
        .config(stripe)
        .phonely("phonely", &destination, "")
        .start()
        .await;
    let event = |id: &str, kind: &str, minutes, object: Value| json!({ "id": id, "object": "event", "type": kind, "created": minutes_ago(minutes).as_second(), "livemode": true, "data": { "object": object } });
    let checkout = json!({ "id": "cs_1", "object": "checkout.session", "payment_status": "paid", "amount_total": 120_000, "currency": "usd", "payment_intent": "pi_1", "metadata": { "call_id": "call-1" } });
    let charge = json!({ "id": "ch_1", "object": "charge", "amount": 120_000, "amount_refunded": 20_050, "refunded": false, "currency": "usd", "payment_intent": "pi_1", "metadata": { "call_id": "call-1" } });

    destination.answer(Answer::ok());
    bridge
        .hear(
            "stripe",
            &event("evt_1", "checkout.session.completed", 30, checkout),
        )
        .await;
    let sold = destination.request().await;
    assert_eq!(sold.body["custom_call_outcome"], "Sold");
    assert_eq!(
        sold.body["custom_call_outcome_value"].as_f64(),
        Some(1200.0)
    );

    destination.answer(Answer::ok());
    bridge
        .hear("stripe", &event("evt_2", "charge.refunded", 10, charge))
        .await;
    let restated = destination.request().await;
    assert_eq!(restated.path, sold.path);
    assert_eq!(
        restated.body["custom_call_outcome_value"].as_f64(),
        Some(999.5)
    );
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_of_the_same_outcome_is_sent_the_same_one_is_not() {
    let destination = FakeDestination::start().await;
    let bridge = bridge_to(&destination, "").await;
    for value in ["1000.00", "1250.10"] {
        destination.answer(Answer::ok());
        bridge
            .hear("team", &worth("call-1", "closed", minutes_ago(10), value))
            .await;
        let request = destination.request().await;
        assert_eq!(request.body["currency"], "USD");
        bridge.idle().await;
    }
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outgoing_webhooks_verify_as_standard_webhooks_and_keep_their_id_over_retries() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(500));
    destination.answer(Answer::ok());
    let bridge = bridge_to(&destination, "").await;
    bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let (first, second) = (destination.request().await, destination.request().await);
    assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
    for request in [first, second] {
        let parts = RequestParts {
            method: request.method,
            headers: request.headers.into_iter().collect(),
            body: request.body.to_string().into(),
            ..RequestParts::default()
        };
        // The destination shares the secret of the source `team`.
        let inbound = &bridge.source("team").inbound;
        let received = inbound.receive(InboundRequest::new(parts.clone()), Clock::system().now());
        assert!(matches!(received, Reception::Verified(_)), "{received:?}");
        let altered = RequestParts {
            body: "{}".into(),
            ..parts
        };
        let received = inbound.receive(InboundRequest::new(altered), Clock::system().now());
        assert!(matches!(received, Reception::Refused(_)), "{received:?}");
    }
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_from_outside_stay_inside_their_path_segment() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new()
        .phonely("phonely", &destination, "")
        .start()
        .await;
    for call in ["../../admin", "a/b?x=1#y", "a%2Fb", "a b\u{e9}"] {
        destination.answer(Answer::ok());
        bridge
            .hear("team", &told(call, "shown", minutes_ago(10)))
            .await;
        let path = destination.request().await.path;
        let segment = path
            .strip_prefix("/api/calls/agent123/")
            .unwrap_or_else(|| panic!("{path}"));
        assert!(!segment.contains(['/', '?', '#', ' ']), "{call}: {path}");
    }
    bridge.idle().await;
    destination.finish().await;
}
