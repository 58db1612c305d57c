//! Binding, serving, and the address that was really bound.

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer, ResponseError};
use tokio::task::JoinHandle;

use super::endpoint::{get, resources};
use super::error::{ApiError, Code};
use super::stand_in::StandIn;
use super::state::{Inlet, Office};
use super::{admin, console, health, receive, store_api};

/// How to listen.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The address; port 0 takes any free one.
    pub address: SocketAddr,
    /// Worker threads; `None` takes as many as there are cores.
    pub workers: Option<NonZeroUsize>,
    /// How long a request's head may take.
    pub request_timeout: Duration,
    /// At most so many connections at a time; more wait in the system's queue.
    pub max_connections: usize,
    /// How long running requests may take after stop was asked for.
    pub shutdown_timeout: Duration,
}

/// A server that runs.
#[derive(Debug)]
pub struct Listener {
    /// The address that was bound.
    pub address: SocketAddr,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl Listener {
    /// Stops accepting, lets running requests finish within the shutdown timeout.
    ///
    /// # Errors
    /// When the server ended with an error of its own.
    pub async fn stop(self) -> io::Result<()> {
        self.handle.stop(true).await;
        self.task.await.map_err(io::Error::other)?
    }
}

/// Listens with the sides given: the inlet, the office, or both on one address.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(
    listen: &Listen,
    inlet: Option<web::Data<Inlet>>,
    office: Option<web::Data<Office>>,
) -> io::Result<Listener> {
    let is_local = listen.address.ip().is_loopback();
    bind(listen, move |config| {
        routes(config, inlet.clone(), office.clone(), is_local);
    })
}

/// Serves the stand-ins for outcome APIs.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve_stand_in(listen: &Listen, stand_in: &StandIn) -> io::Result<Listener> {
    let stand_in = stand_in.clone();
    bind(listen, move |config| {
        super::stand_in::routes(config, &stand_in);
    })
}

fn bind(
    listen: &Listen,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<Listener> {
    let app = move || App::new().configure(&configure);
    let workers = listen.workers.map_or_else(
        || std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        NonZeroUsize::get,
    );
    let server = HttpServer::new(app)
        .workers(workers)
        .max_connections(listen.max_connections.div_ceil(workers))
        .client_request_timeout(listen.request_timeout)
        .client_disconnect_timeout(Duration::from_secs(1))
        .keep_alive(Duration::from_secs(75))
        .shutdown_timeout(listen.shutdown_timeout.as_secs())
        // Signals are the command line's business: it drains the whole bridge, not only the sockets.
        .disable_signals()
        .bind(listen.address)?;
    let address = server.addrs().first().copied().unwrap_or(listen.address);
    let server = server.run();
    let handle = server.handle();
    Ok(Listener {
        address,
        handle,
        task: tokio::spawn(server),
    })
}

fn routes(
    config: &mut ServiceConfig,
    inlet: Option<web::Data<Inlet>>,
    office: Option<web::Data<Office>>,
    is_local: bool,
) {
    let nothing = match &inlet {
        Some(_) => "there is nothing here; webhooks go to /webhooks/{source}",
        None => {
            "there is nothing here; the console is at /console, the admin API at /admin/v1, and webhooks go to the \
             listener of `server.bind`"
        }
    };
    let mut common = vec![get("/health/live", health::live)];
    let is_in_the_open = inlet.is_some() && !is_local;
    if let Some(inlet) = inlet {
        let apis = inlet.apis.clone();
        config.app_data(inlet);
        // First, and by a plain prefix: routes are tried in turn, and most requests are webhooks.
        config.service(web::scope("/webhooks").default_service(web::to(receive::webhook)));
        if let Some(apis) = apis {
            store_api::routes(config, apis);
        }
    }
    if let Some(office) = office {
        config.app_data(office);
        if is_in_the_open {
            common.push(get("/health/ready", health::ready_on_both_sides));
            common.push(get("/metrics", health::metrics_for_admins));
        } else {
            common.push(get("/health/ready", health::ready));
            common.push(get("/metrics", health::metrics));
        }
        common.push(get("/", console::door));
        admin::routes(config);
        console::routes(config);
    } else {
        common.push(get("/health/ready", health::ready_to_receive));
    }
    for resource in resources(common, wrong_method) {
        config.service(resource);
    }
    config.default_service(web::to(move || {
        ready(ApiError::new(Code::NotFound, nothing).error_response())
    }));
}

fn wrong_method(takes: &str) -> HttpResponse {
    ApiError::new(Code::MethodNotAllowed, format!("this path takes {takes}")).error_response()
}
