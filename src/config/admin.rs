//! `[admin]`: the listener for the admin API and the console, and the token that guards it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::read;
use super::section::Section;
use super::wrong::Wrong;
use crate::fault::{self, Point};
use crate::model::Secret;

/// The listener for the admin API and the console.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where to listen. Default `127.0.0.1:8081`, reached from this machine only. The same address as
    /// the server's puts both on one listener.
    pub bind: SocketAddr,
    /// The bearer token that callers show. Default: one is made at the first start and kept in the
    /// data directory, in the file `admin-token`, readable by its owner only.
    pub token: Option<Secret>,
    /// The bearer token of those who may read everything and change nothing. Default: nobody is a viewer.
    pub viewer_token: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            token: None,
            viewer_token: None,
        }
    }
}

impl Admin {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let token = section.optional("token", read::token);
        let viewer_token = section.optional("viewer_token", |value| {
            let viewer = read::token(value)?;
            match &token {
                Some(admin) if admin.matches(viewer.expose().as_bytes()) => Err(Wrong::new(
                    "the same as `token`, which may change everything",
                )
                .help("give viewers a token of their own")),
                _ => Ok(viewer),
            }
        });
        let admin = Self {
            bind: section
                .get("bind", read::address)
                .unwrap_or(Self::default().bind),
            token,
            viewer_token,
        };
        section.finish();
        admin
    }
}

/// The name of the file with the token that was made, in the data directory.
const TOKEN_FILE: &str = "admin-token";

/// A token that was made: the hexadecimal form of this many random bytes.
const TOKEN_BYTES: usize = 32;

impl Admin {
    /// The token to show to the server: the one that is set, or the one that the server made in `data_dir`.
    /// `None` when it has not made one yet.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn existing_token(&self, data_dir: &Path) -> io::Result<Option<Secret>> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        match fs::read_to_string(token_path(data_dir)) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Ok(Some(Secret::new(text.trim()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The token to ask for: the one that is set, or the one of `data_dir`, which is made if need be. Its file
    /// is readable by its owner only, from the first moment on.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn token_or_make(&self, data_dir: &Path) -> io::Result<Secret> {
        if let Some(token) = self.existing_token(data_dir)? {
            return Ok(token);
        }
        let token = Secret::new(hex::encode(rand::random::<[u8; TOKEN_BYTES]>()));
        fs::create_dir_all(data_dir)?;
        let (path, unfinished) = (token_path(data_dir), data_dir.join("admin-token.new"));
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = owner_only().open(&unfinished)?;
        writeln!(file, "{}", token.expose())?;
        file.sync_all()?;
        fault::pass(Point::AdminTokenWritten);
        fs::rename(unfinished, path)?;
        Ok(token)
    }
}

/// Where the token that was made is kept.
fn token_path(data_dir: &Path) -> PathBuf {
    data_dir.join(TOKEN_FILE)
}

/// Options that create a file which nobody else can read.
fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let admin = Admin::default();
        assert!(admin.existing_token(&data).unwrap().is_none());
        let made = admin.token_or_make(&data).unwrap();
        assert_eq!(made.expose().len(), 2 * TOKEN_BYTES);
        let again = admin.token_or_make(&data).unwrap();
        let known = admin.existing_token(&data).unwrap().unwrap();
        assert!(made.matches(again.expose().as_bytes()) && made.matches(known.expose().as_bytes()));
    }

    #[cfg(unix)]
    #[test]
    fn its_file_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        Admin::default().token_or_make(dir.path()).unwrap();
        let mode = fs::metadata(token_path(dir.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_crash_while_it_was_made_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("admin-token.new"), "half").unwrap();
        fs::write(token_path(dir.path()), "").unwrap();
        let made = Admin::default().token_or_make(dir.path()).unwrap();
        assert_eq!(made.expose().len(), 2 * TOKEN_BYTES);
    }

    #[test]
    fn a_token_that_is_set_needs_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let admin = Admin {
            token: Some(Secret::new("0123456789abcdef")),
            ..Admin::default()
        };
        assert!(
            admin
                .token_or_make(dir.path())
                .unwrap()
                .matches(b"0123456789abcdef")
        );
        assert!(!token_path(dir.path()).exists());
    }
}
