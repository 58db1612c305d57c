//! The numbers that one looks at first.

use maud::{Markup, html};

use super::conversion::goal;
use super::{Answers, Asked};
use crate::http::console::format;
use crate::store::{Behind, Condition, Trend};

pub(super) fn tiles(asked: &Asked, answers: &Answers) -> Markup {
    let (report, period) = (&answers.report, asked.scope.period);
    let conversion = &answers.conversion;
    html! {
        ul class="tiles" aria-label="Overview" {
            li {
                span class="name" { "Calls" }
                span class="figure" id="all-calls" { (asked.number(report.all.tally.calls, &report.all.behind, period)) }
                @if let Some(trend) = &report.trend { (before(asked, trend, &report.all.behind)) }
            }
            li {
                span class="name" { "With an outcome" }
                span class="figure" id="with-outcome" { (asked.number(report.with_outcome.tally.calls, &report.with_outcome.behind, period)) }
                span class="note" { (format::share(report.with_outcome.tally.rate)) " of all calls" }
            }
            li {
                span class="name" { "Conversion" }
                span class="figure" { (format::share(conversion.rate)) }
                span class="note" {
                    (goal(asked)) ": " (format::count(conversion.converted)) " of " (format::calls(conversion.calls)) " old enough to tell"
                }
            }
            li {
                span class="name" { "Worth" }
                (worth(asked, answers))
            }
            li {
                span class="name" { "Time to outcome" }
                span class="figure" { (answers.delay.median_ms.map_or_else(|| "–".to_owned(), format::span)) }
                span class="note" { "median" }
            }
        }
    }
}

fn before(asked: &Asked, trend: &Trend, all: &Behind) -> Markup {
    html! {
        span class="note" {
            (format::growth(trend.growth)) " against "
            (asked.number(trend.calls, all, trend.period))
            " in the period before"
        }
    }
}

/// Worth by currency, never added up; each leads to the calls that have it.
fn worth(asked: &Asked, answers: &Answers) -> Markup {
    let values = format::values(&answers.report.with_outcome.tally.values);
    html! {
        @if values.is_empty() {
            span class="figure" { "–" }
            span class="note" { "no outcome has a value" }
        }
        @for (currency, text) in &values {
            @let condition = Condition {
                currencies: vec![if currency.is_empty() { "-" } else { currency }.to_owned()],
                has_outcome: Some(true),
                ..Condition::default()
            };
            span class="figure amount" {
                a href=(asked.calls(&asked.behind(&condition, asked.scope.attribution), asked.scope.period)) { (text) }
            }
        }
    }
}
