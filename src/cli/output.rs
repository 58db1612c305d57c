//! What commands print: data on standard output, as a table for people or JSON for scripts; everything
//! else on standard error. Progress bars appear on a terminal only.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::rows::{MARK, is_formula, is_marked};

/// The most characters of a cell; JSON has the whole value.
const LONGEST_CELL: usize = 72;

/// The form of data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For scripts: one JSON value, stable and documented.
    Json,
    /// JSON in one line; of a list one line for each item.
    #[value(name = "jsonl")]
    JsonLines,
    /// Lists as CSV with a heading.
    Csv,
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Text, to the left.
    Text(&'static str),
    /// Numbers, to the right.
    Number(&'static str),
}

/// A table with a heading: columns two blanks apart, no frame, so that other tools can cut it.
pub(super) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(
        columns
            .iter()
            .map(|column| cell(*column, &column.name().to_uppercase())),
    );
    for row in rows {
        let cells = columns
            .iter()
            .zip(&row)
            .map(|(column, text)| cell(*column, text));
        table.add_row(cells);
    }
    let last = columns.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }
}

fn cell(column: Column, text: &str) -> Cell {
    let cell = Cell::new(shorten(&plain(text)));
    match column {
        Column::Text(_) => cell,
        Column::Number(_) => cell.set_alignment(CellAlignment::Right),
    }
}

/// `text` without characters that a terminal would obey. Names and reasons come from vendors, and an
/// escape sequence among them could rewrite what is on the screen.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' => plain.push(' '),
            c if is_obeyed(c) => plain.push(char::REPLACEMENT_CHARACTER),
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// Control characters, and those that turn the direction of writing around.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST_CELL) {
        Some(_) => text.chars().take(LONGEST_CELL - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// So many of a thing, in words: "1 event", "2 events".
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{count} {word}")
}

/// Rows as CSV with a heading. A cell that a spreadsheet would take for a formula gets a mark in front.
///
/// # Errors
/// Never, in memory.
pub(super) fn csv(rows: impl IntoIterator<Item = Vec<String>>) -> csv::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.iter().map(|cell| guarded(cell).into_owned()))?;
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

/// The text of a cell as [`rows`] reads it back. Phones and numbers are no formulas.
///
/// [`rows`]: super::rows
fn guarded(text: &str) -> Cow<'_, str> {
    let is_number = text
        .trim_start_matches(['+', '-'])
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.');
    if is_formula(text) && !is_number || is_marked(text) {
        return Cow::Owned(format!("{MARK}{text}"));
    }
    Cow::Borrowed(text)
}

/// `value` as JSON, indented, with the end of its last line.
///
/// # Errors
/// When it is no JSON.
pub(super) fn json<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

/// Prints `text` on standard output.
///
/// # Errors
/// When standard output cannot be written, also because its reader went away.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Tells people something, on standard error. If even that cannot be written nobody is there to tell.
pub(super) fn tell(text: &str) {
    let _nobody_is_there = writeln!(io::stderr().lock(), "{text}");
}

/// A progress bar on standard error, or a spinner when the total is not known; invisible off a terminal.
/// `what` is being done, e.g. "redriving".
pub(super) fn progress(what: &'static str, total: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {msg} {human_pos} {elapsed}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar.with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table_is_columns_two_blanks_apart() {
        let columns = [
            Column::Text("source"),
            Column::Number("events"),
            Column::Text("last"),
        ];
        let rows = [
            vec!["hubspot".to_owned(), "12".to_owned(), "now".to_owned()],
            vec!["cal".to_owned(), "3 400".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&columns, rows),
            "SOURCE   EVENTS  LAST\nhubspot      12  now\ncal       3 400\n"
        );
    }

    #[test]
    fn a_table_without_rows_has_its_heading() {
        assert_eq!(table(&[Column::Text("id")], []), "ID\n");
    }

    #[test]
    fn long_cells_are_shortened() {
        let text = table(&[Column::Text("x")], [vec!["é".repeat(100)]]);
        assert!(text.ends_with("é…\n"));
        assert_eq!(text.lines().last().unwrap().chars().count(), LONGEST_CELL);
    }

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{202e}d"), "a\u{fffd}[2Jb c\u{fffd}d");
    }

    #[test]
    fn cells_of_csv_are_never_formulas() {
        for (text, cell) in [
            ("=HYPERLINK(\"x\")", "'=HYPERLINK(\"x\")"),
            ("@cmd", "'@cmd"),
            ("+14155551234", "+14155551234"),
            ("-12.50", "-12.50"),
            ("{\"a\":1}", "{\"a\":1}"),
            ("'=1", "''=1"),
            ("'tis", "'tis"),
        ] {
            assert_eq!(guarded(text), cell);
        }
    }

    #[test]
    fn progress_is_invisible_off_a_terminal() {
        if !io::stderr().is_terminal() {
            assert!(progress("redriving", Some(3)).is_hidden());
        }
    }

    proptest! {
        #[test]
        fn a_row_stays_one_line_whatever_is_in_it(text: String) {
            let table = table(&[Column::Text("a"), Column::Text("b")], [vec![text, "end".to_owned()]]);
            prop_assert_eq!(table.lines().count(), 2);
        }
    }
}
