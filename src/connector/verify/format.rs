//! How a signature header is laid out, and how the signature's bytes are written in it.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::connector::reader::Reader;

/// More than any vendor sends; bounds the work that one request can cause.
pub(super) const MAX_SIGNATURES: usize = 16;

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
pub(super) enum Format {
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

impl Format {
    pub(super) fn read(reader: &Reader<'_>) -> Option<Self> {
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
        let prefix = reader.text("prefix").filter(|text| !text.value.is_empty());
        let separator = reader.text("separator");
        let separator = separator.filter(|text| !text.value.is_empty());
        let signature_key = reader.text("signature_key");
        let version = reader.text("version");
        let kind = if reader.has("format") {
            reader.choice("format", &kinds)?
        } else {
            Kind::Plain
        };
        let unused = match kind {
            Kind::Plain => separator.as_ref().map(|text| ("separator", text)),
            Kind::List => prefix
                .as_ref()
                .map(|text| ("prefix", text))
                .or(separator.as_ref().map(|text| ("separator", text))),
            Kind::Pairs | Kind::Fields => prefix.as_ref().map(|text| ("prefix", text)),
        };
        if let Some((key, text)) = unused {
            reader.log.error_with_help(
                text.span.clone(),
                format!("a header of this `format` has no {key}"),
                "`prefix` goes with the format \"plain\", `separator` with \"pairs\" and \"fields\"; leave out what is not read",
            );
        }
        let prefix = prefix.map(|text| text.value).unwrap_or_default();
        let separator = separator.map(|text| text.value);
        let version = version.map_or_else(|| "v1".to_owned(), |text| text.value);
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

    pub(super) fn signatures<'h>(
        &'h self,
        header: &'h str,
    ) -> Box<dyn Iterator<Item = &'h str> + 'h> {
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
    pub(super) fn timestamp<'h>(&self, header: &'h str, key: &str) -> Option<&'h str> {
        match self {
            Self::Fields { separator, .. } => {
                let place: usize = key.parse().ok()?;
                header.split(separator.as_str()).nth(place.checked_sub(1)?)
            }
            _ => self.pairs(header).find(|(k, _)| *k == key).map(|(_, v)| v),
        }
    }

    pub(super) fn write(
        &self,
        signature: &str,
        timestamp_key: Option<&str>,
        timestamp: &str,
    ) -> String {
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
