//! Doors for the fuzz targets in `fuzz/`: each takes bytes and feeds them to something that parses what
//! comes from outside. None may panic, hang or use unbounded memory, whatever the bytes are.

use std::path::Path;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};

use crate::config::{Config, Env};
use crate::connector::{
    CaseKind, Catalogue, DestinationAnswer, Inbound, InboundRequest, Outbound, Reading, Reception,
    RequestParts, request_of, source_of,
};
use crate::mapping::{LookedUp, Ruleset};
use crate::model::{EventId, Settings};
use crate::queue::{Mark, StoredEvent};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::embedded);

/// A source of every connector that can be one, with a request that it accepts and the moment of it.
static SOURCES: LazyLock<Vec<(Inbound, RequestParts, Timestamp)>> = LazyLock::new(|| {
    CATALOGUE
        .iter()
        .filter_map(|connector| {
            connector.cases.iter().find_map(|case| match &case.kind {
                CaseKind::Inbound(inbound) if inbound.sign => {
                    let source = source_of(connector, case, inbound).ok()?;
                    let request = request_of(&source, case, inbound).ok()?;
                    Some((source, request.into_parts(), case.now))
                }
                _ => None,
            })
        })
        .collect()
});

/// The first byte as a choice among `all`, and the rest.
fn choose<'a, T>(all: &'a [T], data: &'a [u8]) -> Option<(&'a T, &'a [u8])> {
    let (first, rest) = data.split_first()?;
    Some((all.get(usize::from(*first) % all.len().max(1))?, rest))
}

/// A request to a source: lines `name: value` up to an empty line stand in for the genuine request's headers
/// of the same name, what follows is the body. Accepted may be only the genuine request.
pub fn receive(data: &[u8]) {
    let Some(((source, genuine, now), rest)) = choose(&SOURCES, data) else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut parts = genuine.clone();
    for line in head.lines() {
        if let Some((name, value)) = line.split_once(':') {
            let name = name.trim().to_ascii_lowercase();
            parts.headers.retain(|(known, _)| *known != name);
            parts.headers.push((name, value.trim().to_owned()));
        }
    }
    if !body.is_empty() {
        parts.body = body.to_owned().into();
    }
    let same_body = parts.body == genuine.body;
    if let Reception::Verified(_) = source.receive(InboundRequest::new(parts), *now) {
        // Some vendors sign nothing and only show a secret: any body is theirs.
        let signed = source.strength().covers_body;
        assert!(same_body || !signed, "a changed body was accepted");
    }
}

/// A body that was verified, mapped by the rules of its connector.
pub fn derive(data: &[u8]) {
    let connectors: Vec<_> = CATALOGUE.iter().filter(|c| c.rules.is_some()).collect();
    let Some((connector, body)) = choose(&connectors, data) else {
        return;
    };
    let Some((source, ..)) = SOURCES
        .iter()
        .find(|(source, ..)| source.source().as_str() == connector.name.as_str())
    else {
        return;
    };
    let rules = connector.rules.clone().unwrap_or_default();
    let event = StoredEvent {
        id: EventId::first_at(1),
        source: source.source().clone(),
        received_at: Timestamp::UNIX_EPOCH,
        event_type: None,
        headers: Vec::new(),
        query: String::new(),
        body: body.to_vec().into(),
        mark: Mark::default(),
    };
    let reading = Reading {
        rules: &rules,
        setting: source.settings_value(),
        region: None,
    };
    let _unreadable = source.derive(&event, &reading, &mut |_, _| LookedUp::nothing());
}

/// A file of rules, and the tests in it.
pub fn mapping_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok((rules, _warnings)) = Ruleset::parse(Path::new("mapping.toml"), &text) {
        let no_file = |_: &str| Err("there are no files here".to_owned());
        let _results = rules.run_tests_with(&no_file);
    }
}

/// An expression, a line `---`, and the JSON that it is evaluated on: as a condition and as a value.
pub fn expression(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (expression, event) = text.split_once("\n---\n").unwrap_or((&text, "{}"));
    mapping_file(rules_around(expression, event).as_bytes());
}

/// Rules and a test of them in which `expression` is a condition and a value.
fn rules_around(expression: &str, event: &str) -> String {
    // A text of TOML, whatever stands in it.
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    format!(
        "format = 1\n[[rule]]\nid = \"one\"\nif = {condition}\noutcome = \"shown\"\n[rule.set]\nnotes = {value}\n\
         [[test]]\nname = \"one\"\nevent = {event}\nexpect = \"nothing\"\n",
        condition = quoted(expression),
        value = quoted(&format!("{{= {expression}}}")),
        event = quoted(event),
    )
}

/// A connector's folder: `connector.toml`, a line `---`, `mapping.toml`.
pub fn connector_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (connector, mapping) = text.split_once("\n---\n").unwrap_or((&text, ""));
    crate::connector::read_texts(connector, mapping);
}

/// An operator's configuration.
pub fn configuration(data: &[u8]) {
    let Ok(file) = tempfile::NamedTempFile::with_suffix(".toml") else {
        return;
    };
    if std::fs::write(file.path(), data).is_ok() {
        let _mistakes = Config::examine(file.path(), &Env::default());
    }
}

/// What a destination answers: a status in two bytes, headers as lines up to an empty line, a body.
pub fn answer(data: &[u8]) {
    static DESTINATIONS: LazyLock<Vec<Outbound>> = LazyLock::new(|| {
        CATALOGUE
            .iter()
            .filter_map(|connector| {
                connector.cases.iter().find_map(|case| match case.kind {
                    CaseKind::Outbound(_) => {
                        let settings = Settings::from_json(case.settings.clone());
                        Outbound::new(connector, &settings).ok().map(|(it, _)| it)
                    }
                    CaseKind::Inbound(_) => None,
                })
            })
            .collect()
    });
    let Some((destination, [high, low, rest @ ..])) = choose(&DESTINATIONS, data) else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    let (head, body) = text.split_once("\n\n").unwrap_or(("", &text));
    let headers: Vec<(String, String)> = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let answer = DestinationAnswer {
        status: 100 + u16::from_be_bytes([*high, *low]) % 500,
        headers: &headers,
        body: body.as_bytes(),
    };
    let _verdict = destination.judge(&answer, SignedDuration::from_secs(1));
}

/// Rows and records of the data files.
pub fn stored_rows(data: &[u8]) {
    crate::queue::local::read_any(data);
}

/// Query strings and bodies of the admin API, and compressed bodies.
pub fn admin_input(data: &[u8]) {
    crate::http::read_any(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A door through which a fuzz target goes.
    type Door = fn(&[u8]);

    /// The suite does not search for mistakes as a fuzzer does; it keeps the doors open, so that a target that
    /// has come to test nothing, or that fails on what is right, is seen at once.
    #[test]
    fn every_door_takes_what_it_is_made_for() {
        let doors: [(Door, &[&str]); 9] = [
            (receive, &["\0\n\n{}", "\0content-type: text/plain\n\nx"]),
            (derive, &["\0{\"event\":\"invitee.created\"}", "\0["]),
            (mapping_file, &["[[rule]]\nwhen = 1", "[settings]\n"]),
            (expression, &["event.x > 1\n---\n{\"x\":2}", "\"\u{7f}"]),
            (connector_file, &["title = \"x\"\n---\n[[rule]]", "---"]),
            (configuration, &["[server]\nlisten = \"127.0.0.1:0\"", "[["]),
            (answer, &["\0\0\u{64}retry-after: 5\n\n{}", "\0\0\0"]),
            (stored_rows, &["", "\u{2}\u{1}\u{0}\u{0}"]),
            (admin_input, &["source=hubspot&since=2h", "{\"ids\":[]}"]),
        ];
        for (door, inputs) in doors {
            for input in inputs {
                door(input.as_bytes());
            }
        }
        assert!(!SOURCES.is_empty(), "no source has a case that it accepts");
    }

    /// Otherwise a mistake in the rules around it would keep every expression from being read.
    #[test]
    fn the_rules_around_an_expression_are_right() {
        let rules = rules_around("event.x > 1", "{\"x\":2}");
        let parsed = Ruleset::parse(Path::new("mapping.toml"), &rules);
        let (rules, _warnings) = parsed.expect("an expression that is right");
        let results = rules.run_tests_with(&|_| Err(String::new()));
        assert_eq!(results[0].matched, ["one"]);
    }
}
