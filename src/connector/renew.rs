//! A test request that its source does not take for a repeat: what it tells repeats by gets a new value.
//!
//! That is done where the source tells them by one field, a header or a scalar of a JSON body. Several fields together
//! say what happened (a booking, a moment), so changing them would make another event of it.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::body::BodyKind;
use super::inbound::Inbound;
use super::request::{RequestParts, UnsignedRequest};
use crate::mapping::{Path, Template};

/// What became of the id of a test request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// A field has a new value.
    Renewed {
        /// The field, as a path.
        field: String,
        /// The value.
        value: String,
    },
    /// The request is as it was: the same again is a repeat.
    Kept {
        /// What its source tells repeats by, in words.
        by: String,
    },
}

impl Inbound {
    /// Gives a request a new id before it is signed, made of its old one and `nonce`, of which 48 bits count.
    pub fn renew(&self, request: &mut UnsignedRequest, nonce: u64, now: Timestamp) -> Renewal {
        let nonce = nonce & 0xffff_ffff_ffff;
        let by = match self.rules.dedupe.as_slice() {
            [] => "the whole body".to_owned(),
            [template] => match self.renew_field(template, request, nonce, now) {
                Some(renewal) => return renewal,
                None => written(std::slice::from_ref(template)),
            },
            several => written(several),
        };
        Renewal::Kept { by }
    }

    fn renew_field(
        &self,
        template: &Template,
        request: &mut UnsignedRequest,
        nonce: u64,
        now: Timestamp,
    ) -> Option<Renewal> {
        let known = template.text(&self.site().arrival(request, now));
        let mut paths = template.paths();
        let (field, value) = match &known {
            // Headers alone can be added: nobody reads anything else out of them.
            None => paths.find_map(|path| {
                let value = format!("msg_{nonce:012x}");
                request.set_header(header(path)?, value.clone());
                Some((path, value))
            })?,
            Some(known) => paths.find_map(|path| {
                let value = self.replace(path, known, request, nonce)?;
                Some((path, value))
            })?,
        };
        Some(Renewal::Renewed {
            field: field.as_str().to_owned(),
            value,
        })
    }

    /// Replaces the value at `path`, provided that it is `known` and nothing more. Answers the new one.
    fn replace(
        &self,
        path: &Path,
        known: &str,
        request: &mut RequestParts,
        nonce: u64,
    ) -> Option<String> {
        if let Some(name) = header(path) {
            let value = another(request.header(name).filter(|old| *old == known)?, nonce);
            request.set_header(name, value.clone());
            return Some(value);
        }
        if self.body_kind() != BodyKind::Json {
            return None;
        }
        let place = place(&request.body, path)?;
        let old = &request.body[place.clone()];
        let (value, json) = match serde_json::from_slice(old).ok()? {
            serde_json::Value::String(text) if text == known => {
                let value = another(&text, nonce);
                let json = serde_json::to_string(&value).ok()?;
                (value, json)
            }
            serde_json::Value::Number(number) if number.to_string() == known => {
                (nonce.to_string(), nonce.to_string())
            }
            _ => return None,
        };
        let parts = [
            &request.body[..place.start],
            json.as_bytes(),
            &request.body[place.end..],
        ];
        request.body = Bytes::from(parts.concat());
        Some(value)
    }
}

/// The name of the header that a path means.
fn header(path: &Path) -> Option<&str> {
    path.as_str()
        .strip_prefix("header.")
        .filter(|name| is_plain(name))
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !name.is_empty() && name.chars().all(plain)
}

/// Where a path of plain names leads to in a JSON body, in bytes: everything else of it stays as it was written.
fn place(body: &[u8], path: &Path) -> Option<Range<usize>> {
    let names: Vec<&str> = path.as_str().strip_prefix("event.")?.split('.').collect();
    if !names.iter().all(|name| is_plain(name)) {
        return None;
    }
    let mut raw: &RawValue = serde_json::from_slice(body).ok()?;
    for name in names {
        let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get()).ok()?;
        raw = members.remove(name)?;
    }
    let start = raw
        .get()
        .as_ptr()
        .addr()
        .checked_sub(body.as_ptr().addr())?;
    Some(start..start + raw.get().len())
}

/// An id in the manner of the old one: digits stay digits, and a UUID stays one.
fn another(old: &str, nonce: u64) -> String {
    let is_uuid = old.len() == 36
        && old.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if is_uuid {
        format!("{}{nonce:012x}", &old[..24])
    } else if old.bytes().all(|byte| byte.is_ascii_digit()) {
        nonce.to_string()
    } else {
        format!("{old}_{nonce:012x}")
    }
}

/// The fields of templates, in words.
fn written(templates: &[Template]) -> String {
    let paths: Vec<String> = templates
        .iter()
        .flat_map(Template::paths)
        .map(|path| format!("`{}`", path.as_str()))
        .collect();
    paths.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{request, source};

    fn renewed(key: &str, headers: &[(&str, &str)], body: &str) -> (Renewal, RequestParts) {
        let inbound = format!(
            "[inbound]\n[inbound.verify]\nkind = \"token\"\nat = \"path\"\nsecret = \"secret\"\n\
             [inbound.dedupe]\nkey = {key}"
        );
        let source = source(&inbound, "s3cret", "https://example.com");
        let mut parts = request("POST", "", headers, body.as_bytes()).into_parts();
        let renewal = source.renew(&mut parts, 0xab, Timestamp::UNIX_EPOCH);
        (renewal, parts)
    }

    fn body(key: &str, body: &str) -> String {
        let (_, parts) = renewed(key, &[], body);
        String::from_utf8(parts.body.to_vec()).unwrap()
    }

    #[test]
    fn the_one_field_that_tells_repeats_is_replaced_and_nothing_else() {
        let id = r#"["{event.meta.id}"]"#;
        for (old, new) in [
            (r#""evt_1""#, r#""evt_1_0000000000ab""#),
            (r#""77""#, r#""171""#),
            ("77", "171"),
            (
                r#""0194fdc2-fa2f-4cc0-81d3-ff12045b73c8""#,
                r#""0194fdc2-fa2f-4cc0-81d3-0000000000ab""#,
            ),
        ] {
            let text =
                |id| format!("{{ \"n\": 1.10, \"id\": \"evt_1\", \"meta\": {{\"id\" : {id}}}}}");
            assert_eq!(body(id, &text(old)), text(new));
        }
        let alternatives = r#"["{event.a or event.b.a}"]"#;
        assert_eq!(
            body(alternatives, r#"{"b":{"a":"x"}}"#),
            r#"{"b":{"a":"x_0000000000ab"}}"#
        );
    }

    #[test]
    fn a_header_is_replaced_or_added() {
        let key = r#"["{header.webhook-id or header.svix-id}"]"#;
        let (renewal, parts) = renewed(key, &[("svix-id", "msg_1")], "{}");
        assert_eq!(parts.header("svix-id"), Some("msg_1_0000000000ab"));
        let expected = Renewal::Renewed {
            field: "header.svix-id".to_owned(),
            value: "msg_1_0000000000ab".to_owned(),
        };
        assert_eq!(renewal, expected);
        let (_, parts) = renewed(key, &[], "{}");
        assert_eq!(parts.header("webhook-id"), Some("msg_0000000000ab"));
    }

    #[test]
    fn what_says_more_than_which_event_it_is_stays() {
        for (key, text, by) in [
            ("[]", "{}", "the whole body"),
            (r#"["{event.id}"]"#, r#"{"other":1}"#, "`event.id`"),
            (r#"["{event.id}"]"#, r#"{"id":{"a":1}}"#, "`event.id`"),
            (
                r#"["{event.type}-{event.id}"]"#,
                r#"{"type":"a","id":"b"}"#,
                "`event.type`, `event.id`",
            ),
            (
                r#"["{event.type}", "{event.id}"]"#,
                r#"{"type":"a","id":"b"}"#,
                "`event.type`, `event.id`",
            ),
            (r#"["{event[*].id}"]"#, r#"[{"id":"b"}]"#, "`event[*].id`"),
        ] {
            let (renewal, parts) = renewed(key, &[], text);
            assert_eq!(renewal, Renewal::Kept { by: by.to_owned() }, "{key}");
            assert_eq!(parts.body, text.as_bytes(), "{key}");
        }
    }
}
