//! `outcomes set` and `outcomes release`: corrections by hand.
//!
//! A correction is an event. Which targets it is about is known once it is processed, so both commands wait for that
//! and tell what it changed.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::client::{Client, Server};
use super::exit::{Exit, Failure};
use super::moment;
use super::output::plain;
use super::terminal::Output;
use crate::model::{OutcomeKind, currency, parse_phone};

/// How often it is looked whether the event is processed, and how long.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_FOR: Duration = Duration::from_secs(10);

/// Whom it is about; the more is said, the surer it is found.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Subject {
    /// The call's id at the voice platform.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// The lead's phone, as +14155557777.
    #[arg(long, value_parser = phone)]
    phone: Option<String>,
    /// The lead's e-mail address.
    #[arg(long)]
    email: Option<String>,
    /// The booking's id at the calendar; needs --source.
    #[arg(long, value_name = "ID", requires = "source")]
    booking: Option<String>,
    /// The deal's id at the CRM; needs --source.
    #[arg(long, value_name = "ID", requires = "source")]
    deal: Option<String>,
}

fn phone(text: &str) -> Result<String, String> {
    let phone = parse_phone(text, None).map_err(|error| error.to_string())?;
    Ok(phone.to_string())
}

fn code(text: &str) -> Result<String, String> {
    let currency = currency(text).map_err(|error| error.to_string())?;
    Ok(currency.code().to_owned())
}

/// Whom a correction is about, and in whose words.
#[derive(Debug, clap::Args)]
pub(super) struct About {
    #[command(flatten)]
    subject: Subject,
    /// The source whose ids are named, and whose routes it takes. Without it every destination hears of it.
    #[arg(long)]
    source: Option<String>,
    /// Who says so, for the log.
    #[arg(long, default_value = "command line")]
    by: String,
}

impl About {
    fn to_json(&self) -> Value {
        let Subject {
            call,
            phone,
            email,
            booking,
            deal,
        } = &self.subject;
        let subject = [
            ("call_id", call),
            ("phone", phone),
            ("email", email),
            ("booking_id", booking),
            ("deal_id", deal),
        ];
        let subject: Map<String, Value> = subject
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())))
            .collect();
        json!({ "subject": subject, "source": self.source, "by": self.by })
    }
}

/// Set an outcome by hand. It holds until it is released, whatever is reported.
#[derive(Debug, clap::Args)]
pub(super) struct Correct {
    #[command(flatten)]
    server: Server,
    /// What holds.
    #[arg(value_parser = PossibleValuesParser::new(OutcomeKind::ALL.map(OutcomeKind::as_str)))]
    outcome: String,
    #[command(flatten)]
    about: About,
    /// The team's own word for it.
    #[arg(long)]
    label: Option<String>,
    /// What it is worth, with a decimal point.
    #[arg(long, requires = "currency")]
    value: Option<Decimal>,
    /// Its currency, as USD.
    #[arg(long, requires = "value", value_parser = code)]
    currency: Option<String>,
    /// Why, in words.
    #[arg(long)]
    notes: Option<String>,
    /// When it happened; now, if it is not said.
    #[arg(long, value_name = "MOMENT", value_parser = moment::instant)]
    occurred_at: Option<Timestamp>,
}

impl Correct {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let value = self
            .value
            .map(|amount| json!({ "amount": amount.to_string(), "currency": self.currency }));
        let body = json!({
            "outcome": self.outcome,
            "label": self.label,
            "value": value,
            "notes": self.notes,
            "occurred_at": self.occurred_at,
            "about": self.about.to_json(),
        });
        let client = self.server.connect()?;
        let stored = client.post("/admin/v1/outcomes", &body).await?;
        let became = Became::of(&client, &stored["event"]).await?;
        became.tell(output);
        output.hint(&client.event_page(&Output::cell(&became.event)));
        Ok(became.exit())
    }
}

/// Release what was set by hand: what is reported holds again.
#[derive(Debug, clap::Args)]
pub(super) struct ReleaseCorrection {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    about: About,
}

impl ReleaseCorrection {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let body = json!({ "about": self.about.to_json() });
        let client = self.server.connect()?;
        let stored = client.post("/admin/v1/outcomes/release", &body).await?;
        let became = Became::of(&client, &stored["event"]).await?;
        became.tell(output);
        if became.changes_nothing() {
            return Err(Failure::Failed(
                "nothing was set by hand there, so there is nothing to release".into(),
            ));
        }
        Ok(became.exit())
    }
}

/// The event of a correction, and what became of it.
struct Became {
    event: Value,
    disposition: String,
    reason: String,
    /// At each target: what would hold without the event, and what holds with it.
    truth: Value,
}

impl Became {
    /// Waits until the event is processed; not for ever, since it may stand behind many others.
    async fn of(client: &Client, event: &Value) -> Result<Self, Failure> {
        let path = format!("/admin/v1/events/{}", Output::cell(event));
        let until = Instant::now() + LOOK_FOR;
        loop {
            let story = client.get(&path, &[]).await?;
            let became = Self {
                event: event.clone(),
                disposition: Output::cell(&story["event"]["disposition"]),
                reason: Output::cell(&story["event"]["reason"]),
                truth: story["truth"].clone(),
            };
            if became.is_processed() || Instant::now() > until {
                return Ok(became);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn is_processed(&self) -> bool {
        self.disposition != "accepted"
    }

    fn targets(&self) -> impl Iterator<Item = &Value> {
        self.truth.as_array().into_iter().flatten()
    }

    /// Whether it reached targets, and what holds at each is what held before. A destination that is told of each
    /// outcome has no truth to compare.
    fn changes_nothing(&self) -> bool {
        let mut targets = self.targets().peekable();
        targets.peek().is_some() && targets.all(|one| one["without"] == one["with"])
    }

    fn exit(&self) -> Exit {
        match self.disposition.as_str() {
            "failed" | "unmatched" => Exit::Failed,
            _ => Exit::Done,
        }
    }

    fn tell(&self, output: &Output) {
        if output.is_json() {
            return output.json(&json!({
                "event": self.event,
                "disposition": self.disposition,
                "reason": self.reason,
                "truth": self.truth,
            }));
        }
        let event = Output::cell(&self.event);
        if !self.is_processed() {
            return output.line(&format!(
                "stored as {event}, not processed yet; `outcome-bridge events explain {event}` tells what becomes of it"
            ));
        }
        let (disposition, reason) = (&self.disposition, &self.reason);
        output.line(&plain(&format!("{event} {disposition}: {reason}")));
        let held = |held: &Value| match held["kind"].as_str() {
            Some(kind) => kind.to_owned(),
            None => "nothing".to_owned(),
        };
        for one in self.targets() {
            let (destination, target) = (&one["destination"], &one["target"]);
            let told = format!(
                "  {} {}: {} → {}, {}",
                Output::cell(destination),
                Output::cell(target),
                held(&one["without"]),
                held(&one["with"]),
                Output::cell(&one["why"]),
            );
            output.line(&plain(&told));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn became(truth: Value) -> Became {
        Became {
            event: json!("evt_1"),
            disposition: "mapped".to_owned(),
            reason: String::new(),
            truth,
        }
    }

    #[test]
    fn a_release_changes_nothing_where_the_same_outcome_holds_with_and_without_it() {
        let held = |outcome| json!({ "kind": "closed", "outcome": outcome });
        let at = |without: Value, with: Value| json!({ "without": without, "with": with });
        let (one, other) = (at(held("a"), held("a")), at(held("a"), held("b")));
        assert!(became(json!([one])).changes_nothing());
        assert!(became(json!([at(Value::Null, Value::Null)])).changes_nothing());
        assert!(!became(json!([one, other])).changes_nothing());
        assert!(!became(json!([])).changes_nothing());
    }
}
