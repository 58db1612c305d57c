//! Expressions in rules: `if`, `{= … }`, their trace, their warnings, and tests of such rules.

use serde_json::{Value, json};

use super::{outcome, rules, run};
use crate::mapping::{Personal, Ruleset};
use crate::model::Disposition;

const DEAL: &str = r#"
[[rule]]
id = "deal_won"
when = [{ field = "event.entity", is = "deal" }]
if = "event.status == 'won' && (event.paid - event.refunded > 100 || event.vip)"
outcome = "closed"
[rule.set]
deal_id = "{event.id | text}"
phone = "{= phone(event.phone) }"
value = "{= minor_units(event.paid, event.currency) / 2 }"
currency = "{event.currency}"
notes = "{event.title}{= has(event.lost_reason) ? ': ' + event.lost_reason : '' }"
metadata.items = "{= event.items.map(i, i.name).join(', ') }"

[[test]]
name = "a paid deal is closed"
event = '{"entity":"deal","status":"won","id":5,"paid":19901,"refunded":1,"currency":"EUR","title":"T"}'
expect = { rule = "deal_won", outcome = "closed", deal_id = "5", value = "99.505", notes = "T" }
warnings = 0

[[test]]
name = "a deal without a sum is none"
event = '{"entity":"deal","status":"won","id":5}'
expect = "nothing"
"#;

fn deal() -> Value {
    json!({
        "entity": "deal", "status": "won", "id": 5, "paid": 19_901, "refunded": 1, "currency": "EUR",
        "phone": "+1 415 555 7777", "title": "Deal", "lost_reason": "price",
        "items": [{"name": "a"}, {"name": "b"}]
    })
}

#[test]
fn a_rule_with_expressions_sets_exact_values() {
    let rules = rules(DEAL);
    let derivation = run(&rules, &deal());
    let outcome = outcome(&derivation);
    assert_eq!(outcome.value.as_ref().unwrap().amount.to_string(), "99.505");
    assert_eq!(outcome.notes.as_deref(), Some("Deal: price"));
    assert_eq!(
        outcome.subject.phone.as_ref().unwrap().as_str(),
        "+14155557777"
    );
    assert_eq!(outcome.metadata["items"], json!("a, b"));
    assert_eq!(derivation.warnings, Vec::<String>::new());
}

#[test]
fn its_tests_run() {
    let rules = rules(DEAL);
    let results = rules.run_tests(".".as_ref());
    assert_eq!(results.len(), 2);
    for result in results {
        assert!(result.passed(), "{result:?}");
    }
}

#[test]
fn paths_in_expressions_are_known() {
    let rules = rules(DEAL);
    let paths = rules.paths();
    for path in [
        "event.refunded",
        "event.vip",
        "event.phone",
        "event.items",
        "event.lost_reason",
    ] {
        assert!(paths.contains(path), "{path} of {paths:?}");
    }
}

#[test]
fn a_trace_tells_each_part_of_an_if_and_masks_what_is_personal() {
    let rules = rules(DEAL);
    let mut event = deal();
    event["refunded"] = json!(19_900);
    let derivation = run(&rules, &event);
    assert_eq!(derivation.disposition, Disposition::Ignored);
    let text = derivation.trace.to_text(Personal::Shown);
    for part in [
        "✓ if event.status == 'won'",
        "(found event.status = \"won\")",
        "✗ any of",
        "✗ if event.paid - event.refunded > 100",
        "(found event.paid = 19901, event.refunded = 19900)",
        "✗ if event.vip",
        "(found nothing there)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let derivation = run(&rules, &deal());
    let masked = derivation.trace.to_text(Personal::Masked);
    assert!(
        masked.contains("in an expression") && !masked.contains("5557777"),
        "{masked}"
    );
    assert!(!masked.contains("555 7777"), "{masked}");
}

#[test]
fn what_cannot_be_computed_is_a_warning_and_never_the_event() {
    let rules = rules(DEAL);
    let mut event = deal();
    event["paid"] = json!("much");
    let derivation = run(&rules, &event);
    assert_eq!(derivation.disposition, Disposition::Ignored);
    assert_eq!(
        derivation.warnings,
        ["rule `deal_won`: passed over, `if` is not known: `-` cannot be used on \"much\" and 1"]
    );
    event["vip"] = json!(true);
    let derivation = run(&rules, &event);
    assert_eq!(outcome(&derivation).value, None);
    assert!(
        derivation.warnings[0].contains("`value` not set"),
        "{:?}",
        derivation.warnings
    );
}

#[test]
fn every_mistake_of_a_file_is_told_at_its_place() {
    let text = "format = 1\n[[rule]]\nid = \"r\"\nif = \"evnt.a == 1 && sizee(event.b) > 1\"\noutcome = \"closed\"\n[rule.set]\nnotes = \"x {= event.a and event.b }\"\n";
    let found = Ruleset::parse("f.toml".as_ref(), text).unwrap_err();
    let places: Vec<_> = found.iter().map(|d| d.position().unwrap()).collect();
    assert_eq!(places, [(4, 7), (4, 22), (7, 23)]);
    assert!(found.iter().all(|d| d.help.is_some()));
}

#[test]
fn a_rule_with_another_if_does_not_hide_the_one_below() {
    let rule = |id: &str, condition: &str| {
        format!("[[rule]]\nid = \"{id}\"\nif = \"{condition}\"\noutcome = \"closed\"\n")
    };
    let warnings = |a: &str, b: &str| {
        let text = format!("format = 1\n{}{}", rule("a", a), rule("b", b));
        Ruleset::parse("f.toml".as_ref(), &text).unwrap().1.len()
    };
    assert_eq!(warnings("event.a == 1", "event.a == 2"), 0);
    assert_eq!(warnings("event.a == 1", "event.a == 1"), 1);
}
