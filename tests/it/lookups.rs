//! Look-ups: what an event leaves out is asked for, durably and politely, and nobody else waits for it.

use serde_json::{Value, json};

use crate::cli::about;
use crate::support::{Answer, FakeDestination, Received, Setup, TestBridge, eventually};

/// A CRM whose events name a deal; its contact stands behind the API.
const CRM: &str = r#"
format = 1
title = "CRM"
summary = "Deals."
[[field]]
key = "token"
secret = true
required = true
[[field]]
key = "api_url"
example = "https://api.example.com"
[[field]]
key = "api_key"
secret = true
[[field]]
key = "client_id"
[[field]]
key = "client_secret"
secret = true
[[field]]
key = "refresh_token"
secret = true
[inbound]
body = "json"
[inbound.verify]
kind = "token"
at = "header:x-token"
secret = "token"
[inbound.dedupe]
key = ["{header.webhook-id}"]
[api]
url = "{setting.api_url}/v1"
rate = 1000
concurrency = 2
timeout = "1 second"
[[api.auth]]
kind = "header"
name = "x-api-key"
secret = "api_key"
[[api.auth]]
kind = "oauth2"
token_url = "{setting.api_url}/token"
client_id = "client_id"
client_secret = "client_secret"
refresh_token = "refresh_token"
client_auth = "basic"
[[lookup]]
name = "deal"
path = "/deals/{event.deal}"
cache = "0 seconds"
[lookup.take]
amount = "{body.amount}"
contact = "{body.contact.id}"
[[lookup]]
name = "contact"
method = "POST"
path = "/contacts/search"
body = { id = "{lookup.deal.contact}" }
cache = "1 hour"
[lookup.take]
phone = "{body.phone}"
"#;

const RULES: &str = r#"
format = 1
batch = "event.events"
[[rule]]
id = "won"
when = [{ field = "event.stage", is = "won" }]
outcome = "closed"
[rule.set]
deal_id = "{event.deal | text}"
call_id = "{event.call}"
phone = "{event.phone or lookup.contact.phone | phone}"
value = "{lookup.deal.amount | money}"
currency = "EUR"
[[rule]]
id = "other"
when = [{ field = "event.stage", is_not = "won" }]
ignore = "still open"
"#;

const KEY: &str = "api_key = \"key-of-the-api\"";
const OAUTH: &str =
    "client_id = \"bridge\"\nclient_secret = \"s3cret\"\nrefresh_token = \"first-refresh\"";

fn setup(api: &FakeDestination, credentials: &str) -> Setup {
    let setup = Setup::new()
        .file("own/crm/connector.toml", CRM)
        .file("own/crm/mapping.toml", RULES);
    let own = setup.config_dir().join("own");
    let text = format!(
        "\n[connectors]\ndir = \"{}\"\n[sources.crm]\nconnector = \"crm\"\ntoken = \"t0ken\"\napi_url = \"{}\"\nallow_private = true\n{credentials}\n",
        own.display(),
        api.url()
    );
    setup.config(&text)
}

fn won(deal: &str) -> Value {
    json!({ "deal": deal, "stage": "won", "call": format!("call-{deal}") })
}

fn events(events: &[Value]) -> Value {
    json!({ "events": events })
}

fn deal(contact: &str) -> Answer {
    Answer::new(200).json(&json!({ "amount": "99.50", "contact": { "id": contact } }))
}

fn contact() -> Answer {
    Answer::new(200).json(&json!({ "phone": "+1 415-555-0123", "notes": "not taken" }))
}

/// The story of an event once it has become something with this reason.
async fn became(bridge: &TestBridge, id: &str, disposition: &str, reason: &str) -> Value {
    let mut last = Value::Null;
    eventually(&format!("{id} is {disposition}: {reason}"), async || {
        let story = bridge.get(&format!("/events/{id}")).await;
        let event = &story["event"];
        if last != *event {
            last.clone_from(event);
        }
        let found = event["disposition"] == disposition
            && event["reason"].as_str().unwrap().contains(reason);
        found.then_some(story)
    })
    .await
}

fn outcome(story: &Value) -> &Value {
    &story["outcomes"][0]
}

async fn state(bridge: &TestBridge) -> Value {
    let sources = bridge.get("/sources").await;
    let found = sources["items"].as_array().unwrap().iter();
    let crm = found.clone().find(|source| source["name"] == "crm");
    crm.unwrap()["lookups"].clone()
}

fn header<'r>(request: &'r Received, name: &str) -> &'r str {
    request.headers.get(name).map_or("", String::as_str)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deal_finds_its_contact_and_the_destination_gets_what_was_found() {
    let (api, destination) = (
        FakeDestination::start().await,
        FakeDestination::start().await,
    );
    let bridge = setup(&api, KEY)
        .webhook("team", &destination, "")
        .start()
        .await;
    let first = api.hold();
    let id = bridge.accept("crm", &events(&[won("d 1/2")])).await;
    became(
        &bridge,
        &id,
        "waiting",
        "waits for the look-up `deal`: it is being asked",
    )
    .await;
    destination.answer(Answer::ok());
    api.answer(contact());
    first.send(deal("c1")).unwrap();

    let story = became(&bridge, &id, "mapped", "rule `won`").await;
    let asked = api.request().await;
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("GET", "/v1/deals/d%201%2F2")
    );
    assert_eq!(header(&asked, "x-api-key"), "key-of-the-api");
    let asked = api.request().await;
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/v1/contacts/search")
    );
    assert_eq!(asked.body, json!({ "id": "c1" }));
    assert_eq!(outcome(&story)["subject"]["phone"], "+14155550123");
    let made = story["trace"]["lookups"].as_array().unwrap();
    let how: Vec<_> = made
        .iter()
        .map(|made| (&made["lookup"], &made["how"]))
        .collect();
    assert_eq!(
        how,
        [
            (&json!("deal"), &json!("answered")),
            (&json!("contact"), &json!("answered"))
        ]
    );
    assert!(!story.to_string().contains("key-of-the-api"));
    let brought = destination.request().await;
    assert_eq!(brought.body["value"], json!(99.5), "{}", brought.body);
    bridge.idle().await;
    api.finish().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_the_rules_go_on_and_the_trace_says_what_to_set() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, "").start().await;
    let story = bridge.hear("crm", &events(&[won("7")])).await;
    assert_eq!(story["event"]["disposition"], "mapped", "{story}");
    assert_eq!(outcome(&story)["value"], Value::Null);
    let made = &story["trace"]["lookups"][0];
    assert_eq!(made["how"], "not_made");
    let help = "set `api_key`, or `client_id` and `client_secret` and `refresh_token` at the source to have it made";
    assert_eq!(made["why"], help);
    assert_eq!(
        state(&bridge).await,
        json!({ "state": "off", "reason": help })
    );
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_for_an_event_that_no_rule_needs_it_for() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, KEY).start().await;
    let open = json!({ "deal": "1", "stage": "open" });
    let story = bridge.hear("crm", &events(&[open])).await;
    assert_eq!(story["event"]["disposition"], "ignored");
    // The phone is there, so the contact is not asked for.
    api.answer(deal("c1"));
    let mut known = won("2");
    known["phone"] = json!("+442079460958");
    let id = bridge.accept("crm", &events(&[known])).await;
    became(&bridge, &id, "mapped", "").await;
    assert_eq!(api.request().await.path, "/v1/deals/2");
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_answer_leaves_the_event_waiting_with_its_reason() {
    let (api, elsewhere) = (
        FakeDestination::start().await,
        FakeDestination::start().await,
    );
    let bridge = setup(&api, KEY).start().await;
    let cases: [(&str, &dyn Fn()); 7] = [
        (
            "answered 503: {\"message\":\"down\"}; it is asked again at",
            &|| {
                api.answer(Answer::new(503).json(&json!({ "message": "down" })));
            },
        ),
        ("answered 429", &|| {
            api.answer(Answer::new(429).header("retry-after", "0"));
        }),
        ("the answer is not JSON", &|| api.answer(Answer::new(200))),
        ("answered 302, a redirect, which is not followed", &|| {
            let location = format!("{}/stolen", elsewhere.url());
            api.answer(Answer::new(302).header("location", &location));
        }),
        ("the answer broke off or is not HTTP", &|| {
            api.garbage(b"\0\x01 no http at all\r\n\r\n");
        }),
        ("the connection was reset", &|| api.hang_up()),
        ("the answer is larger than 64 KiB", &|| {
            let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n".to_vec();
            answer.extend(std::iter::repeat_n(b'[', 200_000));
            api.garbage(&answer);
        }),
    ];
    for (n, (reason, play)) in cases.into_iter().enumerate() {
        play();
        let id = bridge
            .accept("crm", &events(&[won(&format!("bad-{n}"))]))
            .await;
        api.request().await;
        let story = eventually(reason, async || {
            let story = bridge.get(&format!("/events/{id}")).await;
            let told = story["event"]["reason"].as_str().unwrap().to_owned();
            // Which of the two a closed connection is depends on the moment.
            let told = told.replace(
                "the answer broke off or is not HTTP",
                "the connection was reset",
            );
            let reason = reason.replace(
                "the answer broke off or is not HTTP",
                "the connection was reset",
            );
            told.contains(&reason).then_some(story)
        })
        .await;
        assert_eq!(story["event"]["disposition"], "waiting", "{story}");
        assert_eq!(story["outcomes"], json!([]));
    }
    // They are asked again after five seconds; by then all is well.
    api.otherwise(deal("c1"));
    elsewhere.finish().await;
    for id in bridge.event_ids().await {
        became(&bridge, &id, "mapped", "rule `won`").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_given_up_in_time_and_delays_no_other_event() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, KEY).start().await;
    let slow = api.hold();
    let id = bridge.accept("crm", &events(&[won("slow")])).await;
    api.request().await;
    let other = bridge
        .hear("team", &json!({ "outcome": "shown", "call_id": "c" }))
        .await;
    assert_eq!(other["event"]["disposition"], "mapped");
    api.otherwise(deal("c1"));
    let quick = bridge.accept("crm", &events(&[won("quick")])).await;
    became(&bridge, &quick, "mapped", "rule `won`").await;
    became(&bridge, &id, "waiting", "no complete answer in time").await;
    drop(slow);
    api.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_asks_again_and_loses_nothing() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, KEY).start().await;
    let lost = api.hold();
    let id = bridge.accept("crm", &events(&[won("1")])).await;
    api.request().await;
    became(&bridge, &id, "waiting", "it is being asked").await;
    let stopped = bridge.stop().await;
    drop(lost);
    api.answer(deal("c1"));
    api.answer(contact());
    let bridge = TestBridge::again(stopped).await;
    let story = became(&bridge, &id, "mapped", "rule `won`").await;
    assert_eq!(outcome(&story)["subject"]["phone"], "+14155550123");
    assert_eq!(api.rest().await.len(), 2);
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_reused_while_they_are_fresh_and_by_replays() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, KEY).start().await;
    api.answer(deal("c1"));
    api.answer(contact());
    let id = bridge.accept("crm", &events(&[won("1")])).await;
    let story = became(&bridge, &id, "mapped", "rule `won`").await;
    // Another deal of the same contact; the deal itself is not cached, the contact is.
    api.answer(deal("c1"));
    let id = bridge.accept("crm", &events(&[won("2")])).await;
    became(&bridge, &id, "mapped", "rule `won`").await;
    let paths: Vec<String> = api
        .rest()
        .await
        .into_iter()
        .map(|asked| asked.path)
        .collect();
    assert_eq!(paths, ["/v1/deals/1", "/v1/contacts/search", "/v1/deals/2"]);
    // A replay finds what was found.
    assert!(bridge.replay(&story).await.status < 300);
    bridge.idle().await;
    let again = bridge
        .get(&format!(
            "/events/{}",
            story["event"]["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(again["event"]["disposition"], "mapped");
    assert_eq!(again["trace"]["lookups"], story["trace"]["lookups"]);
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_stays_while_a_replay_asks_again() {
    let api = FakeDestination::start().await;
    let target = FakeDestination::start().await;
    target.otherwise(Answer::ok());
    // Rules that need nothing but the event.
    let plain = RULES
        .replace(
            "{event.phone or lookup.contact.phone | phone}",
            "+14155550123",
        )
        .replace("{lookup.deal.amount | money}", "1");
    let bridge = setup(&api, KEY)
        .file("own/crm/mapping.toml", &plain)
        .webhook("tool", &target, "")
        .start()
        .await;
    let story = bridge.hear("crm", &events(&[won("1")])).await;
    assert_eq!(target.request().await.body["outcome"], "closed");
    bridge.idle().await;
    let id = story["event"]["id"].as_str().unwrap().to_owned();
    let stopped = bridge.stop().await.file("own/crm/mapping.toml", RULES);
    let bridge = TestBridge::again(stopped).await;
    let asked = api.hold();
    assert!(bridge.replay(&story).await.status < 300);
    let waits = became(&bridge, &id, "waiting", "what it led to before stays").await;
    assert_eq!(outcome(&waits)["value"]["amount"], "1", "{waits}");
    asked.send(deal("c1")).unwrap();
    api.answer(contact());
    became(&bridge, &id, "mapped", "rule `won`").await;
    bridge.idle().await;
    // One word more, and none that took the first one back.
    let told: Vec<Value> = target
        .rest()
        .await
        .into_iter()
        .map(|told| told.body)
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["value"], 99.5, "{told:?}");
    assert_eq!(api.rest().await.len(), 2);
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_asked_for_before_an_event_came_does_not_hold_for_it() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, KEY).start().await;
    let worth = |amount: &str| Answer::new(200).json(&json!({ "amount": amount }));
    let mut known = won("1");
    known["phone"] = json!("+442079460958");
    let slow = api.hold();
    let first = bridge.accept("crm", &events(&[known.clone()])).await;
    api.request().await;
    // The deal changes while the answer is on its way.
    known["call"] = json!("another");
    let second = bridge.accept("crm", &events(&[known])).await;
    became(&bridge, &second, "waiting", "it is being asked").await;
    api.answer(worth("50"));
    slow.send(worth("99.50")).unwrap();
    let first = became(&bridge, &first, "mapped", "rule `won`").await;
    let second = became(&bridge, &second, "mapped", "rule `won`").await;
    let worth_of = |story: &Value| outcome(story)["value"]["amount"].clone();
    assert_eq!(
        (worth_of(&first), worth_of(&second)),
        (json!("99.50"), json!("50"))
    );
    assert_eq!(api.rest().await.len(), 1);
    // Processed again, the first event finds what it found, though the deal was asked for once more since.
    assert!(bridge.replay(&first).await.status < 300);
    bridge.idle().await;
    let id = first["event"]["id"].as_str().unwrap();
    let again = became(&bridge, id, "mapped", "rule `won`").await;
    assert_eq!(worth_of(&again), json!("99.50"));
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_vendor_does_not_have_is_nothing_there() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, KEY).start().await;
    api.answer(Answer::new(404));
    let id = bridge.accept("crm", &events(&[won("gone")])).await;
    let story = became(&bridge, &id, "mapped", "rule `won`").await;
    assert_eq!(outcome(&story)["subject"]["phone"], Value::Null);
    let made = story["trace"]["lookups"].as_array().unwrap();
    assert_eq!(made[0]["how"], "none");
    assert_eq!(
        (&made[1]["how"], &made[1]["why"]),
        (
            &json!("not_made"),
            &json!("nothing is at lookup.deal.contact")
        )
    );
    assert_eq!(api.rest().await.len(), 1);
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_items_of_a_batch_do_not_wait_for_one_another() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, KEY).start().await;
    let known = api.hold();
    let open = json!({ "deal": "3", "stage": "open" });
    let mut ready = won("2");
    ready["phone"] = json!("+442079460958");
    let id = bridge
        .accept("crm", &events(&[ready, open, won("2")]))
        .await;
    // Two items ask the same question: it is asked once.
    let waiting = became(&bridge, &id, "waiting", "of 3 items").await;
    assert_eq!(waiting["outcomes"], json!([]));
    let held = api.hold();
    known.send(deal("c1")).unwrap();
    let story = became(&bridge, &id, "waiting", "1 of 3 items mapped, 1 waiting").await;
    assert_eq!(outcome(&story)["subject"]["phone"], "+442079460958");
    held.send(contact()).unwrap();
    let story = became(&bridge, &id, "mapped", "2 of 3 items mapped").await;
    assert_eq!(story["outcomes"].as_array().unwrap().len(), 2);
    assert_eq!(api.rest().await.len(), 2);
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_hold_all_look_ups_of_the_source_until_they_are_changed() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, "api_key = \"${API_KEY}\"")
        .env("API_KEY", "wrong-key")
        .start()
        .await;
    api.answer(Answer::new(401).json(&json!({ "error": "bad key wrong-key" })));
    let first = bridge.accept("crm", &events(&[won("1")])).await;
    let story = became(
        &bridge,
        &first,
        "waiting",
        "the look-ups of `crm` are held since",
    )
    .await;
    let reason = story["event"]["reason"].as_str().unwrap();
    assert!(
        reason.contains("the credentials are refused (401)"),
        "{reason}"
    );
    assert!(!story.to_string().contains("wrong-key"), "{story}");
    api.request().await;
    // Others do not ask at all.
    let second = bridge.accept("crm", &events(&[won("2")])).await;
    became(&bridge, &second, "waiting", "are held since").await;
    let state = state(&bridge).await;
    assert_eq!(state["state"], "held", "{state}");
    assert!(state["next_probe"].is_string());
    let ready = bridge.admin(reqwest::Method::GET, "/health/ready");
    let ready: Value = ready.send().await.unwrap().json().await.unwrap();
    assert_eq!(ready["held_lookups"], json!(["crm"]), "{ready}");
    let metrics = bridge
        .admin(reqwest::Method::GET, "/metrics")
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("outcome_bridge_lookups_held{source=\"crm\"} 1"),
        "{metrics}"
    );
    let stopped = bridge.stop().await.env("API_KEY", "right-key");
    api.otherwise(deal("c1"));
    let bridge = TestBridge::again(stopped).await;
    for id in [first, second] {
        became(&bridge, &id, "mapped", "rule `won`").await;
    }
    let asked = api.rest().await;
    assert!(
        asked
            .iter()
            .all(|asked| header(asked, "x-api-key") == "right-key")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_of_a_batch_keeps_its_id_when_the_items_before_it_are_answered() {
    let (api, destination) = (
        FakeDestination::start().await,
        FakeDestination::start().await,
    );
    let bridge = setup(&api, KEY)
        .webhook("team", &destination, "")
        .start()
        .await;
    destination.otherwise(Answer::ok());
    api.answer(deal("c1"));
    let held = api.hold();
    let mut ready = won("2");
    ready["phone"] = json!("+442079460958");
    ready["call"] = json!("call-ready");
    let id = bridge.accept("crm", &events(&[won("2"), ready])).await;
    let early = destination.request().await.body;
    assert_eq!(early["call_id"], "call-ready");
    became(&bridge, &id, "waiting", "1 of 2 items mapped, 1 waiting").await;
    held.send(contact()).unwrap();
    let late = destination.request().await.body;
    assert_eq!(late["call_id"], "call-2");
    assert_ne!(early["id"], late["id"], "{early} {late}");
    let story = became(&bridge, &id, "mapped", "2 of 2 items mapped").await;
    let told: Vec<_> = story["outcomes"].as_array().unwrap().iter().collect();
    let ids = told.iter().map(|told| &told["id"]);
    assert_eq!(ids.collect::<Vec<_>>(), [&late["id"], &early["id"]]);
    bridge.idle().await;
    destination.finish().await;
    assert_eq!(api.rest().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oauth_token_is_shared_renewed_and_its_replaced_refresh_token_survives_a_restart() {
    let api = FakeDestination::start().await;
    let token = |access: &str, life: u64, refresh: Option<&str>| {
        Answer::new(200).json(&json!({ "access_token": access, "expires_in": life, "refresh_token": refresh, "token_type": "bearer" }))
    };
    let bridge = setup(&api, OAUTH).start().await;
    api.answer(token("at-1", 3_600, Some("second-refresh")));
    api.answer(deal("c1"));
    api.answer(contact());
    let id = bridge.accept("crm", &events(&[won("1")])).await;
    became(&bridge, &id, "mapped", "rule `won`").await;
    let asked = api.request().await;
    assert_eq!(asked.path, "/token");
    assert_eq!(
        asked.text,
        "grant_type=refresh_token&refresh_token=first-refresh"
    );
    assert_eq!(
        header(&asked, "authorization"),
        "Basic YnJpZGdlOnMzY3JldA=="
    );
    for _ in 0..2 {
        assert_eq!(header(&api.request().await, "authorization"), "Bearer at-1");
    }
    // Withdrawn before its time: another one is asked for, and the question again.
    api.answer(Answer::new(401));
    api.answer(token("at-2", 1, None));
    api.answer(deal("c1"));
    let id = bridge.accept("crm", &events(&[won("2")])).await;
    became(&bridge, &id, "mapped", "rule `won`").await;
    assert_eq!(header(&api.request().await, "authorization"), "Bearer at-1");
    assert_eq!(
        api.request().await.text,
        "grant_type=refresh_token&refresh_token=second-refresh"
    );
    assert_eq!(header(&api.request().await, "authorization"), "Bearer at-2");
    let stopped = bridge.stop().await;
    api.answer(token("at-3", 3_600, None));
    api.answer(deal("c1"));
    let bridge = TestBridge::again(stopped).await;
    let id = bridge.accept("crm", &events(&[won("3")])).await;
    let story = became(&bridge, &id, "mapped", "rule `won`").await;
    assert_eq!(
        api.request().await.text,
        "grant_type=refresh_token&refresh_token=second-refresh"
    );
    assert_eq!(header(&api.request().await, "authorization"), "Bearer at-3");
    for secret in ["at-1", "at-2", "at-3", "refresh", "s3cret"] {
        assert!(!story.to_string().contains(secret), "{secret} in {story}");
    }
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_refresh_token_holds_the_look_ups_and_a_failing_endpoint_does_not() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, OAUTH).start().await;
    api.answer(Answer::new(500));
    let id = bridge.accept("crm", &events(&[won("1")])).await;
    became(
        &bridge,
        &id,
        "waiting",
        "the token endpoint answered 500; it is asked again at",
    )
    .await;
    api.answer(Answer::new(400).json(&json!({ "error": "invalid_grant" })));
    let id = bridge.accept("crm", &events(&[won("2")])).await;
    let reason = "the token endpoint refuses the credentials (400, invalid_grant)";
    became(&bridge, &id, "waiting", reason).await;
    assert_eq!(state(&bridge).await["state"], "held");
    let listed = about(&bridge, &["sources", "list"]).stdout;
    assert!(listed.contains("held: the token endpoint"), "{listed}");
    assert_eq!(api.rest().await.len(), 2);
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_refused_unless_the_source_allows_it() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, KEY)
        .set("SOURCES__CRM__ALLOW_PRIVATE", "false")
        .start()
        .await;
    let id = bridge.accept("crm", &events(&[won("1")])).await;
    became(&bridge, &id, "waiting", "the address 127.0.0.1 is loopback").await;
    api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_questions_are_under_way_than_the_connector_allows() {
    let api = FakeDestination::start().await;
    let bridge = setup(&api, KEY).start().await;
    api.otherwise(deal("c1"));
    let batch: Vec<Value> = (0..40).map(|n| won(&n.to_string())).collect();
    let id = bridge.accept("crm", &events(&batch)).await;
    became(&bridge, &id, "mapped", "40 of 40 items mapped").await;
    assert!(api.most_in_flight() <= 2, "{}", api.most_in_flight());
    api.rest().await;
}
