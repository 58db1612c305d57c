//! Reads the small languages inside a TOML text: templates and paths.

use std::ops::Range;

/// A mistake in a template or a path. The span counts bytes of that text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextMistake {
    /// What is wrong. Lower case, no full stop.
    pub message: String,
    /// How to put it right.
    pub help: Option<String>,
    /// Which bytes of the text are at fault.
    pub span: Range<usize>,
}

impl TextMistake {
    /// A mistake at `span`.
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            span,
        }
    }

    /// Says how to put it right.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A place in a text that is being read.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads one character.
    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Reads `word` if it stands here.
    pub(super) fn eat(&mut self, word: &str) -> bool {
        let here = self.rest().starts_with(word);
        if here {
            self.at += word.len();
        }
        here
    }

    /// Reads as long as `wanted` holds.
    pub(super) fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    pub(super) fn skip_blanks(&mut self) {
        self.take(char::is_whitespace);
    }

    /// The character that stands here, for a mistake; empty at the end.
    pub(super) fn here(&self) -> Range<usize> {
        self.at..self.at + self.peek().map_or(0, char::len_utf8)
    }

    pub(super) fn since(&self, start: usize) -> Range<usize> {
        start..self.at
    }

    /// Reads a text in single or double quotes, if one begins here. A doubled quote stands for itself.
    pub(super) fn quoted(&mut self) -> Result<Option<String>, TextMistake> {
        let Some(quote @ ('\'' | '"')) = self.peek() else {
            return Ok(None);
        };
        let start = self.at;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None => {
                    return Err(
                        TextMistake::new(start..self.at, "this quoted text does not end")
                            .help(format!("end it with {quote}")),
                    );
                }
                Some(c) if c == quote => {
                    if self.peek() != Some(quote) {
                        return Ok(Some(text));
                    }
                    self.next();
                    text.push(quote);
                }
                Some(c) => text.push(c),
            }
        }
    }
}
