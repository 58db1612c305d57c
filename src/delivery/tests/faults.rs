//! What networks and bad destinations do.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Delivers once and says how that was judged.
async fn reason_for(base: String, options: DestinationOptions) -> (&'static str, Attempt) {
    let bench = Bench::new(vec![http("crm", base, options)]);
    bench.queue.add("crm", "lane");
    let settled = bench.queue.settlements(1).await;
    let settlement = &settled[0].1;
    bench.shutdown.cancel();
    bench.handle.join(Duration::from_secs(10)).await;
    (kind_of(settlement), attempt_of(settlement).clone())
}

/// Retries late, so that a test sees one attempt only.
fn unhurried() -> DestinationOptions {
    let mut options = options();
    options.retry.first = Duration::from_secs(600);
    options
}

#[tokio::test]
async fn broken_answers_are_retried_with_a_plain_reason() {
    for (reply, reason) in [
        (Reply::HangUp, "the answer broke off or is not HTTP"),
        (Reply::BreakOff, "the answer broke off or is not HTTP"),
        (Reply::Garbage, "the answer broke off or is not HTTP"),
    ] {
        let destination = FakeDestination::scripted([reply]).await;
        let (kind, attempt) = reason_for(at(destination.address), unhurried()).await;
        assert_eq!((kind, attempt.reason.as_str()), ("retry", reason));
        assert_eq!(attempt.status, None);
        destination.assert_done();
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_in_time_is_a_timeout() {
    let destination = FakeDestination::scripted([Reply::Stall]).await;
    let mut impatient = unhurried();
    impatient.timeout = Duration::from_millis(50);
    let (kind, attempt) = reason_for(at(destination.address), impatient).await;
    assert_eq!(
        (kind, attempt.reason.as_str()),
        ("retry", "no complete answer in time")
    );
}

#[tokio::test]
async fn nobody_at_home_is_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (kind, attempt) = reason_for(at(address), unhurried()).await;
    assert_eq!(
        (kind, attempt.reason.as_str()),
        ("retry", "the connection was refused")
    );
    let (kind, attempt) = reason_for("http://nobody.invalid".to_owned(), unhurried()).await;
    assert_eq!(
        (kind, attempt.reason.as_str()),
        ("retry", "the host name cannot be resolved")
    );
}

#[tokio::test]
async fn a_server_without_tls_behind_https_is_a_matter_of_tls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let plain = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(plain).await;
        }
    });
    let (kind, attempt) = reason_for(format!("https://{address}"), unhurried()).await;
    assert_eq!(kind, "retry");
    assert!(attempt.reason.contains("TLS"), "{}", attempt.reason);
}

#[tokio::test]
async fn a_gigabyte_of_an_answer_is_read_in_part_only() {
    let destination = FakeDestination::scripted([Reply::Gigabyte]).await;
    let (kind, attempt) = reason_for(at(destination.address), unhurried()).await;
    assert_eq!(kind, "delivered");
    assert_eq!(attempt.response.chars().count(), 1001);
    destination.assert_done();
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = FakeDestination::scripted([]).await;
    let location = at(elsewhere.address);
    for status in [301, 302, 307, 308] {
        let reply = answer_with(status, "Location", &location);
        let destination = FakeDestination::scripted([reply]).await;
        let (kind, attempt) = reason_for(at(destination.address), unhurried()).await;
        assert_eq!((kind, attempt.status), ("dead_letter", Some(status)));
        destination.assert_done();
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn secrets_that_come_back_are_hidden_everywhere() {
    let destination = FakeDestination::scripted([answer(400, &format!("bad {KEY}\x1b[2J"))]).await;
    let (_, attempt) = reason_for(at(destination.address), unhurried()).await;
    assert_eq!(attempt.response, "bad [secret] [2J");
    assert_eq!(attempt.reason, "400: bad [secret] [2J");
}
