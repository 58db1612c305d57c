//! A field's live secrets as key bytes.

use std::ops::Range;

use super::format::Encoding;
use crate::connector::field::Checked;
use crate::connector::reader::Reader;

/// Shorter keys can be guessed; no vendor's are so short.
const SHORT: usize = 8;

/// How the secret's text becomes key bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretForm {
    /// Its UTF-8 bytes as they are.
    Raw,
    Hex,
    Base64,
    /// `whsec_` is taken off, the rest is base64.
    Whsec,
}

impl SecretForm {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let forms = [
            ("raw", Self::Raw),
            ("hex", Self::Hex),
            ("base64", Self::Base64),
            ("whsec", Self::Whsec),
        ];
        reader.choice("secret_form", &forms).unwrap_or(Self::Raw)
    }

    fn bytes(self, text: &str) -> Result<Vec<u8>, &'static str> {
        let text = text.trim();
        let bytes = match self {
            Self::Raw => Some(text.as_bytes().to_vec()),
            Self::Hex => Encoding::Hex.decode(text),
            Self::Base64 => Encoding::Base64.decode(text),
            Self::Whsec => Encoding::Base64.decode(text.strip_prefix("whsec_").unwrap_or(text)),
        };
        match bytes {
            Some(bytes) if bytes.is_empty() => Err("is empty"),
            Some(bytes) => Ok(bytes),
            None if self == Self::Hex => Err("is not hex"),
            None => Err("is not base64"),
        }
    }
}

/// The live secrets of one field. An empty list only where nothing is verified by them.
pub(super) struct Keys {
    pub(super) field: String,
    /// Where the connector names the field.
    pub(super) span: Range<usize>,
    pub(super) bytes: Vec<Vec<u8>>,
}

impl Keys {
    /// Reads `secret = "field"`. An empty or missing secret is a mistake: it would verify anything.
    pub(super) fn read(reader: &Reader<'_>, settings: &Checked, form: SecretForm) -> Option<Self> {
        let field = reader.required("secret", "\"signing_secret\"")?;
        let mut bytes = Vec::new();
        let secrets = settings.values_of(&field.value);
        if secrets.is_empty() && !settings.may_lack_keys() {
            reader.log.error_with_help(
                field.span.clone(),
                format!("`{}` is not set", field.value),
                "without a secret nothing can be verified: set it at the source",
            );
            return None;
        }
        for secret in secrets {
            match form.bytes(secret.expose()) {
                Ok(key) => bytes.push(key),
                Err(problem) => {
                    reader.log.error_with_help(
                        field.span,
                        format!("the value of `{}` {problem}", field.value),
                        "copy it from the vendor again, whole and without quotes",
                    );
                    return None;
                }
            }
        }
        if bytes.iter().any(|key| key.len() < SHORT) {
            reader.log.warning_at(
                field.span.clone(),
                format!("the value of `{}` has fewer than {SHORT} bytes: it can be guessed", field.value),
                "if it is yours to choose, take a long random text, such as from `openssl rand -hex 32`",
            );
        }
        Some(Self {
            span: field.span,
            field: field.value,
            bytes,
        })
    }
}
