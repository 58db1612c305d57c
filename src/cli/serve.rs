//! `serve`: run the bridge until a signal, then drain.

use tokio::signal::unix::{SignalKind, signal};

use super::ConfigArgs;
use super::exit::{Exit, Failure};
use super::terminal::Output;
use crate::app::Bridge;
use crate::config::Env;
use crate::setup::{Blueprint, Loaded};
use crate::telemetry;

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
        telemetry::init(blueprint.config.log.format, &blueprint.config.log.filter)
            .map_err(Failure::of)?;
        let warnings: Vec<String> = warnings.into_iter().map(|w| w.message).collect();
        for warning in &warnings {
            tracing::warn!(target: "config.warning", "{warning}");
        }
        let drain = blueprint.config.server.shutdown_timeout;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::of)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::of)?;
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
        let failure = tokio::select! {
            error = bridge.failed() => Some(error),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
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
}
