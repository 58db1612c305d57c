//! What README shows works as it stands there.

use std::collections::BTreeMap;

use outcome_bridge::config::Env;
use outcome_bridge::setup::Blueprint;

use crate::support::{Setup, run, write};

const README: &str = include_str!("../../README.md");

/// The code blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README
        .split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
fn every_toml_block_parses() {
    let blocks = blocks("toml");
    assert!(blocks.len() >= 2);
    for block in blocks {
        if let Err(error) = block.parse::<toml::Table>() {
            panic!("{error}\n{block}");
        }
    }
}

#[test]
fn the_example_of_a_configuration_loads() {
    let example = blocks("toml")
        .into_iter()
        .find(|block| block.contains("[server]"))
        .unwrap();
    let home = tempfile::tempdir().unwrap();
    write(&home.path().join("outcome-bridge.toml"), example);
    let env: Env = BTreeMap::from([
        ("STRIPE_SIGNING_SECRET", "whsec_x"),
        ("PHONELY_API_KEY", "key"),
    ])
    .into_iter()
    .collect();
    if let Err(mistakes) = Blueprint::load(home.path(), &env) {
        panic!("{mistakes:#?}");
    }
}

#[test]
fn the_example_of_a_rule_passes_its_own_test() {
    let example = blocks("toml")
        .into_iter()
        .find(|block| block.contains("[[rule]]"))
        .unwrap();
    assert!(example.contains("[[test]]"));
    let hubspot = "\n[sources.hubspot]\nconnector = \"hubspot\"\nclient_secret = \"s\"\n";
    let check = |rules: &str| {
        let setup = Setup::new()
            .config(hubspot)
            .file("mappings/hubspot.toml", rules)
            .written();
        run(["check", "--config", setup.config_dir().to_str().unwrap()])
    };
    let checked = check(example);
    assert_eq!(checked.code, 0, "{checked:#?}");
    let changed = check(&example.replace("closedwon = \"closed\"", "closedwon = \"lost\""));
    assert_eq!(changed.code, 2, "the test can fail: {changed:#?}");
}

#[test]
fn every_command_that_is_shown_exists() {
    for block in blocks("sh") {
        for line in block
            .lines()
            .filter_map(|line| line.strip_prefix("outcome-bridge "))
        {
            let words: Vec<_> = line
                .split_whitespace()
                .take_while(|word| {
                    word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
                        && !word.starts_with('-')
                })
                .take(2)
                .collect();
            let nouns = [
                "events",
                "connectors",
                "deliveries",
                "dead-letters",
                "outcomes",
            ];
            let depth = if nouns.contains(&words[0]) { 2 } else { 1 };
            let shown = run(words[..depth].iter().copied().chain(["--help"]));
            assert_eq!(shown.code, 0, "{line}: {shown:?}");
        }
    }
}

#[test]
fn the_bridges_own_words_are_all_explained() {
    use outcome_bridge::model::{DeliveryState, Disposition, OutcomeKind};
    // `accepted` and `in_flight` pass in moments; everything that stays has to stand there.
    let lasting = Disposition::ALL
        .into_iter()
        .filter(|d| *d != Disposition::Accepted)
        .map(Disposition::as_str);
    let states = DeliveryState::ALL
        .into_iter()
        .filter(|s| *s != DeliveryState::InFlight)
        .map(DeliveryState::as_str);
    for word in lasting
        .chain(states)
        .chain(OutcomeKind::ALL.into_iter().map(OutcomeKind::as_str))
    {
        assert!(README.contains(&format!("`{word}`")), "{word}");
    }
}
