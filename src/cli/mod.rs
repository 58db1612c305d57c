//! The command line: `outcome-bridge <verb>` for the frequent things, `<noun> <verb>` for records.
//!
//! Data goes to standard output, everything else to standard error. `--format` chooses between tables for people and
//! JSON or CSV for scripts. Commands about a running bridge ask its admin API; the others work offline.

mod bench;
mod calls;
mod check;
mod client;
mod connectors;
mod consent;
mod correct;
mod deliveries;
mod demo;
mod destinations;
mod events;
mod examples;
mod exit;
mod import;
mod init;
mod init_command;
mod map;
mod moment;
mod outcomes;
mod output;
mod replay;
mod rows;
mod send;
mod serve;
mod terminal;
mod upkeep;

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use exit::Exit;

use exit::Failure;
use terminal::{Output, Speech};

use crate::config::{Config, Env, FILE_NAME};
use crate::telemetry;

/// Brings what each call led to, as told by CRMs, calendars and payment tools, to the outcome APIs of
/// voice-AI platforms.
#[derive(Debug, Parser)]
#[command(name = "outcome-bridge", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    speech: Speech,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
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
    #[command(visible_alias = "validate")]
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
    /// Destinations of a running bridge: how they do, pause and resume.
    #[command(subcommand)]
    Destinations(destinations::Destinations),
    /// Sources of a running bridge.
    #[command(subcommand)]
    Sources(destinations::Sources),
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

impl Command {
    /// Whether its answer is a list, which can be CSV.
    fn has_rows(&self) -> bool {
        match self {
            Self::Connectors(connectors) => matches!(connectors, connectors::Connectors::List(_)),
            Self::Events(events) => matches!(events, events::Events::List { .. }),
            Self::Deliveries(all) => matches!(all, deliveries::Deliveries::List { .. }),
            Self::DeadLetters(all) => matches!(all, deliveries::DeadLetters::List { .. }),
            Self::Destinations(all) => matches!(all, destinations::Destinations::List { .. }),
            Self::Sources(_) => true,
            Self::Outcomes(all) => matches!(
                all,
                outcomes::Outcomes::List { .. }
                    | outcomes::Outcomes::Export(_)
                    | outcomes::Outcomes::Report(_)
            ),
            Self::Calls(calls) => matches!(calls, calls::Calls::List { .. }),
            _ => false,
        }
    }

    /// Whether it asks a running bridge, whose requests may be told. The others log in their own way, or not at all.
    fn asks_a_bridge(&self) -> bool {
        !matches!(self, Self::Serve(_) | Self::Demo(_) | Self::Bench(_))
    }
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

impl ConfigArgs {
    /// The configuration, of a command that can do without: `instead` says what it needs when there is none.
    fn load_or(&self, instead: &str) -> Result<Config, Failure> {
        let loaded = Config::load(&self.config, &Env::system());
        loaded.map(|loaded| loaded.config).map_err(|mistakes| {
            let (file, inside) = (&self.config, self.config.join(FILE_NAME));
            if file.is_file() || inside.is_file() {
                return Failure::Mistakes(mistakes);
            }
            let named = mistakes.first().map_or(inside, |first| first.file.clone());
            Failure::Usage(format!(
                "{instead}, or --config with a configuration ({}: there is no such file)",
                named.display()
            ))
        })
    }
}

impl ConfigArgs {
    /// The directory of connectors that the configuration names. Whatever else is wrong with it, or that there is none, does
    /// not matter to somebody who looks at connectors.
    fn connectors_dir(&self) -> Option<PathBuf> {
        let examined = Config::examine(&self.config, &Env::system()).ok()?;
        examined.loaded.config.connectors_dir
    }
}

/// Runs the command line with the process's arguments.
pub fn run() -> Exit {
    let parsed = examples::added(Cli::command())
        .color(terminal::colour_of_help(std::env::args_os()))
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let Cli { speech, command } = match parsed {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let output = match Output::new(speech) {
        Ok(output) => output,
        Err(contradiction) => {
            output::tell(&format!("error: {contradiction}"));
            return Exit::Usage;
        }
    };
    if output.is_csv() && !command.has_rows() {
        output.fail("this command answers no list, which alone can be CSV; take --format json");
        return Exit::Usage;
    }
    if command.asks_a_bridge() && output.verbosity() > 0 {
        let filter = telemetry::Filter::quiet().raised(output.verbosity());
        let decided = output.colour().decided();
        // Nothing else has started logging, and without it the command does what it is asked.
        let _started = telemetry::init_in_colour(telemetry::Format::Human, &filter, decided);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return output.fail(&format!("the runtime cannot be started: {error}")),
    };
    runtime.block_on(dispatch(command, &output))
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
        Command::Destinations(destinations) => destinations.run(output).await,
        Command::Sources(sources) => sources.run(output).await,
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
