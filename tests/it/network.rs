//! Isolation, on bad networks: whatever the other side does costs bounded time, memory and connections, and
//! is seen as an attempt with the right reason. What a scripted answer can show is in `retrying`.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs};

use crate::support::{Setup, TEAM_SECRET, TestBridge, eventually, minutes_ago, told};

/// A self-signed certificate for `localhost` and 127.0.0.1, and its key: nobody trusts it.
const CERTIFICATE: &str = "MIIBWzCCAQ2gAwIBAgIUWPy4ox+379s2p9WGULvrbw/uj2owBQYDK2VwMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDAgFw0yNjExMjExMDU1NDFaGA8yMTI2MTAyODEwNTU0MVowFDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEA6K41nK4ujeTTlOvU+ewFTCJ1AfO6UHlpomoszIMI5POjbzBtMB0GA1UdDgQWBBSgSLNDh5E9WP06zlDcOocAENzLMzAfBgNVHSMEGDAWgBSgSLNDh5E9WP06zlDcOocAENzLMzAPBgNVHRMBAf8EBTADAQH/MBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAFBgMrZXADQQBdr6f1r+LbxZSpCmqFlfTAEeXnzCfHtYy7/SFPTwX2y3OhhwgNOfSBREMZqlTIjW80/j6khyg6NV0ploj5nWUF";
const CERTIFICATE_KEY: &str = "MC4CAQAwBQYDK2VwBCIEIMICZxWa/fnKY9SRUaDQK4d0w8wFS+lNF4ZSusN4Ow4I";

/// A server that does `converse` with each connection, and counts them.
async fn peer<C, F>(converse: C) -> (SocketAddr, Arc<AtomicUsize>)
where
    C: Fn(TcpStream, usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, counted.fetch_add(1, Ordering::SeqCst)));
        }
    });
    (address, connections)
}

/// Reads a request, as far as it comes in one go.
async fn hear(stream: &mut TcpStream) {
    let _whatever = stream.read(&mut [0; 16 << 10]).await;
}

fn webhook(name: &str, url: &str, options: &str) -> String {
    format!(
        "\n[destinations.{name}]\nconnector = \"webhook\"\nurl = \"{url}\"\nsigning_secret = \"{TEAM_SECRET}\"\n{options}\n"
    )
}

async fn bridge_to(url: &str, options: &str) -> TestBridge {
    Setup::new()
        .config(&webhook("crm", url, options))
        .start()
        .await
}

/// Tells of a call and waits for the first attempt to deliver that.
async fn first_attempt(bridge: &TestBridge) -> Value {
    let story = bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let id = story["event"]["id"].as_str().unwrap();
    eventually("an attempt", async || {
        let story = bridge.get(&format!("/events/{id}")).await;
        story["deliveries"][0]["history"].get(0).cloned()
    })
    .await
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kilobytes << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_byte_by_byte_is_given_up_in_time() {
    let (address, _) = peer(async |mut stream, _| {
        hear(&mut stream).await;
        // Always busy, never done: only a limit of the whole answer ends this.
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
        let endless = head.iter().chain(std::iter::repeat(&b'x'));
        for byte in endless {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let bridge = bridge_to(&format!("http://{address}/"), "timeout = \"1 s\"").await;
    let attempt = first_attempt(&bridge).await;
    assert_eq!(attempt["verdict"], "retry", "{attempt}");
    assert_eq!(attempt["reason"], "no complete answer in time");
    let took = attempt["duration_ms"].as_u64().unwrap();
    assert!((1_000..5_000).contains(&took), "{took} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end_take_no_memory() {
    const BLOCK: usize = 64 << 10;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let (address, _) = peer(move |mut stream, number| {
        let sent = Arc::clone(&counted);
        async move {
            hear(&mut stream).await;
            // A head without end, a body without end, or one that says to be a gigabyte.
            let begin: &[u8] = match number % 3 {
                0 => b"HTTP/1.1 200 OK\r\nx-flood: ",
                1 => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40000000\r\n",
                _ => b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n",
            };
            let block = [b'x'; BLOCK];
            let mut gone = stream.write_all(begin).await.is_err();
            for _ in 0..(1 << 30) / BLOCK {
                if gone {
                    return;
                }
                sent.fetch_add(BLOCK, Ordering::Relaxed);
                gone = stream.write_all(&block).await.is_err();
            }
        }
    })
    .await;
    let url = format!("http://{address}/");
    let bridge = bridge_to(&url, "concurrency = 8\ntimeout = \"20 s\"").await;
    let before = resident();
    for call in 0..24 {
        let body = told(&format!("call-{call}"), "shown", minutes_ago(10));
        assert_eq!(bridge.post("team", body.to_string()).await.status, 200);
    }
    bridge.idle().await;
    let (grown, sent) = (
        resident().saturating_sub(before),
        sent.load(Ordering::Relaxed),
    );
    // Tests beside this one hold memory, too; the answers would have been over 24 GB.
    assert!(grown < 256 << 20, "{grown} bytes more");
    assert!(sent < 1 << 30, "{sent} bytes were taken");
    let broken = bridge.get("/deliveries?limit=1000").await;
    let items = broken["items"].as_array().unwrap();
    assert_eq!(items.len(), 24);
    assert!(
        items.iter().all(|item| item["state"] == "delivered"),
        "{broken}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused_and_told_nothing() {
    let identity = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![STANDARD.decode(CERTIFICATE).unwrap().into()],
            STANDARD
                .decode(CERTIFICATE_KEY)
                .unwrap()
                .try_into()
                .unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(identity));
    let told_it = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told_it);
    let (address, connections) = peer(move |stream, _| {
        let (acceptor, told_it) = (acceptor.clone(), Arc::clone(&counted));
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let count = stream.read(&mut [0; 1024]).await.unwrap_or(0);
                told_it.fetch_add(count, Ordering::SeqCst);
            }
        }
    })
    .await;
    let bridge = bridge_to(&format!("https://{address}/"), "").await;
    let attempt = first_attempt(&bridge).await;
    assert_eq!(attempt["verdict"], "retry", "{attempt}");
    assert_eq!(attempt["status"], Value::Null);
    let reason = attempt["reason"].as_str().unwrap();
    assert_eq!(reason, "no trusted TLS connection (check the certificate)");
    assert!(connections.load(Ordering::SeqCst) > 0);
    assert_eq!(told_it.load(Ordering::SeqCst), 0, "not a byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_flaps_gets_everything_in_the_end() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    let (address, _) = peer(move |mut stream, number| {
        let accepted = Arc::clone(&counted);
        async move {
            // By turns: not there, there, and broken. Each answer ends its connection.
            match number % 4 {
                0 => {}
                1 | 2 => {
                    hear(&mut stream).await;
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                    if stream.write_all(answer).await.is_ok() {
                        accepted.fetch_add(1, Ordering::SeqCst);
                    }
                }
                _ => {
                    hear(&mut stream).await;
                    let answer =
                        b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _gone = stream.write_all(answer).await;
                }
            }
        }
    })
    .await;
    let bridge = bridge_to(&format!("http://{address}/"), "").await;
    for call in 0..30 {
        let body = told(&format!("call-{call}"), "shown", minutes_ago(10));
        assert_eq!(bridge.post("team", body.to_string()).await.status, 200);
    }
    bridge.idle().await;
    let deliveries = bridge.get("/deliveries?limit=1000").await;
    let items = deliveries["items"].as_array().unwrap();
    assert!(
        items.iter().all(|item| item["state"] == "delivered"),
        "{deliveries}"
    );
    assert_eq!(items.len(), 30);
    assert_eq!(accepted.load(Ordering::SeqCst), 30, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_silent_connections_keep_nobody_out_and_are_closed() {
    let bridge = Setup::new()
        .set("SERVER__REQUEST_TIMEOUT", "5 s")
        .start()
        .await;
    let before = resident();
    let opened = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..2_000 {
        silent.push(TcpStream::connect(bridge.inlet()).await.unwrap());
    }
    let posted = Instant::now();
    bridge
        .hear("team", &told("call-1", "shown", minutes_ago(10)))
        .await;
    let took = posted.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}, beside the others");
    let grown = resident().saturating_sub(before);
    assert!(grown < 256 << 20, "{grown} bytes more");
    for stream in &mut silent {
        // An answer that says so, or nothing; then the end.
        let mut said = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said));
        let _reset = end.await.expect("it is closed");
    }
    let took = opened.elapsed();
    assert!(took >= Duration::from_secs(4), "not at once: {took:?}");
}
