//! Applies rules to an event. Pure: the same event, rules and context give the same facts.

use jiff::Timestamp;
use serde_json::Value;

use super::apply::{End, apply, warn};
use super::expression::Budget;
use super::kind::Group;
use super::looked::{Looked, LookedUp};
use super::rule::Rule;
use super::ruleset::{Items, Ruleset};
use super::scope::Scope;
use super::table::Table;
use super::trace::{Step, Trace};
use super::value::cut;
use crate::model::{Disposition, EventId, Fact, Region, SourceName, is_ahead};

/// The most bytes of a reason.
const MAX_REASON: usize = 500;

/// What rules may read beside the event, and what facts carry.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The source that received the event.
    pub source: &'a SourceName,
    /// The event's id.
    pub event: EventId,
    /// Its headers as an object, lower-case names.
    pub header: &'a Value,
    /// Its query parameters as an object.
    pub query: &'a Value,
    /// The source's settings as an object, without secrets.
    pub setting: &'a Value,
    /// What the look-ups gave.
    pub looked_up: &'a LookedUp,
    /// The region that the source's settings name.
    pub region: Option<Region>,
    /// When the event was received.
    pub received_at: Timestamp,
}

/// What the rules made of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Derivation {
    /// What became of it.
    pub disposition: Disposition,
    /// Why, in words.
    pub reason: String,
    /// The facts, in the order in which they were derived.
    pub facts: Vec<Fact>,
    /// How many of them each item of a batch gave; empty when the event is no batch.
    pub items: Vec<usize>,
    /// What is there but could not be used.
    pub warnings: Vec<String>,
    /// How it came about.
    pub trace: Trace,
}

impl Derivation {
    /// Takes what occurred more than a day after its event was received for what occurred at the receipt.
    pub fn occurred_by(&mut self, received_at: Timestamp) {
        for fact in &mut self.facts {
            let at = fact.occurred_at_mut();
            if is_ahead(*at, received_at) {
                let why = format!(
                    "`occurred_at` not used: {at} is more than a day after the event came; the moment of receipt is taken"
                );
                *at = received_at;
                self.trace.push(Step::Note(why.clone()));
                self.warnings.push(why);
            }
        }
    }
}

/// What rules read for one event: a whole body, or one item of a batch.
pub(super) struct EventScope<'a> {
    pub(super) rules: &'a Ruleset,
    pub(super) event: &'a Value,
    pub(super) lookup: &'a Value,
    pub(super) context: &'a Context<'a>,
    pub(super) budget: Budget,
}

impl Scope for EventScope<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "event" => Some(self.event),
            "lookup" => Some(self.lookup),
            "header" => Some(self.context.header),
            "query" => Some(self.context.query),
            "setting" => Some(self.context.setting),
            _ => None,
        }
    }

    fn region(&self) -> Option<Region> {
        let rules = self.rules;
        rules.admin_region.or(self.context.region).or(rules.region)
    }

    fn table(&self, name: &str) -> Option<&Table> {
        self.rules.tables.get(name)
    }

    fn budget(&self) -> Option<&Budget> {
        Some(&self.budget)
    }
}

/// Applies the rules to an event's body.
pub fn derive(rules: &Ruleset, body: &Value, context: &Context<'_>) -> Derivation {
    let mut derivation = Derivation {
        disposition: Disposition::Ignored,
        reason: String::new(),
        facts: Vec::new(),
        items: Vec::new(),
        warnings: Vec::new(),
        trace: Trace::default(),
    };
    let end = match rules.items(body) {
        Ok(Items::One(event)) => derive_item(
            rules,
            event,
            context.looked_up.of(0),
            context,
            &mut derivation,
        ),
        Ok(Items::Many(items)) => derive_batch(rules, items, context, &mut derivation),
        Err(reason) => End::new(Disposition::Failed, reason),
    };
    derivation.disposition = end.disposition;
    derivation.reason = cut(&end.reason, MAX_REASON).to_owned();
    let (disposition, reason) = (derivation.disposition, derivation.reason.clone());
    derivation.trace.decide(disposition, reason);
    derivation
}

fn derive_batch(
    rules: &Ruleset,
    items: &[Value],
    context: &Context<'_>,
    derivation: &mut Derivation,
) -> End {
    let mut ends = Vec::with_capacity(items.len());
    for (n, event) in items.iter().enumerate() {
        derivation.trace.push(Step::Item(n));
        let before = derivation.facts.len();
        let end = derive_item(rules, event, context.looked_up.of(n), context, derivation);
        derivation.items.push(derivation.facts.len() - before);
        derivation.trace.push(Step::Decision {
            disposition: end.disposition,
            reason: end.reason.clone(),
        });
        ends.push(end);
    }
    summary(&ends)
}

/// Asks the rules, unless an answer that they need is missing.
fn derive_item(
    rules: &Ruleset,
    event: &Value,
    looked: &Looked,
    context: &Context<'_>,
    derivation: &mut Derivation,
) -> End {
    let (disposition, reason) = match looked {
        Looked::Answers(lookup) => {
            let scope = EventScope {
                rules,
                event,
                lookup,
                context,
                budget: Budget::default(),
            };
            return derive_one(&scope, derivation);
        }
        Looked::Waiting(reason) => (Disposition::Waiting, reason),
        Looked::Failed(reason) => (Disposition::Failed, reason),
    };
    derivation.trace.push(Step::Note(reason.clone()));
    End::new(disposition, reason.as_str())
}

/// Asks the rules from top to bottom; the first that matches decides for its group.
fn derive_one(scope: &EventScope<'_>, derivation: &mut Derivation) -> End {
    let mut decided: Vec<Group> = Vec::new();
    let mut ends: Vec<End> = Vec::new();
    for rule in &scope.rules.rules {
        let group = rule.gives.group();
        if decided.contains(&group) {
            continue;
        }
        derivation.trace.push(Step::Rule(rule.id.clone()));
        if !rule.when.hold_traced(scope, &mut derivation.trace) {
            continue;
        }
        if !condition_holds(rule, scope, derivation) {
            continue;
        }
        if let Some(end) = apply(rule, scope, derivation) {
            decided.push(group);
            ends.push(end);
        }
    }
    // The strongest decides; the reasons of all are told, so that a lost fact is seen.
    let Some(disposition) = ends.iter().map(|end| end.disposition).min_by_key(rank) else {
        return End::new(Disposition::Ignored, "no rule matched");
    };
    let reasons: Vec<String> = ends.into_iter().map(|end| end.reason).collect();
    End::new(disposition, reasons.join("; "))
}

/// Whether the rule's `if` holds. One that cannot be computed does not, and says why.
fn condition_holds(rule: &Rule, scope: &EventScope<'_>, derivation: &mut Derivation) -> bool {
    let Some(condition) = &rule.condition else {
        return true;
    };
    condition
        .hold_traced(scope, &mut derivation.trace)
        .unwrap_or_else(|why| {
            warn(
                rule,
                format!("passed over, `if` is not known: {why}"),
                derivation,
            );
            false
        })
}

/// Which disposition an event takes when its parts end differently: the first.
fn rank(disposition: &Disposition) -> u8 {
    match disposition {
        // What is still to come decides, so that nobody takes a part for the whole.
        Disposition::Waiting | Disposition::Accepted => 0,
        Disposition::Mapped => 1,
        Disposition::Failed => 2,
        Disposition::Unmatched => 3,
        Disposition::Ignored => 4,
    }
}

/// One end for a batch: `2 of 3 items mapped, 1 ignored: no rule matched`.
fn summary(ends: &[End]) -> End {
    let Some(disposition) = ends.iter().map(|end| end.disposition).min_by_key(rank) else {
        return End::new(Disposition::Ignored, "the batch is empty");
    };
    if let [only] = ends {
        return End::new(only.disposition, only.reason.clone());
    }
    let mut parts = Vec::new();
    let kinds = [
        Disposition::Mapped,
        Disposition::Waiting,
        Disposition::Failed,
        Disposition::Unmatched,
        Disposition::Ignored,
    ];
    for kind in kinds {
        let mut of_kind = ends.iter().filter(|end| end.disposition == kind);
        let Some(first) = of_kind.next() else {
            continue;
        };
        let count = 1 + of_kind.clone().count();
        let same = of_kind.all(|end| end.reason == first.reason);
        let why = match kind {
            Disposition::Mapped => String::new(),
            _ if same => format!(": {}", first.reason),
            _ => format!(": {}, and others", first.reason),
        };
        let counted = if parts.is_empty() {
            format!("{count} of {} items {kind}{why}", ends.len())
        } else {
            format!("{count} {kind}{why}")
        };
        parts.push(counted);
    }
    End::new(disposition, parts.join(", "))
}
