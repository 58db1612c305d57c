//! Secrets that were written into a file must not come out again in the snippet of a diagnostic.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// A key that sounds like a secret, and its value in any of TOML's forms, also unfinished ones.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?xi)
        ( [\w-]* (?: secret | token | key | password | authorization | credential ) [\w-]* ["']? \s* = \s* )
        ( """ (?s:.*?) (?: """ | \z )
        | ''' (?s:.*?) (?: ''' | \z )
        | \[ [^\]]* (?: \] | \z )
        | " (?: [^"\\\n] | \\. )* "?
        | ' [^'\n]* '?
        | [^\s,}\#]+ )"#,
    )
    .expect("the pattern is a constant and is tested")
});

/// `text` with everything that sounds like a secret replaced by `*`, byte for byte, so that spans still
/// fit. References (`${VAR}`, `file:`) stay readable.
pub(super) fn veil(text: &str) -> String {
    let hidden = SECRET.replace_all(text, |found: &Captures<'_>| {
        let value = &found[2];
        if value.contains("${") || value.contains("file:") {
            return found[0].to_owned();
        }
        format!("{}{}", &found[1], stars(value))
    });
    hidden.into_owned()
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
            r#"token = "file:/run/token""#,
            r#"base_url = "https://example.com""#,
        ] {
            assert_eq!(veil(text), text);
        }
    }

    proptest! {
        #[test]
        fn places_do_not_move(text: String, value: String) {
            let text = format!("{text}\nsecret = \"{value}\"\n");
            let hidden = veil(&text);
            prop_assert_eq!(hidden.len(), text.len());
            prop_assert_eq!(hidden.matches('\n').count(), text.matches('\n').count());
        }
    }
}
