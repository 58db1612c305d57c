//! Why a test request could not be signed.

/// Why a request could not be signed as the vendor would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// There is no secret to sign with.
    #[error("there is no secret to sign with")]
    NoSecret,
    /// The vendor signs with a private key that nobody else has.
    #[error(
        "the vendor signs with its own private key: set a private key of yours (PEM) where the public one is expected, and the source accepts and signs with that pair instead"
    )]
    NoPrivateKey,
    /// What has to be signed is not there.
    #[error("cannot be signed: {0}")]
    Content(String),
}
