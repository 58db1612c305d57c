//! `calls import|list|show|new-key`: calls in the built-in store of a running bridge.

use clap::Subcommand;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::{Client, Server, segment};
use super::exit::{Exit, Failure};
use super::import::{ImportFile, Wares};
use super::moment;
use super::output::tell;
use super::terminal::Output;

/// Calls in the built-in store.
#[derive(Debug, Subcommand)]
pub(super) enum Calls {
    /// Bring calls in from a file: CSV with a heading (its name ends in .csv), or JSON lines.
    ///
    /// Columns: call_id (required), platform, agent_id, phone (E.164), email, direction, started_at, ended_at,
    /// duration_seconds, recording_url, transcript, fields.NAME, metadata.NAME, as_of. The same file again changes nothing.
    Import(ImportFile),
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
        /// Only those that began since: 2h, 3days, yesterday, 2026-05-06 (local), or 2026-05-06T16:10:00Z.
        #[arg(long, value_name = "MOMENT", value_parser = moment::filter)]
        since: Option<String>,
        /// Only those that began before.
        #[arg(long, value_name = "MOMENT", value_parser = moment::filter)]
        until: Option<String>,
        /// Only with an outcome (true), or without (false).
        #[arg(long)]
        has_outcome: Option<bool>,
        /// At most so many, up to 1000.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
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
            Self::Import(import) => import.run(&Wares::CALLS, output).await,
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
                let client = server.connect()?;
                let page = client.get("/admin/v1/calls", &query).await?;
                print_calls(output, &page);
                output.hint(&client.page("/console/calls"));
                Ok(Exit::Done)
            }
            Self::Show { server, id } => {
                let path = format!("/admin/v1/calls/{}", segment(&id));
                let client = server.connect()?;
                let shown = client.get(&path, &[]).await?;
                show(output, &client, &shown);
                Ok(Exit::Done)
            }
            Self::NewKey { name } => {
                new_key(&name, output);
                Ok(Exit::Done)
            }
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
    let calls = page["items"].as_array().into_iter().flatten();
    let rows: Value = calls.map(flat).collect();
    output.items(&rows, &columns.map(|name| (name, name)));
}

/// A call with what its outcome says beside what it says itself: the team's own word, and the worth.
fn flat(call: &Value) -> Value {
    let mut flat = call.clone();
    let outcome = &call["outcome"];
    let word = match &outcome["label"] {
        Value::Null => &outcome["kind"],
        label => label,
    };
    flat["outcome"] = word.clone();
    flat["value"] = outcome["value"].clone();
    flat["currency"] = outcome["currency"].clone();
    flat
}

fn show(output: &Output, client: &Client, shown: &Value) {
    if output.is_json() {
        return output.json(shown);
    }
    let shown = output.for_people(shown);
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
    output.items(&shown["log"], &columns.map(|name| (name, name)));
    let call = Output::cell(&shown["call"]["id"]);
    output.line(&format!("\n{}", client.call_page(&call)));
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
    // Told with -q, too: without its hash the key opens nothing.
    tell(&format!(
        "[store.keys.{quoted}]\nhash = \"{hash}\"\n# apis = [\"phonely\", \"aura\", \"change-outcome\"]\n# agents = [\"…\"]"
    ));
}
