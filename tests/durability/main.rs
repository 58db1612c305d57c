//! Kills the queue at random moments under load, cuts its power, and looks whether anything that was
//! acknowledged is missing.
//!
//! The process that is killed is this test binary itself, run again with `CHILD_DIR` set. Power loss
//! is simulated by a preloaded shim (`shim.c`) that undoes what was never synced. After each kill the
//! queue is opened here, and must: open by itself; hold every acknowledged event with its bytes, every
//! acknowledged settlement; equal an index rebuilt from the journal; and in the end every target must
//! have been told the newest truth last.
//!
//! `OUTCOME_BRIDGE_SOAK=n` does n times as many runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod child;
#[cfg(debug_assertions)]
mod planned;
mod power;
mod shim;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use outcome_bridge::model::{DeliveryId, DeliveryState, Disposition, EventId};
use outcome_bridge::queue::local::LocalQueue;
use outcome_bridge::queue::{EventFilter, PageRequest, Queue, QueueError};
use power::Loss;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Not a test: what the harness runs and kills.
#[test]
fn child_process() {
    let Ok(dir) = std::env::var("CHILD_DIR") else {
        return;
    };
    let start = std::env::var("CHILD_START").unwrap().parse().unwrap();
    let pruning = std::env::var("CHILD_PRUNES").is_ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(child::run(Path::new(&dir), start, pruning));
}

/// What was acknowledged, over all runs.
#[derive(Default)]
struct Known {
    accepted: BTreeMap<u64, EventId>,
    settled: HashMap<u64, EventId>,
    delivered: Vec<DeliveryId>,
    /// What each target was told last.
    targets: HashMap<u64, i64>,
    /// Events from before this moment may be pruned.
    pruned_ms: u64,
    next: u64,
    acknowledged: u64,
}

impl Known {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap();
        match words[0] {
            "accepted" => {
                self.accepted.insert(number(1), words[2].parse().unwrap());
            }
            "settled" => {
                self.settled.insert(number(1), words[2].parse().unwrap());
            }
            "delivered" => self.delivered.push(words[1].parse().unwrap()),
            "applied" => {
                let moment = number(2) as i64;
                self.targets.insert(number(1), moment);
                return;
            }
            "pruning" => {
                self.pruned_ms = self.pruned_ms.max(number(1));
                return;
            }
            _ => return,
        }
        self.acknowledged += 1;
    }

    fn may_be_pruned(&self, id: EventId) -> bool {
        id.millis() < self.pruned_ms
    }
}

struct Harness {
    place: tempfile::TempDir,
    known: Known,
    random: StdRng,
    rebuilt: u32,
    undone: usize,
}

fn spawn(dir: &Path, start: u64, env: &[(&str, &Path)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "child_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("CHILD_DIR", dir)
        .env("CHILD_START", start.to_string());
    for (name, value) in env {
        command.env(name, value);
    }
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The lines that the child says, as they come. A last one that was cut off is left out.
fn listen(child: &mut Child) -> mpsc::Receiver<String> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (lines, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|n| n > 0) {
            if let Some(said) = line.strip_prefix('@').and_then(|l| l.strip_suffix('\n'))
                && lines.send(said.to_owned()).is_err()
            {
                return;
            }
            line.clear();
        }
    });
    heard
}

impl Harness {
    fn new(seed: u64) -> Self {
        Self {
            place: tempfile::tempdir().unwrap(),
            known: Known::default(),
            random: StdRng::seed_from_u64(seed),
            rebuilt: 0,
            undone: 0,
        }
    }

    fn dir(&self) -> PathBuf {
        // The shim compares with resolved paths.
        let dir = self.place.path().canonicalize().unwrap().join("data");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Runs the child, kills it at a random moment, and cuts the power if asked to.
    fn kill_once(&mut self, shim: Option<(&Path, Loss)>, pruning: bool, while_opening: bool) {
        let dir = self.dir();
        let log = self.place.path().join("undo");
        let _ = std::fs::remove_file(&log);
        let mut env: Vec<(&str, &Path)> = Vec::new();
        if let Some((library, _)) = shim {
            env.extend([
                ("LD_PRELOAD", library),
                ("SHIM_DIR", &dir),
                ("SHIM_LOG", &log),
            ]);
        }
        if pruning {
            env.push(("CHILD_PRUNES", Path::new("1")));
        }
        let mut child = spawn(&dir, self.known.next, &env);
        let heard = listen(&mut child);
        if !while_opening {
            loop {
                let line = heard.recv_timeout(Duration::from_secs(60));
                if line.expect("it opens").starts_with("ready") {
                    break;
                }
            }
        }
        // The moment of the kill is the one thing that is random by nature.
        std::thread::sleep(Duration::from_millis(self.random.random_range(20..700)));
        child.kill().unwrap();
        child.wait().unwrap();
        heard.iter().for_each(|line| self.known.hear(&line));
        if let Some((_, loss)) = shim {
            self.undone += power::cut(&dir, &log, loss, &mut self.random);
        }
    }

    fn open(&mut self) -> LocalQueue {
        let (queue, report) = LocalQueue::open(child::options(&self.dir())).unwrap();
        self.rebuilt += u32::from(report.rebuilt);
        if report.rebuilt {
            eprintln!("{:?}", report.notes);
        }
        assert_eq!(report.damaged_bytes, 0, "{report:?}");
        queue
    }

    /// Checks everything that was acknowledged so far.
    async fn check(&mut self) {
        let queue = self.open();
        for (n, id) in &self.known.accepted {
            match queue.event(*id).await {
                Ok(event) => assert_eq!(event.body, child::body(*n), "the bytes of {n}"),
                Err(QueueError::NotFound(_)) if self.known.may_be_pruned(*id) => {}
                Err(error) => panic!("event {n} was acknowledged: {error}"),
            }
        }
        for (n, id) in &self.known.settled {
            match queue.event_detail(*id).await {
                Ok((summary, trace)) => {
                    assert_eq!(summary.disposition, Disposition::Mapped, "event {n}");
                    assert_eq!(trace, Some(serde_json::json!({ "n": n })));
                }
                Err(QueueError::NotFound(_)) if self.known.may_be_pruned(*id) => {}
                Err(error) => panic!("event {n} was settled: {error}"),
            }
        }
        for id in &self.known.delivered {
            match queue.delivery(*id).await {
                Ok((view, _)) => assert_eq!(view.state, DeliveryState::Delivered, "{id}"),
                Err(QueueError::NotFound(_)) if self.known.may_be_pruned(id.event) => {}
                Err(error) => panic!("{id} was delivered: {error}"),
            }
        }
        let dump = queue.dump().unwrap();
        drop(queue);
        let aside = self.place.path().join("index.aside");
        std::fs::rename(self.dir().join("index"), &aside).unwrap();
        let rebuilt_before = self.rebuilt;
        let queue = self.open();
        self.rebuilt = rebuilt_before;
        assert_eq!(queue.dump().unwrap(), dump, "the rebuilt index");
        drop(queue);
        std::fs::remove_dir_all(aside).unwrap();
        // An event that was stored, but not acknowledged, must not be taken for a repeat later on.
        self.known.next = self.known.accepted.keys().last().map_or(0, |n| n + 10_000);
    }

    /// Delivers all that is left. Then every target has been told its newest truth last.
    async fn finish(&mut self) {
        let queue = self.open();
        let mut newest: HashMap<u64, i64> = HashMap::new();
        let mut page = PageRequest::first(500);
        loop {
            let found = queue.events(EventFilter::default(), page).await.unwrap();
            for event in found.items {
                if event.disposition == Disposition::Mapped {
                    let n: u64 = event.event_type.unwrap().parse().unwrap();
                    let moment = newest.entry(n % child::LANES).or_default();
                    *moment = (*moment).max(child::occurred(n) as i64);
                }
            }
            let Some(next) = found.next else { break };
            page.after = Some(next);
        }
        for n in self.known.settled.keys() {
            let moment = newest.entry(n % child::LANES).or_default();
            *moment = (*moment).max(child::occurred(*n) as i64);
        }
        loop {
            let claims = queue.claim(&child::destination(), 100).await.unwrap();
            if claims.is_empty() {
                break;
            }
            for claim in claims {
                let outcome = claim.outcome.unwrap().outcome;
                let lane = claim.target.parse().unwrap();
                let moment = outcome.occurred_at.as_second();
                self.known.targets.insert(lane, moment);
                let settled = queue.settle(claim.delivery, child::delivered(claim.attempts + 1));
                settled.await.unwrap();
            }
        }
        for (lane, moment) in newest {
            // Newer than we know of is possible: an event may be pruned before we heard of it.
            let told = self.known.targets.get(&lane).copied();
            assert!(
                told >= Some(moment),
                "target {lane}: {told:?}, not {moment}"
            );
        }
        queue.close().await.unwrap();
    }

    async fn run(mut self, name: &str, runs: u32, shim: Option<(&Path, Loss)>) {
        let begun = Instant::now();
        let soak = std::env::var("OUTCOME_BRIDGE_SOAK");
        let runs = runs * soak.map_or(1, |n| n.parse().unwrap());
        for run in 0..runs {
            let while_opening = shim.is_none() && run % 5 == 4;
            self.kill_once(shim, run % 2 == 1, while_opening);
            self.check().await;
        }
        self.finish().await;
        eprintln!(
            "{name}: {runs} kills, {} acknowledged operations ({} events), {} writes undone, \
             index rebuilt {} times, {:.1} s",
            self.known.acknowledged,
            self.known.accepted.len(),
            self.undone,
            self.rebuilt,
            begun.elapsed().as_secs_f64()
        );
        assert!(
            self.known.acknowledged > u64::from(runs),
            "it did some work"
        );
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill() {
    Harness::new(1).run("kill -9", 5, None).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_no_unsynced_write_survives() {
    let place = tempfile::tempdir().unwrap();
    let shim = shim::build(place.path());
    let harness = Harness::new(2);
    harness
        .run("power loss, all", 4, Some((&shim, Loss::All)))
        .await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_unsynced_blocks_survive_at_random() {
    let place = tempfile::tempdir().unwrap();
    let shim = shim::build(place.path());
    let harness = Harness::new(3);
    harness
        .run("power loss, random blocks", 5, Some((&shim, Loss::Random)))
        .await;
}

#[tokio::test]
async fn a_failed_sync_stops_everything_and_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let shim = shim::build(place.path());
    let mut harness = Harness::new(4);
    let dir = harness.dir();
    let env: [(&str, &Path); 3] = [
        ("LD_PRELOAD", &shim),
        ("SHIM_DIR", &dir),
        ("SHIM_FAIL_AFTER", Path::new("30")),
    ];
    let mut child = spawn(&dir, 0, &env);
    let heard = listen(&mut child);
    let mut lines = Vec::new();
    while let Ok(line) = heard.recv_timeout(Duration::from_secs(60)) {
        harness.known.hear(&line);
        lines.push(line);
    }
    child.wait().unwrap();
    assert!(
        lines.iter().any(|l| l.starts_with("failed journal: ")),
        "it says why: {lines:?}"
    );
    assert!(
        lines.contains(&"then true".to_owned()),
        "and goes on to refuse"
    );
    assert!(harness.known.acknowledged > 0);
    harness.check().await;
    harness.finish().await;
}
