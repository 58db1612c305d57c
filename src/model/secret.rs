//! A secret that cannot be printed, serialised or compared by accident.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// A secret text: a signing key, a token, a password. `Debug` shows nothing of it, it has no
/// `Display` and no `Serialize`, and it is wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself. Call it only where the secret is used, never where something is shown.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `other` is the same text, in a time that does not depend on where they differ.
    pub fn matches(&self, other: &[u8]) -> bool {
        self.expose().as_bytes().ct_eq(other).into()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("whsec_abc")), "Secret(…)");
    }

    #[test]
    fn comparison_takes_the_whole_text() {
        let secret = Secret::new("token");
        assert!(secret.matches(b"token"));
        assert!(!secret.matches(b"toke"));
        assert!(!secret.matches(b"tokens"));
    }
}
