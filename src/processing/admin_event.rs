//! Events of the reserved source `admin`: facts from a person or an import, not from rules.
//!
//! Everything from outside is an event, also a correction by hand: it is stored, processed, explained and
//! replayed like any other. Only its facts stand in its body as they are.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::model::{DestinationName, EventId, Fact, Outcome, SourceName, Subject, is_writable};
use crate::queue::NewEvent;

/// The most facts of one event: a larger import is several.
pub const MAX_FACTS: usize = 1_000;

/// The most bytes of `notes`, as for rules.
const MAX_NOTES: usize = 4 * 1024;

/// The most bytes of any other text, as for rules.
const MAX_TEXT: usize = 1024;

/// The most named values of a fact.
const MAX_METADATA: usize = 50;

/// Repeats of the same body within this time are one event.
const REPEATS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A lane by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneAddress {
    /// The destination.
    pub destination: DestinationName,
    /// The address there.
    pub target: String,
}

/// The body of such an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminBody {
    /// Who or what says so, e.g. `console` or `outcomes import`.
    pub by: String,
    /// The source whose booking, deal, contact and call ids the facts name, and whose routes they take. Left
    /// out: the ids are nobody's, and all destinations that want such an outcome get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceName>,
    /// Lanes that the outcomes, retractions and releases go to, in place of those that correlation finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<LaneAddress>,
    /// The facts. `source` and `event` of their outcomes are put right when they are processed.
    pub facts: Vec<Fact>,
}

/// What is wrong with such a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminMistake {
    /// It is not one.
    #[error("the body is not `{{\"by\": …, \"facts\": […]}}`: {0}")]
    Unreadable(String),
    /// There is nothing in it, or too much.
    #[error("{0} facts; 1 to {MAX_FACTS} are taken")]
    Count(usize),
    /// A fact cannot be taken.
    #[error("fact {number}: {why}")]
    Fact {
        /// Its number, from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
}

impl AdminBody {
    /// A body with these facts.
    pub fn new(by: impl Into<String>, facts: Vec<Fact>) -> Self {
        Self {
            by: by.into(),
            source: None,
            at: Vec::new(),
            facts,
        }
    }

    /// Says whose ids the facts name.
    #[must_use]
    pub fn on_behalf_of(mut self, source: SourceName) -> Self {
        self.source = Some(source);
        self
    }

    /// Says which lanes are meant.
    #[must_use]
    pub fn at(mut self, lanes: Vec<LaneAddress>) -> Self {
        self.at = lanes;
        self
    }

    /// Reads and checks a body.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, AdminMistake> {
        let read = serde_json::from_slice::<Self>(bytes);
        let body = read.map_err(|error| AdminMistake::Unreadable(error.to_string()))?;
        body.check()?;
        Ok(body)
    }

    /// The event to be stored.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn into_event(self, received_at: Timestamp) -> Result<NewEvent, AdminMistake> {
        self.check()?;
        let unreadable = |error: serde_json::Error| AdminMistake::Unreadable(error.to_string());
        let body = Bytes::from(serde_json::to_vec(&self).map_err(unreadable)?);
        let mut dedupe_key = [0; 16];
        dedupe_key.copy_from_slice(&Sha256::digest(&body)[..16]);
        Ok(NewEvent {
            source: source(),
            received_at,
            event_type: Some(self.by),
            dedupe_key,
            dedupe_window: REPEATS,
            headers: Vec::new(),
            query: String::new(),
            body,
        })
    }

    fn check(&self) -> Result<(), AdminMistake> {
        if self.facts.is_empty() || self.facts.len() > MAX_FACTS {
            return Err(AdminMistake::Count(self.facts.len()));
        }
        short("by", &self.by).map_err(AdminMistake::Unreadable)?;
        for (n, fact) in self.facts.iter().enumerate() {
            let addressed = !self.at.is_empty();
            check(fact, addressed).map_err(|why| AdminMistake::Fact { number: n + 1, why })?;
        }
        Ok(())
    }

    /// The facts, with their outcomes put down to `event`.
    pub(super) fn facts_of(&self, event: EventId) -> Vec<Fact> {
        let mut facts = self.facts.clone();
        for fact in &mut facts {
            if let Fact::Outcome(outcome) = fact {
                outcome.event = event;
                outcome.source = self.ids_of();
            }
        }
        facts
    }

    /// The source whose ids the facts name.
    pub(super) fn ids_of(&self) -> SourceName {
        self.source.clone().unwrap_or_else(source)
    }
}

fn source() -> SourceName {
    SourceName::new(SourceName::ADMIN).expect("`admin` is a name")
}

fn short(name: &str, text: &str) -> Result<(), String> {
    within(name, text, MAX_TEXT)
}

fn within(name: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(format!(
            "`{name}` has {} bytes; at most {most} are taken",
            text.len()
        ));
    }
    Ok(())
}

/// Whether a fact may be in such a body.
///
/// # Errors
/// What is wrong with it, in words.
pub fn acceptable(fact: &Fact) -> Result<(), String> {
    check(fact, false)
}

/// The limits that rules hold facts to.
fn check(fact: &Fact, addressed: bool) -> Result<(), String> {
    check_moments(fact)?;
    match fact {
        Fact::Outcome(outcome) => check_outcome(outcome, addressed),
        Fact::Retraction(fact) => check_subject(&fact.subject, &fact.rule, addressed),
        Fact::Release(fact) => check_subject(&fact.subject, &fact.rule, addressed),
        Fact::Appointment(fact) => {
            if fact.subject.booking_id.is_none() {
                return Err("an appointment needs its `booking_id`".to_owned());
            }
            check_subject(&fact.subject, &fact.rule, true)?;
            check_metadata(&fact.metadata)
        }
        Fact::Call(fact) => {
            if fact.subject.call_id.is_none() {
                return Err("a call needs its `call_id`".to_owned());
            }
            check_subject(&fact.subject, &fact.rule, true)?;
            check_metadata(&fact.metadata)
        }
    }
}

fn check_moments(fact: &Fact) -> Result<(), String> {
    let (occurred_at, start, end) = match fact {
        Fact::Outcome(fact) => (fact.occurred_at, None, None),
        Fact::Retraction(fact) => (fact.occurred_at, None, None),
        Fact::Release(fact) => (fact.occurred_at, None, None),
        Fact::Appointment(fact) => (fact.occurred_at, fact.start, fact.end),
        Fact::Call(fact) => (fact.occurred_at, fact.start, fact.end),
    };
    let mut moments = [Some(occurred_at), start, end].into_iter().flatten();
    match moments.find(|at| !is_writable(*at)) {
        Some(at) => Err(format!("{at} is before the year 0000")),
        None => Ok(()),
    }
}

fn check_outcome(outcome: &Outcome, addressed: bool) -> Result<(), String> {
    check_subject(&outcome.subject, &outcome.rule, addressed)?;
    short("label", outcome.label.as_deref().unwrap_or_default())?;
    within(
        "notes",
        outcome.notes.as_deref().unwrap_or_default(),
        MAX_NOTES,
    )?;
    check_metadata(&outcome.metadata)
}

fn check_subject(subject: &Subject, rule: &str, addressed: bool) -> Result<(), String> {
    if !addressed && !subject.is_known() {
        return Err("nobody can say whom it is about".to_owned());
    }
    short("rule", rule)?;
    let email = subject.email.as_deref();
    if email.is_some_and(|email| !email.contains('@') || email != email.to_lowercase()) {
        return Err("`email` is not an e-mail address in lower case".to_owned());
    }
    let texts = [
        ("call_id", &subject.call_id),
        ("email", &subject.email),
        ("booking_id", &subject.booking_id),
        ("deal_id", &subject.deal_id),
        ("contact_id", &subject.contact_id),
        ("agent_id", &subject.agent_id),
    ];
    let mut given = texts
        .iter()
        .filter_map(|(name, text)| Some((*name, text.as_deref()?)));
    given.try_for_each(|(name, text)| match text.trim() {
        "" => Err(format!("`{name}` is empty")),
        _ => short(name, text),
    })
}

fn check_metadata(metadata: &Map<String, Value>) -> Result<(), String> {
    if metadata.len() > MAX_METADATA {
        let count = metadata.len();
        return Err(format!(
            "{count} values of metadata; at most {MAX_METADATA} are taken"
        ));
    }
    for (name, value) in metadata {
        short("metadata", name)?;
        within(name, &value.to_string(), MAX_TEXT)?;
    }
    Ok(())
}
