//! `[store]`: the built-in outcome store.

use super::read;
use super::section::Section;
use std::path::PathBuf;

/// The built-in outcome store.
#[derive(Debug, Clone)]
pub struct Store {
    /// Whether outcomes are kept here as well. Default: yes.
    pub enabled: bool,
    /// Its SQLite file. Default: `outcomes.sqlite` in the data directory.
    pub path: Option<PathBuf>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            enabled: true,
            path: None,
        }
    }
}

impl Store {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let store = Self {
            enabled: section.get("enabled", read::flag).unwrap_or(true),
            path: section.optional("path", read::text).map(PathBuf::from),
        };
        section.finish();
        store
    }
}
