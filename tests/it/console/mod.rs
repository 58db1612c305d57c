//! The console from outside: who gets in, and what they may do then.

mod access;
mod lifecycle;
mod pages;

use std::collections::BTreeMap;

use crate::support::{Reply, Setup, TestBridge, client};

pub(crate) const VIEWER_TOKEN: &str = "viewer-token-of-the-tests";

/// A bridge with a store and a viewer.
pub(crate) fn setup() -> Setup {
    Setup::new()
        .with_store()
        .set("ADMIN__VIEWER_TOKEN", VIEWER_TOKEN)
}

/// A request as a browser sends it.
pub(crate) async fn browse(
    bridge: &TestBridge,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    form: &[(&str, &str)],
) -> Reply {
    let url = format!("http://{}{path}", bridge.office());
    let mut request = client().request(method.parse().unwrap(), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !form.is_empty() {
        let form: BTreeMap<_, _> = form.iter().copied().collect();
        request = request.form(&form);
    }
    Reply::of(request.send().await.unwrap()).await
}

/// Logs in and returns the cookie.
pub(crate) async fn log_in(bridge: &TestBridge, token: &str) -> String {
    let reply = browse(bridge, "POST", "/console/login", &[], &[("token", token)]).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    reply.headers["set-cookie"]
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}
