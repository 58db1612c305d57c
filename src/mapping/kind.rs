//! What a rule gives: the kind of fact, stated or computed from the event.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::collector::Collector;
use super::notes::Notes;
use super::scope::Scope;
use super::table::Tables;
use super::template::{Template, Vocabulary};
use crate::diagnostic::did_you_mean;
use crate::model::{AppointmentChange, CallChange, OutcomeKind};

/// The keys of a rule that say what it gives. Exactly one of them stands in each rule.
pub(super) const KEYS: [&str; 5] = ["outcome", "retract", "appointment", "call", "ignore"];

/// What a rule gives.
#[derive(Debug, Clone)]
pub(super) enum Gives {
    Outcome(Kind<OutcomeKind>),
    Retract(Kind<TakenBack>),
    Appointment(Kind<AppointmentChange>),
    Call(Kind<CallChange>),
    /// Nothing, for a reason.
    Ignore(Template),
}

/// Of each of these an event gives one fact at most: the first rule that matches decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Outcomes, retractions, and events that do not matter.
    Outcome,
    Appointment,
    Call,
}

/// What a retraction takes back.
#[derive(Debug, Clone, Copy)]
pub(super) enum TakenBack {
    /// Outcomes of one kind.
    Kind(OutcomeKind),
    /// Whatever was decided. A deal that is open again is neither won nor lost, and which of the two it was last
    /// says nothing of what it was before.
    Decided,
}

impl TakenBack {
    /// The kinds that no longer hold.
    pub(super) fn kinds(self) -> Vec<OutcomeKind> {
        match self {
            Self::Kind(kind) => vec![kind],
            Self::Decided => vec![OutcomeKind::Closed, OutcomeKind::Lost],
        }
    }
}

/// A kind that is stated in the rule or looked up in a table.
#[derive(Debug, Clone)]
pub(super) enum Kind<T> {
    Stated(T),
    Computed { template: Template, table: Box<str> },
}

/// The known words of a kind.
pub(super) trait Words: Copy + 'static {
    /// What such a word is called, e.g. `an outcome`.
    const CALLED: &'static str;
    /// All words.
    const ALL: &'static [(&'static str, Self)];
    /// Older words that mean the same; rules that were written with them go on holding.
    const OLD: &'static [(&'static str, Self)] = &[];

    /// The kind called `word`.
    fn from_word(word: &str) -> Option<Self> {
        let mut rows = Self::ALL.iter().chain(Self::OLD);
        let row = rows.find(|(known, _)| *known == word);
        row.map(|(_, kind)| *kind)
    }
}

impl Words for OutcomeKind {
    const CALLED: &'static str = "an outcome";
    const ALL: &'static [(&'static str, Self)] = &[
        ("shown", Self::Shown),
        ("no_show", Self::NoShow),
        ("closed", Self::Closed),
        ("lost", Self::Lost),
        ("follow_up", Self::FollowUp),
    ];
}

impl Words for TakenBack {
    const CALLED: &'static str = "an outcome";
    const ALL: &'static [(&'static str, Self)] = &[
        ("shown", Self::Kind(OutcomeKind::Shown)),
        ("no_show", Self::Kind(OutcomeKind::NoShow)),
        ("closed", Self::Kind(OutcomeKind::Closed)),
        ("lost", Self::Kind(OutcomeKind::Lost)),
        ("follow_up", Self::Kind(OutcomeKind::FollowUp)),
        ("decided", Self::Decided),
    ];
}

impl Words for AppointmentChange {
    const CALLED: &'static str = "an appointment change";
    const ALL: &'static [(&'static str, Self)] = &[
        ("booked", Self::Booked),
        ("rescheduled", Self::Rescheduled),
        ("canceled", Self::Canceled),
        ("ended", Self::Ended),
        ("no_show_marked", Self::NoShowMarked),
        ("no_show_cleared", Self::NoShowCleared),
    ];
    const OLD: &'static [(&'static str, Self)] =
        &[("moved", Self::Rescheduled), ("cancelled", Self::Canceled)];
}

impl Words for CallChange {
    const CALLED: &'static str = "a call change";
    const ALL: &'static [(&'static str, Self)] = &[
        ("started", Self::Started),
        ("ended", Self::Ended),
        ("analyzed", Self::Analyzed),
    ];
}

/// Reads what a rule gives from its one key of [`KEYS`].
pub(super) fn read(
    rule: &DeTable<'_>,
    span: std::ops::Range<usize>,
    vocabulary: Vocabulary<'_>,
    cx: &mut Collector,
) -> Option<Gives> {
    let given: Vec<_> = KEYS
        .iter()
        .filter_map(|key| {
            rule.get_key_value(*key)
                .map(|(at, item)| (*key, at.span(), item))
        })
        .collect();
    let [(key, _, item)] = given.as_slice() else {
        let (span, message) = match given.last() {
            None => (span, "this rule gives nothing"),
            Some((_, at, _)) => (at.clone(), "this rule gives more than one kind of fact"),
        };
        let help = format!("write exactly one of: {}", KEYS.join(", "));
        cx.error(span, message, Some(help));
        return None;
    };
    let text = cx.text(key, item)?;
    let template = match Template::parse_with(text, vocabulary) {
        Ok(template) => template,
        Err(mistake) => {
            cx.text_mistake(item, mistake);
            return None;
        }
    };
    match *key {
        "outcome" => kind(template, text, item, vocabulary.tables, cx).map(Gives::Outcome),
        "retract" => kind(template, text, item, vocabulary.tables, cx).map(Gives::Retract),
        "appointment" => kind(template, text, item, vocabulary.tables, cx).map(Gives::Appointment),
        "call" => kind(template, text, item, vocabulary.tables, cx).map(Gives::Call),
        _ => Some(Gives::Ignore(template)),
    }
}

fn kind<T: Words>(
    template: Template,
    text: &str,
    item: &Spanned<DeValue<'_>>,
    tables: &Tables,
    cx: &mut Collector,
) -> Option<Kind<T>> {
    let words = || T::ALL.iter().map(|(word, _)| *word);
    if template.is_literal() {
        let stated = T::from_word(text).map(Kind::Stated);
        if stated.is_none() {
            let known = format!("known: {}", words().collect::<Vec<_>>().join(", "));
            let help = did_you_mean(text, words()).map_or(known.clone(), |near| {
                format!("did you mean `{near}`? {known}")
            });
            let message = format!("`{text}` is not {}", T::CALLED);
            cx.error(item.span(), message, Some(help));
        }
        return stated;
    }
    let Some(table) = template.only_table().map(Box::from) else {
        cx.error(
            item.span(),
            format!("{} that is computed must come from a table", T::CALLED),
            Some("write \"{event.stage | table: stage}\" and say in [tables.stage] what each stage means".to_owned()),
        );
        return None;
    };
    check_rows::<T>(&table, tables, item, cx);
    Some(Kind::Computed { template, table })
}

/// Every row of a table that gives a kind must be a known word.
fn check_rows<T: Words>(
    name: &str,
    tables: &Tables,
    item: &Spanned<DeValue<'_>>,
    cx: &mut Collector,
) {
    let Some(table) = tables.get(name) else {
        return;
    };
    for (row, word, span) in table.rows() {
        if T::from_word(word).is_none() {
            // A row of the connector's table has no place in this file.
            let span = span.unwrap_or_else(|| item.span());
            cx.error(span, wrong_row::<T>(name, row, word), Some(known::<T>()));
        }
    }
}

fn wrong_row<T: Words>(table: &str, row: &str, word: &str) -> String {
    format!(
        "table `{table}` is used as {}, but its row `{row}` says `{word}`",
        T::CALLED
    )
}

fn known<T: Words>() -> String {
    let words: Vec<_> = T::ALL.iter().map(|(word, _)| *word).collect();
    format!("known: {}", words.join(", "))
}

impl Gives {
    /// Which facts it competes with.
    pub(super) fn group(&self) -> Group {
        match self {
            Self::Outcome(_) | Self::Retract(_) | Self::Ignore(_) => Group::Outcome,
            Self::Appointment(_) => Group::Appointment,
            Self::Call(_) => Group::Call,
        }
    }

    /// The key that it is written by.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Outcome(_) => "outcome",
            Self::Retract(_) => "retract",
            Self::Appointment(_) => "appointment",
            Self::Call(_) => "call",
            Self::Ignore(_) => "ignore",
        }
    }

    /// The template that computes it, if one does.
    pub(super) fn template(&self) -> Option<&Template> {
        match self {
            Self::Outcome(kind) => kind.template(),
            Self::Retract(kind) => kind.template(),
            Self::Appointment(kind) => kind.template(),
            Self::Call(kind) => kind.template(),
            Self::Ignore(template) => Some(template),
        }
    }

    /// Checks the rows of a table that takes the place of the one it was read with.
    pub(super) fn check_replaced_table(&self, tables: &Tables, cx: &mut Collector) {
        match self {
            Self::Outcome(kind) => kind.check_replaced(tables, cx),
            Self::Retract(kind) => kind.check_replaced(tables, cx),
            Self::Appointment(kind) => kind.check_replaced(tables, cx),
            Self::Call(kind) => kind.check_replaced(tables, cx),
            Self::Ignore(_) => {}
        }
    }
}

impl<T: Words> Kind<T> {
    fn template(&self) -> Option<&Template> {
        match self {
            Self::Stated(_) => None,
            Self::Computed { template, .. } => Some(template),
        }
    }

    fn check_replaced(&self, tables: &Tables, cx: &mut Collector) {
        let Self::Computed { table: name, .. } = self else {
            return;
        };
        let Some(table) = tables.get(&**name) else {
            return;
        };
        for (row, word, span) in table.rows() {
            if let (None, Some(span)) = (T::from_word(word), span) {
                cx.error(span, wrong_row::<T>(name, row, word), Some(known::<T>()));
            }
        }
    }

    /// The kind for this event.
    ///
    /// # Errors
    /// Why it cannot be told, in words.
    pub(super) fn get(&self, scope: &dyn Scope) -> Result<T, String> {
        let template = match self {
            Self::Stated(kind) => return Ok(*kind),
            Self::Computed { template, .. } => template,
        };
        let mut notes = Notes::default();
        let word = template
            .evaluate(scope, &mut notes)
            .and_then(|datum| Some(datum.text()?.into_owned()));
        match word {
            Some(word) => {
                T::from_word(&word).ok_or_else(|| format!("`{word}` is not {}", T::CALLED))
            }
            None => Err(notes.why_nothing()),
        }
    }
}
