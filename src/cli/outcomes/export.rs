//! `outcomes export`: every current outcome, page by page, so that memory does not grow with the store.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

use super::Filter;
use crate::cli::client::{Client, Server};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{counted, progress};
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

/// Why writing ended before everything was written.
enum Ended {
    /// Nobody reads on, as in `… | head`.
    Closed,
    Failed(Failure),
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(Failure::of(error)),
        }
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Export {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let client = self.server.connect()?;
        let to_file = self.out.is_some();
        let written = match &self.out {
            None => self.write(&client, std::io::stdout().lock()).await,
            Some(path) => {
                let file = std::fs::File::create(path).map_err(|error| {
                    Failure::Failed(format!("{} cannot be written: {error}", path.display()))
                })?;
                self.write(&client, std::io::BufWriter::new(file)).await
            }
        };
        match written {
            Ok(written) if to_file => {
                output.note(&format!(
                    "{} written",
                    counted(written, "outcome", "outcomes")
                ));
                Ok(Exit::Done)
            }
            Ok(_) | Err(Ended::Closed) => Ok(Exit::Done),
            Err(Ended::Failed(failure)) => Err(failure),
        }
    }

    /// Writes all of them; answers how many there are.
    async fn write(&self, client: &Client, mut sink: impl Write) -> Result<u64, Ended> {
        let csv = self.format == "csv";
        if csv {
            sink.write_all(&csv_line(COLUMNS.iter().map(|name| (*name).to_owned()))?)?;
        }
        let mut query = self.filter.clone().query();
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
                sink.write_all(&line)?;
                written += 1;
            }
            bar.set_position(written);
            query.retain(|(name, _)| *name != "cursor");
            match page["next"].as_str() {
                Some(next) => query.push(("cursor", next.to_owned())),
                None => break,
            }
        }
        sink.flush()?;
        bar.finish_and_clear();
        Ok(written)
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
