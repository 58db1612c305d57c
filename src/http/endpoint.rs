//! Routes as data: what is served is registered from the very list that the OpenAPI documents are held against.

use std::future::ready;

use actix_web::guard::{self, Guard};
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, Route, web};

/// A method on a path, and what answers it.
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// As in the documents: `/calls/{call}`.
    pub(super) path: &'static str,
    route: Route,
}

/// A path that is read. `HEAD` is answered as `GET` is, without the body: the HTTP layer leaves that out by itself.
pub(super) fn get<F, A>(path: &'static str, handler: F) -> Endpoint
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let guard = guard::Any(guard::Get()).or(guard::Head());
    endpoint(Method::GET, guard, path, handler)
}

pub(super) fn post<F, A>(path: &'static str, handler: F) -> Endpoint
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    endpoint(Method::POST, guard::Post(), path, handler)
}

pub(super) fn patch<F, A>(path: &'static str, handler: F) -> Endpoint
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    endpoint(Method::PATCH, guard::Patch(), path, handler)
}

fn endpoint<F, A>(
    method: Method,
    guard: impl Guard + 'static,
    path: &'static str,
    handler: F,
) -> Endpoint
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Endpoint {
        route: web::route().guard(guard).to(handler),
        method,
        path,
    }
}

/// How somebody is told that a path does not take a method, given those that it takes: `GET, HEAD`.
pub(super) type Refusal = fn(&str) -> HttpResponse;

/// One resource per path, in the order of the list. A method that a path does not take gets `refusal`, with the ones
/// that it takes in `Allow`.
pub(super) fn resources(
    endpoints: Vec<Endpoint>,
    refusal: Refusal,
) -> impl Iterator<Item = Resource> {
    let mut paths: Vec<(&'static str, Vec<Endpoint>)> = Vec::new();
    for endpoint in endpoints {
        match paths.iter_mut().find(|(path, _)| *path == endpoint.path) {
            Some((_, together)) => together.push(endpoint),
            None => paths.push((endpoint.path, vec![endpoint])),
        }
    }
    paths.into_iter().map(move |(path, endpoints)| {
        let takes = methods(&endpoints);
        let allow = HeaderValue::from_str(&takes).expect("methods are words");
        let refuse = move || {
            let mut response = refusal(&takes);
            response.headers_mut().insert(ALLOW, allow.clone());
            ready(response)
        };
        endpoints
            .into_iter()
            .fold(web::resource(path), |resource, endpoint| {
                resource.route(endpoint.route)
            })
            .default_service(web::to(refuse))
    })
}

/// The methods of a path's endpoints, as in `Allow`.
fn methods(endpoints: &[Endpoint]) -> String {
    let words: Vec<&str> = endpoints
        .iter()
        .map(|endpoint| match endpoint.method {
            Method::GET => "GET, HEAD",
            ref other => other.as_str(),
        })
        .collect();
    words.join(", ")
}
