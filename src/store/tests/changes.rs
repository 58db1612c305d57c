//! Deliveries, API clients and calls that meet at one row.

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::json;

use super::*;
use crate::model::Basis;
use crate::store::migration::STEPS;

pub(super) fn call(id: &str, agent: Option<&str>, phone: Option<&str>, start: i64) -> CallRecord {
    CallRecord {
        agent_id: agent.map(str::to_owned),
        call_id: id.to_owned(),
        phone: phone.map(|phone| serde_json::from_value(json!(phone)).unwrap()),
        started_at: Some(noon() - SignedDuration::from_hours(100 - start)),
        ..CallRecord::default()
    }
}

pub(super) fn says(call: &str, label: &str, basis: Basis) -> Change {
    Change {
        call: Sought {
            key: CallKey::Id(call.to_owned()),
            agent: None,
            scope: None,
        },
        actor: "api:phonely/crm".to_owned(),
        source: "api:phonely".to_owned(),
        basis,
        kind: kind_of_label(label),
        label: Some(label.to_owned()),
        value: Some(Decimal::new(29_900, 2)),
        currency: Some("USD".to_owned()),
        notes: None,
        metadata: None,
        fields: vec!["custom_call_outcome"],
    }
}

pub(super) fn brings(number: u64, call: &str, agent: &str, kind: OutcomeKind) -> Record {
    let mut record = sets(number, &format!("call/{call}"), kind);
    let subject = &mut record.outcome.as_mut().unwrap().outcome.subject;
    subject.call_id = Some(call.to_owned());
    subject.agent_id = Some(agent.to_owned());
    record
}

pub(super) async fn one(store: &Store, id: &str) -> CallRow {
    let sought = Sought {
        key: CallKey::Id(id.to_owned()),
        agent: None,
        scope: None,
    };
    store.find_call(&sought).await.unwrap().unwrap()
}

async fn kinds(store: &Store, call: &CallRow) -> Vec<(String, Option<OutcomeKind>, String)> {
    let log = store.log(&call.id).await.unwrap();
    log.into_iter()
        .map(|entry| (entry.actor, entry.kind, entry.status))
        .collect()
}

#[tokio::test]
async fn between_deliveries_and_clients_the_last_write_wins_and_both_are_logged() {
    let Bench { store, .. } = &bench().await;
    store
        .record_calls(vec![call("c", Some("a"), None, 1)])
        .await
        .unwrap();
    store
        .record(brings(1, "c", "a", OutcomeKind::Shown))
        .await
        .unwrap();
    store
        .change(says("c", "Sold", Basis::Reported))
        .await
        .unwrap();
    let seen = one(store, "c").await;
    let outcome = seen.outcome.clone().unwrap();
    assert_eq!(
        (outcome.kind, outcome.label.as_deref()),
        (Some(OutcomeKind::Closed), Some("Sold"))
    );
    assert_eq!(
        (outcome.value_minor, outcome.event_id),
        (Some(29_900), None)
    );
    // The queue takes back what it said; what the client said stays.
    store.record(clears(2, "call/c")).await.unwrap();
    assert!(one(store, "c").await.outcome.is_some());
    store
        .record(brings(3, "c", "a", OutcomeKind::Lost))
        .await
        .unwrap();
    let outcome = one(store, "c").await.outcome.unwrap();
    assert_eq!(outcome.kind, Some(OutcomeKind::Lost));
    store.record(clears(4, "call/c")).await.unwrap();
    let seen = one(store, "c").await;
    assert_eq!(seen.outcome, None);
    let (queue, client) = ("delivery".to_owned(), "api:phonely/crm".to_owned());
    let (well, failed) = ("success".to_owned(), "failed".to_owned());
    assert_eq!(
        kinds(store, &seen).await,
        [
            (queue.clone(), Some(OutcomeKind::Shown), well.clone()),
            (client, Some(OutcomeKind::Closed), well.clone()),
            (queue.clone(), None, failed),
            (queue.clone(), Some(OutcomeKind::Lost), well.clone()),
            (queue, None, well),
        ]
    );
}

#[tokio::test]
async fn what_a_client_set_by_hand_holds_against_deliveries() {
    let Bench { store, .. } = &bench().await;
    store
        .record_calls(vec![call("c", Some("a"), None, 1)])
        .await
        .unwrap();
    store
        .change(says("c", "No Sale", Basis::Manual))
        .await
        .unwrap();
    store
        .record(brings(1, "c", "a", OutcomeKind::Closed))
        .await
        .unwrap();
    let refused = store.change(says("c", "Sold", Basis::Reported)).await;
    assert!(matches!(
        refused.unwrap(),
        Changed::Refused(Refusal::Held(_))
    ));
    let seen = one(store, "c").await;
    assert_eq!(seen.outcome.unwrap().kind, Some(OutcomeKind::Lost));
    assert_eq!(seen.revision, 3);
    store
        .change(says("c", "Sold", Basis::Manual))
        .await
        .unwrap();
    let outcome = one(store, "c").await.outcome.unwrap();
    assert_eq!(outcome.kind, Some(OutcomeKind::Closed));
}

#[tokio::test]
async fn a_delivery_finds_the_call_of_its_agent() {
    let Bench { store, .. } = &bench().await;
    let calls = vec![call("c", Some("a"), None, 1), call("c", Some("b"), None, 2)];
    store.record_calls(calls).await.unwrap();
    store
        .record(brings(1, "c", "a", OutcomeKind::Closed))
        .await
        .unwrap();
    let page = PageRequest::first(10);
    let found = store.calls(&CallFilter::default(), page).await.unwrap();
    let told: Vec<_> = found
        .items
        .iter()
        .map(|call| (call.agent_id.as_deref().unwrap(), call.outcome.is_some()))
        .collect();
    assert_eq!(told, [("b", false), ("a", true)]);
    // And the other way round: the call comes after its outcome.
    store
        .record(brings(2, "late", "a", OutcomeKind::Lost))
        .await
        .unwrap();
    let recorded = store
        .record_calls(vec![call("late", Some("a"), None, 3)])
        .await
        .unwrap();
    assert_eq!((recorded.created, recorded.updated), (0, 1));
    assert!(one(store, "late").await.started_at.is_some());
}

#[tokio::test]
async fn calls_of_several_agents_in_one_batch_are_all_kept() {
    let Bench { store, .. } = &bench().await;
    let agents = [None, Some("a"), Some("b")];
    let calls = agents.map(|agent| call("c", agent, None, 1));
    let recorded = store.record_calls(calls.to_vec()).await.unwrap();
    let expected = CallsRecorded {
        created: 2,
        updated: 1,
        unchanged: 0,
    };
    assert_eq!(recorded, expected);
}

#[tokio::test]
async fn a_touch_counts_at_the_agent_that_becomes_known_and_at_nothing_that_was_corrected() {
    let Bench { store, .. } = &bench().await;
    let phone = Some("+14155551234");
    let first = call("first", None, phone, 1);
    let won = call("won", Some("z"), phone, 50);
    store.record_calls(vec![first, won]).await.unwrap();
    store
        .change(says("won", "Sold", Basis::Reported))
        .await
        .unwrap();
    let won_by = async || {
        let period = Period {
            from: Timestamp::UNIX_EPOCH,
            to: noon(),
        };
        let won = Condition::default();
        let lines = store.breakdown(&won, &Split::Agent, Attribution::First, period);
        let lines = lines.await.unwrap().into_iter();
        let lines = lines.filter(|line| line.with_outcome > 0);
        lines.map(|line| line.value).collect::<Vec<_>>()
    };
    assert_eq!(won_by().await, [""]);
    let known = call("first", Some("a"), phone, 1);
    store.record_calls(vec![known]).await.unwrap();
    assert_eq!(won_by().await, ["a"]);
    let of_another = call("first", Some("a"), Some("+14155550000"), 1);
    store.record_calls(vec![of_another]).await.unwrap();
    assert_eq!(won_by().await, ["z"]);
}

#[tokio::test]
async fn a_store_of_the_first_layout_is_carried_over_with_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut old = SqliteConnection::connect(&url).await.unwrap();
    let rows = [
        "CREATE TABLE layout (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL)",
        "INSERT INTO layout VALUES (1, 0)",
        "INSERT INTO calls VALUES ('call_x', 'call/c', 1, NULL, 'a', 'c', '+14155551234', NULL, NULL, '{}', 5, 6)",
        "INSERT INTO outcomes VALUES ('call_x', 'out_x', 'closed', 'Sold', 100, '1', 'USD', NULL, '{}', 'reported', 7, 'stripe', 'evt_x', 'r', 8)",
        "INSERT INTO outcome_log VALUES ('log_x', 'call_x', 1, 'evt_x', 'out_x', 'stripe', 'r', NULL, 'closed', 'Sold', 100, '1', 'USD', 'reported', 7, 8, 'success', NULL)",
    ];
    for statement in rows[..2].iter().chain(STEPS[0]).chain(&rows[2..]) {
        sqlx::query(*statement).execute(&mut old).await.unwrap();
    }
    old.close().await.unwrap();
    let store = Store::open(&path, Clock::manual(noon())).await.unwrap();
    let seen = store.call("call/c").await.unwrap().unwrap();
    assert_eq!(
        seen.outcome.as_ref().unwrap().label.as_deref(),
        Some("Sold")
    );
    assert_eq!(kinds(&store, &seen).await[0].0, "delivery");
    let whole = Period {
        from: Timestamp::UNIX_EPOCH,
        to: noon(),
    };
    let calendar = Calendar {
        zone: TimeZone::UTC,
        step: Step::Whole,
    };
    let everything = Condition::default();
    let report = store
        .report(
            &everything,
            &[],
            Attribution::First,
            (whole, &calendar),
            false,
        )
        .await
        .unwrap();
    assert_eq!(
        (report.all.tally.calls, report.parts[0].tally.calls),
        (1, 1)
    );
}

#[tokio::test]
async fn a_phone_with_thousands_of_calls_is_no_burden() {
    let Bench { store, .. } = &bench().await;
    // From the newest to the oldest, which moves the first touch with each batch.
    let phone = Some("+14155551234");
    store
        .record_calls(vec![call("newest", Some("z"), phone, 99)])
        .await
        .unwrap();
    store
        .change(says("newest", "Sold", Basis::Reported))
        .await
        .unwrap();
    for batch in (0..6).rev() {
        let calls = (0..1_000).rev().map(|n| {
            let number = batch * 1_000 + n;
            let mut call = call(&format!("c{number}"), Some("a"), phone, 0);
            call.started_at = Some(Timestamp::from_second(1_700_000_000 + number).unwrap());
            call
        });
        store.record_calls(calls.collect()).await.unwrap();
    }
    let sought = Sought {
        key: CallKey::Phone(
            serde_json::from_value(json!("+14155551234")).unwrap(),
            Preference::First,
        ),
        agent: Some("a".to_owned()),
        scope: None,
    };
    let first = store.find_call(&sought).await.unwrap().unwrap();
    assert_eq!(first.call_id.as_deref(), Some("c0"));
    let whole = Period {
        from: Timestamp::from_second(1_700_000_000).unwrap(),
        to: Timestamp::from_second(1_700_000_001).unwrap(),
    };
    let won = Condition {
        kinds: vec!["closed".to_owned()],
        ..Condition::default()
    };
    let page = PageRequest::first(10);
    let behind = store.calls_behind(&won, Attribution::First, whole, page);
    assert_eq!(behind.await.unwrap().items.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn calls_come_out_the_same_in_whatever_order_they_came(
        said in proptest::collection::vec((0usize..3, 0i64..4, 0usize..4), 1..12), seed: u64,
    ) {
        let records: Vec<CallRecord> = said
            .iter()
            .enumerate()
            .map(|(i, (call, field, value))| {
                let word = Some(format!("v{value}"));
                CallRecord {
                    call_id: format!("c{call}"),
                    email: word.clone().filter(|_| *field == 0),
                    direction: word.clone().filter(|_| *field == 1),
                    recording_url: word.filter(|_| *field == 2),
                    metadata: json!({ format!("k{field}"): value }).as_object().unwrap().clone(),
                    // No two at the same moment: of those the later arrival wins.
                    as_of: Some(noon() - SignedDuration::from_secs(i as i64)),
                    ..CallRecord::default()
                }
            })
            .collect();
        let mut shuffled = records.clone();
        shuffled.sort_by_key(|record| {
            record.as_of.map(|at| (at.as_second() as u64).wrapping_mul(seed | 1).rotate_left(17))
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut ends = Vec::new();
            for records in [records, shuffled] {
                let Bench { store, .. } = &bench().await;
                for record in records {
                    store.record_calls(vec![record]).await.unwrap();
                }
                let mut calls = Vec::new();
                for n in 0..3 {
                    let sought = Sought { key: CallKey::Id(format!("c{n}")), agent: None, scope: None };
                    let call = store.find_call(&sought).await.unwrap().ok();
                    calls.push(call.map(|call| {
                        let metadata: BTreeMap<String, serde_json::Value> = call.metadata.into_iter().collect();
                        (call.email, call.direction, call.recording_url, metadata)
                    }));
                }
                ends.push(calls);
            }
            assert_eq!(ends[0], ends[1]);
        });
    }
}
