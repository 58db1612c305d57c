//! Commands that need no running bridge: configurations, connectors, rules.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{RULES, done, with_config};
use crate::support::{Setup, TEAM_SECRET, run, write};

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
fn denied_warnings_hide_no_failing_mapping_test() {
    let wrong = RULES.replace(
        "expect = { rule = \"own_won\", outcome = \"closed\" }",
        "expect = { outcome = \"lost\" }",
    );
    // A file of rules that belongs to no source is warned about.
    let setup = Setup::new()
        .file("mappings/team.toml", &wrong)
        .file("mappings/nobody.toml", RULES)
        .written();
    let arguments = ["check", "--deny-warnings"];
    let checked = with_config(&setup.config_dir(), &arguments);
    assert_eq!(checked.code, 2, "{checked:#?}");
    for part in ["belong to no source", "source `team`, test"] {
        assert!(checked.stderr.contains(part), "{part}: {checked:#?}");
    }
    let checked = with_config(&setup.config_dir(), &["check", "--deny-warnings", "--json"]);
    assert_eq!(checked.code, 2, "{checked:#?}");
    let told = checked.json();
    assert_eq!(
        (
            &told["ok"],
            told["failed_tests"].as_array().unwrap().len(),
            told["warnings"].as_array().unwrap().len()
        ),
        (&json!(false), 1, 1),
        "{told}"
    );
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
fn mapping_tests_have_the_region_and_the_settings_of_their_source() {
    let rules = "format = 1\n[[rule]]\nid = \"won\"\nwhen = [{ field = \"event.won\", is = true }]\noutcome = \"closed\"\n\
        [rule.set]\nphone = \"{event.phone | phone}\"\nvalue = \"{event.worth | money}\"\ncurrency = \"{event.cur or setting.currency}\"\n\
        [[test]]\nname = \"a German number\"\nevent = '{\"won\":true,\"phone\":\"030 123456\",\"worth\":\"9.50\"}'\n\
        expect = { outcome = \"closed\", phone = \"+4930123456\", value = \"9.50\", currency = \"EUR\" }\n";
    let source = "\n[sources.berlin]\nconnector = \"generic-hmac\"\nsecret = \"s\"\nheader = \"x-signature\"\nregion = \"DE\"\ncurrency = \"EUR\"\n";
    let setup = Setup::new()
        .config(source)
        .file("mappings/berlin.toml", rules)
        .written();
    let checked = with_config(&setup.config_dir(), &["check"]);
    assert_eq!(checked.code, 0, "{checked:#?}");
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
fn connectors_of_the_configuration_are_found_without_a_word() {
    let setup = Setup::new()
        .config("\n[connectors]\ndir = \"own\"\n")
        .file("own/README", "connectors of our own")
        .written();
    let own = setup.config_dir().join("own");
    let dir = own.to_str().unwrap();
    done(run(["connectors", "new", "acme-crm", "--dir", dir]));
    let named = ["connectors", "test", "acme-crm"];
    assert_eq!(run(named).code, 64, "it is not built in");
    done(with_config(&setup.config_dir(), &named));
    let home = tempfile::tempdir().unwrap();
    let fresh = home.path().join("config");
    let fresh = fresh.to_str().unwrap();
    let init = [
        "--json",
        "init",
        fresh,
        "--connector",
        "acme-crm",
        "--connectors-dir",
        dir,
    ];
    let written = done(run(init)).json();
    assert_eq!(written["webhooks"][0]["source"], "acme-crm");
    // The configuration that it wrote knows the connector, too: what is missing are the variables.
    let checked = with_config(std::path::Path::new(fresh), &["check"]);
    assert!(
        !checked.stderr.contains("there is no connector"),
        "{checked:?}"
    );
}

#[test]
fn a_key_is_made_with_its_hash_however_little_is_told() {
    let made = done(run(["calls", "new-key", "crm", "-q"]));
    assert!(made.stdout.starts_with("obk_") && made.stdout.lines().count() == 1);
    assert!(
        made.stderr.contains("hash = \"sha256:") && !made.stderr.contains("only time"),
        "{made:?}"
    );
}

#[test]
fn where_the_admin_token_was_looked_for_is_told_in_full() {
    let home = tempfile::tempdir().unwrap();
    write(
        &home.path().join("outcome-bridge.toml"),
        "[storage]\ndir = \"nowhere\"\n",
    );
    let asked = with_config(home.path(), &["events", "list"]);
    assert_eq!(asked.code, 69, "{asked:?}");
    let here = std::env::current_dir().unwrap().join("nowhere");
    assert!(asked.stderr.contains(here.to_str().unwrap()), "{asked:?}");
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
