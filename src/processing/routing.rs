//! From facts to lanes: which destinations want them, and at which address.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Map;
use sha2::{Digest, Sha256};

use super::admin_event::LaneAddress;
use super::correlation::{Asked, Finder, Resolution};
use crate::model::{
    Basis, Deliver, DestinationName, EventId, Fact, Matcher, Mode, Outcome, OutcomeKind,
    OutcomeNumbers, Retraction, SourceName, Subject,
};
use crate::queue::{Change, LaneChange, Result};
use crate::registry::{Appointment, View, later, places};
use crate::setup::{Destination, Routes};

/// Where one fact went, as the trace keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Routed {
    /// The destination.
    pub destination: DestinationName,
    /// What it is about; nothing for a release of corrections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<OutcomeKind>,
    /// Which of the event's outcomes it is; nothing when it takes something back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<u16>,
    /// Whether it takes something back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retract: bool,
    /// What it takes back occurred, or was set by hand, up to this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Timestamp>,
    /// The route that led there, counted from 1. `None`: every outcome goes there, or it takes something back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<usize>,
    /// Which kind of address was taken, e.g. `call` or `phone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Which matcher made it known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matcher: Option<Matcher>,
    /// The address at the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether a better address is taken as soon as one is known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// What each matcher found, in the order in which they were asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
    /// Why there is no address, or why a better one was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unresolved: Option<String>,
    /// Until when it waits for an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_until: Option<Timestamp>,
    /// It is not delivered before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// A destination that conditions kept an outcome from, as the trace keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Withheld {
    /// The destination.
    pub destination: DestinationName,
    /// What it is about.
    pub kind: OutcomeKind,
    /// Which condition of which route does not hold.
    pub why: String,
}

/// What routing needs to know of an event.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The event.
    pub event: EventId,
    /// When it was received.
    pub received_at: Timestamp,
    /// The moment of processing.
    pub now: Timestamp,
    /// The source whose ids its facts name.
    pub ids_of: &'a SourceName,
    /// Lanes that its facts go to, whatever they are about.
    pub at: &'a [LaneAddress],
    /// The numbers of its outcomes.
    pub numbers: &'a OutcomeNumbers,
}

/// All that routing made of an event's facts.
#[derive(Debug, Default)]
pub struct Routing {
    /// Changes for the lanes.
    pub changes: Vec<LaneChange>,
    /// Every decision, also those without an address.
    pub routed: Vec<Routed>,
    /// Where conditions did not hold.
    pub withheld: Vec<Withheld>,
    /// When the first of those that wait has waited long enough.
    pub wake_at: Option<Timestamp>,
}

/// One fact on its way.
struct Parcel<'a> {
    outcome: &'a Outcome,
    change: Change,
    /// When an inferred outcome arose.
    arose_at: Timestamp,
    /// What it is about; several when it takes back what was said about any of them. 0 means whatever it is about.
    about: Vec<u64>,
}

impl Routing {
    /// Routes the facts of one event. What the bookings, deals and contacts of outcomes tell of whom they are about
    /// is added to them. `arose_at` says when an outcome came to be.
    ///
    /// # Errors
    /// When storage fails.
    pub fn of(
        facts: &mut [Fact],
        arose_at: impl Fn(&Outcome) -> Timestamp,
        routes: &Routes,
        origin: Origin<'_>,
        view: &mut View<'_>,
    ) -> Result<Self> {
        let mut routing = Self::default();
        let mut outcomes = 0;
        for fact in facts {
            match fact {
                Fact::Outcome(outcome) => {
                    // More than there are numbers are refused when the event is settled.
                    let number = origin.numbers.of(outcomes).unwrap_or(u16::MAX);
                    let parcel = Parcel {
                        outcome,
                        change: Change::Outcome(number),
                        arose_at: arose_at(outcome),
                        about: vec![about(origin.ids_of, outcome.kind, &outcome.subject)],
                    };
                    let subject = routing.deliver(&parcel, routes, origin, view)?;
                    outcome.subject = subject;
                    outcomes += 1;
                }
                Fact::Retraction(retraction) => {
                    let change = Change::Retract(retraction.kind, retraction.occurred_at);
                    let outcome = stand_in(retraction, origin);
                    let arose_at = retraction.occurred_at;
                    let parcel = Parcel {
                        outcome: &outcome,
                        change,
                        arose_at,
                        about: abouts(origin.ids_of, retraction, view)?,
                    };
                    routing.deliver(&parcel, routes, origin, view)?;
                }
                Fact::Release(release) => {
                    // A correction may be of any kind, so its release goes wherever one may have gone.
                    let taken_back = Retraction {
                        kind: OutcomeKind::FollowUp,
                        subject: release.subject.clone(),
                        occurred_at: release.occurred_at,
                        rule: release.rule.clone(),
                    };
                    let parcel = Parcel {
                        outcome: &stand_in(&taken_back, origin),
                        change: Change::Release(origin.received_at),
                        arose_at: release.occurred_at,
                        about: vec![0],
                    };
                    routing.deliver(&parcel, routes, origin, view)?;
                }
                Fact::Appointment(_) | Fact::Call(_) => {}
            }
        }
        Ok(routing)
    }

    /// Brings a parcel to every destination that wants it, and answers what is known of its subject then.
    fn deliver(
        &mut self,
        parcel: &Parcel<'_>,
        routes: &Routes,
        origin: Origin<'_>,
        view: &mut View<'_>,
    ) -> Result<Subject> {
        let first = self.changes.len();
        let known = self.bring_all(parcel, routes, origin, view)?;
        // Only now all destinations have told what they know.
        for change in &mut self.changes[first..] {
            if let Some(destination) = routes.destination(&change.destination) {
                // What cannot be put right is not told again because more becomes known of whom it is about.
                change.told = destination.outbound.told_of(match change.mode {
                    Mode::Each => &parcel.outcome.subject,
                    Mode::Newest => &known,
                });
            }
        }
        Ok(known)
    }

    fn bring_all(
        &mut self,
        parcel: &Parcel<'_>,
        routes: &Routes,
        origin: Origin<'_>,
        view: &mut View<'_>,
    ) -> Result<Subject> {
        if !origin.at.is_empty() {
            for lane in origin.at {
                self.bring_to(lane, parcel, routes);
            }
            return Ok(parcel.outcome.subject.clone());
        }
        let mut known = parcel.outcome.subject.clone();
        let mut calls: Vec<Option<String>> = Vec::new();
        for (destination, route) in self.wanting(parcel, routes, origin.ids_of) {
            let mut finder = Finder::new(view, origin.ids_of.as_str(), parcel.outcome);
            let resolution = finder.resolve(&destination.outbound, &destination.correlation)?;
            fill(&mut known, &resolution.subject);
            calls.push(resolution.call_id.clone());
            let routed = Routed {
                route,
                ..Routed::to(destination.name.clone(), parcel)
            };
            self.bring(&destination, parcel, resolution, (origin, routed));
        }
        // Destinations may know different calls; only when they agree it is the outcome's.
        let mut found = calls.into_iter().flatten();
        if known.call_id.is_none()
            && let Some(first) = found.next()
            && found.all(|other| other == first)
        {
            known.call_id = Some(first);
        }
        Ok(known)
    }

    /// The destinations that want a parcel, with the routes that lead there.
    fn wanting(
        &mut self,
        parcel: &Parcel<'_>,
        routes: &Routes,
        source: &SourceName,
    ) -> Vec<(Arc<Destination>, Option<usize>)> {
        let all_of = |kind| routes.destinations(source, kind).iter().cloned();
        match parcel.change {
            Change::Outcome(_) => {
                let chosen = routes.choose(source, parcel.outcome);
                self.withheld
                    .extend(chosen.left_out.into_iter().map(|left_out| Withheld {
                        destination: left_out.destination,
                        kind: parcel.outcome.kind,
                        why: left_out.why,
                    }));
                let taken = chosen.taken.into_iter();
                taken
                    .map(|taken| (Arc::clone(taken.destination), taken.route))
                    .collect()
            }
            Change::Retract(..) => all_of(parcel.outcome.kind).map(|to| (to, None)).collect(),
            Change::Release(_) => {
                let mut all: Vec<_> = OutcomeKind::ALL.into_iter().flat_map(all_of).collect();
                all.sort_by(|one, other| one.name.cmp(&other.name));
                all.dedup_by(|one, other| one.name == other.name);
                all.into_iter().map(|to| (to, None)).collect()
            }
        }
    }

    fn bring(
        &mut self,
        destination: &Destination,
        parcel: &Parcel<'_>,
        resolution: Resolution,
        (origin, mut routed): (Origin<'_>, Routed),
    ) {
        // What needed no search has nothing to tell.
        if resolution.asked.len() > 1 {
            routed.asked = resolution.asked;
        }
        if !resolution.lacking.is_empty() {
            routed.unresolved = Some(resolution.lacking.join("; "));
        }
        match resolution.target {
            Some(target) => {
                routed.address = Some(target.name);
                routed.matcher = resolution.matcher;
                routed.provisional = target.provisional;
                self.change(destination, parcel, target.address, routed);
            }
            None => {
                let until = later(origin.received_at, destination.correlation.wait);
                if resolution.may_change && origin.now < until {
                    routed.waits_until = Some(until);
                    self.wake_at = Some(self.wake_at.map_or(until, |wake| wake.min(until)));
                }
                self.routed.push(routed);
            }
        }
    }

    /// Brings a parcel to a lane that was named.
    fn bring_to(&mut self, lane: &LaneAddress, parcel: &Parcel<'_>, routes: &Routes) {
        if let Some(destination) = routes.destination(&lane.destination) {
            let routed = Routed::to(destination.name.clone(), parcel);
            self.change(destination, parcel, lane.target.clone(), routed);
        } else {
            let why = format!("no route leads to a destination `{}`", lane.destination);
            self.routed.push(Routed {
                unresolved: Some(why),
                ..Routed::to(lane.destination.clone(), parcel)
            });
        }
    }

    fn change(
        &mut self,
        destination: &Destination,
        parcel: &Parcel<'_>,
        target: String,
        mut routed: Routed,
    ) {
        routed.target = Some(target.clone());
        routed.not_before = not_before(destination, parcel);
        let change = LaneChange {
            destination: destination.name.clone(),
            target,
            mode: destination.mode,
            precedence: destination.precedence,
            can_clear: destination.outbound.can_clear(),
            counts_progress: destination.outbound.counts_progress(),
            max_age: destination.options.retry.max_age,
            change: parcel.change.clone(),
            told: Subject::default(),
            not_before: routed.not_before,
            origin: 0,
        };
        // Who gets each revision is told once that something was taken back, whatever it was about.
        let told = match destination.mode {
            Mode::Each => 1,
            Mode::Newest => parcel.about.len(),
        };
        let abouts = parcel.about.iter().take(told);
        self.changes.extend(abouts.map(|origin| LaneChange {
            origin: *origin,
            ..change.clone()
        }));
        self.routed.push(routed);
    }

    /// Why some destinations have no address for it, in words; empty when all have one or wait.
    pub fn unresolved(&self) -> String {
        self.told(|routed| routed.target.is_none() && routed.waits_until.is_none())
    }

    /// What some destinations wait for, in words; empty when none does.
    pub fn waiting(&self) -> String {
        self.told(|routed| routed.waits_until.is_some())
    }

    fn told(&self, which: impl Fn(&Routed) -> bool) -> String {
        let reasons = self.routed.iter().filter(|routed| which(routed));
        let told = reasons.map(|routed| {
            let why = routed.unresolved.as_deref().unwrap_or_default();
            let until = routed.waits_until;
            let until = until.map_or_else(String::new, |until| format!(" (until {until:.0})"));
            format!("{}: {why}{until}", routed.destination)
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

impl Routed {
    fn to(destination: DestinationName, parcel: &Parcel<'_>) -> Self {
        let release = matches!(parcel.change, Change::Release(_));
        Self {
            destination,
            kind: (!release).then_some(parcel.outcome.kind),
            outcome: match parcel.change {
                Change::Outcome(ordinal) => Some(ordinal),
                Change::Retract(..) | Change::Release(_) => None,
            },
            retract: !matches!(parcel.change, Change::Outcome(_)),
            up_to: match parcel.change {
                Change::Outcome(_) => None,
                Change::Retract(_, up_to) | Change::Release(up_to) => Some(up_to),
            },
            route: None,
            address: None,
            matcher: None,
            target: None,
            provisional: false,
            asked: Vec::new(),
            unresolved: None,
            waits_until: None,
            not_before: None,
        }
    }
}

/// When a parcel may be delivered at the earliest: at the time that the connector reads from the outcome, and a
/// guess not before the destination takes it for final.
fn not_before(destination: &Destination, parcel: &Parcel<'_>) -> Option<Timestamp> {
    if !matches!(parcel.change, Change::Outcome(_)) {
        return None;
    }
    let held_back = match destination.deliver {
        Deliver::Final(after) if parcel.outcome.basis == Basis::Inferred => {
            Some(later(parcel.arose_at, after))
        }
        Deliver::Final(_) | Deliver::Current => None,
    };
    destination
        .outbound
        .not_before(parcel.outcome)
        .max(held_back)
}

/// Adds to `subject` what is known where nothing stands there.
fn fill(subject: &mut Subject, known: &Subject) {
    let text = |there: &mut Option<String>, known: &Option<String>| {
        if there.is_none() {
            there.clone_from(known);
        }
    };
    if subject.phone.is_none() {
        subject.phone.clone_from(&known.phone);
    }
    text(&mut subject.call_id, &known.call_id);
    text(&mut subject.email, &known.email);
    text(&mut subject.booking_id, &known.booking_id);
    text(&mut subject.deal_id, &known.deal_id);
    text(&mut subject.contact_id, &known.contact_id);
    text(&mut subject.agent_id, &known.agent_id);
}

/// The outcome that a retraction takes back, as far as addressing needs it.
fn stand_in(retraction: &Retraction, origin: Origin<'_>) -> Outcome {
    Outcome {
        kind: retraction.kind,
        label: None,
        value: None,
        notes: None,
        metadata: Map::new(),
        subject: retraction.subject.clone(),
        occurred_at: retraction.occurred_at,
        basis: Basis::Reported,
        source: origin.ids_of.clone(),
        event: origin.event,
        rule: retraction.rule.clone(),
    }
}

/// Ties an outcome to what it is about: its deal or its booking; 0 when it names neither.
fn about(source: &SourceName, kind: OutcomeKind, subject: &Subject) -> u64 {
    let (booking, deal) = (subject.booking_id.as_ref(), subject.deal_id.as_ref());
    let id = match is_of_deal(kind) {
        true => deal.or(booking),
        false => booking.or(deal),
    };
    id.map_or(0, |id| tie(source, id))
}

/// What a retraction may take back: outcomes of its deal and of its booking. An outcome may have named both where this
/// names but one.
fn abouts(source: &SourceName, retraction: &Retraction, view: &mut View<'_>) -> Result<Vec<u64>> {
    let booking = retraction.subject.booking_id.as_deref();
    let mut deal = retraction.subject.deal_id.clone();
    if let (None, Some(booking), true) = (&deal, booking, is_of_deal(retraction.kind)) {
        let key = places::appointment(source.as_str(), booking);
        let known = view.record::<Appointment>(key)?;
        deal = known.and_then(|appointment| appointment.known.deal_id.get().cloned());
    }
    let mut ids = [booking, deal.as_deref()];
    if is_of_deal(retraction.kind) {
        ids.reverse();
    }
    let mut ties: Vec<u64> = ids
        .into_iter()
        .flatten()
        .map(|id| tie(source, id))
        .collect();
    if ties.is_empty() {
        ties.push(0);
    }
    Ok(ties)
}

/// Whether such outcomes are a deal's before they are an appointment's.
fn is_of_deal(kind: OutcomeKind) -> bool {
    match kind {
        OutcomeKind::Closed | OutcomeKind::Lost | OutcomeKind::FollowUp => true,
        OutcomeKind::Shown | OutcomeKind::NoShow => false,
    }
}

fn tie(source: &SourceName, id: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(source.as_str());
    hash.update([0]);
    hash.update(id);
    let digest = hash.finalize();
    let head = digest.first_chunk::<8>().expect("SHA-256 gives 32 bytes");
    // 0 means "unknown", so a known origin must not be 0.
    u64::from_be_bytes(*head).max(1)
}
