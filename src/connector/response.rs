//! What an answer means: a connector's rules, and what is usual where it has none.

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::outbound::{Roots, Verdict};
use super::reader::Reader;
use crate::mapping::{Conditions, Scope, Template};
use crate::model::VerdictKind;

/// What rules about answers may read.
const ROOTS: [&str; 4] = ["status", "header", "body", "setting"];

/// Longer reasons are cut.
const MAX_REASON: usize = 300;

/// One `[[outbound.response]]`.
pub(super) struct ResponseRule {
    statuses: Vec<Statuses>,
    when: Option<Conditions>,
    verdict: VerdictKind,
    reason: Option<Template>,
    retry_for: Option<SignedDuration>,
    receipt: Vec<(String, Template)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statuses {
    One(u16),
    /// `2xx` is 2.
    Class(u16),
}

impl ResponseRule {
    pub(super) fn read(reader: Reader<'_>) -> Option<Self> {
        let verdicts = [
            ("delivered", VerdictKind::Delivered),
            ("retry", VerdictKind::Retry),
            ("refused", VerdictKind::Refused),
            ("hold", VerdictKind::Hold),
        ];
        if !reader.has("verdict") {
            reader.missing("verdict", "\"retry\"");
        }
        let verdict = reader.choice("verdict", &verdicts);
        let statuses = read_statuses(&reader);
        let when = reader.conditions("when", &ROOTS);
        let when_broken = reader.has("when") && when.is_none();
        let reason = reader.template("reason", &ROOTS);
        let retry_for = reader.duration("retry_for").map(|(length, _)| length);
        let receipt = read_receipt(&reader);
        reader.finish();
        if when_broken {
            return None;
        }
        Some(Self {
            statuses: statuses?,
            when,
            verdict: verdict?,
            reason,
            retry_for,
            receipt: receipt?,
        })
    }

    pub(super) fn holds(&self, status: u16, scope: &Roots<'_>) -> bool {
        let listed = self.statuses.is_empty()
            || self.statuses.iter().any(|statuses| match statuses {
                Statuses::One(one) => *one == status,
                Statuses::Class(class) => *class == status / 100,
            });
        listed && self.when.as_ref().is_none_or(|when| when.hold(scope))
    }

    pub(super) fn verdict(
        &self,
        status: u16,
        scope: &Roots<'_>,
        lasted: SignedDuration,
    ) -> Verdict {
        let reason = self.reason.as_ref().and_then(|reason| reason.text(scope));
        let mut verdict = Verdict {
            kind: self.verdict,
            reason: cut(reason.unwrap_or_else(|| described(status, scope))),
            receipt: self
                .receipt
                .iter()
                .filter_map(|(key, template)| Some((key.clone(), template.value(scope)?)))
                .collect(),
            retry_after: None,
        };
        if let Some(limit) = self.retry_for
            && verdict.kind == VerdictKind::Retry
            && lasted >= limit
        {
            verdict.kind = VerdictKind::Refused;
            verdict.reason = cut(format!("{} (for {limit:#})", verdict.reason));
        }
        verdict
    }

    /// What an answer means that no rule knows.
    pub(super) fn usual(status: u16, scope: &Roots<'_>) -> Verdict {
        Verdict {
            kind: match status {
                200..=299 => VerdictKind::Delivered,
                408 | 429 | 500..=599 => VerdictKind::Retry,
                401 | 403 => VerdictKind::Hold,
                _ => VerdictKind::Refused,
            },
            reason: cut(described(status, scope)),
            receipt: Map::new(),
            retry_after: None,
        }
    }
}

/// The status, and what the destination says itself where it says it in a usual place.
fn described(status: u16, scope: &Roots<'_>) -> String {
    let usual_places = ["/error/message", "/message", "/error", "/detail"];
    let said = scope.root("body").and_then(|body| {
        let mut found = usual_places.iter().filter_map(|place| body.pointer(place));
        found.find_map(Value::as_str)
    });
    match said {
        Some(said) if status >= 300 => format!("answered {status}: {said}"),
        _ => format!("answered {status}"),
    }
}

fn cut(reason: String) -> String {
    match reason.char_indices().nth(MAX_REASON) {
        Some((at, _)) => format!("{}…", &reason[..at]),
        None => reason,
    }
}

fn read_statuses(reader: &Reader<'_>) -> Option<Vec<Statuses>> {
    let Some((value, span)) = reader.json("status") else {
        return Some(Vec::new());
    };
    let items = match value {
        Value::Array(items) => items,
        one => vec![one],
    };
    let parse = |item: &Value| match item {
        Value::Number(number) => {
            let status = number.as_u64().and_then(|n| u16::try_from(n).ok());
            status.filter(|n| (100..600).contains(n)).map(Statuses::One)
        }
        Value::String(text) => {
            let class = text.strip_suffix("xx")?.parse().ok();
            class.filter(|n| (1..6).contains(n)).map(Statuses::Class)
        }
        _ => None,
    };
    let statuses: Option<Vec<_>> = items.iter().map(parse).collect();
    if statuses.is_none() {
        reader.log.error_with_help(
            span,
            "this is no status",
            "write numbers such as `404`, or `\"5xx\"` for a whole class",
        );
    }
    statuses
}

fn read_receipt(reader: &Reader<'_>) -> Option<Vec<(String, Template)>> {
    let Some(receipt) = reader.child("receipt") else {
        return Some(Vec::new());
    };
    let entries = receipt.entries().into_iter();
    entries
        .map(|(key, value)| {
            let Some(text) = value.get_ref().as_str() else {
                receipt.log.error(value.span(), "has to be text");
                return None;
            };
            let template = receipt.parse_template(text, value.span(), &ROOTS)?;
            Some((key.value, template))
        })
        .collect()
}
