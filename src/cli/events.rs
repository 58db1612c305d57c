//! `events`: list, show, explain, replay, tail.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::client::{Client, Server, query_string};
use super::exit::{Exit, Failure};
use super::moment;
use super::output::plain;
use super::replay::Replay;
use super::terminal::Output;
use crate::model::{Disposition, EventId};
use crate::story;

/// Events of a running bridge.
#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// List events, newest first.
    List {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        filter: Filter,
        /// At most so many, up to 1000.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Show one event's summary, outcomes and deliveries.
    Show {
        #[command(flatten)]
        server: Server,
        /// The event's id, evt_….
        id: EventId,
        /// Save the event as it was stored into this file, for `outcome-bridge map`.
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// Tell one event's whole story: every rule asked, every value set, every attempt.
    Explain {
        #[command(flatten)]
        server: Server,
        /// The event's id, evt_….
        id: EventId,
    },
    /// Run stored events through the rules that hold now. Targets are told only what changed.
    Replay(Replay),
    /// Show events as they come, until ^C.
    Tail {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        filter: Filter,
    },
}

/// Which events.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only those that ended so.
    #[arg(long, value_parser = PossibleValuesParser::new(Disposition::ALL.map(Disposition::as_str)))]
    disposition: Option<String>,
    /// Only of this event type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only those received since: 2h, 3days, yesterday, 2026-05-06 (local), or 2026-05-06T16:10:00Z.
    #[arg(long, value_name = "MOMENT", value_parser = moment::filter)]
    since: Option<String>,
    /// Only those received before.
    #[arg(long, value_name = "MOMENT", value_parser = moment::filter)]
    until: Option<String>,
}

impl Filter {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let of = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            ("source", of(&self.source)),
            ("disposition", of(&self.disposition)),
            ("type", of(&self.event_type)),
            ("since", of(&self.since)),
            ("until", of(&self.until)),
        ]
    }

    /// The filter as a query string; empty when nothing is asked for.
    pub(super) fn query(&self) -> String {
        query_string(&self.pairs())
    }
}

impl Events {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List {
                server,
                filter,
                limit,
            } => {
                let mut query = filter.pairs();
                query.push(("limit", limit.to_string()));
                let client = server.connect()?;
                let page = client.get("/admin/v1/events", &query).await?;
                list(output, &page);
                output.hint(&format!("{}ID", client.event_page("")));
            }
            Self::Show { server, id, save } => show(output, &server, id, save).await?,
            Self::Explain { server, id } => {
                let client = server.connect()?;
                let story = fetch(&client, id).await?;
                if output.is_json() {
                    output.json(&story);
                } else {
                    output.text(&story::tell(&output.for_people(&story)));
                    output.line(&format!("\n{}", client.event_page(&id.to_string())));
                }
            }
            Self::Replay(replay) => return replay.run(output).await,
            Self::Tail { server, filter } => tail(output, &server, &filter).await?,
        }
        Ok(Exit::Done)
    }
}

fn list(output: &Output, page: &Value) {
    if !page["next"].is_null() {
        output.note(
            "there are more; narrow with --since, --source or --disposition, or raise --limit",
        );
    }
    if output.is_json() {
        return output.json(page);
    }
    let columns = [
        ("id", "id"),
        ("received_at", "received"),
        ("source", "source"),
        ("event_type", "type"),
        ("disposition", "disposition"),
        ("reason", "reason"),
    ];
    output.items(&page["items"], &columns);
}

async fn fetch(client: &Client, id: EventId) -> Result<Value, Failure> {
    client.get(&format!("/admin/v1/events/{id}"), &[]).await
}

async fn show(
    output: &Output,
    server: &Server,
    id: EventId,
    save: Option<PathBuf>,
) -> Result<(), Failure> {
    let client = server.connect()?;
    if let Some(file) = save {
        let path = format!("/admin/v1/events/{id}/raw");
        let document = client.get(&path, &[]).await?;
        let text = serde_json::to_string_pretty(&document).map_err(Failure::of)?;
        std::fs::write(&file, text).map_err(|error| {
            Failure::Failed(format!("{} cannot be written: {error}", file.display()))
        })?;
        output.note(&format!("saved to {}", file.display()));
        return Ok(());
    }
    let story = fetch(&client, id).await?;
    if output.is_json() {
        output.json(&story);
    } else {
        output.text(&story::summary(&output.for_people(&story)));
        output.line(&format!("\n{}", client.event_page(&id.to_string())));
    }
    Ok(())
}

/// How often `tail` looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Prints new events, and events again whose disposition has come, one line each.
async fn tail(output: &Output, server: &Server, filter: &Filter) -> Result<(), Failure> {
    let client = server.connect()?;
    let mut query = filter.pairs();
    query.push(("limit", "200".to_owned()));
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let mut first = true;
    loop {
        let page = client.get("/admin/v1/events", &query).await?;
        let mut seen = BTreeMap::new();
        // The page has the newest first; people read the newest last.
        for event in page["items"].as_array().into_iter().flatten().rev() {
            let (id, became) = (
                Output::cell(&event["id"]),
                Output::cell(&event["disposition"]),
            );
            if !first && became != "accepted" && shown.get(&id) != Some(&became) {
                tell(output, event);
            }
            seen.insert(id, became);
        }
        if output.is_closed() {
            return Ok(());
        }
        (shown, first) = (seen, false);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            stopped = tokio::signal::ctrl_c() => return stopped.map_err(Failure::of),
        }
    }
}

fn tell(output: &Output, event: &Value) {
    if output.is_json() {
        return output.line(&event.to_string());
    }
    let event = output.for_people(event);
    let cells = [
        "received_at",
        "id",
        "source",
        "event_type",
        "disposition",
        "reason",
    ]
    .map(|key| plain(&Output::cell(&event[key])).into_owned());
    output.line(&cells.join("  "));
}
