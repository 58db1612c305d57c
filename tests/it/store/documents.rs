//! What the OpenAPI documents say, held against what a running bridge does.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{BEARER, PHONELY, request, setup};
use crate::support::{ADMIN_TOKEN, TestBridge};

/// A request that is good but for one parameter that there is not.
fn with_nonsense(method: &str, path: &str) -> String {
    let path = path
        .replace("{id}/raw", "evt_0000000000000/raw")
        .replace("/events/{id}", "/events/evt_0000000000000")
        .replace("/deliveries/{id}", "/deliveries/dlv_0000000000000-0");
    let path: Vec<&str> = path
        .split('/')
        .map(|part| if part.starts_with('{') { "x" } else { part })
        .collect();
    format!("{method} {}?nonsense=1&split=agent", path.join("/"))
}

/// The query parameters that an operation is described to take.
fn described(document: &Value, operation: &Value) -> BTreeSet<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters
        .map(|parameter| match parameter["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => parameter,
        })
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The query parameters that a refusal names; nothing where none is asked for.
fn taken(refusal: &str) -> BTreeSet<String> {
    let named = refusal.split_once("(known: ").map(|(_, rest)| rest);
    let named = named
        .and_then(|rest| rest.split_once(')'))
        .map(|(names, _)| names);
    let names = named.into_iter().flat_map(|names| names.split(", "));
    names.map(str::to_owned).collect()
}

async fn ask(bridge: &TestBridge, admin: bool, line: &str, headers: &[&str]) -> (u16, String) {
    let reply = if admin {
        let (method, path) = line.split_once(' ').unwrap();
        let request = bridge.admin(method.parse().unwrap(), path);
        let sent = request.bearer_auth(ADMIN_TOKEN).send().await.unwrap();
        crate::support::Reply::of(sent).await
    } else {
        request(bridge, line, headers, "{}").await
    };
    (reply.status, reply.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_take_the_parameters_that_are_described_and_no_others() {
    let bridge = setup().start().await;
    let admin: Value = bridge.get("/openapi.json").await;
    let store = request(&bridge, "GET /api/openapi.json", &[], None)
        .await
        .json();
    let mut with_parameters = 0;
    for (document, is_admin) in [(admin, true), (store, false)] {
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                if is_admin && method != "get" {
                    continue;
                }
                let line = with_nonsense(&method.to_uppercase(), path);
                let headers = if path.starts_with("/api/calls") {
                    PHONELY
                } else {
                    BEARER
                };
                let (_, body) = ask(&bridge, is_admin, &line, &headers).await;
                let described = described(&document, operation);
                let mut taken = taken(&body);
                if described.contains("split") {
                    taken.insert("split".to_owned());
                }
                assert_eq!(taken, described, "{line}: {body}");
                with_parameters += usize::from(!described.is_empty());
            }
        }
    }
    assert!(with_parameters > 15, "{with_parameters}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_asks_for_its_key_and_names_the_methods_that_a_path_takes() {
    let bridge = setup().start().await;
    let admin: Value = bridge.get("/openapi.json").await;
    let store = request(&bridge, "GET /api/openapi.json", &[], None)
        .await
        .json();
    let http = crate::support::client();
    for (document, base) in [
        (admin, bridge.admin_url()),
        (store, format!("http://{}", bridge.inlet())),
    ] {
        for (path, operations) in document["paths"].as_object().unwrap() {
            let url = format!("{base}{}", path.replace(['{', '}'], ""));
            let operations = operations.as_object().unwrap();
            for (method, operation) in operations {
                let method = method.to_uppercase().parse().unwrap();
                let reply = http.request(method, &url).body("{}").send().await.unwrap();
                let open = operation["security"].as_array().unwrap().is_empty();
                let expected = if open { 200 } else { 401 };
                assert_eq!(reply.status(), expected, "{path}");
            }
            let reply = http.delete(&url).send().await.unwrap();
            assert_eq!(reply.status(), 405, "{path}");
            let allowed = reply.headers()["allow"].to_str().unwrap();
            let mut allowed: Vec<String> = allowed.split(", ").map(str::to_lowercase).collect();
            // HEAD is described with GET.
            assert_eq!(
                allowed.contains(&"head".to_owned()),
                allowed.contains(&"get".to_owned())
            );
            allowed.retain(|method| method != "head");
            allowed.sort();
            let mut methods: Vec<&String> = operations.keys().collect();
            methods.sort();
            assert!(allowed.iter().eq(methods), "{path}: {allowed:?}");
        }
    }
    bridge.stop().await;
}
