//! What `check` says of a configuration with connectors and rules in it.

use std::fs;

use tempfile::TempDir;

use super::Blueprint;
use crate::config::{Env, FILE_NAME};
use crate::diagnostic::Diagnostic;

/// A configuration directory with `text` as its file.
fn directory(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), text).unwrap();
    dir
}

/// The mistakes of a configuration, as `file:line:column context: message | help`.
fn mistakes(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let env = env.iter().copied().collect();
    let found = Blueprint::load(directory(text).path(), &env).unwrap_err();
    found.iter().map(told).collect()
}

fn told(found: &Diagnostic) -> String {
    let file = found.file.file_name().unwrap_or_default().to_string_lossy();
    let (line, column) = found.position().unwrap_or_default();
    let help = found.help.as_deref().unwrap_or("-");
    format!("{file}:{line}:{column} {} | {help}", found.in_short())
}

const SOURCE: &str = "[sources.a]\nconnector = \"shopify\"\nclient_secret = \"shpss_0123456789\"\n";

#[test]
fn a_destination_of_a_store_that_is_turned_off_is_a_mistake() {
    let store = "[store]\nenabled = false\n[destinations.mine]\nconnector = \"outcome-store\"\n";
    assert_eq!(
        mistakes(&format!("{SOURCE}{store}"), &[]),
        [
            "outcome-bridge.toml:6:15 destination `mine`: it writes into the outcome store, which is turned off | \
             turn [store] on (`enabled = true`), or remove this destination"
        ]
    );
    // Switched off as well, it takes nothing.
    let text = format!("{SOURCE}{store}enabled = false\n");
    assert!(Blueprint::load(directory(&text).path(), &Env::default()).is_ok());
}

#[test]
fn a_wrong_secret_is_told_where_it_was_written() {
    let text = "[sources.a]\nconnector = \"standard-webhooks\"\nsigning_secret = \"whsec_!!\"\n\
                [sources.b]\nconnector = \"standard-webhooks\"\nsigning_secret = \"whsec_c2VjcmV0\"\n\
                [sources.c]\nconnector = \"standard-webhooks\"\n";
    let env = [("OUTCOME_BRIDGE__SOURCES__C__SIGNING_SECRET", "whsec_!!")];
    let remedy = "copy it from the vendor again, whole and without quotes";
    assert_eq!(
        mistakes(text, &env),
        [
            format!(
                "outcome-bridge.toml:3:18 source `a`: the value of `signing_secret` is not base64 | {remedy}"
            ),
            format!(
                "environment:1:1 source `c`: the value of `signing_secret` is not base64 | {remedy}"
            ),
        ]
    );
}

/// The mistakes of a `generic-hmac` source, which begins at line 1 and whose own settings begin at line 5.
fn hmac_mistakes(settings: &str) -> Vec<String> {
    let source = "[sources.a]\nconnector = \"generic-hmac\"\nheader = \"x-sig\"\nsecret = \"0123456789abcdef\"\n";
    mistakes(&format!("{source}{settings}"), &[])
}

#[test]
fn a_mistake_in_one_option_invents_none_in_the_others() {
    for (settings, expected) in [
        (
            "content = \"{bodyy}\"",
            "outcome-bridge.toml:5:11 source `a`: `{bodyy}` cannot be signed; known: method, url, body",
        ),
        (
            "timestamp_header = \"x-time\"\ncontent = \"{timestamp}{body}\"\npast = \"0s\"",
            "outcome-bridge.toml:7:8 source `a`: `past` has to be longer than nothing",
        ),
        (
            "format = \"fields\"\nsignature_key = \"x\"",
            "outcome-bridge.toml:6:17 source `a`: `x` is no position",
        ),
        (
            "content = \"{timestamp}{body}\"",
            "outcome-bridge.toml:5:11 source `a`: `{timestamp}` is signed, and nothing says where it stands",
        ),
    ] {
        let found = hmac_mistakes(settings);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with(expected)),
            "{found:?}"
        );
    }
}

#[test]
fn what_verification_would_not_protect_is_a_mistake() {
    for (settings, expected) in [
        (
            "timestamp_header = \"x-time\"",
            "1:10 source `a`: a timestamp is asked for that is not signed",
        ),
        (
            "timestamp_header = \"x-time\"\ncontent = \"v0:{body}\"",
            "6:11 source `a`: a timestamp is asked for that is not signed",
        ),
        (
            "content = \"{method}{url}\"",
            "5:11 source `a`: nothing of the event is signed",
        ),
        (
            "id_header = \"x-id\"",
            "5:13 source `a`: the id is not signed, so its header is not read",
        ),
        (
            "separator = \";\"",
            "5:13 source `a`: a header of this `format` has no separator",
        ),
        (
            "format = \"pairs\"\nprefix = \"sha256=\"",
            "6:10 source `a`: a header of this `format` has no prefix",
        ),
    ] {
        let found = hmac_mistakes(settings);
        let expected = format!("outcome-bridge.toml:{expected}");
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with(&expected)),
            "{found:?}"
        );
    }
    let signed = "timestamp_header = \"x-time\"\ncontent = \"{timestamp}{json:/id}\"";
    let text = format!(
        "[sources.a]\nconnector = \"generic-hmac\"\nheader = \"x-sig\"\nsecret = \"0123456789abcdef\"\n{signed}"
    );
    assert!(Blueprint::load(directory(&text).path(), &Env::default()).is_ok());
}

#[test]
fn a_source_that_takes_any_account_is_named_by_the_warning() {
    let text = "[sources.a]\nconnector = \"shopify\"\nclient_secret = \"shpss_0123456789\"\n";
    let loaded = Blueprint::load(directory(text).path(), &Env::default()).unwrap();
    let told: Vec<String> = loaded.warnings.iter().map(told).collect();
    assert!(
        told.iter()
            .any(|one| one
                .starts_with("outcome-bridge.toml:1:10 source `a`: `shop_domains` is not set")),
        "{told:?}"
    );
}

#[test]
fn a_wrong_setting_of_a_destination_names_the_destination() {
    let text = format!("{SOURCE}[destinations.crm]\nconnector = \"webhook\"\nurl = \"nowhere\"\n");
    let found = mistakes(&text, &[]);
    assert!(
        found.iter().all(|one| one.contains("destination `crm`: ")) && !found.is_empty(),
        "{found:?}"
    );
}

#[test]
fn an_empty_text_means_that_an_optional_setting_is_not_set() {
    let text = "[sources.a]\nconnector = \"hubspot\"\nclient_secret = \"0123456789abcdef\"\naccess_token = \"${NONE:-}\"\n";
    let loaded = Blueprint::load(directory(text).path(), &Env::default());
    assert!(loaded.is_ok(), "{loaded:?}");
    let text = "[sources.a]\nconnector = \"hubspot\"\nclient_secret = \"${NONE:-}\"\n";
    let found = mistakes(text, &[]);
    assert!(
        matches!(found.as_slice(), [one] if one.contains("`client_secret` is empty")),
        "{found:?}"
    );
}

#[test]
fn a_secret_that_can_be_guessed_is_warned_about_and_one_that_no_url_holds_refused() {
    let source = |secret: &str| {
        format!("[sources.a]\nconnector = \"call-webhook\"\nsecret = \"{secret}\"\n")
    };
    let loaded = Blueprint::load(directory(&source("short")).path(), &Env::default()).unwrap();
    let told: Vec<String> = loaded.warnings.iter().map(told).collect();
    let short: Vec<_> = told.iter().filter(|one| one.contains("guessed")).collect();
    assert!(
        matches!(short.as_slice(), [one] if one.starts_with("outcome-bridge.toml:3:10 source `a`: ")),
        "{told:?}"
    );
    let found = mistakes(&source(".."), &[]);
    assert!(
        found
            .iter()
            .any(|one| one.contains("`secret` cannot stand at the end of a URL")),
        "{found:?}"
    );
}
