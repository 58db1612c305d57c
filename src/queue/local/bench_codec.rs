//! Measures how records are written and read, without a disk: an accepted event as the journal and the index have it.

use jiff::Timestamp;

use super::blob;
use super::codec::Corrupt;
use super::journal::record::{self, Builder, Frame};
use super::journal::{Position, SEGMENT_HEADER};
use super::row::{EventRow, Row};
use super::tree::Tree;
use crate::model::{Disposition, EventId};

const START: Position = Position {
    segment: 1,
    offset: SEGMENT_HEADER,
};

/// An event to write, with its request.
#[derive(Debug)]
pub struct CodecSample {
    builder: Builder,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    row: EventRow,
}

impl CodecSample {
    /// An event whose body has so many bytes.
    pub fn new(body_bytes: usize) -> Self {
        let mut builder = Builder::default();
        builder.begin(START);
        let body = builder.blob(Tree::Event, &[], &[&[]]);
        Self {
            builder,
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("webhook-id".to_owned(), "msg_0123456789abcdef".to_owned()),
            ],
            body: vec![b'x'; body_bytes],
            row: EventRow {
                source: "bench".to_owned(),
                received_at: Timestamp::UNIX_EPOCH,
                event_type: Some("outcome".to_owned()),
                disposition: Disposition::Accepted,
                reason: String::new(),
                duplicates: 0,
                body_bytes: u32::try_from(body_bytes).unwrap_or(u32::MAX),
                body,
                trace: None,
                outcomes: Vec::new(),
                lanes: Vec::new(),
                next_delivery: 0,
                watches: Vec::new(),
                wake_ms: None,
            },
        }
    }

    /// The event as a record of the journal. `None` when it is too large for one.
    pub fn write(&mut self) -> Option<&[u8]> {
        let key = EventId::first_at(1).0.to_be_bytes();
        self.builder.begin(START);
        let head = blob::head(&self.headers, "");
        let request = [head.as_slice(), &self.body];
        self.row.body = self.builder.blob(Tree::Event, &key, &request);
        self.builder.put(Tree::Event, &key, &self.row.encode());
        self.builder.finish()
    }

    /// Reads such a record: frames, row and request. Answers the length of the body.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(record: &[u8]) -> Result<usize, String> {
        let (payload, _) = record::parse(record, START).ok_or("no record")?;
        let mut length = 0;
        for frame in record::frames(payload) {
            match frame.map_err(told)? {
                Frame::Blob { bytes, .. } => {
                    length = blob::request(bytes.to_vec()).map_err(told)?.body.len();
                }
                Frame::Put { value, .. } => drop(EventRow::decode(value).map_err(told)?),
                Frame::Delete { .. } => {}
            }
        }
        Ok(length)
    }
}

fn told(error: Corrupt) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_a_record_that_reads_back() {
        let mut sample = CodecSample::new(1450);
        let record = sample.write().unwrap().to_vec();
        assert_eq!(CodecSample::read(&record), Ok(1450));
        let half = &record[..record.len() / 2];
        assert!(CodecSample::read(half).is_err());
    }
}
