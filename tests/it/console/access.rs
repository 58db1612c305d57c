//! Log-in, roles, and requests that other pages make a browser send.

use super::{VIEWER_TOKEN, browse, log_in, setup};
use crate::support::ADMIN_TOKEN;

/// The CSRF token in the page.
fn csrf(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_page_before_the_log_in_and_everybody_gets_back_to_it() {
    let bridge = setup().start().await;
    let reply = browse(&bridge, "GET", "/console/calls?agent=a%26b", &[], &[]).await;
    assert_eq!(reply.status, 303);
    let login = &reply.headers["location"];
    assert_eq!(
        login,
        "/console/login?next=%2Fconsole%2Fcalls%3Fagent%3Da%2526b"
    );
    let form = browse(&bridge, "GET", login, &[], &[]).await;
    assert!(
        form.body.contains("value=\"/console/calls?agent=a%26b\""),
        "{}",
        form.body
    );
    let sent = [
        ("token", ADMIN_TOKEN),
        ("next", "/console/calls?agent=a%26b"),
    ];
    let reply = browse(&bridge, "POST", "/console/login", &[], &sent).await;
    assert_eq!(
        (reply.status, reply.headers["location"].as_str()),
        (303, "/console/calls?agent=a%26b")
    );
    let cookie = &reply.headers["set-cookie"];
    for attribute in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    for header in [
        "content-security-policy",
        "x-content-type-options",
        "referrer-policy",
    ] {
        assert!(
            reply.headers.contains_key(header) && form.headers.contains_key(header),
            "{header}"
        );
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_leads_nowhere_else_and_shows_markup_as_text() {
    let bridge = setup().start().await;
    let hostile = [
        ("token", ADMIN_TOKEN),
        ("next", "//evil.example/\"><script>"),
    ];
    let reply = browse(&bridge, "POST", "/console/login", &[], &hostile).await;
    assert_eq!(reply.headers["location"], "/console");
    let cookie = reply.headers["set-cookie"]
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let missing = browse(
        &bridge,
        "GET",
        "/console/%3Cscript%3E\"<b>",
        &[("cookie", &cookie)],
        &[],
    )
    .await;
    assert_eq!(missing.status, 404);
    assert!(
        !missing.body.contains("<script") && !missing.body.contains("<b>"),
        "{}",
        missing.body
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_is_kept_to_https_when_the_browser_came_by_it_and_only_then() {
    // Webhooks come by HTTPS in all of these; that says nothing of the console.
    let bridge = setup().start().await;
    let host = bridge.office().to_string();
    let (plain, safe) = (format!("http://{host}"), format!("https://{host}"));
    for (headers, secure) in [
        (vec![], false),
        (vec![("origin", plain.as_str())], false),
        (vec![("x-forwarded-proto", "https")], true),
        (vec![("origin", safe.as_str())], true),
        (
            vec![
                ("origin", safe.as_str()),
                ("x-forwarded-proto", "https"),
                ("sec-fetch-site", "same-origin"),
            ],
            true,
        ),
    ] {
        let token = [("token", ADMIN_TOKEN)];
        let reply = browse(&bridge, "POST", "/console/login", &headers, &token).await;
        assert_eq!(reply.status, 303, "{headers:?}: {reply:?}");
        let cookie = &reply.headers["set-cookie"];
        assert_eq!(cookie.contains("; Secure"), secure, "{headers:?}: {cookie}");
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_refused_and_then_made_to_wait() {
    let bridge = setup().start().await;
    for _ in 0..10 {
        let reply = browse(
            &bridge,
            "POST",
            "/console/login",
            &[],
            &[("token", "wrong")],
        )
        .await;
        assert_eq!(reply.status, 401);
        assert!(!reply.headers.contains_key("set-cookie"));
    }
    let reply = browse(
        &bridge,
        "POST",
        "/console/login",
        &[],
        &[("token", ADMIN_TOKEN)],
    )
    .await;
    assert_eq!(reply.status, 429, "{reply:?}");
    assert!(reply.headers["retry-after"].parse::<u32>().unwrap() > 0);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_takes_the_session_and_needs_the_pages_own_token() {
    let bridge = setup().start().await;
    let cookie = log_in(&bridge, ADMIN_TOKEN).await;
    let mine = ("cookie", cookie.as_str());
    let page = browse(&bridge, "GET", "/console", &[mine], &[]).await;
    assert_eq!(page.status, 200);
    let right = csrf(&page.body);
    for (headers, token) in [
        (vec![mine], "guessed"),
        (
            vec![mine, ("origin", "https://evil.example")],
            right.as_str(),
        ),
        (vec![mine, ("sec-fetch-site", "cross-site")], right.as_str()),
    ] {
        let reply = browse(
            &bridge,
            "POST",
            "/console/logout",
            &headers,
            &[("csrf", token)],
        )
        .await;
        assert_eq!(reply.status, 403, "{headers:?}");
    }
    assert_eq!(
        browse(&bridge, "GET", "/console", &[mine], &[])
            .await
            .status,
        200
    );
    let reply = browse(
        &bridge,
        "POST",
        "/console/logout",
        &[mine],
        &[("csrf", &right)],
    )
    .await;
    assert!(
        reply.status == 303 && reply.headers["set-cookie"].contains("Max-Age=0"),
        "{reply:?}"
    );
    assert_eq!(
        browse(&bridge, "GET", "/console", &[mine], &[])
            .await
            .status,
        303
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_reads_the_api_and_changes_nothing() {
    let bridge = setup().start().await;
    let bearer = format!("Bearer {VIEWER_TOKEN}");
    let cookie = log_in(&bridge, VIEWER_TOKEN).await;
    let page = browse(&bridge, "GET", "/console", &[("cookie", &cookie)], &[]).await;
    let token = csrf(&page.body);
    for headers in [
        vec![("authorization", bearer.as_str())],
        vec![
            ("cookie", cookie.as_str()),
            ("x-csrf-token", token.as_str()),
        ],
    ] {
        assert_eq!(
            browse(&bridge, "GET", "/admin/v1/calls", &headers, &[])
                .await
                .status,
            200
        );
        for change in [
            "calls",
            "events/replay",
            "dead-letters/redrive",
            "mappings/reload",
        ] {
            let reply = browse(
                &bridge,
                "POST",
                &format!("/admin/v1/{change}"),
                &headers,
                &[],
            )
            .await;
            // What is wrong with the body may be told first; nothing is done either way.
            assert!([400, 403].contains(&reply.status), "{change}: {reply:?}");
        }
        let reply = browse(&bridge, "POST", "/admin/v1/mappings/reload", &headers, &[]).await;
        assert_eq!(reply.status, 403);
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_changes_things_only_with_the_pages_token_from_this_host() {
    let bridge = setup().start().await;
    let cookie = log_in(&bridge, ADMIN_TOKEN).await;
    let mine = ("cookie", cookie.as_str());
    let page = browse(&bridge, "GET", "/console", &[mine], &[]).await;
    let right = csrf(&page.body);
    let token = ("x-csrf-token", right.as_str());
    for (headers, status) in [
        (vec![mine], 403),
        (vec![mine, ("x-csrf-token", "guessed")], 403),
        (vec![mine, token, ("origin", "https://evil.example")], 403),
        (vec![token], 401),
        (vec![mine, token, ("authorization", "Bearer wrong")], 401),
        (vec![mine, token], 200),
    ] {
        let reply = browse(&bridge, "POST", "/admin/v1/mappings/reload", &headers, &[]).await;
        assert_eq!(reply.status, status, "{headers:?} {reply:?}");
    }
    bridge.stop().await;
}
