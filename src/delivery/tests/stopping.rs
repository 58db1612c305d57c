//! Stopping: what is in flight finishes or is released, nothing new begins.

use tokio::sync::oneshot;

use super::*;

fn on_signal() -> (oneshot::Sender<()>, Reply) {
    let (sender, signal) = oneshot::channel();
    let ok = Answer {
        status: 200,
        headers: Vec::new(),
        body: String::new(),
    };
    (sender, Reply::When(signal, ok))
}

#[tokio::test]
async fn what_is_in_flight_finishes_and_nothing_new_is_claimed() {
    let (sender, reply) = on_signal();
    let destination = FakeDestination::scripted([reply]).await;
    let bench = Bench::crm(&destination, options());
    bench.queue.add("crm", "first");
    destination.next_request().await;
    assert_eq!(bench.state().in_flight, 1);
    bench.shutdown.cancel();
    bench.queue.add("crm", "second");
    sender.send(()).unwrap();
    assert!(bench.handle.join(Duration::from_secs(10)).await);
    let settled = bench.queue.settlements(1).await;
    assert_eq!(settled.len(), 1);
    assert_eq!(kind_of(&settled[0].1), "delivered");
    destination.assert_done();
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_released_uncounted() {
    let (_sender, reply) = on_signal();
    let destination = FakeDestination::scripted([reply]).await;
    let bench = Bench::crm(&destination, options());
    let delivery = bench.queue.add("crm", "lane");
    destination.next_request().await;
    bench.shutdown.cancel();
    assert!(!bench.handle.join(Duration::from_millis(10)).await);
    let settled = bench.queue.settlements(1).await;
    assert!(matches!(
        settled[0].1,
        Settlement::Released { due_at: None }
    ));
    assert_eq!(bench.queue.claim_of(delivery).attempts, 0);
    assert_eq!(bench.queue.lanes_in_flight(), 0);
}

#[tokio::test]
async fn a_settlement_that_cannot_be_recorded_does_not_block_a_stop() {
    let destination = FakeDestination::scripted([answer(200, "")]).await;
    let bench = Bench::crm(&destination, options());
    let broken = || crate::queue::QueueError::Storage("gone".into());
    bench
        .queue
        .fail_settlements(std::iter::repeat_with(broken).take(1_000));
    bench.queue.add("crm", "lane");
    destination.next_request().await;
    bench.shutdown.cancel();
    assert!(!bench.handle.join(Duration::from_millis(10)).await);
    assert_eq!(bench.queue.recorded(), 0);
}
