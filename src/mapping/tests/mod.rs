//! Tests of the whole language: rules as they are written for real products, and every promise.

mod deriving;
mod expressions;
mod mistakes;
mod nothing;
mod products;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Context, Derivation, LookedUp, Ruleset, derive};
use crate::model::{EventId, Fact, Outcome, Region, SourceName};

/// The moment at which every event of these tests was received.
const RECEIVED_AT: &str = "2026-03-04T05:06:07Z";

fn rules(text: &str) -> Ruleset {
    let text = format!("format = 1\n{text}");
    match Ruleset::parse("rules.toml".as_ref(), &text) {
        Ok((rules, _)) => rules,
        Err(mistakes) => panic!("{mistakes:#?}"),
    }
}

fn run(rules: &Ruleset, event: &Value) -> Derivation {
    run_in(rules, event, None)
}

fn run_in(rules: &Ruleset, event: &Value, region: Option<Region>) -> Derivation {
    derive_in(rules, event, region, &LookedUp::nothing())
}

fn run_with(rules: &Ruleset, event: &Value, looked_up: &LookedUp) -> Derivation {
    derive_in(rules, event, None, looked_up)
}

fn derive_in(
    rules: &Ruleset,
    event: &Value,
    region: Option<Region>,
    looked_up: &LookedUp,
) -> Derivation {
    let source = SourceName::new("crm").unwrap();
    let header = json!({ "x-kind": "deal" });
    let context = Context {
        source: &source,
        event: EventId::first_at(1),
        header: &header,
        query: &json!({ "token": "q" }),
        setting: &json!({ "currency": "EUR" }),
        looked_up,
        region,
        received_at: RECEIVED_AT.parse::<Timestamp>().unwrap(),
    };
    derive(rules, event, &context)
}

fn outcome(derivation: &Derivation) -> &Outcome {
    match derivation.facts.as_slice() {
        [Fact::Outcome(outcome)] => outcome,
        other => panic!("expected one outcome, got {other:?}: {}", derivation.reason),
    }
}
