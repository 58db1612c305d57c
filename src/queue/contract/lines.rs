//! Promises about lanes that deliver each revision, about moments before which nothing is sent, and about
//! settling again.

use super::*;

fn each(target: &str, what: Change) -> LaneChange {
    LaneChange {
        mode: Mode::Each,
        can_clear: true,
        ..change("crm-a", target, what)
    }
}

fn says(id: EventId, kinds: &[(OutcomeKind, i64)]) -> Processed {
    let facts = kinds
        .iter()
        .map(|(kind, at)| Fact::Outcome(outcome(id, *kind, *at)));
    let changes = (0..kinds.len()).map(|n| each("t", Change::Outcome(n as u16)));
    mapped(facts.collect(), changes.collect())
}

impl Fixture {
    async fn tell(&self, n: u64, kind: OutcomeKind, at: i64) -> EventId {
        let id = self.accept(n).await;
        self.tell_again(id, &[(kind, at)]).await;
        id
    }

    async fn tell_again(&self, id: EventId, kinds: &[(OutcomeKind, i64)]) {
        let processed = says(id, kinds);
        self.queue.settle_event(id, processed).await.unwrap();
    }

    /// Delivers all that is due, one after the other.
    async fn deliver_all(&self) -> Vec<Option<OutcomeKind>> {
        let mut told = Vec::new();
        loop {
            let claims = self.claim().await;
            assert!(claims.len() <= 1, "one of a lane at a time");
            let Some(claim) = claims.into_iter().next() else {
                return told;
            };
            told.push(kind(&claim));
            let settlement = delivered(claim.attempts + 1);
            self.queue.settle(claim.delivery, settlement).await.unwrap();
        }
    }

    pub(super) async fn give_up(&self, claim: &Claim) {
        let dead = Settlement::DeadLetter {
            attempt: Some(attempt(1, VerdictKind::Refused)),
            reason: "refused for good".into(),
        };
        self.queue.settle(claim.delivery, dead).await.unwrap();
    }
}

use OutcomeKind::{Closed, FollowUp, Lost, NoShow, Shown};

pub(crate) async fn each_revision_is_delivered_in_order_of_arrival(f: &Fixture) {
    // What occurred when says nothing here.
    f.tell(1, Closed, 30).await;
    f.tell(2, Shown, 10).await;
    let first = f.claim_one().await;
    f.tell(3, NoShow, 20).await;
    assert_eq!(f.depth().open, 3);
    assert!(f.claim().await.is_empty(), "the lane is in flight");
    let retry = Settlement::Retry {
        attempt: attempt(1, VerdictKind::Retry),
        due_at: later(60),
    };
    f.queue.settle(first.delivery, retry).await.unwrap();
    f.tell(4, Lost, 5).await;
    assert!(f.claim().await.is_empty(), "nothing overtakes it");
    f.clock.set(later(60));
    let told = f.deliver_all().await;
    assert_eq!(told, [Closed, Shown, NoShow, Lost].map(Some));
    assert_eq!(f.depth(), DestinationDepth::default());
    // Several of one event, also with a clock that ran backwards.
    f.clock.set(later(30));
    let several = f.accept(5).await;
    f.tell_again(several, &[(Shown, 1), (Lost, 2), (Closed, 3)])
        .await;
    f.tell(6, FollowUp, 9).await;
    let told = f.deliver_all().await;
    assert_eq!(told, [Shown, Lost, Closed, FollowUp].map(Some));
}

pub(crate) async fn each_lane_is_told_only_what_is_new_after_a_replay(f: &Fixture) {
    let id = f.accept(1).await;
    f.tell_again(id, &[(Shown, 1), (Closed, 2)]).await;
    f.tell_again(id, &[(Shown, 1), (Closed, 2)]).await;
    assert_eq!(f.deliver_all().await, [Shown, Closed].map(Some));
    f.tell_again(id, &[(Shown, 1), (Closed, 2)]).await;
    assert_eq!(f.deliver_all().await, []);
    assert_eq!(f.states_of(id).await.len(), 2, "nothing is noted either");
    // One changes, and the other has another number now.
    f.tell_again(id, &[(Lost, 3), (Shown, 1)]).await;
    assert_eq!(f.deliver_all().await, [Some(Lost)]);
    f.tell_again(id, &[(Shown, 1), (Lost, 3)]).await;
    assert_eq!(f.deliver_all().await, []);
    f.tell_again(id, &[(Shown, 1), (Closed, 2)]).await;
    assert_eq!(f.deliver_all().await, [Some(Closed)], "it is new again");
    // One that was not sent yet is replaced in place of being sent; it joins at the end.
    let changes = f.tell(2, NoShow, 1).await;
    f.tell(3, FollowUp, 1).await;
    f.tell_again(changes, &[(Lost, 1)]).await;
    let states = f.states_of(changes).await;
    assert_eq!(states, [DeliveryState::Superseded, DeliveryState::Pending]);
    assert_eq!(f.deliver_all().await, [FollowUp, Lost].map(Some));
    assert_eq!(f.depth().open, 0);
}

pub(crate) async fn each_lane_is_told_what_is_taken_back_if_it_can_be(f: &Fixture) {
    let told = f.tell(1, Shown, 1).await;
    let unsent = f.tell(2, Closed, 1).await;
    f.deliver_one().await;
    f.tell_again(unsent, &[]).await;
    assert_eq!(f.states_of(unsent).await, [DeliveryState::Cancelled]);
    assert_eq!(f.deliver_all().await, [], "it never knew");
    f.tell_again(told, &[]).await;
    f.tell_again(told, &[]).await;
    assert_eq!(f.deliver_all().await, [None], "once");
    f.tell_again(told, &[(Shown, 1)]).await;
    assert_eq!(f.deliver_all().await, [Some(Shown)]);
    // A retraction is told in its turn, and only once.
    let taken_back = f.accept(3).await;
    let retract = |can_clear| LaneChange {
        can_clear,
        ..each("t", Change::Retract(Shown, later(9)))
    };
    let processed = mapped(Vec::new(), vec![retract(true)]);
    f.queue
        .settle_event(taken_back, processed.clone())
        .await
        .unwrap();
    f.tell(4, Lost, 1).await;
    f.queue.settle_event(taken_back, processed).await.unwrap();
    assert_eq!(f.deliver_all().await, [None, Some(Lost)]);
    let impossible = f.accept(5).await;
    let processed = mapped(Vec::new(), vec![retract(false)]);
    for _ in 0..2 {
        let settled = f.queue.settle_event(impossible, processed.clone()).await;
        settled.unwrap();
        let views = f.queue.deliveries_of(impossible).await.unwrap();
        assert_eq!(views.len(), 1);
        assert_eq!(views[0].state, DeliveryState::Cancelled);
        assert!(views[0].reason.contains("cannot be told"), "{views:?}");
    }
    assert_eq!(f.deliver_all().await, []);
    // In flight: it may arrive, so it is taken back.
    let in_flight = f.tell(6, NoShow, 1).await;
    let claim = f.claim_one().await;
    f.tell_again(in_flight, &[]).await;
    assert!(f.claim().await.is_empty());
    f.queue.settle(claim.delivery, delivered(1)).await.unwrap();
    assert_eq!(f.deliver_all().await, [None]);
    assert_eq!(f.depth(), DestinationDepth::default());
}

pub(crate) async fn each_lane_that_was_told_nothing_hears_of_no_withdrawal(f: &Fixture) {
    let early = f.accept(1).await;
    let retraction = each("t", Change::Retract(Closed, later(9)));
    let processed = mapped(Vec::new(), vec![retraction]);
    f.queue.settle_event(early, processed).await.unwrap();
    assert_eq!(f.states_of(early).await, [DeliveryState::Cancelled]);
    f.tell(2, Shown, 10).await;
    assert_eq!(f.deliver_all().await, [Some(Shown)]);
    let late = f.accept(3).await;
    let retraction = each("t", Change::Retract(Shown, later(11)));
    let processed = mapped(Vec::new(), vec![retraction]);
    f.queue.settle_event(late, processed).await.unwrap();
    assert_eq!(f.deliver_all().await, [None]);
}

pub(crate) async fn a_dead_letter_lets_its_line_go_on(f: &Fixture) {
    f.tell(1, Shown, 1).await;
    f.tell(2, Closed, 1).await;
    let refused = f.claim_one().await;
    f.give_up(&refused).await;
    assert_eq!((f.depth().open, f.depth().dead_letters), (1, 1));
    f.tell(3, Lost, 1).await;
    let view = f.queue.operate(refused.delivery, Operation::Redrive).await;
    assert_eq!(view.unwrap().state, DeliveryState::Pending);
    assert_eq!((f.depth().open, f.depth().dead_letters), (3, 0));
    let told = f.deliver_all().await;
    assert_eq!(told, [Closed, Lost, Shown].map(Some), "it joins at the end");
    // What its event no longer says is not sent again.
    let changed = f.tell(4, NoShow, 1).await;
    let refused = f.claim_one().await;
    f.give_up(&refused).await;
    f.tell_again(changed, &[(FollowUp, 1)]).await;
    let view = f.queue.operate(refused.delivery, Operation::Redrive).await;
    assert_eq!(view.unwrap().state, DeliveryState::Superseded);
    assert_eq!(f.deliver_all().await, [Some(FollowUp)]);
    // Discarded for good, a replay does not bring it back.
    let discarded = f.tell(5, Shown, 9).await;
    let refused = f.claim_one().await;
    f.give_up(&refused).await;
    let view = f.queue.operate(refused.delivery, Operation::Discard).await;
    assert_eq!(view.unwrap().state, DeliveryState::Cancelled);
    f.tell_again(discarded, &[(Shown, 9)]).await;
    assert_eq!(f.deliver_all().await, []);
    assert_eq!(f.depth(), DestinationDepth::default());
    f.clock.set(later(100));
    assert_eq!(f.queue.prune(later(50)).await.unwrap(), 5);
    f.tell(6, Lost, 1).await;
    assert_eq!(f.deliver_all().await, [Some(Lost)]);
}

pub(crate) async fn a_destination_may_change_its_mode(f: &Fixture) {
    let newest = |id, kind| {
        let changes = vec![change("crm-a", "t", Change::Outcome(0))];
        mapped(vec![Fact::Outcome(outcome(id, kind, 1))], changes)
    };
    let open = f.accept(1).await;
    let settled = f.queue.settle_event(open, newest(open, Shown)).await;
    settled.unwrap();
    f.tell(2, Closed, 0).await;
    f.tell(3, NoShow, 0).await;
    let back = f.accept(4).await;
    let settled = f.queue.settle_event(back, newest(back, Lost)).await;
    settled.unwrap();
    let told = f.deliver_all().await;
    assert_eq!(told, [Shown, Closed, NoShow, Lost].map(Some), "promised");
    let last = f.accept(5).await;
    let settled = f.queue.settle_event(last, newest(last, Closed)).await;
    settled.unwrap();
    let last = f.accept(6).await;
    let settled = f.queue.settle_event(last, newest(last, NoShow)).await;
    settled.unwrap();
    assert_eq!(f.deliver_all().await, [Some(Closed)], "only the truth");
    assert_eq!(f.depth(), DestinationDepth::default());
}

pub(crate) async fn a_line_remembers_what_newer_truth_it_told(f: &Fixture) {
    for n in 1..20 {
        f.tell(n, Shown, 100 - n as i64).await;
    }
    assert_eq!(f.deliver_all().await.len(), 19);
    let late = f.say(20, "t", NoShow, 50).await;
    assert_eq!(f.deliver_all().await, [], "newer truth was told");
    assert_eq!(f.states_of(late).await, [DeliveryState::Superseded]);
    f.say(21, "t", NoShow, 200).await;
    assert_eq!(f.deliver_all().await, [Some(NoShow)]);
    // And back: what the lane knows stays known.
    f.tell(22, Shown, 10).await;
    assert_eq!(f.deliver_all().await, [Some(Shown)]);
    let late = f.say(23, "t", FollowUp, 150).await;
    assert_eq!(f.deliver_all().await, []);
    assert_eq!(f.states_of(late).await, [DeliveryState::Superseded]);
}

pub(crate) async fn a_line_is_not_told_what_was_retracted_before_it_came(f: &Fixture) {
    let about = |origin, what| LaneChange {
        can_clear: false,
        origin,
        ..each("t", what)
    };
    f.tell(1, Shown, 1).await;
    for (n, origin) in [(2, 0), (3, 7)] {
        let early = f.accept(n).await;
        let retraction = about(origin, Change::Retract(Closed, later(9)));
        let processed = mapped(Vec::new(), vec![retraction]);
        f.queue.settle_event(early, processed).await.unwrap();
    }
    let say = async |id, origin, at| {
        let fact = Fact::Outcome(outcome(id, Closed, at));
        let processed = mapped(vec![fact], vec![about(origin, Change::Outcome(0))]);
        f.queue.settle_event(id, processed).await.unwrap();
        f.states_of(id).await
    };
    let late = f.accept(4).await;
    assert_eq!(say(late, 7, 5).await, [DeliveryState::Cancelled]);
    assert_eq!(say(late, 7, 5).await.len(), 1, "nothing is noted again");
    // Other leads stand in the same line.
    for (n, origin, at) in [(5, 0, 5), (6, 8, 5), (7, 7, 10)] {
        let other = f.accept(n).await;
        assert_eq!(say(other, origin, at).await, [DeliveryState::Pending]);
    }
    let told = f.deliver_all().await;
    assert_eq!(told, [Shown, Closed, Closed, Closed].map(Some));
}

pub(crate) async fn nothing_is_sent_before_its_moment(f: &Fixture) {
    let held = |id, mode| {
        let changes = vec![LaneChange {
            mode,
            not_before: Some(later(100)),
            ..change("crm-a", "t", Change::Outcome(0))
        }];
        mapped(vec![Fact::Outcome(outcome(id, Shown, 10))], changes)
    };
    let id = f.accept(1).await;
    let settled = f.queue.settle_event(id, held(id, Mode::Newest)).await;
    settled.unwrap();
    assert!(f.claim().await.is_empty());
    let views = f.queue.deliveries_of(id).await.unwrap();
    assert_eq!(views[0].due_at, Some(later(100)));
    // Newer truth does not wait, and falls back to one that still has to.
    let newer = f.say(2, "t", NoShow, 20).await;
    assert_eq!(f.states_of(id).await, [DeliveryState::Superseded]);
    assert_eq!(kind(&f.deliver_one().await), Some(NoShow));
    f.queue
        .settle_event(newer, mapped(Vec::new(), Vec::new()))
        .await
        .unwrap();
    assert!(f.claim().await.is_empty());
    f.clock.set(later(100));
    let claim = f.deliver_one().await;
    assert_eq!(kind(&claim), Some(Shown));
    assert_eq!(claim.expires_at, later(100 + 72 * 3600));
    // Where each is delivered, the others do not wait for it.
    f.clock.set(start());
    let late = f.accept(3).await;
    let mut processed = held(late, Mode::Each);
    processed.changes[0].target = "line".into();
    f.queue.settle_event(late, processed).await.unwrap();
    let now = f.accept(4).await;
    let mut processed = says(now, &[(Lost, 1)]);
    processed.changes[0].target = "line".into();
    f.queue.settle_event(now, processed).await.unwrap();
    assert_eq!(f.deliver_all().await, [Some(Lost)]);
    assert_eq!(f.states_of(late).await, [DeliveryState::Pending]);
    f.clock.set(later(100));
    assert_eq!(f.deliver_all().await, [Some(Shown)]);
}

pub(crate) async fn corrections_hold_until_they_are_released(f: &Fixture) {
    f.say(1, "t", Closed, 50).await;
    f.deliver_one().await;
    let early = f.accept(6).await;
    let correction = f.accept(2).await;
    let manual = Outcome {
        basis: Basis::Manual,
        ..outcome(correction, NoShow, 10)
    };
    let changes = vec![change("crm-a", "t", Change::Outcome(0))];
    let processed = mapped(vec![Fact::Outcome(manual)], changes);
    f.queue.settle_event(correction, processed).await.unwrap();
    assert_eq!(kind(&f.deliver_one().await), Some(NoShow));
    f.say(3, "t", Lost, 60).await;
    f.retract(4, "t", NoShow, 99, false).await;
    assert!(f.claim().await.is_empty(), "it holds");
    // The clock is set back: what counts is the order in which they came.
    f.clock.set(later(-3600));
    let release = f.accept(5).await;
    let processed = |at| {
        let changes = vec![change("crm-a", "t", Change::Release(later(at)))];
        mapped(Vec::new(), changes)
    };
    let settled = f.queue.settle_event(early, processed(5)).await;
    settled.unwrap();
    assert!(f.claim().await.is_empty(), "it was made after that");
    let settled = f.queue.settle_event(release, processed(-3600)).await;
    settled.unwrap();
    f.clock.set(later(5));
    assert_eq!(kind(&f.deliver_one().await), Some(Lost));
}

pub(crate) async fn settling_again_with_the_same_result_sends_nothing(f: &Fixture) {
    let id = f.say(1, "t", Shown, 1).await;
    let claim = f.claim_one().await;
    f.settle_with(id, "t", Shown, 1).await;
    assert_eq!(f.states_of(id).await, [DeliveryState::InFlight]);
    f.give_up(&claim).await;
    f.settle_with(id, "t", Shown, 1).await;
    assert!(f.claim().await.is_empty(), "its end is known");
    let lost = f.say(2, "t", NoShow, 0).await;
    f.settle_with(lost, "t", NoShow, 0).await;
    assert_eq!(f.states_of(lost).await, [DeliveryState::Superseded]);
    assert_eq!(f.states_of(id).await, [DeliveryState::DeadLetter]);
}
