//! A request on its way in: as it arrived, as it verified, and what is answered.
//!
//! Only verification turns an [`InboundRequest<Unverified>`] into a [`VerifiedRequest`], and only a
//! verified request becomes an event: there is no other way to make one.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::model::SourceName;
use crate::queue::NewEvent;

/// Nobody has checked who sent it.
#[derive(Debug, Clone, Copy)]
pub struct Unverified;

/// It carries the credential that its source asks for.
#[derive(Debug, Clone, Copy)]
pub struct Verified;

/// A request as it arrived. `S` says whether it was verified.
#[derive(Clone)]
pub struct InboundRequest<S> {
    parts: RequestParts,
    state: PhantomData<S>,
}

/// What a request consists of.
#[derive(Clone, Default)]
pub struct RequestParts {
    /// The method, upper case.
    pub method: String,
    /// The part of the path after `/webhooks/{source}/`.
    pub path_token: Option<String>,
    /// The query string without its `?`, as received.
    pub query: String,
    /// Headers: lower-case names, values that are not UTF-8 made readable.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// A request that still has to be signed as the vendor would.
pub type UnsignedRequest = RequestParts;

impl RequestParts {
    /// What a header says, as [`headers_value`] has it.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        said(value)
    }

    /// What a query parameter says, decoded, as [`query_value`] has it.
    pub fn query_value(&self, name: &str) -> Option<String> {
        let (_, value) =
            form_urlencoded::parse(self.query.as_bytes()).find(|(known, _)| known == name)?;
        said(&value).map(str::to_owned)
    }

    /// Sets a header, replacing what was there.
    pub(super) fn set_header(&mut self, name: &str, value: String) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value));
    }

    /// Appends a query parameter, replacing what was there.
    pub(super) fn set_query(&mut self, name: &str, value: &str) {
        let kept: Vec<(String, String)> = form_urlencoded::parse(self.query.as_bytes())
            .filter(|(known, _)| known != name)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        self.query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair(name, value)
            .finish();
    }
}

/// All headers as a tree: `header.x-shopify-topic`. Verification, duplicate keys and rules have to see the same request:
/// if one took the first of two headers with a name and another the last, a line added to a signed request would
/// change what was signed. So the first of a name counts everywhere, and what it says is [`said`].
pub(super) fn headers_value(headers: &[(String, String)]) -> Value {
    firsts(headers.iter().map(|(name, value)| (name, value)))
}

/// All parameters of a query as a tree: `query.name`. The first of a name counts, as with headers.
pub(super) fn query_value(query: &str) -> Value {
    firsts(form_urlencoded::parse(query.as_bytes()))
}

fn firsts<N: Into<String>, V: AsRef<str>>(pairs: impl Iterator<Item = (N, V)>) -> Value {
    let mut firsts = Map::new();
    for (name, value) in pairs {
        let entry = firsts.entry(name);
        entry.or_insert_with(|| said(value.as_ref()).into());
    }
    // Only now: a first one that says nothing does not make way for the second.
    firsts.retain(|_, value| !value.is_null());
    Value::Object(firsts)
}

/// The value of a header or a parameter, if it says something: blank text and a literal `N/A` count as absent
/// (HighLevel sends `N/A` for the signature that it leaves out).
fn said(value: &str) -> Option<&str> {
    Some(value.trim()).filter(|value| !value.is_empty() && *value != "N/A")
}

/// Shows what kind of request it is, never what a header or the query may hold: credentials arrive there.
impl fmt::Debug for RequestParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for InboundRequest<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}

impl InboundRequest<Unverified> {
    /// A request as it came from the network. Header names have to be lower case.
    pub fn new(parts: RequestParts) -> Self {
        Self {
            parts,
            state: PhantomData,
        }
    }

    /// To be called by verification alone, once it has succeeded.
    pub(super) fn into_verified(self) -> InboundRequest<Verified> {
        InboundRequest {
            parts: self.parts,
            state: PhantomData,
        }
    }
}

impl InboundRequest<Verified> {
    /// What is left of it to be stored.
    pub(super) fn map(self, keep: impl FnOnce(RequestParts) -> RequestParts) -> Self {
        Self {
            parts: keep(self.parts),
            state: PhantomData,
        }
    }
}

impl<S> InboundRequest<S> {
    /// What it consists of.
    pub fn parts(&self) -> &RequestParts {
        &self.parts
    }

    /// Takes it apart.
    pub fn into_parts(self) -> RequestParts {
        self.parts
    }
}

/// What is answered to a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers: lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// An answer with a body of a stated type.
    pub(super) fn with_body(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }
}

/// What became of a request at its source's door.
#[derive(Debug)]
pub enum Reception {
    /// A handshake: answer it, store nothing.
    Handshake(Answer),
    /// It is what it says it is: store it.
    Verified(VerifiedRequest),
    /// It is not: answer its status, store nothing.
    Refused(Refusal),
}

/// Why a request was refused. Holds nothing of the request, so it may be logged and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer.
    pub status: u16,
    /// A short word for metrics and the answer's body.
    pub code: RefusalCode,
    /// For logs and the source's page: what was expected, and what to look at.
    pub reason: String,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// A signature, a token or a timestamp that verification needs is not there.
    CredentialMissing,
    /// A signature or a token is there and wrong.
    CredentialWrong,
    /// The signed timestamp is too old or too far ahead.
    Stale,
    /// Verification needs the body, and the body cannot be read.
    BodyUnreadable,
}

impl RefusalCode {
    /// The word used in answers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CredentialMissing => "credential_missing",
            Self::CredentialWrong => "credential_wrong",
            Self::Stale => "stale",
            Self::BodyUnreadable => "body_unreadable",
        }
    }

    /// The status to answer. Never 410, which makes senders give up for good.
    fn status(self) -> u16 {
        match self {
            Self::CredentialMissing | Self::CredentialWrong | Self::Stale => 401,
            Self::BodyUnreadable => 400,
        }
    }
}

impl Refusal {
    pub(super) fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self {
            status: code.status(),
            code,
            reason: reason.into(),
        }
    }
}

/// A request that verified, reduced to what is stored.
#[derive(Clone)]
pub struct VerifiedRequest {
    pub(super) event_type: Option<String>,
    pub(super) dedupe_key: [u8; 16],
    pub(super) dedupe_window: SignedDuration,
    pub(super) kept: InboundRequest<Verified>,
}

impl fmt::Debug for VerifiedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedRequest")
            .field("event_type", &self.event_type)
            .field("dedupe_key", &hex::encode(self.dedupe_key))
            .field("body_bytes", &self.kept.parts.body.len())
            .finish_non_exhaustive()
    }
}

/// The header under which a stored event says what it was verified by, in words. One of that name that a sender
/// gives is not kept.
pub const VERIFIED_BY: &str = "outcome-bridge-verified-by";

impl VerifiedRequest {
    /// The vendor's name for what happened, where it can be told without mapping.
    pub fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }

    /// Identifies the event among repeats of the same request.
    pub fn dedupe_key(&self) -> [u8; 16] {
        self.dedupe_key
    }

    /// How long repeats are recognised.
    pub fn dedupe_window(&self) -> SignedDuration {
        self.dedupe_window
    }

    /// Headers worth keeping: no credentials, no transport details.
    pub fn headers(&self) -> &[(String, String)] {
        &self.kept.parts.headers
    }

    /// The query string, credentials removed.
    pub fn query(&self) -> &str {
        &self.kept.parts.query
    }

    /// The body, byte for byte but for the vendor's tokens in it.
    pub fn body(&self) -> &Bytes {
        &self.kept.parts.body
    }

    /// The event to store.
    pub fn into_new_event(self, source: SourceName, received_at: Timestamp) -> NewEvent {
        let parts = self.kept.into_parts();
        NewEvent {
            source,
            received_at,
            event_type: self.event_type,
            dedupe_key: self.dedupe_key,
            dedupe_window: self.dedupe_window,
            headers: parts.headers,
            query: parts.query,
            body: parts.body,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::connector::testing::source;

    #[test]
    fn verification_and_rules_see_the_same_headers_and_parameters() {
        let headers = [
            ("a", "first"),
            ("a", "second"),
            ("b", "N/A"),
            ("b", "second"),
            ("c", "  "),
            ("d", " padded "),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let parts = RequestParts {
            headers: headers.to_vec(),
            query: "a=first&a=second&b=&b=second&c=N%2FA&d=+padded".to_owned(),
            ..RequestParts::default()
        };
        let (header, query) = (headers_value(&parts.headers), query_value(&parts.query));
        for (name, expected) in [
            ("a", Some("first")),
            ("b", None),
            ("c", None),
            ("d", Some("padded")),
            ("e", None),
        ] {
            assert_eq!(parts.header(name), expected, "{name}");
            assert_eq!(header[name].as_str(), expected, "{name}");
            assert_eq!(parts.query_value(name).as_deref(), expected, "{name}");
            assert_eq!(query[name].as_str(), expected, "{name}");
        }
    }

    #[test]
    fn an_unsigned_id_beside_the_signed_one_makes_no_other_event() {
        let source = source(
            "[inbound]\n[inbound.verify]\nkind = \"mac\"\nsecret = \"secret\"\ncontent = \"{id}.{body}\"\nheader = [\"sig\"]\nid_header = [\"webhook-id\", \"svix-id\"]\n[inbound.dedupe]\nkey = [\"{header.webhook-id or header.svix-id}\"]",
            "s",
            "https://b.example.com",
        );
        let now = Timestamp::UNIX_EPOCH;
        let mut parts = RequestParts {
            method: "POST".to_owned(),
            headers: vec![("svix-id".to_owned(), "msg_1".to_owned())],
            body: "{}".into(),
            ..RequestParts::default()
        };
        parts = source.sign(parts, now).unwrap().into_parts();
        let key = |parts: RequestParts| match source.receive(InboundRequest::new(parts), now) {
            Reception::Verified(request) => request.dedupe_key(),
            other => panic!("it is signed: {other:?}"),
        };
        let own = key(parts.clone());
        for (name, value) in [
            ("webhook-id", "N/A"),
            ("webhook-id", " "),
            ("svix-id", "evil"),
        ] {
            let mut sent_again = parts.clone();
            sent_again.headers.push((name.to_owned(), value.to_owned()));
            assert_eq!(key(sent_again), own, "{name}: {value}");
        }
    }
}
