//! The owner of the outcome APIs: a server that outlives the bridge, fails at times, and notes
//! everything that it was told.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::story::{self, Precedence, Story};
use crate::wire::{Connection, Message};

/// Both destinations are configured like this, and their bridge is told which precedence they want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Api {
    /// Speaks as the `webhook` connector does; final outcomes first.
    Webhook,
    /// Speaks as the `change-outcome` connector does; the newest outcome.
    ChangeOutcome,
}

impl Api {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Webhook, Self::ChangeOutcome];

    /// Which outcome it wants to know.
    pub(crate) fn precedence(self) -> Precedence {
        match self {
            Self::Webhook => Precedence::FinalFirst,
            Self::ChangeOutcome => Precedence::Newest,
        }
    }
}

/// How it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200.
    Accepted,
    /// 503: it did not take it.
    Unavailable,
    /// It took it, but the connection ended before the answer.
    HungUp,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// The number of the outcome.
    pub(crate) number: u64,
    /// How it was answered.
    pub(crate) answer: Answer,
    /// In which life of the bridge it was sent, counted from 1.
    pub(crate) life: u64,
}

/// How often it fails, from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// By 503.
    pub(crate) unavailable: f64,
    /// By hanging up.
    pub(crate) hang_up: f64,
}

/// All requests of each call at each API, in the order in which they came.
pub(crate) type Book = BTreeMap<(Api, String), Vec<Told>>;

/// The server.
pub(crate) struct Destination {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    desk: Arc<Desk>,
}

struct Desk {
    story: Story,
    manners: Manners,
    notes: Mutex<Notes>,
    /// Connections that are open.
    open: watch::Sender<u64>,
}

struct Notes {
    rng: StdRng,
    life: u64,
    book: Book,
    nonsense: Vec<String>,
}

impl Destination {
    /// Listens on loopback until the runtime ends.
    pub(crate) async fn start(story: Story, manners: Manners) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Desk {
            story,
            manners,
            notes: Mutex::new(Notes {
                rng: StdRng::seed_from_u64(story.seed ^ 2),
                life: 0,
                book: Book::new(),
                nonsense: Vec::new(),
            }),
            open: watch::Sender::new(0),
        });
        tokio::spawn(accept(listener, Arc::clone(&desk)));
        Self { address, desk }
    }

    /// Waits until everything that a dead bridge has sent is read and noted, and counts its next life.
    pub(crate) async fn next_life(&self) {
        // Connections are accepted in order: when this one is answered, all before it were counted.
        let mut last = Connection::new(TcpStream::connect(self.address).await.unwrap());
        last.stream
            .write_all(b"GET /last HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        assert!(last.read().await.unwrap().is_some());
        drop(last);
        let mut open = self.desk.open.subscribe();
        let all_closed = open.wait_for(|open| *open == 0);
        tokio::time::timeout(Duration::from_secs(10), all_closed)
            .await
            .unwrap()
            .unwrap();
        self.desk.notes().life += 1;
    }

    /// What it was told.
    pub(crate) fn book(&self) -> Book {
        self.desk.notes().book.clone()
    }

    /// Requests that made no sense.
    pub(crate) fn nonsense(&self) -> Vec<String> {
        self.desk.notes().nonsense.clone()
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    while let Ok((stream, _peer)) = listener.accept().await {
        desk.open.send_modify(|open| *open += 1);
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            // A killed bridge breaks its connections at any place.
            let _broken = desk.serve(Connection::new(stream)).await;
            desk.open.send_modify(|open| *open -= 1);
        });
    }
}

impl Desk {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut connection: Connection) -> io::Result<()> {
        while let Some(message) = connection.read().await? {
            let (answer, pause, body) = self.note(&message);
            // The bridge may be killed here, between what we know and what it knows.
            tokio::time::sleep(pause).await;
            let status = match answer {
                Answer::Accepted => "200 OK",
                Answer::Unavailable => "503 Service Unavailable",
                Answer::HungUp => return Ok(()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            connection.stream.write_all(answer.as_bytes()).await?;
        }
        Ok(())
    }

    fn note(&self, message: &Message) -> (Answer, Duration, String) {
        if message.start.starts_with("GET /last ") {
            return (Answer::Accepted, Duration::ZERO, String::new());
        }
        let mut notes = self.notes();
        let Some((api, call, number)) = self.understand(message) else {
            let body = String::from_utf8_lossy(&message.body);
            notes.nonsense.push(format!("{}: {body}", message.start));
            return (Answer::Accepted, Duration::ZERO, String::new());
        };
        let chance = notes.rng.random::<f64>();
        let answer = match chance {
            chance if chance < self.manners.unavailable => Answer::Unavailable,
            chance if chance < self.manners.unavailable + self.manners.hang_up => Answer::HungUp,
            _ => Answer::Accepted,
        };
        let pause = Duration::from_micros(notes.rng.random_range(0..4_000));
        let life = notes.life;
        notes.book.entry((api, call)).or_default().push(Told {
            number,
            answer,
            life,
        });
        let label = format!("E{number}");
        let log = json!([{ "id": 1, "status": "success", "failure_reason": null }]);
        let body = json!({ "data": { "call_outcome": label, "call_outcome_logs": log } });
        (answer, pause, body.to_string())
    }

    /// Which outcome of which call a request brings. `None` when it is not as the vendor told it.
    fn understand(&self, message: &Message) -> Option<(Api, String, u64)> {
        let body: Value = serde_json::from_slice(&message.body).ok()?;
        let mut words = message.start.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        if (method, path) == ("POST", "/outcomes") {
            let telling = self.story.telling(story::number(&body["label"])?);
            let complete = telling.is_in(&body, "outcome");
            return complete.then_some((Api::Webhook, telling.call, telling.number));
        }
        let call = path
            .strip_prefix("/change/api/v1/webhooks/calls/")?
            .strip_suffix("/change-outcome")?;
        let telling = self.story.telling(story::number(&body["call_outcome"])?);
        let complete = method == "PATCH" && telling.call == call;
        complete.then_some((Api::ChangeOutcome, telling.call, telling.number))
    }
}
