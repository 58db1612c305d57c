//! Connectors: what there is and how each is set up.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use crate::connector::{Connector, Field, Role};
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::state::Office;

/// A connector, short enough for a list.
pub fn summary(connector: &Connector) -> Value {
    json!({
        "name": connector.name,
        "title": connector.title,
        "summary": connector.summary,
        "source": connector.inbound.is_some(),
        "destination": connector.outbound.is_some(),
    })
}

/// A connector with its fields and set-up steps.
pub fn detail(connector: &Connector) -> Value {
    let mut detail = summary(connector);
    detail["homepage"] = json!(connector.homepage);
    detail["fields"] = connector.fields.iter().map(field).collect();
    detail["setup"] = json!(connector.setup);
    detail
}

fn field(field: &Field) -> Value {
    json!({
        "key": field.key,
        "label": field.label,
        "help": field.help,
        "for": field.role.map_or("both", Role::as_str),
        "required": field.required,
        "secret": field.secret,
        "list": field.list,
        "default": field.default,
        "options": field.options,
        "example": field.example,
    })
}

pub(super) async fn list(_: Admin, office: web::Data<Office>) -> Result<HttpResponse, ApiError> {
    let items: Vec<Value> = office.catalogue.iter().map(|c| summary(c)).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items })))
}

pub(super) async fn show(
    _: Admin,
    path: web::Path<String>,
    office: web::Data<Office>,
) -> Result<HttpResponse, ApiError> {
    let found = path
        .parse()
        .ok()
        .and_then(|name| office.catalogue.get(&name));
    let connector = found.ok_or_else(|| {
        ApiError::new(
            Code::NotFound,
            format!("there is no connector `{}`", path.escape_debug()),
        )
    })?;
    Ok(HttpResponse::Ok().json(detail(connector)))
}
