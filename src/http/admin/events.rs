//! Events: list, show, raw, replay.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::query::Query;
use crate::connector::VERIFIED_BY;
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::model::EventId;
use crate::processing::{Before, Difference};
use crate::queue::{EventFilter, PageRequest, Queue, QueueError, StoredEvent};
use crate::registry::View;

/// The most events that one replay request takes.
const MOST_REPLAYED: usize = 100_000;
/// The most events that one dry run compares.
const MOST_COMPARED: usize = 1000;

pub(super) async fn list(
    _: Admin,
    request: HttpRequest,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::new(request.query_string(), office.clock.now());
    let filter = filter(&mut query)?;
    let page = query.page()?;
    query.finish()?;
    Ok(HttpResponse::Ok().json(office.queue.events(filter, page).await?))
}

pub(super) fn filter(query: &mut Query) -> Result<EventFilter, ApiError> {
    Ok(EventFilter {
        source: query.take("source", "a source's name")?,
        disposition: query.take(
            "disposition",
            "accepted, mapped, ignored, waiting, unmatched or failed",
        )?,
        event_type: query.take("type", "an event type")?,
        since: query.moment("since")?,
        until: query.moment("until")?,
    })
}

pub(super) async fn show(
    _: Admin,
    path: web::Path<String>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(story(&office, id(&path)?).await?))
}

/// The whole story of one event: summary, trace, outcomes, deliveries with their attempts.
pub(in crate::http) async fn story(office: &Office, id: EventId) -> Result<Value, ApiError> {
    let (summary, trace) = office.queue.event_detail(id).await?;
    let outcomes = office.queue.outcomes_of(id).await?;
    let mut deliveries = Vec::new();
    for view in office.queue.deliveries_of(id).await? {
        let (view, attempts) = office.queue.delivery(view.id).await?;
        let mut delivery = json!(super::deliveries::shown(office, view));
        delivery["history"] = json!(super::deliveries::numbered(attempts));
        deliveries.push(delivery);
    }
    let standings = office.queue.standings_of(id).await?;
    // A body that does not read any more must not hide the story.
    let stored = office.queue.event(id).await;
    let mut headers = stored
        .map_or_else(|_| Vec::new(), |event| event.headers)
        .into_iter();
    let verified_by = headers.find(|(name, _)| name == VERIFIED_BY);
    Ok(json!({
        "event": summary,
        "verified_by": verified_by.map(|(_, told)| told),
        "trace": trace,
        "outcomes": outcomes,
        "truth": standings,
        "deliveries": deliveries,
    }))
}

/// A stored event as a document that `outcome-bridge map` reads back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventDocument {
    /// Always `outcome-bridge/event-1`.
    pub format: String,
    /// Its id.
    pub id: EventId,
    /// Its source.
    pub source: crate::model::SourceName,
    /// When it was received.
    pub received_at: jiff::Timestamp,
    /// Headers kept.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The query string.
    #[serde(default)]
    pub query: String,
    /// The body, when it is UTF-8 text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body in base64, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl EventDocument {
    /// The value of `format`.
    pub const FORMAT: &str = "outcome-bridge/event-1";

    /// The body's bytes.
    ///
    /// # Errors
    /// When `body_base64` is not base64.
    pub fn into_body(self) -> Result<Vec<u8>, base64::DecodeError> {
        match (self.body, self.body_base64) {
            (Some(text), _) => Ok(text.into_bytes()),
            (None, Some(encoded)) => STANDARD.decode(encoded),
            (None, None) => Ok(Vec::new()),
        }
    }
}

impl From<StoredEvent> for EventDocument {
    fn from(event: StoredEvent) -> Self {
        let (body, body_base64) = match String::from_utf8(event.body.to_vec()) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
        };
        Self {
            format: Self::FORMAT.to_owned(),
            id: event.id,
            source: event.source,
            received_at: event.received_at,
            headers: event.headers,
            query: event.query,
            body,
            body_base64,
        }
    }
}

pub(super) async fn raw(
    _: Admin,
    path: web::Path<String>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let event = office.queue.event(id(&path)?).await?;
    Ok(HttpResponse::Ok().json(EventDocument::from(event)))
}

/// Which events to replay: ids, or a filter in the words of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    #[serde(default)]
    ids: Vec<EventId>,
    #[serde(default)]
    filter: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// Runs stored events through the rules that hold now. Targets are told only what changed. A dry run
/// changes nothing and answers the differences.
pub(super) async fn replay(
    _: Admin,
    wanted: web::Json<Replay>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let Replay {
        ids,
        filter,
        dry_run,
    } = wanted.into_inner();
    let ids = match filter {
        Some(text) if ids.is_empty() => matching(&office, &text).await?,
        None if !ids.is_empty() => ids,
        _ => {
            return Err(ApiError::new(
                Code::BadRequest,
                "give either `ids` or `filter` (e.g. \"source=hubspot&disposition=ignored\")",
            ));
        }
    };
    let ids: BTreeSet<EventId> = ids.into_iter().collect();
    super::mappings::refresh(&office)?;
    if dry_run {
        return compare(&office, ids).await;
    }
    let wanted: Vec<EventId> = ids.iter().copied().collect();
    let replayed = office.queue.replay(wanted).await?;
    let missing = if replayed == ids.len() {
        Vec::new()
    } else {
        missing(&office, ids).await?
    };
    Ok(HttpResponse::Accepted().json(json!({ "replayed": replayed, "missing": missing })))
}

/// Those that are not stored: mistyped, or past retention.
async fn missing(office: &Office, ids: BTreeSet<EventId>) -> Result<Vec<EventId>, ApiError> {
    let mut missing = Vec::new();
    for id in ids {
        match office.queue.event_detail(id).await {
            Ok(_) => {}
            Err(QueueError::NotFound(_)) => missing.push(id),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(missing)
}

/// What replaying would change, event by event, oldest first.
async fn compare(office: &Office, ids: BTreeSet<EventId>) -> Result<HttpResponse, ApiError> {
    if ids.len() > MOST_COMPARED {
        return Err(ApiError::new(
            Code::BadRequest,
            format!(
                "{} events; one dry run compares at most {MOST_COMPARED}: ask for some ids at a time, as `outcome-bridge events replay --dry-run` does",
                ids.len()
            ),
        ));
    }
    let (processor, registry) = (office.processor.clone(), office.queue.registry());
    let (queue, now) = (Arc::clone(&office.queue), office.clock.now());
    let runtime = tokio::runtime::Handle::current();
    // Rules and registries take their time: not on a thread that serves sockets. Bodies are large: one at a time.
    let compared = web::block(move || {
        let mut view = View::new(&*registry);
        let (mut count, mut differences, mut missing) = (0, Vec::new(), Vec::new());
        for id in ids {
            let Some((event, before)) = runtime.block_on(as_it_is(&*queue, id))? else {
                missing.push(id);
                continue;
            };
            count += 1;
            let after = processor.process_again(&event, before.trace.as_ref(), now, &mut view)?;
            let changed = Difference::between(id, &before, &after, view.has_news());
            differences.extend(changed);
        }
        Ok::<_, QueueError>((count, differences, missing))
    });
    let (count, differences, missing) = compared
        .await
        .map_err(|error| QueueError::Storage(error.to_string().into()))??;
    Ok(HttpResponse::Ok().json(json!({
        "dry_run": true,
        "events": count,
        "changed": differences.len(),
        "differences": differences,
        "missing": missing,
    })))
}

/// An event and what became of it; nothing when it is not stored.
async fn as_it_is(
    queue: &dyn Queue,
    id: EventId,
) -> Result<Option<(StoredEvent, Before)>, QueueError> {
    let (summary, trace) = match queue.event_detail(id).await {
        Err(QueueError::NotFound(_)) => return Ok(None),
        found => found?,
    };
    let before = Before {
        disposition: summary.disposition,
        reason: summary.reason,
        outcomes: queue.outcomes_of(id).await?,
        trace,
    };
    Ok(Some((queue.event(id).await?, before)))
}

async fn matching(office: &Office, text: &str) -> Result<Vec<EventId>, ApiError> {
    let mut query = Query::new(text, office.clock.now());
    let filter = filter(&mut query)?;
    query.finish()?;
    let mut ids = Vec::new();
    let mut page = PageRequest::first(1000);
    loop {
        let found = office.queue.events(filter.clone(), page).await?;
        ids.extend(found.items.iter().map(|event| event.id));
        if ids.len() > MOST_REPLAYED {
            return Err(ApiError::new(
                Code::BadRequest,
                format!(
                    "the filter matches over {MOST_REPLAYED} events; narrow it with since and until"
                ),
            ));
        }
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(ids),
        }
    }
}

fn id(text: &str) -> Result<EventId, ApiError> {
    text.parse()
        .map_err(|error: crate::model::IdError| ApiError::new(Code::BadRequest, error.to_string()))
}
