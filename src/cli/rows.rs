//! Rows of a file: CSV with a heading, or JSON lines. Each comes with the line on which it begins, so that a mistake can
//! be found and an import that stopped can go on from there.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

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

/// Reads a file row by row. A name that ends in `.csv` tells CSV, everything else is JSON lines.
///
/// # Errors
/// When the file cannot be opened, or a CSV file has no heading.
pub(super) fn open(path: &Path) -> Result<Box<dyn Iterator<Item = Row>>, String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", path.display());
    let file = File::open(path).map_err(|error| failed(&error))?;
    if path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("csv"))
    {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::Headers)
            .from_reader(BufReader::new(file));
        let heading = reader.headers().map_err(|error| failed(&error))?.clone();
        // Spreadsheets put a mark before the first name.
        let names: Vec<String> = heading
            .iter()
            .map(|name| name.trim_start_matches('\u{feff}').to_owned())
            .collect();
        if names.iter().all(String::is_empty) {
            return Err(format!(
                "{} has no heading: its first line must name the columns",
                path.display()
            ));
        }
        return Ok(Box::new(Csv {
            reader,
            names,
            ended: false,
        }));
    }
    Ok(Box::new(JsonLines {
        reader: BufReader::new(file),
        line: 0,
        end: 0,
        ended: false,
    }))
}

struct Csv {
    reader: csv::Reader<BufReader<File>>,
    names: Vec<String>,
    ended: bool,
}

impl Iterator for Csv {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.ended {
            return None;
        }
        let mut record = csv::StringRecord::new();
        let line = self.reader.position().line();
        let fields = match self.reader.read_record(&mut record) {
            Ok(false) => return None,
            Ok(true) => Ok(self
                .names
                .iter()
                .zip(record.iter())
                .filter(|(_, text)| !text.is_empty())
                .map(|(name, text)| (name.clone(), Value::String(text.to_owned())))
                .collect()),
            Err(error) => {
                // Only these leave the reader at the beginning of a row.
                self.ended = !matches!(
                    error.kind(),
                    csv::ErrorKind::UnequalLengths { .. } | csv::ErrorKind::Utf8 { .. }
                );
                Err(error.to_string())
            }
        };
        let line = record.position().map_or(line, csv::Position::line);
        Some(Row {
            line,
            end: self.reader.position().byte(),
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
                        self.ended = true;
                        Err(format!("the line is longer than {LONGEST} bytes"))
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

    #[test]
    fn a_csv_file_without_a_heading_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "").unwrap();
        assert!(open(&path).is_err());
    }
}
