//! Sources: where their senders post to, and what was noticed about them.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::http::auth::Admin;
use crate::http::error::ApiError;
use crate::http::state::Office;

pub(super) async fn list(_: Admin, office: web::Data<Office>) -> Result<HttpResponse, ApiError> {
    let sources: Vec<_> = office
        .sources
        .values()
        .map(|source| {
            json!({
                "name": source.name,
                "connector": source.connector.name,
                "title": source.connector.title,
                "path": format!("/webhooks/{}", source.name),
                "verified": source.inbound.unverified().is_none(),
                "mapping": source.rules().file,
                "lookups": office.lookups.state(&source.name),
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "items": sources, "warnings": office.warnings })))
}
