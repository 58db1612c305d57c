//! Every question of analytics, asked over HTTP as anybody asks it.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::super::super::client::query_string;
use super::super::super::exit::Failure;
use super::super::child::Child;
use super::made::{BUSY_PHONE, World};

/// How often each is asked when its pages are in memory.
const TIMES: usize = 5;

struct Question {
    name: &'static str,
    path: &'static str,
    said: Vec<(&'static str, String)>,
}

impl Question {
    fn new(name: &'static str, path: &'static str, said: &[(&'static str, &str)]) -> Self {
        let said = said
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect();
        Self { name, path, said }
    }
}

const REPORT: &str = "/admin/v1/analytics/report";
const BREAKDOWN: &str = "/admin/v1/analytics/breakdown";
const CONVERSION: &str = "/admin/v1/analytics/conversion";
const FUNNEL: &str = "/admin/v1/analytics/funnel";
const DELAY: &str = "/admin/v1/analytics/delay";
const BEHIND: &str = "/admin/v1/analytics/calls";
const CALLS: &str = "/admin/v1/calls";

fn questions() -> Vec<Question> {
    const GROUPS: &str = r#"[{"name":"won","where":{"kinds":["closed"]}},{"name":"met","where":{"kinds":["shown","closed"]}},{"name":"spring","where":{"metadata":"campaign=campaign-7"}}]"#;
    let q = Question::new;
    vec![
        q("report by day", REPORT, &[("zone", "Europe/Berlin")]),
        q(
            "report by day, half-hour zone, against the period before",
            REPORT,
            &[("zone", "Asia/Kolkata"), ("compare", "previous")],
        ),
        q(
            "report by week",
            REPORT,
            &[("by", "week"), ("zone", "America/New_York")],
        ),
        q(
            "report of groups",
            REPORT,
            &[("groups", GROUPS), ("by", "week")],
        ),
        q("report, first touch", REPORT, &[("attribution", "first")]),
        q(
            "report, last touch",
            REPORT,
            &[("attribution", "last"), ("by", "week")],
        ),
        q("report of one agent", REPORT, &[("agent", "agent-3")]),
        q(
            "report of one campaign",
            REPORT,
            &[("metadata", "campaign=campaign-7")],
        ),
        q("breakdown by agent", BREAKDOWN, &[("split", "agent")]),
        q("breakdown by kind", BREAKDOWN, &[("split", "kind")]),
        q("breakdown by label", BREAKDOWN, &[("split", "label")]),
        q("breakdown by source", BREAKDOWN, &[("split", "source")]),
        q(
            "breakdown by agent, first touch",
            BREAKDOWN,
            &[("split", "agent"), ("attribution", "first")],
        ),
        q(
            "breakdown by campaign",
            BREAKDOWN,
            &[("split", "metadata.campaign")],
        ),
        q("conversion", CONVERSION, &[]),
        q(
            "conversion, last touch",
            CONVERSION,
            &[("attribution", "last")],
        ),
        q("funnel", FUNNEL, &[]),
        q(
            "funnel of one campaign",
            FUNNEL,
            &[("metadata", "campaign=campaign-7")],
        ),
        q("delay", DELAY, &[]),
        q(
            "delay of one agent's sales",
            DELAY,
            &[("agent", "agent-3"), ("kind", "closed")],
        ),
        q(
            "delay of one campaign",
            DELAY,
            &[("metadata", "campaign=campaign-7")],
        ),
        q("calls behind a number", BEHIND, &[("kind", "closed")]),
        q(
            "calls behind a number that has none",
            BEHIND,
            &[("label", "Call back"), ("kind", "closed")],
        ),
        q(
            "calls behind a campaign",
            BEHIND,
            &[("metadata", "campaign=campaign-7")],
        ),
        q(
            "calls behind a first touch",
            BEHIND,
            &[("kind", "closed"), ("attribution", "first")],
        ),
        q("calls of a busy phone", CALLS, &[("phone", BUSY_PHONE)]),
        q(
            "calls of a busy phone without an outcome",
            CALLS,
            &[("phone", BUSY_PHONE), ("has_outcome", "false")],
        ),
        q("a call of its id", CALLS, &[("call", "bench-0000042")]),
    ]
}

/// Asks each about the whole year; answers the milliseconds of the slowest of the warm ones by question, and the slowest of
/// all.
pub(super) async fn ask(bridge: &Child, world: &World) -> Result<Value, Failure> {
    let client = bridge.client()?;
    let (from, to) = world.year();
    let mut asked = Map::new();
    let mut worst: f64 = 0.0;
    for question in questions() {
        let mut said = question.said.clone();
        // `since` and `until` of lists are `from` and `to` of analytics.
        let (first, last) = match question.path {
            CALLS => ("since", "until"),
            _ => ("from", "to"),
        };
        said.push((first, from.to_string()));
        said.push((last, to.to_string()));
        let path = format!("{}?{}", question.path, query_string(&said));
        client.get(&path, &[]).await?;
        let mut slowest: f64 = 0.0;
        for _ in 0..TIMES {
            let begun = Instant::now();
            client.get(&path, &[]).await?;
            slowest = slowest.max(begun.elapsed().as_secs_f64() * 1e3);
        }
        worst = worst.max(slowest);
        asked.insert(question.name.to_owned(), json!(slowest.round()));
    }
    Ok(json!({ "slowest_ms": worst.round(), "by_question_ms": asked }))
}

/// The page of analytics in the console: the slowest of the warm ones; `null` where it is not served.
pub(super) async fn page(bridge: &Child, world: &World) -> Result<Value, Failure> {
    let (from, to) = world.year();
    let day = |at: jiff::Timestamp| at.to_string().chars().take(10).collect::<String>();
    let path = format!("/console/performance?from={}&to={}", day(from), day(to));
    let cookie = bridge.log_in().await?;
    let mut slowest: f64 = 0.0;
    for time in 0..=TIMES {
        let begun = Instant::now();
        if !bridge.page(&path, &cookie).await? {
            return Ok(Value::Null);
        }
        if time > 0 {
            slowest = slowest.max(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(json!(slowest.round()))
}
