//! Paths into an event: `event.items[*].price`, `event.questions[question ~ 'phone'].answer`.
//!
//! A selector on something that is not a list treats it as a list of one, because XML turns one
//! element into an object and two into a list. Walking is linear in the event.

use std::ops::ControlFlow;

use serde_json::Value;

use super::cursor::{Cursor, TextMistake};
use super::scope::Scope;
use super::value::{Literal, Needle, is_nothing};
use super::word::Word;
use crate::diagnostic::did_you_mean;

/// The root whose names are those of headers.
const HEADER: &str = "header";

/// A path, read from its text.
#[derive(Debug, Clone)]
pub struct Path {
    written: Word,
    root: Box<str>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Name(Box<str>),
    /// The name of a header, in any case.
    Header(Box<str>),
    /// From the start, or with a negative number from the end.
    Position(isize),
    Each,
    Select(Selector),
}

/// `[name = value]` or `[name ~ value]`.
#[derive(Debug, Clone)]
struct Selector {
    name: Box<str>,
    test: SelectorTest,
}

#[derive(Debug, Clone)]
enum SelectorTest {
    Equals(Literal),
    Contains(Needle),
}

impl Path {
    /// Reads a path that starts with one of `roots`.
    ///
    /// # Errors
    /// [`TextMistake`] with the place in `text`.
    pub fn parse(text: &str, roots: &[&str]) -> Result<Self, TextMistake> {
        let mut cursor = Cursor::new(text);
        let path = Self::read(&mut cursor, roots)?;
        if cursor.rest().is_empty() {
            return Ok(path);
        }
        Err(TextMistake::new(
            cursor.here(),
            format!("`{}` cannot stand in a path", first_char(cursor.rest())),
        )
        .help("write names with unusual characters in quotes: event.[\"any name\"]"))
    }

    /// Reads one path or several with `or` between them, of which the first that is there counts.
    ///
    /// # Errors
    /// [`TextMistake`] with the place in `text`.
    pub fn parse_alternatives(text: &str, roots: &[&str]) -> Result<Vec<Self>, TextMistake> {
        let mut cursor = Cursor::new(text);
        let mut paths = Vec::new();
        loop {
            cursor.skip_blanks();
            paths.push(Self::read(&mut cursor, roots)?);
            if cursor.rest().trim().is_empty() {
                return Ok(paths);
            }
            let at = cursor.at();
            cursor.skip_blanks();
            if cursor.at() == at || !cursor.eat("or ") {
                return Err(TextMistake::new(
                    cursor.here(),
                    "expected the end of the field, or `or`",
                )
                .help("write names with unusual characters in quotes: event.[\"any name\"]"));
            }
        }
    }

    /// Reads a path and leaves the cursor behind it.
    pub(super) fn read(cursor: &mut Cursor<'_>, roots: &[&str]) -> Result<Self, TextMistake> {
        let start = cursor.at();
        let whole = cursor.rest();
        let root = cursor.take(is_name_char);
        if !roots.contains(&root) {
            return Err(unknown_root(root, start, whole, roots));
        }
        let mut steps = Vec::new();
        loop {
            if cursor.eat(".") {
                let step = match read_name(cursor)? {
                    Step::Name(name) if root == HEADER && steps.is_empty() => {
                        Step::Header(name.to_ascii_lowercase().into())
                    }
                    step => step,
                };
                steps.push(step);
            } else if cursor.eat("[") {
                steps.push(read_selector(cursor)?);
            } else {
                let written = &whole[..cursor.at() - start];
                return Ok(Self {
                    written: written.into(),
                    root: root.into(),
                    steps,
                });
            }
        }
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    pub(super) fn written(&self) -> &Word {
        &self.written
    }

    /// The first word: which of the roots it reads.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The name of the look-up whose answer it reads.
    pub fn lookup(&self) -> Option<&str> {
        match self.steps.first()? {
            Step::Name(name) if &*self.root == super::needs::LOOKUP => Some(name),
            _ => None,
        }
    }

    /// Whether it names several values at once (`[*]`).
    pub fn is_many(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Each))
    }

    /// The first value that is there.
    pub fn first<'v>(&self, scope: &'v dyn Scope) -> Option<&'v Value> {
        self.first_in(scope.root(&self.root)?)
    }

    /// The first value that is there, with `root` as the value of its first word.
    pub(super) fn first_in<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        let mut found = None;
        // The walk ends at the first value; whether it was broken off is told by `found`.
        let _ = walk(&self.steps, root, &mut |value| {
            found = Some(value);
            ControlFlow::Break(())
        });
        found
    }

    /// The list without items that stands there, with `root` as the value of its first word.
    pub(super) fn empty_list_in<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        let mut found = None;
        // As above.
        let _ = walk_all(&self.steps, root, &mut |value| {
            if value.as_array().is_some_and(Vec::is_empty) {
                found = Some(value);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Every value that is there, in order.
    pub fn each<'v>(&self, scope: &'v dyn Scope) -> impl Iterator<Item = &'v Value> + use<'v> {
        let root = scope.root(&self.root);
        let found = root.map(|value| values_at(&self.steps, value));
        found.unwrap_or_default().into_iter()
    }

    /// Takes out of `root`, the value of its first word, every item of the list at its first `[*]`
    /// for whose values `keep` does not hold. Answers how many items stayed and how many went.
    pub fn retain_items(
        &self,
        root: &mut Value,
        keep: &mut dyn FnMut(&[&Value]) -> bool,
    ) -> (usize, usize) {
        let (mut stayed, mut gone) = (0, 0);
        retain_items(&self.steps, root, &mut |values| {
            let stays = keep(values);
            *if stays { &mut stayed } else { &mut gone } += 1;
            stays
        });
        (stayed, gone)
    }

    /// Hands every value that is there to `take`, until it has enough.
    pub(super) fn visit<'v>(
        &self,
        scope: &'v dyn Scope,
        take: &mut dyn FnMut(&'v Value) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match scope.root(&self.root) {
            Some(value) => walk(&self.steps, value, take),
            None => ControlFlow::Continue(()),
        }
    }
}

fn walk<'v>(
    steps: &[Step],
    value: &'v Value,
    take: &mut dyn FnMut(&'v Value) -> ControlFlow<()>,
) -> ControlFlow<()> {
    walk_all(steps, value, &mut |value| {
        if is_nothing(value) {
            ControlFlow::Continue(())
        } else {
            take(value)
        }
    })
}

/// Goes to every place, also to those with nothing in them.
fn walk_all<'v>(
    steps: &[Step],
    value: &'v Value,
    take: &mut dyn FnMut(&'v Value) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some((step, rest)) = steps.split_first() else {
        return take(value);
    };
    match step {
        Step::Name(name) => match value.get(&**name) {
            Some(inner) => walk_all(rest, inner, take),
            None => ControlFlow::Continue(()),
        },
        Step::Header(name) => match header(value, name) {
            Some(inner) => walk_all(rest, inner, take),
            None => ControlFlow::Continue(()),
        },
        Step::Position(position) => match item_at(as_list(value), *position) {
            Some(item) => walk_all(rest, item, take),
            None => ControlFlow::Continue(()),
        },
        Step::Each => as_list(value)
            .iter()
            .try_for_each(|item| walk_all(rest, item, take)),
        Step::Select(selector) => as_list(value)
            .iter()
            .filter(|item| selector.holds(item))
            .try_for_each(|item| walk_all(rest, item, take)),
    }
}

/// The header of a name in lower case, as stored ones are; those that people write may be in any.
fn header<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value.get(name).or_else(|| {
        let mut headers = value.as_object()?.iter();
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

fn retain_items(steps: &[Step], value: &mut Value, keep: &mut dyn FnMut(&[&Value]) -> bool) {
    let Some((step, rest)) = steps.split_first() else {
        return;
    };
    match step {
        Step::Name(name) | Step::Header(name) => {
            if let Some(inner) = value.get_mut(&**name) {
                retain_items(rest, inner, keep);
            }
        }
        Step::Position(position) => {
            let items = as_list_mut(value);
            if let Some(item) = index_of(items.len(), *position).and_then(|at| items.get_mut(at)) {
                retain_items(rest, item, keep);
            }
        }
        Step::Select(selector) => as_list_mut(value)
            .iter_mut()
            .filter(|item| selector.holds(item))
            .for_each(|item| retain_items(rest, item, keep)),
        Step::Each => match value {
            Value::Array(items) => items.retain(|item| keep(&values_at(rest, item))),
            Value::Null => {}
            single if keep(&values_at(rest, single)) => {}
            single => *single = Value::Null,
        },
    }
}

fn values_at<'v>(steps: &[Step], value: &'v Value) -> Vec<&'v Value> {
    let mut found = Vec::new();
    // Never broken off: every value is taken.
    let _ = walk(steps, value, &mut |value| {
        found.push(value);
        ControlFlow::Continue(())
    });
    found
}

fn as_list_mut(value: &mut Value) -> &mut [Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &mut [],
        single => std::slice::from_mut(single),
    }
}

fn as_list(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &[],
        single => std::slice::from_ref(single),
    }
}

fn item_at(items: &[Value], position: isize) -> Option<&Value> {
    items.get(index_of(items.len(), position)?)
}

/// A position from the start or the end as an index into a list of `length` items.
fn index_of(length: usize, position: isize) -> Option<usize> {
    match usize::try_from(position) {
        Ok(from_start) => Some(from_start),
        Err(_negative) => length.checked_sub(position.unsigned_abs()),
    }
}

impl Selector {
    fn holds(&self, item: &Value) -> bool {
        item.get(&*self.name).is_some_and(|value| match &self.test {
            SelectorTest::Equals(literal) => literal.equals(value),
            SelectorTest::Contains(needle) => needle.within(value),
        })
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '#' | ':' | '$')
}

fn first_char(text: &str) -> &str {
    &text[..text.chars().next().map_or(0, char::len_utf8)]
}

pub(super) fn unknown_root(root: &str, start: usize, whole: &str, roots: &[&str]) -> TextMistake {
    let known = format!("a field path starts with one of: {}", roots.join(", "));
    if root.is_empty() {
        let end = start + first_char(whole).len();
        return TextMistake::new(start..end, "expected a field path").help(known);
    }
    let near = match did_you_mean(root, roots.iter().copied()) {
        Some(near) => Some(near.to_owned()),
        None if roots.contains(&"event") => Some(format!("event.{root}")),
        None => None,
    };
    let help = near.map_or(known.clone(), |near| {
        format!("{known}; did you mean `{near}`?")
    });
    TextMistake::new(
        start..start + root.len(),
        format!("`{root}` is not a known source"),
    )
    .help(help)
}

/// What follows a dot: a name, or `["any name"]`.
fn read_name(cursor: &mut Cursor<'_>) -> Result<Step, TextMistake> {
    if cursor.eat("[") {
        return match cursor.quoted()? {
            Some(name) => close(cursor).map(|()| Step::Name(name.into())),
            None => Err(TextMistake::new(
                cursor.here(),
                "expected a name in quotes after `.[`",
            )),
        };
    }
    let name = cursor.take(is_name_char);
    if name.is_empty() {
        return Err(
            TextMistake::new(cursor.here(), "expected a field name after the dot")
                .help("write names with unusual characters in quotes: event.[\"any name\"]"),
        );
    }
    Ok(Step::Name(name.into()))
}

/// What stands between `[` and `]`: a position, `*`, a quoted name, or `name = value`.
fn read_selector(cursor: &mut Cursor<'_>) -> Result<Step, TextMistake> {
    cursor.skip_blanks();
    if cursor.eat("*") {
        return close(cursor).map(|()| Step::Each);
    }
    let start = cursor.at();
    let (name, quoted) = match cursor.quoted()? {
        Some(name) => (name, true),
        None => (cursor.take(is_name_char).to_owned(), false),
    };
    let span = cursor.since(start);
    cursor.skip_blanks();
    if cursor.peek() == Some(']') {
        cursor.next();
        if quoted {
            return Ok(Step::Name(name.into()));
        }
        return name.parse().map(Step::Position).map_err(|_no_number| {
            TextMistake::new(span, format!("`{name}` is not a position in a list"))
                .help("positions count from 0, or from the end as in `[-1]`; write `[*]` for every item, or a name in quotes")
        });
    }
    let contains = match cursor.peek() {
        Some('=') => false,
        Some('~') => true,
        _ => {
            return Err(
                TextMistake::new(cursor.here(), "expected `=` (equals) or `~` (contains)")
                    .help("example: questions_and_answers[question ~ 'phone'].answer"),
            );
        }
    };
    if name.is_empty() {
        return Err(TextMistake::new(
            cursor.here(),
            "expected a field name before it",
        ));
    }
    cursor.next();
    cursor.skip_blanks();
    let value = read_value(cursor)?;
    close(cursor)?;
    let test = if contains {
        SelectorTest::Contains(Needle::new(&value))
    } else {
        SelectorTest::Equals(Literal::new(&value))
    };
    Ok(Step::Select(Selector {
        name: name.into(),
        test,
    }))
}

fn read_value(cursor: &mut Cursor<'_>) -> Result<String, TextMistake> {
    if let Some(text) = cursor.quoted()? {
        return Ok(text);
    }
    let value = cursor
        .take(|c| !matches!(c, ']' | '[' | '}' | '{' | '|'))
        .trim();
    if value.is_empty() {
        return Err(TextMistake::new(cursor.here(), "expected a value")
            .help("write a number, true, false, or a text in quotes"));
    }
    Ok(value.to_owned())
}

fn close(cursor: &mut Cursor<'_>) -> Result<(), TextMistake> {
    cursor.skip_blanks();
    if cursor.eat("]") {
        return Ok(());
    }
    Err(TextMistake::new(cursor.here(), "expected `]`"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::testing::Event;
    use super::*;

    fn first(event: &Value, path: &str) -> Value {
        let scope = Event(event.clone());
        Path::parse(path, &["event"])
            .unwrap_or_else(|mistake| panic!("{path}: {mistake:?}"))
            .first(&scope)
            .cloned()
            .unwrap_or(Value::Null)
    }

    #[test]
    fn every_form_of_a_path_is_read() {
        let event = json!({
            "a": {"b": 1, "sf:Amount": 2, "any name": 3, "@xsi:type": 4},
            "list": [{"k": "x", "v": 10}, {"k": "Phone number", "v": 11}, {"k": true, "v": ""}, {"k": "TRUE", "v": 12}],
        });
        for (path, expected) in [
            ("event.a.b", json!(1)),
            ("event.a.sf:Amount", json!(2)),
            ("event.a['sf:Amount']", json!(2)),
            ("event.a.[\"any name\"]", json!(3)),
            ("event.a.@xsi:type", json!(4)),
            ("event.list[1].v", json!(11)),
            ("event.list[*].v", json!(10)),
            ("event.list[k = 'x'].v", json!(10)),
            ("event.list[k=x].v", json!(10)),
            ("event.list[ k ~ 'PHONE' ].v", json!(11)),
            ("event.list[k = true].v", json!(12)),
            ("event.list[-1].v", json!(12)),
            ("event.list[-5].v", json!(null)),
            ("event.list[9].v", json!(null)),
            ("event.list[k = nobody].v", json!(null)),
            ("event.list.v", json!(null)),
            ("event.a.b.c", json!(null)),
            ("event.missing.deep", json!(null)),
        ] {
            assert_eq!(first(&event, path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_a_list_is_a_list_of_one() {
        let event = json!({"one": {"id": 7}, "none": null});
        assert_eq!(first(&event, "event.one[*].id"), json!(7));
        assert_eq!(first(&event, "event.one[0].id"), json!(7));
        assert_eq!(first(&event, "event.one[id = 7].id"), json!(7));
        assert_eq!(first(&event, "event.one[1].id"), json!(null));
        assert_eq!(first(&event, "event.none[*]"), json!(null));
    }

    #[test]
    fn items_are_taken_out_of_the_list_by_their_values() {
        for (path, event, expected, counts) in [
            (
                "event[*].id",
                json!([{"id": 1}, {"id": 2}, {"no": 1}]),
                json!([{"id": 1}]),
                (1, 2),
            ),
            ("event[*].id", json!({"id": 2}), json!(null), (0, 1)),
            ("event[*].id", json!({"id": 1}), json!({"id": 1}), (1, 0)),
            (
                "event.a[-1].b[*].c[*]",
                json!({"a": [{}, {"b": [{"c": [1, 2]}, {"c": [1, 1]}]}]}),
                json!({"a": [{}, {"b": [{"c": [1, 1]}]}]}),
                (1, 1),
            ),
            (
                "event.a[k = x].b[*]",
                json!({"a": [{"k": "x", "b": [2]}, {"k": "y", "b": [2]}]}),
                json!({"a": [{"k": "x", "b": []}, {"k": "y", "b": [2]}]}),
                (0, 1),
            ),
            (
                "event.a[*].id",
                json!({"a": null}),
                json!({"a": null}),
                (0, 0),
            ),
            ("event.a", json!({"a": 2}), json!({"a": 2}), (0, 0)),
        ] {
            let mut left = event.clone();
            let path = Path::parse(path, &["event"]).unwrap();
            let ones = |values: &[&Value]| !values.is_empty() && values.iter().all(|v| **v == 1);
            let found = path.retain_items(&mut left, &mut |values| ones(values));
            assert_eq!((left, found), (expected, counts), "{}", path.as_str());
        }
    }

    #[test]
    fn names_of_headers_are_read_in_any_case() {
        struct Request(Value);
        impl Scope for Request {
            fn root(&self, name: &str) -> Option<&Value> {
                self.0.get(name)
            }
        }
        let request = Request(json!({
            "header": { "x-foo": "a", "X-Written": "b" },
            "event": { "foo": "c" },
        }));
        for (path, found) in [
            ("header.X-Foo", Some("a")),
            ("header.x-foo", Some("a")),
            ("header.[\"X-FOO\"]", Some("a")),
            ("header.x-written", Some("b")),
            ("header.X-Fo", None),
            ("event.Foo", None),
        ] {
            let path = Path::parse(path, &["event", "header"]).unwrap();
            let value = path.first(&request).and_then(Value::as_str);
            assert_eq!(value, found, "{}", path.as_str());
        }
    }

    #[test]
    fn mistakes_say_what_was_expected_and_where() {
        for (path, message, span) in [
            ("evnt.a", "`evnt` is not a known source", 0..4),
            ("payload.a", "`payload` is not a known source", 0..7),
            ("", "expected a field path", 0..0),
            ("event.", "expected a field name after the dot", 6..6),
            ("event.a b", "` ` cannot stand in a path", 7..8),
            (
                "event.a[x contains 'b']",
                "expected `=` (equals) or `~` (contains)",
                10..11,
            ),
            ("event.a[x1]", "`x1` is not a position in a list", 8..10),
            ("event.a[x = ]", "expected a value", 12..13),
            ("event.a[x = 'y", "this quoted text does not end", 12..14),
            ("event.a[*", "expected `]`", 9..9),
            ("event.a[= 5]", "expected a field name before it", 8..9),
        ] {
            let mistake = Path::parse(path, &["event", "lookup"]).unwrap_err();
            assert_eq!(
                (mistake.message.as_str(), mistake.span),
                (message, span),
                "{path}"
            );
        }
        let help = Path::parse("payload.a", &["event"]).unwrap_err().help;
        assert!(help.unwrap().contains("did you mean `event.payload`?"));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4_i32).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[ -~é]{0,40}") {
            let _ = Path::parse(&text, &["event"]);
            let _ = Path::parse(&format!("event.a[{text}"), &["event"]);
        }

        #[test]
        fn the_first_value_is_the_first_of_each(
            event in json_value(),
            path in r"event(\.[a-c]|\[[0-2]\]|\[\*\]|\[[a-c] = [a-c1]\]|\[[a-c] ~ [a-c]\]){0,4}",
        ) {
            let path = Path::parse(&path, &["event"]).unwrap();
            let scope = Event(event);
            prop_assert_eq!(path.first(&scope), path.each(&scope).next());
            prop_assert!(path.each(&scope).all(|value| !is_nothing(value)));
        }
    }
}
