//! A phone in a query string.

use std::convert::Infallible;
use std::str::FromStr;

/// A phone that calls are asked for, as the store has it.
///
/// In a query string `+` means a blank, and people write `?phone=+14155551234` all the same. No phone begins with a blank, so
/// there is only one thing it can have been.
pub(super) struct SoughtPhone(String);

impl FromStr for SoughtPhone {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(match text.strip_prefix(' ') {
            Some(digits) => format!("+{digits}"),
            None => text.to_owned(),
        }))
    }
}

impl From<SoughtPhone> for String {
    fn from(phone: SoughtPhone) -> Self {
        phone.0
    }
}
