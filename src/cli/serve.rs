//! `serve`: run the bridge until a signal, then drain.

use tokio::signal::unix::{SignalKind, signal};

use super::ConfigArgs;
use super::exit::{Exit, Failure};
use super::terminal::Output;
use crate::app::Bridge;
use crate::config::Env;
use crate::diagnostic::Diagnostic;
use crate::setup::{Blueprint, Loaded};
use crate::telemetry;

/// Takes as many open files as the system allows: by default a process starts with a thousand, which the connections of
/// `max_connections` would use up alone.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "bridge.open_files: no more than before are allowed");
    }
}

/// Run the bridge.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Serve {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let Loaded {
            blueprint,
            warnings,
            ..
        } = Blueprint::load(&self.config.config, &Env::system()).map_err(Failure::Mistakes)?;
        output.diagnostics(&warnings);
        let log = &blueprint.config.log;
        let filter = log.filter.clone().raised(output.verbosity());
        telemetry::init_in_colour(log.format, &filter, output.colour().decided())
            .map_err(Failure::of)?;
        let warnings: Vec<String> = warnings.iter().map(Diagnostic::in_short).collect();
        for warning in &warnings {
            tracing::warn!(target: "config.warning", "{warning}");
        }
        allow_many_files();
        let drain = blueprint.config.server.shutdown_timeout;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::of)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::of)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(Failure::of)?;
        let mut bridge = tokio::select! {
            started = Bridge::start(blueprint, warnings) => started.map_err(Failure::of)?,
            _ = terminate.recv() => return Err(Failure::Failed("stopped before it had started".into())),
            _ = interrupt.recv() => return Err(Failure::Failed("stopped before it had started".into())),
        };
        tracing::info!(
            target: "bridge.started",
            inlet = %bridge.inlet,
            admin = %bridge.office,
            report = ?bridge.report,
            "ready: webhooks at http://{}/webhooks/{{source}}, admin at http://{}",
            bridge.inlet,
            bridge.office,
        );
        let failure = loop {
            tokio::select! {
                error = bridge.failed() => break Some(error),
                _ = terminate.recv() => break None,
                _ = interrupt.recv() => break None,
                _ = hangup.recv() => {
                    bridge.reload();
                    self.examine().await;
                }
            }
        };
        if let Some(error) = failure {
            tracing::error!(target: "bridge.failed", %error, "stopping: storage failed; a restart goes on where it was");
            bridge.abandon().await;
            return Err(Failure::of(error));
        }
        tracing::info!(target: "bridge.stopping", "draining; a second signal stops at once");
        let stopped = tokio::select! {
            stopped = tokio::time::timeout(drain + drain, bridge.stop()) => stopped,
            _ = terminate.recv() => return Err(Failure::Failed("stopped at once by a second signal".into())),
            _ = interrupt.recv() => return Err(Failure::Failed("stopped at once by a second signal".into())),
        };
        match stopped {
            Ok(Ok(())) => {
                tracing::info!(target: "bridge.stopped", "everything is on disk");
                Ok(Exit::Done)
            }
            Ok(Err(error)) => Err(Failure::of(error)),
            Err(_elapsed) => Err(Failure::Failed(
                "draining took too long; nothing acknowledged is lost".into(),
            )),
        }
    }

    /// Says whether the configuration as it stands now would do for the next start; what it says beyond rules and tables
    /// holds from then on.
    async fn examine(&self) {
        let location = self.config.config.clone();
        let load = move || Blueprint::load(&location, &Env::system());
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(_)) => tracing::info!(
                target: "config.reloaded",
                "mapping files and tables were read again; changes of outcome-bridge.toml hold from the next start"
            ),
            Ok(Err(mistakes)) => tracing::warn!(
                target: "config.refused",
                mistakes = mistakes.len(),
                first = mistakes.first().map(Diagnostic::in_short),
                "the configuration has mistakes, see `outcome-bridge check`; what held before goes on holding"
            ),
            Err(error) => {
                tracing::error!(target: "config.refused", %error, "the configuration was not read");
            }
        }
    }
}
