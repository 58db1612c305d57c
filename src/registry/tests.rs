//! Records are joins: order, grouping and repeats do not matter.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::model::{
    AppointmentChange, AppointmentFact, Basis, CallChange, CallFact, EventId, Fact, Outcome,
    OutcomeKind, Retraction, SourceName, Subject, parse_phone,
};
use crate::queue::{Order, Record, RegistryKey, Watch};

const CHANGES: [AppointmentChange; 6] = [
    AppointmentChange::Booked,
    AppointmentChange::Rescheduled,
    AppointmentChange::Canceled,
    AppointmentChange::Ended,
    AppointmentChange::NoShowMarked,
    AppointmentChange::NoShowCleared,
];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A fact about booking `b`, deal `d` or call `c`, all of whose parts follow from `seed`.
fn fact(seed: u64, second: i64) -> Fact {
    let pick = |shift: u64, of: u64| (seed >> shift) % of;
    let phone = parse_phone(&format!("+1415555777{}", pick(2, 4)), None).unwrap();
    let subject = Subject {
        phone: (pick(5, 2) == 0).then_some(phone),
        email: (pick(6, 2) == 0).then(|| format!("{}@example.com", pick(7, 3))),
        call_id: (pick(9, 3) == 0).then(|| "c".to_owned()),
        booking_id: Some("b".to_owned()),
        deal_id: (pick(11, 2) == 0).then(|| "d".to_owned()),
        contact_id: (pick(12, 2) == 0).then(|| "p".to_owned()),
        agent_id: (pick(13, 2) == 0).then(|| format!("a{}", pick(14, 3))),
    };
    let occurred_at = at(second);
    let rule = "test".to_owned();
    let kind = OutcomeKind::ALL[pick(16, 5) as usize];
    let metadata = Map::from_iter([(format!("k{}", pick(20, 40)), json!(seed))]);
    match pick(0, 4) {
        0 => Fact::Appointment(AppointmentFact {
            change: CHANGES[pick(18, 6) as usize],
            subject,
            occurred_at,
            start: (pick(22, 2) == 0).then(|| at(second + 60)),
            end: (pick(23, 2) == 0).then(|| at(second + 90)),
            metadata,
            rule,
        }),
        1 => Fact::Retraction(Retraction {
            kind,
            subject,
            occurred_at,
            rule,
        }),
        2 => Fact::Call(CallFact {
            change: CallChange::Ended,
            subject: Subject {
                call_id: Some("c".to_owned()),
                ..subject
            },
            occurred_at,
            start: (pick(22, 2) == 0).then(|| at(second - 60)),
            end: None,
            metadata,
            rule,
        }),
        _ => Fact::Outcome(Outcome {
            kind,
            label: None,
            value: None,
            notes: None,
            metadata,
            subject,
            occurred_at,
            basis: Basis::Reported,
            source: SourceName::new("s").unwrap(),
            event: EventId(0),
            rule,
        }),
    }
}

/// One event per entry: its facts.
fn events() -> impl Strategy<Value = Vec<Vec<Fact>>> {
    let fact = (any::<u64>(), 0..20i64).prop_map(|(seed, second)| fact(seed, second));
    prop::collection::vec(prop::collection::vec(fact, 1..4), 1..8)
}

/// All records after the events were heard in this order.
fn heard<'a>(order: impl IntoIterator<Item = (usize, &'a Vec<Fact>)>) -> Vec<Record> {
    let memory = Memory::default();
    let mut records = std::collections::BTreeMap::new();
    for (n, facts) in order {
        let event = EventId(n as u64);
        let mut view = View::new(&memory);
        let said = Contributions::of(facts, event, "s", "platform");
        view.contribute(event, said, at(1_000)).unwrap();
        let (written, watches) = view.finish();
        assert!(watches.is_empty(), "what is only joined is not watched");
        memory.put(written.clone());
        records.extend(written.into_iter().map(|record| (record.key, record)));
    }
    records.into_values().collect()
}

proptest! {
    #[test]
    fn order_and_repeats_do_not_change_a_record(events in events(), seed: u64) {
        let canonical = heard(events.iter().enumerate());
        let mut other: Vec<_> = events.iter().enumerate().collect();
        let mut state = seed;
        for i in (1..other.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            other.swap(i, (state >> 33) as usize % (i + 1));
        }
        let again = other.clone();
        prop_assert_eq!(&heard(other.iter().copied()), &canonical);
        prop_assert_eq!(&heard(other.into_iter().chain(again)), &canonical);
    }

    #[test]
    fn joins_are_commutative_associative_and_idempotent(
        seeds in prop::collection::vec((any::<u64>(), 0..20i64), 3..4),
    ) {
        let appointments: Vec<_> = seeds.iter().enumerate().map(|(n, (seed, second))| {
            let stamp = Stamp { at: at(*second), event: EventId(n as u64), fact: 0 };
            match fact(seed & !3, *second) {
                Fact::Appointment(change) => Appointment::of_change(&change, stamp),
                other => panic!("{other:?} is no appointment"),
            }
        }).collect();
        let join = |one: &Appointment, other: &Appointment| {
            let mut joined = one.clone();
            joined.join(other.clone());
            joined
        };
        let [a, b, c] = &appointments[..] else { panic!("three appointments") };
        prop_assert_eq!(join(a, b), join(b, a));
        prop_assert_eq!(join(&join(a, b), c), join(a, &join(b, c)));
        prop_assert_eq!(&join(a, a), a);
    }

    #[test]
    fn any_bytes_in_a_record_are_read_or_passed_over(bytes: Vec<u8>) {
        let memory = Memory::default();
        let key = places::appointment("s", "b");
        memory.put([Record { key, value: bytes.into(), places: Vec::new(), keep_until: at(0) }]);
        let mut view = View::new(&memory);
        prop_assert!(view.appointment("s", "b").is_ok());
    }
}

#[test]
fn an_event_that_says_something_else_now_replaces_what_it_said() {
    let memory = Memory::default();
    let tell = |event: u64, phone: Option<&str>, second| {
        let subject = Subject {
            deal_id: Some("d".to_owned()),
            phone: phone.map(|phone| parse_phone(phone, None).unwrap()),
            ..Subject::default()
        };
        let fact = Fact::Retraction(Retraction {
            kind: OutcomeKind::Closed,
            subject,
            occurred_at: at(second),
            rule: "test".to_owned(),
        });
        let mut view = View::new(&memory);
        let said = Contributions::of(&[fact], EventId(event), "s", "platform");
        view.contribute(EventId(event), said, at(1_000)).unwrap();
        memory.put(view.finish().0);
        let link: Option<Link> = view.record(places::link(LinkKind::Deal, "s", "d")).unwrap();
        let link = link.unwrap();
        (
            link.known.phone.get().map(ToString::to_string),
            link.first_seen.get(),
        )
    };
    assert_eq!(tell(1, Some("+14155557771"), 50).1, Some(at(50)));
    // Other rules read an earlier moment and another phone from the same event.
    let told = tell(1, Some("+14155557772"), 40);
    assert_eq!(told, (Some("+14155557772".to_owned()), Some(at(40))));
    assert_eq!(tell(1, None, 40).0, None);
}

#[test]
fn an_event_that_says_nothing_any_more_gives_way_to_the_one_before() {
    let memory = Memory::default();
    let phone = |last: u64| parse_phone(&format!("+1415555777{last}"), None).unwrap();
    let told = |event: u64, second| {
        Fact::Call(CallFact {
            change: CallChange::Ended,
            subject: Subject {
                call_id: Some("c".to_owned()),
                phone: Some(phone(event)),
                ..Subject::default()
            },
            occurred_at: at(second),
            start: None,
            end: None,
            metadata: Map::from_iter([("k".to_owned(), json!(event))]),
            rule: "test".to_owned(),
        })
    };
    let mut topics = Vec::new();
    for (event, second) in [(1, 10), (2, 20)] {
        let said = Contributions::of(&[told(event, second)], EventId(event), "s", "p");
        topics = said.topics();
        let mut view = View::new(&memory);
        view.contribute(EventId(event), said, at(1_000)).unwrap();
        memory.put(view.finish().0);
    }
    let found = |last| {
        let places = (at(0), at(99));
        let mut view = View::new(&memory);
        let key = places::calls_of_phone(&phone(last));
        view.find(key, places, Order::Newest, 9).unwrap().len()
    };
    assert_eq!((found(1), found(2)), (0, 1));
    let take_back = |event| {
        let mut view = View::new(&memory);
        view.take_back(EventId(event), &topics, at(1_000)).unwrap();
        memory.put(view.finish().0);
    };
    take_back(2);
    assert_eq!((found(1), found(2)), (1, 0), "the one before holds again");
    let mut view = View::new(&memory);
    let call: Call = view.record(places::call("s", "c")).unwrap().unwrap();
    assert_eq!(call.details.get()["k"], 1);
    take_back(1);
    assert_eq!((found(1), found(2)), (0, 0), "nobody speaks of it any more");
    let garbage = ["call".to_owned(), "call:zz".to_owned(), "x:00".to_owned()];
    let mut view = View::new(&memory);
    view.take_back(EventId(1), &garbage, at(1_000)).unwrap();
    assert!(view.finish().0.is_empty());
}

#[test]
fn a_view_sees_what_events_before_it_write_and_watches_what_it_reads() {
    let memory = Memory::default();
    let key = |n: u8| RegistryKey([n; 16]);
    let place = |at| crate::queue::Place { key: key(9), at };
    let record = |n: u8, second| Record {
        key: key(n),
        value: serde_json::to_vec(&n).unwrap().into(),
        places: vec![place(at(second))],
        keep_until: at(0),
    };
    memory.put([record(1, 10), record(2, 20)]);
    let mut view = View::new(&memory);
    view.overlay_for_test(&record(1, 30));
    view.overlay_for_test(&record(3, 15));
    let found = |view: &mut View<'_>, order, limit| {
        let found = view.find(key(9), (at(0), at(25)), order, limit).unwrap();
        found
            .into_iter()
            .map(|(_, key)| key.0[0])
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&mut view, Order::Newest, 9), [2, 3]);
    assert_eq!(found(&mut view, Order::Oldest, 1), [3]);
    assert_eq!(view.record::<u8>(key(3)).unwrap(), Some(3));
    assert_eq!(view.record::<u8>(key(4)).unwrap(), None);
    let (written, watches) = view.finish();
    assert!(written.is_empty());
    let mut expected = vec![
        Watch::record(key(3)),
        Watch::record(key(4)),
        Watch::places(key(9), at(0), at(25)),
    ];
    expected.sort();
    assert_eq!(watches, expected);
}
