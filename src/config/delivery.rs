//! `[delivery]`: how outcomes are sent, for all destinations and for one.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::read;
use super::section::Section;
use super::wrong::Wrong;
use ipnet::IpNet;

const HOUR: u64 = 60 * 60;

/// How outcomes are sent. `[delivery]` sets it for all destinations, and a destination may set any of
/// these keys for itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The most requests to one destination at once. Default 16; one target never has more than one.
    pub concurrency: NonZeroUsize,
    /// How long one attempt may take in all. Default 30 seconds.
    pub timeout: Duration,
    /// How long connecting may take. Default 10 seconds.
    pub connect_timeout: Duration,
    /// The wait before the second attempt. Default 5 seconds.
    pub retry_first: Duration,
    /// What each wait is multiplied by. Default 2.
    pub retry_factor: f64,
    /// The longest wait between attempts. Default 1 hour.
    pub retry_cap: Duration,
    /// How long after its creation a delivery is given up. Default 3 days.
    pub max_age: Duration,
    /// The most requests per second. Default (0 in the file): no limit.
    pub rate_per_second: Option<NonZeroU32>,
    /// How often a held destination is tried again. Default 5 minutes.
    pub hold_probe: Duration,
    /// Whether private and loopback addresses may be reached. Default: no, so that nobody who can set
    /// a URL can reach what is behind the firewall.
    pub allow_private: bool,
    /// Networks that may be reached although they are private. Default: none.
    pub allow_networks: Vec<IpNet>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            concurrency: NonZeroUsize::MIN.saturating_add(15),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            retry_first: Duration::from_secs(5),
            retry_factor: 2.0,
            retry_cap: Duration::from_secs(HOUR),
            max_age: Duration::from_secs(72 * HOUR),
            rate_per_second: None,
            hold_probe: Duration::from_secs(300),
            allow_private: false,
            allow_networks: Vec::new(),
        }
    }
}

impl Delivery {
    /// The options of `section` over those of `general`.
    pub(super) fn read(section: &mut Section<'_, '_>, general: &Self) -> Self {
        let (seconds, month) = (Duration::from_secs, Duration::from_secs(720 * HOUR));
        let duration = |section: &mut Section<'_, '_>, key, least, general| {
            section
                .get(key, read::duration(least..=month))
                .unwrap_or(general)
        };
        // What a destination inherits was told once, where it was set.
        let waits = ["retry_first", "retry_cap"].into_iter();
        let own = waits.filter(|key| section.has(key)).collect::<Vec<_>>();
        let delivery = Self {
            concurrency: section
                .get("concurrency", read::count(1..=10_000))
                .and_then(|count| NonZeroUsize::new(usize::try_from(count).ok()?))
                .unwrap_or(general.concurrency),
            timeout: duration(section, "timeout", seconds(1), general.timeout),
            connect_timeout: duration(
                section,
                "connect_timeout",
                seconds(1),
                general.connect_timeout,
            ),
            retry_first: duration(
                section,
                "retry_first",
                Duration::from_millis(10),
                general.retry_first,
            ),
            retry_factor: section
                .get("retry_factor", read::factor(1.0..=10.0))
                .unwrap_or(general.retry_factor),
            retry_cap: duration(
                section,
                "retry_cap",
                Duration::from_millis(10),
                general.retry_cap,
            ),
            max_age: duration(section, "max_age", seconds(1), general.max_age),
            rate_per_second: section
                .get("rate_per_second", read::count(0..=u64::from(u32::MAX)))
                .map_or(general.rate_per_second, |rate| {
                    NonZeroU32::new(u32::try_from(rate).unwrap_or(u32::MAX))
                }),
            hold_probe: duration(section, "hold_probe", seconds(1), general.hold_probe),
            allow_private: section
                .get("allow_private", read::flag)
                .unwrap_or(general.allow_private),
            allow_networks: section
                .get("allow_networks", read::networks)
                .unwrap_or_else(|| general.allow_networks.clone()),
        };
        if delivery.retry_first > delivery.retry_cap
            && let Some(first) = own.first()
        {
            let written = own.iter().find(|key| section.place_of(key).is_some());
            let wrong = Wrong::new(
                "the first wait (`retry_first`) is longer than the longest (`retry_cap`)",
            );
            section.wrong(
                written.unwrap_or(first),
                wrong.help("raise `retry_cap` or lower `retry_first`"),
            );
        }
        delivery
    }
}
