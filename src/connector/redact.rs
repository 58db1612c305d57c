//! Removes vendors' tokens from what is stored, leaving every other byte as it was received.
//!
//! The values are cut out of the raw bytes: nothing is written anew, so numbers, order and spacing
//! stay as the vendor sent them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::body::BodyKind;
use super::xml;

const MARK: &str = "[redacted]";

/// Stored instead of a body that holds secrets but cannot be read well enough to remove them.
pub(super) const WITHHELD: &str =
    "[withheld: the body could not be read to remove secrets from it]";

/// What is removed before an event is stored.
#[derive(Debug, Clone, Default)]
pub(super) struct Redaction {
    /// JSON pointers, split; `*` is any item or key.
    pub(super) json: Vec<Vec<String>>,
    /// Names of XML elements.
    pub(super) xml: Vec<String>,
    /// Names of form fields.
    pub(super) form: Vec<String>,
    /// Names of query parameters.
    pub(super) query: Vec<String>,
    /// Names of headers.
    pub(super) headers: Vec<String>,
}

/// Headers that carry credentials, or say nothing about the event.
const NEVER_KEPT: [&str; 14] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "host",
    "connection",
    "keep-alive",
    "te",
    "upgrade",
    "transfer-encoding",
    "content-length",
    "accept",
    "accept-encoding",
    "accept-language",
];

impl Redaction {
    pub(super) fn keeps_header(&self, name: &str) -> bool {
        !NEVER_KEPT.contains(&name) && !self.headers.iter().any(|header| header == name)
    }

    pub(super) fn query(&self, query: String) -> String {
        match redact_pairs(query.as_bytes(), &self.query) {
            Some(redacted) => String::from_utf8_lossy(&redacted).into_owned(),
            None => query,
        }
    }

    pub(super) fn body(&self, kind: BodyKind, body: Bytes) -> Bytes {
        let spans = match kind {
            BodyKind::Json if !self.json.is_empty() => json_spans(&body, &self.json),
            BodyKind::Xml if !self.xml.is_empty() => xml::contents_of(&body, &self.xml).ok(),
            BodyKind::Form if !self.form.is_empty() => {
                return redact_pairs(&body, &self.form).map_or(body, Bytes::from);
            }
            _ => return body,
        };
        let mark = match kind {
            BodyKind::Json => "\"[redacted]\"",
            _ => MARK,
        };
        match spans {
            Some(spans) if spans.is_empty() => body,
            Some(spans) => cut(&body, spans, mark.as_bytes()).into(),
            None => Bytes::from_static(WITHHELD.as_bytes()),
        }
    }
}

/// Splits a JSON pointer.
pub(super) fn pointer_tokens(pointer: &str) -> Vec<String> {
    let tokens = pointer.strip_prefix('/').unwrap_or(pointer).split('/');
    tokens
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect()
}

fn cut(body: &[u8], mut spans: Vec<Range<usize>>, mark: &[u8]) -> Vec<u8> {
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    let mut kept = Vec::with_capacity(body.len());
    let mut at = 0;
    for span in spans {
        // Within a value that is gone already.
        if span.start < at {
            continue;
        }
        kept.extend_from_slice(&body[at..span.start]);
        kept.extend_from_slice(mark);
        at = span.end;
    }
    kept.extend_from_slice(&body[at..]);
    kept
}

fn redact_pairs(text: &[u8], names: &[String]) -> Option<Vec<u8>> {
    if names.is_empty() {
        return None;
    }
    let mut spans = Vec::new();
    let mut at = 0;
    for pair in text.split(|&byte| byte == b'&') {
        let equals = pair.iter().position(|&byte| byte == b'=');
        let named = form_urlencoded::parse(pair)
            .next()
            .is_some_and(|(name, _)| names.iter().any(|n| *n == name));
        if let (Some(equals), true) = (equals, named) {
            spans.push(at + equals + 1..at + pair.len());
        }
        at += pair.len() + 1;
    }
    (!spans.is_empty()).then(|| cut(text, spans, MARK.as_bytes()))
}

/// Where the values of the pointers stand; `None` when the body is no JSON.
fn json_spans(body: &[u8], pointers: &[Vec<String>]) -> Option<Vec<Range<usize>>> {
    let whole: &RawValue = serde_json::from_slice(body).ok()?;
    let mut search = Search {
        base: body.as_ptr() as usize,
        spans: Vec::new(),
    };
    for pointer in pointers {
        search.visit(whole, pointer);
    }
    Some(search.spans)
}

struct Search {
    base: usize,
    spans: Vec<Range<usize>>,
}

impl Search {
    fn visit(&mut self, value: &RawValue, pointer: &[String]) {
        let Some((token, rest)) = pointer.split_first() else {
            // The raw value borrows from the body, so its address tells where it stands.
            let start = value.get().as_ptr() as usize - self.base;
            self.spans.push(start..start + value.get().len());
            return;
        };
        let Ok(Members(members)) = serde_json::from_str(value.get()) else {
            return;
        };
        for (key, member) in members {
            if token == "*" || *token == key {
                self.visit(member, rest);
            }
        }
    }
}

/// The members of an object or a list, repeated keys included.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((Cow::Owned(key), value));
                }
                Ok(Members(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(value) = seq.next_element::<&RawValue>()? {
                    members.push((Cow::Owned(members.len().to_string()), value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_any(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(pointers: &[&str], body: &str) -> String {
        let redaction = Redaction {
            json: pointers.iter().map(|p| pointer_tokens(p)).collect(),
            ..Redaction::default()
        };
        let body = redaction.body(BodyKind::Json, Bytes::copy_from_slice(body.as_bytes()));
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn json_values_are_cut_out_and_everything_else_stays() {
        let body =
            r#"{ "a":1.10, "token" : "s3cr\u0065t" , "l":[{"t":1},{"t":[2]}], "token":"again"}"#;
        assert_eq!(
            json(&["/token", "/l/*/t"], body),
            r#"{ "a":1.10, "token" : "[redacted]" , "l":[{"t":"[redacted]"},{"t":"[redacted]"}], "token":"[redacted]"}"#
        );
        assert_eq!(json(&["/x"], body), body);
        assert_eq!(json(&["/a", "/a"], r#"{"a":1}"#), r#"{"a":"[redacted]"}"#);
        assert_eq!(
            json(&["/a/b", "/a"], r#"{"a":{"b":1}}"#),
            r#"{"a":"[redacted]"}"#
        );
    }

    #[test]
    fn a_body_that_cannot_be_searched_is_withheld() {
        assert_eq!(json(&["/token"], "{\"token\":\"s3cret\""), WITHHELD);
    }

    #[test]
    fn form_fields_query_parameters_and_elements_are_cut_out() {
        let redaction = Redaction {
            form: vec!["to[k]".to_owned()],
            query: vec!["token".to_owned()],
            xml: vec!["SessionId".to_owned()],
            ..Redaction::default()
        };
        let form = redaction.body(BodyKind::Form, Bytes::from_static(b"a=1&to%5Bk%5D=s&b=2"));
        assert_eq!(&form[..], b"a=1&to%5Bk%5D=[redacted]&b=2");
        assert_eq!(
            redaction.query("x=1&token=s".to_owned()),
            "x=1&token=[redacted]"
        );
        let xml = Bytes::from_static(b"<a><SessionId>s</SessionId></a>");
        assert_eq!(
            &redaction.body(BodyKind::Xml, xml)[..],
            b"<a><SessionId>[redacted]</SessionId></a>"
        );
    }

    proptest! {
        #[test]
        fn redacting_arbitrary_bytes_never_panics(body: Vec<u8>, text in "[\\[\\]{}:,\"a1 ]{0,40}") {
            let redaction = Redaction {
                json: vec![vec!["*".to_owned()], vec!["a".to_owned(), "*".to_owned()]],
                xml: vec!["a".to_owned()],
                form: vec!["a".to_owned()],
                ..Redaction::default()
            };
            for (_, kind) in BodyKind::WORDS {
                let _redacted = redaction.body(kind, body.clone().into());
                let _redacted = redaction.body(kind, text.clone().into_bytes().into());
            }
        }
    }
}
