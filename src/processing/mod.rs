//! From stored events to facts, dispositions, registries and lanes.
//!
//! The processor takes stored events oldest first, runs the rules of their source, puts their facts into the
//! registries, routes them, and stores everything in one write per event. It holds no state: a crash at any
//! moment leaves the event marked "to process", and doing it again gives the same result. One event that
//! cannot be read becomes `failed` with its reason and delays nothing.
//!
//! # The one idea
//!
//! What an event leads to is a pure function of the event, its rules, the registries that it read, and the
//! moment. It *watches* what it read and may ask to be woken at a moment; when either comes, it is processed
//! again, and settling it again replaces all that it led to before. So an early event, a late cancellation,
//! a reschedule in either order and an attendance that nobody reported all come to the same end by one
//! mechanism, in whatever order they are heard of.

pub mod admin_event;
mod attendance;
mod call_book;
mod correlation;
mod difference;
mod lookups;
mod routing;
mod story;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::connector::{Derived, Reading};
use crate::fault::{self, Point};
use crate::lookup::{Job, LookupService};
use crate::model::{Disposition, EventId, Fact, Outcome, OutcomeNumbers, SourceName};
use crate::queue::{Processed, Queue, QueueError, Registry, StoredEvent};
use crate::registry::{Contributions, Memory, View};
use crate::setup::{Routes, Source};

use admin_event::{AdminBody, LaneAddress};
use attendance::Attendance;
use lookups::{Looking, LookupAnswers};
use story::{Former, Story};

pub use attendance::INFERRED;
pub use call_book::{CallBook, ToldCall};
pub use correlation::Asked;
pub use difference::{Before, Difference, TargetDifference, Turn};
pub use routing::{Origin, Routed, Routing, Withheld};

/// Events taken from the queue at a time; their results share commits.
const PAGE: usize = 512;

/// The shortest and the longest wait before an event's calls that could not be kept are tried again: a quarter of its age.
const CALLS_AGAIN: [SignedDuration; 2] =
    [SignedDuration::from_secs(1), SignedDuration::from_mins(10)];

/// The wait before storage that could not be read is asked again.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

/// Runs rules over stored events.
#[derive(Clone)]
pub struct Processor {
    sources: Arc<BTreeMap<SourceName, Arc<Source>>>,
    routes: Arc<Routes>,
    clock: Clock,
    answers: LookupAnswers,
    call_book: Option<Arc<dyn CallBook>>,
}

/// The records that an event spoke of when it was processed before; an error when that cannot be read right now.
type Known = Result<Former, QueueError>;

/// An event's result, and what has to be asked once it is stored.
type Worked = (EventId, Processed, Vec<Job>);

impl Processor {
    /// A processor for these sources and routes. Look-ups find nothing.
    pub fn new(
        sources: Arc<BTreeMap<SourceName, Arc<Source>>>,
        routes: Arc<Routes>,
        clock: Clock,
    ) -> Self {
        Self {
            sources,
            routes,
            clock,
            answers: LookupAnswers::Given(Arc::default()),
            call_book: None,
        }
    }

    /// Keeps the calls that events tell of in `book`, too.
    #[must_use]
    pub fn with_call_book(mut self, book: Arc<dyn CallBook>) -> Self {
        self.call_book = Some(book);
        self
    }

    /// Takes look-ups' answers from the registry, and has asked what is missing.
    #[must_use]
    pub fn with_lookups(
        mut self,
        registry: Arc<dyn Registry>,
        service: Arc<LookupService>,
    ) -> Self {
        self.answers = LookupAnswers::Asked { registry, service };
        self
    }

    /// Takes look-ups' answers from `bodies`: what the vendor would answer, by look-up; of a batch a list with
    /// one such object for each item.
    #[must_use]
    pub fn with_answers(mut self, bodies: serde_json::Value) -> Self {
        self.answers = LookupAnswers::Given(Arc::new(bodies));
        self
    }

    /// What becomes of one event where nothing else was heard of yet: a dry run at the moment of its receipt.
    /// Nothing is stored, nothing is sent.
    pub fn process(&self, event: &StoredEvent) -> Processed {
        let nothing = Memory::default();
        let mut view = View::new(&nothing);
        self.process_in(event, event.received_at, &mut view)
            .unwrap_or_else(|error| failed(error.to_string()))
    }

    /// What becomes of one event in view of the registries, at a moment. Its records are in the view afterwards.
    ///
    /// # Errors
    /// When the registries cannot be read. That is not the event's fault: it has to be processed again.
    pub fn process_in(
        &self,
        event: &StoredEvent,
        now: Timestamp,
        view: &mut View<'_>,
    ) -> Result<Processed, QueueError> {
        let (_, processed, _unasked) = self.work(event, &Former::default(), now, view)?;
        Ok(processed)
    }

    /// The same for an event of which a story was kept when it was processed before.
    ///
    /// # Errors
    /// When the registries cannot be read.
    pub fn process_again(
        &self,
        event: &StoredEvent,
        story: Option<&serde_json::Value>,
        now: Timestamp,
        view: &mut View<'_>,
    ) -> Result<Processed, QueueError> {
        let former = story.map(Former::of).unwrap_or_default();
        let (_, processed, _unasked) = self.work(event, &former, now, view)?;
        Ok(processed)
    }

    fn work(
        &self,
        event: &StoredEvent,
        former: &Former,
        now: Timestamp,
        view: &mut View<'_>,
    ) -> Result<Worked, QueueError> {
        view.begin();
        let mut looking = Looking::new(&self.answers, now);
        // Belt and braces: a mistake in our own code must cost one event, not the processor.
        let case = Case {
            event,
            spoke_of: &former.spoke_of,
            now,
            routes: &self.routes,
        };
        let examine = AssertUnwindSafe(|| self.examine(case, view, &mut looking));
        let processed = catch_unwind(examine);
        let mut processed = match processed {
            Ok(processed) => processed?,
            Err(_panic) => failed("reading it failed inside outcome-bridge".to_owned()),
        };
        let failed = processed.disposition == Some(Disposition::Failed);
        if failed {
            view.begin();
        }
        let knows_nothing = failed && processed.facts.is_empty() || looking.lacks_answers();
        if former.stands && knows_nothing {
            view.begin();
            processed = keeping(&processed);
        } else {
            view.take_back(event.id, &former.spoke_of, now)?;
        }
        (processed.records, processed.watches) = view.finish();
        processed.mark = event.mark;
        processed.destinations = self.routes.all_destinations();
        let jobs = looking.finish(&mut processed)?;
        Ok((event.id, processed, jobs))
    }

    fn examine(
        &self,
        case: Case<'_>,
        view: &mut View<'_>,
        looking: &mut Looking<'_>,
    ) -> Result<Processed, QueueError> {
        let event = case.event;
        if event.source.as_str() == SourceName::ADMIN {
            return case.by_hand(&self.sources, view);
        }
        match self.sources.get(&event.source) {
            Some(source) => case.by_rules(source, view, looking),
            None => Ok(failed(format!(
                "there is no source `{}` in the configuration",
                event.source
            ))),
        }
    }

    fn count(&self, event: &StoredEvent, processed: &Processed, took: Duration) {
        if let (Some(source), Some(disposition)) =
            (self.sources.get(&event.source), processed.disposition)
        {
            source.metrics.processed(disposition, took);
        }
    }

    /// Processes stored events until `shutdown`, then finishes the page at hand.
    ///
    /// # Errors
    /// When storage fails, for good. The events stay marked, a restart goes on with them.
    pub async fn run(
        self,
        queue: Arc<dyn Queue>,
        shutdown: CancellationToken,
    ) -> Result<(), QueueError> {
        while !shutdown.is_cancelled() {
            let arrived = queue.events_arrived();
            match self.turn(&queue).await {
                Ok(true) => {}
                Ok(false) => tokio::select! {
                    () = arrived => {}
                    () = shutdown.cancelled() => {}
                },
                Err(QueueError::Busy(why)) => {
                    tracing::warn!(why, "processing.waits: events stay marked and come again");
                    tokio::select! {
                        () = tokio::time::sleep(BUSY_AGAIN) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Answers whether there was anything to do.
    async fn turn(&self, queue: &Arc<dyn Queue>) -> Result<bool, QueueError> {
        let woken = queue.wake_due(PAGE).await?;
        Ok(self.step(queue).await? > 0 || woken > 0)
    }

    /// Processes one page. Answers how many events it took.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn step(&self, queue: &Arc<dyn Queue>) -> Result<usize, QueueError> {
        let events = queue.unprocessed(None, PAGE).await?;
        if events.is_empty() {
            return Ok(0);
        }
        let count = events.len();
        let mut former = Vec::with_capacity(count);
        for event in &events {
            former.push(known_before(queue, event).await);
        }
        let processor = self.clone();
        let registry = queue.registry();
        // Rules may take milliseconds for a large body, and registries read the disk: not on a thread that
        // serves sockets.
        let processed = tokio::task::spawn_blocking(move || {
            let mut view = View::new(&*registry);
            let mut process = |(event, former): (&StoredEvent, &Known)| {
                let started = Instant::now();
                let now = processor.clock.now();
                let former = former.as_ref().map_err(QueueError::clone)?;
                let worked = processor.work(event, former, now, &mut view)?;
                processor.count(event, &worked.1, started.elapsed());
                Ok::<_, QueueError>(worked)
            };
            let (mut taken, mut worked, mut put_off) = (Vec::new(), Vec::new(), None);
            for (event, former) in events.into_iter().zip(&former) {
                match process((&event, former)) {
                    Ok(done) => {
                        taken.push(event);
                        worked.push(done);
                    }
                    // What it reads cannot be read right now: it stays marked, and delays nobody.
                    Err(error @ QueueError::Busy(_)) => put_off = Some(error),
                    Err(error) => return Err(error),
                }
            }
            if let Some(error) = put_off.filter(|_| worked.is_empty()) {
                return Err(error);
            }
            let told = processor.told_calls(&taken, &worked);
            Ok((worked, told))
        })
        .await
        .map_err(|error| QueueError::Storage(error.to_string().into()))?;
        let (mut processed, told) = processed?;
        self.keep_calls(&told, &mut processed).await;
        let mut rest = Vec::with_capacity(count);
        let mut results = Vec::with_capacity(count);
        for (id, processed, jobs) in processed {
            rest.push((id, processed.mark, jobs));
            results.push((id, processed));
        }
        fault::pass(Point::EventDerived);
        let answers = queue.settle_events(results).await;
        fault::pass(Point::EventSettled);
        let mut busy = None;
        for ((id, mark, jobs), answer) in rest.into_iter().zip(answers) {
            match answer {
                // Only now: an answer that came before would find nobody who watches for it.
                Ok(()) => self.answers.ask(jobs),
                // It stays marked. What was settled beside it stands.
                Err(error @ QueueError::Busy(_)) => busy = Some(error),
                Err(error) => {
                    let mut failed = refused(error)?;
                    failed.mark = mark;
                    failed.keeps_former = !mark.is_first();
                    queue.settle_event(id, failed).await?;
                }
            }
        }
        busy.map_or(Ok(count), Err)
    }

    /// The calls among the facts of a page. What came by hand is not among them: whoever brought it has kept it.
    fn told_calls(&self, events: &[StoredEvent], page: &[Worked]) -> Vec<ToldCall> {
        let mut told = Vec::new();
        for (event, (_, processed, _)) in events.iter().zip(page) {
            let Some(source) = self.sources.get(&event.source) else {
                continue;
            };
            for fact in &processed.facts {
                if let Fact::Call(fact) = fact {
                    told.push(ToldCall {
                        event: event.id,
                        platform: source.connector.name.to_string(),
                        fact: fact.clone(),
                    });
                }
            }
        }
        told
    }

    /// Keeps the calls of a page. An event whose calls cannot be kept is settled all the same, since neither others nor its
    /// own outcomes have to wait for the book, and comes again.
    async fn keep_calls(&self, told: &[ToldCall], page: &mut [Worked]) {
        let Some(book) = &self.call_book else {
            return;
        };
        if told.is_empty() || book.record(told).await.is_ok() {
            return;
        }
        // One by one: the calls of one event may be what the book does not take.
        for calls in told.chunk_by(|one, other| one.event == other.event) {
            let Err(error) = book.record(calls).await else {
                continue;
            };
            let event = calls[0].event;
            tracing::error!(%event, error, "processing.calls_not_kept");
            let now = self.clock.now();
            let again = crate::registry::later(now, calls_again(event, now));
            for (_, processed, _) in page.iter_mut().filter(|(id, ..)| *id == event) {
                processed.wake_at = processed.wake_at.into_iter().chain([again]).min();
                processed
                    .reason
                    .push_str("; its calls are not in the outcome store yet: ");
                processed.reason.push_str(&error);
            }
        }
    }
}

fn calls_again(event: EventId, now: Timestamp) -> SignedDuration {
    let [shortest, longest] = CALLS_AGAIN;
    let now = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let age = i64::try_from(now.saturating_sub(event.millis())).unwrap_or(i64::MAX);
    SignedDuration::from_millis(age / 4).clamp(shortest, longest)
}

/// What is known of an event from when it was processed before. Most were not.
async fn known_before(queue: &Arc<dyn Queue>, event: &StoredEvent) -> Known {
    if event.mark.is_first() {
        return Ok(Former::default());
    }
    let detail = match queue.event_detail(event.id).await {
        Err(error @ QueueError::Busy(_)) => return Err(error),
        // A story that does not read says nothing: one event must not stop the others. When it is storage that
        // fails, settling says so.
        detail => detail.ok(),
    };
    let story = detail.and_then(|(_, story)| story);
    Ok(story.as_ref().map(Former::of).unwrap_or_default())
}

/// What to store instead when the queue does not take a result: the event's own fault must cost that event
/// and no other.
///
/// # Errors
/// When it is not the event's fault: storage failed, or the queue is closing.
fn refused(error: QueueError) -> Result<Processed, QueueError> {
    match error {
        QueueError::State(why) => Ok(failed(format!("its result cannot be stored: {why}"))),
        QueueError::Damaged(why) => Ok(failed(format!("its result cannot be stored: {why}"))),
        other => Err(other),
    }
}

/// A result that says nothing new: what the event led to before is better than nothing.
fn keeping(processed: &Processed) -> Processed {
    Processed {
        reason: format!("{}; what it led to before stays", processed.reason),
        keeps_former: true,
        disposition: processed.disposition,
        ..Processed::default()
    }
}

fn failed(reason: String) -> Processed {
    Processed {
        disposition: Some(Disposition::Failed),
        trace: Story {
            failed: Some(&reason),
            ..Story::default()
        }
        .to_json(),
        reason,
        ..Processed::default()
    }
}

/// A genuine event of another account: the vendor signs for all its customers with one key.
fn foreign(reason: String) -> Processed {
    Processed {
        disposition: Some(Disposition::Ignored),
        trace: Story {
            foreign: Some(&reason),
            ..Story::default()
        }
        .to_json(),
        reason,
        ..Processed::default()
    }
}

/// One event being processed.
#[derive(Clone, Copy)]
struct Case<'a> {
    event: &'a StoredEvent,
    /// The records that it spoke of when it was processed before.
    spoke_of: &'a [String],
    now: Timestamp,
    routes: &'a Routes,
}

/// What is known of an event before its facts go anywhere.
struct Found<'a> {
    disposition: Disposition,
    reason: String,
    facts: Vec<Fact>,
    /// How many of the facts each item of a batch gave; empty when the event is no batch.
    items: Vec<usize>,
    story: Story<'a>,
}

impl Case<'_> {
    /// An event whose facts its source's rules derive.
    fn by_rules(
        self,
        source: &Source,
        view: &mut View<'_>,
        looking: &mut Looking<'_>,
    ) -> Result<Processed, QueueError> {
        let rules = source.rules();
        let reading = Reading {
            rules: &rules.ruleset,
            setting: &source.settings,
            region: source.region,
        };
        let derived = source
            .inbound
            .derive(self.event, &reading, &mut |body, context| {
                looking.look_up(source, &rules.ruleset, body, context)
            });
        let (mut derivation, left_out) = match derived {
            Ok(Derived::Asked {
                derivation,
                left_out,
            }) => (derivation, left_out),
            Ok(Derived::Foreign(reason)) => return Ok(foreign(reason)),
            Err(error) => return Ok(failed(format!("the body cannot be read: {error}"))),
        };
        derivation.occurred_by(self.event.received_at);
        let found = Found {
            disposition: derivation.disposition,
            reason: derivation.reason,
            facts: derivation.facts,
            items: derivation.items,
            story: Story {
                rules: Some(&derivation.trace),
                lookups: looking.made(),
                foreign: left_out.as_deref(),
                ..Story::default()
            },
        };
        self.settle(found, &source.name, Some(source), &[], view)
    }

    /// An event of the source `admin`, which brings its facts along.
    fn by_hand(
        self,
        sources: &BTreeMap<SourceName, Arc<Source>>,
        view: &mut View<'_>,
    ) -> Result<Processed, QueueError> {
        let body = match AdminBody::parse(&self.event.body) {
            Ok(body) => body,
            Err(mistake) => return Ok(failed(format!("the body cannot be taken: {mistake}"))),
        };
        let ids_of = body.ids_of();
        let source = sources.get(&ids_of).map(|source| &**source);
        if body.source.is_some() && source.is_none() {
            return Ok(failed(format!(
                "there is no source `{ids_of}` in the configuration"
            )));
        }
        let facts = body.facts_of(self.event.id);
        let found = Found {
            disposition: Disposition::Mapped,
            reason: format!("{}: {} facts", body.by, facts.len()),
            facts,
            items: Vec::new(),
            story: Story {
                by: Some(&body.by),
                ..Story::default()
            },
        };
        self.settle(found, &ids_of, source, &body.at, view)
    }

    /// Puts facts into the registries, infers what nobody said, and routes all of it.
    fn settle(
        self,
        found: Found<'_>,
        ids_of: &SourceName,
        source: Option<&Source>,
        at: &[LaneAddress],
        view: &mut View<'_>,
    ) -> Result<Processed, QueueError> {
        let Found {
            disposition,
            reason,
            mut facts,
            items,
            mut story,
        } = found;
        let event = self.event;
        let platform = source.map_or(SourceName::ADMIN, |source| source.connector.name.as_str());
        let mut said = Contributions::of(&facts, event.id, ids_of.as_str(), platform);
        let topics = said.topics();
        story.spoke_of = &topics;
        said.take_back(self.spoke_of);
        view.contribute(event.id, said, self.now)?;
        let attendance = match source {
            Some(source) => attendance::infer(&facts, source, event, self.now, view)?,
            None => Attendance::default(),
        };
        let grace = source.map_or(jiff::SignedDuration::ZERO, |source| source.grace);
        let numbers = numbers(&facts, &items, &attendance);
        let inferred = attendance.inferred.iter();
        facts.extend(inferred.map(|(_, outcome)| Fact::Outcome(outcome.clone())));
        let arose_at = |outcome: &Outcome| match outcome.rule.as_str() {
            INFERRED => crate::registry::later(outcome.occurred_at, grace),
            _ => outcome.occurred_at.max(event.received_at),
        };
        let origin = Origin {
            event: event.id,
            received_at: event.received_at,
            now: self.now,
            ids_of,
            at,
            numbers: &numbers,
        };
        let routing = Routing::of(&mut facts, arose_at, self.routes, origin, view)?;
        let (disposition, reason) = conclude(disposition, reason, &facts, &routing);
        let reasons = [
            Some(reason),
            attendance.reason(),
            story.foreign.map(str::to_owned),
        ];
        story.routing = &routing.routed;
        story.withheld = &routing.withheld;
        story.attendance = &attendance.notes;
        Ok(Processed {
            disposition: Some(disposition),
            reason: reasons.into_iter().flatten().collect::<Vec<_>>().join("; "),
            trace: story.to_json(),
            wake_at: attendance.wake_at.into_iter().chain(routing.wake_at).min(),
            changes: routing.changes,
            facts,
            numbers,
            ..Processed::default()
        })
    }
}

/// The numbers of an event's outcomes. An item of a batch gives at most one, and one more may be inferred from its
/// appointment: those come behind all items.
fn numbers(facts: &[Fact], items: &[usize], attendance: &Attendance) -> OutcomeNumbers {
    let item_of: Vec<usize> = items
        .iter()
        .enumerate()
        .flat_map(|(item, facts)| std::iter::repeat_n(item, *facts))
        .collect();
    let outcomes = facts
        .iter()
        .zip(&item_of)
        .filter(|(fact, _)| matches!(fact, Fact::Outcome(_)));
    let inferred = attendance
        .inferred
        .iter()
        .filter_map(|(fact, _)| Some(items.len() + item_of.get(*fact)?));
    let numbers = outcomes.map(|(_, item)| *item).chain(inferred);
    OutcomeNumbers(numbers.filter_map(|n| u16::try_from(n).ok()).collect())
}

/// The disposition after routing: an outcome that waits for its address makes the event wait; one that no
/// destination can address for good is `unmatched`; one that only some can address stays `mapped`. The reason
/// names the others. An event that waits for a look-up goes on waiting; what the rest of it lacks is told, too.
fn conclude(
    disposition: Disposition,
    reason: String,
    facts: &[Fact],
    routing: &Routing,
) -> (Disposition, String) {
    if !matches!(disposition, Disposition::Mapped | Disposition::Waiting) {
        return (disposition, reason);
    }
    let goes_somewhere = |f: &Fact| !matches!(f, Fact::Appointment(_) | Fact::Call(_));
    if facts.iter().any(goes_somewhere) && routing.routed.is_empty() {
        let why = match routing.withheld.first() {
            Some(withheld) => format!(
                "no route takes it: to {}, {}",
                withheld.destination, withheld.why
            ),
            None => "no route leads to a destination".to_owned(),
        };
        return (disposition, format!("{reason}; {why}"));
    }
    let (waiting, unresolved) = (routing.waiting(), routing.unresolved());
    let lacking = match unresolved.as_str() {
        "" => String::new(),
        unresolved => format!("; no address at {unresolved}"),
    };
    if !waiting.is_empty() {
        let reason = format!("{reason}; waits for an address at {waiting}{lacking}");
        return (Disposition::Waiting, reason);
    }
    let is_final = |routed: &Routed| routed.target.is_some() && !routed.provisional;
    let settled = unresolved.is_empty()
        || routing.routed.iter().any(is_final)
        || !facts.iter().all(goes_somewhere);
    let disposition = match settled || disposition == Disposition::Waiting {
        true => disposition,
        false => Disposition::Unmatched,
    };
    (disposition, format!("{reason}{lacking}"))
}
