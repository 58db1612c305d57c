//! A configured destination: resolve an outcome's address, render its request, judge the answer.
//!
//! A request is rendered from the lane's current truth at the moment it is sent; nothing is kept from
//! one attempt to the next but the receipt.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Connector;
use super::blame::at_settings;
use super::field::{Checked, Role, diagnostic};
use super::fill::Fill;
use super::not_before::NotBefore;
use super::outgoing::{RequestTemplate, encoded_part};
use super::reader::{Log, Reader};
use super::response::ResponseRule;
use crate::diagnostic::Diagnostic;
use crate::mapping::{Conditions, Path, Scope, Template};
use crate::model::{
    DeliveryId, Mode, Outcome, Phone, Secret, Settings, Subject, VerdictKind, parse_amount,
};
use crate::queue::StoredOutcome;

/// What addresses may be made of.
const TARGET_ROOTS: [&str; 2] = ["outcome", "setting"];

/// How outcomes are brought to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// By an HTTP request.
    Http,
    /// Into the built-in outcome store.
    Store,
}

/// An outcome's address at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The kind of address, e.g. `call` or `phone`.
    pub name: String,
    /// The address itself; with the destination it identifies the lane.
    pub address: String,
    /// A better address may become known later: this one holds until then.
    pub provisional: bool,
}

/// What a request is rendered from.
#[derive(Debug, Clone, Copy)]
pub struct RenderInput<'a> {
    /// The address.
    pub target: &'a str,
    /// The outcome to bring; `None` to tell the target that nothing holds any more.
    pub outcome: Option<&'a StoredOutcome>,
    /// What earlier answers at this lane gave back.
    pub receipt: &'a Map<String, Value>,
    /// The delivery; the same over all its attempts.
    pub delivery: DeliveryId,
    /// The moment of sending, for signatures.
    pub now: Timestamp,
}

/// A request ready to be sent.
#[derive(Clone)]
pub struct PreparedRequest {
    /// The method.
    pub method: String,
    /// The URL. It may hold secrets: show [`PreparedRequest::shown`] instead.
    pub url: url::Url,
    /// Headers: lower-case names. They hold secrets.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Method and URL, secrets removed.
    pub shown: String,
}

impl std::fmt::Debug for PreparedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Why a request could not be rendered. Trying again cannot help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// Parts of the URL are not known.
    #[error("the URL needs {0}, and nothing is there")]
    Missing(String),
    /// The URL is none.
    #[error("the URL cannot be used: {0}")]
    Url(String),
    /// The destination cannot be told this.
    #[error("the connector has no request for this")]
    NoRequest,
}

/// An answer to judge.
#[derive(Debug, Clone, Copy)]
pub struct DestinationAnswer<'a> {
    /// The status.
    pub status: u16,
    /// Headers: lower-case names.
    pub headers: &'a [(String, String)],
    /// The body, as much of it as was read.
    pub body: &'a [u8],
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What is to be done.
    pub kind: VerdictKind,
    /// Why, in words, secrets removed.
    pub reason: String,
    /// What is worth keeping.
    pub receipt: Map<String, Value>,
    /// How long the destination asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// See the module.
pub struct Outbound {
    rules: Rules,
    settings: Value,
    /// In every form in which they may turn up.
    secrets: Vec<Secret>,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("transport", &self.rules.transport)
            .finish_non_exhaustive()
    }
}

/// `[outbound]` as read.
pub(super) struct Rules {
    pub(super) transport: Transport,
    mode: Mode,
    can_clear: bool,
    targets: Vec<TargetRule>,
    not_before: Option<NotBefore>,
    /// Settings that the request cannot do without.
    needs: Vec<String>,
    request: Option<RequestTemplate>,
    /// The parts of an outcome that the request reads; `None`: all.
    told: Option<HashSet<String>>,
    clear: Option<RequestTemplate>,
    responses: Vec<ResponseRule>,
}

impl Outbound {
    /// Compiles a connector for a destination. The warnings are for people to look at.
    ///
    /// # Errors
    /// Every mistake in the settings, each with its place.
    pub fn new(
        connector: &Connector,
        settings: &Settings,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let checked = Checked::new(&connector.fields, Role::Destination, settings)?;
        let log = connector.log();
        let rules = Rules::read_from(&log, connector, &checked);
        let missing = rules.iter().flat_map(|rules| &rules.needs);
        let missing: Vec<Diagnostic> = missing
            .filter(|key| !checked.has(key))
            .map(|key| missing_setting(connector, key, settings))
            .collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let failed = log.has_errors();
        let found = at_settings(log.into_diagnostics(), connector, settings);
        match rules {
            Some(rules) if !failed => Ok((Self::with(rules, checked), found)),
            _ if found.is_empty() => {
                let message = format!("connector `{}` cannot be a destination", connector.name);
                Err(vec![diagnostic(settings.place.as_ref(), message)])
            }
            _ => Err(found),
        }
    }

    fn with(rules: Rules, checked: Checked) -> Self {
        let mut settings = checked.public;
        for (key, secrets) in &checked.secrets {
            if let Some(secret) = secrets.first() {
                settings.insert(key.clone(), Value::String(secret.expose().to_owned()));
            }
        }
        Self {
            rules,
            settings: Value::Object(settings),
            secrets: checked
                .secrets
                .values()
                .flatten()
                .flat_map(secret_forms)
                .collect(),
        }
    }

    /// How outcomes are brought there.
    pub fn transport(&self) -> Transport {
        self.rules.transport
    }

    /// Which revisions are delivered there, unless a destination says otherwise.
    pub fn mode(&self) -> Mode {
        self.rules.mode
    }

    /// What the destination is told of whom an outcome is about: as much of `subject` as its request reads. The store
    /// keeps all of it.
    pub fn told_of(&self, subject: &Subject) -> Subject {
        let Some(told) = &self.rules.told else {
            return subject.clone();
        };
        let reads = |part: &str| told.contains(part);
        let text =
            |part: &str, value: &Option<String>| value.as_ref().filter(|_| reads(part)).cloned();
        Subject {
            call_id: text("call_id", &subject.call_id),
            phone: subject.phone.clone().filter(|_| reads("phone")),
            email: text("email", &subject.email),
            booking_id: text("booking_id", &subject.booking_id),
            deal_id: text("deal_id", &subject.deal_id),
            contact_id: text("contact_id", &subject.contact_id),
            agent_id: text("agent_id", &subject.agent_id),
        }
    }

    /// Whether the destination can be told that nothing holds any more.
    pub fn can_clear(&self) -> bool {
        self.rules.can_clear
    }

    /// Whether the destination counts how far a call came, whatever its truth.
    pub fn counts_progress(&self) -> bool {
        self.rules.transport == Transport::Store
    }

    /// The outcome's address: the first whose parts are all known.
    ///
    /// # Errors
    /// Why there is none, in words: what every kind of address lacks.
    pub fn target(&self, outcome: &Outcome) -> Result<Target, String> {
        let mut lacking = Vec::new();
        for kind in 0..self.addresses() {
            match self.address(kind, outcome) {
                Ok(target) => return Ok(target),
                Err(why) => lacking.push(why),
            }
        }
        Err(format!("no address: {}", lacking.join("; ")))
    }

    /// How many kinds of addresses there are, best first.
    pub fn addresses(&self) -> usize {
        self.rules.targets.len()
    }

    /// The outcome's address of one kind, counted from 0.
    ///
    /// # Errors
    /// What it lacks, in words.
    pub fn address(&self, kind: usize, outcome: &Outcome) -> Result<Target, String> {
        let TargetRule {
            name,
            when,
            address,
            provisional,
        } = self
            .rules
            .targets
            .get(kind)
            .ok_or_else(|| format!("there is no address {kind}"))?;
        let outcome = outcome_json(outcome, None, &self.settings);
        let scope = Roots::new(&self.settings).with("outcome", &outcome);
        let address = address.complete(&scope, &|value, text| encoded_part(value, text));
        let lacks = |missing: &[String]| format!("{name} needs {}", missing.join(" and "));
        if let Some(when) = when
            && let Some(why) = when.failing(&scope)
        {
            // A condition on what the address lacks says no more than that it is lacking.
            let asks = |lacking: &String| when.paths().any(|path| path.as_str() == lacking);
            return Err(match &address {
                Err(missing) if missing.iter().any(asks) => lacks(missing),
                _ => format!("{name}: {why}"),
            });
        }
        match address {
            Ok(address) if has_dotted_part(&address) => {
                Err(format!("{name}: a part is `.` or `..`"))
            }
            Ok(address) => Ok(Target {
                name: name.clone(),
                address,
                provisional: *provisional,
            }),
            Err(missing) => Err(lacks(&missing)),
        }
    }

    /// The moment before which the outcome is not to be sent; `None`: it may be sent at once. The same for an outcome
    /// whenever it is asked for.
    pub fn not_before(&self, outcome: &Outcome) -> Option<Timestamp> {
        let not_before = self.rules.not_before.as_ref()?;
        let value = outcome_json(outcome, None, &self.settings);
        let scope = Roots::new(&self.settings).with("outcome", &value);
        not_before.moment(outcome, &scope)
    }

    /// Renders the request that brings the outcome, or tells that nothing holds any more.
    ///
    /// # Errors
    /// [`RenderError`]; trying again cannot help.
    pub fn render(&self, input: RenderInput<'_>) -> Result<PreparedRequest, RenderError> {
        let template = match input.outcome {
            Some(_) => self.rules.request.as_ref(),
            None => self.rules.clear.as_ref(),
        };
        let template = template.ok_or(RenderError::NoRequest)?;
        let outcome = input
            .outcome
            .map(|stored| outcome_json(&stored.outcome, Some(stored), &self.settings));
        let receipt = Value::Object(input.receipt.clone());
        let target = Value::String(input.target.to_owned());
        let mut scope = Roots::new(&self.settings)
            .with("receipt", &receipt)
            .with("target", &target);
        if let Some(outcome) = &outcome {
            scope = scope.with("outcome", outcome);
        }
        let mut request = template.render(&scope, input)?;
        request.shown = self.scrub(&format!("{} {}", request.method, request.url));
        Ok(request)
    }

    /// Says what an answer means, for a delivery that was created `age` ago.
    pub fn judge(&self, answer: &DestinationAnswer<'_>, age: SignedDuration) -> Verdict {
        let body = serde_json::from_slice(answer.body)
            .unwrap_or_else(|_not_json| String::from_utf8_lossy(answer.body).into());
        let headers = answer.headers.iter();
        let header = Value::Object(
            headers
                .map(|(k, v)| (k.clone(), v.clone().into()))
                .collect(),
        );
        let status = Value::from(answer.status);
        let scope = Roots::new(&self.settings)
            .with("body", &body)
            .with("header", &header)
            .with("status", &status);
        let rules = self.rules.responses.iter();
        let decided = rules
            .filter(|rule| rule.holds(answer.status, &scope))
            .map(|rule| rule.verdict(answer.status, &scope, age))
            .next();
        let mut verdict = decided.unwrap_or_else(|| ResponseRule::usual(answer.status, &scope));
        if verdict.kind != VerdictKind::Delivered {
            verdict.retry_after = retry_after(answer.headers);
        }
        verdict.reason = self.scrub(&verdict.reason);
        verdict
    }

    /// Removes this destination's secrets from a text, plain or percent-encoded.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            // Looking for it costs more than most texts are long.
            if text.len() >= secret.expose().len() && text.contains(secret.expose()) {
                text = text.replace(secret.expose(), "•••");
            }
        }
        text
    }
}

/// The forms in which a secret may turn up.
pub(crate) fn secret_forms(secret: &Secret) -> Vec<Secret> {
    let secret = secret.expose();
    let mut encoded = String::new();
    encoded_part(secret, &mut encoded);
    let mut forms = vec![secret.to_owned(), encoded];
    // A URL loses its default port and gets a slash when it is parsed.
    forms.extend(secret.parse::<url::Url>().ok().map(String::from));
    forms.dedup();
    forms.into_iter().map(Secret::new).collect()
}

/// The parts of an outcome that a request reads; nothing when it reads the whole.
fn parts_read(request: &RequestTemplate) -> Option<HashSet<String>> {
    let paths = request.paths().filter(|path| path.root() == "outcome");
    let part = |path: &Path| {
        let rest = path.as_str().strip_prefix("outcome.")?;
        let name = rest.split(['.', '[']).next()?;
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        is_plain.then(|| name.to_owned())
    };
    paths.map(part).collect()
}

/// `..` in a path would be taken away with its parent when the URL is parsed.
pub(super) fn has_dotted_part(address: &str) -> bool {
    let path = address.split('?').next().unwrap_or_default();
    path.split('/').any(|part| part == "." || part == "..")
}

/// The `Retry-After` header in seconds; a date is measured against the answer's own `Date`.
pub(super) fn retry_after(headers: &[(String, String)]) -> Option<Duration> {
    let value = |name: &str| {
        let found = headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.trim())
    };
    let text = value("retry-after")?;
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| {
        jiff::fmt::rfc2822::parse(text)
            .ok()
            .map(|at| at.timestamp())
    };
    let wait = moment(text)?.duration_since(moment(value("date")?)?);
    Duration::try_from(wait).ok()
}

impl Rules {
    pub(super) fn read_from(log: &Log, connector: &Connector, settings: &Checked) -> Option<Self> {
        let text = Arc::clone(&connector.text);
        let fill = Fill::nothing();
        let table = log.parse(&text)?;
        let root = Reader::new(log, &fill, table.get_ref(), 0..0, "connector.toml");
        Self::read(root.child("outbound")?, settings)
    }

    fn read(reader: Reader<'_>, settings: &Checked) -> Option<Self> {
        let transports = [("http", Transport::Http), ("store", Transport::Store)];
        let transport = reader
            .choice("transport", &transports)
            .unwrap_or(Transport::Http);
        let mode = reader
            .choice("mode", &Mode::ALL.map(|mode| (mode.as_str(), mode)))
            .unwrap_or_default();
        let targets: Vec<_> = reader
            .children("target")
            .into_iter()
            .filter_map(read_target)
            .collect();
        if targets.is_empty() {
            reader.missing(
                "target",
                "[{ name = \"call\", address = \"{outcome.call_id}\" }]",
            );
        }
        let requests = read_requests(&reader, settings);
        let Requested {
            mode: own_mode,
            not_before,
            needs,
            template: request,
        } = requests;
        let clear = reader.child("clear").and_then(|child| {
            let is_for = is_for(&child, settings);
            RequestTemplate::read(child, settings).filter(|_| is_for)
        });
        let responses = reader.children("response").into_iter();
        let responses = responses.filter_map(ResponseRule::read).collect();
        let can_clear = reader.flag("can_clear");
        match (transport, &request) {
            (Transport::Http, None) if !reader.has("request") => {
                reader.missing("request", "{ method = \"POST\", url = \"…\" }");
            }
            _ => {}
        }
        if transport == Transport::Http && can_clear == Some(true) && !reader.has("clear") {
            reader.missing("clear", "{ method = \"DELETE\", url = \"…\" }");
        }
        reader.finish();
        Some(Self {
            transport,
            mode: own_mode.unwrap_or(mode),
            can_clear: match transport {
                Transport::Store => can_clear == Some(true),
                Transport::Http => can_clear != Some(false) && clear.is_some(),
            },
            targets,
            not_before,
            needs,
            told: request.as_ref().and_then(parts_read),
            request,
            clear,
            responses,
        })
    }
}

/// The request that a destination makes, and when.
#[derive(Default)]
struct Requested {
    mode: Option<Mode>,
    not_before: Option<NotBefore>,
    needs: Vec<String>,
    template: Option<RequestTemplate>,
}

/// Reads `[outbound.request]`, or the first `[[outbound.request]]` that is for these settings. The others are read
/// too, so that a mistake in them is seen.
fn read_requests(reader: &Reader<'_>, settings: &Checked) -> Requested {
    let public = Value::Object(settings.public.clone());
    let scope = Roots::new(&public);
    let mut chosen = None;
    for one in reader.one_or_more("request") {
        let is_for = is_for(&one, settings);
        let requested = Requested {
            mode: one.choice("mode", &Mode::ALL.map(|mode| (mode.as_str(), mode))),
            not_before: one
                .child("not_before")
                .and_then(|child| NotBefore::read(child, &scope)),
            needs: one
                .texts("needs")
                .into_iter()
                .map(|key| key.value)
                .collect(),
            template: RequestTemplate::read(one, settings),
        };
        if is_for && chosen.is_none() {
            chosen = Some(requested);
        }
    }
    chosen.unwrap_or_default()
}

/// Whether a request is for these settings: its rows of `when` hold.
fn is_for(request: &Reader<'_>, settings: &Checked) -> bool {
    let public = Value::Object(settings.public.clone());
    match request.conditions("when", &["setting"]) {
        Some(when) => when.hold(&Roots::new(&public)),
        None => !request.has("when"),
    }
}

fn missing_setting(connector: &Connector, key: &str, settings: &Settings) -> Diagnostic {
    let field = connector.fields.iter().find(|field| field.key == key);
    let help = field.map_or_else(String::new, |field| field.help.clone());
    diagnostic(settings.place.as_ref(), format!("`{key}` is missing")).help(help)
}

/// One `[[outbound.target]]`.
struct TargetRule {
    name: String,
    /// Outcomes that it is for; `None`: any.
    when: Option<Conditions>,
    address: Template,
    provisional: bool,
}

fn read_target(reader: Reader<'_>) -> Option<TargetRule> {
    let name = reader.required("name", "\"call\"");
    if !reader.has("address") {
        reader.missing("address", "\"{outcome.call_id}\"");
    }
    let address = reader.template("address", &TARGET_ROOTS);
    let when = reader.conditions("when", &TARGET_ROOTS);
    let provisional = reader.flag("provisional");
    let when_broken = reader.has("when") && when.is_none();
    reader.finish();
    if when_broken {
        return None;
    }
    Some(TargetRule {
        name: name?.value,
        when,
        address: address?,
        provisional: provisional.unwrap_or(false),
    })
}

/// Named values for templates.
pub(super) struct Roots<'a> {
    roots: Vec<(&'static str, &'a Value)>,
}

impl<'a> Roots<'a> {
    fn new(settings: &'a Value) -> Self {
        Self {
            roots: vec![("setting", settings)],
        }
    }

    fn with(mut self, name: &'static str, value: &'a Value) -> Self {
        self.roots.push((name, value));
        self
    }
}

impl Scope for Roots<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        let found = self.roots.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

/// An outcome as conditions of routes read it: what it says itself, whatever a destination makes of it.
pub fn outcome_value(outcome: &Outcome) -> Value {
    outcome_json(outcome, None, &Value::Null)
}

/// An outcome as templates read it. What is not known is left out: a path to it finds nothing.
/// What the outcome itself does not say is taken from the destination's tables by kind: `labels` for
/// the label, `values` for the value.
fn outcome_json(outcome: &Outcome, stored: Option<&StoredOutcome>, settings: &Value) -> Value {
    let subject = &outcome.subject;
    let usual = |table: &str| settings.get(table)?.get(outcome.kind.as_str())?.as_str();
    let value = outcome.value.as_ref().map(|value| value.amount);
    let value = value.or_else(|| parse_amount(usual("values")?).ok());
    let mut known = Map::with_capacity(20);
    let mut put = |name: &str, text: Option<&str>| {
        if let Some(text) = text {
            known.insert(name.to_owned(), Value::String(text.to_owned()));
        }
    };
    put("id", stored.map(|stored| stored.id.to_string()).as_deref());
    put("kind", Some(outcome.kind.as_str()));
    put(
        "label",
        outcome.label.as_deref().or_else(|| usual("labels")),
    );
    let currency = outcome.value.as_ref().map(|value| value.currency.code());
    put("currency", currency);
    put("notes", outcome.notes.as_deref());
    put("call_id", subject.call_id.as_deref());
    put("phone", subject.phone.as_ref().map(Phone::as_str));
    put("email", subject.email.as_deref());
    put("booking_id", subject.booking_id.as_deref());
    put("deal_id", subject.deal_id.as_deref());
    put("contact_id", subject.contact_id.as_deref());
    put("agent_id", subject.agent_id.as_deref());
    put("occurred_at", Some(&outcome.occurred_at.to_string()));
    put("source", Some(outcome.source.as_str()));
    put("event", Some(&outcome.event.to_string()));
    put("rule", Some(&outcome.rule));
    known.insert("basis".to_owned(), json!(outcome.basis));
    if let Some(value) = value {
        known.insert("value".to_owned(), amount(value));
    }
    if !outcome.metadata.is_empty() {
        known.insert("metadata".to_owned(), outcome.metadata.clone().into());
    }
    Value::Object(known)
}

/// An amount as a JSON number where that is exact, as text where it is not.
fn amount(amount: rust_decimal::Decimal) -> Value {
    let plain = amount.normalize();
    if let Ok(whole) = i64::try_from(plain)
        && rust_decimal::Decimal::from(whole) == plain
    {
        return whole.into();
    }
    let text = plain.to_string();
    match text.parse::<f64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}
