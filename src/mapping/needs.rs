//! Which look-ups the rules still need for an event, so that none is made in vain.
//!
//! The rules are asked as [`derive`](super::derive()) asks them, with some answers not known yet. A row that
//! reads one of those neither holds nor fails: it is open. A rule with a failing row cannot match,
//! whatever the answers say, so rows that read the event alone spare requests. The first rule of its
//! kind that may still match says what is needed next; the rules below it are asked once its answers are
//! there. A value needs a look-up only when no alternative before it is there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::condition::{Conditions, Row, Test};
use super::derive::{Context, EventScope};
use super::expression::{Budget, Condition};
use super::kind::{Gives, Group};
use super::path::Path;
use super::rule::Rule;
use super::ruleset::{Items, Ruleset};
use super::scope::Scope;
use super::trace::{GroupKind, Trace};

/// The word that paths to answers start with.
pub(super) const LOOKUP: &str = "lookup";

/// Names of look-ups.
pub type Names = BTreeSet<String>;

/// Collects the look-ups whose answers are read and not known.
pub(super) struct Unknown<'a> {
    /// The answers known so far: an object by name.
    known: &'a Value,
    names: Names,
}

impl<'a> Unknown<'a> {
    fn new(known: &'a Value) -> Self {
        Self {
            known,
            names: Names::new(),
        }
    }

    /// Whether what stands at `path` is not known yet; the look-up's name is noted then.
    pub(super) fn has(&mut self, path: &Path) -> bool {
        let Some(name) = path.lookup() else {
            return false;
        };
        let open = self.known.get(name).is_none();
        if open {
            self.names.insert(name.to_owned());
        }
        open
    }
}

impl Ruleset {
    /// The events of a body as the rules see them: one, or each item of a batch. Empty when the body is
    /// not as declared; deriving says why.
    pub fn events<'v>(&self, body: &'v Value) -> Vec<&'v Value> {
        match self.items(body) {
            Ok(Items::One(event)) => vec![event],
            Ok(Items::Many(items)) => items.iter().collect(),
            Err(_told_when_deriving) => Vec::new(),
        }
    }

    /// The look-ups that the rules need next for `event`, one of [`Ruleset::events`]. `known` has the
    /// answers so far; `context.looked_up` is not asked. Empty: the rules can be asked.
    pub fn needs(&self, event: &Value, known: &Value, context: &Context<'_>) -> Names {
        let scope = EventScope {
            rules: self,
            event,
            lookup: known,
            context,
            budget: Budget::default(),
        };
        let mut needed = Names::new();
        let mut decided: Vec<Group> = Vec::new();
        for rule in &self.rules {
            let group = rule.gives.group();
            if decided.contains(&group) {
                continue;
            }
            let mut unknown = Unknown::new(known);
            if may_match(rule, &scope, &mut unknown) {
                decided.push(group);
                needed.append(&mut unknown.names);
            }
        }
        needed
    }

    /// The look-ups that some rule reads.
    pub fn lookups(&self) -> Names {
        let mut names = Names::new();
        for rule in &self.rules {
            let set = rule.set.iter().map(|assignment| &assignment.template);
            let templates = set.chain(rule.gives.template());
            let paths = templates.flat_map(|template| template.paths().collect::<Vec<_>>());
            let condition = rule.condition.iter().flat_map(Condition::paths);
            let read = rule
                .when
                .paths()
                .chain(condition)
                .chain(paths)
                .filter_map(Path::lookup);
            names.extend(read.map(str::to_owned));
        }
        names
    }
}

/// Whether the rule matches or may match once what it needs is known; that is noted in `unknown`.
fn may_match(rule: &Rule, scope: &EventScope<'_>, unknown: &mut Unknown<'_>) -> bool {
    match rule.when.foresee(scope, unknown) {
        Some(false) => return false,
        None => return true,
        Some(true) => {}
    }
    if let Some(condition) = &rule.condition {
        let open: Vec<bool> = condition.paths().map(|path| unknown.has(path)).collect();
        if open.contains(&true) {
            return true;
        }
        // Whoever derives tells what it read and what it could not use.
        if !matches!(
            condition.hold_traced(scope, &mut Trace::default()),
            Ok(true)
        ) {
            return false;
        }
    }
    if let Some(template) = rule.gives.template() {
        template.foresee(scope, unknown);
        if !unknown.names.is_empty() {
            return true;
        }
        // A rule whose kind cannot be told is passed over.
        let told = match &rule.gives {
            Gives::Outcome(kind) => kind.get(scope).is_ok(),
            Gives::Retract(kind) => kind.get(scope).is_ok(),
            Gives::Appointment(kind) => kind.get(scope).is_ok(),
            Gives::Call(kind) => kind.get(scope).is_ok(),
            Gives::Ignore(_) => true,
        };
        if !told {
            return false;
        }
    }
    for assignment in &rule.set {
        assignment.template.foresee(scope, unknown);
    }
    true
}

impl Conditions {
    /// Whether all rows hold; `None` while that depends on what is not known.
    fn foresee(&self, scope: &dyn Scope, unknown: &mut Unknown<'_>) -> Option<bool> {
        all(&self.rows, scope, unknown)
    }
}

/// A failing row decides, so what the open rows beside it would need is not needed.
fn all(rows: &[Row], scope: &dyn Scope, unknown: &mut Unknown<'_>) -> Option<bool> {
    decide(rows, false, scope, unknown)
}

/// Whether one of the rows is `decisive`; then the others do not matter.
fn decide(
    rows: &[Row],
    decisive: bool,
    scope: &dyn Scope,
    unknown: &mut Unknown<'_>,
) -> Option<bool> {
    let mut open = Unknown::new(unknown.known);
    let mut is_open = false;
    for row in rows {
        match row.foresee(scope, &mut open) {
            Some(held) if held == decisive => return Some(decisive),
            Some(_) => {}
            None => is_open = true,
        }
    }
    unknown.names.append(&mut open.names);
    (!is_open).then_some(!decisive)
}

impl Row {
    fn foresee(&self, scope: &dyn Scope, unknown: &mut Unknown<'_>) -> Option<bool> {
        match self {
            Self::Test(test) => test.foresee(scope, unknown),
            Self::Group(GroupKind::All, rows) => all(rows, scope, unknown),
            Self::Group(GroupKind::Any, rows) => decide(rows, true, scope, unknown),
            Self::Group(GroupKind::Not, rows) => all(rows, scope, unknown).map(|held| !held),
        }
    }
}

impl Test {
    fn foresee(&self, scope: &dyn Scope, unknown: &mut Unknown<'_>) -> Option<bool> {
        for path in &self.field.paths {
            if unknown.has(path) {
                return None;
            }
            if path.first(scope).is_some() {
                break;
            }
        }
        Some(self.holds(scope, 0, &mut None))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::mapping::LookedUp;
    use crate::model::{EventId, SourceName};

    const RULES: &str = r#"
        format = 1
        [tables.stage]
        won = "closed"
        [[rule]]
        id = "by_mark"
        when = [
          { field = "event.type", is = "deal" },
          { field = "lookup.deal.won", is = true },
        ]
        outcome = "closed"
        [rule.set]
        deal_id = "{event.id}"
        phone = "{event.phone or lookup.contact.phone | phone}"
        value = "{lookup.deal.amount | money}"
        currency = "{lookup.account.currency or 'EUR'}"
        [[rule]]
        id = "by_stage"
        when = [{ field = "event.type", is = "deal" }]
        outcome = "{lookup.stage.word | table: stage}"
        [rule.set]
        deal_id = "{event.id}"
        [[rule]]
        id = "other"
        when = [{ any = [{ field = "event.type", is = "note" }, { field = "lookup.note.kind", is = "call" }] }]
        ignore = "a note"
        [[rule]]
        id = "call"
        when = [{ not = { field = "event.call", exists = false } }]
        call = "ended"
        [rule.set]
        call_id = "{event.call.id or lookup.call.id}"
    "#;

    fn needs(event: &Value, known: &Value) -> Vec<String> {
        let (rules, _) = Ruleset::parse(FilePath::new("rules.toml"), RULES).unwrap();
        let nothing = LookedUp::nothing();
        let context = Context {
            source: &SourceName::new("crm").unwrap(),
            event: EventId::first_at(0),
            header: &Value::Null,
            query: &Value::Null,
            setting: &Value::Null,
            looked_up: &nothing,
            region: None,
            received_at: Timestamp::UNIX_EPOCH,
        };
        rules.needs(event, known, &context).into_iter().collect()
    }

    #[test]
    fn a_row_that_fails_on_the_event_alone_spares_the_look_up() {
        assert!(needs(&json!({ "type": "note" }), &json!({})).is_empty());
        assert_eq!(needs(&json!({ "type": "task" }), &json!({})), ["note"]);
        let known = json!({ "note": null });
        assert!(needs(&json!({ "type": "task" }), &known).is_empty());
    }

    #[test]
    fn a_rule_that_may_match_needs_its_rows_first_and_its_values_when_it_matches() {
        let event = json!({ "type": "deal", "id": 5 });
        assert_eq!(needs(&event, &json!({})), ["deal"]);
        let won = json!({ "deal": { "won": "true" } });
        assert_eq!(needs(&event, &won), ["account", "contact"]);
        let all = json!({ "deal": { "won": true }, "account": null, "contact": null });
        assert!(needs(&event, &all).is_empty());
    }

    #[test]
    fn the_rules_below_are_asked_when_the_first_turns_out_not_to_match() {
        let event = json!({ "type": "deal", "id": 5 });
        let lost = json!({ "deal": { "won": false } });
        assert_eq!(needs(&event, &lost), ["stage"]);
        let unknown_stage = json!({ "deal": null, "stage": { "word": "open" } });
        assert_eq!(needs(&event, &unknown_stage), ["note"]);
        let won = json!({ "deal": null, "stage": { "word": "won" } });
        assert!(needs(&event, &won).is_empty());
    }

    #[test]
    fn an_alternative_that_is_there_spares_the_look_up_behind_it() {
        let event = json!({ "type": "deal", "id": 5, "phone": "+14155550123" });
        let won = json!({ "deal": { "won": true } });
        assert_eq!(needs(&event, &won), ["account"]);
    }

    #[test]
    fn each_kind_of_fact_has_needs_of_its_own() {
        let event = json!({ "type": "deal", "id": 5, "call": { "length": 7 } });
        assert_eq!(needs(&event, &json!({})), ["call", "deal"]);
    }

    #[test]
    fn the_names_that_rules_read_are_known_without_an_event() {
        let (rules, _) = Ruleset::parse(FilePath::new("rules.toml"), RULES).unwrap();
        let names: Vec<String> = rules.lookups().into_iter().collect();
        assert_eq!(
            names,
            ["account", "call", "contact", "deal", "note", "stage"]
        );
    }
}
