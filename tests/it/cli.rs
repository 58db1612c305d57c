//! The command line, as the built binary: output for people and scripts, and exit codes.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    Answer, FakeDestination, Finished, Setup, TEAM_SECRET, TestBridge, minutes_ago, run, told,
    worth, write,
};

const RULES: &str = r#"format = 1
extends = true

[[rule]]
id = "own_won"
when = [{ field = "event.stage", is = "won" }]
outcome = "closed"
[rule.set]
call_id = "{event.call}"
occurred_at = "{event.at | time}"

[[test]]
name = "won is closed"
event = '{"stage":"won","call":"c","at":"2026-01-02T00:00:00Z"}'
expect = { rule = "own_won", outcome = "closed" }
"#;

fn with_config(config: &Path, arguments: &[&str]) -> Finished {
    run(arguments
        .iter()
        .copied()
        .chain(["--config", config.to_str().unwrap()]))
}

/// A command about a running bridge.
fn about(bridge: &TestBridge, arguments: &[&str]) -> Finished {
    let (config, url) = (bridge.config_dir(), bridge.admin_url());
    run(arguments
        .iter()
        .copied()
        .chain(["--config", config.to_str().unwrap(), "--url", &url]))
}

fn done(finished: Finished) -> Finished {
    assert_eq!(finished.code, 0, "{finished:#?}");
    finished
}

#[test]
fn check_accepts_what_serve_would_load() {
    let setup = Setup::new().file("mappings/team.toml", RULES).written();
    let checked = done(with_config(&setup.config_dir(), &["check"]));
    assert!(
        checked.stdout.contains("1 source, ") && checked.stdout.contains("0 failed mapping tests"),
        "{checked:?}"
    );
    let checked = done(with_config(&setup.config_dir(), &["validate", "--json"])).json();
    assert_eq!(
        (&checked["ok"], &checked["sources"]),
        (&json!(true), &json!(["team"]))
    );
}

#[test]
fn check_reports_all_mistakes_of_all_files_with_their_places() {
    let broken = RULES
        .replace("is = ", "iz = ")
        .replace("| time}", "| tyme}");
    let config = r#"
[sources.stripe]
connector = "strype"

[sources.calendly]
connector = "calendly"

[destinations.crm]
connector = "webhook"
url = "ftp://example.com"
signing_secret = "whsec_x"
retries = 3
"#;
    let setup = Setup::new()
        .file("mappings/team.toml", &broken)
        .config(config)
        .written();
    let checked = with_config(&setup.config_dir(), &["check"]);
    assert_eq!(checked.code, 2, "{checked:#?}");
    // One run does not stop at the first file.
    assert!(
        checked.stderr.contains("outcome-bridge.toml:"),
        "{}",
        checked.stderr
    );

    let setup = Setup::new().file("mappings/team.toml", &broken).written();
    let checked = with_config(&setup.config_dir(), &["check"]);
    assert_eq!(checked.code, 2);
    for place in ["team.toml:6:", "team.toml:10:"] {
        assert!(
            checked.stderr.contains(place),
            "{place} in {}",
            checked.stderr
        );
    }
    assert!(
        checked.stderr.contains("did you mean") || checked.stderr.contains("help"),
        "{}",
        checked.stderr
    );
    assert!(checked.stderr.contains("2 mistakes"), "{}", checked.stderr);
    let machine = with_config(&setup.config_dir(), &["check", "--json"]).json();
    assert_eq!(
        (
            &machine["ok"],
            machine["diagnostics"].as_array().unwrap().len()
        ),
        (&json!(false), 2),
        "{machine}"
    );
}

#[test]
fn check_reports_mistakes_of_several_files_at_once() {
    let broken = RULES.replace("is = ", "iz = ");
    let other = "\n[sources.other]\nconnector = \"standard-webhooks\"\nsigning_secret = \"whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==\"\n\n[sources.stripe]\nconnector = \"strype\"\n";
    let setup = Setup::new()
        .file("mappings/team.toml", &broken)
        .file(
            "mappings/other.toml",
            &RULES.replace("outcome = \"closed\"\n", "outcome = \"sold\"\n"),
        )
        .config(other)
        .written();
    let checked = with_config(&setup.config_dir(), &["check"]);
    assert_eq!(checked.code, 2);
    for place in [
        "team.toml:6:",
        "other.toml:7:",
        "outcome-bridge.toml:",
        "did you mean `stripe`?",
    ] {
        assert!(
            checked.stderr.contains(place),
            "{place} in {}",
            checked.stderr
        );
    }
}

#[test]
fn check_runs_the_mapping_tests() {
    let wrong = RULES.replace(
        "expect = { rule = \"own_won\", outcome = \"closed\" }",
        "expect = { outcome = \"lost\" }",
    );
    let setup = Setup::new().file("mappings/team.toml", &wrong).written();
    let checked = with_config(&setup.config_dir(), &["check"]);
    assert_eq!(checked.code, 2, "{checked:#?}");
    assert!(
        checked.stderr.contains("won is closed") && checked.stderr.contains("lost"),
        "{}",
        checked.stderr
    );
}

#[test]
fn serve_starts_nothing_from_a_configuration_with_mistakes() {
    let setup = Setup::new()
        .file("mappings/team.toml", "format = 2\n")
        .written();
    let served = with_config(&setup.config_dir(), &["serve"]);
    assert_eq!(served.code, 2, "{served:?}");
    assert!(served.stderr.contains("team.toml:1:"), "{}", served.stderr);
}

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
fn connectors_are_listed_shown_and_tested() {
    let listed = done(run(["connectors", "list", "--json"])).json();
    let names: BTreeSet<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    for name in [
        "calendly",
        "cal-com",
        "hubspot",
        "hubspot-workflow",
        "pipedrive",
        "highlevel",
        "close",
        "stripe",
        "shopify",
        "salesforce",
        "call2me",
        "standard-webhooks",
        "generic-hmac",
        "phonely",
        "aura",
        "change-outcome",
        "webhook",
        "outcome-store",
    ] {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    assert!(
        done(run(["connectors", "list"]))
            .stdout
            .contains("calendly")
    );
    let shown = done(run(["connectors", "show", "stripe"])).stdout;
    assert!(
        shown.contains("signing_secret") && shown.contains("whsec_"),
        "{shown}"
    );
    let tested = done(run(["connectors", "test", "stripe", "phonely"]));
    assert!(tested.stdout.contains(" passed, 0 failed"), "{tested:?}");
}

#[test]
fn a_new_connector_passes_its_own_test_until_it_is_broken() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().to_str().unwrap();
    done(run(["connectors", "new", "acme-crm", "--dir", dir]));
    let tested = done(run(["connectors", "test", "--dir", dir, "acme-crm"]));
    assert!(
        tested.stdout.starts_with('1') || tested.stdout.contains(" passed, 0 failed"),
        "{tested:?}"
    );
    assert_eq!(
        run(["connectors", "new", "acme-crm", "--dir", dir]).code,
        64,
        "nothing is overwritten"
    );

    let mapping = home.path().join("acme-crm/mapping.toml");
    let text = std::fs::read_to_string(&mapping)
        .unwrap()
        .replace("outcome = \"closed\"", "outcome = \"lost\"");
    std::fs::write(&mapping, text).unwrap();
    let tested = run(["connectors", "test", "--dir", dir, "acme-crm"]);
    assert_eq!(tested.code, 2, "{tested:?}");
    assert!(
        tested.stdout.contains("deal_won") && tested.stdout.contains("1 failed"),
        "{tested:?}"
    );
}

#[test]
fn what_init_writes_checks_once_its_variables_are_set() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("config");
    let path = dir.to_str().unwrap();
    let written = done(run([
        "init",
        path,
        "--connector",
        "calendly",
        "--connector",
        "stripe",
        "--connector",
        "phonely",
        "--json",
    ]))
    .json();
    let variables: Vec<_> = written["variables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect();
    assert!(!variables.is_empty(), "{written}");

    let unset = with_config(&dir, &["check"]);
    assert_eq!(unset.code, 2, "{unset:?}");
    for variable in &variables {
        assert!(
            unset.stderr.contains(variable),
            "{variable} in {}",
            unset.stderr
        );
    }
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_outcome-bridge"));
    command.args(["check", "--config", path]);
    for variable in &variables {
        command.env(variable, TEAM_SECRET);
    }
    command.assert().code(0);
    let again = run(["init", path, "--connector", "calendly"]);
    assert_ne!(again.code, 0, "nothing is overwritten: {again:?}");
}

#[test]
fn map_takes_the_answers_of_look_ups_from_a_file_and_asks_nobody() {
    let source = "\n[sources.crm]\nconnector = \"pipedrive\"\ncredentials = \"bridge:password\"\n";
    let event = json!({
        "meta": { "action": "change", "entity": "deal", "timestamp": "2026-01-02T09:15:00Z" },
        "data": { "id": 8, "status": "won", "person_id": 5 },
        "previous": { "status": "open" },
    });
    let answers = json!({ "person": { "data": { "phones": [{ "value": "+14155550123", "primary": true }] } } });
    let mapped = |credentials: &str| {
        let setup = Setup::new()
            .config(&format!("{source}{credentials}\n"))
            .written();
        let dir = setup.config_dir();
        let (file, lookup) = (dir.join("event.json"), dir.join("lookup.json"));
        write(&file, event.to_string());
        write(&lookup, answers.to_string());
        let (file, lookup) = (file.to_str().unwrap(), lookup.to_str().unwrap());
        let arguments = ["map", "--source", "crm", "--lookup", lookup, file];
        let machine = done(with_config(&dir, &[&arguments[..], &["--json"]].concat())).json();
        let told = done(with_config(
            &dir,
            &[&arguments[..], &["--explain"]].concat(),
        ))
        .stdout;
        (machine, told)
    };
    let (machine, told) = mapped("api_token = \"token-of-the-tests\"");
    assert_eq!(
        machine["facts"][0]["subject"]["phone"], "+14155550123",
        "{machine}"
    );
    let asked = "look-up     `person` answered (GET https://api.pipedrive.com/api/v2/persons/5)";
    assert!(told.contains(asked), "{told}");
    assert!(!told.contains("token-of-the-tests"));
    let (machine, told) = mapped("");
    assert_eq!(machine["facts"][0]["subject"]["phone"], Value::Null);
    assert!(
        told.contains("look-up     `person` not made: set `api_token`, or"),
        "{told}"
    );
}

#[test]
fn map_explains_what_a_rule_makes_of_an_event_without_storing_it() {
    let setup = Setup::new().file("mappings/team.toml", RULES).written();
    let event = setup.config_dir().join("event.json");
    let path = event.to_str().unwrap();
    write(
        &event,
        json!({ "stage": "won", "call": "call-1", "at": "2026-01-02T00:00:00Z" }).to_string(),
    );
    let mapped = done(with_config(
        &setup.config_dir(),
        &["map", "--source", "team", path],
    ));
    assert!(
        mapped.stdout.contains("closed at 2026-01-0") && mapped.stdout.contains(" (rule own_won)"),
        "{}",
        mapped.stdout
    );
    let explained = done(with_config(
        &setup.config_dir(),
        &["map", "--source", "team", "--explain", path],
    ));
    assert!(
        explained.stdout.contains("own_won") && explained.stdout.contains("event.stage"),
        "{}",
        explained.stdout
    );
    let machine = done(with_config(
        &setup.config_dir(),
        &["map", "--source", "team", "--json", path],
    ))
    .json();
    assert_eq!(machine["disposition"], "mapped", "{machine}");
    assert_eq!(
        machine["facts"][0]["subject"],
        json!({ "call_id": "call-1" })
    );

    write(&event, "{ not json");
    let mapped = done(with_config(
        &setup.config_dir(),
        &["map", "--source", "team", path],
    ));
    assert!(
        mapped.stdout.starts_with("failed: the body cannot be read"),
        "{}",
        mapped.stdout
    );
    let nowhere = with_config(
        &setup.config_dir(),
        &["map", "--source", "team", "/nowhere.json"],
    );
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert!(nowhere.stderr.contains("/nowhere.json"), "{nowhere:?}");
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
    let told = format!("there is no event {absent}");
    assert!(replayed.stderr.contains(&told), "{replayed:?}");
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
