//! What is stored of a look-up, and what it means for an event. Pure: time is an argument.
//!
//! An answer holds for an event when it was asked for after the event was received, or not longer before than
//! the look-up's `cache` says. What was asked for before and given after may tell of a time before the event: a
//! record that changes twice at once would be seen as it was in between. Of several answers the first that holds is
//! taken. So what an event leads to does not depend on when it is processed: a replay next month finds the answer
//! that was found today, though the record changed since. Failures stand beside the last answer; how long the next
//! try waits grows with how long it has failed.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::SourceName;
use crate::queue::RegistryKey;

/// The first wait after a failure, and the longest one.
const SHORTEST: SignedDuration = SignedDuration::from_secs(5);
const LONGEST: SignedDuration = SignedDuration::from_hours(1);
/// How long an event waits for an answer before it is given up.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_hours(72);
/// How many answers before the last are kept.
const MOST_EARLIER: usize = 7;
/// How long answers are kept for events that are processed again.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

const VERSION: u8 = 1;

/// What is known of one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    v: u8,
    /// The answers before the last, oldest first: earlier events go on reading theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Answer>,
    /// The last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Answer>,
    /// How asking has failed since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<Failure>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// When it was asked for.
    pub(super) at: Timestamp,
    /// What was taken of it; nothing when the vendor has no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) taken: Option<Value>,
}

/// A row of failures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// When the first happened.
    pub(super) since: Timestamp,
    /// When the last happened.
    pub(super) at: Timestamp,
    /// Why, in words.
    pub(super) reason: String,
    /// Not asked again before.
    pub(super) not_before: Timestamp,
}

/// A source whose look-ups are not made, because its credentials are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct HoldEntry {
    v: u8,
    /// Since when and why; nothing: they are made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<Hold>,
}

/// See [`HoldEntry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    /// Since when.
    pub(super) since: Timestamp,
    /// Why, in words.
    pub(super) reason: String,
}

/// What an entry means for an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ruling<'e> {
    /// Here is its answer.
    Use(&'e Answer),
    /// It has to be asked; why the last try failed, if there was one.
    Ask(Option<&'e str>),
    /// It is asked again at this moment.
    Wait(Timestamp, &'e str),
    /// It was asked for long enough.
    GiveUp(&'e str),
}

/// The key of a question's entry.
pub(super) fn key_of(source: &SourceName, step: &str, hash: &str) -> RegistryKey {
    RegistryKey::of(&["lookup", source.as_str(), step, hash])
}

/// The key of a source's hold.
pub(super) fn hold_key(source: &SourceName) -> RegistryKey {
    RegistryKey::of(&["lookup-hold", source.as_str()])
}

/// The wait that grows with `age`: it doubles from one to the next.
pub(super) fn pause(age: SignedDuration) -> SignedDuration {
    age.clamp(SHORTEST, LONGEST)
}

/// `at` and a span later, or the last moment there is.
pub(super) fn after(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

impl Entry {
    /// Reads an entry; `None` when another version wrote it, which means that nothing is known.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        (entry.v == VERSION).then_some(entry)
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        json(self)
    }

    /// Another answer, after what was known before.
    pub(super) fn answered(known: Option<Self>, at: Timestamp, taken: Option<Value>) -> Self {
        let (mut earlier, last) = known.map_or((Vec::new(), None), |e| (e.earlier, e.answer));
        // The same again holds for whom the last one held.
        earlier.extend(last.filter(|last| last.taken != taken));
        earlier.retain(|answer| after(answer.at, KEPT) > at);
        let surplus = earlier.len().saturating_sub(MOST_EARLIER);
        earlier.drain(..surplus);
        Self {
            v: VERSION,
            earlier,
            answer: Some(Answer { at, taken }),
            failure: None,
        }
    }

    /// All answers, oldest first.
    fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.earlier.iter().chain(&self.answer)
    }

    /// Another failure, after what was known before.
    pub(super) fn failed(
        known: Option<Self>,
        at: Timestamp,
        reason: String,
        retry_after: Option<SignedDuration>,
    ) -> Self {
        let (earlier, answer, failure) = match known {
            Some(known) => (known.earlier, known.answer, known.failure),
            None => (Vec::new(), None, None),
        };
        let since = failure.map_or(at, |failure| failure.since.min(at));
        let wait = pause(at.duration_since(since)).max(retry_after.unwrap_or_default());
        let not_before = after(at, wait.min(LONGEST));
        Self {
            v: VERSION,
            earlier,
            answer,
            failure: Some(Failure {
                since,
                at,
                reason,
                not_before,
            }),
        }
    }

    /// When it may be forgotten.
    pub(super) fn keep_until(&self, cache: SignedDuration) -> Timestamp {
        let times = [
            self.answer.as_ref().map(|a| after(a.at, KEPT.max(cache))),
            self.failure.as_ref().map(|f| after(f.at, PATIENCE)),
        ];
        times.into_iter().flatten().max().unwrap_or(Timestamp::MIN)
    }
}

impl HoldEntry {
    pub(super) fn new(held: Option<Hold>) -> Self {
        Self { v: VERSION, held }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Hold> {
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        entry.held.filter(|_| entry.v == VERSION)
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        json(self)
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("texts and numbers are always JSON")
        .into()
}

/// What an entry means at `now` for an event that was received at `received_at`.
pub(super) fn rule(
    entry: Option<&Entry>,
    received_at: Timestamp,
    cache: SignedDuration,
    now: Timestamp,
) -> Ruling<'_> {
    let Some(entry) = entry else {
        return Ruling::Ask(None);
    };
    let oldest = received_at.checked_sub(cache).unwrap_or(Timestamp::MIN);
    if let Some(answer) = entry.answers().find(|answer| answer.at >= oldest) {
        return Ruling::Use(answer);
    }
    let Some(failure) = &entry.failure else {
        return Ruling::Ask(None);
    };
    // A clock that was put back must not make anybody wait for longer than the longest pause.
    let until = failure.not_before.min(after(now, LONGEST));
    if until <= now {
        return Ruling::Ask(Some(&failure.reason));
    }
    // An old event that is replayed waits as long as any other.
    let begun = failure.since.max(received_at);
    if failure.at >= after(begun, PATIENCE) {
        return Ruling::GiveUp(&failure.reason);
    }
    Ruling::Wait(until, &failure.reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_312_000 + seconds).unwrap()
    }

    fn seconds(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    #[test]
    fn an_answer_holds_for_events_received_before_it_and_a_while_after_it() {
        let entry = Entry::answered(None, at(1_000), Some(json!({ "phone": "1" })));
        let answer = entry.answer.as_ref().unwrap();
        let cache = seconds(300);
        for received in [0, 1_000, 1_300] {
            let ruling = rule(Some(&entry), at(received), cache, at(9_999_999));
            assert_eq!(ruling, Ruling::Use(answer), "{received}");
        }
        let ruling = rule(Some(&entry), at(1_301), cache, at(1_301));
        assert_eq!(ruling, Ruling::Ask(None));
    }

    #[test]
    fn an_event_goes_on_reading_the_first_answer_that_held_for_it() {
        let amounts = ["1", "2", "2", "3"].map(|amount| Some(json!({ "amount": amount })));
        let mut known = None;
        for (n, taken) in (1..).zip(amounts.clone()) {
            known = Some(Entry::answered(known, at(n * 100), taken));
        }
        for (received, holds) in [(0, 0), (100, 0), (101, 1), (300, 1), (301, 3), (400, 3)] {
            let ruling = rule(known.as_ref(), at(received), seconds(0), at(9_999));
            let Ruling::Use(answer) = ruling else {
                panic!("{received}: {ruling:?}")
            };
            assert_eq!(answer.taken, amounts[holds], "{received}");
        }
        for n in 0..99 {
            let taken = Some(json!({ "amount": n }));
            known = Some(Entry::answered(known, at(500 + n), taken));
        }
        let kept = known.iter().flat_map(Entry::answers).count();
        assert_eq!(kept, MOST_EARLIER + 1);
        let later = Entry::answered(known, at(40 * 24 * 3_600), None);
        assert_eq!(later.answers().count(), 1, "those past their time go");
    }

    #[test]
    fn waits_double_from_five_seconds_to_an_hour() {
        let mut entry = None;
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..14 {
            let failed = Entry::failed(entry.take(), now, "503".to_owned(), None);
            let until = failed.failure.as_ref().unwrap().not_before;
            waits.push(until.duration_since(now).as_secs());
            now = until;
            entry = Some(failed);
        }
        assert_eq!(waits[..6], [5, 5, 10, 20, 40, 80]);
        assert_eq!(waits[10..], [2560, 3600, 3600, 3600]);
    }

    #[test]
    fn a_failing_question_is_asked_again_when_its_time_has_come_and_given_up_after_three_days() {
        let first = Entry::failed(None, at(0), "answered 503".to_owned(), Some(seconds(60)));
        let wait = rule(Some(&first), at(0), seconds(0), at(59));
        assert_eq!(wait, Ruling::Wait(at(60), "answered 503"));
        let ask = rule(Some(&first), at(0), seconds(0), at(60));
        assert_eq!(ask, Ruling::Ask(Some("answered 503")));
        let late = 72 * 3_600;
        let last = Entry::failed(Some(first), at(late), "answered 500".to_owned(), None);
        let given_up = rule(Some(&last), at(0), seconds(0), at(late + 1));
        assert_eq!(given_up, Ruling::GiveUp("answered 500"));
        // A younger event has time left.
        let waiting = rule(Some(&last), at(9), seconds(0), at(late + 1));
        assert_eq!(waiting, Ruling::Wait(at(late + 3_600), "answered 500"));
        // Replayed an hour later, the old one is asked for once more.
        let replayed = rule(Some(&last), at(0), seconds(0), at(late + 3_600));
        assert_eq!(replayed, Ruling::Ask(Some("answered 500")));
    }

    #[test]
    fn a_failure_does_not_take_an_older_events_answer_away() {
        let answered = Entry::answered(None, at(100), None);
        let failed = Entry::failed(Some(answered), at(5_000), "answered 503".to_owned(), None);
        let old = rule(Some(&failed), at(50), seconds(300), at(5_001));
        assert!(
            matches!(old, Ruling::Use(Answer { taken: None, .. })),
            "{old:?}"
        );
        let new = rule(Some(&failed), at(4_999), seconds(300), at(5_001));
        assert_eq!(new, Ruling::Wait(at(5_005), "answered 503"));
    }

    #[test]
    fn a_clock_put_back_does_not_stop_the_questions() {
        let failed = Entry::failed(None, at(9_000_000), "answered 503".to_owned(), None);
        let ruling = rule(Some(&failed), at(0), seconds(0), at(0));
        assert_eq!(ruling, Ruling::Wait(at(3_600), "answered 503"));
    }

    #[test]
    fn an_entry_of_another_version_is_as_if_nothing_were_known() {
        assert_eq!(
            Entry::read(br#"{"v":9,"answer":{"at":"2026-01-02T00:00:00Z"}}"#),
            None
        );
        assert_eq!(Entry::read(b"garbage"), None);
        assert_eq!(HoldEntry::read(b"{}"), None);
    }

    proptest! {
        #[test]
        fn entries_survive_storage(
            answered in any::<bool>(), failed in any::<bool>(), moment in 0i64..9_999_999, text in ".{0,40}",
        ) {
            let entry = match (answered, failed) {
                (true, false) => {
                    let known = Entry::answered(None, at(moment), None);
                    Entry::answered(Some(known), at(moment + 1), Some(json!({ "text": text })))
                }
                (false, _) => Entry::failed(None, at(moment), text, None),
                (true, true) => {
                    let answered = Entry::answered(None, at(moment), None);
                    Entry::failed(Some(answered), at(moment + 1), text, Some(seconds(7)))
                }
            };
            prop_assert_eq!(Entry::read(&entry.to_bytes()), Some(entry));
        }

        #[test]
        fn a_wait_is_never_longer_than_an_hour_nor_in_the_past(
            since in 0i64..400_000, age in 0i64..400_000, received in 0i64..400_000, now in 0i64..900_000,
            asked in 0i64..100_000,
        ) {
            let first = Entry::failed(None, at(since), String::new(), None);
            let retry_after = Some(seconds(asked));
            let entry = Entry::failed(Some(first), at(since + age), String::new(), retry_after);
            match rule(Some(&entry), at(received), seconds(60), at(now)) {
                Ruling::Wait(until, _) => {
                    prop_assert!(until > at(now));
                    prop_assert!(until <= after(at(now), LONGEST));
                }
                Ruling::Ask(_) => prop_assert!(at(now) >= entry.failure.unwrap().not_before),
                Ruling::GiveUp(_) => prop_assert!(since + age - received >= 72 * 3_600),
                Ruling::Use(_) => prop_assert!(false, "there is no answer"),
            }
        }
    }
}
