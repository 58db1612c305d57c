//! Promises about registries, watches and wakes.

use super::*;

pub(super) fn key(name: &str) -> RegistryKey {
    RegistryKey::of(&["test", name])
}

pub(crate) fn record(name: &str, value: &str, places: &[(&str, i64)]) -> Record {
    let place = |(name, at): &(&str, i64)| Place {
        key: key(name),
        at: later(*at),
    };
    Record {
        key: key(name),
        value: Bytes::copy_from_slice(value.as_bytes()),
        places: places.iter().map(place).collect(),
        keep_until: later(30 * 24 * 3600),
    }
}

fn ignored() -> Processed {
    Processed {
        disposition: Some(Disposition::Ignored),
        ..Processed::default()
    }
}

fn waiting(watches: Vec<Watch>) -> Processed {
    Processed {
        disposition: Some(Disposition::Waiting),
        watches,
        ..Processed::default()
    }
}

fn near(name: &str, from: i64, to: i64) -> Watch {
    Watch::places(key(name), later(from), later(to))
}

impl Fixture {
    async fn settle_as(&self, id: EventId, processed: Processed) {
        self.queue.settle_event(id, processed).await.unwrap();
    }

    async fn waits(&self, n: u64, watches: Vec<Watch>) -> EventId {
        let id = self.accept(n).await;
        self.settle_as(id, waiting(watches)).await;
        id
    }

    async fn put(&self, records: Vec<Record>) {
        self.queue.put_records(records).await.unwrap();
    }

    async fn marked(&self) -> Vec<EventId> {
        let marked = self.queue.unprocessed(None, 1000).await.unwrap();
        marked.into_iter().map(|event| event.id).collect()
    }

    /// Reads the only event that is to be processed.
    async fn read_one(&self) -> StoredEvent {
        let mut marked = self.queue.unprocessed(None, 10).await.unwrap();
        assert_eq!(marked.len(), 1, "{marked:?}");
        marked.remove(0)
    }

    fn value(&self, name: &str) -> Option<Bytes> {
        self.queue.registry().record(&key(name)).unwrap()
    }

    fn find(&self, name: &str, from: i64, to: i64, order: Order, limit: usize) -> Vec<i64> {
        let registry = self.queue.registry();
        let found = registry.find(&key(name), later(from), later(to), order, limit);
        let seconds = |(at, _): (Timestamp, _)| at.duration_since(start()).as_secs();
        found.unwrap().into_iter().map(seconds).collect()
    }
}

pub(crate) async fn records_are_found_by_key_and_by_place(f: &Fixture) {
    assert_eq!(f.value("a"), None);
    f.put(vec![
        record("a", "one", &[("phone", 10), ("mail", 10)]),
        record("b", "two", &[("phone", 20)]),
        record("c", "three", &[("phone", 30), ("phone", 5)]),
    ])
    .await;
    assert_eq!(f.value("b").as_deref(), Some(&b"two"[..]));
    assert_eq!(f.find("phone", 10, 20, Order::Oldest, 9), [10, 20]);
    assert_eq!(f.find("phone", 0, 99, Order::Newest, 3), [30, 20, 10]);
    assert!(f.find("phone", 11, 19, Order::Oldest, 9).is_empty());
    assert!(f.find("phone", 20, 10, Order::Oldest, 9).is_empty());
    assert_eq!(f.find("mail", 0, 99, Order::Newest, 9), [10]);
    let all = (Timestamp::MIN, Timestamp::MAX);
    let registry = f.queue.registry();
    let found = registry.find(&key("phone"), all.0, all.1, Order::Oldest, 1);
    assert_eq!(found.unwrap(), [(later(5), key("c"))]);
    // Another put replaces value and places.
    f.put(vec![record("a", "moved", &[("phone", 40)])]).await;
    assert_eq!(f.value("a").as_deref(), Some(&b"moved"[..]));
    assert_eq!(f.find("phone", 0, 99, Order::Oldest, 9), [5, 20, 30, 40]);
    assert!(f.find("mail", 0, 99, Order::Oldest, 9).is_empty());
    // As large as a value may get.
    let large = "x".repeat(20_000);
    f.put(vec![record("a", &large, &[])]).await;
    assert_eq!(f.value("a").as_deref(), Some(large.as_bytes()));
}

pub(crate) async fn a_change_wakes_those_who_watch_it(f: &Fixture) {
    let record_a = f.waits(1, vec![Watch::record(key("a"))]).await;
    let phone = f.waits(2, vec![near("phone", 10, 20)]).await;
    let _elsewhere = f
        .waits(3, vec![near("phone", 31, 40), near("mail", 0, 99)])
        .await;
    assert_eq!(f.marked().await, []);
    // It appears, outside of what is watched.
    f.put(vec![record("a", "one", &[("phone", 9), ("phone", 21)])])
        .await;
    assert_eq!(f.marked().await, [record_a]);
    f.settle_as(record_a, ignored()).await;
    for (n, at) in [(0, 10), (1, 20)] {
        f.put(vec![record("b", &n.to_string(), &[("phone", at)])])
            .await;
        assert_eq!(f.marked().await, [phone], "both ends count");
        f.settle_as(phone, waiting(vec![near("phone", 10, 20)]))
            .await;
    }
    // The same again is no change; another value at the same place is.
    f.put(vec![record("b", "1", &[("phone", 20)])]).await;
    assert_eq!(f.marked().await, []);
    f.put(vec![record("b", "2", &[("phone", 20)])]).await;
    assert_eq!(f.marked().await, [phone]);
    f.settle_as(phone, waiting(vec![near("phone", 10, 20)]))
        .await;
    // It goes elsewhere: who saw it there has to look again.
    f.put(vec![record("b", "2", &[("mail", 200)])]).await;
    assert_eq!(f.marked().await, [phone]);
    // Whoever is settled without watches is left alone.
    f.settle_as(phone, ignored()).await;
    f.put(vec![
        record("a", "two", &[]),
        record("b", "3", &[("phone", 15)]),
    ])
    .await;
    assert_eq!(f.marked().await, []);
    assert_eq!(f.queue.stats().unprocessed, 0);
}

pub(crate) async fn an_event_is_not_woken_by_what_it_writes(f: &Fixture) {
    let other = f.waits(1, vec![Watch::record(key("a"))]).await;
    let writer = f.accept(2).await;
    let writes = |value: &str| Processed {
        records: vec![record("a", value, &[("phone", 10)])],
        ..waiting(vec![Watch::record(key("a")), near("phone", 0, 99)])
    };
    f.settle_as(writer, writes("one")).await;
    assert_eq!(f.marked().await, [other]);
    assert_eq!(f.value("a").as_deref(), Some(&b"one"[..]));
    f.settle_as(other, waiting(vec![Watch::record(key("a"))]))
        .await;
    // Also not when it is processed again, which writes the same or something else.
    f.queue.replay(vec![writer]).await.unwrap();
    f.settle_as(writer, writes("one")).await;
    assert_eq!(f.marked().await, []);
    f.queue.replay(vec![writer]).await.unwrap();
    f.settle_as(writer, writes("two")).await;
    assert_eq!(f.marked().await, [other]);
}

pub(crate) async fn what_changes_while_an_event_is_processed_is_not_missed(f: &Fixture) {
    let id = f.accept(1).await;
    let watch = || vec![Watch::record(key("a")), near("phone", 0, 9)];
    // It reads "nothing there", and before it is settled, something is.
    let read = f.read_one().await;
    f.put(vec![record("a", "one", &[])]).await;
    let settled = |mark| Processed {
        mark,
        ..waiting(watch())
    };
    f.settle_as(id, settled(read.mark)).await;
    let read = f.read_one().await;
    f.put(vec![record("b", "one", &[("phone", 5)])]).await;
    f.settle_as(id, settled(read.mark)).await;
    // Now it watches. What it watches changes again while it is processed.
    let read = f.read_one().await;
    f.put(vec![record("a", "two", &[])]).await;
    f.settle_as(id, settled(read.mark)).await;
    // Somebody replays it while it is processed, with other rules.
    let read = f.read_one().await;
    f.queue.replay(vec![id]).await.unwrap();
    f.settle_as(id, settled(read.mark)).await;
    let read = f.read_one().await;
    assert_eq!(f.queue.stats().unprocessed, 1);
    // What it does not watch is no reason.
    f.put(vec![record("c", "one", &[("phone", 99)])]).await;
    let unrelated = Processed {
        watches: vec![Watch::record(key("d"))],
        ..settled(read.mark)
    };
    f.settle_as(id, unrelated).await;
    assert_eq!(f.marked().await, []);
    assert_eq!(f.queue.stats().unprocessed, 0);
}

pub(crate) async fn events_settled_together_know_of_each_other(f: &Fixture) {
    for n in 1..=3 {
        f.accept(n).await;
    }
    let page = f.queue.unprocessed(None, 10).await.unwrap();
    let together = |page: &[StoredEvent], value: &str| {
        let mut all = Vec::new();
        for event in page {
            all.push((
                event.id,
                Processed {
                    mark: event.mark,
                    ..waiting(vec![Watch::record(key("a"))])
                },
            ));
        }
        all[1].1.records = vec![record("a", value, &[])];
        all
    };
    let answers = f.queue.settle_events(together(&page, "one")).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    // The first read it before the second wrote it; the third was processed in view of it.
    assert_eq!(f.marked().await, [page[0].id]);
    f.queue
        .replay(page.iter().map(|e| e.id).collect())
        .await
        .unwrap();
    let page = f.queue.unprocessed(None, 10).await.unwrap();
    let answers = f.queue.settle_events(together(&page, "two")).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(f.marked().await, [page[0].id], "watching before, too");
    // When the second is refused, what the third saw did not happen.
    f.queue
        .replay(page.iter().map(|e| e.id).collect())
        .await
        .unwrap();
    let page = f.queue.unprocessed(None, 10).await.unwrap();
    let mut refused = together(&page, "three");
    refused[1].1.changes = vec![change("crm-a", "t", Change::Outcome(7))];
    let answers = f.queue.settle_events(refused).await;
    let ok: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true]);
    assert_eq!(f.value("a").as_deref(), Some(&b"two"[..]));
    assert_eq!(f.marked().await, [page[1].id, page[2].id]);
}

pub(crate) async fn a_wake_comes_once_at_its_moment(f: &Fixture) {
    let at = |second| Processed {
        wake_at: Some(later(second)),
        ..waiting(Vec::new())
    };
    let (one, two) = (f.accept(1).await, f.accept(2).await);
    f.settle_as(one, at(60)).await;
    f.settle_as(two, at(50)).await;
    assert_eq!(f.queue.wake_due(10).await.unwrap(), 0);
    f.clock.set(later(49));
    assert_eq!(f.queue.wake_due(10).await.unwrap(), 0);
    assert!(f.queue.events_arrived().now_or_never().is_none());
    f.clock.set(later(50));
    f.queue.events_arrived().await;
    assert_eq!(f.queue.wake_due(10).await.unwrap(), 1);
    assert_eq!(f.marked().await, [two]);
    assert_eq!(f.queue.wake_due(10).await.unwrap(), 0, "once");
    // It may be set again, moved, and given up.
    f.settle_as(two, at(70)).await;
    f.settle_as(two, at(80)).await;
    f.settle_as(one, waiting(Vec::new())).await;
    f.clock.set(later(75));
    assert_eq!(f.queue.wake_due(10).await.unwrap(), 0);
    f.clock.set(later(80));
    assert_eq!(f.queue.wake_due(10).await.unwrap(), 1);
    f.settle_as(two, ignored()).await;
    assert_eq!(f.marked().await, []);
    // Those that were missed come in order, as many as are asked for.
    let three = f.accept(3).await;
    f.settle_as(one, at(92)).await;
    f.settle_as(two, at(93)).await;
    f.settle_as(three, at(91)).await;
    f.clock.set(later(1000));
    assert_eq!(f.queue.wake_due(2).await.unwrap(), 2);
    assert_eq!(f.marked().await, [one, three]);
    assert_eq!(f.queue.wake_due(2).await.unwrap(), 1);
    assert_eq!(f.marked().await, [one, two, three]);
}

pub(crate) async fn pruning_keeps_what_waits_and_forgets_old_records(f: &Fixture) {
    let waits = f.waits(1, vec![Watch::record(key("a"))]).await;
    let sleeps = f.accept(2).await;
    let sleeping = Processed {
        wake_at: Some(later(20_000)),
        ..ignored()
    };
    f.settle_as(sleeps, sleeping).await;
    let done = f.accept(3).await;
    let watches = vec![Watch::record(key("a"))];
    f.settle_as(
        done,
        Processed {
            watches,
            ..ignored()
        },
    )
    .await;
    let short = Record {
        keep_until: later(100),
        ..record("short", "one", &[("phone", 10)])
    };
    f.put(vec![short, record("long", "one", &[("phone", 11)])])
        .await;
    f.clock.set(later(10_000));
    assert_eq!(f.queue.prune(later(5)).await.unwrap(), 1);
    let gone = f.queue.event(done).await;
    assert!(matches!(gone, Err(QueueError::NotFound(_))), "{gone:?}");
    assert_eq!(f.value("short"), None);
    assert_eq!(f.find("phone", 0, 99, Order::Oldest, 9), [11]);
    // The one that is gone is not woken, those that wait are.
    f.put(vec![record("a", "one", &[])]).await;
    assert_eq!(f.marked().await, [waits]);
    f.clock.set(later(20_000));
    assert_eq!(f.queue.wake_due(9).await.unwrap(), 1);
    assert_eq!(f.marked().await, [waits, sleeps]);
    f.settle_as(waits, ignored()).await;
    f.settle_as(sleeps, ignored()).await;
    assert_eq!(f.queue.prune(later(5)).await.unwrap(), 2);
}

pub(crate) async fn a_record_is_kept_as_long_as_it_is_put(f: &Fixture) {
    let until = |days: i64| Record {
        keep_until: later(days * 24 * 3600),
        ..record("a", "one", &[])
    };
    f.put(vec![until(2)]).await;
    let waits = f.waits(1, vec![Watch::record(key("a"))]).await;
    f.put(vec![until(5)]).await;
    f.put(vec![until(1)]).await;
    assert_eq!(f.marked().await, [], "nobody has to look at it again");
    f.clock.set(later(4 * 24 * 3600));
    f.queue.prune(later(0)).await.unwrap();
    assert!(f.value("a").is_some());
    f.clock.set(later(6 * 24 * 3600));
    f.queue.prune(later(0)).await.unwrap();
    assert_eq!(f.value("a"), None);
    assert_eq!(f.marked().await, []);
    f.put(vec![until(9)]).await;
    assert_eq!(f.marked().await, [waits]);
}
