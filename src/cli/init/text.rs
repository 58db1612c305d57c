//! The text of the files that `init` writes.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use url::Url;

use super::{ConnectorSketch, FieldSketch, must_be_set, variable_name};
use crate::model::SourceName;

const HEAD: &str = "\
# What this bridge receives, and where it brings what it learns.
#
# Only what differs from the defaults stands here; `config/default.toml` of the project explains every option.
# \"${NAME}\" is a variable of the environment, \"file:PATH\" the content of a file.
# `outcome-bridge check --config .` finds every mistake, with its line.
";

/// The text of `outcome-bridge.toml`.
pub(super) fn main_file(
    sources: &[ConnectorSketch],
    destinations: &[ConnectorSketch],
    public_url: Option<&Url>,
    connectors_dir: Option<&Path>,
) -> String {
    let mut text = HEAD.to_owned();
    if let Some(dir) = connectors_dir {
        let dir = quoted(&dir.display().to_string());
        text.push_str(&format!(
            "\n[connectors]\n# Connectors of your own, which add to the built-in ones or replace them.\ndir = {dir}\n"
        ));
    }
    text.push_str("\n[server]\n");
    text.push_str("# How senders reach this bridge from outside: some vendors sign the URL that they post to.\n");
    match public_url {
        Some(url) => text.push_str(&format!("public_url = {}\n", quoted(url.as_str()))),
        None => text.push_str("# public_url = \"https://hooks.example.com\"\n"),
    }
    for sketch in sources {
        text.push_str(&entry("sources", sketch, &SOURCE_OPTIONS));
    }
    for sketch in destinations {
        text.push_str(&entry("destinations", sketch, &[]));
    }
    text.push_str(&routes(sources, destinations));
    text
}

const SOURCE_OPTIONS: [(&str, &str); 2] = [
    (
        "region = \"US\"",
        "The country of phone numbers without a country code.",
    ),
    ("currency = \"USD\"", "The currency of amounts without one."),
];

/// A table for one connector, with everything that can be set for it.
fn entry(kind: &str, sketch: &ConnectorSketch, options: &[(&str, &str)]) -> String {
    let mut text = format!(
        "\n\n{}",
        comment(&format!("{}: {}", sketch.title, sketch.summary))
    );
    text.push_str(&format!("[{kind}.{0}]\nconnector = \"{0}\"\n", sketch.name));
    for (line, help) in options {
        text.push_str(&format!("\n{}# {line}\n", comment(help)));
    }
    for field in &sketch.fields {
        let help = format!("{}. {}", field.label, field.help);
        text.push_str(&format!(
            "\n{}{}\n",
            comment(help.trim()),
            setting(sketch, field)
        ));
    }
    text
}

/// The line that sets a field: a variable when it must be set, else a comment.
fn setting(sketch: &ConnectorSketch, field: &FieldSketch) -> String {
    let key = &field.key;
    let variable = format!("\"${{{}}}\"", variable_name(sketch, field));
    if must_be_set(field) {
        return format!("{key} = {variable}");
    }
    if field.secret {
        return format!("# {key} = {variable}");
    }
    match field.default.as_ref().or(field.example.as_ref()) {
        Some(value) => format!("# {key} = {}", toml_value(value)),
        None => format!("# {key} = \"\""),
    }
}

fn routes(sources: &[ConnectorSketch], destinations: &[ConnectorSketch]) -> String {
    let listed = |sketches: &[ConnectorSketch]| {
        let names: Vec<String> = sketches.iter().map(|s| quoted(s.name.as_str())).collect();
        format!("[{}]", names.join(", "))
    };
    let mut text = String::from(
        "\n\n# Without any route every outcome goes to every destination. With routes it goes where they say;\n\
         # the built-in store gets every outcome in any case.\n# [[routes]]\n",
    );
    let _infallible = write!(
        text,
        "# sources = {}\n# outcomes = [\"closed\", \"lost\"]\n# destinations = {}\n",
        listed(sources),
        listed(destinations)
    );
    text
}

/// The rules of a source: the connector's hold, and the admin's come before them.
pub(super) fn mapping(source: &SourceName, sketch: &ConnectorSketch) -> String {
    let title = &sketch.title;
    let head = comment(&format!(
        "Rules for `{source}`. {title}'s own rules hold; yours stand before them, and the first that matches wins."
    ));
    format!(
        "{head}#\n\
         # See what they make of an event, before it counts:\n\
         #   outcome-bridge map --source {source} --explain EVENT.json\n\
         # `outcome-bridge connectors show {name}` shows the connector's rules.\n\
         format = 1\n\
         extends = true\n\
         \n\
         # [[rule]]\n\
         # id = \"big_deal\"\n\
         # when = [\n\
         #   {{ field = \"event.status\", is = \"won\" }},\n\
         #   {{ field = \"event.amount\", at_least = 1000 }},\n\
         # ]\n\
         # outcome = \"closed\"\n\
         # [rule.set]\n\
         # phone = \"{{event.contact.phone | phone}}\"\n\
         # value = \"{{event.amount | money}}\"\n\
         # currency = \"USD\"\n\
         # label = \"Big deal\"\n",
        name = sketch.name,
    )
}

/// `text` as comment lines of at most 100 characters, as far as its words allow.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push_str(&line);
            lines.push('\n');
            line.replace_range(1.., "");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

/// `text` as a TOML string on one line that is read as it is: a dollar sign would start a reference. JSON's
/// escapes are TOML's too.
fn quoted(text: &str) -> String {
    Value::from(text.replace('$', "$$")).to_string()
}

/// `value` as TOML on one line.
fn toml_value(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::String(text) => quoted(text),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| {
                let is_bare = !key.is_empty()
                    && key
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                let key = if is_bare {
                    key.clone()
                } else {
                    Value::from(key.as_str()).to_string()
                };
                format!("{key} = {}", toml_value(value))
            };
            let entries: Vec<String> = entries.iter().map(entry).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_wrap_between_words() {
        let text = comment(&"word ".repeat(60));
        assert!(
            text.lines()
                .all(|line| line.starts_with("# word") && line.len() <= 100)
        );
        assert_eq!(text.matches("word").count(), 60);
        assert_eq!(comment("a\n[b]"), "# a [b]\n");
    }
}
