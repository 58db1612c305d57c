//! Destinations: how they do; pause and resume.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::delivery::{ResumeError, UnknownDestination};
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;
use crate::model::DestinationName;

pub(super) async fn list(_: Admin, office: web::Data<Office>) -> Result<HttpResponse, ApiError> {
    let stats = office.queue.stats();
    let states = office.delivery.states();
    let destinations: Vec<_> = office
        .destinations
        .iter()
        .map(|destination| {
            json!({
                "name": destination.name,
                "connector": destination.connector.name,
                "precedence": destination.precedence,
                "queue": stats.destinations.get(destination.name.as_str()).cloned().unwrap_or_default(),
                "state": states.iter().find(|state| state.name == destination.name),
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "items": destinations })))
}

pub(super) async fn pause(
    _: Admin,
    path: web::Path<String>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let name = known(&office, &path)?;
    // Paused at once, whether that can be kept or not.
    office.delivery.pause(&name).map_err(off)?;
    keep(&office, &name, true)?;
    Ok(HttpResponse::NoContent().finish())
}

pub(super) async fn resume(
    _: Admin,
    path: web::Path<String>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let name = known(&office, &path)?;
    keep(&office, &name, false)?;
    let resumed = office.delivery.resume(&name).await;
    resumed.map_err(|error| match error {
        ResumeError::Unknown(unknown) => off(unknown),
        ResumeError::Queue(error) => error.into(),
    })?;
    Ok(HttpResponse::NoContent().finish())
}

/// Keeps it over a restart.
fn keep(office: &Office, name: &DestinationName, paused: bool) -> Result<(), ApiError> {
    office.pauses.set(name, paused).map_err(|error| {
        let holds = if paused {
            "is paused until the next start"
        } else {
            "is still paused"
        };
        let told = format!("`{name}` {holds}: the data directory cannot be written: {error}");
        ApiError::new(Code::Internal, told)
    })
}

fn known(office: &Office, name: &str) -> Result<DestinationName, ApiError> {
    let found = office
        .destinations
        .iter()
        .find(|destination| destination.name.as_str() == name);
    found
        .map(|destination| destination.name.clone())
        .ok_or_else(|| {
            ApiError::new(
                Code::NotFound,
                format!("there is no destination `{}`", name.escape_debug()),
            )
        })
}

/// A destination that is configured, but that nothing is delivered to: its store is turned off.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` asks for"
)]
fn off(error: UnknownDestination) -> ApiError {
    ApiError::new(Code::Conflict, error.to_string())
}
