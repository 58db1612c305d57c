//! Disks that are full, read-only, slow, or fail: the real process under a shim that plays them.
//!
//! What holds in all of them: nothing is acknowledged that is not on the disk, what was acknowledged stays, the
//! process either goes on by itself or ends so that it can be started again, and it says what is wrong.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use outcome_bridge::clock::Clock;
use outcome_bridge::config::Env;
use outcome_bridge::connector::RequestParts;
use outcome_bridge::setup::{Blueprint, Source};
use rustix::process::Signal;
use serde_json::Value;

use crate::shim;
use crate::support::{
    ADMIN_TOKEN, Child, FakeDestination, Reply, Setup, client, eventually, minutes_ago, told,
};

const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EIO: i32 = 5;

/// A bridge's home, and the disk that it is on.
struct Disk {
    setup: Setup,
    place: tempfile::TempDir,
    preload: PathBuf,
    source: Arc<Source>,
    http: reqwest::Client,
    sent: u64,
    /// Messages that were acknowledged.
    acknowledged: BTreeSet<String>,
}

impl Disk {
    fn new(setup: Setup) -> Self {
        let setup = setup.written();
        let place = tempfile::tempdir().unwrap();
        let preload = shim::build(place.path());
        let none: Env = std::iter::empty::<(String, String)>().collect();
        let Ok(loaded) = Blueprint::load(&setup.config_dir(), &none) else {
            panic!("the configuration has mistakes");
        };
        let source = Arc::clone(&loaded.blueprint.sources["team"]);
        Self {
            setup,
            place,
            preload,
            source,
            http: client(),
            sent: 0,
            acknowledged: BTreeSet::new(),
        }
    }

    fn data(&self) -> PathBuf {
        self.setup.config_dir().parent().unwrap().join("data")
    }

    /// How the disk behaves from now on.
    fn play(&self, faults: &[String]) {
        // In one step: the process reads it at any moment.
        let next = self.place.path().join("next");
        std::fs::write(&next, faults.join("\n")).unwrap();
        std::fs::rename(next, self.place.path().join("faults")).unwrap();
    }

    fn begin(&self) -> Child {
        let faults = self.place.path().join("faults");
        let data = self.data().canonicalize().unwrap();
        let env = [
            ("LD_PRELOAD", self.preload.as_path()),
            ("SHIM_DIR", &data),
            ("SHIM_FAULTS", &faults),
        ];
        Child::begin(&self.setup.config_dir(), &env)
    }

    fn serve(&self) -> Child {
        let mut child = self.begin();
        child.started();
        child
    }

    /// Posts an event of its own.
    async fn post(&mut self, child: &Child) -> Result<Reply, reqwest::Error> {
        self.sent += 1;
        let name = format!("msg_{}", self.sent);
        let reply = self.post_named(child, &name).await;
        if reply.as_ref().is_ok_and(|reply| reply.status == 200) {
            self.acknowledged.insert(name);
        }
        reply
    }

    fn post_named(
        &self,
        child: &Child,
        name: &str,
    ) -> impl Future<Output = Result<Reply, reqwest::Error>> + use<> {
        let mut body = told(name, "shown", minutes_ago(5));
        // Large, so that segments are soon full.
        body["notes"] = Value::String("n".repeat(20_000));
        let parts = RequestParts {
            method: "POST".to_owned(),
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("webhook-id".to_owned(), name.to_owned()),
            ],
            body: body.to_string().into(),
            ..RequestParts::default()
        };
        let signed = self.source.inbound.sign(parts, Clock::system().now());
        let parts = signed.unwrap().into_parts();
        let url = format!("http://{}/webhooks/team", child.inlet);
        let mut request = self.http.post(url).body(parts.body);
        for (name, value) in parts.headers {
            request = request.header(name, value);
        }
        async move { Ok(Reply::of(request.send().await?).await) }
    }

    async fn ask(&self, child: &Child, path: &str) -> Reply {
        let url = format!("http://{}{path}", child.admin);
        let request = self.http.get(url).bearer_auth(ADMIN_TOKEN);
        Reply::of(request.send().await.unwrap()).await
    }

    async fn ready(&self, child: &Child) -> (u16, Value) {
        let reply = self.ask(child, "/health/ready").await;
        (reply.status, reply.json())
    }

    async fn until_ready(&self, child: &Child, status: u16) -> Value {
        eventually(&format!("/health/ready answers {status}"), async || {
            let (now, body) = self.ready(child).await;
            (now == status).then_some(body)
        })
        .await
    }

    /// Everything acknowledged is stored, and becomes a delivered outcome in the end.
    async fn holds_everything(&self, child: &Child) {
        eventually("everything acknowledged is in the store", async || {
            let page = self.ask(child, "/admin/v1/outcomes?limit=1000").await;
            if page.status != 200 {
                return None;
            }
            let page = page.json();
            let items = page["items"].as_array().unwrap().iter();
            let there: BTreeSet<String> = items
                .map(|item| item["call_id"].as_str().unwrap_or_default().to_owned())
                .collect();
            self.acknowledged.is_subset(&there).then_some(())
        })
        .await;
    }

    async fn metric(&self, child: &Child, name: &str) -> String {
        let text = self.ask(child, "/metrics").await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .to_owned()
    }
}

fn full() -> Vec<String> {
    vec![format!("grow {ENOSPC} *"), "free 0 *".to_owned()]
}

/// Posts until the bridge is full of what it holds in memory, which is busy, too.
async fn busy(disk: &mut Disk, child: &Child) {
    let reply = disk.post(child).await.unwrap();
    assert_eq!(
        (reply.status, reply.headers["retry-after"].as_str()),
        (503, "30"),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_busy_and_is_used_again_when_there_is_room() {
    let mut disk = Disk::new(Setup::new().with_store());
    let child = disk.serve();
    for _ in 0..30 {
        assert_eq!(disk.post(&child).await.unwrap().status, 200);
    }
    disk.play(&["free 0 *".to_owned()]);
    let said = disk.until_ready(&child, 503).await;
    assert_eq!(said["reason"], "the disk is full", "{said}");
    disk.play(&full());
    busy(&mut disk, &child).await;
    let ready = "outcome_bridge_storage_ready";
    assert_eq!(disk.metric(&child, ready).await, "0");

    disk.play(&[]);
    disk.until_ready(&child, 200).await;
    assert_eq!(disk.metric(&child, ready).await, "1");
    for _ in 0..100 {
        assert_eq!(disk.post(&child).await.unwrap().status, 200);
    }
    disk.holds_everything(&child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_under_load_without_warning_loses_nothing() {
    let mut disk = Disk::new(Setup::new().with_store().set("STORAGE__MIN_FREE_DISK", "0"));
    let child = disk.serve();
    for _ in 0..10 {
        assert_eq!(disk.post(&child).await.unwrap().status, 200);
    }
    // Only the journal meets it, in the middle of a segment, and nobody knows how much is free.
    disk.play(&[format!("grow {ENOSPC} .jnl")]);
    let mut refused = false;
    for _ in 0..300 {
        let reply = disk.post(&child).await.unwrap();
        if reply.status == 503 {
            assert_eq!(reply.headers["retry-after"], "30");
            refused = true;
            break;
        }
        assert_eq!(reply.status, 200);
    }
    assert!(refused, "segments are 1 MB");
    let said = disk.until_ready(&child, 503).await;
    assert_eq!(said["reason"], "the disk is full", "{said}");
    disk.play(&[]);
    disk.until_ready(&child, 200).await;
    for _ in 0..60 {
        assert_eq!(disk.post(&child).await.unwrap().status, 200);
    }
    disk.holds_everything(&child).await;
    child.signal(Signal::KILL);
    child.ended();
    let child = disk.serve();
    disk.holds_everything(&child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_waits_for_room() {
    let mut disk = Disk::new(Setup::new().with_store());
    let child = disk.serve();
    for _ in 0..20 {
        assert_eq!(disk.post(&child).await.unwrap().status, 200);
    }
    child.signal(Signal::KILL);
    child.ended();
    for faults in [full(), vec![format!("write {EROFS} *")]] {
        disk.play(&faults);
        let mut child = disk.begin();
        let waits = child.line("bridge.waiting");
        assert!(waits["message"].as_str().is_some(), "{waits}");
        disk.play(&[]);
        child.started();
        disk.holds_everything(&child).await;
        child.signal(Signal::KILL);
        child.ended();
    }
    // It can be told to stop while it waits.
    disk.play(&full());
    let mut child = disk.begin();
    child.line("bridge.waiting");
    child.signal(Signal::TERM);
    let (status, log) = child.ended();
    assert_eq!(status.code(), Some(1), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_on_a_full_disk_leaves_the_index_as_it_is() {
    let mut disk = Disk::new(Setup::new().with_store());
    let child = disk.serve();
    for _ in 0..20 {
        assert_eq!(disk.post(&child).await.unwrap().status, 200);
    }
    disk.play(&["free 0 *".to_owned()]);
    disk.until_ready(&child, 503).await;
    disk.play(&full());
    child.signal(Signal::TERM);
    let (status, log) = child.ended();
    assert!(status.success(), "{log:#?}");
    let told = |what| log.iter().any(|line| line.contains(what));
    assert!(told("queue.closed_without_checkpoint"), "{log:#?}");
    assert!(!told("queue.storage_failed"), "{log:#?}");
    disk.play(&[]);
    let child = disk.serve();
    disk.holds_everything(&child).await;
}

/// The process ends by itself when storage fails, tells those who wait to come back, and starts again.
async fn ends_and_starts_again(faults: &[String]) {
    let mut disk = Disk::new(Setup::new().with_store());
    let child = disk.serve();
    for _ in 0..20 {
        assert_eq!(disk.post(&child).await.unwrap().status, 200);
    }
    disk.play(faults);
    let mut answers = Vec::new();
    // Until it has ended: nobody listens any more.
    while let Ok(reply) = disk.post(&child).await {
        assert!([200, 503].contains(&reply.status), "{faults:?}: {reply:?}");
        answers.push(reply.status);
    }
    let (status, log) = child.ended();
    assert_eq!(status.code(), Some(1), "{faults:?} {log:#?}");
    assert!(
        log.iter().any(|line| line.contains("queue.storage_failed")),
        "{faults:?} {log:#?}"
    );
    disk.play(&[]);
    let child = disk.serve();
    disk.holds_everything(&child).await;
    assert_eq!(disk.post(&child).await.unwrap().status, 200);
    disk.holds_everything(&child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_of_the_journal_that_fails_ends_the_process() {
    ends_and_starts_again(&[format!("sync {EIO} .jnl")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_the_journal_that_fails_ends_the_process() {
    ends_and_starts_again(&[format!("write {EIO} .jnl")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_ends_the_process() {
    ends_and_starts_again(&[format!("write {EROFS} *")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_written_ends_the_process() {
    ends_and_starts_again(&[
        format!("write {EIO} /index/"),
        format!("sync {EIO} /index/"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_is_slow_and_nothing_else() {
    let mut disk = Disk::new(Setup::new().with_store());
    let child = disk.serve();
    disk.play(&["slow 100 *".to_owned()]);
    let before = disk.ask(&child, "/admin/v1/stats").await.json();
    let all: Vec<String> = (0..40).map(|n| format!("slow_{n}")).collect();
    let posts = all.iter().map(|name| disk.post_named(&child, name));
    for reply in futures_util::future::join_all(posts).await {
        assert_eq!(reply.unwrap().status, 200);
    }
    let after = disk.ask(&child, "/admin/v1/stats").await.json();
    let syncs = |stats: &Value| stats["queue"]["syncs"].as_u64().unwrap();
    assert!(
        syncs(&after) - syncs(&before) < 40,
        "those who came together share a sync"
    );
    assert_eq!(disk.ready(&child).await.0, 200);
    disk.acknowledged.extend(all);
    disk.play(&[]);
    disk.holds_everything(&child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_store_that_cannot_be_written_delays_only_itself() {
    let destination = FakeDestination::start().await;
    destination.otherwise(crate::support::Answer::ok());
    let phones =
        "\n[sources.phones]\nconnector = \"call-webhook\"\nsecret = \"secret-of-the-phones\"\n";
    let setup = Setup::new()
        .with_store()
        .webhook("crm", &destination, "")
        .config(phones);
    let mut disk = Disk::new(setup);
    let child = disk.serve();
    disk.play(&[
        format!("write {EIO} outcomes.sqlite"),
        format!("sync {EIO} outcomes.sqlite"),
    ]);
    // A call that the store cannot keep now, and behind it outcomes that it is not asked for.
    let url = format!("http://{}/webhooks/phones", child.inlet);
    let call =
        r#"{"type":"call.started","call_id":"rang","from":"+14155557777","direction":"inbound"}"#;
    let told = disk.http.post(url).bearer_auth("secret-of-the-phones");
    assert_eq!(told.body(call).send().await.unwrap().status(), 200);
    for _ in 0..5 {
        assert_eq!(disk.post(&child).await.unwrap().status, 200);
    }
    for _ in 0..5 {
        destination.request().await;
    }
    let said = eventually("the store is said not to be ready", async || {
        let (status, said) = disk.ready(&child).await;
        assert_eq!(status, 200, "the queue goes on");
        (said["outcome_store"]["ready"] == false).then_some(said)
    })
    .await;
    assert!(said["outcome_store"]["reason"].is_string(), "{said}");
    let metric = "outcome_bridge_outcome_store_ready";
    assert_eq!(disk.metric(&child, metric).await, "0");
    // What was said to be recorded is there: one failed commit must not leave the next one inside of it. It may
    // fail again until the store has noticed that it can be written, and the destination rests for longer then.
    disk.play(&[]);
    eventually("the store is written again", async || {
        let resume = format!(
            "http://{}/admin/v1/destinations/outcome-store/resume",
            child.admin
        );
        let resume = disk.http.post(resume).bearer_auth(ADMIN_TOKEN);
        assert_eq!(resume.send().await.unwrap().status(), 204);
        let (_, said) = disk.ready(&child).await;
        (said["outcome_store"]["ready"] == true).then_some(())
    })
    .await;
    disk.holds_everything(&child).await;
    assert_eq!(disk.metric(&child, metric).await, "1");
    eventually("the call is kept", async || {
        let page = disk.ask(&child, "/admin/v1/calls?call=rang").await;
        (page.json()["items"][0]["phone"] == "+14155557777").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_store_that_works_again_says_so_without_being_written() {
    let disk = Disk::new(Setup::new().with_store());
    let child = disk.serve();
    let outcome_store = async || disk.ready(&child).await.1["outcome_store"]["ready"].clone();
    assert_eq!(outcome_store().await, true);
    disk.play(&[
        format!("write {EIO} outcomes.sqlite"),
        format!("sync {EIO} outcomes.sqlite"),
    ]);
    let calls = format!("http://{}/admin/v1/calls", child.admin);
    let call = disk.http.post(calls).bearer_auth(ADMIN_TOKEN);
    let refused = call.body(r#"{"call_id":"c1"}"#).send().await.unwrap();
    assert!(refused.status().is_server_error(), "{refused:?}");
    assert_eq!(outcome_store().await, false);
    disk.play(&[]);
    eventually("the store is said to be ready", async || {
        (outcome_store().await == true).then_some(())
    })
    .await;
}
