//! What API clients say that is not what happened: a value, metadata. And which call they mean.

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::changes::{brings, call, one, says};
use super::*;
use crate::model::Basis;

/// A change of what is said about `c`, and of nothing else.
fn patch(value: Option<i64>, metadata: &Value, basis: Basis) -> Change {
    let mut change = says("c", "Sold", basis);
    (change.kind, change.label) = (None, None);
    change.value = value.map(Decimal::from);
    change.metadata = metadata.as_object().cloned();
    change
}

async fn bench_with_call() -> Bench {
    let bench = bench().await;
    let calls = vec![call("c", Some("a"), None, 1)];
    bench.store.record_calls(calls).await.unwrap();
    bench
}

fn in_euro(number: u64, kind: OutcomeKind) -> Record {
    let mut record = brings(number, "c", "a", kind);
    let outcome = &mut record.outcome.as_mut().unwrap().outcome;
    outcome.value = serde_json::from_value(json!({ "amount": "100", "currency": "EUR" })).unwrap();
    record
}

#[tokio::test]
async fn a_value_alone_has_the_currency_that_is_known() {
    let Bench { store, .. } = &bench_with_call().await;
    let worth = async |value: i64, metadata: Value| {
        let said = store.change(patch(Some(value), &metadata, Basis::Reported));
        assert!(matches!(said.await.unwrap(), Changed::Done(_)));
        let outcome = one(store, "c").await.outcome.unwrap();
        (outcome.value_minor.unwrap(), outcome.currency.unwrap())
    };
    let usd = |minor: i64| (minor, "USD".to_owned());
    let eur = |minor: i64| (minor, "EUR".to_owned());
    // Words that are no currency leave the configured one.
    assert_eq!(worth(1, json!({ "currency": "euro" })).await, usd(100));
    store.record(clears(1, "call/c")).await.unwrap();
    store.record(in_euro(2, OutcomeKind::Closed)).await.unwrap();
    assert_eq!(worth(250, Value::Null).await, eur(25_000));
    assert_eq!(
        worth(5, json!({ "currency": "JPY" })).await,
        (5, "JPY".to_owned())
    );
    assert_eq!(
        worth(6, json!({ "currency": "yen" })).await,
        (6, "JPY".to_owned())
    );
}

#[tokio::test]
async fn a_value_alone_has_the_currency_of_the_calls_metadata() {
    let Bench { store, .. } = &bench_with_call().await;
    let said = patch(None, &json!({ "currency": "EUR" }), Basis::Reported);
    store.change(said).await.unwrap();
    store
        .change(patch(Some(7), &Value::Null, Basis::Reported))
        .await
        .unwrap();
    let outcome = one(store, "c").await.outcome.unwrap();
    assert_eq!(outcome.currency.as_deref(), Some("EUR"));
}

#[tokio::test]
async fn a_value_alone_leaves_the_outcome_to_the_delivery_that_brought_it() {
    let Bench { store, .. } = &bench_with_call().await;
    store.record(in_euro(1, OutcomeKind::Closed)).await.unwrap();
    let before = one(store, "c").await.outcome.unwrap();
    store
        .change(patch(Some(250), &Value::Null, Basis::Reported))
        .await
        .unwrap();
    let seen = one(store, "c").await;
    let outcome = seen.outcome.clone().unwrap();
    assert_eq!(outcome.value.as_deref(), Some("250"));
    assert_eq!(
        (
            &outcome.source,
            &outcome.actor,
            outcome.basis,
            &outcome.outcome_id,
            &outcome.event_id,
            &outcome.rule
        ),
        (
            &before.source,
            &before.actor,
            before.basis,
            &before.outcome_id,
            &before.event_id,
            &before.rule
        ),
    );
    let log = store.log(&seen.id).await.unwrap();
    assert_eq!(
        (log[1].actor.as_str(), &log[1].event_id),
        ("api:phonely/crm", &None)
    );
    // So the queue can take it back.
    store.record(clears(2, "call/c")).await.unwrap();
    assert_eq!(one(store, "c").await.outcome, None);
}

#[tokio::test]
async fn a_value_that_was_set_by_hand_holds_against_deliveries() {
    let Bench { store, .. } = &bench_with_call().await;
    store.record(in_euro(1, OutcomeKind::Closed)).await.unwrap();
    store
        .change(patch(Some(250), &Value::Null, Basis::Manual))
        .await
        .unwrap();
    store.record(in_euro(2, OutcomeKind::Lost)).await.unwrap();
    store.record(clears(3, "call/c")).await.unwrap();
    let outcome = one(store, "c").await.outcome.unwrap();
    assert_eq!(
        (outcome.kind, outcome.value.as_deref()),
        (Some(OutcomeKind::Closed), Some("250"))
    );
    assert_eq!(
        (outcome.source.as_str(), outcome.basis),
        ("stripe", Basis::Manual)
    );
}

#[tokio::test]
async fn metadata_is_taken_beside_an_outcome_that_was_set_by_hand() {
    let Bench { store, .. } = &bench_with_call().await;
    store
        .change(says("c", "No Sale", Basis::Manual))
        .await
        .unwrap();
    let said = store.change(patch(None, &json!({ "rep": "7" }), Basis::Reported));
    assert!(matches!(said.await.unwrap(), Changed::Done(_)));
    let with_value = store.change(patch(Some(1), &json!({ "rep": "8" }), Basis::Reported));
    assert!(matches!(
        with_value.await.unwrap(),
        Changed::Refused(Refusal::Held(_))
    ));
    let seen = one(store, "c").await;
    assert_eq!(seen.metadata["rep"], "7");
    let outcome = seen.outcome.unwrap();
    assert_eq!(
        (outcome.label.as_deref(), outcome.basis),
        (Some("No Sale"), Basis::Manual)
    );
}

#[tokio::test]
async fn a_value_is_no_outcome_until_it_is_known_what_happened() {
    let Bench { store, .. } = &bench_with_call().await;
    store
        .change(patch(Some(299), &Value::Null, Basis::Reported))
        .await
        .unwrap();
    let listed = async || {
        let page = PageRequest::first(9);
        let filter = CallFilter {
            has_outcome: Some(true),
            ..CallFilter::default()
        };
        let calls = store.calls(&filter, page).await.unwrap().items.len();
        (calls, all(store, OutcomeFilter::default()).await.len())
    };
    let worth = async || {
        let period = Period {
            from: Timestamp::UNIX_EPOCH,
            to: noon(),
        };
        let calendar = Calendar {
            zone: TimeZone::UTC,
            step: crate::store::Step::Whole,
        };
        let everything = Condition::default();
        let asked = store.report(
            &everything,
            &[],
            Attribution::Recorded,
            (period, &calendar),
            false,
        );
        let report = asked.await.unwrap();
        let [of_all, of_outcomes] =
            [&report.all, &report.with_outcome].map(|part| part.tally.values.get("USD").copied());
        (report.with_outcome.tally.calls, of_all, of_outcomes)
    };
    assert_eq!((listed().await, worth().await), ((0, 0), (0, None, None)));
    assert_eq!(
        one(store, "c").await.outcome.unwrap().value.as_deref(),
        Some("299")
    );
    let mut happened = says("c", "Sold", Basis::Reported);
    happened.value = None;
    store.change(happened).await.unwrap();
    let value = Some(Decimal::from(299));
    assert_eq!((listed().await, worth().await), ((1, 1), (1, value, value)));
}

#[tokio::test]
async fn of_one_id_with_two_platforms_the_newest_call_is_meant_and_of_two_agents_none() {
    let Bench { store, .. } = &bench().await;
    let of = |platform: &str, agent: &str, start: i64| CallRecord {
        platform: Some(platform.to_owned()),
        ..call("c", Some(agent), None, start)
    };
    // The newer one came first.
    store.record_calls(vec![of("vapi", "a", 9)]).await.unwrap();
    store
        .record_calls(vec![of("retell", "a", 5)])
        .await
        .unwrap();
    store
        .change(says("c", "Sold", Basis::Reported))
        .await
        .unwrap();
    let seen = one(store, "c").await;
    assert_eq!(seen.platform.as_deref(), Some("vapi"));
    assert!(seen.outcome.is_some());
    store.record_calls(vec![of("vapi", "b", 7)]).await.unwrap();
    let change = says("c", "Sold", Basis::Reported);
    let refused = Changed::Refused(Refusal::Ambiguous(2));
    assert_eq!(store.change(change.clone()).await.unwrap(), refused);
    let nothing = Sought {
        scope: Some(Vec::new()),
        ..change.call
    };
    assert_eq!(
        store.find_call(&nothing).await.unwrap(),
        Err(Refusal::NoCall)
    );
}
