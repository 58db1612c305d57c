//! Whether all came out right. What is true is computed from the events that are stored, by the small
//! model in `story`; what has to be stored, from what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::StreamExt;
use serde_json::Value;

use crate::bridge::Home;
use crate::destination::{Answer, Api, Destination, Told};
use crate::ledger::{Fate, Ledger};
use crate::story::{self, CALLS, Precedence, Story};

/// Mistakes of one kind that are printed at most.
const PRINTED: usize = 8;

/// All that was found.
#[derive(Default)]
pub(crate) struct Verdict {
    /// What must not be.
    pub(crate) mistakes: Vec<String>,
    /// Tellings, by number, that the vendor knows to be stored.
    pub(crate) acknowledged: usize,
    /// Tellings whose fate the vendor does not know, and how many of them were stored.
    pub(crate) unknown: (usize, usize),
    /// Requests that came to the destinations.
    pub(crate) requests: usize,
    /// Those that were accepted.
    pub(crate) deliveries: usize,
    /// Accepted ones that had been accepted before.
    pub(crate) duplicates: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged events, {} of unknown fate ({} of them stored), {} requests to the \
             destinations, {} deliveries, {} duplicates among them, {} mistakes",
            self.acknowledged,
            self.unknown.0,
            self.unknown.1,
            self.requests,
            self.deliveries,
            self.duplicates,
            self.mistakes.len(),
        )
    }
}

/// Looks at everything. The bridge runs and has nothing left to do.
pub(crate) async fn reach(home: &Home, ledger: &Ledger, destination: &Destination) -> Verdict {
    let mut verdict = Verdict::default();
    let stored = verdict.judge_events(home, ledger).await;
    verdict.judge_destinations(ledger.story, destination, &stored);
    verdict.judge_store(home, ledger.story, &stored).await;
    verdict.note("refused without a reason", ledger.refusals());
    verdict.note("nonsense told to a destination", destination.nonsense());
    verdict.note("an alarm in the log", home.alarms());
    let dead = home.list("dead-letters").await;
    verdict.note("dead letter", dead.iter().map(Value::to_string).collect());
    verdict
}

impl Verdict {
    fn note(&mut self, what: &str, all: Vec<String>) {
        let more = all.len().saturating_sub(PRINTED);
        self.mistakes.extend(
            all.into_iter()
                .take(PRINTED)
                .map(|one| format!("{what}: {one}")),
        );
        if more > 0 {
            self.mistakes.push(format!("{what}: {more} more"));
        }
    }

    /// Every acknowledged event is there once, as it was told, with its disposition. Answers which are.
    async fn judge_events(&mut self, home: &Home, ledger: &Ledger) -> BTreeSet<u64> {
        let summaries = home.list("events").await;
        let unsettled = summaries
            .iter()
            .filter(|event| event["disposition"] != "mapped");
        self.note("not mapped", unsettled.map(Value::to_string).collect());
        let ids = summaries.iter().filter_map(|event| event["id"].as_str());
        let documents: Vec<Value> = futures_util::stream::iter(ids)
            .map(|id| async move { home.ask(&format!("events/{id}/raw")).await })
            .buffer_unordered(8)
            .collect()
            .await;
        let fates = ledger.fates();
        let mut stored = BTreeSet::new();
        let (mut twice, mut foreign) = (Vec::new(), Vec::new());
        for document in &documents {
            match read(ledger.story, document) {
                Some(number) if (number as usize) < fates.len() => {
                    if !stored.insert(number) {
                        twice.push(format!("E{number}"));
                    }
                }
                _ => foreign.push(document.to_string()),
            }
        }
        self.note("stored twice", twice);
        self.note("stored, but never told like this", foreign);
        let (mut missing, mut unknown) = (Vec::new(), (0, 0));
        for (number, fate) in (0u64..).zip(&fates) {
            let is_stored = stored.contains(&number);
            match fate {
                Fate::Acknowledged if !is_stored => missing.push(format!("E{number}")),
                Fate::Acknowledged => self.acknowledged += 1,
                Fate::Unknown => unknown = (unknown.0 + 1, unknown.1 + usize::from(is_stored)),
            }
        }
        self.unknown = unknown;
        self.note("acknowledged, but missing", missing);
        stored
    }

    /// Every call was told its truth last, and never anything older than what it had been told before.
    fn judge_destinations(
        &mut self,
        story: Story,
        destination: &Destination,
        stored: &BTreeSet<u64>,
    ) {
        let book = destination.book();
        for api in Api::ALL {
            for (call, truth) in truths(story, stored, api.precedence()) {
                let told = book
                    .get(&(api, call.clone()))
                    .map_or(&[][..], Vec::as_slice);
                let wanted = (Some(truth), Some(Answer::Accepted));
                let last = told.last();
                if (last.map(|told| told.number), last.map(|told| told.answer)) != wanted {
                    let mistake = format!("{api:?} {call}: {last:?}, and E{truth} is true");
                    self.note("not told the truth last", vec![mistake]);
                }
            }
        }
        for ((api, call), told) in &book {
            let place = format!("{api:?} {call}");
            let never = told.iter().filter(|told| !stored.contains(&told.number));
            self.note(
                "told, but not stored",
                never.map(|t| format!("{place}: {t:?}")).collect(),
            );
            let rank = |told: &Told| story.telling(told.number).rank(api.precedence());
            let back = told
                .windows(2)
                .filter(|pair| rank(&pair[1]) < rank(&pair[0]));
            self.note(
                "older after newer",
                back.map(|pair| format!("{place}: {pair:?}")).collect(),
            );
            self.count_repeats(&place, told);
        }
    }

    /// What was accepted is told again only when the bridge cannot know that it was: it was killed.
    fn count_repeats(&mut self, place: &str, told: &[Told]) {
        self.requests += told.len();
        let mut accepted: BTreeMap<u64, u64> = BTreeMap::new();
        for one in told {
            let before = accepted.get(&one.number).copied();
            if before == Some(one.life) {
                self.note("told again without need", vec![format!("{place}: {one:?}")]);
            }
            if one.answer == Answer::Accepted {
                self.deliveries += 1;
                self.duplicates += usize::from(before.is_some());
                accepted.insert(one.number, one.life);
            }
        }
    }

    /// The built-in store says the same as the destinations.
    async fn judge_store(&mut self, home: &Home, story: Story, stored: &BTreeSet<u64>) {
        let limit = (CALLS + 1).to_string();
        let rows = home.command(&["outcomes", "list", "--limit", &limit]).await;
        let rows = rows["items"].as_array().cloned().unwrap_or_default();
        let truths = truths(story, stored, Precedence::FinalFirst);
        if rows.len() != truths.len() {
            let mistake = format!("{} calls instead of {}", rows.len(), truths.len());
            self.note("in the store", vec![mistake]);
        }
        for row in rows {
            let call = row["call_id"].as_str().unwrap_or_default();
            // Not the moment: the store keeps milliseconds of it.
            let right = truths.get(call).is_some_and(|truth| {
                let telling = story.telling(*truth);
                row["label"] == *telling.label()
                    && row["notes"] == *telling.notes()
                    && row["kind"] == telling.outcome
            });
            if !right {
                let truth = truths.get(call);
                self.note(
                    "in the store",
                    vec![format!("{row}, and {truth:?} is true")],
                );
            }
        }
    }
}

/// The number of a stored event, if its body is byte for byte what was told under that number.
fn read(story: Story, document: &Value) -> Option<u64> {
    let body = document["body"].as_str()?;
    let read: Value = serde_json::from_str(body).ok()?;
    let telling = story.telling(story::number(&read["label"])?);
    (telling.body() == body).then_some(telling.number)
}

/// What is true of each call.
fn truths(story: Story, stored: &BTreeSet<u64>, precedence: Precedence) -> BTreeMap<String, u64> {
    let mut calls: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for number in stored {
        calls
            .entry(story.telling(*number).call)
            .or_default()
            .push(*number);
    }
    let truth = |numbers: Vec<u64>| story.truth(numbers.into_iter(), precedence);
    calls
        .into_iter()
        .filter_map(|(call, numbers)| Some((call, truth(numbers)?)))
        .collect()
}
