//! Random histories against a small model: whatever happens in between (answers lost, lanes
//! overtaken, replays, operators, retention, stops and crashes of the process, which also end every
//! lease), in the end each target holds its lane's truth, the counters are right, and a rebuilt index
//! equals the one that was there.
//!
//! `OUTCOME_BRIDGE_MODEL_CASES=5000` tries so many histories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::model::{DeliveryState, OutcomeId, Precedence, VerdictKind};
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
    /// An orderly stop, with requests in flight that nobody hears of any more.
    Stop {
        applied: bool,
    },
    Redrive,
    /// A delivery that was delivered is sent again, if that still makes sense.
    Resend {
        which: usize,
    },
    /// A dead letter is given up for good.
    Discard {
        which: usize,
    },
    /// Time passes: what is to be tried again falls due.
    Pass {
        seconds: i64,
    },
    /// Retention: events older than this many seconds go.
    Prune {
        seconds: i64,
    },
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
        1 => any::<bool>().prop_map(|applied| Step::Stop { applied }),
        1 => Just(Step::Redrive),
        1 => any::<usize>().prop_map(|which| Step::Resend { which }),
        1 => any::<usize>().prop_map(|which| Step::Discard { which }),
        3 => (1..8i64).prop_map(|seconds| Step::Pass { seconds }),
        1 => (0..8i64).prop_map(|seconds| Step::Prune { seconds }),
    ]
}

/// Kind and moment of what a target was told last; where that counts, how far the lead came, else 0.
type Told = Option<(OutcomeKind, Timestamp, u8)>;

/// Whether a lane's destination counts how far the lead came. Every second does.
fn counts(lane: usize) -> bool {
    lane.is_multiple_of(2)
}

fn told(lane: usize, kind: OutcomeKind, at: Timestamp, furthest: Option<OutcomeKind>) -> Told {
    let furthest = furthest.filter(|_| counts(lane));
    let progress = furthest.map_or(0, |furthest| furthest.progress().max(kind.progress()));
    Some((kind, at, progress))
}

fn change_at(lane: usize, what: Change) -> LaneChange {
    LaneChange {
        counts_progress: counts(lane),
        ..change("crm-a", &lane.to_string(), what)
    }
}

struct World {
    clock: Clock,
    queue: Option<LocalQueue>,
    /// What each event says: its lane and entry.
    said: BTreeMap<EventId, (usize, Entry)>,
    targets: [Told; LANES],
    in_flight: Vec<Claim>,
    /// Events that retention took. Nothing of them can be sent any more.
    gone: BTreeSet<EventId>,
    /// Outcomes that an operator gave up: their targets may hold something else.
    given_up: BTreeSet<OutcomeId>,
    /// Events so far, and those of them that retention took.
    events: u64,
    pruned: u64,
}

impl World {
    fn queue(&self) -> &LocalQueue {
        self.queue.as_ref().unwrap()
    }

    async fn say(&mut self, id: EventId, lane: usize, kind: usize, at: i64) {
        let kind = OutcomeKind::ALL[kind];
        let outcome = outcome(id, kind, at);
        let occurred_at = outcome.occurred_at;
        let changes = vec![change_at(lane, Change::Outcome(0))];
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
        let changes = vec![change_at(lane, retract)];
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
        let brought = claim.outcome.as_ref().map(|stored| &stored.outcome);
        self.targets[lane] =
            brought.and_then(|one| told(lane, one.kind, one.occurred_at, claim.furthest));
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

    async fn in_state(&self, state: DeliveryState) -> Vec<DeliveryView> {
        let filter = DeliveryFilter {
            state: Some(state),
            ..DeliveryFilter::default()
        };
        let found = self.queue().deliveries(filter, PageRequest::first(1000));
        found.await.unwrap().items
    }

    async fn redrive(&mut self) {
        for view in self.in_state(DeliveryState::DeadLetter).await {
            let redriven = self.queue().operate(view.id, Operation::Redrive);
            redriven.await.unwrap();
        }
    }

    async fn resend(&mut self, which: usize) {
        let delivered = self.in_state(DeliveryState::Delivered).await;
        let Some(view) = delivered.get(which % delivered.len().max(1)) else {
            return;
        };
        match self.queue().operate(view.id, Operation::Redrive).await {
            Ok(view) => assert_eq!(view.state, DeliveryState::Pending),
            // It is being tried, or it is no longer the truth.
            Err(error) => assert!(matches!(error, QueueError::State(_)), "{error}"),
        }
    }

    async fn discard(&mut self, which: usize) {
        let dead = self.in_state(DeliveryState::DeadLetter).await;
        let Some(view) = dead.get(which % dead.len().max(1)) else {
            return;
        };
        let discarded = self.queue().operate(view.id, Operation::Discard);
        assert_eq!(discarded.await.unwrap().state, DeliveryState::Cancelled);
        self.given_up.extend(view.outcome);
    }

    /// What stays known of what is pruned: withdrawals, the truth of each lane, and where it counts all that holds.
    async fn prune(&mut self, seconds: i64) {
        let before = self.clock.now() - SignedDuration::from_secs(seconds);
        let pruned = self.queue().prune(before).await.unwrap();
        let mut kept: Vec<Revision> = (0..LANES).filter_map(|lane| self.truth(lane)).collect();
        for lane in (0..LANES).filter(|lane| counts(*lane)) {
            kept.extend(truth::holding(&self.entries(lane)).cloned());
        }
        let known: Vec<EventId> = self.said.keys().copied().collect();
        let mut count = 0;
        for id in known {
            match self.queue().event(id).await {
                Ok(_) => continue,
                Err(error) => assert!(matches!(error, QueueError::NotFound(_)), "{error}"),
            }
            count += u64::from(self.gone.insert(id));
            if let Some((_, Entry::Outcome(revision))) = self.said.get(&id)
                && !kept.contains(revision)
            {
                self.said.remove(&id);
            }
        }
        assert_eq!(pruned, count, "it says how many went");
        self.pruned += pruned;
    }

    fn entries(&self, lane: usize) -> Vec<Entry> {
        let here = self.said.values().filter(|(at, _)| *at == lane);
        here.map(|(_, entry)| entry.clone()).collect()
    }

    fn truth(&self, lane: usize) -> Option<Revision> {
        truth::current(&self.entries(lane), Precedence::FinalFirst).cloned()
    }

    /// Requests are under way, and nobody hears how they end.
    fn lose_answers(&mut self, applied: bool) {
        for claim in std::mem::take(&mut self.in_flight) {
            if applied {
                self.apply(&claim);
            }
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
                let stored = |id: &&EventId| !self.gone.contains(*id);
                let known: Vec<EventId> = self.said.keys().filter(stored).copied().collect();
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
                self.lose_answers(applied);
                let report = self.reopen(dir);
                assert!(!report.rebuilt, "{report:?}");
            }
            Step::Stop { applied } => {
                self.lose_answers(applied);
                self.queue().close().await.unwrap();
                let report = self.reopen(dir);
                assert!(report.clean && report.replayed == 0, "{report:?}");
            }
            Step::Redrive => self.redrive().await,
            Step::Resend { which } => self.resend(which).await,
            Step::Discard { which } => self.discard(which).await,
            Step::Pass { seconds } => {
                let later = self.clock.now() + SignedDuration::from_secs(seconds);
                self.clock.set(later);
            }
            Step::Prune { seconds } => self.prune(seconds).await,
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
            if let Some(truth) = self.truth(lane) {
                let furthest = truth::furthest(&self.entries(lane));
                let expected = told(lane, truth.kind, truth.occurred_at, furthest);
                let excused = self.given_up.contains(&truth.outcome)
                    || self.gone.contains(&truth.outcome.event);
                let right = self.targets[lane] == expected || excused;
                assert!(right, "lane {lane}: {:?}, {truth:?}", self.targets[lane]);
            }
        }
        let stats = self.queue().stats();
        assert_eq!(
            (stats.events, stats.unprocessed),
            (self.events - self.pruned, 0)
        );
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
        gone: BTreeSet::new(),
        given_up: BTreeSet::new(),
        events: 0,
        pruned: 0,
    };
    world.reopen(dir.path());
    for step in steps {
        world.step(dir.path(), step).await;
    }
    assert_nothing_is_loose(world.queue());
    world.drain().await;
    world.check();
    assert_nothing_is_loose(world.queue());
    let dump = world.queue().dump().unwrap();
    world.queue = None;
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    world.reopen(dir.path());
    assert_eq!(world.queue().dump().unwrap(), dump);
}

/// Histories, unless the environment asks for more.
const CASES: u32 = 200;

fn cases() -> u32 {
    let asked = std::env::var("OUTCOME_BRIDGE_MODEL_CASES");
    asked.map_or(CASES, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

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
