//! A destination that answers what a test scripted, in order, and nothing else.
//!
//! A request that nobody asked for, and an answer that nobody fetched, fail the test.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::PATIENCE;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
    /// The body as it arrived.
    pub(crate) text: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub(crate) fn ok() -> Self {
        Self::new(200).json(&json!({ "success": true }))
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self.header("content-type", "application/json")
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "HTTP/1.1 {} Scripted\r\ncontent-length: {}\r\n",
            self.status,
            self.body.len()
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }
}

enum Play {
    Answer(Answer),
    /// Answers when the test says so; hangs up when it lets go.
    Held(oneshot::Receiver<Answer>),
    HangUp,
    /// Writes these bytes and hangs up.
    Raw(Vec<u8>),
}

struct Stage {
    script: Mutex<VecDeque<Play>>,
    otherwise: Mutex<Option<Answer>>,
    unasked: Mutex<Vec<Received>>,
    arrived: mpsc::UnboundedSender<Received>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    /// Checked already: what comes while the test is torn down does not count.
    finished: AtomicBool,
}

pub(crate) struct FakeDestination {
    address: SocketAddr,
    stage: Arc<Stage>,
    requests: tokio::sync::Mutex<mpsc::UnboundedReceiver<Received>>,
    server: JoinHandle<()>,
}

impl FakeDestination {
    /// A destination without a script: every request is one too many.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, requests) = mpsc::unbounded_channel();
        let stage = Arc::new(Stage {
            script: Mutex::default(),
            otherwise: Mutex::default(),
            unasked: Mutex::default(),
            arrived,
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            finished: AtomicBool::new(false),
        });
        let served = Arc::clone(&stage);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stage = Arc::clone(&served);
                tokio::spawn(async move { serve(stream, &stage).await });
            }
        });
        Self {
            address,
            stage,
            requests: tokio::sync::Mutex::new(requests),
            server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn play(&self, play: Play) {
        self.stage.script.lock().unwrap().push_back(play);
    }

    /// The next request gets this answer.
    pub(crate) fn answer(&self, answer: Answer) {
        self.play(Play::Answer(answer));
    }

    /// The next request gets its answer when the test sends one, or a closed connection when the
    /// test drops the sender.
    pub(crate) fn hold(&self) -> oneshot::Sender<Answer> {
        let (answer, held) = oneshot::channel();
        self.play(Play::Held(held));
        answer
    }

    /// The next request gets a closed connection.
    pub(crate) fn hang_up(&self) {
        self.play(Play::HangUp);
    }

    /// The next request gets these bytes and a closed connection.
    pub(crate) fn garbage(&self, bytes: &[u8]) {
        self.play(Play::Raw(bytes.to_vec()));
    }

    /// From now on requests beyond the script get this answer instead of failing the test.
    pub(crate) fn otherwise(&self, answer: Answer) {
        *self.stage.otherwise.lock().unwrap() = Some(answer);
    }

    /// The next request, in the order of arrival.
    pub(crate) async fn request(&self) -> Received {
        let mut requests = self.requests.lock().await;
        let next = tokio::time::timeout(PATIENCE, requests.recv()).await;
        next.expect("the destination waited in vain for a request")
            .expect("the server runs")
    }

    /// The requests that arrived and were not looked at yet.
    pub(crate) async fn rest(&self) -> Vec<Received> {
        let mut requests = self.requests.lock().await;
        std::iter::from_fn(|| requests.try_recv().ok()).collect()
    }

    /// The most requests that were under way at a time.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.stage.most_in_flight.load(Ordering::SeqCst)
    }

    /// Checks that nothing was asked for in vain and nothing came unasked.
    pub(crate) async fn finish(&self) {
        let rest = self.rest().await;
        assert!(
            rest.is_empty(),
            "requests that the test did not look at: {rest:#?}"
        );
        self.check();
        self.stage.finished.store(true, Ordering::SeqCst);
    }

    fn check(&self) {
        let unasked = self.stage.unasked.lock().unwrap();
        assert!(
            unasked.is_empty(),
            "requests that nobody asked for: {unasked:#?}"
        );
        let left = self.stage.script.lock().unwrap().len();
        assert_eq!(left, 0, "answers that nobody fetched");
    }
}

impl Drop for FakeDestination {
    fn drop(&mut self) {
        self.server.abort();
        if !std::thread::panicking() && !self.stage.finished.load(Ordering::SeqCst) {
            self.check();
        }
    }
}

async fn serve(mut stream: TcpStream, stage: &Stage) {
    let mut buffer = Vec::new();
    while let Some(received) = read_request(&mut stream, &mut buffer).await {
        let now = stage.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        stage.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let open = perform(&mut stream, stage, received).await;
        stage.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !open {
            return;
        }
    }
}

/// Answers one request as the script says. Tells whether the connection stays open.
async fn perform(stream: &mut TcpStream, stage: &Stage, received: Received) -> bool {
    let play = stage.script.lock().unwrap().pop_front();
    let play = match play {
        Some(play) => play,
        None => match stage.otherwise.lock().unwrap().clone() {
            Some(answer) => Play::Answer(answer),
            None => {
                stage.unasked.lock().unwrap().push(received.clone());
                Play::Answer(Answer::new(500))
            }
        },
    };
    // A test that has ended does not listen any more.
    let _told = stage.arrived.send(received);
    let (bytes, open) = match play {
        Play::Answer(answer) => (answer.bytes(), true),
        Play::Held(held) => match held.await {
            Ok(answer) => (answer.bytes(), true),
            Err(_let_go) => return false,
        },
        Play::HangUp => return false,
        Play::Raw(bytes) => (bytes, false),
    };
    stream.write_all(&bytes).await.is_ok() && open
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |text| text.parse().unwrap());
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&buffer[end..end + length]).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    buffer.drain(..end + length);
    Some(Received {
        method,
        path,
        headers,
        body,
        text,
    })
}
