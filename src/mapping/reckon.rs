//! Numbers and moments that have to be reckoned: vendors tell durations in milliseconds or minutes,
//! a start without an end, an end without a start.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A unit of durations and of moments after the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Minutes,
    Seconds,
    Millis,
    Micros,
}

impl Unit {
    /// The words that rules may use.
    pub(super) const WORDS: [(&'static str, Self); 4] = [
        ("minutes", Self::Minutes),
        ("s", Self::Seconds),
        ("ms", Self::Millis),
        ("us", Self::Micros),
    ];

    /// The unit called `word`.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        let row = Self::WORDS.iter().find(|(known, _)| *known == word);
        row.map(|(_, unit)| *unit)
    }

    const fn nanos(self) -> i64 {
        match self {
            Self::Minutes => 60_000_000_000,
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
        }
    }
}

/// The moment that lies `count` units after `at`; `None` beyond the range of time.
pub(super) fn shifted(at: Timestamp, count: Decimal, unit: Unit) -> Option<Timestamp> {
    let nanos = count.checked_mul(Decimal::from(unit.nanos()))?.to_i64()?;
    at.checked_add(SignedDuration::from_nanos(nanos)).ok()
}

/// The whole units from the Unix epoch to `at`.
pub(super) fn since_epoch(at: Timestamp, unit: Unit) -> Option<Decimal> {
    let count = at.as_nanosecond().div_euclid(i128::from(unit.nanos()));
    i64::try_from(count).ok().map(Decimal::from)
}

/// The product, without zeros at its end.
pub(super) fn product(number: Decimal, factor: Decimal) -> Option<Decimal> {
    number.checked_mul(factor).map(|found| found.normalize())
}

/// SHA-256 of a text's UTF-8, in lower-case hex.
pub(super) fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The UUID of a text: version 5 of RFC 9562, in its namespace for URLs. The same text gives the same UUID everywhere.
pub(super) fn uuid(text: &str) -> String {
    const NAMESPACE: [u8; 16] = 0x6ba7_b811_9dad_11d1_80b4_00c0_4fd4_30c8_u128.to_be_bytes();
    let digest = Sha1::new().chain_update(NAMESPACE).chain_update(text);
    let digest = digest.finalize();
    let head: [u8; 16] = *digest.first_chunk().expect("SHA-1 gives 20 bytes");
    let number = u128::from_be_bytes(head);
    let number = number & !(0xf << 76) | (5 << 76);
    let number = number & !(0x3 << 62) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_overflows() {
        for unit in Unit::WORDS.map(|(_, unit)| unit) {
            assert_eq!(
                shifted(at("2026-01-02T00:00:00Z"), Decimal::MAX, unit),
                None
            );
        }
        let year = Decimal::from(366 * 24 * 60);
        assert_eq!(shifted(Timestamp::MAX, year, Unit::Minutes), None);
        assert_eq!(shifted(Timestamp::MIN, -year, Unit::Minutes), None);
        assert_eq!(product(Decimal::MAX, Decimal::MAX), None);
    }

    #[test]
    fn phones_are_hashed_as_google_and_meta_publish_it() {
        for (text, hash) in [
            (
                "+18005550100",
                "fb4f73a6ec5fdb7077d564cdd22c3554b43ce49168550c3b12c547b78c517b30",
            ),
            (
                "18005550100",
                "92cfdc5fbcd4a20fbe5d3857af6c1aba31762105bba7f21a17155e920653046c",
            ),
            (
                "alexz@example.com",
                "509e933019bb285a134a9334b8bb679dff79d0ce023d529af4bd744d47b4fd8a",
            ),
        ] {
            assert_eq!(sha256(text), hash, "{text}");
        }
    }

    #[test]
    fn uuids_are_those_of_other_programs() {
        // Python: uuid.uuid5(uuid.NAMESPACE_URL, text)
        for (text, uuid) in [
            ("http://python.org/", "4c565f0d-3f5a-5890-b41b-20cf47701c5e"),
            (
                "out_0000000000001-0",
                "b45b4a43-aeb8-5333-861d-bb416e4b8f68",
            ),
        ] {
            assert_eq!(super::uuid(text), uuid, "{text}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same_moment(second in 0i64..4_000_000_000, count in -1_000_000i64..1_000_000) {
            let start = Timestamp::from_second(second).unwrap();
            let count = Decimal::new(count, 2);
            let there = shifted(start, count, Unit::Seconds).unwrap();
            prop_assert_eq!(shifted(there, -count, Unit::Seconds), Some(start));
        }
    }
}
