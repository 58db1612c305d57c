//! What needs the process's own environment. A test cannot change that for itself, so each runs a child: this
//! same binary with one of the ignored tests, and the variables that it is about.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Output};

use outcome_bridge::config::{Config, Env, FILE_NAME, Loaded};
use outcome_bridge::diagnostic::Diagnostic;
use outcome_bridge::telemetry::{self, Filter, Format};

/// Names the configuration directory to a child.
const DIRECTORY: &str = "CONFIG_TEST_DIRECTORY";

/// Runs the ignored test `name` by itself with `variables` added to the environment.
fn child(name: &str, variables: &[(&str, &OsStr)]) -> Output {
    Command::new(std::env::current_exe().expect("a test knows its own binary"))
        .args([
            "--exact",
            name,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .envs(variables.iter().copied())
        .output()
        .expect("the binary that runs can be run")
}

fn passed(output: &Output) -> bool {
    let stdout = String::from_utf8_lossy(&output.stdout);
    output.status.success() && stdout.contains("1 passed")
}

fn directory(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::write(dir.path().join(FILE_NAME), text).expect("it can be written to");
    dir
}

/// Loads what the parent wrote; `None` when this is no child, as with `--include-ignored`.
fn load_in_child() -> Option<Result<Loaded, Vec<Diagnostic>>> {
    let dir = std::env::var_os(DIRECTORY)?;
    Some(Config::load(Path::new(&dir), &Env::system()))
}

#[test]
fn the_processs_environment_is_a_layer_and_fills_references() {
    let dir = directory(
        "[sources.crm]\nconnector = \"hubspot\"\nclient_secret = \"${CONFIG_TEST_SECRET}\"\n",
    );
    let output = child(
        "child_reads_its_environment",
        &[
            (DIRECTORY, dir.path().as_os_str()),
            ("CONFIG_TEST_SECRET", OsStr::new("s3cret")),
            ("OUTCOME_BRIDGE__SERVER__BIND", OsStr::new("127.0.0.1:9")),
            ("OUTCOME_BRIDGE__SOURCES__CRM__REGION", OsStr::new("US")),
        ],
    );
    assert!(passed(&output), "{output:?}");
}

#[test]
#[ignore = "run by the_processs_environment_is_a_layer_and_fills_references"]
fn child_reads_its_environment() {
    let Some(loaded) = load_in_child() else {
        return;
    };
    let config = loaded.unwrap().config;
    assert_eq!(config.server.bind.port(), 9);
    let crm = config.sources.values().next().unwrap();
    assert!(crm.region.is_some());
    assert_eq!(crm.settings.get("client_secret"), Some(&"s3cret".into()));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_a_mistake_and_not_a_panic() {
    use std::os::unix::ffi::OsStringExt;

    let dir = directory("[admin]\ntoken = \"${CONFIG_TEST_BYTES}\"\n");
    let bytes = OsString::from_vec(b"\xff\xfe".to_vec());
    let output = child(
        "child_is_told_what_is_not_text",
        &[
            (DIRECTORY, dir.path().as_os_str()),
            ("CONFIG_TEST_BYTES", &bytes),
            ("OUTCOME_BRIDGE__LOG__FILTER", &bytes),
        ],
    );
    assert!(passed(&output), "{output:?}");
}

#[test]
#[ignore = "run by a_variable_that_is_not_text_is_a_mistake_and_not_a_panic"]
fn child_is_told_what_is_not_text() {
    let Some(loaded) = load_in_child() else {
        return;
    };
    let mistakes = loaded.unwrap_err();
    let told: Vec<&str> = mistakes
        .iter()
        .map(|mistake| mistake.message.as_str())
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .all(|message| message.contains("not valid UTF-8")),
        "{told:?}"
    );
}

#[test]
fn logs_off_a_terminal_are_one_json_object_a_line() {
    let output = child("child_logs", &[]);
    assert!(passed(&output), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert_eq!(lines[0]["message"], "event.received");
    assert_eq!(lines[0]["source"], "crm");
    assert_eq!(lines[0]["level"], "INFO");
}

#[test]
#[ignore = "run by logs_off_a_terminal_are_one_json_object_a_line"]
fn child_logs() {
    telemetry::init(Format::Auto, &Filter::default()).unwrap();
    tracing::info!(source = "crm", "event.received");
    tracing::debug!("not at this level");
    assert!(telemetry::init(Format::Auto, &Filter::default()).is_err());
}
