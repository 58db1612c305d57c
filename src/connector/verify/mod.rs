//! Who sent it: the kinds of verification and their combinations.
//!
//! Verification looks at the raw bytes only. It answers with a [`Refusal`] that says what to look at
//! and holds nothing of the request.

mod arrival;
mod asymmetric;
mod content;
mod envelope;
mod format;
mod jwt;
mod mac;
mod secret;
mod timestamp;
mod token;
mod url;
#[cfg(test)]
mod vectors;

use jiff::Timestamp;

use super::field::Checked;
use super::reader::Reader;
use super::redact::Redaction;
use super::request::{Refusal, RefusalCode, RequestParts};
use super::sign::SignError;

pub(super) use arrival::{Arrival, Site};

/// One kind of verification, ready to be used.
pub(super) enum Verifier {
    /// A keyed hash.
    Mac(mac::Mac),
    /// A public-key signature.
    Asymmetric(asymmetric::Asymmetric),
    /// A signed token with claims.
    Jwt(jwt::Jwt),
    /// A shared value.
    Token(token::Token),
    /// The first whose credential is present.
    Any(Vec<Verifier>),
    /// Every one.
    All(Vec<Verifier>),
    /// Nothing; with the vendor's reason.
    None(String),
}

#[derive(Clone, Copy)]
enum Kind {
    Mac,
    Asymmetric,
    Jwt,
    Token,
    Any,
    All,
    None,
}

const KINDS: [(&str, Kind); 7] = [
    ("mac", Kind::Mac),
    ("asymmetric", Kind::Asymmetric),
    ("jwt", Kind::Jwt),
    ("token", Kind::Token),
    ("any", Kind::Any),
    ("all", Kind::All),
    ("none", Kind::None),
];

impl Verifier {
    /// Reads `[inbound.verify]`; `None` when a mistake was reported.
    pub(super) fn read(reader: Reader<'_>, settings: &Checked) -> Option<Self> {
        let kind = reader.required("kind", "\"mac\"")?;
        let verifier = match reader.choose("kind", &kind, &KINDS)? {
            Kind::Mac => mac::Mac::read(&reader, settings).map(Self::Mac),
            Kind::Asymmetric => {
                asymmetric::Asymmetric::read(&reader, settings).map(Self::Asymmetric)
            }
            Kind::Jwt => jwt::Jwt::read(&reader, settings).map(Self::Jwt),
            Kind::Token => token::Token::read(&reader, settings).map(Self::Token),
            Kind::Any => read_list(&reader, settings).map(Self::Any),
            Kind::All => read_list(&reader, settings).map(Self::All),
            Kind::None => reader
                .required("reason", "\"the vendor signs nothing\"")
                .map(|reason| Self::None(reason.value)),
        };
        reader.finish();
        verifier
    }

    /// Whether its credential is in the request, right or wrong.
    fn is_present(&self, arrival: &Arrival<'_>) -> bool {
        match self {
            Self::Mac(mac) => mac.envelope().is_present(arrival),
            Self::Asymmetric(asymmetric) => asymmetric.envelope().is_present(arrival),
            Self::Jwt(jwt) => jwt.is_present(arrival),
            Self::Token(token) => token.is_present(arrival),
            Self::Any(of) => of.iter().any(|one| one.is_present(arrival)),
            Self::All(of) => of.iter().all(|one| one.is_present(arrival)),
            Self::None(_) => true,
        }
    }

    /// Checks a request's credential.
    pub(super) fn verify(&self, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        match self {
            Self::Mac(mac) => mac.verify(arrival),
            Self::Asymmetric(asymmetric) => asymmetric.verify(arrival),
            Self::Jwt(jwt) => jwt.verify(arrival),
            Self::Token(token) => token.verify(arrival),
            // No falling back once a credential that is present has failed: that would make the
            // weakest kind decide.
            Self::Any(of) => match of.iter().find(|one| one.is_present(arrival)) {
                Some(one) => one.verify(arrival),
                None => Err(Refusal::new(
                    RefusalCode::CredentialMissing,
                    "none of the credentials that would do is in the request",
                )),
            },
            Self::All(of) => of.iter().try_for_each(|one| one.verify(arrival)),
            Self::None(_) => Ok(()),
        }
    }

    /// What a request that verifies is verified by, in words.
    pub(super) fn told(&self, arrival: &Arrival<'_>) -> String {
        match self {
            Self::Mac(mac) => mac.told(arrival),
            Self::Asymmetric(asymmetric) => asymmetric.told(arrival),
            Self::Jwt(jwt) => jwt.told(),
            Self::Token(token) => token.told(),
            Self::Any(of) => of
                .iter()
                .find(|one| one.is_present(arrival))
                .map_or_else(String::new, |one| one.told(arrival)),
            Self::All(of) => {
                let all: Vec<String> = of.iter().map(|one| one.told(arrival)).collect();
                all.join(", and ")
            }
            Self::None(_) => "nothing".to_owned(),
        }
    }

    /// Why nothing is verified, if nothing is.
    pub(super) fn unverified(&self) -> Option<&str> {
        match self {
            Self::None(reason) => Some(reason),
            Self::Any(of) => of.iter().find_map(Self::unverified),
            Self::All(of) => of
                .first()
                .and_then(Self::unverified)
                .filter(|_| of.iter().all(|one| one.unverified().is_some())),
            _ => None,
        }
    }

    /// Keeps credentials out of what is stored.
    pub(super) fn redact(&self, redaction: &mut Redaction) {
        match self {
            Self::Mac(mac) => redaction
                .headers
                .extend_from_slice(mac.envelope().headers()),
            Self::Asymmetric(asymmetric) => {
                let headers = asymmetric.envelope().headers();
                redaction.headers.extend_from_slice(headers);
            }
            Self::Jwt(jwt) => jwt.redact(redaction),
            Self::Token(token) => token.redact(redaction),
            Self::Any(of) | Self::All(of) => of.iter().for_each(|one| one.redact(redaction)),
            Self::None(_) => {}
        }
    }

    /// What a forger could change; decides which refusals a test may demand.
    pub(super) fn strength(&self) -> Strength {
        match self {
            Self::Mac(mac) => Strength::of(mac.envelope()),
            Self::Asymmetric(asymmetric) => Strength::of(asymmetric.envelope()),
            Self::Jwt(jwt) => Strength {
                verifies: true,
                covers_body: jwt.covers_body(),
                has_timestamp: false,
            },
            Self::Token(_) => Strength {
                verifies: true,
                ..Strength::default()
            },
            // The one that signs is the one that a test meets.
            Self::Any(of) => of
                .iter()
                .find(|one| one.can_sign())
                .or(of.first())
                .map(Self::strength)
                .unwrap_or_default(),
            Self::All(of) => of
                .iter()
                .map(Self::strength)
                .fold(Strength::default(), |all, one| Strength {
                    verifies: all.verifies || one.verifies,
                    covers_body: all.covers_body || one.covers_body,
                    has_timestamp: all.has_timestamp || one.has_timestamp,
                }),
            Self::None(_) => Strength::default(),
        }
    }

    fn can_sign(&self) -> bool {
        match self {
            Self::Asymmetric(asymmetric) => asymmetric.can_sign(),
            Self::Any(of) => of.iter().any(Self::can_sign),
            Self::All(of) => of.iter().all(Self::can_sign),
            _ => true,
        }
    }

    /// Whether it puts something into the body, the query or the path, which others sign.
    fn is_signed_by_others(&self) -> bool {
        matches!(self, Self::Token(_) | Self::Jwt(_))
    }

    /// Makes a request verify, as the vendor would.
    pub(super) fn sign(
        &self,
        parts: &mut RequestParts,
        site: Site<'_>,
        now: Timestamp,
    ) -> Result<(), SignError> {
        match self {
            Self::Mac(mac) => mac.sign(parts, site, now),
            Self::Asymmetric(asymmetric) => asymmetric.sign(parts, site, now),
            Self::Jwt(jwt) => jwt.sign(parts, now),
            Self::Token(token) => token.sign(parts),
            Self::Any(of) => match of.iter().find(|one| one.can_sign()) {
                Some(one) => one.sign(parts, site, now),
                None => Err(SignError::NoPrivateKey),
            },
            Self::All(of) => {
                let (first, then): (Vec<_>, Vec<_>) =
                    of.iter().partition(|one| one.is_signed_by_others());
                let mut ordered = first.into_iter().chain(then);
                ordered.try_for_each(|one| one.sign(parts, site, now))
            }
            Self::None(_) => Ok(()),
        }
    }
}

/// What verification protects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Strength {
    /// A credential is asked for.
    pub verifies: bool,
    /// Every byte of the body is signed.
    pub covers_body: bool,
    /// A signed timestamp is checked.
    pub has_timestamp: bool,
}

impl Strength {
    fn of(envelope: &envelope::Envelope) -> Self {
        Self {
            verifies: true,
            covers_body: envelope.covers_body(),
            has_timestamp: envelope.has_timestamp(),
        }
    }
}

fn read_list(reader: &Reader<'_>, settings: &Checked) -> Option<Vec<Verifier>> {
    let children = reader.children("of");
    if children.is_empty() {
        reader.missing("of", "[{ kind = \"mac\", … }]");
        return None;
    }
    // All are read before any is given up, so that all mistakes are reported.
    let read: Vec<Option<Verifier>> = children
        .into_iter()
        .map(|child| Verifier::read(child, settings))
        .collect();
    read.into_iter().collect()
}
