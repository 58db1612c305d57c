//! A processor over a real queue in a directory of its own, with a clock that stands still.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::config::Env;
use crate::model::{
    AppointmentChange, AppointmentFact, Basis, CallChange, CallFact, DestinationName, Disposition,
    EventId, Fact, Outcome, OutcomeKind, Retraction, SourceName, Subject, parse_phone,
};
use crate::processing::Processor;
use crate::processing::admin_event::AdminBody;
use crate::queue::contract::{delivered, retry};
use crate::queue::local::{LocalOptions, LocalQueue, SyncMode};
use crate::queue::{Acceptance, Claim, EventSummary, Queue};
use crate::setup::Blueprint;

/// Two calendars, a CRM and a voice platform; one destination that knows calls only and, besides it, the store.
const CONFIG: &str = r#"
[sources.cal]
connector = "standard-webhooks"
signing_secret = "whsec_dGhlLXRlYW0ncy1vd24tc2VjcmV0LTMyLWJ5dGVz"
[sources.other-cal]
connector = "standard-webhooks"
signing_secret = "whsec_dGhlLXRlYW0ncy1vd24tc2VjcmV0LTMyLWJ5dGVz"
infer_shown = false
[sources.crm]
connector = "standard-webhooks"
signing_secret = "whsec_dGhlLXRlYW0ncy1vd24tc2VjcmV0LTMyLWJ5dGVz"
[sources.voice]
connector = "standard-webhooks"
signing_secret = "whsec_dGhlLXRlYW0ncy1vd24tc2VjcmV0LTMyLWJ5dGVz"
[destinations.calls]
connector = "change-outcome"
token = "t"
base_url = "http://127.0.0.1:9"
"#;

pub(super) const STORE: &str = "outcome-store";
pub(super) const CALLS: &str = "calls";

/// What a target was told last: kind, moment and value.
pub(super) type Told = (OutcomeKind, Timestamp, Option<String>);

pub(super) struct World {
    pub clock: Clock,
    home: TempDir,
    processor: Processor,
    queue: Option<Arc<dyn Queue>>,
    /// What each target of each destination was told last.
    pub targets: BTreeMap<(String, String), Told>,
}

/// How a request ends.
enum Answer {
    /// It arrives, and so does its answer.
    Good,
    /// It does not arrive.
    None,
    /// It arrives, its answer does not.
    Lost,
    /// It arrives, and nobody is there to hear the answer.
    Unheard,
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn processor(home: &TempDir, clock: &Clock, config: &str) -> Processor {
    let file = home.path().join("outcome-bridge.toml");
    std::fs::write(&file, config).unwrap();
    let blueprint = Blueprint::load(&file, &Env::default()).unwrap().blueprint;
    Processor::new(blueprint.sources, blueprint.routes, clock.clone())
}

/// Minutes after the world began.
pub(super) fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        Self::with("")
    }

    /// A world with more configuration.
    pub(super) fn with(more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = Clock::manual(minute(0));
        let processor = processor(&home, &clock, &format!("{CONFIG}{more}"));
        let mut world = Self {
            clock,
            home,
            processor,
            queue: None,
            targets: BTreeMap::new(),
        };
        world.restart();
        world
    }

    /// Goes on with another configuration: the first one, changed.
    pub(super) fn configure(&mut self, change: impl Fn(&str) -> String) {
        self.processor = processor(&self.home, &self.clock, &change(CONFIG));
    }

    /// Stops without a word and starts again.
    pub(super) fn restart(&mut self) {
        self.queue = None;
        let options = LocalOptions {
            min_free_disk_bytes: 0,
            sync: SyncMode::Off,
            clock: self.clock.clone(),
            ..LocalOptions::new(self.home.path().join("data"))
        };
        let (queue, _) = LocalQueue::open(options).unwrap();
        self.queue = Some(Arc::new(queue));
    }

    pub(super) fn queue(&self) -> &Arc<dyn Queue> {
        self.queue.as_ref().unwrap()
    }

    /// Stores an event with these facts of `source`; the same again is a repeat.
    pub(super) async fn hear(&self, source: &str, facts: Vec<Fact>) -> EventId {
        let body = AdminBody::new("test", facts).on_behalf_of(SourceName::new(source).unwrap());
        self.accept(body).await
    }

    pub(super) async fn accept(&self, body: AdminBody) -> EventId {
        let event = body.into_event(self.clock.now()).unwrap();
        match self.queue().commit_event(event).await.unwrap() {
            Acceptance::Accepted(id) | Acceptance::Duplicate(id) => id,
        }
    }

    /// Processes one page.
    pub(super) async fn step(&self) -> usize {
        let woken = self.queue().wake_due(100).await.unwrap();
        woken + self.processor.step(self.queue()).await.unwrap()
    }

    /// Processes until nothing is left to do, and brings every delivery that is due.
    pub(super) async fn settle(&mut self) {
        let mut rounds = 0;
        while self.step().await > 0 {
            rounds += 1;
            assert!(rounds < 500, "events wake each other for ever");
        }
        self.deliver().await;
    }

    pub(super) async fn deliver(&mut self) {
        self.deliver_with(|_| Answer::Good).await;
    }

    /// An outage: nothing that is due gets through now. Some requests arrive all the same, and only their answer
    /// is lost.
    pub(super) async fn fail(&mut self) {
        self.deliver_with(|n| {
            if n % 2 == 0 {
                Answer::None
            } else {
                Answer::Lost
            }
        })
        .await;
    }

    /// A crash in the middle of deliveries: requests have gone out, and nobody notes how they ended.
    pub(super) async fn crash(&mut self) {
        self.deliver_with(|_| Answer::Unheard).await;
        self.restart();
    }

    async fn deliver_with(&mut self, answer: impl Fn(usize) -> Answer) {
        for name in [STORE, CALLS] {
            let destination = DestinationName::new(name).unwrap();
            let mut number = 0;
            loop {
                let claims = self.queue().claim(&destination, 50).await.unwrap();
                if claims.is_empty() {
                    break;
                }
                for claim in claims {
                    number += 1;
                    let answer = answer(number);
                    if !matches!(answer, Answer::None) {
                        self.tell(name, &claim);
                    }
                    let attempts = claim.attempts + 1;
                    let settlement = match answer {
                        Answer::Good => delivered(attempts),
                        Answer::None | Answer::Lost => {
                            let later = self.clock.now() + SignedDuration::from_mins(5);
                            retry(attempts, later)
                        }
                        Answer::Unheard => continue,
                    };
                    let settled = self.queue().settle(claim.delivery, settlement);
                    settled.await.unwrap();
                }
            }
        }
    }

    /// A request reaches its target.
    fn tell(&mut self, destination: &str, claim: &Claim) {
        let key = (destination.to_owned(), claim.target.clone());
        match &claim.outcome {
            Some(stored) => {
                let outcome = &stored.outcome;
                let value = outcome.value.as_ref().map(|v| v.amount.to_string());
                let told = (outcome.kind, outcome.occurred_at, value);
                self.targets.insert(key, told);
            }
            None => {
                self.targets.remove(&key);
            }
        }
    }

    pub(super) async fn event(&self, id: EventId) -> EventSummary {
        self.queue().event_detail(id).await.unwrap().0
    }

    pub(super) async fn trace(&self, id: EventId) -> Value {
        self.queue().event_detail(id).await.unwrap().1.unwrap()
    }

    pub(super) async fn disposition(&self, id: EventId) -> Disposition {
        self.event(id).await.disposition
    }

    /// What the targets of a destination hold: `target` to the word of its outcome.
    pub(super) fn held(&self, destination: &str) -> Vec<(&str, &'static str)> {
        let of = self
            .targets
            .iter()
            .filter(|((name, _), _)| name == destination);
        of.map(|((_, target), (kind, ..))| (target.as_str(), kind.as_str()))
            .collect()
    }
}

/// A subject from `key=value` words.
pub(super) fn subject(words: &str) -> Subject {
    let mut subject = Subject::default();
    for (key, value) in words
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
    {
        let text = Some(value.to_owned());
        match key {
            "call" => subject.call_id = text,
            "phone" => subject.phone = Some(parse_phone(value, None).unwrap()),
            "email" => subject.email = text,
            "booking" => subject.booking_id = text,
            "deal" => subject.deal_id = text,
            "contact" => subject.contact_id = text,
            "agent" => subject.agent_id = text,
            other => panic!("no such part of a subject: {other}"),
        }
    }
    subject
}

pub(super) fn outcome(kind: OutcomeKind, about: &str, at: i64) -> Fact {
    Fact::Outcome(Outcome {
        kind,
        label: None,
        value: None,
        notes: None,
        metadata: Map::new(),
        subject: subject(about),
        occurred_at: minute(at),
        basis: Basis::Reported,
        source: SourceName::new("cal").unwrap(),
        event: EventId(0),
        rule: "test".to_owned(),
    })
}

pub(super) fn retraction(kind: OutcomeKind, about: &str, at: i64) -> Fact {
    Fact::Retraction(Retraction {
        kind,
        subject: subject(about),
        occurred_at: minute(at),
        rule: "test".to_owned(),
    })
}

/// A change of an appointment; `times` are the minutes of its start and end.
pub(super) fn appointment(
    change: AppointmentChange,
    about: &str,
    at: i64,
    times: Option<(i64, i64)>,
) -> Fact {
    Fact::Appointment(AppointmentFact {
        change,
        subject: subject(about),
        occurred_at: minute(at),
        start: times.map(|(start, _)| minute(start)),
        end: times.map(|(_, end)| minute(end)),
        metadata: Map::new(),
        rule: "test".to_owned(),
    })
}

/// A move of `old` to the booking that `about` names.
pub(super) fn moved(old: &str, about: &str, at: i64, times: Option<(i64, i64)>) -> Fact {
    let mut fact = appointment(AppointmentChange::Rescheduled, about, at, times);
    if let Fact::Appointment(fact) = &mut fact {
        fact.metadata
            .insert("old_booking_id".to_owned(), old.into());
    }
    fact
}

pub(super) fn call(about: &str, at: i64) -> Fact {
    Fact::Call(CallFact {
        change: CallChange::Started,
        subject: subject(about),
        occurred_at: minute(at),
        start: None,
        end: None,
        metadata: Map::new(),
        rule: "test".to_owned(),
    })
}

/// Moves the clock to a minute of the world.
pub(super) fn set(world: &World, minutes: i64) {
    world.clock.set(minute(minutes));
}

pub(super) const DAY: i64 = 24 * 60;
