//! What is kept of how an event was processed, for `explain`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Routed, Withheld};
use crate::lookup::Made;
use crate::mapping::Trace;

/// The story of an event. Written straight to JSON text: it is made for every event and read for few.
#[derive(Default, Serialize)]
pub(super) struct Story<'a> {
    /// Every rule that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<&'a Trace>,
    /// Every look-up that the rules needed.
    #[serde(skip_serializing_if = "<[Made]>::is_empty")]
    pub lookups: &'a [Made],
    /// Who brought the facts, when no rules were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'a str>,
    /// The records that its facts speak of, so that they can be taken back under other rules.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub spoke_of: &'a [String],
    /// What was decided about appointments.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub attendance: &'a [String],
    /// Where each fact went.
    #[serde(skip_serializing_if = "<[Routed]>::is_empty")]
    pub routing: &'a [Routed],
    /// Where conditions kept an outcome from.
    #[serde(skip_serializing_if = "<[Withheld]>::is_empty")]
    pub withheld: &'a [Withheld],
    /// Items of another account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<&'a str>,
    /// Why it could not be processed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<&'a str>,
}

impl Story<'_> {
    /// The story as JSON text.
    pub(super) fn to_json(&self) -> Bytes {
        // Most are longer than a serializer thinks at first.
        let mut json = Vec::with_capacity(2048);
        serde_json::to_writer(&mut json, self).expect("texts, numbers and lists are always JSON");
        json.into()
    }
}

/// What is known of an event from when it was processed before.
#[derive(Debug, Default)]
pub(super) struct Former {
    /// The records that it spoke of.
    pub(super) spoke_of: Vec<String>,
    /// It led somewhere, and nothing was lacking: that stays until something else is known.
    pub(super) stands: bool,
}

impl Former {
    /// By the story that was kept of it. One of another version says nothing.
    pub(super) fn of(story: &Value) -> Self {
        let spoke_of = Vec::deserialize(&story["spoke_of"]).unwrap_or_default();
        let routed = story["routing"].as_array();
        let led_somewhere = !spoke_of.is_empty() || routed.is_some_and(|routed| !routed.is_empty());
        let lookups = Vec::<Made>::deserialize(&story["lookups"]).unwrap_or_default();
        Self {
            spoke_of,
            stands: led_somewhere && !lookups.iter().any(Made::is_lacking),
        }
    }
}
