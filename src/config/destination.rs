//! `[destinations.NAME]`: an outbound use of a connector.

use std::time::Duration;

use jiff::SignedDuration;

use super::route::Names;
use super::section::Section;
use super::source::CONNECTOR_HELP;
use super::wrong::Wrong;
use super::{Delivery, action, correlation, read};
use crate::mapping::Conditions;
use crate::model::{
    ConnectorName, Correlation, Deliver, DestinationName, Mode, Precedence, Settings,
};

/// An outbound use of a connector.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name.
    pub name: DestinationName,
    /// The connector. Required.
    pub connector: ConnectorName,
    /// Which outcome of a call is its truth. Default: final outcomes outrank open ones.
    pub precedence: Precedence,
    /// Which revisions are sent to it. Default: as its connector says.
    pub mode: Option<Mode>,
    /// When inferred outcomes are sent to it. Default: at once.
    pub deliver: Deliver,
    /// How the calls of its outcomes are found.
    pub correlation: Correlation,
    /// The destination that it is an action of. Default: it is one by itself.
    pub action_of: Option<DestinationName>,
    /// What else has to hold of an outcome, read as `outcome.…`. Empty: nothing.
    pub when: Conditions,
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
            mode: None,
            deliver: Deliver::default(),
            correlation: Correlation::default(),
            action_of: None,
            when: Conditions::default(),
            enabled: true,
            delivery,
            settings: Settings::default(),
        }
    }
}

impl Destination {
    /// The name that routes know it by: its own, or that of the destination whose action it is.
    pub fn group(&self) -> &DestinationName {
        self.action_of.as_ref().unwrap_or(&self.name)
    }
}

/// The options that every destination has, whatever its connector asks for.
pub(super) const OPTIONS: [&str; 23] = [
    "connector",
    "precedence",
    "mode",
    "deliver",
    "final_after",
    "match",
    "touch",
    "look_back",
    "wait",
    "calls",
    "actions",
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
    /// Reads the destination `name`, or one for each of its actions; `None` when it has no usable connector.
    pub(super) fn read(
        name: DestinationName,
        mut section: Section<'_, '_>,
        general: &Delivery,
        names: &Names,
    ) -> Option<Vec<Self>> {
        let connector = section.required("connector", CONNECTOR_HELP, read::parsed);
        let precedence = section.get("precedence", read::precedence);
        let mode = section.get("mode", read::choice("mode", &Mode::ALL, Mode::as_str));
        let deliver = read_deliver(&mut section);
        let correlation = correlation::read(&mut section, names);
        let enabled = section.get("enabled", read::flag);
        let delivery = Delivery::read(&mut section, general);
        let actions = action::read(&mut section);
        let destination = Self {
            precedence: precedence.unwrap_or_default(),
            mode,
            deliver,
            correlation,
            enabled: enabled.unwrap_or(true),
            settings: section.into_settings(),
            ..Self::new(name, connector?, delivery)
        };
        Some(match actions {
            None => vec![destination],
            Some(actions) => action::expand(&destination, actions),
        })
    }
}

fn read_deliver(section: &mut Section<'_, '_>) -> Deliver {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let said = section.has("deliver");
    let is_final = section.get(
        "deliver",
        read::choice("way to deliver", &[false, true], |is_final| {
            if is_final { "final" } else { "current" }
        }),
    );
    let after = section.get("final_after", read::duration(Duration::ZERO..=DAY * 366));
    match (is_final, after) {
        (Some(true), after) => Deliver::Final(
            after
                .and_then(|after| SignedDuration::try_from(after).ok())
                .unwrap_or(Deliver::FINAL_AFTER),
        ),
        (Some(false) | None, Some(_)) if is_final.is_some() || !said => {
            let wrong = Wrong::new("inferred outcomes are not held back here");
            section.wrong("final_after", wrong.help("add `deliver = \"final\"`"));
            Deliver::Current
        }
        (Some(false) | None, _) => Deliver::Current,
    }
}
