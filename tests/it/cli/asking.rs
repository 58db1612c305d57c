//! Commands that ask a running bridge.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{RULES, about, done, with_config};
use crate::support::{
    Answer, FakeDestination, Setup, TestBridge, minutes_ago, run, told, worth, write,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_admins_loop_send_look_save_map_change_replay() {
    let destination = FakeDestination::start().await;
    let without = RULES
        .replace("is = \"won\"", "is = \"signed\"")
        .split("[[test]]")
        .next()
        .unwrap()
        .to_owned();
    let setup = Setup::new()
        .file("mappings/team.toml", &without)
        .webhook("crm", &destination, "");
    let bridge = setup.start().await;
    let config = bridge.config_dir();
    let file = bridge.home().join("event.json");
    let path = file.to_str().unwrap();
    write(
        &file,
        json!({ "stage": "won", "call": "call-1", "at": minutes_ago(9) }).to_string(),
    );

    let inlet = format!("http://{}", bridge.inlet());
    let sent = done(with_config(
        &config,
        &["send", "--source", "team", "--url", &inlet, path],
    ));
    assert!(sent.stdout.contains("answered 200"), "{sent:?}");
    let id = bridge.event_ids().await.remove(0);
    bridge.processed(&id).await;
    let listed = done(about(&bridge, &["events", "list"])).stdout;
    assert!(
        listed.contains(&id) && listed.contains("ignored"),
        "{listed}"
    );
    let filtered = done(about(
        &bridge,
        &["events", "list", "--disposition", "mapped", "--json"],
    ))
    .json();
    assert_eq!(filtered["items"], json!([]));

    let saved = bridge.home().join("saved.json");
    done(about(
        &bridge,
        &["events", "show", &id, "--save", saved.to_str().unwrap()],
    ));
    let mapped = done(with_config(
        &config,
        &["map", "--source", "team", saved.to_str().unwrap()],
    ));
    assert!(mapped.stdout.starts_with("ignored: "), "{mapped:?}");

    write(&config.join("mappings/team.toml"), RULES);
    let mapped = done(with_config(
        &config,
        &[
            "map",
            "--source",
            "team",
            "--explain",
            saved.to_str().unwrap(),
        ],
    ));
    assert!(
        mapped.stdout.contains("→ crm call/call-1"),
        "{}",
        mapped.stdout
    );

    destination.answer(Answer::ok());
    done(about(&bridge, &["events", "replay", &id]));
    assert_eq!(destination.request().await.body["outcome"], "closed");
    bridge.idle().await;
    let explained = done(about(&bridge, &["events", "explain", &id])).stdout;
    for word in [
        &id,
        "verified    by hmac-sha256 in the header `webhook-signature`",
        "own_won",
        "mapped",
        "call/call-1",
        "delivered",
        "attempt 1",
        "200",
    ] {
        assert!(explained.contains(word), "{word} in {explained}");
    }
    let shown = done(about(&bridge, &["events", "show", &id, "--json"])).json();
    assert_eq!(shown["deliveries"][0]["state"], "delivered");
    let matching = about(
        &bridge,
        &[
            "events",
            "replay",
            "--filter",
            "source=team&disposition=mapped",
            "--dry-run",
        ],
    );
    assert!(done(matching).stdout.starts_with("1 event would be"));
    assert_eq!(about(&bridge, &["events", "replay"]).code, 64);
    // One of two filters would be dropped, and more replayed than was asked for.
    let both = [
        "events",
        "replay",
        "--filter",
        "source=team",
        "--since",
        "2h",
    ];
    assert_eq!(about(&bridge, &both).code, 64);
    assert_eq!(
        about(&bridge, &["events", "show", "evt_0000000000001"]).code,
        1
    );
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_counts_what_is_there_and_names_what_is_not() {
    let bridge = Setup::new().start().await;
    let mut ids = Vec::new();
    for call in ["call-1", "call-2"] {
        let story = bridge
            .hear("team", &told(call, "shown", minutes_ago(9)))
            .await;
        ids.push(story["event"]["id"].as_str().unwrap().to_owned());
    }
    let absent = "evt_0000000000001";
    let replayed = about(&bridge, &["events", "replay", &ids[0], &ids[0], absent]);
    assert_eq!(replayed.code, 1, "{replayed:?}");
    assert_eq!(replayed.stdout, "1 event was replayed\n");
    let told = format!("there is no event {absent}: mistyped, or past its retention");
    assert!(replayed.stderr.contains(&told), "{replayed:?}");
    let shown = about(&bridge, &["events", "show", absent]);
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.stderr.contains(&told), "{shown:?}");
    let replayed = about(&bridge, &["events", "replay", "--json", absent]);
    assert_eq!(
        (replayed.code, replayed.json()),
        (1, json!({ "replayed": 0, "missing": [absent] }))
    );
    let compared = about(&bridge, &["events", "replay", "--dry-run", &ids[1], absent]);
    assert_eq!(compared.code, 1, "{compared:?}");
    assert!(
        compared.stdout.starts_with("1 event would be replayed: 0 "),
        "{compared:?}"
    );
    assert!(compared.stderr.contains(&told), "{compared:?}");
    let replayed = done(about(&bridge, &["events", "replay", "--source", "team"]));
    assert_eq!(replayed.stdout, "2 events were replayed\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn send_signs_as_the_vendor_does_and_fails_when_it_is_refused() {
    let stripe = "\n[sources.stripe]\nconnector = \"stripe\"\nsigning_secret = \"whsec_right\"\n";
    let bridge = Setup::new().config(stripe).start().await;
    let inlet = format!("http://{}", bridge.inlet());
    let sent = done(with_config(
        &bridge.config_dir(),
        &[
            "send",
            "--source",
            "stripe",
            "--url",
            &inlet,
            "--json",
            "checkout-paid",
        ],
    ));
    assert_eq!(sent.json()["status"], 200);
    assert_eq!(bridge.event_ids().await.len(), 1);

    let wrong = Setup::new()
        .config(&stripe.replace("right", "wrong"))
        .written();
    let sent = with_config(
        &wrong.config_dir(),
        &[
            "send",
            "--source",
            "stripe",
            "--url",
            &inlet,
            "checkout-paid",
        ],
    );
    assert_eq!(sent.code, 1, "{sent:?}");
    assert!(sent.stdout.contains("401"), "{sent:?}");
    let sent = with_config(
        &wrong.config_dir(),
        &[
            "send",
            "--source",
            "stripe",
            "--url",
            &inlet,
            "no-such-case",
        ],
    );
    assert_eq!(sent.code, 64);
    assert!(
        sent.stderr.contains("checkout-paid"),
        "it names the cases: {sent:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_that_share_the_vendors_id_are_events_of_their_own() {
    let sources = "\n[sources.stripe]\nconnector = \"stripe\"\nsigning_secret = \"whsec_right\"\n\
        \n[sources.calendly]\nconnector = \"calendly\"\nsigning_key = \"key-of-the-tests\"\n";
    let bridge = Setup::new().config(sources).start().await;
    let inlet = format!("http://{}", bridge.inlet());
    let send = |arguments: &[&str]| {
        let arguments = [&["send", "--url", &inlet], arguments].concat();
        done(with_config(&bridge.config_dir(), &arguments))
    };
    for case in ["checkout-paid", "invoice-paid"] {
        for _ in 0..2 {
            let sent = send(&["--source", "stripe", case]);
            assert!(sent.stderr.contains("event.id is evt_1Nx_"), "{sent:?}");
        }
    }
    assert_eq!(
        bridge.event_ids().await.len(),
        2,
        "the same again is a repeat"
    );
    for _ in 0..2 {
        let sent = send(&["--source", "stripe", "--new-id", "--json", "checkout-paid"]);
        assert_eq!(sent.json()["new_id"]["field"], "event.id");
    }
    assert_eq!(bridge.event_ids().await.len(), 4);
    let file = bridge.config_dir().join("event.json");
    let body = "{\"id\":\"evt_of_the_file\",\"type\":\"invoice.paid\"}";
    write(&file, body);
    for _ in 0..2 {
        let sent = send(&["--source", "stripe", "--json", file.to_str().unwrap()]);
        assert_eq!(sent.json()["new_id"], Value::Null);
    }
    let events = bridge.event_ids().await;
    assert_eq!(events.len(), 5, "a file is sent as it is");
    for _ in 0..2 {
        let sent = send(&["--source", "calendly", "no-show"]);
        assert!(sent.stderr.contains("makes no new event"), "{sent:?}");
    }
    assert_eq!(bridge.event_ids().await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_dead_letters_and_outcomes_are_listed_and_moved() {
    let destination = FakeDestination::start().await;
    destination.answer(Answer::new(400));
    let bridge = Setup::new()
        .with_store()
        .webhook("crm", &destination, "")
        .start()
        .await;
    bridge
        .hear(
            "team",
            &worth("call-1", "closed", minutes_ago(9), "1250.50"),
        )
        .await;
    destination.request().await;
    bridge.idle().await;

    let listed = done(about(&bridge, &["deliveries", "list", "--json"])).json();
    assert_eq!(
        listed["items"].as_array().unwrap().len(),
        2,
        "the store's and crm's: {listed}"
    );
    let letters = done(about(&bridge, &["dead-letters", "list", "--json"])).json();
    let id = letters["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(
        done(about(&bridge, &["dead-letters", "list"]))
            .stdout
            .contains(&id)
    );
    let shown = done(about(&bridge, &["deliveries", "show", &id])).stdout;
    assert!(shown.contains("400"), "{shown}");

    destination.answer(Answer::new(400));
    let redriven = done(about(&bridge, &["dead-letters", "redrive", &id]));
    assert_eq!(redriven.stdout, "1 dead letter is pending again\n");
    destination.request().await;
    bridge.idle().await;
    let shown = done(about(&bridge, &["deliveries", "show", &id, "--json"])).json();
    let numbers: Vec<&Value> = shown["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| &attempt["number"])
        .collect();
    assert_eq!(numbers, [1, 2], "over its whole life");
    let discarded = done(about(&bridge, &["dead-letters", "discard", &id]));
    assert_eq!(discarded.stdout, "1 dead letter is put aside\n");
    let letters = done(about(&bridge, &["dead-letters", "list", "--json"])).json();
    assert_eq!(letters["items"], json!([]));

    let delivered = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|delivery| delivery["state"] == "delivered");
    let delivered = delivered.unwrap()["id"].as_str().unwrap();
    let refused = about(&bridge, &["dead-letters", "redrive", delivered]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(refused.stdout, "0 dead letters were moved\n");
    assert!(
        refused
            .stderr
            .contains("is no dead letter, it is delivered"),
        "{refused:?}"
    );
    let again = &["dead-letters", "redrive", "--delivered", delivered];
    assert_eq!(
        done(about(&bridge, again)).stdout,
        "1 delivery is pending again\n"
    );
    bridge.idle().await;

    let outcomes = done(about(&bridge, &["outcomes", "list", "--json"])).json();
    let outcome = &outcomes["items"][0];
    assert_eq!(
        (&outcome["kind"], &outcome["currency"]),
        (&json!("closed"), &json!("USD")),
        "{outcomes}"
    );
    assert_eq!(
        outcome["value"].as_str().unwrap().parse::<f64>().unwrap(),
        1250.5,
        "{outcomes}"
    );
    assert!(
        done(about(&bridge, &["outcomes", "list", "--kind", "closed"]))
            .stdout
            .contains("call-1")
    );
    assert_eq!(
        done(about(
            &bridge,
            &["outcomes", "list", "--kind", "lost", "--json"]
        ))
        .json()["items"],
        json!([])
    );
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_are_listed_paused_and_resumed() {
    let destination = FakeDestination::start().await;
    let setup = Setup::new().webhook("crm", &destination, "");
    let bridge = setup.start().await;
    let state = || {
        let listed = done(about(&bridge, &["destinations", "list"])).stdout;
        let row = listed
            .lines()
            .find(|line| line.starts_with("crm "))
            .unwrap();
        row.to_owned()
    };
    assert!(state().ends_with("flowing"), "{}", state());
    let paused = done(about(&bridge, &["destinations", "pause", "crm"]));
    assert_eq!(paused.stdout, "crm is paused\n");
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(3)))
        .await;
    assert!(state().ends_with("paused"), "{}", state());
    let depth = done(about(&bridge, &["destinations", "list", "--json"])).json();
    let crm = depth["items"].as_array().unwrap().iter();
    let crm = crm.clone().find(|item| item["name"] == "crm").unwrap();
    assert_eq!(crm["queue"]["open"], 1, "{crm}");
    destination.answer(Answer::ok());
    let resumed = done(about(&bridge, &["destinations", "resume", "crm", "--json"]));
    assert_eq!(resumed.json(), json!({ "name": "crm", "paused": false }));
    bridge.delivery(&story, "crm", "delivered").await;
    let unknown = about(&bridge, &["destinations", "resume", "nobody"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stderr.contains("`nobody`"), "{unknown:?}");

    let sources = done(about(&bridge, &["sources", "list", "--format", "csv"])).stdout;
    let expected = "name,connector,path,verified,mapping,lookups\nteam,standard-webhooks,/webhooks/team,true,,\n";
    assert_eq!(sources, expected);
    destination.request().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_tells_what_it_changed_and_a_release_that_there_was_nothing() {
    let bridge = Setup::new().with_store().start().await;
    bridge
        .hear("team", &told("call-1", "closed", minutes_ago(9)))
        .await;
    bridge.idle().await;
    let released = about(&bridge, &["outcomes", "release", "--call", "call-1"]);
    assert_eq!(released.code, 1, "{released:?}");
    assert!(
        released.stderr.contains("nothing to release"),
        "{released:?}"
    );
    let set = done(about(
        &bridge,
        &["outcomes", "set", "lost", "--call", "call-1"],
    ));
    assert!(set.stdout.contains("call/call-1: closed → lost"), "{set:?}");
    let released = done(about(
        &bridge,
        &["outcomes", "release", "--call", "call-1", "--json"],
    ));
    let truth = &released.json()["truth"][0];
    assert_eq!(
        (&truth["without"]["kind"], &truth["with"]["kind"]),
        (&json!("lost"), &json!("closed"))
    );
    let again = about(&bridge, &["outcomes", "release", "--call", "call-1"]);
    assert_eq!(again.code, 1, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_in_words_that_are_not_known_is_refused_before_it_is_stored() {
    let bridge = Setup::new().with_store().start().await;
    let set = about(&bridge, &["outcomes", "set", "won", "--call", "call-1"]);
    assert_eq!(set.code, 64, "{set:?}");
    for word in ["shown", "no_show", "closed", "lost", "follow_up"] {
        assert!(set.stderr.contains(word), "{word}: {set:?}");
    }
    for verb in [&["set", "lost"][..], &["release"]] {
        let words = ["--call", "call-1", "--source", "teem"];
        let refused = about(&bridge, &[&["outcomes"], verb, &words].concat());
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(
            refused
                .stderr
                .contains("there is no source `teem`; did you mean `team`? (configured: team)"),
            "{refused:?}"
        );
    }
    assert!(bridge.event_ids().await.is_empty());
}

/// What holds in the store, without how it came there.
async fn standing(bridge: &TestBridge) -> BTreeSet<String> {
    bridge.idle().await;
    let page = bridge.get("/outcomes").await;
    let rows = page["items"].as_array().unwrap();
    let told = rows.iter().map(|row| {
        let parts = [
            "target",
            "call_id",
            "phone",
            "email",
            "agent_id",
            "kind",
            "label",
            "value",
            "currency",
            "notes",
            "metadata",
            "basis",
            "occurred_at",
        ];
        let parts = parts.map(|part| row[part].to_string());
        parts.join(" ")
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_export_writes_can_be_imported_into_a_fresh_bridge() {
    let bridge = Setup::new().with_store().start().await;
    let at = minutes_ago(90);
    let body = json!({ "outcomes": [
        { "outcome": "closed", "occurred_at": at, "call_id": "c1", "value": "12.50", "currency": "EUR", "label": "Sold",
          "notes": "- \"quoted\",\nand a second line", "metadata.campaign": "spring", "metadata.rank": 3, "agent_id": "a1" },
        { "outcome": "lost", "occurred_at": at, "call_id": "c2", "phone": "+14155557777", "email": "x@example.com" },
        { "outcome": "shown", "occurred_at": at, "call_id": "c3", "basis": "inferred" },
        { "outcome": "follow_up", "occurred_at": at, "deal_id": "D/9" },
    ]});
    assert_eq!(
        bridge.tell("/outcomes/import", &body).await.json()["accepted"],
        4
    );
    done(about(
        &bridge,
        &[
            "outcomes", "set", "no_show", "--call", "c3", "--notes", "=1",
        ],
    ));
    let before = standing(&bridge).await;
    assert_eq!(before.len(), 4, "{before:#?}");
    for format in ["csv", "jsonl"] {
        let file = bridge.home().join(format!("outcomes.{format}"));
        let path = file.to_str().unwrap();
        done(about(
            &bridge,
            &["outcomes", "export", "--format", format, "--out", path],
        ));
        let fresh = Setup::new().with_store().start().await;
        let imported = done(about(&fresh, &["outcomes", "import", path]));
        assert_eq!(imported.stdout, "4 accepted, 0 rejected\n");
        assert_eq!(standing(&fresh).await, before, "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_can_come_from_a_file_and_a_wrong_one_is_told() {
    let bridge = Setup::new().start().await;
    bridge
        .hear("team", &told("call-1", "shown", minutes_ago(9)))
        .await;
    let file = bridge.home().join("token");
    let url = bridge.admin_url();
    let list = |token: &str| {
        write(&file, token);
        run([
            "events",
            "list",
            "--json",
            "--url",
            &url,
            "--token-file",
            file.to_str().unwrap(),
        ])
    };
    let listed: Value = done(list(&format!("{}\n", crate::support::ADMIN_TOKEN))).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let refused = list("a-wrong-token-of-the-tests");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("401") && !refused.stderr.contains("a-wrong-token"),
        "{refused:?}"
    );
}

#[test]
fn the_demo_comes_out_right_by_itself() {
    let played = done(run(["demo", "--once", "--json"])).json();
    for part in ["steps", "calls"] {
        let items = played[part].as_array().unwrap();
        assert!(
            items.len() >= 5 && items.iter().all(|item| item["right"] == true),
            "{part}: {played}"
        );
    }
}
