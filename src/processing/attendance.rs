//! Attendance that nobody reported: an appointment whose end has passed, with nothing said against it, counts as
//! attended.
//!
//! The event that says when an appointment is held is the one that waits for its end. Whatever is heard of the
//! appointment, before or after, makes that event be processed again: the inferred outcome then goes away or
//! comes back by itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{AppointmentChange, Basis, Fact, Outcome, OutcomeKind};
use crate::queue::{Order, Result, StoredEvent};
use crate::registry::{Appointment, Presence, Report, View, later, places, usable_end};
use crate::setup::Source;

/// The rule that inferred outcomes name.
pub const INFERRED: &str = "inferred_shown";

/// What an event's appointments lead to.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// Outcomes inferred, and from which of the facts.
    pub inferred: Vec<(usize, Outcome)>,
    /// When to look again.
    pub wake_at: Option<Timestamp>,
    /// What was decided, in words.
    pub notes: Vec<String>,
    /// What is wrong with an appointment, in words.
    pub faults: Vec<String>,
}

/// Looks at the appointments that the event's facts book or move.
///
/// # Errors
/// When storage fails.
pub(super) fn infer(
    facts: &[Fact],
    source: &Source,
    event: &StoredEvent,
    now: Timestamp,
    view: &mut View<'_>,
) -> Result<Attendance> {
    let mut attendance = Attendance::default();
    if !source.infer_shown {
        return Ok(attendance);
    }
    let mut seen = BTreeSet::new();
    for (n, fact) in facts.iter().enumerate().rev() {
        let Fact::Appointment(change) = fact else {
            continue;
        };
        let books = matches!(
            change.change,
            AppointmentChange::Booked | AppointmentChange::Rescheduled
        );
        let Some(booking) = change.subject.booking_id.as_deref().filter(|_| books) else {
            continue;
        };
        if !seen.insert(booking) {
            continue;
        }
        let Some(appointment) = view.appointment(source.name.as_str(), booking)? else {
            continue;
        };
        let schedule = appointment.schedule.get().zip(appointment.schedule.stamp());
        let Some((schedule, by)) = schedule else {
            attendance.note(booking, "when it is held is not known");
            continue;
        };
        if by.event != event.id {
            let other = format!("{} says when it is held", by.event);
            attendance.note(booking, &other);
            continue;
        }
        let end = match usable_end(schedule, event.received_at) {
            Ok(end) => end,
            Err(fault) => {
                let fault = format!("attendance of `{booking}` is not inferred: {fault}");
                attendance.faults.push(fault);
                continue;
            }
        };
        if let Some(obstacle) = appointment.obstacle() {
            attendance.note(booking, obstacle.words());
            continue;
        }
        let due = later(end, source.grace);
        let held = (schedule.start.unwrap_or(end), due);
        if let Some(report) = reported(&appointment, source, held, view)? {
            attendance.note(booking, &report);
            continue;
        }
        if now < due {
            let expected = format!("expected at {due} unless something else is heard");
            attendance.note(booking, &expected);
            attendance.wake_at = Some(attendance.wake_at.map_or(due, |wake| wake.min(due)));
            continue;
        }
        let outcome = Outcome {
            kind: OutcomeKind::Shown,
            label: None,
            value: None,
            notes: None,
            metadata: change.metadata.clone(),
            subject: change.subject.clone(),
            occurred_at: end,
            basis: Basis::Inferred,
            source: source.name.clone(),
            event: event.id,
            rule: INFERRED.to_owned(),
        };
        attendance.note(
            booking,
            "inferred: its end and the grace have passed, and nothing else was heard",
        );
        attendance.inferred.push((n, outcome));
    }
    // From the last fact to the first, since the last word on a booking holds; told in the order of the facts.
    attendance.inferred.reverse();
    Ok(attendance)
}

/// The most reports of one person that are looked at.
const MOST_REPORTS: usize = 64;

/// What was reported, while the appointment was on or its grace ran, of the person that it is with by somebody
/// who does not name its booking.
fn reported(
    appointment: &Appointment,
    source: &Source,
    (start, due): (Timestamp, Timestamp),
    view: &mut View<'_>,
) -> Result<Option<String>> {
    let known = &appointment.known;
    let phone = known.phone.get().map(places::presence_of_phone);
    let email = known.email.get();
    let email = email.map(|email| places::presence_of_email(email));
    let mut found = BTreeSet::new();
    for key in phone.into_iter().chain(email) {
        // What takes a report back may come at any time after it.
        let after = (start, Timestamp::MAX);
        found.extend(view.find(key, after, Order::Oldest, MOST_REPORTS)?);
    }
    let mut reports: BTreeMap<OutcomeKind, (Report, String)> = BTreeMap::new();
    for (_, key) in found {
        let Some(presence) = view.record::<Presence>(key)? else {
            continue;
        };
        // What names a booking of the same calendar stands in that booking's own record.
        if presence.source == source.name.as_str() && presence.booking_id.is_some() {
            continue;
        }
        let is_said = presence.report.holds();
        if is_said && presence.at > due {
            continue;
        }
        let (report, by) = reports.entry(presence.kind).or_default();
        if is_said {
            *by = presence.source;
        }
        report.join(presence.report);
    }
    let mut holding = reports
        .into_iter()
        .filter(|(_, (report, _))| report.holds());
    Ok(holding
        .next()
        .map(|(kind, (_, by))| format!("{kind} was reported by `{by}` of its lead at that time")))
}

impl Attendance {
    /// What an event's reason says of it; nothing when all is as usual.
    pub(super) fn reason(&self) -> Option<String> {
        let arose = self.inferred.iter().map(|_| "outcome shown inferred");
        let said: Vec<&str> = arose
            .chain(self.faults.iter().map(String::as_str))
            .collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    fn note(&mut self, booking: &str, what: &str) {
        self.notes
            .push(format!("attendance of `{booking}`: {what}"));
    }
}
