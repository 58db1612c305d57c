//! The built binary: commands that end, and a `serve` that runs until it is told to stop.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use serde_json::Value;

use super::PATIENCE;

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcome-bridge"));
    // Nothing of the environment in which the tests run.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OUTCOME_BRIDGE") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    let output = assert_cmd::Command::from_std(command())
        .args(arguments)
        .timeout(PATIENCE)
        .output()
        .unwrap();
    Finished {
        code: output.status.code().expect("it ended by itself"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A `serve` that runs. Killed when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    lines: mpsc::Receiver<String>,
    /// Everything logged so far.
    pub(crate) log: Vec<String>,
    reader: Option<JoinHandle<()>>,
    pub(crate) inlet: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Child {
    /// Starts `serve` and waits until it says that it is ready.
    pub(crate) fn serve(config: &Path) -> Self {
        let mut child = Self::begin(config, &[]);
        child.started();
        child
    }

    /// Starts `serve` with more in its environment.
    pub(crate) fn begin(config: &Path, env: &[(&str, &Path)]) -> Self {
        let mut process = command()
            .args(["serve", "--config"])
            .arg(config)
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = process.stderr.take().unwrap();
        let (tell, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            process,
            lines,
            log: Vec::new(),
            reader: Some(reader),
            inlet: nowhere,
            admin: nowhere,
        }
    }

    /// Waits until it says that it is ready; answers what it says.
    pub(crate) fn started(&mut self) -> Value {
        let started = self.line("bridge.started");
        let address = |key: &str| started[key].as_str().unwrap().parse().unwrap();
        (self.inlet, self.admin) = (address("inlet"), address("admin"));
        started
    }

    /// Waits for the next log line with this target.
    pub(crate) fn line(&mut self, target: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line {target:?} after {:#?}", self.log));
            self.log.push(line.clone());
            if let Ok(read) = serde_json::from_str::<Value>(&line)
                && read["target"] == target
            {
                return read;
            }
        }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; answers how it ended and everything that was logged.
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<String>) {
        // The log ends with the process: reading it to its end waits for it, with a limit.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.log.push(line);
        }
        let status = self.process.try_wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        let status = status.unwrap_or_else(|| self.process.wait().unwrap());
        (status, std::mem::take(&mut self.log))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}
