//! Random worlds against a reference model that knows nothing of events, orders, registries or revisions: in
//! the end every target holds what the model says, whatever order facts were heard in, how often, and what
//! happened in between.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::world::*;
use crate::model::AppointmentChange::{Booked, Canceled, NoShowCleared, NoShowMarked, Rescheduled};
use crate::model::OutcomeKind::{Closed, Lost, NoShow, Shown};
use crate::model::{
    AppointmentChange, AppointmentFact, Fact, Money, OutcomeKind, Subject, currency,
};

const PHONES: [&str; 2] = ["+14155557777", "+14155558888"];
const GRACE: i64 = 120;

/// What happens to a lead.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Call,
    Book { names_phone: bool },
    MoveWithin { says_when: bool },
    MoveToNew { half: Half },
    Cancel,
    NoShow,
    UndoNoShow,
    Shown,
    NoShowByPhone,
    UndoByPhone,
    Mark,
    Clear,
    Won { names_phone: bool },
    Lost,
    Reopened,
    LostReopened,
    Refund,
}

/// Which of the two events of a move are heard.
#[derive(Debug, Clone, Copy)]
enum Half {
    New,
    Old,
    Both,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => Just(Deed::Call),
        4 => any::<bool>().prop_map(|names_phone| Deed::Book { names_phone }),
        1 => any::<bool>().prop_map(|says_when| Deed::MoveWithin { says_when }),
        2 => prop_oneof![Just(Half::New), Just(Half::Old), Just(Half::Both)]
            .prop_map(|half| Deed::MoveToNew { half }),
        1 => Just(Deed::Cancel),
        2 => Just(Deed::NoShow),
        1 => Just(Deed::UndoNoShow),
        1 => Just(Deed::Shown),
        1 => Just(Deed::NoShowByPhone),
        1 => Just(Deed::UndoByPhone),
        1 => Just(Deed::Mark),
        1 => Just(Deed::Clear),
        2 => any::<bool>().prop_map(|names_phone| Deed::Won { names_phone }),
        1 => Just(Deed::Lost),
        1 => Just(Deed::Reopened),
        1 => Just(Deed::LostReopened),
        1 => Just(Deed::Refund),
    ]
}

/// What happens to the bridge between two events.
#[derive(Debug, Clone, Copy)]
enum Between {
    Nothing,
    Step,
    Deliver,
    Outage,
    Crash,
    Restart,
    Replay(usize),
    Repeat(usize),
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        4 => Just(Between::Nothing),
        4 => Just(Between::Step),
        2 => Just(Between::Deliver),
        1 => Just(Between::Outage),
        1 => Just(Between::Crash),
        1 => Just(Between::Restart),
        1 => any::<usize>().prop_map(Between::Replay),
        2 => any::<usize>().prop_map(Between::Repeat),
    ]
}

/// A fact with the source that tells it.
type Word = (&'static str, Fact);

/// The facts of a history, in the order in which they happened. No two happen at the same moment.
fn told(history: &[(usize, Deed)]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut bookings = [0usize; 2];
    let mut at = 0;
    for (lead, deed) in history {
        at += 37;
        let lead = *lead;
        let phone = format!("phone={}", PHONES[lead]);
        let named = |names: bool| if names { phone.as_str() } else { "" };
        let booking = |n: usize| format!("booking=b{lead}-{n}");
        let last = booking(bookings[lead]);
        let deal = format!("deal=d{lead}");
        let times = Some((at + 60, at + 90));
        let change = |change, times| appointment(change, &last, at, times);
        match *deed {
            Deed::Call => words.push(("voice", call(&format!("call=c{at} {phone}"), at))),
            Deed::Book { names_phone } => {
                bookings[lead] += 1;
                let about = format!("{} {}", booking(bookings[lead]), named(names_phone));
                words.push(("cal", appointment(Booked, &about, at, times)));
            }
            Deed::MoveWithin { says_when } => {
                words.push(("cal", change(Rescheduled, times.filter(|_| says_when))));
            }
            Deed::MoveToNew { half } => {
                let old = format!("b{lead}-{}", bookings[lead]);
                bookings[lead] += 1;
                let about = booking(bookings[lead]);
                if !matches!(half, Half::Old) {
                    words.push(("cal", moved(&old, &about, at, times)));
                }
                if !matches!(half, Half::New) {
                    words.push(("cal", moved(&old, &about, at + 1, None)));
                }
            }
            Deed::Cancel => words.push(("cal", change(Canceled, None))),
            Deed::Mark => words.push(("cal", change(NoShowMarked, None))),
            Deed::Clear => words.push(("cal", change(NoShowCleared, None))),
            Deed::NoShow => words.push(("cal", outcome(NoShow, &last, at))),
            Deed::UndoNoShow => words.push(("cal", retraction(NoShow, &last, at))),
            Deed::Shown => words.push(("cal", outcome(Shown, &last, at))),
            // By somebody who knows the lead, but no booking.
            Deed::NoShowByPhone => words.push(("crm", outcome(NoShow, &phone, at))),
            Deed::UndoByPhone => words.push(("crm", retraction(NoShow, &phone, at))),
            Deed::Won { names_phone } => {
                let about = format!("{deal} {}", named(names_phone));
                words.push(("crm", worth(500, outcome(Closed, &about, at))));
            }
            Deed::Refund => words.push(("crm", worth(200, outcome(Closed, &deal, at)))),
            Deed::Lost => words.push(("crm", outcome(Lost, &deal, at))),
            Deed::Reopened => words.push(("crm", retraction(Closed, &deal, at))),
            Deed::LostReopened => words.push(("crm", retraction(Lost, &deal, at))),
        }
    }
    words
}

fn worth(amount: i64, mut fact: Fact) -> Fact {
    if let Fact::Outcome(outcome) = &mut fact {
        outcome.value = Some(Money {
            amount: amount.into(),
            currency: currency("USD").unwrap(),
        });
    }
    fact
}

/// The reference: everything is worked out anew from the list of facts.
struct Model<'a> {
    words: &'a [Word],
    now: Timestamp,
}

/// What speaks for an outcome at a target, or takes one back.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    target: String,
    /// Nothing: whatever is said of the lead.
    about: Option<String>,
    kind: OutcomeKind,
    at: Timestamp,
    reported: bool,
    value: Option<String>,
}

impl<'a> Model<'a> {
    fn facts(&self) -> impl Iterator<Item = &'a Fact> + use<'a> {
        self.words.iter().map(|(_, fact)| fact)
    }

    fn changes(&self, booking: &str) -> impl Iterator<Item = &'a AppointmentFact> {
        let all = self.facts().filter_map(|fact| match fact {
            Fact::Appointment(change) => Some(change),
            _ => None,
        });
        all.filter(move |change| change.subject.booking_id.as_deref() == Some(booking))
    }

    /// Old booking, new booking, moment.
    fn moves(&self) -> Vec<(&'a str, &'a str, Timestamp)> {
        let all = self.facts().filter_map(|fact| match fact {
            Fact::Appointment(change) => Some((
                change.metadata.get("old_booking_id")?.as_str()?,
                change.subject.booking_id.as_deref()?,
                change.occurred_at,
            )),
            _ => None,
        });
        all.collect()
    }

    /// The booking and all that it was before.
    fn chain(&self, booking: &str) -> Vec<String> {
        let mut chain = vec![booking.to_owned()];
        while let Some((old, ..)) = self
            .moves()
            .iter()
            .find(|(_, new, _)| chain.last().unwrap() == new)
        {
            chain.push((*old).to_owned());
        }
        chain
    }

    /// Where an outcome about `subject` goes: to the last call before its booking or deal was first spoken of, else to
    /// the first one from then until the deal was decided.
    fn target(&self, subject: &Subject, at: Timestamp) -> String {
        let bookings = subject.booking_id.as_ref();
        let bookings = bookings.map_or_else(Vec::new, |booking| self.chain(booking));
        let concerns = |about: &Subject| {
            let booking = about.booking_id.as_ref();
            booking.is_some_and(|booking| bookings.contains(booking))
                || (about.deal_id.is_some() && about.deal_id == subject.deal_id)
        };
        let mut phone = subject.phone.clone();
        let mut anchor = at;
        for (about, occurred_at) in self.facts().filter_map(subject_of) {
            if concerns(about) {
                phone = phone.or_else(|| about.phone.clone());
                anchor = anchor.min(occurred_at);
            }
        }
        for (old, _, occurred_at) in self.moves() {
            if bookings.iter().any(|booking| booking == old) {
                anchor = anchor.min(occurred_at);
            }
        }
        let calls = self.facts().filter_map(|fact| match fact {
            Fact::Call(call) => Some(call),
            _ => None,
        });
        let of_lead = calls.filter(|call| phone.is_some() && call.subject.phone == phone);
        let (before, after): (Vec<_>, Vec<_>) =
            of_lead.partition(|call| call.occurred_at <= anchor);
        let decided = self.decided(subject);
        let mut after = after.into_iter();
        let found = before
            .into_iter()
            .max_by_key(|call| call.occurred_at)
            .or_else(|| after.find(|call| decided.is_some_and(|at| call.occurred_at <= at)));
        if let Some(call) = found {
            return format!("call/{}", call.subject.call_id.as_deref().unwrap());
        }
        match (phone, &subject.booking_id, &subject.deal_id) {
            (Some(phone), ..) => format!("phone/%2B{}", &phone.as_str()[1..]),
            (None, Some(booking), _) => format!("booking/cal/{booking}"),
            (None, None, deal) => format!("deal/crm/{}", deal.as_deref().unwrap()),
        }
    }

    /// When the deal was first won or lost.
    fn decided(&self, subject: &Subject) -> Option<Timestamp> {
        let deal = subject.deal_id.as_ref()?;
        let words = self.facts().filter_map(|fact| match fact {
            Fact::Outcome(outcome) if outcome.kind.is_final() => Some(outcome),
            _ => None,
        });
        words
            .filter(|outcome| outcome.subject.deal_id.as_ref() == Some(deal))
            .map(|outcome| outcome.occurred_at)
            .min()
    }

    /// The attendance of a booking that nobody reported.
    fn inferred(&self, booking: &str) -> Option<Said> {
        let is_move = |change: &AppointmentFact| change.metadata.contains_key("old_booking_id");
        let schedule = self.changes(booking).filter(|change| match change.change {
            Booked => change.end.is_some(),
            Rescheduled => change.end.is_some() || !is_move(change),
            _ => false,
        });
        let schedule = schedule.max_by_key(|change| change.occurred_at)?;
        let end = schedule.end?;
        // What was reported before this time was set, and before it comes, is about another one.
        let of_it = schedule.occurred_at.min(schedule.start.unwrap());
        let last = |of: &[AppointmentChange]| {
            let changes = self.changes(booking);
            let changes = changes.filter(|change| of.contains(&change.change));
            changes.max_by_key(|change| change.occurred_at)
        };
        let is = |last: Option<&AppointmentFact>, what| last.is_some_and(|it| it.change == what);
        let mark = last(&[NoShowMarked, NoShowCleared]).filter(|mark| mark.occurred_at >= of_it);
        let off = is(last(&[Booked, Rescheduled, Canceled]), Canceled)
            || is(mark, NoShowMarked)
            || self.moves().iter().any(|(old, ..)| *old == booking);
        let reported = |kind: OutcomeKind| {
            let words = self.facts().filter_map(|fact| match fact {
                Fact::Outcome(o) if o.kind == kind => Some((o.occurred_at, true, &o.subject)),
                Fact::Retraction(r) if r.kind == kind => Some((r.occurred_at, false, &r.subject)),
                _ => None,
            });
            let words = words.filter(|(.., about)| about.booking_id.as_deref() == Some(booking));
            words
                .max_by_key(|(at, ..)| *at)
                .is_some_and(|(at, said, _)| said && at >= of_it)
        };
        let due = end + SignedDuration::from_mins(GRACE);
        let of_lead = self.no_show_of_lead(booking, schedule.start.unwrap(), due);
        (due <= self.now && !off && !reported(NoShow) && !reported(Shown) && !of_lead).then(|| {
            Said {
                target: self.target(&schedule.subject, end),
                about: Some(format!("booking {booking}")),
                kind: Shown,
                at: end,
                reported: false,
                value: None,
            }
        })
    }

    /// Whether somebody who does not know the booking reported its lead's absence.
    fn no_show_of_lead(&self, booking: &str, start: Timestamp, due: Timestamp) -> bool {
        let chain = self.chain(booking);
        let mut of_booking = self.facts().filter_map(subject_of).filter(|(about, _)| {
            let named = about.booking_id.as_ref();
            named.is_some_and(|named| chain.contains(named))
        });
        let Some(phone) = of_booking.find_map(|(about, _)| about.phone.clone()) else {
            return false;
        };
        let words = self.facts().filter_map(|fact| match fact {
            Fact::Outcome(o) if o.kind == NoShow => Some((o.occurred_at, true, &o.subject)),
            Fact::Retraction(r) if r.kind == NoShow => Some((r.occurred_at, false, &r.subject)),
            _ => None,
        });
        let words = words.filter(|(at, said, about)| {
            about.booking_id.is_none()
                && about.phone.as_ref() == Some(&phone)
                && *at >= start
                && (!said || *at <= due)
        });
        words
            .max_by_key(|(at, ..)| *at)
            .is_some_and(|(_, said, _)| said)
    }

    /// What each target of the store holds.
    fn targets(&self) -> BTreeMap<String, Told> {
        let about = |subject: &Subject| match (&subject.booking_id, &subject.deal_id) {
            (Some(booking), _) => Some(format!("booking {booking}")),
            (None, Some(deal)) => Some(format!("deal {deal}")),
            (None, None) => None,
        };
        let mut said = Vec::new();
        let mut taken_back = Vec::new();
        for fact in self.facts() {
            match fact {
                Fact::Outcome(outcome) => said.push(Said {
                    target: self.target(&outcome.subject, outcome.occurred_at),
                    about: about(&outcome.subject),
                    kind: outcome.kind,
                    at: outcome.occurred_at,
                    reported: true,
                    value: outcome.value.as_ref().map(|v| v.amount.to_string()),
                }),
                Fact::Retraction(fact) => {
                    let target = self.target(&fact.subject, fact.occurred_at);
                    taken_back.push((target, about(&fact.subject), fact.kind, fact.occurred_at));
                }
                _ => {}
            }
        }
        let bookings = self.facts().filter_map(subject_of);
        let bookings: BTreeSet<_> = bookings
            .filter_map(|(about, _)| about.booking_id.clone())
            .collect();
        said.extend(bookings.iter().filter_map(|booking| self.inferred(booking)));
        said.retain(|said| {
            !taken_back.iter().any(|(target, about, kind, up_to)| {
                let same = about.is_none() || said.about.is_none() || *about == said.about;
                let there = *target == said.target;
                same && there && *kind == said.kind && said.at <= *up_to
            })
        });
        let mut targets: BTreeMap<String, Said> = BTreeMap::new();
        for one in said {
            let rank = |said: &Said| (said.kind.is_final(), said.at, said.reported);
            let holds = targets.get(&one.target);
            if holds.is_none_or(|holds| rank(holds) < rank(&one)) {
                targets.insert(one.target.clone(), one);
            }
        }
        let told = targets.into_iter();
        told.map(|(target, said)| (target, (said.kind, said.at, said.value)))
            .collect()
    }
}

fn subject_of(fact: &Fact) -> Option<(&Subject, Timestamp)> {
    match fact {
        Fact::Outcome(fact) => Some((&fact.subject, fact.occurred_at)),
        Fact::Retraction(fact) => Some((&fact.subject, fact.occurred_at)),
        Fact::Appointment(fact) => Some((&fact.subject, fact.occurred_at)),
        Fact::Call(_) | Fact::Release(_) => None,
    }
}

/// Facts in an order in which they are heard, with what happens before each.
fn heard(words: &[Word], order: &[(u32, Between)]) -> Vec<(Word, Between)> {
    let mut heard: Vec<_> = words.iter().cloned().zip(order.iter().cycle()).collect();
    heard.sort_by_key(|(_, (place, _))| *place);
    heard
        .into_iter()
        .map(|(word, (_, between))| (word, *between))
        .collect()
}

async fn run(history: Vec<(usize, Deed)>, order: Vec<(u32, Between)>) {
    let words = told(&history);
    let mut world = World::new();
    let mut events = Vec::new();
    let heard = heard(&words, &order);
    for (n, ((source, fact), between)) in heard.iter().enumerate() {
        set(&world, 31 * n as i64);
        match between {
            Between::Nothing => {}
            Between::Step => {
                world.step().await;
            }
            Between::Deliver => world.deliver().await,
            Between::Outage => world.fail().await,
            Between::Crash => world.crash().await,
            Between::Restart => world.restart(),
            Between::Replay(which) if !events.is_empty() => {
                let id = events[which % events.len()];
                world.queue().replay(vec![id]).await.unwrap();
            }
            Between::Repeat(which) => {
                let ((source, fact), _) = &heard[which % (n + 1)];
                events.push(world.hear(source, vec![fact.clone()]).await);
            }
            Between::Replay(_) => {}
        }
        events.push(world.hear(source, vec![fact.clone()]).await);
    }
    // Some appointments are not over yet.
    for now in [20 * words.len() as i64, 10_000] {
        set(&world, now.max(31 * words.len() as i64));
        world.settle().await;
        let now = world.clock.now();
        let expected = Model { words: &words, now }.targets();
        let of_store = world.targets.iter().filter(|((name, _), _)| name == STORE);
        let held: BTreeMap<_, _> = of_store
            .map(|((_, target), told)| (target.clone(), told.clone()))
            .collect();
        assert_eq!(held, expected, "at the store, at {now}");
        // The other destination cannot be told that nothing holds any more, so only what holds is compared.
        for (target, told) in &expected {
            if let Some(call) = target.strip_prefix("call/") {
                let key = (CALLS.to_owned(), call.to_owned());
                assert_eq!(
                    world.targets.get(&key),
                    Some(told),
                    "at call {call}, at {now}"
                );
            }
        }
    }
}

/// Few worlds for every day; `PROPTEST_CASES` asks for more.
fn worlds() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(40),
    }
}

proptest! {
    #![proptest_config(worlds())]

    #[test]
    fn in_the_end_every_target_holds_what_the_model_says(
        history in prop::collection::vec((0..2usize, deed()), 1..14),
        order in prop::collection::vec((any::<u32>(), between()), 14..15),
    ) {
        runtime().block_on(run(history, order));
    }
}
