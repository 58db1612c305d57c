//! Secrets that were written into a file must not come out again in the snippet of a diagnostic.
//!
//! Which of a source's or destination's keys are secret only its connector knows, so of all that connectors ask for
//! nothing is shown but references (`${VAR}`, `file:PATH`). Elsewhere the names of keys tell.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use toml::de::{DeTable, DeValue};

use super::{destination, source};

/// A key that sounds like a secret, and its value in any of TOML's forms, also unfinished ones and in comments.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?xi)
        ( [\w-]* (?: secret | token | key | password | authorization | credential ) [\w-]* ["']? \s* = \s* )
        ( """ (?s:.*?) (?: """ | \z )
        | ''' (?s:.*?) (?: ''' | \z )
        | \[ [^\]]* (?: \] | \z )
        | " (?: [^"\\\n] | \\. )* "?
        | ' [^'\n]* '?
        | [^\s,}\#]+ )"#,
    )
});

/// A text in any of TOML's forms, also an unfinished one.
static LITERAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?x)
        """ (?s:.*?) (?: """ | \z )
        | ''' (?s:.*?) (?: ''' | \z )
        | " (?: [^"\\\n] | \\. )* "?
        | ' [^'\n]* '?"#,
    )
});

/// A reference with its default; or an escaped dollar, which begins none.
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\$\$|(\$\{\w+(?::-)?)([^}]*)(\})"));

/// What of a URL may be secret: who logs in, and the query.
static URL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(://)([^/\s"'?\#@]*@)?([^\s"'?\#]*\??)([^\s"'\#]*)"#));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns are constants and are tested")
}

/// `text` with everything that may be secret replaced by `*`, byte for byte, so that spans still fit.
pub(super) fn veil(text: &str) -> String {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut spans = Vec::new();
    if errors.is_empty() {
        find_in_table(&mut Vec::new(), table.get_ref(), &mut spans);
    } else {
        // Nobody knows what belongs where.
        spans.extend(LITERAL.find_iter(text).map(|found| found.range()));
    }
    let mut hidden = text.to_owned();
    for span in spans {
        if let Some(written) = text.get(span.clone()) {
            hidden.replace_range(span, &hide(written));
        }
    }
    let hidden = SECRET.replace_all(&hidden, |found: &Captures<'_>| {
        format!("{}{}", &found[1], hide(&found[2]))
    });
    let hidden = URL.replace_all(&hidden, |found: &Captures<'_>| {
        let user = found.get(2).map_or("", |user| user.as_str());
        let (user, at) = user.split_at(user.len() - usize::from(!user.is_empty()));
        let (user, query) = (hide_text(user), hide_text(&found[4]));
        format!("{}{user}{at}{}{query}", &found[1], &found[3])
    });
    hidden.into_owned()
}

/// Adds where texts stand that a connector asked for.
fn find_in_table(path: &mut Vec<String>, table: &DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        find(path, value.get_ref(), value.span(), spans);
        path.pop();
    }
}

fn find(
    path: &mut Vec<String>,
    value: &DeValue<'_>,
    span: Range<usize>,
    spans: &mut Vec<Range<usize>>,
) {
    match value {
        DeValue::String(_) if !is_public(path) => spans.push(span),
        DeValue::Array(items) => {
            for item in items {
                find(path, item.get_ref(), item.span(), spans);
            }
        }
        DeValue::Table(table) => find_in_table(path, table, spans),
        _ => {}
    }
}

/// Whether what stands at `path` is none of what a connector asked for.
fn is_public(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["destinations", _, "actions", key, ..] => *key != "config",
        ["destinations", _, key, ..] => destination::OPTIONS.contains(key),
        ["sources", _, key, ..] => source::OPTIONS.contains(key),
        _ => true,
    }
}

/// A value as it stands in the file, hidden but for its references.
fn hide(value: &str) -> String {
    let mut hidden = String::with_capacity(value.len());
    let mut end = 0;
    for literal in LITERAL.find_iter(value) {
        hidden.push_str(&stars(&value[end..literal.start()]));
        hidden.push_str(&hide_text(literal.as_str()));
        end = literal.end();
    }
    hidden.push_str(&stars(&value[end..]));
    hidden
}

/// One text, with its quotes or without.
fn hide_text(text: &str) -> String {
    if text.trim_start_matches(['"', '\'']).starts_with("file:") {
        return text.to_owned();
    }
    let mut hidden = String::with_capacity(text.len());
    let mut end = 0;
    for found in REFERENCE.captures_iter(text) {
        let (Some(whole), Some(name)) = (found.get(0), found.get(1)) else {
            continue;
        };
        hidden.push_str(&stars(&text[end..whole.start()]));
        hidden.push_str(&format!(
            "{}{}{}",
            name.as_str(),
            stars(&found[2]),
            &found[3]
        ));
        end = whole.end();
    }
    hidden.push_str(&stars(&text[end..]));
    hidden
}

fn stars(value: &str) -> String {
    let stays = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '[' | ']' | ',');
    value
        .chars()
        .map(|c| {
            if stays(c) {
                c.to_string()
            } else {
                "*".repeat(c.len_utf8())
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literal_secrets_are_hidden_in_every_form() {
        for text in [
            r#"signing_secret = "whsec_abc""#,
            r#"api_key='whsec_abc'"#,
            "secrets = [\n  \"whsec_abc\",\n  \"whsec_abc\" ]",
            "token = \"\"\"\nwhsec_abc\"\"\"",
            r#"x = { password = "whsec_abc", a = 1 }"#,
            "api_token = \"whsec_abc",
            "token = whsec_abc",
            r#"client_secret = ["whsec_abc", "${HS}"]"#,
            r#"signing_secret = "pre-${HOME}-whsec_abc""#,
            r#"signing_secret = "${NONE:-whsec_abc}""#,
            r#"signing_secret = "$${whsec_abc}""#,
            "[destinations.a]\nurl = \"https://hooks.slack.com/services/whsec_abc\"",
            "[destinations.a]\nlabels = { x = \"whsec_abc\" }",
            "[[destinations.a.actions]]\ntype = \"x\"\nconfig = { url = \"whsec_abc\" }",
            "[sources.a.signing_secret]\nx = \"whsec_abc\"",
            "sources.a.url = [\"whsec_abc\"]",
            "[destinations.a]\nurl = \"whsec_abc\"\n= broken",
            "[server]\npublic_url = \"https://whsec_abc@example.com/\"",
            "[server]\npublic_url = \"https://me:whsec_abc@example.com/\"",
            "[server]\npublic_url = \"https://example.com/a?key=whsec_abc\"",
        ] {
            let hidden = veil(text);
            assert!(!hidden.contains("whsec_abc"), "{hidden}");
            assert_eq!(hidden.len(), text.len());
        }
    }

    #[test]
    fn references_and_other_values_stay_readable() {
        for text in [
            r#"signing_secret = "${STRIPE_SECRET}""#,
            r#"signing_secret = ["${NEW}", "file:old"]"#,
            r#"token = "file:/run/token""#,
            r#"base_url = "https://example.com""#,
            r#"public_url = "https://example.com:8080/a/b""#,
            "[sources.a]\nconnector = \"stripe\"\nregion = \"US\"\nsecret = \"${A}\"",
            "[destinations.a]\nmode = \"newest\"\nmatch = [\"phone\"]\nurl = \"${A}\"",
            "[[destinations.a.actions]]\ntype = \"webhook\"\ncondition = { field = \"label\" }",
        ] {
            assert_eq!(veil(text), text);
        }
        let shown = veil(r#"token = "pre-${HOME}-${X:-y}""#);
        assert_eq!(shown, r#"token = "****${HOME}*${X:-*}""#);
    }

    proptest! {
        #[test]
        fn places_do_not_move(text: String, value: String) {
            for text in [
                format!("{text}\nsecret = \"{value}\"\n"),
                format!("[sources.a]\nurl = '''{value}'''\nx = \"https://{text}\""),
            ] {
                let hidden = veil(&text);
                prop_assert_eq!(hidden.len(), text.len());
                prop_assert_eq!(hidden.matches('\n').count(), text.matches('\n').count());
            }
        }
    }
}
