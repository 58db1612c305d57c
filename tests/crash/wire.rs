//! As much of HTTP/1.1 as both ends of the test speak: a head, a body of stated length, keep-alive.

use std::io::{Error, ErrorKind, Result};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Nothing here is longer.
const LONGEST: usize = 1 << 20;

/// A request or an answer.
pub(crate) struct Message {
    /// The request line or the status line.
    pub(crate) start: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// A connection with what was read of it beyond the last message.
pub(crate) struct Connection {
    /// The stream, for writing.
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// A connection of which nothing was read yet.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// The next message; `None` when the other side closed the connection between two of them.
    pub(crate) async fn read(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some((message, length)) = parse(&self.unread)? {
                self.unread.drain(..length);
                return Ok(Some(message));
            }
            if self.unread.len() > LONGEST {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    "the message is too long",
                ));
            }
            match self.stream.read_buf(&mut self.unread).await? {
                0 if self.unread.is_empty() => return Ok(None),
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }
}

/// The first message in `bytes` and its length, when all of it is there.
fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let bad = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let head =
        std::str::from_utf8(&bytes[..end]).map_err(|_not_text| bad("the head is no text"))?;
    let (start, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut length = 0;
    for field in fields.lines() {
        let (name, value) = field.split_once(':').ok_or_else(|| bad(field))?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_no_number| bad(field))?;
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(bad("chunked bodies are not read here"));
        }
    }
    let body = end + 4..end + 4 + length;
    let Some(content) = bytes.get(body.clone()) else {
        return Ok(None);
    };
    let message = Message {
        start: start.to_owned(),
        body: content.to_owned(),
    };
    Ok(Some((message, body.end)))
}
