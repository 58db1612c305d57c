//! What a source does with requests, over the kinds of verification that have no published vectors,
//! handshakes, duplicate keys, accounts and mistakes in settings.

mod sending;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;

use super::testing::{accepts, connector, options, request, source};
use super::{Inbound, Reception, RequestParts, SignError, Verification};
use crate::model::Settings;

const URL: &str = "https://bridge.example.com/webhooks/test";
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn token_source(at: &str) -> Inbound {
    let inbound = format!(
        "[inbound]\n[inbound.verify]\nkind = \"token\"\nat = \"{at}\"\nsecret = \"secret\""
    );
    source(&inbound, "s3cret:with:colons", URL)
}

fn signed(source: &Inbound, body: &'static str) -> RequestParts {
    let parts = RequestParts {
        method: "POST".to_owned(),
        body: body.into(),
        ..RequestParts::default()
    };
    source.sign(parts, NOW).unwrap().into_parts()
}

fn received(source: &Inbound, parts: RequestParts) -> Reception {
    source.receive(super::InboundRequest::new(parts), NOW)
}

#[test]
fn tokens_are_found_at_every_place_and_never_stored() {
    for (at, body) in [
        ("header:x-token", "{}"),
        ("basic", "{}"),
        ("query:key", "{}"),
        ("path", "{}"),
        ("json:/a/token", r#"{"a":{"n":1.10}}"#),
    ] {
        let source = token_source(at);
        let parts = signed(&source, body);
        let Reception::Verified(kept) = received(&source, parts.clone()) else {
            panic!("{at} should verify");
        };
        let stored = format!("{:?} {} {:?}", kept.headers(), kept.query(), kept.body());
        assert!(!stored.contains("s3cret"), "{at}: {stored}");
        let bare = request("POST", "", &[], body.as_bytes());
        let Reception::Refused(refusal) = source.receive(bare, NOW) else {
            panic!("{at} should be refused without its token");
        };
        assert_eq!(refusal.status, 401);
        assert!(!refusal.reason.contains("s3cret"));
    }
}

#[test]
fn what_verified_a_request_is_stored_with_it_and_nobody_else_can_say_so() {
    let both = "[inbound]\nbody = \"json\"\n[inbound.verify]\nkind = \"any\"\n\
        [[inbound.verify.of]]\nkind = \"mac\"\nheader = [\"x-signature\"]\nsecret = \"secret\"\n\
        [[inbound.verify.of]]\nkind = \"token\"\nat = \"header:x-token\"\nsecret = \"secret\"";
    let source = source(both, "s3cret", URL);
    let told = |parts: RequestParts| match received(&source, parts) {
        Reception::Verified(kept) => {
            let named = kept.headers().iter();
            let named = named.filter(|(name, _)| name == super::VERIFIED_BY);
            named.map(|(_, told)| told.clone()).collect::<Vec<_>>()
        }
        other => panic!("it verifies: {other:?}"),
    };
    let mut sealed = signed(&source, "{}");
    sealed.headers.push((
        super::VERIFIED_BY.to_owned(),
        "the sender's word".to_owned(),
    ));
    assert_eq!(told(sealed), ["hmac-sha256 in the header `x-signature`"]);
    let token = request("POST", "", &[("x-token", "s3cret")], b"{}").into_parts();
    assert_eq!(told(token), ["the token at header `x-token`"]);
}

#[test]
fn a_form_token_is_found_and_removed() {
    let inbound = "[inbound]\nbody = \"form\"\n[inbound.verify]\nkind = \"token\"\nat = \"form:token\"\nsecret = \"secret\"";
    let source = source(inbound, "s3cret", URL);
    let parts = signed(&source, "a=1&b=2");
    assert_eq!(&parts.body[..], b"a=1&b=2&token=s3cret");
    let Reception::Verified(kept) = received(&source, parts) else {
        panic!("should verify");
    };
    assert_eq!(&kept.body()[..], b"a=1&b=2&token=[redacted]");
}

#[test]
fn a_token_in_a_body_that_cannot_be_read_is_refused_with_400() {
    let source = token_source("json:/token");
    let Reception::Refused(refusal) = source.receive(request("POST", "", &[], b"{"), NOW) else {
        panic!("should be refused");
    };
    assert_eq!(refusal.status, 400);
}

#[test]
fn public_key_signatures_verify_by_either_algorithm_and_refuse_another_body() {
    let ed25519 = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
    let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let rsa = der.as_ref().to_vec();
    for (algorithm, key) in [("ed25519", ed25519.as_ref()), ("rsa-pkcs1-sha256", &rsa)] {
        let inbound = format!(
            "[inbound]\n[inbound.verify]\nkind = \"asymmetric\"\nalgorithm = \"{algorithm}\"\nheader = [\"x-sig\"]\nencoding = \"base64\"\nsecret = \"secret\"\nnot_after = \"2026-09-01T00:00:00Z\""
        );
        let source = source(&inbound, &pem("PRIVATE KEY", key), URL);
        let parts = signed(&source, "{\"a\":1}");
        let right = super::InboundRequest::new(parts.clone());
        assert!(accepts(&source, &right, NOW), "{algorithm}");
        let late = "2026-09-01T00:00:00Z".parse().unwrap();
        assert!(!accepts(&source, &right, late), "{algorithm} after its end");
        let altered = RequestParts {
            body: "{\"a\":2}".into(),
            ..parts
        };
        assert!(!accepts(&source, &super::InboundRequest::new(altered), NOW));
    }
}

#[test]
fn a_vendors_public_key_verifies_but_cannot_sign() {
    let key = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=";
    let inbound = "[inbound]\n[inbound.verify]\nkind = \"asymmetric\"\nalgorithm = \"ed25519\"\nheader = [\"x-sig\"]\nencoding = \"base64\"\nsecret = \"secret\"";
    let key = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----");
    let source = source(inbound, &key, URL);
    let unsigned = source.sign(RequestParts::default(), NOW);
    assert_eq!(unsigned.unwrap_err(), SignError::NoPrivateKey);
}

#[test]
fn any_does_not_fall_back_once_a_credential_has_failed() {
    let inbound = "[inbound]\n[inbound.verify]\nkind = \"any\"\nof = [\n{ kind = \"mac\", header = [\"x-new\"], secret = \"secret\" },\n{ kind = \"token\", at = \"header:x-old\", secret = \"secret\" },\n]";
    let source = source(inbound, "s3cret", URL);
    let old = request("POST", "", &[("x-old", "s3cret")], b"{}");
    assert!(accepts(&source, &old, NOW));
    let absent = request("POST", "", &[("x-new", "N/A"), ("x-old", "s3cret")], b"{}");
    assert!(accepts(&source, &absent, NOW));
    let wrong = request("POST", "", &[("x-new", "00"), ("x-old", "s3cret")], b"{}");
    assert!(!accepts(&source, &wrong, NOW));
}

#[test]
fn all_wants_every_credential() {
    let inbound = "[inbound]\n[inbound.verify]\nkind = \"all\"\nof = [\n{ kind = \"mac\", header = [\"x-sig\"], content = \"{url}{body}\", secret = \"secret\" },\n{ kind = \"token\", at = \"query:key\", secret = \"secret\" },\n]";
    let source = source(inbound, "s3cret", URL);
    let parts = signed(&source, "{}");
    assert!(matches!(
        received(&source, parts.clone()),
        Reception::Verified(_)
    ));
    let mut without = parts.clone();
    without.headers.clear();
    assert!(matches!(received(&source, without), Reception::Refused(_)));
    let mut without = parts;
    without.query.clear();
    assert!(matches!(received(&source, without), Reception::Refused(_)));
}

#[test]
fn nothing_is_left_unverified_by_accident() {
    let inbound =
        "[inbound]\n[inbound.verify]\nkind = \"none\"\nreason = \"the vendor signs nothing\"";
    let connector = connector(inbound).unwrap();
    let mut options = options(URL);
    let (source, _) = Inbound::new(&connector, &Settings::default(), &options).unwrap();
    assert_eq!(source.unverified(), Some("the vendor signs nothing"));
    options.verification = Verification::Required;
    let mistakes = Inbound::new(&connector, &Settings::default(), &options).unwrap_err();
    assert!(
        mistakes[0]
            .help
            .as_ref()
            .unwrap()
            .contains("verification = \"none\"")
    );
}

#[test]
fn verification_that_is_switched_off_needs_no_secret_and_stores_no_credential() {
    let inbound = "[[field]]\nkey = \"secret\"\nsecret = true\nrequired = true\n\
         [inbound]\n[inbound.verify]\nkind = \"token\"\nat = \"header:x-token\"\nsecret = \"secret\"";
    let connector = connector(inbound).unwrap();
    let mut options = options(URL);
    options.verification = Verification::Off;
    let (source, _) = Inbound::new(&connector, &Settings::default(), &options).unwrap();
    assert!(source.unverified().is_some());
    for headers in [&[][..], &[("x-token", "whatever")]] {
        let Reception::Verified(request) = source.receive(request("POST", "", headers, b"{}"), NOW)
        else {
            panic!("refused");
        };
        assert_eq!(request.kept.parts().header("x-token"), None);
    }
    options.verification = Verification::Required;
    assert!(Inbound::new(&connector, &Settings::default(), &options).is_err());
}

const HANDSHAKES: &str = r#"[inbound]
[inbound.verify]
kind = "token"
at = "header:x-token"
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
header = "X-Hook-Secret"
[[inbound.handshake]]
when = [{ field = "event.event", is = "endpoint.url_validation" }]
answer = "zoom"
secret = "secret"
[[inbound.handshake]]
when = [{ field = "event.soap", is = true }]
answer = "soap_ack"
[[inbound.handshake]]
when = [{ field = "method", is = "HEAD" }]
answer = "empty"
status = 204
[[inbound.handshake]]
when = [{ field = "event.ping", is = true }]
answer = "empty"
verified = true
"#;

fn shaken(method: &str, query: &str, headers: &[(&str, &str)], body: &str) -> super::Answer {
    let source = source(HANDSHAKES, "whsec_test_secret", URL);
    match source.receive(request(method, query, headers, body.as_bytes()), NOW) {
        Reception::Handshake(answer) => answer,
        other => panic!("{other:?} should be a handshake"),
    }
}

#[test]
fn every_handshake_is_answered_as_its_vendor_wants() {
    let answer = shaken("POST", "", &[], r#"{"challenge":"a\"b"}"#);
    assert_eq!(&answer.body[..], br#"{"challenge":"a\"b"}"#);
    let answer = shaken("POST", "validationToken=a%20b%3Cc", &[], "");
    assert_eq!(&answer.body[..], b"a b<c");
    assert!(answer.headers[0].1.starts_with("text/plain"));
    let answer = shaken("POST", "", &[("x-hook-secret", "abc")], "{}");
    assert_eq!(
        answer.headers,
        [("x-hook-secret".to_owned(), "abc".to_owned())]
    );
    let zoom =
        r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let answer: serde_json::Value =
        serde_json::from_slice(&shaken("POST", "", &[], zoom).body).unwrap();
    assert_eq!(
        answer["encryptedToken"],
        "f18fe384261e2c24739b3049c107257c38a5094f873fd62c28da085e693a518f"
    );
    let answer = shaken("POST", "", &[], r#"{"soap":true}"#);
    assert!(String::from_utf8_lossy(&answer.body).contains("<Ack>true</Ack>"));
    let answer = shaken("HEAD", "", &[], "");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
}

#[test]
fn a_handshake_for_verified_requests_needs_the_credential_and_nothing_long_is_echoed() {
    let source = source(HANDSHAKES, "s3cret", URL);
    let ping = br#"{"ping":true}"#;
    let bare = source.receive(request("POST", "", &[], ping), NOW);
    assert!(matches!(bare, Reception::Refused(_)));
    let known = request("POST", "", &[("x-token", "s3cret")], ping);
    assert!(matches!(
        source.receive(known, NOW),
        Reception::Handshake(_)
    ));
    let long = json!({"challenge": "x".repeat(5000)}).to_string();
    let long = source.receive(request("POST", "", &[], long.as_bytes()), NOW);
    assert!(matches!(long, Reception::Refused(_)));
}

const DEDUPE: &str = "[inbound]\nevent_type = \"{event.type}\"\n[inbound.verify]\nkind = \"token\"\nat = \"header:x-token\"\nsecret = \"secret\"\n[inbound.dedupe]\nkey = [\"{event.a}\", \"{event.b}\"]\n[inbound.redact]\njson = [\"/session\"]\n";

#[test]
fn duplicate_keys_depend_on_their_parts_alone_and_unreadable_bodies_are_kept() {
    let source = source(DEDUPE, "s3cret", URL);
    let key = |body: &[u8]| {
        let arrived = request("POST", "", &[("x-token", "s3cret")], body);
        match source.receive(arrived, NOW) {
            Reception::Verified(verified) => verified.dedupe_key(),
            other => panic!("{other:?} should verify"),
        }
    };
    assert_eq!(
        key(br#"{"a":"x","b":"y","n":1}"#),
        key(br#"{"b":"y","a":"x"}"#)
    );
    assert_ne!(key(br#"{"a":"xy"}"#), key(br#"{"b":"xy"}"#));
    assert_ne!(key(br#"{"a":"x","b":"y"}"#), key(br#"{"a":"xy"}"#));
    assert_ne!(key(br#"{"n":1}"#), key(br#"{"n":2}"#));
    let deep = "[".repeat(100_000);
    for body in [b"{".as_slice(), b"", b"\xff\xfe\0", deep.as_bytes()] {
        assert_eq!(key(body), key(body));
    }
    assert_ne!(key(b"{"), key(b"{ "));
}

#[test]
fn a_body_that_holds_secrets_but_cannot_be_read_is_withheld() {
    let source = source(DEDUPE, "s3cret", URL);
    let broken = br#"{"session":"abc""#;
    let arrived = request("POST", "", &[("x-token", "s3cret")], broken);
    let Reception::Verified(kept) = source.receive(arrived, NOW) else {
        panic!("should verify");
    };
    assert!(!String::from_utf8_lossy(kept.body()).contains("abc"));
}

#[test]
fn mistakes_in_settings_are_all_told_with_the_remedy() {
    let fields = "[[field]]\nkey = \"signing_secret\"\nhelp = \"Copy it.\"\nsecret = true\nrequired = true\n[[field]]\nkey = \"mode\"\noptions = [\"a\", \"b\"]\n";
    let inbound = "[inbound]\n[inbound.verify]\nkind = \"mac\"\nheader = [\"x\"]\nsecret = \"signing_secret\"";
    let connector = connector(&format!("{fields}{inbound}")).unwrap();
    let told = |settings| {
        let settings = Settings::from_json(settings);
        let mistakes = Inbound::new(&connector, &settings, &options(URL)).unwrap_err();
        let told = mistakes
            .iter()
            .map(|d| format!("{} | {}", d.message, d.help.clone().unwrap_or_default()));
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        told(json!({"signing_secrt": "x", "mode": "c"})),
        [
            "the connector has no field `signing_secrt` | did you mean `signing_secret`?",
            "`signing_secret` is missing | signing_secret: Copy it.",
            "`mode` has to be one of: a, b | mode",
        ]
    );
    assert_eq!(
        told(json!({"signing_secret": ""})),
        ["`signing_secret` is empty | signing_secret: Copy it."]
    );
}

#[test]
fn mistakes_in_a_connector_are_all_told_with_place_and_remedy() {
    let inbound = "[inbound]\nboddy = \"json\"\n[inbound.verify]\nkind = \"mac\"\nalgorithm = \"hmac-sha265\"\nheader = [\"x\"]\ncontent = \"{timestmp}\"\nsecret = \"secret\"\n[inbound.verify.timestamp]\nheader = [\"t\"]\npast = \"0s\"\n";
    let mistakes = connector(inbound).unwrap_err();
    let told: Vec<_> = mistakes
        .iter()
        .map(|d| (d.position().unwrap().0, d.message.as_str()))
        .collect();
    assert!(
        told.contains(&(5, "connector.toml.inbound has no key `boddy`")),
        "{told:?}"
    );
    assert!(
        told.contains(&(8, "`hmac-sha265` is not a value of `algorithm`")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|(line, m)| *line == 10 && m.contains("timestmp")),
        "{told:?}"
    );
}
