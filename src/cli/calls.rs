//! `calls import|list|show|new-key`: calls in the built-in store of a running bridge.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::client::{Client, Server};
use super::events::segment;
use super::exit::{Exit, Failure};
use super::output::progress;
use super::rows;
use super::terminal::Output;

/// Rows that are sent at once, and how many bytes at most.
const BATCH: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;
/// Rejected rows that are shown by themselves.
const SHOWN: usize = 20;

/// Calls in the built-in store.
#[derive(Debug, Subcommand)]
pub(super) enum Calls {
    /// Bring calls in from a file: CSV with a heading (its name ends in .csv), or JSON lines.
    ///
    /// Columns: call_id (required), platform, agent_id, phone (E.164), email, direction, started_at, ended_at,
    /// duration_seconds, recording_url, transcript, fields.NAME, metadata.NAME, as_of. The same file again changes nothing.
    Import {
        #[command(flatten)]
        server: Server,
        /// The file.
        file: PathBuf,
        /// Go on from this line, after an import that stopped.
        #[arg(long, default_value_t = 0)]
        from_line: u64,
        /// Write rejected rows to this file, one JSON object each: line, reason, row.
        #[arg(long, value_name = "FILE")]
        rejects: Option<PathBuf>,
    },
    /// List calls, newest first.
    List {
        #[command(flatten)]
        server: Server,
        /// Only of this agent.
        #[arg(long)]
        agent: Option<String>,
        /// Only of this platform.
        #[arg(long)]
        platform: Option<String>,
        /// Only of this phone, in E.164.
        #[arg(long)]
        phone: Option<String>,
        /// Only those that began since: 2h, 3days, or 2026-05-06T16:10:00Z.
        #[arg(long)]
        since: Option<String>,
        /// Only those that began before.
        #[arg(long)]
        until: Option<String>,
        /// Only with an outcome (true), or without (false).
        #[arg(long)]
        has_outcome: Option<bool>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one call with its outcome and its log.
    Show {
        #[command(flatten)]
        server: Server,
        /// Its id in the store (call_…), or the target of its deliveries.
        id: String,
    },
    /// Make a key for the store's APIs. It is shown once; the configuration keeps its hash.
    NewKey {
        /// Its name, for the log and the configuration.
        name: String,
    },
}

impl Calls {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Import {
                server,
                file,
                from_line,
                rejects,
            } => {
                let import = Import {
                    client: server.connect()?,
                    counts: Counts::default(),
                    rejected: Vec::new(),
                    keep: rejects.is_some(),
                };
                import
                    .run(&file, from_line, rejects.as_deref(), output)
                    .await
            }
            Self::List {
                server,
                agent,
                platform,
                phone,
                since,
                until,
                has_outcome,
                limit,
            } => {
                let query = [
                    ("agent", agent.unwrap_or_default()),
                    ("platform", platform.unwrap_or_default()),
                    ("phone", phone.unwrap_or_default()),
                    ("since", since.unwrap_or_default()),
                    ("until", until.unwrap_or_default()),
                    (
                        "has_outcome",
                        has_outcome.map(|flag| flag.to_string()).unwrap_or_default(),
                    ),
                    ("limit", limit.to_string()),
                ];
                let page = server.connect()?.get("/admin/v1/calls", &query).await?;
                print_calls(output, &page);
                Ok(Exit::Done)
            }
            Self::Show { server, id } => {
                let path = format!("/admin/v1/calls/{}", segment(&id));
                let shown = server.connect()?.get(&path, &[]).await?;
                show(output, &shown);
                Ok(Exit::Done)
            }
            Self::NewKey { name } => {
                new_key(&name, output);
                Ok(Exit::Done)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    created: u64,
    updated: u64,
    unchanged: u64,
    rejected: u64,
}

struct Import {
    client: Client,
    counts: Counts,
    rejected: Vec<Value>,
    keep: bool,
}

impl Import {
    async fn run(
        mut self,
        file: &std::path::Path,
        from_line: u64,
        rejects: Option<&std::path::Path>,
        output: &Output,
    ) -> Result<Exit, Failure> {
        let size = std::fs::metadata(file).map(|about| about.len()).ok();
        let bar = progress("importing calls", size);
        let mut batch: Vec<(u64, Map<String, Value>)> = Vec::new();
        let (mut bytes, mut begun) = (0, 0);
        for row in rows::open(file).map_err(Failure::Failed)? {
            if row.line < from_line {
                continue;
            }
            bytes += usize::try_from(row.end - begun).unwrap_or(usize::MAX);
            begun = row.end;
            match row.fields {
                Ok(fields) => batch.push((row.line, fields)),
                Err(reason) => self.reject(row.line, &reason, None),
            }
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                self.send(&mut batch, file).await?;
                bytes = 0;
                bar.set_position(row.end);
            }
        }
        self.send(&mut batch, file).await?;
        bar.finish_and_clear();
        if let Some(path) = rejects {
            let lines: String = self.rejected.iter().map(|row| format!("{row}\n")).collect();
            std::fs::write(path, lines).map_err(Failure::of)?;
        }
        Ok(self.finish(output))
    }

    /// Sends what was gathered. What was sent before stands, so an import that stops here goes on here.
    async fn send(
        &mut self,
        batch: &mut Vec<(u64, Map<String, Value>)>,
        file: &std::path::Path,
    ) -> Result<(), Failure> {
        let Some((first, _)) = batch.first() else {
            return Ok(());
        };
        let rows: Vec<&Map<String, Value>> = batch.iter().map(|(_, fields)| fields).collect();
        let sent = self
            .client
            .post("/admin/v1/calls", &json!({ "calls": rows }))
            .await;
        let answer = sent.map_err(|failure| {
            let on = format!(
                "; go on with `calls import {} --from-line {first}`",
                file.display()
            );
            match failure {
                Failure::Unreachable(why) => Failure::Unreachable(why + &on),
                Failure::Failed(why) => Failure::Failed(why + &on),
                other => other,
            }
        })?;
        let count = |key: &str| answer[key].as_u64().unwrap_or(0);
        self.counts.created += count("created");
        self.counts.updated += count("updated");
        self.counts.unchanged += count("unchanged");
        for rejected in answer["rejected"].as_array().into_iter().flatten() {
            let index = rejected["index"]
                .as_u64()
                .and_then(|index| usize::try_from(index).ok());
            if let Some((line, fields)) = index.and_then(|index| batch.get(index)) {
                let reason = rejected["reason"].as_str().unwrap_or("no reason given");
                self.reject(*line, reason, Some(fields));
            }
        }
        batch.clear();
        Ok(())
    }

    fn reject(&mut self, line: u64, reason: &str, fields: Option<&Map<String, Value>>) {
        self.counts.rejected += 1;
        if self.keep || self.rejected.len() < SHOWN {
            let row = if self.keep {
                json!(fields)
            } else {
                Value::Null
            };
            self.rejected
                .push(json!({ "line": line, "reason": reason, "row": row }));
        }
    }

    fn finish(self, output: &Output) -> Exit {
        let Counts {
            created,
            updated,
            unchanged,
            rejected,
        } = self.counts;
        if output.is_json() {
            output.json(&json!({
                "created": created, "updated": updated, "unchanged": unchanged, "rejected": rejected,
                "rejects": self.rejected.iter().take(SHOWN).collect::<Vec<_>>(),
            }));
        } else {
            output.line(&format!(
                "{created} new, {updated} updated, {unchanged} unchanged, {rejected} rejected"
            ));
            for row in self.rejected.iter().take(SHOWN) {
                output.note(&format!(
                    "line {}: {}",
                    row["line"],
                    row["reason"].as_str().unwrap_or_default()
                ));
            }
            if rejected > SHOWN as u64 {
                output.note("and more; --rejects FILE writes them all");
            }
        }
        if rejected == 0 {
            Exit::Done
        } else {
            Exit::Mistakes
        }
    }
}

pub(super) fn print_calls(output: &Output, page: &Value) {
    if output.is_json() {
        return output.json(page);
    }
    let columns = [
        "id",
        "started_at",
        "agent_id",
        "call_id",
        "phone",
        "outcome",
        "value",
        "currency",
    ];
    let rows = page["items"].as_array().into_iter().flatten();
    output.table(
        &columns,
        rows.map(|call| {
            let outcome = &call["outcome"];
            let word = if outcome["label"].is_null() {
                &outcome["kind"]
            } else {
                &outcome["label"]
            };
            columns
                .map(|key| match key {
                    "outcome" => Output::cell(word),
                    "value" | "currency" => Output::cell(&outcome[key]),
                    key => Output::cell(&call[key]),
                })
                .to_vec()
        }),
    );
}

fn show(output: &Output, shown: &Value) {
    if output.is_json() {
        return output.json(shown);
    }
    let call = shown["call"].as_object().into_iter().flatten();
    output.table(
        &["field", "value"],
        call.filter(|(name, value)| *name != "outcome" && !value.is_null())
            .map(|(name, value)| vec![name.clone(), Output::cell(value)]),
    );
    output.line("");
    let columns = [
        "recorded_at",
        "actor",
        "previous_kind",
        "kind",
        "label",
        "value",
        "basis",
        "status",
        "failure_reason",
    ];
    let log = shown["log"].as_array().into_iter().flatten();
    output.table(
        &columns,
        log.map(|entry| columns.map(|key| Output::cell(&entry[key])).to_vec()),
    );
}

fn new_key(name: &str, output: &Output) {
    let key = format!("obk_{}", hex::encode(rand::random::<[u8; 32]>()));
    let hash = format!("sha256:{}", hex::encode(Sha256::digest(key.as_bytes())));
    if output.is_json() {
        return output.json(&json!({ "name": name, "key": key, "hash": hash }));
    }
    output.line(&key);
    output.note("This is the only time that it is shown. For outcome-bridge.toml:\n");
    let quoted = serde_json::to_string(name).unwrap_or_default();
    output.note(&format!("[store.keys.{quoted}]\nhash = \"{hash}\"\n# apis = [\"phonely\", \"aura\", \"change-outcome\"]\n# agents = [\"…\"]"));
}
