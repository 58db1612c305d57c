//! Reading what is committed. Blocks on the disk: called on threads that may block, only.

use std::sync::Arc;

use serde_json::Value;

use crate::clock::Clock;
use crate::model::{
    DeliveryId, DeliveryState, DestinationName, EventId, Mode, Outcome, OutcomeId, SourceName,
};
use crate::queue::registry::Seen;
use crate::queue::{
    Attempt, Claim, DeliveryFilter, DeliveryView, EventFilter, EventSummary, Held, Mark, Page,
    PageRequest, QueueError, Result, Standing, StoredEvent, StoredOutcome,
};
use crate::truth::{self, Revision};

use super::blob;
use super::index::Index;
use super::journal::Segments;
use super::lane_row::LaneRow;
use super::lease::Leases;
use super::row::{DeliveryRow, EventRow, Pointer, Row};
use super::settle::parse_receipt;
use super::shared::Shared;
use super::stage::{decode, read_row, read_sound_row, sound, twice};
use super::tree::{self, Hash16, Tree};
use super::tx::{millis, moment};
use super::watches;

/// Rows that a filtered page looks at before it ends early, with a place to go on from.
const MAX_LOOKED_AT: usize = 100_000;

/// Milliseconds after which a lane is looked at again that cannot be read right now.
const AGAIN_MS: u64 = 1_000;

/// Bytes of bodies after which a page of events to process ends: an import's events have hundreds of thousands each, and what
/// is made of them is larger still.
const LARGEST_PAGE: usize = 1 << 20;

/// Reads committed rows.
#[derive(Debug)]
pub(super) struct Reader {
    pub index: Arc<Index>,
    pub segments: Arc<Segments>,
    pub shared: Arc<Shared>,
    pub leases: Arc<Leases>,
    pub clock: Clock,
}

/// Claims, and deliveries that cannot be handed out because what they bring cannot be read.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    pub claims: Vec<Claim>,
    pub unreadable: Vec<(Hash16, DeliveryId, String)>,
    /// Lanes whose delivery damage took away, with the event to be processed again for it. They stay reserved.
    pub lost: Vec<(Hash16, EventId)>,
}

impl Claimed {
    fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.unreadable.is_empty() && self.lost.is_empty()
    }
}

/// Events to process, and those that cannot be because they do not read.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub events: Vec<StoredEvent>,
    pub unreadable: Vec<(EventId, String)>,
    /// Some of them keep their marks, since they cannot be read right now.
    pub put_off: Option<QueueError>,
}

fn unreadable(what: &'static str) -> impl FnOnce(serde_json::Error) -> QueueError {
    move |error| QueueError::Damaged(format!("unreadable {what}: {error}").into())
}

fn held(revision: &Revision) -> Held {
    Held {
        outcome: revision.outcome,
        kind: revision.kind,
        occurred_at: revision.occurred_at,
        basis: revision.basis,
    }
}

impl Reader {
    fn row<R: Row>(&self, tree: Tree, key: &[u8]) -> Result<Option<R>> {
        Ok(twice(|| read_row(&self.index, &self.segments, tree, key))?)
    }

    fn sound_row<R: Row>(&self, tree: Tree, key: &[u8]) -> Result<Option<R>> {
        Ok(read_sound_row(&self.index, &self.segments, tree, key)?)
    }

    fn event_row(&self, id: EventId) -> Result<EventRow> {
        self.row(Tree::Event, &tree::event(id))?
            .ok_or_else(|| QueueError::NotFound(format!("event {id}")))
    }

    /// As it is read without looking at its mark.
    pub(super) fn event(&self, id: EventId) -> Result<StoredEvent> {
        // The row and its body are two looks, too.
        let (row, request) = twice(|| {
            let row: Option<EventRow> =
                read_row(&self.index, &self.segments, Tree::Event, &tree::event(id))?;
            let Some(row) = row else {
                return Ok(None);
            };
            let request = blob::request(self.segments.read(&row.body)?)?;
            Ok(Some((row, request)))
        })?
        .ok_or_else(|| QueueError::NotFound(format!("event {id}")))?;
        Ok(StoredEvent {
            id,
            source: source(&row)?,
            received_at: row.received_at,
            event_type: row.event_type,
            headers: request.headers,
            query: request.query,
            body: request.body,
            mark: Mark::default(),
        })
    }

    pub(super) fn unprocessed(&self, after: Option<EventId>, limit: usize) -> Result<Waiting> {
        let from = after.map_or(0, |id| id.0.saturating_add(1));
        // Before everything else that is read now or later.
        let change = self.shared.visible();
        let todo = self
            .index
            .range(Tree::Todo, &tree::event(EventId(from)), &[]);
        let mut waiting = Waiting::default();
        let mut bytes = 0;
        for entry in todo {
            if waiting.events.len() >= limit || bytes >= LARGEST_PAGE {
                break;
            }
            let (key, value) = entry?;
            let id = tree::event_of(&key)?;
            let mark = watches::mark_number(&value)?;
            match self.event(id) {
                Ok(event) => {
                    bytes += event.body.len();
                    waiting.events.push(StoredEvent {
                        mark: Mark(Some(Seen { mark, change })),
                        ..event
                    });
                }
                // Settled and pruned while we looked.
                Err(QueueError::NotFound(_)) => {}
                // One event that does not read must not stop the others.
                Err(QueueError::Damaged(why)) => waiting.unreadable.push((id, why.to_string())),
                Err(error @ QueueError::Busy(_)) => waiting.put_off = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(waiting)
    }

    pub(super) fn detail(&self, id: EventId) -> Result<(EventSummary, Option<Value>)> {
        let row = self.event_row(id)?;
        let trace = row
            .trace
            .map(|pointer| {
                let json = self.segments.read(&pointer)?;
                serde_json::from_slice(&json).map_err(unreadable("trace"))
            })
            .transpose()?;
        Ok((summary(id, row)?, trace))
    }

    pub(super) fn outcomes_of(&self, event: EventId) -> Result<Vec<StoredOutcome>> {
        let row = self.event_row(event)?;
        let with_ids = row.outcomes.iter().zip(0u16..);
        with_ids
            .filter_map(|(pointer, ordinal)| {
                let id = OutcomeId { event, ordinal };
                self.outcome(id, pointer).transpose()
            })
            .collect()
    }

    pub(super) fn standings_of(&self, event: EventId) -> Result<Vec<Standing>> {
        let mut standings = Vec::new();
        for key in self.event_row(event)?.lanes {
            let Some(lane) = self.sound_row::<LaneRow>(Tree::Lane, &key)? else {
                continue;
            };
            // A lane that delivers each revision has no truth of its own.
            if lane.mode == Mode::Each {
                continue;
            }
            let (without, with, why) =
                truth::influence(&lane.entries, event, lane.rules.precedence);
            standings.push(Standing {
                destination: destination(&lane.destination)?,
                target: lane.target,
                without: without.as_ref().map(held),
                with: with.as_ref().map(held),
                why,
            });
        }
        Ok(standings)
    }

    /// The outcome of this number, if there is one.
    fn outcome(&self, id: OutcomeId, pointer: &Pointer) -> Result<Option<StoredOutcome>> {
        let json = self.segments.read(pointer)?;
        let outcome: Option<Outcome> =
            serde_json::from_slice(&json).map_err(unreadable("outcome"))?;
        Ok(outcome.map(|outcome| StoredOutcome { id, outcome }))
    }

    pub(super) fn events(
        &self,
        filter: &EventFilter,
        page: PageRequest<EventId>,
    ) -> Result<Page<EventSummary, EventId>> {
        let end = page.after.map(tree::event);
        let end = end.as_ref().map_or(&[][..], |key| &key[..]);
        let rows = self.index.range(Tree::Event, &[], end).rev();
        paged(rows, page.limit, |key, value| {
            let id = tree::event_of(key)?;
            let row = decode(value, &self.segments).map(Some);
            let row: Option<EventRow> = sound(Tree::Event, key, row)?;
            let item = row.filter(|row| wants_event(filter, row));
            Ok((id, item.map(|row| summary(id, row)).transpose()?))
        })
    }

    pub(super) fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: PageRequest<DeliveryId>,
    ) -> Result<Page<DeliveryView, DeliveryId>> {
        let tree = match filter.state {
            Some(DeliveryState::DeadLetter) => Tree::Dead,
            _ => Tree::Delivery,
        };
        let start = filter.event.map(tree::event);
        let start = start.as_ref().map_or(&[][..], |key| &key[..]);
        let next_event = filter
            .event
            .and_then(|event| event.0.checked_add(1))
            .map(|next| tree::event(EventId(next)).to_vec());
        let after = page.after.map(|id| tree::delivery(id).to_vec());
        let end = match (after, next_event) {
            (Some(a), Some(b)) => a.min(b),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Vec::new(),
        };
        let rows = self.index.range(tree, start, &end).rev();
        paged(rows, page.limit, |key, value| {
            let id = tree::delivery_of(key)?;
            let row = match tree {
                Tree::Dead => self.sound_row(Tree::Delivery, key)?,
                _ => sound(tree, key, decode(value, &self.segments).map(Some))?,
            };
            let view = row
                .map(|row| self.wanted_view(filter, id, row))
                .transpose()?;
            Ok((id, view.flatten()))
        })
    }

    fn wanted_view(
        &self,
        filter: &DeliveryFilter,
        id: DeliveryId,
        row: DeliveryRow,
    ) -> Result<Option<DeliveryView>> {
        let destination = filter.destination.as_ref();
        let wanted = destination.is_none_or(|name| name.as_str() == row.destination)
            && filter.since.is_none_or(|since| row.created_at >= since)
            && filter.until.is_none_or(|until| row.created_at < until);
        if !wanted {
            return Ok(None);
        }
        let view = self.view(id, row)?;
        let wanted = filter.state.is_none_or(|state| state == view.state);
        Ok(wanted.then_some(view))
    }

    fn view(&self, id: DeliveryId, row: DeliveryRow) -> Result<DeliveryView> {
        let lane: Option<LaneRow> = self.sound_row(Tree::Lane, &row.lane)?;
        let furthest = lane.as_ref().and_then(LaneRow::furthest);
        let in_flight = row.state.is_open() && self.leases.is_in_flight(&row.lane, id);
        Ok(DeliveryView {
            id,
            event: id.event,
            outcome: row.outcome.map(|(outcome, _)| outcome),
            kind: row.outcome.map(|(_, kind)| kind),
            destination: destination(&row.destination)?,
            target: lane.map(|lane| lane.target).unwrap_or_default(),
            state: if in_flight {
                DeliveryState::InFlight
            } else {
                row.state
            },
            reason: row.reason,
            attempts: row.attempts,
            created_at: row.created_at,
            due_at: row.state.is_open().then(|| moment(row.due_ms)),
            changed_at: row.changed_at,
            furthest,
        })
    }

    pub(super) fn delivery(&self, id: DeliveryId) -> Result<(DeliveryView, Vec<Attempt>)> {
        let row: DeliveryRow = self
            .row(Tree::Delivery, &tree::delivery(id))?
            .ok_or_else(|| QueueError::NotFound(format!("delivery {id}")))?;
        let attempts = row
            .tried
            .iter()
            .map(|pointer| {
                let json = self.segments.read(pointer)?;
                serde_json::from_slice(&json).map_err(unreadable("attempt"))
            })
            .collect::<Result<_>>()?;
        Ok((self.view(id, row)?, attempts))
    }

    pub(super) fn deliveries_of(&self, event: EventId) -> Result<Vec<DeliveryView>> {
        self.event_row(event)?;
        let rows = self.index.prefix(Tree::Delivery, &tree::event(event));
        let mut views = Vec::new();
        for row in rows {
            let (key, value) = row?;
            let row = decode(&value, &self.segments).map(Some);
            if let Some(row) = sound(Tree::Delivery, &key, row)? {
                views.push(self.view(tree::delivery_of(&key)?, row)?);
            }
        }
        Ok(views)
    }

    /// Events older than `before`, oldest first, at most `limit` after `after`.
    pub(super) fn older_than(
        &self,
        before: EventId,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<EventId>> {
        let from = tree::event(EventId(after.map_or(0, |id| id.0.saturating_add(1))));
        let rows = self.index.range(Tree::Event, &from, &tree::event(before));
        rows.take(limit)
            .map(|row| Ok(tree::event_of(&row?.0)?))
            .collect()
    }

    /// Hands out due lanes of `destination`, oldest due first.
    pub(super) fn claim(&self, destination: &DestinationName, limit: usize) -> Result<Claimed> {
        let name = destination.as_str();
        let mark = self.shared.due_mark(name);
        let mut claimed = Claimed::default();
        let next_ms = match self.claim_lanes(destination, limit, &mut claimed) {
            // What was reserved already must reach somebody.
            Err(QueueError::Busy(_)) if !claimed.is_empty() => Some(self.clock.now_millis()),
            looked => looked?,
        };
        self.shared.set_next_due(name, mark, next_ms);
        Ok(claimed)
    }

    /// Goes through the due lanes. Answers when to look again.
    fn claim_lanes(
        &self,
        destination: &DestinationName,
        limit: usize,
        claimed: &mut Claimed,
    ) -> Result<Option<u64>> {
        let name = destination.as_str();
        let now_ms = self.clock.now_millis();
        let mut again_ms = None;
        for entry in self.index.prefix(Tree::Due, &tree::due_prefix(name)) {
            let (key, _) = entry?;
            let (_, due_ms, lane) = tree::due_of(&key)?;
            if due_ms > now_ms || claimed.claims.len() >= limit {
                return Ok(Some(
                    again_ms.map_or(due_ms, |again_ms: u64| again_ms.min(due_ms)),
                ));
            }
            if !self.leases.reserve(lane) {
                continue;
            }
            // One lane that does not read must not stop the others.
            match self.claim_lane(destination, &lane, due_ms, claimed) {
                Ok(()) => {}
                Err(QueueError::Busy(_)) => {
                    self.leases.free(&lane);
                    again_ms = Some(now_ms + AGAIN_MS);
                }
                // It stays reserved: looking again would only find the same.
                Err(QueueError::Damaged(why)) => {
                    let lane = hex::encode(lane);
                    tracing::error!(%why, lane, destination = name, "queue.lane_damaged");
                }
                Err(error) => {
                    self.leases.free(&lane);
                    return Err(error);
                }
            }
        }
        Ok(again_ms)
    }

    /// Looks at a reserved lane, which nobody else can hand out now.
    fn claim_lane(
        &self,
        destination: &DestinationName,
        key: &Hash16,
        due_ms: u64,
        claimed: &mut Claimed,
    ) -> Result<()> {
        let lane: Option<LaneRow> = self.row(Tree::Lane, key)?;
        // The due time may be from before a commit that finished since.
        let Some((lane, open)) = lane.and_then(|lane| {
            let open = lane.open.filter(|open| open.due_ms == due_ms)?;
            Some((lane, open))
        }) else {
            self.leases.free(key);
            return Ok(());
        };
        let delivery_key = tree::delivery(open.delivery);
        let Some(row) = self.sound_row::<DeliveryRow>(Tree::Delivery, &delivery_key)? else {
            let event = lane.teller(open.delivery);
            if self.index.get(Tree::Todo, &tree::event(event))?.is_some() {
                // It is about to be processed again.
                self.leases.free(key);
            } else {
                claimed.lost.push((*key, event));
            }
            return Ok(());
        };
        let furthest = lane.furthest();
        let content = self
            .content(row.outcome.map(|(outcome, _)| outcome))
            .and_then(|outcome| Ok((outcome, parse_receipt(&lane.receipt)?)));
        let why = match content {
            Ok((outcome, receipt)) => {
                self.leases.grant(*key, open.delivery);
                claimed.claims.push(Claim {
                    delivery: open.delivery,
                    destination: destination.clone(),
                    target: lane.target,
                    outcome,
                    furthest,
                    attempts: row.attempts,
                    answered: row.answered,
                    created_at: row.created_at,
                    expires_at: moment(row.expires_ms),
                    receipt,
                });
                return Ok(());
            }
            Err(QueueError::Damaged(why)) => why.to_string(),
            Err(QueueError::NotFound(what)) => format!("there is no {what}"),
            // It is not what is brought that is at fault.
            Err(error) => return Err(error),
        };
        self.leases.grant(*key, open.delivery);
        let reason = format!("it cannot be read: {why}");
        claimed.unreadable.push((*key, open.delivery, reason));
        Ok(())
    }

    fn content(&self, outcome: Option<OutcomeId>) -> Result<Option<StoredOutcome>> {
        let Some(id) = outcome else {
            return Ok(None);
        };
        let read = || {
            let row = self.event_row(id.event)?;
            let pointer = row.outcomes.get(usize::from(id.ordinal));
            let outcome = pointer.map(|pointer| self.outcome(id, pointer));
            let outcome = outcome.transpose()?.flatten();
            outcome
                .map(Some)
                .ok_or_else(|| QueueError::NotFound(format!("outcome {id}")))
        };
        match read() {
            // It may have been carried forward meanwhile, see `twice`.
            Err(QueueError::Damaged(_)) => read(),
            read => read,
        }
    }
}

fn source(row: &EventRow) -> Result<SourceName> {
    SourceName::new(&row.source).map_err(|error| QueueError::Storage(error.to_string().into()))
}

fn destination(name: &str) -> Result<DestinationName> {
    DestinationName::new(name).map_err(|error| QueueError::Storage(error.to_string().into()))
}

fn summary(id: EventId, row: EventRow) -> Result<EventSummary> {
    Ok(EventSummary {
        id,
        source: source(&row)?,
        received_at: row.received_at,
        event_type: row.event_type,
        disposition: row.disposition,
        reason: row.reason,
        duplicates: row.duplicates,
        body_bytes: row.body_bytes,
    })
}

fn wants_event(filter: &EventFilter, row: &EventRow) -> bool {
    let source = filter.source.as_ref().map(SourceName::as_str);
    source.is_none_or(|source| source == row.source)
        && filter.disposition.is_none_or(|d| d == row.disposition)
        && (filter.event_type.is_none() || filter.event_type == row.event_type)
        && filter.since.is_none_or(|since| row.received_at >= since)
        && filter.until.is_none_or(|until| row.received_at < until)
}

/// Collects a page. It ends early after many rows that nobody wants, and says where to go on.
fn paged<T, C: Copy, K: AsRef<[u8]>, E: Into<QueueError>>(
    rows: impl Iterator<Item = std::result::Result<(K, K), E>>,
    limit: usize,
    read: impl Fn(&[u8], &[u8]) -> Result<(C, Option<T>)>,
) -> Result<Page<T, C>> {
    let mut page = Page {
        items: Vec::new(),
        next: None,
    };
    let mut last = None;
    for (looked_at, row) in rows.enumerate() {
        if page.items.len() >= limit || looked_at >= MAX_LOOKED_AT {
            page.next = last;
            break;
        }
        let (key, value) = row.map_err(Into::into)?;
        let (cursor, item) = read(key.as_ref(), value.as_ref())?;
        page.items.extend(item);
        last = Some(cursor);
    }
    Ok(page)
}

/// The smallest event id that may have been given out at `before`.
pub(super) fn first_id(before: jiff::Timestamp) -> EventId {
    EventId::first_at(millis(before))
}
