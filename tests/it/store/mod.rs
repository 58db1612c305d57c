//! The built-in store from outside: its three APIs, calls brought in, questions of analytics, and our own connectors
//! against it.

mod analytics;
mod apis;
mod calls;
mod connectors;
mod documents;
mod hostile;
mod imports;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Reply, Setup, TestBridge, client};

pub(crate) const AURA_CALL: &str = "550e8400-e29b-41d4-a716-446655440000";

/// A key of the configuration.
pub(crate) fn key(name: &str, key: &str, more: &str) -> String {
    let hash = hex::encode(Sha256::digest(key.as_bytes()));
    format!("\n[store.keys.{name}]\nhash = \"sha256:{hash}\"\n{more}\n")
}

/// A bridge whose store opens to the key of the documents.
pub(crate) fn setup() -> Setup {
    Setup::new()
        .with_store()
        .config(&key("team", "your-api-key-here", ""))
}

/// Brings calls in; all of them must be good.
pub(crate) async fn bring(bridge: &TestBridge, calls: Value) -> Value {
    let reply = bridge.tell("/calls", &calls).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(answer["rejected"], json!([]), "{answer}");
    answer
}

/// A request to the inlet, written as in the documents: method and path, headers, body.
pub(crate) async fn request(
    bridge: &TestBridge,
    line: &str,
    headers: &[&str],
    body: impl Into<Option<&str>>,
) -> Reply {
    let (method, path) = line.split_once(' ').unwrap();
    let url = format!("http://{}{path}", bridge.inlet());
    let mut request = client().request(method.parse().unwrap(), url);
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    if let Some(body) = body.into() {
        request = request.body(body.to_owned());
    }
    Reply::of(request.send().await.unwrap()).await
}

pub(crate) const PHONELY: [&str; 2] = [
    "X-Authorization: your-api-key-here",
    "Content-Type: application/json",
];
pub(crate) const BEARER: [&str; 2] = [
    "Authorization: Bearer your-api-key-here",
    "Content-Type: application/json",
];

/// The log of a call, by its id in the store.
pub(crate) async fn log(bridge: &TestBridge, call: &str) -> Vec<Value> {
    let found = bridge.get(&format!("/calls?call={call}")).await;
    let id = found["items"][0]["id"].as_str().unwrap().to_owned();
    let shown = bridge.get(&format!("/calls/{id}")).await;
    shown["log"].as_array().unwrap().clone()
}
