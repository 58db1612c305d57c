//! A scripted, strict destination: answers as told, in order, and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

/// What the destination does with one request.
pub(super) enum Reply {
    /// Answers.
    Answer(Answer),
    /// Answers when told to.
    When(oneshot::Receiver<()>, Answer),
    /// Closes the connection without a word.
    HangUp,
    /// Promises a body and closes the connection in the middle of it.
    BreakOff,
    /// Says something that is not HTTP.
    Garbage,
    /// Sends a gigabyte, as far as it is taken.
    Gigabyte,
    /// Sends the head of an answer and then nothing for ever.
    Stall,
}

#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

pub(super) fn answer(status: u16, body: &str) -> Reply {
    Reply::Answer(Answer {
        status,
        headers: Vec::new(),
        body: body.to_owned(),
    })
}

pub(super) fn answer_with(status: u16, header: &'static str, value: &str) -> Reply {
    Reply::Answer(Answer {
        status,
        headers: vec![(header, value.to_owned())],
        body: String::new(),
    })
}

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    steady: Option<Answer>,
    connections: AtomicUsize,
    unasked: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

pub(super) struct FakeDestination {
    pub(super) address: SocketAddr,
    script: Arc<Script>,
    seen: AsyncMutex<mpsc::UnboundedReceiver<Seen>>,
}

impl FakeDestination {
    /// Answers so and no further.
    pub(super) async fn scripted(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::serve(Script {
            replies: Mutex::new(replies.into_iter().collect()),
            ..Script::default()
        })
        .await
    }

    /// Answers every request the same.
    pub(super) async fn steady(status: u16, body: &str) -> Self {
        Self::serve(Script {
            steady: Some(Answer {
                status,
                headers: Vec::new(),
                body: body.to_owned(),
            }),
            ..Script::default()
        })
        .await
    }

    async fn serve(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(script);
        let (sender, seen) = mpsc::unbounded_channel();
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(converse(stream, Arc::clone(&shared), sender.clone()));
            }
        });
        Self {
            address,
            script,
            seen: AsyncMutex::new(seen),
        }
    }

    pub(super) async fn next_request(&self) -> Seen {
        self.seen.lock().await.recv().await.unwrap()
    }

    pub(super) fn connections(&self) -> usize {
        self.script.connections.load(Ordering::SeqCst)
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.script.most_in_flight.load(Ordering::SeqCst)
    }

    /// Whether it was asked exactly what the script has.
    pub(super) fn assert_done(&self) {
        assert_eq!(
            self.script.unasked.load(Ordering::SeqCst),
            0,
            "unasked requests"
        );
        let left = self.script.replies.lock().unwrap().len();
        assert_eq!(left, 0, "answers that nobody asked for");
    }
}

async fn converse(
    mut stream: TcpStream,
    script: Arc<Script>,
    sender: mpsc::UnboundedSender<Seen>,
) -> Option<()> {
    loop {
        let seen = read_request(&mut stream).await?;
        let now = script.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        script.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let _ = sender.send(seen);
        let reply = script.replies.lock().unwrap().pop_front();
        let reply = match (reply, &script.steady) {
            (Some(reply), _) => reply,
            (None, Some(steady)) => Reply::Answer(steady.clone()),
            (None, None) => {
                script.unasked.fetch_add(1, Ordering::SeqCst);
                answer(599, "nobody was to ask this")
            }
        };
        let goes_on = give(&mut stream, reply, &script).await;
        if !goes_on {
            return None;
        }
    }
}

/// Says whether the connection goes on.
async fn give(stream: &mut TcpStream, reply: Reply, script: &Script) -> bool {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
    let finished = |script: &Script| script.in_flight.fetch_sub(1, Ordering::SeqCst);
    match reply {
        Reply::Answer(answer) => {
            finished(script);
            write_answer(stream, &answer).await
        }
        Reply::When(signal, answer) => {
            let _ = signal.await;
            finished(script);
            write_answer(stream, &answer).await
        }
        Reply::HangUp => {
            finished(script);
            false
        }
        Reply::BreakOff => {
            let _ = stream
                .write_all(format!("{head}only this").as_bytes())
                .await;
            finished(script);
            false
        }
        Reply::Garbage => {
            let _ = stream.write_all(b"\x00\xffwhat?\r\n\r\n").await;
            finished(script);
            false
        }
        Reply::Gigabyte => {
            let _ = stream.write_all(head.as_bytes()).await;
            let chunk = vec![b'x'; 1 << 20];
            for _ in 0..1024 {
                if stream.write_all(&chunk).await.is_err() {
                    break;
                }
            }
            finished(script);
            false
        }
        Reply::Stall => {
            let _ = stream.write_all(head.as_bytes()).await;
            // Until the other side has had enough.
            let _ = stream.read(&mut [0; 1]).await;
            finished(script);
            false
        }
    }
}

async fn write_answer(stream: &mut TcpStream, answer: &Answer) -> bool {
    let mut text = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(&answer.body);
    stream.write_all(text.as_bytes()).await.is_ok()
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n").map(str::to_owned);
    let line = lines.next()?;
    let headers: Vec<String> = lines.collect();
    let length = headers
        .iter()
        .find_map(|h| {
            h.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0usize);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen {
        line,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
