//! Webhooks signed by the vendors' own SDKs are accepted, and refused once anything signed is changed.
//!
//! `tests/sdk/fixtures.jsonl` holds requests that the SDKs signed at a fixed moment (see
//! `tests/sdk/README.md`); this needs neither the SDKs nor a network. `tests/sdk/live.sh` does the same
//! over HTTP with requests signed on the spot.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use outcome_bridge::connector::{
    Catalogue, Connector, Inbound, InboundRequest, Reception, RefusalCode, RequestParts,
    SourceOptions, Verification,
};
use outcome_bridge::diagnostic::Diagnostic;
use outcome_bridge::model::{ConnectorName, Settings, SourceName};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// An entry of `sources.json`: how the bridge is set up for an SDK.
#[derive(Deserialize)]
struct Source {
    connector: String,
    settings: Map<String, Value>,
    /// Which setting is the secret.
    secret: String,
    /// Another value for it.
    other: String,
    /// The headers of which every character counts.
    credentials: Vec<String>,
    /// What the vendor signs beside the body: `method`, `url`, `timestamp`, `id`.
    signs: BTreeSet<String>,
    /// The vendor's SDKs accept any moment ahead, and so does the connector.
    #[serde(default)]
    future_accepted: bool,
}

/// A line of `fixtures.jsonl`.
#[derive(Clone, Deserialize)]
struct Fixture {
    name: String,
    source: String,
    sdk: String,
    public_url: String,
    method: String,
    query: String,
    headers: BTreeMap<String, String>,
    several_signatures: bool,
    body: String,
    body_sha256: String,
    now: Timestamp,
}

struct Recorded {
    catalogue: Catalogue,
    sources: BTreeMap<String, Source>,
    fixtures: Vec<Fixture>,
    bodies: BTreeMap<String, Vec<u8>>,
}

static RECORDED: LazyLock<Recorded> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
    let text = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let (catalogue, _warnings) = Catalogue::load(Some(&folder.join("connectors")))
        .unwrap_or_else(|mistakes| panic!("the connectors do not load: {}", told(&mistakes)));
    let lines = text("fixtures.jsonl");
    let fixtures: Vec<Fixture> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let path_of = |fixture: &Fixture| -> PathBuf { folder.join("bodies").join(&fixture.body) };
    Recorded {
        sources: serde_json::from_str(&text("sources.json")).unwrap(),
        bodies: fixtures
            .iter()
            .map(|fixture| {
                (
                    fixture.body.clone(),
                    std::fs::read(path_of(fixture)).unwrap(),
                )
            })
            .collect(),
        catalogue,
        fixtures,
    }
});

fn told(mistakes: &[Diagnostic]) -> String {
    let told = mistakes
        .iter()
        .map(|d| format!("{}: {}", d.file.display(), d.message));
    told.collect::<Vec<_>>().join("; ")
}

impl Source {
    fn connector(&self) -> &'static Connector {
        let name = ConnectorName::new(&self.connector).unwrap();
        RECORDED
            .catalogue
            .get(&name)
            .unwrap_or_else(|| panic!("there is no connector `{name}`"))
    }

    /// The settings, with another value for the secret where one is given.
    fn settings(&self, secret: Option<Value>) -> Settings {
        let mut settings = self.settings.clone();
        if let Some(secret) = secret {
            settings.insert(self.secret.clone(), secret);
        }
        Settings::from_json(Value::Object(settings))
    }
}

impl Fixture {
    fn source(&self) -> &'static Source {
        &RECORDED.sources[&self.source]
    }

    fn signs(&self, what: &str) -> bool {
        self.source().signs.contains(what)
    }

    fn body(&self) -> &'static [u8] {
        &RECORDED.bodies[&self.body]
    }

    fn inbound(&self) -> Inbound {
        self.inbound_with(None)
    }

    fn inbound_with(&self, secret: Option<Value>) -> Inbound {
        let options = SourceOptions {
            source: SourceName::new(&self.source).unwrap(),
            public_url: self.public_url.clone(),
            verification: Verification::Required,
            dedupe_window: None,
        };
        let source = self.source();
        let (inbound, _warnings) =
            Inbound::new(source.connector(), &source.settings(secret), &options)
                .unwrap_or_else(|mistakes| panic!("{}: {}", self.name, told(&mistakes)));
        inbound
    }

    fn request(&self) -> RequestParts {
        RequestParts {
            method: self.method.clone(),
            path_token: None,
            query: self.query.clone(),
            headers: self.headers.clone().into_iter().collect(),
            body: self.body().to_vec().into(),
        }
    }

    fn request_with_header(&self, name: &str, value: Option<&str>) -> RequestParts {
        let mut request = self.request();
        request.headers.retain(|(known, _)| known != name);
        request
            .headers
            .extend(value.map(|value| (name.to_owned(), value.to_owned())));
        request
    }
}

fn receive(inbound: &Inbound, request: RequestParts, now: Timestamp) -> Reception {
    inbound.receive(InboundRequest::new(request), now)
}

#[track_caller]
fn assert_accepted(reception: &Reception, what: &str) {
    assert!(
        matches!(reception, Reception::Verified(_)),
        "{what}: {reception:?}"
    );
}

/// Refused, for a reason that has to do with the signature, with the status that the vendors know.
#[track_caller]
fn assert_refused(reception: Reception, what: &str) -> RefusalCode {
    match reception {
        Reception::Refused(refusal) => {
            assert_eq!(refusal.status, 401, "{what}: {refusal:?}");
            refusal.code
        }
        other => panic!("{what} was not refused: {other:?}"),
    }
}

/// Up to 64 positions, spread over the whole and with both ends.
fn spread(len: usize) -> impl Iterator<Item = usize> {
    let count = len.min(64);
    (0..count).map(move |i| {
        if count < 2 {
            i
        } else {
            i * (len - 1) / (count - 1)
        }
    })
}

/// Another character of the same kind: the value stays readable and becomes wrong.
fn another(character: char) -> char {
    match character {
        '9' => '0',
        'z' => 'a',
        'Z' => 'A',
        '0'..='8' | 'a'..='y' | 'A'..='Y' => char::from(character as u8 + 1),
        _ => '~',
    }
}

#[test]
fn the_fixtures_are_as_recorded_and_cover_every_source_and_sdk() {
    let covered: BTreeSet<&str> = RECORDED
        .fixtures
        .iter()
        .map(|f| f.source.as_str())
        .collect();
    let declared: BTreeSet<&str> = RECORDED.sources.keys().map(String::as_str).collect();
    assert_eq!(covered, declared);
    let packages = RECORDED.fixtures.iter().map(|fixture| {
        let (package, _version) = fixture.sdk.rsplit_once('@').unwrap();
        package
    });
    assert_eq!(packages.collect::<BTreeSet<_>>().len(), 14);
    for fixture in &RECORDED.fixtures {
        let hash = hex::encode(Sha256::digest(fixture.body()));
        assert_eq!(
            hash, fixture.body_sha256,
            "{} is not what was signed",
            fixture.body
        );
    }
}

#[test]
fn what_an_sdk_signed_is_accepted() {
    for fixture in &RECORDED.fixtures {
        let reception = receive(&fixture.inbound(), fixture.request(), fixture.now);
        assert_accepted(&reception, &fixture.name);
    }
}

#[test]
fn a_changed_byte_of_the_body_is_refused_wherever_it_stands() {
    for fixture in &RECORDED.fixtures {
        let inbound = fixture.inbound();
        for at in spread(fixture.body().len()) {
            let mut request = fixture.request();
            let mut body = fixture.body().to_vec();
            body[at] ^= 1;
            request.body = body.into();
            let what = format!("{} with byte {at} changed", fixture.name);
            assert_refused(receive(&inbound, request, fixture.now), &what);
        }
    }
}

#[test]
fn a_longer_a_shorter_and_an_empty_body_is_refused() {
    for fixture in &RECORDED.fixtures {
        let inbound = fixture.inbound();
        let body = fixture.body();
        let (first, last) = (&body[..1], body.len() - 1);
        let changed: [(&str, Vec<u8>); 6] = [
            ("appended to", [body, b"0"].concat()),
            ("with a NUL", [body, b"\0"].concat()),
            ("with its first byte twice", [first, body].concat()),
            ("without its last byte", body[..last].to_vec()),
            ("without its first byte", body[1..].to_vec()),
            ("emptied", Vec::new()),
        ];
        for (how, body) in changed {
            let mut request = fixture.request();
            request.body = body.into();
            let what = format!("{} {how}", fixture.name);
            assert_refused(receive(&inbound, request, fixture.now), &what);
        }
    }
}

#[test]
fn a_changed_character_of_a_credential_is_refused_wherever_it_stands() {
    for fixture in RECORDED.fixtures.iter().filter(|f| !f.several_signatures) {
        let inbound = fixture.inbound();
        for name in &fixture.source().credentials {
            let value = &fixture.headers[name];
            for (at, character) in value.char_indices() {
                let mut changed = value.clone();
                changed.replace_range(at..=at, another(character).encode_utf8(&mut [0; 4]));
                let request = fixture.request_with_header(name, Some(&changed));
                let what = format!("{} with {name}: {changed}", fixture.name);
                assert_refused(receive(&inbound, request, fixture.now), &what);
            }
        }
    }
}

#[test]
fn a_missing_empty_or_shortened_credential_is_refused() {
    for fixture in &RECORDED.fixtures {
        let inbound = fixture.inbound();
        for name in &fixture.source().credentials {
            let value = &fixture.headers[name];
            // Padding may be left out, so more than that is cut.
            let shortened = &value[..value.len() * 3 / 4];
            let values = [None, Some(""), Some("N/A"), Some(shortened)];
            let values = values
                .into_iter()
                .take(if fixture.several_signatures { 3 } else { 4 });
            for value in values {
                let request = fixture.request_with_header(name, value);
                let what = format!("{} with {name}: {value:?}", fixture.name);
                assert_refused(receive(&inbound, request, fixture.now), &what);
            }
        }
    }
}

#[test]
fn another_secret_is_refused_and_several_live_ones_are_tried() {
    for fixture in &RECORDED.fixtures {
        let source = fixture.source();
        let inbound = fixture.inbound_with(Some(json!(source.other)));
        let what = format!("{} with another secret", fixture.name);
        assert_refused(receive(&inbound, fixture.request(), fixture.now), &what);

        let field = source
            .connector()
            .fields
            .iter()
            .find(|field| field.key == source.secret);
        if field.is_some_and(|field| field.list) {
            let both = json!([source.other, source.settings[&source.secret]]);
            let inbound = fixture.inbound_with(Some(both));
            assert_accepted(
                &receive(&inbound, fixture.request(), fixture.now),
                &fixture.name,
            );
        }
    }
}

#[test]
fn a_stale_moment_is_refused_where_it_is_signed() {
    let signed = RECORDED.fixtures.iter().filter(|f| f.signs("timestamp"));
    for fixture in signed {
        let inbound = fixture.inbound();
        for minutes in [-2, 2] {
            let now = fixture.now + SignedDuration::from_mins(minutes);
            assert_accepted(&receive(&inbound, fixture.request(), now), &fixture.name);
        }
        for minutes in [-6, 6, 60 * 24 * 365] {
            let now = fixture.now + SignedDuration::from_mins(minutes);
            let what = format!("{} after {minutes} minutes", fixture.name);
            let reception = receive(&inbound, fixture.request(), now);
            if minutes < 0 && fixture.source().future_accepted {
                assert_accepted(&reception, &what);
            } else {
                assert_eq!(
                    assert_refused(reception, &what),
                    RefusalCode::Stale,
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn another_url_query_or_method_is_refused_where_it_is_signed() {
    for fixture in &RECORDED.fixtures {
        let inbound = fixture.inbound();
        if fixture.signs("method") {
            let request = RequestParts {
                method: "PUT".to_owned(),
                ..fixture.request()
            };
            let what = format!("{} by another method", fixture.name);
            assert_refused(receive(&inbound, request, fixture.now), &what);
        }
        if fixture.signs("url") {
            let longer = format!("{}&more=1", fixture.query);
            let request = RequestParts {
                query: longer.trim_start_matches('&').to_owned(),
                ..fixture.request()
            };
            let what = format!("{} with a longer query", fixture.name);
            assert_refused(receive(&inbound, request, fixture.now), &what);

            let elsewhere = Fixture {
                public_url: "https://elsewhere.example.com/webhooks/x".to_owned(),
                ..fixture.clone()
            };
            let reception = receive(&elsewhere.inbound(), fixture.request(), fixture.now);
            assert_refused(reception, &format!("{} elsewhere", fixture.name));
        }
    }
}
