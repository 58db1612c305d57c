//! `outcomes export`: every current outcome, page by page, so that memory does not grow with the store.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

use super::Filter;
use crate::cli::client::Server;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::progress;
use crate::cli::rows::{MARK, is_formula, is_marked};
use crate::cli::terminal::Output;

/// Columns of a CSV file.
const COLUMNS: [&str; 20] = [
    "call_ref",
    "agent_id",
    "call_id",
    "phone",
    "email",
    "kind",
    "label",
    "value",
    "currency",
    "notes",
    "metadata",
    "basis",
    "occurred_at",
    "source",
    "actor",
    "event_id",
    "rule",
    "recorded_at",
    "revision",
    "target",
];

/// Outcomes of a page.
const PAGE: usize = 1_000;

/// Every current outcome.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    filter: Filter,
    /// csv or jsonl.
    #[arg(long, default_value = "csv", value_parser = ["csv", "jsonl"])]
    format: String,
    /// The file to write. Not given: standard output.
    #[arg(long, short)]
    out: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let client = self.server.connect()?;
        let mut sink: Box<dyn Write> = match &self.out {
            None => Box::new(std::io::stdout().lock()),
            Some(path) => Box::new(std::io::BufWriter::new(
                std::fs::File::create(path).map_err(Failure::of)?,
            )),
        };
        let csv = self.format == "csv";
        if csv {
            sink.write_all(&csv_line(COLUMNS.iter().map(|name| (*name).to_owned()))?)
                .map_err(Failure::of)?;
        }
        let mut query = self.filter.query();
        query.push(("limit", PAGE.to_string()));
        let (bar, mut written) = (progress("exporting outcomes", None), 0u64);
        loop {
            let page = client.get("/admin/v1/outcomes", &query).await?;
            for row in page["items"].as_array().into_iter().flatten() {
                let line = if csv {
                    csv_line(COLUMNS.iter().map(|name| cell(&row[*name])))?
                } else {
                    format!("{row}\n").into_bytes()
                };
                if let Err(error) = sink.write_all(&line) {
                    return match error.kind() {
                        std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
                        _ => Err(Failure::of(error)),
                    };
                }
                written += 1;
            }
            bar.set_position(written);
            query.retain(|(name, _)| *name != "cursor");
            match page["next"].as_str() {
                Some(next) => query.push(("cursor", next.to_owned())),
                None => break,
            }
        }
        sink.flush().map_err(Failure::of)?;
        bar.finish_and_clear();
        if self.out.is_some() {
            output.note(&format!("{written} outcomes written"));
        }
        Ok(Exit::Done)
    }
}

fn csv_line(cells: impl Iterator<Item = String>) -> Result<Vec<u8>, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).map_err(Failure::of)?;
    writer
        .into_inner()
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// A cell. Text that a spreadsheet would take for a formula gets a mark in front, which [`rows`] takes away again;
/// phones and numbers do not need it.
///
/// [`rows`]: crate::cli::rows
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text,
        other => return other.to_string(),
    };
    let is_number = text
        .trim_start_matches(['+', '-'])
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.');
    if is_formula(text) && !is_number || is_marked(text) {
        return format!("{MARK}{text}");
    }
    text.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_never_formulas() {
        assert_eq!(cell(&json!("=HYPERLINK(\"x\")")), "'=HYPERLINK(\"x\")");
        assert_eq!(cell(&json!("@cmd")), "'@cmd");
        assert_eq!(cell(&json!("+14155551234")), "+14155551234");
        assert_eq!(cell(&json!("-12.50")), "-12.50");
        assert_eq!(cell(&json!({"a": 1})), "{\"a\":1}");
        assert_eq!(cell(&json!("'=1")), "''=1", "reading takes one mark away");
        assert_eq!(cell(&json!("'tis")), "'tis");
    }
}
