//! The vendor's senders: keep-alive connections that post signed webhooks, whatever happens to them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use outcome_bridge::clock::Clock;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::Sha256;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::story::Telling;
use crate::wire::{Connection, Message};

/// The source's key, before base64.
pub(crate) const KEY: [u8; 24] = [7; 24];

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Senders that post until they are stopped.
pub(crate) struct Senders {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Senders {
    /// Starts so many.
    pub(crate) fn start(count: u64, inlet: SocketAddr, ledger: &Arc<Ledger>) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let rng = StdRng::seed_from_u64(ledger.story.seed ^ (1000 + number));
            tasks.spawn(post_on(inlet, Arc::clone(ledger), rng, stop.clone()));
        }
        Self { tasks, stop }
    }

    /// Lets each finish its request.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

async fn post_on(inlet: SocketAddr, ledger: Arc<Ledger>, mut rng: StdRng, stop: CancellationToken) {
    let mut connection = None;
    while !stop.is_cancelled() {
        let pause = Duration::from_micros(rng.random_range(0..12_000));
        let Some(open) = connection.as_mut() else {
            // While the bridge is down nobody listens.
            tokio::time::sleep(pause).await;
            connection = TcpStream::connect(inlet).await.ok().map(Connection::new);
            continue;
        };
        let telling = ledger.next();
        let answer = tokio::time::timeout(PATIENCE, post(open, &telling)).await;
        match answer {
            Ok(Ok(answer)) if answer.start.starts_with("HTTP/1.1 200") => {
                ledger.acknowledge(telling.number);
            }
            Ok(Ok(answer)) => ledger.refuse(telling.number, &answer.start),
            Ok(Err(_connection_died)) => {
                ledger.lose(telling.number);
                connection = None;
            }
            Err(_elapsed) => {
                ledger.refuse(telling.number, "no answer, and the connection stays open");
                connection = None;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

async fn post(connection: &mut Connection, telling: &Telling) -> io::Result<Message> {
    connection.stream.write_all(&signed(telling)).await?;
    let answer = connection.read().await?;
    answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The request, signed by Standard Webhooks: the id is the same whenever it is told, the timestamp is not.
fn signed(telling: &Telling) -> Vec<u8> {
    let body = telling.body();
    let id = format!("msg_{}", telling.number);
    let seconds = Clock::system().now().as_second();
    let mut mac = Hmac::<Sha256>::new_from_slice(&KEY).unwrap();
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    format!(
        "POST /webhooks/vendor HTTP/1.1\r\nhost: bridge\r\ncontent-type: application/json\r\n\
         webhook-id: {id}\r\nwebhook-timestamp: {seconds}\r\nwebhook-signature: v1,{signature}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
