//! `[tables.NAME]`: what a vendor's word or id means here, for the rules of every source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use super::read::{self, Read};
use super::section::Section;
use super::wrong::Wrong;
use crate::model::Place;

/// A look-up table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Where its rows are.
    pub rows: Rows,
    /// Where it is configured; `None` when that was in the environment.
    pub place: Option<Place>,
}

/// Where the rows of a table are.
#[derive(Debug, Clone)]
pub enum Rows {
    /// In the configuration itself.
    Inline(BTreeMap<String, String>),
    /// In a file of TOML: `"word" = "meaning"` in each line.
    Toml(PathBuf),
    /// In a file of comma-separated values whose first line names the columns.
    Csv {
        /// The file.
        file: PathBuf,
        /// The column that is looked up.
        key: String,
        /// The column that is the answer.
        value: String,
    },
}

impl Rows {
    /// The file that they are in, if they are in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Inline(_) => None,
            Self::Toml(file) | Self::Csv { file, .. } => Some(file),
        }
    }
}

impl Table {
    /// Reads a table; `None` when there is a mistake in it.
    pub(super) fn read(mut section: Section<'_, '_>, dir: &Path) -> Option<Self> {
        let place = section.own_place();
        let rows = if section.has("file") {
            let rows = in_file(&mut section, dir);
            section.finish();
            rows
        } else {
            section.each(row).map(Rows::Inline)
        };
        Some(Self { rows: rows?, place })
    }
}

fn row(value: &Value) -> Read<String> {
    match &value.kind {
        ValueKind::Boolean(truth) => Ok(truth.to_string()),
        ValueKind::I64(number) => Ok(number.to_string()),
        _ => read::text(value),
    }
}

fn in_file(section: &mut Section<'_, '_>, dir: &Path) -> Option<Rows> {
    let mut written = String::new();
    let file = section.get("file", |value| {
        written = read::text(value)?;
        file(&written, dir)
    });
    // What else belongs to it depends on its name, whether it is there or not.
    match Path::new(&written).extension().and_then(|end| end.to_str()) {
        Some("toml") => return file.map(Rows::Toml),
        Some("csv") => {}
        _ => {
            for column in ["key", "value"] {
                let _unused: Option<String> = section.get(column, read::text);
            }
            return None;
        }
    }
    let column = |section: &mut Section<'_, '_>, key, example: &str| {
        let help = format!("name a column of the file's first line: {key} = \"{example}\"");
        section.required(key, &help, read::text)
    };
    let key = column(section, "key", "location");
    let value = column(section, "value", "agent");
    Some(Rows::Csv {
        file: file?,
        key: key?,
        value: value?,
    })
}

fn file(path: &str, dir: &Path) -> Read<PathBuf> {
    let path = dir.join(path);
    let known = path
        .extension()
        .is_some_and(|end| end == "csv" || end == "toml");
    if !known {
        return Err(Wrong::new("tables are read from `.csv` and `.toml` files")
            .help("name such a file, relative to the configuration directory"));
    }
    if !path.is_file() {
        return Err(Wrong::new(format!("there is no file `{}`", path.display()))
            .help("the path is relative to the configuration directory"));
    }
    Ok(path)
}
