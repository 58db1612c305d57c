//! The OpenAPI document of the admin API, made from one table.

use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

/// Method, path, what it does, query parameters.
pub(super) const ROUTES: &[(&str, &str, &str, &[&str])] = &[
    (
        "get",
        "/admin/v1/events",
        "Events, newest first",
        &[
            "source",
            "disposition",
            "type",
            "since",
            "until",
            "limit",
            "cursor",
        ],
    ),
    (
        "get",
        "/admin/v1/events/{id}",
        "One event: summary, trace, outcomes, deliveries with their attempts",
        &[],
    ),
    (
        "get",
        "/admin/v1/events/{id}/raw",
        "One event as it was stored, for `outcome-bridge map`",
        &[],
    ),
    (
        "post",
        "/admin/v1/events/replay",
        "Runs stored events through the rules again: {ids} or {filter}; with {dry_run} it answers what would change",
        &[],
    ),
    (
        "get",
        "/admin/v1/deliveries",
        "Deliveries, newest first",
        &[
            "destination",
            "state",
            "event",
            "since",
            "until",
            "limit",
            "cursor",
        ],
    ),
    (
        "get",
        "/admin/v1/deliveries/{id}",
        "One delivery with its attempts",
        &[],
    ),
    (
        "get",
        "/admin/v1/dead-letters",
        "Deliveries that were given up",
        &["destination", "event", "since", "until", "limit", "cursor"],
    ),
    (
        "post",
        "/admin/v1/dead-letters/redrive",
        "Makes dead letters pending again: {ids} or {filter}, {dry_run}",
        &[],
    ),
    (
        "post",
        "/admin/v1/dead-letters/discard",
        "Puts dead letters aside for good: {ids} or {filter}, {dry_run}",
        &[],
    ),
    (
        "get",
        "/admin/v1/outcomes",
        "Calls with their current outcome, newest first",
        &[
            "kind", "call", "source", "since", "until", "limit", "cursor",
        ],
    ),
    (
        "post",
        "/admin/v1/outcomes",
        "Corrects an outcome by hand; it holds until it is released: {outcome, value, notes, about: {subject}}",
        &[],
    ),
    (
        "post",
        "/admin/v1/outcomes/release",
        "Releases corrections made by hand: {about: {subject}}",
        &[],
    ),
    (
        "get",
        "/admin/v1/outcomes/{call}/log",
        "Every change of one call's outcome",
        &[],
    ),
    ("get", "/admin/v1/sources", "The configured sources", &[]),
    (
        "get",
        "/admin/v1/destinations",
        "The configured destinations and how they do",
        &[],
    ),
    (
        "post",
        "/admin/v1/destinations/{name}/pause",
        "Sends nothing there until resumed; the queue keeps",
        &[],
    ),
    (
        "post",
        "/admin/v1/destinations/{name}/resume",
        "Ends a pause or a hold",
        &[],
    ),
    ("get", "/admin/v1/connectors", "All connectors", &[]),
    (
        "get",
        "/admin/v1/connectors/{name}",
        "One connector with its fields and set-up steps",
        &[],
    ),
    (
        "get",
        "/admin/v1/mappings",
        "Which rules hold for which source",
        &[],
    ),
    (
        "post",
        "/admin/v1/mappings/reload",
        "Reads changed mapping files again",
        &[],
    ),
    (
        "get",
        "/admin/v1/stats",
        "The queue's and the destinations' numbers",
        &[],
    ),
];

/// Answers the document. Needs no token: it tells nothing of this bridge.
pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().json(build())
}

fn build() -> Value {
    let mut paths = Map::new();
    for (method, path, summary, query) in ROUTES {
        let in_path = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameter = |name: &str, place: &str| json!({ "name": name, "in": place, "required": place == "path", "schema": { "type": "string" } });
        let parameters: Vec<Value> = in_path
            .map(|name| parameter(name, "path"))
            .chain(query.iter().map(|name| parameter(name, "query")))
            .collect();
        let mut operation = json!({
            "summary": summary,
            "parameters": parameters,
            "security": [{ "token": [] }],
            "responses": {
                "2XX": { "description": "Done", "content": { "application/json": {} } },
                "default": { "description": "A problem", "content": { "application/problem+json": {} } },
            },
        });
        if *method == "post" && !path.ends_with("}/pause") && !path.ends_with("}/resume") {
            operation["requestBody"] =
                json!({ "content": { "application/json": { "schema": { "type": "object" } } } });
        }
        let entry = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        entry[*method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "outcome-bridge admin API", "version": env!("CARGO_PKG_VERSION") },
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "paths": paths,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once() {
        let document = build();
        let paths = document["paths"].as_object().unwrap();
        let operations: usize = paths
            .values()
            .map(|entry| entry.as_object().unwrap().len())
            .sum();
        assert_eq!(operations, ROUTES.len());
        assert_eq!(
            paths["/admin/v1/events/{id}"]["get"]["parameters"][0]["in"],
            "path"
        );
    }
}
