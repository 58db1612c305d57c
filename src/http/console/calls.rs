//! The list of calls: those behind a number, by the same filter, or those of a call id, phone or e-mail address.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::address::Address;
use super::format;
use super::layout::{self, Visitor};
use crate::http::admin::{Query, analytics, store};
use crate::http::error::ApiError;
use crate::http::state::Office;
use crate::queue::{Page, PageRequest};
use crate::store::{Attribution, Behind, CallFilter, CallRow, Condition, Period, RowCursor, Store};

pub(super) const PATH: &str = "/console/calls";
/// Calls that one search finds at most.
const MOST_FOUND: usize = 100;

/// The list of the calls that a number counts.
pub(super) fn behind(zone: Option<&str>, behind: &Behind, period: Period) -> String {
    let mut address = Address::new(PATH)
        .with("from", moment(period.from))
        .with("to", moment(period.to));
    if behind.condition != Condition::default() {
        address = address.with(
            "where",
            serde_json::to_string(&behind.condition).unwrap_or_default(),
        );
    }
    if behind.attribution != Attribution::Recorded {
        address = address.with("attribution", behind.attribution.as_str());
    }
    if let Some(zone) = zone {
        address = address.with("zone", zone);
    }
    address.link()
}

/// A moment as precise as the store counts.
fn moment(at: Timestamp) -> String {
    Timestamp::from_millisecond(at.as_millisecond())
        .unwrap_or(at)
        .to_string()
}

pub(super) async fn list(
    visitor: Visitor,
    request: HttpRequest,
    office: web::Data<Office>,
) -> HttpResponse {
    let address = Address::read(PATH, request.query_string());
    let content = match address.get("find") {
        Some(_) => find(&address, &office).await,
        None => listed(&address, &office).await,
    };
    match content {
        Ok(content) => layout::page(&visitor, "Calls", &content),
        Err(error) => layout::failure(&visitor, &error),
    }
}

async fn listed(address: &Address, office: &Office) -> Result<Markup, ApiError> {
    let store = store(office)?;
    let mut query = Query::new(&address.query(), office.clock.now());
    let scope = analytics::scope(&mut query, office.clock.now())?;
    let page: PageRequest<RowCursor> = query.page()?;
    query.finish()?;
    let analytics::Scope {
        condition,
        period,
        calendar,
        attribution,
    } = &scope;
    let (total, page) = futures_util::try_join!(
        store.count_behind(condition, *attribution, *period),
        store.calls_behind(condition, *attribution, *period, page),
    )
    .map_err(analytics::unanswered)?;
    let asked = format::condition(condition);
    Ok(html! {
        h1 { (format::calls(total)) }
        p class="hint" { (format::days(*period, &calendar.zone)) }
        @if !asked.is_empty() || *attribution != Attribution::Recorded {
            ul class="chips" aria-label="Only calls with" {
                @for (name, value) in &asked { li { span { (name) ": " (value) } } }
                @if *attribution != Attribution::Recorded { li { span { "outcomes count at the caller's " (attribution.as_str()) " call" } } }
            }
        }
        (search(""))
        (table(address, &page, &calendar.zone))
        (pages(address, &page))
    })
}

/// Calls by one of the names that people know them by, newest first.
async fn find(address: &Address, office: &Office) -> Result<Markup, ApiError> {
    let store = store(office)?;
    let mut query = Query::new(&address.query(), office.clock.now());
    let sought: String = query
        .take("find", "a call id, phone or e-mail address")?
        .unwrap_or_default();
    query.finish()?;
    let found = look(store, sought.trim()).await?;
    let address = Address::new(PATH);
    Ok(html! {
        h1 { (format::calls(i64::try_from(found.items.len()).unwrap_or(i64::MAX))) @if found.next.is_some() { " and more" } }
        p class="hint" { "with the call id, phone or e-mail address " strong { (sought) } }
        (search(&sought))
        (table(&address, &found, &TimeZone::UTC))
    })
}

async fn look(store: &Store, sought: &str) -> Result<Page<CallRow, RowCursor>, ApiError> {
    let text = || Some(sought.to_owned());
    let mut last = Page {
        items: Vec::new(),
        next: None,
    };
    for filter in [
        CallFilter {
            call_id: text(),
            ..CallFilter::default()
        },
        CallFilter {
            phone: text(),
            ..CallFilter::default()
        },
        CallFilter {
            email: text(),
            ..CallFilter::default()
        },
    ] {
        last = store
            .calls(&filter, PageRequest::first(MOST_FOUND))
            .await
            .map_err(analytics::unanswered)?;
        if !last.items.is_empty() {
            break;
        }
    }
    if last.items.is_empty() {
        last.items
            .extend(store.call(sought).await.map_err(analytics::unanswered)?);
    }
    Ok(last)
}

fn search(sought: &str) -> Markup {
    html! {
        form method="get" action=(PATH) class="inline" role="search" {
            label { span { "Find a call" }
                input name="find" value=(sought) placeholder="call id, +14155551234 or e-mail" autocomplete="off";
            }
            button class="plain" { "Find" }
        }
    }
}

fn table(address: &Address, page: &Page<CallRow, RowCursor>, zone: &TimeZone) -> Markup {
    html! {
        @if page.items.is_empty() {
            section class="card empty" {
                h2 { "No calls here" }
                p { "None fits what was asked for. " a href=(super::performance::PATH) { "Performance" } " shows which periods have calls." }
            }
        } @else {
            div class="scroll card" tabindex="0" role="region" aria-label="Calls, table" {
                table id="calls" {
                    caption class="unseen" { "Calls, newest first" }
                    thead { tr {
                        th scope="col" { "Started" }
                        th scope="col" { "Agent" }
                        th scope="col" { "Caller" }
                        th scope="col" { "Direction" }
                        th scope="col" class="num" { "Length" }
                        th scope="col" { "Outcome" }
                        th scope="col" class="num" { "Worth" }
                    } }
                    tbody { @for call in &page.items { (row(address, call, zone)) } }
                }
            }
        }
    }
}

/// The page of one call, by its id in the store: ids at the platform may be those of several agents.
pub(super) fn link(call: &CallRow, zone: Option<&str>) -> String {
    let id: String = form_urlencoded::byte_serialize(call.id.as_bytes()).collect();
    let zone = zone.map_or_else(String::new, |zone| {
        let zone: String = form_urlencoded::byte_serialize(zone.as_bytes()).collect();
        format!("?zone={zone}")
    });
    format!("{PATH}/{id}{zone}")
}

fn row(address: &Address, call: &CallRow, zone: &TimeZone) -> Markup {
    let caller = call.phone.as_deref().or(call.email.as_deref());
    html! {
        tr data-call=(call.id) {
            th scope="row" {
                a href=(link(call, address.get("zone"))) {
                    @match call.started_at {
                        Some(at) => (format::moment(at, zone)),
                        None => "start not known",
                    }
                }
            }
            td { (short(call.agent_id.as_deref())) }
            td { (short(caller)) }
            td { (short(call.direction.as_deref())) }
            td class="num" { (call.duration_ms.map_or_else(|| "–".to_owned(), format::span)) }
            td { @match &call.outcome { Some(outcome) => (format::outcome(outcome)), None => "–" } }
            td class="num" { (worth(call)) }
        }
    }
}

/// Words from outside may be of any length.
fn short(text: Option<&str>) -> Markup {
    const LONGEST: usize = 60;
    let (text, is_cut) = format::cut(text.unwrap_or("–"), LONGEST);
    html! { (text) @if is_cut { "…" } }
}

fn worth(call: &CallRow) -> String {
    let outcome = call.outcome.as_ref();
    let value = outcome.and_then(|outcome| outcome.value.as_deref());
    let currency = outcome.and_then(|outcome| outcome.currency.as_deref());
    match value {
        Some(value) => format!("{value}\u{a0}{}", currency.unwrap_or_default()),
        None => "–".to_owned(),
    }
}

fn pages(address: &Address, page: &Page<CallRow, RowCursor>) -> Markup {
    html! {
        nav class="pages" aria-label="Pages" {
            @if address.get("cursor").is_some() { a href=(address.clone().without(&["cursor"]).link()) { "First page" } }
            @if let Some(next) = &page.next { a rel="next" href=(address.clone().with("cursor", next.to_string()).link()) { "Next page" } }
        }
    }
}
