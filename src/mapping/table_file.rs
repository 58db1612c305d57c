//! Tables in files of their own: comma-separated values or TOML.
//!
//! A file is taken whole or not at all; every mistake is told with its line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::collector::{Collector, in_file_order};
use super::table::Table;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::quotes::Quotes;

/// More mistakes of one file than this are only counted.
const MAX_TOLD: usize = 20;

impl Table {
    /// The most bytes of a table's file.
    pub const MAX_BYTES: u64 = 8_000_000;

    /// The most rows of a table's file.
    pub const MAX_FILE_ROWS: usize = 50_000;

    /// A table of these rows, which have no place in any file of rules.
    pub fn from_rows(rows: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut table = Self::default();
        table.extend(rows);
        table
    }

    /// Reads TOML with a row in each line: `"word" = "meaning"`.
    ///
    /// # Errors
    /// Every mistake, in the order of the file.
    pub fn from_toml(file: &Path, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut cx = Collector::new(file, text);
        let mut rows = Vec::new();
        if let Some(table) = cx.read(text) {
            if table.len() > Self::MAX_FILE_ROWS {
                cx.error(0..0, too_many(table.len()), None);
            }
            for (key, _, item) in in_file_order(&table) {
                if let Some(meaning) = cx.text(key, item) {
                    rows.push((key.to_owned(), meaning.to_owned()));
                }
            }
        }
        cx.finish().map_err(cut)?;
        Ok(Self::from_rows(rows))
    }

    /// Reads comma-separated values: the first line names the columns; `key` is the column that is looked up,
    /// `value` the answer. Spreadsheets that separate by semicolons or tabs are understood.
    ///
    /// # Errors
    /// Every mistake, in the order of the file: columns that are not there, a row without a key or a value, a key
    /// that stands there twice.
    pub fn from_csv(
        file: &Path,
        text: &str,
        key: &str,
        value: &str,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut sheet = Sheet::new(file, text);
        let rows = sheet.read(key, value).unwrap_or_default();
        if sheet.mistakes.is_empty() {
            Ok(Self::from_rows(rows))
        } else {
            Err(cut(sheet.mistakes))
        }
    }
}

fn too_many(rows: usize) -> String {
    format!("{rows} rows; at most {} are allowed", Table::MAX_FILE_ROWS)
}

fn cut(mut mistakes: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if let Some(more) = mistakes
        .len()
        .checked_sub(MAX_TOLD)
        .filter(|more| *more > 0)
    {
        let file = mistakes[0].file.clone();
        mistakes.truncate(MAX_TOLD);
        let message = format!("and {more} more mistakes");
        mistakes.push(Diagnostic::error(file, message));
    }
    mistakes
}

/// A file of values while it is read.
struct Sheet<'t> {
    file: &'t Path,
    text: &'t str,
    shown: Arc<str>,
    mistakes: Vec<Diagnostic>,
}

impl<'t> Sheet<'t> {
    fn new(file: &'t Path, text: &'t str) -> Self {
        // Spreadsheets like to put a byte order mark there.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            file,
            text,
            shown: text.into(),
            mistakes: Vec::new(),
        }
    }

    fn wrong(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        let mut mistake = Diagnostic::error(self.file, message).at(&self.shown, span);
        mistake.help = help;
        self.mistakes.push(mistake);
    }

    fn read(&mut self, key: &str, value: &str) -> Option<Vec<(String, String)>> {
        let delimiter = delimiter(self.text);
        let mut quotes = Quotes::new(delimiter);
        quotes.follow(self.text.as_bytes());
        let open = quotes.open().map(|opening| opening.byte);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(self.text.as_bytes());
        let columns: Vec<String> = match reader.headers() {
            Ok(columns) => columns.iter().map(str::to_owned).collect(),
            Err(error) => {
                self.wrong(0..0, format!("not comma-separated values: {error}"), None);
                return None;
            }
        };
        if open.is_some_and(|open| open < reader.position().byte()) {
            self.never_closed(open);
            return None;
        }
        let (key, value) = (self.column(&columns, key), self.column(&columns, value));
        let (key, value) = (key?, value?);
        let mut rows = Vec::new();
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        loop {
            let mut record = csv::StringRecord::new();
            match reader.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.wrong(0..0, format!("not comma-separated values: {error}"), None);
                    return None;
                }
            }
            // The last row: the cell runs to the end of the file.
            if open.is_some_and(|open| open < reader.position().byte()) {
                self.never_closed(open);
                break;
            }
            if record.iter().all(str::is_empty) {
                continue;
            }
            let position = record.position();
            let (span, line) = self.place(position.map_or(0, csv::Position::byte));
            let cell = |at: usize| record.get(at).filter(|cell| !cell.is_empty());
            match (cell(key), cell(value)) {
                (None, _) => self.wrong(span, format!("this row has no `{}`", columns[key]), None),
                (_, None) => {
                    self.wrong(span, format!("this row has no `{}`", columns[value]), None);
                }
                (Some(word), Some(_)) if seen.contains_key(word) => {
                    let first = seen[word];
                    let message = format!("`{word}` stands in line {first} already");
                    self.wrong(span, message, Some("leave one of the two out".to_owned()));
                }
                (Some(word), Some(meaning)) => {
                    seen.insert(word.to_owned(), line);
                    rows.push((word.to_owned(), meaning.to_owned()));
                }
            }
        }
        if rows.len() > Table::MAX_FILE_ROWS {
            self.wrong(0..0, too_many(rows.len()), None);
        }
        Some(rows)
    }

    fn never_closed(&mut self, open: Option<u64>) {
        let (span, _) = self.place(open.unwrap_or_default());
        let help = "all that follows would be one cell: close it, or leave it out";
        let message = "this quote is never closed".to_owned();
        self.wrong(span, message, Some(help.to_owned()));
    }

    fn column(&mut self, columns: &[String], wanted: &str) -> Option<usize> {
        let found = columns.iter().position(|column| column == wanted);
        if found.is_none() {
            let help = match did_you_mean(wanted, columns.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the first line names {}", columns.join(", ")),
            };
            let first_line = self.text.lines().next().unwrap_or_default().len();
            self.wrong(
                0..first_line,
                format!("there is no column `{wanted}`"),
                Some(help),
            );
        }
        found
    }

    /// The line that a record begins in, blank lines before it left out: its place and its number.
    fn place(&self, byte: u64) -> (Range<usize>, u64) {
        let from = usize::try_from(byte)
            .unwrap_or(usize::MAX)
            .min(self.text.len());
        let rest = self.text.get(from..).unwrap_or_default();
        let start = from + (rest.len() - rest.trim_start_matches(['\r', '\n']).len());
        let length = self.text.get(start..).and_then(|rest| rest.lines().next());
        let line = self
            .text
            .get(..start)
            .unwrap_or_default()
            .matches('\n')
            .count()
            + 1;
        (start..start + length.map_or(0, str::len), line as u64)
    }
}

/// What separates the columns: the one of the usual signs that the first line has most of.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default().as_bytes();
    let count = |sign: u8| first.iter().filter(|byte| **byte == sign).count();
    [b'\t', b';', b',']
        .into_iter()
        .max_by_key(|sign| count(*sign))
        .unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn csv(text: &str) -> Result<Table, Vec<String>> {
        told(Table::from_csv(
            Path::new("t.csv"),
            text,
            "location",
            "agent",
        ))
    }

    fn told(read: Result<Table, Vec<Diagnostic>>) -> Result<Table, Vec<String>> {
        let one = |d: Diagnostic| {
            let line = d.position().map_or(0, |(line, _)| line);
            format!("{line} {} | {}", d.message, d.help.unwrap_or_default())
        };
        read.map_err(|found| found.into_iter().map(one).collect())
    }

    #[test]
    fn values_are_read_by_the_names_of_their_columns() {
        for text in [
            "agent,note,location\nag_1,\"a, b\",Berlin\nag_2,,Paris\n",
            "\u{feff}location;agent\r\nBerlin;ag_1\r\n\r\n;;\r\nParis;ag_2",
            "location\tagent\nBerlin\tag_1\n Paris \t ag_2 \n",
        ] {
            let table = csv(text).unwrap();
            assert_eq!(table.get_text("Berlin"), Some("ag_1"), "{text}");
            assert_eq!(table.get_text("Paris"), Some("ag_2"), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "location,agent\nBerlin,ag_1\n,ag_2\n\nParis,\nBerlin,ag_3\n";
        assert_eq!(
            csv(text).unwrap_err(),
            [
                "3 this row has no `location` | ",
                "5 this row has no `agent` | ",
                "6 `Berlin` stands in line 2 already | leave one of the two out",
            ]
        );
        assert_eq!(
            csv("locations,rep\nBerlin,ag_1\n").unwrap_err(),
            [
                "1 there is no column `location` | did you mean `locations`?",
                "1 there is no column `agent` | the first line names locations, rep",
            ]
        );
        let twice = "location,agent\n".to_owned() + &"x,y\n".repeat(40);
        let told = csv(&twice).unwrap_err();
        assert_eq!(told.len(), MAX_TOLD + 1);
        assert_eq!(told[MAX_TOLD], "0 and 19 more mistakes | ");
    }

    #[test]
    fn a_quote_that_is_never_closed_is_a_mistake_with_its_line() {
        let told = "this quote is never closed | all that follows would be one cell: close it, or leave it out";
        for (text, line) in [
            ("location,agent\nBerlin,ag_1\nParis,\"ag_2\nRome,ag_3\n", 3),
            ("\u{feff}location;agent\r\n\"Ber\nlin\";\"ag_1\r\n", 3),
            ("location,\"agent\nBerlin,ag_1\n", 1),
        ] {
            let found = csv(text).unwrap_err();
            assert_eq!(found, [format!("{line} {told}")], "{text:?}");
        }
        assert!(csv("location,agent\n\"Ber\"\"\nlin\",\"ag_1\"").is_ok());
    }

    #[test]
    fn toml_has_a_row_in_each_line() {
        let read = |text: &str| told(Table::from_toml(Path::new("t.toml"), text));
        let table = read("Berlin = \"ag_1\"\n\"New York\" = \"ag_2\"\n").unwrap();
        assert_eq!(table.get_text("New York"), Some("ag_2"));
        assert_eq!(
            read("a = \"b\"\nc = 1\n").unwrap_err(),
            ["2 `c` must be a text, but is a number | "]
        );
        assert!(read("a = \"b\"\na = \"c\"\n").unwrap_err()[0].starts_with("2 duplicate key"));
    }

    #[test]
    fn a_file_with_too_many_rows_is_refused() {
        let mut text = "location,agent\n".to_owned();
        for n in 0..=Table::MAX_FILE_ROWS {
            text.push_str(&format!("{n},x\n"));
        }
        assert_eq!(
            csv(&text).unwrap_err(),
            ["1 50001 rows; at most 50000 are allowed | "]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panicking(text: String, cells in "[a,;\"\r\n ]{0,40}") {
            let _ = csv(&text);
            let _ = csv(&format!("location,agent\n{cells}"));
        }
    }
}
