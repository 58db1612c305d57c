//! `outcomes export`: every current outcome, page by page, so that memory does not grow with the store.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

use super::Filter;
use crate::cli::client::{Client, Server};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Format, counted, csv};
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

/// Every current outcome, as CSV, or with `--json` or `--format jsonl` as JSON lines.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    filter: Filter,
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
        let format = match output.asked_format() {
            None | Some(Format::Csv) => Format::Csv,
            // Row by row, however many there are: one JSON value would have to be held whole by whoever reads it.
            Some(Format::Json | Format::JsonLines) => Format::JsonLines,
            Some(Format::Table) => {
                return Err(Failure::Usage(
                    "an export is row by row: take --format csv or jsonl".into(),
                ));
            }
        };
        let client = self.server.connect()?;
        let to_file = self.out.is_some();
        let written = match &self.out {
            None => {
                self.write(output, format, &client, std::io::stdout().lock())
                    .await
            }
            Some(path) => {
                let file = std::fs::File::create(path).map_err(|error| {
                    Failure::Failed(format!("{} cannot be written: {error}", path.display()))
                })?;
                self.write(output, format, &client, std::io::BufWriter::new(file))
                    .await
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
    async fn write(
        &self,
        output: &Output,
        format: Format,
        client: &Client,
        mut sink: impl Write,
    ) -> Result<u64, Ended> {
        let csv_line = |cells: Vec<String>| csv([cells]).map_err(Failure::of);
        if format == Format::Csv {
            sink.write_all(&csv_line(COLUMNS.map(str::to_owned).to_vec())?)?;
        }
        let mut query = self.filter.clone().query();
        query.push(("limit", PAGE.to_string()));
        // What is recorded meanwhile must not move what is still to be written.
        query.push(("order", "call".to_owned()));
        let (bar, mut written) = (output.progress("exporting outcomes", None), 0u64);
        loop {
            let page = client.get("/admin/v1/outcomes", &query).await?;
            for row in page["items"].as_array().into_iter().flatten() {
                let line = match format {
                    Format::Csv => csv_line(COLUMNS.map(|name| cell(&row[name])).to_vec())?,
                    _ => format!("{row}\n").into_bytes(),
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

/// The text of a cell, as it is.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
