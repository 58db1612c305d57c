//! `[sources.NAME]`: an inbound use of a connector.

use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Value;
use ipnet::IpNet;
use iso_currency::Currency;
use jiff::SignedDuration;
use url::Url;

use super::read::{self, Read};
use super::section::Section;
use super::wrong::Wrong;
use crate::model::{ConnectorName, Region, Settings, SourceName, parse_region};

/// An inbound use of a connector.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, part of its URL.
    pub name: SourceName,
    /// The connector. Required.
    pub connector: ConnectorName,
    /// Where senders reach it, when that is not the server's public URL and `/webhooks/{source}`.
    pub public_url: Option<Url>,
    /// The country of phone numbers without a country code. Default: such numbers are not guessed.
    pub region: Option<Region>,
    /// The currency of amounts without one. Default: such amounts are not guessed.
    pub currency: Option<Currency>,
    /// How requests are verified. Default: as the connector says.
    pub verification: Verification,
    /// The file with its rules. Default: `mappings/NAME.toml`; while that is not there, the connector's rules hold.
    pub mapping: MappingFile,
    /// How long repeats are recognised. Default: as the connector says.
    pub dedupe_window: Option<Duration>,
    /// How long after an appointment's end it counts as attended when nobody said otherwise. Default 2 hours.
    pub grace: SignedDuration,
    /// Whether appointments count as attended when nobody said otherwise. Default: yes.
    pub infer_shown: bool,
    /// Whether look-ups may reach private and loopback addresses. Default: no.
    pub allow_private: bool,
    /// Networks that look-ups may reach although they are private. Default: none.
    pub allow_networks: Vec<IpNet>,
    /// What the connector asks for.
    pub settings: Settings,
}

/// Where the operator's rules of a source are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingFile {
    /// The file.
    pub path: PathBuf,
    /// Whether the configuration names it. A file that it does not name need not be there, and may come and go.
    pub named: bool,
}

impl MappingFile {
    /// The file, if there should be rules in it now.
    pub fn in_use(&self) -> Option<&Path> {
        (self.named || self.path.exists()).then_some(self.path.as_path())
    }
}

/// How a source's requests are verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verification {
    /// As the connector says.
    #[default]
    Connector,
    /// Not at all. Has to be spelled out (`verification = "none"`) and is shown as a warning everywhere.
    None,
}

/// The options that every source has, whatever its connector asks for.
pub(super) const OPTIONS: [&str; 11] = [
    "connector",
    "public_url",
    "region",
    "currency",
    "verification",
    "mapping",
    "dedupe_window",
    "grace",
    "infer_shown",
    "allow_private",
    "allow_networks",
];

/// How long after an appointment's end it counts as attended, where the source does not say.
pub(crate) const GRACE: SignedDuration = SignedDuration::from_hours(2);

impl Source {
    /// Reads the source `name`; `None` when it has no usable connector.
    pub(super) fn read(name: SourceName, mut section: Section<'_, '_>, dir: &Path) -> Option<Self> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        if name.as_str() == SourceName::ADMIN {
            section.wrong_name(
                Wrong::new("no source can be called `admin`: corrections by hand and imports have that name")
                    .help("choose another name; it is part of the source's URL"),
            );
        }
        let connector = section.required("connector", CONNECTOR_HELP, read::parsed);
        let source = Self {
            public_url: section.optional("public_url", read::public_url),
            region: section.optional("region", region),
            currency: section.optional("currency", currency),
            verification: section
                .optional("verification", verification)
                .unwrap_or_default(),
            mapping: section
                .optional("mapping", |value| mapping(&read::text(value)?, dir))
                .unwrap_or_else(|| mapping_of(&name, dir)),
            dedupe_window: section.optional(
                "dedupe_window",
                read::duration(Duration::from_secs(1)..=DAY * 366),
            ),
            grace: section
                .get("grace", read::duration(Duration::ZERO..=DAY * 31))
                .and_then(|grace| SignedDuration::try_from(grace).ok())
                .unwrap_or(GRACE),
            infer_shown: section.get("infer_shown", read::flag).unwrap_or(true),
            allow_private: section
                .optional("allow_private", read::flag)
                .unwrap_or_default(),
            allow_networks: section
                .optional("allow_networks", read::networks)
                .unwrap_or_default(),
            settings: Settings::default(),
            connector: connector?,
            name,
        };
        Some(Self {
            settings: section.into_settings(),
            ..source
        })
    }
}

/// What to do about a connector that is missing.
pub(super) const CONNECTOR_HELP: &str =
    "name the connector to use; `outcome-bridge connectors list` shows them";

/// Where the rules of a source are looked for when it does not say.
fn mapping_of(name: &SourceName, dir: &Path) -> MappingFile {
    MappingFile {
        path: dir.join("mappings").join(format!("{name}.toml")),
        named: false,
    }
}

fn mapping(path: &str, dir: &Path) -> Read<MappingFile> {
    let path = dir.join(path);
    if path.is_file() {
        return Ok(MappingFile { path, named: true });
    }
    Err(Wrong::new(format!("there is no file `{}`", path.display()))
        .help("the path is relative to the configuration directory; leave it out to use the connector's rules"))
}

fn region(value: &Value) -> Read<Region> {
    parse_region(&read::text(value)?).map_err(|error| Wrong::new(error.to_string()))
}

fn currency(value: &Value) -> Read<Currency> {
    crate::model::currency(&read::text(value)?)
        .map_err(|error| Wrong::new(error.to_string()).help("use three letters, such as \"USD\""))
}

fn verification(value: &Value) -> Read<Verification> {
    match read::text(value)?.as_str() {
        "none" => Ok(Verification::None),
        other => Err(Wrong::new(format!("`{other}` is not a way of verification")).help(
            "leave it out to verify as the connector says; \"none\" accepts unverified requests",
        )),
    }
}
