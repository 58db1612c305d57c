//! The documents' own commands, and everything that can be wrong with a request.

use serde_json::{Value, json};

use super::{AURA_CALL, BEARER, PHONELY, bring, key, log, request, setup};
use crate::support::{Setup, TestBridge};

const SOLD: &str = r#"{
    "custom_call_outcome": "Sold",
    "custom_call_outcome_value": 299,
    "custom_call_metadata": { "campaign": "spring_2026", "rep_id": "12345", "notes": "Customer was very interested" }
}"#;

fn calls() -> Value {
    json!([
        { "call_id": "call456", "agent_id": "agent123", "phone": "+14155551234", "started_at": "2026-05-01T10:00:00Z" },
        { "call_id": "call789", "agent_id": "agent123", "phone": "+14155551234", "started_at": "2026-05-03T10:00:00Z" },
        { "call_id": "first", "agent_id": "agent123", "phone": "+14155551234", "started_at": "2026-04-01T10:00:00Z" },
        { "call_id": "other", "agent_id": "agent999", "phone": "+14155551234", "started_at": "2026-06-01T10:00:00Z" },
        { "call_id": AURA_CALL, "agent_id": "closer", "started_at": "2026-05-01T10:00:00Z", "ended_at": "2026-05-01T10:45:00Z",
          "metadata": { "utm_source": "google" } },
        { "call_id": "co-1", "agent_id": "agent123", "started_at": "2026-05-01T10:00:00Z" },
    ])
}

async fn bridge() -> TestBridge {
    let bridge = setup().set("STORE__OPEN", "aura").start().await;
    bring(&bridge, calls()).await;
    bridge
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_documents_work_in_their_order() {
    let bridge = bridge().await;
    // By call id.
    let reply = request(&bridge, "PATCH /api/calls/agent123/call456", &PHONELY, SOLD).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(
        reply.json(),
        json!({
            "success": true, "call_id": "call456", "agent_id": "agent123", "phone": "+14155551234", "preference": null,
            "updated_fields": ["custom_call_outcome", "custom_call_outcome_value", "custom_call_metadata"],
        })
    );
    // By phone: the last call of this agent, not of another one.
    let no_sale = r#"{"custom_call_outcome": "No Sale", "custom_call_outcome_value": 0,
        "custom_call_metadata": {"reason": "Price too high", "follow_up": true}}"#;
    let reply = request(
        &bridge,
        "PATCH /api/calls/agent123/+14155551234",
        &PHONELY,
        no_sale,
    )
    .await;
    assert_eq!(
        (reply.status, &reply.json()["call_id"]),
        (200, &json!("call789")),
        "{reply:?}"
    );
    assert_eq!(reply.json()["preference"], "last");
    // By phone, the first call; the sign of the number may be encoded.
    for sign in ["+", "%2B", "%2b"] {
        let line = format!("PATCH /api/calls/agent123/{sign}14155551234?preference=first");
        let body = r#"{"custom_call_outcome": "Sold", "custom_call_outcome_value": 499,
            "custom_call_metadata": {"attribution": "first_touch", "campaign": "spring_2026"}}"#;
        let reply = request(&bridge, &line, &PHONELY, body).await;
        assert_eq!(
            (reply.status, &reply.json()["call_id"]),
            (200, &json!("first")),
            "{reply:?}"
        );
        assert_eq!(reply.json()["preference"], "first");
    }
    // Only the outcome: value and metadata stay.
    let only = r#"{"custom_call_outcome": "Follow Up Required"}"#;
    let reply = request(&bridge, "PATCH /api/calls/agent123/call456", &PHONELY, only).await;
    assert_eq!(
        reply.json()["updated_fields"],
        json!(["custom_call_outcome"])
    );
    let call = request(&bridge, "GET /api/calls/agent123/call456", &PHONELY, None)
        .await
        .json();
    assert_eq!(call["call"]["custom_call_outcome"], "Follow Up Required");
    assert_eq!(call["call"]["custom_call_outcome_value"], 299);
    assert_eq!(call["call"]["custom_call_metadata"]["rep_id"], "12345");
    // An amount is kept as it was written, and shown as text where a number could not hold it.
    let exact = r#"{"custom_call_outcome_value": 12345678901234567.89}"#;
    let path = "/api/calls/agent123/call456";
    request(&bridge, &format!("PATCH {path}"), &PHONELY, exact).await;
    let call = request(&bridge, &format!("GET {path}"), &PHONELY, None).await;
    assert_eq!(
        call.json()["call"]["custom_call_outcome_value"],
        "12345678901234567.89"
    );
    let again = r#"{"custom_call_outcome_value": 299}"#;
    request(&bridge, &format!("PATCH {path}"), &PHONELY, again).await;
    // The plus of a phone is a blank in a query, and means the phone all the same.
    let found = bridge.get("/outcomes?call=+14155551234&order=call").await;
    assert_eq!(found["items"][0]["phone"], "+14155551234", "{found}");

    let reply = request(
        &bridge,
        "PATCH /api/v1/webhooks/calls/co-1/change-outcome",
        &BEARER,
        r#"{ "call_outcome": "interested" }"#,
    )
    .await;
    let data = &reply.json()["data"];
    assert_eq!(
        (reply.status, &data["call_outcome"]),
        (200, &json!("interested")),
        "{reply:?}"
    );
    let entry = &data["call_outcome_logs"][0];
    assert_eq!(
        (&entry["initial_call_outcome"], &entry["new_call_outcome"]),
        (&Value::Null, &json!("interested"))
    );
    assert_eq!(
        (&entry["status"], &entry["failure_reason"]),
        (&json!("success"), &Value::Null)
    );
    assert_eq!(data.as_object().unwrap().len(), 34, "{data}");

    // The document shows no key for this one; the configuration allows that.
    let line = format!("POST /v1/calls/{AURA_CALL}/outcome");
    let reply = request(
        &bridge,
        &line,
        &["Content-Type: application/json"],
        r#"{ "status": "closed" }"#,
    )
    .await;
    let data = &reply.json()["data"];
    assert_eq!(
        (reply.status, &reply.json()["success"]),
        (200, &json!(true)),
        "{reply:?}"
    );
    assert_eq!(
        (&data["id"], &data["status"], &data["duration_minutes"]),
        (&json!(AURA_CALL), &json!("closed"), &json!(45))
    );
    assert_eq!(
        (&data["utm_source"], &data["has_recording"]),
        (&json!("google"), &json!(false))
    );
    assert_eq!(data.as_object().unwrap().len(), 31, "{data}");

    // What came of it all: call456 is to be followed up and still worth 299, the first call of that number sold 499, the
    // last one nothing, and Aura's is closed.
    let period = "from=2026-04-01&to=2026-06-30&by=none";
    let report = bridge.get(&format!("/analytics/report?{period}")).await;
    assert_eq!(
        (&report["all"]["calls"], &report["with_outcome"]["calls"]),
        (&json!(6), &json!(5)),
        "{report}"
    );
    assert_eq!(report["all"]["values"], json!({ "": "798.00" }));
    let mut parts: Vec<&str> = report["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    parts.sort_unstable();
    assert_eq!(
        parts,
        [
            "Follow Up Required",
            "No Sale",
            "Sold",
            "closed",
            "interested"
        ]
    );
    let conversion = bridge.get(&format!("/analytics/conversion?{period}")).await;
    assert_eq!(
        (&conversion["calls"], &conversion["converted"]),
        (&json!(6), &json!(2))
    );
    let behind = bridge
        .get(&format!("/analytics/calls?{period}&label=Sold"))
        .await;
    assert_eq!(behind["items"][0]["call_id"], "first");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_in_the_shape_of_its_api() {
    let bridge = bridge().await;
    let path = "/api/calls/agent123/call456";
    for (line, body, status, part) in [
        ("/api/calls/agent123/4155551234", SOLD, 400, "E.164"),
        ("/api/calls/agent123/+1415x", SOLD, 400, "E.164"),
        ("/api/calls/agent123/+4155", SOLD, 400, "E.164"),
        ("/api/calls/agent123/%2B4155", SOLD, 400, "E.164"),
        ("/api/calls/agent123/+04155551234", SOLD, 400, "E.164"),
        ("/api/calls/agent123/+1415555123456789", SOLD, 400, "E.164"),
        ("/api/calls/agent123/+", SOLD, 400, "E.164"),
        (
            "/api/calls/agent123/+14155550000",
            SOLD,
            404,
            "no such call",
        ),
        ("/api/calls/agent123/nobody", SOLD, 404, "no such call"),
        ("/api/calls/agent999/call456", SOLD, 404, "no such call"),
        (
            "/api/calls/agent123/+14155551234?preference=middle",
            SOLD,
            400,
            "first or last",
        ),
        (
            "/api/calls/agent123/+14155551234?preferance=first",
            SOLD,
            400,
            "did you mean `preference`?",
        ),
        (
            path,
            r#"{"custom_call_outcome_value": "299"}"#,
            400,
            "must be a number",
        ),
        (
            path,
            r#"{"custom_call_outcome_value": 1e400}"#,
            400,
            "not JSON",
        ),
        (
            path,
            r#"{"custom_call_outcome_value": 1e60}"#,
            400,
            "too large",
        ),
        (
            path,
            r#"{"custom_outcome": "Sold"}"#,
            400,
            "no field `custom_outcome`",
        ),
        (path, r#"{"custom_call_outcome": ""}"#, 400, "is empty"),
        (
            path,
            r#"{"custom_call_outcome": null}"#,
            400,
            "must be text",
        ),
        (path, r#"{"custom_call_outcome": 7}"#, 400, "must be text"),
        (
            path,
            r#"{"custom_call_metadata": []}"#,
            400,
            "must be an object",
        ),
        (path, "{}", 400, "says nothing"),
        (path, "", 400, "empty"),
        (path, "[1]", 400, "not a JSON object"),
        (path, "{", 400, "not JSON"),
    ] {
        let reply = request(&bridge, &format!("PATCH {line}"), &PHONELY, body).await;
        assert_eq!(reply.status, status, "{line} {body}: {reply:?}");
        let answer = reply.json();
        assert_eq!(answer["success"], false);
        assert!(
            answer["error"].as_str().unwrap().contains(part),
            "{line} {body}: {answer}"
        );
    }
    let aura = format!("POST /v1/calls/{AURA_CALL}/outcome");
    let unknown = "POST /v1/calls/650e8400-e29b-41d4-a716-446655440001/outcome";
    for (line, body, status, code) in [
        (
            aura.as_str(),
            r#"{"status": "won"}"#,
            400,
            "VALIDATION_ERROR",
        ),
        (&aura, r#"{"notes": "x"}"#, 400, "VALIDATION_ERROR"),
        (
            &aura,
            r#"{"status": "closed", "note": "x"}"#,
            400,
            "VALIDATION_ERROR",
        ),
        (
            &aura,
            r#"{"status": "closed", "notes": 1}"#,
            400,
            "VALIDATION_ERROR",
        ),
        (
            "POST /v1/calls/nobody/outcome",
            r#"{"status": "closed"}"#,
            404,
            "NOT_FOUND",
        ),
        (unknown, r#"{"status": "closed"}"#, 404, "NOT_FOUND"),
        (
            &aura.replace("POST", "PUT"),
            r#"{"status": "closed"}"#,
            405,
            "METHOD_NOT_ALLOWED",
        ),
    ] {
        let reply = request(&bridge, line, &BEARER, body).await;
        let answer = reply.json();
        assert_eq!(
            (reply.status, &answer["code"]),
            (status, &json!(code)),
            "{line} {body}: {answer}"
        );
        assert_eq!(answer["success"], false);
        assert!(answer["requestId"].as_str().unwrap().starts_with("req_"));
    }
    for (call, body, status) in [
        ("nobody", r#"{"call_outcome": "x"}"#, 404),
        ("co-1", r#"{"call_outcome": 1}"#, 422),
        ("co-1", r#"{"outcome": "x"}"#, 422),
    ] {
        let line = format!("PATCH /api/v1/webhooks/calls/{call}/change-outcome");
        let reply = request(&bridge, &line, &BEARER, body).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.json()["message"].is_string());
    }
    // Nothing of all this changed a call.
    assert!(log(&bridge, "call456").await.is_empty());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_keys_that_fit_open_and_only_for_their_agents() {
    let keys = [
        key("narrow", "narrow-key", "agents = [\"agent123\"]"),
        key("phonely-only", "phonely-key", "apis = [\"phonely\"]"),
        key("gone", "gone-key", "expires = \"2020-01-01T00:00:00Z\""),
    ];
    let bridge = setup().config(&keys.concat()).start().await;
    bring(&bridge, calls()).await;
    let body = r#"{"custom_call_outcome": "Sold"}"#;
    let status = async |line: &str, header: &str, body: &str| {
        request(&bridge, line, &[header], body).await.status
    };
    let (own, other) = (
        "PATCH /api/calls/agent123/call456",
        "PATCH /api/calls/agent999/other",
    );
    for (line, header, expected) in [
        (own, "X-Authorization: narrow-key", 200),
        (own, "X-Authorization: Bearer narrow-key", 200),
        (other, "X-Authorization: narrow-key", 403),
        (other, "X-Authorization: phonely-key", 200),
        (own, "X-Authorization: gone-key", 401),
        (own, "X-Authorization: wrong", 401),
        (own, "X-Authorization: ", 401),
        (own, "Authorization: Bearer narrow-key", 401),
    ] {
        assert_eq!(
            status(line, header, body).await,
            expected,
            "{line} {header}"
        );
    }
    let change = "PATCH /api/v1/webhooks/calls/other/change-outcome";
    let body = r#"{"call_outcome": "x"}"#;
    assert_eq!(
        status(change, "Authorization: Bearer narrow-key", body).await,
        404
    );
    assert_eq!(
        status(change, "Authorization: Bearer phonely-key", body).await,
        401
    );
    let aura = format!("POST /v1/calls/{AURA_CALL}/outcome");
    assert_eq!(
        status(&aura, "X-Nothing: x", r#"{"status":"closed"}"#).await,
        401
    );
    let seen = log(&bridge, "other").await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["actor"], "api:phonely/phonely-only");
    // Lists end at the key's agents, too.
    let listed = request(
        &bridge,
        "GET /v1/calls?limit=100",
        &["Authorization: Bearer narrow-key"],
        None,
    )
    .await;
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 4);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_keys_opens_to_nobody() {
    let bridge = Setup::new().with_store().start().await;
    for line in ["GET /api/calls/a", "GET /v1/calls", "GET /api/v1/calls"] {
        assert_eq!(
            request(&bridge, line, &BEARER, None).await.status,
            401,
            "{line}"
        );
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_by_hand_holds_and_what_was_refused_is_in_the_log() {
    let bridge = setup()
        .config(&key("boss", "boss-key", "basis = \"manual\""))
        .start()
        .await;
    bring(&bridge, calls()).await;
    let line = "PATCH /api/calls/agent123/call456";
    let lost = r#"{"custom_call_outcome": "No Sale"}"#;
    let reply = request(&bridge, line, &["X-Authorization: boss-key"], lost).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = request(&bridge, line, &PHONELY, SOLD).await;
    assert_eq!(reply.status, 409, "{reply:?}");
    let reply = request(
        &bridge,
        "PATCH /api/v1/webhooks/calls/call456/change-outcome",
        &BEARER,
        r#"{"call_outcome":"Sold"}"#,
    )
    .await;
    let data = &reply.json()["data"];
    assert_eq!(
        (reply.status, &data["call_outcome"]),
        (200, &json!("No Sale"))
    );
    assert_eq!(data["call_outcome_logs"][2]["status"], "failed");
    assert!(
        data["call_outcome_logs"][2]["failure_reason"]
            .as_str()
            .unwrap()
            .contains("by hand")
    );
    let seen = log(&bridge, "call456").await;
    let told: Vec<_> = seen
        .iter()
        .map(|entry| {
            (
                entry["actor"].as_str().unwrap(),
                entry["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("api:phonely/boss", "success"),
            ("api:phonely/team", "failed"),
            ("api:change-outcome/team", "failed")
        ]
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_at_the_same_time_are_all_there() {
    let bridge = bridge().await;
    let updates = (0..120).map(|n| {
        let body = format!(
            r#"{{"custom_call_outcome": "Label {n}", "custom_call_metadata": {{"k{n}": {n}}}}}"#
        );
        let bridge = &bridge;
        async move {
            let (line, headers, body) = match n % 3 {
                0 => ("/api/calls/agent123/call789", PHONELY, body),
                1 => ("/api/calls/agent123/+14155551234", PHONELY, body),
                _ => (
                    "/api/v1/webhooks/calls/call789/change-outcome",
                    BEARER,
                    format!(r#"{{"call_outcome": "Label {n}"}}"#),
                ),
            };
            let line = format!("PATCH {line}");
            request(bridge, &line, &headers, body.as_str()).await.status
        }
    });
    let statuses = futures_util::future::join_all(updates).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let seen = log(&bridge, "call789").await;
    assert_eq!(seen.len(), 120);
    for (i, two) in seen.windows(2).enumerate() {
        assert_eq!(two[1]["previous_label"], two[0]["label"], "{i}");
    }
    let call = request(&bridge, "GET /api/calls/agent123/call789", &PHONELY, None)
        .await
        .json();
    let metadata = call["call"]["custom_call_metadata"].as_object().unwrap();
    assert!((0..120).all(|n| n % 3 == 2 || metadata[&format!("k{n}")] == n));
    // The last entry is what holds.
    assert_eq!(
        seen[119]["label"], call["call"]["custom_call_outcome"],
        "{call}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusual_phone_that_a_call_has_finds_it() {
    let bridge = setup().start().await;
    let call = json!([{ "call_id": "short", "agent_id": "agent123", "phone": "+4155" }]);
    bring(&bridge, call).await;
    let line = "/api/calls/agent123/+4155";
    let read = request(&bridge, &format!("GET {line}"), &PHONELY, None).await;
    assert_eq!(read.status, 200, "{read:?}");
    let told = request(&bridge, &format!("PATCH {line}"), &PHONELY, SOLD).await;
    assert_eq!(
        (told.status, &told.json()["call_id"]),
        (200, &json!("short"))
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_listed_by_a_phone_whose_plus_is_not_escaped() {
    let bridge = bridge().await;
    for plus in ["+", "%2B", "%2b", "%20"] {
        let query = format!("phone={plus}14155551234");
        for (path, headers, list, calls) in [
            ("/api/calls/agent123", PHONELY, "calls", 3),
            ("/api/v1/calls", BEARER, "data", 4),
            ("/v1/calls", BEARER, "data", 4),
        ] {
            let reply = request(&bridge, &format!("GET {path}?{query}"), &headers, None).await;
            let found = reply.json()[list].as_array().unwrap().len();
            assert_eq!(found, calls, "{path}?{query}: {reply:?}");
        }
        let found = bridge.get(&format!("/calls?{query}")).await;
        assert_eq!(found["items"].as_array().unwrap().len(), 4, "{query}");
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uuid_finds_its_call_in_whatever_case_it_is_written() {
    let bridge = setup().start().await;
    let shouted = "7D9F8A10-0B1C-4D2E-8F3A-ABCDEFABCDEF";
    bring(
        &bridge,
        json!([
            { "call_id": AURA_CALL.replace("0000", "abcd"), "agent_id": "a" },
            { "call_id": shouted, "agent_id": "a" },
            { "call_id": "CALL456", "agent_id": "a" },
        ]),
    )
    .await;
    let quiet = AURA_CALL.replace("0000", "abcd");
    for (asked, stored) in [
        (quiet.clone(), quiet.as_str()),
        (quiet.to_uppercase(), quiet.as_str()),
        (quiet.replace('b', "B"), quiet.as_str()),
        (shouted.to_owned(), shouted),
        (shouted.to_lowercase(), shouted),
    ] {
        let line = format!("POST /v1/calls/{asked}/outcome");
        let told = request(&bridge, &line, &BEARER, r#"{"status":"closed"}"#).await;
        assert_eq!(told.status, 200, "{asked}: {told:?}");
        assert_eq!(told.json()["data"]["id"], stored, "{asked}");
        let read = request(&bridge, &format!("GET /v1/calls/{asked}"), &BEARER, None).await;
        assert_eq!(
            (read.status, &read.json()["data"]["id"]),
            (200, &json!(stored)),
            "{asked}"
        );
    }
    assert_eq!(log(&bridge, &quiet).await.len(), 3, "each once");
    // What is no UUID is what it is.
    let other = request(&bridge, "GET /v1/calls/call456", &BEARER, None).await;
    assert_eq!(other.status, 404);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_bring_the_headers_that_tell_what_to_do() {
    let bridge = setup().start().await;
    let unknown = request(&bridge, "GET /v1/calls", &[], None).await;
    assert_eq!(
        (unknown.status, unknown.headers["www-authenticate"].as_str()),
        (401, "Bearer")
    );
    let spaced = ["Authorization: Bearer   your-api-key-here"];
    let known = request(&bridge, "GET /v1/calls", &spaced, None).await;
    assert_eq!(known.status, 200);
    let brotli = [&PHONELY[..], &["Content-Encoding: br"]].concat();
    let line = "PATCH /api/calls/agent123/call456";
    let unread = request(&bridge, line, &brotli, SOLD).await;
    assert_eq!(
        (unread.status, unread.headers["accept-encoding"].as_str()),
        (415, "gzip, identity")
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_words_are_words() {
    let bridge = setup().set("SERVER__BODY_LIMIT", "2 MB").start().await;
    let sql = "x'); DROP TABLE calls; --";
    let markup = "<script>alert(1)</script>";
    bring(
        &bridge,
        json!([{
            "call_id": sql, "agent_id": markup, "platform": sql, "email": sql, "direction": markup, "transcript": markup,
            "fields": { sql: sql }, "metadata": { "call_id": "mine", "id": 1, "success": false, sql: markup },
        }, { "call_id": "c", "agent_id": "a" }, { "call_id": "c", "agent_id": "b" }]),
    )
    .await;
    let escaped = |text: &str| {
        text.replace('<', "%3C")
            .replace('>', "%3E")
            .replace('/', "%2F")
            .replace(' ', "%20")
    };
    let line = format!("PATCH /api/calls/{}/{}", escaped(markup), escaped(sql));
    let body = json!({ "custom_call_outcome": sql, "custom_call_metadata": { "note": markup } })
        .to_string();
    let reply = request(&bridge, &line, &PHONELY, body.as_str()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(
        (
            reply.json()["success"].clone(),
            reply.json()["call_id"].clone()
        ),
        (json!(true), json!(sql))
    );
    // Two agents have a call of this id: each is reached by its agent, neither without.
    assert_eq!(
        request(&bridge, "PATCH /api/calls/a/c", &PHONELY, SOLD)
            .await
            .status,
        200
    );
    let plain = request(
        &bridge,
        "PATCH /api/v1/webhooks/calls/c/change-outcome",
        &BEARER,
        r#"{"call_outcome":"x"}"#,
    )
    .await;
    assert_eq!(plain.status, 409, "{plain:?}");
    // Metadata of a megabyte, and nested as deep as JSON is read at all.
    let big = json!({ "custom_call_metadata": { "big": "x".repeat(1 << 20) } }).to_string();
    assert_eq!(
        request(&bridge, "PATCH /api/calls/a/c", &PHONELY, big.as_str())
            .await
            .status,
        200
    );
    let again = json!({ "custom_call_metadata": { "more": "x".repeat(1 << 20) } }).to_string();
    assert_eq!(
        request(&bridge, "PATCH /api/calls/a/c", &PHONELY, again.as_str())
            .await
            .status,
        413
    );
    let nested = |depth: usize| {
        format!(
            r#"{{"custom_call_metadata":{{"deep":{}{}}}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    assert_eq!(
        request(
            &bridge,
            "PATCH /api/calls/b/c",
            &PHONELY,
            nested(100).as_str()
        )
        .await
        .status,
        200
    );
    assert_eq!(
        request(
            &bridge,
            "PATCH /api/calls/b/c",
            &PHONELY,
            nested(100_000).as_str()
        )
        .await
        .status,
        400
    );
    // Filters and cursors are values, never text of a query.
    for path in [
        "/calls?phone=%27%20OR%201=1--",
        "/calls?agent=%27;DROP%20TABLE%20calls",
        "/analytics/report?label=%27%20OR%201=1--",
        "/analytics/report?metadata=%27)=%27%20OR%201=1--",
        "/analytics/breakdown?split=metadata.%27;--",
        "/analytics/calls?agent=%22%27",
    ] {
        let reply = bridge.ask(path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
    }
    for path in [
        "/calls?cursor=1.1;DROP",
        "/calls?sort=id;DROP",
        "/analytics/report?zone=../../etc/passwd",
        "/analytics/breakdown?split=metadata;DROP",
        "/analytics/report?groups=[{]",
        "/analytics/report?where={%22sql%22:1}",
        "/analytics/report?from=-9999-01-01&to=9999-12-31",
        "/analytics/report?from=2026-05-06&to=2026-05-01",
        "/analytics/report?from=99999-01-01",
    ] {
        let reply = bridge.ask(path).await;
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
    }
    assert_eq!(
        bridge.get("/calls").await["items"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    bridge.stop().await;
}
