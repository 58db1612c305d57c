//! `check`: everything `serve` would load, and nothing else.

use std::path::Path;

use serde_json::{Value, json};

use super::ConfigArgs;
use super::exit::{Exit, Failure};
use super::output::counted;
use super::terminal::Output;
use crate::config::Env;
use crate::mapping::{TestResult, TestSource};
use crate::setup::{Blueprint, Loaded};

/// Load everything `serve` would load and report every mistake.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// Treat warnings as mistakes.
    #[arg(long)]
    deny_warnings: bool,
}

impl Check {
    pub(super) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let Loaded {
            blueprint,
            warnings,
            files,
        } = Blueprint::load(&self.config.config, &Env::system()).map_err(Failure::Mistakes)?;
        let failed = run_tests(&blueprint);
        let is_denied = self.deny_warnings && !warnings.is_empty();
        let is_right = failed.is_empty() && !is_denied;
        if output.is_json() {
            output.json(&json!({
                "ok": is_right,
                "sources": blueprint.sources.keys().collect::<Vec<_>>(),
                "destinations": blueprint.destinations.keys().collect::<Vec<_>>(),
                "files": files,
                "warnings": crate::diagnostic::to_json(&warnings),
                "failed_tests": failed,
            }));
        } else {
            output.diagnostics(&warnings);
            for file in &files {
                output.note(&format!("read {}", file.display()));
            }
            for failure in &failed {
                output.warn(failure);
            }
            let counts = [
                counted(blueprint.sources.len() as u64, "source", "sources"),
                counted(
                    blueprint.destinations.len() as u64,
                    "destination",
                    "destinations",
                ),
                counted(warnings.len() as u64, "warning", "warnings"),
                counted(
                    failed.len() as u64,
                    "failed mapping test",
                    "failed mapping tests",
                ),
            ];
            output.line(&counts.join(", "));
        }
        Ok(if is_right { Exit::Done } else { Exit::Mistakes })
    }
}

/// Runs the `[[test]]`s of every mapping in use; answers what failed.
fn run_tests(blueprint: &Blueprint) -> Vec<String> {
    let mut failed = Vec::new();
    for source in blueprint.sources.values() {
        let rules = source.rules();
        let dir = rules
            .file
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new("."));
        // A connector's own tests are about any source; an operator's about this one.
        let tested = match (&rules.file, &source.settings) {
            (Some(_), Value::Object(setting)) => TestSource {
                region: source.region,
                setting: setting.clone(),
            },
            _ => TestSource::default(),
        };
        for TestResult { name, failures, .. } in rules.ruleset.run_tests_at(dir, &tested) {
            if !failures.is_empty() {
                let difference = failures.join("; ");
                failed.push(format!(
                    "source `{}`, test \"{name}\": {difference}",
                    source.name
                ));
            }
        }
    }
    failed
}
