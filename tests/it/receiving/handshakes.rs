//! Probes, handshakes and the answers that vendors expect.

use outcome_bridge::connector::RequestParts;
use serde_json::json;

use crate::support::{Setup, TestBridge};

const CONNECTOR: &str = r#"
format = 1
title = "Shaker"
summary = "Shakes hands in every way there is."

[[field]]
key = "secret"
label = "Secret"
help = "Anything."
for = "source"
secret = true
required = true

[inbound]
body = "json"
event_type = "{event.event}"
event_types = ["deal.won"]

[inbound.verify]
kind = "mac"
header = ["x-signature"]
encoding = "hex"
secret = "secret"

[[inbound.handshake]]
when = [{ field = "event.challenge", exists = true }]
answer = "json"
body = { challenge = "{event.challenge}" }

[[inbound.handshake]]
when = [{ field = "query.validationToken", exists = true }]
answer = "text"
value = "{query.validationToken}"

[[inbound.handshake]]
when = [{ field = "header.x-hook-secret", exists = true }]
answer = "header"
header = "x-hook-secret"

[[inbound.handshake]]
when = [{ field = "event.event", is = "endpoint.url_validation" }]
answer = "zoom"
secret = "secret"

[[inbound.handshake]]
when = [{ field = "event.event", is = "ping" }]
answer = "empty"
verified = true
"#;

const MAPPING: &str = r#"
format = 1

[[rule]]
id = "deal_won"
when = [{ field = "event.event", is = "deal.won" }]
outcome = "closed"
[rule.set]
deal_id = "{event.id | text}"
"#;

async fn shaker() -> TestBridge {
    let setup = Setup::new()
        .file("connectors/shaker/connector.toml", CONNECTOR)
        .file("connectors/shaker/mapping.toml", MAPPING)
        .file("connectors/shaker/setup.md", "# Shaker\n")
        .config("\n[connectors]\ndir = \"connectors\"\n\n[sources.shaker]\nconnector = \"shaker\"\nsecret = \"zoom-secret\"\n");
    setup.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_echoed_and_nothing_is_stored() {
    let bridge = shaker().await;
    let reply = bridge
        .send("shaker", bridge.unsigned(r#"{"challenge":"3eZbrw1a"}"#))
        .await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({ "challenge": "3eZbrw1a" }))
    );

    let query = RequestParts {
        query: "validationToken=a%20b%3C".to_owned(),
        ..bridge.unsigned("")
    };
    let reply = bridge.send("shaker", query).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "a b<"));
    assert!(
        reply.headers["content-type"].starts_with("text/plain"),
        "{reply:?}"
    );

    let get = RequestParts {
        method: "GET".to_owned(),
        query: "validationToken=xyz".to_owned(),
        ..RequestParts::default()
    };
    let reply = bridge.send("shaker", get).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "xyz"));

    let mut header = bridge.unsigned("");
    header
        .headers
        .push(("x-hook-secret".to_owned(), "b537207f20cbfa02".to_owned()));
    let reply = bridge.send("shaker", header).await;
    assert_eq!(
        (reply.status, reply.headers["x-hook-secret"].as_str()),
        (200, "b537207f20cbfa02")
    );

    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn zooms_token_is_answered_with_its_hash() {
    let bridge = shaker().await;
    let body = json!({ "event": "endpoint.url_validation", "payload": { "plainToken": "qgg8vlvZRS6UYooatFL8Aw" } });
    let reply = bridge
        .send("shaker", bridge.unsigned(body.to_string()))
        .await;
    // echo -n qgg8vlvZRS6UYooatFL8Aw | openssl dgst -sha256 -hmac zoom-secret
    let expected = json!({ "plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": ZOOM_HASH });
    assert_eq!((reply.status, reply.json()), (200, expected));
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
}
const ZOOM_HASH: &str = "b17f0320a1322a509340a1a835b3d9edbc491f0b0790ed2d20d0604d39dfe922";

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_has_to_verify_does_not_answer_strangers() {
    let bridge = shaker().await;
    let ping = || bridge.unsigned(r#"{"event":"ping"}"#);
    assert_eq!(bridge.send("shaker", ping()).await.status, 401);
    let reply = bridge.send("shaker", bridge.signed("shaker", ping())).await;
    assert!(
        (200..300).contains(&reply.status) && reply.body.is_empty(),
        "{reply:?}"
    );
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_find_the_url_and_store_nothing() {
    let bridge = Setup::new().start().await;
    let probe = |method: &str| RequestParts {
        method: method.to_owned(),
        ..RequestParts::default()
    };
    assert_eq!(bridge.send("team", probe("HEAD")).await.status, 200);
    assert_eq!(bridge.send("nobody", probe("HEAD")).await.status, 404);
    let status = bridge.send("team", probe("GET")).await.status;
    assert!([401, 405].contains(&status), "{status}");
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(
            bridge.send("team", probe(method)).await.status,
            405,
            "{method}"
        );
    }
    // Signed as it may be: events are posted.
    let mut signed = bridge.signed("team", bridge.unsigned("{}"));
    signed.method = "GET".to_owned();
    assert_eq!(bridge.send("team", signed).await.status, 405);
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn salesforce_gets_its_soap_acknowledgement_and_its_session_is_not_kept() {
    let source = "\n[sources.salesforce]\nconnector = \"salesforce\"\npath_token = \"c2VjcmV0LXBhdGgtdG9rZW4\"\norganization_ids = [\"00D1I000003qqqE\"]\ncurrency = \"USD\"\n";
    let bridge = Setup::new().config(source).start().await;
    let body = include_str!("../../../connectors/salesforce/cases/won/body.xml");
    let body = body.replace(
        "<SessionId xsi:nil=\"true\"/>",
        "<SessionId>00D!live-session</SessionId>",
    );
    let mut parts = RequestParts {
        headers: vec![("content-type".to_owned(), "text/xml".to_owned())],
        ..bridge.unsigned(body)
    };
    assert_eq!(
        bridge.send("salesforce", parts.clone()).await.status,
        401,
        "no token"
    );
    parts.path_token = Some("c2VjcmV0LXBhdGgtdG9rZW5".to_owned());
    assert_eq!(
        bridge.send("salesforce", parts.clone()).await.status,
        401,
        "another token"
    );

    let reply = bridge
        .send("salesforce", bridge.signed("salesforce", parts))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(
        reply.headers["content-type"].starts_with("text/xml"),
        "{reply:?}"
    );
    assert!(reply.body.contains("<Ack>true</Ack>"), "{reply:?}");
    let id = bridge.event_ids().await.remove(0);
    let stored = bridge.get(&format!("/events/{id}/raw")).await;
    let text = stored["body"].as_str().unwrap();
    assert!(
        text.contains("sf:Opportunity") && !text.contains("live-session"),
        "{text}"
    );
    assert!(
        !stored.to_string().contains("c2VjcmV0LXBhdGgtdG9rZW4"),
        "{stored}"
    );
}
