//! Outcomes, or the groups that were made of them, compared with each other, with all calls, and with the period before.

use maud::{Markup, html};

use super::{Answers, Asked};
use crate::http::console::chart::{self, Bar, Mark};
use crate::http::console::format;
use crate::store::{Part, PartTrend};

/// Parts that charts show; the table has them all.
pub(super) const MOST_SHOWN: usize = 7;

/// The parts that charts show: every group, or the most frequent outcomes.
pub(super) fn shown<'a>(asked: &Asked, answers: &'a Answers) -> &'a [Part] {
    let parts = &answers.report.parts;
    let most = if asked.groups.is_empty() {
        MOST_SHOWN
    } else {
        parts.len()
    };
    &parts[..parts.len().min(most)]
}

/// What a part is called.
pub(super) fn name(part: &Part) -> &str {
    if part.name.is_empty() {
        "(no name)"
    } else {
        &part.name
    }
}

pub(super) fn section(asked: &Asked, answers: &Answers) -> Markup {
    let report = &answers.report;
    let title = if asked.groups.is_empty() {
        "Outcomes"
    } else {
        "Groups"
    };
    html! {
        section class="card" aria-labelledby="outcomes" {
            h2 id="outcomes" { (title) }
            @if report.parts.is_empty() {
                p { "No call of this period has an outcome yet. Outcomes arrive by webhook from your calendar, CRM or payment tool, "
                    "or with " code { "outcome-bridge outcomes import" } "." }
            } @else {
                div class="beside" {
                    (bars(asked, answers, title))
                    (table(asked, answers, title))
                }
                @if report.all.tally.calls < 20 {
                    p class="hint" { "Fewer than 20 calls: read the shares with care." }
                }
            }
        }
    }
}

fn bars(asked: &Asked, answers: &Answers, title: &str) -> Markup {
    let period = asked.scope.period;
    let whole = answers.report.all.tally.calls;
    let bar = |(place, part): (usize, &Part)| {
        let (calls, rate) = (part.tally.calls, part.tally.rate);
        Bar {
            name: name(part).to_owned(),
            text: if asked.shares {
                format::share(rate)
            } else {
                format::count(calls)
            },
            mark: Mark {
                colour: Some(place),
                value: if asked.shares {
                    rate.unwrap_or(0.0)
                } else {
                    calls as f64
                },
                label: format!(
                    "{} of {}, {}",
                    format::count(calls),
                    format::calls(whole),
                    format::share(rate)
                ),
                link: asked.calls(&part.behind, period),
            },
        }
    };
    let bars: Vec<Bar> = shown(asked, answers).iter().enumerate().map(bar).collect();
    html! {
        div class="scroll" { (chart::bars(&format!("{title}, as bars; the table has the same numbers"), &bars)) }
    }
}

fn table(asked: &Asked, answers: &Answers, title: &str) -> Markup {
    let report = &answers.report;
    let trends = report
        .trend
        .iter()
        .flat_map(|trend| trend.parts.iter().map(Some));
    let trends = trends.chain(std::iter::repeat(None));
    html! {
        div class="scroll" tabindex="0" role="region" aria-label={ (title) ", table" } {
            table id="parts" {
                caption { (title) ", " (asked.days()) }
                thead { tr {
                    th scope="col" { @if asked.groups.is_empty() { "Outcome" } @else { "Group" } }
                    th scope="col" class="num" { "Calls" }
                    th scope="col" class="num" { "Share" }
                    th scope="col" class="num" { "Before" }
                    th scope="col" class="num" { "Trend" }
                    th scope="col" class="num" { "Worth" }
                } }
                tbody {
                    @for ((place, part), trend) in report.parts.iter().enumerate().zip(trends) {
                        (row(asked, answers, place, part, trend))
                    }
                    tr class="whole" {
                        th scope="row" { "All calls" }
                        td class="num" { (asked.number(report.all.tally.calls, &report.all.behind, asked.scope.period)) }
                        td class="num" { (format::share(report.all.tally.rate)) }
                        td class="num" { @if let Some(trend) = &report.trend { (asked.number(trend.calls, &report.all.behind, trend.period)) } }
                        td class="num" { (format::growth(report.trend.as_ref().and_then(|trend| trend.growth))) }
                        td class="num" { (worth(&report.all)) }
                    }
                }
            }
        }
    }
}

fn row(
    asked: &Asked,
    answers: &Answers,
    place: usize,
    part: &Part,
    trend: Option<&PartTrend>,
) -> Markup {
    let before = answers.report.trend.as_ref().map(|trend| trend.period);
    let coloured = place < shown(asked, answers).len();
    html! {
        tr {
            th scope="row" {
                @if coloured { span class={ "key c" (place % chart::COLOURS) } {} }
                (name(part))
                @if let Some(kind) = part.kind.as_ref().filter(|kind| **kind != part.name) { " " span class="tag" { (kind) } }
            }
            td class="num" { (asked.number(part.tally.calls, &part.behind, asked.scope.period)) }
            td class="num" { (format::share(part.tally.rate)) }
            td class="num" { @if let (Some(trend), Some(before)) = (trend, before) { (asked.number(trend.tally.calls, &part.behind, before)) } }
            td class="num" { (format::growth(trend.and_then(|trend| trend.growth))) }
            td class="num" { (worth(part)) }
        }
    }
}

pub(super) fn worth(part: &Part) -> Markup {
    html! {
        @for (place, (_, text)) in format::values(&part.tally.values).iter().enumerate() {
            @if place > 0 { br; }
            (text)
        }
    }
}
