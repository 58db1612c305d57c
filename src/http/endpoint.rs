//! Routes as data: what is served is registered from the very list that the OpenAPI documents are held against.

use std::future::ready;

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

pub(super) fn get<F, A>(path: &'static str, handler: F) -> Endpoint
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    endpoint(Method::GET, path, handler)
}

pub(super) fn post<F, A>(path: &'static str, handler: F) -> Endpoint
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    endpoint(Method::POST, path, handler)
}

pub(super) fn patch<F, A>(path: &'static str, handler: F) -> Endpoint
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    endpoint(Method::PATCH, path, handler)
}

fn endpoint<F, A>(method: Method, path: &'static str, handler: F) -> Endpoint
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Endpoint {
        route: web::method(method.clone()).to(handler),
        method,
        path,
    }
}

/// One resource per path, in the order of the list. A method that a path does not take gets `refusal`, with the ones
/// that it takes in `Allow`.
pub(super) fn resources(
    endpoints: Vec<Endpoint>,
    refusal: fn() -> HttpResponse,
) -> impl Iterator<Item = Resource> {
    let mut paths: Vec<(&'static str, Vec<Endpoint>)> = Vec::new();
    for endpoint in endpoints {
        match paths.iter_mut().find(|(path, _)| *path == endpoint.path) {
            Some((_, together)) => together.push(endpoint),
            None => paths.push((endpoint.path, vec![endpoint])),
        }
    }
    paths.into_iter().map(move |(path, endpoints)| {
        let methods: Vec<&str> = endpoints.iter().map(|e| e.method.as_str()).collect();
        let allow = HeaderValue::from_str(&methods.join(", ")).expect("methods are words");
        let refuse = move || {
            let mut response = refusal();
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
