//! One call: what is known of it, its outcome and how that came about.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde_json::{Map, Value};
use url::Url;

use super::address::Address;
use super::layout::{self, Visitor};
use super::{event, format};
use crate::http::admin::{Query, analytics, store};
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::store::{CallRow, LogRow, OutcomeRow};

/// Characters of a transcript and of metadata that are shown at once; changes and events, too.
const LONGEST_TRANSCRIPT: usize = 200_000;
const LONGEST_VALUES: usize = 20_000;
const MOST_CHANGES: usize = 200;
const MOST_EVENTS: usize = 10;

pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<String>,
    request: HttpRequest,
    office: web::Data<Office>,
) -> HttpResponse {
    match page(&path, &request, &office).await {
        Ok(content) => layout::page(&visitor, "Call", &content),
        Err(error) => layout::failure(&visitor, &error),
    }
}

async fn page(id: &str, request: &HttpRequest, office: &Office) -> Result<Markup, ApiError> {
    let store = store(office)?;
    let address = Address::read(super::calls::PATH, request.query_string());
    let zone = zone(&address, office)?;
    let call = store.call(id).await.map_err(analytics::unanswered)?;
    let call = call.ok_or_else(|| {
        ApiError::new(
            Code::NotFound,
            format!("there is no call `{}`", id.escape_debug()),
        )
    })?;
    let log = store
        .latest_log(&call.id, MOST_CHANGES)
        .await
        .map_err(analytics::unanswered)?;
    let events = event_ids(&call, &log);
    let mut stories = Vec::new();
    for id in events.iter().take(MOST_EVENTS) {
        stories.push((id, event::told(office, id).await));
    }
    Ok(html! {
        p class="path" { a href=(super::calls::PATH) { "Calls" } " / " (short_id(&call)) }
        h1 { "Call " @if let Some(at) = call.started_at { "of " (format::moment(at, &zone)) } }
        div class="pair" {
            (facts(&call, &zone))
            (outcome(&call, &zone))
        }
        (transcript(&call))
        (changes(&call, &log, &zone))
        section class="card" aria-labelledby="events" {
            h2 id="events" { "Events that led to it" }
            @if events.is_empty() { p { "None: no event has told of its outcome." } }
            @for (place, (id, told)) in stories.iter().enumerate() { (story(id, told, place == 0)) }
            @if events.len() > MOST_EVENTS {
                p { "Earlier events:" }
                ul { @for id in events.iter().skip(MOST_EVENTS) { li { a href=(event::link(id)) { (id) } } } }
            }
        }
        (values("Metadata", &call.metadata, &call.id))
        (values("Extracted fields", &call.fields, &call.id))
        p class="hint" { "The same as JSON: " a href={ "/admin/v1/calls/" (call.id) } { "call and log" } "." }
    })
}

/// The zone in which the list that led here shows its days.
fn zone(address: &Address, office: &Office) -> Result<TimeZone, ApiError> {
    let mut query = Query::new(&address.query(), office.clock.now());
    let zone = analytics::zone(&mut query)?;
    query.finish()?;
    Ok(zone)
}

fn short_id(call: &CallRow) -> &str {
    let id = call.call_id.as_deref().unwrap_or(&call.id);
    format::cut(id, 60).0
}

/// Events that set what holds and what held before, newest first.
fn event_ids(call: &CallRow, log: &[LogRow]) -> Vec<String> {
    let current = call
        .outcome
        .iter()
        .filter_map(|outcome| outcome.event_id.clone());
    let logged = log
        .iter()
        .rev()
        .filter_map(|change| change.event_id.clone());
    let mut seen = BTreeSet::new();
    current
        .chain(logged)
        .filter(|id| seen.insert(id.clone()))
        .collect()
}

fn facts(call: &CallRow, zone: &TimeZone) -> Markup {
    let texts = [
        ("Agent", &call.agent_id),
        ("Platform", &call.platform),
        ("Call id", &call.call_id),
        ("Phone", &call.phone),
        ("E-mail", &call.email),
        ("Direction", &call.direction),
        ("Target", &call.target),
    ];
    html! {
        section class="card" aria-labelledby="call" {
            h2 id="call" { "The call" }
            dl {
                @for (name, text) in texts {
                    @if let Some(text) = text { dt { (name) } dd { (text) } }
                }
                @if let Some(at) = call.started_at { dt { "Started" } dd { (format::moment(at, zone)) } }
                @if let Some(at) = call.ended_at { dt { "Ended" } dd { (format::moment(at, zone)) } }
                @if let Some(millis) = call.duration_ms { dt { "Length" } dd { (format::span(millis)) } }
                @if let Some(url) = &call.recording_url { dt { "Recording" } dd { (recording(url)) } }
                dt { "First heard of" } dd { (format::moment(call.created_at, zone)) }
            }
        }
    }
}

/// A link only where it leads to a web page: a text from outside may be a script.
fn recording(text: &str) -> Markup {
    let address = Url::parse(text).ok();
    let address = address.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    html! {
        @match address {
            Some(url) => a href=(url) rel="noreferrer noopener" target="_blank" { "Listen at " (url.host_str().unwrap_or_default()) },
            None => (text),
        }
    }
}

fn outcome(call: &CallRow, zone: &TimeZone) -> Markup {
    html! {
        section class="card" aria-labelledby="outcome" {
            h2 id="outcome" { "Outcome" }
            @match &call.outcome {
                None => p { "None yet." },
                Some(held) => {
                    p class="figure" { (format::outcome(held)) }
                    dl { (held_facts(held, zone)) }
                    (small_values(&held.metadata))
                }
            }
        }
    }
}

fn held_facts(held: &OutcomeRow, zone: &TimeZone) -> Markup {
    html! {
        @if let Some(value) = &held.value { dt { "Worth" } dd { (value) " " (held.currency.as_deref().unwrap_or_default()) } }
        dt { "Known" } dd { (basis(held.basis)) }
        dt { "Occurred" } dd { (format::moment(held.occurred_at, zone)) }
        dt { "Source" } dd { (held.source) }
        dt { "Written by" } dd { (held.actor) }
        @if let Some(rule) = &held.rule { dt { "Rule" } dd { (rule) } }
        @if let Some(id) = &held.event_id { dt { "Event" } dd { a href=(event::link(id)) { (id) } } }
        dt { "Recorded" } dd { (format::moment(held.recorded_at, zone)) }
        @if let Some(notes) = &held.notes { dt { "Notes" } dd class="long" { (notes) } }
    }
}

fn basis(basis: crate::model::Basis) -> &'static str {
    match basis {
        crate::model::Basis::Inferred => "inferred",
        crate::model::Basis::Reported => "reported",
        crate::model::Basis::Manual => "set by hand",
    }
}

fn transcript(call: &CallRow) -> Markup {
    let Some(text) = &call.transcript else {
        return html! {};
    };
    let (shown, is_cut) = format::cut(text, LONGEST_TRANSCRIPT);
    html! {
        section class="card" aria-labelledby="transcript" {
            h2 id="transcript" { "Transcript" }
            div class="scroll tall long" tabindex="0" role="region" aria-label="Transcript" { (shown) @if is_cut { "…" } }
            @if is_cut { (rest(&call.id)) }
        }
    }
}

/// Where the rest of something long is.
fn rest(id: &str) -> Markup {
    html! { p class="hint" { "This is the beginning; all of it is in " a href={ "/admin/v1/calls/" (id) } { "the call as JSON" } "." } }
}

fn changes(call: &CallRow, log: &[LogRow], zone: &TimeZone) -> Markup {
    html! {
        section class="card" aria-labelledby="log" {
            h2 id="log" { "Changes of its outcome" }
            @if log.is_empty() {
                p { "None yet." }
            } @else {
                div class="scroll tall" tabindex="0" role="region" aria-label="Changes, table" {
                    table id="changes" {
                        caption {
                            "Newest first"
                            @if i64::try_from(log.len()).is_ok_and(|shown| shown < call.revision) { ", the last " (log.len()) " of " (call.revision) }
                        }
                        thead { tr {
                            th scope="col" { "Recorded" }
                            th scope="col" { "From" }
                            th scope="col" { "To" }
                            th scope="col" { "Known" }
                            th scope="col" { "By" }
                            th scope="col" { "Event and rule" }
                            th scope="col" { "Status" }
                        } }
                        tbody { @for change in log.iter().rev() { (changed(change, zone)) } }
                    }
                }
            }
        }
    }
}

fn changed(change: &LogRow, zone: &TimeZone) -> Markup {
    let held = |kind: Option<crate::model::OutcomeKind>,
                label: &Option<String>,
                value: &Option<String>,
                currency: &Option<String>| {
        html! {
            @match (label, kind) {
                (Some(label), Some(kind)) => { (label) " " span class="tag" { (kind.as_str()) } }
                (Some(label), None) => (label),
                (None, Some(kind)) => span class="tag" { (kind.as_str()) },
                (None, None) => "nothing",
            }
            @if let Some(value) = value { ", " (value) " " (currency.as_deref().unwrap_or_default()) }
        }
    };
    html! {
        tr {
            th scope="row" { (format::moment(change.recorded_at, zone)) }
            td { (held(change.previous_kind, &change.previous_label, &change.previous_value, &change.previous_currency)) }
            td {
                (held(change.kind, &change.label, &change.value, &change.currency))
                @if let Some(notes) = &change.notes { div class="long hint" { (format::cut(notes, 2_000).0) } }
            }
            td { (change.basis.map_or("–", basis)) @if let Some(at) = change.occurred_at { br; (format::moment(at, zone)) } }
            td { (change.actor) @if let Some(source) = &change.source { br; (source) } }
            td {
                @if let Some(id) = &change.event_id { a href=(event::link(id)) { (id) } }
                @if let Some(rule) = &change.rule { br; (rule) }
            }
            td { (change.status) @if let Some(why) = &change.failure_reason { br; (why) } }
        }
    }
}

fn story(id: &str, told: &Result<String, ApiError>, is_first: bool) -> Markup {
    html! {
        details open[is_first] {
            summary { (id) }
            @match told {
                Ok(told) => pre tabindex="0" role="region" aria-label={ "Story of " (id) } { (told) },
                Err(error) => p class="hint" { "It cannot be told any more: " (error.detail()) "." },
            }
        }
    }
}

fn small_values(values: &Map<String, Value>) -> Markup {
    html! {
        @if !values.is_empty() {
            details { summary { "Metadata of the outcome" } (json(values).0) }
        }
    }
}

fn values(title: &str, values: &Map<String, Value>, id: &str) -> Markup {
    let (shown, is_cut) = json(values);
    html! {
        @if !values.is_empty() {
            section class="card" {
                h2 { (title) }
                (shown)
                @if is_cut { (rest(id)) }
            }
        }
    }
}

/// Values as JSON, cut off where they are very long.
fn json(values: &Map<String, Value>) -> (Markup, bool) {
    let text = serde_json::to_string_pretty(values).unwrap_or_default();
    let (shown, is_cut) = format::cut(&text, LONGEST_VALUES);
    let markup = html! {
        pre tabindex="0" role="region" aria-label="Values" { (shown) @if is_cut { "…" } }
    };
    (markup, is_cut)
}

#[cfg(test)]
mod tests {
    use super::recording;

    #[test]
    fn only_web_addresses_are_links() {
        for good in ["https://a.example/r?x=1&y=\"2", "http://127.0.0.1/r"] {
            let markup = recording(good).into_string();
            assert!(
                markup.contains("<a href") && markup.contains("noreferrer"),
                "{markup}"
            );
        }
        for bad in [
            "javascript:alert(1)",
            "data:text/html,x",
            " javascript:alert(1)",
            "//a.example",
            "file:///etc/passwd",
            "<b>",
        ] {
            let markup = recording(bad).into_string();
            assert!(!markup.contains("<a") && !markup.contains("<b"), "{markup}");
        }
    }
}
