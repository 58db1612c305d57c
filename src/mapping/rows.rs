//! Reads the rows of a condition from TOML.

use std::ops::Range;

use regex::{Regex, RegexBuilder};
use rust_decimal::Decimal;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{Check, Operator};
use super::collector::{Collector, in_file_order};
use super::condition::{Field, Row, Test};
use super::path::Path;
use super::template::Vocabulary;
use super::trace::{GroupKind, shown_text};
use super::value::{Literal, Needle, numeric_text};

/// The most rows that one condition may have, groups included.
const MAX_ROWS: usize = 60;

/// Reads a list of rows. `None` when there was a mistake.
pub(super) fn read(
    item: &Spanned<DeValue<'_>>,
    vocabulary: Vocabulary<'_>,
    cx: &mut Collector,
) -> Option<Vec<Row>> {
    let before = cx.errors();
    let Some(list) = item.get_ref().as_array() else {
        cx.error(
            item.span(),
            "conditions must be a list of rows",
            Some("write [{ field = \"event.type\", is = \"invoice.paid\" }]".to_owned()),
        );
        return None;
    };
    let mut reader = Reader {
        vocabulary,
        cx,
        count: 0,
    };
    let rows: Vec<Row> = list.iter().filter_map(|row| reader.row(row)).collect();
    let count = reader.count;
    if count > MAX_ROWS {
        cx.error(
            item.span(),
            format!("{count} rows; at most {MAX_ROWS} are allowed"),
            Some("use `one_of` or a table".to_owned()),
        );
    }
    (cx.errors() == before).then_some(rows)
}

struct Reader<'a> {
    vocabulary: Vocabulary<'a>,
    cx: &'a mut Collector,
    count: usize,
}

impl Reader<'_> {
    fn row(&mut self, item: &Spanned<DeValue<'_>>) -> Option<Row> {
        self.count += 1;
        let table = self.cx.table("a row", item)?;
        if let Some((kind, inner)) = self.group(table, item.span())? {
            return self.group_rows(kind, inner);
        }
        self.test(table, item.span()).map(Row::Test)
    }

    /// The group that a row is, if it is one. The outer `None` is a mistake.
    #[expect(
        clippy::option_option,
        reason = "a mistake and a plain row are different things"
    )]
    fn group<'i, 't>(
        &mut self,
        table: &'i DeTable<'t>,
        span: Range<usize>,
    ) -> Option<Option<(GroupKind, &'i Spanned<DeValue<'t>>)>> {
        let kinds = [
            ("any", GroupKind::Any),
            ("all", GroupKind::All),
            ("not", GroupKind::Not),
        ];
        let Some((kind, inner)) = kinds
            .iter()
            .find_map(|(key, kind)| table.get(*key).map(|inner| (*kind, inner)))
        else {
            return Some(None);
        };
        if table.len() > 1 {
            let message = "`any`, `all` and `not` stand alone in their row";
            self.cx.error(span, message, None);
            return None;
        }
        Some(Some((kind, inner)))
    }

    fn group_rows(&mut self, kind: GroupKind, inner: &Spanned<DeValue<'_>>) -> Option<Row> {
        if kind == GroupKind::Not {
            return self.row(inner).map(|row| Row::Group(kind, vec![row]));
        }
        let key = if kind == GroupKind::Any { "any" } else { "all" };
        let list = self.cx.list(key, inner)?;
        if list.is_empty() {
            self.cx
                .error(inner.span(), format!("`{key}` has no rows"), None);
            return None;
        }
        let rows: Vec<Row> = list.iter().filter_map(|row| self.row(row)).collect();
        Some(Row::Group(kind, rows))
    }

    fn test(&mut self, table: &DeTable<'_>, span: Range<usize>) -> Option<Test> {
        let mut operators = Vec::new();
        for (key, key_span, value) in in_file_order(table) {
            if key == "field" {
                continue;
            }
            match Operator::from_key(key) {
                Some(operator) => operators.push((operator, value)),
                None => self.unknown_operator(key, key_span),
            }
        }
        let field = match table.get("field") {
            Some(item) => self.field(item),
            None => {
                let help = "write { field = \"event.status\", is = \"won\" }";
                self.cx.error(
                    span.clone(),
                    "this row has no `field`",
                    Some(help.to_owned()),
                );
                None
            }
        };
        let (operator, value) = match operators.as_slice() {
            [one] => *one,
            [] => {
                if table.len() <= 1 {
                    self.cx
                        .error(span, "this row has no operator", Some(known_operators()));
                }
                return None;
            }
            [_, ..] => {
                let help = "write one row for each; all rows must hold";
                self.cx.error(
                    span,
                    "this row has more than one operator",
                    Some(help.to_owned()),
                );
                return None;
            }
        };
        let check = self.check(operator, value);
        let (field, check) = (field?, check?);
        if matches!(operator, Operator::IsNot | Operator::NoneOf)
            && field.paths.iter().any(Path::is_many)
        {
            let positive = if operator == Operator::IsNot {
                "is"
            } else {
                "one_of"
            };
            self.cx.error(
                span,
                format!("`{operator}` cannot be asked of every item (`[*]`)"),
                Some(format!("write {{ not = {{ field = …, {positive} = … }} }}")),
            );
            return None;
        }
        let written = format!("{operator} {}", written(value.get_ref()));
        Some(Test {
            field,
            check,
            written: written.into(),
        })
    }

    fn unknown_operator(&mut self, key: &str, span: Range<usize>) {
        let names = Operator::ALL.map(Operator::as_str);
        let near =
            crate::diagnostic::did_you_mean(key, names.into_iter().chain(["any", "all", "not"]));
        let help = near.map_or_else(known_operators, |near| format!("did you mean `{near}`?"));
        self.cx.error(
            span,
            format!("there is no operator called `{key}`"),
            Some(help),
        );
    }

    /// A path, or several with `or` between them.
    fn field(&mut self, item: &Spanned<DeValue<'_>>) -> Option<Field> {
        let text = self.cx.text("field", item)?;
        match Path::parse_alternatives(text, self.vocabulary.roots) {
            Ok(paths) => Some(Field {
                written: text.into(),
                paths,
            }),
            Err(mistake) => {
                self.cx.text_mistake(item, mistake);
                None
            }
        }
    }

    fn check(&mut self, operator: Operator, item: &Spanned<DeValue<'_>>) -> Option<Check> {
        match operator {
            Operator::Is => self.literal(operator, item).map(Check::Is),
            Operator::IsNot => self.literal(operator, item).map(Check::IsNot),
            Operator::OneOf => self.literals(operator, item).map(Check::OneOf),
            Operator::NoneOf => self.literals(operator, item).map(Check::NoneOf),
            Operator::InTable => self.table(item),
            Operator::Contains => self.needle(operator, item).map(Check::Contains),
            Operator::StartsWith => self.needle(operator, item).map(Check::StartsWith),
            Operator::EndsWith => self.needle(operator, item).map(Check::EndsWith),
            Operator::Matches => self.regex(item),
            Operator::Over => self.number(operator, item).map(Check::Over),
            Operator::Under => self.number(operator, item).map(Check::Under),
            Operator::AtLeast => self.number(operator, item).map(Check::AtLeast),
            Operator::AtMost => self.number(operator, item).map(Check::AtMost),
            Operator::Exists => self.cx.truth("exists", item).map(Check::Exists),
        }
    }

    fn literal(&mut self, operator: Operator, item: &Spanned<DeValue<'_>>) -> Option<Literal> {
        match scalar(item.get_ref()) {
            None => {
                let help = matches!(item.get_ref(), DeValue::Array(_)).then(|| {
                    let list = if operator == Operator::IsNot {
                        "none_of"
                    } else {
                        "one_of"
                    };
                    format!("for a list use `{list}`")
                });
                self.cx
                    .error(item.span(), format!("`{operator}` takes one value"), help);
                None
            }
            Some(text) if text.trim().is_empty() => {
                self.cx.error(
                    item.span(),
                    format!(
                        "`{operator}` cannot compare with blank text: that counts as nothing there"
                    ),
                    Some("use `exists = true` or `exists = false`".to_owned()),
                );
                None
            }
            Some(text) => Some(Literal::new(&text)),
        }
    }

    fn literals(
        &mut self,
        operator: Operator,
        item: &Spanned<DeValue<'_>>,
    ) -> Option<Vec<Literal>> {
        let list = self.cx.list(operator.as_str(), item)?;
        if list.is_empty() {
            self.cx
                .error(item.span(), format!("`{operator}` has an empty list"), None);
            return None;
        }
        let literals: Vec<_> = list
            .iter()
            .map(|item| self.literal(operator, item))
            .collect();
        literals.into_iter().collect()
    }

    fn table(&mut self, item: &Spanned<DeValue<'_>>) -> Option<Check> {
        let name = self.cx.text("in_table", item)?;
        if self.vocabulary.tables.contains_key(name) {
            return Some(Check::InTable(name.into()));
        }
        let (message, help) = super::table::unknown(name, self.vocabulary.tables);
        self.cx.error(item.span(), message, help);
        None
    }

    fn needle(&mut self, operator: Operator, item: &Spanned<DeValue<'_>>) -> Option<Needle> {
        let literal = self.literal(operator, item)?;
        Some(Needle::new(literal.text()))
    }

    fn number(&mut self, operator: Operator, item: &Spanned<DeValue<'_>>) -> Option<Decimal> {
        let number = scalar(item.get_ref()).and_then(|text| numeric_text(&text));
        if number.is_none() {
            self.cx.wrong_type(operator.as_str(), item, "a number");
        }
        number
    }

    fn regex(&mut self, item: &Spanned<DeValue<'_>>) -> Option<Check> {
        let pattern = self.cx.text("matches", item)?;
        match regex(pattern) {
            Ok(regex) => Some(Check::Matches(regex)),
            Err(message) => {
                self.cx.error(item.span(), message, None);
                None
            }
        }
    }
}

/// Compiles a pattern, once for all events.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(1 << 20).build();
    built.map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default();
        format!(
            "not a regular expression: {}",
            why.trim_start_matches("error: ")
        )
    })
}

fn known_operators() -> String {
    format!("known: {}", Operator::ALL.map(Operator::as_str).join(", "))
}

/// A single value as text.
pub(super) fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(plain_number(number.as_str())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(plain_number(number.as_str())),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(at) => Some(at.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// TOML allows a sign and an exponent; both are taken out.
fn plain_number(text: &str) -> String {
    let text = text.trim_start_matches('+');
    match Decimal::from_scientific(text) {
        Ok(number) if text.contains(['e', 'E']) => number.to_string(),
        _ => text.to_owned(),
    }
}

/// A value as it is shown in traces.
fn written(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => shown_text(text),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| written(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        other => scalar(other).unwrap_or_default(),
    }
}
