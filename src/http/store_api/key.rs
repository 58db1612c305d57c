//! Who calls: the key of a request, and what it opens.

use actix_web::HttpRequest;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::StoreApis;
use super::input::Trouble;
use crate::config::{StoreApi, StoreKey};
use crate::http::error::Code;
use crate::model::Basis;

/// A client whose key opens this API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// Who wrote what it writes.
    pub(super) actor: String,
    /// The agents whose calls it reaches; `None`: all.
    pub(super) scope: Option<Vec<String>>,
    pub(super) basis: Basis,
}

impl Client {
    /// Whether it reaches the calls of an agent.
    pub(super) fn reaches(&self, agent: &str) -> bool {
        self.scope
            .as_ref()
            .is_none_or(|agents| agents.iter().any(|known| known == agent))
    }
}

/// The client, by the text in `header`; with or without the word Bearer.
pub(super) fn admit(
    request: &HttpRequest,
    apis: &StoreApis,
    api: StoreApi,
    header: &str,
) -> Result<Client, Trouble> {
    let given = request.headers().get(header).map(|value| {
        let bytes = value.as_bytes();
        match bytes.get(..7) {
            Some(scheme) if scheme.eq_ignore_ascii_case(b"bearer ") => {
                bytes[7..].trim_ascii_start()
            }
            _ => bytes,
        }
    });
    match given {
        None if apis.open.contains(&api) => Ok(Client {
            actor: format!("api:{}", api.as_str()),
            scope: None,
            basis: Basis::Reported,
        }),
        None => Err(Trouble::new(
            Code::Unauthorized,
            format!("bring a key in the header {header}"),
        )),
        Some(given) => {
            let key = find(&apis.keys, given)
                .filter(|key| key.apis.contains(&api))
                .ok_or_else(|| Trouble::new(Code::Unauthorized, "this key opens nothing here"))?;
            if key.expires.is_some_and(|end| end <= apis.clock.now()) {
                return Err(Trouble::new(Code::Unauthorized, "this key has expired"));
            }
            Ok(Client {
                actor: format!("api:{}/{}", api.as_str(), key.name),
                scope: key.agents.clone(),
                basis: key.basis,
            })
        }
    }
}

/// Looks at every hash, so that the time tells nothing.
fn find<'a>(keys: &'a [StoreKey], given: &[u8]) -> Option<&'a StoreKey> {
    let given: [u8; 32] = Sha256::digest(given).into();
    let mut found = None;
    for key in keys {
        for hash in &key.hashes {
            if bool::from(hash.ct_eq(&given)) {
                found = Some(key);
            }
        }
    }
    found
}
