//! Public-key signatures: Ed25519 and RSA PKCS#1 v1.5 with SHA-256.
//!
//! A *private* key may stand where a public one is expected: its public half verifies, and the
//! source can sign its own test requests. So connectors whose vendors keep the private key can be
//! tested with a key pair made for the test.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::arrival::{Arrival, Site};
use super::envelope::Envelope;
use crate::connector::field::Checked;
use crate::connector::reader::Reader;
use crate::connector::request::{Refusal, RefusalCode, RequestParts};
use crate::connector::sign::SignError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Ed25519,
    RsaSha256,
}

enum PrivateKey {
    Ed25519(Ed25519KeyPair),
    RsaSha256(rsa::KeyPair),
}

struct Key {
    public: ParsedPublicKey,
    private: Option<PrivateKey>,
}

/// See the module.
pub(in crate::connector) struct Asymmetric {
    algorithm: Algorithm,
    envelope: Envelope,
    keys: Vec<Key>,
    not_after: Option<Timestamp>,
}

impl Asymmetric {
    pub(super) fn read(reader: &Reader<'_>, settings: &Checked) -> Option<Self> {
        let algorithms = [
            ("ed25519", Algorithm::Ed25519),
            ("rsa-pkcs1-sha256", Algorithm::RsaSha256),
        ];
        let algorithm = reader.choice("algorithm", &algorithms);
        if !reader.has("algorithm") {
            reader.missing("algorithm", "\"ed25519\"");
        }
        let not_after = reader.text("not_after").and_then(|text| {
            let parsed = text.value.parse().ok();
            if parsed.is_none() {
                reader.log.error_with_help(
                    text.span,
                    "`not_after` is no moment",
                    "write for example `2026-09-01T00:00:00Z`",
                );
            }
            parsed
        });
        let keys = algorithm.and_then(|algorithm| read_keys(reader, settings, algorithm));
        let envelope = Envelope::read(reader, settings)?;
        Some(Self {
            algorithm: algorithm?,
            envelope,
            keys: keys?,
            not_after,
        })
    }

    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    pub(super) fn told(&self, arrival: &Arrival<'_>) -> String {
        let algorithm = match self.algorithm {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::RsaSha256 => "rsa-pkcs1-sha256",
        };
        self.envelope.told(algorithm, arrival)
    }

    pub(super) fn verify(&self, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        if self.not_after.is_some_and(|end| arrival.now >= end) {
            return Err(Refusal::new(
                RefusalCode::CredentialWrong,
                "this kind of signature is not accepted any more",
            ));
        }
        let sealed = self.envelope.open(arrival)?;
        for url in self.envelope.urls(arrival) {
            let mut joined = Vec::new();
            let content = if self.envelope.content.is_body() {
                &arrival.parts.body[..]
            } else {
                let content = &self.envelope.content;
                content.feed(&sealed.material, &url, &[], &mut |bytes| {
                    joined.extend_from_slice(bytes);
                })?;
                &joined
            };
            for key in &self.keys {
                for signature in &sealed.signatures {
                    if key.public.verify_sig(content, signature).is_ok() {
                        return Ok(());
                    }
                }
            }
        }
        Err(Refusal::new(
            RefusalCode::CredentialWrong,
            "the signature is not by the vendor's key",
        ))
    }

    pub(super) fn sign(
        &self,
        parts: &mut RequestParts,
        site: Site<'_>,
        now: Timestamp,
    ) -> Result<(), SignError> {
        let private = self.keys.iter().find_map(|key| key.private.as_ref());
        let private = private.ok_or(SignError::NoPrivateKey)?;
        let stamp = self.envelope.prepare(parts, now);
        let mut content = Vec::new();
        self.envelope
            .feed_for_signing(&site.arrival(parts, now), &stamp, &[], &mut |bytes| {
                content.extend_from_slice(bytes);
            })?;
        let signature = private.sign(&content)?;
        self.envelope.seal(parts, &stamp, &signature);
        Ok(())
    }

    pub(super) fn can_sign(&self) -> bool {
        self.keys.iter().any(|key| key.private.is_some())
    }
}

/// The field's keys, where it is set, in place of the connector's own.
fn read_keys(reader: &Reader<'_>, settings: &Checked, algorithm: Algorithm) -> Option<Vec<Key>> {
    let own = reader.texts("keys");
    let field = reader.text("secret");
    let set: Vec<_> = field
        .iter()
        .flat_map(|field| settings.values_of(&field.value))
        .map(|secret| (secret, field.as_ref().map(|f| f.span.clone())))
        .filter(|(secret, _)| !settings.sample || secret.expose().contains("KEY"))
        .collect();
    let texts: Vec<(String, std::ops::Range<usize>)> = if set.is_empty() {
        own.into_iter().map(|t| (t.value, t.span)).collect()
    } else {
        set.into_iter()
            .map(|(secret, span)| (secret.expose().to_owned(), span.unwrap_or_default()))
            .collect()
    };
    if texts.is_empty() && !settings.may_lack_keys() {
        reader.log.error_with_help(
            reader.span.clone(),
            "there is no public key to verify with",
            "set `keys`, or the field that `secret` names",
        );
        return None;
    }
    let mut keys = Vec::new();
    for (text, span) in texts {
        match Key::parse(algorithm, &text) {
            Some(key) => keys.push(key),
            None => {
                reader.log.error_with_help(
                    span,
                    "this is no key of the stated algorithm",
                    "write a PEM (`-----BEGIN PUBLIC KEY-----`), or `whpk_` and base64 for Ed25519",
                );
                return None;
            }
        }
    }
    Some(keys)
}

impl Key {
    fn parse(algorithm: Algorithm, text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(raw) = text.strip_prefix("whpk_") {
            return Self::public(algorithm, &STANDARD.decode(raw).ok()?);
        }
        if let Some(raw) = text.strip_prefix("whsk_") {
            let bytes = STANDARD.decode(raw).ok()?;
            let pair = Ed25519KeyPair::from_seed_unchecked(bytes.get(..32)?).ok()?;
            return Self::private(algorithm, PrivateKey::Ed25519(pair));
        }
        let (label, der) = pem(text)?;
        if !label.ends_with("PRIVATE KEY") {
            return Self::public(algorithm, &der);
        }
        let private = match algorithm {
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(&der)
                    .or_else(|_v1| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der));
                PrivateKey::Ed25519(pair.ok()?)
            }
            Algorithm::RsaSha256 => PrivateKey::RsaSha256(rsa::KeyPair::from_pkcs8(&der).ok()?),
        };
        Self::private(algorithm, private)
    }

    fn public(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let public = match algorithm {
            Algorithm::Ed25519 => ParsedPublicKey::new(&ED25519, bytes),
            Algorithm::RsaSha256 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, bytes),
        };
        Some(Self {
            public: public.ok()?,
            private: None,
        })
    }

    fn private(algorithm: Algorithm, private: PrivateKey) -> Option<Self> {
        let mut key = match (&private, algorithm) {
            (PrivateKey::Ed25519(pair), Algorithm::Ed25519) => {
                Self::public(algorithm, pair.public_key().as_ref())
            }
            (PrivateKey::RsaSha256(pair), Algorithm::RsaSha256) => {
                Self::public(algorithm, pair.public_key().as_ref())
            }
            _ => None,
        }?;
        key.private = Some(private);
        Some(key)
    }
}

impl PrivateKey {
    fn sign(&self, content: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(content).as_ref().to_vec()),
            Self::RsaSha256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    content,
                    &mut signature,
                )
                .map_err(|_unspecified| SignError::NoPrivateKey)?;
                Ok(signature)
            }
        }
    }
}

/// The label and the bytes of a PEM. Line breaks may have been lost on the way through a setting.
fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let rest = text.strip_prefix("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END")?;
    let body: String = body
        .replace("\\n", "")
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .collect();
    Some((label, STANDARD.decode(body).ok()?))
}
