//! Which destinations want which outcomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Destination;
use crate::config::Config;
use crate::model::{DestinationName, OutcomeKind, SourceName};

/// The destinations of every outcome kind of every source, worked out once.
#[derive(Debug, Clone, Default)]
pub struct Routes(BTreeMap<SourceName, BTreeMap<OutcomeKind, Vec<Arc<Destination>>>>);

impl Routes {
    /// The routes of a configuration, over the destinations that were made from it.
    pub fn new(
        config: &Config,
        destinations: &BTreeMap<DestinationName, Arc<Destination>>,
    ) -> Self {
        let of = |source: &SourceName, kind| {
            let wanted = config.destinations_for(source, kind);
            wanted
                .iter()
                .filter_map(|d| destinations.get(&d.name).cloned())
                .collect()
        };
        let table = config.sources.keys().map(|source| {
            let kinds = OutcomeKind::ALL
                .into_iter()
                .map(|kind| (kind, of(source, kind)));
            (source.clone(), kinds.collect())
        });
        Self(table.collect())
    }

    /// The destinations that want an outcome of `kind` from `source`, in the order of their names.
    pub fn destinations(&self, source: &SourceName, kind: OutcomeKind) -> &[Arc<Destination>] {
        self.0
            .get(source)
            .and_then(|kinds| kinds.get(&kind))
            .map_or(&[], Vec::as_slice)
    }
}
