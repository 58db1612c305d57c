//! The calls by what they share: agent, source, a key of metadata.

use maud::{Markup, html};

use super::{Answers, Asked};
use crate::http::console::chart::{self, Bar, Mark};
use crate::http::console::format;
use crate::store::{Attribution, Behind, Breakdown, Condition, Split};

/// Bars and lines that are shown at most; there may be thousands of agents.
const MOST_BARS: usize = 12;
const MOST_LINES: usize = 200;
const SPLITS: [(&str, &str); 7] = [
    ("agent", "agent"),
    ("platform", "platform"),
    ("direction", "direction"),
    ("source", "source of the outcome"),
    ("kind", "kind of outcome"),
    ("label", "label"),
    ("basis", "how the outcome is known"),
];

/// All calls of a line, and those with an outcome.
fn behind(asked: &Asked, line: &Breakdown) -> (Behind, Behind) {
    let all = asked.split.condition(&line.value);
    let with_outcome = Condition {
        has_outcome: Some(true),
        ..all.clone()
    };
    // Metadata is known of the call itself: outcomes count there, whatever the touch.
    let attribution = match asked.split {
        Split::Metadata(_) => Attribution::Recorded,
        _ => asked.scope.attribution,
    };
    (
        asked.behind(&all, Attribution::Recorded),
        asked.behind(&with_outcome, attribution),
    )
}

pub(super) fn section(asked: &Asked, answers: &Answers) -> Markup {
    let named = named(asked);
    let bar = |line: &Breakdown| Bar {
        name: format::known(&line.value).to_owned(),
        text: format::count(line.calls),
        mark: Mark {
            colour: Some(1),
            value: line.calls as f64,
            label: format!(
                "{}, {} with an outcome",
                format::calls(line.calls),
                format::count(line.with_outcome)
            ),
            link: asked.calls(&behind(asked, line).0, asked.scope.period),
        },
    };
    let lines = &answers.lines;
    let bars: Vec<Bar> = lines
        .iter()
        .filter(|line| line.calls > 0 && !line.others)
        .take(MOST_BARS)
        .map(bar)
        .collect();
    html! {
        section class="card" aria-labelledby="breakdown" {
            h2 id="breakdown" { "By " (named) }
            (form(asked))
            @if lines.is_empty() {
                p { "No call of this period has it." }
            } @else {
                div class="beside" {
                    div class="scroll" { (chart::bars(&format!("Calls by {named}, as bars; the table has the same numbers"), &bars)) }
                    (table(asked, lines, &named))
                }
            }
        }
    }
}

fn named(asked: &Asked) -> String {
    match &asked.split {
        Split::Metadata(key) => key.clone(),
        _ => {
            let chosen = asked.address.get("split").unwrap_or("agent");
            let known = SPLITS.iter().find(|(value, _)| *value == chosen);
            known.map_or_else(|| chosen.to_owned(), |(_, text)| (*text).to_owned())
        }
    }
}

fn form(asked: &Asked) -> Markup {
    let chosen = asked.address.get("split").unwrap_or("agent");
    html! {
        form method="get" action={ (super::PATH) "#breakdown" } class="inline" {
            (asked.address.kept(&["split"]))
            label { span { "By" }
                input name="split" value=(chosen) list="splits" autocomplete="off";
            }
            datalist id="splits" {
                @for (value, text) in SPLITS { option value=(value) { (text) } }
                option value="metadata.campaign" { "a key of metadata" }
            }
            button class="plain" { "Show" }
        }
    }
}

fn table(asked: &Asked, lines: &[Breakdown], named: &str) -> Markup {
    let period = asked.scope.period;
    html! {
        div class="scroll tall" tabindex="0" role="region" aria-label={ "By " (named) ", table" } {
            table id="lines" {
                caption { "Calls by " (named) @if lines.len() > MOST_LINES { ", the first " (MOST_LINES) " of " (lines.len()) } }
                thead { tr {
                    th scope="col" { (named) }
                    th scope="col" class="num" { "Calls" }
                    th scope="col" class="num" { "With an outcome" }
                    th scope="col" class="num" { "Share" }
                    th scope="col" class="num" { "Worth" }
                } }
                tbody {
                    @for line in lines.iter().take(MOST_LINES) {
                        @let (all, with_outcome) = behind(asked, line);
                        tr {
                            th scope="row" { @if line.others { "all others" } @else { (format::known(&line.value)) } }
                            @if line.others {
                                // Nothing that a list of calls could be asked for.
                                td class="num" { (format::count(line.calls)) }
                                td class="num" { (format::count(line.with_outcome)) }
                            } @else {
                                td class="num" { (asked.number(line.calls, &all, period)) }
                                td class="num" { (asked.number(line.with_outcome, &with_outcome, period)) }
                            }
                            td class="num" { (format::share(line.outcome_rate)) }
                            td class="num" {
                                @for (place, (_, text)) in format::values(&line.values).iter().enumerate() {
                                    @if place > 0 { br; }
                                    (text)
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
