//! One damaged row costs what it says, and nothing else.

use super::*;
use crate::model::DeliveryState;
use crate::queue::Order;
use tree::Tree;

fn to() -> DestinationName {
    DestinationName::new("crm-a").unwrap()
}

/// Turns a bit of a row that stands in the journal.
fn damage_row(queue: &LocalQueue, dir: &Path, tree: Tree, key: &[u8]) {
    let value = queue.reader.index.get(tree, key).unwrap().unwrap();
    let pointer = stage::spilled(&value).unwrap().expect("it is a large row");
    let path = queue_segment(dir, pointer.segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[pointer.offset as usize + 5] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

/// Settles a new event that says these outcomes of a target.
async fn say(queue: &LocalQueue, n: u64, target: &str, outcomes: u16) -> EventId {
    let id = accept(queue, n).await;
    queue
        .settle_event(id, said(id, target, outcomes))
        .await
        .unwrap();
    id
}

fn said(id: EventId, target: &str, outcomes: u16) -> Processed {
    let facts = (0..outcomes).map(|n| Fact::Outcome(outcome(id, OutcomeKind::Shown, i64::from(n))));
    let changes = (0..outcomes).map(|n| change("crm-a", target, Change::Outcome(n)));
    mapped(facts.collect(), changes.collect())
}

/// Takes a row out of the index, as if the journal from which it was made had lost it.
fn lose(queue: &LocalQueue, tree: Tree, key: &[u8]) {
    queue.reader.index.write().unwrap();
    queue
        .reader
        .index
        .apply_now(&[(tree, key.into(), None)])
        .unwrap();
}

#[tokio::test]
async fn an_event_whose_lane_is_damaged_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let before = say(&queue, 1, "one", 60).await;
    damage_row(&queue, dir.path(), Tree::Lane, &tree::lane(&to(), "one"));

    let id = accept(&queue, 2).await;
    let other = accept(&queue, 3).await;
    let both = vec![(id, said(id, "one", 1)), (other, said(other, "two", 1))];
    let answers = queue.settle_events(both).await;
    let Err(QueueError::Damaged(why)) = &answers[0] else {
        panic!("{answers:?}");
    };
    assert!(why.contains("crm-a one") && why.contains("doctor"), "{why}");
    assert!(answers[1].is_ok(), "{answers:?}");
    let failed = Processed {
        disposition: Some(Disposition::Failed),
        ..Processed::default()
    };
    // Also one that told the lane something before.
    for event in [id, before] {
        queue.settle_event(event, failed.clone()).await.unwrap();
        let (summary, _) = queue.event_detail(event).await.unwrap();
        assert_eq!(summary.disposition, Disposition::Failed);
    }
    let claims = queue.claim(&to(), 10).await.unwrap();
    let targets: Vec<_> = claims.iter().map(|claim| claim.target.as_str()).collect();
    assert_eq!(targets, ["two"]);
    assert!(queue.failure().is_none());
    assert_eq!(queue.deliveries_of(before).await.unwrap().len(), 60);
}

#[tokio::test]
async fn a_damaged_record_counts_as_absent_until_it_is_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(start());
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    let old = record(1, &"x".repeat(3000));
    queue
        .put_records(vec![old.clone(), record(2, "2")])
        .await
        .unwrap();
    damage_row(&queue, dir.path(), Tree::Record, &old.key.0);
    let registry = queue.registry();
    assert_eq!(registry.record(&old.key).unwrap(), None);

    let moved = Record {
        places: vec![],
        ..record(1, "new")
    };
    queue.put_records(vec![moved]).await.unwrap();
    assert_eq!(registry.record(&old.key).unwrap().unwrap(), "new");
    let place = old.places[0].key;
    let found = registry.find(&place, start(), Timestamp::MAX, Order::Oldest, 9);
    assert_eq!(
        found.unwrap(),
        [],
        "where it was is known by its places alone"
    );
    assert!(queue.failure().is_none());
}

#[tokio::test]
async fn a_damaged_event_is_not_tried_again_and_repeats_of_it_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let id = say(&queue, 1, "one", 150).await;
    let sound = accept(&queue, 2).await;
    assert_eq!(queue.replay(vec![id]).await.unwrap(), 1);
    damage_row(&queue, dir.path(), Tree::Event, &tree::event(id));

    let waiting = queue.unprocessed(None, 10).await.unwrap();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!(queue.stats().unprocessed, 1);
    let listed = queue.events(
        EventFilter::default(),
        PageRequest {
            after: None,
            limit: 9,
        },
    );
    let listed = listed.await.unwrap().items;
    assert_eq!(listed.iter().map(|e| e.id).collect::<Vec<_>>(), [sound]);
    let again = queue.commit_event(new_event(1)).await.unwrap();
    assert_eq!(again, Acceptance::Duplicate(id));
    assert!(queue.failure().is_none());
}

#[tokio::test]
async fn what_a_lost_delivery_would_have_brought_is_brought_by_another() {
    for mode in [Mode::Newest, Mode::Each] {
        let dir = tempfile::tempdir().unwrap();
        let (queue, _) = open(dir.path());
        let id = accept(&queue, 1).await;
        let mut processed = said(id, "one", 1);
        processed.changes[0].mode = mode;
        queue.settle_event(id, processed.clone()).await.unwrap();
        let lost = queue.deliveries_of(id).await.unwrap()[0].id;
        lose(&queue, Tree::Delivery, &tree::delivery(lost));

        assert!(queue.claim(&to(), 10).await.unwrap().is_empty());
        let again = queue.unprocessed(None, 10).await.unwrap();
        assert_eq!(again.iter().map(|event| event.id).collect::<Vec<_>>(), [id]);
        processed.mark = again[0].mark;
        queue.settle_event(id, processed).await.unwrap();
        let claims = queue.claim(&to(), 10).await.unwrap();
        assert_eq!(claims.len(), 1, "{mode:?}");
        assert_ne!(claims[0].delivery, lost);
        queue
            .settle(claims[0].delivery, delivered(1))
            .await
            .unwrap();
        let depth = queue.stats().destinations["crm-a"].clone();
        assert_eq!((depth.open, queue.stats().unprocessed), (0, 0), "{mode:?}");
    }
}

fn said_to_line(id: EventId) -> Processed {
    let mut processed = said(id, "one", 1);
    processed.changes[0].mode = Mode::Each;
    processed
}

/// Settles two new events that each tell the line, and loses the delivery of one of them.
async fn lose_of_line(queue: &LocalQueue, lost: usize) -> [EventId; 2] {
    let events = [accept(queue, 1).await, accept(queue, 2).await];
    for id in events {
        queue.settle_event(id, said_to_line(id)).await.unwrap();
    }
    lose_delivery(queue, events[lost]).await;
    events
}

async fn lose_delivery(queue: &LocalQueue, event: EventId) {
    let lost = queue.deliveries_of(event).await.unwrap()[0].id;
    lose(queue, Tree::Delivery, &tree::delivery(lost));
}

/// What an event says.
type Says = fn(EventId) -> Processed;

/// Processes what is marked, and answers what that was.
async fn process(queue: &LocalQueue, says: Says) -> Vec<EventId> {
    let marked = queue.unprocessed(None, 10).await.unwrap();
    for event in &marked {
        let mark = event.mark;
        assert!(!mark.is_first(), "it was processed before");
        let processed = Processed {
            mark,
            ..says(event.id)
        };
        queue.settle_event(event.id, processed).await.unwrap();
    }
    marked.iter().map(|event| event.id).collect()
}

/// Delivers all that is due, one after the other, and answers whose it was.
async fn deliver_all(queue: &LocalQueue) -> Vec<EventId> {
    let mut told = Vec::new();
    while let Some(claim) = queue.claim(&to(), 10).await.unwrap().first() {
        queue.settle(claim.delivery, delivered(1)).await.unwrap();
        told.push(claim.delivery.event);
    }
    told
}

fn assert_all_is_done(queue: &LocalQueue) {
    let stats = queue.stats();
    assert_eq!(
        (stats.destinations["crm-a"].open, stats.unprocessed),
        (0, 0)
    );
    assert_nothing_is_loose(queue);
}

#[tokio::test]
async fn the_event_of_a_lost_delivery_tells_its_line_again() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let [first, second] = lose_of_line(&queue, 0).await;
    assert_eq!(deliver_all(&queue).await, []);
    assert_eq!(process(&queue, said_to_line).await, [first]);
    assert_eq!(deliver_all(&queue).await, [second, first], "at the end");
    assert_all_is_done(&queue);
}

#[tokio::test]
async fn a_line_goes_on_though_the_event_of_a_lost_delivery_has_nothing_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let [first, second] = lose_of_line(&queue, 0).await;
    assert_eq!(deliver_all(&queue).await, []);
    let nothing = |_| mapped(Vec::new(), Vec::new());
    assert_eq!(process(&queue, nothing).await, [first]);
    assert_eq!(deliver_all(&queue).await, [second]);
    assert_all_is_done(&queue);
}

#[tokio::test]
async fn a_lost_delivery_further_back_in_a_line_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let [first, second] = lose_of_line(&queue, 1).await;
    assert_eq!(deliver_all(&queue).await, [first]);
    assert_eq!(process(&queue, said_to_line).await, [second]);
    assert_eq!(deliver_all(&queue).await, [second]);
    assert_all_is_done(&queue);
}

#[tokio::test]
async fn what_was_lost_before_a_lane_became_a_line_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let first = say(&queue, 1, "one", 1).await;
    lose_delivery(&queue, first).await;
    let second = accept(&queue, 2).await;
    queue
        .settle_event(second, said_to_line(second))
        .await
        .unwrap();
    assert_eq!(process(&queue, said_to_line).await, [first]);
    assert_eq!(deliver_all(&queue).await, [second, first]);
    assert_all_is_done(&queue);
}

#[tokio::test]
async fn a_repair_has_told_again_what_a_line_lost() {
    let cases: [(usize, Says, &[usize]); 3] = [
        (0, said_to_line, &[1, 0]),
        (0, |_| mapped(Vec::new(), Vec::new()), &[1]),
        (1, said_to_line, &[0, 1]),
    ];
    for (lost, says, told) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (queue, _) = open(dir.path());
        let events = lose_of_line(&queue, lost).await;
        let loose = loose::look(&queue.reader.index, &queue.reader.segments).unwrap();
        assert_eq!(loose.events, 1);
        let changes = loose.changes.into_iter();
        let changes: Vec<_> = changes
            .map(|(tree, key, row)| (tree, key.into(), row.map(Into::into)))
            .collect();
        queue.reader.index.apply_now(&changes).unwrap();

        assert_eq!(process(&queue, says).await, [events[lost]]);
        let told: Vec<EventId> = told.iter().map(|n| events[*n]).collect();
        assert_eq!(deliver_all(&queue).await, told);
    }
}

#[tokio::test]
async fn a_lane_whose_lost_delivery_nobody_tells_again_goes_on_with_the_next() {
    for mode in [Mode::Newest, Mode::Each] {
        let dir = tempfile::tempdir().unwrap();
        let (queue, _) = open(dir.path());
        let says = |id| {
            let mut processed = said(id, "one", 1);
            processed.changes[0].mode = mode;
            processed
        };
        let first = accept(&queue, 1).await;
        queue.settle_event(first, says(first)).await.unwrap();
        lose_delivery(&queue, first).await;
        lose(&queue, Tree::Event, &tree::event(first));
        assert_eq!(deliver_all(&queue).await, []);
        let second = accept(&queue, 2).await;
        queue.settle_event(second, says(second)).await.unwrap();
        assert_eq!(deliver_all(&queue).await, [second], "{mode:?}");
    }
}

#[tokio::test]
async fn newer_truth_closes_a_delivery_that_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let first = say(&queue, 1, "one", 1).await;
    let lost = queue.deliveries_of(first).await.unwrap()[0].id;
    lose(&queue, Tree::Delivery, &tree::delivery(lost));
    let id = say(&queue, 2, "one", 2).await;
    let claims = queue.claim(&to(), 10).await.unwrap();
    assert_eq!(claims[0].delivery.event, id);
    assert_eq!(queue.stats().destinations["crm-a"].open, 1);
}

#[tokio::test]
async fn damaged_rows_do_not_keep_retention_from_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(start());
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    let in_damaged_lane = say(&queue, 1, "one", 60).await;
    let damaged = say(&queue, 2, "two", 150).await;
    let large = record(1, &"x".repeat(3000));
    let short = Record {
        keep_until: start(),
        ..record(2, "2")
    };
    queue
        .put_records(vec![large.clone(), short.clone()])
        .await
        .unwrap();
    for claim in queue.claim(&to(), 10).await.unwrap() {
        queue.settle(claim.delivery, delivered(1)).await.unwrap();
    }
    damage_row(&queue, dir.path(), Tree::Lane, &tree::lane(&to(), "one"));
    damage_row(&queue, dir.path(), Tree::Event, &tree::event(damaged));
    damage_row(&queue, dir.path(), Tree::Record, &large.key.0);
    clock.set(start() + SignedDuration::from_hours(1));
    assert_eq!(queue.prune(clock.now()).await.unwrap(), 1);
    assert!(queue.event(in_damaged_lane).await.is_err());
    assert!(queue.registry().record(&short.key).unwrap().is_none());
}

/// Where a segment was, one that cannot be opened for a while.
fn close_off(dir: &Path, segment: u64) -> impl FnOnce() + use<> {
    let path = queue_segment(dir, segment);
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    move || {
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(aside, path).unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_read_right_now_is_read_later() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(start());
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    let told = say(&queue, 1, "one", 1).await;
    let waiting = accept(&queue, 2).await;
    // Nothing is open for reading yet.
    drop(queue);
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    let restore = close_off(dir.path(), 1);
    let busy = queue.unprocessed(None, 10).await.unwrap_err();
    assert!(matches!(busy, QueueError::Busy(_)), "{busy}");
    assert!(queue.claim(&to(), 10).await.unwrap().is_empty());
    let (due, later) = (queue.deliveries_due(&to()), SignedDuration::from_secs(1));
    clock.set(start() + later);
    restore();
    due.await;
    let claims = queue.claim(&to(), 10).await.unwrap();
    assert_eq!(claims[0].delivery.event, told);
    assert_eq!(queue.unprocessed(None, 10).await.unwrap()[0].id, waiting);
    assert!(queue.failure().is_none());
}

#[tokio::test]
async fn what_a_new_index_would_cure_makes_no_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let without_cache = LocalOptions {
        cache_mb: 0,
        ..options(dir.path(), &Clock::manual(start()))
    };
    let (queue, _) = LocalQueue::open(without_cache).unwrap();
    let id = say(&queue, 1, "one", 1).await;
    queue.checkpoint().await.unwrap();
    let files = std::fs::read_dir(dir.path().join("index/tables/event/tables")).unwrap();
    for file in files {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20..120].fill(7);
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(queue.claim(&to(), 10).await.is_err());
    assert_eq!(queue.stats().destinations["crm-a"].dead_letters, 0);
    drop(queue);
    let (queue, report) = open(dir.path());
    assert!(report.rebuilt, "{report:?}");
    assert_eq!(queue.claim(&to(), 10).await.unwrap()[0].delivery.event, id);
}

#[tokio::test]
async fn an_outcome_that_is_damaged_makes_a_dead_letter_and_its_line_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let id = say(&queue, 1, "one", 1).await;
    let other = say(&queue, 2, "two", 1).await;
    use row::Row;
    let value = queue.reader.index.get(Tree::Event, &tree::event(id));
    let outcome = row::EventRow::decode(&value.unwrap().unwrap())
        .unwrap()
        .outcomes[0];
    let path = queue_segment(dir.path(), outcome.segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[outcome.offset as usize] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let claims = queue.claim(&to(), 10).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].delivery.event, other);
    let dead = queue.deliveries_of(id).await.unwrap();
    assert_eq!(dead[0].state, DeliveryState::DeadLetter);
    assert!(dead[0].reason.contains("damaged"), "{}", dead[0].reason);
}

#[tokio::test]
async fn a_repair_takes_out_what_does_not_read_and_brings_back_what_it_can() {
    for mode in [Mode::Newest, Mode::Each] {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(start());
        let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
        let mut again = Vec::new();
        for n in 0..3 {
            let id = accept(&queue, n).await;
            let mut processed = said(id, "one", 30);
            processed
                .changes
                .iter_mut()
                .for_each(|change| change.mode = mode);
            queue.settle_event(id, processed.clone()).await.unwrap();
            again.push((id, processed));
        }
        let sound = say(&queue, 4, "two", 1).await;
        let lost = say(&queue, 5, "three", 1).await;
        let delivery = queue.deliveries_of(lost).await.unwrap()[0].id;
        let large = record(1, &"x".repeat(3000));
        queue.put_records(vec![large.clone()]).await.unwrap();
        let damaged = say(&queue, 6, "four", 150).await;
        damage_row(&queue, dir.path(), Tree::Record, &large.key.0);
        damage_row(&queue, dir.path(), Tree::Event, &tree::event(damaged));
        queue.close().await.unwrap();
        lose(&queue, Tree::Delivery, &tree::delivery(delivery));
        if mode == Mode::Newest {
            damage_row(&queue, dir.path(), Tree::Lane, &tree::lane(&to(), "one"));
        } else {
            lose(&queue, Tree::Lane, &tree::lane(&to(), "one"));
        }
        queue.reader.index.sync().unwrap();
        drop(queue);

        let scratch = || tempfile::tempdir().unwrap();
        let examined = examine(dir.path(), scratch().path()).unwrap();
        assert!(
            !examined.is_sound() && examined.loose_rows > 0,
            "{examined:?}"
        );
        let repaired = repair(options(dir.path(), &clock), scratch().path()).unwrap();
        assert!(repaired.rows_taken_out > 0, "{repaired:?}");
        let examined = examine(dir.path(), scratch().path()).unwrap();
        assert!(examined.is_sound(), "{examined:?}");

        let (queue, report) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
        assert!(!report.rebuilt, "{report:?}");
        assert!(queue.event(damaged).await.is_err());
        assert!(queue.registry().record(&large.key).unwrap().is_none());
        let waiting = queue.unprocessed(None, 100).await.unwrap();
        let mut all = Vec::new();
        for event in waiting {
            assert!(!event.mark.is_first(), "it was processed before");
            let said = again.iter().find(|(id, _)| *id == event.id);
            let said = said.map_or_else(|| said_of_three(event.id), |(_, said)| said.clone());
            let mark = event.mark;
            all.push((event.id, Processed { mark, ..said }));
        }
        assert_eq!(all.len(), 4, "{all:?}");
        let settled = queue.settle_events(all).await;
        assert!(settled.iter().all(Result::is_ok), "{settled:?}");
        let mut told = std::collections::BTreeMap::new();
        loop {
            let claims = queue.claim(&to(), 100).await.unwrap();
            if claims.is_empty() {
                break;
            }
            for claim in claims {
                *told.entry(claim.target.clone()).or_insert(0) += 1;
                queue.settle(claim.delivery, delivered(1)).await.unwrap();
            }
        }
        let of_one = if mode == Mode::Newest { 1 } else { 90 };
        let of = |target: &str| told.get(target).copied().unwrap_or(0);
        assert_eq!(
            (of("one"), of("two"), of("three")),
            (of_one, 1, 1),
            "{mode:?}"
        );
        let depth = queue.stats().destinations["crm-a"].clone();
        assert_eq!((depth.open, queue.stats().unprocessed), (0, 0));
        assert!(queue.event(sound).await.is_ok());
    }
}

fn said_of_three(id: EventId) -> Processed {
    said(id, "three", 1)
}

#[tokio::test]
async fn what_is_sound_has_nothing_loose() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    fill(&queue, 60).await;
    fill_waiting(&queue, 60).await;
    for claim in queue.claim(&to(), 3).await.unwrap() {
        let dead = Settlement::DeadLetter {
            attempt: None,
            reason: "no".to_owned(),
        };
        queue.settle(claim.delivery, dead).await.unwrap();
    }
    assert_nothing_is_loose(&queue);
}
