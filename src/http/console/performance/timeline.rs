//! Calls and their parts by day or week.

use maud::{Markup, html};

use super::outcomes::{self, name};
use super::{Answers, Asked};
use crate::http::console::chart::{self, Arrangement, Column, Mark};
use crate::http::console::format;
use crate::store::{Part, Period, Step};

pub(super) fn section(asked: &Asked, answers: &Answers) -> Markup {
    let title = match asked.scope.calendar.step {
        Step::Week(_) => "By week",
        Step::Day => "By day",
        Step::Whole => "In all",
    };
    let parts = outcomes::shown(asked, answers);
    let rarer = answers.report.parts.len() - parts.len();
    // Outcomes exclude each other, groups may overlap.
    let arrangement = if asked.groups.is_empty() {
        Arrangement::Stacked
    } else {
        Arrangement::SideBySide
    };
    let columns = columns(asked, answers, parts);
    let named = if asked.shares {
        "share of all calls"
    } else {
        "calls"
    };
    html! {
        section class="card" aria-labelledby="timeline" {
            h2 id="timeline" { (title) }
            a class="skip" href="#timeline-table" { "Skip the chart" }
            ul class="legend" aria-hidden="true" {
                @if !asked.shares { li { span class="key whole" {} "all calls" } }
                @for (place, part) in parts.iter().enumerate() {
                    li { span class={ "key c" (place % chart::COLOURS) } {} (name(part)) }
                }
                @if columns.iter().any(|column| column.unfinished) { li { span class="key pale" {} "pale: not over yet" } }
            }
            div class="scroll" {
                (chart::columns(&format!("{title}, {named}; the table has the same numbers"), &columns, arrangement, asked.shares))
            }
            @if rarer > 0 { p class="hint" { (rarer) " rarer outcomes are in the table above." } }
            (table(asked, answers, parts, title))
        }
    }
}

fn columns(asked: &Asked, answers: &Answers, parts: &[Part]) -> Vec<Column> {
    let (report, zone) = (&answers.report, &asked.scope.calendar.zone);
    let mark = |part: &Part, colour: Option<usize>, title: &str, place: usize, bucket: Period| {
        let (calls, all) = (part.by_bucket[place], report.all.by_bucket[place]);
        let rate = part.rate_by_bucket[place];
        let days = format::days(bucket, zone);
        Mark {
            colour,
            value: if asked.shares {
                rate.unwrap_or(0.0)
            } else {
                calls as f64
            },
            label: match colour {
                Some(_) => format!(
                    "{title}, {days}: {} of {}, {}",
                    format::count(calls),
                    format::calls(all),
                    format::share(rate)
                ),
                None => format!("{title}, {days}: {}", format::count(calls)),
            },
            link: asked.calls(&part.behind, bucket),
        }
    };
    let column = |(place, bucket): (usize, &Period)| Column {
        label: format::short_day(bucket.from, zone),
        unfinished: bucket.to >= asked.now,
        whole: (!asked.shares).then(|| mark(&report.all, None, "All calls", place, *bucket)),
        parts: parts
            .iter()
            .enumerate()
            .map(|(colour, part)| mark(part, Some(colour), name(part), place, *bucket))
            .collect(),
    };
    report.buckets.iter().enumerate().map(column).collect()
}

fn table(asked: &Asked, answers: &Answers, parts: &[Part], title: &str) -> Markup {
    let (report, zone) = (&answers.report, &asked.scope.calendar.zone);
    let cell = |part: &Part, place: usize| {
        let bucket = report.buckets[place];
        html! {
            td class="num" {
                @if asked.shares && part.by_bucket[place] > 0 {
                    a href=(asked.calls(&part.behind, bucket)) { (format::share(part.rate_by_bucket[place])) }
                } @else if asked.shares {
                    (format::share(part.rate_by_bucket[place]))
                } @else {
                    (asked.number(part.by_bucket[place], &part.behind, bucket))
                }
            }
        }
    };
    html! {
        div class="scroll tall" tabindex="0" role="region" aria-label={ (title) ", table" } id="timeline-table" {
            table id="buckets" {
                caption { (title) ", " @if asked.shares { "shares of all calls" } @else { "number of calls" } }
                thead { tr {
                    th scope="col" { @if title == "By week" { "Week" } @else { "Day" } }
                    th scope="col" class="num" { "Calls" }
                    th scope="col" class="num" { "With an outcome" }
                    @for part in parts { th scope="col" class="num" { (name(part)) } }
                } }
                tbody {
                    @for (place, bucket) in report.buckets.iter().enumerate() {
                        tr {
                            th scope="row" class="day" { (format::days(*bucket, zone)) }
                            td class="num" { (asked.number(report.all.by_bucket[place], &report.all.behind, *bucket)) }
                            (cell(&report.with_outcome, place))
                            @for part in parts { (cell(part, place)) }
                        }
                    }
                }
            }
        }
    }
}
