//! A disk that fills up, and a phone with very many calls.

use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::*;
use crate::model::Basis;
use crate::store::change::push_sought;

/// A database that may not grow beyond so many pages, which is to SQLite what a full disk is.
const PAGES: &str = "120";

fn call(id: &str, transcript: Option<String>) -> CallRecord {
    CallRecord {
        agent_id: Some("a".to_owned()),
        call_id: id.to_owned(),
        transcript,
        ..CallRecord::default()
    }
}

fn sold(call: &str) -> Change {
    Change {
        call: Sought {
            key: CallKey::Id(call.to_owned()),
            agent: None,
            scope: None,
        },
        actor: "api:phonely/crm".to_owned(),
        source: "api:phonely".to_owned(),
        basis: Basis::Reported,
        kind: Some(OutcomeKind::Closed),
        label: Some("Sold".to_owned()),
        value: None,
        currency: None,
        notes: Some("n".repeat(8_000)),
        metadata: None,
        fields: vec!["custom_call_outcome"],
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_in_words_loses_nothing_and_lets_everybody_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("max_page_count", PAGES);
    let store = Store::open_with(options, Clock::manual(noon()))
        .await
        .unwrap();
    let room = call("room", Some("w".repeat(60_000)));
    store
        .record_calls(vec![room, call("c", None)])
        .await
        .unwrap();
    // Until it is full. What was answered stands, what was refused is not there.
    let mut written = 0;
    let error = loop {
        match store.change(sold("c")).await {
            Ok(changed) => {
                assert!(matches!(changed, Changed::Done(_)));
                written += 1;
            }
            Err(error) => break error,
        }
        assert!(written < 1_000, "it never fills up");
    };
    assert!(written > 2 && error.is_full(), "{written}: {error}");
    assert!(error.to_string().contains("full"), "{error}");
    let sought = sold("c").call;
    let seen = store.find_call(&sought).await.unwrap().unwrap();
    assert_eq!(seen.revision, written);
    let log = store.log(&seen.id).await.unwrap();
    assert_eq!(log.len() as i64, written);
    assert_eq!(log.last().unwrap().label.as_deref(), Some("Sold"));
    // Somebody makes room, and the same write goes through without a restart.
    let url = format!("sqlite://{}", path.display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("DELETE FROM transcripts")
        .execute(&mut other)
        .await
        .unwrap();
    // A write that is refused for another reason meanwhile must not keep a transaction open, either.
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON calls WHEN NEW.call_id = 'bad' \
                  BEGIN SELECT RAISE(ABORT, 'refused'); END";
    sqlx::query(refuse).execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let bad = store.record_calls(vec![call("bad", None)]).await;
    assert!(!bad.unwrap_err().is_full());
    store.change(sold("c")).await.unwrap();
    let seen = store.find_call(&sought).await.unwrap().unwrap();
    assert_eq!(seen.revision, written + 1);
    assert_eq!(store.log(&seen.id).await.unwrap().len() as i64, written + 1);
}

#[tokio::test]
async fn one_call_among_many_of_a_phone_is_found_by_an_index_alone() {
    let Bench { store, .. } = &bench().await;
    for preference in [Preference::First, Preference::Last] {
        for scope in [None, Some(vec!["a".to_owned()])] {
            let phone = serde_json::from_value(json!("+14155551234")).unwrap();
            let sought = Sought {
                key: CallKey::Phone(phone, preference),
                agent: Some("a".to_owned()),
                scope,
            };
            let mut query = QueryBuilder::<Sqlite>::new(
                "EXPLAIN QUERY PLAN SELECT c.no, o.kind FROM calls c LEFT JOIN outcomes o ON o.call_no = c.no",
            );
            push_sought(&mut query, &sought);
            let rows = query.build().fetch_all(&store.readers).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            let plan = plan.join("; ");
            assert!(
                plan.contains("calls_by_phone_and_agent (phone=? AND agent_id=?)"),
                "{plan}"
            );
            assert!(
                !plan.contains("TEMP B-TREE") && !plan.contains("SCAN"),
                "{plan}"
            );
        }
    }
}
