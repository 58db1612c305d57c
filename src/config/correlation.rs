//! How the calls of a destination's outcomes are found.

use std::collections::BTreeSet;
use std::time::Duration;

use config::Value;
use jiff::SignedDuration;

use super::read::{self, Read};
use super::route::{Names, look_up};
use super::section::Section;
use super::wrong::Wrong;
use crate::model::{Correlation, Matcher, Touch};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `match`, `touch`, `look_back`, `wait` and `calls` of a destination.
pub(super) fn read(section: &mut Section<'_, '_>, names: &Names) -> Correlation {
    let usual = Correlation::default();
    let minute = Duration::from_secs(60);
    let span = |section: &mut Section<'_, '_>, key, least, most, usual| {
        let written = section.get(key, read::duration(least..=most));
        written.map_or(usual, |written| {
            SignedDuration::try_from(written).unwrap_or(usual)
        })
    };
    Correlation {
        matchers: section.get("match", matchers).unwrap_or(usual.matchers),
        touch: section
            .get("touch", read::choice("touch", &Touch::ALL, Touch::as_str))
            .unwrap_or(usual.touch),
        look_back: span(section, "look_back", minute, DAY * 3_660, usual.look_back),
        wait: span(section, "wait", Duration::ZERO, DAY * 366, usual.wait),
        calls: section
            .optional("calls", read::texts)
            .map(|written| look_up(section, "calls", "source", written, names.sources())),
    }
}

/// At least one way of finding a call, none of them twice.
fn matchers(value: &Value) -> Read<Vec<Matcher>> {
    let read = read::choices("way of finding a call", &Matcher::ALL, Matcher::as_str);
    let matchers = read(value)?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = matchers.iter().find(|matcher| !seen.insert(**matcher)) {
        return Err(Wrong::new(format!("`{twice}` stands there twice"))
            .help("they are tried in this order, each once"));
    }
    if matchers.is_empty() {
        return Err(Wrong::new("no outcome could find its call")
            .help("leave it out to try all ways, or name at least one"));
    }
    Ok(matchers)
}
