//! What is allowed but hardly meant: rules that can never matter, rows that say the same twice.

use super::collector::Collector;
use super::condition::{Conditions, Row};
use super::kind::Gives;
use super::rule::Rule;
use super::ruleset::Ruleset;

/// Notes warnings about the rules of a file.
pub(super) fn lint(rules: &Ruleset, cx: &mut Collector) {
    for (n, rule) in rules.rules.iter().enumerate() {
        cx.within(Some(format!("rule \"{}\"", rule.id)));
        let rows: Vec<String> = rule.when.rows.iter().map(render).collect();
        for (at, row) in rows.iter().enumerate() {
            if rows[..at].contains(row) {
                cx.warning(
                    rule.span.clone(),
                    format!("the same condition twice: {row}"),
                    None,
                );
            }
        }
        let above = rules.rules[..n].iter().find(|above| shadows(above, rule));
        if let Some(above) = above {
            let why = if is_open(above) {
                "always matches"
            } else {
                "has the same conditions"
            };
            let message = format!(
                "this rule never matters: rule `{}` above it {why}",
                above.id
            );
            let help = "the first rule that matches decides; put the more special one first";
            cx.warning(rule.span.clone(), message, Some(help.to_owned()));
        }
    }
    cx.within(None);
}

/// Whether `above` decides every event that `below` could match. A computed kind may be unknown for
/// an event; then the rules below it are asked.
fn shadows(above: &Rule, below: &Rule) -> bool {
    let stated = match &above.gives {
        Gives::Ignore(_) => true,
        gives => gives.template().is_none(),
    };
    let same = || {
        let mut a = texts(&above.when);
        let mut b = texts(&below.when);
        a.sort();
        b.sort();
        let condition = |rule: &Rule| rule.condition.as_ref().map(|c| c.as_str().to_owned());
        a == b && condition(above) == condition(below)
    };
    stated && above.gives.group() == below.gives.group() && (is_open(above) || same())
}

/// Whether a rule matches every event.
fn is_open(rule: &Rule) -> bool {
    rule.when.is_empty() && rule.condition.is_none()
}

fn texts(when: &Conditions) -> Vec<String> {
    when.rows.iter().map(render).collect()
}

fn render(row: &Row) -> String {
    match row {
        Row::Test(test) => format!("{} {}", test.field.written, test.written),
        Row::Group(kind, rows) => {
            let rows: Vec<String> = rows.iter().map(render).collect();
            format!("{}({})", kind.as_str(), rows.join(", "))
        }
    }
}
