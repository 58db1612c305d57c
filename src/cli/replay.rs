//! `events replay`: stored events through the rules that hold now, and what that changes.
//!
//! The command drives: it finds the events, then hands them to the bridge a few at a time, oldest
//! first, and waits while the bridge is behind. So live events never queue up behind a long replay, it
//! can be slowed down, and when it is interrupted it says how to go on.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Client, Server};
use super::consent::Consent;
use super::events::Filter;
use super::exit::{Exit, Failure};
use super::output::{counted, plain};
use super::terminal::Output;
use crate::model::EventId;

/// Events of one request.
const STEP: usize = 200;
/// Events that wait to be processed, above which the next ones are held back.
const BEHIND: u64 = 2 * STEP as u64;
/// How often it looks whether the bridge has caught up.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Run stored events through the rules that hold now. Targets are told only what changed.
#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    server: Server,
    /// The events' ids.
    ids: Vec<EventId>,
    #[command(flatten)]
    filter: Filter,
    /// The same filter as one text, in the words of the admin API: "source=hubspot&since=2h".
    #[arg(
        long = "filter",
        value_name = "QUERY",
        conflicts_with_all = ["ids", "source", "disposition", "event_type", "since", "until"]
    )]
    query: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// At most so many events per second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    #[command(flatten)]
    consent: Consent,
    /// Go on after this event: the last one of a replay that was interrupted.
    #[arg(long, value_name = "ID")]
    after: Option<EventId>,
}

/// What has been done so far.
#[derive(Debug, Default)]
struct Tally {
    events: u64,
    differences: Vec<Value>,
    /// Ids that the bridge does not have: mistyped, or past retention.
    missing: Vec<Value>,
    /// The option that stands for the filter's `since` when the command is given again.
    since: Option<String>,
}

impl Replay {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let query = match &self.query {
            Some(query) => query.clone(),
            None => self.filter.query(),
        };
        let client = self.server.connect()?;
        let mut events = match (self.ids.is_empty(), query.is_empty()) {
            (false, true) => self.ids.clone(),
            (true, false) => matching(output, &client, &query).await?,
            (true, true) => {
                return Err(Failure::Usage(
                    "name events by their ids, or by a filter such as --since 2h".into(),
                ));
            }
            (false, false) => {
                return Err(Failure::Usage(
                    "give either ids or a filter, not both".into(),
                ));
            }
        };
        events.sort_unstable();
        events.dedup();
        events.retain(|id| Some(*id) > self.after);
        if self.ids.is_empty() && !self.dry_run {
            let many = counted(events.len() as u64, "event", "events");
            self.consent.ask(&format!("replay {many}?"))?;
        }
        let mut tally = Tally {
            since: since_again(&query, &events),
            ..Tally::default()
        };
        self.drive(output, &client, &events, &mut tally).await?;
        self.conclude(output, &tally);
        // What a filter found and retention took since is no mistake of the person who asks.
        let named_wrongly = !self.ids.is_empty() && !tally.missing.is_empty();
        Ok(if named_wrongly {
            Exit::Failed
        } else {
            Exit::Done
        })
    }

    async fn drive(
        &self,
        output: &Output,
        client: &Client,
        events: &[EventId],
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let doing = if self.dry_run {
            "comparing"
        } else {
            "replaying"
        };
        let bar = output.progress(doing, Some(events.len() as u64));
        let mut last = self.after;
        for step in events.chunks(self.step()) {
            let next_at = Instant::now() + self.pause(step.len());
            let done = tokio::select! {
                answer = self.ask(client, step) => answer,
                stopped = tokio::signal::ctrl_c() => Err(match stopped {
                    Ok(()) => Failure::Failed("interrupted".into()),
                    Err(error) => Failure::of(error),
                }),
            };
            let answer = done.map_err(|failure| self.interrupted(failure, tally, last))?;
            let count = if self.dry_run { "events" } else { "replayed" };
            tally.events += answer[count].as_u64().unwrap_or(0);
            let missing = answer["missing"].as_array().into_iter().flatten();
            tally.missing.extend(missing.cloned());
            last = step.last().copied();
            for difference in answer["differences"].as_array().into_iter().flatten() {
                if !output.is_json() {
                    bar.suspend(|| output.text(&told(difference)));
                }
                tally.differences.push(difference.clone());
            }
            if output.is_closed() {
                break;
            }
            bar.inc(step.len() as u64);
            sleep_until(next_at).await;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Events of one request: not more than a second's worth.
    fn step(&self) -> usize {
        self.rate.map_or(STEP, |rate| STEP.min(rate as usize))
    }

    /// How long so many events take at the rate that was asked for.
    fn pause(&self, events: usize) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(events as f64 / f64::from(rate))
        })
    }

    async fn ask(&self, client: &Client, step: &[EventId]) -> Result<Value, Failure> {
        let body = json!({ "ids": step, "dry_run": self.dry_run });
        let answer = client.post("/admin/v1/events/replay", &body).await?;
        while !self.dry_run && behind(client).await? {
            sleep(LOOK_EVERY).await;
        }
        Ok(answer)
    }

    /// The failure, with the way to go on.
    fn interrupted(&self, failure: Failure, tally: &Tally, last: Option<EventId>) -> Failure {
        let go_on = match last {
            Some(last) if self.ids.is_empty() => {
                let since = tally.since.as_deref().unwrap_or_default();
                format!(
                    "; {} done, go on with the same command{since} and --after {last}",
                    tally.events
                )
            }
            _ => String::new(),
        };
        match failure {
            Failure::Failed(why) => Failure::Failed(format!("{why}{go_on}")),
            Failure::Unreachable(why) => Failure::Unreachable(format!("{why}{go_on}")),
            other => other,
        }
    }

    fn conclude(&self, output: &Output, tally: &Tally) {
        let (events, changed) = (tally.events, tally.differences.len());
        if output.is_json() && self.dry_run {
            output.json(&json!({
                "events": events,
                "changed": changed,
                "differences": tally.differences,
                "missing": tally.missing,
            }));
        } else if output.is_json() {
            output.json(&json!({ "replayed": events, "missing": tally.missing }));
        } else if self.dry_run {
            let heard = |d: &&Value| d["targets"].as_array().is_some_and(|all| !all.is_empty());
            let reach = tally.differences.iter().filter(heard).count();
            output.line(&format!(
                "{} would be replayed: {changed} would change, {reach} of them for a destination",
                counted(events, "event", "events")
            ));
            let wakes = |d: &&Value| d["registries"] == true;
            let waking = tally.differences.iter().filter(wakes).count();
            if waking > 0 {
                output.line(&format!(
                    "{waking} of them would change what is known of appointments, calls, deals or contacts: other events that read it are processed \
                     again then, and what they change is not told here"
                ));
            }
        } else {
            output.line(&counted(
                events,
                "event was replayed",
                "events were replayed",
            ));
        }
        for id in &tally.missing {
            output.warn(&format!(
                "there is no event {}: mistyped, or past its retention",
                Output::cell(id)
            ));
        }
    }
}

/// "2h ago" is another moment when the command is given again, and events in between would be left out: then it
/// has to begin at the first event of this time.
fn since_again(query: &str, events: &[EventId]) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, since) = pairs.find(|(name, _)| name == "since")?;
    if since.parse::<Timestamp>().is_ok() {
        return None;
    }
    let first = i64::try_from(events.first()?.millis()).ok()?;
    let first = Timestamp::from_millisecond(first).ok()?;
    Some(format!(", but since {first} in place of {since},"))
}

/// The ids of all events that the filter matches now.
async fn matching(output: &Output, client: &Client, query: &str) -> Result<Vec<EventId>, Failure> {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    pairs.push(("limit".to_owned(), "1000".to_owned()));
    let bar = output.progress("finding events", None);
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page: Vec<(&str, String)> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        page.push(("cursor", cursor));
        let found = client.get("/admin/v1/events", &page).await?;
        for event in found["items"].as_array().into_iter().flatten() {
            let id = event["id"].as_str().unwrap_or_default();
            ids.push(id.parse().map_err(Failure::of)?);
        }
        bar.set_position(ids.len() as u64);
        match found["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return Ok(ids),
        }
    }
}

/// Whether so many events wait to be processed that more should not be added.
async fn behind(client: &Client) -> Result<bool, Failure> {
    let stats = client.get("/admin/v1/stats", &[]).await?;
    Ok(stats["queue"]["unprocessed"].as_u64().unwrap_or(0) > BEHIND)
}

/// One event's difference in a few lines.
pub(super) fn told(difference: &Value) -> String {
    let turn = |turn: &Value| {
        format!(
            "{} → {}",
            Output::cell(&turn["before"]),
            Output::cell(&turn["after"])
        )
    };
    let mut text = Output::cell(&difference["event"]);
    if !difference["disposition"].is_null() {
        text.push_str(&format!("  {}", turn(&difference["disposition"])));
    }
    if !difference["reason"].is_null() {
        text.push_str(&format!("  {}", turn(&difference["reason"])));
    }
    text.push('\n');
    for target in difference["targets"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "  {} {}: {} → {}\n",
            Output::cell(&target["destination"]),
            Output::cell(&target["target"]),
            said(&target["before"]),
            said(&target["after"]),
        ));
    }
    let notes = |notes: &Value| {
        let notes = notes.as_array().into_iter().flatten().map(Output::cell);
        match notes.collect::<Vec<_>>() {
            none if none.is_empty() => "nothing".to_owned(),
            notes => notes.join("; "),
        }
    };
    let attendance = &difference["attendance"];
    if !attendance.is_null() {
        text.push_str(&format!(
            "  registry: {} → {}\n",
            notes(&attendance["before"]),
            notes(&attendance["after"])
        ));
    }
    if difference["registries"] == true {
        text.push_str(
            "  registry: what it tells of its appointment, call, deal or contact changes\n",
        );
    }
    text.lines()
        .map(|line| format!("{}\n", plain(line)))
        .collect()
}

/// What an event says to a target, in words.
fn said(all: &Value) -> String {
    let words: Vec<String> = all
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| match one["takes_back"].as_str() {
            Some(kind) => match one["up_to"].as_str() {
                Some(moment) => format!("takes back {kind} up to {}", plain(moment)),
                None => format!("takes back {kind}"),
            },
            None => one
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(name, _)| !matches!(name.as_str(), "subject" | "metadata"))
                .map(|(name, value)| match (name.as_str(), value) {
                    ("kind", kind) => Output::cell(kind),
                    ("value", worth) => format!(
                        "worth {} {}",
                        Output::cell(&worth["amount"]),
                        Output::cell(&worth["currency"])
                    ),
                    (name, value) => format!("{name} {}", Output::cell(value)),
                })
                .collect::<Vec<_>>()
                .join(", "),
        })
        .collect();
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_event_its_turn_and_every_target() {
        let difference = json!({
            "event": "evt_0000000000001",
            "disposition": { "before": "ignored", "after": "mapped" },
            "reason": { "before": "no rule matched", "after": "won" },
            "targets": [{
                "destination": "crm", "target": "call/1",
                "before": [],
                "after": [{ "kind": "closed", "value": { "amount": "12.50", "currency": "USD" } }, { "takes_back": "lost", "up_to": "2026-05-06T10:00:00Z" }],
            }],
            "attendance": { "before": [], "after": ["attendance of `b`: expected"] },
            "registries": true,
        });
        assert_eq!(
            told(&difference),
            "evt_0000000000001  ignored → mapped  no rule matched → won\n  \
             crm call/1: nothing → closed, worth 12.50 USD; takes back lost up to 2026-05-06T10:00:00Z\n  \
             registry: nothing → attendance of `b`: expected\n  \
             registry: what it tells of its appointment, call, deal or contact changes\n"
        );
    }

    #[test]
    fn a_replay_since_a_while_ago_goes_on_since_its_first_event() {
        let events = [
            EventId::first_at(1_767_312_000_123),
            EventId::first_at(1_767_312_009_000),
        ];
        assert_eq!(
            since_again("source=team&since=2h", &events).as_deref(),
            Some(", but since 2026-01-02T00:00:00.123Z in place of 2h,")
        );
        assert_eq!(since_again("since=2026-01-01T00:00:00Z", &events), None);
        assert_eq!(since_again("source=team", &events), None);
        assert_eq!(since_again("since=2h", &[]), None);
    }

    #[test]
    fn what_a_vendor_wrote_cannot_rewrite_the_screen() {
        let difference = json!({ "event": "evt_1", "reason": { "before": "a\u{1b}[2J", "after": "b\nc" }, "targets": [] });
        assert!(!told(&difference).contains('\u{1b}'));
    }
}
