//! The catalogue: connectors compiled into the binary, overlaid by a directory of the operator's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use super::Connector;
use super::folder::Folder;
use crate::diagnostic::{Diagnostic, Severity};
use crate::model::ConnectorName;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/connectors");

/// All connectors, by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    connectors: BTreeMap<ConnectorName, Arc<Connector>>,
}

impl Catalogue {
    /// The connectors compiled into the binary. The conformance suite makes sure that none of them
    /// has a mistake; one that had would be left out.
    pub fn embedded() -> Self {
        Self::from_folders(embedded_folders()).0
    }

    /// The connectors compiled into the binary, overlaid by `overlay`: a folder with a new name adds a
    /// connector, one with a known name replaces that connector whole. The warnings are for people
    /// to look at.
    ///
    /// # Errors
    /// Every mistake in every folder, and a directory that cannot be read.
    pub fn load(overlay: Option<&Path>) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut folders = embedded_folders();
        if let Some(directory) = overlay {
            folders.extend(folders_in(directory)?);
        }
        let (catalogue, found) = Self::from_folders(folders);
        if found.iter().any(|d| d.severity == Severity::Error) {
            Err(found)
        } else {
            Ok((catalogue, found))
        }
    }

    fn from_folders(folders: BTreeMap<String, Folder>) -> (Self, Vec<Diagnostic>) {
        let mut catalogue = Self::default();
        let mut found = Vec::new();
        for (name, folder) in folders {
            match Connector::from_folder(&name, &folder) {
                Ok((connector, warnings)) => {
                    found.extend(warnings);
                    let name = connector.name.clone();
                    catalogue.connectors.insert(name, Arc::new(connector));
                }
                Err(mistakes) => found.extend(mistakes),
            }
        }
        (catalogue, found)
    }

    /// The connector of this name.
    pub fn get(&self, name: &ConnectorName) -> Option<&Arc<Connector>> {
        self.connectors.get(name)
    }

    /// All connectors, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Connector>> {
        self.connectors.values()
    }
}

fn embedded_folders() -> BTreeMap<String, Folder> {
    EMBEDDED
        .dirs()
        .map(|dir| (name_of(dir.path()), Folder::embedded(dir)))
        .collect()
}

fn folders_in(directory: &Path) -> Result<BTreeMap<String, Folder>, Vec<Diagnostic>> {
    let refuse = |path: &Path, error: std::io::Error| {
        let message = format!("the connector folder cannot be read: {error}");
        vec![
            Diagnostic::error(path, message)
                .help("`connectors.dir` has to be a directory of connector folders"),
        ]
    };
    let entries = std::fs::read_dir(directory).map_err(|error| refuse(directory, error))?;
    let mut folders = BTreeMap::new();
    for entry in entries {
        let path: PathBuf = entry.map_err(|error| refuse(directory, error))?.path();
        let name = name_of(&path);
        if !path.is_dir() || name.starts_with('.') {
            continue;
        }
        let folder = Folder::read(&path).map_err(|error| refuse(&path, error))?;
        folders.insert(name, folder);
    }
    Ok(folders)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
