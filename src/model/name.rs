//! Names that people give in configuration: checked once, then trusted.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: use 1 to 64 lower-case letters, digits, `-` or `_`, starting with a letter or digit"
)]
pub struct NameError(String);

fn check(text: &str) -> Result<Arc<str>, NameError> {
    let mut bytes = text.bytes();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let starts_well = bytes.next().is_some_and(word);
    if starts_well && text.len() <= 64 && bytes.all(|b| word(b) || b == b'-' || b == b'_') {
        Ok(text.into())
    } else {
        Err(NameError(text.chars().take(80).collect()))
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes a name of it.
            ///
            /// # Errors
            /// [`NameError`] when it is empty, too long, or has a character that a name may not have.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text).map(Self)
            }

            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// The name of a connector: its folder's name in the catalogue, e.g. `hubspot`.
    ConnectorName,
    /// The name of a configured inbound use of a connector; part of its URL, `/webhooks/{source}`.
    SourceName,
    /// The name of a configured outbound use of a connector.
    DestinationName,
    /// The name of a look-up table of the configuration.
    TableName
}

impl SourceName {
    /// The name of the source that corrections by hand and imports come from. No configured source may have it.
    pub const ADMIN: &str = "admin";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_words() {
        assert!(SourceName::new("hubspot-eu_2").is_ok());
        for bad in ["", "-a", "A", "a b", "a/b", &"a".repeat(65)] {
            assert!(SourceName::new(bad).is_err(), "{bad} should be refused");
        }
    }
}
