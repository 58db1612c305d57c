//! How commands speak: one value that knows whether people or scripts read, and never fails a command
//! because nobody reads any more.

use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;

use super::exit::Exit;
use super::moment;
use super::output::{self, Column, Format};
use crate::diagnostic::{self, Diagnostic, Style};

/// The cell of what is not there.
const NOTHING: &str = "-";

/// How a command is asked to speak. These options stand at every command.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Speech {
    /// The form of the data: a table for people, JSON, JSON lines, or CSV for lists.
    #[arg(long, global = true, value_enum, value_name = "FORM")]
    format: Option<Format>,
    /// Print JSON: the short word for --format json.
    #[arg(long, global = true)]
    json: bool,
    /// Colours: always, never, or on a terminal unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    color: Colour,
    /// Print data and errors only: no notes, no warnings, no progress.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Tell more on standard error: requests as they are made, or of `serve` debug lines. Twice: everything.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// When there are colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also off a terminal.
    Always,
    /// Not even there.
    Never,
}

impl Colour {
    /// Whether there are; `None` where it depends.
    pub(super) fn decided(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Always => Some(true),
            Self::Never => Some(false),
        }
    }
}

/// The colours of help and of wrong usage, which clap tells before any option is read.
pub(super) fn colour_of_help(arguments: impl Iterator<Item = OsString>) -> clap::ColorChoice {
    let arguments: Vec<OsString> = arguments.collect();
    let asked = |word: &str| {
        arguments
            .iter()
            .any(|one| *one == *format!("--color={word}"))
            || arguments
                .windows(2)
                .any(|pair| pair[0] == *"--color" && pair[1] == *word)
    };
    if asked("never") {
        clap::ColorChoice::Never
    } else if asked("always") {
        clap::ColorChoice::Always
    } else {
        clap::ColorChoice::Auto
    }
}

/// Where a command's words go.
pub(super) struct Output {
    /// The form that was asked for, if one was.
    asked: Option<Format>,
    speech: Speech,
    /// The reader of standard output went away.
    closed: AtomicBool,
}

impl Output {
    /// # Errors
    /// When the options contradict each other.
    pub(super) fn new(speech: Speech) -> Result<Self, String> {
        let asked = match (speech.format, speech.json) {
            (None, true) => Some(Format::Json),
            (Some(other), true) if other != Format::Json => {
                return Err("--json is --format json; give one of them".to_owned());
            }
            (format, _) => format,
        };
        Ok(Self {
            asked,
            speech,
            closed: AtomicBool::new(false),
        })
    }

    /// The form that was asked for, for commands whose own is no table.
    pub(super) fn asked_format(&self) -> Option<Format> {
        self.asked
    }

    fn format(&self) -> Format {
        self.asked.unwrap_or_default()
    }

    /// Whether the answer is printed as JSON, in one value or in lines.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.format(), Format::Json | Format::JsonLines)
    }

    /// Whether lists are wanted as CSV.
    pub(super) fn is_csv(&self) -> bool {
        self.format() == Format::Csv
    }

    pub(super) fn colour(&self) -> Colour {
        self.speech.color
    }

    /// How much more is to be told: 0 as usual, 1 requests and debug lines, 2 everything.
    pub(super) fn verbosity(&self) -> u8 {
        self.speech.verbose
    }

    /// An answer with its moments as people read them; JSON and CSV keep the API's.
    pub(super) fn for_people(&self, answer: &Value) -> Value {
        match self.format() {
            Format::Table => moment::localized(answer),
            _ => answer.clone(),
        }
    }

    /// A progress bar, unless only data is wanted.
    pub(super) fn progress(&self, what: &'static str, total: Option<u64>) -> ProgressBar {
        if self.speech.quiet {
            return ProgressBar::hidden();
        }
        output::progress(what, total)
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

    /// Prints JSON as data. Of a list, JSON lines are its items.
    pub(super) fn json<T: Serialize>(&self, value: &T) {
        let text = match self.format() {
            Format::JsonLines => serde_json::to_value(value).map(|value| lines(&value)),
            _ => output::json(value),
        };
        match text {
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
        if self.is_csv() {
            let names = columns.iter().map(|name| (*name).to_owned()).collect();
            return self.csv(std::iter::once(names).chain(rows));
        }
        let columns: Vec<Column> = columns.iter().copied().map(Column::Text).collect();
        self.data(&output::table(&columns, rows));
    }

    /// Prints fields of items as data, each with its heading in a table; CSV has the fields' own names.
    pub(super) fn items(&self, items: &Value, columns: &[(&'static str, &'static str)]) {
        let (fields, headings): (Vec<&str>, Vec<&str>) = columns.iter().copied().unzip();
        let items = self.for_people(items);
        let rows = items.as_array().into_iter().flatten();
        let rows = rows.map(|item| {
            fields
                .iter()
                .map(|field| Self::cell(&item[field]))
                .collect()
        });
        self.table(if self.is_csv() { &fields } else { &headings }, rows);
    }

    fn csv(&self, rows: impl IntoIterator<Item = Vec<String>>) {
        // What is not there is a dash for people, and nothing in a file.
        let empty = |cell: String| if cell == NOTHING { String::new() } else { cell };
        let rows = rows
            .into_iter()
            .map(|row| row.into_iter().map(empty).collect());
        match output::csv(rows) {
            Ok(text) => self.data(&String::from_utf8_lossy(&text)),
            Err(error) => output::tell(&format!("error: the answer cannot be written: {error}")),
        }
    }

    /// Prints a table whose columns are named by the data.
    pub(super) fn sheet(&self, columns: &[String], rows: impl IntoIterator<Item = Vec<String>>) {
        if self.is_csv() {
            return self.csv(std::iter::once(columns.to_vec()).chain(rows));
        }
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
        if !self.speech.quiet {
            output::tell(text);
        }
    }

    /// Tells people where to look further, beside a table.
    pub(super) fn hint(&self, text: &str) {
        if self.format() == Format::Table {
            self.note(text);
        }
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
        let is_error = |one: &Diagnostic| one.severity == diagnostic::Severity::Error;
        let has_mistakes = found.iter().any(is_error);
        if found.is_empty() || self.speech.quiet && !has_mistakes {
            return;
        }
        if self.is_json() && has_mistakes {
            return self.json(
                &serde_json::json!({ "ok": false, "diagnostics": diagnostic::to_json(found) }),
            );
        }
        output::tell(&diagnostic::render(found, self.style()));
        output::tell(&diagnostic::summary(found));
    }

    fn style(&self) -> Style {
        match (self.speech.color, Style::for_stderr()) {
            (Colour::Always, _) => Style::Graphical { colour: true },
            (Colour::Never, Style::Graphical { .. }) => Style::Graphical { colour: false },
            (_, style) => style,
        }
    }

    /// A JSON value as a table's cell.
    pub(super) fn cell(value: &Value) -> String {
        match value {
            Value::Null => NOTHING.to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// JSON in lines: of a list each item.
fn lines(value: &Value) -> String {
    match value["items"].as_array() {
        Some(items) => items.iter().map(|item| format!("{item}\n")).collect(),
        None => format!("{value}\n"),
    }
}
