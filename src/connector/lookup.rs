//! `[[lookup]]`: a question to the vendor's API about something that an event leaves out.
//!
//! A look-up gives a request (the host is the connector's, values of events only fill parts of the path,
//! the query and the body, percent-encoded) and says what an answer means. Of an answer only what `take`
//! names is kept. Pure: what is asked when, and by whom, is the business of [`crate::lookup`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::SignedDuration;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Connector;
use super::api::Api;
use super::field::Checked;
use super::fill::Fill;
use super::outbound::{DestinationAnswer, PreparedRequest, has_dotted_part, retry_after};
use super::outgoing::{BodyTemplate, encoded_part, read_headers};
use super::reader::{Log, Reader, Text};
use crate::mapping::{Conditions, Path, Scope, Template};

/// What look-ups may read.
const ROOTS: [&str; 5] = ["event", "lookup", "header", "query", "setting"];
/// What `take` may read.
const TAKE_ROOTS: [&str; 1] = ["body"];
/// The most fields of an answer that are kept, and the most bytes of each.
const MAX_TAKEN: usize = 16;
const MAX_BYTES: usize = 1_000;
/// How long an answer holds for later events, unless the connector says otherwise.
const CACHE: SignedDuration = SignedDuration::from_mins(5);

/// The look-ups of a source.
#[derive(Default)]
pub struct Lookups {
    api: Option<Api>,
    steps: Vec<Arc<LookupStep>>,
}

/// One look-up.
pub struct LookupStep {
    name: String,
    when: Option<Conditions>,
    method: &'static str,
    base: url::Url,
    path: Template,
    headers: Vec<(String, Template)>,
    body: Option<BodyTemplate>,
    take: Vec<(String, Template)>,
    /// Tells versions of what is asked and taken apart.
    fingerprint: [u8; 32],
    cache: SignedDuration,
    missing: Vec<u16>,
}

/// A question, ready to be asked but for its credentials.
#[derive(Debug, Clone)]
pub struct Question {
    /// The request, without credentials.
    pub request: PreparedRequest,
    /// The same for the same question, in hexadecimal digits.
    pub hash: String,
}

/// Why there is no question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAsked {
    /// Its `when` does not hold.
    Unwanted,
    /// Something that the request is made of is not there, or cannot stand in a path.
    Lacking(String),
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub enum LookupVerdict {
    /// What was taken of it, as an object.
    Answered(Value),
    /// There is no such thing at the vendor.
    NotThere,
    /// The credentials are refused.
    Refused(String),
    /// It cannot be used. Asking again may help.
    Failed {
        /// Why, in words.
        reason: String,
        /// How long the vendor asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl std::fmt::Debug for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.steps.iter().map(|step| step.name.as_str());
        f.debug_list().entries(names).finish()
    }
}

impl std::fmt::Debug for LookupStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Lookups {
    /// The vendor's API; `None` when the connector asks nothing.
    pub fn api(&self) -> Option<&Api> {
        self.api.as_ref()
    }

    /// The look-up of this name.
    pub fn step(&self, name: &str) -> Option<&Arc<LookupStep>> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The names of all look-ups, in the order of the connector.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.name.as_str())
    }

    /// Reads `[api]` and `[[lookup]]` of the connector's own file. `None`: a mistake was reported.
    pub(super) fn read_from(
        log: &Log,
        connector: &Connector,
        settings: &Checked,
        extra: &[(&str, &str)],
    ) -> Option<Self> {
        let text = Arc::clone(&connector.text);
        let table = log.parse(&text)?;
        // The address is filled in once; what reads events is filled in for each.
        let fill = settings.fill(&connector.fields, extra);
        let filled = Reader::new(log, &fill, table.get_ref(), 0..0, "connector.toml");
        let as_written = Fill::nothing();
        let root = Reader::new(log, &as_written, table.get_ref(), 0..0, "connector.toml");
        let steps = root.children("lookup");
        if !filled.has("api") {
            if let Some(step) = steps.first() {
                let help = "[api]\nurl = \"https://api.example.com\"";
                log.error_with_help(step.span.clone(), "look-ups need `[api]`", help);
                return None;
            }
            return Some(Self::default());
        }
        let api = Api::read(filled.child("api")?, &connector.fields, settings)?;
        let mut lookups = Self::default();
        for reader in steps {
            let step = LookupStep::read(reader, &api.base, &lookups)?;
            lookups.steps.push(Arc::new(step));
        }
        lookups.api = Some(api);
        Some(lookups)
    }
}

impl LookupStep {
    fn read(reader: Reader<'_>, base: &url::Url, earlier: &Lookups) -> Option<Self> {
        let name = reader.required("name", "\"contact\"");
        let when = reader.conditions("when", &ROOTS);
        let when_is_sound = when.is_some() || !reader.has("when");
        let methods = [("GET", "GET"), ("POST", "POST")];
        let method = reader.choice("method", &methods);
        let path_text = reader.required("path", "\"/contacts/{event.contact_id}\"");
        let path = path_text.as_ref().and_then(|text| read_path(&reader, text));
        let headers = read_headers(&reader, &ROOTS);
        let body = BodyTemplate::read_object(&reader, &ROOTS);
        let take = read_take(&reader);
        let cache = reader.duration("cache").map(|(cache, _)| cache);
        let missing = reader.json("missing").map(|(value, _)| value);
        let span = reader.span.clone();
        let log = reader.log;
        reader.finish();
        if !when_is_sound {
            return None;
        }
        let step = Self {
            name: name?.value,
            when,
            method: method.unwrap_or("GET"),
            base: base.clone(),
            path: path?,
            headers: headers?,
            body: body?,
            fingerprint: take.as_ref().map(|(_, print)| *print)?,
            take: take?.0,
            cache: cache.unwrap_or(CACHE),
            missing: missing.map_or_else(|| vec![404], |list| statuses(&list)),
        };
        if earlier.step(&step.name).is_some() {
            let message = format!("two look-ups are called `{}`", step.name);
            log.error(span, message);
            return None;
        }
        if let Some(later) = step.reads().into_iter().find(|n| earlier.step(n).is_none()) {
            let message = format!(
                "`{}` reads `lookup.{later}`, which is no earlier look-up",
                step.name
            );
            let help = "a look-up may use the answers of those above it";
            log.error_with_help(span, message, help);
            return None;
        }
        Some(step)
    }

    /// Its name: rules read its answer as `lookup.NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long before an event its answer may have been given and still hold for it.
    pub fn cache(&self) -> SignedDuration {
        self.cache
    }

    /// The look-ups whose answers its own conditions need.
    pub fn wanted_by(&self) -> BTreeSet<&str> {
        names(
            self.when
                .iter()
                .flat_map(|when| when.paths().collect::<Vec<_>>()),
        )
    }

    /// All look-ups whose answers it reads.
    pub fn reads(&self) -> BTreeSet<&str> {
        let headers = self.headers.iter().flat_map(|(_, value)| value.paths());
        let body = self.body.iter().flat_map(BodyTemplate::paths);
        let mut names = names(self.path.paths().chain(headers).chain(body));
        names.extend(self.wanted_by());
        names
    }

    /// Whether it is wanted for this event at all.
    pub fn is_wanted(&self, scope: &dyn Scope) -> bool {
        self.when.as_ref().is_none_or(|when| when.hold(scope))
    }

    /// The question for an event.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ask(&self, scope: &dyn Scope) -> Result<Question, NotAsked> {
        if !self.is_wanted(scope) {
            return Err(NotAsked::Unwanted);
        }
        let path = self
            .path
            .complete(scope, &|value, text| encoded_part(value, text));
        // A question with a gap in it would be another one: a search for nothing finds anybody.
        let gaps = self.body.as_ref().map(|body| body.lacking(scope));
        let (path, mut missing) = match path {
            Ok(path) => (path, Vec::new()),
            Err(missing) => (String::new(), missing),
        };
        missing.extend(gaps.unwrap_or_default());
        if !missing.is_empty() {
            let missing = missing.join(" and ");
            return Err(NotAsked::Lacking(format!("nothing is at {missing}")));
        }
        if has_dotted_part(&path) {
            let why = "a part of its path would be `.` or `..`";
            return Err(NotAsked::Lacking(why.to_owned()));
        }
        let base = self.base.as_str().trim_end_matches('/');
        let url: url::Url = format!("{base}{path}").parse().map_err(|_unusable| {
            NotAsked::Lacking("its URL cannot be made of these values".to_owned())
        })?;
        let mut headers: Vec<(String, String)> = Vec::with_capacity(self.headers.len() + 2);
        for (name, value) in &self.headers {
            if let Some(value) = value.text(scope) {
                headers.push((name.clone(), value));
            }
        }
        let body = self.body.as_ref().map(|body| body.to_json(scope));
        let has = |name: &str| headers.iter().any(|(known, _)| known == name);
        let (has_accept, has_type) = (has("accept"), has("content-type"));
        let json = || "application/json".to_owned();
        if !has_accept {
            headers.push(("accept".to_owned(), json()));
        }
        if body.is_some() && !has_type {
            headers.push(("content-type".to_owned(), json()));
        }
        let request = PreparedRequest {
            method: self.method.to_owned(),
            shown: format!("{} {url}", self.method),
            url,
            headers,
            body: Bytes::from(body.unwrap_or_default()),
        };
        let hash = self.hash(&request);
        Ok(Question { request, hash })
    }

    fn hash(&self, request: &PreparedRequest) -> String {
        let mut hasher = Sha256::new();
        let head = [request.method.as_str(), request.url.as_str()];
        let headers = request
            .headers
            .iter()
            .flat_map(|(k, v)| [k.as_str(), v.as_str()]);
        for part in head.into_iter().chain(headers) {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(&request.body);
        hasher.update(self.fingerprint);
        hex::encode(&hasher.finalize()[..16])
    }

    /// Says what an answer means. `cut`: more of it was there than was read.
    pub fn judge(&self, answer: &DestinationAnswer<'_>, cut: bool) -> LookupVerdict {
        let failed = |reason: String| LookupVerdict::Failed {
            reason,
            retry_after: retry_after(answer.headers),
        };
        match answer.status {
            status if self.missing.contains(&status) => LookupVerdict::NotThere,
            200..=299 if cut => failed("the answer is larger than 64 KiB".to_owned()),
            200..=299 => match serde_json::from_slice(answer.body) {
                Ok(body) => LookupVerdict::Answered(self.take(&body)),
                Err(_no_json) => failed("the answer is not JSON".to_owned()),
            },
            status @ 300..=399 => failed(format!(
                "answered {status}, a redirect, which is not followed"
            )),
            status @ (401 | 403) => {
                LookupVerdict::Refused(format!("the credentials are refused ({status})"))
            }
            status => failed(format!("answered {status}")),
        }
    }

    /// What is kept of an answer's body.
    pub fn take(&self, body: &Value) -> Value {
        let scope = Answer(body);
        let taken = self.take.iter().filter_map(|(name, template)| {
            let value = small(template.value(&scope)?)?;
            Some((name.clone(), value))
        });
        Value::Object(taken.collect())
    }
}

/// A value that is small enough to be kept: long texts are cut, long lists and objects left out.
fn small(value: Value) -> Option<Value> {
    match value {
        Value::String(mut text) if text.len() > MAX_BYTES => {
            text.truncate(text.floor_char_boundary(MAX_BYTES));
            Some(Value::String(text))
        }
        Value::Array(_) | Value::Object(_) if value.to_string().len() > MAX_BYTES => None,
        value => Some(value),
    }
}

/// An answer's body, as `take` reads it.
struct Answer<'a>(&'a Value);

impl Scope for Answer<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        (name == "body").then_some(self.0)
    }
}

fn names<'p>(paths: impl IntoIterator<Item = &'p Path>) -> BTreeSet<&'p str> {
    paths.into_iter().filter_map(Path::lookup).collect()
}

fn read_path(reader: &Reader<'_>, text: &Text) -> Option<Template> {
    if !text.value.starts_with('/') || text.value.starts_with("//") {
        let help = "the host stands in [api]; a path begins with one slash";
        let message = format!("`{}` is not a path", text.value);
        reader.log.error_with_help(text.span.clone(), message, help);
        return None;
    }
    reader.parse_template(&text.value, text.span.clone(), &ROOTS)
}

/// The fields to take, and a hash of how they are written.
#[expect(
    clippy::type_complexity,
    reason = "read in one place, taken apart in one other"
)]
fn read_take(reader: &Reader<'_>) -> Option<(Vec<(String, Template)>, [u8; 32])> {
    let Some(take) = reader.child("take") else {
        if !reader.has("take") {
            reader.missing("take", "{ phone = \"{body.phone}\" }");
        }
        return None;
    };
    let mut hasher = Sha256::new();
    let mut fields = Vec::new();
    for (name, value) in take.entries() {
        let Some(text) = value.get_ref().as_str() else {
            take.log.error(value.span(), "what is taken has to be text");
            return None;
        };
        hasher.update(name.value.as_bytes());
        hasher.update([0]);
        hasher.update(text.as_bytes());
        hasher.update([0]);
        fields.push((
            name.value,
            take.parse_template(text, value.span(), &TAKE_ROOTS)?,
        ));
    }
    if fields.is_empty() || fields.len() > MAX_TAKEN {
        let message = format!("`take` has 1 to {MAX_TAKEN} fields");
        take.log.error(take.span.clone(), message);
        return None;
    }
    Some((fields, hasher.finalize().into()))
}

fn statuses(list: &Value) -> Vec<u16> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|item| u16::try_from(item.as_u64()?).ok())
        .collect()
}

#[cfg(test)]
mod tests;
