//! Groups: named sets of calls that are compared. They live in the address, so that forms can add, rename and remove them
//! and nothing has to be saved.

use actix_web::{HttpRequest, HttpResponse, web};
use maud::{Markup, html};

use super::{Answers, Asked, bad};
use crate::http::admin::analytics;
use crate::http::console::address::Address;
use crate::http::console::layout::{self, Visitor, see_other};
use crate::http::console::{chart, format};
use crate::http::error::ApiError;
use crate::http::state::Office;
use crate::store::{Condition, Group, Reached};

/// Where the forms go. It changes nothing but the address.
const PATH: &str = "/console/performance/groups";
/// What the forms say; none of it belongs to the page's own address.
const PREFIX: &str = "group.";
const LONGEST_NAME: usize = 80;
/// Labels and agents to choose from at most.
const MOST_CHOICES: usize = 40;
const KINDS: [&str; 5] = ["shown", "no_show", "closed", "lost", "follow_up"];

pub(super) fn editor(asked: &Asked, answers: &Answers) -> Markup {
    html! {
        section class="card" aria-labelledby="groups" {
            h2 id="groups" { "Compare groups" }
            @if asked.groups.is_empty() {
                p class="hint" { "A group is a named set of calls, such as “Won” or “Spring campaign”. Groups stand in this page's address: keep it as a bookmark or send it on." }
            } @else {
                ul class="groups" {
                    @for (place, group) in asked.groups.iter().enumerate() { li { (one(asked, place, group)) } }
                }
            }
            @if asked.groups.len() < analytics::MOST_GROUPS {
                details open[asked.groups.is_empty() && answers.report.parts.is_empty()] {
                    summary { "Add a group" }
                    (adding(asked, answers))
                }
            }
        }
    }
}

/// A group with the way to rename and to remove it.
fn one(asked: &Asked, place: usize, group: &Group) -> Markup {
    let told = format::condition(&group.condition);
    let told: Vec<String> = told
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let others: Vec<&Group> = asked
        .groups
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != place)
        .map(|(_, group)| group)
        .collect();
    let without = with_groups(asked.address.clone(), &others);
    html! {
        form method="get" action=(PATH) class="inline" {
            (asked.address.kept(&[]))
            input type="hidden" name="group.rename" value=(place);
            span class={ "key c" (place % chart::COLOURS) } {}
            label { span class="unseen" { "Name of group " (place + 1) }
                input name="group.name" value=(group.name) maxlength=(LONGEST_NAME) required;
            }
            button class="plain" { "Rename" }
            a class="button plain" href=(without.link()) aria-label={ "Remove " (group.name) } { "Remove" }
            span class="hint" { @if told.is_empty() { "all calls" } @else { (told.join(", ")) } }
        }
    }
}

fn adding(asked: &Asked, answers: &Answers) -> Markup {
    let labels: Vec<&str> = answers
        .labels
        .iter()
        .map(|line| line.value.as_str())
        .filter(|label| !label.is_empty())
        .take(MOST_CHOICES)
        .collect();
    html! {
        form method="get" action=(PATH) class="adding" {
            (asked.address.kept(&[]))
            label { span { "Name" } input name="group.name" maxlength=(LONGEST_NAME) required autocomplete="off"; }
            fieldset {
                legend { "Outcome, any of" }
                @for kind in KINDS { label class="check" { input type="checkbox" name="group.kind" value=(kind); (kind) } }
            }
            @if !labels.is_empty() {
                fieldset {
                    legend { "Label, any of" }
                    @for label in labels { label class="check" { input type="checkbox" name="group.label" value=(label); (label) } }
                }
            }
            div class="fields" {
                label { span { "Agent" }
                    select name="group.agent" {
                        option value="" { "any" }
                        @for line in answers.agents.iter().take(MOST_CHOICES) {
                            option value=(if line.value.is_empty() { "-" } else { &line.value }) { (format::known(&line.value)) }
                        }
                    }
                }
                label { span { "Came to" }
                    select name="group.reached" {
                        option value="" { "anything" }
                        @for stage in Reached::ALL { option value=(stage.as_str()) { (stage.as_str()) } }
                    }
                }
                label { span { "Metadata" } input name="group.metadata" placeholder="campaign=spring" autocomplete="off"; }
                button { "Add" }
            }
            p class="hint" { "A call belongs to the group when all of this holds." }
        }
    }
}

fn with_groups(address: Address, groups: &[&Group]) -> Address {
    if groups.is_empty() {
        return address.without(&["groups"]);
    }
    address.with("groups", serde_json::to_string(groups).unwrap_or_default())
}

/// Adds or renames a group: leads to the page with the new groups in its address.
pub(in crate::http::console) async fn change(
    visitor: Visitor,
    request: HttpRequest,
    office: web::Data<Office>,
) -> HttpResponse {
    match changed(request.query_string(), office.clock.now()) {
        Ok(address) => see_other(&format!("{}#outcomes", address.link())),
        Err(error) => layout::failure(&visitor, &error),
    }
}

fn changed(query: &str, now: jiff::Timestamp) -> Result<Address, ApiError> {
    let said: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)))
        .filter(|(_, value)| !value.trim().is_empty())
        .collect();
    let mut address = Address::read(super::PATH, query);
    for name in [
        "rename", "name", "kind", "label", "agent", "reached", "metadata",
    ] {
        address = address.without(&[&format!("{PREFIX}{name}")]);
    }
    let mut groups = Asked::parse(address.clone(), now)?.groups;
    let one = |wanted: &str| {
        said.iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.trim())
    };
    let many = |wanted: &str| {
        said.iter()
            .filter(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone())
            .collect()
    };
    let name = one("name").ok_or_else(|| bad("a group needs a name"))?;
    let name = format::cut(name, LONGEST_NAME).0.to_owned();
    if let Some(place) = one("rename") {
        let place = place.parse::<usize>().ok();
        let group = place.and_then(|place| groups.get_mut(place));
        group.ok_or_else(|| bad("there is no such group"))?.name = name;
    } else {
        let reached = one("reached").map(|word| {
            let stage = Reached::ALL
                .into_iter()
                .find(|stage| stage.as_str() == word);
            stage.ok_or_else(|| bad("a group can come to booked, shown or closed"))
        });
        groups.push(Group {
            name,
            condition: Condition {
                kinds: many("kind"),
                labels: many("label"),
                agents: one("agent").map(str::to_owned).into_iter().collect(),
                metadata: one("metadata").map(str::to_owned),
                reached: reached.transpose()?,
                ..Condition::default()
            },
        });
    }
    let address = with_groups(address, &groups.iter().collect::<Vec<_>>());
    // What would not be understood is refused here, not by the page that it leads to.
    Asked::parse(address.clone(), now)?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(query: &str) -> Result<String, String> {
        let now = "2026-05-06T12:00:00Z".parse().unwrap();
        let address = changed(query, now).map_err(|error| error.detail().to_owned())?;
        let groups = address.get("groups").unwrap_or_default().to_owned();
        assert!(!address.query().contains("group."), "{}", address.query());
        Ok(groups)
    }

    #[test]
    fn groups_are_added_and_renamed_in_the_address() {
        let added = change("from=2026-05-01&group.name=Won+%3Cb%3E&group.kind=closed&group.kind=shown&group.agent=a%2Cb").unwrap();
        assert_eq!(
            added,
            r#"[{"name":"Won <b>","where":{"agents":["a,b"],"kinds":["closed","shown"]}}]"#
        );
        let encoded: String = form_urlencoded::byte_serialize(added.as_bytes()).collect();
        let renamed = change(&format!("groups={encoded}&group.rename=0&group.name=Sold")).unwrap();
        assert!(renamed.starts_with(r#"[{"name":"Sold""#), "{renamed}");
        let second = change(&format!("groups={encoded}&group.name=All")).unwrap();
        assert!(
            second.ends_with(r#"{"name":"All","where":{}}]"#),
            "{second}"
        );
    }

    #[test]
    fn what_cannot_be_a_group_is_refused() {
        for wrong in [
            "group.name=",
            "group.rename=0&group.name=x",
            "group.name=x&group.reached=moon",
            "group.name=x&group.metadata=nothing",
            "group.name=x&groups=nonsense",
            "group.name=x&unknown=1",
        ] {
            assert!(change(wrong).is_err(), "{wrong}");
        }
    }
}
