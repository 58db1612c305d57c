//! Which destinations want which outcomes.
//!
//! Conditions are about outcomes. A retraction has only a kind and a subject, so it goes to every destination
//! that may have got the outcome: to those of every route that takes the kind from the source, whatever else
//! the route asks for. Where there is nothing to take back it changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::Destination;
use crate::config::{self, Config, OUTCOME_STORE};
use crate::connector::outcome_value;
use crate::mapping::{Conditions, Scope};
use crate::model::{DestinationName, Outcome, OutcomeKind, SourceName};

/// The destinations of every outcome kind of every source, worked out once; only conditions are asked for each
/// outcome.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    wanted: BTreeMap<SourceName, BTreeMap<OutcomeKind, Wanted>>,
    /// What each route asks for, in the order of the file.
    conditions: Vec<Conditions>,
    destinations: Option<Arc<BTreeSet<DestinationName>>>,
}

/// Who may want outcomes of a kind from a source.
#[derive(Debug, Clone, Default)]
struct Wanted {
    destinations: Vec<Arc<Destination>>,
    /// For each of them the routes that lead there, counted from 0. `None`: every outcome goes there.
    routes: Vec<Option<Vec<usize>>>,
}

/// Where an outcome goes.
#[derive(Debug, Default)]
pub struct Chosen<'r> {
    /// The destinations that get it, in the order of their names.
    pub taken: Vec<Taken<'r>>,
    /// Those that a route might have led to, had its conditions held.
    pub left_out: Vec<LeftOut>,
}

/// A destination that gets an outcome.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'r> {
    /// The destination.
    pub destination: &'r Arc<Destination>,
    /// The first route that leads there, counted from 1 in the order of the file. `None`: every outcome goes there.
    pub route: Option<usize>,
}

/// A destination that does not get an outcome because conditions do not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The destination.
    pub destination: DestinationName,
    /// Which condition of which route does not hold, with what was found.
    pub why: String,
}

impl Routes {
    /// The routes of a configuration, over the destinations that were made from it.
    pub fn new(
        config: &Config,
        destinations: &BTreeMap<DestinationName, Arc<Destination>>,
    ) -> Self {
        let admin = SourceName::new(SourceName::ADMIN).ok();
        let of_source = |source: &SourceName| {
            let kinds = OutcomeKind::ALL
                .into_iter()
                .map(|kind| (kind, Wanted::of(config, destinations, source, kind)));
            (source.clone(), kinds.collect())
        };
        let conditions = config.routes.iter().map(|route| route.when.clone());
        Self {
            wanted: config.sources.keys().chain(&admin).map(of_source).collect(),
            conditions: conditions.collect(),
            destinations: Some(Arc::new(destinations.keys().cloned().collect())),
        }
    }

    /// Every destination that there is, whether a route leads to it or not; `None` where that was never said.
    pub fn all_destinations(&self) -> Option<Arc<BTreeSet<DestinationName>>> {
        self.destinations.clone()
    }

    /// The destinations that may get an outcome of `kind` from `source`, in the order of their names: a retraction
    /// goes to all of them.
    pub fn destinations(&self, source: &SourceName, kind: OutcomeKind) -> &[Arc<Destination>] {
        self.wanted_of(source, kind)
            .map_or(&[], |wanted| &wanted.destinations)
    }

    /// The destinations that get `outcome`, and why others do not.
    pub fn choose(&self, source: &SourceName, outcome: &Outcome) -> Chosen<'_> {
        let mut chosen = Chosen::default();
        let Some(wanted) = self.wanted_of(source, outcome.kind) else {
            return chosen;
        };
        let mut asked = Asked::new(&self.conditions, outcome);
        for (destination, routes) in wanted.destinations.iter().zip(&wanted.routes) {
            match asked.way_to(destination, routes.as_deref()) {
                Ok(route) => chosen.taken.push(Taken { destination, route }),
                Err(why) => chosen.left_out.push(LeftOut {
                    destination: destination.name.clone(),
                    why,
                }),
            }
        }
        chosen
    }

    /// The destination of this name, when a route leads to it.
    pub fn destination(&self, name: &DestinationName) -> Option<&Arc<Destination>> {
        let wanted = self.wanted.values().flat_map(BTreeMap::values);
        let mut all = wanted.flat_map(|wanted| &wanted.destinations);
        all.find(|known| known.name == *name)
    }

    fn wanted_of(&self, source: &SourceName, kind: OutcomeKind) -> Option<&Wanted> {
        self.wanted.get(source)?.get(&kind)
    }
}

impl Wanted {
    fn of(
        config: &Config,
        destinations: &BTreeMap<DestinationName, Arc<Destination>>,
        source: &SourceName,
        kind: OutcomeKind,
    ) -> Self {
        let mut wanted = Self::default();
        for configured in config.destinations_for(source, kind) {
            if let Some(destination) = destinations.get(&configured.name) {
                wanted.destinations.push(Arc::clone(destination));
                wanted
                    .routes
                    .push(routes_to(config, configured, source, kind));
            }
        }
        wanted
    }
}

fn routes_to(
    config: &Config,
    destination: &config::Destination,
    source: &SourceName,
    kind: OutcomeKind,
) -> Option<Vec<usize>> {
    if config.routes.is_empty() || destination.name.as_str() == OUTCOME_STORE {
        return None;
    }
    let routes = config.routes.iter().enumerate();
    let leading = routes.filter(|(_, route)| {
        route.takes(source, kind) && route.destinations.contains(destination.group())
    });
    Some(leading.map(|(index, _)| index).collect())
}

/// Conditions asked of one outcome, each at most once.
struct Asked<'a> {
    conditions: &'a [Conditions],
    outcome: &'a Outcome,
    /// What conditions read; made when the first is asked.
    read: Option<Read>,
    /// Why each route does not take it, where it was asked.
    answers: BTreeMap<usize, Option<String>>,
}

struct Read(Value);

impl Scope for Read {
    fn root(&self, name: &str) -> Option<&Value> {
        (name == "outcome").then_some(&self.0)
    }
}

impl<'a> Asked<'a> {
    fn new(conditions: &'a [Conditions], outcome: &'a Outcome) -> Self {
        Self {
            conditions,
            outcome,
            read: None,
            answers: BTreeMap::new(),
        }
    }

    /// The first route that leads there, or why none does.
    fn way_to(
        &mut self,
        destination: &Destination,
        routes: Option<&[usize]>,
    ) -> Result<Option<usize>, String> {
        if let Some(why) = self.failing(&destination.when) {
            return Err(format!("its condition: {why}"));
        }
        let Some(routes) = routes else {
            return Ok(None);
        };
        let mut reasons = Vec::new();
        for &route in routes {
            match self.ask(route) {
                None => return Ok(Some(route + 1)),
                Some(why) => reasons.push(format!("route {}: {why}", route + 1)),
            }
        }
        Err(reasons.join("; "))
    }

    /// Why a route does not take the outcome.
    fn ask(&mut self, route: usize) -> Option<String> {
        if let Some(known) = self.answers.get(&route) {
            return known.clone();
        }
        let conditions = self.conditions;
        let answer = conditions.get(route).and_then(|when| self.failing(when));
        self.answers.insert(route, answer.clone());
        answer
    }

    fn failing(&mut self, conditions: &Conditions) -> Option<String> {
        if conditions.is_empty() {
            return None;
        }
        let outcome = self.outcome;
        let read = self
            .read
            .get_or_insert_with(|| Read(outcome_value(outcome)));
        conditions.failing(read)
    }
}
