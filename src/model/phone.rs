//! Phone numbers in E.164. The only module that knows the `rlibphonenumber` crate.

use std::fmt;
use std::panic::catch_unwind;
use std::str::FromStr;

pub use rlibphonenumber::enums::Region;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat};
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
        .ok()
        .filter(|region| {
            PHONE_NUMBER_UTIL
                .get_country_code_for_region(*region)
                .is_some()
        })
        .ok_or_else(|| PhoneError::Region(code.chars().take(20).collect()))
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
    let read = || {
        let number = PHONE_NUMBER_UTIL.parse(text, region).ok()?;
        let e164 = || PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164);
        let is_valid = PHONE_NUMBER_UTIL.is_valid_number(&number);
        is_valid.then(|| e164().into_owned())
    };
    // Much code for hostile text: should it ever panic, that is one number that is not read.
    let e164 = catch_unwind(read).ok().flatten().ok_or_else(refuse)?;
    Ok(Phone(e164))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    /// A number belongs to its country, wherever the one who wrote it down is.
    #[test]
    fn the_region_is_not_asked_where_the_number_names_its_country() {
        for (text, expected) in [
            ("+49 1512 3456789", "+4915123456789"),
            ("+49 176 12345678", "+4917612345678"),
            ("+49 (0)151 23456789", "+4915123456789"),
            ("+86 139 1234 5678", "+8613912345678"),
            ("+44 121 234 5678", "+441212345678"),
            ("+39 02 3661 8300", "+390236618300"),
            ("+55 11 96123-4567", "+5511961234567"),
            ("+82 10-2000-0000", "+821020000000"),
            ("+7 800 123-45-67", "+78001234567"),
            ("\u{ff0b}1 415 555 7777", "+14155557777"),
            ("tel:+1-415-555-7777", "+14155557777"),
        ] {
            for region in ["US", "DE", "GB", "IN", "RU"] {
                let region = parse_region(region).unwrap();
                let read = parse_phone(text, Some(region)).unwrap();
                assert_eq!(read.as_str(), expected, "{text} in {region:?}");
            }
            assert_eq!(parse_phone(text, None).unwrap().as_str(), expected);
        }
    }

    /// Also where a national number begins like the country's own code.
    #[test]
    fn national_numbers_are_those_of_the_region() {
        for (region, text, expected) in [
            ("IN", "9123456789", "+919123456789"),
            ("IT", "393 123 4567", "+393931234567"),
            ("NO", "47 12 34 56", "+4747123456"),
            ("DE", "0151 23456789", "+4915123456789"),
            ("DE", "00 1 415 555 7777", "+14155557777"),
            ("GB", "0121 234 5678", "+441212345678"),
            ("US", "011 44 20 7946 0958", "+442079460958"),
            ("US", "1-800-FLOWERS", "+18003569377"),
            ("US", "(415) 555-7777 ext. 12", "+14155557777"),
        ] {
            let region = parse_region(region).unwrap();
            let read = parse_phone(text, Some(region)).unwrap();
            assert_eq!(read.as_str(), expected, "{text} in {region:?}");
        }
    }

    #[test]
    fn regions_are_countries_with_numbers() {
        assert_eq!(parse_region("de").unwrap(), Region::DE);
        for code in ["XX", "U", "USA", "", "1A", "\u{df}"] {
            assert!(parse_region(code).is_err(), "{code} should be refused");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_reads_again_as_itself(text: String, region in prop::sample::select(vec![None, Some(Region::US), Some(Region::DE)])) {
            if let Ok(phone) = parse_phone(&text, region) {
                prop_assert_eq!(parse_phone(phone.as_str(), region), Ok(phone));
            }
        }

        #[test]
        fn anything_like_a_number_reads_again_as_itself(text in "[+0-9 ().#;ext=-]{0,24}") {
            if let Ok(phone) = parse_phone(&text, Some(Region::US)) {
                for region in [None, Some(Region::US), Some(Region::DE)] {
                    prop_assert_eq!(parse_phone(phone.as_str(), region), Ok(phone.clone()));
                }
            }
        }
    }

    #[test]
    fn masking_keeps_the_ends_only() {
        let phone = parse_phone("+14155557777", None).unwrap();
        assert_eq!(phone.masked(), "+14…77");
    }
}
