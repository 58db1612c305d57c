//! Hostile bodies and senders: bounded in size and time, answered clearly, and verified ones kept.

use std::time::Instant;

use outcome_bridge::config::Env;
use outcome_bridge::setup::Blueprint;
use serde_json::json;

use crate::support::{Setup, Talk, TestBridge, gzip, minutes_ago, told};

const LIMIT: usize = 300_000;

async fn limited() -> TestBridge {
    Setup::new()
        .set("SERVER__BODY_LIMIT", "300 kB")
        .start()
        .await
}

/// The bridge still does its work.
async fn works(bridge: &TestBridge) {
    let story = bridge
        .hear("team", &told("alive", "shown", minutes_ago(1)))
        .await;
    assert_eq!(story["event"]["disposition"], "mapped", "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verified_bodies_that_nobody_can_read_are_stored_and_fail_with_a_reason() {
    let bridge = limited().await;
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let deep_objects = [
        br#"{"a":"#.repeat(40_000),
        b"1".to_vec(),
        vec![b'}'; 40_000],
    ]
    .concat();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("blanks", b" \r\n\t".to_vec()),
        ("cut off", br#"{"outcome":"closed","call_id":"#.to_vec()),
        ("two documents", b"{}{}".to_vec()),
        ("100 000 levels of lists", deep),
        ("40 000 levels of objects", deep_objects),
        (
            "a number beyond all numbers",
            b"{\"value\":1e999999999}".to_vec(),
        ),
        ("invalid UTF-8", b"{\"call_id\":\"\xff\xfe\"}".to_vec()),
        ("half a surrogate", br#"{"call_id":"\ud800"}"#.to_vec()),
        ("a NUL", b"{\"call_id\":\"a\0b\"}".to_vec()),
        ("all zero", vec![0; 1000]),
        ("XML", b"<?xml version=\"1.0\"?><a/>".to_vec()),
    ];
    for (name, body) in bodies {
        let reply = bridge.post("team", body.clone()).await;
        assert_eq!(
            reply.status, 200,
            "{name}: it verifies, so it is stored: {reply:?}"
        );
        let id = bridge.event_ids().await.remove(0);
        let story = bridge.processed(&id).await;
        assert_eq!(
            story["event"]["disposition"], "failed",
            "{name}: {}",
            story["event"]
        );
        let reason = story["event"]["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("the body cannot be read: ") && reason.len() < 300,
            "{name}: {reason}"
        );
        assert_eq!(story["event"]["body_bytes"], body.len(), "{name}");
    }
    works(&bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_readable_bodies_get_a_disposition() {
    let bridge = limited().await;
    let digits = "9".repeat(100_000);
    let at = minutes_ago(5);
    let bodies = [
        "null".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        "123".to_owned(),
        json!({ "outcome": "closed", "call_id": "a\0b", "occurred_at": at }).to_string(),
        json!({ "outcome": ["closed"], "call_id": {}, "occurred_at": at }).to_string(),
        json!({ "outcome": "closed", "call_id": "x".repeat(100_000), "occurred_at": at }).to_string(),
        json!({ "outcome": "closed", "call_id": "c", "occurred_at": "+999999-12-31T00:00:00Z" }).to_string(),
        json!({ "outcome": "closed", "call_id": "c", "occurred_at": at, "value": digits, "currency": "USD" }).to_string(),
        format!(r#"{{"outcome":"closed","call_id":"c","occurred_at":"{at}","value":{digits},"currency":"USD"}}"#),
        r#"{"outcome":"closed","outcome":"lost","call_id":"twice"}"#.to_owned(),
        json!({ "outcome": "closed", "call_id": "\u{202e}\u{feff}\r\n", "notes": "\u{1b}[31m" }).to_string(),
    ];
    for body in bodies {
        assert_eq!(
            bridge.post("team", body.clone()).await.status,
            200,
            "{body:.60}"
        );
        let id = bridge.event_ids().await.remove(0);
        let event = &bridge.processed(&id).await["event"];
        let disposition = event["disposition"].as_str().unwrap();
        assert!(
            ["mapped", "ignored", "unmatched", "failed"].contains(&disposition),
            "{body:.60}: {event}"
        );
        assert_ne!(event["reason"], "", "{body:.60}");
    }
    works(&bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signature_is_over_the_decoded_bytes_of_gzip() {
    let bridge = limited().await;
    let body = told("call-1", "shown", minutes_ago(3)).to_string();
    let (start, end) = body.as_bytes().split_at(10);
    let whole = gzip(body.as_bytes());
    let members = [gzip(start), gzip(end)].concat();
    for (encoding, sent) in [
        ("gzip", &whole),
        ("x-gzip", &whole),
        ("GZIP", &whole),
        ("X-Gzip", &members),
        ("gzip", &members),
    ] {
        let mut signed = bridge.signed("team", bridge.unsigned(body.clone()));
        signed.body = sent.clone().into();
        signed
            .headers
            .push(("content-encoding".to_owned(), encoding.to_owned()));
        assert_eq!(bridge.send("team", signed).await.status, 200, "{encoding}");
        let id = bridge.event_ids().await.remove(0);
        let stored = bridge.get(&format!("/events/{id}/raw")).await;
        assert_eq!(stored["body"], body.as_str(), "it is stored as it verified");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_the_compressed_ones_are_refused() {
    let bridge = limited().await;
    let mut signed = bridge.signed("team", bridge.unsigned("{}"));
    signed.body = [gzip(b"{}"), b"{}".to_vec()].concat().into();
    let coding = ("content-encoding".to_owned(), "gzip".to_owned());
    signed.headers.push(coding);
    let reply = bridge.send("team", signed).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.body.contains("not valid gzip to its last byte"),
        "{reply:?}"
    );
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_may_say_that_they_are_not_compressed() {
    let bridge = limited().await;
    for coding in ["identity", "Identity", ""] {
        let mut signed = bridge.signed("team", bridge.unsigned("{}"));
        let coding = ("content-encoding".to_owned(), coding.to_owned());
        signed.headers.push(coding);
        assert_eq!(bridge.send("team", signed).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_over_the_compressed_bytes_is_refused() {
    let bridge = limited().await;
    let mut signed = bridge.signed("team", bridge.unsigned(gzip(b"{}")));
    signed
        .headers
        .push(("content-encoding".to_owned(), "gzip".to_owned()));
    assert_eq!(bridge.send("team", signed).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit_are_413_in_whatever_form_they_come() {
    let bridge = limited().await;
    let exact = format!("\"{}\"", "x".repeat(LIMIT - 2));
    assert_eq!(
        bridge.post("team", exact).await.status,
        200,
        "the limit itself is fine"
    );

    let over = vec![b'x'; LIMIT + 1];
    assert_eq!(bridge.post("team", over.clone()).await.status, 413);

    let bomb = vec![b' '; 100 << 20];
    let mut parts = bridge.unsigned(gzip(&bomb));
    assert!(parts.body.len() < LIMIT, "the bomb itself is small");
    parts
        .headers
        .push(("content-encoding".to_owned(), "gzip".to_owned()));
    assert_eq!(bridge.send("team", parts).await.status, 413);

    assert_eq!(
        bridge.event_ids().await.len(),
        1,
        "nothing of it was stored"
    );
    works(&bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_without_an_announced_length_are_counted() {
    let bridge = limited().await;
    let mut talk = Talk::with(bridge.inlet()).await;
    let head = "POST /webhooks/team HTTP/1.1\r\nhost: bridge\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(talk.say(head.as_bytes()).await);
    let chunk = [
        format!("{:x}\r\n", 65_536).into_bytes(),
        vec![b'x'; 65_536],
        b"\r\n".to_vec(),
    ]
    .concat();
    for _ in 0..8 {
        // It may hang up as soon as it has seen too much.
        if !talk.say(&chunk).await {
            break;
        }
    }
    assert_eq!(talk.answer().await.0, 413);
    works(&bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_that_are_not_known_or_not_true_are_refused() {
    let bridge = limited().await;
    for (encoding, status) in [
        ("br", 415),
        ("deflate", 415),
        ("gzip, gzip", 415),
        ("gzip", 400),
    ] {
        let mut parts = bridge.signed("team", bridge.unsigned("{}"));
        parts
            .headers
            .push(("content-encoding".to_owned(), encoding.to_owned()));
        let reply = bridge.send("team", parts).await;
        assert_eq!(reply.status, status, "{encoding}");
        let wanted = reply.headers.get("accept-encoding").map(String::as_str);
        assert_eq!(
            wanted,
            (status == 415).then_some("gzip, identity"),
            "{encoding}"
        );
    }
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
    works(&bridge).await;
}

/// A signed webhook with so many header lines in all.
fn with_header_lines(bridge: &TestBridge, lines: usize) -> Vec<u8> {
    let signed = bridge.signed("team", bridge.unsigned("{}"));
    let mut headers = vec![
        ("host".to_owned(), "bridge".to_owned()),
        ("content-length".to_owned(), signed.body.len().to_string()),
    ];
    headers.extend(signed.headers);
    for n in headers.len()..lines {
        headers.push((format!("x-filler-{n}"), n.to_string()));
    }
    assert_eq!(headers.len(), lines);
    let mut text = "POST /webhooks/team HTTP/1.1\r\n".to_owned();
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    [format!("{text}\r\n").as_bytes(), &signed.body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_header_lines_as_the_limit_says_pass_and_one_more_does_not() {
    let limits = [
        (None, 96),
        (Some("96"), 96),
        (Some("95"), 95),
        (Some("10"), 10),
    ];
    for (limit, lines) in limits {
        let setup = Setup::new();
        let bridge = match limit {
            None => setup.start().await,
            Some(limit) => setup.set("SERVER__HEADER_LIMIT", limit).start().await,
        };
        for (lines, status) in [(lines, 200), (lines + 1, 431)] {
            let mut talk = Talk::with(bridge.inlet()).await;
            assert!(talk.say(&with_header_lines(&bridge, lines)).await);
            let (answered, text) = talk.answer().await;
            assert_eq!(answered, status, "{limit:?}, {lines} lines: {text}");
        }
        assert_eq!(bridge.event_ids().await.len(), 1, "{limit:?}");
        bridge.stop().await;
    }
}

#[test]
fn a_limit_that_cannot_be_kept_is_a_mistake_with_a_remedy() {
    let setup = Setup::new().written();
    for limit in ["0", "97", "many"] {
        let option = ("OUTCOME_BRIDGE__SERVER__HEADER_LIMIT", limit);
        let env: Env = [(option.0.to_owned(), option.1.to_owned())]
            .into_iter()
            .collect();
        let Err(mistakes) = Blueprint::load(&setup.config_dir(), &env) else {
            panic!("{limit} is taken");
        };
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        let told = format!("{mistakes:?}");
        assert!(
            told.contains("header_limit") && told.contains("no more than 96 header lines"),
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_headers_are_refused() {
    let bridge = Setup::new().set("SERVER__HEADER_LIMIT", "40").start().await;
    for count in [60, 200, 5_000] {
        let mut talk = Talk::with(bridge.inlet()).await;
        let mut request =
            "POST /webhooks/team HTTP/1.1\r\nhost: bridge\r\ncontent-length: 2\r\n".to_owned();
        for n in 0..count {
            request.push_str(&format!("x-flood-{n}: {}\r\n", "y".repeat(20)));
        }
        request.push_str("\r\n{}");
        // It may hang up before it has heard everything.
        let _heard = talk.say(request.as_bytes()).await;
        let (status, _) = talk.answer().await;
        assert!([400, 431].contains(&status), "{count} headers: {status}");
    }
    let mut talk = Talk::with(bridge.inlet()).await;
    let huge = format!(
        "POST /webhooks/team HTTP/1.1\r\nhost: b\r\nx-huge: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    let _heard = talk.say(huge.as_bytes()).await;
    assert!([400, 431].contains(&talk.answer().await.0));
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
    works(&bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_given_up_on_and_delay_nobody() {
    let bridge = Setup::new()
        .set("SERVER__REQUEST_TIMEOUT", "1 s")
        .start()
        .await;
    let started = Instant::now();
    let mut slow_body = Talk::with(bridge.inlet()).await;
    let head = "POST /webhooks/team HTTP/1.1\r\nhost: bridge\r\ncontent-length: 100\r\n\r\n{";
    assert!(slow_body.say(head.as_bytes()).await);
    let mut slow_head = Talk::with(bridge.inlet()).await;
    assert!(
        slow_head
            .say(b"POST /webhooks/team HTTP/1.1\r\nhost: br")
            .await
    );

    works(&bridge).await;
    assert!(
        started.elapsed().as_millis() < 1000,
        "others were served meanwhile"
    );

    assert_eq!(slow_body.answer().await.0, 408);
    assert_eq!(slow_head.answer().await.0, 408);
    let took = started.elapsed().as_secs();
    assert!(
        (1..10).contains(&took),
        "within the configured time: {took} s"
    );
    assert_eq!(bridge.event_ids().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_get_a_400() {
    let bridge = limited().await;
    let requests: [&[u8]; 4] = [
        b"\0\0\0\0\r\n\r\n",
        b"POST /webhooks/team HTTP/1.1\r\nhost: b\r\ncontent-length: -5\r\n\r\n",
        b"POST /webhooks/team HTTP/1.1\r\nhost: b\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /webhooks/team HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ];
    for request in requests {
        let mut talk = Talk::with(bridge.inlet()).await;
        assert!(talk.say(request).await);
        let (status, _) = talk.answer().await;
        assert_eq!(status, 400, "{}", String::from_utf8_lossy(request));
    }
    works(&bridge).await;
}
