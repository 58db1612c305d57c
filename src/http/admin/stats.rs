//! The numbers of the whole bridge.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::http::auth::Admin;
use crate::http::error::ApiError;
use crate::http::state::Office;

pub(super) async fn show(_: Admin, office: web::Data<Office>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(json!({
        "queue": office.queue.stats(),
        "destinations": office.delivery.states(),
    })))
}
