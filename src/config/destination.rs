//! `[destinations.NAME]`: an outbound use of a connector.

use super::Delivery;
use super::read;
use super::section::Section;
use super::source::CONNECTOR_HELP;
use crate::model::{ConnectorName, DestinationName, Precedence, Settings};

/// An outbound use of a connector.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name.
    pub name: DestinationName,
    /// The connector. Required.
    pub connector: ConnectorName,
    /// Which outcome of a call is its truth. Default: final outcomes outrank open ones.
    pub precedence: Precedence,
    /// Whether outcomes are sent to it. Default: yes.
    pub enabled: bool,
    /// How outcomes are sent: the general options with this destination's own over them.
    pub delivery: Delivery,
    /// What the connector asks for.
    pub settings: Settings,
}

impl Destination {
    /// A destination with nothing set beyond its connector.
    pub fn new(name: DestinationName, connector: ConnectorName, delivery: Delivery) -> Self {
        Self {
            name,
            connector,
            precedence: Precedence::default(),
            enabled: true,
            delivery,
            settings: Settings::default(),
        }
    }
}

/// The options that every destination has, whatever its connector asks for.
pub(super) const OPTIONS: [&str; 14] = [
    "connector",
    "precedence",
    "enabled",
    "concurrency",
    "timeout",
    "connect_timeout",
    "retry_first",
    "retry_factor",
    "retry_cap",
    "max_age",
    "rate_per_second",
    "hold_probe",
    "allow_private",
    "allow_networks",
];

impl Destination {
    /// Reads the destination `name`; `None` when it has no usable connector.
    pub(super) fn read(
        name: DestinationName,
        mut section: Section<'_, '_>,
        general: &Delivery,
    ) -> Option<Self> {
        let connector = section.required("connector", CONNECTOR_HELP, read::parsed);
        let precedence = section.get("precedence", read::precedence);
        let enabled = section.get("enabled", read::flag);
        let delivery = Delivery::read(&mut section, general);
        Some(Self {
            precedence: precedence.unwrap_or_default(),
            enabled: enabled.unwrap_or(true),
            settings: section.into_settings(),
            ..Self::new(name, connector?, delivery)
        })
    }
}
