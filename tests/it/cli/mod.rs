//! The command line, as the built binary: output for people and scripts, and exit codes.

mod asking;
mod configuring;
mod speaking;

use std::path::Path;

use crate::support::{Finished, TestBridge, run};

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
pub(crate) fn about(bridge: &TestBridge, arguments: &[&str]) -> Finished {
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
