//! The command line: `outcome-bridge <verb>` for the frequent things, `<noun> <verb>` for records.
//!
//! Data goes to standard output, everything else to standard error. `--json` prints machine-readable
//! JSON. Commands about a running bridge ask its admin API; the others work offline.

mod bench;
mod calls;
mod check;
mod client;
mod connectors;
mod correct;
mod deliveries;
mod demo;
mod events;
mod exit;
mod import;
mod init;
mod init_command;
mod map;
mod outcomes;
mod output;
mod replay;
mod rows;
mod send;
mod serve;
mod terminal;
mod upkeep;

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;

use terminal::Output;

/// Brings what each call led to, as told by CRMs, calendars and payment tools, to the outcome APIs of
/// voice-AI platforms.
#[derive(Debug, Parser)]
#[command(name = "outcome-bridge", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  outcome-bridge demo                                     see it work, nothing to configure
  outcome-bridge init ./config --connector hubspot --connector phonely
  outcome-bridge check --config ./config
  outcome-bridge serve --config ./config
  outcome-bridge send --source hubspot deal-won           sign a case and post it, as HubSpot would
  outcome-bridge events explain evt_…                     why it became what it became

Exit codes: 0 done, 1 failed, 2 check or test found mistakes, 64 wrong usage, 69 no server reached.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a story of signed webhooks against a bridge of its own, and show what became of each.
    Demo(demo::Demo),
    /// Write a commented starting configuration for the connectors you name.
    Init(init_command::Init),
    /// Run the bridge.
    Serve(serve::Serve),
    /// Load everything `serve` would load and report every mistake.
    Check(check::Check),
    /// List, show and test connectors.
    #[command(subcommand)]
    Connectors(connectors::Connectors),
    /// Run a source's rules over a saved event. Nothing is stored or sent.
    Map(map::Map),
    /// Sign a case or a file as the vendor would, and post it.
    Send(send::Send),
    /// Events of a running bridge.
    #[command(subcommand)]
    Events(events::Events),
    /// Deliveries of a running bridge.
    #[command(subcommand)]
    Deliveries(deliveries::Deliveries),
    /// Deliveries that were given up.
    #[command(subcommand)]
    DeadLetters(deliveries::DeadLetters),
    /// Calls with their current outcome, in the built-in store.
    #[command(subcommand)]
    Outcomes(outcomes::Outcomes),
    /// Calls in the built-in store, and keys for its APIs.
    #[command(subcommand)]
    Calls(calls::Calls),
    /// Back up a bridge, running or stopped.
    Backup(upkeep::MakeBackup),
    /// Restore a backup into an empty data directory.
    Restore(upkeep::Restore),
    /// Look whether the data of a bridge is sound, and repair it.
    Doctor(upkeep::Doctor),
    /// Measure this machine and what the bridge makes of it.
    Bench(bench::Bench),
    /// Print a completion script for your shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where the configuration is.
#[derive(Debug, Clone, clap::Args)]
struct ConfigArgs {
    /// The configuration directory, or the file itself.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "config",
        env = "OUTCOME_BRIDGE_CONFIG"
    )]
    config: PathBuf,
}

/// Runs the command line with the process's arguments.
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let output = Output::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return output.fail(&format!("the runtime cannot be started: {error}")),
    };
    runtime.block_on(dispatch(cli.command, &output))
}

async fn dispatch(command: Command, output: &Output) -> Exit {
    let done = match command {
        Command::Demo(demo) => demo.run(output).await,
        Command::Init(init) => init.run(output),
        Command::Serve(serve) => serve.run(output).await,
        Command::Check(check) => check.run(output),
        Command::Connectors(connectors) => connectors.run(output),
        Command::Map(map) => map.run(output),
        Command::Send(send) => send.run(output).await,
        Command::Events(events) => events.run(output).await,
        Command::Deliveries(deliveries) => deliveries.run(output).await,
        Command::DeadLetters(letters) => letters.run(output).await,
        Command::Outcomes(outcomes) => outcomes.run(output).await,
        Command::Calls(calls) => calls.run(output).await,
        Command::Backup(backup) => backup.run(output).await,
        Command::Restore(restore) => restore.run(output),
        Command::Doctor(doctor) => doctor.run(output).await,
        Command::Bench(bench) => bench.run(output).await,
        Command::Completions { shell } => {
            // Into memory: what makes it would panic when nobody reads on.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "outcome-bridge", &mut script);
            output.text(&String::from_utf8_lossy(&script));
            Ok(Exit::Done)
        }
    };
    done.unwrap_or_else(|failure| failure.report(output))
}
