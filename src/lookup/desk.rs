//! One source's desk: takes its questions, asks them at its pace, stores the answers, and leaves an API alone
//! that refuses the credentials.
//!
//! Nothing here has to survive. A question that is turned away or lost comes again with its event, at the
//! moment that the event was settled with. A hold is stored, so that events say why they wait, and is lifted
//! at every start, since only then can credentials have changed.
//!
//! One forbidden record must not hold a whole source for long: the question that caused a hold is
//! remembered. A hold is probed with another question where there is one; once that is answered, the
//! refusal is held to be about the first question alone, which then fails like any other.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::entry::{Entry, Hold, HoldEntry, hold_key};
use super::pace::Pace;
use super::plan::Job;
use super::token::Tokens;
use crate::clock::Clock;
use crate::connector::{Api, LookupVerdict};
use crate::egress::Client;
use crate::metrics::LookupMetrics;
use crate::model::SourceName;
use crate::queue::{Queue, Record, RegistryKey, Result};

/// Questions that wait at one desk. More are turned away and come again with their events.
pub(super) const INBOX: usize = 4_096;
/// The first probe after a refusal comes after this part of the interval.
const FIRST_PROBE: u32 = 10;
/// How many questions are remembered as having caused a hold.
const SUSPECTS: usize = 256;
/// How long a hold is kept on disk.
const HOLD_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

/// How a source's look-ups stand.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LookupState {
    /// The operator set no credentials; the text says which settings would help.
    Off {
        /// What to set.
        reason: String,
    },
    /// They are made.
    Ready {
        /// Questions at hand.
        open: usize,
        /// Why the last one failed, if it did.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_failure: Option<String>,
    },
    /// They are not made: the vendor refuses the credentials.
    Held {
        /// Since when.
        since: Timestamp,
        /// What it said.
        reason: String,
        /// When it is asked again.
        next_probe: Timestamp,
    },
}

/// See the module.
pub(super) struct Desk {
    pub(super) source: SourceName,
    pub(super) api: Api,
    pub(super) client: Client,
    pub(super) tokens: Option<Tokens>,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: Clock,
    pub(super) probe_every: Duration,
    pub(super) pace: Pace,
    pub(super) metrics: LookupMetrics,
    pub(super) inbox: mpsc::Sender<Job>,
    pub(super) state: Mutex<State>,
    pub(super) hold_changed: Notify,
}

#[derive(Default)]
pub(super) struct State {
    /// Questions at hand.
    busy: HashSet<RegistryKey>,
    held: Option<Held>,
    /// Questions that caused a hold.
    suspects: VecDeque<RegistryKey>,
    last_failure: Option<String>,
}

struct Held {
    hold: Hold,
    next_probe: Instant,
    next_probe_at: Timestamp,
    /// The question that was refused.
    cause: Job,
    /// Another one, to tell whether the refusal was the question's alone.
    other: Option<Job>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a question, unless it is at hand already or cannot be asked now.
    pub(super) fn take(&self, job: Job) {
        let mut state = self.state();
        if let Some(held) = &mut state.held {
            if job.key != held.cause.key {
                held.other = Some(job);
            }
            return;
        }
        let key = job.key;
        if state.busy.insert(key) && self.inbox.try_send(job).is_err() {
            state.busy.remove(&key);
        }
    }

    /// How its look-ups stand.
    pub(super) fn shown(&self) -> LookupState {
        let state = self.state();
        match &state.held {
            Some(held) => LookupState::Held {
                since: held.hold.since,
                reason: held.hold.reason.clone(),
                next_probe: held.next_probe_at,
            },
            None => LookupState::Ready {
                open: state.busy.len(),
                last_failure: state.last_failure.clone(),
            },
        }
    }

    /// Asks what is taken until `shutdown`. What is in flight then is given up; it comes again.
    pub(super) async fn run(
        self: Arc<Self>,
        mut inbox: mpsc::Receiver<Job>,
        shutdown: CancellationToken,
        tasks: TaskTracker,
    ) {
        if let Err(error) = self.lift_old_hold().await {
            tracing::error!(target: "lookup.failed", source = %self.source, %error, "an old hold cannot be lifted");
        }
        let places = Arc::new(Semaphore::new(self.api.concurrency.get()));
        loop {
            let job = tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.probe_is_due() => {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = self.probe() => continue,
                    }
                }
                job = inbox.recv() => match job {
                    Some(job) => job,
                    None => return,
                },
            };
            let place = tokio::select! {
                () = shutdown.cancelled() => return,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.pace.wait() => {}
            }
            let (desk, shutdown) = (Arc::clone(&self), shutdown.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = desk.attend(job) => {}
                }
                drop(place);
            });
        }
    }

    /// Asks one question, unless a hold has come meanwhile.
    async fn attend(&self, job: Job) {
        let key = job.key;
        let held = self.state().held.is_some();
        if !held {
            let asked_at = self.clock.now();
            let verdict = self.ask(&job).await;
            self.conclude(job, verdict, asked_at, false).await;
        }
        self.state().busy.remove(&key);
    }

    async fn probe(&self) {
        let job = {
            let state = self.state();
            let Some(held) = &state.held else { return };
            held.other.as_ref().unwrap_or(&held.cause).clone()
        };
        let asked_at = self.clock.now();
        let verdict = self.ask(&job).await;
        self.conclude(job, verdict, asked_at, true).await;
    }

    /// Resolves when a held source is to be asked again.
    async fn probe_is_due(&self) {
        loop {
            let changed = self.hold_changed.notified();
            let due = self.state().held.as_ref().map(|held| held.next_probe);
            match due {
                Some(due) => return tokio::time::sleep_until(due).await,
                None => changed.await,
            }
        }
    }

    /// Stores what an answer means.
    async fn conclude(&self, job: Job, verdict: LookupVerdict, asked_at: Timestamp, probe: bool) {
        let stored = match verdict {
            LookupVerdict::Answered(taken) => {
                self.answered(&job, Some(taken), asked_at, probe).await
            }
            LookupVerdict::NotThere => self.answered(&job, None, asked_at, probe).await,
            LookupVerdict::Failed {
                reason,
                retry_after,
            } => {
                self.probe_failed(probe);
                self.failed(&job, reason, retry_after).await
            }
            LookupVerdict::Refused(reason) => {
                let suspect = self.state().suspects.contains(&job.key);
                match (probe, suspect) {
                    (true, _) => {
                        self.probe_failed(true);
                        Ok(())
                    }
                    // Others are answered: the refusal is about this one.
                    (false, true) => self.failed(&job, reason, None).await,
                    (false, false) => self.hold(job, reason).await,
                }
            }
        };
        if let Err(error) = stored {
            tracing::error!(
                target: "lookup.failed", source = %self.source, %error,
                "an answer cannot be stored; it is asked for again"
            );
        }
    }

    async fn answered(
        &self,
        job: &Job,
        taken: Option<serde_json::Value>,
        asked_at: Timestamp,
        probe: bool,
    ) -> Result<()> {
        {
            let mut state = self.state();
            state.last_failure = None;
            if !probe
                || state
                    .held
                    .as_ref()
                    .is_some_and(|held| held.cause.key == job.key)
            {
                state.suspects.retain(|key| *key != job.key);
            }
        }
        let entry = Entry::answered(self.known(job).await?, asked_at, taken);
        self.put(job, &entry).await?;
        match probe {
            true => self.release().await,
            false => Ok(()),
        }
    }

    async fn failed(&self, job: &Job, reason: String, retry_after: Option<Duration>) -> Result<()> {
        if let Some(wait) = retry_after {
            self.pace.pause(wait);
        }
        self.state().last_failure = Some(reason.clone());
        let known = self.known(job).await?;
        let wait = retry_after.and_then(|wait| SignedDuration::try_from(wait).ok());
        let entry = Entry::failed(known, self.clock.now(), reason, wait);
        self.put(job, &entry).await
    }

    /// What is stored of a question.
    async fn known(&self, job: &Job) -> Result<Option<Entry>> {
        let (registry, key) = (self.queue.registry(), job.key);
        let stored = blocking(move || registry.record(&key)).await?;
        Ok(stored.and_then(|bytes| Entry::read(&bytes)))
    }

    async fn put(&self, job: &Job, entry: &Entry) -> Result<()> {
        let record = Record {
            key: job.key,
            value: entry.to_bytes(),
            places: Vec::new(),
            keep_until: entry.keep_until(job.step.cache()),
        };
        self.queue.put_records(vec![record]).await
    }

    /// The credentials are refused: nothing is asked until a probe is answered.
    async fn hold(&self, job: Job, reason: String) -> Result<()> {
        let now = self.clock.now();
        let hold = Hold { since: now, reason };
        {
            let mut state = self.state();
            if state.held.is_some() {
                return Ok(());
            }
            state.suspects.push_back(job.key);
            if state.suspects.len() > SUSPECTS {
                state.suspects.pop_front();
            }
            let wait = self.probe_every / FIRST_PROBE;
            state.held = Some(Held {
                hold: hold.clone(),
                next_probe: Instant::now() + wait,
                next_probe_at: later(now, wait),
                cause: job,
                other: None,
            });
        }
        self.metrics.held(true);
        tracing::warn!(
            target: "lookup.held", source = %self.source, reason = %hold.reason,
            "look-ups are held: check the source's credentials"
        );
        self.hold_changed.notify_one();
        self.put_hold(Some(hold)).await
    }

    /// The next probe is made with another question, or with the first again.
    fn probe_failed(&self, probe: bool) {
        let mut state = self.state();
        if let Some(held) = state.held.as_mut().filter(|_| probe) {
            held.other = None;
            held.next_probe = Instant::now() + self.probe_every;
            held.next_probe_at = later(self.clock.now(), self.probe_every);
        }
    }

    async fn release(&self) -> Result<()> {
        if self.state().held.take().is_none() {
            return Ok(());
        }
        self.metrics.held(false);
        tracing::info!(target: "lookup.released", source = %self.source, "look-ups are made again");
        self.put_hold(None).await
    }

    /// Whatever held the look-ups before this start: the credentials may be others now.
    async fn lift_old_hold(&self) -> Result<()> {
        let (registry, key) = (self.queue.registry(), hold_key(&self.source));
        let stored = blocking(move || registry.record(&key)).await?;
        match stored.and_then(|bytes| HoldEntry::read(&bytes)) {
            Some(_) => self.put_hold(None).await,
            None => Ok(()),
        }
    }

    async fn put_hold(&self, held: Option<Hold>) -> Result<()> {
        let keep_until = self.clock.now().checked_add(HOLD_KEPT);
        let record = Record {
            key: hold_key(&self.source),
            value: HoldEntry::new(held).to_bytes(),
            places: Vec::new(),
            keep_until: keep_until.unwrap_or(Timestamp::MAX),
        };
        self.queue.put_records(vec![record]).await
    }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| now.checked_add(wait).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Reads on a thread that may block.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|ended| Err(crate::queue::QueueError::Storage(ended.to_string().into())))
}
