//! What is asked for: period, agent, steps, counts or shares. One form that is sent as an address.

use jiff::ToSpan;
use jiff::civil::Date;
use maud::{Markup, html};

use super::{Answers, Asked};
use crate::http::console::format;
use crate::store::{Attribution, Condition, Step};

/// What the form asks for; everything else it keeps.
const FIELDS: [&str; 9] = [
    "from",
    "to",
    "agent",
    "by",
    "show",
    "zone",
    "week_start",
    "attribution",
    "metadata",
];
/// Agents to choose from at most; the others are found through the breakdown.
const MOST_AGENTS: usize = 100;
const ZONES: [&str; 20] = [
    "UTC",
    "America/Los_Angeles",
    "America/Denver",
    "America/Chicago",
    "America/New_York",
    "America/Sao_Paulo",
    "Europe/London",
    "Europe/Lisbon",
    "Europe/Berlin",
    "Europe/Paris",
    "Europe/Madrid",
    "Europe/Athens",
    "Africa/Lagos",
    "Africa/Johannesburg",
    "Asia/Dubai",
    "Asia/Kolkata",
    "Asia/Singapore",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Pacific/Auckland",
];
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

pub(super) fn controls(asked: &Asked, answers: &Answers) -> Markup {
    let zone = &asked.scope.calendar.zone;
    let (first, last) = (
        asked.scope.period.from.to_zoned(zone.clone()).date(),
        format::last(asked.scope.period)
            .to_zoned(zone.clone())
            .date(),
    );
    let weekly = matches!(asked.scope.calendar.step, Step::Week(_));
    html! {
        section class="card controls" aria-label="What is shown" {
            form method="get" action=(super::PATH) {
                (asked.address.kept(&FIELDS))
                div class="fields" {
                    label { span { "From" } input type="date" name="from" value=(first); }
                    label { span { "To" } input type="date" name="to" value=(last); }
                    (agent(asked, answers))
                    label { span { "By" }
                        select name="by" {
                            option value="day" selected[!weekly] { "day" }
                            option value="week" selected[weekly] { "week" }
                        }
                    }
                    label { span { "Show" }
                        select name="show" {
                            option value="calls" selected[!asked.shares] { "number of calls" }
                            option value="share" selected[asked.shares] { "share of all calls" }
                        }
                    }
                    button { "Show" }
                }
                (more(asked))
            }
            (quick(asked))
            (chips(asked))
        }
    }
}

fn agent(asked: &Asked, answers: &Answers) -> Markup {
    let chosen = asked.address.get("agent").unwrap_or_default();
    let agents: Vec<(String, &str)> = answers
        .agents
        .iter()
        .take(MOST_AGENTS)
        .map(|line| (listed(&line.value), format::known(&line.value)))
        .collect();
    html! {
        label { span { "Agent" }
            select name="agent" {
                option value="" { "all agents" }
                @if !chosen.is_empty() && !agents.iter().any(|(value, _)| value == chosen) {
                    option value=(chosen) selected { (chosen) }
                }
                @for (value, name) in &agents {
                    option value=(value) selected[value == chosen] { (name) }
                }
            }
        }
    }
}

/// A value as the API's lists take it: as it is, or in a JSON list where commas or blanks would be misread.
pub(super) fn listed(value: &str) -> String {
    if value.is_empty() {
        return "-".to_owned();
    }
    if value.contains(',') || value.starts_with('[') || value.trim() != value {
        return serde_json::json!([value]).to_string();
    }
    value.to_owned()
}

fn more(asked: &Asked) -> Markup {
    let given = |name: &str| asked.address.get(name).unwrap_or_default().to_owned();
    let start = asked.address.get("week_start").unwrap_or("monday");
    let used = ["zone", "week_start", "attribution", "metadata"]
        .iter()
        .any(|name| asked.address.get(name).is_some());
    html! {
        details open[used] {
            summary { "More" }
            div class="fields" {
                label { span { "Time zone" }
                    input name="zone" value=(given("zone")) placeholder="UTC" list="zones" autocomplete="off";
                }
                datalist id="zones" { @for zone in ZONES { option value=(zone) {} } }
                label { span { "Weeks begin on" }
                    select name="week_start" {
                        @for day in WEEKDAYS { option value=(day) selected[day == start] { (day) } }
                    }
                }
                label { span { "Outcomes count at" }
                    select name="attribution" {
                        @for (value, attribution, text) in [
                            ("", Attribution::Recorded, "the call they were recorded for"),
                            ("first", Attribution::First, "the caller's first call"),
                            ("last", Attribution::Last, "the caller's last call before"),
                        ] {
                            option value=(value) selected[attribution == asked.scope.attribution] { (text) }
                        }
                    }
                }
                label { span { "Metadata" }
                    input name="metadata" value=(given("metadata")) placeholder="campaign=spring" autocomplete="off";
                }
            }
        }
    }
}

/// Periods that are often asked for, up to today.
fn quick(asked: &Asked) -> Markup {
    let today = asked.now.to_zoned(asked.scope.calendar.zone.clone()).date();
    let back = |days: i64| -> Date { today.checked_sub((days - 1).days()).unwrap_or(today) };
    let link = |days: i64| {
        let address = asked.address.clone().without(&["by"]);
        address
            .with("from", back(days).to_string())
            .with("to", today.to_string())
            .link()
    };
    html! {
        ul class="quick" aria-label="Periods" {
            @for (days, text) in [(7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "a year")] {
                li { a href=(link(days)) { (text) } }
            }
            li { a href=(super::PATH) { "Start again" } }
        }
    }
}

/// What else is asked for, each with the way to take it back.
fn chips(asked: &Asked) -> Markup {
    let parameters = [
        "platform",
        "direction",
        "source",
        "kind",
        "label",
        "currency",
        "basis",
    ];
    let plain = parameters
        .into_iter()
        .filter_map(|name| Some((name, asked.address.get(name)?.to_owned())));
    let condition = asked
        .address
        .get("where")
        .and_then(|text| serde_json::from_str::<Condition>(text).ok());
    let told = condition.map(|condition| {
        let told = format::condition(&condition);
        let told: Vec<String> = told
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        ("where", told.join(", "))
    });
    let chips: Vec<(&str, String)> = plain.chain(told).collect();
    html! {
        @if !chips.is_empty() {
            ul class="chips" aria-label="Only calls with" {
                @for (name, value) in &chips {
                    li {
                        span { (name) ": " (value) }
                        a href=(asked.address.clone().without(&[name]).link()) aria-label={ "Remove " (name) } { "×" }
                    }
                }
            }
        }
    }
}
