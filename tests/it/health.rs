//! What load balancers and operators are told of the bridge, on both of its sides.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, Reply, Setup, Talk, TestBridge, client, eventually};

async fn ask(side: &str, method: Method, path: &str) -> Reply {
    let request = client().request(method, format!("{side}{path}"));
    Reply::of(request.send().await.unwrap()).await
}

/// The inlet's side, and the office's.
fn sides(bridge: &TestBridge) -> [String; 2] {
    [format!("http://{}", bridge.inlet()), bridge.admin_url()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_bridge_says_so_and_the_world_hears_nothing_else() {
    let bridge = Setup::new().start().await;
    let [inlet, office] = sides(&bridge);
    let told = ask(&inlet, Method::GET, "/health/ready").await;
    assert_eq!(
        (told.status, told.json()),
        (200, json!({ "status": "ready" }))
    );
    assert_eq!(told.headers["cache-control"], "no-store");
    let detailed = ask(&office, Method::GET, "/health/ready").await;
    assert_eq!(detailed.status, 200);
    assert_eq!(detailed.json()["status"], "ready");
    assert_eq!(detailed.json()["unprocessed"], 0, "{detailed:?}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_on_the_disk_both_sides_are_not_ready_and_alive() {
    let bridge = Setup::new()
        .set("STORAGE__MIN_FREE_DISK", "900 TB")
        .start()
        .await;
    let [inlet, office] = sides(&bridge);
    let detailed = eventually("the disk was looked at", async || {
        let reply = ask(&office, Method::GET, "/health/ready").await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert_eq!(detailed.json()["status"], "refusing events");
    assert!(detailed.json()["reason"].is_string(), "{detailed:?}");
    let told = ask(&inlet, Method::GET, "/health/ready").await;
    assert_eq!(
        (told.status, told.json()),
        (503, json!({ "status": "not ready" }))
    );
    for side in [inlet, office] {
        let head = ask(&side, Method::HEAD, "/health/ready").await;
        assert_eq!((head.status, head.body.as_str()), (503, ""));
        assert_eq!(ask(&side, Method::GET, "/health/live").await.status, 200);
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_stops_is_not_ready_and_answers_what_it_has_begun() {
    let bridge = Setup::new().start().await;
    let [_, office] = sides(&bridge);
    let mut begun = Talk::with(bridge.inlet()).await;
    let head = "POST /webhooks/team HTTP/1.1\r\nhost: bridge\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    assert!(begun.say(head.as_bytes()).await);
    assert_eq!(begun.answer().await.0, 100, "it waits for the body");
    let watching = async {
        let told: Value = eventually("the office says that it drains", async || {
            let reply = ask(&office, Method::GET, "/health/ready").await;
            (reply.status == 503).then(|| reply.json())
        })
        .await;
        assert_eq!(told, json!({ "status": "draining" }));
        assert!(begun.say(b"{}").await);
        assert_eq!(begun.answer().await.0, 401, "it was not signed");
    };
    tokio::join!(bridge.stop(), watching);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_address_serves_both_sides_the_world_hears_no_more_than_at_the_inlet() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Not loopback alone: what is open to this machine only asks for nothing.
    let address = format!("0.0.0.0:{}", free.local_addr().unwrap().port());
    drop(free);
    let bridge = Setup::new()
        .set("SERVER__BIND", &address)
        .set("ADMIN__BIND", &address)
        .start()
        .await;
    let [inlet, office] = sides(&bridge);
    assert_eq!(inlet, office);
    let told = ask(&office, Method::GET, "/health/ready").await;
    assert_eq!(
        (told.status, told.json()),
        (200, json!({ "status": "ready" }))
    );
    assert_eq!(ask(&office, Method::GET, "/metrics").await.status, 401);
    for (path, word) in [("/health/ready", "unprocessed"), ("/metrics", "# TYPE")] {
        let request = bridge.admin(Method::GET, path).bearer_auth(ADMIN_TOKEN);
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.body.contains(word), "{reply:?}");
    }
    bridge.stop().await;
}
