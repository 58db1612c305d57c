//! Handshakes: requests that a vendor sends to see whether somebody is there.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::field::Checked;
use super::reader::{Reader, plain_json};
use super::request::Answer;
use super::verify::Arrival;
use crate::mapping::{Conditions, Template};

/// What conditions and texts of handshakes may read.
pub(super) const ROOTS: [&str; 5] = ["event", "header", "query", "method", "setting"];

/// More than any vendor's challenge; what is echoed comes from anybody.
const MAX_ECHO: usize = 4096;

/// What Salesforce wants to read when it was heard.
const SOAP_ACK: &str = r#"<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse></soapenv:Body></soapenv:Envelope>"#;

enum Reply {
    Json(BTreeMap<String, Template>),
    Text(Template),
    Header(String),
    /// The hash of Zoom's plain token.
    Zoom(Vec<u8>),
    SoapAck,
    Empty,
}

#[derive(Clone, Copy)]
enum Kind {
    Json,
    Text,
    Header,
    Zoom,
    SoapAck,
    Empty,
}

const KINDS: [(&str, Kind); 6] = [
    ("json", Kind::Json),
    ("text", Kind::Text),
    ("header", Kind::Header),
    ("zoom", Kind::Zoom),
    ("soap_ack", Kind::SoapAck),
    ("empty", Kind::Empty),
];

/// One handshake.
pub(super) struct Handshake {
    when: Conditions,
    reply: Reply,
    status: u16,
    /// Only for requests that verify.
    pub(super) verified: bool,
}

impl Handshake {
    pub(super) fn read(reader: Reader<'_>, settings: &Checked) -> Option<Self> {
        let when = reader.conditions("when", &ROOTS);
        if !reader.has("when") {
            reader.missing("when", "[{ field = \"event.challenge\", exists = true }]");
        }
        if !reader.has("answer") {
            reader.missing("answer", "\"json\"");
        }
        let kind = reader.choice("answer", &KINDS);
        let reply = kind.and_then(|kind| Reply::read(kind, &reader, settings));
        let status = reader.number("status").unwrap_or(200);
        let verified = reader.flag("verified").unwrap_or(false);
        reader.finish();
        Some(Self {
            when: when?,
            reply: reply?,
            status,
            verified,
        })
    }

    /// The answer, if the request is this handshake.
    pub(super) fn answer(&self, arrival: &Arrival<'_>) -> Option<Answer> {
        if !self.when.hold(arrival) {
            return None;
        }
        let answer = match &self.reply {
            Reply::Json(members) => {
                let members: Map<String, Value> = members
                    .iter()
                    .filter_map(|(key, template)| Some((key.clone(), template.value(arrival)?)))
                    .collect();
                json_answer(self.status, &Value::Object(members))
            }
            Reply::Text(template) => Answer::with_body(
                self.status,
                "text/plain; charset=utf-8",
                template.text(arrival).unwrap_or_default(),
            ),
            Reply::Header(name) => {
                let mut answer = Answer::empty(self.status);
                let value = arrival.parts.header(name)?;
                answer.headers.push((name.clone(), value.to_owned()));
                answer
            }
            Reply::Zoom(secret) => json_answer(self.status, &zoom(arrival, secret)?),
            Reply::SoapAck => {
                Answer::with_body(self.status, "text/xml; charset=utf-8", SOAP_ACK.as_bytes())
            }
            Reply::Empty => Answer::empty(self.status),
        };
        let echoed = answer
            .headers
            .iter()
            .map(|(_, value)| value.len())
            .sum::<usize>();
        (answer.body.len() + echoed <= MAX_ECHO).then_some(answer)
    }
}

impl Reply {
    fn read(kind: Kind, reader: &Reader<'_>, settings: &Checked) -> Option<Self> {
        match kind {
            Kind::Json => {
                let Some(body) = reader.child("body") else {
                    reader.missing("body", "{ challenge = \"{event.challenge}\" }");
                    return None;
                };
                let mut members = BTreeMap::new();
                for (key, value) in body.entries() {
                    let text = plain_json(value.get_ref());
                    let Some(text) = text.as_str() else {
                        reader.log.error(value.span(), "has to be text");
                        continue;
                    };
                    let template = reader.parse_template(text, value.span(), &ROOTS)?;
                    members.insert(key.value, template);
                }
                Some(Self::Json(members))
            }
            Kind::Text => {
                if !reader.has("value") {
                    reader.missing("value", "\"{event.challenge}\"");
                }
                reader.template("value", &ROOTS).map(Self::Text)
            }
            Kind::Header => reader
                .required("header", "\"x-hook-secret\"")
                .map(|name| Self::Header(name.value.to_ascii_lowercase())),
            Kind::Zoom => {
                let field = reader.required("secret", "\"secret_token\"")?;
                let secret = settings.values_of(&field.value).into_iter().next();
                if secret.is_none() && !settings.may_lack_keys() {
                    let message = format!("`{}` is not set", field.value);
                    reader.log.error(field.span, message);
                    return None;
                }
                let bytes = secret.map(|s| s.expose().as_bytes().to_vec());
                Some(Self::Zoom(bytes.unwrap_or_default()))
            }
            Kind::SoapAck => Some(Self::SoapAck),
            Kind::Empty => Some(Self::Empty),
        }
    }
}

fn json_answer(status: u16, body: &Value) -> Answer {
    Answer::with_body(status, "application/json", body.to_string())
}

/// Whether it can be a challenge. The same key signs events: whoever could have a text of his own choice hashed, such as
/// `v0:TIMESTAMP:{…}`, could forge them.
fn is_token(text: &str) -> bool {
    text.len() <= 128
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b))
}

fn zoom(arrival: &Arrival<'_>, secret: &[u8]) -> Option<Value> {
    if secret.is_empty() {
        return None;
    }
    let event = arrival.event().ok()?;
    let plain = event
        .pointer("/payload/plainToken")?
        .as_str()
        .filter(|token| is_token(token))?;
    let mut hasher = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    hasher.update(plain.as_bytes());
    let encrypted = hex::encode(hasher.finalize().into_bytes());
    Some(json!({"plainToken": plain, "encryptedToken": encrypted}))
}
