//! `outcomes list|export|report`: what the built-in store of a running bridge knows; `set` and `release` by hand.

mod export;
mod report;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use super::client::Server;
use super::correct::{Correct, ReleaseCorrection};
use super::exit::{Exit, Failure};
use super::import::{ImportFile, Wares};
use super::moment;
use super::terminal::Output;
use crate::model::OutcomeKind;

/// Calls with their current outcome.
#[derive(Debug, Subcommand)]
pub(super) enum Outcomes {
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
    /// Write all of them to standard output or a file, as CSV or JSON lines, which `outcomes import` takes.
    Export(export::Export),
    /// Counts, worth, rates and trends of many calls.
    Report(report::Report),
    /// Bring outcomes in from a file: CSV with a heading (its name ends in .csv), or JSON lines.
    ///
    /// Columns: outcome and occurred_at (required); call_id, phone, email, booking_id, deal_id, contact_id (at least one of them);
    /// agent_id, value, currency, label, notes, basis, metadata.NAME. They reach every destination that wants them.
    ///
    /// A file of `outcomes export` can be imported as it is: kind stands for outcome, metadata for all metadata.NAME, and a
    /// target for the booking, deal or contact that alone is known (those ids are a source's own: give --source, and export
    /// with --source). Passed over are call_ref, revision, outcome_id, value_minor, source, actor, event_id, rule and
    /// recorded_at.
    Import {
        #[command(flatten)]
        import: ImportFile,
        /// The source whose ids the file names, and whose routes its outcomes take.
        #[arg(long)]
        source: Option<String>,
    },
    /// Set an outcome by hand. It holds until it is released, whatever is reported.
    Set(Correct),
    /// Release what was set by hand: what is reported holds again.
    Release(ReleaseCorrection),
    /// Write what was delivered to the built-in store into it again, after its file was lost. What is there stays, and what
    /// was newly said since then holds.
    ///
    /// As far back as events are kept (`storage.retention`). What clients of the store's own APIs wrote is in
    /// backups only.
    Rebuild(super::upkeep::Rebuild),
}

/// Which outcomes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Filter {
    /// Only of this kind.
    #[arg(long, value_parser = PossibleValuesParser::new(OutcomeKind::ALL.map(OutcomeKind::as_str)))]
    kind: Option<String>,
    /// Only of this call.
    #[arg(long)]
    call: Option<String>,
    /// Only from this source.
    #[arg(long)]
    source: Option<String>,
    /// Only those that occurred since: 2h, 3days, yesterday, 2026-05-06 (local), or 2026-05-06T16:10:00Z.
    #[arg(long, value_name = "MOMENT", value_parser = moment::filter)]
    since: Option<String>,
    /// Only those that occurred before.
    #[arg(long, value_name = "MOMENT", value_parser = moment::filter)]
    until: Option<String>,
}

impl Filter {
    fn query(self) -> Vec<(&'static str, String)> {
        vec![
            ("kind", self.kind.unwrap_or_default()),
            ("call", self.call.unwrap_or_default()),
            ("source", self.source.unwrap_or_default()),
            ("since", self.since.unwrap_or_default()),
            ("until", self.until.unwrap_or_default()),
        ]
    }
}

impl Outcomes {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let (server, filter, limit) = match self {
            Self::List {
                server,
                filter,
                limit,
            } => (server, filter, limit),
            Self::Export(export) => return export.run(output).await,
            Self::Report(report) => return report.run(output).await,
            Self::Import { import, source } => {
                let source = source.map(|source| ("source".to_owned(), source.into()));
                let beside = source.into_iter().collect();
                return import.with(&Wares::OUTCOMES, beside, output).await;
            }
            Self::Set(correct) => return correct.run(output).await,
            Self::Rebuild(rebuild) => return rebuild.run(output).await,
            Self::Release(release) => return release.run(output).await,
        };
        let mut query = filter.query();
        query.push(("limit", limit.to_string()));
        let client = server.connect()?;
        let page = client.get("/admin/v1/outcomes", &query).await?;
        if output.is_json() {
            output.json(&page);
            return Ok(Exit::Done);
        }
        let columns = [
            "target",
            "kind",
            "value",
            "currency",
            "occurred_at",
            "source",
            "rule",
        ];
        output.items(&page["items"], &columns.map(|name| (name, name)));
        output.hint(&client.page("/console/calls"));
        Ok(Exit::Done)
    }
}
