//! Only a right signature makes an event.

use jiff::SignedDuration;
use outcome_bridge::clock::Clock;
use outcome_bridge::connector::RequestParts;

use crate::support::{Setup, TestBridge, minutes_ago, told};

const VENDORS: &str = r#"
[sources.calendly]
connector = "calendly"
signing_key = "a-calendly-key"

[sources.stripe]
connector = "stripe"
signing_secret = "whsec_a-stripe-secret"

[sources.hubspot]
connector = "hubspot"
client_secret = "a-hubspot-secret"

[sources.shopify]
connector = "shopify"
client_secret = "a-shopify-secret"

[sources.close]
connector = "close"
signature_key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

[sources.pipedrive]
connector = "pipedrive"
credentials = "bridge:a-pipedrive-password"

[sources.generic]
connector = "generic-hmac"
secret = "a-generic-secret"
header = "x-signature"
"#;

const SIGNING: [&str; 7] = [
    "team", "calendly", "stripe", "hubspot", "shopify", "close", "generic",
];

fn body(bridge: &TestBridge) -> RequestParts {
    bridge.unsigned(r#"{"id":"1","event":"something","amount":10}"#)
}

fn without_signature(mut parts: RequestParts) -> RequestParts {
    parts.headers.retain(|(name, _)| {
        !(name.contains("sig") || name.contains("hmac") || name == "authorization")
    });
    parts
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_is_switched_off_only_where_that_is_spelled_out_and_says_so() {
    let open = "\n[sources.open]\nconnector = \"standard-webhooks\"\nverification = \"none\"\n";
    let bridge = Setup::new().config(open).start().await;
    let body = told("call-1", "shown", minutes_ago(3)).to_string();
    let refused = bridge.send("team", bridge.unsigned(body.clone())).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let accepted = bridge.send("open", bridge.unsigned(body)).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    let events = bridge.event_ids().await;
    let story = bridge.processed(&events[0]).await;
    assert_eq!(story["event"]["source"], "open", "{story}");

    let listed = bridge.get("/sources").await;
    let verified = |name: &str| {
        let mut items = listed["items"].as_array().unwrap().iter();
        items.find(|item| item["name"] == name).unwrap()["verified"].clone()
    };
    assert_eq!(
        (verified("open"), verified("team")),
        (false.into(), true.into())
    );
    let warnings = listed["warnings"].to_string();
    assert!(
        warnings.contains("source `open`: its requests are not verified"),
        "{warnings}"
    );
    assert!(!warnings.contains("`team`"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vendors_right_signature_is_accepted() {
    let bridge = Setup::new().config(VENDORS).start().await;
    for source in SIGNING.into_iter().chain(["pipedrive"]) {
        let reply = bridge
            .send(source, bridge.signed(source, body(&bridge)))
            .await;
        assert_eq!(reply.status, 200, "{source}: {reply:?}");
    }
    assert_eq!(bridge.event_ids().await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_altered_byte_is_refused() {
    let bridge = Setup::new().config(VENDORS).start().await;
    for source in SIGNING {
        let signed = bridge.signed(source, body(&bridge));
        let length = signed.body.len();
        for at in [0, length / 2, length - 1] {
            let mut altered = signed.clone();
            let mut bytes = altered.body.to_vec();
            bytes[at] ^= 1;
            altered.body = bytes.into();
            assert_eq!(
                bridge.send(source, altered).await.status,
                401,
                "{source}, byte {at}"
            );
        }
        let mut longer = signed.clone();
        longer.body = [&signed.body[..], b" "].concat().into();
        assert_eq!(
            bridge.send(source, longer).await.status,
            401,
            "{source}, a byte more"
        );
    }
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_signature_is_refused() {
    let bridge = Setup::new().config(VENDORS).start().await;
    for source in SIGNING.into_iter().chain(["pipedrive"]) {
        let unsigned = without_signature(bridge.signed(source, body(&bridge)));
        let reply = bridge.send(source, unsigned).await;
        assert_eq!(reply.status, 401, "{source}: {reply:?}");
    }
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sources_signature_does_not_open_another() {
    let other = "\n[sources.other]\nconnector = \"standard-webhooks\"\nsigning_secret = \"whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==\"\n";
    let bridge = Setup::new().config(other).start().await;
    let signed = bridge.signed("other", body(&bridge));
    assert_eq!(bridge.send("team", signed.clone()).await.status, 401);
    assert_eq!(bridge.send("other", signed).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_and_future_timestamps_are_refused() {
    let bridge = Setup::new().config(VENDORS).start().await;
    let now = Clock::system().now();
    for source in ["team", "calendly", "stripe", "hubspot", "close"] {
        // Stripe's own libraries take moments ahead.
        for seconds in if source == "stripe" {
            vec![-3600]
        } else {
            vec![-3600, 3600]
        } {
            let at = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
            let signed = bridge
                .source(source)
                .inbound
                .sign(body(&bridge), at)
                .unwrap();
            let reply = bridge.send(source, signed.into_parts()).await;
            assert_eq!(reply.status, 401, "{source}, {seconds} s: {reply:?}");
        }
    }
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_signature_opens_nothing_else() {
    let bridge = Setup::new().start().await;
    let captured = bridge.signed("team", body(&bridge));
    assert_eq!(bridge.send("team", captured.clone()).await.status, 200);

    // As it was: recognised, acknowledged, not stored again.
    assert_eq!(bridge.send("team", captured.clone()).await.status, 200);
    // Under another id, and at another moment.
    for (header, value) in [
        ("webhook-id", "msg_other"),
        ("webhook-timestamp", "4102444800"),
    ] {
        let mut replayed = captured.clone();
        replayed.headers.retain(|(name, _)| name != header);
        replayed.headers.push((header.to_owned(), value.to_owned()));
        assert_eq!(bridge.send("team", replayed).await.status, 401, "{header}");
    }
    // With another body.
    let mut replayed = captured;
    replayed.body = told("call-1", "closed", minutes_ago(1)).to_string().into();
    assert_eq!(bridge.send("team", replayed).await.status, 401);
    assert_eq!(bridge.event_ids().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_signatures_are_refused() {
    let bridge = Setup::new().config(VENDORS).start().await;
    let long = "v1,".repeat(2000);
    let malformed = [
        "",
        " ",
        ",",
        "v1",
        "v1,",
        "v1,!!!",
        "v1,AAAA",
        "v2,AAAA",
        "t=",
        "t=x,v1=",
        "t=1,v1=zz",
        "t=99999999999999999999999999,v1=00",
        "N/A",
        "=,=,=",
        "deadbeef",
        long.as_str(),
        "\u{e9}\u{e8}",
    ];
    for source in SIGNING {
        let signed = bridge.signed(source, body(&bridge));
        let name = signed.headers.iter().map(|(name, _)| name.clone());
        let name = name
            .into_iter()
            .find(|name| name.contains("sig") || name.contains("hmac"));
        let name = name.unwrap();
        for value in malformed {
            let mut parts = signed.clone();
            parts.headers.retain(|(known, _)| *known != name);
            parts.headers.push((name.clone(), value.to_owned()));
            let reply = bridge.send(source, parts).await;
            assert_eq!(reply.status, 401, "{source}: {name}: {value:.40}");
        }
    }
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_no_more_than_that() {
    let bridge = Setup::new().start().await;
    let mut signed = bridge.signed("team", body(&bridge));
    signed.body = "{}".into();
    let reply = bridge.send("team", signed).await;
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.json()["code"], "unauthorized");
    for word in ["stale", "missing", "hmac", "secret", "webhook-signature"] {
        assert!(!reply.body.contains(word), "{}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_secrets_of_a_rotation_are_accepted() {
    let (old, new) = (
        "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZA==",
        "whsec_bmV3IG5ldyBuZXcgbmV3IG5ldw==",
    );
    let source = |name: &str, secrets: &str| {
        format!(
            "\n[sources.{name}]\nconnector = \"standard-webhooks\"\nsigning_secret = {secrets}\n"
        )
    };
    let config = source("both", &format!("[\"{new}\", \"{old}\"]"))
        + &source("old", &format!("\"{old}\""))
        + &source("new", &format!("\"{new}\""));
    let bridge = Setup::new().config(&config).start().await;
    for signer in ["old", "new"] {
        let signed = bridge.signed(signer, body(&bridge));
        assert_eq!(bridge.send("both", signed).await.status, 200, "{signer}");
    }
    let team = bridge.signed("team", body(&bridge));
    assert_eq!(bridge.send("both", team).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_sources_are_404_and_nothing_is_ever_410() {
    let bridge = Setup::new().start().await;
    for path in [
        "nobody",
        "Team",
        "team%00",
        "..%2fteam",
        "nobody/token",
        "%F0%9F%92%A9",
        &"x".repeat(4000),
    ] {
        let mut parts = bridge.signed("team", body(&bridge));
        parts.path_token = None;
        let reply = bridge.send(path, parts).await;
        assert_eq!(reply.status, 404, "{path:.40}: {reply:?}");
    }
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
    assert_eq!(
        bridge.post("team", "{}").await.status,
        200,
        "it goes on serving"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_path_may_hold_what_a_url_has_to_encode() {
    let source =
        "\n[sources.calls]\nconnector = \"call-webhook\"\nsecret = \"0123/4567+89%2Fab\"\n";
    let bridge = Setup::new().config(source).start().await;
    for (token, status) in [
        ("0123%2F4567%2B89%252Fab", 200),
        ("0123%2f4567+89%252Fab", 200),
        ("0123%2F4567%2B89%2Fab", 401),
        ("0123/4567+89%252Fab", 404),
    ] {
        let mut parts = bridge.unsigned(r#"{"type":"call.started","call_id":"c-1"}"#);
        parts.path_token = Some(token.to_owned());
        let reply = bridge.send("calls", parts).await;
        assert_eq!(reply.status, status, "{token}: {reply:?}");
    }
}
