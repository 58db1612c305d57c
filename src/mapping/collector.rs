//! Gathers every mistake of one file, so that all of them are told at once.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::cursor::TextMistake;
use crate::diagnostic::{Diagnostic, Severity, did_you_mean};

/// The mistakes and warnings of one TOML file, while it is being read.
#[derive(Debug)]
pub struct Collector {
    file: PathBuf,
    text: Arc<str>,
    context: Option<String>,
    found: Vec<Diagnostic>,
}

impl Collector {
    /// A collector for `file` with this text.
    pub fn new(file: impl Into<PathBuf>, text: &str) -> Self {
        Self {
            file: file.into(),
            text: text.into(),
            context: None,
            found: Vec::new(),
        }
    }

    /// Reads the file as TOML. What TOML itself objects to is noted; `None` when it objects.
    pub fn read<'t>(&mut self, text: &'t str) -> Option<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            self.error(span, error.message().trim_end_matches('.').to_owned(), None);
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// What the next mistakes belong to, e.g. `rule "deal_won"`.
    pub fn within(&mut self, context: Option<String>) {
        self.context = context;
    }

    /// Notes a mistake at bytes of the file.
    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.note(Diagnostic::error(self.file.clone(), message), span, help);
    }

    /// Notes a warning at bytes of the file.
    pub fn warning(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.note(Diagnostic::warning(self.file.clone(), message), span, help);
    }

    fn note(&mut self, diagnostic: Diagnostic, span: Range<usize>, help: Option<String>) {
        let mut diagnostic = diagnostic.at(&self.text, span);
        diagnostic.help = help;
        diagnostic.context = self.context.clone();
        self.found.push(diagnostic);
    }

    /// Notes a mistake inside a TOML string, whose place in the file is `item`'s.
    pub fn text_mistake(&mut self, item: &Spanned<DeValue<'_>>, mistake: TextMistake) {
        let span = self.inside(item, &mistake.span);
        self.error(span, mistake.message, mistake.help);
    }

    /// Bytes of the file for bytes of a string in it. A string with escapes is not the same text as
    /// in the file: then the whole value is meant.
    fn inside(&self, item: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Range<usize> {
        let whole = item.span();
        let (Some(text), Some(raw)) = (item.get_ref().as_str(), self.text.get(whole.clone()))
        else {
            return whole;
        };
        let quotes = [
            "'''\r\n",
            "\"\"\"\r\n",
            "'''\n",
            "\"\"\"\n",
            "'''",
            "\"\"\"",
            "'",
            "\"",
        ];
        let opening = quotes.iter().find(|quote| raw.starts_with(**quote));
        let start = opening.map_or(0, |quote| quote.len());
        if raw.get(start..start + text.len()) != Some(text) {
            return whole;
        }
        let at = whole.start + start;
        at + span.start..at + span.end
    }

    /// Notes every key of `table` that is not one of `known`.
    pub fn unknown_keys(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for (key, _) in table.iter() {
            if !known.contains(&&**key.get_ref()) {
                self.unknown_key(key.span(), key.get_ref(), known);
            }
        }
    }

    fn unknown_key(&mut self, span: Range<usize>, key: &str, known: &[&str]) {
        let help = match did_you_mean(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        self.error(span, format!("there is no key called `{key}`"), Some(help));
    }

    /// `item` as a text; anything else is noted as a mistake of `key`.
    pub fn text<'i>(&mut self, key: &str, item: &'i Spanned<DeValue<'_>>) -> Option<&'i str> {
        let text = item.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, item, "a text");
        }
        text
    }

    /// `item` as true or false; anything else is noted as a mistake of `key`.
    pub fn truth(&mut self, key: &str, item: &Spanned<DeValue<'_>>) -> Option<bool> {
        let truth = item.get_ref().as_bool();
        if truth.is_none() {
            self.wrong_type(key, item, "true or false");
        }
        truth
    }

    /// `item` as a list; anything else is noted as a mistake of `key`.
    pub fn list<'i, 't>(
        &mut self,
        key: &str,
        item: &'i Spanned<DeValue<'t>>,
    ) -> Option<&'i DeArray<'t>> {
        let list = item.get_ref().as_array();
        if list.is_none() {
            self.wrong_type(key, item, "a list");
        }
        list
    }

    /// `item` as a table; anything else is noted as a mistake of `key`.
    pub fn table<'i, 't>(
        &mut self,
        key: &str,
        item: &'i Spanned<DeValue<'t>>,
    ) -> Option<&'i DeTable<'t>> {
        let table = item.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, item, "a table");
        }
        table
    }

    /// Notes that `key` has a value of the wrong type.
    pub fn wrong_type(&mut self, key: &str, item: &Spanned<DeValue<'_>>, wanted: &str) {
        let is = match item.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(
            item.span(),
            format!("`{key}` must be {wanted}, but is {is}"),
            None,
        );
    }

    /// How many mistakes have been noted so far; tells whether a part was read without any.
    pub fn errors(&self) -> usize {
        self.found
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .count()
    }

    /// All that was noted, in the order of the file: the warnings when there are only those.
    ///
    /// # Errors
    /// Mistakes and warnings together, when there is a mistake.
    pub fn finish(mut self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let start = |d: &Diagnostic| d.span.as_ref().map_or(0, |span| span.start);
        self.found.sort_by_key(start);
        if self.errors() == 0 {
            Ok(self.found)
        } else {
            Err(self.found)
        }
    }
}

/// The entries of a table in the order of the file.
pub fn in_file_order<'i, 't>(
    table: &'i DeTable<'t>,
) -> Vec<(&'i str, Range<usize>, &'i Spanned<DeValue<'t>>)> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| (&**key.get_ref(), key.span(), value))
        .collect();
    entries.sort_by_key(|(_, span, _)| span.start);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, wanted: &str) -> (usize, usize) {
        let mut collector = Collector::new("f.toml", text);
        let table = collector.read(text).unwrap();
        let item = table.get("a").unwrap();
        let at = item.get_ref().as_str().unwrap().find(wanted).unwrap();
        let span = at..at + wanted.len();
        collector.text_mistake(item, TextMistake::new(span, "bad"));
        collector.finish().unwrap_err()[0].position().unwrap()
    }

    #[test]
    fn a_place_in_a_string_is_a_place_in_the_file() {
        assert_eq!(place("a = 'xx{y'", "{"), (1, 8));
        assert_eq!(place("\na = \"xx{y\"", "{"), (2, 8));
        assert_eq!(place("a = '''\nxx{y'''", "{"), (2, 3));
        assert_eq!(
            place("a = \"x\\\"{y\"", "{"),
            (1, 5),
            "escapes: the value's start"
        );
    }

    #[test]
    fn every_mistake_of_toml_itself_is_told() {
        let text = "a = \nb = 'x\nc = 1\n";
        let mut collector = Collector::new("f.toml", text);
        assert!(collector.read(text).is_none());
        let found = collector.finish().unwrap_err();
        assert_eq!(
            found
                .iter()
                .map(|d| d.position().unwrap().0)
                .collect::<Vec<_>>(),
            [1, 2]
        );
    }
}
