//! Answers with more lines than are shown.

use jiff::ToSpan;
use jiff::tz::TimeZone;
use serde_json::json;

use super::changes::{call, says};
use super::*;
use crate::model::Basis;

/// Calls of a day before noon, each with its campaign.
async fn campaigns(store: &Store, days_ago: i64, names: impl Iterator<Item = String>) {
    let calls = names.enumerate().map(|(number, name)| {
        let id = format!("c{days_ago}-{number}");
        let mut call = call(&id, Some("a"), None, 0);
        call.started_at = Some(noon() - SignedDuration::from_hours(24 * days_ago));
        call.metadata = json!({ "campaign": name }).as_object().unwrap().clone();
        call
    });
    store.record_calls(calls.collect()).await.unwrap();
}

fn days_ago(from: i64, to: i64) -> Period {
    let day = |days: i64| noon() + SignedDuration::from_hours(12) - (24 * days).hours();
    Period {
        from: day(from),
        to: day(to),
    }
}

#[tokio::test]
async fn a_breakdown_shows_what_is_frequent_in_its_period_and_counts_the_rest() {
    let Bench { store, .. } = &bench().await;
    // Frequent once, and not asked about.
    let once = (0..3).flat_map(|_| (0..120).map(|n| format!("old {n}")));
    campaigns(store, 40, once).await;
    let often = (0..5).map(|_| "spring".to_owned());
    campaigns(
        store,
        2,
        often.chain((0..119).map(|n| format!("new {n:03}"))),
    )
    .await;
    let mut without = call("without", Some("a"), None, 0);
    without.started_at = Some(noon() - SignedDuration::from_hours(48));
    store.record_calls(vec![without]).await.unwrap();
    let asked = async |agents: &[&str]| {
        let scope = Condition {
            agents: agents.iter().map(|agent| (*agent).to_owned()).collect(),
            ..Condition::default()
        };
        let split = Split::Metadata("campaign".to_owned());
        let lines = store.breakdown(&scope, &split, Attribution::Recorded, days_ago(10, 0));
        let lines = lines.await.unwrap().into_iter();
        lines
            .map(|line| (line.value, line.others, line.calls))
            .collect::<Vec<_>>()
    };
    let lines = asked(&[]).await;
    assert_eq!(lines[0], ("spring".to_owned(), false, 5));
    assert_eq!(lines.len(), 102);
    assert_eq!(lines[101], ("others".to_owned(), true, 20));
    assert!(lines.contains(&(String::new(), false, 1)));
    assert_eq!(lines.iter().map(|line| line.2).sum::<i64>(), 125);
    assert_eq!(asked(&["a"]).await, lines);
    assert_eq!(asked(&["b"]).await, []);
}

#[tokio::test]
async fn a_trend_knows_what_was_rare_before() {
    let Bench { store, .. } = &bench().await;
    let sold = async |id: String, label: &str, days_ago: i64| {
        let mut call = call(&id, Some("a"), None, 0);
        call.started_at = Some(noon() - SignedDuration::from_hours(24 * days_ago));
        store.record_calls(vec![call]).await.unwrap();
        let said = store.change(says(&id, label, Basis::Reported));
        assert!(matches!(said.await.unwrap(), Changed::Done(_)));
    };
    for n in 0..100 {
        for twice in 0..2 {
            sold(format!("then-{n}-{twice}"), &format!("Label {n}"), 12).await;
        }
    }
    sold("then".to_owned(), "Rare", 12).await;
    sold("now".to_owned(), "Rare", 2).await;
    let calendar = Calendar {
        zone: TimeZone::UTC,
        step: crate::store::Step::Whole,
    };
    let when = (days_ago(10, 0), &calendar);
    let everything = Condition::default();
    let report = store.report(&everything, &[], Attribution::Recorded, when, true);
    let trend = report.await.unwrap().trend.unwrap();
    let rare = &trend.parts[0];
    assert_eq!((rare.name.as_str(), rare.tally.calls), ("Rare", 1));
}
