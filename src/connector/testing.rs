//! Connectors and requests for tests.

use jiff::Timestamp;
use serde_json::Value;

use super::folder::Folder;
use super::{
    Connector, Inbound, InboundRequest, Reception, RequestParts, SourceOptions, Unverified,
    Verification,
};
use crate::diagnostic::Diagnostic;
use crate::model::{Settings, SourceName};

/// A connector with these tables after its head.
pub(super) fn connector(tables: &str) -> Result<Connector, Vec<Diagnostic>> {
    let text = format!("format = 1\ntitle = \"Test\"\nsummary = \"A test.\"\n{tables}");
    let folder = Folder::of(&[("connector.toml", &text)]);
    Connector::from_folder("test", &folder).map(|(connector, _)| connector)
}

/// A source of a connector with one secret field `secret` and this `[inbound…]`.
pub(super) fn source(inbound: &str, secret: &str, public_url: &str) -> Inbound {
    let settings = serde_json::json!({ "secret": secret });
    source_with(inbound, settings, public_url)
}

pub(super) fn source_with(inbound: &str, settings: Value, public_url: &str) -> Inbound {
    let field = "[[field]]\nkey = \"secret\"\nsecret = true\nlist = true\n";
    let connector = connector(&format!("{field}{inbound}")).unwrap();
    let options = options(public_url);
    Inbound::new(&connector, &Settings::from_json(settings), &options)
        .unwrap()
        .0
}

pub(super) fn options(public_url: &str) -> SourceOptions {
    SourceOptions {
        source: SourceName::new("test").unwrap(),
        public_url: public_url.to_owned(),
        verification: Verification::AsConnector,
        dedupe_window: None,
    }
}

pub(super) fn request(
    method: &str,
    query: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> InboundRequest<Unverified> {
    InboundRequest::new(RequestParts {
        method: method.to_owned(),
        path_token: None,
        query: query.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: bytes::Bytes::copy_from_slice(body),
    })
}

pub(super) fn accepts(
    source: &Inbound,
    request: &InboundRequest<Unverified>,
    now: Timestamp,
) -> bool {
    matches!(source.receive(request.clone(), now), Reception::Verified(_))
}
