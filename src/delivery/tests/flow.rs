//! The ordinary course: delivered, retried, refused, given up; limits; the store.

use std::time::Instant;

use jiff::SignedDuration;

use super::*;
use crate::model::EventId;
use crate::queue::{Answered, Claim, QueueError};
use crate::store::{OutcomeFilter, OutcomeOrder, Store};

#[tokio::test]
async fn a_delivery_arrives_as_rendered_and_is_settled_with_its_receipt() {
    let destination = FakeDestination::scripted([answer(200, r#"{"call_id":"c9"}"#)]).await;
    let bench = Bench::crm(&destination, options());
    bench.queue.add_with("crm", "agent/call", |claim| {
        claim.receipt.insert("old".to_owned(), "kept".into());
    });

    let seen = destination.next_request().await;
    assert_eq!(seen.line, "POST /agent/call HTTP/1.1");
    assert_eq!(seen.body, r#"closed {"old":"kept"}"#);
    assert!(seen.headers.contains(&format!("x-key: {KEY}")));
    let settled = bench.queue.settlements(1).await;
    let Settlement::Delivered { attempt, receipt } = &settled[0].1 else {
        panic!("{settled:?}");
    };
    assert_eq!(attempt.number, 1);
    assert_eq!(attempt.status, Some(200));
    assert_eq!(attempt.verdict, VerdictKind::Delivered);
    assert_eq!(attempt.response, r#"{"call_id":"c9"}"#);
    assert_eq!(
        Value::from(receipt.clone()),
        serde_json::json!({"old": "kept", "call_id": "c9"})
    );
    assert_eq!(bench.state().delivered, 1);
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn one_connection_serves_many_deliveries() {
    let destination = FakeDestination::steady(200, "").await;
    let bench = Bench::crm(&destination, options());
    for number in 0..20 {
        bench.queue.add("crm", &format!("lane{number}"));
        bench.queue.settlements(number + 1).await;
    }
    assert_eq!(destination.connections(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_delivery_that_fails_is_tried_again_until_it_arrives() {
    let destination =
        FakeDestination::scripted([answer(500, "oops"), answer(503, ""), answer(200, "")]).await;
    let bench = Bench::crm(&destination, options());
    bench.queue.add("crm", "lane");
    let settled = bench.queue.settlements(3).await;
    let kinds: Vec<_> = settled.iter().map(|(_, s)| kind_of(s)).collect();
    assert_eq!(kinds, ["retry", "retry", "delivered"]);
    let numbers: Vec<_> = settled.iter().map(|(_, s)| attempt_of(s).number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(attempt_of(&settled[0].1).reason, "500: oops");
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn retry_after_is_kept_to_and_holds_the_whole_destination_back() {
    let destination = FakeDestination::scripted([answer_with(429, "Retry-After", "40")]).await;
    let bench = Bench::crm(&destination, options());
    bench.queue.add("crm", "first");
    let settled = bench.queue.settlements(1).await;
    let Settlement::Retry { due_at, attempt } = &settled[0].1 else {
        panic!("{settled:?}");
    };
    let wait = due_at.duration_since(attempt.started_at);
    assert!(wait >= SignedDuration::from_secs(40), "{wait}");
    assert!(wait < SignedDuration::from_secs(50), "{wait}");
    assert!(bench.state().throttled_until.is_some());
    // A second lane is not tried: the strict destination would count it.
    bench.queue.add("crm", "second");
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn what_may_not_be_there_yet_is_waited_for_from_the_first_such_answer_on() {
    let destination = FakeDestination::steady(404, "no such call").await;
    let bench = Bench::crm(&destination, options());
    let hour_ago = |claim: &mut Claim| {
        claim.created_at -= SignedDuration::from_hours(1);
        claim.created_at
    };
    let answered = |status, since| Some(Answered { status, since });
    let told = [
        bench.queue.add_with("crm", "first", |claim| {
            hour_ago(claim);
        }),
        bench.queue.add_with("crm", "otherwise", |claim| {
            claim.answered = answered(503, hour_ago(claim));
        }),
        bench.queue.add_with("crm", "again", |claim| {
            claim.answered = answered(404, hour_ago(claim));
        }),
    ];
    let settled = loop {
        let count = bench.queue.recorded() + 1;
        let settled = bench.queue.settlements(count).await;
        if told
            .iter()
            .all(|id| settled.iter().any(|(one, _)| one == id))
        {
            break settled;
        }
    };
    let first = |id| settled.iter().find(|(one, _)| *one == id).unwrap();
    let kinds = told.map(|id| kind_of(&first(id).1));
    assert_eq!(kinds, ["retry", "retry", "dead_letter"]);
    bench.stop().await;
}

#[tokio::test]
async fn a_refusal_is_a_dead_letter_with_its_attempt_and_reason() {
    let destination = FakeDestination::scripted([answer(422, "no such call")]).await;
    let bench = Bench::crm(&destination, options());
    bench.queue.add("crm", "lane");
    let settled = bench.queue.settlements(1).await;
    let Settlement::DeadLetter {
        attempt: Some(attempt),
        reason,
    } = &settled[0].1
    else {
        panic!("{settled:?}");
    };
    assert_eq!(reason, "refused: 422: no such call");
    assert_eq!(attempt.status, Some(422));
    assert_eq!(bench.state().dead_letters, 1);
    bench.stop().await;
}

#[tokio::test]
async fn what_cannot_be_rendered_is_a_dead_letter_without_an_attempt() {
    let destination = FakeDestination::scripted([]).await;
    let bench = Bench::crm(&destination, options());
    bench.queue.add("crm", "unrenderable");
    let settled = bench.queue.settlements(1).await;
    let Settlement::DeadLetter {
        attempt: None,
        reason,
    } = &settled[0].1
    else {
        panic!("{settled:?}");
    };
    assert!(reason.contains("the outcome has no label"), "{reason}");
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn an_overdue_delivery_gets_its_attempt_and_is_given_up_when_that_fails() {
    let destination = FakeDestination::scripted([answer(500, "still down")]).await;
    let bench = Bench::crm(&destination, options());
    bench.queue.add_with("crm", "lane", |claim| {
        claim.attempts = 41;
        claim.created_at -= SignedDuration::from_hours(72);
        claim.expires_at = claim.created_at + SignedDuration::from_hours(71);
    });
    let settled = bench.queue.settlements(1).await;
    let Settlement::DeadLetter {
        attempt: Some(_),
        reason,
    } = &settled[0].1
    else {
        panic!("{settled:?}");
    };
    assert_eq!(
        reason,
        "gave up after 42 attempts in 3 days; the last one: 500: still down"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_delivery_that_panics_is_retried_a_few_times_and_delays_nobody() {
    let destination = FakeDestination::steady(200, "").await;
    let bench = Bench::crm(&destination, options());
    // What came before was tried in vain for other reasons.
    let poison = bench
        .queue
        .add_with("crm", "panics", |claim| claim.attempts = 7);
    let settled = loop {
        let count = bench.queue.recorded() + 1;
        let settled = bench.queue.settlements(count).await;
        if kind_of(&settled.last().unwrap().1) == "dead_letter" {
            break settled;
        }
    };
    assert_eq!(settled.len(), 5);
    assert!(settled.iter().all(|(id, _)| *id == poison));
    let first = attempt_of(&settled[0].1);
    assert!(first.reason.contains("panicked"), "{}", first.reason);
    assert!(!first.reason.contains("on purpose"));
    bench.queue.add("crm", "healthy");
    let settled = bench.queue.settlements(6).await;
    assert_eq!(kind_of(&settled[5].1), "delivered");
    bench.stop().await;
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_allowed() {
    let destination = FakeDestination::steady(200, "").await;
    let mut few = options();
    few.concurrency = std::num::NonZeroUsize::new(3).unwrap();
    let bench = Bench::crm(&destination, few);
    for number in 0..200 {
        bench.queue.add("crm", &format!("lane{number}"));
    }
    bench.queue.settlements(200).await;
    assert!(destination.most_in_flight() <= 3);
    assert!(destination.connections() <= 3);
    bench.stop().await;
}

#[tokio::test]
async fn the_rate_holds_over_a_burst() {
    let destination = FakeDestination::steady(200, "").await;
    let mut slow = options();
    slow.rate_per_second = Some(50.0);
    slow.burst = Some(2);
    let bench = Bench::crm(&destination, slow);
    let started = Instant::now();
    for number in 0..12 {
        bench.queue.add("crm", &format!("lane{number}"));
    }
    bench.queue.settlements(12).await;
    // Two at once and at most one spare; nine wait 20 ms each.
    assert!(started.elapsed() >= Duration::from_millis(9 * 20 - 20));
    bench.stop().await;
}

#[tokio::test]
async fn a_dead_destination_delays_no_other() {
    let healthy = FakeDestination::steady(200, "").await;
    let dead = FakeDestination::scripted((0..16).map(|_| Reply::Stall)).await;
    let bench = Bench::new(vec![
        http("dead", at(dead.address), options()),
        http("healthy", at(healthy.address), options()),
    ]);
    for number in 0..100 {
        bench.queue.add("dead", &format!("lane{number}"));
    }
    for _ in 0..16 {
        dead.next_request().await;
    }
    for number in 0..100 {
        bench.queue.add("healthy", &format!("lane{number}"));
    }
    let settled = bench.queue.settlements(100).await;
    assert!(settled.iter().all(|(_, s)| kind_of(s) == "delivered"));
    bench.shutdown.cancel();
    assert!(!bench.handle.join(Duration::ZERO).await);
}

#[tokio::test]
async fn a_queue_that_fails_for_a_while_loses_nothing_and_doubles_nothing() {
    let destination = FakeDestination::scripted([answer(200, "")]).await;
    let bench = Bench::crm(&destination, options());
    let storage = || QueueError::Storage("disk".into());
    bench
        .queue
        .fail_claims([storage(), QueueError::Busy("full")]);
    bench
        .queue
        .fail_settlements([storage(), QueueError::Busy("full"), storage()]);
    bench.queue.add("crm", "lane");
    let settled = bench.queue.settlements(1).await;
    assert_eq!(kind_of(&settled[0].1), "delivered");
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn new_settings_take_over_without_losing_anything() {
    let old = FakeDestination::steady(200, "").await;
    let new = FakeDestination::steady(200, "").await;
    let bench = Bench::crm(&old, options());
    bench.queue.add("crm", "before");
    bench.queue.settlements(1).await;
    let replacement = http("crm", at(new.address), options());
    bench.handle.reload(vec![replacement]).unwrap();
    bench.queue.add("crm", "after");
    assert_eq!(new.next_request().await.line, "POST /after HTTP/1.1");
    bench.queue.settlements(2).await;
    bench.stop().await;
}

#[tokio::test]
async fn the_store_takes_deliveries_like_any_destination() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let store = Store::open(&folder.path().join("store.sqlite"), clock)
        .await
        .unwrap();
    let bench = Bench::new(vec![Destination {
        name: name("outcome-store"),
        means: Means::Store(store.clone()),
        options: options(),
    }]);
    for number in 0..500 {
        bench.queue.add("outcome-store", &format!("call{number}"));
    }
    let settled = bench.queue.settlements(500).await;
    let (id, Settlement::Delivered { receipt, .. }) = &settled[0] else {
        panic!("{:?}", settled[0]);
    };
    let reference = receipt["call_ref"].as_str().unwrap();
    let call = store.call(reference).await.unwrap().unwrap();
    assert_eq!(
        call.target.as_ref(),
        Some(&bench.queue.claim_of(*id).target)
    );
    assert_eq!(store.counts().await.unwrap().outcomes["closed"], 500);
    let page = crate::queue::PageRequest::first(10);
    let page = store
        .outcomes(&OutcomeFilter::default(), OutcomeOrder::Recorded, page)
        .await
        .unwrap();
    assert_eq!(page.items.len(), 10);
    assert_ne!(page.items[0].event_id, Some(EventId(0).to_string()));
    bench.stop().await;
}
