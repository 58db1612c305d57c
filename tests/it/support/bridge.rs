//! The real bridge in this process, made from a configuration in a directory of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outcome_bridge::app::Bridge;
use outcome_bridge::clock::Clock;
use outcome_bridge::config::{Config, Env};
use outcome_bridge::connector::RequestParts;
use outcome_bridge::diagnostic::Diagnostic;
use outcome_bridge::model::SourceName;
use outcome_bridge::queue::local::OpenReport;
use outcome_bridge::setup::{Blueprint, Source};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{FakeDestination, eventually, write};

pub(crate) const ADMIN_TOKEN: &str = "admin-token-of-the-tests";
pub(crate) const TEAM_SECRET: &str = "whsec_dGhlLXRlYW0ncy1vd24tc2VjcmV0LTMyLWJ5dGVz";

type Adjust = Box<dyn Fn(&mut Config) + Send + Sync>;

/// A configuration in the making.
pub(crate) struct Setup {
    home: TempDir,
    text: String,
    store: bool,
    env: BTreeMap<String, String>,
    adjust: Option<Adjust>,
}

impl Setup {
    /// A bridge with one source, `team` (Standard Webhooks), and no destination.
    pub(crate) fn new() -> Self {
        let home = tempfile::Builder::new()
            .prefix("outcome-bridge-it-")
            .tempdir()
            .unwrap();
        let data = home.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let text = format!(
            r#"
[server]
bind = "127.0.0.1:0"
public_url = "https://bridge.example.com"
workers = 1
shutdown_timeout = "5 s"

[admin]
bind = "127.0.0.1:0"
token = "{ADMIN_TOKEN}"

[storage]
dir = "{data}"
segment = "1 MB"
index_cache = "8 MB"

[log]
format = "json"

[delivery]
retry_first = "10 ms"
allow_private = true

[sources.team]
connector = "standard-webhooks"
signing_secret = "{TEAM_SECRET}"
"#,
            data = data.display()
        );
        Self {
            home,
            text,
            store: false,
            env: BTreeMap::new(),
            adjust: None,
        }
    }

    /// Adds to `outcome-bridge.toml`.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Sets an option as the environment does: `SERVER__BODY_LIMIT`.
    pub(crate) fn set(mut self, option: &str, value: &str) -> Self {
        self.env
            .insert(format!("OUTCOME_BRIDGE__{option}"), value.to_owned());
        self
    }

    /// Sets a variable of the environment that the configuration names as `${VAR}`.
    pub(crate) fn env(mut self, variable: &str, value: &str) -> Self {
        self.env.insert(variable.to_owned(), value.to_owned());
        self
    }

    /// Changes what cannot be configured so far down.
    pub(crate) fn adjust(mut self, adjust: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        self.adjust = Some(Box::new(adjust));
        self
    }

    /// Writes a file beside the configuration.
    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        write(&self.config_dir().join(path), content);
        self
    }

    /// Turns the built-in store on.
    pub(crate) fn with_store(mut self) -> Self {
        self.store = true;
        self
    }

    /// Adds a `webhook` destination, with more options as TOML lines.
    pub(crate) fn webhook(self, name: &str, to: &FakeDestination, options: &str) -> Self {
        let text = format!(
            "\n[destinations.{name}]\nconnector = \"webhook\"\nurl = \"{}/outcomes\"\nsigning_secret = \"{TEAM_SECRET}\"\n{options}\n",
            to.url()
        );
        self.config(&text)
    }

    /// Adds a `phonely` destination.
    pub(crate) fn phonely(self, name: &str, to: &FakeDestination, options: &str) -> Self {
        let text = format!(
            "\n[destinations.{name}]\nconnector = \"phonely\"\nbase_url = \"{}\"\nagent_id = \"agent123\"\napi_key = \"phonely-key-of-the-tests\"\n{options}\n",
            to.url()
        );
        self.config(&text)
    }

    pub(crate) fn config_dir(&self) -> PathBuf {
        self.home.path().join("config")
    }

    /// Writes the configuration down.
    pub(crate) fn written(mut self) -> Self {
        let store = format!("\n[store]\nenabled = {}\n", self.store);
        self.text.push_str(&store);
        write(&self.config_dir().join("outcome-bridge.toml"), &self.text);
        self
    }

    /// Writes it down and starts a bridge from it.
    pub(crate) async fn start(self) -> TestBridge {
        TestBridge::over(self.written()).await
    }
}

/// A running bridge, and a client for both of its sides.
pub(crate) struct TestBridge {
    bridge: Bridge,
    setup: Setup,
    sources: Arc<BTreeMap<SourceName, Arc<Source>>>,
    http: reqwest::Client,
    messages: AtomicU64,
}

/// An answer of the bridge.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        Self {
            status,
            headers,
            body: response.text().await.unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(super::PATIENCE);
    builder
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

impl TestBridge {
    async fn over(setup: Setup) -> Self {
        let env: Env = setup.env.clone().into_iter().collect();
        let location = setup.config_dir();
        let (mut blueprint, warnings) = match Blueprint::load(&location, &env) {
            Ok(loaded) => (loaded.blueprint, loaded.warnings),
            Err(mistakes) => panic!("the test's configuration has mistakes: {mistakes:#?}"),
        };
        if let Some(adjust) = &setup.adjust {
            adjust(&mut blueprint.config);
        }
        let sources = Arc::clone(&blueprint.sources);
        let warnings = warnings.iter().map(Diagnostic::in_short).collect();
        let bridge = Bridge::start(blueprint, warnings).await.unwrap();
        Self {
            bridge,
            setup,
            sources,
            http: client(),
            messages: AtomicU64::new(1),
        }
    }

    /// Stops in order, and gives the configuration and its data back.
    pub(crate) async fn stop(self) -> Setup {
        self.bridge.stop().await.unwrap();
        self.setup
    }

    /// Stops in order and starts again over the same data.
    pub(crate) async fn restart(self) -> Self {
        let messages = self.messages.load(Ordering::Relaxed);
        let bridge = Self::over(self.stop().await).await;
        bridge.messages.store(messages, Ordering::Relaxed);
        bridge
    }

    /// Starts again over data of a bridge that was stopped.
    pub(crate) async fn again(setup: Setup) -> Self {
        let bridge = Self::over(setup).await;
        // Ids of messages must not repeat those of the run before.
        bridge.messages.store(1_000_000, Ordering::Relaxed);
        bridge
    }

    pub(crate) fn report(&self) -> &OpenReport {
        &self.bridge.report
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.setup.home.path().join("data")
    }

    pub(crate) fn config_dir(&self) -> PathBuf {
        self.setup.config_dir()
    }

    pub(crate) fn home(&self) -> &Path {
        self.setup.home.path()
    }

    pub(crate) fn inlet(&self) -> std::net::SocketAddr {
        self.bridge.inlet
    }

    pub(crate) fn office(&self) -> std::net::SocketAddr {
        self.bridge.office
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.bridge.office)
    }

    pub(crate) fn source(&self, name: &str) -> &Source {
        &self.sources[name]
    }

    /// A JSON request for `source`, not signed yet. Every message has an id of its own.
    pub(crate) fn unsigned(&self, body: impl Into<bytes::Bytes>) -> RequestParts {
        let message = self.messages.fetch_add(1, Ordering::Relaxed);
        RequestParts {
            method: "POST".to_owned(),
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("webhook-id".to_owned(), format!("msg_{message}")),
            ],
            body: body.into(),
            ..RequestParts::default()
        }
    }

    /// The request as the vendor of `source` signs it now.
    pub(crate) fn signed(&self, source: &str, parts: RequestParts) -> RequestParts {
        let signed = self
            .source(source)
            .inbound
            .sign(parts, Clock::system().now())
            .unwrap();
        signed.into_parts()
    }

    /// Posts a request as it is.
    pub(crate) async fn send(&self, source: &str, parts: RequestParts) -> Reply {
        let mut url = format!("http://{}/webhooks/{source}", self.inlet());
        if let Some(token) = &parts.path_token {
            url = format!("{url}/{token}");
        }
        if !parts.query.is_empty() {
            url = format!("{url}?{}", parts.query);
        }
        let method = Method::from_bytes(parts.method.as_bytes()).unwrap();
        let mut request = self.http.request(method, url).body(parts.body);
        for (name, value) in parts.headers {
            request = request.header(name, value);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    /// Signs and posts.
    pub(crate) async fn post(&self, source: &str, body: impl Into<bytes::Bytes>) -> Reply {
        self.send(source, self.signed(source, self.unsigned(body)))
            .await
    }

    /// Signs and posts what has to be accepted; answers the event's id.
    pub(crate) async fn accept(&self, source: &str, body: &Value) -> String {
        let before = self.event_ids().await;
        let reply = self.post(source, body.to_string()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let after = self.event_ids().await;
        let new: Vec<_> = after
            .into_iter()
            .filter(|id| !before.contains(id))
            .collect();
        assert_eq!(new.len(), 1, "exactly one event is stored");
        new.into_iter().next().unwrap()
    }

    /// The same, and waits until it was processed; answers its whole story.
    pub(crate) async fn hear(&self, source: &str, body: &Value) -> Value {
        let id = self.accept(source, body).await;
        self.processed(&id).await
    }

    /// The story of an event once it was processed.
    pub(crate) async fn processed(&self, id: &str) -> Value {
        eventually("the event is processed", async || {
            let story = self.get(&format!("/events/{id}")).await;
            (story["event"]["disposition"] != "accepted").then_some(story)
        })
        .await
    }

    /// The delivery of an event to a destination once it has reached a state.
    pub(crate) async fn delivery(&self, event: &Value, destination: &str, state: &str) -> Value {
        let id = event["event"]["id"].as_str().unwrap();
        let mut last = Value::Null;
        eventually(
            &format!("the delivery to {destination} is {state}"),
            async || {
                let story = self.get(&format!("/events/{id}")).await;
                let deliveries = story["deliveries"].as_array().unwrap();
                let found = deliveries
                    .iter()
                    .find(|d| d["destination"] == destination)?;
                if &last != found {
                    last.clone_from(found);
                }
                (found["state"] == state).then(|| found.clone())
            },
        )
        .await
    }

    /// Waits until nothing is left to process or to deliver.
    pub(crate) async fn idle(&self) {
        eventually("nothing is left to do", async || {
            let stats = self.get("/stats").await;
            let queue = &stats["queue"];
            let mut destinations = queue["destinations"].as_object().unwrap().values();
            (queue["unprocessed"] == 0 && destinations.all(|d| d["open"] == 0)).then_some(())
        })
        .await;
    }

    /// Ids of all events, newest first.
    pub(crate) async fn event_ids(&self) -> Vec<String> {
        let page = self.get("/events?limit=1000").await;
        let items = page["items"].as_array().unwrap();
        items
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// An admin request without the token.
    pub(crate) fn admin(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.admin_url()))
    }

    /// Asks the admin API; the answer must be 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let reply = self.ask(path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.json()
    }

    /// Asks the admin API.
    pub(crate) async fn ask(&self, path: &str) -> Reply {
        let request = self.admin(Method::GET, &format!("/admin/v1{path}"));
        Reply::of(request.bearer_auth(ADMIN_TOKEN).send().await.unwrap()).await
    }

    /// Tells the admin API to do something.
    pub(crate) async fn tell(&self, path: &str, body: &Value) -> Reply {
        let request = self.admin(Method::POST, &format!("/admin/v1{path}"));
        Reply::of(
            request
                .bearer_auth(ADMIN_TOKEN)
                .json(body)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    /// Replays one event with the rules that hold now and answers its new story.
    pub(crate) async fn replay(&self, story: &Value) -> Reply {
        self.tell("/events/replay", &json!({ "ids": [story["event"]["id"]] }))
            .await
    }
}
