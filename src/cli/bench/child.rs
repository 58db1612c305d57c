//! The processes that are measured: the bridge as `serve` runs it, and a bare handler.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::super::client::Client;
use super::super::exit::{Exit, Failure};
use crate::http::{Listen, StandIn, serve_stand_in};
use crate::model::Secret;

/// What the bridge that is measured has beside its signed source.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting {
    /// Nothing.
    Bare,
    /// An instant destination, there.
    Destination(SocketAddr),
    /// The same, and a neighbour of it, whose requests may hang for as long as the measurement takes.
    Neighbours(SocketAddr, SocketAddr),
    /// The built-in store, with a key for its APIs.
    Store,
}

/// A child process that listens.
pub(super) struct Child {
    process: tokio::process::Child,
    pub(super) inlet: SocketAddr,
    office: SocketAddr,
    token_file: PathBuf,
    pub(super) secret: Vec<u8>,
}

/// Serves a handler that reads the body and answers 200, until it is killed.
pub(super) async fn serve_bare() -> Result<Exit, Failure> {
    let listen = Listen {
        address: ([127, 0, 0, 1], 0).into(),
        workers: None,
        request_timeout: Duration::from_secs(10),
        max_connections: 10_000,
        shutdown_timeout: Duration::from_secs(1),
    };
    let listener = serve_stand_in(&listen, &StandIn::default()).map_err(Failure::of)?;
    write_line(&listener.address.to_string());
    std::future::pending::<()>().await;
    Ok(Exit::Done)
}

#[expect(
    clippy::print_stdout,
    reason = "the parent reads the address from the child's output"
)]
fn write_line(line: &str) {
    println!("{line}");
}

impl Child {
    /// Opens the APIs of the store that is measured.
    pub(super) const STORE_KEY: &str = "obk_bench";

    /// Where the store of a bridge called `name` is.
    pub(super) fn store_file(home: &Path, name: &str) -> PathBuf {
        home.join(name).join("data/outcomes.sqlite")
    }

    fn command(arguments: &[&str]) -> Result<tokio::process::Command, Failure> {
        let program = std::env::current_exe().map_err(Failure::of)?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OUTCOME_BRIDGE")) {
            command.env_remove(name);
        }
        Ok(command)
    }

    pub(super) async fn bare() -> Result<Self, Failure> {
        let mut process = Self::command(&["bench", "--bare"])?
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::of)?;
        let output = process.stdout.take().expect("the output was piped above");
        let mut lines = BufReader::new(output).lines();
        let line = lines
            .next_line()
            .await
            .map_err(Failure::of)?
            .unwrap_or_default();
        let inlet: SocketAddr = line.parse().map_err(Failure::of)?;
        Ok(Self {
            process,
            inlet,
            office: inlet,
            token_file: PathBuf::new(),
            secret: vec![7; 24],
        })
    }

    /// The name of the instant destination.
    pub(super) const DESTINATION: &str = "instant";

    /// How many requests to the neighbour may be under way at the same time.
    pub(super) const NEIGHBOURS_SLOTS: usize = 64;

    /// The bridge with one signed source.
    pub(super) async fn bridge(home: &Path, name: &str, setting: Setting) -> Result<Self, Failure> {
        let secret = vec![7u8; 24];
        let home = home.join(name);
        let config = home.join("config");
        std::fs::create_dir_all(&config).map_err(Failure::of)?;
        let ports = [free_port()?, free_port()?];
        std::fs::write(
            config.join("outcome-bridge.toml"),
            text(&home.join("data"), ports, &secret, setting),
        )
        .map_err(Failure::of)?;
        let log = std::fs::File::create(home.join("log")).map_err(Failure::of)?;
        let process = Self::command(&["serve", "--config", &config.display().to_string()])?
            .stdout(log.try_clone().map_err(Failure::of)?)
            .stderr(log)
            .spawn()
            .map_err(Failure::of)?;
        let child = Self {
            process,
            inlet: ([127, 0, 0, 1], ports[0]).into(),
            office: ([127, 0, 0, 1], ports[1]).into(),
            token_file: home.join("data/admin-token"),
            secret,
        };
        child.ready().await.map_err(|failure| {
            let log = std::fs::read_to_string(home.join("log")).unwrap_or_default();
            Failure::Failed(format!("{failure}\n{log}"))
        })?;
        Ok(child)
    }

    async fn ready(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            match self.stats().await {
                Ok(_) => return Ok(()),
                Err(failure) if begun.elapsed() > Duration::from_secs(30) => return Err(failure),
                Err(_not_yet) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// The bridge's own numbers.
    pub(super) async fn stats(&self) -> Result<Value, Failure> {
        self.client()?.get("/admin/v1/stats", &[]).await
    }

    /// Waits until every event is processed and everything is delivered.
    pub(super) async fn drained(&self, patience: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let stats = self.stats().await?;
            let destinations = stats["queue"]["destinations"].as_object();
            let open = |depth: &Value| depth["open"].as_u64() != Some(0);
            if stats["queue"]["unprocessed"].as_u64() == Some(0)
                && !destinations
                    .into_iter()
                    .flatten()
                    .any(|(_, depth)| open(depth))
            {
                return Ok(());
            }
            if begun.elapsed() > patience {
                return Err(Failure::Failed(
                    "the bridge fell behind and did not catch up".to_owned(),
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Brings a file in by `calls import` or `outcomes import`, as people do.
    pub(super) async fn import(&self, noun: &str, file: &Path) -> Result<(), Failure> {
        let url = format!("http://{}", self.office);
        let (file, token) = (
            file.display().to_string(),
            self.token_file.display().to_string(),
        );
        let arguments = [noun, "import", &file, "--url", &url, "--token-file", &token];
        let run = Self::command(&arguments)?.stdout(Stdio::null()).status();
        let ended = run.await.map_err(Failure::of)?;
        if ended.success() {
            Ok(())
        } else {
            Err(Failure::Failed(format!("{noun} import ended with {ended}")))
        }
    }

    /// A connection to its admin API.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let base = format!("http://{}", self.office)
            .parse()
            .map_err(Failure::of)?;
        Client::to(base, Secret::new(self.token()?))
    }

    fn token(&self) -> Result<String, Failure> {
        let text = std::fs::read_to_string(&self.token_file).map_err(Failure::of)?;
        Ok(text.trim().to_owned())
    }

    /// Logs in to the console; answers the cookie.
    pub(super) async fn log_in(&self) -> Result<String, Failure> {
        let token = self.token()?;
        let answer = http()?
            .post(format!("http://{}/console/login", self.office))
            .form(&[("token", token.as_str()), ("next", "/console")])
            .send()
            .await
            .map_err(Failure::of)?;
        let cookie = answer.headers().get("set-cookie");
        cookie
            .and_then(|cookie| cookie.to_str().ok()?.split(';').next())
            .map(str::to_owned)
            .ok_or_else(|| Failure::Failed("the console let nobody in".to_owned()))
    }

    /// Fetches a page of the console; answers whether it is served.
    pub(super) async fn page(&self, path: &str, cookie: &str) -> Result<bool, Failure> {
        let answer = http()?
            .get(format!("http://{}{path}", self.office))
            .header("cookie", cookie)
            .send()
            .await
            .map_err(Failure::of)?;
        let status = answer.status();
        answer.bytes().await.map_err(Failure::of)?;
        match status.as_u16() {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(Failure::Failed(format!(
                "the console answered {status} to {path}"
            ))),
        }
    }

    /// The most memory that it ever had resident, in MB.
    pub(super) fn peak_resident_mb(&self) -> Result<f64, Failure> {
        self.memory_mb("VmHWM:")
    }

    /// The memory that it has resident now, in MB.
    pub(super) fn resident_mb(&self) -> Result<f64, Failure> {
        self.memory_mb("VmRSS:")
    }

    fn memory_mb(&self, which: &str) -> Result<f64, Failure> {
        let id = self
            .process
            .id()
            .ok_or_else(|| Failure::Failed("the bridge has ended".to_owned()))?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).map_err(Failure::of)?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix(which))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
            .ok_or_else(|| {
                Failure::Failed("this system does not tell resident memory".to_owned())
            })?;
        Ok((kilobytes / 1024.0).round())
    }

    /// Processor time that it has used so far, in seconds: what a figure cost, whatever else the machine
    /// was doing at the time.
    pub(super) fn cpu_seconds(&self) -> Result<f64, Failure> {
        let id = self
            .process
            .id()
            .ok_or_else(|| Failure::Failed("the bridge has ended".to_owned()))?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).map_err(Failure::of)?;
        // Fields 14 and 15, counted after the command's name, which may hold anything.
        let fields = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace());
        let ticks: f64 = fields
            .into_iter()
            .flatten()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum();
        Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Kills it in the middle of whatever it does.
    pub(super) async fn kill(mut self) -> Result<(), Failure> {
        self.process.kill().await.map_err(Failure::of)
    }

    /// Stops it as an operator would, and waits.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        if let Some(id) = self
            .process
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
        {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)
                .map_err(Failure::of)?;
        }
        let ended = self.process.wait().await.map_err(Failure::of)?;
        if ended.success() {
            Ok(())
        } else {
            Err(Failure::Failed(format!("the bridge ended with {ended}")))
        }
    }
}

/// Follows nothing: an answer is what was asked for, or it is not.
fn http() -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(Failure::of)
}

fn free_port() -> Result<u16, Failure> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(Failure::of)?;
    Ok(listener.local_addr().map_err(Failure::of)?.port())
}

fn text(data: &Path, ports: [u16; 2], secret: &[u8], setting: Setting) -> String {
    let [inlet, office] = ports;
    let secret = STANDARD.encode(secret);
    let data = data.display();
    let destination = |name: &str, address: SocketAddr, concurrency: usize| {
        format!(
            "\n[destinations.{name}]\nconnector = \"webhook\"\nurl = \"http://{address}/{name}\"\n\
             signing_secret = \"whsec_{secret}\"\nallow_private = true\nconcurrency = {concurrency}\n"
        )
    };
    let no_store = "[store]\nenabled = false\n";
    let more = match setting {
        Setting::Bare => no_store.to_owned(),
        Setting::Destination(address) => {
            format!(
                "{no_store}{}",
                destination(Child::DESTINATION, address, 256)
            )
        }
        Setting::Neighbours(address, neighbour) => format!(
            "{no_store}{}{}timeout = \"10 minutes\"\n",
            destination(Child::DESTINATION, address, 256),
            destination("neighbour", neighbour, Child::NEIGHBOURS_SLOTS),
        ),
        Setting::Store => {
            let hash = hex::encode(Sha256::digest(Child::STORE_KEY));
            format!("[store.keys.bench]\nhash = \"sha256:{hash}\"\n")
        }
    };
    format!(
        "[server]\nbind = \"127.0.0.1:{inlet}\"\n\n[admin]\nbind = \"127.0.0.1:{office}\"\n\n\
         [storage]\ndir = \"{data}\"\nmax_unprocessed = 10000000\n\n\
         [sources.bench]\nconnector = \"standard-webhooks\"\nsigning_secret = \"whsec_{secret}\"\n\n{more}"
    )
}
