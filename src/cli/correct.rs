//! `outcomes set` and `outcomes release`: corrections by hand.

use serde_json::{Map, Value, json};

use super::client::Server;
use super::exit::Failure;
use super::terminal::Output;

/// Whom it is about; the more is said, the surer it is found.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Subject {
    /// The call's id at the voice platform.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// The lead's phone, as +14155557777.
    #[arg(long)]
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
    /// What holds: shown, no_show, closed, lost, follow_up.
    outcome: String,
    #[command(flatten)]
    about: About,
    /// The team's own word for it.
    #[arg(long)]
    label: Option<String>,
    /// What it is worth, with a decimal point.
    #[arg(long, requires = "currency")]
    value: Option<String>,
    /// Its currency, as USD.
    #[arg(long)]
    currency: Option<String>,
    /// Why, in words.
    #[arg(long)]
    notes: Option<String>,
    /// When it happened; now, if it is not said.
    #[arg(long, value_name = "MOMENT")]
    occurred_at: Option<String>,
}

impl Correct {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let value = self
            .value
            .map(|amount| json!({ "amount": amount, "currency": self.currency }));
        let body = json!({
            "outcome": self.outcome,
            "label": self.label,
            "value": value,
            "notes": self.notes,
            "occurred_at": self.occurred_at,
            "about": self.about.to_json(),
        });
        let client = self.server.connect()?;
        tell(output, &client.post("/admin/v1/outcomes", &body).await?);
        Ok(())
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
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let body = json!({ "about": self.about.to_json() });
        let client = self.server.connect()?;
        tell(
            output,
            &client.post("/admin/v1/outcomes/release", &body).await?,
        );
        Ok(())
    }
}

fn tell(output: &Output, answer: &Value) {
    if output.is_json() {
        output.json(answer);
    } else {
        output.line(&format!(
            "stored as {}; `outcome-bridge events explain` tells what becomes of it",
            Output::cell(&answer["event"])
        ));
    }
}
