//! Which calls a number is about.

use serde::{Deserialize, Serialize};

use crate::store::figure::Series;
use crate::store::standing::{BOOKED, CLOSED, SHOWN};

/// Which call of a caller an outcome counts at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// The call that it was recorded for.
    #[default]
    Recorded,
    /// The caller's first call.
    First,
    /// The caller's last call before the outcome. One that is dated before the call it was recorded for counts there: many
    /// tools tell the day of an outcome only, which begins before its calls.
    Last,
}

impl Attribution {
    /// The word for it in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

impl std::str::FromStr for Attribution {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "recorded" => Ok(Self::Recorded),
            "first" => Ok(Self::First),
            "last" => Ok(Self::Last),
            _ => Err(()),
        }
    }
}

/// Calls that have any of the values of each list; an empty list asks for nothing. `-` stands for "not known".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// Of these agents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// Of these platforms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// In these directions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directions: Vec<String>,
    /// With an outcome from these sources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// With an outcome of these kinds: shown, no_show, closed, lost, follow_up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// With an outcome of these labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// With a value in these currencies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub currencies: Vec<String>,
    /// With an outcome that is known like this: inferred, reported, manual.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<String>,
    /// With this value of a key of metadata, as `KEY=VALUE`; `KEY=`: without the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// With an outcome, or without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_outcome: Option<bool>,
    /// That came so far in the funnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<Reached>,
    /// Whose start and outcome are known, in this order: those whose time to the outcome is known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timed: bool,
    /// To which all of these apply as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub and: Vec<Condition>,
}

/// A stage of the funnel after the call itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// An appointment was made.
    Booked,
    /// It was attended.
    Shown,
    /// It was won.
    Closed,
}

impl Reached {
    /// The stages in their order.
    pub const ALL: [Self; 3] = [Self::Booked, Self::Shown, Self::Closed];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Shown => "shown",
            Self::Closed => "closed",
        }
    }

    fn bit(self) -> i64 {
        match self {
            Self::Booked => BOOKED,
            Self::Shown => SHOWN,
            Self::Closed => CLOSED,
        }
    }
}

/// What to ask for to have the calls that a number counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Which calls.
    #[serde(rename = "where")]
    pub condition: Condition,
    /// Where their outcomes count.
    pub attribution: Attribution,
}

/// A named set of calls, to be compared with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Which calls. All of them when it asks for nothing.
    #[serde(default, rename = "where")]
    pub condition: Condition,
}

impl Condition {
    /// The calls that belong to both.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let nothing = Self::default();
        if *other == nothing {
            return self.clone();
        }
        if *self == nothing {
            return other.clone();
        }
        let mut both = self.clone();
        both.and.push(other.clone());
        both
    }

    /// Whether calls of this series belong to it, as far as a series tells: see [`Self::is_beyond_series`].
    pub(super) fn takes(&self, series: &Series) -> bool {
        let fits = |wanted: &[String], has: &str| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|one| one == has || (one == UNKNOWN && has.is_empty()))
        };
        fits(&self.agents, &series.agent)
            && fits(&self.platforms, &series.platform)
            && fits(&self.directions, &series.direction)
            && fits(&self.sources, &series.source)
            && fits(&self.kinds, &series.kind)
            && fits(&self.labels, &series.label)
            && fits(&self.currencies, &series.currency)
            && fits(&self.bases, &series.basis)
            && self
                .has_outcome
                .is_none_or(|wanted| wanted == has_outcome(series))
            && self
                .reached
                .is_none_or(|stage| series.reached & stage.bit() != 0)
            && (!self.timed || has_outcome(series))
            && self.and.iter().all(|other| other.takes(series))
    }

    /// Whether it asks for something of the outcome.
    pub fn is_about_outcomes(&self) -> bool {
        let lists = [
            &self.sources,
            &self.kinds,
            &self.labels,
            &self.currencies,
            &self.bases,
        ];
        lists.into_iter().any(|wanted| !wanted.is_empty())
            || self.has_outcome == Some(true)
            || self.timed
            || self.and.iter().any(Self::is_about_outcomes)
    }

    /// Every `KEY=VALUE` of metadata that it asks for.
    pub fn metadata(&self) -> Vec<&str> {
        let nested = self.and.iter().flat_map(Self::metadata);
        self.metadata.as_deref().into_iter().chain(nested).collect()
    }

    /// Whether it asks for a time from call to outcome.
    pub fn is_timed(&self) -> bool {
        self.timed || self.and.iter().any(Self::is_timed)
    }

    /// Whether it asks for something that is not part of a series, so that only the rows tell.
    pub(super) fn is_beyond_series(&self) -> bool {
        self.is_timed() || !self.metadata().is_empty()
    }
}

impl Behind {
    /// The calls of `scope` that belong to `condition` as well. What is not about outcomes is counted at the calls
    /// themselves.
    pub fn of(scope: &Condition, condition: &Condition, attribution: Attribution) -> Self {
        Self {
            condition: scope.with(condition),
            attribution: if condition.is_about_outcomes() {
                attribution
            } else {
                Attribution::Recorded
            },
        }
    }
}

/// The word for "not known" in a list.
pub(super) const UNKNOWN: &str = "-";

/// A value as lists name it. Whatever is called `-` itself counts as not known, as it does when it is asked for.
pub(super) fn named(value: &str) -> &str {
    if value == UNKNOWN { "" } else { value }
}

/// Whether a call of this series has an outcome.
pub(super) fn has_outcome(series: &Series) -> bool {
    !series.kind.is_empty() || !series.label.is_empty()
}
