//! An event's story in words, in the order in which it happened: for the command line and the console alike.
//!
//! It is told from the answer of `GET /admin/v1/events/{id}`, so that both tell what the API tells.

use std::fmt::Write;

use serde_json::Value;

use crate::mapping::{Personal, Trace};

/// Summary, outcomes and deliveries.
pub(crate) fn summary(story: &Value) -> String {
    let mut text = String::new();
    head(&mut text, story);
    outcomes(&mut text, story);
    deliveries(&mut text, story, false);
    text
}

/// Everything: every rule asked, every value set, where each fact went, every attempt.
pub(crate) fn tell(story: &Value) -> String {
    let mut text = String::new();
    head(&mut text, story);
    lookups(&mut text, &story["trace"]["lookups"]);
    rules(&mut text, &story["trace"]);
    attendance(&mut text, &story["trace"]);
    outcomes(&mut text, story);
    routing(&mut text, &story["trace"]["routing"]);
    withheld(&mut text, &story["trace"]["withheld"]);
    truth(&mut text, &story["truth"]);
    deliveries(&mut text, story, true);
    text
}

// Writing into a String cannot fail.
macro_rules! say {
    ($text:expr, $($arg:tt)*) => {{ let _infallible = writeln!($text, $($arg)*); }};
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn head(text: &mut String, story: &Value) {
    let event = &story["event"];
    say!(text, "event       {}", word(&event["id"]));
    say!(
        text,
        "received    {} by source `{}`",
        word(&event["received_at"]),
        word(&event["source"])
    );
    if let Some(verified_by) = story["verified_by"].as_str() {
        say!(text, "verified    by {verified_by}");
    }
    say!(text, "type        {}", word(&event["event_type"]));
    say!(
        text,
        "became      {}: {}",
        word(&event["disposition"]),
        word(&event["reason"])
    );
    if event["duplicates"].as_u64().unwrap_or(0) > 0 {
        say!(
            text,
            "repeats     came {} more times; they changed nothing",
            word(&event["duplicates"])
        );
    }
}

/// Every look-up that the rules needed: what was asked, and how it went.
pub(crate) fn lookups(text: &mut String, lookups: &Value) {
    for made in items(lookups) {
        let item = match made["item"].as_u64() {
            Some(item) => format!(" of item {item}"),
            None => String::new(),
        };
        let how = match made["how"].as_str() {
            Some("answered") => "answered".to_owned(),
            Some("none") => "the vendor has none".to_owned(),
            Some("not_made") => "not made".to_owned(),
            _ => word(&made["how"]),
        };
        let at = made["at"].as_str();
        let at = at.map_or_else(String::new, |at| format!(" at {at}"));
        let why = made["why"]
            .as_str()
            .map_or_else(String::new, |why| format!(": {why}"));
        let request = made["request"].as_str();
        let request = request.map_or_else(String::new, |request| format!(" ({request})"));
        say!(
            text,
            "look-up     `{}`{item} {how}{at}{why}{request}",
            word(&made["lookup"])
        );
    }
}

fn rules(text: &mut String, trace: &Value) {
    if let Some(by) = trace["by"].as_str() {
        say!(text, "\nrules       not asked: its facts come from {by}");
    }
    if let Some(reason) = trace["failed"].as_str() {
        say!(text, "\nrules       not asked: {reason}");
    }
    match trace["foreign"].as_str() {
        Some(reason) if trace["rules"].is_null() => say!(text, "\nrules       not asked: {reason}"),
        Some(reason) => say!(text, "\nforeign     {reason}"),
        None => {}
    }
    // A trace written by another version may not be readable by this one: then it is shown as it is.
    match serde_json::from_value::<Trace>(trace["rules"].clone()) {
        Ok(read) => say!(text, "\n{}", read.to_text(Personal::Shown)),
        Err(_other_version) if trace["rules"].is_null() => {}
        Err(_other_version) => say!(text, "\n{}", trace["rules"]),
    }
}

fn outcomes(text: &mut String, story: &Value) {
    for outcome in items(&story["outcomes"]) {
        let value = &outcome["value"];
        let worth = match value["amount"].as_str() {
            Some(amount) => format!(" worth {amount} {}", word(&value["currency"])),
            None => String::new(),
        };
        say!(
            text,
            "\noutcome     {} {}{worth}, {} at {}, by rule `{}`",
            word(&outcome["id"]),
            word(&outcome["kind"]),
            word(&outcome["basis"]),
            word(&outcome["occurred_at"]),
            word(&outcome["rule"]),
        );
    }
}

fn routing(text: &mut String, routing: &Value) {
    for routed in items(routing) {
        let kind = routed["kind"].as_str().unwrap_or("every correction");
        let taken = if routed["retract"] == true {
            "takes back"
        } else {
            "brings"
        };
        match routed["target"].as_str() {
            Some(target) => say!(
                text,
                "route{:<7}{taken} {kind} to `{}`{} as {target}{}{}",
                routed["route"]
                    .as_u64()
                    .map_or_else(String::new, |route| format!(" {route}")),
                word(&routed["destination"]),
                addressed(routed),
                if routed["provisional"] == true {
                    ", until a better address is known"
                } else {
                    ""
                },
                match routed["not_before"].as_str() {
                    Some(moment) => format!(", not before {moment}"),
                    None => String::new(),
                },
            ),
            None => say!(
                text,
                "route       {kind} has no address at `{}`: {}",
                word(&routed["destination"]),
                word(&routed["unresolved"]),
            ),
        }
        for asked in items(&routed["asked"]) {
            say!(
                text,
                "  matcher   {}: {}",
                word(&asked["matcher"]),
                word(&asked["found"])
            );
        }
        if let (Some(_), Some(why)) = (routed["target"].as_str(), routed["unresolved"].as_str()) {
            say!(text, "  not       {why}");
        }
        if let Some(until) = routed["waits_until"].as_str() {
            say!(text, "  waits     until {until}");
        }
    }
}

/// Which kind of address was taken and which matcher made it known.
fn addressed(routed: &Value) -> String {
    match (routed["address"].as_str(), routed["matcher"].as_str()) {
        (Some(address), Some(matcher)) => format!(", addressed by {address} (matcher `{matcher}`)"),
        _ => String::new(),
    }
}

fn attendance(text: &mut String, trace: &Value) {
    for note in items(&trace["attendance"]) {
        say!(text, "registry    {}", word(note));
    }
}

fn withheld(text: &mut String, withheld: &Value) {
    for one in items(withheld) {
        say!(
            text,
            "route       {} does not go to `{}`: {}",
            word(&one["kind"]),
            word(&one["destination"]),
            word(&one["why"]),
        );
    }
}

/// What the event changes at each target: the truth without it, the truth with it, and why.
fn truth(text: &mut String, standings: &Value) {
    let held = |held: &Value| match held["kind"].as_str() {
        Some(kind) => format!("{kind} ({})", word(&held["outcome"])),
        None => "nothing".to_owned(),
    };
    for standing in items(standings) {
        say!(
            text,
            "truth       `{}` {}: without this event {}, with it {}: {}",
            word(&standing["destination"]),
            word(&standing["target"]),
            held(&standing["without"]),
            held(&standing["with"]),
            word(&standing["why"]),
        );
    }
}

fn deliveries(text: &mut String, story: &Value, attempts: bool) {
    for delivery in items(&story["deliveries"]) {
        say!(
            text,
            "\ndelivery    {} to `{}` {}: {}{}",
            word(&delivery["id"]),
            word(&delivery["destination"]),
            word(&delivery["target"]),
            word(&delivery["state"]),
            delivery["reason"]
                .as_str()
                .filter(|r| !r.is_empty())
                .map(|r| format!(", {r}"))
                .unwrap_or_default(),
        );
        if !attempts {
            continue;
        }
        for attempt in items(&delivery["history"]) {
            say!(
                text,
                "  attempt {}  {}  {} → {} in {} ms: {}, {}",
                word(&attempt["number"]),
                word(&attempt["started_at"]),
                word(&attempt["request"]),
                word(&attempt["status"]),
                word(&attempt["duration_ms"]),
                word(&attempt["verdict"]),
                word(&attempt["reason"]),
            );
        }
    }
}
