//! Where signature, timestamp and id stand in a request, and how they are written.
//!
//! Shared by keyed hashes and public-key signatures. The timestamp is checked as a number but goes
//! into the signed bytes as the text that was received.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::{SignedDuration, Timestamp};

use super::arrival::Arrival;
use super::content::{Content, Material, Piece};
use super::url::UrlForm;
use crate::connector::reader::Reader;
use crate::connector::request::{Refusal, RefusalCode, RequestParts};
use crate::connector::sign::SignError;

/// More than any vendor sends; bounds the work that one request can cause.
const MAX_SIGNATURES: usize = 16;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How signature bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Hex,
    Base64,
}

impl Encoding {
    pub(super) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => BASE64.decode(text).ok(),
        }
    }

    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => BASE64.encode(bytes),
        }
    }
}

/// How the signature header is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Format {
    /// The signature alone, after `prefix`.
    Plain { prefix: String },
    /// `t=…,v1=…`.
    Pairs {
        separator: String,
        signature: String,
    },
    /// `v1,… v1,…`.
    List { version: String },
    /// `hmac;1;…;…`, several of them separated by commas.
    Fields { separator: String, signature: usize },
}

/// Where the timestamp stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TimestampPlace {
    Headers(Vec<String>),
    /// A pair's key, or a field's position.
    Key(String),
}

/// Where the timestamp stands, and how far it may be off.
#[derive(Debug, Clone)]
struct TimestampRule {
    place: TimestampPlace,
    millis: bool,
    past: SignedDuration,
    future: Option<SignedDuration>,
}

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
    pub(super) fn read(reader: &Reader<'_>) -> Option<Self> {
        let headers = lower(reader.texts("header"));
        if headers.is_empty() {
            reader.missing("header", "[\"x-signature\"]");
        }
        let content = match reader.text("content") {
            None => Content::parse("{body}").ok(),
            Some(text) => Content::parse(&text.value)
                .map_err(|mistake| reader.log.error(text.span, mistake))
                .ok(),
        }?;
        let format = Format::read(reader)?;
        let timestamp = match reader.child("timestamp") {
            None => None,
            Some(child) => TimestampRule::read(child, &format)?,
        };
        if content.has(&Piece::Timestamp) && timestamp.is_none() {
            reader.missing("timestamp", "{ header = [\"x-timestamp\"] }");
        }
        let id_headers = lower(reader.texts("id_header"));
        if content.has(&Piece::Id) && id_headers.is_empty() {
            reader.missing("id_header", "[\"webhook-id\"]");
        }
        let encodings = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];
        Some(Self {
            headers,
            format,
            encoding: reader
                .choice("encoding", &encodings)
                .unwrap_or(Encoding::Hex),
            timestamp,
            id_headers,
            body_hash: reader.text("body_hash").map(|text| text.value),
            content,
            url_form: reader
                .choice("url_form", &UrlForm::WORDS)
                .unwrap_or(UrlForm::Public),
        })
    }

    /// Headers that carry the signature.
    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    pub(super) fn is_present(&self, arrival: &Arrival<'_>) -> bool {
        self.header(arrival).is_some()
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

fn lower(texts: Vec<crate::connector::reader::Text>) -> Vec<String> {
    texts
        .into_iter()
        .map(|text| text.value.to_ascii_lowercase())
        .collect()
}

fn first_header<'a>(parts: &'a RequestParts, names: &[String]) -> Option<&'a str> {
    names.iter().find_map(|name| parts.header(name))
}

fn missing(names: &[String]) -> Refusal {
    Refusal::new(
        RefusalCode::CredentialMissing,
        format!("there is no header `{}`", names.join("` or `")),
    )
}

impl Format {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        #[derive(Clone, Copy)]
        enum Kind {
            Plain,
            Pairs,
            List,
            Fields,
        }
        let kinds = [
            ("plain", Kind::Plain),
            ("pairs", Kind::Pairs),
            ("list", Kind::List),
            ("fields", Kind::Fields),
        ];
        let text = |key| reader.text(key).map(|text| text.value);
        let prefix = text("prefix").unwrap_or_default();
        let separator = text("separator").filter(|separator| !separator.is_empty());
        let signature_key = reader.text("signature_key");
        let version = text("version").unwrap_or_else(|| "v1".to_owned());
        let kind = if reader.has("format") {
            reader.choice("format", &kinds)?
        } else {
            Kind::Plain
        };
        Some(match kind {
            Kind::Plain => Self::Plain { prefix },
            Kind::List => Self::List { version },
            Kind::Pairs => Self::Pairs {
                separator: separator.unwrap_or_else(|| ",".to_owned()),
                signature: signature_key.map_or_else(|| "v1".to_owned(), |key| key.value),
            },
            Kind::Fields => {
                let Some(key) = signature_key else {
                    reader.missing("signature_key", "\"4\"");
                    return None;
                };
                Self::Fields {
                    separator: separator.unwrap_or_else(|| ";".to_owned()),
                    signature: position(reader, &key.value, key.span)?,
                }
            }
        })
    }

    fn signatures<'h>(&'h self, header: &'h str) -> Box<dyn Iterator<Item = &'h str> + 'h> {
        match self {
            Self::Plain { prefix } => Box::new(header.strip_prefix(prefix.as_str()).into_iter()),
            Self::Pairs { signature, .. } => Box::new(
                self.pairs(header)
                    .filter(move |(key, _)| key == signature)
                    .map(|(_, value)| value),
            ),
            Self::List { version } => Box::new(
                header
                    .split_ascii_whitespace()
                    .filter_map(|entry| entry.split_once(','))
                    .filter(move |(own, _)| own == version)
                    .map(|(_, value)| value),
            ),
            Self::Fields {
                separator,
                signature,
            } => Box::new(
                header
                    .split(',')
                    .filter_map(|one| one.trim().split(separator.as_str()).nth(*signature)),
            ),
        }
    }

    fn pairs<'h>(&self, header: &'h str) -> impl Iterator<Item = (&'h str, &'h str)> {
        let separator = match self {
            Self::Pairs { separator, .. } => separator.as_str(),
            _ => ",",
        };
        header
            .split(separator)
            .filter_map(|pair| pair.trim().split_once('='))
    }

    /// A timestamp that stands in the signature header.
    fn timestamp<'h>(&self, header: &'h str, key: &str) -> Option<&'h str> {
        match self {
            Self::Fields { separator, .. } => {
                let place: usize = key.parse().ok()?;
                header.split(separator.as_str()).nth(place.checked_sub(1)?)
            }
            _ => self.pairs(header).find(|(k, _)| *k == key).map(|(_, v)| v),
        }
    }

    fn write(&self, signature: &str, timestamp_key: Option<&str>, timestamp: &str) -> String {
        match self {
            Self::Plain { prefix } => format!("{prefix}{signature}"),
            Self::List { version } => format!("{version},{signature}"),
            Self::Pairs {
                separator,
                signature: key,
            } => match timestamp_key {
                Some(time) => format!("{time}={timestamp}{separator}{key}={signature}"),
                None => format!("{key}={signature}"),
            },
            Self::Fields {
                separator,
                signature: place,
            } => {
                let time = timestamp_key.and_then(|key| key.parse::<usize>().ok());
                let fields = (0..=*place).map(|at| match at {
                    at if at == *place => signature,
                    at if Some(at + 1) == time => timestamp,
                    _ => "1",
                });
                fields.collect::<Vec<_>>().join(separator)
            }
        }
    }
}

/// A position counted from 1, as an index.
fn position(reader: &Reader<'_>, text: &str, span: std::ops::Range<usize>) -> Option<usize> {
    let index = text
        .parse::<usize>()
        .ok()
        .and_then(|place| place.checked_sub(1));
    if index.is_none_or(|index| index >= MAX_SIGNATURES) {
        reader.log.error_with_help(
            span,
            format!("`{text}` is no position"),
            "with `format = \"fields\"` write the position of the field, from 1",
        );
        return None;
    }
    index
}

impl TimestampRule {
    /// `Some(None)`: an optional timestamp whose place is not set. `None`: a mistake was reported.
    fn read(reader: Reader<'_>, format: &Format) -> Option<Option<Self>> {
        let optional = reader.flag("optional").unwrap_or(false);
        let headers = lower(reader.texts("header"));
        let key = reader.text("key");
        let unit = reader.choice("unit", &[("s", false), ("ms", true)]);
        let five_minutes = SignedDuration::from_mins(5);
        let past = match reader.duration("past") {
            Some((past, span)) if past <= SignedDuration::ZERO => {
                reader.log.error_with_help(
                    span,
                    "`past` has to be longer than nothing",
                    "without it old requests could be sent again; `5 minutes` is usual",
                );
                five_minutes
            }
            Some((past, _)) => past,
            None => five_minutes,
        };
        let unlimited = reader
            .json("future")
            .is_some_and(|(value, _)| value.as_str() == Some("none"));
        let future = if unlimited {
            None
        } else {
            Some(reader.duration("future").map_or(five_minutes, |(d, _)| d))
        };
        let place = match (key, format) {
            (Some(key), Format::Pairs { .. } | Format::Fields { .. }) => {
                Some(TimestampPlace::Key(key.value))
            }
            (Some(key), _) if headers.is_empty() => {
                reader.log.error_with_help(
                    key.span,
                    "`key` needs `format = \"pairs\"`",
                    "name the timestamp's own `header` instead",
                );
                None
            }
            _ if headers.is_empty() => {
                if !optional {
                    reader.missing("header", "[\"x-timestamp\"]");
                }
                None
            }
            _ => Some(TimestampPlace::Headers(headers)),
        };
        reader.finish();
        if optional && place.is_none() {
            return Some(None);
        }
        Some(Some(Self {
            place: place?,
            millis: unit.unwrap_or(false),
            past,
            future,
        }))
    }

    /// The timestamp as received, once it is known to be near enough.
    fn check<'a>(
        &self,
        arrival: &Arrival<'a>,
        header: &'a str,
        format: &Format,
    ) -> Result<&'a str, Refusal> {
        let text = match &self.place {
            TimestampPlace::Headers(names) => {
                first_header(arrival.parts, names).ok_or_else(|| missing(names))?
            }
            TimestampPlace::Key(key) => format.timestamp(header, key).ok_or_else(|| {
                Refusal::new(
                    RefusalCode::CredentialMissing,
                    format!("the signature header has no timestamp `{key}`"),
                )
            })?,
        };
        let unreadable = || {
            Refusal::new(
                RefusalCode::CredentialWrong,
                "the timestamp is not a number in range",
            )
        };
        let number: i64 = text.parse().map_err(|_not_a_number| unreadable())?;
        let at = if self.millis {
            Timestamp::from_millisecond(number)
        } else {
            Timestamp::from_second(number)
        }
        .map_err(|_out_of_range| unreadable())?;
        let age = arrival.now.duration_since(at);
        if age > self.past {
            return Err(stale(&format!("{age:#} old, more than {:#}", self.past)));
        }
        match self.future {
            Some(future) if -age > future => Err(stale(&format!(
                "{:#} ahead of this machine's clock, more than {future:#}",
                -age
            ))),
            _ => Ok(text),
        }
    }

    fn text(&self, now: Timestamp) -> String {
        if self.millis {
            now.as_millisecond().to_string()
        } else {
            now.as_second().to_string()
        }
    }
}

fn stale(what: &str) -> Refusal {
    Refusal::new(
        RefusalCode::Stale,
        format!("the signed timestamp is {what}"),
    )
}
