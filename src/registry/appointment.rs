//! Appointments: what became of each, and whether its attendance may be inferred.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::known::{Details, Known};
use super::latest::{Earliest, Latest, Stamp};
use super::places;
use crate::model::{
    AppointmentChange, AppointmentFact, Basis, EventId, Outcome, OutcomeKind, Retraction, Subject,
};
use crate::queue::{Place, RegistryKey};

/// When an appointment is held, as far as its last booking or move says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
}

/// Whether an appointment is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was made.
    Booked,
    /// It was moved and is on.
    Rescheduled,
    /// It was called off.
    Canceled,
}

/// What was reported of attendance: said, and taken back. What was taken back at the same moment or later
/// does not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    said: Latest<()>,
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    taken_back: Latest<()>,
}

impl Report {
    /// Said, and not taken back so far.
    pub(super) fn said(stamp: Stamp) -> Self {
        Self {
            said: Latest::said(stamp, Some(())),
            taken_back: Latest::default(),
        }
    }

    /// Taken back.
    pub(super) fn taken_back(stamp: Stamp) -> Self {
        Self {
            said: Latest::default(),
            taken_back: Latest::said(stamp, Some(())),
        }
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        let at = |word: &Latest<()>| word.stamp().map(|stamp| stamp.at);
        at(&self.said) > at(&self.taken_back)
    }

    fn is_empty(&self) -> bool {
        self.said.is_empty() && self.taken_back.is_empty()
    }

    /// Takes what another one says.
    pub fn join(&mut self, other: Self) {
        self.said.join(other.said);
        self.taken_back.join(other.taken_back);
    }

    fn restate(&mut self, event: EventId, said: Self) {
        self.said.restate(event, said.said);
        self.taken_back.restate(event, said.taken_back);
    }
}

/// What is known of an appointment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appointment {
    /// The format of this record.
    #[serde(default)]
    v: u8,
    /// When it is held. The event that said so is the one that attendance is inferred by.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub schedule: Latest<Schedule>,
    /// Whether it is on.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub state: Latest<State>,
    /// Its end has passed, by the vendor's clock.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub ended: Latest<()>,
    /// The booking that it became.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub moved_to: Latest<String>,
    /// The booking that it was before.
    #[serde(default, skip_serializing_if = "Latest::is_empty")]
    pub moved_from: Latest<String>,
    /// It was marked that it did not take place.
    #[serde(default, skip_serializing_if = "Report::is_empty")]
    pub mark: Report,
    /// The lead's presence was reported.
    #[serde(default, skip_serializing_if = "Report::is_empty")]
    pub shown: Report,
    /// The lead's absence was reported.
    #[serde(default, skip_serializing_if = "Report::is_empty")]
    pub no_show: Report,
    /// Whom it concerns.
    #[serde(default)]
    pub known: Known,
    /// Further values.
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
    /// When it was first spoken of.
    #[serde(default, skip_serializing_if = "Earliest::is_empty")]
    pub first_seen: Earliest,
}

/// Why an appointment's attendance is not inferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It was called off.
    Canceled,
    /// It became another booking.
    Moved,
    /// It was marked that it did not take place.
    Marked,
    /// The lead's presence or absence was reported.
    Reported(OutcomeKind),
}

impl Obstacle {
    /// In words that follow "attendance is not inferred: ".
    pub fn words(self) -> &'static str {
        match self {
            Self::Canceled => "the appointment was canceled",
            Self::Moved => "the appointment became another booking",
            Self::Marked => "it was marked that the appointment did not take place",
            Self::Reported(OutcomeKind::NoShow) => "a no-show was reported",
            Self::Reported(_) => "attendance was reported",
        }
    }
}

impl Appointment {
    /// What a change of it says.
    pub fn of_change(fact: &AppointmentFact, stamp: Stamp) -> Self {
        let mut said = Self::of_subject(&fact.subject, stamp);
        said.details = Details::of(&fact.metadata, stamp);
        said.moved_from = Latest::said(stamp, old_booking(fact));
        let yes = || Latest::said(stamp, Some(()));
        match fact.change {
            AppointmentChange::Booked => {
                said.state = Latest::said(stamp, Some(State::Booked));
                said.schedule = Latest::said(stamp, schedule(fact));
            }
            AppointmentChange::Rescheduled => {
                said.state = Latest::said(stamp, Some(State::Rescheduled));
                // Moved within the same booking to a time that is not said: the old time no longer holds. The
                // half of a move that speaks of the old booking knows nothing of the new one's times.
                let unknown = Schedule {
                    start: None,
                    end: None,
                };
                let moved_within = said.moved_from.is_empty().then_some(unknown);
                said.schedule = Latest::said(stamp, schedule(fact).or(moved_within));
            }
            AppointmentChange::Canceled => {
                said.state = Latest::said(stamp, Some(State::Canceled));
            }
            AppointmentChange::Ended => said.ended = yes(),
            AppointmentChange::NoShowMarked => said.mark.said = yes(),
            AppointmentChange::NoShowCleared => said.mark.taken_back = yes(),
        }
        said
    }

    /// What a change of another booking says of the one that it replaced.
    pub fn replaced_by(booking: &str, stamp: Stamp) -> Self {
        Self {
            moved_to: Latest::said(stamp, Some(booking.to_owned())),
            first_seen: Earliest::said(stamp),
            ..Self::default()
        }
    }

    /// What an outcome says of the appointment that it names. Only presence and absence that somebody reported
    /// count as a report: a clock's word and a correction by hand do not.
    pub fn of_outcome(outcome: &Outcome, stamp: Stamp) -> Self {
        let mut said = Self::of_subject(&outcome.subject, stamp);
        if outcome.basis == Basis::Reported
            && let Some(report) = said.report(outcome.kind)
        {
            report.said = Latest::said(stamp, Some(()));
        }
        said
    }

    /// What a retraction says of the appointment that it names.
    pub fn of_retraction(retraction: &Retraction, stamp: Stamp) -> Self {
        let mut said = Self::of_subject(&retraction.subject, stamp);
        if let Some(report) = said.report(retraction.kind) {
            report.taken_back = Latest::said(stamp, Some(()));
        }
        said
    }

    fn of_subject(subject: &Subject, stamp: Stamp) -> Self {
        let mut known = Known::of(subject, stamp);
        known.booking_id = Latest::default();
        Self {
            known,
            first_seen: Earliest::said(stamp),
            ..Self::default()
        }
    }

    fn report(&mut self, kind: OutcomeKind) -> Option<&mut Report> {
        match kind {
            OutcomeKind::Shown => Some(&mut self.shown),
            OutcomeKind::NoShow => Some(&mut self.no_show),
            OutcomeKind::Closed | OutcomeKind::Lost | OutcomeKind::FollowUp => None,
        }
    }

    /// Takes what another one knows.
    pub fn join(&mut self, other: Self) {
        self.schedule.join(other.schedule);
        self.state.join(other.state);
        self.ended.join(other.ended);
        self.moved_to.join(other.moved_to);
        self.moved_from.join(other.moved_from);
        self.mark.join(other.mark);
        self.shown.join(other.shown);
        self.no_show.join(other.no_show);
        self.known.join(other.known);
        self.details.join(other.details);
        self.first_seen.join(&other.first_seen);
    }

    /// Takes what `event` says now, in place of what it said before.
    pub fn restate(&mut self, event: EventId, said: Self) {
        self.schedule.restate(event, said.schedule);
        self.state.restate(event, said.state);
        self.ended.restate(event, said.ended);
        self.moved_to.restate(event, said.moved_to);
        self.moved_from.restate(event, said.moved_from);
        self.mark.restate(event, said.mark);
        self.shown.restate(event, said.shown);
        self.no_show.restate(event, said.no_show);
        self.known.restate(event, said.known);
        self.details.restate(event, said.details);
        self.first_seen.restate(event, &said.first_seen);
    }

    /// Takes what the booking that it replaced knew of whom it concerns, where nothing is known yet.
    pub fn inherit(&mut self, old: Self) {
        self.known.inherit(old.known);
        self.first_seen.join(&old.first_seen);
    }

    /// What speaks against inferring that the lead attended.
    pub fn obstacle(&self) -> Option<Obstacle> {
        let reported = |report, kind| self.concerns(report).then_some(Obstacle::Reported(kind));
        let canceled = (self.state.get() == Some(&State::Canceled)).then_some(Obstacle::Canceled);
        let moved = (!self.moved_to.is_empty()).then_some(Obstacle::Moved);
        let marked = self.concerns(&self.mark).then_some(Obstacle::Marked);
        moved
            .or(canceled)
            .or(reported(&self.no_show, OutcomeKind::NoShow))
            .or(marked)
            .or(reported(&self.shown, OutcomeKind::Shown))
    }

    /// Whether a report holds for the times that are known now. A booking that is moved within itself leaves behind
    /// what was reported of its earlier times.
    fn concerns(&self, report: &Report) -> bool {
        let start = self.schedule.get().and_then(|schedule| schedule.start);
        let moved_on = self.schedule.stamp().zip(start).zip(report.said.stamp());
        let moved_on = moved_on.is_some_and(|((set, start), said)| said.at < start.min(set.at));
        report.holds() && !moved_on
    }

    /// Where else it is found: under phone and e-mail, at its start.
    pub fn places(&self) -> Vec<Place> {
        let Some(at) = self.schedule.get().and_then(|schedule| schedule.start) else {
            return Vec::new();
        };
        let place = |key: RegistryKey| Place { key, at };
        let phone = self.known.phone.get().map(places::appointments_of_phone);
        let email = self.known.email.get();
        let email = email.map(|email| places::appointments_of_email(email));
        phone.into_iter().chain(email).map(place).collect()
    }

    /// How long it is worth keeping, counted from `now`: well past its end, but not for ever.
    pub fn keep_until(&self, now: Timestamp) -> Timestamp {
        let end = self.schedule.get().and_then(|schedule| schedule.end);
        let furthest = super::later(now, super::FURTHEST);
        let from = end.unwrap_or(now).clamp(now, furthest);
        super::later(from, super::KEPT)
    }
}

fn schedule(fact: &AppointmentFact) -> Option<Schedule> {
    let (start, end) = (fact.start, fact.end);
    (start.is_some() || end.is_some()).then_some(Schedule { start, end })
}

/// The booking in whose place a new one came. A vendor that names the same booking moved it within itself.
pub fn old_booking(fact: &AppointmentFact) -> Option<String> {
    let old = fact.metadata.get("old_booking_id")?.as_str()?.trim();
    let moved = fact.change == AppointmentChange::Rescheduled;
    let other = fact.subject.booking_id.as_deref() != Some(old);
    (moved && other && !old.is_empty()).then(|| old.to_owned())
}

/// Why a schedule cannot be waited for, in words; `Ok` is its end.
///
/// # Errors
/// What is wrong with it.
pub fn usable_end(schedule: &Schedule, received_at: Timestamp) -> Result<Timestamp, &'static str> {
    let end = schedule.end.ok_or("its end is not known")?;
    if schedule.start.is_some_and(|start| end < start) {
        return Err("it ends before it starts");
    }
    if end > super::later(received_at, super::FURTHEST) {
        return Err("it ends more than five years ahead");
    }
    if super::later(end, LONG_OVER) < received_at {
        return Err("it was over more than 30 days before it was heard of");
    }
    Ok(end)
}

/// An appointment that was over for so long when its booking came says nothing: what was reported of it then
/// was not heard of either.
const LONG_OVER: SignedDuration = SignedDuration::from_hours(30 * 24);
