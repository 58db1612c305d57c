//! Which call, and so which address, an outcome belongs to at a destination.
//!
//! A destination's *matchers* are asked in its order. Each may add to what is known of the subject; after each
//! the addresses of the connector are tried, best first. What is read is watched, so that an outcome that comes
//! too early is addressed when its call, booking or contact appears, and a better address is taken then.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::connector::{Outbound, Target};
use crate::model::{Correlation, Matcher, Outcome, SourceName, Subject, Touch};
use crate::queue::{Order, RegistryKey, Result};
use crate::registry::{Appointment, Call, Known, Link, LinkKind, View, earlier, later, places};

/// The most calls of one phone or address that are looked at for one of a source that counts.
const MOST_CALLS: usize = 64;
/// The most appointments of one address, before and after, that are looked at for one that knows a phone or a call.
const MOST_APPOINTMENTS: usize = 16;

/// Where an outcome goes at one destination, and how that was found.
#[derive(Debug, Default)]
pub(super) struct Resolution {
    /// The address, if there is one.
    pub target: Option<Target>,
    /// The matcher after which it could be made.
    pub matcher: Option<Matcher>,
    /// What each matcher found or lacked, in the order in which they were asked.
    pub asked: Vec<Asked>,
    /// What each kind of address lacks, when there is none.
    pub lacking: Vec<String>,
    /// What is known of the subject now: what its booking, deal and contact tell.
    pub subject: Subject,
    /// The call that was found by phone or e-mail.
    pub call_id: Option<String>,
    /// Whether anything was read that may change.
    pub may_change: bool,
}

/// What a matcher found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Asked {
    /// The matcher.
    pub matcher: Matcher,
    /// What it found, or why not.
    pub found: String,
}

/// Finds the addresses of one outcome.
pub(super) struct Finder<'v, 'r> {
    view: &'v mut View<'r>,
    source: &'v str,
    outcome: &'v Outcome,
}

impl<'v, 'r> Finder<'v, 'r> {
    /// A finder for `outcome`, whose ids are those of `source`.
    pub(super) fn new(view: &'v mut View<'r>, source: &'v str, outcome: &'v Outcome) -> Self {
        Self {
            view,
            source,
            outcome,
        }
    }

    /// Where the outcome goes at a destination.
    ///
    /// # Errors
    /// When storage fails.
    pub(super) fn resolve(
        &mut self,
        outbound: &Outbound,
        options: &Correlation,
    ) -> Result<Resolution> {
        let mut trail = Trail::new(self.outcome, options);
        let mut made = None;
        let mut lacking = Vec::new();
        for kind in 0..outbound.addresses() {
            let mut why = None;
            for asked in 0..options.matchers.len() {
                if asked == trail.steps.len() {
                    self.ask(options.matchers[asked], &mut trail)?;
                }
                let Some(subject) = &trail.steps[asked] else {
                    continue;
                };
                let probe = Outcome {
                    subject: subject.clone(),
                    ..self.outcome.clone()
                };
                match outbound.address(kind, &probe) {
                    Ok(target) => {
                        made = Some((target, options.matchers[asked]));
                        break;
                    }
                    Err(lacks) => why = Some(lacks),
                }
            }
            if made.is_some() {
                break;
            }
            lacking.extend(why);
        }
        let (target, matcher) = made.unzip();
        Ok(Resolution {
            may_change: trail.read,
            target,
            matcher,
            lacking,
            asked: trail.asked,
            subject: trail.told,
            call_id: trail.call_id,
        })
    }

    fn ask(&mut self, matcher: Matcher, trail: &mut Trail<'_>) -> Result<()> {
        let before = trail.subject.clone();
        let found = match matcher {
            Matcher::Field => {
                trail.subject.call_id = trail.subject.call_id.take().or(self
                    .outcome
                    .subject
                    .call_id
                    .clone());
                String::from("what the event itself names")
            }
            Matcher::Booking => self.booking(trail)?,
            Matcher::Deal => self.link(LinkKind::Deal, trail)?,
            Matcher::Contact => self.link(LinkKind::Contact, trail)?,
            Matcher::Phone => self.phone(trail)?,
            Matcher::Email => self.email(trail)?,
        };
        let first = !trail.steps.iter().any(Option::is_some);
        let news = first || trail.subject != before;
        trail.steps.push(news.then(|| trail.subject.clone()));
        trail.asked.push(Asked { matcher, found });
        Ok(())
    }

    fn booking(&mut self, trail: &mut Trail<'_>) -> Result<String> {
        let Some(id) = trail.subject.booking_id.clone() else {
            return Ok("no booking is named".to_owned());
        };
        trail.read = true;
        let Some(appointment) = self.view.appointment(self.source, &id)? else {
            return Ok(format!("booking `{id}` is not known yet"));
        };
        trail.anchored_by(appointment.first_seen.get());
        let news = trail.learn(|subject| appointment.known.fill(subject));
        Ok(told("booking", &id, &news))
    }

    fn link(&mut self, kind: LinkKind, trail: &mut Trail<'_>) -> Result<String> {
        let id = match kind {
            LinkKind::Deal => trail.subject.deal_id.clone(),
            LinkKind::Contact => trail.subject.contact_id.clone(),
        };
        let word = kind.as_str();
        let Some(id) = id else {
            return Ok(format!("no {word} is named"));
        };
        trail.read = true;
        let key = places::link(kind, self.source, &id);
        let Some(link) = self.view.record::<Link>(key)? else {
            return Ok(format!("{word} `{id}` is not known yet"));
        };
        trail.anchored_by(link.first_seen.get());
        if kind == LinkKind::Deal {
            trail.decided = link.decided.get();
        }
        let news = trail.learn(|subject| link.known.fill(subject));
        Ok(told(word, &id, &news))
    }

    fn phone(&mut self, trail: &mut Trail<'_>) -> Result<String> {
        if trail.subject.call_id.is_some() {
            return Ok("the call is known".to_owned());
        }
        let Some(phone) = trail.subject.phone.clone() else {
            return Ok("no phone is known".to_owned());
        };
        let found = self.call(places::calls_of_phone(&phone), phone.as_str(), trail)?;
        if trail.subject.call_id.is_some() || trail.is_ambiguous {
            return Ok(found);
        }
        // A booking may have named the call that led to it, though nobody told of the call itself.
        let key = places::appointments_of_phone(&phone);
        let agent = trail.subject.agent_id.clone();
        let is_of = |held_by: &String| agent.as_ref().is_none_or(|agent| agent == held_by);
        let knows_call =
            |known: &Known| known.call_id.get().is_some() && known.agent_id.get().is_none_or(is_of);
        match self.appointment_of(key, trail, knows_call)?.known {
            Some((start, appointment)) => {
                let told = trail.learn_appointment(phone.as_str(), start, &appointment);
                Ok(format!("{found}; {told}"))
            }
            None => Ok(found),
        }
    }

    fn email(&mut self, trail: &mut Trail<'_>) -> Result<String> {
        if trail.subject.call_id.is_some() {
            return Ok("the call is known".to_owned());
        }
        let Some(email) = trail.subject.email.clone() else {
            return Ok("no e-mail is known".to_owned());
        };
        let found = self.call(places::calls_of_email(&email), &email, trail)?;
        if trail.subject.call_id.is_some() || trail.subject.phone.is_some() {
            return Ok(found);
        }
        let key = places::appointments_of_email(&email);
        let knows = |known: &Known| known.phone.get().is_some() || known.call_id.get().is_some();
        let Sought { known, nearest } = self.appointment_of(key, trail, knows)?;
        let Some((start, appointment)) = known.or(nearest) else {
            return Ok(found);
        };
        let told = trail.learn_appointment(&email, start, &appointment);
        if trail.options.matchers.contains(&Matcher::Phone) {
            let by_phone = self.phone(trail)?;
            return Ok(format!("{found}; {told}; {by_phone}"));
        }
        Ok(format!("{found}; {told}"))
    }

    /// Looks through the appointments under a phone or address, the last one before and then back, else the next one after
    /// and then on, for the first that knows what is needed: other calendars may have taken bookings of the same person
    /// without it.
    fn appointment_of(
        &mut self,
        key: RegistryKey,
        trail: &Trail<'_>,
        needed: impl Fn(&Known) -> bool,
    ) -> Result<Sought> {
        let (anchor, look_back) = (trail.anchor, trail.options.look_back);
        let before = ((earlier(anchor, look_back), anchor), Order::Newest);
        let after = ((anchor, later(anchor, look_back)), Order::Oldest);
        let mut sought = Sought::default();
        for (window, order) in [before, after] {
            for (start, key) in self.view.find(key, window, order, MOST_APPOINTMENTS)? {
                let Some(appointment) = self.view.record::<Appointment>(key)? else {
                    continue;
                };
                if needed(&appointment.known) {
                    sought.known = Some((start, appointment));
                    return Ok(sought);
                }
                sought.nearest.get_or_insert((start, appointment));
            }
        }
        Ok(sought)
    }

    /// Looks for the call under a phone or address, as the destination's `touch` says. When nobody called before the
    /// deal was first spoken of, it is the first call from then until the deal was decided. When the agent is known, calls
    /// that another one held are not meant.
    fn call(&mut self, key: RegistryKey, who: &str, trail: &mut Trail<'_>) -> Result<String> {
        trail.read = true;
        let look_back = trail.options.look_back;
        let before = (earlier(trail.anchor, look_back), trail.anchor);
        let agent = trail.subject.agent_id.clone();
        let of_agent = agent
            .as_deref()
            .map_or_else(String::new, |agent| format!(" of agent `{agent}`"));
        let (mut touch, mut after) = (trail.options.touch, String::new());
        let mut touched = self.touched(key, before, agent.as_deref(), (touch, trail.options))?;
        let decided = trail.decided.filter(|decided| *decided > trail.anchor);
        if let (Touched::Nothing, Some(decided)) = (&touched, decided) {
            if touch == Touch::Last {
                touch = Touch::First;
            }
            let window = (trail.anchor, decided);
            touched = self.touched(key, window, agent.as_deref(), (touch, trail.options))?;
            after = format!(", nor from then until the deal was decided at {decided}");
        }
        match touched {
            Touched::Nothing => {}
            Touched::Several(count) => {
                trail.is_ambiguous = true;
                return Ok(format!(
                    "ambiguous: {count} calls{of_agent} with {who}, and `touch` is \"only\""
                ));
            }
            Touched::Call(at, call) => {
                let since = match after.is_empty() {
                    true => "",
                    false => " after the deal was first spoken of",
                };
                let found = format!(
                    "call `{}` of source `{}` at {at}, the {} one with {who}{since}",
                    call.call_id,
                    call.source,
                    touch.as_str()
                );
                trail.call_id = Some(call.call_id.clone());
                trail.subject.call_id = Some(call.call_id.clone());
                call.known.fill(&mut trail.subject);
                return Ok(found);
            }
        }
        let days = look_back.as_hours() / 24;
        Ok(format!(
            "no call{of_agent} with {who} in the {days} days before {}{after}",
            trail.anchor
        ))
    }

    fn touched(
        &mut self,
        key: RegistryKey,
        window: (Timestamp, Timestamp),
        agent: Option<&str>,
        (touch, options): (Touch, &Correlation),
    ) -> Result<Touched> {
        let order = match touch {
            Touch::First => Order::Oldest,
            Touch::Last | Touch::Only => Order::Newest,
        };
        let mut calls: Vec<(Timestamp, Call)> = Vec::new();
        for (at, key) in self.view.find(key, window, order, MOST_CALLS)? {
            let Some(call) = self.view.record::<Call>(key)? else {
                continue;
            };
            // An imported call that is no source's may be anybody's.
            let counts = |sources: &BTreeSet<SourceName>| {
                sources.contains(call.source.as_str()) || call.source == SourceName::ADMIN
            };
            if !options.calls.as_ref().is_none_or(counts) {
                continue;
            }
            let held_by = call.known.agent_id.get();
            if agent
                .zip(held_by)
                .is_some_and(|(agent, by)| agent != by.as_str())
            {
                continue;
            }
            calls.push((at, call));
            if touch != Touch::Only {
                break;
            }
        }
        Ok(match (calls.pop(), calls.len()) {
            (None, _) => Touched::Nothing,
            (Some((at, call)), 0) => Touched::Call(at, Box::new(call)),
            (Some(_), others) => Touched::Several(others + 1),
        })
    }
}

/// Appointments under a phone or address, each with its start.
#[derive(Default)]
struct Sought {
    /// The first that knows what is needed.
    known: Option<(Timestamp, Appointment)>,
    /// The first that does not.
    nearest: Option<(Timestamp, Appointment)>,
}

enum Touched {
    Nothing,
    Several(usize),
    Call(Timestamp, Box<Call>),
}

/// What is known of the subject, matcher by matcher.
struct Trail<'a> {
    options: &'a Correlation,
    /// What is known so far.
    subject: Subject,
    /// What the event, its booking, deal and contact tell; not what a call found by touch tells.
    told: Subject,
    /// The subject after each matcher; nothing where a matcher told nothing new.
    steps: Vec<Option<Subject>>,
    asked: Vec<Asked>,
    /// Calls are looked for before this moment: when the deal or booking was first spoken of, so that all that
    /// is said of it later, also that it is taken back, finds the same call.
    anchor: Timestamp,
    /// When the deal was first won or lost. A call between its first word and then is found by all that is said of it.
    decided: Option<Timestamp>,
    call_id: Option<String>,
    /// Several calls could be meant, and the destination wants none then.
    is_ambiguous: bool,
    read: bool,
}

impl<'a> Trail<'a> {
    fn new(outcome: &Outcome, options: &'a Correlation) -> Self {
        let mut subject = outcome.subject.clone();
        // Only the matcher `field` says that the event's own call id counts.
        subject.call_id = None;
        Self {
            options,
            subject,
            told: outcome.subject.clone(),
            steps: Vec::new(),
            asked: Vec::new(),
            anchor: outcome.occurred_at,
            decided: None,
            call_id: None,
            is_ambiguous: false,
            read: false,
        }
    }

    fn anchored_by(&mut self, first_seen: Option<Timestamp>) {
        self.anchor = first_seen.map_or(self.anchor, |seen| seen.min(self.anchor));
    }

    /// Adds what a record knows, and names what was news.
    fn learn(&mut self, fill: impl Fn(&mut Subject)) -> Vec<&'static str> {
        let before = self.subject.clone();
        fill(&mut self.subject);
        fill(&mut self.told);
        news(&before, &self.subject)
    }

    fn learn_appointment(
        &mut self,
        who: &str,
        start: Timestamp,
        appointment: &Appointment,
    ) -> String {
        let news = self.learn(|subject| appointment.known.fill(subject));
        format!(
            "the appointment with {who} at {start} tells {}",
            listed(&news)
        )
    }
}

fn news(before: &Subject, after: &Subject) -> Vec<&'static str> {
    let parts = [
        ("call id", before.call_id != after.call_id),
        ("phone", before.phone != after.phone),
        ("e-mail", before.email != after.email),
        ("booking", before.booking_id != after.booking_id),
        ("deal", before.deal_id != after.deal_id),
        ("contact", before.contact_id != after.contact_id),
        ("agent", before.agent_id != after.agent_id),
    ];
    let new = parts.into_iter().filter(|(_, changed)| *changed);
    new.map(|(name, _)| name).collect()
}

fn told(what: &str, id: &str, news: &[&str]) -> String {
    format!("{what} `{id}` tells {}", listed(news))
}

fn listed(news: &[&str]) -> String {
    match news {
        [] => "nothing new".to_owned(),
        news => format!("the {}", news.join(", ")),
    }
}
