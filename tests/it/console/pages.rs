//! The pages: their numbers are the API's, every number leads to its calls, and nothing from outside is more than text.

use serde_json::{Value, json};

use super::{VIEWER_TOKEN, browse, log_in};
use crate::store::{PHONELY, bring, key, request};
use crate::support::{ADMIN_TOKEN, Reply, Setup, TestBridge, minutes_ago, told};

/// What must never be more than text.
const MARKUP: &str = "\"'><script>alert(1)</script><b onclick=x>&amp;";

pub(super) fn setup() -> Setup {
    super::setup()
        .config(&key("team", "your-api-key-here", ""))
        .set("STORE__CURRENCY", "USD")
}

/// A browser that is logged in.
pub(super) struct Browser<'a> {
    bridge: &'a TestBridge,
    cookie: String,
}

impl<'a> Browser<'a> {
    pub(super) async fn open(bridge: &'a TestBridge, token: &str) -> Self {
        Self {
            bridge,
            cookie: log_in(bridge, token).await,
        }
    }

    async fn ask(&self, path: &str) -> Reply {
        let cookie = ("cookie", self.cookie.as_str());
        browse(self.bridge, "GET", path, &[cookie], &[]).await
    }

    pub(super) async fn see(&self, path: &str) -> String {
        let reply = self.ask(path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(reply.headers["content-type"], "text/html; charset=utf-8");
        reply.body
    }
}

pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The rows of a table's body, as the texts of their cells.
pub(super) fn rows(page: &str, table: &str) -> Vec<Vec<String>> {
    let (_, table) = page.split_once(&format!("<table id=\"{table}\"")).unwrap();
    let (table, _) = table.split_once("</table>").unwrap();
    let (_, body) = table.split_once("<tbody>").unwrap();
    let cells = |row: &str| {
        let cells = row.split("</td>").flat_map(|part| part.split("</th>"));
        let texts: Vec<String> = cells.map(|cell| text(cell).trim().to_owned()).collect();
        texts[..texts.len() - 1].to_vec()
    };
    body.split("</tr>")
        .filter(|row| row.contains("<t"))
        .map(cells)
        .collect()
}

/// What is left of markup without its tags.
fn text(markup: &str) -> String {
    let parts = markup.split('<').enumerate();
    parts
        .map(|(place, part)| match part.split_once('>') {
            Some((_, text)) if place > 0 => text,
            _ => part,
        })
        .collect()
}

/// Links to lists of calls, with the texts that they bear.
pub(super) fn lists(page: &str) -> Vec<(String, String)> {
    page.split("<a href=\"")
        .filter(|part| part.starts_with("/console/calls?"))
        .map(|part| {
            let (href, rest) = part.split_once('"').unwrap();
            let label = rest.strip_prefix(" aria-label=\"").map_or_else(
                || text(&format!("<{}", rest.split_once("</a>").unwrap().0)),
                |label| label.split_once('"').unwrap().0.to_owned(),
            );
            (href.replace("&amp;", "&"), label)
        })
        .collect()
}

/// The number that a link tells: all of its text, or what a mark of a chart says after its name. Shares and amounts
/// are no numbers of calls.
fn number(label: &str) -> Option<usize> {
    match label.rsplit_once(": ") {
        None => label.parse().ok(),
        Some((_, after)) => after.split(' ').next()?.parse().ok(),
    }
}

/// Twelve calls of the last days, half of them with an outcome.
async fn story(bridge: &TestBridge) {
    let calls: Vec<Value> = (0..12)
        .map(|no| {
            let agent = if no % 3 == 0 { "anna, at night" } else { "bert" };
            json!({
                "call_id": format!("c{no}"), "agent_id": agent, "phone": format!("+1415555000{}", no % 5),
                "started_at": minutes_ago(60 + no * 600), "metadata": { "campaign": if no % 2 == 0 { "spring" } else { "autumn" } },
            })
        })
        .collect();
    bring(bridge, json!(calls)).await;
    for (no, outcome) in [
        (0, "Sold"),
        (1, "Appointment Completed"),
        (2, "Appointment No-Show"),
        (3, "Sold"),
        (4, "Appointment Booked"),
        (5, "A label of its own"),
    ] {
        let agent = if no % 3 == 0 {
            "anna%2C%20at%20night"
        } else {
            "bert"
        };
        let body = json!({ "custom_call_outcome": outcome, "custom_call_outcome_value": 10.5 * f64::from(no + 1) });
        let line = format!("PATCH /api/calls/{agent}/c{no}");
        let reply = request(bridge, &line, &PHONELY, body.to_string().as_str()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_log_in_first_and_viewers_may_read() {
    let bridge = setup().start().await;
    story(&bridge).await;
    for page in [
        "performance",
        "calls",
        "calls/1",
        "events/1",
        "performance/groups",
    ] {
        let reply = browse(&bridge, "GET", &format!("/console/{page}"), &[], &[]).await;
        assert_eq!(reply.status, 303, "{page}");
        assert!(reply.headers["location"].starts_with("/console/login?next="));
    }
    let viewer = Browser::open(&bridge, VIEWER_TOKEN).await;
    let page = viewer.see("/console/performance").await;
    let reply = viewer.ask("/console/performance").await;
    let policy = &reply.headers["content-security-policy"];
    assert!(
        policy.contains("default-src 'none'")
            && !policy.contains("unsafe")
            && !policy.contains("script-src"),
        "{policy}"
    );
    for forbidden in ["<script", " style=", "javascript:", "http://", "onclick"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(
        viewer
            .see("/console")
            .await
            .contains("href=\"/console/performance\"")
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_those_of_the_api_and_lead_to_as_many_calls() {
    let bridge = setup().start().await;
    story(&bridge).await;
    let browser = Browser::open(&bridge, ADMIN_TOKEN).await;
    let groups = encoded(
        r#"[{"name":"Won","where":{"kinds":["closed"]}},{"name":"Spring","where":{"metadata":"campaign=spring"}},{"name":"All","where":{}}]"#,
    );
    let night = encoded(r#"["anna, at night"]"#);
    let mut followed = 0;
    for asked in [
        String::new(),
        format!("groups={groups}&show=share"),
        format!("groups={groups}&metadata=campaign%3Dautumn&by=week"),
        format!("agent={night}&zone=Asia/Kolkata&split=label"),
        "attribution=first&split=kind".to_owned(),
        "split=metadata.never".to_owned(),
        "where=%7B%22reached%22%3A%22booked%22%7D&split=metadata.campaign&mature_after=0s"
            .to_owned(),
    ] {
        let page = browser.see(&format!("/console/performance?{asked}")).await;
        let plain: String = asked
            .split('&')
            .filter(|one| {
                !one.starts_with("show=")
                    && !one.starts_with("split=")
                    && !one.starts_with("mature")
            })
            .map(|one| format!("&{one}"))
            .collect();
        let report = bridge
            .get(&format!("/analytics/report?compare=previous{plain}"))
            .await;
        let mut expected: Vec<String> = report["parts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| part["calls"].to_string())
            .collect();
        expected.push(report["all"]["calls"].to_string());
        let shown: Vec<String> = rows(&page, "parts")
            .iter()
            .map(|row| row[1].clone())
            .collect();
        assert_eq!(shown, expected, "{asked}");
        let buckets: Vec<String> = rows(&page, "buckets")
            .iter()
            .map(|row| row[1].clone())
            .collect();
        let by_bucket = report["all"]["by_bucket"].as_array().unwrap();
        assert_eq!(
            buckets,
            by_bucket.iter().map(Value::to_string).collect::<Vec<_>>(),
            "{asked}"
        );
        for (href, label) in lists(&page) {
            let list = browser.see(&href).await;
            let listed = list.matches("data-call=").count();
            if let Some(number) = number(&label) {
                assert_eq!(listed, number, "{label}: {href}");
                followed += 1;
            }
            let (_, query) = href.split_once('?').unwrap();
            let api = bridge.get(&format!("/analytics/calls?{query}")).await;
            assert_eq!(
                api["items"].as_array().unwrap().len(),
                listed,
                "{label}: {href}"
            );
            assert!(list.contains(&format!("<h1>{listed} call")), "{href}");
        }
    }
    assert!(followed > 100, "{followed}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_is_text_wherever_it_comes_from() {
    let bridge = setup().start().await;
    let call = json!({
        "call_id": MARKUP, "agent_id": MARKUP, "platform": MARKUP, "direction": MARKUP, "started_at": minutes_ago(60),
        "transcript": MARKUP, "metadata": { MARKUP: MARKUP, "k": MARKUP }, "fields": { MARKUP: [MARKUP] },
        "recording_url": format!("https://a.example/?{MARKUP}"),
    });
    bring(&bridge, json!([call])).await;
    let id = bridge.get("/calls").await["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let line = format!(
        "PATCH /api/calls/{}/{id}",
        encoded(MARKUP).replace('+', "%20")
    );
    let body = json!({ "custom_call_outcome": MARKUP, "custom_call_metadata": { "why": MARKUP } });
    let reply = request(&bridge, &line, &PHONELY, body.to_string().as_str()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let browser = Browser::open(&bridge, ADMIN_TOKEN).await;
    let groups = encoded(
        &json!([{ "name": MARKUP, "where": { "labels": [MARKUP], "agents": [MARKUP] } }])
            .to_string(),
    );
    let condition =
        encoded(&json!({ "labels": [MARKUP], "metadata": format!("k={MARKUP}") }).to_string());
    let marked = encoded(MARKUP);
    for page in [
        format!("/console/calls/{id}"),
        "/console/calls".to_owned(),
        format!("/console/calls?where={condition}"),
        format!("/console/calls?find={marked}"),
        "/console/performance".to_owned(),
        format!("/console/performance?groups={groups}&where={condition}&split=label"),
        format!("/console/performance?label={marked}"),
        format!("/console/performance?from=1999-01-01&to=1999-01-02&label={marked}"),
    ] {
        let seen = browser.see(&page).await;
        assert!(
            !seen.contains("<script") && !seen.contains("<b "),
            "{page}: {seen}"
        );
        assert!(
            seen.contains("&lt;script&gt;"),
            "{page} shows it as it came"
        );
    }
    for wrong in [
        format!("/console/performance?{marked}={marked}"),
        format!("/console/performance?zone={marked}"),
        format!("/console/performance?split={marked}"),
        format!("/console/performance/groups?group.name={marked}&group.reached={marked}"),
        format!("/console/calls?from={marked}"),
        format!("/console/calls/{marked}"),
        format!("/console/events/{marked}"),
    ] {
        let reply = browser.ask(&wrong).await;
        assert!(
            [400, 404].contains(&reply.status),
            "{wrong}: {}",
            reply.status
        );
        assert!(
            !reply.body.contains("<script") && !reply.body.contains("<b "),
            "{wrong}"
        );
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_very_large_has_a_page_that_can_be_read() {
    let bridge = setup().start().await;
    let mut deep = json!("down here");
    for _ in 0..60 {
        deep = json!({ "deeper": deep });
    }
    let start = minutes_ago(60);
    for (name, call) in [
        (
            "blob",
            json!({ "call_id": "blob", "started_at": start, "metadata": { "blob": "<x>".repeat(300_000) } }),
        ),
        (
            "deep",
            json!({ "call_id": "deep", "started_at": start, "metadata": deep }),
        ),
        (
            "long",
            json!({ "call_id": "long", "started_at": start, "transcript": "<i>word</i> ".repeat(80_000) }),
        ),
    ] {
        bring(&bridge, json!([call])).await;
        let found = bridge.get(&format!("/calls?call={name}")).await;
        let id = found["items"][0]["id"].as_str().unwrap();
        let browser = Browser::open(&bridge, ADMIN_TOKEN).await;
        let page = browser.see(&format!("/console/calls/{id}")).await;
        assert!(
            page.len() < 2_000_000 && page.ends_with("</html>"),
            "{name}: {}",
            page.len()
        );
        assert!(!page.contains("<i>") && !page.contains("<x>"));
        if name != "deep" {
            assert!(
                page.contains(&format!("/admin/v1/calls/{id}\">the call as JSON")),
                "{name} says where the rest is"
            );
        }
        browser.see("/console/performance").await;
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_tells_its_changes_and_the_events_that_led_to_them() {
    let bridge = setup().start().await;
    bring(&bridge, json!([{ "call_id": "c1", "agent_id": "anna", "started_at": minutes_ago(300), "recording_url": "https://a.example/r" },
        { "call_id": "c1", "agent_id": "bert", "started_at": minutes_ago(200) }]))
    .await;
    bring(
        &bridge,
        json!([{ "call_id": "c2", "agent_id": "anna", "started_at": minutes_ago(100) }]),
    )
    .await;
    let shown = bridge
        .hear("team", &told("c2", "shown", minutes_ago(60)))
        .await;
    let closed = bridge
        .hear("team", &told("c2", "closed", minutes_ago(30)))
        .await;
    bridge.idle().await;
    let browser = Browser::open(&bridge, ADMIN_TOKEN).await;
    let found = browser.see("/console/calls?find=c2").await;
    let (_, id) = found.split_once("data-call=\"").unwrap();
    let id = id.split_once('"').unwrap().0;
    let page = browser
        .see(&format!("/console/calls/{id}?zone=Asia/Tokyo"))
        .await;
    let changes = rows(&page, "changes");
    assert_eq!(
        (
            changes.len(),
            changes[0][1].as_str(),
            changes[0][2].as_str()
        ),
        (2, "shown", "closed"),
        "{changes:?}"
    );
    for event in [&shown, &closed] {
        let event = event["event"]["id"].as_str().unwrap();
        assert!(
            page.contains(&format!("<summary>{event}</summary>")),
            "{event}"
        );
        let story = browser.see(&format!("/console/events/{event}")).await;
        assert!(
            story.contains("became      mapped") && story.contains("attempt 1"),
            "{story}"
        );
        assert!(page.contains("became      mapped"));
    }
    // The same id of two agents is two calls.
    let both = browser.see("/console/calls?find=c1").await;
    assert_eq!(both.matches("data-call=").count(), 2);
    let ids: Vec<&str> = both
        .split("data-call=\"")
        .skip(1)
        .map(|part| part.split_once('"').unwrap().0)
        .collect();
    let pages = [
        browser.see(&format!("/console/calls/{}", ids[0])).await,
        browser.see(&format!("/console/calls/{}", ids[1])).await,
    ];
    let of = |agent: &str| {
        pages
            .iter()
            .position(|page| page.contains(&format!("<dd>{agent}</dd>")))
            .unwrap()
    };
    assert_ne!(of("anna"), of("bert"));
    assert!(pages[of("anna")].contains("href=\"https://a.example/r\" rel=\"noreferrer noopener\""));
    assert_eq!(browser.ask("/console/calls/nothing").await.status, 404);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_changed_by_their_address_alone() {
    let bridge = setup().start().await;
    story(&bridge).await;
    let browser = Browser::open(&bridge, VIEWER_TOKEN).await;
    let added = browser
        .ask("/console/performance/groups?by=week&group.name=Won&group.kind=closed&group.kind=shown&group.label=&group.agent=&group.reached=")
        .await;
    assert_eq!(added.status, 303);
    let address = added.headers["location"].strip_suffix("#outcomes").unwrap();
    let page = browser.see(address).await;
    let parts = rows(&page, "parts");
    assert_eq!(
        (parts[0][0].as_str(), parts[0][1].as_str(), parts.len()),
        ("Won", "3", 2),
        "{parts:?}"
    );
    assert!(page.contains("value=\"week\" selected"));
    let renamed = address.replace("performance?", "performance/groups?");
    let renamed = browser
        .ask(&format!("{renamed}&group.rename=0&group.name=Ours"))
        .await;
    assert!(
        renamed.headers["location"].contains("%22name%22%3A%22Ours%22"),
        "{renamed:?}"
    );
    let (_, removed) = page.split_once("class=\"button plain\" href=\"").unwrap();
    assert!(!removed.split_once('"').unwrap().0.contains("groups="));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_beyond_the_lines_of_a_breakdown_are_one_line() {
    let bridge = setup().start().await;
    let calls = (0..103).map(|n| {
        json!({
            "call_id": format!("c{n}"), "agent_id": "anna", "started_at": minutes_ago(60),
            "metadata": { "campaign": format!("campaign {n:03}") },
        })
    });
    bring(&bridge, calls.collect()).await;
    let browser = Browser::open(&bridge, ADMIN_TOKEN).await;
    let path = "/console/performance?split=metadata.campaign&attribution=first";
    let page = browser.see(path).await;
    let lines = rows(&page, "lines");
    assert_eq!(lines.len(), 101);
    assert_eq!(lines[100][..2], ["all others", "3"]);
    // The questions that know no touch are not asked for one.
    for (question, has_touch) in [("report", true), ("funnel", false), ("breakdown", false)] {
        let start = format!("/admin/v1/analytics/{question}?");
        let (_, link) = page.split_once(&start).unwrap();
        let link = link.split_once('"').unwrap().0;
        assert_eq!(link.contains("attribution=first"), has_touch, "{link}");
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_pages_tell_what_to_do_first() {
    let bridge = setup().start().await;
    let browser = Browser::open(&bridge, ADMIN_TOKEN).await;
    let page = browser.see("/console/performance").await;
    assert!(
        page.contains("No calls yet") && page.contains("calls import"),
        "{page}"
    );
    assert!(
        browser
            .see("/console/calls")
            .await
            .contains("No calls here")
    );
    story(&bridge).await;
    let page = browser
        .see("/console/performance?from=1999-01-01&to=1999-02-01&label=x")
        .await;
    let (_, there) = page.split_once("class=\"button\" href=\"").unwrap();
    let there = there.split_once('"').unwrap().0.replace("&amp;", "&");
    assert!(there.contains("label=x"), "{there}");
    let page = browser.see(&there.replace("label=x", "")).await;
    assert_eq!(rows(&page, "parts").last().unwrap()[1], "12");
    for wrong in [
        "from=2026-05-06&to=2026-05-05",
        "by=day&from=0001-01-01",
        "show=nothing",
        "groups=%5B1%5D",
    ] {
        let reply = browser.ask(&format!("/console/performance?{wrong}")).await;
        assert_eq!(reply.status, 400, "{wrong}");
        assert!(reply.body.contains("role=\"alert\""), "{wrong}");
    }
    let without = bridge.stop().await.set("STORE__ENABLED", "false");
    let bridge = TestBridge::again(without).await;
    let browser = Browser::open(&bridge, ADMIN_TOKEN).await;
    assert!(
        browser
            .see("/console/performance")
            .await
            .contains("turned off")
    );
    assert_eq!(browser.ask("/console/calls").await.status, 404);
    bridge.stop().await;
}
