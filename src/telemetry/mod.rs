//! Logs: their form, how much of them, and what must not stand in them.
//!
//! One wide line per event and per attempt, with identifiers and durations. Bodies, headers and
//! secrets are never logged; phone numbers and e-mail addresses only masked ([`mask_text`]).

mod lines;
mod mask;

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub use mask::{mask_email, mask_phone, mask_text};

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Text that is not a form of log lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log format: use auto, human or json")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(FormatError(other.chars().take(40).collect())),
        }
    }
}

/// How much is logged: a level (`info`), or levels per module (`info,outcome_bridge::delivery=debug`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

/// Text that says nothing about how much to log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log filter: use a level such as info, or module=level pairs with commas")]
pub struct FilterError(String);

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        match EnvFilter::try_new(text) {
            Ok(_) if !text.trim().is_empty() => Ok(Self(text.to_owned())),
            _ => Err(FilterError(text.chars().take(120).collect())),
        }
    }
}

impl Filter {
    /// Warnings and errors only.
    pub fn quiet() -> Self {
        Self("warn".to_owned())
    }

    /// The filter with more told of the bridge itself: 1 for debug lines, 2 and above for everything.
    #[must_use]
    pub fn raised(self, verbosity: u8) -> Self {
        match verbosity {
            0 => self,
            1 => Self(format!("{},outcome_bridge=debug", self.0)),
            _ => Self(format!("{},outcome_bridge=trace", self.0)),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Starts logging to standard error, for the rest of the process's life, in colour where that suits a terminal.
///
/// # Errors
/// When logging was started before.
pub fn init(format: Format, filter: &Filter) -> Result<(), TryInitError> {
    init_in_colour(format, filter, None)
}

/// The same, with or without colour as it is `decided`.
///
/// # Errors
/// When logging was started before.
pub fn init_in_colour(
    format: Format,
    filter: &Filter,
    decided: Option<bool>,
) -> Result<(), TryInitError> {
    let terminal = io::stderr().is_terminal();
    let json = match format {
        Format::Json => true,
        Format::Human => false,
        Format::Auto => !terminal,
    };
    let registry = tracing_subscriber::registry().with(EnvFilter::new(&filter.0));
    if json {
        let layer = tracing_subscriber::fmt::layer()
            .event_format(lines::Lines::default())
            .with_writer(io::stderr);
        registry.with(layer).try_init()
    } else {
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(decided.unwrap_or_else(|| {
                terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }))
            .with_target(false)
            .with_writer(io::stderr);
        registry.with(layer).try_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_and_modules() {
        for good in ["info", "outcome_bridge::delivery=debug,warn", "off"] {
            assert_eq!(good.parse::<Filter>().unwrap().to_string(), good);
        }
        for bad in ["", " ", "outcome_bridge=loud", "a=b=c"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_raised_filter_keeps_what_was_configured_beside_the_bridge() {
        let filter: Filter = "warn,sqlx=info".parse().unwrap();
        assert_eq!(filter.clone().raised(0), filter);
        let raised = filter.raised(1).to_string();
        assert_eq!(raised, "warn,sqlx=info,outcome_bridge=debug");
        assert!(raised.parse::<Filter>().is_ok());
    }

    #[test]
    fn formats_are_three_words() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!(
            "pretty".parse::<Format>().unwrap_err().to_string(),
            "`pretty` is not a log format: use auto, human or json"
        );
    }
}
