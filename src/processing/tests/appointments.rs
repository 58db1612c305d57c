//! Appointments: attendance that nobody reported, and what takes it back.

use jiff::SignedDuration;

use super::world::*;
use crate::model::AppointmentChange::{
    Booked, Canceled, Ended, NoShowCleared, NoShowMarked, Rescheduled,
};
use crate::model::Disposition;
use crate::model::OutcomeKind::{NoShow, Shown};
use crate::queue::DeliveryView;

const PHONE: &str = "+14155557777";
const AT_PHONE: &str = "phone/%2B14155557777";

fn booked(times: (i64, i64)) -> crate::model::Fact {
    appointment(Booked, &format!("booking=b phone={PHONE}"), 0, Some(times))
}

#[tokio::test(flavor = "multi_thread")]
async fn attendance_arises_when_the_end_and_the_grace_have_passed_and_a_late_no_show_takes_it_back()
{
    let mut world = World::new();
    let booking = world.hear("cal", vec![booked((60, 90))]).await;
    world.settle().await;
    assert_eq!(world.held(STORE), []);
    set(&world, 90 + 119);
    world.settle().await;
    assert_eq!(world.held(STORE), [], "the grace has not passed yet");
    set(&world, 90 + 120);
    world.restart();
    world.settle().await;
    assert_eq!(world.held(STORE), [(AT_PHONE, "shown")]);
    let event = world.event(booking).await;
    assert!(
        event.reason.contains("outcome shown inferred"),
        "{}",
        event.reason
    );
    world
        .hear("cal", vec![outcome(NoShow, "booking=b", 80)])
        .await;
    world.settle().await;
    assert_eq!(world.held(STORE), [(AT_PHONE, "no_show")]);
    world
        .hear("cal", vec![retraction(NoShow, "booking=b", 300)])
        .await;
    world.settle().await;
    assert_eq!(world.held(STORE), [(AT_PHONE, "shown")], "it stands again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_that_waits_until_it_is_final_is_tried_for_its_whole_time_from_then() {
    let config = "deliver = \"final\"\nfinal_after = \"2 days\"\nmax_age = \"1 hour\"\n";
    let mut world = World::with(config);
    let about = format!("call=c1 phone={PHONE}");
    world.hear("voice", vec![call(&about, 0)]).await;
    let booking = world.hear("cal", vec![booked((60, 90))]).await;
    world.settle().await;
    set(&world, 90 + 120);
    world.settle().await;
    let views = world.queue().deliveries_of(booking).await.unwrap();
    let at_calls = |view: &&DeliveryView| view.destination.as_str() == CALLS;
    let view = views.iter().find(at_calls).unwrap();
    let due_at = view.due_at.unwrap();
    assert!(due_at > minute(2 * DAY), "{due_at}");
    world.clock.set(due_at);
    let claims = world.queue().claim(&view.destination, 1).await.unwrap();
    assert_eq!(claims[0].expires_at, due_at + SignedDuration::from_hours(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_called_off_moved_marked_or_reported_is_not_inferred() {
    let against = [
        appointment(Canceled, "booking=b", 10, None),
        appointment(NoShowMarked, "booking=b", 95, None),
        moved("b", "booking=b2", 10, None),
        appointment(Rescheduled, "booking=b", 10, None),
    ];
    for fact in against {
        let mut world = World::new();
        world.hear("cal", vec![booked((60, 90))]).await;
        world.hear("cal", vec![fact.clone()]).await;
        set(&world, DAY);
        world.settle().await;
        assert_eq!(world.held(STORE), [], "{fact:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reported_of_an_appointment_does_not_hold_for_a_later_time_that_it_is_moved_to() {
    let moves = [
        appointment(Rescheduled, "booking=b", 200, Some((300, 330))),
        appointment(Booked, "booking=b", 200, Some((300, 330))),
    ];
    for moved in moves {
        let missed = outcome(NoShow, "booking=b", 100);
        for heard in [
            [missed.clone(), moved.clone()],
            [moved.clone(), missed.clone()],
        ] {
            let mut world = World::new();
            world.hear("cal", vec![booked((60, 90))]).await;
            for fact in heard {
                world.hear("cal", vec![fact]).await;
            }
            set(&world, 330 + 119);
            world.settle().await;
            assert_eq!(world.held(STORE), [(AT_PHONE, "no_show")], "{moved:?}");
            set(&world, DAY);
            world.settle().await;
            assert_eq!(world.held(STORE), [(AT_PHONE, "shown")], "{moved:?}");
            let again = outcome(NoShow, "booking=b", 340);
            world.hear("cal", vec![again]).await;
            world.settle().await;
            assert_eq!(world.held(STORE), [(AT_PHONE, "no_show")], "{moved:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_show_that_names_only_the_lead_keeps_attendance_from_being_inferred() {
    let booking = format!("booking=b phone={PHONE} email=a@example.com");
    let booking = appointment(Booked, &booking, 0, Some((60, 90)));
    for who in ["email=a@example.com", "phone=+14155557777"] {
        for report_first in [true, false] {
            let mut world = World::new();
            let mut heard = vec![("cal", booking.clone()), ("crm", outcome(NoShow, who, 70))];
            if report_first {
                heard.reverse();
            }
            for (source, fact) in heard {
                world.hear(source, vec![fact]).await;
                set(&world, DAY);
                world.settle().await;
            }
            assert_eq!(world.held(STORE), [(AT_PHONE, "no_show")], "{who}");
            world.hear("crm", vec![retraction(NoShow, who, 300)]).await;
            world.settle().await;
            assert_eq!(world.held(STORE), [(AT_PHONE, "shown")], "{who}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_runs_backwards_ends_where_a_straight_one_does() {
    let mut world = World::new();
    let booking = world.hear("cal", vec![booked((60, 90))]).await;
    set(&world, DAY);
    world.settle().await;
    assert_eq!(world.held(STORE), [(AT_PHONE, "shown")]);
    set(&world, 30);
    world.queue().replay(vec![booking]).await.unwrap();
    world.settle().await;
    let reason = world.trace(booking).await["attendance"][0].to_string();
    assert!(reason.contains("expected at"), "{reason}");
    set(&world, DAY + 1);
    world.settle().await;
    assert_eq!(world.held(STORE), [(AT_PHONE, "shown")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reported_of_the_lead_at_another_time_says_nothing_of_an_appointment() {
    for at in [50, 90 + 121] {
        let mut world = World::new();
        let id = world.hear("cal", vec![booked((60, 90))]).await;
        let about = format!("phone={PHONE}");
        world.hear("crm", vec![outcome(NoShow, &about, at)]).await;
        // The same calendar's report of another booking is about that one.
        let other = format!("booking=other phone={PHONE}");
        world.hear("cal", vec![outcome(NoShow, &other, 70)]).await;
        set(&world, DAY);
        world.settle().await;
        let inferred = world.queue().outcomes_of(id).await.unwrap();
        assert_eq!(inferred.len(), 1, "reported at {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_s_word_and_a_cleared_mark_leave_attendance_to_be_inferred() {
    let mut world = World::new();
    world.hear("cal", vec![booked((60, 90))]).await;
    let mark = |change, at| vec![appointment(change, "booking=b", at, None)];
    let ended = world.hear("cal", mark(Ended, 90)).await;
    world.hear("cal", mark(NoShowMarked, 95)).await;
    set(&world, DAY);
    world.settle().await;
    assert_eq!(world.held(STORE), []);
    world.hear("cal", mark(NoShowCleared, 100)).await;
    world.settle().await;
    assert_eq!(world.held(STORE), [(AT_PHONE, "shown")]);
    let by = world.queue().outcomes_of(ended).await.unwrap();
    assert!(by.is_empty(), "the clock's event brings nothing: {by:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_a_new_booking_is_one_appointment_in_either_order() {
    let new_half = moved("b", "booking=b2", 10, Some((500, 530)));
    let old_half = moved("b", "booking=b2", 11, None);
    for order in [[&new_half, &old_half], [&old_half, &new_half]] {
        let mut world = World::new();
        for fact in order {
            world.hear("cal", vec![fact.clone()]).await;
            world.settle().await;
        }
        // Even the first booking comes last.
        world.hear("cal", vec![booked((60, 90))]).await;
        set(&world, 400);
        world.settle().await;
        assert_eq!(world.held(STORE), [], "it is not over yet");
        set(&world, DAY);
        world.settle().await;
        assert_eq!(
            world.held(STORE),
            [(AT_PHONE, "shown")],
            "by the old booking's phone"
        );
        assert_eq!(world.targets.values().next().unwrap().1, minute(530));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appointments_that_cannot_be_end_with_a_reason() {
    for (times, why) in [
        (Some((90, 60)), "it ends before it starts"),
        (Some((0, 60 * DAY * 365)), "more than five years ahead"),
        (
            Some((-90 * DAY, -90 * DAY + 30)),
            "it was over more than 30 days before",
        ),
    ] {
        let mut world = World::new();
        let fact = appointment(Booked, "booking=b", 0, times);
        let id = world.hear("cal", vec![fact]).await;
        world.settle().await;
        let event = world.event(id).await;
        assert_eq!(event.disposition, Disposition::Mapped);
        assert!(event.reason.contains(why), "{}", event.reason);
        assert_eq!(world.held(STORE), []);
    }
    let mut world = World::new();
    let year_9999 = crate::model::parse_time("9999-12-30T22:00:00Z").unwrap();
    let mut fact = appointment(Booked, "booking=b", 0, None);
    if let crate::model::Fact::Appointment(fact) = &mut fact {
        fact.start = Some(year_9999);
        fact.end = Some(year_9999);
    }
    let id = world.hear("cal", vec![fact]).await;
    world.settle().await;
    assert!(world.event(id).await.reason.contains("five years ahead"));
    let without_end = appointment(Booked, "booking=c", 0, None);
    let id = world.hear("cal", vec![without_end]).await;
    world.settle().await;
    let trace = world.trace(id).await;
    assert_eq!(
        trace["attendance"][0],
        "attendance of `c`: when it is held is not known"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_booking_id_of_two_vendors_is_two_appointments() {
    let mut world = World::new();
    world.hear("cal", vec![booked((60, 90))]).await;
    world
        .hear("other-cal", vec![outcome(NoShow, "booking=b", 95)])
        .await;
    set(&world, DAY);
    world.settle().await;
    let held = world.held(STORE);
    assert_eq!(
        held,
        [("booking/other-cal/b", "no_show"), (AT_PHONE, "shown")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_may_be_told_not_to_infer() {
    let mut world = World::new();
    world.hear("other-cal", vec![booked((60, 90))]).await;
    set(&world, DAY);
    world.settle().await;
    assert_eq!(world.held(STORE), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn reported_attendance_is_not_inferred_as_well() {
    let mut world = World::new();
    let booking = world.hear("cal", vec![booked((60, 90))]).await;
    world
        .hear("cal", vec![outcome(Shown, "booking=b", 92)])
        .await;
    set(&world, DAY);
    world.settle().await;
    assert_eq!(world.held(STORE), [(AT_PHONE, "shown")]);
    assert!(world.queue().outcomes_of(booking).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stayed_away_may_come_to_the_date_that_the_same_booking_was_moved_to() {
    let moved_to = |times| appointment(Rescheduled, "booking=b", 200, Some(times));
    let mut world = World::new();
    world.hear("cal", vec![booked((60, 90))]).await;
    world
        .hear("cal", vec![outcome(NoShow, "booking=b", 80)])
        .await;
    set(&world, 200);
    world.hear("cal", vec![moved_to((1000, 1030))]).await;
    world.settle().await;
    assert_eq!(world.held(STORE), [(AT_PHONE, "no_show")]);
    set(&world, 1030 + 120);
    world.settle().await;
    assert_eq!(world.held(STORE), [(AT_PHONE, "shown")]);

    // Booked again in the past, or said in advance of a date that did not change: that is about this very date.
    for (said, times) in [(80, (70, 90)), (300, (1000, 1030))] {
        let mut world = World::new();
        world.hear("cal", vec![booked((60, 90))]).await;
        world.hear("cal", vec![moved_to(times)]).await;
        world
            .hear("cal", vec![outcome(NoShow, "booking=b", said)])
            .await;
        set(&world, DAY);
        world.settle().await;
        assert_eq!(world.held(STORE), [(AT_PHONE, "no_show")], "{said}");
    }
}
