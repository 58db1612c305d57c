//! The performance page: how calls do, over time, compared with each other and with the period before.
//!
//! It asks the store the very questions that the analytics API asks, from the very parameters, so that page and API tell
//! the same; and every number leads to the list of the calls that it counts.

mod breakdown;
mod controls;
mod conversion;
mod empty;
mod funnel;
mod groups;
mod outcomes;
mod overview;
mod timeline;

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use maud::{Markup, html};

use super::address::Address;
use super::format;
use super::layout::{self, Visitor};
use crate::http::admin::{Query, analytics};
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::store::{
    Attribution, Behind, Breakdown, Condition, Conversion, Delay, Funnel, Group, Period, Report,
    Split, Store,
};

pub(super) use groups::change;

pub(super) const PATH: &str = "/console/performance";
/// Longer periods are shown by week when nothing else is asked for.
const MOST_DAYS: i64 = 100;

/// What the page was asked.
struct Asked {
    address: Address,
    scope: analytics::Scope,
    groups: Vec<Group>,
    goal: analytics::Goal,
    split: Split,
    /// Shares of the calls instead of counts.
    shares: bool,
    now: Timestamp,
}

/// What the store answered.
struct Answers {
    report: Report,
    funnel: Funnel,
    conversion: Conversion,
    delay: Delay,
    lines: Vec<Breakdown>,
    /// Agents and labels of the period, to choose from.
    agents: Vec<Breakdown>,
    labels: Vec<Breakdown>,
}

impl Asked {
    fn read(address: Address, now: Timestamp) -> Result<Self, ApiError> {
        let asked = Self::parse(address, now)?;
        let days = asked
            .scope
            .period
            .to
            .duration_since(asked.scope.period.from)
            .as_hours()
            / 24;
        if asked.address.get("by").is_some() || days <= MOST_DAYS {
            return Ok(asked);
        }
        Self::parse(asked.address.with("by", "week"), now)
    }

    fn parse(address: Address, now: Timestamp) -> Result<Self, ApiError> {
        let mut query = Query::new(&address.query(), now);
        let shares = match query.take::<String>("show", "calls or share")?.as_deref() {
            None | Some("calls") => false,
            Some("share") => true,
            Some(_) => return Err(bad("`show` may be calls or share")),
        };
        let split = query
            .take("split", analytics::SPLITS)?
            .unwrap_or(Split::Agent);
        let goal = analytics::goal(&mut query, now)?;
        let scope = analytics::scope(&mut query, now)?;
        let groups = analytics::groups(&mut query, &scope)?;
        query.finish()?;
        Ok(Self {
            address,
            scope,
            groups,
            goal,
            split,
            shares,
            now,
        })
    }

    async fn answers(&self, store: &Store) -> Result<Answers, ApiError> {
        let analytics::Scope {
            condition,
            period,
            calendar,
            attribution,
        } = &self.scope;
        let (everything, recorded) = (Condition::default(), Attribution::Recorded);
        let (report, funnel, conversion, delay, lines, agents, labels) = futures_util::try_join!(
            store.report(
                condition,
                &self.groups,
                *attribution,
                (*period, calendar),
                true
            ),
            store.funnel(condition, *period),
            store.conversion(
                condition,
                &self.goal.wanted,
                *attribution,
                *period,
                self.goal.mature_until
            ),
            store.delay(condition, *period),
            store.breakdown(condition, &self.split, *attribution, *period),
            store.breakdown(&everything, &Split::Agent, recorded, *period),
            store.breakdown(&everything, &Split::Label, recorded, *period),
        )
        .map_err(analytics::unanswered)?;
        Ok(Answers {
            report,
            funnel,
            conversion,
            delay,
            lines,
            agents,
            labels,
        })
    }

    /// The list of the calls behind a number.
    fn calls(&self, behind: &Behind, period: Period) -> String {
        super::calls::behind(self.address.get("zone"), behind, period)
    }

    /// A number that leads to its calls, unless there are none.
    fn number(&self, calls: i64, behind: &Behind, period: Period) -> Markup {
        html! {
            @if calls == 0 { "0" } @else {
                a href=(self.calls(behind, period)) { (format::count(calls)) }
            }
        }
    }

    /// The calls of the scope that belong to a condition.
    fn behind(&self, condition: &Condition, attribution: Attribution) -> Behind {
        Behind::of(&self.scope.condition, condition, attribution)
    }

    fn days(&self) -> String {
        format::days(self.scope.period, &self.scope.calendar.zone)
    }
}

pub(super) async fn show(
    visitor: Visitor,
    request: HttpRequest,
    office: web::Data<Office>,
) -> HttpResponse {
    match page(&request, &office).await {
        Ok(content) => layout::page(&visitor, "Performance", &content),
        Err(error) => layout::failure(&visitor, &error),
    }
}

async fn page(request: &HttpRequest, office: &Office) -> Result<Markup, ApiError> {
    let Some(store) = &office.store else {
        return Ok(empty::turned_off());
    };
    let address = Address::read(PATH, request.query_string());
    let asked = Asked::read(address, office.clock.now())?;
    let answers = asked.answers(store).await?;
    if answers.report.all.tally.calls == 0 && answers.report.with_outcome.tally.calls == 0 {
        return empty::page(&asked, &answers, store).await;
    }
    Ok(html! {
        (heading(&asked))
        (controls::controls(&asked, &answers))
        (overview::tiles(&asked, &answers))
        (outcomes::section(&asked, &answers))
        (groups::editor(&asked, &answers))
        (timeline::section(&asked, &answers))
        div class="pair" {
            (funnel::section(&asked, &answers))
            (conversion::section(&asked, &answers))
        }
        (breakdown::section(&asked, &answers))
        p class="hint" {
            "The same numbers as JSON: "
            a href=(api(&asked, "report")) { "report" } ", "
            a href=(api(&asked, "funnel")) { "funnel" } ", "
            a href=(api(&asked, "conversion")) { "conversion" } ", "
            a href=(api(&asked, "delay")) { "time to outcome" } ", "
            a href=(api(&asked, "breakdown")) { "breakdown" } "."
        }
    })
}

fn heading(asked: &Asked) -> Markup {
    let zone = asked.address.get("zone").unwrap_or("UTC");
    html! {
        h1 { "Performance" }
        p class="hint" { (asked.days()) ", days of " (zone) }
    }
}

/// The question of the API that a part of the page is the answer to.
fn api(asked: &Asked, question: &str) -> String {
    let mut address = asked.address.clone().without(&["show"]);
    if question != "conversion" {
        address = address.without(&["to_what", "mature_after"]);
    }
    address = match question {
        "report" => address.with("compare", "previous"),
        _ => address.without(&["groups"]),
    };
    address = match question {
        "breakdown" if address.get("split").is_none() => address.with("split", "agent"),
        "breakdown" => address,
        _ => address.without(&["split"]),
    };
    let is_by_metadata = question == "breakdown" && matches!(asked.split, Split::Metadata(_));
    if is_by_metadata || ["funnel", "delay"].contains(&question) {
        // They are of the calls themselves, whatever is credited to them.
        address = address.without(&["attribution"]);
    }
    format!("/admin/v1/analytics/{question}?{}", address.query())
}

fn bad(detail: &str) -> ApiError {
    ApiError::new(Code::BadRequest, detail)
}
