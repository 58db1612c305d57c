//! What becomes of events of other accounts, and of events that cannot be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::{Processor, Routed, Routing, conclude, refused};
use crate::clock::Clock;
use crate::connector::{Catalogue, Inbound, SourceOptions, Verification};
use crate::model::{ConnectorName, Disposition, EventId, Settings, SourceName};
use crate::queue::{Mark, Processed, QueueError, StoredEvent};
use crate::setup::{Routes, Rules, Source};

/// A HubSpot source that is bound to portal 62515.
fn processed(body: &str) -> Processed {
    let name = SourceName::new("crm").unwrap();
    let catalogue = Catalogue::embedded();
    let connector = catalogue
        .get(&ConnectorName::new("hubspot").unwrap())
        .unwrap();
    let settings = json!({
        "client_secret": "a-secret", "portal_ids": ["62515"], "access_token": "a-token",
    });
    let options = SourceOptions {
        source: name.clone(),
        public_url: "https://bridge.example.com/webhooks/crm".to_owned(),
        verification: Verification::Required,
        dedupe_window: None,
    };
    let (inbound, _) = Inbound::new(connector, &Settings::from_json(settings), &options).unwrap();
    let (rules, _) = Rules::load(connector, None, Arc::default()).unwrap();
    let setting = inbound.settings_value().clone();
    let source = Source::new(
        name.clone(),
        Arc::clone(connector),
        inbound,
        None,
        setting,
        rules,
    );
    let sources = BTreeMap::from([(name.clone(), Arc::new(source))]);
    let processor = Processor::new(
        Arc::new(sources),
        Arc::new(Routes::default()),
        Clock::manual(Timestamp::UNIX_EPOCH),
    );
    processor.process(&StoredEvent {
        id: EventId::first_at(1),
        source: name,
        received_at: Timestamp::UNIX_EPOCH,
        event_type: None,
        headers: Vec::new(),
        query: String::new(),
        body: body.to_owned().into(),
        mark: Mark::default(),
    })
}

#[test]
fn a_dry_run_without_answers_says_that_nobody_was_asked() {
    let body = json!([won(62515, "7")]).to_string();
    let story: Value = serde_json::from_slice(&processed(&body).trace).unwrap();
    let made = &story["lookups"][0];
    assert_eq!(made["how"], "not_made", "{story}");
    assert_eq!(
        made["why"],
        "a dry run asks nobody, and no answer was given"
    );
}

fn won(portal: u32, deal: &str) -> Value {
    json!({
        "objectId": deal, "propertyName": "dealstage", "propertyValue": "closedwon", "portalId": portal,
        "occurredAt": 1_767_312_000_123_i64, "subscriptionType": "deal.propertyChange",
    })
}

#[test]
fn an_event_of_another_account_is_ignored_and_the_rules_are_not_asked() {
    let processed = processed(&json!([won(1, "7")]).to_string());
    let reason = "of another account: `event[*].portalId` is 1, not one of `portal_ids`";
    assert_eq!(processed.disposition, Some(Disposition::Ignored));
    assert_eq!(processed.reason, reason);
    assert_eq!(trace(&processed), json!({ "foreign": reason }));
    assert!(processed.facts.is_empty());
}

#[test]
fn the_own_items_of_a_batch_are_processed_and_the_others_are_counted() {
    let processed = processed(&json!([won(1, "7"), won(62515, "8")]).to_string());
    let left_out = "1 of 2 items left out, of another account: `event[*].portalId` is 1, not one of `portal_ids`";
    assert_eq!(processed.disposition, Some(Disposition::Mapped));
    assert!(processed.reason.ends_with(left_out), "{}", processed.reason);
    assert_eq!(trace(&processed)["foreign"], left_out);
    assert!(trace(&processed)["rules"]["steps"].is_array());
    assert_eq!(processed.facts.len(), 1);
}

#[test]
fn a_body_that_cannot_be_read_fails_whoever_it_is_from() {
    let processed = processed("[{");
    assert_eq!(processed.disposition, Some(Disposition::Failed));
    assert!(
        processed.reason.starts_with("the body cannot be read"),
        "{}",
        processed.reason
    );
}

#[test]
fn an_event_that_waits_for_a_look_up_and_an_address_tells_both() {
    let routed = |waits_until| Routed {
        destination: crate::model::DestinationName::new("aura").unwrap(),
        kind: None,
        outcome: None,
        retract: false,
        up_to: None,
        route: None,
        address: None,
        matcher: None,
        target: None,
        provisional: false,
        asked: Vec::new(),
        unresolved: Some("call needs outcome.call_id".to_owned()),
        waits_until,
        not_before: None,
    };
    let told = |routed| {
        let routing = Routing {
            routed: vec![routed],
            ..Routing::default()
        };
        let reason = "2 of 3 items waiting: waits for the look-up `deal`".to_owned();
        conclude(Disposition::Waiting, reason, &[], &routing)
    };
    let (disposition, reason) = told(routed(Some(Timestamp::UNIX_EPOCH)));
    assert_eq!(disposition, Disposition::Waiting);
    assert_eq!(
        reason,
        "2 of 3 items waiting: waits for the look-up `deal`; waits for an address at aura: call needs \
         outcome.call_id (until 1970-01-01T00:00:00Z)"
    );
    let (disposition, reason) = told(routed(None));
    assert_eq!(disposition, Disposition::Waiting);
    assert!(
        reason.ends_with("; no address at aura: call needs outcome.call_id"),
        "{reason}"
    );
}

fn trace(processed: &Processed) -> serde_json::Value {
    serde_json::from_slice(&processed.trace).unwrap()
}

#[test]
fn a_result_that_the_queue_refuses_fails_its_event_and_storage_trouble_stops_the_processor() {
    let failed = refused(QueueError::State("too many outcomes".to_owned())).unwrap();
    assert_eq!(failed.disposition, Some(Disposition::Failed));
    assert!(failed.reason.contains("too many outcomes"));
    let damaged = refused(QueueError::Damaged("what is known of a target".into()));
    assert!(damaged.unwrap().reason.contains("what is known"));
    assert!(refused(QueueError::Storage("disk".into())).is_err());
    assert!(refused(QueueError::Closed).is_err());
}
