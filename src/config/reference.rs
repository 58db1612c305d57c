//! References in a text of the file: `${VAR}`, `${VAR:-default}`, `$$`, and `file:PATH`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::env::{Env, Variable};
use super::wrong::Wrong;

/// `text` with its references filled in. A text that starts with `file:` is the content of that file,
/// relative to `dir`, without the newline at its end. What a variable holds is never read as a
/// reference again.
pub(super) fn resolve(text: &str, env: &Env, dir: &Path) -> Result<String, Vec<Wrong>> {
    match text.strip_prefix("file:") {
        Some(path) => read_file(&fill(path, env)?, dir).map_err(|wrong| vec![wrong]),
        None => fill(text, env),
    }
}

fn fill(text: &str, env: &Env) -> Result<String, Vec<Wrong>> {
    let mut filled = String::with_capacity(text.len());
    let mut mistakes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            filled.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let Some((reference, after)) = after.split_once('}') else {
                mistakes.push(Wrong::new("`${` has no closing `}`").help(LITERAL_DOLLAR));
                return Err(mistakes);
            };
            match variable(reference, env) {
                Ok(value) => filled.push_str(value),
                Err(wrong) => mistakes.push(wrong),
            }
            rest = after;
        } else {
            filled.push('$');
            rest = after;
        }
    }
    filled.push_str(rest);
    if mistakes.is_empty() {
        Ok(filled)
    } else {
        Err(mistakes)
    }
}

const LITERAL_DOLLAR: &str = "write `${NAME}` for a variable, `$$` for a dollar sign";

/// What `NAME` or `NAME:-default` stands for. As in a shell, an empty variable takes the default.
fn variable<'a>(reference: &'a str, env: &'a Env) -> Result<&'a str, Wrong> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if !is_variable_name(name) {
        let message = format!("`${{{reference}}}` does not name a variable of the environment");
        return Err(Wrong::new(message).help(LITERAL_DOLLAR));
    }
    match (env.variable(name), default) {
        (Variable::Text(""), Some(default)) | (Variable::Unset, Some(default)) => Ok(default),
        (Variable::Text(value), _) => Ok(value),
        (Variable::Unset, None) => Err(Wrong::new(format!(
            "the environment variable `{name}` is not set"
        ))
        .help(format!(
            "set {name}; or write `file:PATH` for a secret that stands in a file, `${{{name}:-default}}` for what is no secret"
        ))),
        (Variable::NotText, _) => Err(Wrong::new(format!(
            "the environment variable `{name}` is not valid UTF-8"
        ))
        .help("keep bytes that are not text in a file, encoded as the connector asks for")),
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The largest file that a text may refer to: keys and tokens are far smaller, and a device has no end.
const LARGEST_FILE: u64 = 1_000_000;

/// The content of the file at `path`, without the newline at its end.
pub(super) fn read_file(path: &str, dir: &Path) -> Result<String, Wrong> {
    let path = dir.join(path);
    let unreadable = |why: &dyn std::fmt::Display| {
        Wrong::new(format!("`{}` cannot be read: {why}", path.display()))
            .help("the path after `file:` is relative to the configuration directory")
    };
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text))
        .map_err(|error| unreadable(&error))?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(unreadable(&"it is larger than 1 MB"));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(text: &str) -> Result<String, Vec<String>> {
        let env: Env = [("KEY", "k1"), ("EMPTY", ""), ("NESTED", "${KEY} file:x")]
            .into_iter()
            .collect();
        resolve(text, &env, Path::new("."))
            .map_err(|mistakes| mistakes.into_iter().map(|wrong| wrong.message).collect())
    }

    #[test]
    fn variables_are_filled_in_anywhere() {
        assert_eq!(filled("Bearer ${KEY}!").unwrap(), "Bearer k1!");
        assert_eq!(filled("${NONE:-x:-y}").unwrap(), "x:-y");
        assert_eq!(filled("${EMPTY:-x}").unwrap(), "x");
        assert_eq!(filled("${EMPTY}").unwrap(), "");
    }

    #[test]
    fn a_dollar_that_starts_nothing_stays() {
        assert_eq!(filled("pa$$word $5 $").unwrap(), "pa$word $5 $");
        assert_eq!(filled("$${KEY}").unwrap(), "${KEY}");
    }

    #[test]
    fn what_a_variable_holds_is_not_read_again() {
        assert_eq!(filled("${NESTED}").unwrap(), "${KEY} file:x");
    }

    #[test]
    fn every_mistake_of_a_text_is_told() {
        assert_eq!(
            filled("${A}${B}${}").unwrap_err(),
            [
                "the environment variable `A` is not set",
                "the environment variable `B` is not set",
                "`${}` does not name a variable of the environment"
            ]
        );
        assert_eq!(filled("x${KEY").unwrap_err(), ["`${` has no closing `}`"]);
    }

    #[test]
    fn a_file_loses_only_its_last_newline() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "a\nb \r\n").unwrap();
        let env: Env = [("NAME", "token")].into_iter().collect();
        assert_eq!(
            resolve("file:${NAME}", &env, dir.path()).ok().as_deref(),
            Some("a\nb ")
        );
        let wrong = resolve("file:missing", &env, dir.path()).err().unwrap();
        assert!(wrong[0].message.contains("missing` cannot be read"));
        std::fs::write(dir.path().join("huge"), vec![b'x'; 1_000_001]).unwrap();
        let wrong = resolve("file:huge", &env, dir.path()).err().unwrap();
        assert!(wrong[0].message.contains("larger than 1 MB"));
    }

    proptest! {
        #[test]
        fn any_text_is_filled_in_or_refused_without_panicking(text: String) {
            let _ = fill(&text, &Env::default());
        }

        #[test]
        fn text_without_a_dollar_is_itself(text in "[^$]*") {
            prop_assert_eq!(fill(&text, &Env::default()).ok(), Some(text));
        }
    }
}
