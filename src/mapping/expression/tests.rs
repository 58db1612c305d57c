//! Expressions on hostile rules and payloads, and the promises of the module.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Budget, Computed, Condition};
use crate::mapping::notes::Notes;
use crate::mapping::scope::Scope;
use crate::mapping::table::Table;
use crate::mapping::template::Vocabulary;
use crate::mapping::testing::Tabled;
use crate::mapping::trace::Trace;
use crate::model::Region;

fn scope(event: Value) -> Tabled {
    Tabled::new(event)
}

fn vocabulary(scope: &Tabled) -> Vocabulary<'_> {
    Vocabulary {
        roots: &["event", "lookup"],
        tables: &scope.tables,
    }
}

/// Whether `text` holds for `event`, or why it cannot be asked.
fn holds(text: &str, event: Value) -> Result<bool, String> {
    let scope = scope(event);
    let condition = match Condition::parse(text, vocabulary(&scope)) {
        Ok(condition) => condition,
        Err(mistakes) => panic!("{text}: {mistakes:?}"),
    };
    condition.hold_traced(&scope, &mut Trace::default())
}

/// The value of `text` for `event` as text, and what was wrong.
fn value(text: &str, event: Value) -> Result<Option<String>, String> {
    let scope = scope(event);
    let computed = match Computed::parse(text, vocabulary(&scope)) {
        Ok(computed) => computed,
        Err(mistakes) => panic!("{text}: {mistakes:?}"),
    };
    let mut notes = Notes::default();
    let found = computed
        .find(&scope, &mut notes)
        .and_then(|datum| Some(datum.text()?.into_owned()));
    match notes.unusable.pop() {
        Some(why) => Err(why),
        None => Ok(found),
    }
}

fn mistakes(text: &str) -> Vec<(String, std::ops::Range<usize>)> {
    let scope = scope(json!({}));
    let mistakes = Condition::parse(text, vocabulary(&scope))
        .err()
        .unwrap_or_default();
    mistakes.into_iter().map(|m| (m.message, m.span)).collect()
}

fn sample() -> Value {
    json!({
        "a": {"b": null, "n": 1999, "f": 0.1, "t": "true", "s": "won", "blank": " "},
        "big": 9_007_199_254_740_993_u64,
        "huge": 1e300,
        "phone": "(415) 555-7777",
        "money": "$ 1,234.50",
        "cents": 199_999,
        "currency": "usd",
        "stage": "closedwon",
        "at": "2026-01-02T09:15:00-05:00",
        "items": [{"name": "x", "paid": true}, {"name": "y"}, {"name": "z", "paid": false}],
        "one": {"name": "only", "paid": true},
        "sf:Amount": 5,
        "b-c": 7,
        "holes": [null, ""],
        "gaps": ["a", null, "b"],
        "ünïcode": "é"
    })
}

#[test]
fn what_is_absent_null_or_blank_never_matches_by_itself() {
    for text in [
        "event.missing == 'x'",
        "event.missing != 'x'",
        "!(event.missing == 'x')",
        "event.missing > 5",
        "event.missing < 5",
        "event.missing.deep == 'x'",
        "event.a.b != 'x'",
        "!event.a.b",
        "event.a.blank != 'x'",
        "event.a.blank == ' '",
        "event.missing && true",
        "true && event.missing",
        "event.missing || false",
        "event.missing ? true : true",
        "null",
        "event.items[7].name != 'x'",
        "lookup.deal.name != 'x'",
        "event.missing.exists(x, true)",
        "event.?missing == 'x'",
        "event.?missing.deep != 'x'",
        "event.items.all(i, i.paid)",
        "event.missing.contains('x')",
        "size(event.missing) == 0",
        "has(event.a.b)",
        "has(event.missing.deep)",
        "has(event.a.blank)",
        "event.holes.exists(h, h != 'x')",
        "event.holes[0] != 'x'",
        "!(event.holes[1] == 'x')",
    ] {
        // `all` meets an item that is false, which decides.
        assert_eq!(holds(text, sample()), Ok(false), "{text}");
    }
    for text in [
        "event.missing == 'x' || event.a.s == 'won'",
        "event.a.s == 'won' || event.missing",
        "!(event.missing && false)",
        "!has(event.a.b)",
        "!has(event.a.b.c)",
        "has(event.a.s)",
        "event.a.?b.orValue('d') == 'd'",
        "event.?gone.deep.orValue('d') == 'd'",
        "event.gone.?deep.orValue('d') == 'd'",
        "event.a.?s.orValue('d') == 'won'",
        "event.?a.s.hasValue()",
        "!event.?a.b.hasValue()",
        "event.?x.or(event.?a.s).orValue('') == 'won'",
        "event.items[?0].name.orValue('') == 'x'",
        "event.items.exists(i, i.paid)",
        "!event.items.all(i, i.paid)",
    ] {
        assert_eq!(holds(text, sample()), Ok(true), "{text}");
    }
}

#[test]
fn numbers_are_exact() {
    for (text, expected) in [
        ("0.1 + 0.2", "0.3"),
        ("event.a.f + 0.2", "0.3"),
        ("event.a.n / 100", "19.99"),
        ("event.a.n / 100 * 100", "1999"),
        ("event.big + 1", "9007199254740994"),
        ("-event.a.n", "-1999"),
        ("7 % 4", "3"),
        ("-2.5e2 + 5u", "-245"),
        ("0x10", "16"),
        ("1234567890.123456789012 + 0", "1234567890.123456789012"),
        ("money(event.money) - 0.5", "1234.00"),
        ("minor_units(event.cents, event.currency)", "1999.99"),
    ] {
        assert_eq!(
            value(text, sample()),
            Ok(Some(expected.to_owned())),
            "{text}"
        );
    }
    assert_eq!(holds("0.1 + 0.2 == 0.3", sample()), Ok(true));
    assert_eq!(
        holds("event.a.n == 1999.0 && 2 > 1.5 && 10 >= 9", sample()),
        Ok(true)
    );
}

#[test]
fn what_cannot_be_computed_says_why() {
    for (text, why) in [
        ("event.a.n / 0", "1999 cannot be divided by zero"),
        ("event.a.n % 0", "1999 cannot be divided by zero"),
        ("9223372036854775807 * 9223372036854775807", "is too large"),
        ("event.huge + 1", "is too large or too small to be exact"),
        (
            "event.a.n + event.a.s",
            "`+` cannot be used on 1999 and \"won\"",
        ),
        ("-event.a.s", "`-` cannot be used on \"won\""),
        (
            "event.a.n.contains('9')",
            "`contains` cannot be used on 1999",
        ),
        ("event.a.s ? 1 : 2", "\"won\" is neither true nor false"),
        ("event.a.s.exists(x, true)", "\"won\" is not a list"),
        ("event.items[1.5]", "1.5 is no position in a list"),
        ("event.items.map(i, i.name)", "the expression gives a list"),
        ("time(event.a.s)", "`time` cannot read \"won\""),
        ("phone(event.currency)", "`phone` cannot read \"usd\""),
        (
            "table(event.currency, 'stage')",
            "table `stage` has no row for \"usd\"",
        ),
    ] {
        let got = value(text, sample()).unwrap_err();
        assert!(got.contains(why), "{text}: {got}");
    }
    assert!(
        holds("event.a.n > '5'", sample())
            .unwrap_err()
            .contains("`<` cannot be used on")
    );
    assert_eq!(holds("event.a.n > '5' || true", sample()), Ok(true));
    assert_eq!(holds("event.a.t == true", sample()), Ok(false));
}

#[test]
fn functions_are_those_of_look_ups() {
    for (text, expected) in [
        ("phone(event.phone)", "+14155557777"),
        ("event.phone.phone()", "+14155557777"),
        ("phone('020 7946 0958', 'GB')", "+442079460958"),
        ("time(event.at)", "2026-01-02T14:15:00Z"),
        ("table(event.stage, 'stage')", "closed"),
        ("default(table(event.currency, 'stage'), 'none')", "none"),
        ("default(event.missing, 'none')", "none"),
        ("upper(event.currency) + '-' + text(event.a.n)", "USD-1999"),
        ("'tel:' + phone(event.phone)", "tel:+14155557777"),
        ("join(event.items.map(i, i.name), ', ')", "x, y, z"),
        ("event.gaps.join(', ')", "a, b"),
        (
            "event.items.filter(i, i.paid).map(i, i.name).join('+')",
            "x",
        ),
        ("event.items.map(i, i.paid, i.name).join('+')", "x"),
        ("text(size(event.items))", "3"),
        ("cut(event.a.s, 2)", "wo"),
        ("event['sf:Amount'] + 1", "6"),
        ("event.`b-c` + 1", "8"),
        ("event['ünïcode'] + 'ß'", "éß"),
        ("event.items[-1].name", "z"),
        ("event.one.map(i, i.name).join('')", "only"),
        ("event.a.s == 'won' ? 'yes' : 'no'", "yes"),
    ] {
        assert_eq!(
            value(text, sample()),
            Ok(Some(expected.to_owned())),
            "{text}"
        );
    }
    for text in [
        "event.a.s in ['won', 'lost']",
        "!(event.a.s in ['lost'])",
        "'name' in event.one",
        "event.a.s.startsWith('w') && event.a.s.endsWith('n')",
        "event.phone.matches('^[(][0-9]+')",
        "event.items.exists_one(i, i.name == 'x')",
        "time(event.at) > time('2025-01-01T00:00:00Z')",
        "event.items.map(i, i.name) == ['x', 'y', 'z']",
        "[1, 2] + [3] == [1.0, 2, 3]",
        "event.one == event.one",
        "event.items.exists(i, event.items.exists(j, i.name + j.name == 'zx'))",
    ] {
        assert_eq!(holds(text, sample()), Ok(true), "{text}");
    }
    assert_eq!(value("event.a.b", sample()), Ok(None));
    assert_eq!(value("event.a.s == 'x' ? 'a' : null", sample()), Ok(None));
}

#[test]
fn hostile_rules_are_refused_or_cost_little() {
    let nested = |n: usize| format!("{}1{} == 1", "(".repeat(n), ")".repeat(n));
    assert_eq!(holds(&nested(12), json!({})), Ok(true));
    assert_eq!(holds(&nested(16), json!({})), Ok(true));
    assert!(mistakes(&nested(17))[0].0.contains("more than 16 brackets"));
    let plus = |n: usize| format!("{} == 1", vec!["1"; n].join("+"));
    assert!(mistakes(&plus(490))[0].0.contains("too many levels"));
    assert!(mistakes(&plus(2_000))[0].0.contains("at most 1000"));
    let ternary = "true?".repeat(150) + "1" + &":1".repeat(150);
    assert!(!mistakes(&ternary).is_empty());
    for text in [
        "!".repeat(999) + "true",
        "-".repeat(998) + "1",
        "[".repeat(999),
        "a.".repeat(499),
        "'".repeat(999),
        "\\".repeat(99),
        "`".repeat(999),
        "(')'(')'".repeat(120),
    ] {
        let _ = mistakes(&text);
    }
    let items: Vec<u32> = (0..300).collect();
    let event = json!({ "l": items });
    let three = "event.l.all(a, event.l.all(b, event.l.all(c, a + b + c >= 0)))";
    assert!(mistakes(three)[0].0.contains("3 loops inside one another"));
    let two = "event.l.all(a, event.l.all(b, a + b >= 0))";
    let begin = Instant::now();
    assert!(
        holds(two, event.clone())
            .unwrap_err()
            .contains("10000 units")
    );
    let maps = "event.l.map(a, event.l.map(b, a + b)).size() > 0";
    assert!(holds(maps, event).unwrap_err().contains("10000 units"));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(!mistakes("event.a.matches('((x{1000}){1000}){1000}')").is_empty());
    let long = json!({ "a": "x".repeat(1_000), "l": vec![0; 300] });
    let grown = "size(replace(replace(event.a, 'x', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'), 'y', 'zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz')) <= 65536";
    assert_eq!(holds(grown, long.clone()), Ok(true));
    let doubled = format!(
        "{}.size() > 0",
        "(event.a + event.a + event.a + event.a)"
            .replace("event.a", "(event.a + event.a + event.a + event.a)")
    );
    assert_eq!(holds(&doubled, long.clone()), Ok(true));
    let heavy = json!({ "a": "x".repeat(900_000), "l": vec![0; 5_000] });
    assert!(
        holds("event.l.all(i, event.a.contains('x'))", heavy.clone())
            .unwrap_err()
            .contains("units")
    );
    assert!(
        holds("event.l.all(i, event.a == event.a)", heavy)
            .unwrap_err()
            .contains("units")
    );
}

#[test]
fn the_work_of_an_event_is_shared_and_no_or_makes_up_for_it() {
    struct Shared(Tabled, Budget);
    impl Scope for Shared {
        fn root(&self, name: &str) -> Option<&Value> {
            self.0.root(name)
        }
        fn region(&self) -> Option<Region> {
            self.0.region()
        }
        fn table(&self, name: &str) -> Option<&Table> {
            self.0.table(name)
        }
        fn budget(&self) -> Option<&Budget> {
            Some(&self.1)
        }
    }
    let shared = Shared(scope(json!({ "l": vec![1; 4_000] })), Budget::default());
    let condition =
        Condition::parse("event.l.all(x, x > 0) || true", vocabulary(&shared.0)).unwrap();
    let ask = || condition.hold_traced(&shared, &mut Trace::default());
    assert_eq!(ask(), Ok(true));
    assert_eq!(ask(), Ok(true));
    assert!(ask().unwrap_err().contains("10000 units"));
}

#[test]
fn mistakes_have_their_place() {
    for (text, message, span) in [
        ("evnt.a == 1", "`evnt` is not a known source", 0..4),
        ("'é' == evnt.a", "`evnt` is not a known source", 8..12),
        (
            "event.a == 1 and event.b == 2",
            "expression: Syntax error: mismatched input 'and'",
            13..14,
        ),
        (
            "event.a == null",
            "nothing can be compared with `null`",
            11..15,
        ),
        (
            "sizee(event.a) == 1",
            "there is no function called `sizee`",
            0..6,
        ),
        (
            "event.a.matches(event.b)",
            "the pattern of `matches` is written in the rule",
            16..23,
        ),
        (
            "phone(event.a, 'XX') == 'a'",
            "`XX` is not a country",
            13..20,
        ),
        (
            "event.l.all(event, true)",
            "`event` cannot name the item: it is a source",
            12..17,
        ),
        ("{'a': 1} == 1", "objects cannot be made in a rule", 0..1),
        ("b'x' == 1", "there are no bytes in a rule", 0..4),
        ("  ", "this expression is empty", 0..2),
        ("has(1)", "`has` asks for a field", 4..5),
        (
            "event.a.size(1)",
            "`size` takes 1 value, and 2 are given",
            12..13,
        ),
        (
            "table(event.a, 'stag') == 'x'",
            "there is no table called `stag`",
            13..22,
        ),
    ] {
        let found = mistakes(text);
        let (got, at) = found.first().cloned().unwrap_or_default();
        assert!(
            got.starts_with(message) || message.starts_with("`XX`") && got.contains("XX"),
            "{text}: {got}"
        );
        assert_eq!(at, span, "{text}: {got}");
    }
    let all = mistakes("evnt.a == 1 && sizee(event.a) == 1 && event.b == null");
    assert_eq!(all.len(), 3, "{all:?}");
}

#[test]
fn paths_and_leaves_are_known() {
    let scope = scope(sample());
    let text = "event.a.s == 'won' && !(size(event.items) > 5 || event.items.exists(i, i.paid == event['any name'])) && minor_units(event.cents, event.currency) > (1 + 1)";
    let condition = Condition::parse(text, vocabulary(&scope)).unwrap();
    let paths: Vec<&str> = condition.paths().map(super::Path::as_str).collect();
    assert_eq!(
        paths,
        [
            "event.a.s",
            "event.items",
            "event.items",
            "event.items[*].paid",
            "event.[\"any name\"]",
            "event.currency",
            "event.cents"
        ]
    );
    let mut trace = Trace::default();
    assert_eq!(condition.hold_traced(&scope, &mut trace), Ok(false));
    let shown = trace.to_text(crate::mapping::Personal::Shown);
    assert!(shown.contains("✓ if event.a.s == 'won'"), "{shown}");
    assert!(shown.contains("(found event.a.s = \"won\")"), "{shown}");
    assert!(shown.contains("✗ if size(event.items) > 5"), "{shown}");
    assert!(
        shown.contains("✗ if event.items.exists(i, i.paid == event['any name'])"),
        "{shown}"
    );
}

const TOKENS: [&str; 48] = [
    "event",
    "event.a",
    "event.items",
    "lookup",
    "x",
    "i",
    "'won'",
    "1",
    "0.5",
    "true",
    "null",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ".?",
    "?",
    ":",
    ",",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    " in ",
    "has(",
    "size(",
    ".all(i,",
    ".exists(i,",
    ".map(i,",
    ".filter(i,",
    ".orValue(",
    ".a",
    "[0]",
    "phone(",
    "money(",
    "\n",
    "`b-c`",
];

fn survive(text: &str, event: &Value) {
    let scope = scope(event.clone());
    if let Ok(condition) = Condition::parse(text, vocabulary(&scope)) {
        let _ = condition.hold_traced(&scope, &mut Trace::default());
    }
    if let Ok(computed) = Computed::parse(text, vocabulary(&scope)) {
        let _ = computed.find(&scope, &mut Notes::default());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~é]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("a|b|items|name|n", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// One expression of each kind of part.
const PROBES: [&str; 12] = [
    "event.a + event.b == event.n",
    "event.a * event.n / event.b % 7 > 0",
    "event.items.exists(i, i.a == event.a || i.b in event.items)",
    "event.items.map(i, i.n + 1).size() > 2",
    "size(event.a) < size(event.b)",
    "event.a.contains(event.b) && !event.items",
    "event[event.n] == event.items[event.n]",
    "event.?a.b.orValue(event.n) < event.n",
    "phone(event.a) == text(event.b) || money(event.n) > 1",
    "-event.n == event.a ? event.b : event.items[-1].a",
    "time_ms(event.n) > time(event.a)",
    "join(event.items, event.a) == cut(event.b, 3)",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_text_is_read_or_refused(text in "[ -~é\n]{0,120}") {
        survive(&text, &sample());
    }

    #[test]
    fn any_row_of_tokens_is_read_or_refused(picks in prop::collection::vec(0..TOKENS.len(), 1..24)) {
        let text: String = picks.iter().map(|n| TOKENS[*n]).collect();
        survive(&text, &sample());
    }

    #[test]
    fn any_event_is_evaluated(event in any_json()) {
        let scope = scope(event);
        for probe in PROBES {
            let condition = Condition::parse(probe, vocabulary(&scope)).unwrap();
            let _ = condition.hold_traced(&scope, &mut Trace::default());
        }
    }

    #[test]
    fn sums_are_those_of_decimals(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000) {
        let cents = |n: i64| rust_decimal::Decimal::new(n, 2);
        let text = format!("event.a + ({}) == {}", cents(b), cents(a + b));
        let event = json!({ "a": serde_json::from_str::<Value>(&cents(a).to_string()).unwrap() });
        prop_assert_eq!(holds(&text, event), Ok(true));
    }
}
