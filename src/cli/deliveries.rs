//! `deliveries` and `dead-letters`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Server, query_string};
use super::events::segment;
use super::exit::{Exit, Failure};
use super::terminal::Output;

/// Deliveries of a running bridge.
#[derive(Debug, Subcommand)]
pub(super) enum Deliveries {
    /// List deliveries, newest first.
    List {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        filter: Filter,
        /// Only in this state: pending, in_flight, retrying, delivered, superseded, held,
        /// dead_letter, cancelled.
        #[arg(long)]
        state: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one delivery with its attempts.
    Show {
        #[command(flatten)]
        server: Server,
        /// The delivery's id, dlv_….
        id: String,
    },
}

/// Deliveries that were given up.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// List them, newest first.
    List {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        filter: Filter,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Make them pending again, with fresh attempts.
    Redrive(Move),
    /// Put them aside for good.
    Discard(Move),
}

/// Which deliveries.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only to this destination.
    #[arg(long)]
    destination: Option<String>,
    /// Only those that this event caused.
    #[arg(long)]
    event: Option<String>,
    /// Only those created since: 2h, 3days, or 2026-05-06T16:10:00Z.
    #[arg(long)]
    since: Option<String>,
    /// Only those created before.
    #[arg(long)]
    until: Option<String>,
}

/// Which dead letters are moved.
#[derive(Debug, clap::Args)]
pub(super) struct Move {
    #[command(flatten)]
    server: Server,
    /// Their ids.
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// All of them.
    #[arg(long)]
    all: bool,
    /// Only tell how many there are.
    #[arg(long)]
    dry_run: bool,
}

impl Filter {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let of = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            ("destination", of(&self.destination)),
            ("event", of(&self.event)),
            ("since", of(&self.since)),
            ("until", of(&self.until)),
        ]
    }

    fn query(&self) -> String {
        query_string(&self.pairs())
    }
}

const COLUMNS: [&str; 6] = ["id", "destination", "target", "kind", "state", "reason"];

fn print(output: &Output, page: &Value) {
    if output.is_json() {
        return output.json(page);
    }
    let rows = page["items"].as_array().into_iter().flatten();
    output.table(
        &COLUMNS,
        rows.map(|delivery| COLUMNS.map(|key| Output::cell(&delivery[key])).to_vec()),
    );
    if !page["next"].is_null() {
        output.note("there are more; narrow the filter or raise --limit");
    }
}

impl Deliveries {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List {
                server,
                filter,
                state,
                limit,
            } => {
                let mut query = filter.pairs();
                query.push(("state", state.unwrap_or_default()));
                query.push(("limit", limit.to_string()));
                print(
                    output,
                    &server
                        .connect()?
                        .get("/admin/v1/deliveries", &query)
                        .await?,
                );
            }
            Self::Show { server, id } => {
                let path = format!("/admin/v1/deliveries/{}", segment(&id));
                let found = server.connect()?.get(&path, &[]).await?;
                if output.is_json() {
                    output.json(&found);
                } else {
                    show(output, &found);
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn show(output: &Output, found: &Value) {
    let delivery = &found["delivery"];
    let keys = [
        "id",
        "event",
        "outcome",
        "kind",
        "destination",
        "target",
        "state",
        "reason",
        "attempts",
        "created_at",
        "due_at",
        "changed_at",
    ];
    for key in keys {
        output.line(&format!("{key:12} {}", Output::cell(&delivery[key])));
    }
    let columns = [
        "number",
        "started_at",
        "status",
        "verdict",
        "duration_ms",
        "reason",
    ];
    let attempts = found["attempts"].as_array().into_iter().flatten();
    output.table(
        &columns,
        attempts.map(|attempt| columns.map(|key| Output::cell(&attempt[key])).to_vec()),
    );
}

impl DeadLetters {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List {
                server,
                filter,
                limit,
            } => {
                let mut query = filter.pairs();
                query.push(("limit", limit.to_string()));
                print(
                    output,
                    &server
                        .connect()?
                        .get("/admin/v1/dead-letters", &query)
                        .await?,
                );
                Ok(Exit::Done)
            }
            Self::Redrive(moved) => moved.run(output, "redrive", "pending again").await,
            Self::Discard(moved) => moved.run(output, "discard", "put aside").await,
        }
    }
}

impl Move {
    async fn run(self, output: &Output, verb: &str, done: &str) -> Result<Exit, Failure> {
        let query = self.filter.query();
        let body = match (self.ids.is_empty(), query.is_empty(), self.all) {
            (false, true, false) => json!({ "ids": self.ids, "dry_run": self.dry_run }),
            (true, false, false) | (true, true, true) => {
                json!({ "filter": query, "dry_run": self.dry_run })
            }
            _ => {
                return Err(Failure::Usage(
                    "name dead letters by their ids, by a filter such as --destination, or take --all".into(),
                ));
            }
        };
        let path = format!("/admin/v1/dead-letters/{verb}");
        let answer = self.server.connect()?.post(&path, &body).await?;
        if output.is_json() {
            output.json(&answer);
            return Ok(Exit::Done);
        }
        if self.dry_run {
            output.line(&format!(
                "{} dead letters match",
                Output::cell(&answer["deliveries"])
            ));
            return Ok(Exit::Done);
        }
        let moved = answer["moved"].as_array().map_or(0, Vec::len);
        output.line(&format!("{moved} dead letters are {done}"));
        let refused = answer["refused"].as_array().cloned().unwrap_or_default();
        for refusal in &refused {
            output.note(&format!(
                "{}: {}",
                Output::cell(&refusal["id"]),
                Output::cell(&refusal["reason"])
            ));
        }
        Ok(if refused.is_empty() {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
}
