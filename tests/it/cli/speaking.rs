//! How commands speak: usage, forms of data, times, readers that go away.

use serde_json::Value;

use super::{about, done, with_config};
use crate::support::{Finished, Setup, TestBridge, minutes_ago, run, told, write};

#[test]
fn wrong_usage_is_64_and_help_is_not() {
    for arguments in [
        &["nonsense"][..],
        &["check", "--colour"],
        &[],
        &["send"],
        &["events", "show"],
        &["events", "show", "evt_?"],
        &["deliveries", "show", "dlv_?"],
        &["outcomes", "set", "lost", "--phone", "12"],
        &[
            "outcomes",
            "set",
            "lost",
            "--call",
            "1",
            "--value",
            "much",
            "--currency",
            "USD",
        ],
        &[
            "outcomes",
            "set",
            "lost",
            "--call",
            "1",
            "--value",
            "1",
            "--currency",
            "XXQ",
        ],
        &[
            "outcomes",
            "set",
            "lost",
            "--call",
            "1",
            "--occurred-at",
            "soon",
        ],
        &["outcomes", "report", "--by", "moon"],
        &["events", "list", "--since", "soon"],
        &["events", "list", "--limit", "0"],
        &["events", "list", "--disposition", "lost"],
        &["outcomes", "list", "--kind", "won"],
        &["deliveries", "list", "--state", "gone"],
    ] {
        assert_eq!(run(arguments).code, 64, "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["events", "--help"]] {
        assert_ne!(done(run(arguments)).stdout, "", "{arguments:?}");
    }
    let setup = Setup::new().written();
    let mapped = with_config(
        &setup.config_dir(),
        &["map", "--source", "nobody", "x.json"],
    );
    assert_eq!(mapped.code, 64);
    assert!(mapped.stderr.contains("known: team"), "{mapped:?}");
    assert_eq!(run(["connectors", "show", "nobody"]).code, 64);
}

#[test]
fn a_bridge_that_does_not_run_is_69() {
    let setup = Setup::new().written();
    let config = setup.config_dir();
    for arguments in [
        &["events", "list"][..],
        &["dead-letters", "list"],
        &["outcomes", "list"],
    ] {
        // Nobody listens on the discard port.
        let with_url = [arguments, &["--url", "http://127.0.0.1:9"]].concat();
        let finished = with_config(&config, &with_url);
        assert_eq!(finished.code, 69, "{finished:?}");
        assert!(
            finished.stderr.contains("no bridge answers"),
            "{finished:?}"
        );
    }
    let sent = with_config(
        &config,
        &[
            "send",
            "--source",
            "team",
            "--url",
            "http://127.0.0.1:9",
            "outcome",
        ],
    );
    assert_eq!(sent.code, 69, "{sent:?}");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            done(run(["completions", shell]))
                .stdout
                .contains("dead-letters"),
            "{shell}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_names_its_page_of_the_console() {
    let bridge = Setup::new().with_store().start().await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(9)))
        .await;
    bridge.idle().await;
    let url = bridge.admin_url();
    let event = story["event"]["id"].as_str().unwrap();
    let delivery = story["deliveries"][0]["id"].as_str().unwrap();
    let call = bridge.get("/calls").await["items"][0]["id"].clone();
    let call = call.as_str().unwrap();
    let event_page = format!("console     {url}/console/events/{event}\n");
    for (arguments, page) in [
        (&["events", "show", event][..], event_page.clone()),
        (&["events", "explain", event], event_page.clone()),
        (&["deliveries", "show", delivery], event_page),
        (
            &["calls", "show", "call/call-1"],
            format!("console     {url}/console/calls/{call}\n"),
        ),
    ] {
        let shown = done(about(&bridge, arguments));
        assert!(
            shown.stdout.ends_with(&page),
            "{page} at the end of {shown:?}"
        );
    }
    for (list, page) in [
        (["events", "list"], "/console/events/ID"),
        (["calls", "list"], "/console/calls"),
        (["outcomes", "list"], "/console/calls"),
        (["outcomes", "report"], "/console/performance"),
    ] {
        let listed = done(about(&bridge, &list));
        assert!(
            listed.stderr.contains(&format!("{url}{page}")),
            "{listed:?}"
        );
        let listed = done(about(&bridge, &[&list[..], &["--json"]].concat()));
        assert_eq!(listed.stderr, "", "{list:?}");
    }
}

/// Starts a command whose output nobody reads, waits for its end, and answers its exit code and errors.
fn unread(arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_outcome-bridge"))
        .args(arguments)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    (
        ended.status.code(),
        String::from_utf8(ended.stderr).unwrap(),
    )
}

#[test]
fn a_reader_that_goes_away_is_a_normal_end() {
    for arguments in [
        &["completions", "bash"][..],
        &["connectors", "list"],
        &["connectors", "list", "--json"],
        &["--help"],
    ] {
        assert_eq!(unread(arguments), (Some(0), String::new()), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_and_a_tail_end_when_nobody_reads_on() {
    let bridge = Setup::new().with_store().start().await;
    let (config, url) = (bridge.config_dir(), bridge.admin_url());
    let about = ["--config", config.to_str().unwrap(), "--url", &url];
    let exported = unread(&[&["outcomes", "export"], &about[..]].concat());
    assert_eq!(exported, (Some(0), String::new()));
    let arguments: Vec<String> = [&["events", "tail"], &about[..]]
        .concat()
        .iter()
        .map(|argument| (*argument).to_owned())
        .collect();
    let tail = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        unread(&arguments)
    });
    // It tells what comes after its first look, which nobody can see: so events come until it has ended.
    let mut n = 0;
    while !tail.is_finished() {
        n += 1;
        bridge
            .hear("team", &told(&format!("call-{n}"), "shown", minutes_ago(9)))
            .await;
    }
    assert_eq!(tail.await.unwrap(), (Some(0), String::new()));
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let listed = with_config(home.path(), &["events", "list"]);
    assert_eq!(listed.code, 64, "{listed:?}");
    let file = home.path().join("outcome-bridge.toml");
    assert!(
        listed.stderr.contains(&file.display().to_string()),
        "{listed:?}"
    );
    write(&file, "[server]\nprot = 1\n");
    let listed = with_config(home.path(), &["events", "list"]);
    assert_eq!(listed.code, 2, "{listed:?}");
    assert!(
        listed.stderr.contains("outcome-bridge.toml:2:"),
        "{listed:?}"
    );
}

/// A command about a running bridge, given in the time zone of New Delhi.
fn about_in_delhi(bridge: &TestBridge, arguments: &[&str]) -> Finished {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_outcome-bridge"))
        .args(arguments)
        .arg("--config")
        .arg(bridge.config_dir())
        .args(["--url", &bridge.admin_url()])
        .env("TZ", "Asia/Kolkata")
        .output()
        .unwrap();
    Finished {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_written_and_read_in_the_zone_of_the_person() {
    let bridge = Setup::new().with_store().start().await;
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(9)))
        .await;
    bridge.idle().await;
    let id = story["event"]["id"].as_str().unwrap();
    let received = story["event"]["received_at"].as_str().unwrap();
    for (arguments, offset) in [
        (&["events", "list"][..], "+05:30"),
        (&["events", "show", id], "+05:30"),
        (&["events", "explain", id], "+05:30"),
        (&["outcomes", "list"], "+05:30"),
        (&["events", "list", "--json"], received),
        (&["events", "list", "--format", "csv"], received),
    ] {
        let listed = done(about_in_delhi(&bridge, arguments));
        assert!(listed.stdout.contains(offset), "{arguments:?}: {listed:?}");
        assert_eq!(
            listed.stdout.contains("+05:30"),
            offset == "+05:30",
            "{listed:?}"
        );
    }
    for (since, found) in [
        ("2h", 1),
        ("3days", 1),
        ("yesterday", 1),
        ("2020-01-31", 1),
        ("2020-01-31T10:00:00Z", 1),
        ("2222-01-31", 0),
    ] {
        let arguments = ["events", "list", "--json", "--since", since];
        let listed = done(about_in_delhi(&bridge, &arguments)).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), found, "{since}");
    }
    // Midnight of a date is that of New Delhi, 18:30 of the day before in London.
    let traced = done(about_in_delhi(
        &bridge,
        &["events", "list", "-v", "--since", "2026-01-02"],
    ));
    assert!(
        traced.stderr.contains("since=2026-01-01T18%3A30%3A00Z"),
        "{traced:?}"
    );
    let reply = bridge.get("/events?since=2020-01-31").await;
    assert_eq!(reply["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_takes_the_form_that_is_asked_for() {
    let bridge = Setup::new().with_store().start().await;
    for call in ["call-1", "call-2"] {
        bridge
            .hear("team", &told(call, "shown", minutes_ago(9)))
            .await;
    }
    bridge.idle().await;
    let listed = |arguments: &[&str]| done(about(&bridge, arguments));
    let lines = listed(&["events", "list", "--format", "jsonl"]).stdout;
    let items: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["source"], "team");
    let csv = listed(&["events", "list", "--format", "csv"]).stdout;
    assert_eq!(
        csv.lines().next(),
        Some("id,received_at,source,event_type,disposition,reason")
    );
    assert_eq!(csv.lines().count(), 3, "{csv}");
    let json = listed(&["--format", "json", "events", "list"]).json();
    assert_eq!(json, listed(&["events", "list", "--json"]).json());
    let table = listed(&["events", "list", "--format", "table", "--color", "never"]);
    assert!(table.stdout.starts_with("ID "), "{table:?}");
    for list in [
        &["deliveries", "list"][..],
        &["outcomes", "list"],
        &["calls", "list"],
        &["outcomes", "report"],
        &["connectors", "list"],
    ] {
        let arguments = [list, &["--format", "csv"]].concat();
        let csv = if list[0] == "connectors" {
            done(run(arguments))
        } else {
            listed(&arguments)
        };
        assert!(csv.stdout.lines().next().unwrap().contains(','), "{csv:?}");
    }
    let id = items[0]["id"].as_str().unwrap();
    let one_line = listed(&["events", "show", id, "--format", "jsonl"]).stdout;
    assert_eq!(one_line.lines().count(), 1);
    for arguments in [
        &["events", "show", id, "--format", "csv"][..],
        &["events", "list", "--json", "--format", "csv"],
        &["outcomes", "export", "--format", "table"],
        &["events", "list", "--format", "xml"],
    ] {
        assert_eq!(about(&bridge, arguments).code, 64, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_leaves_data_and_errors_and_verbose_tells_the_requests() {
    let bridge = Setup::new().start().await;
    for call in ["call-1", "call-2"] {
        bridge
            .hear("team", &told(call, "shown", minutes_ago(9)))
            .await;
    }
    let list = ["events", "list", "--limit", "1"];
    let listed = |more: &[&str]| done(about(&bridge, &[&list, more].concat()));
    assert!(listed(&[]).stderr.contains("there are more"));
    assert_eq!(listed(&["-q"]).stderr, "");
    let told = listed(&["-v"]).stderr;
    assert!(
        told.contains("GET http://") && told.contains("/admin/v1/events?limit=1"),
        "{told}"
    );
    assert!(!told.contains(crate::support::ADMIN_TOKEN), "{told}");
    let failed = about(&bridge, &["-q", "events", "show", "evt_0000000000001"]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.starts_with("error: "), "{failed:?}");
}
