//! What a destination is told again, and what not.

use super::world::*;
use crate::model::AppointmentChange::{Booked, Rescheduled};
use crate::model::OutcomeKind::{Closed, NoShow};
use crate::model::{DestinationName, EventId, Subject};
use crate::queue::{DeliveryFilter, PageRequest};

const SLACK: &str = "[destinations.slack]\nconnector = \"slack\"\nurl = \"https://hooks.slack.com/services/T/B/x\"\n";
const PHONE: &str = "phone=+14155557777";

async fn deliveries(world: &World, destination: &str) -> usize {
    let filter = DeliveryFilter {
        destination: Some(DestinationName::new(destination).unwrap()),
        ..DeliveryFilter::default()
    };
    let page = world.queue().deliveries(filter, PageRequest::first(100));
    page.await.unwrap().items.len()
}

async fn subject_of(world: &World, event: EventId) -> Subject {
    let mut outcomes = world.queue().outcomes_of(event).await.unwrap();
    outcomes.remove(0).outcome.subject
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_each_revision_is_told_once_though_more_becomes_known_of_the_lead() {
    let mut world = World::with(SLACK);
    let won = world.hear("crm", vec![outcome(Closed, "deal=d", 10)]).await;
    world.settle().await;
    assert_eq!(deliveries(&world, "slack").await, 1);
    let about = format!("booking=b deal=d {PHONE}");
    world
        .hear("crm", vec![appointment(Booked, &about, 5, None)])
        .await;
    world
        .hear("voice", vec![call(&format!("call=c1 {PHONE}"), 3)])
        .await;
    world.settle().await;
    let known = subject_of(&world, won).await;
    assert!(
        known.phone.is_some() && known.call_id.is_some(),
        "{known:?}"
    );
    assert_eq!(deliveries(&world, "slack").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_the_newest_truth_is_told_again_only_what_its_request_tells() {
    let mut world = World::new();
    world
        .hear(
            "cal",
            vec![appointment(Booked, "booking=b call=c1", 5, None)],
        )
        .await;
    let absent = world
        .hear("cal", vec![outcome(NoShow, "booking=b", 10)])
        .await;
    world.settle().await;
    let about = "booking=b email=ada@example.com";
    world
        .hear("cal", vec![appointment(Rescheduled, about, 6, None)])
        .await;
    world.settle().await;
    let known = subject_of(&world, absent).await;
    assert_eq!(known.email.as_deref(), Some("ada@example.com"));
    // Its request tells the outcome and nothing of the lead.
    assert_eq!(deliveries(&world, CALLS).await, 1);
    // The store keeps the address.
    assert_eq!(deliveries(&world, STORE).await, 2);
}
