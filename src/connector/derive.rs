//! From a stored event to what its rules make of it: read the body, leave out what belongs to other
//! accounts, apply the rules. The processor and the connectors' own cases do it by the same words.

use serde_json::Value;

use super::Inbound;
use super::body::{BodyError, decode_body};
use super::redact::WITHHELD;
use super::request::{headers_value, query_value};
use super::tenant::{Content, Foreign};
use crate::mapping::{Context, Derivation, LookedUp, Ruleset, derive};
use crate::model::Region;
use crate::queue::StoredEvent;

/// What a source's events are read with.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// The rules.
    pub rules: &'a Ruleset,
    /// The settings that they may read as `setting.…`.
    pub setting: &'a Value,
    /// Where phone numbers without a country code are from.
    pub region: Option<Region>,
}

/// Gives what look-ups answered for an event's body, once it is read and freed of what belongs to other
/// accounts.
pub type LookUp<'a> = &'a mut dyn FnMut(&Value, &Context<'_>) -> LookedUp;

/// What became of a stored event.
#[derive(Debug, Clone, PartialEq)]
pub enum Derived {
    /// The rules were asked.
    Asked {
        /// What they made of it.
        derivation: Derivation,
        /// Which items of a batch they were not shown, and why, if any.
        left_out: Option<String>,
    },
    /// It is all of another account, for the reason given: the rules were not asked.
    Foreign(String),
}

impl Inbound {
    /// What the rules make of an event that this source has received. `look_up` gives what they need
    /// beside the event.
    ///
    /// # Errors
    /// [`BodyError`] when its body cannot be read.
    pub fn derive(
        &self,
        event: &StoredEvent,
        reading: &Reading<'_>,
        look_up: LookUp<'_>,
    ) -> Result<Derived, BodyError> {
        if event.body == WITHHELD {
            return Err(BodyError::Withheld);
        }
        let mut body = decode_body(self.body_kind(), &event.body)?;
        // Most rules read the body alone: no copies of headers for them.
        let is_read = reading.rules.reads_request() || !self.rules.tenants.is_empty();
        let (header, query) = match is_read {
            true => (headers_value(&event.headers), query_value(&event.query)),
            false => (Value::Null, Value::Null),
        };
        let mut content = Content {
            body: &mut body,
            header: &header,
            query: &query,
        };
        let left_out = match self.leave_out_foreign(&mut content) {
            Foreign::Nothing => None,
            Foreign::Items(reason) => Some(reason),
            Foreign::Everything(reason) => return Ok(Derived::Foreign(reason)),
        };
        let nothing = LookedUp::nothing();
        let mut context = Context {
            source: &event.source,
            event: event.id,
            header: &header,
            query: &query,
            setting: reading.setting,
            looked_up: &nothing,
            region: reading.region,
            received_at: event.received_at,
        };
        let looked_up = look_up(&body, &context);
        context.looked_up = &looked_up;
        let derivation = derive(reading.rules, &body, &context);
        Ok(Derived::Asked {
            derivation,
            left_out,
        })
    }

    /// By every assertion; the first one that the whole event fails decides.
    fn leave_out_foreign(&self, content: &mut Content<'_>) -> Foreign {
        let mut reasons = Vec::new();
        for tenant in &self.rules.tenants {
            match tenant.leave_out_foreign(content) {
                Foreign::Nothing => {}
                Foreign::Items(reason) => reasons.push(reason),
                everything @ Foreign::Everything(_) => return everything,
            }
        }
        if reasons.is_empty() {
            Foreign::Nothing
        } else {
            Foreign::Items(reasons.join("; "))
        }
    }
}
