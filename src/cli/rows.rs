//! Rows of a file: CSV with a heading, or JSON lines. Each comes with the line on which it begins, so that a mistake can
//! be found and an import that stopped can go on from there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use crate::quotes::{Followed, Opening};

/// A row, or what is wrong with it, and its line.
pub(super) struct Row {
    /// From 1.
    pub(super) line: u64,
    /// Where the next row begins, in bytes.
    pub(super) end: u64,
    /// Fields by name; in CSV each is text.
    pub(super) fields: Fields,
}

/// The fields of a row by name, or what is wrong with it.
pub(super) type Fields = Result<Map<String, Value>, String>;

/// The longest line of JSON.
const LONGEST: u64 = 16 << 20;

/// What spreadsheets put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// What keeps a spreadsheet from taking a cell for a formula. Exports write it, and it is taken away when it is read.
pub(super) const MARK: char = '\'';
/// What to do about a text that cannot be read.
const SAVE_AS: &str = "save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\")";

/// Reads a file row by row. A name that ends in `.csv` tells CSV, everything else is JSON lines. Both are UTF-8.
///
/// # Errors
/// When the file cannot be opened or is UTF-16, or a CSV file has no heading, or one that names a column twice.
pub(super) fn open(path: &Path) -> Result<Box<dyn Iterator<Item = Row>>, String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", path.display());
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut reader = BufReader::new(file);
    let marked = skip_mark(&mut reader).map_err(|error| failed(&error))?;
    if path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("csv"))
    {
        let style = Style::of(&mut reader).map_err(|error| failed(&error))?;
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::Headers)
            .delimiter(style.delimiter)
            .from_reader(Followed::new(reader, style.delimiter));
        let names = names(&mut reader).map_err(|error| failed(&error))?;
        return Ok(Box::new(Csv {
            reader,
            names,
            lags: u64::from(style.returns),
            marked,
            ended: false,
        }));
    }
    Ok(Box::new(JsonLines {
        reader,
        line: 0,
        end: marked,
        ended: false,
    }))
}

/// Whether a spreadsheet would take a cell for a formula.
pub(super) fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// Whether it is kept from that by a mark, or by several.
pub(super) fn is_marked(text: &str) -> bool {
    text.starts_with(MARK) && is_formula(text.trim_start_matches(MARK))
}

/// The text that a cell stands for.
fn unmarked(cell: &str) -> &str {
    match cell.strip_prefix(MARK) {
        Some(text) if is_marked(cell) => text,
        _ => cell,
    }
}

/// Goes past a mark of UTF-8 and answers its length. UTF-16 is told by its own mark.
fn skip_mark(reader: &mut impl BufRead) -> io::Result<u64> {
    let begin = reader.fill_buf()?;
    if begin.starts_with(b"\xff\xfe") || begin.starts_with(b"\xfe\xff") {
        let told = format!("it is UTF-16; {SAVE_AS}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, told));
    }
    let length = if begin.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    reader.consume(length);
    Ok(length as u64)
}

/// How a CSV file is written, by its heading.
struct Style {
    /// What stands between the columns: the one of comma, semicolon and tab that there is most of.
    delimiter: u8,
    /// Lines end as on Windows.
    returns: bool,
}

impl Style {
    fn of(reader: &mut impl BufRead) -> io::Result<Self> {
        let begin = reader.fill_buf()?;
        let heading = begin
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let count = |delimiter: u8| heading.iter().filter(|byte| **byte == delimiter).count();
        // The last of equals: a comma where there is none of them.
        let most = [b'\t', b';', b',']
            .into_iter()
            .max_by_key(|one| count(*one));
        Ok(Self {
            delimiter: most.unwrap_or(b','),
            returns: heading.ends_with(b"\r"),
        })
    }
}

fn names(reader: &mut csv::Reader<Followed<BufReader<File>>>) -> Result<Vec<String>, String> {
    let heading = reader.headers().map_err(|error| told(&error))?;
    let names: Vec<String> = heading.iter().map(str::to_owned).collect();
    if let Some(opening) = swallowed(reader) {
        return Err(never_closed(opening));
    }
    if names.iter().all(String::is_empty) {
        return Err("there is no heading: the first line must name the columns".to_owned());
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(twice) => Err(format!("two columns are named `{}`", twice.escape_debug())),
        None => Ok(names),
    }
}

/// The quote that is never closed, if what was read last runs from it to the end of the file.
fn swallowed(reader: &csv::Reader<Followed<BufReader<File>>>) -> Option<Opening> {
    let opening = reader.get_ref().never_closed()?;
    (opening.byte < reader.position().byte()).then_some(opening)
}

fn never_closed(opening: Opening) -> String {
    format!(
        "the quote that opens in line {} is never closed: all that follows would be one cell",
        opening.line
    )
}

/// What is wrong with a row of CSV, for people.
fn told(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => format!("the text is not UTF-8; {SAVE_AS}"),
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("{len} cells where the heading has {expected_len}"),
        _ => error.to_string(),
    }
}

struct Csv {
    reader: csv::Reader<Followed<BufReader<File>>>,
    names: Vec<String>,
    /// Lines that the reader is behind at the end of a row: it stops between the two bytes that end a line on Windows.
    lags: u64,
    /// Bytes before the heading.
    marked: u64,
    ended: bool,
}

impl Iterator for Csv {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.ended {
            return None;
        }
        let mut record = csv::StringRecord::new();
        let before = self.reader.position().line();
        let read = self.reader.read_record(&mut record);
        if let Some(opening) = swallowed(&self.reader) {
            self.ended = true;
            return Some(Row {
                line: opening.line,
                end: self.marked + self.reader.position().byte(),
                fields: Err(never_closed(opening)),
            });
        }
        let fields = match read {
            Ok(false) => return None,
            Ok(true) => Ok(self
                .names
                .iter()
                .zip(record.iter())
                .filter(|(_, text)| !text.is_empty())
                .map(|(name, text)| (name.clone(), Value::String(unmarked(text).to_owned())))
                .collect()),
            Err(error) => {
                // Only these leave the reader at the beginning of a row.
                self.ended = !matches!(
                    error.kind(),
                    csv::ErrorKind::UnequalLengths { .. } | csv::ErrorKind::Utf8 { .. }
                );
                Err(told(&error))
            }
        };
        // Empty lines before the row are passed over with it, so its line is told from its end. What does not end in
        // a line's end is the last one.
        let within = record.as_slice().matches('\n').count() as u64;
        let begin = self.reader.position().line().saturating_sub(within + 1);
        Some(Row {
            line: before.max(begin) + self.lags,
            end: self.marked + self.reader.position().byte(),
            fields,
        })
    }
}

struct JsonLines {
    reader: BufReader<File>,
    line: u64,
    end: u64,
    ended: bool,
}

impl JsonLines {
    /// Goes past what is left of a line.
    fn skip_line(&mut self) {
        loop {
            let (length, done) = match self.reader.fill_buf() {
                Ok(some) => match some.iter().position(|byte| *byte == b'\n') {
                    Some(end) => (end + 1, true),
                    None => (some.len(), some.is_empty()),
                },
                // Reading the next line tells it.
                Err(_failed) => return,
            };
            self.reader.consume(length);
            self.end += length as u64;
            if done {
                return;
            }
        }
    }
}

impl Iterator for JsonLines {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        while !self.ended {
            let mut bytes = Vec::new();
            self.line += 1;
            let read = std::io::Read::take(&mut self.reader, LONGEST).read_until(b'\n', &mut bytes);
            let fields = match read {
                Ok(0) => return None,
                Ok(length) => {
                    self.end += length as u64;
                    if bytes.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    if length as u64 == LONGEST && !bytes.ends_with(b"\n") {
                        self.skip_line();
                        Err(format!("the line is longer than {LONGEST} bytes"))
                    } else if std::str::from_utf8(&bytes).is_err() {
                        Err(format!("the text is not UTF-8; {SAVE_AS}"))
                    } else {
                        match serde_json::from_slice(&bytes) {
                            Ok(Value::Object(fields)) => Ok(fields),
                            Ok(_) => Err("not a JSON object".to_owned()),
                            Err(error) => Err(format!("not JSON: {error}")),
                        }
                    }
                }
                Err(error) => {
                    self.ended = true;
                    Err(error.to_string())
                }
            };
            return Some(Row {
                line: self.line,
                end: self.end,
                fields,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(name: &str, content: impl AsRef<[u8]>) -> Vec<(u64, Fields)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        open(&path)
            .unwrap()
            .map(|row| (row.line, row.fields))
            .collect()
    }

    #[test]
    fn csv_rows_know_their_lines_even_when_cells_have_several() {
        let text = "\u{feff}call_id, phone ,notes\nc1,+1,\"two\nlines\"\nc2,,x\nc3,too,many,cells\nc4,+4,\n";
        let found = rows("a.CSV", text);
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 4, 5, 6]);
        let first = found[0].1.as_ref().unwrap();
        assert_eq!(
            (&first["call_id"], &first["phone"], &first["notes"]),
            (&"c1".into(), &"+1".into(), &"two\nlines".into())
        );
        assert!(!found[1].1.as_ref().unwrap().contains_key("phone"));
        assert!(found[2].1.is_err());
        assert!(found[3].1.is_ok());
    }

    #[test]
    fn marks_against_formulas_are_taken_away_again() {
        let found = rows("a.csv", "call_id,notes\n'+1,'=x\n''-2,'tis\n");
        let cells = |row: usize| {
            let fields = found[row].1.as_ref().unwrap();
            (fields["call_id"].clone(), fields["notes"].clone())
        };
        assert_eq!(cells(0), ("+1".into(), "=x".into()));
        assert_eq!(cells(1), ("'-2".into(), "'tis".into()));
    }

    #[test]
    fn csv_rows_know_their_lines_however_lines_end() {
        let text = "call_id,notes\nc1,\"a\nb\"\nc2,x,y\n\n\nc3,\nc4,\"\n\"\nc5,z\n";
        for (text, lines) in [
            (text.to_owned(), [2, 4, 7, 8, 10]),
            (text.replace('\n', "\r\n"), [2, 4, 7, 8, 10]),
            (text.trim_end().to_owned(), [2, 4, 7, 8, 10]),
            (text.trim_end().replace('\n', "\r\n"), [2, 4, 7, 8, 10]),
        ] {
            let found: Vec<u64> = rows("a.csv", &text).iter().map(|row| row.0).collect();
            assert_eq!(found, lines, "{text:?}");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_swallows_no_row_unsaid() {
        let before = "call_id,notes\nc1,\"a\nb\"\nc2,say \"x\n";
        for (text, line) in [
            (format!("{before}c3,\"y\nc4,z\nc5,z\n"), 5),
            (format!("{before}\"c3,y\nc4,z\n"), 5),
            (format!("{before}\"c3\n\",\"y\"\""), 6),
            (format!("\u{feff}{before}c3,\"y\n").replace('\n', "\r\n"), 5),
            (format!("{before}c3,\"").replace(',', ";"), 5),
        ] {
            let found = rows("a.csv", &text);
            assert_eq!(found.len(), 3, "{text:?}");
            assert!(found[0].1.is_ok() && found[1].1.is_ok(), "{text:?}");
            let told = found[2].1.as_ref().unwrap_err();
            assert_eq!(found[2].0, line, "{text:?}");
            let part = format!("the quote that opens in line {line} is never closed");
            assert!(told.contains(&part), "{told}");
        }
        // Far more than the reader holds at a time.
        let many = format!("call_id,notes\nc1,\"a\n{}", "c2,b\n".repeat(50_000));
        let found = rows("a.csv", many);
        assert_eq!((found.len(), found[0].0), (1, 2));
        assert!(found[0].1.is_err());
        let told = refusal("a.csv", "call_id,\"notes\nc1,a\n");
        assert!(told.contains("line 1 is never closed"), "{told}");
    }

    #[test]
    fn json_lines_go_on_after_a_bad_one() {
        let found = rows(
            "a.jsonl",
            b"{\"call_id\":\"c1\"}\n\n[1]\n{bad\n\xff\n{\"call_id\":\"c2\"}",
        );
        let lines: Vec<(u64, bool)> = found
            .iter()
            .map(|(line, row)| (*line, row.is_ok()))
            .collect();
        assert_eq!(
            lines,
            [(1, true), (3, false), (4, false), (5, false), (6, true)]
        );
    }

    fn refusal(name: &str, content: impl AsRef<[u8]>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        open(&path).err().unwrap()
    }

    #[test]
    fn a_file_that_cannot_be_read_as_a_whole_is_refused_at_once() {
        let utf16: Vec<u8> = "call_id"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let utf16 = [b"\xff\xfe".as_slice(), &utf16].concat();
        for (name, content, part) in [
            ("a.csv", b"".as_slice(), "no heading"),
            ("a.csv", b",,\n1,2,3\n", "no heading"),
            (
                "a.csv",
                b"call_id,phone,call_id\n",
                "two columns are named `call_id`",
            ),
            (
                "a.csv",
                b"call_id,caf\xe9\n1,2\n",
                "not UTF-8; save it as UTF-8",
            ),
            ("a.csv", utf16.as_slice(), "UTF-16; save it as UTF-8"),
            ("a.jsonl", utf16.as_slice(), "UTF-16; save it as UTF-8"),
        ] {
            let told = refusal(name, content);
            assert!(told.contains(part), "{content:?}: {told}");
        }
    }

    #[test]
    fn files_of_every_make_give_the_same_rows() {
        let fields = |name, content: &str| -> Vec<Fields> {
            rows(name, content).into_iter().map(|row| row.1).collect()
        };
        let plain = fields("a.csv", "call_id,phone\nc1,+1\nc2,\"a,b\"\n");
        for content in [
            "\u{feff}call_id,phone\r\nc1,+1\r\nc2,\"a,b\"\r\n",
            "call_id;phone\nc1;+1\nc2;a,b\n",
            "call_id\tphone\nc1\t+1\nc2\ta,b",
        ] {
            assert_eq!(fields("a.csv", content), plain, "{content:?}");
        }
        let lines =
            "{\"call_id\":\"c1\",\"phone\":\"+1\"}\r\n{\"call_id\":\"c2\",\"phone\":\"a,b\"}";
        for content in [lines.to_owned(), format!("\u{feff}{lines}\r\n")] {
            assert_eq!(rows("a.jsonl", content).len(), 2);
            assert_eq!(rows("a.jsonl", lines)[1].1, plain[1]);
        }
    }

    #[test]
    fn a_row_in_another_encoding_and_a_line_without_end_do_not_stop_the_others() {
        let found = rows("a.csv", b"call_id,name\nc1,caf\xe9\nc2,x\n");
        let told = found[0].1.as_ref().unwrap_err();
        assert!(told.contains("UTF-8"), "{told}");
        assert!(found[1].1.is_ok());
        let mut long = vec![b'x'; usize::try_from(LONGEST).unwrap() + 10];
        long.extend(b"\n{\"call_id\":\"c2\"}\n");
        let found = rows("a.jsonl", long);
        assert_eq!((found.len(), found[1].0), (2, 2));
        assert!(found[0].1.is_err() && found[1].1.is_ok());
    }
}
