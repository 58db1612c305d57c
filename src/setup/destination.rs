//! A configured destination: how its requests are made and judged, and its delivery options.

use std::sync::Arc;

use crate::connector::{Connector, Outbound, Transport};
use crate::delivery::{self, DestinationOptions, Means};
use crate::mapping::Conditions;
use crate::model::{Correlation, Deliver, DestinationName, Mode, Precedence};
use crate::store::Store;

/// A configured destination.
#[derive(Debug)]
pub struct Destination {
    /// Its name.
    pub name: DestinationName,
    /// The connector it uses.
    pub connector: Arc<Connector>,
    /// Makes and judges its requests.
    pub outbound: Arc<Outbound>,
    /// Which rule of precedence holds there.
    pub precedence: Precedence,
    /// What else has to hold of an outcome, read as `outcome.…`. Empty: nothing.
    pub when: Conditions,
    /// Which revisions are delivered there.
    pub mode: Mode,
    /// When inferred outcomes are delivered there.
    pub deliver: Deliver,
    /// How the calls of its outcomes are found.
    pub correlation: Correlation,
    /// How it is delivered to.
    pub options: DestinationOptions,
}

impl Destination {
    /// What the delivery workers need of it; `None` when it writes into a store that is turned off.
    pub fn for_delivery(&self, store: Option<&Store>) -> Option<delivery::Destination> {
        let means = match self.outbound.transport() {
            Transport::Http => {
                Means::Http(Arc::clone(&self.outbound) as Arc<dyn delivery::Dialect>)
            }
            Transport::Store => Means::Store(store?.clone()),
        };
        Some(delivery::Destination {
            name: self.name.clone(),
            means,
            options: self.options.clone(),
        })
    }
}
