//! Hold, breaker, pause: waiting that spends no attempts.

use super::*;

fn quick_probes() -> DestinationOptions {
    DestinationOptions {
        hold_probe: Duration::from_millis(100),
        concurrency: std::num::NonZeroUsize::MIN,
        ..options()
    }
}

#[tokio::test]
async fn refused_credentials_hold_the_destination_until_a_probe_is_accepted() {
    let destination = FakeDestination::scripted([
        answer(401, "bad key"),
        answer(403, "bad key"),
        answer(200, ""),
        answer(200, ""),
        answer(200, ""),
    ])
    .await;
    let mut probes = quick_probes();
    probes.hold_probe = Duration::from_secs(3);
    let bench = Bench::crm(&destination, probes);
    for lane in ["a", "b", "c"] {
        bench.queue.add("crm", lane);
    }
    bench.queue.settlements(1).await;
    let held = bench.state().held.unwrap();
    assert!(held.reason.ends_with("bad key"), "{}", held.reason);
    let settled = bench.queue.settlements(5).await;
    let kinds: Vec<_> = settled.iter().map(|(_, s)| kind_of(s)).collect();
    assert_eq!(
        kinds,
        [
            "released",
            "released",
            "delivered",
            "delivered",
            "delivered"
        ]
    );
    // Nothing was spent on the way.
    for (_, settlement) in &settled[2..] {
        assert_eq!(attempt_of(settlement).number, 1);
    }
    assert_eq!(bench.state().held, None);
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn one_forbidden_target_does_not_keep_the_destination_held() {
    let destination = FakeDestination::scripted([
        answer(403, "not yours"),
        answer(200, ""),
        answer(403, "not yours"),
    ])
    .await;
    // The first probe comes after 67 ms, the forbidden delivery again after a second.
    let mut probes = quick_probes();
    probes.hold_probe = Duration::from_secs(20);
    let bench = Bench::crm(&destination, probes);
    let forbidden = bench.queue.add_with("crm", "forbidden", |claim| {
        claim.expires_at = claim.created_at;
    });
    bench.queue.settlements(1).await;
    bench.queue.add("crm", "healthy");
    let settled = bench.queue.settlements(3).await;
    let kinds: Vec<_> = settled.iter().map(|(_, s)| kind_of(s)).collect();
    assert_eq!(kinds, ["released", "delivered", "dead_letter"]);
    assert_eq!(settled[2].0, forbidden);
    assert_eq!(bench.state().held, None);
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn resuming_ends_a_hold_at_once() {
    let destination = FakeDestination::scripted([answer(401, ""), answer(200, "")]).await;
    let mut slow_probes = options();
    slow_probes.hold_probe = Duration::from_secs(3600);
    let bench = Bench::crm(&destination, slow_probes);
    let refused = bench.queue.add("crm", "a");
    bench.queue.settlements(1).await;
    bench.handle.resume(&name("crm")).await.unwrap();
    let settled = bench.queue.settlements(2).await;
    assert_eq!(
        (settled[1].0, kind_of(&settled[1].1)),
        (refused, "delivered")
    );
    assert_eq!(bench.state().held, None);
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn an_open_breaker_lets_one_probe_through_and_an_answer_closes_it() {
    let destination = FakeDestination::scripted(
        (0..4)
            .map(|_| answer(502, ""))
            .chain((0..3).map(|_| answer(200, ""))),
    )
    .await;
    let mut careful = quick_probes();
    careful.retry.first = Duration::from_millis(1);
    careful.breaker = BreakerOptions {
        failures: 3,
        open_for: Duration::from_millis(30),
        open_at_most: Duration::from_millis(60),
    };
    let bench = Bench::crm(&destination, careful);
    for lane in ["a", "b", "c"] {
        bench.queue.add("crm", lane);
    }
    let settled = bench.queue.settlements(3).await;
    assert!(settled.iter().all(|(_, s)| kind_of(s) == "retry"));
    assert_ne!(bench.state().breaker, BreakerState::Closed);
    let settled = bench.queue.settlements(7).await;
    let kinds: Vec<_> = settled[3..].iter().map(|(_, s)| kind_of(s)).collect();
    assert_eq!(kinds, ["retry", "delivered", "delivered", "delivered"]);
    assert_eq!(bench.state().breaker, BreakerState::Closed);
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn a_pause_lasts_until_resumed() {
    let destination = FakeDestination::scripted([answer(200, "")]).await;
    let bench = Bench::crm(&destination, options());
    bench.handle.pause(&name("crm")).unwrap();
    bench.queue.add("crm", "lane");
    assert!(bench.state().paused);
    assert_eq!(bench.queue.recorded(), 0);
    // A pause survives new settings.
    let same = http("crm", at(destination.address), options());
    bench.handle.reload(vec![same]).unwrap();
    assert!(bench.state().paused);
    bench.handle.resume(&name("crm")).await.unwrap();
    bench.queue.settlements(1).await;
    bench.stop().await;
    destination.assert_done();
}

#[tokio::test]
async fn a_destination_that_is_not_there_is_named() {
    let bench = Bench::new(Vec::new());
    let error = bench.handle.pause(&name("nobody")).unwrap_err();
    assert_eq!(error.to_string(), "there is no destination `nobody`");
    bench.stop().await;
}

#[tokio::test]
async fn a_private_address_is_not_connected_to_unless_allowed() {
    let destination = FakeDestination::scripted([]).await;
    let mut closed = options();
    closed.allow_private = false;
    let local = format!("http://localhost:{}", destination.address.port());
    let bench = Bench::new(vec![
        http("literal", at(destination.address), closed.clone()),
        http("named", local, closed),
    ]);
    bench.queue.add("literal", "lane");
    bench.queue.add("named", "lane");
    let settled = bench.queue.settlements(2).await;
    assert!(settled.iter().all(|(_, s)| kind_of(s) == "released"));
    for state in bench.handle.states() {
        let reason = state.held.unwrap().reason;
        assert!(reason.contains("loopback"), "{reason}");
        assert!(reason.contains("allow_private"), "{reason}");
    }
    assert_eq!(destination.connections(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn an_allowed_network_is_connected_to() {
    let destination = FakeDestination::scripted([answer(200, "")]).await;
    let mut narrow = options();
    narrow.allow_private = false;
    narrow.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let bench = Bench::crm(&destination, narrow);
    bench.queue.add("crm", "lane");
    let settled = bench.queue.settlements(1).await;
    assert_eq!(kind_of(&settled[0].1), "delivered");
    bench.stop().await;
}
