//! Corrections by hand and imports: events of the source `admin`.

use serde_json::json;

use super::world::*;
use crate::model::OutcomeKind::{Closed, Lost, NoShow};
use crate::model::{Basis, DestinationName, Disposition, Fact, Release};
use crate::processing::admin_event::{AdminBody, AdminMistake, LaneAddress};

fn by_hand(kind: crate::model::OutcomeKind, about: &str, at: i64) -> Fact {
    let mut fact = outcome(kind, about, at);
    if let Fact::Outcome(outcome) = &mut fact {
        outcome.basis = Basis::Manual;
    }
    fact
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_holds_until_it_is_released() {
    let mut world = World::new();
    world
        .hear("crm", vec![outcome(Closed, "call=c1", 10)])
        .await;
    set(&world, 1);
    world
        .accept(AdminBody::new("console", vec![by_hand(Lost, "call=c1", 5)]))
        .await;
    world.settle().await;
    assert_eq!(world.held(STORE), [("call/c1", "lost")]);
    set(&world, 2);
    let release = Fact::Release(Release {
        subject: subject("call=c1"),
        occurred_at: minute(2),
        rule: "console".to_owned(),
    });
    world.accept(AdminBody::new("console", vec![release])).await;
    world.settle().await;
    assert_eq!(world.held(STORE), [("call/c1", "closed")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_may_name_its_lane() {
    let mut world = World::new();
    let lanes = vec![LaneAddress {
        destination: DestinationName::new(CALLS).unwrap(),
        target: "c7".to_owned(),
    }];
    let body = AdminBody::new("console", vec![by_hand(NoShow, "", 5)]).at(lanes);
    let id = world.accept(body).await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c7", "no_show")]);
    assert_eq!(world.held(STORE), []);
    assert_eq!(world.trace(id).await["by"], "console");
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_calls_are_found_by_every_destination() {
    let mut world = World::with("calls = [\"voice\"]\n");
    let calls = vec![call("call=c1 phone=+14155557777", 5)];
    world.accept(AdminBody::new("calls import", calls)).await;
    world
        .hear("crm", vec![outcome(Closed, "phone=+14155557777", 10)])
        .await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "closed")]);
}

#[test]
fn bodies_that_cannot_be_taken_say_why() {
    let refusal = |facts: Vec<Fact>| {
        AdminBody::new("test", facts)
            .into_event(minute(0))
            .unwrap_err()
    };
    assert_eq!(refusal(Vec::new()), AdminMistake::Count(0));
    let many = vec![outcome(Closed, "call=c", 1); 1001];
    assert_eq!(refusal(many), AdminMistake::Count(1001));
    for (fact, why) in [
        (
            outcome(Closed, "agent=a", 1),
            "nobody can say whom it is about",
        ),
        (outcome(Closed, "email=A@example.com", 1), "`email` is not"),
        (
            outcome(Closed, &format!("call={}", "c".repeat(1025)), 1),
            "1025 bytes",
        ),
        (call("phone=+14155557777", 1), "a call needs its `call_id`"),
    ] {
        let mistake = refusal(vec![fact]).to_string();
        assert!(
            mistake.starts_with("fact 1: ") && mistake.contains(why),
            "{mistake}"
        );
    }
    let unknown = json!({ "by": "test", "facts": [], "to": "x" }).to_string();
    let mistake = AdminBody::parse(unknown.as_bytes()).unwrap_err();
    assert!(matches!(mistake, AdminMistake::Unreadable(_)), "{mistake}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_an_unknown_source_fails() {
    let mut world = World::new();
    let id = world
        .hear("nobody", vec![outcome(Closed, "call=c", 1)])
        .await;
    world.settle().await;
    assert_eq!(world.disposition(id).await, Disposition::Failed);
}
