//! What verification looks at: the request as received, with the costly views of it made at most once.

use std::cell::OnceCell;

use jiff::Timestamp;
use serde_json::Value;

use crate::connector::body::{BodyError, BodyKind, decode_body};
use crate::connector::request::{RequestParts, headers_value, query_value};
use crate::mapping::Scope;

/// What a source is, as far as verification has to know.
#[derive(Clone, Copy)]
pub(in crate::connector) struct Site<'a> {
    /// How its bodies are written.
    pub(in crate::connector) kind: BodyKind,
    /// The URL that the vendor was told, without a query.
    pub(in crate::connector) public_url: &'a str,
    /// The settings that may be shown.
    pub(in crate::connector) settings: &'a Value,
}

impl<'a> Site<'a> {
    /// Looks at a request that came here.
    pub(in crate::connector) fn arrival(
        self,
        parts: &'a RequestParts,
        now: Timestamp,
    ) -> Arrival<'a> {
        Arrival {
            parts,
            site: self,
            now,
            event: OnceCell::new(),
            headers: OnceCell::new(),
            query: OnceCell::new(),
            method: OnceCell::new(),
        }
    }
}

/// A request under examination.
pub(in crate::connector) struct Arrival<'a> {
    pub(in crate::connector) parts: &'a RequestParts,
    pub(in crate::connector) site: Site<'a>,
    pub(in crate::connector) now: Timestamp,
    event: OnceCell<Result<Value, BodyError>>,
    headers: OnceCell<Value>,
    query: OnceCell<Value>,
    method: OnceCell<Value>,
}

impl Arrival<'_> {
    /// The body as a tree, read when it is first asked for.
    pub(in crate::connector) fn event(&self) -> Result<&Value, &BodyError> {
        self.event
            .get_or_init(|| decode_body(self.site.kind, &self.parts.body))
            .as_ref()
    }
}

impl Scope for Arrival<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "event" => self.event().ok(),
            "header" => Some(
                self.headers
                    .get_or_init(|| headers_value(&self.parts.headers)),
            ),
            "query" => Some(self.query.get_or_init(|| query_value(&self.parts.query))),
            "method" => Some(
                self.method
                    .get_or_init(|| Value::String(self.parts.method.clone())),
            ),
            "setting" => Some(self.site.settings),
            _ => None,
        }
    }
}
