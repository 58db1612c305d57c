//! How many calls came to a goal and how sure that is; how long it took.

use maud::{Markup, html};

use super::{Answers, Asked};
use crate::http::console::chart;
use crate::http::console::format;
use crate::store::{Attribution, Behind, Condition, Conversion, Period};

/// A rate of fewer calls than that says little.
const FEW: i64 = 20;

pub(super) fn section(asked: &Asked, answers: &Answers) -> Markup {
    let conversion = &answers.conversion;
    html! {
        section class="card" aria-labelledby="conversion" {
            h2 id="conversion" { "Conversion" }
            (form(asked))
            @if let (Some(rate), Some(low), Some(high)) = (conversion.rate, conversion.low, conversion.high) {
                @let told = format!(
                    "{} of {}: {}; with 95 % confidence between {} and {}",
                    format::count(conversion.converted), format::calls(conversion.calls),
                    format::share(Some(rate)), format::share(Some(low)), format::share(Some(high)),
                );
                (chart::interval(&told, rate, (low, high)))
                p { (told) "." @if conversion.calls < FEW { " That is few: read it with care." } }
            } @else {
                p { "No call of this period is old enough to tell." }
            }
            (table(asked, conversion))
            h3 id="delay" { "Time to outcome" }
            (delay(asked, answers))
        }
    }
}

/// What calls should come to, in words.
pub(super) fn goal(asked: &Asked) -> String {
    let told = format::condition(&asked.goal.wanted);
    let told: Vec<String> = told
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    told.join(", ")
}

fn form(asked: &Asked) -> Markup {
    let chosen = asked.address.get("to_what").unwrap_or_default();
    let kinds = ["closed", "shown", "no_show", "lost", "follow_up"];
    let goals: Vec<(String, &str)> = kinds
        .into_iter()
        .map(|kind| {
            (
                if kind == "closed" {
                    String::new()
                } else {
                    format!(r#"{{"kinds":["{kind}"]}}"#)
                },
                kind,
            )
        })
        .collect();
    let is_own = !goals.iter().any(|(goal, _)| goal == chosen);
    html! {
        form method="get" action={ (super::PATH) "#conversion" } class="inline" {
            (asked.address.kept(&["to_what", "mature_after"]))
            label { span { "Goal" }
                select name="to_what" {
                    @if is_own { option value=(chosen) selected { (goal(asked)) } }
                    @for (goal, kind) in &goals { option value=(goal) selected[goal == chosen] { (kind) } }
                }
            }
            label { span { "Old enough after" }
                input name="mature_after" value=(asked.address.get("mature_after").unwrap_or_default()) placeholder="7d" size="6" autocomplete="off";
            }
            button class="plain" { "Show" }
        }
    }
}

/// Calls that are old enough, and those that may still come to it.
fn table(asked: &Asked, conversion: &Conversion) -> Markup {
    let period = asked.scope.period;
    let (old, young) = (
        Period {
            to: conversion.mature_until,
            ..period
        },
        Period {
            from: conversion.mature_until,
            ..period
        },
    );
    let all = asked.behind(&Condition::default(), Attribution::Recorded);
    let hits = Behind::of(
        &asked.scope.condition,
        &asked.goal.wanted,
        asked.scope.attribution,
    );
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Conversion, table" {
            table id="maturity" {
                caption { "Calls that came to it" }
                thead { tr {
                    th scope="col" { "Calls" }
                    th scope="col" class="num" { "Number" }
                    th scope="col" class="num" { "Came to it" }
                    th scope="col" class="num" { "Share" }
                    th scope="col" class="num" { "95 % interval" }
                } }
                tbody {
                    tr {
                        th scope="row" { "old enough to tell" }
                        td class="num" { (asked.number(conversion.calls, &all, old)) }
                        td class="num" { (asked.number(conversion.converted, &hits, old)) }
                        td class="num" { (format::share(conversion.rate)) }
                        td class="num" { @if conversion.low.is_some() { (format::share(conversion.low)) " – " (format::share(conversion.high)) } }
                    }
                    tr {
                        th scope="row" { "too young to tell" }
                        td class="num" { (asked.number(conversion.young, &all, young)) }
                        td class="num" { (asked.number(conversion.young_converted, &hits, young)) }
                        td {} td {}
                    }
                }
            }
        }
    }
}

fn delay(asked: &Asked, answers: &Answers) -> Markup {
    let delay = &answers.delay;
    let condition = Condition {
        timed: true,
        ..Condition::default()
    };
    let behind = asked.behind(&condition, Attribution::Recorded);
    let text = |millis: Option<i64>| millis.map_or_else(|| "–".to_owned(), format::span);
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Time to outcome, table" {
            table id="delays" {
                caption { "From the start of a call to its outcome" }
                thead { tr {
                    th scope="col" class="num" { "Calls whose time is known" }
                    th scope="col" class="num" { "Median" }
                    th scope="col" class="num" { "9 of 10 within" }
                } }
                tbody { tr {
                    td class="num" { (asked.number(delay.calls, &behind, asked.scope.period)) }
                    td class="num" { (text(delay.median_ms)) }
                    td class="num" { (text(delay.p90_ms)) }
                } }
            }
        }
    }
}
