//! Questions of analytics over a small story whose numbers can be counted by hand.

use serde_json::{Value, json};

use super::{PHONELY, bring, log, request, setup};
use crate::support::{ADMIN_TOKEN, TestBridge, minutes_ago, run, taken_back, told, write};

/// Ten calls of two agents on three days in Berlin, of which the last is the day when clocks change.
async fn story() -> TestBridge {
    let bridge = setup().set("STORE__CURRENCY", "USD").start().await;
    let call = |id: &str, agent: &str, phone: &str, at: &str, campaign: &str| json!({ "call_id": id, "agent_id": agent, "phone": phone, "started_at": at, "metadata": { "campaign": campaign } });
    bring(
        &bridge,
        json!([
            call(
                "1",
                "anna",
                "+14155550001",
                "2026-03-27T10:00:00Z",
                "spring"
            ),
            call(
                "2",
                "anna",
                "+14155550002",
                "2026-03-27T22:59:59Z",
                "spring"
            ),
            call(
                "3",
                "anna",
                "+14155550003",
                "2026-03-27T23:00:00Z",
                "autumn"
            ),
            call(
                "4",
                "bert",
                "+14155550001",
                "2026-03-28T10:00:00Z",
                "autumn"
            ),
            call(
                "5",
                "bert",
                "+14155550005",
                "2026-03-28T23:00:00Z",
                "spring"
            ),
            call(
                "6",
                "bert",
                "+14155550006",
                "2026-03-29T21:59:59Z",
                "spring"
            ),
            call(
                "7",
                "bert",
                "+14155550007",
                "2026-03-29T22:00:00Z",
                "spring"
            ),
        ]),
    )
    .await;
    for (agent, call, outcome, value) in [
        ("anna", "1", "Appointment Completed", None),
        ("bert", "4", "Sold", Some(100.5)),
        ("bert", "5", "Sold", Some(50.0)),
        ("anna", "2", "Qualified Lead", None),
        ("anna", "3", "Appointment No-Show", None),
    ] {
        let mut body = json!({ "custom_call_outcome": outcome });
        if let Some(value) = value {
            body["custom_call_outcome_value"] = json!(value);
        }
        let line = format!("PATCH /api/calls/{agent}/{call}");
        let reply = request(&bridge, &line, &PHONELY, body.to_string().as_str()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    bridge
}

const SPAN: &str = "zone=Europe/Berlin&from=2026-03-27&to=2026-03-29";

fn part<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["parts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|part| part["name"] == name)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_those_of_the_zone_and_rates_are_of_all_calls() {
    let bridge = story().await;
    let report = bridge.get(&format!("/analytics/report?{SPAN}")).await;
    assert_eq!(report["all"]["by_bucket"], json!([2, 2, 2]), "{report}");
    assert_eq!(report["buckets"][2]["to"], "2026-03-29T22:00:00Z");
    assert_eq!(
        (
            &report["with_outcome"]["calls"],
            &report["with_outcome"]["by_bucket"]
        ),
        (&json!(5), &json!([2, 2, 1]))
    );
    let sold = part(&report, "Sold");
    assert_eq!(
        (&sold["by_bucket"], &sold["rate_by_bucket"]),
        (&json!([0, 1, 1]), &json!([0.0, 0.5, 0.5]))
    );
    assert_eq!(
        (&sold["kind"], &sold["values"]["USD"]),
        (&json!("closed"), &json!("150.50"))
    );
    // In another zone the same calls fall on other days.
    let india = bridge
        .get("/analytics/report?zone=Asia/Kolkata&from=2026-03-27&to=2026-03-30")
        .await;
    assert_eq!(india["all"]["by_bucket"], json!([1, 3, 1, 2]));
    let weeks = bridge
        .get(&format!(
            "/analytics/report?{SPAN}&by=week&week_start=sunday"
        ))
        .await;
    assert_eq!(weeks["all"]["by_bucket"], json!([4, 2]));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_compared_with_all_calls_and_with_the_period_before() {
    let bridge = story().await;
    let groups = r#"[{"name":"Won","where":{"kinds":["closed"]}},{"name":"Talked","where":{"labels":["Qualified Lead","Appointment Completed"]}},
        {"name":"All","where":{}},{"name":"Spring","where":{"metadata":"campaign=spring"}}]"#;
    let groups: String = form_urlencoded::byte_serialize(groups.as_bytes()).collect();
    let path = format!(
        "/analytics/report?zone=Europe/Berlin&from=2026-03-28&to=2026-03-28&compare=previous&groups={groups}"
    );
    let report = bridge.get(&path).await;
    assert_eq!(part(&report, "Won")["calls"], 1, "{report}");
    assert_eq!(part(&report, "Talked")["calls"], 0);
    assert_eq!(
        (
            &part(&report, "All")["calls"],
            &part(&report, "All")["rate"]
        ),
        (&json!(2), &json!(1.0))
    );
    assert_eq!(part(&report, "Spring")["calls"], 0);
    let trend = &report["trend"];
    assert_eq!(
        (&trend["calls"], &trend["growth"]),
        (&json!(2), &json!(0.0)),
        "{trend}"
    );
    assert_eq!(trend["period"]["from"], "2026-03-26T23:00:00Z");
    assert_eq!(
        (
            &trend["parts"][1]["calls"],
            &trend["parts"][1]["rate_change"]
        ),
        (&json!(2), &json!(-1.0))
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_leads_to_its_calls() {
    let bridge = story().await;
    for (scope, expected) in [
        ("", 6),
        ("&agent=anna", 3),
        ("&kind=closed", 2),
        ("&label=Qualified%20Lead", 1),
        ("&source=api:phonely", 5),
        ("&metadata=campaign%3Dspring", 4),
        ("&metadata=campaign%3Dspring&kind=closed", 1),
        ("&metadata=campaign%3Dnever", 0),
        ("&agent=bert,anna&kind=-", 2),
        ("&kind=closed&attribution=first", 2),
    ] {
        let report = bridge
            .get(&format!("/analytics/report?{SPAN}{scope}"))
            .await;
        let calls = bridge.get(&format!("/analytics/calls?{SPAN}{scope}")).await;
        let listed = calls["items"].as_array().unwrap().len();
        assert_eq!(listed, expected, "{scope}: {calls}");
        let counted = if scope.contains("attribution") {
            &report["with_outcome"]["calls"]
        } else {
            &report["all"]["calls"]
        };
        if !scope.contains("kind=-") {
            assert_eq!(counted, &json!(expected), "{scope}: {report}");
        }
    }
    // Page by page it is the same list.
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = bridge
            .get(&format!("/analytics/calls?{SPAN}&limit=2&cursor={cursor}"))
            .await;
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|call| call["call_id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(seen, ["6", "5", "4", "3", "2", "1"]);
    bridge.stop().await;
}

fn encoded(value: &Value) -> String {
    form_urlencoded::byte_serialize(value.to_string().as_bytes()).collect()
}

/// The calls of the last day that reached each stage: all, booked, shown, closed.
async fn stages(bridge: &TestBridge) -> Vec<u64> {
    let (from, to) = (minutes_ago(24 * 60), minutes_ago(-60));
    let funnel = bridge
        .get(&format!("/analytics/funnel?from={from}&to={to}"))
        .await;
    let stages = funnel["stages"].as_array().unwrap();
    stages
        .iter()
        .map(|stage| stage["calls"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_that_attended_counts_as_shown_whenever_it_becomes_known() {
    let bridge = setup().start().await;
    let call = json!({ "call_id": "c", "started_at": minutes_ago(300) });
    bring(&bridge, json!([call])).await;
    bridge
        .hear("team", &told("c", "lost", minutes_ago(10)))
        .await;
    bridge.idle().await;
    assert_eq!(stages(&bridge).await, [1, 0, 0, 0]);
    // What is only assumed comes after the deal was lost. The outcome stays, and so does its log.
    bridge
        .hear("team", &told("c", "shown", minutes_ago(60)))
        .await;
    bridge.idle().await;
    assert_eq!(stages(&bridge).await, [1, 1, 1, 0]);
    let written = log(&bridge, "c").await;
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(written[0]["kind"], "lost");
    bridge
        .hear("team", &taken_back("c", "shown", minutes_ago(60)))
        .await;
    bridge.idle().await;
    assert_eq!(stages(&bridge).await, [1, 1, 0, 0], "it stays booked");
    bridge.stop().await;
}

async fn listed(bridge: &TestBridge, condition: &Value) -> Vec<String> {
    let path = format!("/analytics/calls?{SPAN}&where={}", encoded(condition));
    let page = bridge.get(&path).await;
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|call| call["call_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_of_the_funnel_known_times_and_missing_outcomes_lead_to_their_calls() {
    let bridge = story().await;
    let both = json!({ "metadata": "campaign=spring", "and": [{ "has_outcome": true }, { "agents": ["bert"] }] });
    for (condition, expected) in [
        (
            json!({ "has_outcome": true }),
            &["5", "4", "3", "2", "1"][..],
        ),
        (json!({ "has_outcome": false }), &["6"]),
        (json!({ "reached": "booked" }), &["5", "4", "3", "1"]),
        (json!({ "reached": "shown" }), &["5", "4", "1"]),
        (json!({ "reached": "closed" }), &["5", "4"]),
        (json!({ "timed": true }), &["5", "4", "3", "2", "1"]),
        (
            json!({ "timed": true, "metadata": "campaign=autumn" }),
            &["4", "3"],
        ),
        (both, &["5"]),
    ] {
        assert_eq!(listed(&bridge, &condition).await, expected, "{condition}");
        // As a scope and as a group it counts the same calls.
        let report = bridge
            .get(&format!(
                "/analytics/report?{SPAN}&where={}",
                encoded(&condition)
            ))
            .await;
        assert_eq!(report["all"]["calls"], json!(expected.len()), "{condition}");
        let groups = encoded(&json!([{ "name": "g", "where": condition }]));
        let report = bridge
            .get(&format!("/analytics/report?{SPAN}&groups={groups}"))
            .await;
        assert_eq!(
            report["parts"][0]["calls"],
            json!(expected.len()),
            "{condition}"
        );
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scope_group_and_split_may_all_ask_for_metadata() {
    let bridge = story().await;
    let groups = encoded(&json!([
        { "name": "Spring", "where": { "metadata": "campaign=spring" } },
        { "name": "Autumn", "where": { "metadata": "campaign=autumn" } },
    ]));
    let scope = "metadata=campaign%3Dspring";
    let report = bridge
        .get(&format!("/analytics/report?{SPAN}&{scope}&groups={groups}"))
        .await;
    assert_eq!(
        (
            &part(&report, "Spring")["calls"],
            &part(&report, "Autumn")["calls"]
        ),
        (&json!(4), &json!(0)),
        "{report}"
    );
    let split = bridge
        .get(&format!(
            "/analytics/breakdown?{SPAN}&{scope}&split=metadata.campaign"
        ))
        .await;
    assert_eq!(split["items"].as_array().unwrap().len(), 1, "{split}");
    for refused in [
        format!("/analytics/report?{SPAN}&attribution=first&groups={groups}"),
        format!("/analytics/breakdown?{SPAN}&split=metadata.a%3Db"),
        format!(
            "/analytics/report?{SPAN}&where={}",
            encoded(&json!({ "and": [{ "metadata": "campaign" }] }))
        ),
        format!(
            "/analytics/report?{SPAN}&where={}",
            encoded(&json!({ "and": vec![json!({ "metadata": "a=b" }); 9] }))
        ),
    ] {
        assert_eq!(bridge.ask(&refused).await.status, 400, "{refused}");
    }
    // What is about the calls themselves does not pretend to know of touches.
    for (question, holds) in [
        ("breakdown?split=metadata.campaign", "recorded"),
        ("breakdown?split=agent", "last"),
        ("funnel?", "recorded"),
        ("delay?", "recorded"),
    ] {
        let path = format!("/analytics/{question}&{SPAN}&attribution=last");
        assert_eq!(bridge.get(&path).await["attribution"], holds, "{path}");
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_with_commas_are_named_in_a_list() {
    let bridge = story().await;
    for (agents, expected) in [
        ("anna,bert", 6),
        (r#"["anna"]"#, 3),
        (r#"["anna,bert"]"#, 0),
    ] {
        let path = format!("/analytics/report?{SPAN}&agent={}", encoded_text(agents));
        assert_eq!(
            bridge.get(&path).await["all"]["calls"],
            expected,
            "{agents}"
        );
    }
    bridge.stop().await;
}

fn encoded_text(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn splits_conversion_funnel_delay_and_touch_are_as_counted_by_hand() {
    let bridge = story().await;
    let split = bridge
        .get(&format!("/analytics/breakdown?{SPAN}&split=agent"))
        .await;
    let anna = split["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["value"] == "anna")
        .unwrap();
    assert_eq!(
        (&anna["calls"], &anna["with_outcome"]),
        (&json!(3), &json!(3)),
        "{split}"
    );
    assert_eq!(
        anna["outcomes"],
        json!({ "Qualified Lead": 1, "no_show": 1, "shown": 1 })
    );
    let split = bridge
        .get(&format!(
            "/analytics/breakdown?{SPAN}&split=metadata.campaign"
        ))
        .await;
    let counts: Vec<_> = split["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["value"].clone(), line["calls"].clone()))
        .collect();
    assert_eq!(
        counts,
        [(json!("spring"), json!(4)), (json!("autumn"), json!(2))]
    );
    // The caller of call 4 called anna first: by first touch the sale is hers.
    for (attribution, agent, sales) in [
        ("recorded", "anna", 0),
        ("first", "anna", 1),
        ("last", "anna", 0),
        ("last", "bert", 2),
        ("first", "bert", 1),
    ] {
        let path =
            format!("/analytics/report?{SPAN}&kind=closed&agent={agent}&attribution={attribution}");
        assert_eq!(
            bridge.get(&path).await["with_outcome"]["calls"],
            sales,
            "{attribution} {agent}"
        );
    }
    let conversion = bridge
        .get(&format!("/analytics/conversion?{SPAN}&mature_after=0s"))
        .await;
    assert_eq!(
        (
            &conversion["calls"],
            &conversion["converted"],
            &conversion["young"]
        ),
        (&json!(6), &json!(2), &json!(0)),
        "{conversion}"
    );
    assert!(
        conversion["low"].as_f64().unwrap() > 0.09 && conversion["high"].as_f64().unwrap() < 0.71
    );
    // A day has 24 hours; `48h` and `2d` are the same but for the moment of asking.
    for days in ["7d", "2%20days", "1w", "0d"] {
        let path = format!("/analytics/conversion?{SPAN}&mature_after={days}");
        assert_eq!(bridge.get(&path).await["calls"], json!(6), "{days}");
    }
    // A century: every call is too young.
    let young = bridge
        .get(&format!(
            "/analytics/conversion?{SPAN}&mature_after=876000h"
        ))
        .await;
    assert_eq!(
        (
            &young["calls"],
            &young["rate"],
            &young["young"],
            &young["young_converted"]
        ),
        (&json!(0), &Value::Null, &json!(6), &json!(2))
    );
    let funnel = bridge.get(&format!("/analytics/funnel?{SPAN}")).await;
    let stages: Vec<_> = funnel["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["calls"].clone())
        .collect();
    assert_eq!(stages, [json!(6), json!(4), json!(3), json!(2)], "{funnel}");
    let delay = bridge
        .get(&format!("/analytics/delay?{SPAN}&kind=closed"))
        .await;
    assert_eq!(delay["calls"], 2);
    assert!(
        delay["median_ms"].as_i64() < delay["p90_ms"].as_i64(),
        "{delay}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_the_key_that_splits_have_a_line_and_lead_to_themselves() {
    let bridge = story().await;
    let day = "2026-03-28T12:00:00Z";
    let mut calls = vec![
        json!({ "call_id": "x1", "agent_id": "anna", "started_at": day }),
        json!({ "call_id": "x2", "agent_id": "bert", "started_at": day }),
    ];
    // More values than lines: those without the key are not those without a line.
    calls.extend((0..101).map(|n| json!({ "call_id": format!("r{n}"), "agent_id": "rep", "started_at": day, "metadata": { "rep": format!("rep {n}") } })));
    bring(&bridge, json!(calls)).await;
    let body = json!({ "custom_call_outcome": "Sold", "custom_call_outcome_value": 7 }).to_string();
    let reply = request(&bridge, "PATCH /api/calls/anna/x1", &PHONELY, body.as_str()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let both = "&agent=anna,bert";
    for (key, scope, calls, sold, worth) in [
        ("campaign", "", 103, 1, "7.00"),
        ("campaign", both, 2, 1, "7.00"),
        ("campaign", "&agent=bert", 1, 0, ""),
        ("campaign", "&metadata=rep%3Drep%207", 1, 0, ""),
        ("rep", "", 8, 3, "157.50"),
        ("rep", both, 8, 3, "157.50"),
        ("rep", "&metadata=campaign%3Dspring", 4, 1, "50.00"),
        ("rep", "&metadata=campaign%3D", 2, 1, "7.00"),
        ("never", both, 8, 3, "157.50"),
    ] {
        let split = bridge
            .get(&format!(
                "/analytics/breakdown?{SPAN}{scope}&split=metadata.{key}"
            ))
            .await;
        let items = split["items"].as_array().unwrap();
        let line = items.iter().find(|line| line["value"] == "").unwrap();
        assert_eq!(line["calls"], calls, "{key} {scope}: {line}");
        let kinds = line["outcomes"]["closed"].as_i64().unwrap_or_default();
        assert_eq!(kinds, sold, "{key} {scope}: {line}");
        let usd = line["values"]["USD"].as_str().unwrap_or_default();
        assert_eq!(usd, worth, "{key} {scope}: {line}");
        let condition = encoded(&json!({ "metadata": format!("{key}=") }));
        let list = format!("/analytics/calls?{SPAN}{scope}&limit=200&where={condition}");
        if !scope.contains("metadata") {
            let behind = bridge.get(&list).await;
            assert_eq!(
                behind["items"].as_array().unwrap().len(),
                calls,
                "{key} {scope}"
            );
        }
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_touch_rates_are_of_calls_however_many_outcomes_one_is_credited_with() {
    let bridge = setup().set("STORE__CURRENCY", "USD").start().await;
    let call = |id: &str, phone: &str, day: u8| json!({ "call_id": id, "agent_id": "anna", "phone": phone, "started_at": format!("2026-01-{day:02}T10:00:00Z") });
    let (one, other) = ("+14155550001", "+14155550002");
    bring(
        &bridge,
        json!([
            call("1", one, 1),
            call("2", one, 2),
            call("3", one, 3),
            call("4", other, 1)
        ]),
    )
    .await;
    for (call, outcome) in [("1", "Sold"), ("2", "Sold"), ("3", "Appointment Completed")] {
        let body =
            json!({ "custom_call_outcome": outcome, "custom_call_outcome_value": 10 }).to_string();
        let line = format!("PATCH /api/calls/anna/{call}");
        let reply = request(&bridge, &line, &PHONELY, body.as_str()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let groups = encoded(&json!([{ "name": "known", "where": { "timed": true } }]));
    let first = "zone=UTC&from=2026-01-01&to=2026-01-01&attribution=first";
    let report = bridge.get(&format!("/analytics/report?{first}")).await;
    let told = |part: &Value| {
        (
            part["calls"].clone(),
            part["rate"].clone(),
            part["rate_by_bucket"].clone(),
        )
    };
    // Three outcomes count at one of two calls.
    let (three, half) = (json!(3), json!(0.5));
    assert_eq!(
        told(&report["with_outcome"]),
        (three.clone(), half.clone(), json!([0.5])),
        "{report}"
    );
    assert_eq!(report["with_outcome"]["values"]["USD"], "30.00");
    assert_eq!(
        told(part(&report, "Sold")),
        (json!(2), half.clone(), json!([0.5]))
    );
    let grouped = bridge
        .get(&format!("/analytics/report?{first}&groups={groups}"))
        .await;
    assert_eq!(
        told(part(&grouped, "known")),
        (three.clone(), half.clone(), json!([0.5]))
    );
    let behind = bridge
        .get(&format!(
            "/analytics/calls?{first}&where={}",
            encoded(&json!({ "has_outcome": true }))
        ))
        .await;
    assert_eq!(behind["items"].as_array().unwrap().len(), 3, "{behind}");
    let split = bridge
        .get(&format!("/analytics/breakdown?{first}&split=agent"))
        .await;
    let line = &split["items"][0];
    assert_eq!(
        (&line["calls"], &line["with_outcome"], &line["outcome_rate"]),
        (&json!(2), &three, &half),
        "{split}"
    );
    let conversion = bridge
        .get(&format!("/analytics/conversion?{first}&mature_after=0s"))
        .await;
    assert_eq!(
        (&conversion["converted"], &conversion["rate"]),
        (&json!(2), &half),
        "{conversion}"
    );
    assert!(conversion["low"].as_f64() < Some(0.5) && conversion["high"].as_f64() > Some(0.5));
    // Over the three days, day by day; the last call before each outcome is the latest.
    let days = "zone=UTC&from=2026-01-01&to=2026-01-03&attribution";
    let report = bridge.get(&format!("/analytics/report?{days}=first")).await;
    assert_eq!(
        told(&report["with_outcome"]),
        (three.clone(), json!(0.25), json!([0.5, 0.0, 0.0]))
    );
    let report = bridge.get(&format!("/analytics/report?{days}=last")).await;
    assert_eq!(
        told(&report["with_outcome"]),
        (three, json!(0.25), json!([0.0, 0.0, 1.0])),
        "{report}"
    );
    // What a scope asks of outcomes holds for those that are credited: one sale of the first day, credited to one call.
    let scoped = bridge
        .get(&format!("/analytics/report?{first}&kind=closed"))
        .await;
    assert_eq!(
        told(&scoped["with_outcome"]),
        (json!(2), json!(1.0), json!([1.0]))
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_the_same_questions() {
    let bridge = story().await;
    let token = bridge.home().join("token");
    write(&token, ADMIN_TOKEN);
    let ask = |words: &[&str]| {
        let mut all: Vec<String> = [
            "outcomes",
            "report",
            "--from",
            "2026-03-27",
            "--to",
            "2026-03-29",
            "--zone",
            "Europe/Berlin",
        ]
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect();
        all.extend([
            "--url".to_owned(),
            bridge.admin_url(),
            "--token-file".to_owned(),
            token.display().to_string(),
        ]);
        let told = run(all);
        assert_eq!(told.code, 0, "{told:?}");
        told.stdout
    };
    let table = ask(&["--group", "Won=kind:closed", "--group", "All=", "--trend"]);
    assert!(
        table.starts_with("from") && table.contains("Won") && table.contains("150.50 USD"),
        "{table}"
    );
    assert!(ask(&["--percent"]).contains("33.3 %"));
    assert!(ask(&["--split", "agent"]).contains("anna"));
    assert!(ask(&["--conversion"]).contains("0.0 %") || ask(&["--conversion"]).contains("33.3 %"));
    assert!(ask(&["--funnel"]).contains("booked"));
    assert!(ask(&["--delay"]).contains(" h"));
    assert!(ask(&["--calls", "--kind", "closed"]).contains("Sold"));
    let csv = bridge.home().join("out.csv");
    let out = csv.display().to_string();
    let words = [
        "outcomes",
        "export",
        "--out",
        &out,
        "--url",
        &bridge.admin_url(),
        "--token-file",
        &token.display().to_string(),
    ];
    assert_eq!(run(words).code, 0);
    let text = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.contains("Sold"));
    bridge.stop().await;
}
