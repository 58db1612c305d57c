//! Quoted cells of comma-separated values that never end. The reader takes the end of a file for the end of such a
//! cell, and with it every row that follows the quote.

use std::io::{self, Read};

/// Where a quoted cell opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    /// In bytes from where reading began.
    pub(crate) byte: u64,
    /// From 1.
    pub(crate) line: u64,
}

/// Follows the quotes of a text, as the reader of values understands them: a cell is quoted when it begins with one,
/// and two of them stand for one within it.
#[derive(Debug)]
pub(crate) struct Quotes {
    delimiter: u8,
    state: State,
    at: u64,
    line: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a cell.
    Begin,
    /// In a cell without quotes, or behind its last quote.
    Plain,
    Quoted(Opening),
    /// Behind a quote within a quoted cell: its end, or the first of two.
    Quote(Opening),
}

impl Quotes {
    pub(crate) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: State::Begin,
            at: 0,
            line: 1,
        }
    }

    pub(crate) fn follow(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let opening = Opening {
                byte: self.at,
                line: self.line,
            };
            self.state = match (self.state, *byte) {
                (State::Quoted(opened), b'"') => State::Quote(opened),
                (State::Quote(opened), b'"') => State::Quoted(opened),
                (State::Quoted(opened), _) => State::Quoted(opened),
                (_, b'\n' | b'\r') => State::Begin,
                (_, byte) if byte == self.delimiter => State::Begin,
                (State::Begin, b'"') => State::Quoted(opening),
                _ => State::Plain,
            };
            self.at += 1;
            self.line += u64::from(*byte == b'\n');
        }
    }

    /// The quoted cell that what was read so far ends in.
    pub(crate) fn open(&self) -> Option<Opening> {
        match self.state {
            State::Quoted(opened) => Some(opened),
            _ => None,
        }
    }
}

/// A file whose quotes are followed while it is read.
pub(crate) struct Followed<R> {
    inner: R,
    quotes: Quotes,
    ended: bool,
}

impl<R> Followed<R> {
    pub(crate) fn new(inner: R, delimiter: u8) -> Self {
        Self {
            inner,
            quotes: Quotes::new(delimiter),
            ended: false,
        }
    }

    /// The quoted cell that the file ends in, once it has been read to its end.
    pub(crate) fn never_closed(&self) -> Option<Opening> {
        self.quotes.open().filter(|_| self.ended)
    }
}

impl<R: Read> Read for Followed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.ended |= length == 0 && !buffer.is_empty();
        self.quotes.follow(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(text: &str) -> Option<(u64, u64)> {
        let mut quotes = Quotes::new(b',');
        quotes.follow(text.as_bytes());
        quotes.open().map(|at| (at.byte, at.line))
    }

    #[test]
    fn only_a_cell_that_begins_with_a_quote_can_stay_open() {
        for (text, found) in [
            ("a,b\n", None),
            ("a,\"b\n", Some((2, 1))),
            ("a,\"b\"\n", None),
            ("a,\"b\"\"", Some((2, 1))),
            ("a,\"b\"\"\"", None),
            ("a,b\"c\n", None),
            ("a\r\n\"b\"c\"\r\n", None),
            ("\"a\n\n\",\"b\nc,d\n", Some((6, 3))),
            (";\"a", None),
        ] {
            assert_eq!(open(text), found, "{text:?}");
        }
    }

    proptest! {
        /// A quote and a row behind the text are rows of their own just when the text ends in no quoted cell.
        #[test]
        fn the_reader_of_values_understands_quotes_alike(text in "[a,\"\r\n]{0,30}") {
            let ended = format!("{text}\nx\ny\nz\n");
            let mut reader = csv::ReaderBuilder::new()
                .flexible(true)
                .has_headers(false)
                .from_reader(ended.as_bytes());
            let last = reader.records().last().unwrap().unwrap();
            prop_assert_eq!(open(&text).is_none(), last.len() == 1 && &last[0] == "z");
        }
    }
}
