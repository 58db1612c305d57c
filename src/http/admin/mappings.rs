//! Mappings: which rules hold, and reading changed files again.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use crate::diagnostic::Diagnostic;
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;

pub(super) async fn list(_: Admin, office: web::Data<Office>) -> Result<HttpResponse, ApiError> {
    let mappings: Vec<Value> = office
        .sources
        .values()
        .map(|source| {
            let rules = source.rules();
            json!({ "source": source.name, "file": rules.file, "connector": source.connector.name })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "items": mappings })))
}

pub(super) async fn reload(_: Admin, office: web::Data<Office>) -> Result<HttpResponse, ApiError> {
    let reloaded = refresh(&office)?;
    Ok(HttpResponse::Ok().json(json!({ "reloaded": reloaded })))
}

/// Reads every mapping file that has changed. A file with mistakes changes nothing, and says so.
pub(super) fn refresh(office: &Office) -> Result<Vec<String>, ApiError> {
    let mut reloaded = Vec::new();
    for source in office.sources.values() {
        match source.reload() {
            Ok(false) => {}
            Ok(true) => {
                crate::metrics::config_reloaded(true);
                tracing::info!(target: "mapping.reloaded", source = %source.name, "new rules hold");
                reloaded.push(source.name.to_string());
            }
            Err(mistakes) => {
                crate::metrics::config_reloaded(false);
                let told = mistakes.iter().map(tell).collect::<Vec<_>>().join("; ");
                tracing::warn!(target: "mapping.refused", source = %source.name, mistakes = %told, "the old rules go on holding");
                return Err(ApiError::new(
                    Code::Conflict,
                    format!(
                        "the rules of `{}` have mistakes, the old ones go on holding: {told}",
                        source.name
                    ),
                ));
            }
        }
    }
    Ok(reloaded)
}

fn tell(mistake: &Diagnostic) -> String {
    let place = mistake
        .position()
        .map(|(line, column)| format!(":{line}:{column}"))
        .unwrap_or_default();
    format!("{}{place}: {}", mistake.file.display(), mistake.message)
}
