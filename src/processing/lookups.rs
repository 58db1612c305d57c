//! Where processing gets what look-ups answered.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::connector::{Answers, GivenAnswers, LookupStep, Question, Standing};
use crate::lookup::{Job, LookupService, Made, MadeHow, Plan};
use crate::mapping::{Context, LookedUp, Ruleset};
use crate::queue::{Processed, QueueError, Registry, Watch};
use crate::setup::Source;

/// Where answers come from.
#[derive(Clone)]
pub(super) enum LookupAnswers {
    /// From a file: the vendor's bodies by look-up. Nothing is asked.
    Given(Arc<Value>),
    /// From the registry; what is missing is asked.
    Asked {
        registry: Arc<dyn Registry>,
        service: Arc<LookupService>,
    },
}

impl LookupAnswers {
    /// Has asked what events wait for that were settled.
    pub(super) fn ask(&self, jobs: Vec<Job>) {
        if let Self::Asked { service, .. } = self {
            service.ask(jobs);
        }
    }
}

/// Answers from a file, told like those of the vendor.
struct Given<'a> {
    answers: GivenAnswers<'a>,
    /// There is no file: nobody says what the vendor has.
    is_nothing: bool,
    made: &'a mut Vec<Made>,
}

impl Answers for Given<'_> {
    fn answer(
        &mut self,
        step: &Arc<LookupStep>,
        question: Question,
        item: Option<usize>,
    ) -> Standing {
        let request = question.request.shown.clone();
        let standing = self.answers.answer(step, question, item);
        let how = match &standing {
            _ if self.is_nothing => MadeHow::NotMade,
            Standing::Answered(Value::Null) => MadeHow::None,
            _ => MadeHow::Answered,
        };
        let mut made = Made::new(step.name(), how, item);
        if self.is_nothing {
            made.why = "a dry run asks nobody, and no answer was given".to_owned();
        }
        made.request = Some(request);
        self.made.push(made);
        standing
    }

    fn not_made(&mut self, lookup: &str, why: String, item: Option<usize>) {
        let mut made = Made::new(lookup, MadeHow::NotMade, item);
        made.why = why;
        self.made.push(made);
    }
}

/// One event's look-ups.
pub(super) struct Looking<'a> {
    answers: &'a LookupAnswers,
    now: Timestamp,
    plan: Plan,
    failure: Option<QueueError>,
}

impl<'a> Looking<'a> {
    pub(super) fn new(answers: &'a LookupAnswers, now: Timestamp) -> Self {
        Self {
            answers,
            now,
            plan: Plan::default(),
            failure: None,
        }
    }

    /// What the rules read of look-ups for an event's body.
    pub(super) fn look_up(
        &mut self,
        source: &Source,
        rules: &Ruleset,
        body: &Value,
        context: &Context<'_>,
    ) -> LookedUp {
        let lookups = source.inbound.lookups();
        match self.answers {
            LookupAnswers::Given(bodies) => {
                let mut given = Given {
                    answers: GivenAnswers::new(bodies),
                    is_nothing: bodies.is_null(),
                    made: &mut self.plan.made,
                };
                lookups.gather(rules, body, context, &mut given)
            }
            LookupAnswers::Asked { registry, .. } => {
                let failure = &mut self.failure;
                let mut read = |key| match registry.record(&key) {
                    Ok(value) => value,
                    Err(error) => {
                        failure.get_or_insert(error);
                        None
                    }
                };
                self.plan
                    .look_up(lookups, rules, body, context, self.now, &mut read)
            }
        }
    }

    /// Every look-up that mattered.
    pub(super) fn made(&self) -> &[Made] {
        &self.plan.made
    }

    /// Whether answers are lacking.
    pub(super) fn lacks_answers(&self) -> bool {
        self.plan.made.iter().any(Made::is_lacking)
    }

    /// Adds to an event's result what it waits for, and gives what has to be asked once it is settled.
    ///
    /// # Errors
    /// When storage failed while it was read: then there is no result.
    pub(super) fn finish(self, processed: &mut Processed) -> Result<Vec<Job>, QueueError> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let watches = self.plan.watches.iter().copied().map(Watch::record);
        processed.watches.extend(watches);
        let wakes = [processed.wake_at, self.plan.wake_at];
        processed.wake_at = wakes.into_iter().flatten().min();
        Ok(self.plan.into_jobs())
    }
}
