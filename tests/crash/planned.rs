//! The process dies at a planned place: between every two writes of the durable path, in its first life
//! and again in a later one, with senders and destinations at work. Each place has a home of its own, so
//! that a mistake is known by the place that it came from.
//!
//! `OUTCOME_BRIDGE_FAULTS=20` goes through all places so many times, each time with other moments;
//! `OUTCOME_BRIDGE_FAULT_AT=journal.written` goes to one place only. What retention passes is planned in
//! `tests/durability`, where events are pruned under load.

use std::sync::Arc;

use outcome_bridge::fault::Point;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::bridge::Home;
use crate::destination::{Destination, Manners};
use crate::ledger::Ledger;
use crate::sender::Senders;
use crate::story::Story;
use crate::verdict::Verdict;
use crate::{PATIENCE, SENDERS, asked, conclude, story};

/// In which lives a place is passed.
#[derive(Debug, Clone, Copy)]
struct Passed {
    /// In the first one, on an empty disk.
    first: bool,
    /// In one that finds data.
    later: bool,
    /// The most passings that the fault may wait for.
    times: u32,
}

/// `None` for what is not passed here.
fn passed(point: Point) -> Option<Passed> {
    use Point as P;
    let (first, later, times) = match point {
        P::AdminTokenWritten => (true, false, 1),
        P::TailHeaded | P::TailWiped => (false, true, 1),
        P::JournalReplayed | P::MarkEmptied => (true, true, 1),
        // The first for the segment in use, or the one after it.
        P::SegmentCreated | P::SegmentHeaded | P::SegmentAllocated | P::SegmentSynced => {
            (true, true, 2)
        }
        // It takes a megabyte to get there.
        P::SegmentLeft => (true, true, 1),
        P::IndexTreeWritten => (true, true, 30),
        P::IndexWritten => (true, true, 4),
        // Opening passes them, and then a checkpoint every few seconds.
        P::IndexTableFlushed => (true, true, 14),
        P::IndexFlushed | P::IndexSynced | P::CheckpointNoted => (true, true, 3),
        P::JournalWritten | P::JournalSynced | P::IndexApplied => (true, true, 200),
        P::EventCommitted | P::EventDerived | P::EventSettled => (true, true, 50),
        P::AttemptAnswered | P::AttemptRecorded => (true, true, 100),
        P::StoreWritten | P::StoreCommitted => (true, true, 20),
        P::RetentionPruned
        | P::RetentionCarried
        | P::RetentionCheckpointed
        | P::RetentionRemoved => return None,
    };
    Some(Passed {
        first,
        later,
        times,
    })
}

/// One home whose lives end at `point`, and what came of it.
async fn fall_at(point: Point, passed: Passed, story: Story) -> Verdict {
    let mut rng = StdRng::seed_from_u64(story.seed ^ 5);
    let manners = Manners {
        unavailable: 0.08,
        hang_up: 0.04,
    };
    let destination = Destination::start(story, manners).await;
    let mut home = Home::new(destination.address);
    let ledger = Arc::new(Ledger::new(story));
    let senders = Senders::start(SENDERS, home.inlet, &ledger);
    if passed.first {
        fall(&mut home, &destination, point, passed.times, &mut rng).await;
    }
    if passed.later {
        destination.next_life().await;
        let mut life = home.start();
        home.ready(&mut life).await;
        assert!(ledger.progress(40, PATIENCE).await, "{point:?}: no events");
        life.kill().await;
        fall(&mut home, &destination, point, passed.times, &mut rng).await;
    }
    destination.next_life().await;
    let mut life = home.start();
    home.ready(&mut life).await;
    assert!(ledger.progress(40, PATIENCE).await, "{point:?}: no events");
    senders.stop().await;
    conclude(home, &ledger, &destination).await
}

/// A life that ends there.
async fn fall(
    home: &mut Home,
    destination: &Destination,
    point: Point,
    times: u32,
    rng: &mut StdRng,
) {
    let fault = format!("{}:{}", point.as_str(), rng.random_range(1..=times));
    destination.next_life().await;
    let life = home.start_with(Some(&fault));
    assert!(life.fall(PATIENCE).await, "{fault} was never passed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_no_truth_grows_old_when_it_dies_between_two_writes() {
    let rounds = asked("OUTCOME_BRIDGE_FAULTS").unwrap_or(1);
    let only: Option<String> = asked("OUTCOME_BRIDGE_FAULT_AT");
    let story = story();
    let mut tried = 0;
    for round in 0..rounds {
        for point in Point::ALL {
            let name = point.as_str();
            let Some(passed) = passed(*point) else {
                continue;
            };
            if only.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            let seed = story.seed.wrapping_add(round);
            eprintln!("{name}: {}", fall_at(*point, passed, Story { seed }).await);
            tried += 1;
        }
    }
    assert!(tried > 0, "there is no such point: {only:?}");
}
