//! What the vendor knows: which outcomes it told, and which of them were acknowledged.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use crate::story::{Story, Telling};

/// What became of a telling, as far as the vendor knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Told, and no answer came (yet).
    Unknown,
    /// It was answered with 200.
    Acknowledged,
}

/// The vendor's book, shared by all senders.
pub(crate) struct Ledger {
    /// What is told.
    pub(crate) story: Story,
    pages: Mutex<Pages>,
    acknowledged: watch::Sender<u64>,
}

struct Pages {
    /// By number.
    fates: Vec<Fate>,
    /// Without an answer, to be told again.
    again: Vec<u64>,
    rng: StdRng,
    repeats: u64,
    refusals: Vec<String>,
}

impl Ledger {
    /// An empty book.
    pub(crate) fn new(story: Story) -> Self {
        Self {
            story,
            pages: Mutex::new(Pages {
                fates: Vec::new(),
                again: Vec::new(),
                rng: StdRng::seed_from_u64(story.seed ^ 1),
                repeats: 0,
                refusals: Vec::new(),
            }),
            acknowledged: watch::Sender::new(0),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to tell next: mostly something new, at times something again.
    pub(crate) fn next(&self) -> Telling {
        let mut pages = self.pages();
        let known = pages.fates.len() as u64;
        let number = match pages.rng.random_range(0..100) {
            0..30 if !pages.again.is_empty() => pages.again.pop().unwrap_or_default(),
            // Whatever became of it, also while another sender waits for its answer.
            30..34 if known > 0 => pages.rng.random_range(known.saturating_sub(200)..known),
            _ => known,
        };
        if number == known {
            pages.fates.push(Fate::Unknown);
        } else {
            pages.repeats += 1;
        }
        self.story.telling(number)
    }

    /// It was answered with 200.
    pub(crate) fn acknowledge(&self, number: u64) {
        self.pages().fates[number as usize] = Fate::Acknowledged;
        self.acknowledged.send_modify(|count| *count += 1);
    }

    /// The connection died before an answer. Vendors try some of these again, and give others up.
    pub(crate) fn lose(&self, number: u64) {
        let mut pages = self.pages();
        if pages.rng.random_bool(0.6) {
            pages.again.push(number);
        }
    }

    /// It was answered, but not with 200: nothing here deserves that.
    pub(crate) fn refuse(&self, number: u64, answer: &str) {
        self.pages().refusals.push(format!("E{number}: {answer}"));
    }

    /// Waits until so many more were acknowledged; whether that came true in time.
    pub(crate) async fn progress(&self, more: u64, patience: Duration) -> bool {
        let mut count = self.acknowledged.subscribe();
        let goal = *count.borrow() + more;
        let reached = count.wait_for(|count| *count >= goal);
        tokio::time::timeout(patience, reached).await.is_ok()
    }

    /// What became of each telling, by number.
    pub(crate) fn fates(&self) -> Vec<Fate> {
        self.pages().fates.clone()
    }

    /// How often something was told again.
    pub(crate) fn repeats(&self) -> u64 {
        self.pages().repeats
    }

    /// Answers that should not have been given.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.pages().refusals.clone()
    }
}
