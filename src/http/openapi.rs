//! The OpenAPI document of the admin API and of the store's own APIs, made from one table.

use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

/// What every question of analytics takes; then what some take besides.
const SCOPE: &[&str] = &[
    "from",
    "to",
    "zone",
    "by",
    "week_start",
    "agent",
    "platform",
    "direction",
    "source",
    "kind",
    "label",
    "currency",
    "basis",
    "metadata",
    "where",
    "attribution",
];
const REPORT: &[&str] = &[
    "from",
    "to",
    "zone",
    "by",
    "week_start",
    "agent",
    "platform",
    "direction",
    "source",
    "kind",
    "label",
    "currency",
    "basis",
    "metadata",
    "where",
    "attribution",
    "groups",
    "compare",
];
const BREAKDOWN: &[&str] = &[
    "from",
    "to",
    "zone",
    "by",
    "week_start",
    "agent",
    "platform",
    "direction",
    "source",
    "kind",
    "label",
    "currency",
    "basis",
    "metadata",
    "where",
    "attribution",
    "split",
];
const CONVERSION: &[&str] = &[
    "from",
    "to",
    "zone",
    "by",
    "week_start",
    "agent",
    "platform",
    "direction",
    "source",
    "kind",
    "label",
    "currency",
    "basis",
    "metadata",
    "where",
    "attribution",
    "to_what",
    "mature_after",
];
const CALLS_BEHIND: &[&str] = &[
    "from",
    "to",
    "zone",
    "by",
    "week_start",
    "agent",
    "platform",
    "direction",
    "source",
    "kind",
    "label",
    "currency",
    "basis",
    "metadata",
    "where",
    "attribution",
    "limit",
    "cursor",
];

/// Method, path, what it does, query parameters.
type Route = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

/// The admin API.
const ROUTES: &[Route] = &[
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
        "/admin/v1/outcomes/import",
        "Takes outcomes in, up to 10 000 at a time: {outcomes: [{outcome, occurred_at, call_id or phone …}], source}",
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
    (
        "get",
        "/admin/v1/calls",
        "Calls, newest first",
        &[
            "agent",
            "platform",
            "call",
            "phone",
            "email",
            "since",
            "until",
            "has_outcome",
            "limit",
            "cursor",
        ],
    ),
    (
        "post",
        "/admin/v1/calls",
        "Takes in a call, a list of calls, or {calls: […]}: newer words win field by field; answers what was rejected and why",
        &[],
    ),
    (
        "get",
        "/admin/v1/calls/{call}",
        "One call with its transcript, its outcome and its log",
        &[],
    ),
    (
        "get",
        "/admin/v1/analytics/report",
        "Counts, worth and rates over time: by outcome, or by `groups` ([{name, where}] as JSON); `compare=previous` adds the trend",
        REPORT,
    ),
    (
        "get",
        "/admin/v1/analytics/breakdown",
        "The calls by what they share: `split` is agent, platform, direction, source, kind, label, basis or metadata.KEY",
        BREAKDOWN,
    ),
    (
        "get",
        "/admin/v1/analytics/conversion",
        "How many calls came to `to_what` (a condition as JSON; closed if not given), with a 95 % confidence interval; calls younger than `mature_after` are shown apart",
        CONVERSION,
    ),
    (
        "get",
        "/admin/v1/analytics/funnel",
        "How far calls came: call, booked, shown, closed",
        SCOPE,
    ),
    (
        "get",
        "/admin/v1/analytics/delay",
        "The time from call to outcome: median and 90th percentile",
        SCOPE,
    ),
    (
        "get",
        "/admin/v1/analytics/calls",
        "The calls behind a number: the same scope, newest first",
        CALLS_BEHIND,
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

/// The outcome APIs that the store serves, in the same way.
const STORE_ROUTES: &[Route] = &[
    (
        "patch",
        "/api/calls/{agent}/{call}",
        "As Phonely: sets any of custom_call_outcome, custom_call_outcome_value, custom_call_metadata of a call, by id or by phone (+E.164)",
        &["preference"],
    ),
    (
        "get",
        "/api/calls/{agent}/{call}",
        "As Phonely: one call",
        &["preference"],
    ),
    (
        "get",
        "/api/calls/{agent}",
        "As Phonely: the agent's calls",
        &["phone", "since", "until", "has_outcome", "limit", "cursor"],
    ),
    (
        "post",
        "/v1/calls/{call}/outcome",
        "As Aura: sets {status, notes?} of a call; shown, no_show, closed, lost or follow_up",
        &[],
    ),
    ("get", "/v1/calls/{call}", "As Aura: one call", &[]),
    (
        "get",
        "/v1/calls",
        "As Aura: calls",
        &[
            "phone",
            "email",
            "since",
            "until",
            "has_outcome",
            "limit",
            "cursor",
        ],
    ),
    (
        "patch",
        "/api/v1/webhooks/calls/{call}/change-outcome",
        "As change-outcome: sets {call_outcome}; a change that is refused is the last log, with its failure_reason",
        &[],
    ),
    (
        "get",
        "/api/v1/calls/{call}",
        "As change-outcome: one call with its logs",
        &[],
    ),
    (
        "get",
        "/api/v1/calls",
        "As change-outcome: calls",
        &["phone", "since", "until", "has_outcome", "limit", "cursor"],
    ),
];

/// Answers the document of the admin API. Needs no token: it tells nothing of this bridge.
pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().json(build("outcome-bridge admin API", ROUTES))
}

/// Answers the document of the store's APIs.
pub(super) async fn store_document() -> HttpResponse {
    HttpResponse::Ok().json(build("outcome-bridge outcome store", STORE_ROUTES))
}

fn build(title: &str, routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for (method, path, summary, query) in routes {
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
            "security": [{ scheme(path): [] }],
            "responses": {
                "2XX": { "description": "Done", "content": { "application/json": {} } },
                "default": { "description": "A problem", "content": { "application/problem+json": {} } },
            },
        });
        if matches!(*method, "post" | "patch")
            && !path.ends_with("}/pause")
            && !path.ends_with("}/resume")
        {
            operation["requestBody"] =
                json!({ "content": { "application/json": { "schema": { "type": "object" } } } });
        }
        let entry = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        entry[*method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": title, "version": env!("CARGO_PKG_VERSION") },
        "components": { "securitySchemes": {
            "token": { "type": "http", "scheme": "bearer" },
            "store_key": { "type": "http", "scheme": "bearer" },
            "phonely_key": { "type": "apiKey", "in": "header", "name": "X-Authorization" },
        } },
        "paths": paths,
    })
}

/// What opens a route: the admin token, or a key of the store.
fn scheme(path: &str) -> &'static str {
    if path.starts_with("/admin/") {
        "token"
    } else if path.starts_with("/api/calls/") {
        "phonely_key"
    } else {
        "store_key"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once() {
        for routes in [ROUTES, STORE_ROUTES] {
            let document = build("title", routes);
            let paths = document["paths"].as_object().unwrap();
            let operations: usize = paths
                .values()
                .map(|entry| entry.as_object().unwrap().len())
                .sum();
            assert_eq!(operations, routes.len());
        }
        let document = build("title", ROUTES);
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(
            paths["/admin/v1/events/{id}"]["get"]["parameters"][0]["in"],
            "path"
        );
    }
}
