//! What was given up can be seen, tried again or put aside; and the admin API as such.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, Answer, FakeDestination, Setup, TestBridge, minutes_ago, told};

async fn dead(bridge: &TestBridge, destination: &FakeDestination, call: &str) -> Value {
    destination.answer(Answer::new(400));
    let story = bridge
        .hear("team", &told(call, "shown", minutes_ago(10)))
        .await;
    destination.request().await;
    bridge.delivery(&story, "crm", "dead_letter").await;
    story
}

async fn letters(bridge: &TestBridge) -> Vec<Value> {
    bridge.get("/dead-letters").await["items"]
        .as_array()
        .unwrap()
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_with_their_reason_and_can_be_redriven() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    let story = dead(&bridge, &destination, "call-1").await;
    let listed = letters(&bridge).await;
    assert_eq!(listed.len(), 1);
    assert!(
        listed[0]["reason"].as_str().unwrap().contains("400"),
        "{listed:?}"
    );
    let id = &listed[0]["id"];

    let reply = bridge
        .tell(
            "/dead-letters/redrive",
            &json!({ "ids": [id], "dry_run": true }),
        )
        .await;
    assert_eq!(
        (reply.status, reply.json()["deliveries"].clone()),
        (200, json!(1))
    );
    assert_eq!(letters(&bridge).await.len(), 1, "a dry run does nothing");

    destination.answer(Answer::ok());
    let reply = bridge
        .tell("/dead-letters/redrive", &json!({ "ids": [id] }))
        .await;
    assert_eq!(
        (reply.status, reply.json()["moved"][0]["id"].clone()),
        (200, id.clone())
    );
    destination.request().await;
    bridge.delivery(&story, "crm", "delivered").await;
    assert_eq!(letters(&bridge).await.len(), 0);

    let reply = bridge
        .tell("/dead-letters/discard", &json!({ "ids": [id] }))
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json()["refused"][0]["id"],
        *id,
        "a delivered one is no dead letter: {reply:?}"
    );
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_behind_a_dead_letter_takes_the_older_ones() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    for call in ["call-1", "call-2"] {
        dead(&bridge, &destination, call).await;
    }
    let listed = letters(&bridge).await;
    let some = json!({ "filter": "", "after": listed[0]["id"] });
    let reply = bridge.tell("/dead-letters/discard", &some).await.json();
    assert_eq!(reply["moved"].as_array().unwrap().len(), 1, "{reply}");
    assert_eq!(reply["moved"][0]["id"], listed[1]["id"]);
    assert_eq!(reply["next"], Value::Null);
    assert_eq!(letters(&bridge).await.len(), 1);
    let by_id = json!({ "ids": [listed[0]["id"]], "after": listed[0]["id"] });
    let reply = bridge.tell("/dead-letters/discard", &by_id).await;
    assert_eq!(reply.status, 400);
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_carries_the_newest_truth() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    dead(&bridge, &destination, "call-1").await;
    let id = letters(&bridge).await[0]["id"].clone();
    destination.answer(Answer::ok());
    let newer = bridge
        .hear("team", &told("call-1", "closed", minutes_ago(5)))
        .await;
    assert_eq!(destination.request().await.body["outcome"], "closed");
    bridge.delivery(&newer, "crm", "delivered").await;

    // The dead letter is older truth by now: it must not overwrite the newer one.
    bridge
        .tell("/dead-letters/redrive", &json!({ "ids": [id] }))
        .await;
    bridge.idle().await;
    let rest = destination.rest().await;
    assert!(
        rest.iter()
            .all(|request| request.body["outcome"] == "closed"),
        "{rest:?}"
    );
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_can_be_moved_by_filter_and_discarded_for_good() {
    let destination = FakeDestination::start().await;
    let bridge = Setup::new().webhook("crm", &destination, "").start().await;
    let mut stories = Vec::new();
    for call in ["one", "two", "three"] {
        stories.push(dead(&bridge, &destination, call).await);
    }
    let event = stories[0]["event"]["id"].as_str().unwrap();
    let reply = bridge
        .tell(
            "/dead-letters/discard",
            &json!({ "filter": format!("event={event}") }),
        )
        .await;
    assert_eq!(
        reply.json()["moved"].as_array().unwrap().len(),
        1,
        "{reply:?}"
    );
    bridge.delivery(&stories[0], "crm", "cancelled").await;

    destination.answer(Answer::ok());
    destination.answer(Answer::ok());
    let reply = bridge
        .tell(
            "/dead-letters/redrive",
            &json!({ "filter": "destination=crm" }),
        )
        .await;
    assert_eq!(
        reply.json()["moved"].as_array().unwrap().len(),
        2,
        "{reply:?}"
    );
    let told: BTreeSet<String> = [destination.request().await, destination.request().await]
        .iter()
        .map(|request| request.body["call_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told, BTreeSet::from(["two".to_owned(), "three".to_owned()]));
    bridge.idle().await;
    destination.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn selections_that_name_nothing_or_too_much_are_mistakes() {
    let bridge = Setup::new().start().await;
    for path in [
        "/dead-letters/redrive",
        "/dead-letters/discard",
        "/events/replay",
    ] {
        for body in [
            json!({}),
            json!({ "id": "x" }),
            json!([]),
            json!({ "ids": ["nonsense"] }),
            json!({ "filter": "colour=red" }),
        ] {
            let reply = bridge.tell(path, &body).await;
            assert_eq!(reply.status, 400, "{path} {body}: {reply:?}");
            assert_eq!(reply.headers["content-type"], "application/problem+json");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_side_asks_for_its_token_everywhere() {
    let bridge = Setup::new().start().await;
    let document: Value = bridge
        .admin(Method::GET, "/admin/v1/openapi.json")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            // Only the description of the API is for everybody.
            if operation["security"] == json!([]) {
                assert_eq!(path, "/admin/v1/openapi.json");
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path
                .replace("{id}", "evt_0000000000001")
                .replace("{name}", "crm")
                .replace("{call}", "c");
            for token in [None, Some("wrong"), Some(""), Some(&ADMIN_TOKEN[1..])] {
                let mut request = bridge.admin(method.clone(), &path).json(&json!({}));
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                let status = request.send().await.unwrap().status().as_u16();
                assert_eq!(status, 401, "{method} {path} with {token:?}");
            }
            asked += 1;
        }
    }
    assert!(asked >= 20, "{asked}");
    let basic = bridge
        .admin(Method::GET, "/admin/v1/events")
        .basic_auth("admin", Some(ADMIN_TOKEN));
    assert_eq!(basic.send().await.unwrap().status().as_u16(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_document_is_there() {
    let bridge = Setup::new().with_store().start().await;
    let document: Value = bridge
        .admin(Method::GET, "/admin/v1/openapi.json")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            // Only the description of the API is for everybody.
            if operation["security"] == json!([]) {
                assert_eq!(path, "/admin/v1/openapi.json");
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path
                .replace("{name}", "nobody")
                .replace("{call}", "nobody")
                .replace("{id}", "evt_0000000000001");
            let request = bridge
                .admin(method.clone(), &path)
                .bearer_auth(ADMIN_TOKEN)
                .json(&json!({}));
            let text = request.send().await.unwrap().text().await.unwrap();
            assert!(
                !text.contains("no such admin route"),
                "{method} {path}: {text}"
            );
        }
    }
    let reply = bridge.ask("/nothing").await;
    assert_eq!(reply.status, 404, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_parameters_and_values_are_mistakes() {
    let bridge = Setup::new().with_store().start().await;
    for path in [
        "/events?sorce=team",
        "/events?disposition=lost",
        "/events?limit=0",
        "/events?limit=1001",
        "/events?limit=ten",
        "/events?cursor=nonsense",
        "/events?since=yesterday",
        "/deliveries?state=gone",
        "/deliveries?foo=",
        "/dead-letters?kind=shown",
        "/outcomes?kind=won",
        "/outcomes?page=2",
        "/events/nonsense",
        "/deliveries/nonsense",
        "/events/..%2F..%2Fetc",
    ] {
        let reply = bridge.ask(path).await;
        assert_eq!(
            (reply.status, reply.json()["code"].clone()),
            (400, json!("bad_request")),
            "{path}"
        );
    }
    let reply = bridge.ask("/events?sorce=team").await;
    assert!(reply.body.contains("did you mean `source`?"), "{reply:?}");
    for path in [
        "/events/evt_0000000000001",
        "/outcomes/nobody/log",
        "/connectors/nobody",
    ] {
        assert_eq!(bridge.ask(path).await.status, 404, "{path}");
    }
}

/// All ids of a list, page by page.
async fn paged(bridge: &TestBridge, list: &str, limit: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = None::<Value>;
    loop {
        let after = match &cursor {
            None => String::new(),
            Some(Value::String(text)) => format!("&cursor={text}"),
            Some(other) => format!("&cursor={other}"),
        };
        let page = bridge.get(&format!("{list}?limit={limit}{after}")).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        let id = |item: &Value| {
            let id = if item["id"].is_null() {
                &item["call_ref"]
            } else {
                &item["id"]
            };
            assert!(id.is_string(), "{item}");
            id.to_string()
        };
        ids.extend(items.iter().map(id));
        if page["next"].is_null() {
            return ids;
        }
        cursor = Some(page["next"].clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_page_through_everything_exactly_once() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::new(400));
    let bridge = Setup::new()
        .with_store()
        .webhook("crm", &destination, "")
        .start()
        .await;
    for call in 0..13 {
        let body = told(&format!("call-{call}"), "shown", minutes_ago(call)).to_string();
        assert_eq!(bridge.post("team", body).await.status, 200);
    }
    bridge.idle().await;
    for (list, count) in [
        ("/events", 13),
        ("/deliveries", 26),
        ("/dead-letters", 13),
        ("/outcomes", 13),
    ] {
        for limit in [1, 4, 13, 100] {
            let ids = paged(&bridge, list, limit).await;
            let different: BTreeSet<&String> = ids.iter().collect();
            assert_eq!(
                (ids.len(), different.len()),
                (count, count),
                "{list} by {limit}: {ids:?}"
            );
        }
    }
    let filtered = bridge
        .get("/deliveries?destination=crm&state=dead_letter&limit=5")
        .await;
    let items = filtered["items"].as_array().unwrap();
    assert!(
        items.len() == 5 && items.iter().all(|d| d["destination"] == "crm"),
        "{filtered}"
    );
}
