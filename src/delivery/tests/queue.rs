//! A small queue in memory: enough of the contract for workers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::model::{DeliveryId, DestinationName, EventId, OutcomeId, OutcomeKind};
use crate::queue::*;

struct Item {
    claim: Claim,
    due_at: Timestamp,
    open: bool,
}

#[derive(Default)]
struct State {
    items: BTreeMap<DeliveryId, Item>,
    in_flight: BTreeSet<(DestinationName, String)>,
    settled: Vec<(DeliveryId, Settlement)>,
    claim_errors: VecDeque<QueueError>,
    settle_errors: VecDeque<QueueError>,
}

pub(super) struct FakeQueue {
    clock: Clock,
    state: Mutex<State>,
    due: Arc<Notify>,
    settled: Notify,
}

impl FakeQueue {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            state: Mutex::default(),
            due: Arc::new(Notify::new()),
            settled: Notify::new(),
        })
    }

    /// Adds a delivery with an outcome, due now, with an hour to live.
    pub(super) fn add(&self, destination: &str, target: &str) -> DeliveryId {
        self.add_with(destination, target, |_claim| {})
    }

    pub(super) fn add_with(
        &self,
        destination: &str,
        target: &str,
        change: impl FnOnce(&mut Claim),
    ) -> DeliveryId {
        let now = self.clock.now();
        let id = {
            let mut state = self.state.lock().unwrap();
            let event = EventId(state.items.len() as u64 + 1);
            let delivery = DeliveryId { event, ordinal: 0 };
            let mut claim = Claim {
                delivery,
                destination: DestinationName::new(destination).unwrap(),
                target: target.to_owned(),
                outcome: Some(stored_outcome(event, OutcomeKind::Closed, now)),
                furthest: Some(OutcomeKind::Closed),
                attempts: 0,
                answered: None,
                created_at: now,
                expires_at: now + SignedDuration::from_hours(1),
                receipt: Map::new(),
            };
            change(&mut claim);
            let item = Item {
                claim,
                due_at: now,
                open: true,
            };
            state.items.insert(delivery, item);
            delivery
        };
        self.due.notify_waiters();
        id
    }

    pub(super) fn fail_claims(&self, errors: impl IntoIterator<Item = QueueError>) {
        self.state.lock().unwrap().claim_errors.extend(errors);
    }

    pub(super) fn fail_settlements(&self, errors: impl IntoIterator<Item = QueueError>) {
        self.state.lock().unwrap().settle_errors.extend(errors);
    }

    /// Waits until so many settlements were recorded and answers all of them, in order.
    pub(super) async fn settlements(&self, count: usize) -> Vec<(DeliveryId, Settlement)> {
        loop {
            let changed = self.settled.notified();
            {
                let state = self.state.lock().unwrap();
                if state.settled.len() >= count {
                    return state.settled.clone();
                }
            }
            changed.await;
        }
    }

    pub(super) fn recorded(&self) -> usize {
        self.state.lock().unwrap().settled.len()
    }

    pub(super) fn claim_of(&self, delivery: DeliveryId) -> Claim {
        self.state.lock().unwrap().items[&delivery].claim.clone()
    }

    pub(super) fn lanes_in_flight(&self) -> usize {
        self.state.lock().unwrap().in_flight.len()
    }
}

pub(super) fn stored_outcome(event: EventId, kind: OutcomeKind, now: Timestamp) -> StoredOutcome {
    let outcome = serde_json::json!({
        "kind": kind, "value": {"amount": "299.50", "currency": "USD"},
        "metadata": {"plan": "pro"}, "subject": {"call_id": "call-1", "phone": "+14155551234"},
        "occurred_at": now, "source": "stripe", "event": event, "rule": "paid",
    });
    StoredOutcome {
        id: OutcomeId { event, ordinal: 0 },
        outcome: serde_json::from_value(outcome).unwrap(),
    }
}

impl Queue for FakeQueue {
    fn claim(
        &self,
        destination: &DestinationName,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claim>>> {
        let destination = destination.clone();
        Box::pin(async move {
            let now = self.clock.now();
            let state = &mut *self.state.lock().unwrap();
            if let Some(error) = state.claim_errors.pop_front() {
                return Err(error);
            }
            let mut due: Vec<&Item> = state
                .items
                .values()
                .filter(|i| i.open && i.claim.destination == destination && i.due_at <= now)
                .collect();
            due.sort_by_key(|item| item.due_at);
            let mut claims = Vec::new();
            for item in due {
                let lane = (destination.clone(), item.claim.target.clone());
                if claims.len() < limit && state.in_flight.insert(lane) {
                    claims.push(item.claim.clone());
                }
            }
            Ok(claims)
        })
    }

    fn settle(&self, delivery: DeliveryId, settlement: Settlement) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            {
                let state = &mut *self.state.lock().unwrap();
                if let Some(error) = state.settle_errors.pop_front() {
                    return Err(error);
                }
                let item = state.items.get_mut(&delivery).unwrap();
                let lane = (item.claim.destination.clone(), item.claim.target.clone());
                assert!(
                    state.in_flight.remove(&lane),
                    "settled what was not claimed"
                );
                match &settlement {
                    Settlement::Delivered { .. } | Settlement::DeadLetter { .. } => {
                        item.open = false;
                    }
                    Settlement::Retry { due_at, attempt } => {
                        item.due_at = *due_at;
                        item.claim.attempts = attempt.number;
                    }
                    Settlement::Released { due_at } => {
                        item.due_at = due_at.unwrap_or(item.due_at);
                    }
                }
                state.settled.push((delivery, settlement));
            }
            self.settled.notify_waiters();
            self.due.notify_waiters();
            Ok(())
        })
    }

    fn deliveries_due(&self, destination: &DestinationName) -> BoxFuture<'_, ()> {
        let changed = Arc::clone(&self.due).notified_owned();
        let now = self.clock.now();
        let next = {
            let state = self.state.lock().unwrap();
            let items = state.items.values();
            items
                .filter(|i| i.open && i.claim.destination == *destination && i.due_at > now)
                .map(|item| item.due_at)
                .min()
        };
        let wait = next.map_or(Duration::from_secs(3600), |due| {
            Duration::try_from(due.duration_since(now)).unwrap() + Duration::from_millis(1)
        });
        Box::pin(async move {
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        })
    }

    fn commit_event(&self, _: NewEvent) -> BoxFuture<'_, Result<Acceptance>> {
        unused()
    }
    fn unprocessed(&self, _: Option<EventId>, _: usize) -> BoxFuture<'_, Result<Vec<StoredEvent>>> {
        unused()
    }
    fn settle_events(&self, _: Vec<(EventId, Processed)>) -> BoxFuture<'_, Vec<Result<()>>> {
        panic!("delivery has no business with this operation")
    }
    fn registry(&self) -> Arc<dyn Registry> {
        panic!("delivery has no business with this operation")
    }
    fn put_records(&self, _: Vec<Record>) -> BoxFuture<'_, Result<()>> {
        unused()
    }
    fn wake_due(&self, _: usize) -> BoxFuture<'_, Result<usize>> {
        unused()
    }
    fn replay(&self, _: Vec<EventId>) -> BoxFuture<'_, Result<usize>> {
        unused()
    }
    fn operate(
        &self,
        delivery: DeliveryId,
        operation: Operation,
    ) -> BoxFuture<'_, Result<DeliveryView>> {
        assert_eq!(operation, Operation::Hasten);
        let now = self.clock.now();
        if let Some(item) = self.state.lock().unwrap().items.get_mut(&delivery) {
            item.due_at = item.due_at.min(now);
        }
        self.due.notify_waiters();
        // Its view is of no interest to workers.
        let gone = QueueError::NotFound(delivery.to_string());
        Box::pin(std::future::ready(Err(gone)))
    }
    fn event(&self, _: EventId) -> BoxFuture<'_, Result<StoredEvent>> {
        unused()
    }
    fn event_detail(&self, _: EventId) -> BoxFuture<'_, Result<(EventSummary, Option<Value>)>> {
        unused()
    }
    fn events(
        &self,
        _: EventFilter,
        _: PageRequest<EventId>,
    ) -> BoxFuture<'_, Result<Page<EventSummary, EventId>>> {
        unused()
    }
    fn deliveries(
        &self,
        _: DeliveryFilter,
        _: PageRequest<DeliveryId>,
    ) -> BoxFuture<'_, Result<Page<DeliveryView, DeliveryId>>> {
        unused()
    }
    fn delivery(&self, _: DeliveryId) -> BoxFuture<'_, Result<(DeliveryView, Vec<Attempt>)>> {
        unused()
    }
    fn deliveries_of(&self, _: EventId) -> BoxFuture<'_, Result<Vec<DeliveryView>>> {
        unused()
    }
    fn outcomes_of(&self, _: EventId) -> BoxFuture<'_, Result<Vec<StoredOutcome>>> {
        unused()
    }
    fn standings_of(&self, _: EventId) -> BoxFuture<'_, Result<Vec<crate::queue::Standing>>> {
        unused()
    }
    fn stats(&self) -> QueueStats {
        QueueStats::default()
    }
    fn events_arrived(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
    fn prune(&self, _: Timestamp) -> BoxFuture<'_, Result<u64>> {
        unused()
    }
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        unused()
    }
}

fn unused<T: Send>() -> BoxFuture<'static, Result<T>> {
    panic!("delivery has no business with this operation")
}
