//! Everything can be seen, and nothing is shown that must not be.

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ADMIN_TOKEN, Answer, Child, FakeDestination, Reply, Setup, TEAM_SECRET, client, eventually,
    minutes_ago, run, told, write,
};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_the_documented_names() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(503));
    destination.answer(Answer::ok());
    destination.answer(Answer::new(400));
    let bridge = Setup::new()
        .webhook("metered", &destination, "")
        .start()
        .await;
    for call in ["one", "two"] {
        bridge
            .hear("team", &told(call, "shown", minutes_ago(3)))
            .await;
        destination.request().await;
        if call == "one" {
            destination.request().await;
        }
        bridge.idle().await;
    }
    let mut forged = bridge.signed("team", bridge.unsigned("{}"));
    forged.body = "[]".into();
    assert_eq!(bridge.send("team", forged).await.status, 401);

    let reply = Reply::of(bridge.admin(Method::GET, "/metrics").send().await.unwrap()).await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.headers["content-type"].starts_with("text/plain; version=0.0.4"),
        "{reply:?}"
    );
    for name in [
        "events_received_total",
        "events_verification_failures_total",
        "receive_duration_seconds_bucket",
        "event_body_bytes_bucket",
        "events_processed_total",
        "processing_duration_seconds_bucket",
        "source_last_event_timestamp_seconds",
        "queue_commit_size_bucket",
        "queue_sync_duration_seconds_bucket",
        "queue_events",
        "queue_unprocessed_events",
        "deliveries",
        "delivery_oldest_due_seconds",
        "store_bytes",
        "delivery_attempts_total",
        "delivery_attempt_duration_seconds_bucket",
        "delivery_latency_seconds_bucket",
        "dead_letters_total",
        "circuit_breaker_state",
        "destination_held",
    ] {
        let is_it = |line: &str| {
            line.starts_with(&format!("outcome_bridge_{name}")) && !line.starts_with('#')
        };
        assert!(reply.body.lines().any(is_it), "{name} in {}", reply.body);
    }
    // Counted by destination: nobody else in this process has one of that name.
    let count = |start: &str| -> f64 {
        let line = reply.body.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start} in {}", reply.body))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert_eq!(
        count("outcome_bridge_dead_letters_total{destination=\"metered\"}"),
        1.0
    );
    let verdict = |verdict: &str| {
        count(&format!(
            "outcome_bridge_delivery_attempts_total{{destination=\"metered\",verdict=\"{verdict}\"}}"
        ))
    };
    assert_eq!(
        [verdict("retry"), verdict("delivered"), verdict("refused")],
        [1.0, 1.0, 1.0]
    );
    for secret in [TEAM_SECRET, ADMIN_TOKEN] {
        assert!(!reply.body.contains(secret));
    }
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_without_a_token_on_both_sides() {
    let bridge = Setup::new().start().await;
    for (side, paths) in [
        (
            format!("http://{}", bridge.inlet()),
            &["/health/live", "/health/ready"][..],
        ),
        (bridge.admin_url(), &["/health/live", "/health/ready"]),
    ] {
        for path in paths {
            let response = client().get(format!("{side}{path}")).send().await.unwrap();
            assert_eq!(response.status().as_u16(), 200, "{side}{path}");
        }
    }
    // The side that faces the world has nothing else.
    for path in [
        "/metrics",
        "/admin/v1/events",
        "/admin/v1/openapi.json",
        "/",
    ] {
        let response = client()
            .get(format!("http://{}{path}", bridge.inlet()))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), 404, "{path}");
    }
}

const PHONE: &str = "+14155559876";
const EMAIL: &str = "jane.doe.private@example.com";
const NAME: &str = "Jane Q. Private";

fn secrets() -> Vec<(&'static str, String)> {
    let digits = PHONE.trim_start_matches('+');
    vec![
        (
            "the source's secret",
            TEAM_SECRET.trim_start_matches("whsec_").to_owned(),
        ),
        ("the admin token", ADMIN_TOKEN.to_owned()),
        (
            "the destination's key",
            "phonely-key-of-the-tests".to_owned(),
        ),
        ("a phone", digits.to_owned()),
        ("a phone, encoded", format!("%2B{digits}")),
        ("a phone as written", "415 555 9876".to_owned()),
        ("an e-mail", EMAIL.to_owned()),
        ("an e-mail's name", "jane.doe.private".to_owned()),
        ("a body", NAME.to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_hold_one_line_for_each_event_and_attempt_and_nothing_personal() {
    let (phonely, crm) = (
        FakeDestination::start().await,
        FakeDestination::start().await,
    );
    // Destinations repeat what they were told, secrets among it.
    let echo = |secret: &str| json!({ "success": false, "error": format!("no call of {PHONE} or {EMAIL} for {secret}") });
    let key = "phonely-key-of-the-tests";
    phonely.answer(Answer::new(503).json(&echo(key)));
    phonely.answer(Answer::new(400).json(&echo(key)));
    crm.answer(Answer::new(401).json(&echo(TEAM_SECRET)));
    crm.otherwise(Answer::ok());
    let setup = Setup::new()
        .phonely("phonely", &phonely, "")
        .webhook("crm", &crm, "hold_probe = \"1 s\"")
        .with_store()
        .written();
    let config = setup.config_dir();
    let child = Child::serve(&config);
    let inlet = format!("http://{}", child.inlet);
    let file = config.join("event.json");
    let post = |body: &Value, header: Option<&str>, code: i32| {
        write(&file, body.to_string());
        let mut arguments = vec![
            "send",
            "--config",
            config.to_str().unwrap(),
            "--source",
            "team",
            "--url",
            &inlet,
        ];
        if let Some(header) = header {
            arguments.extend(["--header", header]);
        }
        arguments.push(file.to_str().unwrap());
        let sent = run(arguments);
        assert_eq!(sent.code, code, "{sent:?}");
    };
    let by = |key: &str, value: &str| json!({ "outcome": "shown", key: value, "notes": NAME, "occurred_at": minutes_ago(5) });
    post(
        &by("phone", "+1 415 555 9876"),
        Some("webhook-id: msg_1"),
        0,
    );
    post(&by("email", EMAIL), Some("webhook-id: msg_2"), 0);
    post(&by("email", EMAIL), Some("webhook-id: msg_2"), 0);
    let forged = client()
        .post(format!("{inlet}/webhooks/team?email={EMAIL}"))
        .header("webhook-signature", "v1,AAAA");
    let forged = forged
        .header("authorization", TEAM_SECRET)
        .body(NAME)
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status().as_u16(), 401);
    let nobody = client()
        .post(format!("{inlet}/webhooks/{EMAIL}"))
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status().as_u16(), 404);
    for _ in 0..2 {
        phonely.request().await;
    }
    let stats = format!("http://{}/admin/v1/stats", child.admin);
    eventually("all is delivered", async || {
        let stats: Value = client()
            .get(&stats)
            .bearer_auth(ADMIN_TOKEN)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let queue = &stats["queue"];
        let mut destinations = queue["destinations"].as_object().unwrap().values();
        (queue["unprocessed"] == 0 && destinations.all(|d| d["open"] == 0)).then_some(())
    })
    .await;
    child.signal(Signal::TERM);
    let (status, log) = child.ended();
    assert_eq!(status.code(), Some(0));

    for (what, secret) in secrets() {
        let shown: Vec<_> = log.iter().filter(|line| line.contains(&secret)).collect();
        assert!(shown.is_empty(), "{what} is in the log: {shown:#?}");
    }
    let lines: Vec<Value> = log
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |target: &str| {
        lines
            .iter()
            .filter(|line| line["target"] == target)
            .collect::<Vec<_>>()
    };
    let results: Vec<_> = of("event.received")
        .iter()
        .map(|line| line["result"].as_str().unwrap())
        .collect();
    assert_eq!(
        results,
        [
            "accepted",
            "accepted",
            "duplicate",
            "refused",
            "unknown_source"
        ]
    );
    let attempts = of("delivery.attempted");
    let at = |destination: &str| {
        attempts
            .iter()
            .filter(|a| a["destination"] == destination)
            .count()
    };
    assert_eq!(at("phonely"), 2, "{attempts:#?}");
    assert_eq!(at("crm"), crm.rest().await.len(), "{attempts:#?}");
    assert_eq!(at("outcome-store"), 2, "{attempts:#?}");
    for line in attempts {
        for key in [
            "delivery",
            "event",
            "destination",
            "to",
            "attempt",
            "verdict",
            "duration_ms",
        ] {
            assert!(!line[key].is_null(), "{key} in {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_shows_no_secret() {
    let destination = FakeDestination::start().await;
    let echo = json!({ "error": "phonely-key-of-the-tests is not known" });
    destination.answer(Answer::new(400).json(&echo));
    let bridge = Setup::new()
        .phonely("phonely", &destination, "")
        .start()
        .await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(5)))
        .await;
    destination.request().await;
    bridge.delivery(&story, "phonely", "dead_letter").await;
    let id = story["event"]["id"].as_str().unwrap();
    for path in [
        "/events",
        &format!("/events/{id}"),
        &format!("/events/{id}/raw"),
        "/deliveries",
        "/dead-letters",
        "/sources",
        "/destinations",
        "/mappings",
        "/stats",
        "/connectors/phonely",
        "/connectors/standard-webhooks",
    ] {
        let text = bridge.get(path).await.to_string();
        for secret in [TEAM_SECRET, ADMIN_TOKEN, "phonely-key-of-the-tests", "v1,"] {
            assert!(!text.contains(secret), "{path} shows {secret}: {text}");
        }
    }
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_verifies_nothing_is_warned_about() {
    let setup = Setup::new()
        .file("connectors/open/connector.toml", "format = 1\ntitle = \"Open\"\nsummary = \"Signs nothing.\"\n[inbound]\nbody = \"json\"\n[inbound.verify]\nkind = \"none\"\nreason = \"it signs nothing\"\n")
        .file("connectors/open/mapping.toml", "format = 1\n")
        .file("connectors/open/setup.md", "# Open\n")
        .config("\n[connectors]\ndir = \"connectors\"\n\n[sources.open]\nconnector = \"open\"\n")
        .written();
    let config = setup.config_dir();
    let checked = run(["check", "--config", config.to_str().unwrap()]);
    assert_eq!(checked.code, 2, "it must be spelled out: {checked:?}");
    assert!(
        checked.stderr.contains("verification = \"none\""),
        "{}",
        checked.stderr
    );

    let confirmed = std::fs::read_to_string(config.join("outcome-bridge.toml")).unwrap();
    let confirmed = confirmed.replace(
        "connector = \"open\"",
        "connector = \"open\"\nverification = \"none\"",
    );
    write(&config.join("outcome-bridge.toml"), confirmed);
    let checked = run(["check", "--config", config.to_str().unwrap()]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked.stderr.contains("not verified"),
        "{}",
        checked.stderr
    );
    let denied = run([
        "check",
        "--deny-warnings",
        "--config",
        config.to_str().unwrap(),
    ]);
    assert_eq!(denied.code, 2, "{denied:?}");

    let mut child = Child::serve(&config);
    let sources = client()
        .get(format!("http://{}/admin/v1/sources", child.admin))
        .bearer_auth(ADMIN_TOKEN);
    let sources: Value = sources.send().await.unwrap().json().await.unwrap();
    assert!(
        sources["warnings"].to_string().contains("not verified"),
        "{sources}"
    );
    assert!(
        child.log.iter().any(|line| line.contains("not verified")),
        "{:#?}",
        child.log
    );
    child.signal(Signal::TERM);
    child.line("bridge.stopped");
}
