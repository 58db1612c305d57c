//! A connector's folder as files in memory, wherever it comes from.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use include_dir::Dir;

/// Folders below a connector's: `cases/<case>`.
const MAX_DEPTH: usize = 3;
/// Larger files do not belong into a connector.
const MAX_FILE: u64 = 4 << 20;

/// Files by their path within the folder, with `/`.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Where it is, for diagnostics.
    pub(super) path: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
}

impl Folder {
    pub(super) fn embedded(dir: &Dir<'_>) -> Self {
        let mut folder = Self {
            path: Path::new("connectors").join(dir.path()),
            files: BTreeMap::new(),
        };
        let root = dir.path().to_owned();
        folder.take(dir, &root);
        folder
    }

    fn take(&mut self, dir: &Dir<'_>, root: &Path) {
        for file in dir.files() {
            self.insert(file.path(), root, file.contents().to_vec());
        }
        for inner in dir.dirs() {
            self.take(inner, root);
        }
    }

    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut folder = Self {
            path: path.to_owned(),
            files: BTreeMap::new(),
        };
        folder.read_below(path, path, 0)?;
        Ok(folder)
    }

    fn read_below(&mut self, directory: &Path, root: &Path, depth: usize) -> io::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let data = std::fs::metadata(&path)?;
            if data.is_dir() && depth < MAX_DEPTH {
                self.read_below(&path, root, depth + 1)?;
            } else if data.is_file() && data.len() <= MAX_FILE {
                let contents = std::fs::read(&path)?;
                self.insert(&path, root, contents);
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &Path, root: &Path, contents: Vec<u8>) {
        let relative = path.strip_prefix(root).unwrap_or(path);
        let parts = relative.components();
        let parts: Vec<_> = parts
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        self.files.insert(parts.join("/"), contents);
    }

    pub(super) fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(path)?).ok()
    }

    /// The names of the cases' folders.
    pub(super) fn cases(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix("cases/")?.split_once('/'))
            .map(|(name, _)| name)
            .collect();
        names.dedup();
        names
    }
}

#[cfg(any(test, fuzzing))]
impl Folder {
    /// A folder of a test's own.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            path: PathBuf::from("test"),
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
                .collect(),
        }
    }
}
