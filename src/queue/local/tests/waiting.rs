//! Random histories of events that read what other events write: whatever comes first, whatever is changed,
//! replayed or killed in between, in the end each event says what the final registries make of it, each
//! target holds its truth, and a line was told each change of each event once.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::model::{DeliveryState, Disposition, Mode, OutcomeId, Precedence, VerdictKind};
use crate::queue::contract::attempt;
use crate::queue::{LaneChange, Order, Place, RegistryKey, Watch};
use crate::truth::{self, Entry, Revision};

/// Records that events write; as many follow that look-ups write.
const FACTS: u64 = 3;
const LANES: u64 = 2;

#[derive(Debug, Clone)]
enum What {
    /// Raises a record's value.
    Fact { key: u64, value: i64 },
    /// Says what a record's value makes of it.
    Read { key: u64 },
    /// Says what the newest record near a phone makes of it.
    Find { phone: u64, from: i64, to: i64 },
    /// Says something when its moment has come.
    Sleep { until: i64 },
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(What, u64, Mode),
    LookUp { key: u64, value: i64 },
    Begin,
    End,
    Replay(usize),
    Tick(i64),
    Claim,
    Finish(bool),
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        3 => (0..FACTS, 0..12i64).prop_map(|(key, value)| What::Fact { key, value }),
        3 => (0..2 * FACTS).prop_map(|key| What::Read { key }),
        3 => (0..2u64, 0..12i64, 0..12i64).prop_map(|(phone, from, to)| What::Find { phone, from, to }),
        1 => (0..40i64).prop_map(|until| What::Sleep { until }),
    ];
    let mode = prop_oneof![Just(Mode::Newest), Just(Mode::Each)];
    prop_oneof![
        6 => (what, 0..LANES, mode).prop_map(|(what, lane, mode)| Step::Arrive(what, lane, mode)),
        2 => (FACTS..2 * FACTS, 0..12i64).prop_map(|(key, value)| Step::LookUp { key, value }),
        4 => Just(Step::Begin),
        4 => Just(Step::End),
        1 => any::<usize>().prop_map(Step::Replay),
        1 => (0..20i64).prop_map(Step::Tick),
        3 => Just(Step::Claim),
        3 => any::<bool>().prop_map(Step::Finish),
        1 => Just(Step::Kill),
    ]
}

fn key(n: u64) -> RegistryKey {
    RegistryKey::of(&["record", &n.to_string()])
}

fn phone(n: u64) -> RegistryKey {
    RegistryKey::of(&["phone", &(n % 2).to_string()])
}

fn at(second: i64) -> Timestamp {
    start() + SignedDuration::from_secs(second)
}

fn record(n: u64, value: i64) -> Record {
    Record {
        key: key(n),
        value: value.to_string().into(),
        places: vec![Place {
            key: phone(n),
            at: at(value),
        }],
        keep_until: at(1_000_000),
    }
}

/// The registries, with what is written but not settled yet laid over them.
struct View<'a> {
    registry: Arc<dyn Registry>,
    written: &'a BTreeMap<u64, i64>,
}

impl View<'_> {
    fn value(&self, n: u64) -> Option<i64> {
        let stored = || {
            let value = self.registry.record(&key(n)).unwrap()?;
            Some(std::str::from_utf8(&value).unwrap().parse().unwrap())
        };
        self.written.get(&n).copied().or_else(stored)
    }

    /// The newest value among the records of a phone.
    fn find(&self, of: u64, from: i64, to: i64) -> Option<i64> {
        let found = self
            .registry
            .find(&phone(of), at(from), at(to), Order::Newest, 100)
            .unwrap();
        let stored = (0..2 * FACTS).filter(|n| {
            !self.written.contains_key(n) && found.iter().any(|(_, record)| *record == key(*n))
        });
        let written = self.written.keys().copied();
        let here = stored
            .chain(written)
            .filter(|n| n % 2 == of)
            .filter_map(|n| self.value(n));
        here.filter(|value| (from..=to).contains(value)).max()
    }
}

struct World {
    clock: Clock,
    queue: Option<LocalQueue>,
    events: BTreeMap<EventId, (What, u64, Mode)>,
    /// What look-ups and facts came to.
    known: BTreeMap<u64, i64>,
    processing: Vec<(EventId, Processed)>,
    in_flight: Vec<Claim>,
    /// What targets were told, by whom.
    told: BTreeMap<String, Vec<(EventId, Option<i64>)>>,
}

impl World {
    fn queue(&self) -> &LocalQueue {
        self.queue.as_ref().unwrap()
    }

    /// What an event says, given what is known.
    fn says(what: &What, view: &View<'_>, now: Timestamp) -> Option<i64> {
        match what {
            What::Fact { .. } => None,
            What::Read { key } => view.value(*key),
            What::Find { phone, from, to } => view.find(*phone, *from, *to),
            What::Sleep { until } => (now >= at(*until)).then_some(*until),
        }
    }

    fn process(&self, event: &StoredEvent, written: &mut BTreeMap<u64, i64>) -> Processed {
        let (what, lane, mode) = &self.events[&event.id];
        let view = View {
            registry: self.queue().registry(),
            written,
        };
        let said = Self::says(what, &view, self.clock.now());
        let mut processed = match said {
            None => Processed {
                disposition: Some(Disposition::Waiting),
                ..Processed::default()
            },
            Some(value) => {
                let kind = OutcomeKind::ALL[value as usize % 5];
                let target = format!("{lane} {mode:?}");
                let line = LaneChange {
                    mode: *mode,
                    can_clear: true,
                    ..change("crm-a", &target, Change::Outcome(0))
                };
                mapped(
                    vec![Fact::Outcome(outcome(event.id, kind, value))],
                    vec![line],
                )
            }
        };
        processed.mark = event.mark;
        match what {
            What::Fact { key: n, value } => {
                let value = view.value(*n).map_or(*value, |known| known.max(*value));
                processed.watches = vec![Watch::record(key(*n))];
                processed.records = vec![record(*n, value)];
                written.insert(*n, value);
            }
            What::Read { key: n } => processed.watches = vec![Watch::record(key(*n))],
            What::Find { phone: n, from, to } => {
                processed.watches = vec![Watch::places(phone(*n), at(*from), at(*to))];
            }
            What::Sleep { until } => {
                processed.wake_at = (self.clock.now() < at(*until)).then(|| at(*until));
            }
        }
        processed
    }

    async fn begin(&mut self) {
        let page = self.queue().unprocessed(None, 4).await.unwrap();
        let mut written = BTreeMap::new();
        self.processing = page
            .iter()
            .map(|event| (event.id, self.process(event, &mut written)))
            .collect();
    }

    async fn end(&mut self) {
        let processed = std::mem::take(&mut self.processing);
        let settled = self.queue().settle_events(processed).await;
        assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    }

    async fn look_up(&mut self, n: u64, value: i64) {
        let known = self.known.entry(n).or_insert(value);
        *known = value.max(*known);
        let record = record(n, *known);
        self.queue().put_records(vec![record]).await.unwrap();
    }

    async fn claim(&mut self) -> usize {
        let to = DestinationName::new("crm-a").unwrap();
        let claims = self.queue().claim(&to, 2).await.unwrap();
        let count = claims.len();
        self.in_flight.extend(claims);
        count
    }

    async fn finish(&mut self, accepted: bool) {
        if self.in_flight.is_empty() {
            return;
        }
        let claim = self.in_flight.remove(0);
        let number = claim.attempts + 1;
        let settlement = if accepted {
            let second =
                |o: &StoredOutcome| o.outcome.occurred_at.duration_since(start()).as_secs();
            let told = (claim.delivery.event, claim.outcome.as_ref().map(second));
            self.told.entry(claim.target).or_default().push(told);
            delivered(number)
        } else {
            Settlement::DeadLetter {
                attempt: Some(attempt(number, VerdictKind::Refused)),
                reason: "refused".into(),
            }
        };
        let settled = self.queue().settle(claim.delivery, settlement);
        settled.await.unwrap();
    }

    fn reopen(&mut self, dir: &Path) {
        self.queue = None;
        self.processing.clear();
        self.in_flight.clear();
        let (queue, report) = LocalQueue::open(options(dir, &self.clock)).unwrap();
        assert!(!report.rebuilt, "{report:?}");
        self.queue = Some(queue);
    }

    async fn step(&mut self, dir: &Path, step: Step) {
        match step {
            Step::Arrive(what, lane, mode) => {
                let id = accept(self.queue(), self.events.len() as u64).await;
                if let What::Fact { key, value } = what {
                    let known = self.known.entry(key).or_insert(value);
                    *known = value.max(*known);
                }
                self.events.insert(id, (what, lane, mode));
            }
            Step::LookUp { key, value } => self.look_up(key, value).await,
            Step::Begin => self.begin().await,
            Step::End => self.end().await,
            Step::Replay(n) => {
                let ids: Vec<EventId> = self.events.keys().copied().collect();
                if let Some(id) = ids.get(n % ids.len().max(1)) {
                    self.queue().replay(vec![*id]).await.unwrap();
                }
            }
            Step::Tick(seconds) => {
                let now = self.clock.now() + SignedDuration::from_secs(seconds);
                self.clock.set(now);
                self.queue().wake_due(100).await.unwrap();
            }
            Step::Claim => {
                self.claim().await;
            }
            Step::Finish(accepted) => self.finish(accepted).await,
            Step::Kill => self.reopen(dir),
        }
    }

    /// Processes until nothing is left to do.
    async fn come_to_rest(&mut self) {
        self.end().await;
        self.clock.set(at(1000));
        while self.queue().wake_due(2).await.unwrap() > 0 {}
        for _round in 0..1000 {
            if self.queue().unprocessed(None, 1).await.unwrap().is_empty() {
                return;
            }
            self.begin().await;
            self.end().await;
        }
        panic!("events wake each other for ever");
    }

    async fn deliver_all(&mut self) {
        let filter = DeliveryFilter {
            state: Some(DeliveryState::DeadLetter),
            ..DeliveryFilter::default()
        };
        while !self.in_flight.is_empty() {
            self.finish(true).await;
        }
        let dead = self.queue().deliveries(filter, PageRequest::first(1000));
        for view in dead.await.unwrap().items {
            let redriven = self.queue().operate(view.id, Operation::Redrive);
            redriven.await.unwrap();
        }
        while self.claim().await > 0 {
            while !self.in_flight.is_empty() {
                self.finish(true).await;
            }
        }
    }

    async fn check(&self) {
        let final_view = View {
            registry: self.queue().registry(),
            written: &BTreeMap::new(),
        };
        for n in 0..2 * FACTS {
            assert_eq!(final_view.value(n), self.known.get(&n).copied());
        }
        let mut lanes: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for (id, (what, lane, mode)) in &self.events {
            let expected = Self::says(what, &final_view, self.clock.now());
            let outcomes = self.queue().outcomes_of(*id).await.unwrap();
            let said = outcomes.first().map(|o| o.outcome.occurred_at);
            assert_eq!(said, expected.map(at), "{id} {what:?}");
            let target = format!("{lane} {mode:?}");
            if *mode == Mode::Each {
                self.check_told(&target, *id, expected);
            } else if let Some(second) = expected {
                let revision = revision(*id, second);
                lanes
                    .entry(target)
                    .or_default()
                    .push(Entry::Outcome(revision));
            }
        }
        for (target, entries) in lanes {
            let truth = truth::current(&entries, Precedence::FinalFirst).unwrap();
            let held = self.told[&target].last().unwrap().1;
            assert_eq!(held.map(at), Some(truth.occurred_at), "{target}");
        }
        let depth = &self.queue().stats().destinations;
        assert!(
            depth
                .values()
                .all(|depth| (depth.open, depth.dead_letters) == (0, 0))
        );
    }

    /// A line heard each change of an event once, the last one last.
    fn check_told(&self, target: &str, id: EventId, expected: Option<i64>) {
        let all = self.told.get(target).map_or(&[][..], Vec::as_slice);
        let told: Vec<Option<i64>> = all
            .iter()
            .filter(|(event, _)| *event == id)
            .map(|(_, said)| *said)
            .collect();
        assert_eq!(told.last().copied().flatten(), expected, "{id} {told:?}");
        let again = told
            .windows(2)
            .any(|two| two[0] == two[1] && two[0].is_some());
        assert!(!again, "{id} {told:?}");
    }
}

fn revision(id: EventId, second: i64) -> Revision {
    Revision {
        outcome: OutcomeId {
            event: id,
            ordinal: 0,
        },
        kind: OutcomeKind::ALL[second as usize % 5],
        basis: crate::model::Basis::Reported,
        occurred_at: at(second),
        origin: 0,
        fingerprint: 0,
        not_before: None,
    }
}

async fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World {
        clock: Clock::manual(start()),
        queue: None,
        events: BTreeMap::new(),
        known: BTreeMap::new(),
        processing: Vec::new(),
        in_flight: Vec::new(),
        told: BTreeMap::new(),
    };
    world.reopen(dir.path());
    for step in steps {
        world.step(dir.path(), step).await;
    }
    assert_nothing_is_loose(world.queue());
    world.come_to_rest().await;
    world.deliver_all().await;
    world.check().await;
    assert_nothing_is_loose(world.queue());
    let dump = world.queue().dump().unwrap();
    world.queue = None;
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (queue, _) = LocalQueue::open(options(dir.path(), &world.clock)).unwrap();
    assert_eq!(queue.dump().unwrap(), dump);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn in_the_end_each_event_says_what_the_registries_make_of_it(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}
