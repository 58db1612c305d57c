//! Which call an outcome belongs to, and waiting for it.

use super::world::*;
use crate::model::AppointmentChange::Booked;
use crate::model::Disposition;
use crate::model::OutcomeKind::{Closed, FollowUp, Lost, NoShow, Shown};

const PHONE: &str = "phone=+14155557777";

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_names_its_call_reads_nothing() {
    let mut world = World::new();
    let id = world
        .hear(
            "crm",
            vec![outcome(Closed, "call=c1 phone=+14155557777", 10)],
        )
        .await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "closed")]);
    let trace = world.trace(id).await;
    assert_eq!(trace["routing"][0]["matcher"], "field");
    assert!(trace["routing"][0]["asked"].is_null(), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_outcome_waits_for_its_call_and_moves_to_it() {
    let mut world = World::new();
    let id = world
        .hear("crm", vec![outcome(Closed, &format!("deal=d {PHONE}"), 10)])
        .await;
    world.settle().await;
    assert_eq!(world.disposition(id).await, Disposition::Waiting);
    let reason = world.event(id).await.reason;
    assert!(reason.contains("waits for an address at calls"), "{reason}");
    assert_eq!(world.held(CALLS), []);
    assert_eq!(world.held(STORE), [("phone/%2B14155557777", "closed")]);
    world
        .hear("voice", vec![call(&format!("call=c1 {PHONE}"), 5)])
        .await;
    world.settle().await;
    assert_eq!(world.disposition(id).await, Disposition::Mapped);
    assert_eq!(world.held(CALLS), [("c1", "closed")]);
    assert_eq!(world.held(STORE), [("call/c1", "closed")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_as_unmatched_with_the_reason() {
    let mut world = World::with("wait = \"1 day\"\n[store]\nenabled = false\n");
    let id = world
        .hear("crm", vec![outcome(Closed, &format!("deal=d {PHONE}"), 10)])
        .await;
    world.settle().await;
    assert_eq!(world.disposition(id).await, Disposition::Waiting);
    set(&world, DAY - 1);
    world.settle().await;
    assert_eq!(world.disposition(id).await, Disposition::Waiting);
    set(&world, DAY);
    world.settle().await;
    let event = world.event(id).await;
    assert_eq!(event.disposition, Disposition::Unmatched);
    assert!(
        event.reason.contains("no address at calls: call needs"),
        "{}",
        event.reason
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deal_s_later_word_goes_to_the_call_of_its_first() {
    let mut world = World::new();
    let calls = [
        call(&format!("call=c1 {PHONE}"), 5),
        call(&format!("call=c2 {PHONE}"), 50),
    ];
    world
        .hear("crm", vec![outcome(Closed, &format!("deal=d {PHONE}"), 10)])
        .await;
    for fact in calls {
        world.hear("voice", vec![fact]).await;
    }
    world.settle().await;
    assert_eq!(world.held(STORE), [("call/c1", "closed")]);
    // Taken back by an event that knows only the deal, long after another call.
    world
        .hear("crm", vec![retraction(Closed, "deal=d", 100)])
        .await;
    world.settle().await;
    assert_eq!(world.held(STORE), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn touch_decides_between_several_calls() {
    for (touch, expected) in [("last", Some("c2")), ("first", Some("c1")), ("only", None)] {
        let mut world = World::with(&format!("touch = \"{touch}\"\n"));
        for (id, at) in [("c1", 5), ("c2", 8), ("c3", 20)] {
            let about = format!("call={id} {PHONE}");
            world.hear("voice", vec![call(&about, at)]).await;
        }
        let id = world.hear("crm", vec![outcome(Closed, PHONE, 10)]).await;
        world.settle().await;
        let held: Vec<_> = world
            .held(CALLS)
            .into_iter()
            .map(|(target, _)| target)
            .collect();
        assert_eq!(held, Vec::from_iter(expected), "{touch}");
        if touch == "only" {
            assert_eq!(world.disposition(id).await, Disposition::Waiting);
            let trace = world.trace(id).await.to_string();
            assert!(
                trace.contains("ambiguous: 2 calls with +14155557777"),
                "{trace}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_sources_that_the_destination_does_not_know_do_not_count() {
    let mut world = World::with("calls = [\"voice\"]\n");
    world
        .hear("crm", vec![call(&format!("call=c9 {PHONE}"), 8)])
        .await;
    world
        .hear("voice", vec![call(&format!("call=c1 {PHONE}"), 5)])
        .await;
    world.hear("crm", vec![outcome(Closed, PHONE, 10)]).await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "closed")]);
    assert_eq!(world.held(STORE), [("call/c9", "closed")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_another_agent_held_are_not_meant_when_the_agent_is_known() {
    let mut world = World::new();
    for (about, at) in [
        ("call=c1 agent=a", 3),
        ("call=c2", 4),
        ("call=c3 agent=b", 5),
    ] {
        world
            .hear("voice", vec![call(&format!("{about} {PHONE}"), at)])
            .await;
    }
    for (about, expected) in [("agent=b", "c3"), ("agent=a", "c2"), ("", "c3")] {
        let about = format!("deal=d-{about} {about} {PHONE}");
        let id = world.hear("crm", vec![outcome(Closed, &about, 10)]).await;
        world.settle().await;
        let trace = world.trace(id).await;
        assert_eq!(trace["routing"][0]["target"], expected, "{about}: {trace}");
    }
    let about = format!("agent=c {}", PHONE.replace("7777", "8888"));
    world
        .hear("voice", vec![call("call=c4 agent=b phone=+14155558888", 5)])
        .await;
    let id = world.hear("crm", vec![outcome(Closed, &about, 10)]).await;
    world.settle().await;
    assert_eq!(world.disposition(id).await, Disposition::Waiting);
    let trace = world.trace(id).await.to_string();
    assert!(
        trace.contains("no call of agent `c` with +14155558888"),
        "{trace}"
    );
    world
        .hear("voice", vec![call("call=c5 agent=c phone=+14155558888", 6)])
        .await;
    world.settle().await;
    assert_eq!(world.trace(id).await["routing"][0]["target"], "c5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_seen_long_ago_still_finds_the_last_call() {
    let mut world = World::new();
    let about = format!("contact=p {PHONE}");
    world.hear("crm", vec![outcome(NoShow, &about, 0)]).await;
    for (id, at) in [("c1", -5), ("c2", 5)] {
        let about = format!("call={id} {PHONE}");
        world.hear("voice", vec![call(&about, at)]).await;
    }
    world
        .hear("crm", vec![outcome(Closed, "contact=p", 100)])
        .await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "no_show"), ("c2", "closed")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_tells_the_phone_and_the_call_of_a_no_show_that_names_only_it() {
    for booking_first in [true, false] {
        let mut world = World::new();
        let booking = appointment(Booked, &format!("booking=b {PHONE}"), 10, Some((60, 90)));
        let no_show = outcome(NoShow, "booking=b", 70);
        let mut facts = vec![booking, no_show];
        if !booking_first {
            facts.reverse();
        }
        world
            .hear("voice", vec![call(&format!("call=c1 agent=a {PHONE}"), 5)])
            .await;
        for fact in facts {
            world.hear("cal", vec![fact]).await;
            world.settle().await;
        }
        assert_eq!(world.held(CALLS), [("c1", "no_show")]);
        assert_eq!(world.held(STORE), [("call/c1", "no_show")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_finds_the_phone_of_its_appointment_and_so_the_call() {
    let mut world = World::new();
    world
        .hear("voice", vec![call(&format!("call=c1 {PHONE}"), 5)])
        .await;
    let id = world
        .hear("crm", vec![outcome(Closed, "email=a@example.com", 100)])
        .await;
    world.settle().await;
    assert_eq!(world.disposition(id).await, Disposition::Waiting);
    let about = format!("booking=b email=a@example.com {PHONE}");
    world
        .hear("cal", vec![appointment(Booked, &about, 10, Some((60, 90)))])
        .await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "closed")]);
    let trace = world.trace(id).await;
    assert_eq!(trace["routing"][0]["matcher"], "email", "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bookings_without_a_phone_do_not_hide_the_one_that_has_it() {
    let known = format!("booking=b email=a@example.com {PHONE}");
    let unknown = "booking=z email=a@example.com";
    // At the same moment, nearer to the outcome on either side of it, and on the other side of it.
    for (with, without) in [(60, 60), (60, 70), (140, 120), (140, 70)] {
        let mut world = World::new();
        world
            .hear("voice", vec![call(&format!("call=c1 {PHONE}"), 5)])
            .await;
        let times = Some((without, without + 30));
        world
            .hear("other-cal", vec![appointment(Booked, unknown, 8, times)])
            .await;
        let times = Some((with, with + 30));
        world
            .hear("cal", vec![appointment(Booked, &known, 10, times)])
            .await;
        world
            .hear("crm", vec![outcome(Closed, "email=a@example.com", 100)])
            .await;
        world.settle().await;
        assert_eq!(world.held(CALLS), [("c1", "closed")], "{with} {without}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_finds_the_call_that_its_booking_named() {
    let mut world = World::new();
    let about = format!("booking=b call=c9 {PHONE}");
    world
        .hear("cal", vec![appointment(Booked, &about, 10, Some((60, 90)))])
        .await;
    world.hear("crm", vec![outcome(NoShow, PHONE, 65)]).await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c9", "no_show")]);
    assert_eq!(world.held(STORE), [("call/c9", "no_show")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_seen_before_lends_its_phone() {
    let mut world = World::new();
    world
        .hear("voice", vec![call(&format!("call=c1 {PHONE}"), 5)])
        .await;
    world
        .hear("crm", vec![outcome(Closed, "contact=p", 100)])
        .await;
    world.settle().await;
    assert_eq!(world.held(CALLS), []);
    world
        .hear(
            "crm",
            vec![outcome(NoShow, &format!("contact=p {PHONE}"), 50)],
        )
        .await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "closed")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_led_to_stays_when_its_source_or_a_destination_is_gone() {
    let mut world = World::new();
    let id = world
        .hear("crm", vec![outcome(Closed, "call=c1 deal=d", 10)])
        .await;
    world.settle().await;
    let led_to = world.trace(id).await;
    let held = [("c1", "closed")];
    assert_eq!(world.held(CALLS), held);
    let again = async |world: &mut World| {
        world.queue().replay(vec![id]).await.unwrap();
        world.settle().await;
        world.event(id).await
    };
    world.configure(|config| config.replace("[sources.crm]", "[sources.other-crm]"));
    let event = again(&mut world).await;
    assert_eq!(event.disposition, Disposition::Failed);
    assert_eq!(
        event.reason,
        "there is no source `crm` in the configuration; what it led to before stays"
    );
    assert_eq!(world.trace(id).await, led_to);
    assert_eq!(world.held(CALLS), held);
    assert_eq!(world.held(STORE), [("call/c1", "closed")]);
    // A destination that is away hears of nothing, and of nothing later that was meanwhile taken back.
    world.configure(|config| {
        config
            .replace("[store]", "")
            .replace("[destinations.calls]", "[destinations.others]")
    });
    let event = again(&mut world).await;
    assert_eq!(event.disposition, Disposition::Mapped);
    world.configure(str::to_owned);
    again(&mut world).await;
    assert_eq!(world.held(CALLS), held);
    let deliveries = world.queue().deliveries_of(id).await.unwrap();
    let to_calls = deliveries
        .iter()
        .filter(|one| one.destination.as_str() == CALLS);
    assert_eq!(to_calls.count(), 1, "{deliveries:?}");
    // What the deal told is still known: a later word about it finds the call.
    world.hear("crm", vec![outcome(Lost, "deal=d", 20)]).await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "lost")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deal_that_was_won_then_lost_and_is_open_again_is_neither() {
    let deal = "call=c1 deal=d";
    let mut world = World::new();
    for (kind, at) in [(Closed, 10), (Lost, 20)] {
        world.hear("crm", vec![outcome(kind, deal, at)]).await;
    }
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "lost")]);
    let reopened = [Closed, Lost].map(|kind| retraction(kind, deal, 30));
    world.hear("crm", reopened.to_vec()).await;
    world.settle().await;
    assert_eq!(world.held(STORE), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_between_a_deal_s_first_word_and_its_outcome_is_found() {
    let mut world = World::new();
    let about = format!("deal=pi_1 {PHONE}");
    world.hear("crm", vec![outcome(FollowUp, &about, 10)]).await;
    world
        .hear("voice", vec![call(&format!("call=c1 {PHONE}"), 20)])
        .await;
    world.settle().await;
    // Not yet: what led to it cannot have come after it.
    assert_eq!(world.held(CALLS), []);
    world.hear("crm", vec![outcome(Closed, &about, 30)]).await;
    world
        .hear("voice", vec![call(&format!("call=c2 {PHONE}"), 25)])
        .await;
    world
        .hear("voice", vec![call(&format!("call=c3 {PHONE}"), 40)])
        .await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "closed")]);
    assert_eq!(world.held(STORE), [("call/c1", "closed")]);
    // Taken back by an event that comes after yet another call.
    let id = world
        .hear("crm", vec![retraction(Closed, "deal=pi_1", 50)])
        .await;
    world.settle().await;
    assert_eq!(world.held(STORE), [("call/c1", "follow_up")]);
    let trace = world.trace(id).await.to_string();
    assert!(
        trace.contains("the first one with +14155557777 after the deal was first spoken of"),
        "{trace}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retraction_takes_back_an_outcome_that_names_more_or_less() {
    let (booking, deal, both) = ("booking=b1", "deal=d1", "booking=b1 deal=d1");
    for (said, taken_back, kind) in [
        (both, deal, Closed),
        (both, booking, Closed),
        (deal, both, Closed),
        (booking, both, Closed),
        (both, both, Closed),
        (both, booking, NoShow),
        (deal, both, NoShow),
        (booking, both, NoShow),
    ] {
        let mut world = World::new();
        let about = |names: &str| format!("{names} call=c1");
        world.hear("crm", vec![outcome(Shown, "call=c1", 5)]).await;
        world
            .hear("crm", vec![outcome(kind, &about(said), 10)])
            .await;
        world.settle().await;
        assert_eq!(world.held(CALLS), [("c1", kind.as_str())]);
        world
            .hear("crm", vec![retraction(kind, &about(taken_back), 20)])
            .await;
        world.settle().await;
        let what = format!("{kind} of {said}, taken back of {taken_back}");
        assert_eq!(world.held(CALLS), [("c1", "shown")], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retraction_leaves_the_other_deal_of_a_booking_alone() {
    let mut world = World::new();
    world
        .hear(
            "crm",
            vec![outcome(Closed, "booking=b1 deal=d1 call=c1", 10)],
        )
        .await;
    world
        .hear(
            "crm",
            vec![retraction(Closed, "booking=b1 deal=d2 call=c1", 20)],
        )
        .await;
    world.settle().await;
    assert_eq!(world.held(CALLS), [("c1", "closed")]);
}
