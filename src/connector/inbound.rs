//! A configured source: a connector's `[inbound]` compiled with an operator's settings.
//!
//! [`Inbound::receive`] is the hot path of the receiver. It hashes the body where it lies, reads it
//! as a tree at most once and only when something asks for that, and allocates little else.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Connector;
use super::blame::at_settings;
use super::body::BodyKind;
use super::field::{Checked, Role, diagnostic};
use super::handshake::{Handshake, ROOTS};
use super::lookup::Lookups;
use super::reader::{Log, Reader};
use super::redact::{Redaction, pointer_tokens};
use super::request::{
    Answer, InboundRequest, Reception, Refusal, RequestParts, UnsignedRequest, Unverified,
    VERIFIED_BY, VerifiedRequest,
};
use super::sign::SignError;
use super::tenant::Tenant;
use super::verify::{Arrival, Site, Strength, Verifier};
use crate::diagnostic::Diagnostic;
use crate::mapping::{Path, Template};
use crate::model::{Settings, SourceName};

/// Longer names of events are cut: they are for lists and metrics.
const MAX_EVENT_TYPE: usize = 200;

/// What a source is, beside its connector's own settings.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Its name.
    pub source: SourceName,
    /// The URL that the vendor calls, without a query.
    pub public_url: String,
    /// What is asked of its requests.
    pub verification: Verification,
    /// How long repeats are recognised, in place of the connector's own window.
    pub dedupe_window: Option<SignedDuration>,
}

/// What is asked of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// What the connector says, and it has to say something.
    Required,
    /// What the connector says, even if that is nothing: for its cases.
    AsConnector,
    /// Nothing, because the configuration says so (`verification = "none"`). Secrets need not be set.
    Off,
}

/// Why an [`Inbound`] does not verify whose connector could.
const SWITCHED_OFF: &str = "`verification = \"none\"` stands at the source";

/// See the module.
pub struct Inbound {
    pub(super) rules: Rules,
    options: SourceOptions,
    settings: Value,
    lookups: Arc<Lookups>,
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("source", &self.options.source)
            .field("body", &self.rules.body)
            .finish_non_exhaustive()
    }
}

/// `[inbound]` as read.
pub(super) struct Rules {
    pub(super) body: BodyKind,
    pub(super) event_types: Vec<String>,
    event_type: Option<Template>,
    verifier: Verifier,
    pub(super) tenants: Vec<Tenant>,
    handshakes: Vec<Handshake>,
    pub(super) dedupe: Vec<Template>,
    window: SignedDuration,
    answer: Answer,
    busy: Answer,
    redaction: Redaction,
}

impl Inbound {
    /// Compiles a connector for a source. The warnings are for people to look at.
    ///
    /// # Errors
    /// Every mistake in the settings, each with its place.
    pub fn new(
        connector: &Connector,
        settings: &Settings,
        options: &SourceOptions,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let place = settings.place.as_ref();
        let checked = match options.verification {
            Verification::Off => Checked::unverified(&connector.fields, Role::Source, settings)?,
            Verification::Required | Verification::AsConnector => {
                Checked::new(&connector.fields, Role::Source, settings)?
            }
        };
        let log = connector.log();
        let extra = [
            ("public_url", options.public_url.as_str()),
            ("source", options.source.as_str()),
        ];
        let rules = Rules::read_from(&log, connector, &checked, &extra);
        let lookups = Lookups::read_from(&log, connector, &checked, &extra);
        if let (Some(reason), Verification::Required) = (
            rules.as_ref().and_then(|rules| rules.verifier.unverified()),
            options.verification,
        ) {
            let message = format!("nothing about this source's requests can be verified: {reason}");
            log.push(diagnostic(place, message).help(
                "anybody who knows the URL can send events; if that is acceptable, confirm it with `verification = \"none\"`",
            ));
        }
        let failed = log.has_errors();
        let found = at_settings(log.into_diagnostics(), connector, settings);
        match rules {
            Some(mut rules) if !failed => {
                rules.window = options.dedupe_window.unwrap_or(rules.window);
                let inbound = Self {
                    rules,
                    options: options.clone(),
                    settings: Value::Object(checked.public),
                    lookups: Arc::new(lookups.unwrap_or_default()),
                };
                Ok((inbound, found))
            }
            _ if found.is_empty() => {
                let message = format!("connector `{}` cannot be a source", connector.name);
                Err(vec![diagnostic(place, message)])
            }
            _ => Err(found),
        }
    }

    /// Looks at a request: answers a handshake, verifies, or refuses.
    pub fn receive(&self, request: InboundRequest<Unverified>, now: Timestamp) -> Reception {
        let judged = {
            let arrival = self.site().arrival(request.parts(), now);
            self.judge(&arrival)
        };
        match judged {
            Err(Early::Handshake(answer)) => Reception::Handshake(answer),
            Err(Early::Refused(refusal)) => Reception::Refused(refusal),
            Ok(judged) => Reception::Verified(VerifiedRequest {
                event_type: judged.event_type,
                dedupe_key: judged.dedupe_key,
                dedupe_window: self.rules.window,
                kept: request
                    .into_verified()
                    .map(|parts| self.keep(parts, judged.verified_by)),
            }),
        }
    }

    fn judge(&self, arrival: &Arrival<'_>) -> Result<Judged, Early> {
        self.shake(arrival, false)?;
        let rules = &self.rules;
        rules.verifier.verify(arrival).map_err(Early::Refused)?;
        self.shake(arrival, true)?;
        let event_type = rules.event_type.as_ref();
        Ok(Judged {
            event_type: event_type
                .and_then(|template| template.text(arrival))
                .map(|text| text.chars().take(MAX_EVENT_TYPE).collect()),
            dedupe_key: dedupe_key(&rules.dedupe, arrival),
            verified_by: rules.verifier.told(arrival),
        })
    }

    fn shake(&self, arrival: &Arrival<'_>, verified: bool) -> Result<(), Early> {
        let mut handshakes = self.rules.handshakes.iter();
        let answer = handshakes
            .by_ref()
            .filter(|handshake| handshake.verified == verified)
            .find_map(|handshake| handshake.answer(arrival));
        answer.map_or(Ok(()), |answer| Err(Early::Handshake(answer)))
    }

    /// What is stored of a request: no credentials, no transport details; and what verified it.
    fn keep(&self, mut parts: RequestParts, verified_by: String) -> RequestParts {
        let redaction = &self.rules.redaction;
        parts
            .headers
            .retain(|(name, _)| redaction.keeps_header(name));
        parts.set_header(VERIFIED_BY, verified_by);
        parts.query = redaction.query(parts.query);
        parts.body = redaction.body(self.rules.body, parts.body);
        parts.path_token = None;
        parts
    }

    pub(super) fn site(&self) -> Site<'_> {
        Site {
            kind: self.rules.body,
            public_url: &self.options.public_url,
            settings: &self.settings,
        }
    }

    /// What is answered once an event is stored.
    pub fn accepted_answer(&self) -> &Answer {
        &self.rules.answer
    }

    /// What is answered when nothing can be stored right now.
    pub fn busy_answer(&self) -> &Answer {
        &self.rules.busy
    }

    /// The settings that may be shown, for the rules' `setting` root.
    pub fn settings_value(&self) -> &Value {
        &self.settings
    }

    /// How its vendor is asked for what events leave out.
    pub fn lookups(&self) -> &Arc<Lookups> {
        &self.lookups
    }

    /// How this source's bodies are written.
    pub fn body_kind(&self) -> BodyKind {
        self.rules.body
    }

    /// The source's name.
    pub fn source(&self) -> &SourceName {
        &self.options.source
    }

    /// Why nothing is verified, if nothing is.
    pub fn unverified(&self) -> Option<&str> {
        self.rules.verifier.unverified()
    }

    /// What verification protects.
    pub fn strength(&self) -> Strength {
        self.rules.verifier.strength()
    }

    /// Makes a request verify, exactly as the vendor would: for `send`, the demo, the benchmark and
    /// the cases. It uses the first live secret.
    ///
    /// # Errors
    /// [`SignError`] when there is no secret or private key to sign with, or when what has to be
    /// signed is not in the request.
    pub fn sign(
        &self,
        mut request: UnsignedRequest,
        now: Timestamp,
    ) -> Result<InboundRequest<Unverified>, SignError> {
        if request.header("content-type").is_none() {
            request.set_header("content-type", self.rules.body.content_type().to_owned());
        }
        self.rules.verifier.sign(&mut request, self.site(), now)?;
        Ok(InboundRequest::new(request))
    }
}

enum Early {
    Handshake(Answer),
    Refused(Refusal),
}

struct Judged {
    event_type: Option<String>,
    dedupe_key: [u8; 16],
    verified_by: String,
}

/// The first half of a SHA-256 over the parts, each with its length, so that no two lists of parts
/// are the same bytes. Without any known part the whole body is hashed.
fn dedupe_key(templates: &[Template], arrival: &Arrival<'_>) -> [u8; 16] {
    let mut hasher = Sha256::new();
    let mut known = false;
    for template in templates {
        known |= add_part(&mut hasher, template.text(arrival).as_deref());
        for path in template.paths() {
            known |= add_items(&mut hasher, path, arrival);
        }
    }
    if !known {
        hasher = Sha256::new();
        hasher.update([2]);
        hasher.update(&arrival.parts.body);
    }
    let hash = hasher.finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    key
}

/// Adds a part; tells whether it is known.
fn add_part(hasher: &mut Sha256, part: Option<&str>) -> bool {
    let Some(part) = part else {
        hasher.update([0]);
        return false;
    };
    hasher.update([1]);
    hasher.update((part.len() as u64).to_be_bytes());
    hasher.update(part.as_bytes());
    true
}

/// Adds what a template's text leaves out: every item behind a `[*]`, not the first one alone (two
/// batches that begin alike are not the same request), and whole objects (`{event}`).
fn add_items(hasher: &mut Sha256, path: &Path, arrival: &Arrival<'_>) -> bool {
    let mut known = false;
    for item in path.each(arrival) {
        if path.is_many() || item.is_object() || item.is_array() {
            known |= add_part(hasher, Some(&item.to_string()));
        }
    }
    hasher.update([3]);
    known
}

impl Rules {
    /// Reads `[inbound]` of the connector's own file. `None` when there is none, or a mistake.
    pub(super) fn read_from(
        log: &Log,
        connector: &Connector,
        settings: &Checked,
        extra: &[(&str, &str)],
    ) -> Option<Self> {
        let text = Arc::clone(&connector.text);
        let fill = settings.fill(&connector.fields, extra);
        let table = log.parse(&text)?;
        let root = Reader::new(log, &fill, table.get_ref(), 0..0, "connector.toml");
        Self::read(root.child("inbound")?, settings)
    }

    /// What verification protects.
    pub(super) fn strength(&self) -> Strength {
        self.verifier.strength()
    }

    fn read(reader: Reader<'_>, settings: &Checked) -> Option<Self> {
        let body = reader
            .choice("body", &BodyKind::WORDS)
            .unwrap_or(BodyKind::Json);
        let event_type = reader.template("event_type", &ROOTS);
        let event_types = reader.texts("event_types");
        let verifier = match reader.child("verify") {
            Some(child) => Verifier::read(child, settings),
            None => {
                reader.missing("verify", "{ kind = \"mac\", … }");
                None
            }
        };
        let read_tenant = |child| Tenant::read(child, settings);
        let tenants = reader
            .children("assert")
            .into_iter()
            .filter_map(read_tenant);
        let tenants: Vec<Tenant> = tenants.collect();
        let read_handshake = |child| Handshake::read(child, settings);
        let handshakes = reader.children("handshake").into_iter();
        let handshakes: Vec<Handshake> = handshakes.filter_map(read_handshake).collect();
        let (dedupe, window) = read_dedupe(&reader);
        let answer = read_answer(&reader);
        let busy = read_busy(&reader);
        let mut redaction = read_redaction(&reader);
        reader.finish();
        let verifier = verifier?;
        // Credentials are kept out of what is stored, whether anybody looks at them or not.
        verifier.redact(&mut redaction);
        let verifier = if settings.unverified {
            Verifier::None(SWITCHED_OFF.to_owned())
        } else {
            verifier
        };
        Some(Self {
            body,
            event_types: event_types.into_iter().map(|text| text.value).collect(),
            event_type,
            verifier,
            tenants,
            handshakes,
            dedupe,
            window,
            answer,
            busy,
            redaction,
        })
    }
}

fn read_dedupe(reader: &Reader<'_>) -> (Vec<Template>, SignedDuration) {
    let week = SignedDuration::from_hours(7 * 24);
    let Some(reader) = reader.child("dedupe") else {
        return (Vec::new(), week);
    };
    let key = reader.texts("key").into_iter();
    let key = key.filter_map(|text| reader.parse_template(&text.value, text.span, &ROOTS));
    let key = key.collect();
    let window = reader.duration("window").map_or(week, |(window, _)| window);
    reader.finish();
    (key, window)
}

fn read_answer(reader: &Reader<'_>) -> Answer {
    let Some(reader) = reader.child("answer") else {
        return Answer::empty(200);
    };
    let status = reader.number("status").unwrap_or(200);
    let body = reader.text("body").map(|text| text.value);
    let kind = reader.text("content_type").map(|text| text.value);
    if !(200..300).contains(&status) {
        reader.log.error_with_help(
            reader.span.clone(),
            format!("{status} does not say that the event was stored"),
            "the answer to a stored event is 2xx",
        );
    }
    reader.finish();
    match body.filter(|body| !body.is_empty()) {
        Some(body) => Answer::with_body(status, kind.as_deref().unwrap_or("text/plain"), body),
        None => Answer::empty(status),
    }
}

fn read_busy(reader: &Reader<'_>) -> Answer {
    let (mut status, mut retry_after) = (503, 30_u32);
    if let Some(reader) = reader.child("busy") {
        status = reader.number("status").unwrap_or(status);
        retry_after = reader.number("retry_after").unwrap_or(retry_after);
        if status < 400 || status == 410 {
            reader.log.error_with_help(
                reader.span.clone(),
                format!("{status} does not make the vendor come back"),
                "use 503, or the status after which this vendor tries again; never 410",
            );
        }
        reader.finish();
    }
    let mut answer = Answer::empty(status);
    let retry_after = retry_after.to_string();
    answer.headers.push(("retry-after".to_owned(), retry_after));
    answer
}

fn read_redaction(reader: &Reader<'_>) -> Redaction {
    let Some(reader) = reader.child("redact") else {
        return Redaction::default();
    };
    let texts = |key| reader.texts(key).into_iter().map(|text| text.value);
    let redaction = Redaction {
        json: texts("json")
            .map(|pointer| pointer_tokens(&pointer))
            .collect(),
        xml: texts("xml").collect(),
        form: texts("form").collect(),
        query: texts("query").collect(),
        headers: texts("headers")
            .map(|name| name.to_ascii_lowercase())
            .collect(),
    };
    reader.finish();
    redaction
}
