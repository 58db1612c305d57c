//! Applies a rule that matches: sets its values and makes its fact.

use super::datum::{Datum, quoted};
use super::derive::{Derivation, EventScope};
use super::draft::Draft;
use super::key::Key;
use super::kind::{Gives, TakenBack};
use super::notes::Notes;
use super::rule::{Assignment, Rule};
use super::scope::Scope;
use super::trace::{SetStep, Step};
use crate::model::{
    AppointmentChange, AppointmentFact, Basis, CallChange, CallFact, Disposition, Fact, Outcome,
    OutcomeKind, Retraction,
};

/// How a rule, an item or an event ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    pub(super) disposition: Disposition,
    pub(super) reason: String,
}

impl End {
    pub(super) fn new(disposition: Disposition, reason: impl Into<String>) -> Self {
        Self {
            disposition,
            reason: reason.into(),
        }
    }
}

/// The kind of fact that a rule gives for this event.
#[derive(Debug, Clone, Copy)]
enum Given {
    Outcome(OutcomeKind),
    Retract(TakenBack),
    Appointment(AppointmentChange),
    Call(CallChange),
}

/// Applies `rule`, whose rows hold. `None` when its kind cannot be told for this event: the rules
/// below it are then asked.
pub(super) fn apply(
    rule: &Rule,
    scope: &EventScope<'_>,
    derivation: &mut Derivation,
) -> Option<End> {
    let given = match &rule.gives {
        Gives::Ignore(reason) => {
            derivation.trace.push(Step::Matched);
            let reason = reason.text(scope).unwrap_or_default();
            let reason = format!("rule `{}`: {}", rule.id, reason.trim());
            return Some(End::new(Disposition::Ignored, reason));
        }
        Gives::Outcome(kind) => kind.get(scope).map(Given::Outcome),
        Gives::Retract(kind) => kind.get(scope).map(Given::Retract),
        Gives::Appointment(kind) => kind.get(scope).map(Given::Appointment),
        Gives::Call(kind) => kind.get(scope).map(Given::Call),
    };
    let given = match given {
        Ok(given) => given,
        Err(why) => {
            let key = rule.gives.key();
            warn(
                rule,
                format!("passed over, its `{key}` is not known: {why}"),
                derivation,
            );
            return None;
        }
    };
    derivation.trace.push(Step::Matched);
    let draft = fill(rule, scope, derivation);
    Some(finish(rule, given, draft, scope, derivation))
}

pub(super) fn warn(rule: &Rule, why: String, derivation: &mut Derivation) {
    derivation
        .warnings
        .push(format!("rule `{}`: {why}", rule.id));
    derivation.trace.push(Step::Warning(why));
}

fn fill(rule: &Rule, scope: &EventScope<'_>, derivation: &mut Derivation) -> Draft {
    let mut draft = Draft::default();
    for assignment in &rule.set {
        assign(rule, assignment, scope, &mut draft, derivation);
    }
    if draft.value.is_some() && draft.currency.is_none() {
        draft.value = None;
        let why = "`value` not set: its currency is not known".to_owned();
        warn(rule, why, derivation);
    }
    draft
}

fn assign(
    rule: &Rule,
    assignment: &Assignment,
    scope: &EventScope<'_>,
    draft: &mut Draft,
    derivation: &mut Derivation,
) {
    let name = &assignment.name;
    let mut notes = Notes::default();
    let Some(datum) = assignment.template.evaluate(scope, &mut notes) else {
        if notes.unusable.is_empty() {
            derivation.trace.push(Step::Unset {
                name: name.clone(),
                nothing_at: notes.missing,
            });
        }
        for why in notes.unusable {
            warn(rule, format!("`{name}` not set: {why}"), derivation);
        }
        return;
    };
    let datum = match assignment.key {
        Key::Notes if !notes.missing.is_empty() => without_gaps(datum),
        _ => datum,
    };
    let value = quoted(&datum);
    match draft.put(&assignment.key, datum, scope.region()) {
        Ok(()) => derivation.trace.push(Step::Set(SetStep {
            name: name.clone(),
            value,
            from: notes.used,
        })),
        Err(why) => warn(rule, format!("`{name}` not set: {why}"), derivation),
    }
    for why in notes.unusable {
        warn(
            rule,
            format!("a part of `{name}` left out: {why}"),
            derivation,
        );
    }
}

/// Words for people without the holes that missing parts leave: `Order {name} paid` is `Order paid`, and
/// `Deal won: {name}` is `Deal won`.
fn without_gaps(datum: Datum<'_>) -> Datum<'_> {
    const LOOSE: [char; 6] = [' ', ':', ',', ';', '–', '·'];
    let Datum::Text(text) = datum else {
        return datum;
    };
    let text = text.replace("()", "");
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let words = words.join(" ");
        // A bracket that opens belongs to what follows; at the end nothing does.
        let ends_well = words.trim_end_matches(|c| c == '(' || LOOSE.contains(&c));
        ends_well.trim_start_matches(LOOSE).to_owned()
    });
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    Datum::Text(lines.join("\n").into())
}

fn finish(
    rule: &Rule,
    given: Given,
    draft: Draft,
    scope: &EventScope<'_>,
    derivation: &mut Derivation,
) -> End {
    let missing = rule.require.iter().find(|key| !draft.has(key));
    if let Some(key) = missing {
        let name = key.name();
        let reason = format!("rule `{}`: `{name}` is required and not set", rule.id);
        return End::new(Disposition::Failed, reason);
    }
    if !draft.subject.is_known() {
        let reason = format!(
            "rule `{}`: nobody can say whom it is about: no call id, phone, e-mail, booking, deal or contact id",
            rule.id
        );
        return End::new(Disposition::Unmatched, reason);
    }
    if draft.occurred_at.is_none() {
        let note = "`occurred_at` is not set: the moment of receipt is taken";
        derivation.trace.push(Step::Note(note.to_owned()));
    }
    let mut said = Vec::new();
    for fact in build(rule, given, draft, scope) {
        said.push(describe(&fact));
        derivation.facts.push(fact);
    }
    for fact in &said {
        derivation.trace.push(Step::Fact(fact.clone()));
    }
    let reason = format!("rule `{}`: {}", rule.id, said.join(", "));
    End::new(Disposition::Mapped, reason)
}

fn build(rule: &Rule, given: Given, draft: Draft, scope: &EventScope<'_>) -> Vec<Fact> {
    let context = scope.context;
    let occurred_at = draft.occurred_at.unwrap_or(context.received_at);
    let value = draft.money();
    let rule_id = rule.id.to_string();
    let subject = draft.subject;
    let fact = match given {
        Given::Outcome(kind) => Fact::Outcome(Outcome {
            kind,
            label: draft.label,
            value,
            notes: draft.notes,
            metadata: draft.metadata,
            subject,
            occurred_at,
            basis: if rule.inferred {
                Basis::Inferred
            } else {
                Basis::Reported
            },
            source: context.source.clone(),
            event: context.event,
            rule: rule_id,
        }),
        Given::Retract(taken_back) => {
            let kinds = taken_back.kinds().into_iter();
            let retraction = |kind| Retraction {
                kind,
                subject: subject.clone(),
                occurred_at,
                rule: rule_id.clone(),
            };
            return kinds
                .map(|kind| Fact::Retraction(retraction(kind)))
                .collect();
        }
        Given::Appointment(change) => Fact::Appointment(AppointmentFact {
            change,
            subject,
            occurred_at,
            start: draft.start,
            end: draft.end,
            metadata: draft.metadata,
            rule: rule_id,
        }),
        Given::Call(change) => Fact::Call(CallFact {
            change,
            subject,
            occurred_at,
            start: draft.start,
            end: draft.end,
            metadata: draft.metadata,
            rule: rule_id,
        }),
    };
    vec![fact]
}

/// A fact in a few words, e.g. `outcome closed`.
fn describe(fact: &Fact) -> String {
    let (key, word) = super::fields::kind_of(fact);
    format!("{key} {word}")
}
