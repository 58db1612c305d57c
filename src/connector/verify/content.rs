//! The byte template of what is signed: literals and pieces of the request.

use std::borrow::Cow;

use serde_json::Value;

use super::arrival::Arrival;
use crate::connector::request::{Refusal, RefusalCode};

/// One part of the signed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(Vec<u8>),
    Method,
    Url,
    Body,
    Timestamp,
    Id,
    Secret,
    SortedForm,
    Json(String),
}

/// The signed bytes as a list of pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content(Vec<Piece>);

/// What the pieces are for one request. Borrowed as received: nothing is printed anew.
pub(super) struct Material<'a> {
    pub(super) arrival: &'a Arrival<'a>,
    pub(super) timestamp: &'a str,
    pub(super) id: &'a str,
    /// The body's hash stands in the URL (Twilio's JSON bodies), so the form is not signed.
    pub(super) hash_in_url: bool,
}

impl Content {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.as_bytes().to_vec()));
            }
            let (name, after) = after
                .split_once('}')
                .ok_or("`{` without `}` in what is signed")?;
            pieces.push(Piece::named(name)?);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.as_bytes().to_vec()));
        }
        Ok(Self(pieces))
    }

    pub(super) fn has(&self, piece: &Piece) -> bool {
        self.0.contains(piece)
    }

    /// Whether every byte of the body is signed.
    pub(super) fn covers_body(&self) -> bool {
        self.has(&Piece::Body)
    }

    /// Whether anything of the body is signed, if only one value of it.
    pub(super) fn touches_body(&self) -> bool {
        let of_body =
            |piece: &Piece| matches!(piece, Piece::Body | Piece::SortedForm | Piece::Json(_));
        self.0.iter().any(of_body)
    }

    /// Whether the body alone is signed, so that it need not be copied.
    pub(super) fn is_body(&self) -> bool {
        self.0 == [Piece::Body]
    }

    /// Hands the signed bytes to `sink`, piece by piece, without joining them.
    pub(super) fn feed(
        &self,
        material: &Material<'_>,
        url: &str,
        secret: &[u8],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Refusal> {
        let parts = material.arrival.parts;
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => sink(bytes),
                Piece::Method => sink(parts.method.as_bytes()),
                Piece::Url => sink(url.as_bytes()),
                Piece::Body => sink(&parts.body),
                Piece::Timestamp => sink(material.timestamp.as_bytes()),
                Piece::Id => sink(material.id.as_bytes()),
                Piece::Secret => sink(secret),
                Piece::SortedForm if material.hash_in_url => {}
                Piece::SortedForm => feed_sorted_form(&parts.body, sink),
                Piece::Json(pointer) => sink(json_text(material.arrival, pointer)?.as_bytes()),
            }
        }
        Ok(())
    }
}

impl Piece {
    fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "method" => Self::Method,
            "url" => Self::Url,
            "body" => Self::Body,
            "timestamp" => Self::Timestamp,
            "id" => Self::Id,
            "secret" => Self::Secret,
            "sorted_form" => Self::SortedForm,
            _ => match name.strip_prefix("json:/") {
                Some(pointer) => Self::Json(format!("/{pointer}")),
                None => {
                    return Err(format!(
                        "`{{{name}}}` cannot be signed; known: method, url, body, timestamp, id, secret, sorted_form, json:/pointer"
                    ));
                }
            },
        })
    }
}

/// Twilio's rule: names in byte order, the distinct values of each in byte order, name and value
/// one after the other.
fn feed_sorted_form(body: &[u8], sink: &mut dyn FnMut(&[u8])) {
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = form_urlencoded::parse(body).collect();
    pairs.sort();
    pairs.dedup();
    for (name, value) in pairs {
        sink(name.as_bytes());
        sink(value.as_bytes());
    }
}

fn json_text<'a>(arrival: &'a Arrival<'_>, pointer: &str) -> Result<Cow<'a, str>, Refusal> {
    let event = arrival
        .event()
        .map_err(|error| Refusal::new(RefusalCode::BodyUnreadable, error.to_string()))?;
    match event.pointer(pointer) {
        Some(Value::String(text)) => Ok(Cow::Borrowed(text)),
        Some(Value::Number(number)) => Ok(Cow::Owned(number.to_string())),
        _ => Err(Refusal::new(
            RefusalCode::CredentialMissing,
            format!("what is signed, `{pointer}`, is not in the body"),
        )),
    }
}
