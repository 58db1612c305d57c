//! The simple form of a condition: `{ field = "…", operator = "==", value = … }`.
//!
//! Unlike rows it is plain comparison: `!=` is the contrary of `==`, so it also holds where nothing is
//! there. Without `value` it compares with nothing.

use toml::Spanned;
use toml::de::DeValue;

use super::check::Check;
use super::collector::Collector;
use super::condition::{Conditions, Field, Row, Test};
use super::path::Path;
use super::rows::scalar;
use super::trace::{GroupKind, shown_text};
use super::value::Literal;
use crate::diagnostic::did_you_mean;

const KEYS: [&str; 3] = ["field", "operator", "value"];

impl Conditions {
    /// Reads a comparison of a field of `root`. The root may be left out before the field: then `whole` is asked for
    /// the path. Mistakes go to `cx`; `None` when there are any.
    pub fn parse_comparison(
        item: &Spanned<DeValue<'_>>,
        root: &str,
        whole: &dyn Fn(&str) -> String,
        cx: &mut Collector,
    ) -> Option<Self> {
        let before = cx.errors();
        let table = cx.table("condition", item)?;
        cx.unknown_keys(table, &KEYS);
        let mut part = |key: &str, example: &str| {
            let found = table.get(key);
            if found.is_none() {
                let message = format!("the condition has no `{key}`");
                cx.error(
                    item.span(),
                    message,
                    Some(format!("write {key} = {example}")),
                );
            }
            found
        };
        let field = part("field", "\"kind\"");
        let operator = part("operator", "\"==\"");
        let field = field.and_then(|field| read_field(field, root, whole, cx));
        let equal = operator.and_then(|operator| read_operator(operator, cx));
        let check = match table.get("value") {
            Some(value) => read_value(value, cx),
            None => Some((Check::Exists(false), "nothing".to_owned())),
        };
        let (field, equal, (check, shown)) = (field?, equal?, check?);
        if cx.errors() > before {
            return None;
        }
        let row = Row::Test(Test {
            field,
            check,
            written: format!("== {shown}").into(),
        });
        let row = if equal {
            row
        } else {
            Row::Group(GroupKind::Not, vec![row])
        };
        Some(Self { rows: vec![row] })
    }

    /// Conditions that hold when both hold.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self
    }
}

fn read_field(
    item: &Spanned<DeValue<'_>>,
    root: &str,
    whole: &dyn Fn(&str) -> String,
    cx: &mut Collector,
) -> Option<Field> {
    let text = cx.text("field", item)?;
    let has_root = text.split('.').next() == Some(root);
    let full = if has_root {
        text.to_owned()
    } else {
        whole(text)
    };
    match Path::parse(&full, &[root]) {
        Ok(path) => Some(Field {
            written: full.into(),
            paths: vec![path],
        }),
        Err(mistake) => {
            cx.error(item.span(), mistake.message, mistake.help);
            None
        }
    }
}

/// Whether it asks for equality.
fn read_operator(item: &Spanned<DeValue<'_>>, cx: &mut Collector) -> Option<bool> {
    match cx.text("operator", item)? {
        "==" => Some(true),
        "!=" => Some(false),
        other => {
            let rows = "for more, write `when` with rows such as { field = \"outcome.value\", over = 100 }";
            let help = match did_you_mean(other, ["==", "!="]) {
                Some(near) => format!("did you mean \"{near}\"? {rows}"),
                None => format!("use \"==\" or \"!=\"; {rows}"),
            };
            cx.error(
                item.span(),
                format!("there is no operator called `{other}`"),
                Some(help),
            );
            None
        }
    }
}

/// What is compared with, and how it is shown. Blank text is nothing, as everywhere.
fn read_value(item: &Spanned<DeValue<'_>>, cx: &mut Collector) -> Option<(Check, String)> {
    match scalar(item.get_ref()) {
        Some(text) if text.trim().is_empty() => Some((Check::Exists(false), "nothing".to_owned())),
        Some(text) => {
            let shown = match item.get_ref() {
                DeValue::String(_) => shown_text(&text),
                _ => text.clone(),
            };
            Some((Check::Is(Literal::new(&text)), shown))
        }
        None => {
            cx.wrong_type("value", item, "one value");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::mapping::Scope;

    struct Root(Value);

    impl Scope for Root {
        fn root(&self, name: &str) -> Option<&Value> {
            (name == "outcome").then_some(&self.0)
        }
    }

    fn parse(text: &str) -> Result<Conditions, Vec<String>> {
        let whole = |field: &str| format!("outcome.{field}");
        let mut cx = Collector::new("f.toml", text);
        let table = cx.read(text).unwrap();
        let read = Conditions::parse_comparison(
            table.get("condition").unwrap(),
            "outcome",
            &whole,
            &mut cx,
        );
        let told = |found: Vec<crate::diagnostic::Diagnostic>| {
            let one = |d: crate::diagnostic::Diagnostic| {
                let (_, column) = d.position().unwrap();
                format!("{column} {} | {}", d.message, d.help.unwrap_or_default())
            };
            found.into_iter().map(one).collect::<Vec<_>>()
        };
        cx.finish().map_err(told)?;
        Ok(read.unwrap())
    }

    fn holds(condition: &str, outcome: Value) -> bool {
        parse(&format!("condition = {condition}"))
            .unwrap()
            .hold(&Root(outcome))
    }

    #[test]
    fn equal_and_unequal_are_contraries_of_each_other() {
        for (outcome, equal) in [
            (json!({"metadata": {"interest": "high"}}), true),
            (json!({"metadata": {"interest": "low"}}), false),
            (json!({"metadata": {}}), false),
            (json!({}), false),
        ] {
            let field = "field = \"metadata.interest\"";
            let with = |operator: &str| {
                let text = format!("{{ {field}, operator = \"{operator}\", value = \"high\" }}");
                holds(&text, outcome.clone())
            };
            assert_eq!(with("=="), equal, "{outcome}");
            assert_eq!(with("!="), !equal, "{outcome}");
        }
    }

    #[test]
    fn values_may_be_numbers_truths_and_nothing() {
        let condition =
            |value: &str| format!("{{ field = \"outcome.metadata.x\", operator = \"==\"{value} }}");
        assert!(holds(
            &condition(", value = true"),
            json!({"metadata": {"x": true}})
        ));
        assert!(holds(
            &condition(", value = 5"),
            json!({"metadata": {"x": "5.0"}})
        ));
        assert!(holds(&condition(""), json!({"metadata": {"x": null}})));
        assert!(!holds(
            &condition(", value = \"\""),
            json!({"metadata": {"x": 0}})
        ));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let wrong = parse("condition = { feld = \"kind\", operator = \"=\", value = [1] }");
        let wrong = wrong.unwrap_err();
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(
            wrong
                .iter()
                .any(|one| one.starts_with("15 there is no key called `feld`"))
        );
        assert!(
            wrong
                .iter()
                .any(|one| one.contains("the condition has no `field`"))
        );
        assert!(
            wrong
                .iter()
                .any(|one| one.contains("there is no operator called `=`"))
        );
        assert!(
            wrong
                .iter()
                .any(|one| one.contains("`value` must be one value"))
        );
    }
}
