//! Which calls a number is about.

use serde::{Deserialize, Serialize};

use crate::store::figure::Series;

/// Which call of a caller an outcome counts at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// The call that it was recorded for.
    #[default]
    Recorded,
    /// The caller's first call.
    First,
    /// The caller's last call before the outcome.
    Last,
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
    /// With this value of a key of metadata, as `KEY=VALUE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
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
    /// Whether calls of this series belong to it, metadata aside.
    pub(super) fn takes(&self, series: &Series) -> bool {
        let fits = |wanted: &[String], has: &str| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|one| one == has || (one == "-" && has.is_empty()))
        };
        fits(&self.agents, &series.agent)
            && fits(&self.platforms, &series.platform)
            && fits(&self.directions, &series.direction)
            && fits(&self.sources, &series.source)
            && fits(&self.kinds, &series.kind)
            && fits(&self.labels, &series.label)
            && fits(&self.currencies, &series.currency)
            && fits(&self.bases, &series.basis)
    }

    /// Whether it asks for something of the outcome.
    pub(super) fn is_about_outcomes(&self) -> bool {
        [
            &self.sources,
            &self.kinds,
            &self.labels,
            &self.currencies,
            &self.bases,
        ]
        .into_iter()
        .any(|wanted| !wanted.is_empty())
    }

    /// Key and value of the metadata that it asks for.
    pub(super) fn tag(&self) -> Option<(&str, &str)> {
        self.metadata.as_deref()?.split_once('=')
    }
}

/// Whether a call of this series has an outcome.
pub(super) fn has_outcome(series: &Series) -> bool {
    !series.kind.is_empty() || !series.label.is_empty()
}
