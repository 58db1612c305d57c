//! Connectors: how to talk to one product, as data.
//!
//! A connector is a folder (see `connectors/README.md` for the vocabulary). This module reads it,
//! reports every mistake in it at once, and compiles it with an operator's settings into an
//! [`Inbound`] (verify a request, answer a handshake, derive the duplicate key) or an [`Outbound`]
//! (resolve an address, render a request, judge an answer).
//!
//! Everything here is pure: no network, no clock, no storage. Verification works on the raw bytes
//! received, compares in constant time, and is the only way to a [`VerifiedRequest`].

mod api;
mod blame;
mod body;
mod case;
mod catalogue;
mod derive;
mod field;
mod fill;
mod folder;
mod gather;
mod handshake;
mod inbound;
mod lookup;
mod manifest;
mod not_before;
mod outbound;
mod outgoing;
mod reader;
mod redact;
mod renew;
mod request;
mod response;
mod run;
mod sign;
mod tenant;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verify;
mod xml;

pub(crate) use api::bearer;
pub use api::{Api, ApiAuth, ClientAuth, OAuth2};
pub use body::{BodyError, BodyKind};
pub use case::{Case, CaseKind, InboundCase, OutboundCase};
pub use catalogue::Catalogue;
pub use derive::{Derived, LookUp, Reading};
pub use field::{Field, Role};
pub use gather::{Answers, GivenAnswers, Standing};
pub use inbound::{Inbound, SourceOptions, Verification};
pub use lookup::{LookupStep, LookupVerdict, Lookups, NotAsked, Question};
pub use manifest::{Connector, InboundFacts, OutboundFacts};
pub(crate) use outbound::secret_forms;
pub use outbound::{
    DestinationAnswer, Outbound, PreparedRequest, RenderError, RenderInput, Target, Transport,
    Verdict, outcome_value,
};
pub use renew::Renewal;
pub use request::{
    Answer, InboundRequest, Reception, Refusal, RefusalCode, RequestParts, UnsignedRequest,
    Unverified, VERIFIED_BY, Verified, VerifiedRequest,
};
pub use run::{CaseReport, destination_of, outcome_of, request_of, run_cases, source_of};
pub use sign::SignError;
pub use verify::Strength;

/// A folder of two texts, read for a fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_texts(connector: &str, mapping: &str) {
    let folder = folder::Folder::of(&[("connector.toml", connector), ("mapping.toml", mapping)]);
    if let Ok((connector, _warnings)) = Connector::from_folder("fuzzed", &folder) {
        let _reports = run_cases(&connector);
    }
}
