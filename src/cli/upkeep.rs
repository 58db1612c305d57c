//! `backup`, `restore`, `doctor`: the data directory as files. None of them needs a running bridge.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ConfigArgs;
use super::client::{Client, Server};
use super::exit::{Exit, Failure};
use super::moment::told;
use super::terminal::Output;
use crate::app::queue_options;
use crate::backup::{self, Backup, Restored};
use crate::clock::Clock;
use crate::doctor::{self, Findings, Repaired};
use crate::queue::local::{IndexState, LocalOptions};

/// Which data is meant. Without `--data` it is that of the configuration.
#[derive(Debug, Clone, clap::Args)]
struct Data {
    #[command(flatten)]
    config: ConfigArgs,
    /// The data directory itself; then no configuration is read.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Data {
    /// How the queue is opened, and where the outcome store is.
    fn find(&self) -> Result<(LocalOptions, Option<PathBuf>), Failure> {
        if let Some(dir) = &self.data {
            return Ok((LocalOptions::new(dir), Some(dir.join("outcomes.sqlite"))));
        }
        let config = self.config.load_or("which data is meant? Give --data")?;
        let store = config.store.enabled.then(|| config.store_path());
        Ok((queue_options(&config, &Clock::system()), store))
    }
}

/// Back up a bridge, running or stopped.
#[derive(Debug, clap::Args)]
pub(super) struct MakeBackup {
    #[command(flatten)]
    data: Data,
    /// The directory to make. It holds personal data and tokens afterwards, readable by you only.
    dest: PathBuf,
}

impl MakeBackup {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let (options, store) = self.data.find()?;
        let bar = output.progress("copying and checking", None);
        let now = Clock::system().now();
        let made = backup::make(&options.dir, store.as_deref(), &self.dest, now).await;
        bar.finish_and_clear();
        let made = made.map_err(Failure::of)?;
        if output.is_json() {
            output.json(&made);
        } else {
            told_backup(output, &made);
        }
        Ok(sound(made.problems.is_empty()))
    }
}

fn told_backup(output: &Output, made: &Backup) {
    output.line(&format!(
        "{}: {} files, {} bytes, checked after writing",
        made.place.display(),
        made.files,
        made.bytes
    ));
    output.line(&format!(
        "journal: {} segments with {} commits; outcome store: {}",
        made.journal.segments,
        made.journal.records,
        if made.outcome_store {
            "in it"
        } else {
            "not in it"
        }
    ));
    for problem in &made.problems {
        output.note(&format!("warning: {problem}"));
    }
}

/// Restore a backup into an empty data directory.
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    #[command(flatten)]
    data: Data,
    /// A directory that `outcome-bridge backup` made.
    src: PathBuf,
}

impl Restore {
    pub(super) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let (options, store) = self.data.find()?;
        let dir = options.dir.clone();
        let bar = output.progress("checking and copying", None);
        let restored = backup::restore(&self.src, options, store.as_deref());
        bar.finish_and_clear();
        let restored = restored.map_err(Failure::of)?;
        if output.is_json() {
            output.json(&restored);
        } else {
            told_restored(output, &dir.display().to_string(), &restored);
        }
        Ok(sound(restored.problems.is_empty()))
    }
}

fn told_restored(output: &Output, dir: &str, restored: &Restored) {
    output.line(&format!(
        "{dir}: {} files, {} bytes, as of {}",
        restored.files,
        restored.bytes,
        told(restored.made_at)
    ));
    output.line(&format!(
        "{} events, {} to be processed, {} deliveries to be made; outcome store: {}",
        restored.events,
        restored.unprocessed,
        restored.open_deliveries,
        if restored.outcome_store {
            "restored"
        } else {
            "not in the backup"
        }
    ));
    output.note("what was delivered after the backup was made may be delivered again");
    for problem in &restored.problems {
        output.note(&format!("warning: {problem}"));
    }
}

/// Look whether the data of a bridge is sound, and repair it.
///
/// Looking changes nothing and works beside a running bridge. Exit code 2 when something is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    data: Data,
    /// Repair what can be repaired. What is broken is put aside, not deleted. The bridge must be stopped.
    #[arg(long)]
    repair: bool,
}

impl Doctor {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let (options, store) = self.data.find()?;
        let bar = output.progress("examining", None);
        if self.repair {
            let repaired = doctor::repair(options, store.as_deref()).await;
            bar.finish_and_clear();
            let repaired = repaired.map_err(Failure::of)?;
            if output.is_json() {
                output.json(&repaired);
            } else {
                told_findings(output, &repaired.before);
                told_repaired(output, &repaired);
            }
            return Ok(Exit::Done);
        }
        let findings = doctor::examine(&options.dir, store.as_deref()).await;
        bar.finish_and_clear();
        let findings = findings.map_err(Failure::of)?;
        if output.is_json() {
            output.json(&findings);
        } else {
            told_findings(output, &findings);
            if let Some(advice) = advice(&findings) {
                output.note(advice);
            }
        }
        Ok(sound(findings.sound))
    }
}

fn sound(sound: bool) -> Exit {
    if sound { Exit::Done } else { Exit::Mistakes }
}

fn advice(findings: &Findings) -> Option<&'static str> {
    let mut store = findings.outcome_store.iter();
    if findings.sound {
        None
    } else if findings.queue.is_repairable() || store.any(|store| !store.problems.is_empty()) {
        Some("stop the bridge and run `outcome-bridge doctor --repair`, or restore a backup")
    } else {
        Some(
            "a repair brings back nothing of what does not read: a backup may have it; otherwise the bridge goes on \
             without, and it goes when its retention is over",
        )
    }
}

fn told_findings(output: &Output, findings: &Findings) {
    let queue = &findings.queue;
    let damage = match (queue.damages, queue.missing_segments.len()) {
        (0, 0) => "sound".to_owned(),
        (damages, missing) => format!(
            "DAMAGED: {} bytes at {damages} places do not read, {missing} segments are missing",
            queue.damaged_bytes
        ),
    };
    output.line(&format!(
        "journal        {damage} ({} segments, {} bytes, {} commits)",
        queue.segments, queue.journal_bytes, queue.records
    ));
    if queue.torn_bytes > 0 {
        output.line(&format!(
            "               {} bytes at its end were never acknowledged",
            queue.torn_bytes
        ));
    }
    output.line(&format!("index          {}", index_words(&queue.index)));
    if let Some(events) = queue.events {
        let unreadable = match queue.unreadable_events {
            0 => "all of them read".to_owned(),
            count => format!("{count} DO NOT READ in full; each fails alone"),
        };
        output.line(&format!("events         {events}; {unreadable}"));
    }
    if queue.loose_rows > 0 {
        output.line(&format!(
            "               {} rows DO NOT READ or stand for nothing; a repair takes them out",
            queue.loose_rows
        ));
    }
    match &findings.outcome_store {
        None => output.line("outcome store  none"),
        Some(store) if store.problems.is_empty() => output.line(&format!(
            "outcome store  sound ({} calls, {} with an outcome)",
            store.calls, store.outcomes
        )),
        Some(store) => {
            output.line("outcome store  DAMAGED");
            for problem in &store.problems {
                output.line(&format!("               {problem}"));
            }
        }
    }
    for kept in &queue.kept {
        output.note(&format!("kept from before: {}", kept.display()));
    }
}

fn index_words(index: &IndexState) -> String {
    match index {
        IndexState::Sound => "sound: it says what the journal says".to_owned(),
        IndexState::Missing => "not there; the next start makes it from the journal".to_owned(),
        IndexState::Broken(why) => format!("BROKEN: {why}"),
        IndexState::Differs { rows } => format!("WRONG: {rows} rows are not what the journal says"),
        IndexState::HoldsMore { rows } => {
            format!("holds {rows} rows that the journal has lost; a repair writes them there again")
        }
        IndexState::InUse => "not examined: a bridge is using it".to_owned(),
    }
}

fn told_repaired(output: &Output, repaired: &Repaired) {
    let queue = &repaired.queue;
    if queue.removed_bytes > 0 {
        output.line(&format!(
            "removed {} damaged bytes from the journal",
            queue.removed_bytes
        ));
    }
    for copy in &queue.quarantined {
        output.line(&format!("kept a copy in {}", copy.display()));
    }
    if queue.rows_written_again > 0 {
        output.line(&format!(
            "wrote {} rows into the journal again",
            queue.rows_written_again
        ));
    }
    if queue.rows_taken_out > 0 {
        output.line(&format!(
            "took {} rows out that did not read or stood for nothing; {} events are processed again for it",
            queue.rows_taken_out, queue.events_again
        ));
    }
    for segment in &queue.emptied_segments {
        output.line(&format!("segment {segment} is gone; it is empty now"));
    }
    if let Some(aside) = &queue.index_set_aside {
        output.line(&format!(
            "made the index anew; the old one is {}",
            aside.display()
        ));
    }
    if repaired.store_reindexed {
        output.line("made the outcome store's indices anew; nothing is lost");
    }
    if let Some(aside) = &repaired.store_set_aside {
        output.line(&format!(
            "set the outcome store aside as {}; the next start begins an empty one",
            aside.display()
        ));
        output.note(
            "to fill it: put the outcomes.sqlite of a backup in its place, start the bridge, and run \
             `outcome-bridge outcomes rebuild` and, for calls, `outcome-bridge events replay --since 30days`",
        );
    }
    output.line(&format!(
        "{} events, {} deliveries to be made",
        queue.events, queue.open_deliveries
    ));
}

/// Write what was delivered to the outcome store into it again, after it was lost.
#[derive(Debug, clap::Args)]
pub(super) struct Rebuild {
    #[command(flatten)]
    server: Server,
}

/// Deliveries that one request writes again.
const REBUILD_STEP: usize = 200;

impl Rebuild {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let client = self.server.connect()?;
        let bar = output.progress("writing again", None);
        let delivered = delivered_to_store(&client).await?;
        let mut written = 0;
        for step in delivered.chunks(REBUILD_STEP) {
            let body = json!({ "deliveries": step });
            let answer = client.post("/admin/v1/outcomes/rebuild", &body).await?;
            written += answer["written"].as_u64().unwrap_or_default();
            bar.inc(step.len() as u64);
        }
        bar.finish_and_clear();
        let delivered = delivered.len();
        if output.is_json() {
            output.json(&json!({ "delivered": delivered, "written": written }));
        } else {
            output.line(&format!(
                "{delivered} deliveries to the outcome store are known; {written} of them were not in it, and are now"
            ));
        }
        Ok(Exit::Done)
    }
}

/// Ids of the deliveries that the outcome store has got, in the order in which it got them.
async fn delivered_to_store(client: &Client) -> Result<Vec<String>, Failure> {
    let destinations = client.get("/admin/v1/destinations", &[]).await?;
    let is_store = |destination: &&Value| destination["connector"] == "outcome-store";
    let all = destinations["items"].as_array().into_iter().flatten();
    let mut found: Vec<(Timestamp, String)> = Vec::new();
    for destination in all.filter(is_store) {
        let name = destination["name"].as_str().unwrap_or_default();
        let mut cursor = String::new();
        loop {
            let query = [
                ("destination", name.to_owned()),
                ("state", "delivered".to_owned()),
                ("limit", "1000".to_owned()),
                ("cursor", cursor.clone()),
            ];
            let page = client.get("/admin/v1/deliveries", &query).await?;
            for delivery in page["items"].as_array().into_iter().flatten() {
                let text = |key: &str| delivery[key].as_str().unwrap_or_default();
                let at = text("changed_at").parse().map_err(Failure::of)?;
                found.push((at, text("id").to_owned()));
            }
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, id)| id).collect())
}
