//! Methods: `HEAD` wherever `GET` is, `Allow` wherever a method is refused, and words that are true of the path.

use reqwest::Method;

use crate::console::{browse, log_in};
use crate::store::{BEARER, request, setup};
use crate::support::{ADMIN_TOKEN, Reply, Setup, Talk, TestBridge, client};

async fn ask(bridge: &TestBridge, office: bool, method: Method, path: &str) -> Reply {
    let side = if office {
        bridge.admin_url()
    } else {
        format!("http://{}", bridge.inlet())
    };
    let request = client().request(method, format!("{side}{path}"));
    Reply::of(request.bearer_auth(ADMIN_TOKEN).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_answers_head_without_a_body() {
    let bridge = setup().start().await;
    for (office, path) in [
        (false, "/health/live"),
        (false, "/health/ready"),
        (false, "/api/openapi.json"),
        (true, "/health/live"),
        (true, "/health/ready"),
        (true, "/metrics"),
        (true, "/admin/v1/events"),
        (true, "/admin/v1/openapi.json"),
        (true, "/console/login"),
        (true, "/console/style.css"),
    ] {
        let whole = ask(&bridge, office, Method::GET, path).await;
        let head = ask(&bridge, office, Method::HEAD, path).await;
        assert_eq!((whole.status, head.status), (200, 200), "{path}");
        assert_eq!(head.body, "", "{path}");
        assert_eq!(
            whole.headers["content-type"], head.headers["content-type"],
            "{path}"
        );
        assert!(
            head.headers["content-length"].parse::<u32>().unwrap() > 0,
            "{path}: {head:?}"
        );
    }
    // Not even what a client would leave unread.
    let mut talk = Talk::with(bridge.inlet()).await;
    assert!(
        talk.say(b"HEAD /health/live HTTP/1.1\r\nhost: b\r\n\r\n")
            .await
    );
    let (status, text) = talk.answer().await;
    assert_eq!(status, 200);
    assert!(text.ends_with("\r\n\r\n"), "{text:?}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_asks_for_the_same_token_as_get() {
    let bridge = setup().start().await;
    let calls = bridge.admin(Method::HEAD, "/admin/v1/calls");
    assert_eq!(calls.send().await.unwrap().status(), 401);
    for (headers, status) in [(&BEARER[..], 200), (&[], 401)] {
        let reply = request(&bridge, "HEAD /v1/calls", headers, None).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, ""));
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_not_taken_is_told_which_are() {
    let bridge = setup().start().await;
    for (office, path, allow) in [
        (false, "/health/live", "GET, HEAD"),
        (false, "/health/ready", "GET, HEAD"),
        (false, "/webhooks/team", "GET, HEAD, POST"),
        (false, "/webhooks/team/token", "GET, HEAD, POST"),
        (false, "/api/calls/agent123", "GET, HEAD"),
        (false, "/api/calls/agent123/call456", "GET, HEAD, PATCH"),
        (false, "/api/v1/webhooks/calls/c/change-outcome", "PATCH"),
        (false, "/api/v1/calls/c", "GET, HEAD"),
        (false, "/v1/calls/c/outcome", "POST"),
        (false, "/v1/calls/c", "GET, HEAD"),
        (true, "/health/live", "GET, HEAD"),
        (true, "/health/ready", "GET, HEAD"),
        (true, "/metrics", "GET, HEAD"),
        (true, "/", "GET, HEAD"),
        (true, "/admin/v1/events/replay", "POST"),
        (true, "/admin/v1/calls", "GET, HEAD, POST"),
        (true, "/console/calls", "GET, HEAD"),
        (true, "/console/login", "GET, HEAD, POST"),
        (true, "/console/logout", "POST"),
    ] {
        for method in [Method::DELETE, Method::OPTIONS] {
            let reply = ask(&bridge, office, method.clone(), path).await;
            assert_eq!(reply.status, 405, "{method} {path}: {reply:?}");
            assert_eq!(reply.headers["allow"], allow, "{method} {path}");
            let json = !path.starts_with("/console");
            assert_eq!(
                reply.headers["content-type"].contains("json"),
                json,
                "{method} {path}: {reply:?}"
            );
            if !path.starts_with("/webhooks") {
                assert!(reply.body.contains(allow), "{path}: {}", reply.body);
            }
        }
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_method_is_sent_where_it_is_taken() {
    let bridge = setup().start().await;
    let path = "/api/v1/webhooks/calls/co-1/change-outcome";
    let reply = ask(&bridge, false, Method::GET, path).await;
    assert_eq!(reply.status, 405);
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("this path takes PATCH;")
            && message.ends_with("a call is read by GET /api/v1/calls/{call}"),
        "{message}"
    );
    let reply = ask(&bridge, false, Method::GET, "/v1/calls/c/outcome").await;
    let message = reply.json()["error"].as_str().unwrap().to_owned();
    assert!(message.starts_with("this path takes POST;"), "{message}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_webhook_is_not_taken_by_get() {
    let bridge = Setup::new().start().await;
    let mut signed = bridge.signed("team", bridge.unsigned("{}"));
    signed.method = "GET".to_owned();
    let reply = bridge.send("team", signed).await;
    assert_eq!(
        (reply.status, reply.headers["allow"].as_str()),
        (405, "POST")
    );
    assert_eq!(bridge.event_ids().await, Vec::<String>::new());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_offices_door_leads_to_the_console_and_the_inlet_has_none() {
    let bridge = setup().start().await;
    for method in ["GET", "HEAD"] {
        let door = browse(&bridge, method, "/", &[], &[]).await;
        assert_eq!(
            (door.status, door.headers["location"].as_str()),
            (307, "/console")
        );
    }
    let cookie = log_in(&bridge, ADMIN_TOKEN).await;
    let inside = browse(&bridge, "GET", "/console", &[("cookie", &cookie)], &[]).await;
    assert_eq!(inside.status, 200);
    let none = ask(&bridge, false, Method::GET, "/").await;
    assert_eq!(
        (none.status, &none.json()["code"]),
        (404, &"not_found".into())
    );
    // Whoever is on the wrong side is told of the other.
    let strayed = ask(&bridge, true, Method::POST, "/webhooks/team").await;
    assert_eq!(strayed.status, 404);
    assert!(strayed.body.contains("server.bind"), "{strayed:?}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_its_type_is_told_which_it_needs() {
    let bridge = setup().start().await;
    let replay = bridge.admin(Method::POST, "/admin/v1/events/replay");
    let replay = replay.bearer_auth(ADMIN_TOKEN).body("{}");
    let reply = Reply::of(replay.send().await.unwrap()).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(
        reply.body.contains("`Content-Type: application/json`"),
        "{reply:?}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_addresses_that_cannot_be_read_are_answered_with_a_page() {
    let bridge = setup().start().await;
    let json = bridge.admin(Method::POST, "/console/login").json("token");
    let twice = bridge.admin(Method::GET, "/console/login?next=a&next=b");
    let long = bridge.admin(Method::POST, "/console/login");
    let long = long.form(&[("token", "x".repeat(5_000))]);
    for (request, status) in [(json, 415), (twice, 400), (long, 413)] {
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(
            reply.headers["content-type"].starts_with("text/html")
                && reply.body.contains("That did not work"),
            "{reply:?}"
        );
    }
    bridge.stop().await;
}
