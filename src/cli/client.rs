//! Asks a running bridge through its admin API.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{Method, Url};
use serde_json::Value;

use super::ConfigArgs;
use super::exit::Failure;
use crate::config::{Config, Env};
use crate::model::Secret;

/// Which running bridge is meant. Without `--url` it is the one of the configuration.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Server {
    #[command(flatten)]
    config: ConfigArgs,
    /// The admin side's address, e.g. http://127.0.0.1:8081.
    #[arg(long, value_name = "URL", env = "OUTCOME_BRIDGE_URL")]
    url: Option<Url>,
    /// A file with the admin token. The variable OUTCOME_BRIDGE_TOKEN works too.
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
}

/// Parameters as a query string; those without a value are left out.
pub(super) fn query_string(parameters: &[(&str, String)]) -> String {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(given)
        .finish()
}

/// One segment of a path: an id typed by a person must not reach another route.
pub(super) fn segment(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A connection to a bridge's admin API.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Secret,
}

impl Server {
    /// Finds address and token.
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        let env = Env::system();
        let given = match &self.token_file {
            Some(file) => Some(read_token(file)?),
            None => env.get("OUTCOME_BRIDGE_TOKEN").map(Secret::new),
        };
        let (base, token) = match (&self.url, given) {
            (Some(url), Some(token)) => (url.clone(), token),
            (url, given) => {
                let config = self
                    .config
                    .load_or("which bridge is meant? Give --url and OUTCOME_BRIDGE_TOKEN")?;
                let token = match given {
                    Some(token) => token,
                    None => made_token(&config)?,
                };
                let base = match url {
                    Some(url) => url.clone(),
                    None => {
                        Url::parse(&format!("http://{}", config.admin.bind)).map_err(Failure::of)?
                    }
                };
                (base, token)
            }
        };
        Client::to(base, token)
    }
}

/// The token that is configured, or that the bridge made when it was first started.
fn made_token(config: &Config) -> Result<Secret, Failure> {
    let dir = &config.storage.dir;
    // Whoever stands in another directory than the bridge sees so.
    let shown = std::path::absolute(dir).unwrap_or_else(|_unknown| dir.clone());
    match config.admin.existing_token(dir) {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(Failure::Unreachable(format!(
            "there is no admin token in {} yet; has the bridge been started once, from this directory?",
            shown.display()
        ))),
        Err(error) => Err(Failure::Failed(format!(
            "the admin token in {} cannot be read: {error}",
            shown.display()
        ))),
    }
}

fn read_token(file: &Path) -> Result<Secret, Failure> {
    std::fs::read_to_string(file)
        .map(|text| Secret::new(text.trim()))
        .map_err(|error| {
            Failure::Failed(format!(
                "the admin token cannot be read from {}: {error}",
                file.display()
            ))
        })
}

impl Client {
    /// A connection to the admin side at `base`.
    pub(super) fn to(base: Url, token: Secret) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(120))
            .build()
            .map_err(Failure::of)?;
        Ok(Self { http, base, token })
    }

    /// A line that names the console's page of an event.
    pub(super) fn event_page(&self, event: &str) -> String {
        self.page(&format!("/console/events/{}", segment(event)))
    }

    /// A line that names the console's page of a call, by its id in the store.
    pub(super) fn call_page(&self, call: &str) -> String {
        self.page(&format!("/console/calls/{}", segment(call)))
    }

    /// A line that names a page of the console. It is beside the admin API, for a browser.
    pub(super) fn page(&self, path: &str) -> String {
        match self.base.join(path) {
            Ok(url) => format!("console     {url}"),
            Err(_no_base) => format!("console     {path}"),
        }
    }

    /// Asks for something.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        let given: Vec<_> = query
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        self.send(self.request(Method::GET, path)?.query(&given))
            .await
    }

    /// Asks for something to be done.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(self.request(Method::POST, path)?.json(body))
            .await
    }

    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder, Failure> {
        let url = self.base.join(path).map_err(Failure::of)?;
        Ok(self
            .http
            .request(method, url)
            .bearer_auth(self.token.expose()))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let request = request.build().map_err(Failure::of)?;
        let (method, url) = (request.method().clone(), request.url().clone());
        let begun = Instant::now();
        let response = self.http.execute(request).await.map_err(|error| {
            if error.is_connect() || error.is_timeout() {
                Failure::Unreachable(format!(
                    "no bridge answers at {}; is it running?",
                    self.base
                ))
            } else {
                Failure::of(error)
            }
        })?;
        let status = response.status();
        tracing::debug!(
            status = status.as_u16(),
            ms = begun.elapsed().as_millis(),
            "{method} {url}"
        );
        let text = response.text().await.map_err(Failure::of)?;
        let body: Value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).map_err(|error| {
                Failure::Failed(format!(
                    "{} did not answer as an admin API does: {error}",
                    self.base
                ))
            })?
        };
        if status.is_success() {
            return Ok(body);
        }
        let detail = body["detail"].as_str().unwrap_or("no reason given");
        Err(Failure::Failed(format!(
            "the bridge answered {status}: {detail}"
        )))
    }
}
