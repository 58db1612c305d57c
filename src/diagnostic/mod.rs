//! A mistake in something that a person wrote: where, what, and how to put it right.
//!
//! Configuration, connectors and rules report all their mistakes at once as a list of these. How
//! they look on a terminal or as JSON is decided in one place, [`render`] and [`to_json`].

mod render;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

pub use render::{Style, render, summary, to_json};

/// One mistake, or one warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops anything from running.
    pub severity: Severity,
    /// The file, as the person knows it.
    pub file: PathBuf,
    /// The file's text, where it could be read.
    pub text: Option<Arc<str>>,
    /// Which bytes of the text are at fault.
    pub span: Option<Range<usize>>,
    /// What is wrong. Lower case, no full stop.
    pub message: String,
    /// How to put it right.
    pub help: Option<String>,
    /// The rule, source or destination it belongs to, e.g. `rule "deal_won"`.
    pub context: Option<String>,
}

/// Whether a diagnostic stops anything from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

impl Diagnostic {
    /// A mistake in `file`.
    pub fn error(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.into(),
            text: None,
            span: None,
            message: message.into(),
            help: None,
            context: None,
        }
    }

    /// A warning about `file`.
    pub fn warning(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(file, message)
        }
    }

    /// Points at bytes of the file's text.
    #[must_use]
    pub fn at(mut self, text: &Arc<str>, span: Range<usize>) -> Self {
        self.text = Some(Arc::clone(text));
        self.span = Some(span);
        self
    }

    /// Says how to put it right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what it belongs to.
    #[must_use]
    pub fn within(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// What is wrong and what it belongs to, in one line.
    pub fn in_short(&self) -> String {
        match &self.context {
            Some(context) => format!("{context}: {}", self.message),
            None => self.message.clone(),
        }
    }

    /// Line and column of the first byte at fault, both from 1; columns count characters.
    pub fn position(&self) -> Option<(usize, usize)> {
        let (text, span) = (self.text.as_ref()?, self.span.as_ref()?);
        let before = text.get(..span.start.min(text.len()))?;
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Some((line, before[start..].chars().count() + 1))
    }
}

/// Adds what a later step `found` to the `known` mistakes, but for what it found at the place of one of them: that
/// follows from it.
pub fn add_findings(known: &mut Vec<Diagnostic>, found: Vec<Diagnostic>) {
    let place = |diagnostic: &Diagnostic| Some((diagnostic.file.clone(), diagnostic.span.clone()?));
    let taken: Vec<_> = known.iter().filter_map(place).collect();
    let follows = |diagnostic: &Diagnostic| place(diagnostic).is_some_and(|at| taken.contains(&at));
    known.extend(found.into_iter().filter(|diagnostic| !follows(diagnostic)));
}

/// The known word nearest to `word`, if one is near enough to be what was meant.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let simple = |s: &str| s.to_lowercase().replace(['-', '_', ' ', '.'], "");
    let plain = simple(word);
    known
        .into_iter()
        .map(|candidate| (distance(&plain, &simple(candidate)), candidate))
        .filter(|(d, candidate)| *d <= (candidate.len() / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, remove, replace) between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text: Arc<str> = "a = 1\nhé = x\n".into();
        let at = text.find('x').unwrap();
        let diagnostic = Diagnostic::error("f.toml", "bad").at(&text, at..at + 1);
        assert_eq!(diagnostic.position(), Some((2, 6)));
    }

    #[test]
    fn what_follows_from_a_known_mistake_is_left_out() {
        let text: Arc<str> = "a = 1".into();
        let at = |message: &str, span| Diagnostic::error("f.toml", message).at(&text, span);
        let mut known = vec![at("first", 4..5), at("second at the same place", 4..5)];
        let found = vec![
            at("follows", 4..5),
            at("elsewhere", 0..1),
            Diagnostic::error("f.toml", "without a place"),
            Diagnostic::error("g.toml", "another file").at(&text, 4..5),
        ];
        add_findings(&mut known, found);
        let messages: Vec<&str> = known.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "first",
                "second at the same place",
                "elsewhere",
                "without a place",
                "another file"
            ]
        );
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["shown", "no_show", "closed", "lost", "follow_up"];
        assert_eq!(did_you_mean("noshow", known), Some("no_show"));
        assert_eq!(did_you_mean("no-show", known), Some("no_show"));
        assert_eq!(did_you_mean("elephant", known), None);
    }
}
