//! `calls import` and `outcomes import`: a file, row by row, into a running bridge.
//!
//! What was sent stands, and the same file again changes nothing, so an import that stopped goes on from the line
//! that it names. A row that cannot be taken is told with its line and does not stop the others.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::client::{Client, Server};
use super::exit::{Exit, Failure};
use super::rows;
use super::terminal::Output;

/// Rows that are sent at once, and how many bytes at most.
const BATCH: usize = 1_000;
const BATCH_BYTES: usize = 512 << 10;
/// Batches that are read before they are sent.
const READ_AHEAD: usize = 1;
/// Rejected rows that are shown by themselves.
const SHOWN: usize = 20;

/// A file to be brought in.
#[derive(Debug, clap::Args)]
pub(super) struct ImportFile {
    #[command(flatten)]
    server: Server,
    /// The file.
    file: PathBuf,
    /// Go on from this line, after an import that stopped.
    #[arg(long, default_value_t = 0)]
    from_line: u64,
    /// Write rejected rows to this file, one JSON object each: line, reason, row.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

/// What is imported.
#[derive(Debug)]
pub(super) struct Wares {
    name: &'static str,
    doing: &'static str,
    path: &'static str,
    /// What the answer counts, and the word for it.
    counts: &'static [(&'static str, &'static str)],
}

impl Wares {
    /// Calls for the store and the registry.
    pub(super) const CALLS: Self = Self {
        name: "calls",
        doing: "importing calls",
        path: "/admin/v1/calls",
        counts: &[
            ("created", "new"),
            ("updated", "updated"),
            ("unchanged", "unchanged"),
        ],
    };

    /// Outcomes, which go the way of every outcome.
    pub(super) const OUTCOMES: Self = Self {
        name: "outcomes",
        doing: "importing outcomes",
        path: "/admin/v1/outcomes/import",
        counts: &[("accepted", "accepted")],
    };
}

impl ImportFile {
    pub(super) async fn run(self, wares: &Wares, output: &Output) -> Result<Exit, Failure> {
        self.with(wares, Map::new(), output).await
    }

    /// The same, with members that go into every request beside the rows.
    pub(super) async fn with(
        self,
        wares: &Wares,
        beside: Map<String, Value>,
        output: &Output,
    ) -> Result<Exit, Failure> {
        let importer = Importer {
            client: self.server.connect()?,
            wares,
            beside,
            counts: vec![0; wares.counts.len()],
            rejects: 0,
            rejected: Vec::new(),
            keep: self.rejects.is_some(),
        };
        importer
            .run(&self.file, self.from_line, self.rejects.as_deref(), output)
            .await
    }
}

struct Importer<'a> {
    client: Client,
    wares: &'a Wares,
    beside: Map<String, Value>,
    counts: Vec<u64>,
    rejects: u64,
    rejected: Vec<Value>,
    keep: bool,
}

/// Rows that are sent together.
#[derive(Default)]
struct Batch {
    rows: Vec<Map<String, Value>>,
    /// The line of each.
    lines: Vec<u64>,
    /// Lines before its end that hold no row, and why.
    unreadable: Vec<(u64, String)>,
    /// Bytes of the file up to its end.
    end: u64,
}

/// The line of a row, why it was rejected, and its fields if it could be read.
type Rejected = (u64, String, Option<Value>);

/// Reads a file batch by batch, as long as somebody takes them.
///
/// # Errors
/// When the file cannot be read.
fn gather(file: &Path, from_line: u64, to: &mpsc::Sender<Batch>) -> Result<(), Failure> {
    let mut batch = Batch::default();
    let mut bytes = 0;
    for row in rows::open(file).map_err(Failure::Failed)? {
        let length = usize::try_from(row.end.saturating_sub(batch.end)).unwrap_or(usize::MAX);
        if row.line < from_line {
            batch.end = row.end;
            continue;
        }
        if batch.rows.len() + batch.unreadable.len() >= BATCH || bytes + length > BATCH_BYTES {
            let next = Batch {
                end: batch.end,
                ..Batch::default()
            };
            if to
                .blocking_send(std::mem::replace(&mut batch, next))
                .is_err()
            {
                return Ok(());
            }
            bytes = 0;
        }
        bytes += length;
        batch.end = row.end;
        match row.fields {
            Ok(fields) => {
                batch.rows.push(fields);
                batch.lines.push(row.line);
            }
            Err(reason) => batch.unreadable.push((row.line, reason)),
        }
    }
    // Nobody takes the last one when one before it was not taken by the bridge.
    let _gone = to.blocking_send(batch);
    Ok(())
}

impl Importer<'_> {
    async fn run(
        mut self,
        file: &Path,
        from_line: u64,
        rejects: Option<&Path>,
        output: &Output,
    ) -> Result<Exit, Failure> {
        let brought = self.bring(file, from_line, output).await;
        if let Some(path) = rejects {
            let lines: String = self.rejected.iter().map(|row| format!("{row}\n")).collect();
            std::fs::write(path, lines).map_err(Failure::of)?;
        }
        // What was done before it stopped is told as well.
        let began = self.rejects > 0 || self.counts.iter().any(|count| *count > 0);
        match brought {
            Err(failure) if !began => Err(failure),
            brought => {
                let exit = self.finish(output);
                brought.map(|()| exit)
            }
        }
    }

    /// Reads and sends the file: while a batch is under way, the next one is read.
    async fn bring(&mut self, file: &Path, from_line: u64, output: &Output) -> Result<(), Failure> {
        let size = std::fs::metadata(file).map(|about| about.len()).ok();
        let bar = output.progress(self.wares.doing, size);
        let (to, mut batches) = mpsc::channel(READ_AHEAD);
        let path = file.to_owned();
        let reading = tokio::task::spawn_blocking(move || gather(&path, from_line, &to));
        while let Some(batch) = batches.recv().await {
            let end = batch.end;
            self.send(batch, file).await?;
            bar.set_position(end);
        }
        reading.await.map_err(Failure::of)??;
        bar.finish_and_clear();
        Ok(())
    }

    /// Sends what was gathered. Rows that could not be read and those that the bridge rejects are told in the order of
    /// the file.
    async fn send(&mut self, batch: Batch, file: &Path) -> Result<(), Failure> {
        let unreadable = batch.unreadable.into_iter();
        let mut rejected: Vec<Rejected> = unreadable
            .map(|(line, reason)| (line, reason, None))
            .collect();
        let sent = self
            .post(batch.rows, &batch.lines, file, &mut rejected)
            .await;
        rejected.sort_by_key(|(line, ..)| *line);
        for (line, reason, fields) in rejected {
            self.reject(line, &reason, fields.as_ref());
        }
        sent
    }

    async fn post(
        &mut self,
        rows: Vec<Map<String, Value>>,
        lines: &[u64],
        file: &Path,
        rejected: &mut Vec<Rejected>,
    ) -> Result<(), Failure> {
        let Some(first) = lines.first() else {
            return Ok(());
        };
        let mut body = self.beside.clone();
        let rows = rows.into_iter().map(Value::Object).collect();
        body.insert(self.wares.name.to_owned(), Value::Array(rows));
        let body = Value::Object(body);
        let sent = self.client.post(self.wares.path, &body).await;
        let answer = sent.map_err(|failure| {
            let on = format!(
                "; go on with `{} import {} --from-line {first}`",
                self.wares.name,
                file.display()
            );
            match failure {
                Failure::Unreachable(why) => Failure::Unreachable(why + &on),
                Failure::Failed(why) => Failure::Failed(why + &on),
                other => other,
            }
        })?;
        for (count, (key, _)) in self.counts.iter_mut().zip(self.wares.counts) {
            *count += answer[*key].as_u64().unwrap_or(0);
        }
        for refused in answer["rejected"].as_array().into_iter().flatten() {
            let index = refused["index"]
                .as_u64()
                .and_then(|index| usize::try_from(index).ok());
            if let Some((index, line)) = index.and_then(|index| Some((index, lines.get(index)?))) {
                let reason = refused["reason"].as_str().unwrap_or("no reason given");
                let fields = body[self.wares.name].get(index).cloned();
                rejected.push((*line, reason.to_owned(), fields));
            }
        }
        Ok(())
    }

    fn reject(&mut self, line: u64, reason: &str, fields: Option<&Value>) {
        self.rejects += 1;
        if self.keep || self.rejected.len() < SHOWN {
            let row = if self.keep {
                json!(fields)
            } else {
                Value::Null
            };
            self.rejected
                .push(json!({ "line": line, "reason": reason, "row": row }));
        }
    }

    fn finish(self, output: &Output) -> Exit {
        let counted = self.counts.iter().zip(self.wares.counts);
        if output.is_json() {
            let mut told: Map<String, Value> = counted
                .map(|(count, (key, _))| ((*key).to_owned(), json!(count)))
                .collect();
            told.insert("rejected".to_owned(), json!(self.rejects));
            let some: Vec<&Value> = self.rejected.iter().take(SHOWN).collect();
            told.insert("rejects".to_owned(), json!(some));
            output.json(&told);
        } else {
            let words: Vec<String> = counted
                .map(|(count, (_, word))| format!("{count} {word}"))
                .collect();
            output.line(&format!("{}, {} rejected", words.join(", "), self.rejects));
            for row in self.rejected.iter().take(SHOWN) {
                output.note(&format!(
                    "line {}: {}",
                    row["line"],
                    row["reason"].as_str().unwrap_or_default()
                ));
            }
            if self.rejects > SHOWN as u64 {
                output.note("and more; --rejects FILE writes them all");
            }
        }
        if self.rejects == 0 {
            Exit::Done
        } else {
            Exit::Mistakes
        }
    }
}
