//! `not_before`: a request that is made at a time which the outcome names.

use jiff::{SignedDuration, Timestamp};

use super::reader::Reader;
use crate::mapping::{Path, Scope, Template};
use crate::model::{Outcome, parse_time};

/// What the words of `not_before` may be made of.
const ROOTS: [&str; 1] = ["setting"];

/// A moment further ahead than this is taken for a misreading: nobody schedules a call for the year 9999.
const FURTHEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// When a request may be made.
#[derive(Debug)]
pub(super) struct NotBefore {
    /// The outcome's field that holds the moment.
    field: Path,
    /// How long after the receipt of its event, when nothing usable is there.
    otherwise: SignedDuration,
}

impl NotBefore {
    /// Reads it; its words are filled in with the destination's settings.
    pub(super) fn read(reader: Reader<'_>, settings: &dyn Scope) -> Option<Self> {
        let word = |key| {
            let template: Template = reader.template(key, &ROOTS)?;
            template.text(settings)
        };
        let (name, minutes) = (word("field"), word("else_minutes"));
        if !reader.has("field") {
            reader.missing("field", "\"follow_up_date\"");
        }
        let span = reader.span.clone();
        let otherwise = minutes.map_or(Some(SignedDuration::ZERO), |minutes| {
            let minutes = minutes.trim().parse::<u32>().ok();
            if minutes.is_none() {
                let message = "`else_minutes` has to be a whole number of minutes";
                reader.log.error(span.clone(), message);
            }
            Some(SignedDuration::from_mins(i64::from(minutes?)))
        });
        let field = name.and_then(|name| {
            let path = path_of(name.trim());
            reader.parse_path(&path, span.clone(), &["outcome"])
        });
        reader.finish();
        Some(Self {
            field: field?,
            otherwise: otherwise?,
        })
    }

    /// The moment for an outcome as templates read it. It does not change when the event is processed again: what
    /// is counted from is the receipt of the event, not the clock.
    pub(super) fn moment(&self, outcome: &Outcome, scope: &dyn Scope) -> Option<Timestamp> {
        let received = i64::try_from(outcome.event.millis())
            .ok()
            .and_then(|millis| Timestamp::from_millisecond(millis).ok())?;
        let named = self.field.first(scope).and_then(|value| value.as_str());
        let furthest = received.max(outcome.occurred_at).checked_add(FURTHEST);
        let named = named
            .and_then(|text| parse_time(text).ok())
            .filter(|moment| furthest.as_ref().is_ok_and(|furthest| moment <= furthest));
        named.or_else(|| received.checked_add(self.otherwise).ok())
    }
}

/// A field of the outcome itself, or else one of its metadata.
fn path_of(name: &str) -> String {
    let first = name.split('.').next().unwrap_or_default();
    if first == "outcome" {
        name.to_owned()
    } else if Outcome::FIELDS.contains(&first) {
        format!("outcome.{name}")
    } else {
        format!("outcome.metadata.{name}")
    }
}
