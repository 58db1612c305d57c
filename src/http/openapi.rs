//! The OpenAPI 3.1 documents of the admin API and of the store's APIs: files written by hand, served as they are.
//!
//! They cannot drift from what is served. Tests here hold them against the lists that the routes are registered from;
//! tests of the whole bridge hold their parameters against those that handlers take; and `tests/api` lets a fuzzer
//! check every answer of a running bridge against their schemas.

use std::sync::LazyLock;

use actix_web::HttpResponse;

/// The documents with the version of this program.
static ADMIN: LazyLock<String> = LazyLock::new(|| released(include_str!("openapi/admin.json")));
static STORE: LazyLock<String> = LazyLock::new(|| released(include_str!("openapi/store.json")));

fn released(document: &str) -> String {
    document.replacen("{version}", env!("CARGO_PKG_VERSION"), 1)
}

/// Answers the document of the admin API. Needs no token: it tells nothing of this bridge.
pub(super) async fn admin() -> HttpResponse {
    answer(&ADMIN)
}

/// Answers the document of the store's APIs.
pub(super) async fn store() -> HttpResponse {
    answer(&STORE)
}

fn answer(document: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(document)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::http::endpoint::Endpoint;
    use crate::http::{admin, store_api};

    type Names = BTreeSet<String>;

    fn documents() -> [Value; 2] {
        [&ADMIN, &STORE].map(|text| serde_json::from_str(text).unwrap())
    }

    /// Every operation of a document with its path and method.
    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap();
                methods.iter().map(move |(method, operation)| {
                    (format!("{} {path}", method.to_uppercase()), operation)
                })
            })
            .collect()
    }

    fn served(prefix: &str, endpoints: &[Endpoint]) -> Names {
        endpoints
            .iter()
            .map(|endpoint| format!("{} {prefix}{}", endpoint.method, endpoint.path))
            .collect()
    }

    /// What a reference leads to, or the value itself.
    fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => document
                .pointer(reference.trim_start_matches('#'))
                .unwrap_or_else(|| panic!("{reference} leads nowhere")),
            None => value,
        }
    }

    fn visit(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
        match value {
            Value::Object(object) => {
                look(object);
                object.values().for_each(|value| visit(value, look));
            }
            Value::Array(list) => list.iter().for_each(|value| visit(value, look)),
            _ => {}
        }
    }

    #[test]
    fn what_is_served_is_described_and_what_is_described_is_served() {
        let [admin_document, store_document] = documents();
        let of_store = store_api::endpoints()
            .into_iter()
            .flat_map(|(endpoints, _)| served("", &endpoints))
            .collect();
        for (document, served) in [
            (admin_document, served(admin::PREFIX, &admin::endpoints())),
            (store_document, of_store),
        ] {
            let described: Names = operations(&document)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            assert_eq!(described, served);
        }
    }

    #[test]
    fn every_operation_is_described_in_full() {
        for document in documents() {
            assert_eq!(document["openapi"], "3.1.0");
            assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
            let mut ids = BTreeSet::new();
            for (name, operation) in operations(&document) {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{id} occurs twice");
                assert!(operation["summary"].is_string(), "{name} has no summary");
                assert!(
                    operation["security"].is_array(),
                    "{name} says nothing of access"
                );
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let in_path: Names = parameters
                    .map(|parameter| resolve(&document, parameter))
                    .filter(|parameter| parameter["in"] == "path")
                    .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
                    .collect();
                let wanted: Names = name
                    .split('/')
                    .filter(|part| part.starts_with('{'))
                    .map(str::to_owned)
                    .collect();
                assert_eq!(in_path, wanted, "{name}");
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    let answer = resolve(&document, answer);
                    let has_body = answer["content"]
                        .as_object()
                        .is_some_and(|types| types.values().all(|body| body["schema"].is_object()));
                    assert!(
                        has_body || status == "204",
                        "{name}: {status} has no schema"
                    );
                }
                let takes_body = !name.starts_with("GET")
                    && !["/pause", "/resume", "/reload"]
                        .iter()
                        .any(|end| name.ends_with(end));
                assert_eq!(
                    operation["requestBody"]["content"]["application/json"]["schema"].is_object(),
                    takes_body,
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn references_lead_somewhere_and_nothing_is_described_in_vain() {
        for document in documents() {
            let mut used = Names::new();
            visit(&document, &mut |object| {
                if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                    let target = document.pointer(reference.trim_start_matches('#'));
                    assert!(target.is_some(), "{reference} leads nowhere");
                    used.insert(reference.to_owned());
                }
            });
            for (part, components) in document["components"].as_object().unwrap() {
                if part == "securitySchemes" {
                    continue;
                }
                for name in components.as_object().unwrap().keys() {
                    let reference = format!("#/components/{part}/{name}");
                    assert!(used.contains(&reference), "{reference} is used nowhere");
                }
            }
        }
    }
}
