//! What is said about mistakes in a file: all at once, with place and remedy.

use std::path::Path;

use proptest::prelude::*;

use crate::diagnostic::{Diagnostic, Severity};
use crate::mapping::Ruleset;

fn mistakes(text: &str) -> Vec<Diagnostic> {
    Ruleset::parse(Path::new("deals.toml"), text).expect_err("the file has mistakes")
}

/// A rule with these lines in place of `when`, `outcome` and `set`; the first stands in line 5.
fn rule(lines: &str) -> String {
    format!("format = 1\n\n[[rule]]\nid = \"deal_won\"\n{lines}\n")
}

fn only(text: &str) -> (String, (usize, usize), String) {
    let found = mistakes(text);
    let [one] = found.as_slice() else {
        panic!("expected one mistake: {found:#?}");
    };
    let help = one.help.clone().unwrap_or_default();
    (one.message.clone(), one.position().unwrap(), help)
}

#[test]
fn an_unknown_operator_is_named_with_the_one_that_was_meant() {
    let text =
        rule("when = [{ field = \"event.data.status\", contain = \"won\" }]\noutcome = \"closed\"");
    assert_eq!(
        only(&text),
        (
            "there is no operator called `contain`".into(),
            (5, 40),
            "did you mean `contains`?".into()
        )
    );
    assert_eq!(
        mistakes(&text)[0].context.as_deref(),
        Some("rule \"deal_won\"")
    );
}

#[test]
fn a_batch_of_several_lists_is_refused_since_only_the_first_would_be_taken() {
    let text = "format = 1\nbatch = \"event.entry[*].changes\"\n\n[[rule]]\nid = \"r\"\noutcome = \"closed\"\n";
    assert_eq!(
        only(text),
        (
            "`event.entry[*].changes` names several lists, and `batch` takes one".into(),
            (2, 9),
            "name the list itself, without `[*]`; lists within a list cannot be taken apart".into()
        )
    );
}

#[test]
fn an_unknown_outcome_is_named_with_all_known_ones() {
    assert_eq!(
        only(&rule("outcome = \"noshow\"")),
        (
            "`noshow` is not an outcome".into(),
            (5, 11),
            "did you mean `no_show`? known: shown, no_show, closed, lost, follow_up".into()
        )
    );
}

#[test]
fn an_unknown_source_of_a_path_is_found_inside_the_text() {
    let text = rule("outcome = \"closed\"\n[rule.set]\ncall_id = \"id {evnt.id}\"");
    let (message, place, help) = only(&text);
    assert_eq!(
        (message.as_str(), place),
        ("`evnt` is not a known source", (7, 16))
    );
    assert_eq!(
        help,
        "a field path starts with one of: event, lookup, header, query, setting; did you mean `event`?"
    );
}

#[test]
fn a_wrong_selector_shows_an_example() {
    let text = rule(
        "when = [{ field = \"event.qa[question contains 'phone'].answer\", exists = true }]\noutcome = \"closed\"",
    );
    assert_eq!(
        only(&text),
        (
            "expected `=` (equals) or `~` (contains)".into(),
            (5, 38),
            "example: questions_and_answers[question ~ 'phone'].answer".into()
        )
    );
}

#[test]
fn a_table_used_as_an_outcome_may_say_outcomes_only() {
    let text = rule(
        "outcome = \"{event.a | table: stage}\"\n[tables.stage]\nok = \"closed\"\nbadrow = \"won\"",
    );
    let (message, place, _) = only(&text);
    assert_eq!(
        message,
        "table `stage` is used as an outcome, but its row `badrow` says `won`"
    );
    assert_eq!(place, (8, 10));
}

#[test]
fn each_mistake_has_its_words() {
    for (lines, message) in [
        (
            "outcome = \"closed\"\n[rule.set]\nvalue = \"{event.v | money}\"",
            "`value` is set but `currency` is not",
        ),
        (
            "outcome = \"closed\"\n[rule.set]\noccured_at = \"{event.t}\"",
            "`occured_at` cannot be set",
        ),
        (
            "outcome = \"closed\"\nif = \"evnt.a == 1\"",
            "`evnt` is not a known source",
        ),
        (
            "outcome = \"closed\"\n[rule.set]\nnotes = \"a{= event.a and event.b}\"",
            "expression: Syntax error: mismatched input 'and'",
        ),
        ("when = []", "this rule gives nothing"),
        (
            "outcome = \"closed\"\nretract = \"lost\"",
            "this rule gives more than one kind of fact",
        ),
        (
            "outcome = \"{event.a}\"",
            "an outcome that is computed must come from a table",
        ),
        ("outcome = 5", "`outcome` must be a text, but is a number"),
        (
            "appointment = \"bookd\"",
            "`bookd` is not an appointment change",
        ),
        ("call = \"begun\"", "`begun` is not a call change"),
        (
            "outcome = \"closed\"\nwen = []",
            "there is no key called `wen`",
        ),
        (
            "outcome = \"closed\"\nwhen = { field = \"event.a\", is = 1 }",
            "conditions must be a list of rows",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ is = 1 }]",
            "this row has no `field`",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ field = \"event.a\" }]",
            "this row has no operator",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ field = \"event.a\", is = 1, over = 5 }]",
            "this row has more than one operator",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ field = \"event.a[*]\", is_not = 1 }]",
            "`is_not` cannot be asked of every item (`[*]`)",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ field = \"event.a\", is = [1] }]",
            "`is` takes one value",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ field = \"event.a\", is = \"\" }]",
            "`is` cannot compare with blank text: that counts as nothing there",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ field = \"event.a\", one_of = [] }]",
            "`one_of` has an empty list",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ field = \"event.a\", over = \"much\" }]",
            "`over` must be a number, but is a text",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ field = \"event.a\", in_table = \"t\" }]",
            "there is no table called `t`",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ field = \"event.a\", matches = \"(\" }]",
            "not a regular expression: unclosed group",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ any = [] }]",
            "`any` has no rows",
        ),
        (
            "outcome = \"closed\"\nwhen = [{ not = { field = \"event.a\", is = 1 }, field = \"event.b\" }]",
            "`any`, `all` and `not` stand alone in their row",
        ),
        (
            "outcome = \"closed\"\nrequire = [\"value\"]",
            "`value` is required, but the rule does not set it",
        ),
        (
            "retract = \"closed\"\n[rule.set]\nnotes = \"x\"",
            "`notes` cannot be set for `retract`",
        ),
        (
            "outcome = \"closed\"\n[rule.set]\nstart = \"{event.a | time}\"",
            "`start` cannot be set for `outcome`",
        ),
        (
            "outcome = \"closed\"\n[rule.set]\ncall_id = 5",
            "`call_id` must be a text, but is a number",
        ),
        (
            "ignore = \"x\"\ninferred = true",
            "only an `outcome` can be `inferred`",
        ),
        (
            "outcome = \"closed\"\ninferred = \"yes\"",
            "`inferred` must be true or false, but is a text",
        ),
    ] {
        assert_eq!(only(&rule(lines)).0, message);
    }
}

#[test]
fn what_a_rule_lacks_is_shown_at_its_beginning() {
    let (message, place, help) = only(&rule("when = []"));
    assert_eq!(message, "this rule gives nothing");
    assert_eq!(place, (3, 1));
    assert_eq!(
        help,
        "write exactly one of: outcome, retract, appointment, call, ignore"
    );
    let text =
        rule("outcome = \"closed\"\n[rule.set]\nnotes = \"x\"\nvalue = \"{event.v | money}\"");
    assert_eq!(only(&text).1, (8, 1), "the value without a currency");
}

#[test]
fn mistakes_of_the_file_itself_are_found() {
    for (text, message) in [
        ("", "the file does not say its `format`"),
        ("format = 2", "this version reads `format = 1` only"),
        (
            "format = 1\nregion = \"XX\"",
            "`XX` is not a region: use a two-letter country code such as `US`",
        ),
        (
            "format = 1\nbatch = 5",
            "`batch` must be true or the path of a list, but is a number",
        ),
        (
            "format = 1\nbatch = \"body.a\"",
            "`body` is not a known source",
        ),
        ("format = 1\nruls = []", "there is no key called `ruls`"),
        (
            "format = 1\n[tables.a]\nb = 5",
            "`b` must be a text, but is a number",
        ),
        ("format = 1\nrule = 5", "a rule begins with [[rule]]"),
        (
            "format = 1\n[[rule]]\noutcome = \"closed\"",
            "this rule has no `id`",
        ),
        (
            "format = 1\n[[test]]\nname = \"t\"\nexpect = \"nothing\"",
            "this test has no `event`",
        ),
        (
            "format = 1\n[[test]]\nname = \"t\"\nevent = \"{\"\nexpect = \"nothing\"",
            "`event` is not JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            "format = 1\n[[test]]\nname = \"t\"\nevent = \"{}\"\nexpect = \"nothin\"",
            "`expect` must say which facts come out",
        ),
    ] {
        assert_eq!(only(text).0, message, "{text}");
    }
    let twice = "format = 1\n[[rule]]\nid = \"a\"\noutcome = \"lost\"\nwhen = [{ field = \"event.a\", is = 1 }]\n[[rule]]\nid = \"a\"\noutcome = \"closed\"";
    assert_eq!(only(twice).0, "two rules are called `a`");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_in_its_order() {
    let text = r#"format = 1
region = "XX"
[[rule]]
id = "one"
when = [{ field = "evnt.a", contain = "x" }, { field = "event.b", is = [] }]
outcome = "noshow"
[rule.set]
call_id = "{event.a | lowr}"
phon = "x"
[[rule]]
outcome = "{event.a | table: none}"
[[rule]]
id = "one"
outcome = "lst"
"#;
    let found = mistakes(text);
    let lines: Vec<usize> = found.iter().map(|d| d.position().unwrap().0).collect();
    assert_eq!(lines, [2, 5, 5, 5, 6, 8, 9, 10, 11, 13, 14], "{found:#?}");
}

#[test]
fn a_constant_that_no_event_could_have_is_a_mistake() {
    for (key, text, why) in [
        ("currency", "EURO\"\nvalue = \"9", "EURO"),
        ("value", "12,50,1\"\ncurrency = \"EUR", "12,50,1"),
        ("occurred_at", "tomorrow", "tomorrow"),
        ("email", "nobody", "no"),
    ] {
        let file = format!(
            "format = 1\n[[rule]]\nid = \"a\"\nwhen = [{{ field = \"event.a\", is = 1 }}]\noutcome = \"lost\"\n[rule.set]\n{key} = \"{text}\""
        );
        let (message, ..) = only(&file);
        let said = format!("`{key}` would never be set: ");
        assert!(
            message.starts_with(&said) && message.contains(why),
            "{message}"
        );
    }
}

#[test]
fn what_can_never_matter_is_a_warning() {
    let text = r#"format = 1
[[rule]]
id = "first"
when = [{ field = "event.a", is = 1 }, { field = "event.a", is = 1 }]
outcome = "closed"
[[rule]]
id = "booked"
when = [{ field = "event.a", is = 1 }, { field = "event.a", is = 1 }]
appointment = "booked"
[[rule]]
id = "again"
when = [{ field = "event.b", is = 1 }]
outcome = "lost"
[[rule]]
id = "same"
when = [{ field = "event.b", is = 1 }]
retract = "lost"
[[rule]]
id = "all"
ignore = "the rest"
[[rule]]
id = "late"
when = [{ field = "event.c", is = 1 }]
outcome = "lost"
"#;
    let (_, warnings) = Ruleset::parse(Path::new("r.toml"), text).unwrap();
    let said: Vec<&str> = warnings
        .iter()
        .map(|warning| warning.message.as_str())
        .collect();
    assert_eq!(
        said,
        [
            "the same condition twice: event.a is 1",
            "the same condition twice: event.a is 1",
            "this rule never matters: rule `again` above it has the same conditions",
            "this rule never matters: rule `all` above it always matches",
        ]
    );
    assert!(
        warnings
            .iter()
            .all(|warning| warning.severity == Severity::Warning)
    );
}

#[test]
fn limits_hold() {
    let rows = vec!["{ field = 'event.a', is = 1 }"; 61].join(", ");
    let text = rule(&format!("when = [{rows}]\noutcome = \"closed\""));
    assert_eq!(only(&text).0, "61 rows; at most 60 are allowed");
    let mut many = "format = 1\n".to_owned();
    for n in 0..201 {
        many.push_str(&format!("[[rule]]\nid = \"r{n}\"\nwhen = [{{ field = \"event.a\", is = {n} }}]\noutcome = \"closed\"\n"));
    }
    assert_eq!(only(&many).0, "201 rules; at most 200 are allowed");
    let metadata: String = (0..51).map(|n| format!("m{n} = \"x\"\n")).collect();
    let text = rule(&format!(
        "outcome = \"closed\"\n[rule.set.metadata]\n{metadata}"
    ));
    assert_eq!(only(&text).0, "51 metadata; at most 50 are allowed");
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "[ -~\n]{0,80}") {
        let _ = Ruleset::parse(Path::new("r.toml"), &text);
        let _ = Ruleset::parse(Path::new("r.toml"), &rule(&text));
    }

    #[test]
    fn no_value_makes_the_loader_panic(
        key in prop_oneof![
            Just("when"), Just("outcome"), Just("set"), Just("require"), Just("id"), Just("inferred"), Just("ignore"),
        ],
        value in prop_oneof![
            Just("5"), Just("''"), Just("[]"), Just("{}"), Just("true"), Just("1979-05-27"), Just("[[{}]]"), Just("[{ field = 5 }]"),
            Just("[{ any = [{ not = [] }] }]"), Just("{ metadata = 5, value = {} }"), Just("nan"), Just("'{event'"),
        ],
    ) {
        let text = format!("format = 1\n[[rule]]\n{key} = {value}\n[[test]]\n{key} = {value}\nname = {value}\nevent = {value}\nexpect = {value}");
        let found = mistakes(&text);
        prop_assert!(found.iter().all(|mistake| mistake.position().is_some()));
    }
}
