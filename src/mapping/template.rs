//! Text with look-ups: `Deal {event.title or 'without a title'}: {event.status | table: stage}`.
//!
//! ```text
//! text   = { characters | "{{" | "}}" | lookup }
//! lookup = "{" alternative { "or" alternative } { "|" function [ ":" argument … ] } "}"
//!        | "{=" expression "}"
//! ```
//!
//! An expression runs to the last brace of the text, so there is at most one in a text.
//!
//! A look-up gives the first alternative that is there. When none is, a text that is this one look-up
//! is nothing at all, and of a longer text that part is left out.

use serde_json::Value;

use super::cursor::{Cursor, TextMistake};
use super::datum::Datum;
use super::expression::Computed;
use super::function::{self, Given};
use super::needs::Unknown;
use super::notes::Notes;
use super::operation::{MAX_TEXT, Operation, Unusable};
use super::path::Path;
use super::scope::Scope;
use super::table::Tables;
use super::value::cut;
use super::word::Word;

/// The most characters that a template may have.
const MAX_CHARS: usize = 2_000;

/// The tables of a place that has none.
pub(super) static NO_TABLES: Tables = Tables::new();

/// What a template may name.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary<'a> {
    /// The words that a path may start with.
    pub roots: &'a [&'a str],
    /// The tables.
    pub tables: &'a Tables,
}

/// A text with look-ups, read and checked.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(Box<str>),
    Lookup(Lookup),
    Computed(Box<Computed>),
}

#[derive(Debug, Clone)]
struct Lookup {
    alternatives: Vec<Alternative>,
    operations: Vec<Operation>,
    /// The alternatives as written.
    written: Word,
    /// The functions as written.
    functions: Word,
}

#[derive(Debug, Clone)]
enum Alternative {
    Path(Path),
    Constant(Value),
}

impl Template {
    /// Reads a template whose paths start with one of `roots`, without tables.
    ///
    /// # Errors
    /// [`TextMistake`] with the place in `text`.
    pub fn parse(text: &str, roots: &[&str]) -> Result<Self, TextMistake> {
        let tables = &NO_TABLES;
        Self::parse_with(text, Vocabulary { roots, tables })
    }

    /// Reads a template that may use tables.
    ///
    /// # Errors
    /// [`TextMistake`] with the place in `text`.
    pub fn parse_with(text: &str, vocabulary: Vocabulary<'_>) -> Result<Self, TextMistake> {
        if text.chars().count() > MAX_CHARS {
            return Err(TextMistake::new(
                0..text.len(),
                format!("this text is longer than {MAX_CHARS} characters"),
            ));
        }
        let mut cursor = Cursor::new(text);
        let mut parts = Vec::new();
        let mut literal = String::new();
        while let Some(c) = cursor.peek() {
            let start = cursor.at();
            cursor.next();
            match c {
                '{' | '}' if cursor.peek() == Some(c) => {
                    cursor.next();
                    literal.push(c);
                }
                '{' => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal).into()));
                    }
                    parts.push(if cursor.peek() == Some('=') {
                        read_expression(&mut cursor, start, vocabulary)?
                    } else {
                        Part::Lookup(read_lookup(&mut cursor, start, vocabulary)?)
                    });
                }
                '}' => {
                    return Err(
                        TextMistake::new(cursor.since(start), "this `}` closes nothing")
                            .help("write `}}` for a brace"),
                    );
                }
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self { parts })
    }

    /// A template that gives `value` for every event.
    pub(super) fn constant(value: Value) -> Self {
        Self {
            parts: vec![Part::Lookup(Lookup {
                alternatives: vec![Alternative::Constant(value)],
                operations: Vec::new(),
                written: Word::default(),
                functions: Word::default(),
            })],
        }
    }

    /// Whether it holds no look-up: the same text for every event.
    pub fn is_literal(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Every path that it reads, arguments of functions included.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let computed = self.parts.iter().filter_map(|part| match part {
            Part::Computed(computed) => Some(computed.paths()),
            Part::Text(_) | Part::Lookup(_) => None,
        });
        let lookups = self.lookups().flat_map(|lookup| {
            let alternatives = lookup.alternatives.iter().filter_map(|a| match a {
                Alternative::Path(path) => Some(path),
                Alternative::Constant(_) => None,
            });
            alternatives.chain(lookup.operations.iter().filter_map(Operation::path))
        });
        lookups.chain(computed.flatten())
    }

    /// The table whose rows are all that it can give: `{… | table: name}` and nothing else.
    pub(super) fn only_table(&self) -> Option<&str> {
        let [Part::Lookup(lookup)] = self.parts.as_slice() else {
            return None;
        };
        match lookup.operations.last()? {
            Operation::Table(name) => Some(name),
            _ => None,
        }
    }

    /// The text, filled in. `None` when nothing is there: the only look-up found nothing, or all of
    /// several did and what remains has no letter or digit.
    pub fn text(&self, scope: &dyn Scope) -> Option<String> {
        self.text_with(scope, &|value, text| text.push_str(value))
    }

    /// As [`Template::text`], with each looked-up value written by `encode`. The template's own text
    /// stays as it is.
    pub fn text_with(
        &self,
        scope: &dyn Scope,
        encode: &dyn Fn(&str, &mut String),
    ) -> Option<String> {
        self.fill(scope, encode, &mut Notes::silent())
    }

    /// The text with every look-up found, for addresses.
    ///
    /// # Errors
    /// The look-ups that found nothing, as written.
    pub fn complete(
        &self,
        scope: &dyn Scope,
        encode: &dyn Fn(&str, &mut String),
    ) -> Result<String, Vec<String>> {
        let mut text = String::new();
        let mut missing = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(own) => text.push_str(own),
                found => match found.find(scope, false, &mut Notes::silent()) {
                    Some(datum) if datum.text().is_some() => {
                        encode(&datum.text().unwrap_or_default(), &mut text);
                    }
                    _ => missing.push(found.written().to_string()),
                },
            }
        }
        if missing.is_empty() {
            Ok(text)
        } else {
            Err(missing)
        }
    }

    /// The value: a text that is one look-up keeps the JSON type of what it found.
    pub fn value(&self, scope: &dyn Scope) -> Option<Value> {
        self.evaluate(scope, &mut Notes::silent())
            .map(Datum::into_json)
    }

    /// The value, with what happened on the way told to `notes`.
    pub fn evaluate<'v>(&'v self, scope: &'v dyn Scope, notes: &mut Notes) -> Option<Datum<'v>> {
        match self.parts.as_slice() {
            [Part::Text(own)] => Some(Datum::Text((&**own).into())),
            [only] => only.find(scope, true, notes),
            _ => self
                .fill(scope, &|value, text| text.push_str(value), notes)
                .map(|text| Datum::Text(text.into())),
        }
        .filter(|datum| !datum.is_nothing())
    }

    fn fill(
        &self,
        scope: &dyn Scope,
        encode: &dyn Fn(&str, &mut String),
        notes: &mut Notes,
    ) -> Option<String> {
        let alone = self.parts.len() == 1;
        let mut text = String::new();
        let (mut asked, mut found) = (false, false);
        for part in &self.parts {
            match part {
                Part::Text(own) => text.push_str(own),
                part => {
                    asked = true;
                    let datum = part.find(scope, alone, notes);
                    if let Some(value) = datum.as_ref().and_then(Datum::text) {
                        found = true;
                        encode(cut(&value, MAX_TEXT), &mut text);
                    }
                }
            }
        }
        let says_something = found || text.contains(char::is_alphanumeric);
        (!asked || says_something).then_some(text)
    }

    /// Notes in `unknown` what it needs beyond what is known: alternatives are tried in order, up to the
    /// first that is there.
    pub(super) fn foresee(&self, scope: &dyn Scope, unknown: &mut Unknown<'_>) {
        for part in &self.parts {
            let lookup = match part {
                Part::Text(_) => continue,
                Part::Computed(computed) => {
                    computed.paths().for_each(|path| {
                        unknown.has(path);
                    });
                    continue;
                }
                Part::Lookup(lookup) => lookup,
            };
            for alternative in &lookup.alternatives {
                match alternative {
                    Alternative::Path(path) if unknown.has(path) => break,
                    Alternative::Path(path) if path.first(scope).is_none() => {}
                    Alternative::Path(_) | Alternative::Constant(_) => break,
                }
            }
            for path in lookup.operations.iter().filter_map(Operation::path) {
                unknown.has(path);
            }
        }
    }

    fn lookups(&self) -> impl Iterator<Item = &Lookup> {
        self.parts.iter().filter_map(|part| match part {
            Part::Lookup(lookup) => Some(lookup),
            Part::Text(_) | Part::Computed(_) => None,
        })
    }
}

impl Part {
    /// What it finds; a text of the template finds nothing.
    fn find<'v>(
        &'v self,
        scope: &'v dyn Scope,
        alone: bool,
        notes: &mut Notes,
    ) -> Option<Datum<'v>> {
        match self {
            Self::Text(_) => None,
            Self::Lookup(lookup) => lookup.find(scope, alone, notes),
            Self::Computed(computed) => computed.find(scope, notes),
        }
    }

    /// It as written, for a mistake.
    fn written(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Lookup(lookup) => &lookup.written,
            Self::Computed(computed) => computed.written(),
        }
    }
}

impl Lookup {
    /// The first alternative that is there, brought through the functions. `alone` says whether the
    /// result is the template's whole value.
    fn find<'v>(
        &'v self,
        scope: &'v dyn Scope,
        alone: bool,
        notes: &mut Notes,
    ) -> Option<Datum<'v>> {
        let mut current = self
            .alternatives
            .iter()
            .find_map(|alternative| match alternative {
                Alternative::Path(path) => path.first(scope).map(|value| {
                    notes.used(path.written(), value, &self.functions, alone);
                    Datum::Json(value)
                }),
                Alternative::Constant(value) => Some(Datum::Json(value)),
            })
            .filter(|datum| !datum.is_nothing());
        let mut failed = None;
        for operation in &self.operations {
            match (current.take(), operation) {
                (Some(datum), operation) => match operation.apply(&datum, scope) {
                    Ok(datum) => current = Some(datum).filter(|datum| !datum.is_nothing()),
                    Err(unusable) => failed = Some(unusable),
                },
                (None, Operation::Default(text)) => {
                    if !matches!(failed, Some(Unusable::Unreadable(_))) {
                        failed = None;
                        current = Some(Datum::Text((&**text).into()));
                    }
                }
                (None, _) => {}
            }
        }
        match failed {
            Some(Unusable::NoRow(why) | Unusable::Unreadable(why)) => notes.unusable(why),
            None if current.is_none() => notes.missing(&self.written),
            None => {}
        }
        current
    }
}

/// Reads the expression behind a `{` that stands at `start`, to the last brace of the text.
fn read_expression(
    cursor: &mut Cursor<'_>,
    start: usize,
    vocabulary: Vocabulary<'_>,
) -> Result<Part, TextMistake> {
    cursor.eat("=");
    let begin = cursor.at();
    let Some(length) = cursor.rest().rfind('}') else {
        return Err(
            TextMistake::new(start..begin, "this `{=` is not closed").help("end it with `}`")
        );
    };
    let text = &cursor.rest()[..length];
    let computed = Computed::parse(text, vocabulary).map_err(|mistakes| {
        let first = mistakes.into_iter().next();
        let mut mistake =
            first.unwrap_or_else(|| TextMistake::new(0..length, "this expression cannot be read"));
        mistake.span = mistake.span.start + begin..mistake.span.end + begin;
        mistake
    })?;
    while cursor.at() < begin + length + 1 {
        cursor.next();
    }
    Ok(Part::Computed(Box::new(computed)))
}

/// Reads what follows a `{` that stands at `start`.
fn read_lookup(
    cursor: &mut Cursor<'_>,
    start: usize,
    vocabulary: Vocabulary<'_>,
) -> Result<Lookup, TextMistake> {
    cursor.skip_blanks();
    let whole = cursor.rest();
    let begin = cursor.at();
    let alternatives = read_alternatives(cursor, vocabulary.roots)?;
    let written = whole[..cursor.at() - begin].trim_end().into();
    let piped = cursor.rest();
    let begin = cursor.at();
    let mut operations = Vec::new();
    while cursor.eat("|") {
        operations.push(read_operation(cursor, vocabulary)?);
        cursor.skip_blanks();
    }
    let functions = piped[..cursor.at() - begin].trim_end().into();
    if cursor.eat("}") {
        return Ok(Lookup {
            alternatives,
            operations,
            written,
            functions,
        });
    }
    Err(match cursor.peek() {
        None => TextMistake::new(start..start + 1, "this `{` is not closed")
            .help("write `{{` for a brace"),
        Some(_) => TextMistake::new(cursor.here(), "expected `or`, `|` or `}`")
            .help("example: {event.a or event.b or 'text' | lower}"),
    })
}

fn read_alternatives(
    cursor: &mut Cursor<'_>,
    roots: &[&str],
) -> Result<Vec<Alternative>, TextMistake> {
    let mut alternatives = Vec::new();
    loop {
        alternatives.push(match cursor.quoted()? {
            Some(text) => Alternative::Constant(Value::String(text)),
            None => Alternative::Path(Path::read(cursor, roots)?),
        });
        cursor.skip_blanks();
        let mut ahead = cursor.clone();
        let another = ahead.eat("or") && ahead.peek().is_some_and(char::is_whitespace);
        if !another {
            return Ok(alternatives);
        }
        ahead.skip_blanks();
        *cursor = ahead;
    }
}

fn read_operation(
    cursor: &mut Cursor<'_>,
    vocabulary: Vocabulary<'_>,
) -> Result<Operation, TextMistake> {
    cursor.skip_blanks();
    let start = cursor.at();
    let name = cursor.take(|c| c.is_alphanumeric() || c == '_');
    let name_end = cursor.at();
    if name.is_empty() {
        return Err(
            TextMistake::new(cursor.here(), "expected a function after `|`")
                .help("example: {event.email | lower}"),
        );
    }
    cursor.skip_blanks();
    let mut given = Vec::new();
    let mut end = name_end;
    if cursor.eat(":") {
        loop {
            cursor.take(|c| c.is_whitespace() || c == ',');
            match read_given(cursor, vocabulary.roots)? {
                Some(one) => given.push(one),
                None => break,
            }
            end = cursor.at();
        }
    }
    function::build(name, &given, vocabulary.tables).map_err(|(message, help)| TextMistake {
        message,
        help,
        span: start..end,
    })
}

/// One argument: a quoted text, a path, or a bare word.
fn read_given(cursor: &mut Cursor<'_>, roots: &[&str]) -> Result<Option<Given>, TextMistake> {
    if let Some(text) = cursor.quoted()? {
        return Ok(Some(Given::Text(text)));
    }
    let mut ahead = cursor.clone();
    let root = ahead.take(|c| c.is_alphanumeric() || c == '_');
    if root.starts_with(char::is_alphabetic)
        && (roots.contains(&root) || matches!(ahead.peek(), Some('.' | '[')))
    {
        return Path::read(cursor, roots).map(|path| Some(Given::Path(path)));
    }
    let word = cursor.take(|c| !c.is_whitespace() && !matches!(c, '|' | '}' | '{' | ','));
    Ok((!word.is_empty()).then(|| Given::Text(word.to_owned())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::testing::Event;
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text, &["event"]).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"))
    }

    fn percent(value: &str, text: &mut String) {
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() {
                text.push(byte.into());
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }

    #[test]
    fn look_ups_take_the_first_that_is_there() {
        let event = Event(
            json!({"a": "", "b": null, "c": "See", "n": 5, "t": true, "o": {"k": 1}, "e": {}}),
        );
        for (text, expected) in [
            ("plain", Some("plain")),
            ("{event.c}", Some("See")),
            ("{ event.a or event.b or event.c }", Some("See")),
            ("{event.a or 'none'}", Some("none")),
            ("{event.a or ''}", None),
            ("{event.a}", None),
            ("{event.e}", None),
            ("{event.o}", None),
            ("{event.a}{event.b}", None),
            ("{event.a} - {event.b}", None),
            ("Deal {event.a}: {event.c}", Some("Deal : See")),
            ("Deal {event.a}", Some("Deal ")),
            ("{event.n}/{event.t}", Some("5/true")),
            ("{{{event.n}}}", Some("{5}")),
            ("{event.orders or event.n}", Some("5")),
            ("a }} b {{", Some("a } b {")),
            ("", Some("")),
        ] {
            assert_eq!(template(text).text(&event).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_single_look_up_keeps_its_type() {
        let event = Event(json!({"n": 5, "t": true, "o": {"k": 1}, "l": [1], "m": "1,999.90"}));
        for (text, expected) in [
            ("{event.n}", Some(json!(5))),
            ("{event.t}", Some(json!(true))),
            ("{event.o}", Some(json!({"k": 1}))),
            ("{event.l}", Some(json!([1]))),
            ("{event.n} ", Some(json!("5 "))),
            ("{event.n | text}", Some(json!("5"))),
            ("{event.m | money}", Some(json!(1999.90))),
            ("{event.none}", None),
            ("text", Some(json!("text"))),
        ] {
            assert_eq!(template(text).value(&event), expected, "{text}");
        }
    }

    #[test]
    fn only_looked_up_values_are_encoded() {
        let event = Event(json!({"phone": "+1 415", "path": "a/b"}));
        let text = template("x/{event.phone}?p={event.path}").text_with(&event, &percent);
        assert_eq!(text.as_deref(), Some("x/%2B1%20415?p=a%2Fb"));
    }

    #[test]
    fn an_address_names_every_look_up_that_is_missing() {
        let event = Event(json!({"a": "1"}));
        assert_eq!(
            template("{event.a}/{event.a}").complete(&event, &percent),
            Ok("1/1".into())
        );
        assert_eq!(
            template("{event.a}/{event.b or event.c}/{event.d | lower}").complete(&event, &percent),
            Err(vec!["event.b or event.c".into(), "event.d".into()])
        );
    }

    #[test]
    fn the_paths_of_a_template_are_known_without_running_it() {
        let template = template("{event.a or event.b | minor_units: event.c} {event.d}");
        let paths: Vec<&str> = template.paths().map(Path::as_str).collect();
        assert_eq!(paths, ["event.a", "event.b", "event.c", "event.d"]);
        assert!(!template.is_literal());
    }

    #[test]
    fn mistakes_say_what_was_expected_and_where() {
        for (text, message, span) in [
            ("a {event.x", "this `{` is not closed", 2..3),
            ("a } b", "this `}` closes nothing", 2..3),
            ("{event.x,}", "expected `or`, `|` or `}`", 8..9),
            ("{event.x |}", "expected a function after `|`", 10..11),
            (
                "{event.x | lowr}",
                "there is no function called `lowr`",
                11..15,
            ),
            (
                "{event.x | cut: x}",
                "`cut` takes a number of characters",
                11..17,
            ),
            (
                "{event.x | table: s}",
                "there is no table called `s`",
                11..19,
            ),
            (
                "{event.x | minor_units: evnt.c}",
                "`evnt` is not a known source",
                24..28,
            ),
            ("{= evnt.x}", "`evnt` is not a known source", 3..7),
            ("{}", "expected a field path", 1..2),
            ("{event.x or}", "expected `or`, `|` or `}`", 9..10),
        ] {
            let mistake = Template::parse(text, &["event"]).unwrap_err();
            assert_eq!(
                (mistake.message.as_str(), mistake.span),
                (message, span),
                "{text}"
            );
        }
        let long = "x".repeat(2001);
        assert!(Template::parse(&long, &["event"]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[ -~é{}|']{0,60}") {
            let _ = Template::parse(&text, &["event"]);
            let _ = Template::parse(&format!("{{event.a | {text}}}"), &["event"]);
        }

        #[test]
        fn text_without_braces_is_itself(text in "[^{}]{0,60}") {
            let read = template(&text);
            prop_assert!(read.is_literal());
            prop_assert_eq!(read.text(&Event(Value::Null)), Some(text));
        }

        #[test]
        fn doubled_braces_stand_for_themselves(text in "[a{}]{0,20}") {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(template(&escaped).text(&Event(Value::Null)), Some(text));
        }
    }
}
