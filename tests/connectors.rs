//! The conformance suite over every folder in `connectors/`: one test per promise, each failing with
//! the list of what breaks it.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helper fails the test"
)]

use std::fmt::Debug;

use jiff::SignedDuration;
use outcome_bridge::connector::{
    Case, CaseKind, Catalogue, Connector, Derived, Inbound, InboundCase, InboundRequest, Reading,
    Reception, RequestParts, Role, Unverified, VerifiedRequest, request_of, run_cases, source_of,
};
use outcome_bridge::mapping::LookedUp;
use outcome_bridge::model::EventId;
use outcome_bridge::queue::{Mark, StoredEvent};
use serde_json::Value;

fn catalogue() -> Catalogue {
    match Catalogue::load(None) {
        Ok((catalogue, _)) => catalogue,
        Err(mistakes) => panic!("{}", described(&mistakes)),
    }
}

fn described(mistakes: &[outcome_bridge::diagnostic::Diagnostic]) -> String {
    let lines = mistakes.iter().map(|d| {
        let (line, column) = d.position().unwrap_or_default();
        let help = d.help.as_deref().unwrap_or_default();
        format!(
            "{}:{line}:{column}: {} ({help})",
            d.file.display(),
            d.message
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn none<T: Debug>(problems: &[T]) {
    let lines = problems.iter().map(|problem| format!("{problem:#?}"));
    let lines: Vec<String> = lines.collect();
    assert!(problems.is_empty(), "{}", lines.join("\n"));
}

/// A case whose request verifies.
struct Genuine<'a> {
    connector: &'a Connector,
    case: &'a Case,
    inbound: &'a InboundCase,
    source: Inbound,
    request: InboundRequest<Unverified>,
}

impl Genuine<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.connector.name, self.case.name)
    }

    fn accepts(&self, source: &Inbound, parts: RequestParts) -> bool {
        let received = source.receive(InboundRequest::new(parts), self.case.now);
        matches!(received, Reception::Verified(_))
    }
}

/// Calls `check` with every signed case that verifies.
fn for_each_genuine(catalogue: &Catalogue, mut check: impl FnMut(&Genuine<'_>)) {
    let mut seen = 0;
    for connector in catalogue.iter() {
        for case in &connector.cases {
            let CaseKind::Inbound(inbound) = &case.kind else {
                continue;
            };
            if !inbound.sign {
                continue;
            }
            let source = source_of(connector, case, inbound).unwrap();
            let request = request_of(&source, case, inbound).unwrap();
            let received = source.receive(request.clone(), case.now);
            if let Reception::Verified(_) = received {
                seen += 1;
                check(&Genuine {
                    connector,
                    case,
                    inbound,
                    source,
                    request,
                });
            }
        }
    }
    assert!(seen > 0, "no case of any connector verifies");
}

#[test]
fn every_connector_is_read_without_a_mistake_or_a_warning() {
    let (_, warnings) = Catalogue::load(None).unwrap_or_else(|e| panic!("{}", described(&e)));
    assert!(warnings.is_empty(), "{}", described(&warnings));
    let folders = std::fs::read_dir("connectors").unwrap();
    let folders = folders.filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(catalogue().iter().count(), folders.count());
}

#[test]
fn every_case_and_every_test_of_the_rules_passes() {
    let mut problems = Vec::new();
    for connector in catalogue().iter() {
        for report in run_cases(connector) {
            if !report.problems.is_empty() {
                problems.push((connector.name.to_string(), report));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_event_type_has_a_case_and_every_direction_has_one() {
    let mut problems = Vec::new();
    for connector in catalogue().iter() {
        let inbound = connector.cases.iter().filter_map(|case| match &case.kind {
            CaseKind::Inbound(inbound) => Some(inbound),
            CaseKind::Outbound(_) => None,
        });
        let covered: Vec<&str> = inbound.filter_map(|c| c.event_type.as_deref()).collect();
        if let Some(facts) = &connector.inbound {
            let missing = facts.event_types.iter();
            let missing = missing.filter(|t| !covered.contains(&t.as_str()));
            problems.extend(missing.map(|t| format!("{}: no case of {t}", connector.name)));
            for name in &covered {
                if !facts.event_types.iter().any(|t| t == name) {
                    problems.push(format!("{}: {name} is not listed", connector.name));
                }
            }
            if connector.rules.is_none() {
                problems.push(format!("{}: no mapping.toml", connector.name));
            }
        }
        let outbound = |case: &&Case| matches!(case.kind, CaseKind::Outbound(_));
        if connector.outbound.is_some() && !connector.cases.iter().any(|c| outbound(&c)) {
            problems.push(format!("{}: no case of an outcome", connector.name));
        }
    }
    none(&problems);
}

#[test]
fn an_altered_byte_anywhere_in_a_signed_body_is_refused() {
    let mut problems = Vec::new();
    for_each_genuine(&catalogue(), |genuine| {
        if !genuine.source.strength().covers_body {
            return;
        }
        let parts = genuine.request.parts();
        for at in 0..parts.body.len() {
            let mut altered = parts.clone();
            let mut body = altered.body.to_vec();
            body[at] ^= 1;
            altered.body = body.into();
            if genuine.accepts(&genuine.source, altered) {
                problems.push(format!("{}: byte {at}", genuine.name()));
            }
        }
    });
    none(&problems);
}

#[test]
fn another_secret_is_refused() {
    let catalogue = catalogue();
    let mut problems = Vec::new();
    for_each_genuine(&catalogue, |genuine| {
        if !genuine.source.strength().verifies {
            return;
        }
        let mut other = genuine.case.clone();
        let secret = genuine
            .connector
            .fields_for(Role::Source)
            .filter(|f| f.secret);
        for field in secret {
            let Some(value) = other.settings.get_mut(&field.key) else {
                continue;
            };
            // A damaged key pair is no key; without it the vendor's own key is expected.
            if value.to_string().contains("-----BEGIN") {
                *value = Value::Array(Vec::new());
            } else {
                alter(value);
            }
        }
        match source_of(genuine.connector, &other, genuine.inbound) {
            Ok(source) if !genuine.accepts(&source, genuine.request.parts().clone()) => {}
            Ok(_) => problems.push(format!("{}: accepted", genuine.name())),
            Err(mistake) => problems.push(format!("{}: {mistake}", genuine.name())),
        }
    });
    none(&problems);
}

/// Another secret of the same form: one character in the middle is another.
fn alter(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(alter),
        Value::String(text) => {
            let mut characters: Vec<char> = text.chars().collect();
            let half = characters.len() / 2;
            let found = characters
                .iter()
                .skip(half)
                .position(char::is_ascii_alphanumeric);
            let at = found.map_or(half, |at| at + half);
            characters[at] = match characters[at] {
                '1' => '2',
                digit if digit.is_ascii_digit() => '1',
                'b' => 'c',
                lower if lower.is_ascii_lowercase() => 'b',
                'B' => 'C',
                _ => 'B',
            };
            *text = characters.into_iter().collect();
        }
        _ => {}
    }
}

#[test]
fn a_stale_timestamp_is_refused() {
    let mut problems = Vec::new();
    for_each_genuine(&catalogue(), |genuine| {
        if !genuine.source.strength().has_timestamp {
            return;
        }
        let later = genuine.case.now + SignedDuration::from_hours(24);
        let received = genuine.source.receive(genuine.request.clone(), later);
        if !matches!(received, Reception::Refused(_)) {
            problems.push(genuine.name());
        }
    });
    none(&problems);
}

#[test]
fn a_missing_credential_is_refused() {
    let mut problems = Vec::new();
    for_each_genuine(&catalogue(), |genuine| {
        if !genuine.source.strength().verifies {
            return;
        }
        let signed = genuine.request.parts();
        let before = &genuine.inbound.request;
        let added = signed.headers.iter().filter(|(name, _)| {
            name != "content-type" && !before.headers.iter().any(|(known, _)| known == name)
        });
        let mut without: Vec<RequestParts> = added
            .map(|(name, _)| {
                let mut parts = signed.clone();
                parts.headers.retain(|(known, _)| known != name);
                parts
            })
            .collect();
        if without.is_empty() {
            // The credential is in the body, the query or the path.
            let mut parts = signed.clone();
            parts.body = before.body.clone();
            parts.query.clone_from(&before.query);
            parts.path_token = None;
            if format!("{:?}", (&parts.body, &parts.query, &parts.path_token))
                != format!("{:?}", (&signed.body, &signed.query, &signed.path_token))
            {
                without.push(parts);
            }
        }
        if without
            .into_iter()
            .any(|parts| genuine.accepts(&genuine.source, parts))
        {
            problems.push(genuine.name());
        }
    });
    none(&problems);
}

/// Whoever has seen a signed request can send it again with a line more: that must not make another event of it.
#[test]
fn a_repeated_credential_or_id_makes_no_other_event() {
    let mut problems = Vec::new();
    for_each_genuine(&catalogue(), |genuine| {
        let key = |parts: RequestParts| {
            let request = InboundRequest::new(parts);
            match genuine.source.receive(request, genuine.case.now) {
                Reception::Verified(request) => Some(request.dedupe_key()),
                _ => None,
            }
        };
        let signed = genuine.request.parts();
        let own = key(signed.clone());
        let mut check = |name: &str, parts| {
            if key(parts).is_some_and(|other| Some(other) != own) {
                problems.push(format!("{}: {name}", genuine.name()));
            }
        };
        for (name, _) in &signed.headers {
            let mut parts = signed.clone();
            parts.headers.push((name.clone(), "other".to_owned()));
            check(name, parts);
        }
        for (name, _) in form_urlencoded::parse(signed.query.as_bytes()) {
            let mut parts = signed.clone();
            parts.query.push_str(&format!("&{name}=other"));
            check(&name, parts);
        }
    });
    none(&problems);
}

#[test]
fn no_secret_is_shown_or_stored() {
    let mut problems = Vec::new();
    for_each_genuine(&catalogue(), |genuine| {
        let secret = genuine
            .connector
            .fields_for(Role::Source)
            .filter(|f| f.secret);
        let values = secret.filter_map(|field| genuine.case.settings.get(&field.key));
        let secrets: Vec<&str> = values
            .flat_map(|value| match value {
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
                one => one.as_str().into_iter().collect::<Vec<_>>(),
            })
            .collect();
        let mut shown = vec![
            format!("{:?}", genuine.source),
            format!("{:?}", genuine.request),
            genuine.source.settings_value().to_string(),
        ];
        let received = genuine
            .source
            .receive(genuine.request.clone(), genuine.case.now);
        shown.push(format!("{received:?}"));
        if let Reception::Verified(request) = received {
            shown.push(format!("{:?}", request.headers()));
            shown.push(request.query().to_owned());
            shown.push(String::from_utf8_lossy(request.body()).into_owned());
            let event = stored(request, genuine);
            shown.push(format!("{event:?}"));
            shown.push(derivation(&event, genuine));
        }
        let mut bare = genuine.request.parts().clone();
        bare.headers
            .iter_mut()
            .for_each(|(_, value)| value.insert(0, 'x'));
        let refused = genuine
            .source
            .receive(InboundRequest::new(bare), genuine.case.now);
        shown.push(format!("{refused:?}"));
        for secret in secrets {
            if let Some(place) = shown.iter().position(|text| text.contains(secret)) {
                problems.push(format!("{}: in place {place}", genuine.name()));
            }
        }
    });
    none(&problems);
}

/// The event as it is stored.
fn stored(request: VerifiedRequest, genuine: &Genuine<'_>) -> StoredEvent {
    let event = request.into_new_event(genuine.source.source().clone(), genuine.case.now);
    StoredEvent {
        id: EventId::first_at(1),
        source: event.source,
        received_at: event.received_at,
        event_type: event.event_type,
        headers: event.headers,
        query: event.query,
        body: event.body,
        mark: Mark::default(),
    }
}

/// What the rules make of an event, with the whole trace, as it is stored and shown.
fn derivation(event: &StoredEvent, genuine: &Genuine<'_>) -> String {
    let reading = Reading {
        rules: genuine.connector.rules.as_ref().unwrap(),
        setting: genuine.source.settings_value(),
        region: None,
    };
    let derived = genuine
        .source
        .derive(event, &reading, &mut |_, _| LookedUp::nothing());
    if let Ok(Derived::Asked { derivation, .. }) = &derived {
        let trace = serde_json::to_string(&derivation.trace).unwrap();
        return format!("{derived:?} {trace}");
    }
    format!("{derived:?}")
}

#[test]
fn every_connector_says_how_to_set_it_up() {
    let catalogue = catalogue();
    let silent = catalogue.iter().filter(|c| c.setup.trim().len() < 200);
    none(&silent.map(|c| c.name.to_string()).collect::<Vec<_>>());
    let mut problems = Vec::new();
    for connector in catalogue.iter() {
        for field in connector.fields.iter().filter(|f| f.help.len() < 10) {
            problems.push(format!(
                "{}: field {} has no help",
                connector.name, field.key
            ));
        }
    }
    none(&problems);
}

#[test]
fn a_strangers_request_never_panics_and_never_verifies() {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    let catalogue = catalogue();
    let mut sources = Vec::new();
    for_each_genuine(&catalogue, |genuine| {
        if genuine.source.strength().verifies && sources.len() < 400 {
            let source = source_of(genuine.connector, genuine.case, genuine.inbound).unwrap();
            let headers = genuine.request.parts().headers.iter();
            let names: Vec<String> = headers.map(|(name, _)| name.clone()).collect();
            let name = genuine.connector.name.to_string();
            if !sources.iter().any(|(known, _, _)| *known == name) {
                sources.push((name, source, names));
            }
        }
    });
    let strategy = (
        proptest::collection::vec(
            "[ -~]{0,60}|[tv]=[0-9]{1,20},v1=[0-9a-f]{0,70}|v1,[A-Za-z0-9+/=]{0,50}",
            8,
        ),
        "[ -~]{0,40}",
        proptest::collection::vec(any::<u8>(), 0..200),
    );
    let mut runner = TestRunner::default();
    let ran = runner.run(&strategy, |(values, query, body)| {
        for (name, source, names) in &sources {
            let headers = names.iter().cloned().zip(values.iter().cloned()).collect();
            let request = InboundRequest::new(RequestParts {
                method: "POST".to_owned(),
                path_token: Some(query.clone()),
                query: query.clone(),
                headers,
                body: body.clone().into(),
            });
            let received = source.receive(request, jiff::Timestamp::UNIX_EPOCH);
            prop_assert!(!matches!(received, Reception::Verified(_)), "{name}");
        }
        Ok(())
    });
    ran.unwrap();
}
