//! Nothing there, in every place that can meet it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{rules, run};
use crate::mapping::Ruleset;
use crate::model::Disposition;

fn with_row(row: &str) -> Ruleset {
    rules(&format!(
        "[tables.t]\nx = \"y\"\n[[rule]]\nid = \"r\"\nwhen = [{row}]\noutcome = \"closed\"\n[rule.set]\ncall_id = \"c\""
    ))
}

fn matches(rules: &Ruleset, event: &Value) -> bool {
    run(rules, event).disposition == Disposition::Mapped
}

/// Every spelling of nothing.
fn nothings() -> [Value; 6] {
    [
        json!({}),
        json!({"a": null}),
        json!({"a": ""}),
        json!({"a": "  "}),
        json!({"a": []}),
        json!({"a": {}}),
    ]
}

#[test]
fn no_operator_but_absence_holds_for_nothing() {
    for row in [
        "{ field = 'event.a', is = 'x' }",
        "{ field = 'event.a', is_not = 'x' }",
        "{ field = 'event.a', one_of = ['x'] }",
        "{ field = 'event.a', none_of = ['x'] }",
        "{ field = 'event.a', in_table = 't' }",
        "{ field = 'event.a', contains = 'x' }",
        "{ field = 'event.a', starts_with = 'x' }",
        "{ field = 'event.a', ends_with = 'x' }",
        "{ field = 'event.a', matches = '.*' }",
        "{ field = 'event.a', over = 0 }",
        "{ field = 'event.a', under = 5 }",
        "{ field = 'event.a', at_least = 0 }",
        "{ field = 'event.a', at_most = 5 }",
        "{ field = 'event.a', exists = true }",
        "{ field = 'event.a[*]', exists = true }",
        "{ not = { field = 'event.a', exists = false } }",
    ] {
        let rules = with_row(row);
        for event in nothings() {
            assert!(!matches(&rules, &event), "{row} for {event}");
        }
    }
    for row in [
        "{ field = 'event.a', exists = false }",
        "{ field = 'event.a[*].b', exists = false }",
        "{ not = { field = 'event.a', is = 'x' } }",
        "{ not = { field = 'event.a', is_not = 'x' } }",
        "{ any = [ { field = 'event.a', is = 'x' }, { field = 'event.a', exists = false } ] }",
    ] {
        let rules = with_row(row);
        for event in nothings() {
            assert!(matches(&rules, &event), "{row} for {event}");
        }
    }
}

#[test]
fn operators_hold_for_what_is_there() {
    for (row, yes, no) in [
        (
            "{ field = 'event.a', is = 'won' }",
            json!("won"),
            json!("Won"),
        ),
        ("{ field = 'event.a', is = 5 }", json!("5.0"), json!("50")),
        (
            "{ field = 'event.a', is = 1_000 }",
            json!(1000),
            json!(1001),
        ),
        ("{ field = 'event.a', is = 0x10 }", json!(16), json!(10)),
        (
            "{ field = 'event.a', is = true }",
            json!("True"),
            json!("yes"),
        ),
        (
            "{ field = 'event.a', is_not = 'won' }",
            json!("lost"),
            json!("won"),
        ),
        (
            "{ field = 'event.a', one_of = ['a', 5] }",
            json!("5"),
            json!("b"),
        ),
        (
            "{ field = 'event.a', none_of = ['a', 5] }",
            json!("b"),
            json!(5),
        ),
        (
            "{ field = 'event.a', in_table = 't' }",
            json!("x"),
            json!("y"),
        ),
        (
            "{ field = 'event.a', contains = 'ONE' }",
            json!("phone"),
            json!("fax"),
        ),
        (
            "{ field = 'event.a', contains = 'vip' }",
            json!(["new", "VIP"]),
            json!(["vips"]),
        ),
        (
            "{ field = 'event.a', starts_with = 'Ph' }",
            json!("phone"),
            json!("a phone"),
        ),
        (
            "{ field = 'event.a', ends_with = 'É' }",
            json!("café"),
            json!("cafe"),
        ),
        (
            "{ field = 'event.a', matches = '^[0-9]+$' }",
            json!("12"),
            json!("12a"),
        ),
        ("{ field = 'event.a', over = 5 }", json!(5.01), json!(5)),
        (
            "{ field = 'event.a', under = 5 }",
            json!("4.99"),
            json!("4.99 EUR"),
        ),
        (
            "{ field = 'event.a', at_least = 5.5 }",
            json!(5.5),
            json!(5.49),
        ),
        ("{ field = 'event.a', at_most = -1 }", json!(-1), json!(0)),
        (
            "{ field = 'event.a', exists = true }",
            json!(false),
            json!(null),
        ),
        (
            "{ field = 'event.a[*].n', is = 2 }",
            json!([{"n": 1}, {"n": 2}]),
            json!([{"n": 1}]),
        ),
        (
            "{ not = { field = 'event.a[*].n', is = 2 } }",
            json!([{"n": 1}]),
            json!([{"n": 1}, {"n": 2}]),
        ),
        (
            "{ field = 'event.b or event.a', is = 1 }",
            json!(1),
            json!(2),
        ),
        (
            "{ all = [ { field = 'event.a', over = 1 }, { field = 'event.a', under = 3 } ] }",
            json!(2),
            json!(3),
        ),
    ] {
        let rules = with_row(row);
        assert!(matches(&rules, &json!({ "a": yes })), "{row} for {yes}");
        assert!(!matches(&rules, &json!({ "a": no })), "{row} for {no}");
    }
}

fn row() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("event.a"),
        Just("event.b.c"),
        Just("event.l[0]"),
        Just("event.l[1].d")
    ];
    let check = prop_oneof![
        Just("is = 1"),
        Just("is_not = 1"),
        Just("one_of = [1, 'x']"),
        Just("none_of = [2, 'y']"),
        Just("contains = 'x'"),
        Just("under = 2"),
        Just("at_least = 1"),
        Just("exists = true"),
        Just("in_table = 't'"),
    ];
    (field, check).prop_map(|(field, check)| format!("{{ field = '{field}', {check} }}"))
}

fn positive_rows() -> impl Strategy<Value = String> {
    let group = prop::collection::vec(row(), 1..3)
        .prop_map(|rows| format!("{{ any = [{}] }}", rows.join(", ")));
    prop::collection::vec(prop_oneof![row(), group], 1..4).prop_map(|rows| rows.join(", "))
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(1)),
        Just(json!("x")),
        Just(json!("y")),
        Just(json!(3)),
        Just(json!(null))
    ]
}

proptest! {
    #[test]
    fn removing_a_field_never_makes_a_rule_match(
        rows in positive_rows(), a in leaf(), c in leaf(), d in leaf(), first in leaf(), removed in 0..4,
    ) {
        let rules = with_row(&rows);
        let whole = json!({ "a": a, "b": { "c": c }, "l": [first, { "d": d }] });
        let mut less = whole.clone();
        match removed {
            0 => { less.as_object_mut().unwrap().remove("a"); }
            1 => { less["b"].as_object_mut().unwrap().remove("c"); }
            2 => { less["l"][1].as_object_mut().unwrap().remove("d"); }
            _ => less["b"] = Value::Null,
        }
        prop_assert!(matches(&rules, &whole) || !matches(&rules, &less), "{} {}", rows, less);
    }
}
