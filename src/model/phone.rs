//! Phone numbers in E.164. The only module that knows the `phonenumber` crate.

use std::fmt;
use std::panic::catch_unwind;
use std::str::FromStr;

pub use phonenumber::country::Id as Region;
use serde::{Deserialize, Deserializer, Serialize};

/// A valid phone number in E.164: `+` and digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Phone(String);

/// Text that is no phone number, or no region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhoneError {
    /// It is no valid number in the given region.
    #[error("`{0}` is not a phone number")]
    Number(String),
    /// No such region.
    #[error("`{0}` is not a region: use a two-letter country code such as `US`")]
    Region(String),
}

impl Phone {
    /// The number as `+` and digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number with all but the country's first digits and the last two hidden, for logs.
    pub fn masked(&self) -> String {
        let digits = &self.0;
        let tail = &digits[digits.len().saturating_sub(2)..];
        format!("{}…{tail}", &digits[..digits.len().min(3)])
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Phone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix('+').unwrap_or_default();
        if (3..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text))
        } else {
            Err(serde::de::Error::custom("not a phone number in E.164"))
        }
    }
}

/// Reads a region: a two-letter country code in any case.
///
/// # Errors
/// [`PhoneError::Region`].
pub fn parse_region(code: &str) -> Result<Region, PhoneError> {
    Region::from_str(&code.to_ascii_uppercase())
        .map_err(|_unknown| PhoneError::Region(code.chars().take(20).collect()))
}

/// Reads free text as a phone number, in `region` where it has no country code.
///
/// # Errors
/// [`PhoneError::Number`] when it is not a valid number there.
pub fn parse_phone(text: &str, region: Option<Region>) -> Result<Phone, PhoneError> {
    let refuse = || PhoneError::Number(text.chars().take(40).collect());
    if text.len() > 64 {
        return Err(refuse());
    }
    // The crate has panicked on malformed input before (its issues 32, 43, 69).
    let parsed = catch_unwind(|| phonenumber::parse(region, text))
        .map_err(|_panic| refuse())?
        .map_err(|_unreadable| refuse())?;
    if !phonenumber::is_valid(&parsed) {
        return Err(refuse());
    }
    Ok(Phone(
        parsed.format().mode(phonenumber::Mode::E164).to_string(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_e164_with_the_default_region() {
        let us = parse_region("us").ok();
        for (text, expected) in [
            ("+1 415-555-7777", "+14155557777"),
            ("(415) 555-7777", "+14155557777"),
            ("+908501234567", "+908501234567"),
            ("+44 20 7946 0958", "+442079460958"),
        ] {
            assert_eq!(parse_phone(text, us).unwrap().as_str(), expected, "{text}");
        }
        for text in ["12", "", "anonymous", "call me", "+1", &"9".repeat(500)] {
            assert!(parse_phone(text, us).is_err(), "{text} should be refused");
        }
        assert!(
            parse_phone("4155557777", None).is_err(),
            "no region, no country code"
        );
    }

    #[test]
    fn masking_keeps_the_ends_only() {
        let phone = parse_phone("+14155557777", None).unwrap();
        assert_eq!(phone.masked(), "+14…77");
    }
}
