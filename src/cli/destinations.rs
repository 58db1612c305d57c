//! `destinations list|pause|resume` and `sources list`: how both sides of a running bridge do.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Server, segment};
use super::exit::{Exit, Failure};
use super::terminal::Output;

/// Destinations of a running bridge.
#[derive(Debug, Subcommand)]
pub(super) enum Destinations {
    /// List them: what waits, what failed, and what holds them back.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Send nothing there until it is resumed. Everything waits, nothing is lost, also over restarts.
    Pause(One),
    /// End a pause, a hold for refused credentials, and the wait after failures.
    Resume(One),
}

/// One destination.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    #[command(flatten)]
    server: Server,
    /// Its name in the configuration.
    name: String,
}

impl Destinations {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List { server } => {
                let listed = server.connect()?.get("/admin/v1/destinations", &[]).await?;
                list(output, &listed);
            }
            Self::Pause(one) => one.tell("pause", "is paused", output).await?,
            Self::Resume(one) => one.tell("resume", "takes deliveries again", output).await?,
        }
        Ok(Exit::Done)
    }
}

impl One {
    async fn tell(self, verb: &str, done: &str, output: &Output) -> Result<(), Failure> {
        let path = format!("/admin/v1/destinations/{}/{verb}", segment(&self.name));
        self.server.connect()?.post(&path, &Value::Null).await?;
        if output.is_json() {
            output.json(&json!({ "name": self.name, "paused": verb == "pause" }));
        } else {
            output.line(&format!("{} {done}", self.name));
        }
        Ok(())
    }
}

fn list(output: &Output, listed: &Value) {
    if output.is_json() {
        return output.json(listed);
    }
    let listed = output.for_people(listed);
    let columns = [
        "name",
        "connector",
        "open",
        "dead_letters",
        "oldest_due_at",
        "in_flight",
        "state",
    ];
    let rows = listed["items"].as_array().into_iter().flatten();
    let rows = rows.map(|item| {
        let (queue, state) = (&item["queue"], &item["state"]);
        let cells = [
            &item["name"],
            &item["connector"],
            &queue["open"],
            &queue["dead_letters"],
            &queue["oldest_due_at"],
            &state["in_flight"],
        ];
        let mut cells: Vec<String> = cells.map(Output::cell).to_vec();
        cells.push(told(state));
        cells
    });
    output.table(&columns, rows);
}

/// What holds deliveries back, the strongest first.
fn told(state: &Value) -> String {
    if state.is_null() {
        return "off".to_owned();
    }
    if state["paused"] == true {
        return "paused".to_owned();
    }
    if let Some(reason) = state["held"]["reason"].as_str() {
        return format!("held: {reason}");
    }
    match state["breaker"]["state"].as_str() {
        Some("closed") if state["throttled_until"].is_null() => "flowing".to_owned(),
        Some("closed") => format!(
            "asked to wait until {}",
            Output::cell(&state["throttled_until"])
        ),
        Some("open") => format!(
            "failing, tried again from {}",
            Output::cell(&state["breaker"]["until"])
        ),
        _ => "failing, tried again with the next delivery".to_owned(),
    }
}

/// Sources of a running bridge.
#[derive(Debug, Subcommand)]
pub(super) enum Sources {
    /// List them: where their senders post to, whether they are verified, the file of their rules, and how their
    /// look-ups stand.
    List {
        #[command(flatten)]
        server: Server,
    },
}

impl Sources {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let Self::List { server } = self;
        let listed = server.connect()?.get("/admin/v1/sources", &[]).await?;
        if output.is_json() {
            output.json(&listed);
            return Ok(Exit::Done);
        }
        let shown = output.for_people(&listed);
        let columns = [
            "name",
            "connector",
            "path",
            "verified",
            "mapping",
            "lookups",
        ];
        let rows = shown["items"].as_array().into_iter().flatten();
        let rows = rows.map(|item| {
            let cells = columns[..5].iter().map(|name| Output::cell(&item[*name]));
            cells.chain([asked(&item["lookups"])]).collect()
        });
        output.table(&columns, rows);
        for warning in listed["warnings"].as_array().into_iter().flatten() {
            output.note(&format!("warning: {}", Output::cell(warning)));
        }
        Ok(Exit::Done)
    }
}

/// How a source's look-ups stand, with the reason when they are not made.
fn asked(lookups: &Value) -> String {
    let last_failure = &lookups["last_failure"];
    let (state, why) = match lookups["state"].as_str() {
        Some("ready") if last_failure.is_string() => ("failing", last_failure),
        Some(state) => (state, &lookups["reason"]),
        None => return Output::cell(lookups),
    };
    match why.as_str() {
        Some(why) => format!("{state}: {why}"),
        None => state.to_owned(),
    }
}
