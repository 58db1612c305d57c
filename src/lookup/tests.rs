//! The service against an API that answers as a test says, over the real queue.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Job, LookupService, LookupState, Plan, Subscriber};
use crate::clock::Clock;
use crate::connector::{Catalogue, Inbound, Lookups, SourceOptions, Verification};
use crate::egress::AddressPolicy;
use crate::mapping::{Context, Looked, LookedUp, Ruleset};
use crate::model::{ConnectorName, EventId, Settings, SourceName};
use crate::queue::local::{LocalOptions, LocalQueue};
use crate::queue::{Queue, Registry};
use crate::telemetry::mask_phone;

const PATIENCE: Duration = Duration::from_secs(30);
const RULES: &str = r#"
    format = 1
    [[rule]]
    id = "won"
    when = []
    outcome = "closed"
    [rule.set]
    phone = "{lookup.contact.phone}"
"#;

/// An API whose answers a test sets by path, and who counts what was asked.
struct Api {
    url: String,
    answers: Arc<Mutex<BTreeMap<String, u16>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let api = Self {
            url,
            answers: Arc::default(),
            asked: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&api.answers), Arc::clone(&api.asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let status = answers.lock().unwrap().get(&path).copied().unwrap_or(200);
                asked.lock().unwrap().push(path);
                let body = r#"{"contact":{"phone":"+14155550123"}}"#;
                let answer = format!(
                    "HTTP/1.1 {status} Scripted\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        });
        api
    }

    fn answer(&self, contact: &str, status: u16) {
        let path = format!("/contacts/{contact}");
        self.answers.lock().unwrap().insert(path, status);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// A HighLevel source with its service.
struct Bench {
    _home: tempfile::TempDir,
    source: SourceName,
    lookups: Arc<Lookups>,
    rules: Ruleset,
    registry: Arc<dyn Registry>,
    service: LookupService,
    clock: Clock,
    shutdown: CancellationToken,
}

impl Bench {
    fn start(api: &Api, probe_every: Duration) -> Self {
        let home = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::embedded();
        let connector = catalogue
            .get(&ConnectorName::new("highlevel").unwrap())
            .unwrap();
        let settings = json!({ "access_token": "pit-1", "api_url": api.url });
        let source = SourceName::new("crm").unwrap();
        let options = SourceOptions {
            source: source.clone(),
            public_url: "https://bridge.example.com/webhooks/crm".to_owned(),
            verification: Verification::Required,
            dedupe_window: None,
        };
        let settings = Settings::from_json(settings);
        let (inbound, _) = Inbound::new(connector, &settings, &options).unwrap();
        let clock = Clock::manual("2026-01-02T00:00:00Z".parse().unwrap());
        let mut options = LocalOptions::new(home.path());
        options.clock = clock.clone();
        let (queue, _) = LocalQueue::open(options).unwrap();
        let queue: Arc<dyn Queue> = Arc::new(queue);
        let shutdown = CancellationToken::new();
        let lookups = Arc::clone(inbound.lookups());
        let subscriber = Subscriber {
            source: source.clone(),
            lookups: Arc::clone(&lookups),
            addresses: AddressPolicy::Any,
        };
        let service = LookupService::start_with(
            vec![subscriber],
            &queue,
            &clock,
            home.path(),
            &shutdown,
            probe_every,
        );
        Self {
            _home: home,
            source,
            lookups,
            rules: Ruleset::parse(Path::new("rules.toml"), RULES).unwrap().0,
            registry: queue.registry(),
            service: service.unwrap(),
            clock,
            shutdown,
        }
    }

    /// Plans for an event about a contact that comes in now.
    fn plan(&self, contact: &str) -> (Plan, LookedUp) {
        self.plan_for(contact, self.clock.now())
    }

    fn plan_for(&self, contact: &str, received_at: Timestamp) -> (Plan, LookedUp) {
        let nothing = LookedUp::nothing();
        let context = Context {
            source: &self.source,
            event: EventId::first_at(1),
            header: &Value::Null,
            query: &Value::Null,
            setting: &Value::Null,
            looked_up: &nothing,
            region: None,
            received_at,
        };
        let mut plan = Plan::default();
        let event = json!({ "contactId": contact });
        let mut read = |key| self.registry.record(&key).unwrap();
        let now: Timestamp = self.clock.now();
        let looked_up = plan.look_up(&self.lookups, &self.rules, &event, &context, now, &mut read);
        (plan, looked_up)
    }

    fn jobs(&self, contact: &str) -> Vec<Job> {
        self.plan(contact).0.into_jobs()
    }

    fn ask(&self, contact: &str) {
        let jobs = self.jobs(contact);
        assert_eq!(jobs.len(), 1, "{contact} has to be asked");
        self.service.ask(jobs);
    }

    fn why(&self, contact: &str) -> String {
        let (plan, _) = self.plan(contact);
        plan.made.first().map(|made| made.why.clone()).unwrap()
    }

    fn is_answered(&self, contact: &str) -> bool {
        self.plan(contact).1
            == LookedUp::from_json(json!({ "contact": { "phone": "+14155550123" } }))
    }

    fn state(&self) -> LookupState {
        self.service.state(&self.source).unwrap()
    }

    fn has_nothing_at_hand(&self) -> bool {
        matches!(self.state(), LookupState::Ready { open: 0, .. })
    }

    fn is_held(&self) -> bool {
        matches!(self.state(), LookupState::Held { .. })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn eventually(what: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_answered_lifts_the_hold() {
    let api = Api::start().await;
    let bench = Bench::start(&api, Duration::from_millis(200));
    api.answer("c1", 401);
    bench.ask("c1");
    eventually("the hold", || bench.is_held()).await;
    eventually("the stored hold", || {
        bench.why("c2").contains("are held since")
    })
    .await;
    let looks_again = bench.plan("c2").0.wake_at.unwrap();
    assert!(
        looks_again >= bench.clock.now() + jiff::SignedDuration::from_mins(5),
        "an event looks for itself seldom while they are held"
    );
    let before = api.asked();
    eventually("refused probes", || api.asked() > before + 1).await;
    assert!(bench.is_held());
    api.answer("c1", 200);
    eventually("the release", || !bench.is_held()).await;
    eventually("the stored release", || {
        bench.why("c2") == "it is being asked"
    })
    .await;
    assert!(bench.is_answered("c1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_forbidden_record_does_not_hold_the_source_for_good() {
    let api = Api::start().await;
    let bench = Bench::start(&api, Duration::from_millis(200));
    api.answer("c1", 403);
    bench.ask("c1");
    eventually("the stored hold", || {
        bench.why("c2").contains("are held since")
    })
    .await;
    // The next probe asks another question of an event that came in meanwhile, and that one is answered.
    bench.ask("c2");
    eventually("the release", || !bench.is_held()).await;
    eventually("the other's answer", || bench.is_answered("c2")).await;
    // The first one is forbidden still. Now that is its own failure.
    eventually("the stored release", || {
        bench.why("c1") == "it is being asked"
    })
    .await;
    bench.ask("c1");
    eventually("its failure", || {
        bench.why("c1").contains("it is asked again at")
    })
    .await;
    assert!(!bench.is_held());
    assert!(
        bench
            .why("c1")
            .contains("the credentials are refused (403)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_at_hand_is_not_asked_twice() {
    let api = Api::start().await;
    let bench = Bench::start(&api, Duration::from_secs(300));
    {
        // The API cannot answer before all have asked.
        let _silent = api.asked.lock().unwrap();
        for _ in 0..50 {
            bench.service.ask(bench.jobs("c1"));
        }
    }
    eventually("the answer", || bench.is_answered("c1")).await;
    eventually("the end of the work", || bench.has_nothing_at_hand()).await;
    assert_eq!(api.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_days_of_failures_the_event_is_given_up_with_the_last_reason() {
    let api = Api::start().await;
    let bench = Bench::start(&api, Duration::from_secs(300));
    let received = bench.clock.now();
    api.answer("c1", 500);
    bench.ask("c1");
    eventually("the first failure", || {
        bench.why("c1").contains("answered 500")
    })
    .await;
    let (plan, _) = bench.plan_for("c1", received);
    assert!(plan.wake_at.is_some_and(|at| at > received));
    assert_eq!(plan.watches.len(), 1);
    eventually("the end of the work", || bench.has_nothing_at_hand()).await;
    let late = received + jiff::SignedDuration::from_hours(72);
    bench.clock.set(late);
    api.answer("c1", 502);
    bench
        .service
        .ask(bench.plan_for("c1", received).0.into_jobs());
    let given_up = "the look-up `contact` was given up after 3 days: answered 502";
    let expected = LookedUp::new(vec![Looked::Failed(with_text(given_up))]);
    let failed = || bench.plan_for("c1", received).1 == expected;
    eventually("the event is given up", failed).await;
    // An event that comes in now has three days of its own.
    assert!(bench.why("c1").contains("it is asked again at"));
}

/// A reason with what the API wrote about it.
fn with_text(reason: &str) -> String {
    format!(
        "{reason}: {{\"contact\":{{\"phone\":\"{}\"}}}}",
        mask_phone("+14155550123")
    )
}
