//! Gathers what an event's rules need from look-ups, one after the other as far as answers are there.
//!
//! Where answers come from is somebody else's business: the processor takes them from the registry, a
//! connector's case from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::api::ApiAuth;
use super::lookup::{LookupStep, Lookups, NotAsked, Question};
use crate::mapping::{Context, Looked, LookedUp, Ruleset, Scope};

/// Answers questions.
pub trait Answers {
    /// The answer to a question for an event, or for item `item` of a batch.
    fn answer(
        &mut self,
        step: &Arc<LookupStep>,
        question: Question,
        item: Option<usize>,
    ) -> Standing;

    /// A look-up is not made; the rules go on with nothing there.
    fn not_made(&mut self, lookup: &str, why: String, item: Option<usize>);
}

/// How a question stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Here is the answer; null when the vendor has no such thing.
    Answered(Value),
    /// It is still to come, for the reason given.
    Waiting(String),
    /// It will not come, for the reason given.
    GivenUp(String),
}

impl Lookups {
    /// What the rules read of look-ups for an event's body.
    pub fn gather(
        &self,
        rules: &Ruleset,
        body: &Value,
        context: &Context<'_>,
        answers: &mut dyn Answers,
    ) -> LookedUp {
        let events = rules.events(body);
        let is_batch = events.len() > 1;
        let each = events.into_iter().enumerate().map(|(n, event)| {
            let gathering = Gathering {
                lookups: self,
                item: is_batch.then_some(n),
                event,
                context,
                known: Value::Object(Map::new()),
                open: BTreeMap::new(),
                answers: &mut *answers,
            };
            gathering.gather(rules)
        });
        LookedUp::new(each.collect())
    }
}

/// One event or item, while its look-ups are gathered.
struct Gathering<'a> {
    lookups: &'a Lookups,
    item: Option<usize>,
    event: &'a Value,
    context: &'a Context<'a>,
    /// The answers, by name; null where there is none.
    known: Value,
    /// What waits, and why.
    open: BTreeMap<String, String>,
    answers: &'a mut dyn Answers,
}

/// Where a look-up stands for an event.
enum Found {
    Known,
    Open,
    GivenUp(String),
}

impl Scope for Gathering<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "event" => Some(self.event),
            "lookup" => Some(&self.known),
            "header" => Some(self.context.header),
            "query" => Some(self.context.query),
            "setting" => Some(self.context.setting),
            _ => None,
        }
    }
}

impl Gathering<'_> {
    /// Goes on as long as rules need more and one more is found.
    fn gather(mut self, rules: &Ruleset) -> Looked {
        loop {
            let needed = rules.needs(self.event, &self.known, self.context);
            if needed.is_empty() {
                return Looked::Answers(self.known);
            }
            let mut found = false;
            for name in &needed {
                match self.find(name) {
                    Found::Known => found = true,
                    Found::Open => {}
                    Found::GivenUp(reason) => return Looked::Failed(reason),
                }
            }
            if !found {
                // A look-up waits with the reason of the one that it needs.
                let reasons: BTreeSet<String> = self.open.into_values().collect();
                let reasons: Vec<String> = reasons.into_iter().collect();
                return Looked::Waiting(reasons.join("; "));
            }
        }
    }

    fn find(&mut self, name: &str) -> Found {
        if self.known.get(name).is_some() {
            return Found::Known;
        }
        if self.open.contains_key(name) {
            return Found::Open;
        }
        let lookups = self.lookups;
        let Some(step) = lookups.step(name) else {
            return self.nothing(name, "the connector has no such look-up".to_owned());
        };
        if let Some(ApiAuth::NotSet(help)) = lookups.api().map(|api| &api.auth) {
            return self.nothing(name, help.clone());
        }
        if let Some(found) = self.follow(name, &step.wanted_by()) {
            return found;
        }
        if step.is_wanted(self)
            && let Some(found) = self.follow(name, &step.reads())
        {
            return found;
        }
        let question = match step.ask(self) {
            Err(NotAsked::Unwanted) => {
                return self.nothing(name, "its conditions do not hold".to_owned());
            }
            Err(NotAsked::Lacking(why)) => return self.nothing(name, why),
            Ok(question) => question,
        };
        match self.answers.answer(step, question, self.item) {
            Standing::Answered(answer) => self.know(name, answer),
            Standing::GivenUp(reason) => Found::GivenUp(reason),
            Standing::Waiting(reason) => {
                self.open.insert(name.to_owned(), reason);
                Found::Open
            }
        }
    }

    /// Finds what a look-up needs itself; where that is not there, so does the look-up stand.
    fn follow(&mut self, name: &str, needed: &BTreeSet<&str>) -> Option<Found> {
        for needed in needed {
            match self.find(needed) {
                Found::Known => {}
                given_up @ Found::GivenUp(_) => return Some(given_up),
                Found::Open => {
                    let why = self.open.get(*needed).cloned().unwrap_or_default();
                    self.open.insert(name.to_owned(), why);
                    return Some(Found::Open);
                }
            }
        }
        None
    }

    fn nothing(&mut self, name: &str, why: String) -> Found {
        self.answers.not_made(name, why, self.item);
        self.know(name, Value::Null)
    }

    fn know(&mut self, name: &str, answer: Value) -> Found {
        if let Value::Object(known) = &mut self.known {
            known.insert(name.to_owned(), answer);
        }
        Found::Known
    }
}

/// Answers from a file: there the vendor's own bodies stand, by the names of the look-ups; of a batch a list
/// with one such object for each item. What does not stand there does not exist at the vendor.
pub struct GivenAnswers<'a> {
    bodies: &'a Value,
    asked: Vec<String>,
}

impl<'a> GivenAnswers<'a> {
    /// Answers with these bodies.
    pub fn new(bodies: &'a Value) -> Self {
        Self {
            bodies,
            asked: Vec::new(),
        }
    }

    /// Methods and URLs of what was asked, in order.
    pub fn asked(&self) -> &[String] {
        &self.asked
    }
}

impl Answers for GivenAnswers<'_> {
    fn answer(
        &mut self,
        step: &Arc<LookupStep>,
        question: Question,
        item: Option<usize>,
    ) -> Standing {
        self.asked.push(question.request.shown);
        let bodies = match self.bodies {
            Value::Array(each) => each.get(item.unwrap_or(0)).unwrap_or(&Value::Null),
            shared => shared,
        };
        let Some(body) = bodies.get(step.name()) else {
            return Standing::Answered(Value::Null);
        };
        Standing::Answered(step.take(body))
    }

    fn not_made(&mut self, _lookup: &str, _why: String, _item: Option<usize>) {}
}
