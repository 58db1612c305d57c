//! The contract suite: what every engine behind [`Queue`] has to do. An engine's tests call
//! [`contract_suite!`] with a function that makes a fresh [`Fixture`].

mod lines;
mod waiting;

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::*;
use crate::clock::Clock;
use crate::model::{Basis, Subject};

/// A fresh queue with a clock that the test sets.
pub(crate) struct Fixture {
    pub queue: Arc<dyn Queue>,
    pub clock: Clock,
    /// Keeps the engine's directory.
    pub keep: Box<dyn Any>,
}

/// Makes a test of each promise for the engine that `$fixture` opens.
macro_rules! contract_suite {
    ($fixture:path: $($promise:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let fixture = $fixture();
            crate::queue::contract::$promise(&fixture).await;
            drop(fixture.keep);
        }
    )*};
    ($fixture:path) => {
        contract_suite!($fixture:
            an_accepted_event_reads_back_byte_for_byte
            a_repeat_is_recognised_within_its_window_and_per_source
            settling_an_event_stores_what_became_of_it
            one_delivery_per_lane_is_out_at_a_time
            older_truth_never_follows_newer
            a_retry_waits_for_its_time
            a_delivery_that_waits_is_hastened_and_others_stay_as_they_are
            a_final_outcome_outranks_and_a_withdrawal_gives_way
            nothing_left_is_cleared_or_said_to_be_impossible
            what_the_target_holds_is_not_sent_again
            who_counts_how_far_a_lead_came_is_told_when_that_changes
            a_newer_truth_overtakes_one_in_flight
            a_replay_sends_only_what_changed
            a_replay_without_the_outcome_takes_it_back
            outcomes_have_the_numbers_that_they_are_given
            dead_letters_are_redriven_or_discarded
            a_redrive_of_outdated_truth_is_superseded
            receipts_are_kept_with_the_lane
            a_release_counts_no_attempt
            destinations_do_not_see_each_other
            pages_go_from_new_to_old
            pruning_removes_what_nothing_waits_for
            pruned_truth_still_outranks_older
            wake_ups_are_not_lost
            refusals_leave_no_trace
            closing_stops_accepting
            settling_again_with_the_same_result_sends_nothing
            what_came_and_went_at_one_moment_clears_nothing
            what_a_dead_letter_brings_outlives_retention
            a_claim_knows_since_when_it_is_answered_with_the_same
            a_delivery_that_waited_for_its_time_is_no_older_for_it
            records_are_found_by_key_and_by_place
            a_change_wakes_those_who_watch_it
            an_event_is_not_woken_by_what_it_writes
            what_changes_while_an_event_is_processed_is_not_missed
            events_settled_together_know_of_each_other
            a_wake_comes_once_at_its_moment
            pruning_keeps_what_waits_and_forgets_old_records
            a_record_is_kept_as_long_as_it_is_put
            each_revision_is_delivered_in_order_of_arrival
            each_lane_is_told_only_what_is_new_after_a_replay
            each_lane_is_told_what_is_taken_back_if_it_can_be
            each_lane_that_was_told_nothing_hears_of_no_withdrawal
            a_dead_letter_lets_its_line_go_on
            a_destination_may_change_its_mode
            a_line_remembers_what_newer_truth_it_told
            a_line_is_not_told_what_was_retracted_before_it_came
            nothing_is_sent_before_its_moment
            corrections_hold_until_they_are_released
        );
    };
}
pub(crate) use contract_suite;
pub(crate) use lines::*;
pub(crate) use waiting::*;

pub(crate) fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

pub(crate) fn new_event(n: u64) -> NewEvent {
    NewEvent {
        source: SourceName::new("crm").unwrap(),
        received_at: start(),
        event_type: Some("deal.won".into()),
        dedupe_key: u128::from(n).to_be_bytes(),
        dedupe_window: SignedDuration::from_hours(24),
        headers: vec![("content-type".into(), "application/json".into())],
        query: format!("n={n}"),
        body: Bytes::from(format!("{{\"n\":{n}}}")),
    }
}

fn to(name: &str) -> DestinationName {
    DestinationName::new(name).unwrap()
}

pub(crate) fn outcome(event: EventId, kind: OutcomeKind, at: i64) -> Outcome {
    Outcome {
        kind,
        label: None,
        value: None,
        notes: None,
        metadata: Map::new(),
        subject: Subject {
            call_id: Some("call-1".into()),
            ..Subject::default()
        },
        occurred_at: later(at),
        basis: Basis::Reported,
        source: SourceName::new("crm").unwrap(),
        event,
        rule: "rule".into(),
    }
}

pub(crate) fn change(destination: &str, target: &str, change: Change) -> LaneChange {
    LaneChange {
        destination: to(destination),
        target: target.into(),
        mode: Mode::Newest,
        precedence: Precedence::FinalFirst,
        can_clear: false,
        counts_progress: false,
        max_age: SignedDuration::from_hours(72),
        change,
        not_before: None,
        origin: 0,
        told: Subject::default(),
    }
}

pub(crate) fn mapped(facts: Vec<Fact>, changes: Vec<LaneChange>) -> Processed {
    Processed {
        disposition: Some(Disposition::Mapped),
        reason: "a rule matched".into(),
        trace: Bytes::from_static(br#"{"rules": 1}"#),
        facts,
        changes,
        ..Processed::default()
    }
}

pub(crate) fn attempt(number: u32, verdict: VerdictKind) -> Attempt {
    Attempt {
        number,
        started_at: start(),
        duration_ms: 12,
        request: "PATCH http://host/x".into(),
        status: Some(200),
        response: "{}".into(),
        verdict,
        reason: "as told".into(),
    }
}

pub(crate) fn delivered(number: u32) -> Settlement {
    Settlement::Delivered {
        attempt: attempt(number, VerdictKind::Delivered),
        receipt: Map::new(),
    }
}

pub(crate) fn retry(number: u32, due_at: Timestamp) -> Settlement {
    Settlement::Retry {
        attempt: attempt(number, VerdictKind::Retry),
        due_at,
    }
}

impl Fixture {
    async fn accept(&self, n: u64) -> EventId {
        match self.queue.commit_event(new_event(n)).await.unwrap() {
            Acceptance::Accepted(id) => id,
            Acceptance::Duplicate(id) => panic!("{id} is no repeat"),
        }
    }

    /// Accepts event `n` and settles it with one outcome for one target.
    async fn say(&self, n: u64, target: &str, kind: OutcomeKind, at: i64) -> EventId {
        let id = self.accept(n).await;
        self.settle_with(id, target, kind, at).await;
        id
    }

    async fn settle_with(&self, id: EventId, target: &str, kind: OutcomeKind, at: i64) {
        let fact = Fact::Outcome(outcome(id, kind, at));
        let changes = vec![change("crm-a", target, Change::Outcome(0))];
        let processed = mapped(vec![fact], changes);
        self.queue.settle_event(id, processed).await.unwrap();
    }

    async fn retract(
        &self,
        n: u64,
        target: &str,
        kind: OutcomeKind,
        at: i64,
        can_clear: bool,
    ) -> EventId {
        let id = self.accept(n).await;
        let changes = vec![LaneChange {
            can_clear,
            ..change("crm-a", target, Change::Retract(kind, later(at)))
        }];
        let processed = mapped(Vec::new(), changes);
        self.queue.settle_event(id, processed).await.unwrap();
        id
    }

    async fn claim(&self) -> Vec<Claim> {
        self.queue.claim(&to("crm-a"), 10).await.unwrap()
    }

    async fn claim_one(&self) -> Claim {
        let mut claims = self.claim().await;
        assert_eq!(claims.len(), 1, "{claims:?}");
        claims.remove(0)
    }

    async fn deliver_one(&self) -> Claim {
        let claim = self.claim_one().await;
        let settlement = delivered(claim.attempts + 1);
        self.queue.settle(claim.delivery, settlement).await.unwrap();
        claim
    }

    async fn state(&self, delivery: DeliveryId) -> DeliveryState {
        self.queue.delivery(delivery).await.unwrap().0.state
    }

    async fn states_of(&self, event: EventId) -> Vec<DeliveryState> {
        let views = self.queue.deliveries_of(event).await.unwrap();
        views.into_iter().map(|view| view.state).collect()
    }

    fn depth(&self) -> DestinationDepth {
        let stats = self.queue.stats();
        stats.destinations.get("crm-a").cloned().unwrap_or_default()
    }
}

fn kind(claim: &Claim) -> Option<OutcomeKind> {
    claim.outcome.as_ref().map(|stored| stored.outcome.kind)
}

pub(crate) async fn an_accepted_event_reads_back_byte_for_byte(f: &Fixture) {
    let body: Vec<u8> = (0..=255u8).cycle().take(100_000).collect();
    let event = NewEvent {
        body: body.clone().into(),
        event_type: None,
        ..new_event(1)
    };
    let Acceptance::Accepted(id) = f.queue.commit_event(event.clone()).await.unwrap() else {
        panic!("it is new");
    };
    let stored = f.queue.event(id).await.unwrap();
    assert_eq!(stored.body, body);
    assert_eq!(stored.headers, event.headers);
    assert_eq!((stored.query, stored.event_type), (event.query, None));
    let waiting = f.queue.unprocessed(None, 10).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].id, id);
    assert!(f.queue.unprocessed(Some(id), 10).await.unwrap().is_empty());
    let (summary, trace) = f.queue.event_detail(id).await.unwrap();
    assert_eq!(summary.disposition, Disposition::Accepted);
    assert_eq!((summary.body_bytes, trace), (100_000, None));
    assert_eq!(f.queue.stats().unprocessed, 1);
    let unknown = f.queue.event(EventId(5)).await.unwrap_err();
    assert!(matches!(unknown, QueueError::NotFound(_)), "{unknown}");
}

pub(crate) async fn a_repeat_is_recognised_within_its_window_and_per_source(f: &Fixture) {
    let id = f.accept(1).await;
    let again = f.queue.commit_event(new_event(1)).await.unwrap();
    assert_eq!(again, Acceptance::Duplicate(id));
    let other = NewEvent {
        source: SourceName::new("other").unwrap(),
        ..new_event(1)
    };
    let other = f.queue.commit_event(other).await.unwrap();
    assert!(matches!(other, Acceptance::Accepted(_)), "another source");
    let (summary, _) = f.queue.event_detail(id).await.unwrap();
    assert_eq!(summary.duplicates, 1);
    f.clock.set(later(24 * 3600));
    assert_ne!(f.accept(1).await, id, "the window is over");
    // Repeats of one moment, in one commit.
    let both = futures_util::future::join(
        f.queue.commit_event(new_event(7)),
        f.queue.commit_event(new_event(7)),
    );
    let (one, two) = both.await;
    let (Acceptance::Accepted(a), Acceptance::Duplicate(b)) = (one.unwrap(), two.unwrap()) else {
        panic!("one is new and one is not");
    };
    assert_eq!(a, b);
    assert_eq!(f.queue.stats().events, 4);
}

pub(crate) async fn settling_an_event_stores_what_became_of_it(f: &Fixture) {
    let id = f.say(1, "t", OutcomeKind::Shown, 5).await;
    let (summary, trace) = f.queue.event_detail(id).await.unwrap();
    assert_eq!(summary.disposition, Disposition::Mapped);
    assert_eq!(summary.reason, "a rule matched");
    assert_eq!(trace, Some(json!({"rules": 1})));
    let outcomes = f.queue.outcomes_of(id).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].outcome, outcome(id, OutcomeKind::Shown, 5));
    let views = f.queue.deliveries_of(id).await.unwrap();
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].state, DeliveryState::Pending);
    assert_eq!(
        (views[0].target.as_str(), views[0].kind),
        ("t", Some(OutcomeKind::Shown))
    );
    assert!(f.queue.unprocessed(None, 9).await.unwrap().is_empty());
    assert_eq!((f.queue.stats().unprocessed, f.depth().open), (0, 1));
    assert_eq!(f.depth().oldest_due_at, Some(start()));
}

pub(crate) async fn one_delivery_per_lane_is_out_at_a_time(f: &Fixture) {
    f.say(1, "t", OutcomeKind::NoShow, 1).await;
    let first = f.claim_one().await;
    assert_eq!(f.state(first.delivery).await, DeliveryState::InFlight);
    f.say(2, "t", OutcomeKind::Shown, 2).await;
    f.say(3, "u", OutcomeKind::Shown, 2).await;
    assert_eq!(f.claim_one().await.target, "u", "t is in flight");
    f.queue.settle(first.delivery, delivered(1)).await.unwrap();
    let twice = f.queue.settle(first.delivery, delivered(1)).await;
    assert!(matches!(twice, Err(QueueError::State(_))), "{twice:?}");
    assert_eq!(kind(&f.claim_one().await), Some(OutcomeKind::Shown));
}

pub(crate) async fn older_truth_never_follows_newer(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 20).await;
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::Shown));
    let late = f.say(2, "t", OutcomeKind::NoShow, 10).await;
    assert!(f.claim().await.is_empty());
    let views = f.queue.deliveries_of(late).await.unwrap();
    assert_eq!(views[0].state, DeliveryState::Superseded);
    assert!(views[0].reason.contains("occurred later"), "{views:?}");
    // An undelivered one gives way, too.
    let old = f.say(3, "u", OutcomeKind::NoShow, 10).await;
    f.say(4, "u", OutcomeKind::Shown, 20).await;
    assert_eq!(f.states_of(old).await, [DeliveryState::Superseded]);
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::Shown));
    assert_eq!(f.depth().open, 0);
}

pub(crate) async fn a_retry_waits_for_its_time(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    let claim = f.claim_one().await;
    let retry = Settlement::Retry {
        attempt: attempt(1, VerdictKind::Retry),
        due_at: later(60),
    };
    f.queue.settle(claim.delivery, retry).await.unwrap();
    assert!(f.claim().await.is_empty());
    assert_eq!(f.depth().oldest_due_at, None);
    f.clock.set(later(60));
    let again = f.claim_one().await;
    assert_eq!((again.delivery, again.attempts), (claim.delivery, 1));
    assert_eq!(again.expires_at, later(72 * 3600));
    f.queue.settle(again.delivery, delivered(2)).await.unwrap();
    let (view, attempts) = f.queue.delivery(claim.delivery).await.unwrap();
    assert_eq!(view.state, DeliveryState::Delivered);
    assert_eq!((view.attempts, view.due_at), (2, None));
    let numbers: Vec<u32> = attempts.iter().map(|a| a.number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(attempts[0].verdict, VerdictKind::Retry);
}

pub(crate) async fn a_delivery_that_waits_is_hastened_and_others_stay_as_they_are(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    let claim = f.claim_one().await;
    let hasten = || f.queue.operate(claim.delivery, Operation::Hasten);
    assert!(
        matches!(hasten().await, Err(QueueError::State(_))),
        "in flight"
    );
    let release = Settlement::Released {
        due_at: Some(later(3600)),
    };
    f.queue.settle(claim.delivery, release).await.unwrap();
    assert!(f.claim().await.is_empty());
    let view = hasten().await.unwrap();
    assert_eq!((view.state, view.attempts), (DeliveryState::Pending, 0));
    let again = f.claim_one().await;
    assert_eq!(again.delivery, claim.delivery);
    f.queue.settle(again.delivery, delivered(1)).await.unwrap();
    assert_eq!(hasten().await.unwrap().state, DeliveryState::Delivered);
    assert!(f.claim().await.is_empty());
}

pub(crate) async fn a_final_outcome_outranks_and_a_withdrawal_gives_way(f: &Fixture) {
    let shown = f.say(1, "t", OutcomeKind::Shown, 1).await;
    f.say(2, "t", OutcomeKind::Closed, 2).await;
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::Closed));
    f.say(3, "t", OutcomeKind::NoShow, 3).await;
    assert!(f.claim().await.is_empty(), "closed outranks no_show");
    f.retract(4, "t", OutcomeKind::Closed, 9, false).await;
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::NoShow));
    f.retract(5, "t", OutcomeKind::NoShow, 9, false).await;
    let fallen_back = f.deliver_one().await;
    let outcome = fallen_back.outcome.unwrap();
    assert_eq!(outcome.id.event, shown, "the next best truth comes back");
}

pub(crate) async fn nothing_left_is_cleared_or_said_to_be_impossible(f: &Fixture) {
    // Never sent: nothing has to be taken back at the target.
    let unsent = f.say(1, "t", OutcomeKind::NoShow, 1).await;
    f.retract(2, "t", OutcomeKind::NoShow, 5, true).await;
    assert_eq!(f.states_of(unsent).await, [DeliveryState::Cancelled]);
    assert!(f.claim().await.is_empty());
    f.say(3, "u", OutcomeKind::NoShow, 1).await;
    f.deliver_one().await;
    f.retract(4, "u", OutcomeKind::NoShow, 5, true).await;
    assert_eq!(f.deliver_one().await.outcome, None, "the clearing request");
    f.say(5, "v", OutcomeKind::NoShow, 1).await;
    f.deliver_one().await;
    let taken_back = f.retract(6, "v", OutcomeKind::NoShow, 5, false).await;
    assert!(f.claim().await.is_empty());
    let views = f.queue.deliveries_of(taken_back).await.unwrap();
    assert_eq!(views[0].state, DeliveryState::Cancelled);
    assert!(views[0].reason.contains("cannot be told"), "{views:?}");
    assert_eq!(f.depth().open, 0);
}

pub(crate) async fn what_the_target_holds_is_not_sent_again(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    f.deliver_one().await;
    let same = f.say(2, "t", OutcomeKind::Shown, 1).await;
    assert!(f.claim().await.is_empty());
    let views = f.queue.deliveries_of(same).await.unwrap();
    assert_eq!(views[0].state, DeliveryState::Superseded);
    assert!(views[0].reason.contains("holds this already"), "{views:?}");
    // A change that is taken back before anybody saw it is not sent either.
    let closed = f.say(3, "t", OutcomeKind::Closed, 2).await;
    f.retract(4, "t", OutcomeKind::Closed, 3, false).await;
    assert_eq!(f.states_of(closed).await, [DeliveryState::Cancelled]);
    assert!(f.claim().await.is_empty());
}

pub(crate) async fn who_counts_how_far_a_lead_came_is_told_when_that_changes(f: &Fixture) {
    let counted = |what| LaneChange {
        counts_progress: true,
        ..change("crm-a", "t", what)
    };
    let say = async |n: u64, kind: OutcomeKind, at: i64| {
        let id = f.accept(n).await;
        let fact = Fact::Outcome(outcome(id, kind, at));
        let processed = mapped(vec![fact], vec![counted(Change::Outcome(0))]);
        f.queue.settle_event(id, processed).await.unwrap();
        id
    };
    let told = async || {
        let claim = f.deliver_one().await;
        (kind(&claim), claim.furthest)
    };
    let (lost, shown) = (Some(OutcomeKind::Lost), Some(OutcomeKind::Shown));
    let first = say(1, OutcomeKind::Lost, 9).await;
    assert_eq!(told().await, (lost, lost));
    // It comes late, as what is only assumed does: the truth stays, and how far the lead came is told.
    let attended = say(2, OutcomeKind::Shown, 5).await;
    assert_eq!(told().await, (lost, shown));
    let states = f.states_of(attended).await;
    assert_eq!(
        states,
        [DeliveryState::Delivered, DeliveryState::Superseded]
    );
    let before = f.queue.deliveries_of(first).await.unwrap()[0].id;
    let refused = f.queue.operate(before, Operation::Redrive).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("how far the lead came"), "{refused}");
    // Nothing new: another that attended, and an appointment that was missed before.
    say(3, OutcomeKind::Shown, 6).await;
    say(4, OutcomeKind::NoShow, 4).await;
    assert!(f.claim().await.is_empty());
    let id = f.accept(5).await;
    let retract = counted(Change::Retract(OutcomeKind::Shown, later(7)));
    let processed = mapped(Vec::new(), vec![retract]);
    f.queue.settle_event(id, processed).await.unwrap();
    assert_eq!(told().await, (lost, Some(OutcomeKind::NoShow)));
    // A sale says by itself that the appointment was attended.
    say(6, OutcomeKind::Closed, 10).await;
    assert_eq!(
        told().await,
        (Some(OutcomeKind::Closed), Some(OutcomeKind::Closed))
    );
    say(7, OutcomeKind::Shown, 8).await;
    assert!(f.claim().await.is_empty());
}

pub(crate) async fn a_newer_truth_overtakes_one_in_flight(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    f.deliver_one().await;
    f.say(2, "t", OutcomeKind::Closed, 2).await;
    let in_flight = f.claim_one().await;
    f.retract(3, "t", OutcomeKind::Closed, 3, false).await;
    assert!(f.claim().await.is_empty(), "the lane is in flight");
    f.queue
        .settle(in_flight.delivery, delivered(1))
        .await
        .unwrap();
    assert_eq!(
        f.state(in_flight.delivery).await,
        DeliveryState::Delivered,
        "what happened is told as it happened"
    );
    let corrected = f.deliver_one().await;
    assert_eq!(
        kind(&corrected),
        Some(OutcomeKind::Shown),
        "although it was delivered once before"
    );
    // One that comes back undelivered is not tried again.
    f.say(4, "t", OutcomeKind::NoShow, 5).await;
    let outdated = f.claim_one().await;
    f.say(5, "t", OutcomeKind::FollowUp, 6).await;
    let retry = Settlement::Retry {
        attempt: attempt(1, VerdictKind::Retry),
        due_at: start(),
    };
    f.queue.settle(outdated.delivery, retry).await.unwrap();
    let state = f.state(outdated.delivery).await;
    assert_eq!(state, DeliveryState::Superseded);
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::FollowUp));
}

pub(crate) async fn a_replay_sends_only_what_changed(f: &Fixture) {
    let id = f.say(1, "t", OutcomeKind::Shown, 1).await;
    f.deliver_one().await;
    assert_eq!(f.queue.replay(vec![id, EventId(3)]).await.unwrap(), 1);
    assert_eq!(f.queue.unprocessed(None, 9).await.unwrap().len(), 1);
    let (summary, _) = f.queue.event_detail(id).await.unwrap();
    assert_eq!(summary.disposition, Disposition::Accepted);
    f.settle_with(id, "t", OutcomeKind::Shown, 1).await;
    assert!(f.claim().await.is_empty(), "nothing changed");
    f.queue.replay(vec![id]).await.unwrap();
    f.settle_with(id, "t", OutcomeKind::NoShow, 1).await;
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::NoShow));
    let views = f.queue.deliveries_of(id).await.unwrap();
    let ordinals: Vec<u16> = views.iter().map(|view| view.id.ordinal).collect();
    assert_eq!(ordinals, [0, 1], "one for what changed");
    assert_eq!(f.queue.stats().unprocessed, 0);
}

pub(crate) async fn a_replay_without_the_outcome_takes_it_back(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    f.deliver_one().await;
    let id = f.say(2, "t", OutcomeKind::Closed, 2).await;
    f.deliver_one().await;
    let nothing = Processed {
        disposition: Some(Disposition::Ignored),
        ..Processed::default()
    };
    f.queue.settle_event(id, nothing).await.unwrap();
    let claim = f.deliver_one().await;
    assert_eq!(kind(&claim), Some(OutcomeKind::Shown));
    assert_eq!(f.queue.outcomes_of(id).await.unwrap(), []);
}

pub(crate) async fn outcomes_have_the_numbers_that_they_are_given(f: &Fixture) {
    let id = f.accept(1).await;
    let told = |kinds: &[(u16, OutcomeKind)]| {
        let numbers = kinds.iter().map(|(number, _)| *number);
        let says = |(number, kind): &(u16, _)| {
            let fact = Fact::Outcome(outcome(id, *kind, 1));
            let target = format!("t{number}");
            (fact, change("crm-a", &target, Change::Outcome(*number)))
        };
        let (facts, changes) = kinds.iter().map(says).unzip();
        Processed {
            numbers: OutcomeNumbers(numbers.collect()),
            ..mapped(facts, changes)
        }
    };
    let known = async || {
        let outcomes = f.queue.outcomes_of(id).await.unwrap();
        let known = outcomes.iter().map(|it| (it.id.ordinal, it.outcome.kind));
        known.collect::<Vec<_>>()
    };
    let some = [(1, OutcomeKind::Shown), (3, OutcomeKind::Lost)];
    f.queue.settle_event(id, told(&some)).await.unwrap();
    assert_eq!(known().await, some);
    for claim in f.claim().await {
        let brings = claim.outcome.as_ref().map(|it| it.id.ordinal);
        assert_eq!(Some(claim.target.clone()), brings.map(|n| format!("t{n}")));
        f.queue.settle(claim.delivery, delivered(1)).await.unwrap();
    }
    let [first, third] = some;
    let all = [(0, OutcomeKind::NoShow), first, third];
    f.queue.settle_event(id, told(&all)).await.unwrap();
    assert_eq!(known().await, all);
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::NoShow));
    assert!(f.claim().await.is_empty(), "the others are what they were");
    let mut wrong = told(&some);
    wrong.changes[0].change = Change::Outcome(2);
    let refused = f.queue.settle_event(id, wrong).await;
    assert!(matches!(refused, Err(QueueError::State(_))), "{refused:?}");
}

pub(crate) async fn dead_letters_are_redriven_or_discarded(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    let claim = f.claim_one().await;
    let dead = || Settlement::DeadLetter {
        attempt: Some(attempt(1, VerdictKind::Refused)),
        reason: "refused for good".into(),
    };
    f.queue.settle(claim.delivery, dead()).await.unwrap();
    let (view, _) = f.queue.delivery(claim.delivery).await.unwrap();
    assert_eq!(view.state, DeliveryState::DeadLetter);
    assert_eq!(view.reason, "refused for good");
    assert_eq!((f.depth().open, f.depth().dead_letters), (0, 1));
    let filter = DeliveryFilter {
        state: Some(DeliveryState::DeadLetter),
        ..DeliveryFilter::default()
    };
    let page = f.queue.deliveries(filter.clone(), PageRequest::first(5));
    assert_eq!(page.await.unwrap().items, [view]);
    f.clock.set(later(3600));
    let view = f.queue.operate(claim.delivery, Operation::Redrive).await;
    assert_eq!(view.unwrap().state, DeliveryState::Pending);
    assert_eq!((f.depth().open, f.depth().dead_letters), (1, 0));
    let again = f.claim_one().await;
    assert_eq!((again.delivery, again.attempts), (claim.delivery, 0));
    assert_eq!(again.expires_at, later(3600 + 72 * 3600));
    let busy = f.queue.operate(claim.delivery, Operation::Redrive).await;
    assert!(matches!(busy, Err(QueueError::State(_))), "in flight");
    f.queue.settle(again.delivery, dead()).await.unwrap();
    let (_, attempts) = f.queue.delivery(claim.delivery).await.unwrap();
    assert_eq!(attempts.len(), 2, "earlier attempts stay to be seen");
    let view = f.queue.operate(claim.delivery, Operation::Discard).await;
    assert_eq!(view.unwrap().state, DeliveryState::Cancelled);
    let page = f.queue.deliveries(filter, PageRequest::first(5));
    assert!(page.await.unwrap().items.is_empty());
    let again = f.queue.operate(claim.delivery, Operation::Discard).await;
    assert!(matches!(again, Err(QueueError::State(_))));
    assert_eq!(f.depth().dead_letters, 0);
}

pub(crate) async fn a_redrive_of_outdated_truth_is_superseded(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    let claim = f.claim_one().await;
    let dead = Settlement::DeadLetter {
        attempt: None,
        reason: "cannot be rendered".into(),
    };
    f.queue.settle(claim.delivery, dead).await.unwrap();
    f.say(2, "t", OutcomeKind::Closed, 2).await;
    f.deliver_one().await;
    let view = f.queue.operate(claim.delivery, Operation::Redrive).await;
    let view = view.unwrap();
    assert_eq!(view.state, DeliveryState::Superseded);
    assert!(view.reason.contains("is the truth now"), "{}", view.reason);
    assert!(f.claim().await.is_empty());
    assert_eq!(f.depth(), DestinationDepth::default());
    let newest = f
        .queue
        .deliveries(DeliveryFilter::default(), PageRequest::first(1));
    let newest = newest.await.unwrap().items[0].id;
    let view = f.queue.operate(newest, Operation::Redrive).await.unwrap();
    assert_eq!(view.state, DeliveryState::Pending, "redrive anyway");
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::Closed));
}

pub(crate) async fn a_delivery_that_waited_for_its_time_is_no_older_for_it(f: &Fixture) {
    let id = f.accept(1).await;
    let fact = Fact::Outcome(outcome(id, OutcomeKind::Shown, 1));
    let changes = vec![LaneChange {
        not_before: Some(later(3600)),
        max_age: SignedDuration::from_secs(60),
        ..change("crm-a", "t", Change::Outcome(0))
    }];
    let settled = f.queue.settle_event(id, mapped(vec![fact], changes)).await;
    settled.unwrap();
    f.clock.set(later(3600));
    assert_eq!(f.claim_one().await.expires_at, later(3660));
}

pub(crate) async fn a_claim_knows_since_when_it_is_answered_with_the_same(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    let mut claim = f.claim_one().await;
    let mut known = vec![claim.answered];
    for (at, status) in [
        (10, None),
        (20, Some(404)),
        (30, Some(404)),
        (40, Some(503)),
    ] {
        f.clock.set(later(at));
        let attempt = Attempt {
            started_at: later(at),
            status,
            ..attempt(claim.attempts + 1, VerdictKind::Retry)
        };
        let due_at = later(at);
        let settlement = Settlement::Retry { attempt, due_at };
        f.queue.settle(claim.delivery, settlement).await.unwrap();
        claim = f.claim_one().await;
        known.push(claim.answered);
    }
    let answered = |status, at| {
        let since = later(at);
        Some(Answered { status, since })
    };
    let expected = [
        None,
        None,
        answered(404, 20),
        answered(404, 20),
        answered(503, 40),
    ];
    assert_eq!(known, expected);
    f.give_up(&claim).await;
    let redriven = f.queue.operate(claim.delivery, Operation::Redrive).await;
    redriven.unwrap();
    assert_eq!(f.claim_one().await.answered, None, "it starts anew");
}

pub(crate) async fn what_a_dead_letter_brings_outlives_retention(f: &Fixture) {
    let overtaken = f.say(1, "t", OutcomeKind::Shown, 20).await;
    f.say(2, "t", OutcomeKind::Closed, 30).await;
    f.deliver_one().await;
    f.retract(3, "t", OutcomeKind::Closed, 99, false).await;
    let claim = f.claim_one().await;
    assert_eq!(claim.outcome.as_ref().unwrap().id.event, overtaken);
    f.give_up(&claim).await;
    f.clock.set(later(100));
    f.queue.prune(later(50)).await.unwrap();
    let view = f.queue.operate(claim.delivery, Operation::Redrive).await;
    assert_eq!(view.unwrap().state, DeliveryState::Pending);
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::Shown));
    assert!(f.queue.prune(later(50)).await.unwrap() > 0);
    assert!(f.queue.event(overtaken).await.is_err());
}

pub(crate) async fn what_came_and_went_at_one_moment_clears_nothing(f: &Fixture) {
    let mut all = Vec::new();
    for (n, kind) in [(1, OutcomeKind::Shown), (2, OutcomeKind::Closed)] {
        let id = f.accept(n).await;
        let fact = Fact::Outcome(outcome(id, kind, n as i64));
        let changes = vec![change("crm-a", "t", Change::Outcome(0))];
        all.push((id, mapped(vec![fact], changes)));
    }
    let retracted = f.accept(3).await;
    let retract = |kind| LaneChange {
        can_clear: true,
        ..change("crm-a", "t", Change::Retract(kind, later(99)))
    };
    let changes = [OutcomeKind::Shown, OutcomeKind::Closed].map(retract);
    all.push((retracted, mapped(Vec::new(), changes.to_vec())));
    let settled = f.queue.settle_events(all).await;
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    assert!(
        f.claim().await.is_empty(),
        "the target was never told anything"
    );
}

pub(crate) async fn receipts_are_kept_with_the_lane(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    let claim = f.claim_one().await;
    assert!(claim.receipt.is_empty());
    let settlement = Settlement::Delivered {
        attempt: attempt(1, VerdictKind::Delivered),
        receipt: Map::from_iter([("call_id".to_owned(), Value::from("call456"))]),
    };
    f.queue.settle(claim.delivery, settlement).await.unwrap();
    f.say(2, "t", OutcomeKind::Closed, 2).await;
    let receipt = f.deliver_one().await.receipt;
    assert_eq!(receipt.get("call_id"), Some(&Value::from("call456")));
    f.say(3, "u", OutcomeKind::Shown, 1).await;
    assert!(f.claim_one().await.receipt.is_empty(), "another lane");
}

pub(crate) async fn a_release_counts_no_attempt(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 1).await;
    let claim = f.claim_one().await;
    let now = Settlement::Released { due_at: None };
    f.queue.settle(claim.delivery, now).await.unwrap();
    let claim = f.claim_one().await;
    assert_eq!(claim.attempts, 0);
    let due_at = Some(later(30));
    let postponed = Settlement::Released { due_at };
    f.queue.settle(claim.delivery, postponed).await.unwrap();
    assert!(f.claim().await.is_empty());
    assert_eq!(f.state(claim.delivery).await, DeliveryState::Pending);
    f.clock.set(later(30));
    assert_eq!(f.claim_one().await.attempts, 0);
}

pub(crate) async fn destinations_do_not_see_each_other(f: &Fixture) {
    let id = f.accept(1).await;
    let changes = vec![
        change("crm-a", "t", Change::Outcome(0)),
        change("crm-b", "t", Change::Outcome(0)),
    ];
    let fact = Fact::Outcome(outcome(id, OutcomeKind::Shown, 1));
    let processed = mapped(vec![fact], changes);
    f.queue.settle_event(id, processed).await.unwrap();
    let a = f.claim_one().await;
    let b = f.queue.claim(&to("crm-b"), 5).await.unwrap();
    assert_eq!(b.len(), 1);
    assert_ne!(a.delivery, b[0].delivery);
    f.queue.settle(a.delivery, delivered(1)).await.unwrap();
    assert_eq!(f.state(b[0].delivery).await, DeliveryState::InFlight);
    let stats = f.queue.stats();
    assert_eq!(stats.destinations["crm-b"].open, 1);
    assert_eq!(f.depth().open, 0);
}

pub(crate) async fn pages_go_from_new_to_old(f: &Fixture) {
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(f.say(n, &format!("t{n}"), OutcomeKind::Shown, 1).await);
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut page = PageRequest::first(2);
    loop {
        let found = f.queue.events(EventFilter::default(), page).await.unwrap();
        seen.extend(found.items.iter().map(|event| event.id));
        let Some(next) = found.next else { break };
        page.after = Some(next);
    }
    assert_eq!(seen, ids);
    let filter = DeliveryFilter {
        event: Some(ids[1]),
        ..DeliveryFilter::default()
    };
    let found = f.queue.deliveries(filter, PageRequest::first(9)).await;
    let found = found.unwrap();
    assert_eq!(found.items.len(), 1);
    assert_eq!((found.items[0].event, found.next), (ids[1], None));
    let none = EventFilter {
        disposition: Some(Disposition::Failed),
        ..EventFilter::default()
    };
    let found = f.queue.events(none, PageRequest::first(9)).await.unwrap();
    assert_eq!((found.items.len(), found.next), (0, None));
}

pub(crate) async fn pruning_removes_what_nothing_waits_for(f: &Fixture) {
    let done = f.say(1, "t", OutcomeKind::Shown, 1).await;
    f.deliver_one().await;
    let open = f.say(2, "u", OutcomeKind::Shown, 1).await;
    let unprocessed = f.accept(3).await;
    f.clock.set(later(10));
    let young = f.say(4, "v", OutcomeKind::Shown, 1).await;
    assert_eq!(f.queue.prune(later(5)).await.unwrap(), 1);
    let gone = f.queue.event(done).await;
    assert!(matches!(gone, Err(QueueError::NotFound(_))), "{gone:?}");
    for kept in [open, unprocessed, young] {
        assert_eq!(f.queue.event(kept).await.unwrap().id, kept);
    }
    assert_eq!(f.queue.stats().events, 3);
    assert_eq!(f.queue.prune(later(5)).await.unwrap(), 0);
}

pub(crate) async fn pruned_truth_still_outranks_older(f: &Fixture) {
    f.say(1, "t", OutcomeKind::Shown, 20).await;
    f.deliver_one().await;
    f.clock.set(later(100));
    assert_eq!(f.queue.prune(later(50)).await.unwrap(), 1);
    f.say(2, "t", OutcomeKind::NoShow, 10).await;
    assert!(f.claim().await.is_empty());
    f.say(3, "t", OutcomeKind::Closed, 30).await;
    assert_eq!(kind(&f.deliver_one().await), Some(OutcomeKind::Closed));
    let undone = f.retract(4, "t", OutcomeKind::Closed, 99, false).await;
    assert!(f.claim().await.is_empty(), "its content is gone");
    let views = f.queue.deliveries_of(undone).await.unwrap();
    assert!(views[0].reason.contains("retention"), "{views:?}");
}

pub(crate) async fn wake_ups_are_not_lost(f: &Fixture) {
    let destination = to("crm-a");
    let arrived = f.queue.events_arrived();
    let id = f.accept(1).await;
    arrived.await;
    assert!(f.claim().await.is_empty());
    let due = f.queue.deliveries_due(&destination);
    f.settle_with(id, "t", OutcomeKind::Shown, 1).await;
    due.await;
    let claim = f.claim_one().await;
    let idle = f.queue.deliveries_due(&destination);
    assert!(idle.now_or_never().is_none(), "all that is due is out");
    let freed = f.queue.deliveries_due(&destination);
    let released = Settlement::Released { due_at: None };
    f.queue.settle(claim.delivery, released).await.unwrap();
    freed.await;
    let claim = f.claim_one().await;
    let retry = Settlement::Retry {
        attempt: attempt(1, VerdictKind::Retry),
        due_at: later(1),
    };
    f.queue.settle(claim.delivery, retry).await.unwrap();
    assert!(f.claim().await.is_empty());
    f.clock.set(later(1));
    // The time came while nobody was waiting.
    f.queue.deliveries_due(&destination).await;
    f.claim_one().await;
}

pub(crate) async fn refusals_leave_no_trace(f: &Fixture) {
    let id = f.accept(1).await;
    let undecided = f.queue.settle_event(id, Processed::default()).await;
    assert!(matches!(undecided, Err(QueueError::State(_))));
    let changes = vec![change("crm-a", "t", Change::Outcome(0))];
    let missing = f.queue.settle_event(id, mapped(Vec::new(), changes)).await;
    assert!(matches!(missing, Err(QueueError::State(_))));
    let fact = Fact::Outcome(outcome(EventId(9), OutcomeKind::Shown, 1));
    let unknown = mapped(vec![fact], Vec::new());
    let unknown = f.queue.settle_event(EventId(9), unknown).await;
    assert!(matches!(unknown, Err(QueueError::NotFound(_))));
    let unclaimed = DeliveryId {
        event: id,
        ordinal: 0,
    };
    let unclaimed = f.queue.settle(unclaimed, delivered(1)).await;
    assert!(matches!(unclaimed, Err(QueueError::NotFound(_))));
    let stats = f.queue.stats();
    assert_eq!((stats.events, stats.unprocessed), (1, 1));
    assert_eq!(f.states_of(id).await, []);
}

pub(crate) async fn closing_stops_accepting(f: &Fixture) {
    let id = f.accept(1).await;
    f.queue.close().await.unwrap();
    let refused = f.queue.commit_event(new_event(2)).await;
    assert!(matches!(refused, Err(QueueError::Closed)), "{refused:?}");
    let refused = f.queue.replay(vec![id]).await;
    assert!(matches!(refused, Err(QueueError::Closed)), "{refused:?}");
    f.queue.close().await.unwrap();
}
