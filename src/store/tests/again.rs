//! Deliveries that are written again after the store's file was lost.

use super::changes::{brings, call, says};
use super::*;
use crate::model::Basis;

fn again(mut record: Record, delivered: Timestamp) -> Record {
    record.again = Some(delivered);
    record
}

fn day(number: i64) -> Timestamp {
    noon() - SignedDuration::from_hours(24 * (10 - number))
}

async fn kind(store: &Store, target: &str) -> Option<OutcomeKind> {
    store.call(target).await.unwrap().unwrap().outcome?.kind
}

async fn statuses(store: &Store, target: &str) -> Vec<(Timestamp, String)> {
    let call = store.call(target).await.unwrap().unwrap();
    let log = store.log(&call.id).await.unwrap().into_iter();
    log.map(|entry| (entry.recorded_at, entry.status)).collect()
}

#[tokio::test]
async fn what_a_lost_store_was_told_meanwhile_outlasts_older_deliveries() {
    let Bench { store, .. } = &bench().await;
    // The file is new; this comes before anything is written again.
    let newest = sets(9, "call/c1", OutcomeKind::Closed);
    store.record(newest.clone()).await.unwrap();
    let old = (1..9).map(|n| {
        let record = sets(n, "call/c1", OutcomeKind::Lost);
        store.record(again(record, day(n as i64)))
    });
    let written = futures_util::future::try_join_all(old).await.unwrap();
    assert!(written.iter().all(|recorded| recorded.changed));
    let known = store.record(again(newest, noon())).await.unwrap();
    assert!(!known.changed);
    assert_eq!(kind(store, "call/c1").await, Some(OutcomeKind::Closed));
    let log = statuses(store, "call/c1").await;
    assert_eq!(log[0], (noon(), "success".to_owned()));
    let expected = (1..9).map(|n| (day(n), "failed".to_owned()));
    assert_eq!(log[1..], expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_taken_back_meanwhile_stays_taken_back() {
    let Bench { store, .. } = &bench().await;
    store.record(clears(9, "call/c1")).await.unwrap();
    let old = sets(1, "call/c1", OutcomeKind::Closed);
    store.record(again(old, day(1))).await.unwrap();
    assert_eq!(kind(store, "call/c1").await, None);
}

#[tokio::test]
async fn an_empty_store_is_filled_in_the_order_of_the_deliveries() {
    let Bench { store, clock, .. } = &bench().await;
    // Several in one millisecond, which their numbers put in order.
    for (number, kind) in [
        (1, OutcomeKind::Shown),
        (2, OutcomeKind::Closed),
        (3, OutcomeKind::Lost),
    ] {
        let record = sets(number, "call/c1", kind);
        store.record(again(record, day(1))).await.unwrap();
    }
    assert_eq!(kind(store, "call/c1").await, Some(OutcomeKind::Lost));
    // What comes after it is newer, whatever event it is of.
    clock.set(noon() + SignedDuration::from_hours(1));
    let mut retold = sets(0, "call/c1", OutcomeKind::Closed);
    retold.delivery.ordinal = 7;
    store.record(retold).await.unwrap();
    assert_eq!(kind(store, "call/c1").await, Some(OutcomeKind::Closed));
    let well = statuses(store, "call/c1").await;
    assert!(well.iter().all(|(_, status)| status == "success"));
}

#[tokio::test]
async fn what_a_client_said_happened_meanwhile_holds_and_metadata_alone_does_not_stand_in_the_way()
{
    let Bench { store, .. } = &bench().await;
    let calls = ["c1", "c2"].map(|id| call(id, Some("a"), None, 1));
    store.record_calls(calls.to_vec()).await.unwrap();
    let mut about = says("c1", "Sold", Basis::Reported);
    (about.kind, about.label, about.value) = (None, None, None);
    about.metadata = serde_json::json!({ "rep": "7" }).as_object().cloned();
    about.fields = vec!["custom_call_metadata"];
    store.change(about).await.unwrap();
    store
        .change(says("c2", "Sold", Basis::Reported))
        .await
        .unwrap();
    for (number, id) in [(1, "c1"), (2, "c2")] {
        let record = brings(number, id, "a", OutcomeKind::Lost);
        store.record(again(record, day(1))).await.unwrap();
    }
    assert_eq!(kind(store, "call/c1").await, Some(OutcomeKind::Lost));
    assert_eq!(kind(store, "call/c2").await, Some(OutcomeKind::Closed));
}
