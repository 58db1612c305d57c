//! The lifecycle example of Phonely's document, its commands as they stand there: an agent books an appointment, the
//! customer comes, the CRM's script says so, and the performance page shows what the document promises.

use serde_json::{Value, json};

use super::pages::{Browser, encoded, lists, rows, setup};
use crate::store::{PHONELY, request};
use crate::support::{ADMIN_TOKEN, TestBridge, minutes_ago};

const DAY: i64 = 24 * 60;

/// A call that the phone system tells of when it has ended, so many days ago.
async fn call(bridge: &TestBridge, id: &str, phone: &str, days: i64) {
    let event = json!({
        "type": "call.ended", "event_id": format!("ended-{id}"), "call_id": id, "agent_id": "agent123",
        "direction": "inbound", "from": phone,
        "started_at": minutes_ago(days * DAY + 5), "ended_at": minutes_ago(days * DAY),
    });
    bridge.hear("phones", &event).await;
}

async fn update(bridge: &TestBridge, of: &str, body: &str) -> Value {
    let line = format!("PATCH /api/calls/agent123/{of}");
    let reply = request(bridge, &line, &PHONELY, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(answer["success"], true, "{answer}");
    answer["call_id"].clone()
}

/// What the table of the page says of each part: its name, calls, share of all calls, and value.
fn figures(page: &str) -> Vec<[String; 4]> {
    let rows = rows(page, "parts");
    let plain = |cell: &String| cell.replace('\u{a0}', " ");
    rows.iter()
        .map(|row| [0, 1, 2, row.len() - 1].map(|at| plain(&row[at])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appointment_from_the_call_to_the_performance_page() {
    let bridge = setup()
        .config(
            "\n[sources.phones]\nconnector = \"call-webhook\"\nsecret = \"secret-of-the-phones\"\n",
        )
        .start()
        .await;
    // Step 1: calls happen, and the agent books an appointment in one of them.
    call(&bridge, "call123", "+14155551234", 6).await;
    call(&bridge, "call456", "+14155559876", 4).await;
    call(&bridge, "call789", "+14155551234", 2).await;
    call(&bridge, "call999", "+14155550000", 1).await;
    let booked = r#"{ "custom_call_outcome": "Appointment Booked" }"#;
    assert_eq!(update(&bridge, "call456", booked).await, "call456");
    // Steps 2 to 4: the customer comes, the CRM detects it, and its script sends the update.
    let sold = r#"{
        "custom_call_outcome": "Sold",
        "custom_call_outcome_value": 299,
        "custom_call_metadata": {
          "campaign": "spring_2026",
          "rep_id": "12345",
          "notes": "Customer was very interested"
        }
      }"#;
    assert_eq!(update(&bridge, "call456", sold).await, "call456");
    let no_sale = r#"{
        "custom_call_outcome": "No Sale",
        "custom_call_outcome_value": 0,
        "custom_call_metadata": {
          "reason": "Price too high",
          "follow_up": true
        }
      }"#;
    assert_eq!(update(&bridge, "+14155551234", no_sale).await, "call789");
    let first = r#"{
        "custom_call_outcome": "Sold",
        "custom_call_outcome_value": 499,
        "custom_call_metadata": {
          "attribution": "first_touch",
          "campaign": "spring_2026"
        }
      }"#;
    let of_first = "+14155551234?preference=first";
    assert_eq!(update(&bridge, of_first, first).await, "call123");
    let only = r#"{ "custom_call_outcome": "Follow Up Required" }"#;
    assert_eq!(update(&bridge, "call999", only).await, "call999");

    // Step 5: appointment conversion rate, revenue generated, performance trends.
    let browser = Browser::open(&bridge, ADMIN_TOKEN).await;
    let asked = "/console/performance?agent=%5B%22agent123%22%5D";
    let page = browser.see(asked).await;
    let shown = figures(&page);
    assert_eq!(
        shown,
        [
            ["Sold closed", "2", "50.0 %", "798.00 USD"],
            ["Follow Up Required follow_up", "1", "25.0 %", ""],
            ["No Sale lost", "1", "25.0 %", ""],
            ["All calls", "4", "100.0 %", "798.00 USD"],
        ],
    );

    // A sale has been through the stages before it. "Add Group", "Rename the group", "All Calls" for comparison.
    let groups = encoded(
        r#"[{"name":"Appointments Booked","where":{"reached":"booked"}},{"name":"Sales","where":{"labels":["Sold"]}}]"#,
    );
    let grouped = format!("{asked}&groups={groups}&show=share");
    let page = browser.see(&grouped).await;
    assert_eq!(
        figures(&page),
        [
            ["Appointments Booked", "2", "50.0 %", "798.00 USD"],
            ["Sales", "2", "50.0 %", "798.00 USD"],
            ["All calls", "4", "100.0 %", "798.00 USD"],
        ],
    );
    // "Clicking the appointment booked group will open a list."
    let lists = lists(&page);
    let (list, _) = lists
        .iter()
        .find(|(_, label)| label.starts_with("Appointments Booked"))
        .unwrap();
    let list = browser.see(list).await.replace('\u{a0}', " ");
    assert_eq!(list.matches("data-call=").count(), 2);
    assert!(
        list.contains("+14155559876") && list.contains("499 USD"),
        "{list}"
    );
    // Nobody told how long they took: from their start to their end.
    assert_eq!(list.matches("5 min").count(), 2, "{list}");
    bridge.stop().await;
}
