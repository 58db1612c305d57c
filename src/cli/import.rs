//! `calls import` and `outcomes import`: a file, row by row, into a running bridge.
//!
//! What was sent stands, and the same file again changes nothing, so an import that stopped goes on from the line
//! that it names. A row that cannot be taken is told with its line and does not stop the others.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::client::{Client, Server};
use super::exit::{Exit, Failure};
use super::rows;
use super::terminal::Output;

/// Rows that are sent at once, and how many bytes at most.
const BATCH: usize = 1_000;
const BATCH_BYTES: usize = 512 << 10;
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

type Batch = Vec<(u64, Map<String, Value>)>;

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

    /// Reads and sends the file.
    async fn bring(&mut self, file: &Path, from_line: u64, output: &Output) -> Result<(), Failure> {
        let size = std::fs::metadata(file).map(|about| about.len()).ok();
        let bar = output.progress(self.wares.doing, size);
        let mut batch = Batch::new();
        let (mut bytes, mut begun) = (0, 0);
        for row in rows::open(file).map_err(Failure::Failed)? {
            let length = usize::try_from(row.end.saturating_sub(begun)).unwrap_or(usize::MAX);
            begun = row.end;
            if row.line < from_line {
                continue;
            }
            if batch.len() >= BATCH || bytes + length > BATCH_BYTES {
                self.send(&mut batch, file).await?;
                bytes = 0;
                bar.set_position(row.end);
            }
            bytes += length;
            match row.fields {
                Ok(fields) => batch.push((row.line, fields)),
                Err(reason) => self.reject(row.line, &reason, None),
            }
        }
        self.send(&mut batch, file).await?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Sends what was gathered.
    async fn send(&mut self, batch: &mut Batch, file: &Path) -> Result<(), Failure> {
        let Some((first, _)) = batch.first() else {
            return Ok(());
        };
        let rows: Vec<&Map<String, Value>> = batch.iter().map(|(_, fields)| fields).collect();
        let mut body = self.beside.clone();
        body.insert(self.wares.name.to_owned(), json!(rows));
        let sent = self
            .client
            .post(self.wares.path, &Value::Object(body))
            .await;
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
        for rejected in answer["rejected"].as_array().into_iter().flatten() {
            let index = rejected["index"]
                .as_u64()
                .and_then(|index| usize::try_from(index).ok());
            if let Some((line, fields)) = index.and_then(|index| batch.get(index)) {
                let reason = rejected["reason"].as_str().unwrap_or("no reason given");
                self.reject(*line, reason, Some(fields));
            }
        }
        batch.clear();
        Ok(())
    }

    fn reject(&mut self, line: u64, reason: &str, fields: Option<&Map<String, Value>>) {
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
