//! `deliveries` and `dead-letters`.

use std::collections::BTreeMap;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::client::{Client, Server, query_string};
use super::consent::Consent;
use super::exit::{Exit, Failure};
use super::moment;
use super::output::counted;
use super::terminal::Output;
use crate::model::{DeliveryId, DeliveryState, EventId};

/// Deliveries of a running bridge.
#[derive(Debug, Subcommand)]
pub(super) enum Deliveries {
    /// List deliveries, newest first.
    List {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        filter: Filter,
        /// Only in this state.
        #[arg(long, value_parser = PossibleValuesParser::new(DeliveryState::ALL.map(DeliveryState::as_str)))]
        state: Option<String>,
        /// At most so many, up to 1000.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Show one delivery with its attempts.
    Show {
        #[command(flatten)]
        server: Server,
        /// The delivery's id, dlv_….
        id: DeliveryId,
    },
}

/// Deliveries that were given up.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// List them, newest first.
    List {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        filter: Filter,
        /// At most so many, up to 1000.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Make them pending again, with fresh attempts.
    Redrive(Redrive),
    /// Put them aside for good.
    Discard(Move),
}

/// Which deliveries.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only to this destination.
    #[arg(long)]
    destination: Option<String>,
    /// Only those that this event caused.
    #[arg(long)]
    event: Option<EventId>,
    /// Only those created since: 2h, 3days, yesterday, 2026-05-06 (local), or 2026-05-06T16:10:00Z.
    #[arg(long, value_name = "MOMENT", value_parser = moment::filter)]
    since: Option<String>,
    /// Only those created before.
    #[arg(long, value_name = "MOMENT", value_parser = moment::filter)]
    until: Option<String>,
}

/// Which dead letters are moved.
#[derive(Debug, clap::Args)]
pub(super) struct Move {
    #[command(flatten)]
    server: Server,
    /// Their ids.
    ids: Vec<DeliveryId>,
    #[command(flatten)]
    filter: Filter,
    /// All of them.
    #[arg(long)]
    all: bool,
    /// Only tell how many there are.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
}

/// Make dead letters pending again, with fresh attempts.
#[derive(Debug, clap::Args)]
pub(super) struct Redrive {
    #[command(flatten)]
    letters: Move,
    /// Send again what was delivered, too; by ids only.
    #[arg(long, requires = "ids")]
    delivered: bool,
}

impl Filter {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let of = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            ("destination", of(&self.destination)),
            (
                "event",
                self.event.map(|id| id.to_string()).unwrap_or_default(),
            ),
            ("since", of(&self.since)),
            ("until", of(&self.until)),
        ]
    }

    fn query(&self) -> String {
        query_string(&self.pairs())
    }
}

const COLUMNS: [&str; 6] = ["id", "destination", "target", "kind", "state", "reason"];

fn print(output: &Output, page: &Value) {
    if !page["next"].is_null() {
        output.note("there are more; narrow the filter or raise --limit");
    }
    if output.is_json() {
        return output.json(page);
    }
    output.items(&page["items"], &COLUMNS.map(|name| (name, name)));
}

impl Deliveries {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List {
                server,
                filter,
                state,
                limit,
            } => {
                let mut query = filter.pairs();
                query.push(("state", state.unwrap_or_default()));
                query.push(("limit", limit.to_string()));
                print(
                    output,
                    &server
                        .connect()?
                        .get("/admin/v1/deliveries", &query)
                        .await?,
                );
            }
            Self::Show { server, id } => {
                let path = format!("/admin/v1/deliveries/{id}");
                let client = server.connect()?;
                let found = client.get(&path, &[]).await?;
                if output.is_json() {
                    output.json(&found);
                } else {
                    show(output, &client, &found);
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn show(output: &Output, client: &Client, found: &Value) {
    let found = output.for_people(found);
    let delivery = &found["delivery"];
    let keys = [
        "id",
        "event",
        "outcome",
        "kind",
        "destination",
        "target",
        "state",
        "reason",
        "attempts",
        "created_at",
        "due_at",
        "changed_at",
    ];
    for key in keys {
        output.line(&format!("{key:12} {}", Output::cell(&delivery[key])));
    }
    let columns = [
        "number",
        "started_at",
        "status",
        "verdict",
        "duration_ms",
        "reason",
    ];
    output.items(&found["attempts"], &columns.map(|name| (name, name)));
    output.line(&client.event_page(&Output::cell(&delivery["event"])));
}

impl DeadLetters {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List {
                server,
                filter,
                limit,
            } => {
                let mut query = filter.pairs();
                query.push(("limit", limit.to_string()));
                print(
                    output,
                    &server
                        .connect()?
                        .get("/admin/v1/dead-letters", &query)
                        .await?,
                );
                Ok(Exit::Done)
            }
            Self::Redrive(Redrive { letters, delivered }) => {
                letters.run(output, "redrive", delivered).await
            }
            Self::Discard(letters) => letters.run(output, "discard", false).await,
        }
    }
}

impl Move {
    async fn run(self, output: &Output, verb: &str, delivered: bool) -> Result<Exit, Failure> {
        let query = self.filter.query();
        let mut body = match (self.ids.is_empty(), query.is_empty(), self.all) {
            (false, true, false) => json!({ "ids": self.ids, "dry_run": self.dry_run }),
            (true, false, false) | (true, true, true) => {
                json!({ "filter": query, "dry_run": self.dry_run })
            }
            _ => {
                return Err(Failure::Usage(
                    "name dead letters by their ids, by a filter such as --destination, or take --all".into(),
                ));
            }
        };
        if delivered {
            body["delivered"] = true.into();
        }
        let path = format!("/admin/v1/dead-letters/{verb}");
        let client = self.server.connect()?;
        if self.ids.is_empty() && !self.dry_run && self.consent.is_asked() {
            let mut count = body.clone();
            count["dry_run"] = true.into();
            let count = in_all(&client, &path, count).await?["deliveries"].as_u64();
            let (one, many) = DEAD_LETTERS;
            let many = counted(count.unwrap_or(0), one, many);
            self.consent.ask(&format!("{verb} {many}?"))?;
        }
        let answer = in_all(&client, &path, body).await?;
        if output.is_json() {
            output.json(&answer);
        } else if self.dry_run {
            let count = answer["deliveries"].as_u64().unwrap_or(0);
            let what = if delivered { DELIVERIES } else { DEAD_LETTERS };
            let (one, many) = what;
            let matching = if count == 1 { "matches" } else { "match" };
            output.line(&format!("{} {matching}", counted(count, one, many)));
        } else {
            output.line(&became(&answer["moved"], delivered));
        }
        let refused = answer["refused"].as_array().into_iter().flatten();
        let mut exit = Exit::Done;
        for refusal in refused {
            exit = Exit::Failed;
            output.warn(&Output::cell(&refusal["reason"]));
        }
        Ok(exit)
    }
}

/// The answers to a request and to those that go on where the one before stopped, put together.
async fn in_all(client: &Client, path: &str, mut body: Value) -> Result<Value, Failure> {
    let mut all = client.post(path, &body).await?;
    loop {
        let next = all.as_object_mut().and_then(|all| all.remove("next"));
        let Some(next) = next.filter(|next| !next.is_null()) else {
            return Ok(all);
        };
        body["after"] = next;
        let more = client.post(path, &body).await?;
        join(&mut all, more);
    }
}

/// Adds the lists and numbers of one answer to those of another; all else is the later one's.
fn join(all: &mut Value, more: Value) {
    let Value::Object(more) = more else {
        return;
    };
    for (name, more) in more {
        let there = &mut all[&name];
        match (there.as_array_mut(), more) {
            (Some(list), Value::Array(more)) => list.extend(more),
            (_, more) => {
                *there = match (there.as_u64(), more.as_u64()) {
                    (Some(one), Some(other)) => (one + other).into(),
                    _ => more,
                };
            }
        }
    }
}

const DEAD_LETTERS: (&str, &str) = ("dead letter", "dead letters");
const DELIVERIES: (&str, &str) = ("delivery", "deliveries");

/// What those that were moved are now: "2 dead letters are pending, 1 is superseded". One whose outcome is no longer the
/// truth is not sent.
fn became(moved: &Value, delivered: bool) -> String {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for view in moved.as_array().into_iter().flatten() {
        // A worker may have taken it already.
        let state = match view["state"].as_str().unwrap_or("?") {
            "in_flight" | "retrying" => "pending",
            state => state,
        };
        *states.entry(state).or_default() += 1;
    }
    let (one, many) = if delivered { DELIVERIES } else { DEAD_LETTERS };
    if states.is_empty() {
        return format!("0 {many} were moved");
    }
    let told = states
        .into_iter()
        .enumerate()
        .map(|(place, (state, count))| {
            let counted = match place {
                0 => counted(count, one, many),
                _ => count.to_string(),
            };
            let is = if count == 1 { "is" } else { "are" };
            let now = match state {
                "pending" => "pending again",
                "cancelled" => "put aside",
                "superseded" => "superseded (something newer holds)",
                "held" => "held until the destination is taken up again",
                other => other,
            };
            format!("{counted} {is} {now}")
        });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_go_on_are_put_together() {
        let mut all = json!({ "moved": [1], "refused": [], "deliveries": 2, "dry_run": true });
        let more = json!({ "moved": [2], "refused": [3], "deliveries": 5, "dry_run": true, "next": "dlv_1" });
        join(&mut all, more);
        assert_eq!(
            all,
            json!({ "moved": [1, 2], "refused": [3], "deliveries": 7, "dry_run": true, "next": "dlv_1" })
        );
    }

    #[test]
    fn what_was_moved_is_told_by_what_it_became() {
        let moved = |states: &[&str]| -> Value {
            states
                .iter()
                .map(|state| json!({ "state": state }))
                .collect()
        };
        for (states, delivered, told) in [
            (&[][..], false, "0 dead letters were moved"),
            (&["pending"], false, "1 dead letter is pending again"),
            (&["pending"], true, "1 delivery is pending again"),
            (
                &["cancelled", "cancelled"],
                false,
                "2 dead letters are put aside",
            ),
        ] {
            assert_eq!(became(&moved(states), delivered), told);
        }
        let mixed = became(&moved(&["superseded", "pending", "pending"]), false);
        assert!(
            mixed.starts_with("2 dead letters are pending again, 1 is superseded"),
            "{mixed}"
        );
    }
}
