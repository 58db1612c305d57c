//! Questions, what their answers mean, and every mistake in how they are written.

use proptest::prelude::*;
use serde_json::json;

use super::super::testing;
use super::*;
use crate::connector::{ApiAuth, Inbound};
use crate::model::Settings;

const INBOUND: &str = "[inbound]\n[inbound.verify]\nkind = \"none\"\nreason = \"a test\"\n";
const API: &str = "[api]\nurl = \"https://api.example.com/v2/\"\n";
const DEAL: &str = r#"
[[lookup]]
name = "deal"
path = "/deals/{event.id}?fields={event.fields or 'a'}"
take = { amount = "{body.amount}" }
cache = "1 hour"
missing = [404, 410]
"#;
const SEARCH: &str = r#"
[[lookup]]
name = "person"
method = "POST"
path = "/search"
body = { filters = [{ id = "{lookup.deal.person}" }], limit = 1 }
take = { phone = "{body.phone}" }
"#;

fn lookups(text: &str, settings: Value) -> Result<Arc<Lookups>, Vec<String>> {
    let words = |found: Vec<crate::diagnostic::Diagnostic>| {
        found.into_iter().map(|mistake| mistake.message).collect()
    };
    let connector = testing::connector(&format!("{text}\n{INBOUND}")).map_err(words)?;
    let options = testing::options("https://bridge.example.com/webhooks/test");
    Inbound::new(&connector, &Settings::from_json(settings), &options)
        .map(|(inbound, _)| Arc::clone(inbound.lookups()))
        .map_err(words)
}

fn deal() -> Arc<LookupStep> {
    let lookups = lookups(&format!("{API}{DEAL}"), json!({})).unwrap();
    Arc::clone(lookups.step("deal").unwrap())
}

struct Event(Value, Value);

impl Scope for Event {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "event" => Some(&self.0),
            "lookup" => Some(&self.1),
            _ => None,
        }
    }
}

fn ask(step: &LookupStep, event: Value) -> Result<String, NotAsked> {
    step.ask(&Event(event, json!({})))
        .map(|question| question.request.shown)
}

fn lacking(why: &str) -> NotAsked {
    NotAsked::Lacking(why.to_owned())
}

#[test]
fn a_question_is_the_connectors_address_and_encoded_values() {
    let step = deal();
    let asked = ask(&step, json!({ "id": 7 })).unwrap();
    assert_eq!(asked, "GET https://api.example.com/v2/deals/7?fields=a");
    let hostile = json!({ "id": "../@evil.example/#?x=1", "fields": "a&b=c" });
    let encoded =
        "GET https://api.example.com/v2/deals/..%2F%40evil.example%2F%23%3Fx%3D1?fields=a%26b%3Dc";
    assert_eq!(ask(&step, hostile).unwrap(), encoded);
    for dots in [".", ".."] {
        let refused = ask(&step, json!({ "id": dots })).unwrap_err();
        assert_eq!(refused, lacking("a part of its path would be `.` or `..`"));
    }
    assert_eq!(
        ask(&step, json!({})).unwrap_err(),
        lacking("nothing is at event.id")
    );
}

#[test]
fn a_body_with_a_gap_is_not_sent() {
    let lookups = lookups(&format!("{API}{DEAL}{SEARCH}"), json!({})).unwrap();
    let step = lookups.step("person").unwrap();
    assert_eq!(step.reads().into_iter().collect::<Vec<_>>(), ["deal"]);
    let known = json!({ "deal": { "person": 5 } });
    let question = step.ask(&Event(json!({}), known)).unwrap();
    let body: Value = serde_json::from_slice(&question.request.body).unwrap();
    assert_eq!(body, json!({ "filters": [{ "id": 5 }], "limit": 1 }));
    let refused = ask(step, json!({})).unwrap_err();
    assert_eq!(refused, lacking("nothing is at lookup.deal.person"));
}

#[test]
fn the_same_question_has_the_same_hash_and_no_other_one_has() {
    let hash = |step: &LookupStep, id: &str| {
        let event = Event(json!({ "id": id }), json!({}));
        step.ask(&event).unwrap().hash
    };
    let step = deal();
    assert_eq!(hash(&step, "7"), hash(&step, "7"));
    assert_ne!(hash(&step, "7"), hash(&step, "8"));
    // Another version of the connector takes something else of the same answer.
    let other = DEAL.replace("body.amount", "body.value");
    let other = lookups(&format!("{API}{other}"), json!({})).unwrap();
    assert_ne!(hash(other.step("deal").unwrap(), "7"), hash(&step, "7"));
}

fn judge(status: u16, body: &str, cut: bool) -> LookupVerdict {
    let headers = [("retry-after".to_owned(), "7".to_owned())];
    let answer = DestinationAnswer {
        status,
        headers: &headers,
        body: body.as_bytes(),
    };
    deal().judge(&answer, cut)
}

#[test]
fn of_an_answer_only_what_is_taken_is_kept_and_little_of_that() {
    let answered = LookupVerdict::Answered;
    let body = r#"{"amount":"9.50","secret":"x"}"#;
    assert_eq!(
        judge(200, body, false),
        answered(json!({ "amount": "9.50" }))
    );
    assert_eq!(judge(200, "[]", false), answered(json!({})));
    let long = json!({ "amount": "é".repeat(900) }).to_string();
    let cut = answered(json!({ "amount": "é".repeat(500) }));
    assert_eq!(judge(200, &long, false), cut);
    let list = json!({ "amount": vec![1; 900] }).to_string();
    assert_eq!(judge(200, &list, false), answered(json!({})));
}

#[test]
fn every_other_answer_is_nothing_there_a_refusal_or_a_failure() {
    let failed = |reason: &str| LookupVerdict::Failed {
        reason: reason.to_owned(),
        retry_after: Some(Duration::from_secs(7)),
    };
    assert_eq!(judge(200, "{", false), failed("the answer is not JSON"));
    assert_eq!(
        judge(200, "{}", true),
        failed("the answer is larger than 64 KiB")
    );
    let redirect = "answered 301, a redirect, which is not followed";
    assert_eq!(judge(301, "", false), failed(redirect));
    assert_eq!(judge(429, "", false), failed("answered 429"));
    assert_eq!(judge(500, "", false), failed("answered 500"));
    for status in [404, 410] {
        assert_eq!(judge(status, "{}", false), LookupVerdict::NotThere);
    }
    for status in [401, 403] {
        let refused = judge(status, "{}", false);
        assert!(matches!(refused, LookupVerdict::Refused(_)), "{refused:?}");
    }
}

#[test]
fn mistakes_are_told() {
    let deal = |from: &str, to: &str| format!("{API}{}", DEAL.replace(from, to));
    let api = |text: &str| format!("{text}\n{DEAL}");
    for (text, mistake) in [
        (DEAL.to_owned(), "look-ups need `[api]`"),
        (
            format!("{API}{DEAL}{DEAL}"),
            "two look-ups are called `deal`",
        ),
        (
            deal("{event.id}", "{lookup.person.id}"),
            "`deal` reads `lookup.person`, which is no earlier look-up",
        ),
        (
            deal("{event.id}", "{lookup.deal.id}"),
            "`deal` reads `lookup.deal`, which is no earlier look-up",
        ),
        (
            deal("\"/deals", "\"https://evil.example/deals"),
            "is not a path",
        ),
        (deal("\"/deals", "\"//evil.example/deals"), "is not a path"),
        (deal("take", "tak"), "needs `take`"),
        (
            deal("body.amount", "event.amount"),
            "`event` is not a known source",
        ),
        (
            api("[api]\nurl = \"{event.url}\""),
            "is not the address of an API",
        ),
        (
            api("[api]\nurl = \"ftp://api.example.com\""),
            "is not the address of an API",
        ),
        (
            api(&format!(
                "{API}[[api.auth]]\nkind = \"bearer\"\nsecret = \"tokn\""
            )),
            "there is no field `tokn`",
        ),
        (
            api(&format!("{API}[[api.auth]]\nkind = \"digest\"")),
            "`digest` is not a value of `kind`",
        ),
    ] {
        let found = lookups(&text, json!({})).err().unwrap_or_default();
        let told = found.iter().any(|found| found.contains(mistake));
        assert!(told, "{mistake}: {found:?}");
    }
}

#[test]
fn the_first_way_whose_fields_are_set_is_taken_and_none_is_no_mistake() {
    let text = format!(
        r#"
        {API}
        [[api.auth]]
        kind = "bearer"
        secret = "token"
        [[api.auth]]
        kind = "basic"
        user = "user"
        password = "password"
        [[field]]
        key = "token"
        secret = true
        [[field]]
        key = "user"
        [[field]]
        key = "password"
        secret = true
        "#
    );
    let auth = |settings: Value| {
        let lookups = lookups(&text, settings).unwrap();
        lookups.api().unwrap().auth.clone()
    };
    match auth(json!({ "token": "t", "user": "u", "password": "p" })) {
        ApiAuth::Header(name, value) => {
            assert_eq!(
                (name.as_str(), value.expose()),
                ("authorization", "Bearer t")
            );
        }
        other => panic!("{other:?}"),
    }
    let basic = auth(json!({ "user": "u", "password": "p" }));
    assert!(matches!(basic, ApiAuth::Basic(..)), "{basic:?}");
    match auth(json!({ "user": "u" })) {
        ApiAuth::NotSet(help) => {
            assert_eq!(
                help,
                "set `token`, or `password` at the source to have it made"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(!format!("{:?}", auth(json!({ "token": "hush" }))).contains("hush"));
}

#[test]
fn rules_that_read_no_such_look_up_are_told_so() {
    let connector = testing::connector(&format!("{API}{DEAL}{INBOUND}")).unwrap();
    let rule = "format = 1\n[[rule]]\nid = \"r\"\nwhen = []\noutcome = \"closed\"\n[rule.set]\ndeal_id = \"{lookup.deals.id or lookup.deal.id}\"";
    let (rules, _) = crate::mapping::Ruleset::parse("rules.toml".as_ref(), rule).unwrap();
    let told = connector.unknown_lookups(&rules);
    let message = "the rules read `lookup.deals`, and the connector has no such look-up";
    assert_eq!(
        told,
        [(message.to_owned(), "did you mean `lookup.deal`?".to_owned())]
    );
}

proptest! {
    #[test]
    fn no_value_of_an_event_leads_to_another_host_or_path(
        id in any::<String>(), fields in any::<String>(),
    ) {
        let step = deal();
        let event = Event(json!({ "id": id, "fields": fields }), json!({}));
        if let Ok(question) = step.ask(&event) {
            let url = question.request.url;
            prop_assert_eq!(url.host_str(), Some("api.example.com"));
            prop_assert!(url.path().starts_with("/v2/deals/"));
            prop_assert_eq!(url.path_segments().unwrap().count(), 3);
            prop_assert_eq!(url.query_pairs().count(), 1);
        }
    }
}
