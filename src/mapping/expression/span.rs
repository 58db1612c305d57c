//! Where the parts of an expression stand in its text.

use std::ops::Range;

use cel::common::ast::SourceInfo;

/// The text of an expression, with the places that the parser noted.
pub(super) struct Places<'t> {
    pub(super) text: &'t str,
    info: SourceInfo,
}

impl<'t> Places<'t> {
    pub(super) fn new(text: &'t str, info: SourceInfo) -> Self {
        Self { text, info }
    }

    /// The bytes of a node's own token. The last byte that the parser names belongs to it.
    pub(super) fn token(&self, id: u64) -> Range<usize> {
        let Some((start, last)) = self.info.offset_for(id) else {
            return 0..0;
        };
        let byte = |n: u32| {
            let n = usize::try_from(n).unwrap_or(usize::MAX);
            let mut at = n.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at += 1;
            }
            at
        };
        let start = byte(start);
        start..byte(last.saturating_add(1)).max(start)
    }

    /// `span` with the brackets that it opens or closes by half, and the name before a bracket that
    /// it begins with.
    pub(super) fn whole(&self, span: Range<usize>) -> Range<usize> {
        let Range { mut start, mut end } = span;
        let (opened, closed) = unbalanced(self.text.get(start..end).unwrap_or_default());
        for _ in 0..opened {
            let rest = self.text.get(end..).unwrap_or_default();
            let Some(at) = rest.find([')', ']', '}']) else {
                break;
            };
            end += at + 1;
        }
        for _ in 0..closed {
            let before = self.text.get(..start).unwrap_or_default();
            let Some(at) = before.rfind(['(', '[', '{']) else {
                break;
            };
            start = at;
        }
        start..end
    }

    /// The bytes of the name that stands right before `at`, or `at` alone.
    pub(super) fn name_before(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or_default().trim_end();
        before
            .char_indices()
            .rev()
            .take_while(|(_, c)| c.is_alphanumeric() || *c == '_')
            .last()
            .map_or(at, |(start, _)| start)
    }

    /// Where the name ends that follows a dot which ends at `at`.
    pub(super) fn name_after(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let name = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '?');
        let start = at + rest.len() - name.len();
        let length = match name.strip_prefix('`') {
            Some(quoted) => quoted.find('`').map_or(name.len(), |end| end + 2),
            None => name
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(name.len()),
        };
        start + length
    }
}

/// How many brackets are opened and not closed, and closed and not opened. Quoted text is skipped.
fn unbalanced(text: &str) -> (usize, usize) {
    let (mut opened, mut closed) = (0_usize, 0);
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => opened += 1,
            (None, ')' | ']' | '}') if opened > 0 => opened -= 1,
            (None, ')' | ']' | '}') => closed += 1,
            (None, _) => {}
        }
    }
    (opened, closed)
}
