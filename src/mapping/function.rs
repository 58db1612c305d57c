//! The functions of a look-up: `{event.amount | money}`.
//!
//! One table, [`FUNCTIONS`], says all about each: its arguments, what it does, an example that is
//! also its test. A function that cannot read its input says so in words; the value is then not set
//! and the event goes on.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::argument::Argument;
use super::operation::Operation;
use super::reckon::Unit;
use super::table::{self, Tables};
use super::value::numeric_text;
use crate::diagnostic::did_you_mean;
use crate::model::{currency, parse_region, parse_time_with};

/// What is written behind a function's colon.
#[derive(Debug, Clone)]
pub(super) enum Given {
    /// A text, quoted or bare.
    Text(String),
    /// A path.
    Path(super::path::Path),
}

type Build = fn(&[Given], &Tables) -> Result<Operation, Misuse>;

/// Arguments that a function cannot take: what is wrong, and how to put it right.
pub(super) type Misuse = (String, Option<String>);

/// A function, as it is documented.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// How its arguments are written; empty when it takes none.
    pub arguments: &'static str,
    /// What it does.
    pub about: &'static str,
    /// A use of it.
    pub example: Example,
    build: Build,
}

/// A use of a function: with `event.x` being `input`, `template` gives `gives`.
pub struct Example {
    /// The template.
    pub template: &'static str,
    /// The JSON text of `event.x`.
    pub input: &'static str,
    /// The text that comes out.
    pub gives: &'static str,
}

const fn example(template: &'static str, input: &'static str, gives: &'static str) -> Example {
    Example {
        template,
        input,
        gives,
    }
}

/// All functions.
pub static FUNCTIONS: &[Function] = &[
    Function {
        name: "lower",
        arguments: "",
        about: "text in lower case",
        example: example(
            "{event.x | lower}",
            r#""Ada@Example.COM""#,
            "ada@example.com",
        ),
        build: |words, _| plain(words, Operation::Lower),
    },
    Function {
        name: "upper",
        arguments: "",
        about: "text in upper case",
        example: example("{event.x | upper}", r#""usd""#, "USD"),
        build: |words, _| plain(words, Operation::Upper),
    },
    Function {
        name: "trim",
        arguments: "",
        about: "text without blanks at its ends",
        example: example("{event.x | trim}", r#""  a b ""#, "a b"),
        build: |words, _| plain(words, Operation::Trim),
    },
    Function {
        name: "text",
        arguments: "",
        about: "a number or truth value as text",
        example: example("{event.x | text}", "9007199254740993", "9007199254740993"),
        build: |words, _| plain(words, Operation::Text),
    },
    Function {
        name: "last_segment",
        arguments: "",
        about: "what follows the last slash of an address",
        example: example(
            "{event.x | last_segment}",
            r#""https://api.calendly.com/users/AAAA""#,
            "AAAA",
        ),
        build: |words, _| plain(words, Operation::LastSegment),
    },
    Function {
        name: "digits",
        arguments: "",
        about: "the digits of a text",
        example: example("{event.x | digits}", r#""(415) 555-7777""#, "4155557777"),
        build: |words, _| plain(words, Operation::Digits),
    },
    Function {
        name: "phone",
        arguments: "region, e.g. GB, or a path to one (may be left out)",
        about: "a phone number in E.164; without an argument the region of the file or the source is used",
        example: example(
            "{event.x | phone: GB}",
            r#""020 7946 0958""#,
            "+442079460958",
        ),
        build: build_phone,
    },
    Function {
        name: "time",
        arguments: "",
        about: "RFC 3339 text as a moment in UTC; text without a zone is read as UTC",
        example: example(
            "{event.x | time}",
            r#""2026-01-02T09:15:00-05:00""#,
            "2026-01-02T14:15:00Z",
        ),
        build: |words, _| plain(words, Operation::Time),
    },
    Function {
        name: "time_s",
        arguments: "",
        about: "seconds after the Unix epoch as a moment in UTC",
        example: example("{event.x | time_s}", "1767312000", "2026-01-02T00:00:00Z"),
        build: |words, _| plain(words, Operation::TimeSeconds),
    },
    Function {
        name: "time_ms",
        arguments: "",
        about: "milliseconds after the Unix epoch as a moment in UTC",
        example: example(
            "{event.x | time_ms}",
            "1767312000123",
            "2026-01-02T00:00:00.123Z",
        ),
        build: |words, _| plain(words, Operation::TimeMillis),
    },
    Function {
        name: "date",
        arguments: "a pattern in quotes: %Y %m %d %H %M %S",
        about: "text of a stated pattern as a moment in UTC",
        example: example(
            "{event.x | date: '%d.%m.%Y'}",
            r#""06.05.2026""#,
            "2026-05-06T00:00:00Z",
        ),
        build: build_date,
    },
    Function {
        name: "money",
        arguments: "comma, when the decimals follow a comma (may be left out)",
        about: "a number or text as an exact amount in major units; groups only in threes",
        example: example("{event.x | money}", r#""$ 1,234.50""#, "1234.50"),
        build: build_money,
    },
    Function {
        name: "minor_units",
        arguments: "a currency code or a path to one",
        about: "whole minor units (cents) as an exact amount, by the currency's number of decimals",
        example: example("{event.x | minor_units: USD}", "199999", "1999.99"),
        build: build_minor_units,
    },
    Function {
        name: "minus",
        arguments: "a number or a path to one",
        about: "what is left of a number when another is taken away, exactly",
        example: example("{event.x | minus: 0.1}", "0.3", "0.2"),
        build: build_minus,
    },
    Function {
        name: "times",
        arguments: "a number or a path to one",
        about: "a number multiplied by another, exactly",
        example: example("{event.x | times: 0.001}", "217000", "217"),
        build: |words, _| {
            match words {
                [factor] => amount_of(factor).map(Operation::Times),
                _ => None,
            }
            .ok_or_else(|| {
                misuse(
                    "`times` takes one number or a path to one",
                    "{event.minutes | times: 60}",
                )
            })
        },
    },
    Function {
        name: "later",
        arguments: "a number or a path to one, and its unit: minutes, s, ms or us",
        about: "the moment that lies so much after a moment",
        example: example(
            "{event.x | later: 30 minutes}",
            r#""2026-05-06T15:00:00Z""#,
            "2026-05-06T15:30:00Z",
        ),
        build: |words, _| shift(words, "later", Operation::Later),
    },
    Function {
        name: "earlier",
        arguments: "a number or a path to one, and its unit: minutes, s, ms or us",
        about: "the moment that lies so much before a moment",
        example: example(
            "{event.x | earlier: 217 s}",
            r#""2026-05-04T15:01:51Z""#,
            "2026-05-04T14:58:14Z",
        ),
        build: |words, _| shift(words, "earlier", Operation::Earlier),
    },
    Function {
        name: "unix",
        arguments: "a unit: minutes, s, ms or us",
        about: "a moment as a whole number of that unit after the Unix epoch",
        example: example(
            "{event.x | unix: s}",
            r#""2026-01-02T00:00:00.9Z""#,
            "1767312000",
        ),
        build: |words, _| {
            match words {
                [Given::Text(unit)] => Unit::from_word(unit).map(Operation::Unix),
                _ => None,
            }
            .ok_or_else(|| misuse("`unix` takes one unit", "{event.at | unix: s}"))
        },
    },
    Function {
        name: "sha256",
        arguments: "",
        about: "the SHA-256 of a text in hex, as ad platforms want e-mail addresses and phones",
        example: example(
            "{event.x | lower | sha256}",
            r#""Alexz@example.com""#,
            "509e933019bb285a134a9334b8bb679dff79d0ce023d529af4bd744d47b4fd8a",
        ),
        build: |words, _| plain(words, Operation::Sha256),
    },
    Function {
        name: "uuid",
        arguments: "",
        about: "a UUID (version 5, of the URL namespace) that the same text always gives, as some APIs tell repeats by",
        example: example(
            "{event.x | uuid}",
            r#""http://python.org/""#,
            "4c565f0d-3f5a-5890-b41b-20cf47701c5e",
        ),
        build: |words, _| plain(words, Operation::Uuid),
    },
    Function {
        name: "table",
        arguments: "the name of a table of this file",
        about: "the text that the table has for it",
        example: example("{event.x | table: stage}", r#""closedwon""#, "closed"),
        build: build_table,
    },
    Function {
        name: "default",
        arguments: "a text in quotes",
        about: "that text when nothing is there, or when a table has no row for it",
        example: example("{event.x | default: 'unknown'}", "null", "unknown"),
        build: |words, _| match words {
            [Given::Text(text)] => Ok(Operation::Default(text.as_str().into())),
            _ => Err(misuse(
                "`default` takes one text",
                "{event.a | default: 'none'}",
            )),
        },
    },
    Function {
        name: "cut",
        arguments: "a number of characters",
        about: "at most that many characters of a text",
        example: example("{event.x | cut: 5}", r#""abcdefg""#, "abcde"),
        build: build_cut,
    },
    Function {
        name: "replace",
        arguments: "what to replace and with what, both in quotes",
        about: "a text with every occurrence of one text replaced by another",
        example: example(
            "{event.x | replace: '-' ' '}",
            r#""follow-up-call""#,
            "follow up call",
        ),
        build: build_replace,
    },
];

/// Looks `name` up and gives it its arguments.
pub(super) fn build(name: &str, words: &[Given], tables: &Tables) -> Result<Operation, Misuse> {
    let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) else {
        let names = || FUNCTIONS.iter().map(|function| function.name);
        let help = match did_you_mean(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Err((format!("there is no function called `{name}`"), Some(help)));
    };
    (function.build)(words, tables).map_err(|(message, help)| match help {
        // What takes no argument does not know its own name.
        None => (format!("`{name}` {message}"), None),
        help => (message, help),
    })
}

fn misuse(message: impl Into<String>, example: &str) -> Misuse {
    (message.into(), Some(format!("example: {example}")))
}

fn plain(words: &[Given], operation: Operation) -> Result<Operation, Misuse> {
    if words.is_empty() {
        Ok(operation)
    } else {
        Err(("takes no argument".to_owned(), None))
    }
}

fn build_phone(words: &[Given], _: &Tables) -> Result<Operation, Misuse> {
    let region = match words {
        [] => None,
        [Given::Text(code)] => {
            let region =
                parse_region(code).map_err(|e| misuse(e.to_string(), "{event.a | phone: GB}"))?;
            Some(Argument::Fixed(region))
        }
        [Given::Path(path)] => Some(Argument::Path(path.clone())),
        _ => return Err(misuse("`phone` takes one region", "{event.a | phone: GB}")),
    };
    Ok(Operation::Phone(region))
}

fn build_date(words: &[Given], _: &Tables) -> Result<Operation, Misuse> {
    let example = "{event.a | date: '%d.%m.%Y'}";
    let [Given::Text(pattern)] = words else {
        return Err(misuse("`date` takes one pattern in quotes", example));
    };
    // Writing a moment by the pattern finds unknown directives before any event does.
    let sample = Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    let written = jiff::fmt::strtime::format(pattern, &sample)
        .map_err(|e| misuse(format!("`{pattern}` is not a date pattern: {e}"), example))?;
    parse_time_with(pattern, &written).map_err(|_incomplete| {
        misuse(
            format!("`{pattern}` does not say year, month and day"),
            example,
        )
    })?;
    Ok(Operation::Date(pattern.as_str().into()))
}

fn build_money(words: &[Given], _: &Tables) -> Result<Operation, Misuse> {
    match words {
        [] => Ok(Operation::Money),
        [Given::Text(word)] if word == "comma" => Ok(Operation::MoneyComma),
        _ => Err(misuse(
            "`money` takes no argument but `comma`",
            "{event.a | money: comma}",
        )),
    }
}

fn build_minor_units(words: &[Given], _: &Tables) -> Result<Operation, Misuse> {
    let example = "{event.a | minor_units: event.currency}, or a code such as USD";
    match words {
        [Given::Text(code)] => currency(code)
            .map(|currency| Operation::MinorUnits(Argument::Fixed(currency)))
            .map_err(|e| misuse(e.to_string(), example)),
        [Given::Path(path)] => Ok(Operation::MinorUnits(Argument::Path(path.clone()))),
        _ => Err(misuse("`minor_units` takes one currency", example)),
    }
}

fn build_minus(words: &[Given], _: &Tables) -> Result<Operation, Misuse> {
    let argument = match words {
        [number] => amount_of(number),
        _ => None,
    };
    argument.map(Operation::Minus).ok_or_else(|| {
        misuse(
            "`minus` takes one number or a path to one",
            "{event.amount | minus: event.refunded | money}",
        )
    })
}

/// A number, written or read from the event.
fn amount_of(word: &Given) -> Option<Argument<Decimal>> {
    match word {
        Given::Text(number) => numeric_text(number).map(Argument::Fixed),
        Given::Path(path) => Some(Argument::Path(path.clone())),
    }
}

fn shift(
    words: &[Given],
    name: &str,
    operation: fn(Argument<Decimal>, Unit) -> Operation,
) -> Result<Operation, Misuse> {
    let found = match words {
        [count, Given::Text(unit)] => amount_of(count).zip(Unit::from_word(unit)),
        _ => None,
    };
    found
        .map(|(count, unit)| operation(count, unit))
        .ok_or_else(|| {
            misuse(
                format!("`{name}` takes a number or a path to one, and a unit: minutes, s, ms, us"),
                &format!("{{event.start | {name}: event.length minutes}}"),
            )
        })
}

fn build_table(words: &[Given], tables: &Tables) -> Result<Operation, Misuse> {
    let [Given::Text(name)] = words else {
        return Err(misuse(
            "`table` takes the name of a table",
            "{event.a | table: stage}",
        ));
    };
    if tables.contains_key(name) {
        return Ok(Operation::Table(name.as_str().into()));
    }
    Err(table::unknown(name, tables))
}

fn build_cut(words: &[Given], _: &Tables) -> Result<Operation, Misuse> {
    match words {
        [Given::Text(number)] => number.parse().ok().filter(|n| *n > 0),
        _ => None,
    }
    .map(Operation::Cut)
    .ok_or_else(|| misuse("`cut` takes a number of characters", "{event.a | cut: 200}"))
}

fn build_replace(words: &[Given], _: &Tables) -> Result<Operation, Misuse> {
    match words {
        [Given::Text(from), Given::Text(to)] if !from.is_empty() => {
            Ok(Operation::Replace(from.as_str().into(), to.as_str().into()))
        }
        _ => Err(misuse(
            "`replace` takes two texts in quotes, the first not empty",
            "{event.a | replace: '-' ' '}",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::Tabled;
    use super::*;
    use crate::mapping::template::{Template, Vocabulary};

    fn run(template: &str, input: &Value) -> Result<Option<String>, Vec<String>> {
        let scope = Tabled::new(json!({ "x": input, "usd": "usd", "country": "gb", "less": "99" }));
        let vocabulary = Vocabulary {
            roots: &["event"],
            tables: &scope.tables,
        };
        let template = Template::parse_with(template, vocabulary)
            .unwrap_or_else(|mistake| panic!("{template}: {mistake:?}"));
        let mut notes = super::super::notes::Notes::default();
        let text = template.evaluate(&scope, &mut notes).and_then(|datum| {
            let text = datum.text()?;
            Some(text.into_owned())
        });
        if notes.unusable.is_empty() {
            Ok(text)
        } else {
            assert_eq!(text, None);
            Err(notes.unusable)
        }
    }

    #[test]
    fn every_example_of_the_table_is_true() {
        for function in FUNCTIONS {
            let Example {
                template,
                input,
                gives,
            } = function.example;
            let input = serde_json::from_str(input).unwrap();
            assert_eq!(
                run(template, &input),
                Ok(Some(gives.to_owned())),
                "{}",
                function.name
            );
            assert!(template.contains(function.name));
        }
    }

    #[test]
    fn unusable_input_is_said_and_nothing_is_guessed() {
        for (template, input, said) in [
            (
                "{event.x | time}",
                json!("next Tuesday"),
                "`time` cannot read \"next Tuesday\"",
            ),
            (
                "{event.x | time}",
                json!(1_767_312_000),
                "`time` cannot read 1767312000",
            ),
            (
                "{event.x | money}",
                json!("1.234,50"),
                "`money` cannot read \"1.234,50\"",
            ),
            (
                "{event.x | phone}",
                json!("12"),
                "`phone` cannot read \"12\"",
            ),
            (
                "{event.x | lower}",
                json!(["a"]),
                "`lower` cannot read [\"a\"]",
            ),
            (
                "{event.x | digits}",
                json!("none"),
                "`digits` cannot read \"none\"",
            ),
            (
                "{event.x | minor_units: USD}",
                json!(5.5),
                "`minor_units` cannot read 5.5: it takes whole minor units",
            ),
            (
                "{event.x | minor_units: event.none}",
                json!(5),
                "`minor_units` needs event.none, and nothing is there",
            ),
            (
                "{event.x | minor_units: event.country}",
                json!(5),
                "`minor_units` cannot use \"gb\" of event.country",
            ),
            (
                "{event.x | times: 60}",
                json!("3 min"),
                "`times` cannot read \"3 min\"",
            ),
            (
                "{event.x | later: 30 minutes}",
                json!("noon"),
                "`later` cannot read \"noon\"",
            ),
            (
                "{event.x | later: event.none minutes}",
                json!("2026-05-06T15:00:00Z"),
                "`later` needs event.none, and nothing is there",
            ),
            (
                "{event.x | later: 999999999999999999 minutes}",
                json!("2026-05-06T15:00:00Z"),
                "`later` cannot read \"2026-05-06T15:00:00Z\"",
            ),
            (
                "{event.x | unix: s}",
                json!("noon"),
                "`unix` cannot read \"noon\"",
            ),
            (
                "{event.x | table: stage}",
                json!("won"),
                "table `stage` has no row for \"won\"",
            ),
        ] {
            assert_eq!(
                run(template, &input),
                Err(vec![said.to_owned()]),
                "{template}"
            );
        }
    }

    #[test]
    fn functions_follow_one_another_and_take_paths() {
        for (template, input, gives) in [
            ("{event.x | trim | upper}", json!(" a "), "A"),
            (
                "{event.x | table: stage | default: 'open'}",
                json!("won"),
                "open",
            ),
            ("{event.x | table: stage}", json!(5.0), "five"),
            ("{event.x | minor_units: event.usd}", json!("5250"), "52.50"),
            (
                "{event.x | phone: event.country}",
                json!("020 7946 0958"),
                "+442079460958",
            ),
            ("{event.x | phone}", json!("(415) 555-7777"), "+14155557777"),
            ("{event.x | money: comma}", json!("1.234,50"), "1234.50"),
            (
                "{event.x | money}",
                json!(1_234_567_890_123.45),
                "1234567890123.45",
            ),
            ("{event.x | last_segment}", json!("a/b/"), "b"),
            (
                "{event.x | minus: event.less | minor_units: USD}",
                json!(199_999),
                "1999.00",
            ),
            (
                "{event.x | money | minus: 0.50}",
                json!("1,000.00"),
                "999.50",
            ),
            (
                "{event.x | time_s | earlier: event.less s}",
                json!(1_767_312_099),
                "2026-01-02T00:00:00Z",
            ),
            ("{event.x | times: event.less}", json!("2.5"), "247.5"),
            (
                "{event.x | unix: us}",
                json!("2026-01-02T00:00:00Z"),
                "1767312000000000",
            ),
            (
                "{event.x | digits | sha256}",
                json!("+1 (800) 555-0100"),
                "92cfdc5fbcd4a20fbe5d3857af6c1aba31762105bba7f21a17155e920653046c",
            ),
            ("{event.x | replace: 'it''s', \"is\"}", json!("it's"), "is"),
        ] {
            assert_eq!(
                run(template, &input),
                Ok(Some(gives.to_owned())),
                "{template}"
            );
        }
    }

    #[test]
    fn arguments_are_checked_when_the_rules_are_read() {
        let tables = Tables::new();
        let text = |s: &str| Given::Text(s.to_owned());
        for (name, words, message) in [
            ("lowr", vec![], "there is no function called `lowr`"),
            ("lower", vec![text("x")], "`lower` takes no argument"),
            (
                "phone",
                vec![text("XX")],
                "`XX` is not a region: use a two-letter country code such as `US`",
            ),
            (
                "date",
                vec![text("%d.%m")],
                "`%d.%m` does not say year, month and day",
            ),
            ("date", vec![], "`date` takes one pattern in quotes"),
            (
                "money",
                vec![text("dot")],
                "`money` takes no argument but `comma`",
            ),
            (
                "minor_units",
                vec![text("USDX")],
                "`USDX` is not an ISO 4217 currency code",
            ),
            (
                "table",
                vec![text("stage")],
                "there is no table called `stage`",
            ),
            ("cut", vec![text("0")], "`cut` takes a number of characters"),
            (
                "minus",
                vec![text("x")],
                "`minus` takes one number or a path to one",
            ),
            ("times", vec![], "`times` takes one number or a path to one"),
            (
                "later",
                vec![text("30")],
                "`later` takes a number or a path to one, and a unit: minutes, s, ms, us",
            ),
            (
                "earlier",
                vec![text("30"), text("weeks")],
                "`earlier` takes a number or a path to one, and a unit: minutes, s, ms, us",
            ),
            ("unix", vec![text("h")], "`unix` takes one unit"),
            (
                "replace",
                vec![text("")],
                "`replace` takes two texts in quotes, the first not empty",
            ),
            ("default", vec![], "`default` takes one text"),
        ] {
            assert_eq!(build(name, &words, &tables).unwrap_err().0, message);
        }
    }
}
