//! The real process: its home on disk, one life after another, and its admin API.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::sender::KEY;

/// A start may take so long on a busy machine, the replay of the journal included.
const START: Duration = Duration::from_secs(20);

/// A stop by SIGTERM may take so long.
const STOP: Duration = Duration::from_secs(30);

/// Where a bridge lives: configuration, data, logs. All lives of a test share it.
pub(crate) struct Home {
    dir: TempDir,
    /// Where webhooks go.
    pub(crate) inlet: SocketAddr,
    office: SocketAddr,
    http: reqwest::Client,
    lives: u64,
}

/// One life of the process. Dropping it kills it.
pub(crate) struct Life {
    process: Child,
    log: PathBuf,
}

impl Home {
    /// A home whose bridge delivers to `destinations`.
    pub(crate) fn new(destinations: SocketAddr) -> Self {
        let home = Self {
            dir: tempfile::tempdir().unwrap(),
            inlet: free_address(),
            office: free_address(),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(START)
                .build()
                .unwrap(),
            lives: 0,
        };
        std::fs::create_dir(home.config()).unwrap();
        let file = home.config().join("outcome-bridge.toml");
        std::fs::write(file, home.settings(destinations)).unwrap();
        home
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    fn settings(&self, destinations: SocketAddr) -> String {
        let key = STANDARD.encode(KEY);
        let data = self.dir.path().join("data");
        format!(
            r#"
            [server]
            bind = "{inlet}"
            [admin]
            bind = "{office}"
            [storage]
            dir = "{data}"
            segment = "1 MB"                # so that segments change, too
            min_free_disk = "0 MB"
            [log]
            format = "json"
            [delivery]
            retry_first = "20 ms"
            retry_cap = "200 ms"
            allow_private = true
            [sources.vendor]
            connector = "standard-webhooks"
            signing_secret = "whsec_{key}"
            [destinations.crm]
            connector = "webhook"
            url = "http://{destinations}/outcomes"
            signing_secret = "whsec_{key}"
            [destinations.dialer]
            connector = "change-outcome"
            base_url = "http://{destinations}/change"
            token = "a token of the test"
            precedence = "newest"
            "#,
            inlet = self.inlet,
            office = self.office,
            data = data.display(),
        )
    }

    /// The program with the home's configuration, and nothing of ours from the environment.
    fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outcome-bridge"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OUTCOME_BRIDGE") {
                command.env_remove(name);
            }
        }
        command.args(words).arg("--config").arg(self.config());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts the process. It may not listen yet.
    pub(crate) fn start(&mut self) -> Life {
        self.start_with(None)
    }

    /// Starts the process with a planned fault, as the environment names it.
    pub(crate) fn start_with(&mut self, fault: Option<&str>) -> Life {
        self.lives += 1;
        let log = self.dir.path().join(format!("log-{}", self.lives));
        let mut command = self.program(&["serve"]);
        command.envs(fault.map(|fault| ("OUTCOME_BRIDGE_FAULT", fault)));
        command
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        Life {
            process: command.spawn().unwrap(),
            log,
        }
    }

    /// Waits until it is ready; how long that took.
    pub(crate) async fn ready(&self, life: &mut Life) -> Duration {
        let begun = Instant::now();
        loop {
            let answer = self
                .http
                .get(format!("http://{}/health/ready", self.office))
                .send()
                .await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return begun.elapsed();
            }
            let ended = life.process.try_wait().unwrap();
            let late = begun.elapsed() > START;
            assert!(
                ended.is_none() && !late,
                "life {} did not start ({ended:?}): {}",
                self.lives,
                life.log_text(),
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// An answer of the admin API.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let token = std::fs::read_to_string(self.dir.path().join("data/admin-token")).unwrap();
        let url = format!("http://{}/admin/v1/{path}", self.office);
        let answer = self
            .http
            .get(url)
            .bearer_auth(token.trim())
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let body = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// All items of a list, page by page.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self.ask(&format!("{path}?limit=500&cursor={cursor}")).await;
            items.append(page["items"].as_array_mut().unwrap());
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return items,
            }
        }
    }

    /// What a command of the program prints as JSON.
    pub(crate) async fn command(&self, words: &[&str]) -> Value {
        let output = self.program(words).arg("--json").output().await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until nothing is left to do; whether that came true in time.
    pub(crate) async fn settled(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            let stats = self.ask("stats").await;
            let queue = &stats["queue"];
            let depths = queue["destinations"].as_object().unwrap();
            if queue["unprocessed"] == 0 && depths.values().all(|depth| depth["open"] == 0) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Lines of all logs that tell of something that must not happen.
    pub(crate) fn alarms(&self) -> Vec<String> {
        let mut alarms = Vec::new();
        for life in 1..=self.lives {
            let log = self.dir.path().join(format!("log-{life}"));
            let text = std::fs::read_to_string(log).unwrap();
            let alarming = |line: &&str| {
                let entry: Option<Value> = serde_json::from_str(line).ok();
                entry.is_some_and(|entry| entry["level"] == "ERROR") || line.contains("panicked")
            };
            alarms.extend(
                text.lines()
                    .filter(alarming)
                    .map(|line| format!("life {life}: {line}")),
            );
        }
        alarms
    }

    /// Keeps the files for whoever looks for the reason; where they are.
    pub(crate) fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}

impl Life {
    /// SIGKILL. It has to be alive until then.
    pub(crate) async fn kill(mut self) {
        let ended = self.process.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "it ended by itself ({ended:?}): {}",
            self.log_text()
        );
        self.process.kill().await.unwrap();
    }

    /// It dies by itself where that was planned; whether it did in time.
    pub(crate) async fn fall(mut self, patience: Duration) -> bool {
        let Ok(ended) = tokio::time::timeout(patience, self.process.wait()).await else {
            return false;
        };
        let (ended, told) = (ended.unwrap(), self.log_text());
        let planned = ended.signal() == Some(Signal::KILL.as_raw());
        assert!(
            planned && told.contains("planned fault at "),
            "it ended otherwise ({ended:?}): {told}"
        );
        true
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        let id = self
            .process
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(id.expect("it runs"), Signal::TERM).unwrap();
        let ended = tokio::time::timeout(STOP, self.process.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("it does not end: {}", self.log_text()))
            .unwrap()
    }

    /// The end of its log.
    fn log_text(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let start = text.lines().count().saturating_sub(20);
        text.lines().skip(start).collect::<Vec<_>>().join("\n")
    }
}

/// A free address that no outgoing connection takes while the bridge is down: below the ports that
/// systems give to those.
fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(12_000..30_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
