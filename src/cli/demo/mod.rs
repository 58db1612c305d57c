//! `demo`: the whole bridge in one process, told as a story.
//!
//! Everything is real: generated secrets, really signed webhooks over HTTP, the durable queue, HTTP to
//! stand-ins of three outcome APIs of which one fails at first. At the end the demo compares what every
//! call was told last with what it should have been told; with `--once` that decides the exit code.

mod setting;
mod story;
mod verdict;

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Url;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::replay::told;
use super::send::post;
use super::terminal::Output;
use crate::app::Bridge;
use crate::clock::Clock;
use crate::config::Env;
use crate::connector::InboundRequest;
use crate::http::{Listen, StandIn, serve_stand_in};
use crate::queue::{EventFilter, PageRequest};
use crate::setup::{Blueprint, Loaded};
use crate::telemetry;

use story::Step;
use verdict::Row;

/// How long the story may take to come to its end, on the busiest of machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// Play a story of signed webhooks and show what became of each.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// End after the story; exit 0 only if everything came out right.
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let home = tempfile::Builder::new()
            .prefix("outcome-bridge-demo-")
            .tempdir()
            .map_err(Failure::of)?;
        let stand_in = StandIn::failing(2);
        let apis = serve_stand_in(&loopback(), &stand_in).map_err(Failure::of)?;
        setting::write(home.path(), apis.address).map_err(Failure::of)?;

        let config = home.path().join("config");
        let Loaded { blueprint, .. } =
            Blueprint::load(&config, &Env::default()).map_err(Failure::Mistakes)?;
        let log = &blueprint.config.log;
        let filter = log.filter.clone().raised(output.verbosity());
        telemetry::init_in_colour(log.format, &filter, output.colour().decided())
            .map_err(Failure::of)?;
        let sources = blueprint.sources.clone();
        let bridge = Bridge::start(blueprint, Vec::new())
            .await
            .map_err(Failure::of)?;
        output.note(&format!(
            "outcome-bridge {} · demo data in {} · nothing leaves this machine\n\
             \n  receive   http://{}/webhooks/{{source}}\
             \n  admin     http://{}/admin/v1\
             \n  sources   {}\
             \n  outcomes  stand-ins of Phonely, Aura and change-outcome at http://{}, and the built-in store\n",
            env!("CARGO_PKG_VERSION"),
            home.path().display(),
            bridge.inlet,
            bridge.office,
            sources.keys().map(crate::model::SourceName::as_str).collect::<Vec<_>>().join(", "),
            apis.address,
        ));

        let begun = Instant::now();
        let mut rows = Vec::new();
        for step in story::steps(Clock::system().now()) {
            let mut row = play(&step, &sources, &bridge).await?;
            settle(&bridge, begun).await?;
            if let (Some(event), Some(expected)) = (row.event, step.first) {
                let (summary, _trace) = bridge
                    .queue
                    .event_detail(event)
                    .await
                    .map_err(Failure::of)?;
                let became = format!("{}: {}", summary.disposition, summary.reason);
                row.first = Some((expected, became.contains(expected)));
            }
            rows.push(row);
        }
        let remapped = remap(&config, &bridge).await?;
        settle(&bridge, begun).await?;
        let verdict = verdict::reach(&bridge, &stand_in, &rows)
            .await
            .map_err(Failure::of)?;
        show(output, &rows, &remapped, &verdict, begun.elapsed());

        if !self.once {
            output.note(&format!(
                "\ntry, in another terminal:\n  \
                 outcome-bridge events list --url http://{} --token-file {}\n  \
                 outcome-bridge send --config {} --url http://{} --source stripe checkout-paid\n\n\
                 Ready (^C to quit)",
                bridge.office,
                home.path().join("data/admin-token").display(),
                config.display(),
                bridge.inlet,
            ));
            tokio::signal::ctrl_c().await.map_err(Failure::of)?;
        }
        bridge.stop().await.map_err(Failure::of)?;
        apis.stop().await.map_err(Failure::of)?;
        Ok(if verdict.is_right() {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
}

fn loopback() -> Listen {
    Listen {
        address: ([127, 0, 0, 1], 0).into(),
        workers: std::num::NonZeroUsize::new(1),
        request_timeout: Duration::from_secs(10),
        max_connections: 1000,
        shutdown_timeout: Duration::from_secs(1),
    }
}

type Sources =
    std::collections::BTreeMap<crate::model::SourceName, std::sync::Arc<crate::setup::Source>>;

/// Signs one step as its vendor would, posts it, and notes what came back.
async fn play(step: &Step, sources: &Sources, bridge: &Bridge) -> Result<Row, Failure> {
    let source = sources
        .get(step.source)
        .ok_or_else(|| Failure::Failed(format!("the demo has no source `{}`", step.source)))?;
    let before = newest(bridge).await?;
    let mut signed = source
        .inbound
        .sign(step.request.clone(), Clock::system().now())
        .map_err(Failure::of)?;
    if step.forged {
        let mut parts = signed.into_parts();
        parts.body = [parts.body.as_ref(), b" "].concat().into();
        signed = InboundRequest::new(parts);
    }
    let target = format!("http://{}/webhooks/{}", bridge.inlet, source.name);
    let (status, _body) = post(&target.parse().map_err(Failure::of)?, signed).await?;
    let after = newest(bridge).await?;
    Ok(Row {
        title: step.title,
        source: step.source,
        expected_status: step.status,
        status,
        event: after.filter(|id| Some(*id) != before),
        first: None,
        stored: step.stored,
    })
}

/// Changes a rule, looks what replaying would change, and replays. Answers the differences.
async fn remap(config: &Path, bridge: &Bridge) -> Result<Value, Failure> {
    std::fs::write(config.join("mappings/team.toml"), story::REMAPPED).map_err(Failure::of)?;
    let base = Url::parse(&format!("http://{}", bridge.office)).map_err(Failure::of)?;
    let client = Client::to(base, bridge.token.clone())?;
    let replay =
        |dry_run: bool| json!({ "filter": "source=team&disposition=ignored", "dry_run": dry_run });
    let compared = client
        .post("/admin/v1/events/replay", &replay(true))
        .await?;
    client
        .post("/admin/v1/events/replay", &replay(false))
        .await?;
    Ok(compared["differences"].clone())
}

async fn newest(bridge: &Bridge) -> Result<Option<crate::model::EventId>, Failure> {
    let page = bridge
        .queue
        .events(EventFilter::default(), PageRequest::first(1))
        .await
        .map_err(Failure::of)?;
    Ok(page.items.first().map(|event| event.id))
}

/// Waits until every event is processed and every delivery settled.
async fn settle(bridge: &Bridge, begun: Instant) -> Result<(), Failure> {
    loop {
        let stats = bridge.queue.stats();
        let open: u64 = stats.destinations.values().map(|depth| depth.open).sum();
        if stats.unprocessed == 0 && open == 0 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(Failure::Failed(format!(
                "the story did not come to its end: {} events unprocessed, {open} deliveries open",
                stats.unprocessed
            )));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn show(
    output: &Output,
    rows: &[Row],
    remapped: &Value,
    verdict: &verdict::Verdict,
    took: Duration,
) {
    if output.is_json() {
        return output.json(&json!({
            "right": verdict.is_right(),
            "steps": verdict.steps,
            "remapped": remapped,
            "calls": verdict.calls,
            "took_ms": took.as_millis(),
        }));
    }
    output.table(
        &[
            "",
            "what happened",
            "from",
            "answer",
            "became",
            "deliveries",
        ],
        verdict.steps.iter().map(|step| {
            let cell = |key: &str| Output::cell(&step[key]);
            vec![
                mark(&step["right"]),
                cell("title"),
                cell("source"),
                cell("status"),
                cell("became"),
                cell("deliveries"),
            ]
        }),
    );
    output.line("then a rule is changed; a dry run of the replay says what that would change:");
    for difference in remapped.as_array().into_iter().flatten() {
        output.text(&told(difference));
    }
    output.line("");
    output.table(
        &["", "call", "was told last", "expected"],
        verdict.calls.iter().map(|call| {
            let cell = |key: &str| Output::cell(&call[key]);
            vec![
                mark(&call["right"]),
                cell("call"),
                cell("told"),
                cell("expected"),
            ]
        }),
    );
    let word = if verdict.is_right() {
        "everything came out right"
    } else {
        "NOT as it should be"
    };
    output.line(&format!(
        "{} webhooks in {:.1} s: {word}",
        rows.len(),
        took.as_secs_f64()
    ));
}

fn mark(right: &Value) -> String {
    if *right == true { "✓" } else { "✗" }.to_owned()
}
