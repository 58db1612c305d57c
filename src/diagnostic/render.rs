//! How diagnostics look: drawn with the lines at fault on a terminal, told in words off it (also for
//! screen readers), or as JSON for editors and scripts.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, NarratableReportHandler,
    SourceCode,
};
use serde_json::{Value, json};

use super::{Diagnostic, Severity};

/// How diagnostics look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Drawn, with colours or without.
    Graphical {
        /// Whether colours are used.
        colour: bool,
    },
    /// In words, without drawing characters.
    Narrated,
}

impl Style {
    /// What suits standard error: drawn on a terminal unless `NO_GRAPHICS` is set, in colour unless
    /// `NO_COLOR` is; in words elsewhere.
    pub fn for_stderr() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if io::stderr().is_terminal() && !is_set("NO_GRAPHICS") {
            Self::Graphical {
                colour: !is_set("NO_COLOR"),
            }
        } else {
            Self::Narrated
        }
    }
}

/// All of `diagnostics` as text for people, mistakes before warnings.
pub fn render(diagnostics: &[Diagnostic], style: Style) -> String {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|diagnostic| diagnostic.severity);
    let mut text = String::new();
    for diagnostic in sorted {
        text.push_str(&one(diagnostic, style));
        text.push('\n');
    }
    text
}

/// How many mistakes and warnings there are, in how many files: `2 mistakes and 1 warning in 2 files`.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let mistakes = diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .count();
    let files: BTreeSet<_> = diagnostics.iter().map(|found| &found.file).collect();
    let counted = |count: usize, what: &str| {
        let end = if count == 1 { "" } else { "s" };
        format!("{count} {what}{end}")
    };
    let found = match (mistakes, diagnostics.len() - mistakes) {
        (0, 0) => return "no mistakes".to_owned(),
        (mistakes, 0) => counted(mistakes, "mistake"),
        (0, warnings) => counted(warnings, "warning"),
        (mistakes, warnings) => {
            let (mistakes, warnings) = (counted(mistakes, "mistake"), counted(warnings, "warning"));
            format!("{mistakes} and {warnings}")
        }
    };
    format!("{found} in {}", counted(files.len(), "file"))
}

/// All of `diagnostics` as a list of objects: `file`, `line` and `column` (from 1), `severity`, `message`,
/// `help`, `context`, and `span` as offsets in bytes. What is not known is `null`.
pub fn to_json(diagnostics: &[Diagnostic]) -> Value {
    let one = |found: &Diagnostic| {
        let position = found.position();
        json!({
            "file": found.file.display().to_string(),
            "line": position.map(|(line, _)| line),
            "column": position.map(|(_, column)| column),
            "severity": severity(found.severity),
            "message": found.message,
            "help": found.help,
            "context": found.context,
            "span": found.span.as_ref().map(|span| json!({ "start": span.start, "end": span.end })),
        })
    };
    diagnostics.iter().map(one).collect()
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn one(diagnostic: &Diagnostic, style: Style) -> String {
    let report = Report::of(diagnostic, style);
    let mut text = String::new();
    let drawn = match style {
        Style::Graphical { colour } => {
            let theme = if colour {
                GraphicalTheme::unicode()
            } else {
                GraphicalTheme::unicode_nocolor()
            };
            GraphicalReportHandler::new_themed(theme)
                .with_links(false)
                .with_context_lines(1)
                .render_report(&mut text, &report)
        }
        Style::Narrated => NarratableReportHandler::new().render_report(&mut text, &report),
    };
    match drawn {
        Ok(()) => text,
        // The place does not fit the text. What is wrong is still worth telling.
        Err(fmt::Error) => format!("{}\n", report.message),
    }
}

/// One diagnostic in the shape that `miette` draws.
#[derive(Debug)]
struct Report {
    severity: Severity,
    message: String,
    help: Option<String>,
    source: Option<NamedSource<Arc<str>>>,
    span: std::ops::Range<usize>,
}

impl Report {
    fn of(diagnostic: &Diagnostic, style: Style) -> Self {
        let name = diagnostic.file.display().to_string();
        let has_place = diagnostic.text.is_some() && diagnostic.span.is_some();
        let source = diagnostic
            .text
            .as_ref()
            .filter(|_| has_place)
            .map(|text| NamedSource::new(&name, Arc::clone(text)));
        let message = match &diagnostic.context {
            Some(context) => format!("{context}: {}", diagnostic.message),
            None => diagnostic.message.clone(),
        };
        let message = match (diagnostic.position(), style) {
            (Some(_), Style::Graphical { .. }) => message,
            (Some((line, column)), Style::Narrated) => format!("{name}:{line}:{column}: {message}"),
            (None, _) => format!("{name}: {message}"),
        };
        Self {
            severity: diagnostic.severity,
            message,
            help: diagnostic.help.clone(),
            source,
            span: fitting_span(diagnostic),
        }
    }
}

/// The place at fault, within the text and between characters: `miette` panics beyond it.
fn fitting_span(diagnostic: &Diagnostic) -> std::ops::Range<usize> {
    let (Some(text), Some(span)) = (&diagnostic.text, &diagnostic.span) else {
        return 0..0;
    };
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end).max(start);
    start..end
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let label = LabeledSpan::underline(self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Style = Style::Graphical { colour: false };

    fn mistake() -> Diagnostic {
        let text: Arc<str> = "[[rule]]\nname = \"won\"\noutcome = \"no-show\"\n".into();
        let at = text.find("\"no-show\"").unwrap();
        Diagnostic::error("mappings/crm.toml", "`no-show` is not an outcome")
            .at(&text, at..at + 9)
            .within("rule `won`")
            .help("did you mean `no_show`?")
    }

    #[test]
    fn the_line_at_fault_is_drawn() {
        insta::assert_snapshot!(render(&[mistake()], PLAIN), @r#"
          × rule `won`: `no-show` is not an outcome
           ╭─[mappings/crm.toml:3:11]
         2 │ name = "won"
         3 │ outcome = "no-show"
           ·           ─────────
           ╰────
          help: did you mean `no_show`?
        "#);
    }

    #[test]
    fn off_a_terminal_it_is_told_in_words_with_its_place_first() {
        let text = render(&[mistake()], Style::Narrated);
        assert!(
            text.starts_with("mappings/crm.toml:3:11: rule `won`: `no-show` is not an outcome\n")
        );
        assert!(text.contains("did you mean `no_show`?"));
        assert!(text.is_ascii());
    }

    #[test]
    fn without_a_place_the_file_is_named() {
        let text = render(
            &[Diagnostic::error("a.toml", "there is no such file")],
            PLAIN,
        );
        assert!(text.contains("a.toml: there is no such file"), "{text}");
    }

    #[test]
    fn mistakes_come_before_warnings_and_are_counted() {
        let found = [
            Diagnostic::warning("b.toml", "second"),
            Diagnostic::error("a.toml", "first"),
        ];
        let text = render(&found, Style::Narrated);
        assert!(text.find("first") < text.find("second"));
        assert_eq!(summary(&found), "1 mistake and 1 warning in 2 files");
        assert_eq!(summary(&found[..1]), "1 warning in 1 file");
        assert_eq!(summary(&[]), "no mistakes");
    }

    #[test]
    fn json_has_lines_columns_and_spans() {
        assert_eq!(
            to_json(&[mistake()]),
            json!([{
                "file": "mappings/crm.toml",
                "line": 3,
                "column": 11,
                "severity": "error",
                "message": "`no-show` is not an outcome",
                "help": "did you mean `no_show`?",
                "context": "rule `won`",
                "span": { "start": 32, "end": 41 },
            }])
        );
    }

    proptest! {
        #[test]
        fn a_place_that_does_not_fit_is_no_reason_to_panic(text: String, start in 0usize..80, end in 0usize..80) {
            let text: Arc<str> = text.into();
            let found = [Diagnostic::error("a.toml", "wrong").at(&text, start..end)];
            for style in [PLAIN, Style::Narrated] {
                prop_assert!(render(&found, style).contains("wrong"));
            }
            let _ = to_json(&found);
        }
    }
}
