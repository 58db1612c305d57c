//! The rules of seven products, each with its own tests in the file.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::Value;

use crate::mapping::{Personal, Ruleset, Trace};
use crate::model::Disposition;

fn check(name: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mapping/tests/rules");
    let file = dir.join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&file).unwrap();
    let (rules, warnings) =
        Ruleset::parse(&file, &text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(warnings, [], "{name}");
    let results = rules.run_tests(&dir);
    assert!(!results.is_empty());
    for result in &results {
        let trace = result
            .trace
            .as_ref()
            .map(|trace| trace.to_text(Personal::Shown));
        assert!(
            result.passed(),
            "{}: {:#?}\n{}",
            result.name,
            result.failures,
            trace.unwrap_or_default()
        );
    }
    assert_eq!(rules.untested_rules(&results), Vec::<&str>::new());
}

#[test]
fn calendly() {
    check("calendly");
}

#[test]
fn cal_com() {
    check("cal_com");
}

#[test]
fn hubspot() {
    check("hubspot");
}

#[test]
fn pipedrive() {
    check("pipedrive");
}

#[test]
fn stripe() {
    check("stripe");
}

#[test]
fn call2me() {
    check("call2me");
}

#[test]
fn soap() {
    check("soap");
}

static PRODUCTS: LazyLock<Vec<Ruleset>> = LazyLock::new(|| {
    let files = [
        include_str!("rules/calendly.toml"),
        include_str!("rules/cal_com.toml"),
        include_str!("rules/hubspot.toml"),
        include_str!("rules/pipedrive.toml"),
        include_str!("rules/stripe.toml"),
        include_str!("rules/call2me.toml"),
        include_str!("rules/soap.toml"),
    ];
    let read = |text: &&str| Ruleset::parse(Path::new("r.toml"), text).unwrap().0;
    files.iter().map(read).collect()
});

/// JSON that reaches deep into the rules: the names of their paths, and values of every kind.
fn event() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "event",
        "type",
        "payload",
        "data",
        "object",
        "meta",
        "status",
        "previous",
        "amount_paid",
        "currency",
        "attendees",
        "triggerEvent",
        "entity",
        "action",
        "email",
        "id",
        "created",
        "extraction",
        "questions_and_answers",
        "question",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec![
            "invitee_no_show.created",
            "MEETING_ENDED",
            "BOOKING_NO_SHOW_UPDATED",
            "deal",
            "change",
            "won",
            "invoice.paid",
            "call.ended",
            "true",
            "usd",
            "+14155557777",
            "2026-01-02T00:00:00Z",
            "99999999999999999999999999999999",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|entries| entries
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_event_ends_in_a_disposition_with_a_reason(event in event()) {
        for rules in &*PRODUCTS {
            let derivation = super::run(rules, &event);
            prop_assert!(!derivation.reason.is_empty());
            prop_assert_eq!(derivation.disposition == Disposition::Mapped, !derivation.facts.is_empty());
            prop_assert_eq!(&derivation, &super::run(rules, &event));
            let stored = serde_json::to_string(&derivation.trace).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Trace>(&stored).unwrap(), &derivation.trace);
        }
    }
}

#[test]
fn a_failing_test_says_what_differs() {
    let text = r#"
format = 1
[[rule]]
id = "won"
when = [{ field = "event.status", is = "won" }]
outcome = "closed"
[rule.set]
deal_id = "{event.id}"
[[rule]]
id = "lost"
when = [{ field = "event.status", is = "lost" }]
outcome = "lost"
[[test]]
name = "wrong"
event = { id = 5, status = "won" }
expect = { outcome = "lost", deal_id = 5, value = "10", call_id = false }
warnings = 1
disposition = "ignored"
[[test]]
name = "no such file"
event = "none.json"
expect = "nothing"
"#;
    let (rules, _) = Ruleset::parse("r.toml".as_ref(), text).unwrap();
    let results = rules.run_tests("/nowhere".as_ref());
    assert_eq!(
        results[0].failures,
        [
            "outcome: expected \"lost\", got \"closed\"",
            "value: expected \"10\", got nothing",
            "disposition: expected ignored, got mapped",
            "expected 1 warnings, got 0: ",
        ]
    );
    assert!(results[1].failures[0].starts_with("cannot read `none.json`"));
    assert_eq!(rules.untested_rules(&results), ["lost"]);
}
