//! The story: what happens, in which order it is heard, and what the vendors send.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::connector::RequestParts;

/// One webhook of the story.
pub(super) struct Step {
    /// What happened, for people.
    pub(super) title: &'static str,
    /// The source that hears of it.
    pub(super) source: &'static str,
    /// What the vendor posts, before signing.
    pub(super) request: RequestParts,
    /// Whether a byte is changed after signing.
    pub(super) forged: bool,
    /// The status that the bridge has to answer.
    pub(super) status: u16,
    /// Words of what the event has to become at first, where that is not what it is in the end.
    pub(super) first: Option<&'static str>,
    /// What the event has to become in the end; `None` when nothing may be stored.
    pub(super) stored: Option<&'static str>,
}

/// The calls of the story.
pub(super) const ANA: &str = "550e8400-e29b-41d4-a716-446655440001";
pub(super) const BEN: &str = "550e8400-e29b-41d4-a716-446655440002";
pub(super) const CLEO: &str = "550e8400-e29b-41d4-a716-446655440003";
pub(super) const DAN: &str = "550e8400-e29b-41d4-a716-446655440004";
pub(super) const EVE: &str = "550e8400-e29b-41d4-a716-446655440005";
pub(super) const FINN: &str = "550e8400-e29b-41d4-a716-446655440006";
pub(super) const GINA: &str = "550e8400-e29b-41d4-a716-446655440007";

/// Finn's phone: all that the CRM knows of him.
const FINNS_PHONE: &str = "+14155550123";

/// Rules that are added when the story is told: the team's own word becomes a follow-up.
pub(super) const REMAPPED: &str = r#"# Laid over the connector's own rules.
format = 1
extends = true

[[rule]]
id = "call_back"
when = [{ field = "event.outcome", is = "call_back" }]
outcome = "follow_up"
[rule.set]
call_id = "{event.call_id}"
occurred_at = "{event.occurred_at | time}"

[[test]]
name = "who asks to be called back is followed up"
event = '{"outcome":"call_back","call_id":"call-1","occurred_at":"2026-05-06T16:10:00Z"}'
expect = { rule = "call_back", outcome = "follow_up", call_id = "call-1" }
"#;

fn step(title: &'static str, source: &'static str, body: &Value) -> Step {
    Step {
        title,
        source,
        request: RequestParts {
            method: "POST".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into(),
            ..RequestParts::default()
        },
        forged: false,
        status: 200,
        first: None,
        stored: Some("mapped"),
    }
}

/// All steps, as heard. Moments lie in the hours before `now`.
pub(super) fn steps(now: Timestamp) -> Vec<Step> {
    let at = |minutes_ago: i64| {
        now.checked_sub(SignedDuration::from_mins(minutes_ago))
            .unwrap_or(now)
    };
    let paid = checkout(DAN, at(60));
    vec![
        step(
            "Ana does not come to her appointment",
            "calendly",
            &no_show("created", ANA, at(300)),
        ),
        step("Ben came to his", "team", &told(BEN, "shown", at(290))),
        step(
            "Ben is marked as a no-show by mistake",
            "calendly",
            &no_show("created", BEN, at(280)),
        ),
        step(
            "the mark is taken back: Ben counts as shown again",
            "calendly",
            &no_show("deleted", BEN, at(270)),
        ),
        step(
            "Cleo's no-show is heard first",
            "team",
            &told(CLEO, "no_show", at(200)),
        ),
        step(
            "what was true before it is heard later",
            "team",
            &told(CLEO, "shown", at(210)),
        ),
        step("Dan pays 1 200 dollars", "stripe", &paid),
        Step {
            stored: None,
            ..step("Stripe tells it a second time", "stripe", &paid)
        },
        step("Dan gets 200 dollars back", "stripe", &refund(DAN, at(30))),
        Step {
            first: Some("outcome shown inferred"),
            ..step(
                "Eve's appointment has passed and nobody said more: shown, inferred",
                "calendly",
                &booked(EVE, at(400), at(370)),
            )
        },
        step(
            "Eve is marked as a no-show after all: the inference is taken back",
            "calendly",
            &no_show("created", EVE, at(100)),
        ),
        Step {
            first: Some("waiting"),
            ..step(
                "Finn's deal is won; the CRM knows only his phone: it waits for his call",
                "crm",
                &json!({ "outcome": "closed", "phone": FINNS_PHONE, "occurred_at": at(40), "value": "900", "currency": "USD" }),
            )
        },
        step(
            "Finn's call is reported, and his deal finds it",
            "voice",
            &ended(FINN, at(95), at(90)),
        ),
        Step {
            first: Some("ignored"),
            ..step(
                "Gina wants to be called back: no rule knows that word yet",
                "team",
                &told(GINA, "call_back", at(25)),
            )
        },
        Step {
            forged: true,
            status: 401,
            stored: None,
            ..step(
                "somebody forges a won deal",
                "stripe",
                &checkout(ANA, at(20)),
            )
        },
        step(
            "HubSpot tells of three deals in one request",
            "hubspot",
            &batch(at(10)),
        ),
    ]
}

fn no_show(change: &str, call: &str, at: Timestamp) -> Value {
    let uri = format!("https://api.calendly.com/scheduled_events/EV1/invitees/{call}");
    json!({
        "created_at": at,
        "created_by": "https://api.calendly.com/users/AAAAAAAAAAAAAAAA",
        "event": format!("invitee_no_show.{change}"),
        "payload": {
            "uri": uri,
            "event": "https://api.calendly.com/scheduled_events/EV1",
            "email": "lead@example.com",
            "name": "A lead",
            "status": "active",
            "text_reminder_number": null,
            "no_show": { "uri": format!("https://api.calendly.com/invitee_no_shows/{call}-{at}"), "created_at": at },
            "questions_and_answers": [{ "question": "Call ID (filled in by the booking link)", "answer": call, "position": 0 }],
            "tracking": { "utm_campaign": "spring", "utm_source": "google", "utm_content": null },
            "scheduled_event": {
                "uri": "https://api.calendly.com/scheduled_events/EV1",
                "name": "Strategy call",
                "start_time": at,
                "end_time": at,
                "event_memberships": [{ "user": "https://api.calendly.com/users/U1" }],
            },
        },
    })
}

fn booked(call: &str, start: Timestamp, end: Timestamp) -> Value {
    let mut booked = no_show("created", call, start);
    booked["event"] = json!("invitee.created");
    booked["payload"]["no_show"] = Value::Null;
    booked["payload"]["old_invitee"] = Value::Null;
    booked["payload"]["scheduled_event"]["end_time"] = json!(end);
    booked
}

fn ended(call: &str, start: Timestamp, end: Timestamp) -> Value {
    json!({
        "type": "call.ended", "call_id": call, "direction": "outbound", "from": "+14155550100", "to": FINNS_PHONE,
        "started_at": start, "ended_at": end, "duration_seconds": 300,
    })
}

fn told(call: &str, outcome: &str, at: Timestamp) -> Value {
    json!({ "outcome": outcome, "call_id": call, "occurred_at": at, "notes": "told by the team's own tool" })
}

fn checkout(call: &str, at: Timestamp) -> Value {
    json!({
        "id": format!("evt_paid_{call}"),
        "object": "event",
        "type": "checkout.session.completed",
        "created": at.as_second(),
        "livemode": true,
        "data": { "object": {
            "id": format!("cs_live_{call}"),
            "object": "checkout.session",
            "payment_status": "paid",
            "status": "complete",
            "mode": "payment",
            "amount_total": 120_000,
            "currency": "usd",
            "client_reference_id": call,
            "payment_intent": format!("pi_{call}"),
            "customer_details": { "email": "lead@example.com", "phone": null, "name": "A lead" },
            "metadata": { "call_id": call },
        }},
    })
}

fn refund(call: &str, at: Timestamp) -> Value {
    json!({
        "id": format!("evt_refund_{call}"),
        "object": "event",
        "type": "charge.refunded",
        "created": at.as_second(),
        "livemode": true,
        "data": { "object": {
            "id": format!("ch_{call}"),
            "object": "charge",
            "amount": 120_000,
            "amount_captured": 120_000,
            "amount_refunded": 20_000,
            "refunded": false,
            "currency": "usd",
            "payment_intent": format!("pi_{call}"),
            "billing_details": { "email": "lead@example.com", "phone": null },
            "metadata": { "call_id": call },
        }},
    })
}

fn batch(at: Timestamp) -> Value {
    let change = |event: u64, deal: u64, property: &str, value: &str| {
        json!({
            "objectId": deal, "propertyName": property, "propertyValue": value, "changeSource": "CRM_UI",
            "eventId": event, "subscriptionId": 25, "portalId": 62_515, "appId": 1_160_452,
            "occurredAt": at.as_millisecond(), "subscriptionType": "deal.propertyChange", "attemptNumber": 0,
        })
    };
    json!([
        change(1, 9001, "dealstage", "closedwon"),
        change(2, 9002, "dealstage", "closedlost"),
        change(3, 9003, "dealname", "Renamed"),
    ])
}
