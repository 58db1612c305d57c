//! Tests of the local engine: the contract, and what is its own: recovery, rebuilding, retention.

mod damage;
mod model;
mod version_1;
mod waiting;

use std::path::Path;
use std::sync::Arc;

use jiff::SignedDuration;

use super::*;
use crate::clock::Clock;
use crate::model::{Fact, Mode, OutcomeKind};
use crate::queue::contract::{
    Fixture, change, contract_suite, delivered, mapped, new_event, outcome, start,
};
use crate::queue::{Change, LaneChange, Place, RegistryKey, Watch};

pub(super) fn options(dir: &Path, clock: &Clock) -> LocalOptions {
    LocalOptions {
        segment_bytes: 64 << 10,
        min_free_disk_bytes: 0,
        sync: SyncMode::Off,
        verify_index: VerifyIndex::Always,
        clock: clock.clone(),
        ..LocalOptions::new(dir)
    }
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(start());
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    Fixture {
        queue: Arc::new(queue),
        clock,
        keep: Box::new(dir),
    }
}

contract_suite!(fixture);

/// What a repair would take out of a queue that was never damaged.
fn assert_nothing_is_loose(queue: &LocalQueue) {
    let loose = loose::look(&queue.reader.index, &queue.reader.segments);
    assert_eq!(loose.unwrap().changes, []);
}

fn open(dir: &Path) -> (LocalQueue, OpenReport) {
    LocalQueue::open(options(dir, &Clock::manual(start()))).unwrap()
}

async fn accept(queue: &LocalQueue, n: u64) -> EventId {
    match queue.commit_event(new_event(n)).await.unwrap() {
        Acceptance::Accepted(id) | Acceptance::Duplicate(id) => id,
    }
}

/// Events in all states, over several segments.
async fn fill(queue: &LocalQueue, events: u64) {
    let destination = DestinationName::new("crm-a").unwrap();
    for n in 0..events {
        let event = NewEvent {
            body: vec![n as u8; 3000].into(),
            ..new_event(n)
        };
        let Acceptance::Accepted(id) = queue.commit_event(event).await.unwrap() else {
            continue;
        };
        if n % 7 == 6 {
            continue;
        }
        let kind = OutcomeKind::ALL[n as usize % 5];
        let fact = Fact::Outcome(outcome(id, kind, n as i64));
        let target = format!("target {}", n % 11);
        let changes = vec![change("crm-a", &target, Change::Outcome(0))];
        let processed = mapped(vec![fact], changes);
        queue.settle_event(id, processed).await.unwrap();
        if n % 3 == 0 {
            for claim in queue.claim(&destination, 2).await.unwrap() {
                let settlement = delivered(claim.attempts + 1);
                queue.settle(claim.delivery, settlement).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn everything_is_there_after_reopening_without_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, report) = open(dir.path());
    assert!(report.clean && !report.rebuilt);
    fill(&queue, 60).await;
    let before = queue.dump().unwrap();
    let stats = queue.stats();
    drop(queue);
    let (queue, report) = open(dir.path());
    assert!(!report.rebuilt && !report.clean, "{report:?}");
    assert_eq!(report.events, 60);
    assert_eq!(queue.dump().unwrap(), before);
    assert_eq!(queue.stats().destinations, stats.destinations);
    queue.close().await.unwrap();
    drop(queue);
    let (_queue, report) = open(dir.path());
    assert!(report.clean, "{report:?}");
    assert_eq!(report.replayed, 0);
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_queue, _) = open(dir.path());
    let options = options(dir.path(), &Clock::manual(start()));
    let error = LocalQueue::open(options).unwrap_err().to_string();
    let id = std::process::id().to_string();
    assert!(error.contains(&format!("process {id}")), "{error}");
}

#[tokio::test]
async fn dying_before_the_first_segment_is_made_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    for segment in std::fs::read_dir(dir.path().join("journal")).unwrap() {
        std::fs::remove_file(segment.unwrap().path()).unwrap();
    }
    let (queue, report) = open(dir.path());
    assert!(!report.rebuilt && report.notes.is_empty(), "{report:?}");
    // With anything stored it is.
    accept(&queue, 1).await;
    queue.close().await.unwrap();
    drop(queue);
    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let (_queue, report) = open(dir.path());
    assert!(report.rebuilt, "{report:?}");
}

#[tokio::test]
async fn a_lost_index_is_rebuilt_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    fill(&queue, 60).await;
    let before = queue.dump().unwrap();
    drop(queue);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (queue, _) = open(dir.path());
    assert_eq!(queue.dump().unwrap(), before);
}

#[tokio::test]
async fn a_broken_index_is_set_aside_and_rebuilt_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    fill(&queue, 60).await;
    queue.close().await.unwrap();
    let before = queue.dump().unwrap();
    drop(queue);
    let conf = dir.path().join("index/conf");
    let mut bytes = std::fs::read(&conf).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(conf, bytes).unwrap();
    let (queue, report) = open(dir.path());
    assert!(report.rebuilt, "{report:?}");
    assert!(dir.path().join("index.broken-1").exists());
    assert_eq!(queue.dump().unwrap(), before);
}

#[tokio::test]
async fn wrong_counters_are_noticed_and_the_index_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    fill(&queue, 20).await;
    queue.close().await.unwrap();
    let before = queue.dump().unwrap();
    let lost = queue.reader.index.range(tree::Tree::Event, &[], &[]).next();
    let (key, _) = lost.unwrap().unwrap();
    let lost = [(tree::Tree::Event, key, None)];
    queue.reader.index.apply_now(&lost).unwrap();
    queue.reader.index.sync().unwrap();
    drop(queue);
    let (queue, report) = open(dir.path());
    assert!(report.rebuilt, "{report:?}");
    assert_eq!(queue.dump().unwrap(), before);
}

#[tokio::test]
async fn an_index_without_one_of_its_tables_is_rebuilt_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    fill(&queue, 40).await;
    queue.close().await.unwrap();
    let before = queue.dump().unwrap();
    drop(queue);
    std::fs::remove_dir_all(dir.path().join("index/tables/lane")).unwrap();
    let (queue, report) = open(dir.path());
    assert!(report.rebuilt, "{report:?}");
    assert_eq!(queue.dump().unwrap(), before);
}

#[tokio::test]
async fn a_table_that_stops_reading_ends_the_queue_and_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let without_cache = LocalOptions {
        cache_mb: 0,
        ..options(dir.path(), &Clock::manual(start()))
    };
    let (queue, _) = LocalQueue::open(without_cache).unwrap();
    fill(&queue, 60).await;
    queue.checkpoint().await.unwrap();
    let before = queue.dump().unwrap();
    let files = std::fs::read_dir(dir.path().join("index/tables/event/tables")).unwrap();
    for file in files {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100..2_000].fill(7);
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(queue.dump().is_err());
    // The keeper sees it when it comes by.
    while queue.checkpoint().await.is_ok() {}
    assert!(queue.failure().is_some());
    drop(queue);
    let (queue, report) = open(dir.path());
    assert!(report.rebuilt, "{report:?}");
    assert_eq!(queue.dump().unwrap(), before);
}

#[tokio::test]
async fn damage_in_the_journal_is_reported_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    fill(&queue, 60).await;
    drop(queue);
    let path = dir.path().join("journal/0000000001.jnl");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (queue, report) = open(dir.path());
    assert_eq!(report.quarantined.len(), 1, "{report:?}");
    assert!(report.quarantined[0].exists());
    assert!(report.damaged_bytes > 0);
    assert!(accept(&queue, 1000).await.0 > 0);
}

#[tokio::test]
async fn an_event_whose_bytes_are_damaged_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let damaged = accept(&queue, 1).await;
    let sound = accept(&queue, 2).await;
    let path = dir.path().join("journal/0000000001.jnl");
    let mut bytes = std::fs::read(&path).unwrap();
    let body = new_event(1).body;
    let at = bytes.windows(body.len()).position(|w| w == body).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let waiting = queue.unprocessed(None, 10).await.unwrap();
    let ids: Vec<EventId> = waiting.iter().map(|event| event.id).collect();
    assert_eq!(ids, [sound]);
    let (summary, _) = queue.event_detail(damaged).await.unwrap();
    assert_eq!(summary.disposition, Disposition::Failed);
    assert!(summary.reason.contains("damaged"), "{}", summary.reason);
    assert_eq!(queue.stats().unprocessed, 1);
}

#[tokio::test]
async fn a_page_of_large_events_is_short_and_the_next_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let mut accepted = Vec::new();
    for number in 0..5 {
        let mut event = new_event(number);
        event.body = bytes::Bytes::from(vec![b'x'; 600 << 10]);
        let (Acceptance::Accepted(id) | Acceptance::Duplicate(id)) =
            queue.commit_event(event).await.unwrap();
        accepted.push(id);
    }
    let mut read = Vec::new();
    loop {
        let page = queue.unprocessed(read.last().copied(), 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2, "{}", page.len());
        read.extend(page.iter().map(|event| event.id));
    }
    assert_eq!(read, accepted);
}

#[tokio::test]
async fn pruning_gives_space_back_and_what_remains_rebuilds_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(start());
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    fill(&queue, 200).await;
    let unprocessed = queue.unprocessed(None, 1).await.unwrap().remove(0);
    let unprocessed = queue.event(unprocessed.id).await.unwrap();
    clock.set(start() + SignedDuration::from_hours(1));
    let segments = || queue.reader.segments.list().unwrap();
    let before = segments();
    let pruned = queue.prune(clock.now()).await.unwrap();
    assert!(pruned > 50, "{pruned}");
    assert!(
        segments().len() < before.len(),
        "{before:?} {:?}",
        segments()
    );
    assert!(segments()[0] > 1);
    assert_eq!(queue.event(unprocessed.id).await.unwrap(), unprocessed);
    fill_after(&queue).await;
    let dump = queue.dump().unwrap();
    queue.close().await.unwrap();
    drop(queue);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (queue, report) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    assert!(report.rebuilt, "{report:?}");
    assert_eq!(queue.dump().unwrap(), dump);
    assert_eq!(queue.event(unprocessed.id).await.unwrap(), unprocessed);
}

/// Turns a bit of the header of the record that holds the body of an event, which itself stays whole.
fn damage_around(queue: &LocalQueue, dir: &Path, id: EventId) {
    use row::Row;
    let value = queue
        .reader
        .index
        .get(tree::Tree::Event, &tree::event(id))
        .unwrap();
    let body = row::EventRow::decode(&value.unwrap()).unwrap().body;
    let path = queue_segment(dir, body.segment);
    let mut bytes = std::fs::read(&path).unwrap();
    let mut at = journal::SEGMENT_HEADER as usize;
    loop {
        let position = journal::Position {
            segment: body.segment,
            offset: at as u64,
        };
        let (_, length) = journal::record::parse(&bytes[at..], position).unwrap();
        if at + length > body.offset as usize {
            break;
        }
        at += length;
    }
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn what_is_whole_within_damage_outlives_its_segment() {
    for repaired in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(start());
        let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
        fill(&queue, 200).await;
        let unprocessed = queue.unprocessed(None, 1).await.unwrap().remove(0);
        let unprocessed = queue.event(unprocessed.id).await.unwrap();
        queue.close().await.unwrap();
        damage_around(&queue, dir.path(), unprocessed.id);
        drop(queue);
        if repaired {
            let scratch = tempfile::tempdir().unwrap();
            let repaired = repair(options(dir.path(), &clock), scratch.path()).unwrap();
            assert!(repaired.removed_bytes > 0, "{repaired:?}");
        }
        let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
        assert_eq!(queue.event(unprocessed.id).await.unwrap(), unprocessed);
        clock.set(start() + SignedDuration::from_hours(1));
        queue.prune(clock.now()).await.unwrap();
        assert!(queue.reader.segments.list().unwrap()[0] > 1);
        assert_eq!(queue.event(unprocessed.id).await.unwrap(), unprocessed);
    }
}

/// A directory whose index is much larger than its journal: a backlog was worked off, its rows are gone.
async fn bloated(clock: &Clock) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = LocalQueue::open(options(dir.path(), clock)).unwrap();
    fill(&queue, 40).await;
    let dump = queue.dump().unwrap();
    queue.close().await.unwrap();
    let index = &queue.reader.index;
    let key = |number: u32| index::Value::from(&number.to_be_bytes());
    let large = index::Value::from(vec![0; 200]);
    for row in [Some(large), None] {
        let change = |number| (tree::Tree::Due, key(number), row.clone());
        let changes: Vec<_> = (0..10_000).map(change).collect();
        index.apply_now(&changes).unwrap();
        index.sync().unwrap();
    }
    drop(queue);
    (dir, dump)
}

#[tokio::test]
async fn an_index_that_has_become_small_gives_its_space_back_at_the_next_start() {
    let clock = Clock::manual(start());
    let (dir, dump) = bloated(&clock).await;
    let index_bytes = || disk::directory_bytes(&dir.path().join("index"));
    let before = index_bytes();
    let (queue, report) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    let after = index_bytes();
    assert!(after * 2 < before, "{after} of {before}");
    assert_eq!((report.slimmed, report.rebuilt), (true, false));
    assert_eq!(report.notes, Vec::<String>::new());
    assert_eq!(queue.dump().unwrap(), dump);
    drop(queue);
    let (queue, report) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    let again = "an index that is as small as it can be was copied again";
    assert!(!report.slimmed && !report.rebuilt, "{again}: {report:?}");
    assert_eq!(queue.dump().unwrap(), dump);
}

#[tokio::test]
async fn giving_space_back_keeps_what_only_the_index_knows() {
    let clock = Clock::manual(start());
    let (dir, dump) = bloated(&clock).await;
    let segments = journal::Segments::new(dir.path().join("journal"));
    let first = segments.path(segments.list().unwrap()[0]);
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let index_bytes = || disk::directory_bytes(&dir.path().join("index"));
    let before = index_bytes();
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    assert!(index_bytes() < before);
    assert_eq!(queue.dump().unwrap(), dump);
}

async fn fill_after(queue: &LocalQueue) {
    let id = accept(queue, 5_000).await;
    let ignored = Processed {
        disposition: Some(Disposition::Ignored),
        ..Processed::default()
    };
    queue.settle_event(id, ignored).await.unwrap();
}

#[tokio::test]
async fn large_rows_are_spilled_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let id = accept(&queue, 1).await;
    let facts = (0..300).map(|n| Fact::Outcome(outcome(id, OutcomeKind::Shown, n)));
    let changes = (0..300).map(|n| change("crm-a", "one target", Change::Outcome(n)));
    let processed = mapped(facts.collect(), changes.collect());
    queue.settle_event(id, processed).await.unwrap();
    assert_eq!(queue.deliveries_of(id).await.unwrap().len(), 300);
    let claims = queue
        .claim(&DestinationName::new("crm-a").unwrap(), 9)
        .await
        .unwrap();
    assert_eq!(claims[0].outcome.as_ref().unwrap().id.ordinal, 299);
    let before = queue.dump().unwrap();
    drop(queue);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (queue, _) = open(dir.path());
    assert_eq!(queue.dump().unwrap(), before);
    assert_eq!(queue.outcomes_of(id).await.unwrap().len(), 300);
}

#[tokio::test]
async fn expired_duplicate_keys_are_removed_as_new_ones_come() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(start());
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    for n in 0..20 {
        accept(&queue, n).await;
    }
    clock.set(start() + SignedDuration::from_hours(25));
    for n in 100..120 {
        accept(&queue, n).await;
    }
    let rows = queue.reader.index.range(tree::Tree::Dedupe, &[], &[]);
    assert_eq!(rows.count(), 20, "only those of the second round");
    let rows = queue.reader.index.range(tree::Tree::DedupeExpiry, &[], &[]);
    assert_eq!(rows.count(), 20);
}

#[tokio::test]
async fn limits_answer_busy_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        max_unprocessed: 3,
        ..options(dir.path(), &Clock::manual(start()))
    };
    let (queue, _) = LocalQueue::open(options.clone()).unwrap();
    for n in 0..3 {
        accept(&queue, n).await;
    }
    let refused = queue.commit_event(new_event(9)).await;
    assert!(matches!(refused, Err(QueueError::Busy(_))), "{refused:?}");
    drop(queue);
    let full = LocalOptions {
        max_unprocessed: 100,
        min_free_disk_bytes: u64::MAX,
        ..options
    };
    let (queue, _) = LocalQueue::open(full).unwrap();
    let refused = queue.commit_event(new_event(9)).await;
    assert!(matches!(refused, Err(QueueError::Busy(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_one_moment_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let measured = bench::group_commit(dir.path(), 32, 640, 1000)
        .await
        .unwrap();
    assert_eq!(measured.events, 640);
    assert!(measured.syncs_per_event < 0.9, "{measured:?}");
}

fn record(n: u64, value: &str) -> Record {
    Record {
        key: RegistryKey::of(&["record", &n.to_string()]),
        value: value.to_owned().into(),
        places: vec![Place {
            key: RegistryKey::of(&["phone", &(n % 5).to_string()]),
            at: start() + SignedDuration::from_secs(n as i64),
        }],
        keep_until: start() + SignedDuration::from_hours(1000),
    }
}

/// Waiting events, records, wakes and a line, over several segments.
async fn fill_waiting(queue: &LocalQueue, events: u64) {
    let to = DestinationName::new("crm-a").unwrap();
    for n in 0..events {
        let event = NewEvent {
            body: vec![n as u8; 3000].into(),
            ..new_event(n)
        };
        let Acceptance::Accepted(id) = queue.commit_event(event).await.unwrap() else {
            continue;
        };
        let fact = Fact::Outcome(outcome(id, OutcomeKind::ALL[n as usize % 5], n as i64));
        let line = LaneChange {
            mode: Mode::Each,
            ..change("crm-a", "channel", Change::Outcome(0))
        };
        let large = "x".repeat(if n % 4 == 0 { 3000 } else { 30 });
        let processed = Processed {
            records: vec![record(n % 20, &format!("{n}{large}"))],
            watches: vec![
                Watch::record(record((n + 1) % 20, "").key),
                Watch::places(record(n, "").places[0].key, start(), Timestamp::MAX),
            ],
            wake_at: (n % 3 == 0).then(|| start() + SignedDuration::from_secs(n as i64)),
            ..mapped(vec![fact], vec![line])
        };
        queue.settle_event(id, processed).await.unwrap();
        if n % 4 == 0 {
            for claim in queue.claim(&to, 2).await.unwrap() {
                let settlement = delivered(claim.attempts + 1);
                queue.settle(claim.delivery, settlement).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn what_waits_survives_a_kill_and_a_lost_index() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    fill_waiting(&queue, 60).await;
    let before = queue.dump().unwrap();
    for tree in ["record", "place", "watch", "wake", "line", "todo"] {
        assert!(before.contains(&format!("\n{tree}  ")), "{tree}");
    }
    drop(queue);
    let (queue, report) = open(dir.path());
    assert!(!report.rebuilt, "{report:?}");
    assert_eq!(queue.dump().unwrap(), before);
    drop(queue);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let clock = Clock::manual(start());
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    assert_eq!(queue.dump().unwrap(), before);
    // Timers that ran out while nobody looked.
    clock.set(start() + SignedDuration::from_secs(30));
    queue.events_arrived().await;
    assert_eq!(queue.wake_due(100).await.unwrap(), 11);
}

#[tokio::test]
async fn records_and_watches_outlive_the_segments_they_were_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(start());
    let (queue, _) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    fill_waiting(&queue, 60).await;
    fill(&queue, 300).await;
    for id in queue.unprocessed(None, 1000).await.unwrap() {
        fill_nothing(&queue, id.id).await;
    }
    clock.set(start() + SignedDuration::from_hours(1));
    while queue.wake_due(1000).await.unwrap() > 0 {}
    for id in queue.unprocessed(None, 1000).await.unwrap() {
        fill_nothing(&queue, id.id).await;
    }
    queue.prune(clock.now()).await.unwrap();
    assert!(queue.reader.segments.list().unwrap()[0] > 1);
    let value = |n| queue.registry().record(&record(n, "").key).unwrap();
    assert!((0..20).all(|n| value(n).is_some()));
    let dump = queue.dump().unwrap();
    queue.close().await.unwrap();
    drop(queue);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (queue, report) = LocalQueue::open(options(dir.path(), &clock)).unwrap();
    assert!(report.rebuilt, "{report:?}");
    assert_eq!(queue.dump().unwrap(), dump);
    let value = |n| queue.registry().record(&record(n, "").key).unwrap();
    assert!((0..20).all(|n| value(n).is_some()));
}

async fn fill_nothing(queue: &LocalQueue, id: EventId) {
    let ignored = Processed {
        disposition: Some(Disposition::Ignored),
        ..Processed::default()
    };
    queue.settle_event(id, ignored).await.unwrap();
}

#[tokio::test]
async fn settling_again_with_the_same_result_writes_next_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let id = accept(&queue, 1).await;
    let processed = Processed {
        records: vec![record(1, "one")],
        watches: vec![Watch::record(record(2, "").key)],
        wake_at: Some(start() + SignedDuration::from_hours(1)),
        ..mapped(
            vec![Fact::Outcome(outcome(id, OutcomeKind::Shown, 1))],
            vec![change("crm-a", "t", Change::Outcome(0))],
        )
    };
    queue.settle_event(id, processed.clone()).await.unwrap();
    queue.put_records(vec![record(2, "one")]).await.unwrap();
    let before = queue.shared.applied().offset;
    let dump = queue.dump().unwrap();
    queue.settle_event(id, processed.clone()).await.unwrap();
    let marked = queue.shared.applied().offset;
    assert!(marked - before < 120, "the mark and the counters");
    queue.settle_event(id, processed).await.unwrap();
    queue.put_records(vec![record(2, "one")]).await.unwrap();
    assert_eq!(queue.shared.applied().offset, marked, "nothing at all");
    let lines = |dump: &str| dump.lines().filter(|l| !l.starts_with("todo")).count();
    assert_eq!(lines(&queue.dump().unwrap()), lines(&dump));
}

#[tokio::test]
async fn a_change_wakes_everybody_a_bounded_number_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    let watched = record(1, "");
    for batch in 0..5 {
        let ids = (0..1000).map(|n| queue.commit_event(new_event(batch * 1000 + n)));
        let mut all = Vec::new();
        for accepted in futures_util::future::join_all(ids).await {
            let Ok(Acceptance::Accepted(id)) = accepted else {
                panic!("it is new: {accepted:?}");
            };
            let processed = Processed {
                disposition: Some(Disposition::Waiting),
                watches: vec![Watch::record(watched.key)],
                ..Processed::default()
            };
            all.push((id, processed));
        }
        let settled = queue.settle_events(all).await;
        assert!(settled.iter().all(Result::is_ok));
    }
    queue.put_records(vec![watched]).await.unwrap();
    assert_eq!(queue.stats().unprocessed, 4096);
    queue.events_arrived().await;
    assert_eq!(queue.wake_due(512).await.unwrap(), 512);
    while queue.wake_due(512).await.unwrap() > 0 {}
    assert_eq!(queue.stats().unprocessed, 5000);
}

#[tokio::test]
async fn what_a_crash_tore_is_kept_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    accept(&queue, 1).await;
    let tail = queue.shared.applied();
    drop(queue);
    let path = queue_segment(dir.path(), tail.segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[tail.offset as usize..][..20].fill(7);
    std::fs::write(&path, bytes).unwrap();
    let (queue, report) = open(dir.path());
    assert_eq!((report.torn_bytes, report.damaged_bytes), (20, 0));
    let copy = format!("quarantine/{:010}-{}.torn", tail.segment, tail.offset);
    assert_eq!(std::fs::read(dir.path().join(copy)).unwrap(), [7; 20]);
    drop(queue);
    let (_queue, report) = open(dir.path());
    assert_eq!(report.torn_bytes, 0);
}

#[tokio::test]
async fn what_stands_in_segments_behind_the_tail_is_kept_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    accept(&queue, 1).await;
    let tail = queue.shared.applied();
    drop(queue);
    // The next one is prepared ahead, which is nothing to be kept.
    for number in [tail.segment + 1, tail.segment + 2] {
        let mut bytes = journal::segment_header(number).to_vec();
        bytes.resize(5_000, 0);
        if number > tail.segment + 1 {
            bytes[100..120].fill(7);
        }
        std::fs::write(queue_segment(dir.path(), number), bytes).unwrap();
    }
    let scratch = tempfile::tempdir().unwrap();
    let examined = examine(dir.path(), scratch.path()).unwrap();
    assert_eq!((examined.torn_bytes, examined.damaged_bytes), (104, 0));
    let (_queue, report) = open(dir.path());
    assert_eq!((report.torn_bytes, report.damaged_bytes), (104, 0));
    let kept = std::fs::read_dir(dir.path().join("quarantine")).unwrap();
    let names: Vec<_> = kept.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(
        names,
        [format!("{:010}-16.torn", tail.segment + 2).as_str()]
    );
}

#[tokio::test]
async fn a_journal_that_is_shorter_than_the_index_knows_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = open(dir.path());
    fill(&queue, 10).await;
    queue.close().await.unwrap();
    let tail = queue.shared.applied();
    drop(queue);
    let path = queue_segment(dir.path(), tail.segment);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(tail.offset - 100).unwrap();
    let (queue, report) = open(dir.path());
    assert_eq!(report.damaged_bytes, 100, "{report:?}");
    assert!(accept(&queue, 1000).await.0 > 0);
}

fn queue_segment(dir: &std::path::Path, number: u64) -> std::path::PathBuf {
    dir.join(format!("journal/{number:010}.jnl"))
}
