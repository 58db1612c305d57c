//! Questions about many calls. All take the same scope, so that any number can be asked for its calls.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, ToSpan};
use serde::Serialize;
use serde_json::json;

use super::outcomes::store;
use super::query::Query;
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::store::{Attribution, Calendar, Condition, Group, Period, Split, Step, StoreError};

/// What a breakdown may go by.
pub(in crate::http) const SPLITS: &str =
    "agent, platform, direction, source, kind, label, basis or metadata.KEY";
/// Values of metadata that one question asks for at most.
const MOST_TAGS: usize = 8;
/// Groups of one report at most.
pub(in crate::http) const MOST_GROUPS: usize = 20;
/// How old calls are that count as having had their time.
const MATURE_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The period that is asked about when none is given, in days.
const DAYS: i64 = 30;

/// What every question says.
pub(in crate::http) struct Scope {
    pub(in crate::http) condition: Condition,
    pub(in crate::http) period: Period,
    pub(in crate::http) calendar: Calendar,
    pub(in crate::http) attribution: Attribution,
}

/// Takes the scope out of a query.
pub(in crate::http) fn scope(query: &mut Query, now: Timestamp) -> Result<Scope, ApiError> {
    let zone = zone(query)?;
    let week_start = weekday(query)?;
    let step = match query.take::<String>("by", "day, week or none")?.as_deref() {
        None | Some("day") => Step::Day,
        Some("week") => Step::Week(week_start),
        Some("none") => Step::Whole,
        Some(other) => {
            return Err(bad(format!(
                "`by` is `{}`, expected day, week or none",
                other.escape_debug()
            )));
        }
    };
    let calendar = Calendar { zone, step };
    let condition = condition(query)?;
    let attribution = query
        .take("attribution", "recorded, first or last")?
        .unwrap_or_default();
    check_attribution(&condition, attribution)?;
    Ok(Scope {
        condition,
        period: period(query, &calendar, now)?,
        calendar,
        attribution,
    })
}

/// Takes the time zone out of a query; UTC when none is given.
pub(in crate::http) fn zone(query: &mut Query) -> Result<TimeZone, ApiError> {
    let Some(name) = query.take::<String>("zone", "a time zone")? else {
        return Ok(TimeZone::UTC);
    };
    TimeZone::get(&name).map_err(|_unknown| {
        bad(format!(
            "`zone` is `{}`, expected the name of a time zone, such as Europe/Berlin",
            name.escape_debug()
        ))
    })
}

/// From the first day to the last one, or between two moments.
fn period(query: &mut Query, calendar: &Calendar, now: Timestamp) -> Result<Period, ApiError> {
    let mut end = |name: &'static str, days_after: i64| -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = query.take::<String>(name, "a day or a moment")? else {
            return Ok(None);
        };
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Some(at));
        }
        let day = text
            .parse::<Date>()
            .and_then(|day| day.checked_add(days_after.days()))
            .map_err(|_unreadable| {
                bad(format!(
                    "`{name}` is `{}`, expected a day (2026-05-06) or a moment (2026-05-06T16:10:00Z)",
                    text.escape_debug()
                ))
            })?;
        calendar
            .start_of(day)
            .map(Some)
            .map_err(|error| bad(error.to_string()))
    };
    let (from, to) = (end("from", 0)?, end("to", 1)?);
    let to = to.unwrap_or(now);
    let from = match from {
        Some(from) => from,
        None => {
            let day = calendar
                .zone
                .to_datetime(to)
                .date()
                .checked_sub(DAYS.days());
            let day = day.map_err(|_beyond| bad("`from` is missing"))?;
            calendar
                .start_of(day)
                .map_err(|error| bad(error.to_string()))?
        }
    };
    if from >= to {
        return Err(bad(
            "the period ends before it begins: `from` must be before `to`",
        ));
    }
    Ok(Period { from, to })
}

fn weekday(query: &mut Query) -> Result<Weekday, ApiError> {
    Ok(
        match query
            .take::<String>("week_start", "a day of the week")?
            .as_deref()
        {
            None | Some("monday") => Weekday::Monday,
            Some("tuesday") => Weekday::Tuesday,
            Some("wednesday") => Weekday::Wednesday,
            Some("thursday") => Weekday::Thursday,
            Some("friday") => Weekday::Friday,
            Some("saturday") => Weekday::Saturday,
            Some("sunday") => Weekday::Sunday,
            Some(other) => {
                return Err(bad(format!(
                    "`week_start` is `{}`, expected a day such as monday",
                    other.escape_debug()
                )));
            }
        },
    )
}

/// `where` as JSON, or single parameters; several values of one parameter with commas, except labels.
fn condition(query: &mut Query) -> Result<Condition, ApiError> {
    let mut condition: Condition = match query.take::<String>("where", "a JSON object")? {
        None => Condition::default(),
        Some(text) => read_json(&text, "where")?,
    };
    for (name, list) in [
        ("agent", &mut condition.agents),
        ("platform", &mut condition.platforms),
        ("direction", &mut condition.directions),
        ("source", &mut condition.sources),
        ("kind", &mut condition.kinds),
        ("currency", &mut condition.currencies),
        ("basis", &mut condition.bases),
    ] {
        if let Some(text) = query.take::<String>(name, "a list")? {
            list.extend(values(&text));
        }
    }
    condition
        .labels
        .extend(query.take::<String>("label", "a label")?);
    if let Some(text) = query.take::<String>("metadata", "KEY=VALUE")? {
        condition.metadata = Some(text);
    }
    check(&condition)?;
    Ok(condition)
}

/// Values with commas between them; or a JSON list of texts, for values that have commas themselves.
fn values(text: &str) -> Vec<String> {
    let listed = text.starts_with('[').then(|| serde_json::from_str(text));
    if let Some(Ok(list)) = listed {
        return list;
    }
    text.split(',')
        .map(|value| value.trim().to_owned())
        .collect()
}

fn check(condition: &Condition) -> Result<(), ApiError> {
    let metadata = condition.metadata();
    if metadata.iter().any(|text| !text.contains('=')) {
        return Err(bad("`metadata` must be KEY=VALUE"));
    }
    if metadata.len() > MOST_TAGS {
        return Err(bad(format!(
            "at most {MOST_TAGS} values of metadata can be asked for at a time"
        )));
    }
    Ok(())
}

/// Metadata is known of the call that an outcome was recorded for, not of those that it may be credited to.
fn check_attribution(condition: &Condition, attribution: Attribution) -> Result<(), ApiError> {
    if attribution != Attribution::Recorded && !condition.metadata().is_empty() {
        return Err(bad(
            "`metadata` and `attribution` cannot be asked for together",
        ));
    }
    Ok(())
}

/// An answer with the attribution that holds for it: some questions are of the calls themselves, whatever is credited to
/// them, and say so.
#[derive(Serialize)]
struct Attributed<T> {
    #[serde(flatten)]
    answer: T,
    attribution: Attribution,
}

fn as_recorded<T>(answer: T) -> Attributed<T> {
    Attributed {
        answer,
        attribution: Attribution::Recorded,
    }
}

/// Takes the groups out of a query.
pub(in crate::http) fn groups(query: &mut Query, scope: &Scope) -> Result<Vec<Group>, ApiError> {
    let Some(text) = query.take::<String>("groups", "a JSON list")? else {
        return Ok(Vec::new());
    };
    let groups: Vec<Group> = read_json(&text, "groups")?;
    if groups.len() > MOST_GROUPS {
        return Err(bad(format!("at most {MOST_GROUPS} groups")));
    }
    for group in &groups {
        check(&scope.condition.with(&group.condition))?;
        check_attribution(&group.condition, scope.attribution)?;
    }
    Ok(groups)
}

/// What a conversion asks for besides the scope: what calls should come to, and which are too young to tell.
pub(in crate::http) struct Goal {
    pub(in crate::http) wanted: Condition,
    pub(in crate::http) mature_until: Timestamp,
}

/// Takes the goal out of a query.
pub(in crate::http) fn goal(query: &mut Query, now: Timestamp) -> Result<Goal, ApiError> {
    let wanted: Condition = match query.take::<String>("to_what", "a JSON object")? {
        Some(text) => read_json(&text, "to_what")?,
        None => Condition {
            kinds: vec!["closed".to_owned()],
            ..Condition::default()
        },
    };
    if !wanted.metadata().is_empty() || wanted.is_timed() {
        return Err(bad(
            "`to_what` can ask neither for metadata nor for `timed`; put it into the scope",
        ));
    }
    let mature = match query.take::<Length>("mature_after", "a span, such as 7d or 48h")? {
        Some(Length(span)) if span.is_negative() => {
            return Err(bad("`mature_after` must not be negative"));
        }
        Some(Length(span)) => span,
        None => MATURE_AFTER,
    };
    Ok(Goal {
        wanted,
        mature_until: now.checked_sub(mature).unwrap_or(Timestamp::MIN),
    })
}

/// A span of time, such as `7d` or `48h`. A day has 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Length(SignedDuration);

impl std::str::FromStr for Length {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span: Span = text.parse()?;
        span.to_duration(SpanRelativeTo::days_are_24_hours())
            .map(Self)
    }
}

fn read_json<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> Result<T, ApiError> {
    serde_json::from_str(text).map_err(|error| bad(format!("`{name}` is not as expected: {error}")))
}

pub(super) async fn report(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let (mut query, now) = begin(&request, &office);
    let scope = scope(&mut query, now)?;
    let groups = groups(&mut query, &scope)?;
    let compared = match query.take::<String>("compare", "previous")?.as_deref() {
        None => false,
        Some("previous") => true,
        Some(_) => return Err(bad("`compare` may be previous")),
    };
    query.finish()?;
    let when = (scope.period, &scope.calendar);
    answer(
        store(&office)?
            .report(&scope.condition, &groups, scope.attribution, when, compared)
            .await,
    )
}

pub(super) async fn breakdown(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let (mut query, now) = begin(&request, &office);
    let split: Split = query
        .take("split", SPLITS)?
        .ok_or_else(|| bad(format!("`split` is missing, expected {SPLITS}")))?;
    let scope = scope(&mut query, now)?;
    query.finish()?;
    let attribution = match split {
        Split::Metadata(_) => Attribution::Recorded,
        _ => scope.attribution,
    };
    let lines = store(&office)?
        .breakdown(&scope.condition, &split, attribution, scope.period)
        .await;
    answer(
        lines.map(
            |items| json!({ "period": scope.period, "attribution": attribution, "items": items }),
        ),
    )
}

pub(super) async fn conversion(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let (mut query, now) = begin(&request, &office);
    let goal = goal(&mut query, now)?;
    let scope = scope(&mut query, now)?;
    query.finish()?;
    answer(
        store(&office)?
            .conversion(
                &scope.condition,
                &goal.wanted,
                scope.attribution,
                scope.period,
                goal.mature_until,
            )
            .await,
    )
}

pub(super) async fn funnel(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let (mut query, now) = begin(&request, &office);
    let scope = scope(&mut query, now)?;
    query.finish()?;
    let funnel = store(&office)?.funnel(&scope.condition, scope.period).await;
    answer(funnel.map(as_recorded))
}

pub(super) async fn delay(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let (mut query, now) = begin(&request, &office);
    let scope = scope(&mut query, now)?;
    query.finish()?;
    let delay = store(&office)?.delay(&scope.condition, scope.period).await;
    answer(delay.map(as_recorded))
}

pub(super) async fn calls(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let (mut query, now) = begin(&request, &office);
    let scope = scope(&mut query, now)?;
    let page = query.page()?;
    query.finish()?;
    answer(
        store(&office)?
            .calls_behind(&scope.condition, scope.attribution, scope.period, page)
            .await,
    )
}

fn begin(request: &HttpRequest, office: &Office) -> (Query, Timestamp) {
    let now = office.clock.now();
    (Query::new(request.query_string(), now), now)
}

fn answer<T: Serialize>(result: Result<T, StoreError>) -> Result<HttpResponse, ApiError> {
    result
        .map(|answer| HttpResponse::Ok().json(answer))
        .map_err(unanswered)
}

/// Why a question could not be answered.
pub(in crate::http) fn unanswered(error: StoreError) -> ApiError {
    match error {
        StoreError::Period(error) => bad(error.to_string()),
        error => error.into(),
    }
}

fn bad(detail: impl Into<String>) -> ApiError {
    ApiError::new(Code::BadRequest, detail)
}
