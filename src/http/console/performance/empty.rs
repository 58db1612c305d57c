//! What the page says when there is nothing to show: what to do first.

use maud::{Markup, html};

use super::{Answers, Asked, controls, heading};
use crate::http::admin::analytics;
use crate::http::console::address::Address;
use crate::http::console::format;
use crate::http::error::ApiError;
use crate::queue::PageRequest;
use crate::store::{CallFilter, CallRow, Store};

/// The store is turned off.
pub(super) fn turned_off() -> Markup {
    html! {
        h1 { "Performance" }
        section class="card empty" {
            h2 { "The built-in store is turned off" }
            p {
                "This page counts the calls of the built-in store. Set " code { "enabled = true" } " under " code { "[store]" }
                " in the configuration and start again."
            }
        }
    }
}

/// No call fits: there are none at all, none in this period, or none that were asked for.
pub(super) async fn page(
    asked: &Asked,
    answers: &Answers,
    store: &Store,
) -> Result<Markup, ApiError> {
    let newest = store
        .calls(&CallFilter::default(), PageRequest::first(1))
        .await
        .map_err(analytics::unanswered)?;
    Ok(html! {
        (heading(asked))
        @match newest.items.first() {
            None => (first_steps()),
            Some(call) => {
                (controls::controls(asked, answers))
                (elsewhere(asked, call))
            }
        }
    })
}

fn first_steps() -> Markup {
    html! {
        section class="card empty" {
            h2 { "No calls yet" }
            p { "Three steps, and this page fills by itself:" }
            ol {
                li {
                    strong { "Bring your calls. " }
                    "Connect your voice platform's webhook as a source, or load a file: "
                    code { "outcome-bridge calls import calls.csv" }
                }
                li {
                    strong { "Connect what knows the outcome. " }
                    "Calendar, CRM or payments: " code { "outcome-bridge connectors list" } " shows them, "
                    code { "outcome-bridge init" } " writes the configuration and tells what to click at the vendor."
                }
                li {
                    strong { "See the first outcome arrive. " }
                    "Send a test: " code { "outcome-bridge send --source NAME CASE" } ", or load outcomes that you have: "
                    code { "outcome-bridge outcomes import outcomes.csv" }
                }
            }
        }
    }
}

fn elsewhere(asked: &Asked, newest: &CallRow) -> Markup {
    let zone = &asked.scope.calendar.zone;
    let at = newest
        .started_at
        .or_else(|| newest.outcome.as_ref().map(|outcome| outcome.occurred_at))
        .unwrap_or(newest.created_at);
    let last = at.to_zoned(zone.clone()).date();
    let first = last.checked_sub(jiff::ToSpan::days(29)).unwrap_or(last);
    let there = asked
        .address
        .clone()
        .with("from", first.to_string())
        .with("to", last.to_string());
    let everything = Address::new(super::PATH)
        .with("from", first.to_string())
        .with("to", last.to_string());
    html! {
        section class="card empty" {
            h2 { "No calls here" }
            p { "No call of " (asked.days()) " fits what was asked for. The newest call in the store is from " (format::day(at, zone)) "." }
            p {
                a class="button" href=(there.link()) { "Show the 30 days up to it" }
                " "
                a class="button plain" href=(everything.link()) { "The same without filters and groups" }
            }
        }
    }
}
