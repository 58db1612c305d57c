//! Warnings: what is not a mistake, but may not be meant.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::section::Findings;
use super::wrong::Wrong;
use super::{Config, OUTCOME_STORE, Verification};
use crate::clock::Clock;
use crate::diagnostic::{Diagnostic, Severity, did_you_mean};
use crate::model::SourceName;

/// Notes every warning about `config`, which was read from `dir`. Beside mistakes there are none: a source that
/// could not be read would make its rules look unused.
pub(super) fn give(config: &Config, findings: &mut Findings<'_>, dir: &Path) {
    if !findings.mistakes.is_empty() {
        return;
    }
    if config.sources.is_empty() {
        let wrong = Wrong::new("no source is configured, so nothing can be received")
            .help("add a table [sources.NAME] with its connector");
        findings.note(Severity::Warning, None, None, wrong);
    }
    warn_of_unverified_sources(config, findings);
    warn_of_one_listener(config, findings);
    warn_of_idle_destinations(config, findings);
    warn_of_expired_keys(config, findings);
    warn_of_stray_mappings(config, findings, dir);
}

/// Must be shown everywhere, so also here.
fn warn_of_unverified_sources(config: &Config, findings: &mut Findings<'_>) {
    for source in config.sources.values() {
        if source.verification == Verification::None {
            let path = format!("sources.{}.verification", source.name);
            let wrong = Wrong::new("its requests are not verified: anybody can forge them")
                .help("leave `verification` out if the connector can verify");
            let (place, context) = (
                findings.file.place(&path),
                format!("source `{}`", source.name),
            );
            findings.note(Severity::Warning, place, Some(&context), wrong);
        }
    }
}

/// The console and the admin API are behind their token, and still nothing that the world should reach.
fn warn_of_one_listener(config: &Config, findings: &mut Findings<'_>) {
    if config.admin.bind == config.server.bind && config.server.bind.port() != 0 {
        let wrong = Wrong::new(
            "the admin side listens where webhooks come in, so whoever reaches one reaches the other",
        )
        .help("give `admin.bind` an address of its own, best one that only you reach; until then `/metrics` asks for the admin token, unless the address is loopback");
        let place = findings.file.place("admin.bind");
        findings.note(Severity::Warning, place, None, wrong);
    }
}

fn warn_of_idle_destinations(config: &Config, findings: &mut Findings<'_>) {
    let routed: BTreeSet<_> = config
        .routes
        .iter()
        .flat_map(|route| &route.destinations)
        .collect();
    for destination in config.destinations.values() {
        let name = &destination.name;
        let idle = !routed.is_empty()
            && !routed.contains(destination.group())
            && name.as_str() != OUTCOME_STORE;
        if idle && destination.enabled {
            let wrong = Wrong::new("no route leads to it, so nothing is sent to it").help(format!(
                "name it in a route, or set `enabled = false` in [destinations.{name}]"
            ));
            let place = findings.file.key_place(&format!("destinations.{name}"));
            let context = format!("destination `{name}`");
            findings.note(Severity::Warning, place, Some(&context), wrong);
        }
    }
}

fn warn_of_expired_keys(config: &Config, findings: &mut Findings<'_>) {
    let now = Clock::system().now();
    for key in &config.store.keys {
        if key.expires.is_some_and(|end| end <= now) {
            let place = findings
                .file
                .place(&format!("store.keys.{}.expires", key.name));
            let context = format!("key {}", key.name);
            let wrong = Wrong::new("it has expired, so it opens nothing")
                .help("move its end, or take the key out");
            findings.note(Severity::Warning, place, Some(&context), wrong);
        }
    }
}

/// A file of rules whose name is nearly that of a source would be ignored without a word.
fn warn_of_stray_mappings(config: &Config, findings: &mut Findings<'_>, dir: &Path) {
    let used: BTreeSet<&Path> = config
        .sources
        .values()
        .map(|source| source.mapping.path.as_path())
        .collect();
    let Ok(listed) = std::fs::read_dir(dir.join("mappings")) else {
        return;
    };
    let mut stray: Vec<PathBuf> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .filter(|path| !used.contains(path.as_path()))
        .collect();
    stray.sort();
    for path in stray {
        let named = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let help = match did_you_mean(named, config.sources.keys().map(SourceName::as_str)) {
            Some(source) if source != named => format!("did you mean the source `{source}`?"),
            _ => "name the file after a source, or name it in the source's `mapping`".to_owned(),
        };
        let warning = Diagnostic::warning(
            &path,
            "these rules belong to no source, so they are not used",
        );
        findings.warnings.push(warning.help(help));
    }
}
