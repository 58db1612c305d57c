//! What an event's rules get from look-ups by what is stored, and what has to be asked. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{Entry, HoldEntry, Ruling, after, hold_key, key_of, pause, rule};
use crate::connector::{Answers, LookupStep, Lookups, Question, Standing};
use crate::mapping::{Context, LookedUp, Ruleset};
use crate::model::SourceName;
use crate::queue::RegistryKey;

/// While a source is held its events look for themselves no more often than this.
const HELD_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// Reads a record of the registry, as committed.
pub type ReadRecord<'a> = &'a mut dyn FnMut(RegistryKey) -> Option<Bytes>;

/// What an event needs of look-ups, beside what its rules read.
#[derive(Debug, Default)]
pub struct Plan {
    /// Every look-up that mattered, for `explain`.
    pub made: Vec<Made>,
    /// What the event waits for. An answer that is there is not watched: it holds for the event whatever is
    /// answered to later ones.
    pub watches: Vec<RegistryKey>,
    /// When the event has to be processed again if no answer has come until then.
    pub wake_at: Option<Timestamp>,
    jobs: BTreeMap<RegistryKey, Job>,
}

/// A question that somebody waits for.
#[derive(Clone)]
pub struct Job {
    /// The source whose credentials it is asked with.
    pub source: SourceName,
    /// Where the answer is stored.
    pub(super) key: RegistryKey,
    pub(super) step: Arc<LookupStep>,
    pub(super) question: Question,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, self.step.name())
    }
}

/// One look-up as a trace tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Which item of a batch it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<usize>,
    /// Its name.
    pub lookup: String,
    /// How it went.
    pub how: MadeHow,
    /// Method and URL, without credentials, if there was a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// When it was asked, if it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why it went so, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Made {
    /// Whether its answer is lacking, for now or for good.
    pub fn is_lacking(&self) -> bool {
        matches!(self.how, MadeHow::Waiting | MadeHow::Failed)
    }

    /// A look-up of which nothing more is known yet.
    pub fn new(lookup: &str, how: MadeHow, item: Option<usize>) -> Self {
        Self {
            item,
            lookup: lookup.to_owned(),
            how,
            request: None,
            at: None,
            why: String::new(),
        }
    }
}

/// How a look-up went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MadeHow {
    /// It was answered.
    Answered,
    /// The vendor has no such thing.
    None,
    /// It was not made; the rules go on with nothing there.
    NotMade,
    /// Its answer is still to come.
    Waiting,
    /// It was given up.
    Failed,
}

impl Plan {
    /// Looks in what is stored for what `rules` need for an event's body.
    pub fn look_up(
        &mut self,
        lookups: &Lookups,
        rules: &Ruleset,
        body: &Value,
        context: &Context<'_>,
        now: Timestamp,
        record: ReadRecord<'_>,
    ) -> LookedUp {
        let mut stored = Stored {
            plan: self,
            source: context.source,
            received_at: context.received_at,
            now,
            record,
        };
        lookups.gather(rules, body, context, &mut stored)
    }

    /// What has to be asked once the event is settled.
    pub fn into_jobs(self) -> Vec<Job> {
        self.jobs.into_values().collect()
    }
}

/// Answers from what is stored.
struct Stored<'a> {
    plan: &'a mut Plan,
    source: &'a SourceName,
    received_at: Timestamp,
    now: Timestamp,
    record: ReadRecord<'a>,
}

impl Answers for Stored<'_> {
    fn answer(
        &mut self,
        step: &Arc<LookupStep>,
        question: Question,
        item: Option<usize>,
    ) -> Standing {
        let name = step.name();
        let key = key_of(self.source, name, &question.hash);
        let entry = (self.record)(key).and_then(|bytes| Entry::read(&bytes));
        let mut made = Made::new(name, MadeHow::Waiting, item);
        made.request = Some(question.request.shown.clone());
        let ruling = rule(entry.as_ref(), self.received_at, step.cache(), self.now);
        let standing = match ruling {
            Ruling::Use(answer) => {
                made.at = Some(answer.at);
                made.how = match answer.taken {
                    Some(_) => MadeHow::Answered,
                    None => MadeHow::None,
                };
                Standing::Answered(answer.taken.clone().unwrap_or_default())
            }
            Ruling::GiveUp(reason) => {
                made.how = MadeHow::Failed;
                made.why = reason.to_owned();
                Standing::GivenUp(format!(
                    "the look-up `{name}` was given up after 3 days: {reason}"
                ))
            }
            Ruling::Wait(until, reason) => {
                self.plan.watches.push(key);
                self.wake_at(until);
                made.why = format!("{reason}; it is asked again at {until:.0}");
                waiting(name, &made.why)
            }
            Ruling::Ask(last) => {
                self.plan.watches.extend([key, hold_key(self.source)]);
                made.why = match (self.held(), last) {
                    (Some(held), _) => held,
                    (None, None) => "it is being asked".to_owned(),
                    (None, Some(last)) => format!("{last}; it is being asked again"),
                };
                // Also while they are held: a hold is probed with it.
                let job = Job {
                    source: self.source.clone(),
                    key,
                    step: Arc::clone(step),
                    question,
                };
                self.plan.jobs.insert(key, job);
                waiting(name, &made.why)
            }
        };
        self.plan.made.push(made);
        standing
    }

    fn not_made(&mut self, lookup: &str, why: String, item: Option<usize>) {
        let mut made = Made::new(lookup, MadeHow::NotMade, item);
        made.why = why;
        self.plan.made.push(made);
    }
}

fn waiting(name: &str, why: &str) -> Standing {
    Standing::Waiting(format!("waits for the look-up `{name}`: {why}"))
}

impl Stored<'_> {
    fn wake_at(&mut self, at: Timestamp) {
        let earlier = self.plan.wake_at;
        self.plan.wake_at = Some(earlier.map_or(at, |earlier| earlier.min(at)));
    }

    /// How long the event has waited.
    fn age(&self) -> SignedDuration {
        self.now.duration_since(self.received_at)
    }

    /// Why the source's look-ups are not made, if they are not. The event is woken when they are again, or looks for
    /// itself once in a while.
    fn held(&mut self) -> Option<String> {
        let stored = (self.record)(hold_key(self.source));
        let hold = stored.and_then(|bytes| HoldEntry::read(&bytes));
        let least = hold.as_ref().map_or(SignedDuration::ZERO, |_| HELD_PAUSE);
        self.wake_at(after(self.now, pause(self.age()).max(least)));
        let hold = hold?;
        Some(format!(
            "the look-ups of `{}` are held since {:.0}: {}",
            self.source, hold.since, hold.reason
        ))
    }
}
