//! Fills `{setting.KEY}` into the texts of `[inbound]`, once, when a source is set up.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::diagnostic::did_you_mean;

const OPENING: &str = "{setting.";

/// What texts may take from an operator's settings.
#[derive(Default)]
pub(super) struct Fill {
    /// `None`: texts stay as they are (`[outbound]` reads settings when it renders).
    values: Option<BTreeMap<String, Value>>,
    secret: BTreeSet<String>,
    known: BTreeSet<String>,
}

/// A text with its settings filled in.
#[derive(Debug, PartialEq)]
pub(super) enum Filled {
    /// A text.
    Text(String),
    /// The text was one placeholder: the setting's own value.
    Value(Value),
    /// The text was one placeholder, and the setting is not set: as if the key were not there.
    Unset,
}

/// A placeholder that cannot be filled in.
#[derive(Debug)]
pub(super) struct FillMistake {
    pub(super) message: String,
    pub(super) help: String,
}

impl Fill {
    /// Leaves texts as they are.
    pub(super) fn nothing() -> Self {
        Self::default()
    }

    /// Fills in `values`; keys of `known` without a value are unset, those of `secret` are refused.
    pub(super) fn with(
        values: BTreeMap<String, Value>,
        known: BTreeSet<String>,
        secret: BTreeSet<String>,
    ) -> Self {
        Self {
            values: Some(values),
            secret,
            known,
        }
    }

    pub(super) fn apply(&self, text: &str) -> Result<Filled, FillMistake> {
        let Some(values) = &self.values else {
            return Ok(Filled::Text(text.to_owned()));
        };
        if let Some(key) = single_placeholder(text) {
            self.check(key)?;
            return Ok(values
                .get(key)
                .cloned()
                .map_or(Filled::Unset, Filled::Value));
        }
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, key, after)) = next_placeholder(rest) {
            self.check(key)?;
            filled.push_str(before);
            match values.get(key) {
                Some(Value::String(value)) => filled.push_str(value),
                Some(Value::Null) | None => {}
                Some(other) => filled.push_str(&other.to_string()),
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(Filled::Text(filled))
    }

    fn check(&self, key: &str) -> Result<(), FillMistake> {
        if self.secret.contains(key) {
            return Err(FillMistake {
                message: format!("`{key}` is secret and cannot be put into a text"),
                help: format!("name it where a secret is used: `secret = \"{key}\"`"),
            });
        }
        if self.known.contains(key) {
            return Ok(());
        }
        let known = self.known.iter().map(String::as_str);
        Err(FillMistake {
            message: format!("there is no field `{key}`"),
            help: did_you_mean(key, known).map_or_else(
                || "declare it with [[field]]".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ),
        })
    }
}

fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find(OPENING)?;
        let rest = &text[start + OPENING.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))?;
        if rest[end..].starts_with('}') && end > 0 {
            return Some((&text[..start], &rest[..end], &rest[end + 1..]));
        }
        // `{setting.a or …}` and the like belong to the template language.
        from = start + OPENING.len();
    }
}

fn single_placeholder(text: &str) -> Option<&str> {
    match next_placeholder(text)? {
        ("", key, "") => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fill() -> Fill {
        Fill::with(
            [
                ("header".to_owned(), json!("x-sig")),
                ("list".to_owned(), json!(["a", "b"])),
            ]
            .into(),
            ["header", "list", "unset"].map(str::to_owned).into(),
            ["key".to_owned()].into(),
        )
    }

    #[test]
    fn a_text_that_is_one_placeholder_takes_the_value_itself() {
        assert_eq!(
            fill().apply("{setting.list}").unwrap(),
            Filled::Value(json!(["a", "b"]))
        );
        assert_eq!(fill().apply("{setting.unset}").unwrap(), Filled::Unset);
    }

    #[test]
    fn placeholders_within_a_text_are_replaced_and_others_left_alone() {
        let filled = fill().apply("a-{setting.header}-{setting.unset}{body}");
        assert_eq!(filled.unwrap(), Filled::Text("a-x-sig-{body}".to_owned()));
        let kept = "{setting.header or 'x'}";
        assert_eq!(fill().apply(kept).unwrap(), Filled::Text(kept.to_owned()));
    }

    #[test]
    fn secrets_and_unknown_fields_are_refused() {
        assert!(fill().apply("{setting.key}").is_err());
        let mistake = fill().apply("{setting.heder}").unwrap_err();
        assert_eq!(mistake.help, "did you mean `header`?");
    }
}
