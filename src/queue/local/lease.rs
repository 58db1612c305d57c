//! Who holds a lane right now. In memory only: after a restart everything due may be claimed again.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::DeliveryId;

use super::tree::Hash16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// A claim is looking at it.
    Claim,
    /// What it waits for is lost, and no event tells it again: nobody looks at it until a commit changes that.
    Lost,
    /// The committer is about to change what is open there; no claim may look meanwhile.
    Committer,
    /// A worker tries this delivery.
    Worker(DeliveryId),
}

#[derive(Debug, Default)]
struct Table {
    lanes: HashMap<Hash16, Holder>,
    /// Deliveries handed out in this run whose effect on the target is not certain.
    handed_out: HashSet<DeliveryId>,
}

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Table>);

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a free lane for a claim that is going to look at its row.
    pub(super) fn reserve(&self, lane: Hash16) -> bool {
        let mut table = self.table();
        let free = !table.lanes.contains_key(&lane);
        if free {
            table.lanes.insert(lane, Holder::Claim);
        }
        free
    }

    /// Hands a reserved lane to a worker.
    pub(super) fn grant(&self, lane: Hash16, delivery: DeliveryId) {
        let mut table = self.table();
        table.lanes.insert(lane, Holder::Worker(delivery));
        table.handed_out.insert(delivery);
    }

    /// Keeps claims off a lane until [`Leases::free`]. `false` when somebody holds it already.
    pub(super) fn block(&self, lane: Hash16) -> bool {
        let mut table = self.table();
        let free = matches!(table.lanes.get(&lane), None | Some(Holder::Lost));
        if free {
            table.lanes.insert(lane, Holder::Committer);
        }
        free
    }

    /// Sets a reserved lane aside whose delivery is lost for good.
    pub(super) fn set_aside(&self, lane: Hash16) {
        self.table().lanes.insert(lane, Holder::Lost);
    }

    /// Whether the committer keeps the lane.
    pub(super) fn is_with_committer(&self, lane: &Hash16) -> bool {
        self.table().lanes.get(lane) == Some(&Holder::Committer)
    }

    /// The worker is done with the lane, but what follows is not committed yet.
    pub(super) fn settle(&self, lane: Hash16) {
        self.table().lanes.insert(lane, Holder::Committer);
    }

    pub(super) fn free(&self, lane: &Hash16) {
        self.table().lanes.remove(lane);
    }

    /// Whether a worker tries this delivery right now.
    pub(super) fn is_in_flight(&self, lane: &Hash16, delivery: DeliveryId) -> bool {
        self.table().lanes.get(lane) == Some(&Holder::Worker(delivery))
    }

    /// Whether a worker may have sent this delivery in this run.
    pub(super) fn was_handed_out(&self, delivery: DeliveryId) -> bool {
        self.table().handed_out.contains(&delivery)
    }

    /// The target's state after this delivery is known.
    pub(super) fn forget(&self, delivery: DeliveryId) {
        self.table().handed_out.remove(&delivery);
    }
}
