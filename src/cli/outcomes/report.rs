//! `outcomes report`: the questions of analytics, as tables.

use serde_json::{Value, json};

use crate::cli::calls::print_calls;
use crate::cli::client::Server;
use crate::cli::exit::{Exit, Failure};
use crate::cli::moment;
use crate::cli::terminal::Output;

/// A path of the admin API and its parameters.
type Question = (&'static str, Vec<(&'static str, String)>);

/// Counts, worth, rates and trends of many calls.
#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    #[command(flatten)]
    server: Server,
    /// The first day (2026-05-06, yesterday), or a moment (30days back). Not given: 30 days before the end.
    #[arg(long, value_name = "DAY|MOMENT", value_parser = moment::day_or_moment)]
    from: Option<String>,
    /// The last day, or the moment after the last. Not given: now.
    #[arg(long, value_name = "DAY|MOMENT", value_parser = moment::day_or_moment)]
    to: Option<String>,
    /// The time zone of days and weeks, such as Europe/Berlin. Not given: UTC.
    #[arg(long)]
    zone: Option<String>,
    /// day, week or none.
    #[arg(long, default_value = "day", value_parser = ["day", "week", "none"])]
    by: String,
    /// The day on which weeks begin.
    #[arg(long)]
    week_start: Option<String>,
    /// Only of these agents, with commas.
    #[arg(long)]
    agent: Option<String>,
    /// Only with an outcome of these kinds, with commas.
    #[arg(long)]
    kind: Option<String>,
    /// Only with an outcome of this label.
    #[arg(long)]
    label: Option<String>,
    /// Only with an outcome from these sources, with commas.
    #[arg(long)]
    source: Option<String>,
    /// Only with this metadata: KEY=VALUE.
    #[arg(long)]
    metadata: Option<String>,
    /// Which call of a caller an outcome counts at: recorded, first or last.
    #[arg(long)]
    attribution: Option<String>,
    /// A named set of outcomes: "Won=kind:closed", "Booked=label:Appointment Booked|Booked", "Everything=". Several times.
    #[arg(long, value_name = "NAME=WHAT:VALUE|VALUE")]
    group: Vec<String>,
    /// Compare with the period before.
    #[arg(long)]
    trend: bool,
    /// Show rates instead of counts.
    #[arg(long)]
    percent: bool,
    /// By what the calls share: agent, platform, direction, source, kind, label, basis, metadata.KEY.
    #[arg(long, conflicts_with_all = ["conversion", "funnel", "delay", "calls"])]
    split: Option<String>,
    /// How many calls came to this kind, and how sure that is.
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "closed",
          conflicts_with_all = ["funnel", "delay", "calls"])]
    conversion: Option<String>,
    /// How far calls came.
    #[arg(long, conflicts_with_all = ["delay", "calls"])]
    funnel: bool,
    /// The time from call to outcome.
    #[arg(long, conflicts_with = "calls")]
    delay: bool,
    /// The calls behind the numbers.
    #[arg(long)]
    calls: bool,
}

impl Report {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let (path, query) = self.question()?;
        let client = self.server.connect()?;
        let answer = client.get(path, &query).await?;
        if output.is_json() {
            output.json(&answer);
        } else if self.calls {
            print_calls(output, &answer);
        } else if self.split.is_some() {
            rows(
                output,
                &answer["items"],
                &[
                    "value",
                    "calls",
                    "with_outcome",
                    "outcome_rate",
                    "outcomes",
                    "values",
                ],
            );
        } else if self.conversion.is_some() {
            let columns = [
                "calls",
                "converted",
                "rate",
                "low",
                "high",
                "young",
                "young_converted",
            ];
            rows(output, &json!([answer]), &columns);
        } else if self.funnel {
            rows(
                output,
                &answer["stages"],
                &["name", "calls", "rate", "of_previous"],
            );
        } else if self.delay {
            self.print_delay(output, &answer);
        } else {
            self.print(output, &answer);
        }
        output.hint(&client.page("/console/performance"));
        Ok(Exit::Done)
    }

    fn question(&self) -> Result<Question, Failure> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let mut query = vec![
            ("from", text(&self.from)),
            ("to", text(&self.to)),
            ("zone", text(&self.zone)),
            ("by", self.by.clone()),
            ("week_start", text(&self.week_start)),
            ("agent", text(&self.agent)),
            ("kind", text(&self.kind)),
            ("label", text(&self.label)),
            ("source", text(&self.source)),
            ("metadata", text(&self.metadata)),
            ("attribution", text(&self.attribution)),
        ];
        let path = if let Some(split) = &self.split {
            query.push(("split", split.clone()));
            "/admin/v1/analytics/breakdown"
        } else if let Some(kind) = &self.conversion {
            query.push(("to_what", json!({ "kinds": [kind] }).to_string()));
            "/admin/v1/analytics/conversion"
        } else if self.funnel {
            "/admin/v1/analytics/funnel"
        } else if self.delay {
            "/admin/v1/analytics/delay"
        } else if self.calls {
            "/admin/v1/analytics/calls"
        } else {
            if !self.group.is_empty() {
                let groups = self
                    .group
                    .iter()
                    .map(|text| group(text))
                    .collect::<Result<Vec<_>, _>>()?;
                query.push(("groups", Value::Array(groups).to_string()));
            }
            if self.trend {
                query.push(("compare", "previous".to_owned()));
            }
            "/admin/v1/analytics/report"
        };
        Ok((path, query))
    }

    /// A line for each bucket, a column for each part, and the sums below.
    fn print(&self, output: &Output, report: &Value) {
        let parts: Vec<&Value> = report["parts"]
            .as_array()
            .into_iter()
            .flatten()
            .take(8)
            .collect();
        let (by, all) = if self.percent {
            ("rate_by_bucket", "rate")
        } else {
            ("by_bucket", "calls")
        };
        let buckets = report["buckets"].as_array().into_iter().flatten();
        let day = |bucket: &Value| bucket["from"].as_str().unwrap_or_default().to_owned();
        let mut rows: Vec<Vec<String>> = buckets
            .enumerate()
            .map(|(i, bucket)| {
                let cells = parts.iter().map(|part| number(&part[by][i]));
                [day(bucket), number(&report["all"]["by_bucket"][i])]
                    .into_iter()
                    .chain(cells)
                    .collect()
            })
            .collect();
        let line = |name: &str, first: String, cell: &dyn Fn(&Value) -> String| -> Vec<String> {
            [name.to_owned(), first]
                .into_iter()
                .chain(parts.iter().map(|part| cell(part)))
                .collect()
        };
        rows.push(line("total", number(&report["all"]["calls"]), &|part| {
            number(&part[all])
        }));
        rows.push(line("worth", worth(&report["with_outcome"]), &|part| {
            worth(part)
        }));
        if report["trend"].is_object() {
            let trend = &report["trend"];
            let then = |part: &Value| {
                let found = trend["parts"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|then| then["name"] == part["name"]);
                found.map_or_else(|| "-".to_owned(), |then| number(&then["growth"]))
            };
            rows.push(line("growth", number(&trend["growth"]), &then));
        }
        let names: Vec<String> = parts
            .iter()
            .map(|part| Output::cell(&part["name"]))
            .collect();
        let mut heading = vec!["from".to_owned(), "all calls".to_owned()];
        heading.extend(names);
        output.sheet(&heading, rows);
    }

    fn print_delay(&self, output: &Output, delay: &Value) {
        let hours = |value: &Value| {
            value
                .as_f64()
                .map_or_else(|| "-".to_owned(), |ms| format!("{:.1} h", ms / 3.6e6))
        };
        output.table(
            &["calls", "median", "90 %"],
            [vec![
                delay["calls"].to_string(),
                hours(&delay["median_ms"]),
                hours(&delay["p90_ms"]),
            ]],
        );
    }
}

fn rows(output: &Output, items: &Value, columns: &[&'static str]) {
    let items = items.as_array().into_iter().flatten();
    output.table(
        columns,
        items.map(|item| columns.iter().map(|key| number(&item[*key])).collect()),
    );
}

/// Shares as percentages, everything else as it is.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(share) if value.is_f64() => format!("{:.1} %", share * 100.0),
        _ => Output::cell(value),
    }
}

fn worth(part: &Value) -> String {
    let values = part["values"].as_object().into_iter().flatten();
    let told: Vec<String> = values
        .map(|(code, amount)| format!("{} {code}", Output::cell(amount)).trim().to_owned())
        .collect();
    told.join(", ")
}

/// `NAME=WHAT:VALUE|VALUE;WHAT:…`.
fn group(text: &str) -> Result<Value, Failure> {
    let usage = || {
        Failure::Usage(format!(
            "`{text}` is no group; write NAME=kind:closed or \"NAME=label:Sold|Won\""
        ))
    };
    let (name, conditions) = text.split_once('=').ok_or_else(usage)?;
    let mut wanted = serde_json::Map::new();
    for condition in conditions.split(';').filter(|part| !part.trim().is_empty()) {
        let (what, values) = condition.split_once(':').ok_or_else(usage)?;
        let key = match what.trim() {
            "agent" => "agents",
            "platform" => "platforms",
            "direction" => "directions",
            "source" => "sources",
            "kind" => "kinds",
            "label" => "labels",
            "currency" => "currencies",
            "basis" => "bases",
            "metadata" => {
                wanted.insert("metadata".to_owned(), json!(values));
                continue;
            }
            _ => return Err(usage()),
        };
        wanted.insert(
            key.to_owned(),
            values.split('|').map(|value| json!(value.trim())).collect(),
        );
    }
    Ok(json!({ "name": name.trim(), "where": wanted }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_in_one_word() {
        assert_eq!(
            group("Won=kind:closed;label:Sold|Won").unwrap(),
            json!({ "name": "Won", "where": { "kinds": ["closed"], "labels": ["Sold", "Won"] } })
        );
        assert_eq!(
            group("All=").unwrap(),
            json!({ "name": "All", "where": {} })
        );
        assert!(group("Won").is_err() && group("Won=colour:red").is_err());
    }
}
