//! Where signature, timestamp and id stand in a request; shared by keyed hashes and public-key
//! signatures.

use std::ops::Range;

use jiff::Timestamp;

use super::arrival::Arrival;
use super::content::{Content, Material, Piece};
use super::format::{Encoding, Format, MAX_SIGNATURES};
use super::timestamp::{TimestampPlace, TimestampRule};
use super::url::UrlForm;
use crate::connector::field::Checked;
use crate::connector::reader::{Reader, Text};
use crate::connector::request::{Refusal, RefusalCode, RequestParts};
use crate::connector::sign::SignError;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    headers: Vec<String>,
    format: Format,
    encoding: Encoding,
    timestamp: Option<TimestampRule>,
    id_headers: Vec<String>,
    body_hash: Option<String>,
    pub(super) content: Content,
    pub(super) url_form: UrlForm,
}

/// What a request says about its signature.
pub(super) struct Sealed<'a> {
    pub(super) signatures: Vec<Vec<u8>>,
    pub(super) material: Material<'a>,
}

impl Envelope {
    pub(super) fn read(reader: &Reader<'_>, settings: &Checked) -> Option<Self> {
        // Every key is asked for before a mistake in one ends the reading: the others are not unknown for it.
        let headers = lower(reader.texts("header"));
        let written = reader.text("content");
        let format = Format::read(reader);
        let timestamp = reader
            .child("timestamp")
            .map(|child| TimestampRule::read(child, format.as_ref()));
        let ids = reader.texts("id_header");
        let encodings = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];
        let encoding = reader.choice("encoding", &encodings);
        let body_hash = reader.text("body_hash").map(|text| text.value);
        let url_form = reader.choice("url_form", &UrlForm::WORDS);
        if headers.is_empty() {
            reader.missing("header", "[\"x-signature\"]");
        }
        let written = written.unwrap_or_else(|| Text {
            value: "{body}".to_owned(),
            span: reader.span.clone(),
        });
        let content = Content::parse(&written.value)
            .map_err(|mistake| reader.log.error(written.span.clone(), mistake))
            .ok()?;
        let envelope = Self {
            headers,
            format: format?,
            encoding: encoding.unwrap_or(Encoding::Hex),
            timestamp: timestamp.map_or(Some(None), |read| read)?,
            id_headers: lower(ids.clone()),
            body_hash,
            content,
            url_form: url_form.unwrap_or(UrlForm::Public),
        };
        envelope.report_unsigned(reader, &written.span, &ids, settings.sample);
        Some(envelope)
    }

    /// Reports what is looked at and not signed, or signed and nowhere to be found. Of a `sample` everything is set,
    /// also what does not go together.
    fn report_unsigned(
        &self,
        reader: &Reader<'_>,
        content: &Range<usize>,
        ids: &[Text],
        sample: bool,
    ) {
        let mistake = |message, help| {
            reader.log.error_with_help(content.clone(), message, help);
        };
        match (self.content.has(&Piece::Timestamp), &self.timestamp) {
            (true, None) => mistake(
                "`{timestamp}` is signed, and nothing says where it stands",
                "name the header or the key of the timestamp",
            ),
            (false, Some(_)) if !sample => mistake(
                "a timestamp is asked for that is not signed: whoever sends a request again can write a new one",
                "put `{timestamp}` where the sender has it in what it signs, or do not ask for one",
            ),
            _ => {}
        }
        match (self.content.has(&Piece::Id), ids.first()) {
            (true, None) => mistake(
                "`{id}` is signed, and nothing says where it stands",
                "name its header: `id_header`",
            ),
            (false, Some(id)) if !sample => reader.log.error_with_help(
                id.span.clone(),
                "the id is not signed, so its header is not read",
                "put `{id}` where the sender has it in what it signs, or leave the id's header out",
            ),
            _ => {}
        }
        let hash_in_url = self.body_hash.is_some() && self.content.has(&Piece::Url);
        if !self.content.touches_body() && !hash_in_url {
            mistake(
                "nothing of the event is signed: one signature would do for any event",
                "put `{body}` where the sender has it in what it signs, or the part of it that the sender signs: `{json:/pointer}`",
            );
        }
    }

    /// Headers that carry the signature.
    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    pub(super) fn is_present(&self, arrival: &Arrival<'_>) -> bool {
        self.header(arrival).is_some()
    }

    /// What stands where, in words: "`hmac-sha256` in the header `x-signature`".
    pub(super) fn told(&self, algorithm: &str, arrival: &Arrival<'_>) -> String {
        let mut names = self.headers.iter();
        let present = names.find(|name| arrival.parts.header(name).is_some());
        let header = present.map_or("", String::as_str);
        format!("{algorithm} in the header `{header}`")
    }

    /// Whether every byte of the body is signed, directly or by its hash.
    pub(super) fn covers_body(&self) -> bool {
        self.content.covers_body()
    }

    pub(super) fn has_timestamp(&self) -> bool {
        self.timestamp.is_some()
    }

    fn header<'a>(&self, arrival: &Arrival<'a>) -> Option<&'a str> {
        first_header(arrival.parts, &self.headers)
    }

    /// Takes the request's seal apart and checks everything but the signature itself.
    pub(super) fn open<'a>(&self, arrival: &'a Arrival<'a>) -> Result<Sealed<'a>, Refusal> {
        let header = self.header(arrival).ok_or_else(|| missing(&self.headers))?;
        let signatures: Vec<Vec<u8>> = self
            .format
            .signatures(header)
            .take(MAX_SIGNATURES)
            .filter_map(|text| self.encoding.decode(text))
            .filter(|bytes| !bytes.is_empty())
            .collect();
        if signatures.is_empty() {
            return Err(Refusal::new(
                RefusalCode::CredentialWrong,
                format!(
                    "`{}` holds no signature that can be read",
                    self.headers.join("` or `")
                ),
            ));
        }
        let timestamp = match &self.timestamp {
            None => "",
            Some(rule) => rule.check(arrival, header, &self.format)?,
        };
        let id = if self.id_headers.is_empty() {
            ""
        } else {
            first_header(arrival.parts, &self.id_headers)
                .ok_or_else(|| missing(&self.id_headers))?
        };
        Ok(Sealed {
            signatures,
            material: Material {
                arrival,
                timestamp,
                id,
                hash_in_url: self.check_body_hash(arrival)?,
            },
        })
    }

    fn check_body_hash(&self, arrival: &Arrival<'_>) -> Result<bool, Refusal> {
        use sha2::{Digest, Sha256};
        let Some(name) = &self.body_hash else {
            return Ok(false);
        };
        let Some(stated) = arrival.parts.query_value(name) else {
            return Ok(false);
        };
        if hex::decode(&stated).is_ok_and(|h| h[..] == Sha256::digest(&arrival.parts.body)[..]) {
            return Ok(true);
        }
        Err(Refusal::new(
            RefusalCode::CredentialWrong,
            format!("the body does not have the hash in the query's `{name}`"),
        ))
    }

    /// The URLs that the vendor may have signed; one empty text when the URL is not signed.
    pub(super) fn urls(&self, arrival: &Arrival<'_>) -> Vec<String> {
        if self.content.has(&Piece::Url) {
            self.url_form.candidates(arrival)
        } else {
            vec![String::new()]
        }
    }

    /// Puts everything but the signature into a request: body hash, id, timestamp.
    pub(super) fn prepare(&self, parts: &mut RequestParts, now: Timestamp) -> Stamp {
        use sha2::{Digest, Sha256};
        let form = parts
            .header("content-type")
            .is_none_or(|kind| kind.starts_with("application/x-www-form"));
        if let Some(name) = self.body_hash.as_ref().filter(|_| !form) {
            let hash = hex::encode(Sha256::digest(&parts.body));
            parts.set_query(name, &hash);
        }
        let id = self.id_headers.first().map(|name| {
            let given = first_header(parts, &self.id_headers).map(str::to_owned);
            given.unwrap_or_else(|| {
                let hash = hex::encode(Sha256::digest(&parts.body));
                let id = format!("msg_{}", &hash[..24]);
                parts.set_header(name, id.clone());
                id
            })
        });
        let timestamp = self.timestamp.as_ref().map(|rule| {
            let text = rule.text(now);
            if let TimestampPlace::Headers(names) = &rule.place
                && let Some(name) = names.first()
            {
                parts.set_header(name, text.clone());
            }
            text
        });
        Stamp {
            id: id.unwrap_or_default(),
            timestamp: timestamp.unwrap_or_default(),
        }
    }

    /// Hands the bytes to sign to `sink`.
    pub(super) fn feed_for_signing(
        &self,
        arrival: &Arrival<'_>,
        stamp: &Stamp,
        secret: &[u8],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), SignError> {
        let url = self.urls(arrival).into_iter().next().unwrap_or_default();
        let material = Material {
            arrival,
            timestamp: &stamp.timestamp,
            id: &stamp.id,
            hash_in_url: self.check_body_hash(arrival).unwrap_or(false),
        };
        self.content
            .feed(&material, &url, secret, sink)
            .map_err(|refusal| SignError::Content(refusal.reason))
    }

    /// Puts the signature into a request.
    pub(super) fn seal(&self, parts: &mut RequestParts, stamp: &Stamp, signature: &[u8]) {
        let text = self.encoding.encode(signature);
        let key = self.timestamp.as_ref().and_then(|rule| match &rule.place {
            TimestampPlace::Key(key) => Some(key.as_str()),
            TimestampPlace::Headers(_) => None,
        });
        let value = self.format.write(&text, key, &stamp.timestamp);
        if let Some(name) = self.headers.first() {
            parts.set_header(name, value);
        }
    }
}

/// What [`Envelope::prepare`] put into a request.
pub(super) struct Stamp {
    pub(super) id: String,
    pub(super) timestamp: String,
}

pub(super) fn lower(texts: Vec<Text>) -> Vec<String> {
    texts
        .into_iter()
        .map(|text| text.value.to_ascii_lowercase())
        .collect()
}

pub(super) fn first_header<'a>(parts: &'a RequestParts, names: &[String]) -> Option<&'a str> {
    names.iter().find_map(|name| parts.header(name))
}

pub(super) fn missing(names: &[String]) -> Refusal {
    Refusal::new(
        RefusalCode::CredentialMissing,
        format!("there is no header `{}`", names.join("` or `")),
    )
}
