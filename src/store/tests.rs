//! The store's promises, on real files.

mod again;
mod breakdowns;
mod changes;
mod hardship;
mod patches;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::model::{DeliveryId, EventId, OutcomeId, OutcomeKind, SourceName};
use crate::queue::{PageRequest, StoredOutcome};

struct Bench {
    _folder: TempDir,
    path: PathBuf,
    clock: Clock,
    store: Store,
}

fn noon() -> Timestamp {
    "2026-05-06T12:00:00Z".parse().unwrap()
}

async fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let clock = Clock::manual(noon());
    let store = Store::open(&path, clock.clone()).await.unwrap();
    Bench {
        _folder: folder,
        path,
        clock,
        store,
    }
}

fn delivery(number: u64) -> DeliveryId {
    DeliveryId {
        event: EventId(number),
        ordinal: 0,
    }
}

fn outcome(number: u64, kind: OutcomeKind) -> StoredOutcome {
    let event = EventId(number);
    let outcome = serde_json::json!({
        "kind": kind, "label": "Sold", "value": {"amount": "1999.990", "currency": "USD"},
        "notes": "signed", "metadata": {"plan": "pro"},
        "subject": {"call_id": "call-1", "phone": "+14155551234", "agent_id": "agent-7"},
        "occurred_at": noon() - SignedDuration::from_hours(2), "source": "stripe",
        "event": event, "rule": "paid", "basis": "inferred",
    });
    StoredOutcome {
        id: OutcomeId { event, ordinal: 0 },
        outcome: serde_json::from_value(outcome).unwrap(),
    }
}

fn sets(number: u64, target: &str, kind: OutcomeKind) -> Record {
    Record {
        delivery: delivery(number),
        target: target.to_owned(),
        outcome: Some(outcome(number, kind)),
        furthest: Some(kind),
        again: None,
    }
}

fn clears(number: u64, target: &str) -> Record {
    Record {
        delivery: delivery(number),
        target: target.to_owned(),
        outcome: None,
        furthest: None,
        again: None,
    }
}

async fn all(store: &Store, filter: OutcomeFilter) -> Vec<OutcomeRow> {
    let page = store
        .outcomes(&filter, OutcomeOrder::Recorded, PageRequest::first(1_000))
        .await;
    page.unwrap().items
}

#[tokio::test]
async fn an_outcome_is_kept_whole() {
    let Bench { store, .. } = &bench().await;
    let recorded = store
        .record(sets(1, "t", OutcomeKind::Closed))
        .await
        .unwrap();
    assert!(recorded.changed);
    let call = store.call("t").await.unwrap().unwrap();
    assert_eq!(call.id, recorded.call);
    assert_eq!(call.phone.as_deref(), Some("+14155551234"));
    assert_eq!(call.call_id.as_deref(), Some("call-1"));
    assert_eq!(call.agent_id.as_deref(), Some("agent-7"));
    assert_eq!(call.created_at, noon());
    let row = call.outcome.unwrap();
    assert_eq!(row.kind, Some(OutcomeKind::Closed));
    assert_eq!(row.value.as_deref(), Some("1999.990"));
    assert_eq!(row.value_minor, Some(199_999));
    assert_eq!(row.currency.as_deref(), Some("USD"));
    assert_eq!(row.label.as_deref(), Some("Sold"));
    assert_eq!(row.notes.as_deref(), Some("signed"));
    assert_eq!(row.metadata["plan"], "pro");
    assert_eq!(row.basis, crate::model::Basis::Inferred);
    assert_eq!(row.occurred_at, noon() - SignedDuration::from_hours(2));
    assert_eq!(
        (row.source.as_str(), row.rule.as_deref()),
        ("stripe", Some("paid"))
    );
    assert_eq!(row.event_id, Some(EventId(1).to_string()));
    assert_eq!(
        store
            .call(&recorded.call)
            .await
            .unwrap()
            .unwrap()
            .target
            .as_deref(),
        Some("t")
    );
    assert_eq!(store.call("nobody").await.unwrap(), None);
}

#[tokio::test]
async fn each_change_is_logged_with_what_held_before() {
    let Bench { store, clock, .. } = &bench().await;
    store
        .record(sets(1, "t", OutcomeKind::NoShow))
        .await
        .unwrap();
    clock.set(noon() + SignedDuration::from_secs(9));
    store
        .record(sets(2, "t", OutcomeKind::Closed))
        .await
        .unwrap();
    let recorded = store.record(clears(3, "t")).await.unwrap();

    let log = store.log(&recorded.call).await.unwrap();
    let steps: Vec<_> = log
        .iter()
        .map(|l| (l.revision, l.previous_kind, l.kind))
        .collect();
    use OutcomeKind::{Closed, NoShow};
    assert_eq!(
        steps,
        [
            (1, None, Some(NoShow)),
            (2, Some(NoShow), Some(Closed)),
            (3, Some(Closed), None)
        ]
    );
    assert_eq!(log[1].recorded_at, noon() + SignedDuration::from_secs(9));
    assert_eq!(Some(&log[2].id), recorded.log.as_ref());
    assert!(log.iter().all(|l| l.status == "success"));
    let call = store.call("t").await.unwrap().unwrap();
    assert_eq!((call.revision, call.outcome), (3, None));
    assert!(all(store, OutcomeFilter::default()).await.is_empty());
}

#[tokio::test]
async fn a_delivery_that_comes_again_changes_nothing() {
    let Bench { store, .. } = &bench().await;
    let first = store
        .record(sets(1, "t", OutcomeKind::NoShow))
        .await
        .unwrap();
    store
        .record(sets(2, "t", OutcomeKind::Closed))
        .await
        .unwrap();
    let again = store
        .record(sets(1, "t", OutcomeKind::NoShow))
        .await
        .unwrap();
    assert!(!again.changed);
    assert_eq!((again.call, again.log), (first.call.clone(), first.log));
    assert_eq!(store.log(&first.call).await.unwrap().len(), 2);
    let call = store.call("t").await.unwrap().unwrap();
    assert_eq!(call.outcome.unwrap().kind, Some(OutcomeKind::Closed));
}

#[tokio::test]
async fn what_is_recorded_is_there_after_opening_again() {
    let Bench {
        store,
        path,
        clock,
        _folder,
    } = bench().await;
    let recorded = store.record(sets(1, "t", OutcomeKind::Lost)).await.unwrap();
    drop(store);
    let store = Store::open(&path, clock).await.unwrap();
    assert_eq!(store.call("t").await.unwrap().unwrap().id, recorded.call);
    assert!(
        !store
            .record(sets(1, "t", OutcomeKind::Lost))
            .await
            .unwrap()
            .changed
    );
}

#[tokio::test]
async fn closing_writes_what_was_handed_in_and_takes_no_more() {
    let Bench {
        store,
        path,
        clock,
        _folder,
    } = bench().await;
    let records = (0..300).map(|n| store.record(sets(n, &format!("t{n}"), OutcomeKind::Shown)));
    let mut writes = Box::pin(futures_util::future::join_all(records));
    // Handed in, not answered yet.
    assert!(futures_util::poll!(&mut writes).is_pending());
    let (answers, ()) = tokio::join!(writes, store.close());
    assert!(answers.iter().all(Result::is_ok));
    let late = store.record(sets(999, "late", OutcomeKind::Shown)).await;
    assert!(matches!(late, Err(StoreError::Closed)));
    let log = path.with_extension("sqlite-wal");
    assert!(!log.exists(), "the write-ahead log was not folded in");
    let again = Store::open(&path, clock).await.unwrap();
    assert_eq!(again.counts().await.unwrap().calls, 300);
}

#[tokio::test]
async fn pages_hold_every_outcome_once_newest_first() {
    let Bench { store, clock, .. } = &bench().await;
    for number in 0..25u64 {
        // Some share a millisecond.
        clock.set(noon() + SignedDuration::from_millis((number / 3) as i64));
        let target = format!("t{number}");
        store
            .record(sets(number, &target, OutcomeKind::Shown))
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut page = PageRequest::first(4);
    loop {
        let answer = store
            .outcomes(&OutcomeFilter::default(), OutcomeOrder::Recorded, page)
            .await
            .unwrap();
        assert!(answer.items.len() <= 4);
        seen.extend(
            answer
                .items
                .into_iter()
                .map(|row| (row.recorded_at, row.call_ref)),
        );
        let Some(next) = answer.next else { break };
        assert_eq!(next.to_string().parse::<RowCursor>().unwrap(), next);
        page = PageRequest {
            after: Some(next),
            limit: 4,
        };
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
    assert!("nonsense".parse::<RowCursor>().is_err());
}

#[tokio::test]
async fn in_the_order_of_calls_nothing_is_missed_that_changes_while_pages_are_read() {
    let Bench { store, clock, .. } = &bench().await;
    for number in 0..9u64 {
        let record = sets(number, &format!("t{number}"), OutcomeKind::Shown);
        store.record(record).await.unwrap();
    }
    let (mut seen, mut page) = (Vec::new(), PageRequest::first(4));
    loop {
        let everything = OutcomeFilter::default();
        let found = store.outcomes(&everything, OutcomeOrder::Call, page).await;
        let found = found.unwrap();
        seen.extend(found.items.into_iter().filter_map(|row| row.target));
        let Some(next) = found.next else { break };
        page = PageRequest {
            after: Some(next),
            limit: 4,
        };
        // One that was seen and one that was not.
        clock.set(clock.now() + SignedDuration::from_secs(1));
        for (number, target) in [(100, "t1"), (200, "t7")] {
            let number = number + seen.len() as u64;
            store
                .record(sets(number, target, OutcomeKind::Closed))
                .await
                .unwrap();
        }
    }
    let expected: Vec<String> = (0..9).map(|number| format!("t{number}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_address_is_found_however_it_is_written() {
    let Bench { store, .. } = &bench().await;
    let mut call = changes::call("c", Some("a"), None, 1);
    call.email = Some("ann@example.com".to_owned());
    store.record_calls(vec![call]).await.unwrap();
    let filter = CallFilter {
        email: Some("Ann@Example.com".to_owned()),
        ..CallFilter::default()
    };
    let found = store.calls(&filter, PageRequest::first(9)).await.unwrap();
    assert_eq!(found.items.len(), 1);
}

#[tokio::test]
async fn filters_hold_together() {
    let Bench { store, .. } = &bench().await;
    store
        .record(sets(1, "a", OutcomeKind::Closed))
        .await
        .unwrap();
    store.record(sets(2, "b", OutcomeKind::Lost)).await.unwrap();
    let find = async |filter: OutcomeFilter| {
        let rows = all(store, filter).await;
        rows.into_iter()
            .filter_map(|row| row.target)
            .collect::<BTreeSet<_>>()
    };
    let base = OutcomeFilter::default;
    let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let kind = Some(OutcomeKind::Lost);
    assert_eq!(
        find(OutcomeFilter { kind, ..base() }).await,
        ["b".to_owned()].into()
    );
    let phone = Some("+14155551234".to_owned());
    assert_eq!(
        find(OutcomeFilter {
            call: phone,
            ..base()
        })
        .await,
        both
    );
    let injection = Some("' OR 1 = 1 --".to_owned());
    assert!(
        find(OutcomeFilter {
            call: injection,
            ..base()
        })
        .await
        .is_empty()
    );
    let source = Some(SourceName::new("stripe").unwrap());
    assert_eq!(find(OutcomeFilter { source, ..base() }).await, both);
    let source = Some(SourceName::new("other").unwrap());
    assert!(
        find(OutcomeFilter {
            source,
            kind,
            ..base()
        })
        .await
        .is_empty()
    );
    let happened = noon() - SignedDuration::from_hours(2);
    let since = Some(happened);
    assert_eq!(find(OutcomeFilter { since, ..base() }).await, both);
    let until = Some(happened);
    assert!(find(OutcomeFilter { until, ..base() }).await.is_empty());
}

#[tokio::test]
async fn counts_cover_every_kind() {
    let Bench { store, .. } = &bench().await;
    store
        .record(sets(1, "a", OutcomeKind::Closed))
        .await
        .unwrap();
    store
        .record(sets(2, "b", OutcomeKind::Closed))
        .await
        .unwrap();
    store.record(clears(3, "c")).await.unwrap();
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.calls, counts.changes), (3, 3));
    assert_eq!(counts.outcomes["closed"], 2);
    assert_eq!(counts.outcomes["lost"], 0);
}

#[tokio::test]
async fn later_outcomes_fill_in_what_was_not_known_of_a_call() {
    let Bench { store, .. } = &bench().await;
    store.record(clears(1, "t")).await.unwrap();
    assert_eq!(store.call("t").await.unwrap().unwrap().phone, None);
    store
        .record(sets(2, "t", OutcomeKind::Shown))
        .await
        .unwrap();
    let mut without = sets(3, "t", OutcomeKind::Closed);
    without.outcome.as_mut().unwrap().outcome.subject = Default::default();
    store.record(without).await.unwrap();
    let call = store.call("t").await.unwrap().unwrap();
    assert_eq!(call.phone.as_deref(), Some("+14155551234"));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_updates_never_lose_one() {
    let Bench { store, .. } = &bench().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8u64 {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0..50 {
                let record = sets(writer * 100 + number, "one call", OutcomeKind::Shown);
                assert!(store.record(record).await.unwrap().changed);
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let call = store.call("one call").await.unwrap().unwrap();
    assert_eq!(call.revision, 400);
    let log = store.log(&call.id).await.unwrap();
    assert_eq!(log.len(), 400);
    assert!(
        log.iter()
            .zip(1..)
            .all(|(entry, revision)| entry.revision == revision)
    );
    assert_eq!(
        Some(&log[399].event_id),
        call.outcome.map(|o| o.event_id).as_ref()
    );
}

#[tokio::test]
async fn one_record_that_cannot_be_written_leaves_its_neighbours_alone() {
    let Bench { store, path, .. } = &bench().await;
    let mut other = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON calls WHEN NEW.target = 'bad' \
                  BEGIN SELECT RAISE(ABORT, 'refused'); END";
    sqlx::query(refuse).execute(&mut other).await.unwrap();
    let targets = ["a", "bad", "b", "c"];
    let records = (1..)
        .zip(targets)
        .map(|(n, target)| store.record(sets(n, target, OutcomeKind::Shown)));
    let answers = futures_util::future::join_all(records).await;
    let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, true, true]);
    assert_eq!(store.counts().await.unwrap().calls, 3);
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_not_touched() {
    let Bench {
        store,
        path,
        clock,
        _folder,
    } = bench().await;
    drop(store);
    let mut other = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::query("INSERT INTO layout VALUES (99, 0)")
        .execute(&mut other)
        .await
        .unwrap();
    let error = Store::open(&path, clock).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 99, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    std::fs::write(
        &path,
        "this is not a database, but it is long enough to look at",
    )
    .unwrap();
    let error = Store::open(&path, Clock::system()).await.unwrap_err();
    assert!(
        error.to_string().starts_with("the outcome store"),
        "{error}"
    );
}

/// What the store should hold, kept in the simplest way.
#[derive(Default)]
struct Model {
    seen: BTreeSet<u64>,
    calls: BTreeMap<String, (i64, Option<OutcomeKind>)>,
}

impl Model {
    fn record(&mut self, number: u64, target: &str, kind: Option<OutcomeKind>) {
        if self.seen.insert(number) {
            let call = self.calls.entry(target.to_owned()).or_default();
            *call = (call.0 + 1, kind);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_store_holds_what_a_plain_model_holds(
        steps in proptest::collection::vec((0u64..30, 0usize..4, 0usize..6), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Bench { store, .. } = &bench().await;
            let mut model = Model::default();
            let records = steps.iter().map(|(number, target, kind)| {
                let target = format!("call {target} ' \u{1F600}");
                let kind = OutcomeKind::ALL.get(*kind).copied();
                model.record(*number, &target, kind);
                store.record(match kind {
                    Some(kind) => sets(*number, &target, kind),
                    None => clears(*number, &target),
                })
            });
            // All at once, so that batches form; in order of the channel.
            for answer in futures_util::future::join_all(records).await {
                answer.unwrap();
            }
            for (target, (revision, kind)) in &model.calls {
                let call = store.call(target).await.unwrap().unwrap();
                assert_eq!(call.revision, *revision);
                assert_eq!(call.outcome.and_then(|o| o.kind), *kind);
                let log = store.log(&call.id).await.unwrap();
                assert_eq!(log.len() as i64, *revision);
                assert_eq!(log.last().unwrap().kind, *kind);
            }
            assert_eq!(store.counts().await.unwrap().calls, model.calls.len() as i64);
        });
    }
}
