//! How commands speak: one value that knows whether people or scripts read, and never fails a command
//! because nobody reads any more.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::Value;

use super::exit::Exit;
use super::output::{self, Column, Format};
use crate::diagnostic::{self, Diagnostic, Style};

/// Where a command's words go.
pub(super) struct Output {
    format: Format,
    /// The reader of standard output went away.
    closed: AtomicBool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self {
            format: Format::from_flag(json),
            closed: AtomicBool::new(false),
        }
    }

    /// Whether nobody reads the data any more, as in `… | head`: then there is no point in going on.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Prints data. That its reader went away is a normal end, and nothing to tell.
    fn data(&self, text: &str) {
        match output::print(text) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
            }
            // A full disk under a redirected output is the only way to get here.
            Err(error) => output::tell(&format!("error: the output cannot be written: {error}")),
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints JSON as data.
    pub(super) fn json<T: Serialize>(&self, value: &T) {
        match output::json(value) {
            Ok(text) => self.data(&text),
            Err(error) => output::tell(&format!("error: the answer cannot be written: {error}")),
        }
    }

    /// Prints text as data.
    pub(super) fn text(&self, text: &str) {
        self.data(text);
    }

    /// Prints one line as data.
    pub(super) fn line(&self, line: &str) {
        self.data(&format!("{line}\n"));
    }

    /// Prints a table as data.
    pub(super) fn table(
        &self,
        columns: &[&'static str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) {
        let columns: Vec<Column> = columns.iter().copied().map(Column::Text).collect();
        self.data(&output::table(&columns, rows));
    }

    /// Prints a table whose columns are named by the data.
    pub(super) fn sheet(&self, columns: &[String], rows: impl IntoIterator<Item = Vec<String>>) {
        let mut lines = vec![columns.to_vec()];
        lines.extend(rows);
        let blank = vec![Column::Text(""); columns.len()];
        let text = output::table(&blank, lines);
        // The heading is the first row; the one that the table made is empty.
        let text = text
            .split_once('\n')
            .map_or(text.as_str(), |(_, rest)| rest);
        self.data(text);
    }

    /// Prints a table of numbers as data.
    pub(super) fn figures(
        &self,
        columns: &[&'static str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) {
        let columns: Vec<Column> = columns.iter().copied().map(Column::Number).collect();
        self.data(&output::table(&columns, rows));
    }

    /// Tells people something beside the data.
    pub(super) fn note(&self, text: &str) {
        output::tell(text);
    }

    /// Tells people what went wrong with a part of what they asked for.
    pub(super) fn warn(&self, message: &str) {
        output::tell(&format!("error: {message}"));
    }

    /// Tells people what went wrong.
    pub(super) fn fail(&self, message: &str) -> Exit {
        output::tell(&format!("error: {message}"));
        Exit::Failed
    }

    /// Shows mistakes and warnings: drawn on a terminal, in words off it, as JSON with `--json`.
    pub(super) fn diagnostics(&self, found: &[Diagnostic]) {
        if found.is_empty() {
            return;
        }
        if self.is_json()
            && found
                .iter()
                .any(|d| d.severity == diagnostic::Severity::Error)
        {
            return self.json(
                &serde_json::json!({ "ok": false, "diagnostics": diagnostic::to_json(found) }),
            );
        }
        output::tell(&diagnostic::render(found, Style::for_stderr()));
        output::tell(&diagnostic::summary(found));
    }

    /// A JSON value as a table's cell.
    pub(super) fn cell(value: &Value) -> String {
        match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}
