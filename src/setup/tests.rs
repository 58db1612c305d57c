//! What `check` says of a configuration with connectors and rules in it.

use std::fs;

use tempfile::TempDir;

use super::Blueprint;
use crate::config::FILE_NAME;
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
    assert!(Blueprint::load(directory(&text).path(), &[("", ""); 0].into_iter().collect()).is_ok());
}
