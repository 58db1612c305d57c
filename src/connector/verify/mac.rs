//! Keyed hashes over a byte template, and the older unkeyed kind with the secret inside it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use super::arrival::{Arrival, Site};
use super::content::Piece;
use super::envelope::{Envelope, Sealed};
use super::secret::{Keys, SecretForm};
use crate::connector::field::Checked;
use crate::connector::reader::Reader;
use crate::connector::request::{Refusal, RefusalCode, RequestParts};
use crate::connector::sign::SignError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    HmacSha256,
    HmacSha1,
    HmacSha512,
    /// Unkeyed; the secret stands in the content.
    Sha256,
}

/// A hash that has taken its key and waits for the content. Cloned per request.
#[derive(Clone)]
enum Hasher {
    HmacSha256(Hmac<Sha256>),
    HmacSha1(Hmac<Sha1>),
    HmacSha512(Hmac<Sha512>),
    Sha256(Sha256),
}

/// One live secret.
struct Key {
    hasher: Hasher,
    bytes: Vec<u8>,
}

/// See the module.
pub(in crate::connector) struct Mac {
    envelope: Envelope,
    keys: Vec<Key>,
    field: String,
}

impl Mac {
    pub(super) fn read(reader: &Reader<'_>, settings: &Checked) -> Option<Self> {
        let algorithms = [
            ("hmac-sha256", Algorithm::HmacSha256),
            ("hmac-sha1", Algorithm::HmacSha1),
            ("hmac-sha512", Algorithm::HmacSha512),
            ("sha256", Algorithm::Sha256),
        ];
        let algorithm = reader
            .choice("algorithm", &algorithms)
            .unwrap_or(Algorithm::HmacSha256);
        let form = SecretForm::read(reader);
        let keys = Keys::read(reader, settings, form);
        let envelope = Envelope::read(reader, settings)?;
        let secret_inside = envelope.content.has(&Piece::Secret);
        if secret_inside != (algorithm == Algorithm::Sha256) {
            reader.log.error_with_help(
                reader.span.clone(),
                "an unkeyed hash needs the secret in what is signed, and a keyed one must not have it",
                "`algorithm = \"sha256\"` goes with `{secret}` in `content`, the others without",
            );
        }
        let keys = keys?;
        Some(Self {
            envelope,
            keys: keys
                .bytes
                .into_iter()
                .map(|bytes| Key::new(algorithm, bytes))
                .collect(),
            field: keys.field,
        })
    }

    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    pub(super) fn told(&self, arrival: &Arrival<'_>) -> String {
        let algorithm = match self.keys.first().map(|key| &key.hasher) {
            Some(Hasher::HmacSha256(_)) => "hmac-sha256",
            Some(Hasher::HmacSha1(_)) => "hmac-sha1",
            Some(Hasher::HmacSha512(_)) => "hmac-sha512",
            Some(Hasher::Sha256(_)) | None => "sha256",
        };
        self.envelope.told(algorithm, arrival)
    }

    pub(super) fn verify(&self, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let sealed = self.envelope.open(arrival)?;
        let urls = self.envelope.urls(arrival);
        for key in &self.keys {
            for url in &urls {
                if self.matches(key, url, &sealed)? {
                    return Ok(());
                }
            }
        }
        Err(Refusal::new(
            RefusalCode::CredentialWrong,
            format!(
                "the signature is not one of `{}`: compare the secret with the vendor's{}",
                self.field,
                if self.envelope.content.has(&Piece::Url) {
                    ", and the source's public URL with the one that the vendor calls"
                } else {
                    ""
                }
            ),
        ))
    }

    fn matches(&self, key: &Key, url: &str, sealed: &Sealed<'_>) -> Result<bool, Refusal> {
        let mut hasher = key.hasher.clone();
        self.envelope
            .content
            .feed(&sealed.material, url, &key.bytes, &mut |bytes| {
                hasher.update(bytes);
            })?;
        let tag = hasher.finish();
        // Every signature is compared, so that the time does not tell which one came near.
        Ok(sealed.signatures.iter().fold(false, |found, signature| {
            found | bool::from(signature.as_slice().ct_eq(&tag))
        }))
    }

    /// Signs as the vendor would, with the first live secret.
    pub(super) fn sign(
        &self,
        parts: &mut RequestParts,
        site: Site<'_>,
        now: Timestamp,
    ) -> Result<(), SignError> {
        let key = self.keys.first().ok_or(SignError::NoSecret)?;
        let stamp = self.envelope.prepare(parts, now);
        let arrival = site.arrival(parts, now);
        let mut hasher = key.hasher.clone();
        self.envelope
            .feed_for_signing(&arrival, &stamp, &key.bytes, &mut |bytes| {
                hasher.update(bytes);
            })?;
        let tag = hasher.finish();
        self.envelope.seal(parts, &stamp, &tag);
        Ok(())
    }
}

impl Key {
    fn new(algorithm: Algorithm, bytes: Vec<u8>) -> Self {
        // HMAC takes keys of any length: these constructors cannot fail.
        let taken = "HMAC takes a key of any length";
        let hasher = match algorithm {
            Algorithm::HmacSha256 => Hasher::HmacSha256(Hmac::new_from_slice(&bytes).expect(taken)),
            Algorithm::HmacSha1 => Hasher::HmacSha1(Hmac::new_from_slice(&bytes).expect(taken)),
            Algorithm::HmacSha512 => Hasher::HmacSha512(Hmac::new_from_slice(&bytes).expect(taken)),
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
        };
        Self { hasher, bytes }
    }
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::HmacSha256(hasher) => hasher.update(bytes),
            Self::HmacSha1(hasher) => hasher.update(bytes),
            Self::HmacSha512(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => sha2::Digest::update(hasher, bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::HmacSha256(hasher) => hasher.finalize().into_bytes().to_vec(),
            Self::HmacSha1(hasher) => hasher.finalize().into_bytes().to_vec(),
            Self::HmacSha512(hasher) => hasher.finalize().into_bytes().to_vec(),
            Self::Sha256(hasher) => sha2::Digest::finalize(hasher).to_vec(),
        }
    }
}
