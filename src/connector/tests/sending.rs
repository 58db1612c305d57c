//! What destinations are sent, and how their answers are understood.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};

use crate::connector::outgoing::signature;
use crate::connector::testing::{accepts, request, source};
use crate::connector::{Catalogue, DestinationAnswer, Outbound, PreparedRequest, RenderInput};
use crate::model::{ConnectorName, DeliveryId, EventId, Settings};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn webhook() -> Outbound {
    let catalogue = Catalogue::embedded();
    let connector = catalogue.get(&ConnectorName::new("webhook").unwrap());
    let settings = json!({ "url": "https://example.com/in", "signing_secret": SECRET });
    let (outbound, _) = Outbound::new(connector.unwrap(), &Settings::from_json(settings)).unwrap();
    outbound
}

/// A retraction, sent at `now`.
fn sent(outbound: &Outbound, now: Timestamp) -> PreparedRequest {
    let input = RenderInput {
        target: "call/c-1",
        outcome: None,
        receipt: &Map::new(),
        delivery: DeliveryId {
            event: EventId(7),
            ordinal: 1,
        },
        now,
    };
    outbound.render(input).unwrap()
}

fn header<'a>(request: &'a PreparedRequest, name: &str) -> &'a str {
    let mut found = request.headers.iter().filter(|(known, _)| known == name);
    let (_, value) = found.next().unwrap();
    assert!(found.next().is_none(), "{name} is there once");
    value
}

#[test]
fn a_signature_has_the_bytes_that_standard_webhooks_publishes() {
    let key = STANDARD.decode(&SECRET["whsec_".len()..]).unwrap();
    let id = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    assert_eq!(
        signature(&key, id, "1649367553", body),
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
    );
}

#[test]
fn what_is_sent_verifies_by_the_inbound_scheme_and_another_body_does_not() {
    let catalogue = Catalogue::embedded();
    let connector = catalogue.get(&ConnectorName::new("standard-webhooks").unwrap());
    let text = &connector.unwrap().text;
    // A test's source has one secret, called `secret`.
    let verify = text.split("[inbound]").nth(1).unwrap();
    let verify = verify.split("[inbound.dedupe]").next().unwrap();
    let inbound = format!(
        "[inbound]{}",
        verify.replace("\"signing_secret\"", "\"secret\"")
    );
    let receiver = source(&inbound, SECRET, "https://b.example.com");
    let now: Timestamp = "2026-05-06T16:10:05.789Z".parse().unwrap();
    let sent = sent(&webhook(), now);
    let headers: Vec<(&str, &str)> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| (name, header(&sent, name)))
        .to_vec();
    assert_eq!(
        header(&sent, "webhook-timestamp"),
        now.as_second().to_string()
    );
    assert!(accepts(
        &receiver,
        &request("POST", "", &headers, &sent.body),
        now
    ));
    let altered = [&sent.body[..], b" "].concat();
    assert!(!accepts(
        &receiver,
        &request("POST", "", &headers, &altered),
        now
    ));
    let late = now + SignedDuration::from_mins(6);
    assert!(!accepts(
        &receiver,
        &request("POST", "", &headers, &sent.body),
        late
    ));
}

#[test]
fn every_attempt_has_the_same_id_and_a_signature_of_its_own() {
    let outbound = webhook();
    let first = sent(&outbound, Timestamp::UNIX_EPOCH);
    let second = sent(
        &outbound,
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(1),
    );
    assert_eq!(header(&first, "webhook-id"), header(&second, "webhook-id"));
    assert_ne!(
        header(&first, "webhook-signature"),
        header(&second, "webhook-signature")
    );
}

#[test]
fn a_destination_says_how_long_it_wants_to_be_left_alone() {
    let outbound = webhook();
    let date = "Fri, 02 Jan 2026 03:04:05 GMT";
    for (status, retry_after, date, seconds) in [
        (503, "120", "", Some(120)),
        (429, " 0 ", "", Some(0)),
        (401, "7", "", Some(7)),
        (503, "Fri, 02 Jan 2026 03:05:05 GMT", date, Some(60)),
        (503, "Fri, 02 Jan 2026 03:04:05 GMT", date, Some(0)),
        (503, "Fri, 02 Jan 2026 03:03:05 GMT", date, None),
        (503, "Fri, 02 Jan 2026 03:05:05 GMT", "", None),
        (503, "Fri, 02 Jan 2026 03:05:05 GMT", "yesterday", None),
        (503, "soon", date, None),
        (503, "-5", date, None),
        (503, "1.5", date, None),
        (503, "99999999999999999999", date, None),
        (503, "", date, None),
        (200, "120", "", None),
    ] {
        let headers = [("retry-after", retry_after), ("date", date)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = DestinationAnswer {
            status,
            headers: &headers,
            body: b"",
        };
        let verdict = outbound.judge(&answer, SignedDuration::ZERO);
        let expected = seconds.map(Duration::from_secs);
        assert_eq!(
            verdict.retry_after, expected,
            "{status} {retry_after} {date}"
        );
    }
}
