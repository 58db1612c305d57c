//! `[log]`: what is logged and how.

use super::read;
use super::section::Section;
use crate::telemetry::{Filter, Format};

/// What is logged and how.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// The form of log lines. Default `auto`: for people on a terminal, JSON elsewhere.
    pub format: Format,
    /// How much is logged. Default `info`; `debug` or `outcome_bridge::delivery=debug` to look closer.
    pub filter: Filter,
}

impl Log {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let log = Self {
            format: section.get("format", read::parsed).unwrap_or_default(),
            filter: section.get("filter", read::parsed).unwrap_or_default(),
        };
        section.finish();
        log
    }
}
