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

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTOR: &str = "format = 1\ntitle = \"Mine\"\nsummary = \"A connector of mine.\"\n[inbound]\n[inbound.verify]\nkind = \"none\"\nreason = \"a test\"\n";

    /// A directory with these files.
    fn overlay(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        directory
    }

    fn named<'a>(catalogue: &'a Catalogue, name: &str) -> &'a Connector {
        catalogue.get(&ConnectorName::new(name).unwrap()).unwrap()
    }

    #[test]
    fn a_folder_with_a_new_name_adds_a_connector() {
        let directory = overlay(&[
            ("mine/connector.toml", CONNECTOR),
            (".git/connector.toml", "no connector"),
            ("README.md", "no folder"),
        ]);
        let (catalogue, _) = Catalogue::load(Some(directory.path())).unwrap();
        assert_eq!(named(&catalogue, "mine").title, "Mine");
        let embedded = Catalogue::embedded().iter().count();
        assert_eq!(catalogue.iter().count(), embedded + 1);
    }

    #[test]
    fn a_folder_with_a_known_name_replaces_that_connector_whole() {
        let directory = overlay(&[("stripe/connector.toml", CONNECTOR)]);
        let (catalogue, _) = Catalogue::load(Some(directory.path())).unwrap();
        let stripe = named(&catalogue, "stripe");
        assert_eq!((stripe.title.as_str(), stripe.setup.as_str()), ("Mine", ""));
        assert!(stripe.rules.is_none() && stripe.cases.is_empty() && stripe.fields.is_empty());
        assert_eq!(
            catalogue.iter().count(),
            Catalogue::embedded().iter().count()
        );
    }

    #[test]
    fn mistakes_of_every_folder_are_told_with_file_and_line() {
        let wrong = format!("{CONNECTOR}colour = \"red\"\n");
        let rules = "format = 1\n[[rule]]\nid = \"r\"\nwhen = 7\noutcome = \"closed\"\n";
        let directory = overlay(&[
            ("first/connector.toml", wrong.as_str()),
            ("second/connector.toml", CONNECTOR),
            ("second/mapping.toml", rules),
            ("third/setup.md", "no connector.toml"),
        ]);
        let mistakes = Catalogue::load(Some(directory.path())).unwrap_err();
        let told: Vec<(PathBuf, usize)> = mistakes
            .iter()
            .map(|d| {
                let file = d.file.strip_prefix(directory.path()).unwrap().to_owned();
                (file, d.position().map_or(0, |(line, _)| line))
            })
            .collect();
        for expected in [
            ("first/connector.toml", 8),
            ("second/mapping.toml", 4),
            ("third/connector.toml", 0),
        ] {
            let (file, line) = expected;
            assert!(
                told.contains(&(file.into(), line)),
                "{expected:?} in {told:?}"
            );
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_mistake() {
        let directory = overlay(&[]);
        let missing = directory.path().join("missing");
        let mistakes = Catalogue::load(Some(&missing)).unwrap_err();
        assert_eq!(mistakes[0].file, missing);
        assert!(
            mistakes[0]
                .help
                .as_ref()
                .unwrap()
                .contains("connectors.dir")
        );
    }
}
