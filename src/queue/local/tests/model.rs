//! Random histories against a small model: whatever happens in between (answers lost, lanes
//! overtaken, replays, crashes of the process), in the end each target holds its lane's truth, the
//! counters are right, and a rebuilt index equals the one that was there.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::model::{OutcomeId, Precedence, VerdictKind};
use crate::queue::contract::attempt;
use crate::truth::{self, Entry, Revision, Withdrawal, Withdrawn};

const LANES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Say {
        lane: usize,
        kind: usize,
        at: i64,
    },
    Again {
        event: usize,
        lane: usize,
        kind: usize,
        at: i64,
    },
    Retract {
        lane: usize,
        kind: usize,
        at: i64,
    },
    Claim,
    /// What the target did with the oldest request in flight, and what we heard of it.
    Finish {
        applied: bool,
        end: End,
    },
    Kill {
        applied: bool,
    },
    Redrive,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Delivered,
    Retry,
    Released,
    Dead,
}

fn step() -> impl Strategy<Value = Step> {
    let fact = || (0..LANES, 0..5usize, 0..12i64);
    let end = prop_oneof![
        4 => Just(End::Delivered), 2 => Just(End::Retry),
        1 => Just(End::Released), 1 => Just(End::Dead),
    ];
    prop_oneof![
        6 => fact().prop_map(|(lane, kind, at)| Step::Say { lane, kind, at }),
        2 => (any::<usize>(), fact())
            .prop_map(|(event, (lane, kind, at))| Step::Again { event, lane, kind, at }),
        2 => fact().prop_map(|(lane, kind, at)| Step::Retract { lane, kind, at }),
        5 => Just(Step::Claim),
        5 => (any::<bool>(), end).prop_map(|(applied, end)| Step::Finish { applied, end }),
        1 => any::<bool>().prop_map(|applied| Step::Kill { applied }),
        1 => Just(Step::Redrive),
    ]
}

/// Kind and moment of what a target was told last.
type Told = Option<(OutcomeKind, Timestamp)>;

struct World {
    clock: Clock,
    queue: Option<LocalQueue>,
    /// What each event says: its lane and entry.
    said: BTreeMap<EventId, (usize, Entry)>,
    targets: [Told; LANES],
    in_flight: Vec<Claim>,
    events: u64,
}

impl World {
    fn queue(&self) -> &LocalQueue {
        self.queue.as_ref().unwrap()
    }

    async fn say(&mut self, id: EventId, lane: usize, kind: usize, at: i64) {
        let kind = OutcomeKind::ALL[kind];
        let outcome = outcome(id, kind, at);
        let occurred_at = outcome.occurred_at;
        let changes = vec![change("crm-a", &lane.to_string(), Change::Outcome(0))];
        let processed = mapped(vec![Fact::Outcome(outcome)], changes);
        self.queue().settle_event(id, processed).await.unwrap();
        let revision = Revision {
            outcome: OutcomeId {
                event: id,
                ordinal: 0,
            },
            kind,
            basis: crate::model::Basis::Reported,
            occurred_at,
            origin: 0,
            fingerprint: 0,
            not_before: None,
        };
        self.said.insert(id, (lane, Entry::Outcome(revision)));
    }

    async fn new_event(&mut self) -> EventId {
        self.events += 1;
        accept(self.queue(), self.events).await
    }

    async fn retract(&mut self, lane: usize, kind: usize, at: i64) {
        let id = self.new_event().await;
        let (kind, up_to) = (
            OutcomeKind::ALL[kind],
            start() + SignedDuration::from_secs(at),
        );
        let retract = Change::Retract(kind, up_to);
        let changes = vec![change("crm-a", &lane.to_string(), retract)];
        let processed = mapped(Vec::new(), changes);
        self.queue().settle_event(id, processed).await.unwrap();
        let withdrawal = Withdrawal {
            event: id,
            what: Withdrawn::Kind(kind),
            up_to,
            origin: 0,
        };
        self.said.insert(id, (lane, Entry::Withdrawal(withdrawal)));
    }

    async fn claim(&mut self) -> usize {
        let destination = DestinationName::new("crm-a").unwrap();
        let claims = self.queue().claim(&destination, 2).await.unwrap();
        let lanes = |all: &[Claim]| all.iter().map(|c| c.target.clone()).collect::<Vec<_>>();
        let busy = lanes(&self.in_flight);
        assert!(lanes(&claims).iter().all(|lane| !busy.contains(lane)));
        let count = claims.len();
        self.in_flight.extend(claims);
        count
    }

    fn apply(&mut self, claim: &Claim) {
        let lane: usize = claim.target.parse().unwrap();
        let told = claim.outcome.as_ref();
        self.targets[lane] = told.map(|o| (o.outcome.kind, o.outcome.occurred_at));
    }

    async fn finish(&mut self, applied: bool, end: End) {
        if self.in_flight.is_empty() {
            return;
        }
        let claim = self.in_flight.remove(0);
        // A refusal and a release say that the target did nothing.
        if matches!(end, End::Delivered) || (applied && matches!(end, End::Retry)) {
            self.apply(&claim);
        }
        let number = claim.attempts + 1;
        let settlement = match end {
            End::Delivered => delivered(number),
            End::Retry => Settlement::Retry {
                attempt: attempt(number, VerdictKind::Retry),
                due_at: self.clock.now() + SignedDuration::from_secs(5),
            },
            End::Released => Settlement::Released { due_at: None },
            End::Dead => Settlement::DeadLetter {
                attempt: Some(attempt(number, VerdictKind::Refused)),
                reason: "refused".into(),
            },
        };
        self.queue()
            .settle(claim.delivery, settlement)
            .await
            .unwrap();
    }

    fn reopen(&mut self, dir: &Path) -> OpenReport {
        self.queue = None;
        let (queue, report) = LocalQueue::open(options(dir, &self.clock)).unwrap();
        self.queue = Some(queue);
        report
    }

    async fn redrive(&mut self) {
        let filter = DeliveryFilter {
            state: Some(crate::model::DeliveryState::DeadLetter),
            ..DeliveryFilter::default()
        };
        let dead = self.queue().deliveries(filter, PageRequest::first(1000));
        for view in dead.await.unwrap().items {
            let redriven = self.queue().operate(view.id, Operation::Redrive);
            redriven.await.unwrap();
        }
    }

    async fn step(&mut self, dir: &Path, step: Step) {
        match step {
            Step::Say { lane, kind, at } => {
                let id = self.new_event().await;
                self.say(id, lane, kind, at).await;
            }
            Step::Again {
                event,
                lane,
                kind,
                at,
            } => {
                let known: Vec<EventId> = self.said.keys().copied().collect();
                if let Some(id) = known.get(event % known.len().max(1)) {
                    self.queue().replay(vec![*id]).await.unwrap();
                    self.say(*id, lane, kind, at).await;
                }
            }
            Step::Retract { lane, kind, at } => self.retract(lane, kind, at).await,
            Step::Claim => {
                self.claim().await;
            }
            Step::Finish { applied, end } => self.finish(applied, end).await,
            Step::Kill { applied } => {
                for claim in std::mem::take(&mut self.in_flight) {
                    if applied {
                        self.apply(&claim);
                    }
                }
                let report = self.reopen(dir);
                assert!(!report.rebuilt, "{report:?}");
            }
            Step::Redrive => self.redrive().await,
        }
    }

    /// Everything that can be delivered is.
    async fn drain(&mut self) {
        while !self.in_flight.is_empty() {
            self.finish(true, End::Delivered).await;
        }
        self.redrive().await;
        let later = self.clock.now() + SignedDuration::from_hours(1);
        self.clock.set(later);
        while self.claim().await > 0 {
            while !self.in_flight.is_empty() {
                self.finish(true, End::Delivered).await;
            }
        }
    }

    fn check(&self) {
        for lane in 0..LANES {
            let here = self.said.values().filter(|(at, _)| *at == lane);
            let entries: Vec<Entry> = here.map(|(_, entry)| entry.clone()).collect();
            if let Some(truth) = truth::current(&entries, Precedence::FinalFirst) {
                let expected = Some((truth.kind, truth.occurred_at));
                assert_eq!(self.targets[lane], expected, "lane {lane}: {entries:?}");
            }
        }
        let stats = self.queue().stats();
        assert_eq!((stats.events, stats.unprocessed), (self.events, 0));
        let depth = stats.destinations.get("crm-a").cloned().unwrap_or_default();
        assert_eq!((depth.open, depth.dead_letters), (0, 0));
    }
}

async fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World {
        clock: Clock::manual(start()),
        queue: None,
        said: BTreeMap::new(),
        targets: [None; LANES],
        in_flight: Vec::new(),
        events: 0,
    };
    world.reopen(dir.path());
    for step in steps {
        world.step(dir.path(), step).await;
    }
    world.drain().await;
    world.check();
    let dump = world.queue().dump().unwrap();
    world.queue = None;
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    world.reopen(dir.path());
    assert_eq!(world.queue().dump().unwrap(), dump);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn in_the_end_every_target_holds_its_truth(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}
