//! Bytes on a connection: for what a well-behaved client cannot be made to send.

use std::io::Write;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

/// A conversation with the bridge, byte by byte.
pub(crate) struct Talk(TcpStream);

impl Talk {
    pub(crate) async fn with(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Says something; the other side may have hung up already.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// Reads one answer's head; answers its status and the head as text.
    pub(crate) async fn answer(&mut self) -> (u16, String) {
        let mut read = Vec::new();
        let reading = async {
            while !read.windows(4).any(|four| four == b"\r\n\r\n") {
                match self.0.read_buf(&mut read).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("an answer in time");
        let text = String::from_utf8_lossy(&read).into_owned();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (
            status.unwrap_or_else(|| panic!("no answer but {text:?}")),
            text,
        )
    }
}

/// Compressed as far as it goes.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
