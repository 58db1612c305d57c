//! Whose mistake it is: what is wrong with a source or a destination is pointed at where its operator wrote it.

use std::ops::Range;

use super::Connector;
use crate::diagnostic::Diagnostic;
use crate::model::{Place, Settings};

/// Points what was `found` in a connector's file at the settings that it was read with. The file itself was checked
/// when it was loaded, so the values that were filled in are the cause: the setting that the text at fault names, or
/// the source or destination as a whole.
pub(super) fn at_settings(
    found: Vec<Diagnostic>,
    connector: &Connector,
    settings: &Settings,
) -> Vec<Diagnostic> {
    let mut pointed = Vec::with_capacity(found.len());
    for diagnostic in found {
        let diagnostic = match place(&diagnostic, connector, settings) {
            Some(Place { file, text, span }) => Diagnostic {
                file: file.clone(),
                ..diagnostic.at(text, span.clone())
            },
            None => diagnostic,
        };
        // One setting may be read at several places of the connector.
        if !pointed.contains(&diagnostic) {
            pointed.push(diagnostic);
        }
    }
    pointed
}

fn place<'a>(
    found: &Diagnostic,
    connector: &Connector,
    settings: &'a Settings,
) -> Option<&'a Place> {
    if found.file != connector.path() {
        return None;
    }
    let whole = settings.place.as_ref();
    let Some(value) = text_value(&connector.text, found.span.as_ref()) else {
        return whole;
    };
    let is_named = |key: &str| value == key || value.contains(&format!("{{setting.{key}}}"));
    let fields = connector.fields.iter();
    let mut named = fields.filter(|field| is_named(&field.key)).peekable();
    // What names no field is the same for every source.
    named.peek()?;
    named
        .find_map(|field| settings.entries.get(&field.key)?.place.as_ref())
        .or(whole)
}

/// The text in quotes at `span`; `None` when something else stands there, such as a table.
fn text_value<'t>(text: &'t str, span: Option<&Range<usize>>) -> Option<&'t str> {
    let written = text.get(span?.clone())?;
    let value = written.trim_matches(['"', '\'']);
    (value.len() < written.len()).then_some(value)
}
