//! Attendance that nobody reported: an appointment whose end has passed, with nothing said against it, counts as
//! attended.
//!
//! The event that says when an appointment is held is the one that waits for its end. Whatever is heard of the
//! appointment, before or after, makes that event be processed again: the inferred outcome then goes away or
//! comes back by itself.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{AppointmentChange, Basis, Fact, Outcome, OutcomeKind};
use crate::queue::{Result, StoredEvent};
use crate::registry::{View, later, usable_end};
use crate::setup::Source;

/// The rule that inferred outcomes name.
pub const INFERRED: &str = "inferred_shown";

/// What an event's appointments lead to.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// Outcomes inferred.
    pub inferred: Vec<Outcome>,
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
    for fact in facts.iter().rev() {
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
        attendance.inferred.push(outcome);
    }
    // From the last fact to the first, since the last word on a booking holds; told in the order of the facts.
    attendance.inferred.reverse();
    Ok(attendance)
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
