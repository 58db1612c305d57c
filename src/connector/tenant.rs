//! Tells own events from those of other accounts: some vendors sign for all customers with one key.
//!
//! A genuine event of another account is answered like any other, because vendors take a 4xx for a
//! broken receiver and come again or switch the webhook off. It is left out when the event is read.

use serde_json::Value;

use super::field::Checked;
use super::reader::Reader;
use crate::mapping::{Path, Scope, shown};

/// Where the account may be named.
const ROOTS: [&str; 3] = ["event", "header", "query"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Exact,
    /// Salesforce ids have 15 characters, or the same and three of a checksum.
    First15,
}

/// One `[[inbound.assert]]`.
pub(super) struct Tenant {
    /// The first that is there is asked.
    paths: Vec<Path>,
    /// As written, for people.
    written: String,
    allowed: Vec<String>,
    compare: Compare,
    field: String,
}

/// What an event holds of other accounts, with the reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Nothing: it is the source's own.
    Nothing,
    /// Some items of a batch.
    Items(String),
    /// All of it.
    Everything(String),
}

/// What an account may be named in.
pub(super) struct Content<'a> {
    pub(super) body: &'a mut Value,
    pub(super) header: &'a Value,
    pub(super) query: &'a Value,
}

impl Scope for Content<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "event" => Some(self.body),
            "header" => Some(self.header),
            "query" => Some(self.query),
            _ => None,
        }
    }
}

impl Tenant {
    /// `None` when a mistake was reported; an unset field allows everybody, with a warning unless it is `optional`.
    pub(super) fn read(reader: Reader<'_>, settings: &Checked) -> Option<Self> {
        let path = reader.required("field", "\"event.locationId\"");
        let field = reader.required("one_of", "\"location_ids\"");
        let optional = reader.flag("optional").unwrap_or(false);
        let comparisons = [("exact", Compare::Exact), ("first15", Compare::First15)];
        let compare = reader.choice("compare", &comparisons);
        let written = path.as_ref().map(|text| text.value.clone());
        let paths = path.and_then(|text| {
            let one = |part| reader.parse_path(part, text.span.clone(), &ROOTS);
            text.value.split(" or ").map(str::trim).map(one).collect()
        });
        let log = reader.log;
        reader.finish();
        let field = field?.value;
        let allowed: Vec<String> = settings
            .values_of(&field)
            .iter()
            .map(|value| value.expose().to_owned())
            .collect();
        let (paths, written) = (paths?, written?);
        if allowed.is_empty() && !optional && !settings.may_lack_keys() {
            log.warning(
                format!("`{field}` is not set, so events of any account are accepted that the vendor signs with the same key"),
                format!("set `{field}` to your own `{written}`"),
            );
        }
        Some(Self {
            paths,
            written,
            allowed,
            compare: compare.unwrap_or(Compare::Exact),
            field,
        })
    }

    /// Takes the items of other accounts out of a batch, and says whether anything else is left.
    pub(super) fn leave_out_foreign(&self, content: &mut Content<'_>) -> Foreign {
        if self.allowed.is_empty() {
            return Foreign::Nothing;
        }
        let mut paths = self.paths.iter();
        let path = paths.find(|path| path.first(content).is_some());
        if let Some(path) = path.filter(|path| path.root() == "event" && path.is_many()) {
            return self.leave_out_items(path, content.body);
        }
        let named: Vec<&Value> = path.map_or(Vec::new(), |path| path.each(content).collect());
        match self.objection(&named) {
            None => Foreign::Nothing,
            Some(why) => Foreign::Everything(format!("of another account: {why}")),
        }
    }

    fn leave_out_items(&self, path: &Path, body: &mut Value) -> Foreign {
        let mut first = None;
        let (stayed, gone) = path.retain_items(body, &mut |named| {
            let objection = self.objection(named);
            let stays = objection.is_none();
            first = first.take().or(objection);
            stays
        });
        let Some(why) = first else {
            return Foreign::Nothing;
        };
        let count = stayed + gone;
        match stayed {
            0 if gone == 1 => Foreign::Everything(format!("of another account: {why}")),
            0 => Foreign::Everything(format!("all {count} items are of another account: {why}")),
            _ => Foreign::Items(format!(
                "{gone} of {count} items left out, of another account: {why}"
            )),
        }
    }

    /// Why what names these accounts is not the source's own; `None` when it is. Tells the field and
    /// what was found there, never what the settings hold.
    fn objection(&self, named: &[&Value]) -> Option<String> {
        let Self { written, field, .. } = self;
        if named.is_empty() {
            return Some(format!(
                "nothing is there at `{written}`, and `{field}` is set"
            ));
        }
        let stranger = named.iter().find(|account| !self.allows(account))?;
        let found = shown(stranger);
        Some(format!("`{written}` is {found}, not one of `{field}`"))
    }

    fn allows(&self, account: &Value) -> bool {
        let text = match account {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return false,
        };
        self.allowed.iter().any(|own| match self.compare {
            Compare::Exact => *own == text,
            Compare::First15 => match (own.get(..15), text.get(..15)) {
                (Some(own), Some(text)) => own == text,
                _ => *own == text,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use crate::connector::testing::{request, source_with};
    use crate::connector::{Derived, Inbound, Reading, Reception};
    use crate::mapping::{LookedUp, Ruleset};
    use crate::model::{Disposition, EventId, Fact};
    use crate::queue::{Mark, StoredEvent};

    const HEAD: &str = "[[field]]\nkey = \"portals\"\nlist = true\n[[field]]\nkey = \"orgs\"\nlist = true\n[inbound]\n[inbound.verify]\nkind = \"token\"\nat = \"header:x-token\"\nsecret = \"secret\"\n";

    fn source(asserts: &str, settings: Value) -> Inbound {
        let mut settings = settings;
        settings["secret"] = "s".into();
        source_with(
            &format!("{HEAD}{asserts}"),
            settings,
            "https://b.example.com",
        )
    }

    fn stored(
        source: &Inbound,
        query: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> StoredEvent {
        let now = Timestamp::UNIX_EPOCH;
        let headers = [&[("x-token", "s")], headers].concat();
        let arrived = request("POST", query, &headers, body.to_string().as_bytes());
        let Reception::Verified(verified) = source.receive(arrived, now) else {
            panic!("whoever it is for, it verifies: {body}");
        };
        let event = verified.into_new_event(source.source().clone(), now);
        StoredEvent {
            id: EventId(1),
            source: event.source,
            received_at: now,
            event_type: event.event_type,
            headers: event.headers,
            query: event.query,
            body: event.body,
            mark: Mark::default(),
        }
    }

    fn derived(source: &Inbound, rules: &str, event: &StoredEvent) -> Derived {
        let rule = "[[rule]]\nid = \"r\"\nwhen = []\noutcome = \"closed\"\n[rule.set]\ndeal_id = \"{event.deal}\"";
        let text = format!("format = 1\n{rules}\n{rule}");
        let (rules, _) = Ruleset::parse("rules.toml".as_ref(), &text).unwrap();
        let setting = json!({});
        let reading = Reading {
            rules: &rules,
            setting: &setting,
            region: None,
        };
        source
            .derive(event, &reading, &mut |_, _| LookedUp::nothing())
            .unwrap()
    }

    fn reason(derived: &Derived) -> &str {
        match derived {
            Derived::Foreign(reason) => reason,
            Derived::Asked { .. } => "own",
        }
    }

    const ORG: &str = "[[inbound.assert]]\nfield = \"event.org or header.x-org\"\none_of = \"orgs\"\ncompare = \"first15\"";

    #[test]
    fn an_event_of_another_account_is_told_by_the_first_place_that_names_one() {
        let source = source(ORG, json!({ "orgs": ["00D1I000003qqqE"] }));
        let zzz = ["`event.org or header.x-org` is \"00D1I000003zzzEUAQ\", not one of `orgs`"];
        let nothing = ["nothing is there at `event.org or header.x-org`, and `orgs` is set"];
        let list = "`event.org or header.x-org` is [\"00D1I000003qqqE\"], not one of `orgs`";
        for (body, header, expected) in [
            (json!({"deal": 1, "org": "00D1I000003qqqEUAQ"}), "", "own"),
            (json!({"deal": 1, "org": "00D1I000003qqqE"}), "other", "own"),
            (json!({"deal": 1}), "00D1I000003qqqE", "own"),
            (
                json!({"deal": 1, "org": "00D1I000003zzzEUAQ"}),
                "00D1I000003qqqE",
                zzz[0],
            ),
            (json!({"deal": 1, "org": null}), "", nothing[0]),
            (json!({"deal": 1, "org": ["00D1I000003qqqE"]}), "", list),
        ] {
            let event = stored(&source, "", &[("x-org", header)], &body);
            let told = derived(&source, "", &event);
            let told = reason(&told);
            assert_eq!(
                told.strip_prefix("of another account: ").unwrap_or(told),
                expected,
                "{body}"
            );
        }
    }

    #[test]
    fn an_account_in_the_query_counts_and_an_unset_field_takes_every_account() {
        let assert = "[[inbound.assert]]\nfield = \"query.portal\"\none_of = \"portals\"";
        let bound = source(assert, json!({ "portals": "7" }));
        let open = source(assert, json!({}));
        for (query, own) in [("portal=7", true), ("portal=8", false), ("", false)] {
            let event = stored(&bound, query, &[], &json!({"deal": 1}));
            assert_eq!(
                reason(&derived(&bound, "", &event)) == "own",
                own,
                "{query}"
            );
            assert_eq!(reason(&derived(&open, "", &event)), "own");
        }
    }

    #[test]
    fn of_a_batch_only_the_own_items_reach_the_rules() {
        let assert = "[[inbound.assert]]\nfield = \"event.items[*].portal\"\none_of = \"portals\"";
        let source = source(assert, json!({ "portals": ["7"] }));
        let body = json!({"items": [
            {"portal": 8, "deal": "a"}, {"portal": 7, "deal": "b"}, {"deal": "c"}, {"portal": 7, "deal": "d"},
        ]});
        let event = stored(&source, "", &[], &body);
        let told = derived(&source, "batch = \"event.items\"", &event);
        let Derived::Asked {
            derivation,
            left_out,
        } = told
        else {
            panic!("two items are own: {told:?}");
        };
        assert_eq!(derivation.disposition, Disposition::Mapped);
        let deals = derivation.facts.iter().map(|fact| match fact {
            Fact::Outcome(outcome) => outcome.subject.deal_id.as_deref(),
            _ => None,
        });
        assert_eq!(deals.collect::<Vec<_>>(), [Some("b"), Some("d")]);
        assert_eq!(
            left_out.unwrap(),
            "2 of 4 items left out, of another account: `event.items[*].portal` is 8, not one of `portals`"
        );
    }

    #[test]
    fn a_batch_without_an_own_item_is_foreign_as_a_whole() {
        let assert = "[[inbound.assert]]\nfield = \"event.items[*].portal\"\none_of = \"portals\"";
        let source = source(assert, json!({ "portals": ["7"] }));
        for (items, expected) in [
            (
                json!([{"portal": 8}, {"portal": 9}]),
                "all 2 items are of another account: `event.items[*].portal` is 8, not one of `portals`",
            ),
            (
                json!({"portal": 8}),
                "of another account: `event.items[*].portal` is 8, not one of `portals`",
            ),
            (
                json!([]),
                "of another account: nothing is there at `event.items[*].portal`, and `portals` is set",
            ),
        ] {
            let event = stored(&source, "", &[], &json!({ "items": items }));
            assert_eq!(
                reason(&derived(&source, "batch = \"event.items\"", &event)),
                expected
            );
        }
    }
}
