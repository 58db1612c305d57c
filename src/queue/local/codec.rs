//! Compact binary values: what rows and journal records are made of.
//!
//! Numbers are variable-length (seven bits a byte, low ones first), texts and bytes carry their
//! length. Reading never panics and never allocates more than what is there.

use jiff::Timestamp;

/// Stored bytes that do not read as what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unreadable {0}")]
pub(super) struct Corrupt(pub &'static str);

/// Appends values to a buffer.
pub(super) trait Put {
    fn put_u8(&mut self, value: u8);
    fn put_number(&mut self, value: u64);
    fn put_bytes(&mut self, value: &[u8]);
    fn put_time(&mut self, value: Timestamp);

    fn put_text(&mut self, value: &str) {
        self.put_bytes(value.as_bytes());
    }
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_bytes(&mut self, value: &[u8]) {
        self.put_number(value.len() as u64);
        self.extend_from_slice(value);
    }

    fn put_time(&mut self, value: Timestamp) {
        let (seconds, nanos) = (value.as_second(), value.subsec_nanosecond());
        self.put_number(zigzag(seconds));
        self.put_number(zigzag(i64::from(nanos)));
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads values off the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Get<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Get<'a> {
    /// Reads `bytes`; `what` names them in errors.
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(super) fn corrupt(&self) -> Corrupt {
        Corrupt(self.what)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn u8(&mut self) -> Result<u8, Corrupt> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn number(&mut self) -> Result<u64, Corrupt> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.corrupt())
    }

    /// A number that fits the wanted type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Corrupt> {
        let corrupt = self.corrupt();
        T::try_from(self.number()?).map_err(|_too_large| corrupt)
    }

    /// `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.corrupt())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let corrupt = self.corrupt();
        self.take(N)?.try_into().map_err(|_length| corrupt)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let length = self.small()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Corrupt> {
        let corrupt = self.corrupt();
        std::str::from_utf8(self.bytes()?).map_err(|_utf8| corrupt)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, Corrupt> {
        let seconds = unzigzag(self.number()?);
        let nanos = i32::try_from(unzigzag(self.number()?)).map_err(|_range| self.corrupt())?;
        Timestamp::new(seconds, nanos).map_err(|_range| self.corrupt())
    }

    /// Ends reading: nothing may be left.
    pub(super) fn end(self) -> Result<(), Corrupt> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.corrupt())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_got(n: u64, text: String, s in -3_000_000_000i64..9_000_000_000, ns in 0..1_000_000_000i32) {
            let at = Timestamp::new(s, ns).unwrap();
            let mut buffer = Vec::new();
            buffer.put_number(n);
            buffer.put_text(&text);
            buffer.put_time(at);
            let mut get = Get::new(&buffer, "test");
            prop_assert_eq!(get.number().unwrap(), n);
            prop_assert_eq!(get.text().unwrap(), text);
            prop_assert_eq!(get.time().unwrap(), at);
            prop_assert!(get.end().is_ok());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut get = Get::new(&bytes, "test");
            while !get.is_empty() {
                if get.number().is_err() || get.text().is_err() || get.time().is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert!(Get::new(&[0xff; 10], "test").number().is_err());
        let mut most = Vec::new();
        most.put_number(u64::MAX);
        assert_eq!(Get::new(&most, "test").number(), Ok(u64::MAX));
    }
}
