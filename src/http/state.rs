//! What the handlers need, by side: the inlet for webhooks, the office for operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::web::Data;
use tokio_util::sync::CancellationToken;

use super::auth::Tokens;
use super::body::BodyLimits;
use super::session::Sessions;
use super::store_api::StoreApis;
use crate::clock::Clock;
use crate::connector::Catalogue;
use crate::delivery::{DeliveryHandle, Pauses};
use crate::lookup::LookupService;
use crate::metrics::Exposition;
use crate::model::SourceName;
use crate::processing::Processor;
use crate::queue::Queue;
use crate::setup::{Destination, Source};
use crate::store::Store;

/// What receiving needs.
pub struct Inlet {
    /// The sources by name.
    pub sources: Arc<BTreeMap<SourceName, Arc<Source>>>,
    /// Where events go.
    pub queue: Arc<dyn Queue>,
    /// Tells the moment of receipt.
    pub clock: Clock,
    /// How much of a body is read, and for how long.
    pub body: BodyLimits,
    /// At most so many header lines.
    pub header_limit: usize,
    /// The outcome APIs of the store, unless it is turned off.
    pub apis: Option<Data<StoreApis>>,
    /// Cancelled when the bridge stops: it is not ready any more.
    pub draining: CancellationToken,
}

/// What the admin side needs.
pub struct Office {
    /// The sources by name.
    pub sources: Arc<BTreeMap<SourceName, Arc<Source>>>,
    /// The destinations, in the order of their names.
    pub destinations: Vec<Arc<Destination>>,
    /// All connectors.
    pub catalogue: Arc<Catalogue>,
    /// The durable queue.
    pub queue: Arc<dyn Queue>,
    /// The outcome store, unless it is turned off.
    pub store: Option<Store>,
    /// States of the destinations; pause and resume.
    pub delivery: Arc<DeliveryHandle>,
    /// Which destinations stay paused over a restart.
    pub pauses: Pauses,
    /// How look-ups stand.
    pub lookups: Arc<LookupService>,
    /// Runs rules without storing anything.
    pub processor: Processor,
    /// The tokens that open it.
    pub tokens: Tokens,
    /// The browsers that are logged in.
    pub sessions: Sessions,
    /// The metrics as text.
    pub metrics: Exposition,
    /// Tells the time.
    pub clock: Clock,
    /// Cancelled when the bridge stops: it is not ready any more.
    pub draining: CancellationToken,
    /// Warnings found at start, shown with the sources.
    pub warnings: Vec<String>,
}

impl Office {
    /// The sources whose requests nobody verifies.
    pub fn unverified(&self) -> impl Iterator<Item = &SourceName> {
        let sources = self.sources.values();
        sources
            .filter(|source| source.inbound.unverified().is_some())
            .map(|source| &source.name)
    }
}
