//! One event with its whole story, as `events explain` tells it.

use actix_web::{HttpResponse, web};
use maud::html;

use super::format;
use super::layout::{self, Visitor};
use crate::http::admin::events;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::model::IdError;

/// Characters of a story that are shown.
const LONGEST: usize = 200_000;

/// The page of an event.
pub(super) fn link(id: &str) -> String {
    let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("/console/events/{id}")
}

/// The story of an event in words.
pub(super) async fn told(office: &Office, id: &str) -> Result<String, ApiError> {
    let id = id
        .parse()
        .map_err(|error: IdError| ApiError::new(Code::BadRequest, error.to_string()))?;
    let story = events::story(office, id).await?;
    let mut told = crate::story::tell(&story);
    let shown = format::cut(&told, LONGEST).0.len();
    if shown < told.len() {
        told.truncate(shown);
        told.push_str("…\nThe rest is told by `outcome-bridge events explain`.\n");
    }
    Ok(told)
}

pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<String>,
    office: web::Data<Office>,
) -> HttpResponse {
    match told(&office, &path).await {
        Ok(told) => layout::page(
            &visitor,
            "Event",
            &html! {
                h1 { "Event" }
                section class="card" { pre tabindex="0" role="region" aria-label="Story of the event" { (told) } }
                p class="hint" { "The same as JSON: " a href={ "/admin/v1/events/" (path) } { "event" } "." }
            },
        ),
        Err(error) => layout::failure(&visitor, &error),
    }
}
