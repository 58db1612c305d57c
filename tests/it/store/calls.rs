//! Calls brought in: by the API, and from files.

use serde_json::{Value, json};

use super::{bring, setup};
use crate::support::{ADMIN_TOKEN, TestBridge, run, write};

fn arguments(bridge: &TestBridge, words: &[&str]) -> Vec<String> {
    let token = bridge.home().join("token");
    write(&token, ADMIN_TOKEN);
    let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    all.extend([
        "--url".to_owned(),
        bridge.admin_url(),
        "--token-file".to_owned(),
        token.display().to_string(),
    ]);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_words_win_field_by_field_whatever_the_order() {
    let bridge = setup().start().await;
    let newer = json!({ "call_id": "c", "agent_id": "a", "direction": "inbound", "as_of": "2026-05-02T00:00:00Z",
        "metadata": { "campaign": "new", "only_new": 1 } });
    let older = json!({ "call_id": "c", "platform": "phonely", "direction": "outbound", "phone": "+14155551234",
        "as_of": "2026-05-01T00:00:00Z", "metadata": { "campaign": "old", "only_old": 1 } });
    assert_eq!(bring(&bridge, newer.clone()).await["created"], 1);
    assert_eq!(bring(&bridge, older.clone()).await["updated"], 1);
    for again in [newer, older] {
        assert_eq!(bring(&bridge, again).await["unchanged"], 1);
    }
    let page = bridge.get("/calls").await;
    let call = &page["items"][0];
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&call["platform"], &call["agent_id"], &call["phone"]),
        (&json!("phonely"), &json!("a"), &json!("+14155551234"))
    );
    assert_eq!(call["direction"], "inbound");
    assert_eq!(
        call["metadata"],
        json!({ "campaign": "new", "only_new": 1, "only_old": 1 })
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn good_calls_are_taken_and_bad_ones_named() {
    let bridge = setup().start().await;
    let reply = bridge
        .tell(
            "/calls",
            &json!([{ "call_id": "a" }, { "phone": "x" }, 7, { "call_id": "a" }]),
        )
        .await;
    let answer = reply.json();
    assert_eq!(
        (reply.status, &answer["created"], &answer["unchanged"]),
        (200, &json!(1), &json!(1)),
        "{answer}"
    );
    let rejected: Vec<&Value> = answer["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["index"])
        .collect();
    assert_eq!(rejected, [&json!(1), &json!(2)]);
    assert_eq!(
        bridge
            .tell("/calls", &json!({ "agent_id": "a" }))
            .await
            .status,
        400
    );
    assert_eq!(bridge.tell("/calls", &json!("x")).await.status, 400);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_imported_twice_and_its_bad_rows_are_listed_with_their_lines() {
    let bridge = setup().start().await;
    let csv = bridge.home().join("calls.csv");
    write(
        &csv,
        "call_id,agent_id,phone,started_at,metadata.campaign,transcript\n\
         c1,a,+14155551234,2026-05-01T10:00:00Z,spring,\"hello\nworld\"\n\
         c2,a,4155551234,,,\n\
         c3,b,,2026-05-02T10:00:00Z,autumn,\n\
         c4,b\n",
    );
    let path = csv.display().to_string();
    let rejects = bridge.home().join("rejects.jsonl").display().to_string();
    let words = ["calls", "import", &path, "--rejects", &rejects, "--json"];
    let import = run(arguments(&bridge, &words));
    assert_eq!(import.code, 2, "{import:?}");
    let told = import.json();
    assert_eq!(
        (&told["created"], &told["rejected"]),
        (&json!(2), &json!(2)),
        "{told}"
    );
    let lines: Vec<u64> = std::fs::read_to_string(&rejects)
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["line"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(
        {
            let mut sorted = lines;
            sorted.sort_unstable();
            sorted
        },
        [4, 6]
    );
    let again = run(arguments(&bridge, &words)).json();
    assert_eq!(
        (&again["created"], &again["unchanged"]),
        (&json!(0), &json!(2))
    );
    let later = run(arguments(
        &bridge,
        &["calls", "import", &path, "--from-line", "5", "--json"],
    ))
    .json();
    assert_eq!(
        (&later["unchanged"], &later["rejected"]),
        (&json!(1), &json!(1))
    );
    let listed = run(arguments(
        &bridge,
        &["calls", "list", "--agent", "a", "--json"],
    ))
    .json();
    let call = listed["items"][0].clone();
    assert_eq!(
        (&call["call_id"], &call["metadata"]["campaign"]),
        (&json!("c1"), &json!("spring"))
    );
    let shown = run(arguments(
        &bridge,
        &["calls", "show", call["id"].as_str().unwrap(), "--json"],
    ))
    .json();
    assert_eq!(shown["call"]["transcript"], "hello\nworld");
    assert!(
        run(arguments(&bridge, &["calls", "list"]))
            .stdout
            .contains("c3")
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_with_its_hash() {
    let made = run(["calls", "new-key", "crm", "--json"]).json();
    let (key, hash) = (
        made["key"].as_str().unwrap(),
        made["hash"].as_str().unwrap(),
    );
    let bridge = setup()
        .config(&format!("\n[store.keys.crm]\nhash = \"{hash}\"\n"))
        .start()
        .await;
    let header = format!("X-Authorization: {key}");
    let reply = super::request(&bridge, "GET /api/calls/a", &[&header], None).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_end_is_corrected_has_another_length() {
    let bridge = setup().start().await;
    for (ended_at, length) in [("10:05:00Z", 300_000), ("10:07:30Z", 450_000)] {
        let call = json!([{
            "call_id": "c1", "started_at": "2026-05-01T10:00:00Z", "ended_at": format!("2026-05-01T{ended_at}"),
        }]);
        bring(&bridge, call).await;
        let found = bridge.get("/calls?call=c1").await;
        assert_eq!(found["items"][0]["duration_ms"], length, "{found}");
    }
    bridge.stop().await;
}
