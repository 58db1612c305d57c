//! What destinations are sent, and how their answers are understood.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};

use crate::connector::outgoing::signature;
use crate::connector::testing::{accepts, connector, request, source};
use crate::connector::{Catalogue, DestinationAnswer, Outbound, PreparedRequest, RenderInput};
use crate::model::{
    Basis, ConnectorName, DeliveryId, EventId, Mode, Outcome, OutcomeKind, Settings, SourceName,
    Subject,
};

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

/// A destination that is given `settings`, of a connector with two requests.
fn two_requests(settings: serde_json::Value) -> Result<Outbound, Vec<String>> {
    let text = r#"
[[field]]
key = "way"
options = ["later", "now"]
required = true
[[field]]
key = "token"
help = "Ask for it."
secret = true
[[field]]
key = "minutes"
[outbound]
[[outbound.target]]
name = "call"
address = "{outcome.call_id}"
[[outbound.request]]
when = [{ field = "setting.way", is = "later" }]
needs = ["token"]
method = "POST"
url = "https://example.com/later"
not_before = { field = "due", else_minutes = "{setting.minutes}" }
[[outbound.request]]
mode = "each"
method = "PUT"
url = "https://example.com/now"
"#;
    let connector = connector(text).unwrap();
    let made = Outbound::new(&connector, &Settings::from_json(settings));
    let told = |mistake: crate::diagnostic::Diagnostic| {
        format!("{} | {}", mistake.message, mistake.help.unwrap_or_default())
    };
    made.map(|(outbound, _)| outbound)
        .map_err(|mistakes| mistakes.into_iter().map(told).collect())
}

fn due(outbound: &Outbound, due: &serde_json::Value) -> Option<String> {
    let metadata = json!({ "due": due }).as_object().cloned().unwrap();
    let outcome = Outcome {
        kind: OutcomeKind::FollowUp,
        label: None,
        value: None,
        notes: None,
        metadata,
        subject: Subject::default(),
        occurred_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        basis: Basis::Reported,
        source: SourceName::new("team").unwrap(),
        event: EventId::first_at(1_767_312_000_000),
        rule: "r".to_owned(),
    };
    outbound.not_before(&outcome).map(|at| at.to_string())
}

#[test]
fn the_first_request_for_the_settings_is_made_with_what_it_needs() {
    let now = two_requests(json!({ "way": "now" })).unwrap();
    assert_eq!(now.mode(), Mode::Each);
    assert_eq!(due(&now, &json!("2026-01-03T00:00:00Z")), None);
    let later = two_requests(json!({ "way": "later", "token": "t" })).unwrap();
    assert_eq!(later.mode(), Mode::Newest);
    assert_eq!(
        two_requests(json!({ "way": "later" })).unwrap_err(),
        ["`token` is missing | Ask for it."]
    );
}

#[test]
fn a_moment_that_cannot_be_meant_counts_as_none() {
    let settings = json!({ "way": "later", "token": "t", "minutes": 30 });
    let later = two_requests(settings).unwrap();
    let received = "2026-01-02T00:00:00Z";
    let fallback = Some("2026-01-02T00:30:00Z".to_owned());
    for (named, wanted) in [
        (
            json!("2026-01-05T10:00:00+01:00"),
            Some("2026-01-05T09:00:00Z".to_owned()),
        ),
        (
            json!("2020-01-01T00:00:00Z"),
            Some("2020-01-01T00:00:00Z".to_owned()),
        ),
        (json!("9999-12-30T00:00:00Z"), fallback.clone()),
        (json!("soon"), fallback.clone()),
        (json!(12), fallback.clone()),
        (json!(null), fallback.clone()),
    ] {
        assert_eq!(due(&later, &named), wanted, "{named}");
    }
    let at_once = two_requests(json!({ "way": "later", "token": "t" })).unwrap();
    assert_eq!(due(&at_once, &json!(null)).as_deref(), Some(received));
    let wrong = two_requests(json!({ "way": "later", "token": "t", "minutes": "many" }));
    assert!(wrong.unwrap_err()[0].contains("whole number of minutes"));
}

#[test]
fn a_destination_is_told_of_the_lead_what_its_request_reads() {
    let everything = Subject {
        call_id: Some("c1".to_owned()),
        phone: Some(crate::model::parse_phone("+14155557777", None).unwrap()),
        email: Some("ada@example.com".to_owned()),
        booking_id: Some("b1".to_owned()),
        deal_id: Some("d1".to_owned()),
        contact_id: Some("p1".to_owned()),
        agent_id: Some("a1".to_owned()),
    };
    let catalogue = Catalogue::embedded();
    let told = |name: &str, settings: serde_json::Value| {
        let connector = catalogue.get(&ConnectorName::new(name).unwrap()).unwrap();
        let settings = Settings::from_json(settings);
        let (outbound, _) = Outbound::new(connector, &settings).unwrap();
        outbound.told_of(&everything)
    };
    assert_eq!(webhook().told_of(&everything), everything);
    assert_eq!(told("outcome-store", json!({})), everything);
    let base = json!({ "base_url": "https://example.com" });
    assert_eq!(told("aura", base), Subject::default());
    let slack = json!({ "url": "https://hooks.slack.com/services/T/B/x" });
    let without_agent = Subject {
        agent_id: None,
        ..everything.clone()
    };
    assert_eq!(told("slack", slack), without_agent);
}
