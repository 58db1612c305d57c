//! From events to facts and dispositions.

use std::path::Path;

use serde_json::{Value, json};

use super::{RECEIVED_AT, outcome, rules, run, run_in, run_with};
use crate::mapping::{Looked, LookedUp, Personal, Ruleset, Trace};
use crate::model::{AppointmentChange, Disposition, Fact, parse_region};

const DEAL: &str = r#"
[tables.stage]
won = "closed"
lost = "lost"

[[rule]]
id = "decided"
when = [{ field = "event.kind", is = "deal" }]
outcome = "{event.stage | table: stage}"
require = ["value"]
[rule.set]
deal_id = "{event.id}"
value = "{event.amount | money}"
currency = "{event.currency or setting.currency}"
label = "{event.label}"
phone = "{event.phone}"

[[rule]]
id = "open"
when = [{ field = "event.kind", is = "deal" }]
ignore = "stage {event.stage}"

[[rule]]
id = "booked"
when = [{ field = "event.start", exists = true }]
appointment = "booked"
[rule.set]
booking_id = "{event.id}"
start = "{event.start | time}"
end = "{event.end | time}"
metadata.source = "deal"
metadata.score = 5
"#;

fn deal(extra: &Value) -> Value {
    let mut event = json!({"kind": "deal", "id": 7, "stage": "won", "amount": "10.50"});
    for (key, value) in extra.as_object().unwrap().clone() {
        event[key] = value;
    }
    event
}

#[test]
fn an_outcome_has_what_the_rule_set_and_the_moment_of_receipt() {
    let derivation = run(&rules(DEAL), &deal(&json!({})));
    let outcome = outcome(&derivation);
    assert_eq!(outcome.value.as_ref().unwrap().to_string(), "10.50 EUR");
    assert_eq!(outcome.subject.deal_id.as_deref(), Some("7"));
    assert_eq!(outcome.occurred_at.to_string(), RECEIVED_AT);
    assert_eq!(
        (derivation.disposition, derivation.reason.as_str()),
        (Disposition::Mapped, "rule `decided`: outcome closed")
    );
    assert_eq!(derivation.warnings, Vec::<String>::new());
    let text = derivation.trace.to_text(Personal::Shown);
    assert!(
        text.contains("`occurred_at` is not set: the moment of receipt is taken"),
        "{text}"
    );
}

#[test]
fn notes_have_no_holes_where_something_is_missing() {
    for (notes, expected) in [
        ("Order {event.name} paid", Some("Order paid")),
        ("Deal won: {event.name}", Some("Deal won")),
        ("{event.type}: {event.stage}", Some("won")),
        ("{event.stage} ({event.name})", Some("won")),
        ("({event.kind}) {event.name}", Some("(deal)")),
        ("{event.stage}:  {event.kind}", Some("won:  deal")),
        ("{event.type}: {event.name}", None),
    ] {
        let text = format!(
            "[[rule]]\nid = \"won\"\noutcome = \"closed\"\n[rule.set]\ndeal_id = \"{{event.id}}\"\nnotes = \"{notes}\""
        );
        let derivation = run(&rules(&text), &deal(&json!({})));
        assert_eq!(outcome(&derivation).notes.as_deref(), expected, "{notes}");
    }
}

#[test]
fn one_event_gives_one_fact_of_each_group() {
    let derivation = run(
        &rules(DEAL),
        &deal(&json!({"start": "2026-01-02T10:00:00Z"})),
    );
    assert_eq!(derivation.facts.len(), 2);
    let Fact::Appointment(appointment) = &derivation.facts[1] else {
        panic!("{:?}", derivation.facts);
    };
    assert_eq!(appointment.change, AppointmentChange::Booked);
    assert_eq!(
        appointment.start.unwrap().to_string(),
        "2026-01-02T10:00:00Z"
    );
    assert_eq!(appointment.end, None);
    assert_eq!(
        Value::from(appointment.metadata.clone()),
        json!({"source": "deal", "score": 5})
    );
    assert_eq!(
        derivation.reason,
        "rule `decided`: outcome closed; rule `booked`: appointment booked"
    );
}

#[test]
fn a_rule_whose_kind_is_not_known_passes_the_event_on_with_a_warning() {
    let derivation = run(&rules(DEAL), &deal(&json!({"stage": "demo"})));
    assert_eq!(
        (derivation.disposition, derivation.reason.as_str()),
        (Disposition::Ignored, "rule `open`: stage demo")
    );
    assert_eq!(
        derivation.warnings,
        [
            "rule `decided`: passed over, its `outcome` is not known: table `stage` has no row for \"demo\""
        ]
    );
}

#[test]
fn a_required_value_that_cannot_be_read_fails_the_event() {
    let derivation = run(&rules(DEAL), &deal(&json!({"amount": "1.234,50"})));
    assert_eq!(derivation.disposition, Disposition::Failed);
    assert_eq!(
        derivation.reason,
        "rule `decided`: `value` is required and not set"
    );
    assert_eq!(derivation.facts, []);
    assert_eq!(
        derivation.warnings,
        ["rule `decided`: `value` not set: `money` cannot read \"1.234,50\""]
    );
}

#[test]
fn bad_amounts_phones_and_times_end_in_a_disposition_and_a_warning() {
    use Disposition::{Failed, Mapped};
    let ends = [
        (json!({"amount": "1,234.50"}), Mapped, ""),
        (json!({"amount": "€ 99"}), Mapped, ""),
        (json!({"amount": -5}), Mapped, ""),
        (json!({"amount": "1e400"}), Failed, "cannot read \"1e400\""),
        (json!({"amount": "NaN"}), Failed, "cannot read \"NaN\""),
        (json!({"currency": "XXXX"}), Failed, "no"),
        (json!({"phone": "anonymous"}), Mapped, "`phone` not set"),
        (json!({"phone": "00000"}), Mapped, "`phone` not set"),
        (
            json!({"start": "9999-12-30T22:00:00Z", "end": "0001-01-01T00:00:00Z"}),
            Mapped,
            "",
        ),
        (
            json!({"start": "2026-05-06 15:00:00", "end": "half past"}),
            Mapped,
            "`end` not set",
        ),
        (
            json!({"start": "10000-01-01T00:00:00Z"}),
            Mapped,
            "`start` not set",
        ),
    ];
    for (extra, disposition, warning) in ends {
        let derivation = run(&rules(DEAL), &deal(&extra));
        assert_eq!(
            derivation.disposition, disposition,
            "{extra}: {derivation:?}"
        );
        assert!(!derivation.reason.is_empty());
        let warnings = derivation.warnings.join("; ");
        assert_eq!(
            warnings.is_empty(),
            warning.is_empty(),
            "{extra}: {warnings}"
        );
        assert!(warnings.contains(warning), "{extra}: {warnings}");
    }
    let value = |amount: Value| {
        let derivation = run(&rules(DEAL), &deal(&json!({ "amount": amount })));
        outcome(&derivation).value.as_ref().unwrap().to_string()
    };
    assert_eq!(value(json!("1,234.50")), "1234.50 EUR");
    assert_eq!(value(json!("€ 99")), "99 EUR");
    assert_eq!(value(json!(-5)), "-5 EUR");
}

#[test]
fn an_amount_without_a_known_currency_is_no_amount() {
    let derivation = run(&rules(DEAL), &deal(&json!({"currency": "coins"})));
    assert_eq!(derivation.disposition, Disposition::Failed);
    assert_eq!(
        derivation.warnings,
        [
            "rule `decided`: `currency` not set: `coins` is not an ISO 4217 currency code",
            "rule `decided`: `value` not set: its currency is not known",
        ]
    );
}

#[test]
fn a_fact_about_nobody_is_unmatched() {
    let rules = rules(
        "[[rule]]\nid = \"r\"\noutcome = \"shown\"\n[rule.set]\nagent_id = \"a\"\ncall_id = \"{event.call}\"",
    );
    let derivation = run(&rules, &json!({}));
    assert_eq!(derivation.disposition, Disposition::Unmatched);
    assert!(
        derivation
            .reason
            .starts_with("rule `r`: nobody can say whom it is about")
    );
    assert_eq!(derivation.facts, []);
    assert_eq!(
        run(&rules, &json!({"call": "c"})).disposition,
        Disposition::Mapped
    );
}

#[test]
fn headers_query_and_settings_can_be_read() {
    let rules = rules(
        "[[rule]]\nid = \"r\"\nwhen = [{ field = \"header.x-kind\", is = \"deal\" }]\noutcome = \"shown\"\n[rule.set]\ncall_id = \"{query.token}-{setting.currency}\"",
    );
    assert_eq!(
        outcome(&run(&rules, &json!({}))).subject.call_id.as_deref(),
        Some("q-EUR")
    );
}

#[test]
fn a_batch_is_split_and_summed_up() {
    let rules = rules(&format!("batch = true\n{DEAL}"));
    let derivation = run(
        &rules,
        &json!([deal(&json!({})), deal(&json!({"stage": "demo"})), {"kind": "x"}, deal(&json!({"amount": "?"}))]),
    );
    assert_eq!(derivation.disposition, Disposition::Mapped);
    assert_eq!(
        derivation.reason,
        "1 of 4 items mapped, 1 failed: rule `decided`: `value` is required and not set, 2 ignored: rule `open`: stage demo, and others"
    );
    assert_eq!(derivation.facts.len(), 1);
}

#[test]
fn a_batch_that_is_not_as_declared_fails() {
    let whole = rules(&format!("batch = true\n{DEAL}"));
    let inside = rules(&format!("batch = \"event.events\"\n{DEAL}"));
    for (rules, body, disposition, reason) in [
        (
            &whole,
            json!([]),
            Disposition::Ignored,
            "the batch is empty",
        ),
        (
            &inside,
            json!({"events": []}),
            Disposition::Ignored,
            "the batch is empty",
        ),
        (
            &inside,
            json!({"events": null}),
            Disposition::Failed,
            "the body has no events at event.events",
        ),
        (
            &whole,
            json!("x"),
            Disposition::Failed,
            "the body is not the list of events that the rules expect",
        ),
        (
            &whole,
            json!(vec![0; 1001]),
            Disposition::Failed,
            "the batch has 1001 items; at most 1000 are taken",
        ),
        (
            &whole,
            deal(&json!({})),
            Disposition::Mapped,
            "rule `decided`: outcome closed",
        ),
        (
            &inside,
            json!({"a": 1}),
            Disposition::Failed,
            "the body has no events at event.events",
        ),
        (
            &inside,
            json!({"events": [deal(&json!({}))]}),
            Disposition::Mapped,
            "rule `decided`: outcome closed",
        ),
    ] {
        let derivation = run(rules, &body);
        assert_eq!(
            (derivation.disposition, derivation.reason.as_str()),
            (disposition, reason)
        );
    }
}

#[test]
fn each_item_of_a_batch_may_have_its_own_look_ups() {
    let text = "format = 1\nbatch = true\n[[rule]]\nid = \"r\"\noutcome = \"shown\"\n[rule.set]\ncall_id = \"{lookup.deal}\"\n[[test]]\nname = \"t\"\nevent = '[{\"n\": 1}, {\"n\": 2}]'\nlookup = '[{\"deal\": \"a\"}, {\"deal\": \"b\"}]'\nexpect = [{ call_id = \"a\" }, { call_id = \"b\" }]";
    let (rules, _) = Ruleset::parse(Path::new("r.toml"), text).unwrap();
    let results = rules.run_tests(Path::new("."));
    assert!(results[0].passed(), "{:?}", results[0].failures);
}

fn over(admin: &str, base: &Ruleset) -> Ruleset {
    let text = format!("format = 1\n{admin}");
    Ruleset::parse_over(Path::new("admin.toml"), &text, base)
        .unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
        .0
}

#[test]
fn an_admins_file_replaces_or_extends_the_connectors() {
    let base = rules(&format!("batch = true\n{DEAL}"));
    let special = "[[rule]]\nid = \"vip\"\nwhen = [{ field = \"event.vip\", is = true }]\noutcome = \"follow_up\"\n[rule.set]\ndeal_id = \"{event.id}\"\n";
    let replaced = over(special, &base);
    assert_eq!(replaced.rule_ids().collect::<Vec<_>>(), ["vip"]);
    assert_eq!(
        run(&replaced, &json!([deal(&json!({}))])).reason,
        "no rule matched"
    );

    let extended = over(&format!("extends = true\n{special}"), &base);
    assert_eq!(
        extended.rule_ids().collect::<Vec<_>>(),
        ["vip", "decided", "open", "booked"]
    );
    let reason = |event| run(&extended, &json!([event])).reason;
    assert_eq!(
        reason(deal(&json!({"vip": true}))),
        "rule `vip`: outcome follow_up"
    );
    assert_eq!(reason(deal(&json!({}))), "rule `decided`: outcome closed");
}

#[test]
fn an_admins_tables_replace_those_of_the_same_name_and_are_checked() {
    let base = rules(DEAL);
    let extended = over("extends = true\n[tables.stage]\nsigned = \"closed\"", &base);
    assert_eq!(
        run(&extended, &deal(&json!({"stage": "signed"}))).disposition,
        Disposition::Mapped
    );
    assert_eq!(
        run(&extended, &deal(&json!({"stage": "won"}))).disposition,
        Disposition::Ignored
    );

    let wrong = "format = 1\nextends = true\n[tables.stage]\nsigned = \"won\"";
    let mistakes = Ruleset::parse_over(Path::new("admin.toml"), wrong, &base).unwrap_err();
    assert_eq!(
        mistakes[0].message,
        "table `stage` is used as an outcome, but its row `signed` says `won`"
    );
    assert_eq!(mistakes[0].position(), Some((4, 10)));

    let uses = "[[rule]]\nid = \"a\"\noutcome = \"{event.other | table: stage}\"\n[rule.set]\ndeal_id = \"{event.id}\"";
    let extended = over(&format!("extends = true\n{uses}"), &base);
    assert_eq!(
        run(&extended, &json!({"id": 1, "other": "won"})).reason,
        "rule `a`: outcome closed"
    );
    let alone = Ruleset::parse_over(
        Path::new("admin.toml"),
        &format!("format = 1\n{uses}"),
        &base,
    );
    assert_eq!(
        alone.unwrap_err()[0].message,
        "there is no table called `stage`"
    );
}

#[test]
fn the_nearest_region_reads_a_phone_number() {
    let rule =
        "[[rule]]\nid = \"r\"\noutcome = \"shown\"\n[rule.set]\nphone = \"{event.phone | phone}\"";
    let german = rules(&format!("region = \"DE\"\n{rule}"));
    let british = parse_region("GB").ok();
    let phone = |rules: &Ruleset, number: &str, region| {
        let derivation = run_in(rules, &json!({ "phone": number }), region);
        outcome(&derivation)
            .subject
            .phone
            .as_ref()
            .unwrap()
            .to_string()
    };
    assert_eq!(
        phone(&german, "030 901820", None),
        "+4930901820",
        "the connector's file"
    );
    assert_eq!(
        phone(&german, "020 7946 0958", british),
        "+442079460958",
        "the source's setting"
    );
    let admin = over(&format!("region = \"US\"\n{rule}"), &german);
    assert_eq!(
        phone(&admin, "(415) 555-7777", british),
        "+14155557777",
        "the admin's file"
    );
    let silent = over(rule, &german);
    assert_eq!(phone(&silent, "020 7946 0958", british), "+442079460958");
    assert_eq!(phone(&silent, "030 901820", None), "+4930901820");
}

#[test]
fn a_trace_tells_the_whole_story_and_survives_json() {
    let rules = rules(
        r#"
[[rule]]
id = "deal_won"
when = [
  { field = "event.status", is = "won" },
  { any = [{ field = "event.a", over = 5 }, { not = { field = "event.b", exists = true } }] },
  { field = "event.previous", is_not = "won" },
]
outcome = "closed"
[[rule]]
id = "follow_up"
when = [{ field = "event.again", is = true }]
outcome = "follow_up"
[rule.set]
phone = "{event.to | phone}"
email = "{event.mail}"
metadata.interest = "{event.interest}"
metadata.date = "{event.date | time}"
"#,
    );
    let event = json!({"status": "won", "a": 1, "again": true, "to": "+90 850 123 45 67", "mail": "ada@example.com", "date": "next Tuesday", "interest": null});
    let trace = run(&rules, &event).trace;
    let text = trace.to_text(Personal::Shown);
    let expected = [
        "rule deal_won",
        "  ✓ event.status is \"won\"                    (found \"won\")",
        "  ✓ any of",
        "    ✗ event.a over 5                         (found 1)",
        "    ✓ not",
        "      ✗ event.b exists true                  (found nothing there)",
        "  ✗ event.previous is_not \"won\"              (found nothing there)",
        "rule follow_up",
        "  ✓ event.again is true                      (found true)",
        "  → matched",
        "  = phone = \"+908501234567\"   (from event.to = \"+90 850 123 45 67\" | phone)",
        "  = email = \"ada@example.com\"   (from event.mail)",
        "  · metadata.interest not set: nothing at event.interest",
        "  ! `metadata.date` not set: `time` cannot read \"next Tuesday\"",
        "  · `occurred_at` is not set: the moment of receipt is taken",
        "  → outcome follow_up",
        "→ mapped: rule `follow_up`: outcome follow_up",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let masked = trace.to_text(Personal::Masked);
    assert!(
        !masked.contains("8501234567")
            && !masked.contains("ada@")
            && masked.contains("next Tuesday"),
        "{masked}"
    );
    let json = serde_json::to_string(&trace).unwrap();
    assert_eq!(serde_json::from_str::<Trace>(&json).unwrap(), trace);
}

#[test]
fn a_trace_stays_small_for_large_events() {
    let rules = rules(
        "batch = true\n[[rule]]\nid = \"r\"\nwhen = [{ field = \"event.a\", is = 1 }, { field = \"event.b\", is = \"x\" }]\noutcome = \"shown\"",
    );
    let long = "x".repeat(100_000);
    let body: Value = (0..1000).map(|_| json!({"a": 1, "b": long})).collect();
    let derivation = run(&rules, &json!([{"a": 1, "b": {"c": [long]}}]));
    assert!(serde_json::to_string(&derivation.trace).unwrap().len() < 1_000);
    let derivation = run(&rules, &body);
    assert!(derivation.trace.cut);
    assert!(serde_json::to_string(&derivation.trace).unwrap().len() < 500_000);
    assert_eq!(derivation.disposition, Disposition::Ignored);
}

#[test]
fn the_paths_of_a_file_are_known_without_running_it() {
    let paths = rules(
        "[[rule]]\nid = \"r\"\nwhen = [{ field = \"event.a or event.b\", is = 1 }]\noutcome = \"shown\"\n[rule.set]\ncall_id = \"{event.c | phone: lookup.d}\"",
    );
    assert_eq!(
        paths.paths().into_iter().collect::<Vec<_>>(),
        ["event.a", "event.b", "event.c", "lookup.d"]
    );
}

#[test]
fn an_item_whose_look_up_is_missing_waits_or_fails_alone() {
    let rules = rules(
        "batch = true\n[[rule]]\nid = \"r\"\nwhen = []\noutcome = \"closed\"\n[rule.set]\ndeal_id = \"{event.id | text}\"\nphone = \"{lookup.contact.phone | phone}\"",
    );
    let answers = json!({ "contact": { "phone": "+14155550123" } });
    let mut looked_up = vec![
        Looked::Answers(answers),
        Looked::Waiting("waits for the look-up `contact`".to_owned()),
    ];
    let event = json!([{ "id": 1 }, { "id": 2 }]);
    let waiting = run_with(&rules, &event, &LookedUp::new(looked_up.clone()));
    assert_eq!(waiting.disposition, Disposition::Waiting);
    let reason = "1 of 2 items mapped, 1 waiting: waits for the look-up `contact`";
    assert_eq!(waiting.reason, reason);
    assert_eq!(waiting.facts.len(), 1);
    looked_up[1] = Looked::Failed("given up".to_owned());
    let failed = run_with(&rules, &event, &LookedUp::new(looked_up));
    assert_eq!(failed.disposition, Disposition::Mapped);
    assert_eq!(failed.reason, "1 of 2 items mapped, 1 failed: given up");
}

#[test]
fn taking_back_what_was_decided_takes_back_both_decisions() {
    let reopened = rules(
        "[[rule]]\nid = \"reopened\"\nretract = \"decided\"\n[rule.set]\ndeal_id = \"{event.id}\"\noccurred_at = \"{event.at | time}\"",
    );
    let derived = run(&reopened, &json!({"id": "7", "at": "2026-03-01T10:00:00Z"}));
    assert_eq!(derived.disposition, Disposition::Mapped);
    assert_eq!(
        derived.reason,
        "rule `reopened`: retract closed, retract lost"
    );
    let taken_back = derived.facts.iter().map(|fact| match fact {
        Fact::Retraction(fact) => (fact.kind.as_str(), fact.subject.deal_id.as_deref()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        taken_back.collect::<Vec<_>>(),
        [("closed", Some("7")), ("lost", Some("7"))]
    );
}

#[test]
fn an_outcome_is_never_decided() {
    let rule =
        "format = 1\n[[rule]]\nid = \"x\"\noutcome = \"decided\"\n[rule.set]\ndeal_id = \"1\"";
    let mistakes = Ruleset::parse("rules.toml".as_ref(), rule).unwrap_err();
    assert!(
        mistakes[0].message.contains("`decided` is not an outcome"),
        "{mistakes:?}"
    );
}
