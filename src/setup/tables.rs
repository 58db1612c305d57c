//! The look-up tables of the configuration, which the rules of every source may use.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::config::{Rows, Table as Configured};
use crate::diagnostic::Diagnostic;
use crate::mapping::{Table, Tables};
use crate::model::{Place, TableName};

/// Tables as they stand in their files; read again when a file has changed. A file with mistakes changes
/// nothing: the tables as they were before go on holding.
#[derive(Debug, Default)]
pub struct SharedTables {
    configured: BTreeMap<TableName, Configured>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: Arc<Tables>,
    /// How each file looked when it was read last.
    seen: BTreeMap<PathBuf, Option<(SystemTime, u64)>>,
    /// What was wrong then.
    refused: Vec<Diagnostic>,
}

/// What came of looking at the files again.
#[derive(Debug)]
pub enum Refreshed {
    /// What holds is what the files say.
    Good,
    /// A file has mistakes.
    Refused {
        /// Every mistake of every file.
        mistakes: Vec<Diagnostic>,
        /// Whether they are told for the first time.
        new: bool,
    },
}

impl SharedTables {
    /// Reads the tables of a configuration. Beside them come the mistakes of their files; tables with mistakes
    /// are empty.
    pub fn load(configured: BTreeMap<TableName, Configured>) -> (Self, Vec<Diagnostic>) {
        let shared = Self {
            configured,
            state: Mutex::default(),
        };
        let (tables, mistakes) = shared.read();
        let state = State {
            tables: Arc::new(tables),
            seen: shared.look(),
            refused: mistakes.clone(),
        };
        let shared = Self {
            state: Mutex::new(state),
            ..shared
        };
        (shared, mistakes)
    }

    /// The tables that hold now.
    pub fn current(&self) -> Arc<Tables> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.tables)
    }

    /// Reads the tables again if one of their files has changed.
    pub fn refresh(&self) -> Refreshed {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before reading: a change in between is seen the next time.
        let now = self.look();
        let new = now != state.seen;
        if new {
            let (tables, mistakes) = self.read();
            if mistakes.is_empty() {
                state.tables = Arc::new(tables);
            }
            state.refused = mistakes;
            state.seen = now;
        }
        if state.refused.is_empty() {
            return Refreshed::Good;
        }
        let mistakes = state.refused.clone();
        Refreshed::Refused { mistakes, new }
    }

    fn look(&self) -> BTreeMap<PathBuf, Option<(SystemTime, u64)>> {
        let files = self.configured.values().filter_map(|t| t.rows.file());
        let stamp = |file: &Path| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        files.map(|file| (file.to_owned(), stamp(file))).collect()
    }

    fn read(&self) -> (Tables, Vec<Diagnostic>) {
        let mut tables = Tables::new();
        let mut mistakes = Vec::new();
        for (name, configured) in &self.configured {
            let context = format!("table `{name}`");
            let table = read(configured).unwrap_or_else(|found| {
                mistakes.extend(found.into_iter().map(|one| one.within(context.clone())));
                Table::default()
            });
            tables.insert(name.to_string(), table);
        }
        (tables, mistakes)
    }
}

fn read(table: &Configured) -> Result<Table, Vec<Diagnostic>> {
    let place = table.place.as_ref();
    match &table.rows {
        Rows::Inline(rows) if rows.len() > Table::MAX_ROWS => {
            Err(vec![too_many(rows.len(), place)])
        }
        Rows::Inline(rows) => Ok(Table::from_rows(rows.clone())),
        Rows::Toml(file) => Table::from_toml(file, &text(file)?),
        Rows::Csv { file, key, value } => Table::from_csv(file, &text(file)?, key, value),
    }
}

fn too_many(rows: usize, place: Option<&Place>) -> Diagnostic {
    let message = format!("{rows} rows; at most {} are allowed here", Table::MAX_ROWS);
    let mistake = match place {
        Some(place) => Diagnostic::error(&place.file, message).at(&place.text, place.span.clone()),
        None => Diagnostic::error("the environment", message),
    };
    mistake.help("put them into a file: `file = \"tables/NAME.csv\"`")
}

fn text(file: &Path) -> Result<String, Vec<Diagnostic>> {
    let refuse = |message: String, help: &str| vec![Diagnostic::error(file, message).help(help)];
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(Table::MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            refuse(
                format!("cannot be read: {error}"),
                "put the file there again",
            )
        })?;
    if bytes.len() as u64 > Table::MAX_BYTES {
        let help = "split the table, or leave out columns that are not used";
        return Err(refuse("larger than 8 MB".to_owned(), help));
    }
    String::from_utf8(bytes)
        .map_err(|_no_text| refuse("not valid UTF-8".to_owned(), "save the file as UTF-8"))
}
