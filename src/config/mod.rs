//! What an operator configures, read once at start and then trusted.
//!
//! # Layers
//!
//! 1. `config/default.toml`, compiled in: every option at its default;
//! 2. `outcome-bridge.toml` in the configuration directory;
//! 3. `OUTCOME_BRIDGE__SECTION__KEY` variables of the environment.
//!
//! The `config` crate lays them over each other. It names the key of a mistake but not its line, so
//! the file is also read with spans, and every mistake is reported with its place: all of them at
//! once, each with what to do about it.
//!
//! # What this does not do
//!
//! It does not know connectors. Whatever a source or destination sets beyond the general options is
//! handed on as [`Settings`] with places, and the connector says what it thinks of it.

mod action;
mod admin;
mod advice;
mod condition;
mod correlation;
mod delivery;
mod destination;
mod document;
mod env;
mod layer;
mod load;
mod log;
mod overrides;
mod read;
mod reference;
mod route;
mod section;
mod server;
mod size;
mod source;
mod storage;
mod store;
mod table;
mod veil;
mod wrong;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use url::Url;

use crate::diagnostic::Diagnostic;
#[cfg(doc)]
use crate::model::Settings;
use crate::model::{ConnectorName, DestinationName, OutcomeKind, SourceName, TableName};

pub use admin::Admin;
pub use delivery::Delivery;
pub use destination::Destination;
pub use env::Env;
pub use layer::{Effective, Layer};
pub use log::Log;
pub use route::Route;
pub use server::Server;
pub use size::ByteSize;
pub(crate) use source::GRACE;
pub use source::{MappingFile, Source, Verification};
pub use storage::Storage;
pub use store::{Store, StoreApi, StoreKey};
pub use table::{Rows, Table};

/// The name of the built-in destination and of its connector.
pub const OUTCOME_STORE: &str = "outcome-store";

/// The name of the configuration file in its directory.
pub const FILE_NAME: &str = "outcome-bridge.toml";

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listener for webhooks.
    pub server: Server,
    /// The listener for the admin API and the console.
    pub admin: Admin,
    /// Where data is kept, how much and for how long.
    pub storage: Storage,
    /// How outcomes are sent, where a destination does not say otherwise.
    pub delivery: Delivery,
    /// What is logged and how.
    pub log: Log,
    /// A directory of connectors that is laid over the built-in ones. Default: none.
    pub connectors_dir: Option<PathBuf>,
    /// The built-in outcome store.
    pub store: Store,
    /// Look-up tables for the rules of every source.
    pub tables: BTreeMap<TableName, Table>,
    /// Inbound uses of connectors.
    pub sources: BTreeMap<SourceName, Source>,
    /// Outbound uses of connectors, the built-in store among them unless it is turned off.
    pub destinations: BTreeMap<DestinationName, Destination>,
    /// Which outcomes go where. None at all: every outcome goes to every destination.
    pub routes: Vec<Route>,
}

/// A configuration that was read without mistakes.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What somebody should look at, though nothing stops for it.
    pub warnings: Vec<Diagnostic>,
    /// The configuration file, the mapping files that belong to its sources, and the files of its tables.
    pub files: Vec<PathBuf>,
    /// Every value in effect with the layer that it came from; secrets only as set or not set.
    pub effective: Vec<Effective>,
}

/// A configuration as far as it could be read, for whoever wants to find every mistake at once and not only those
/// of the configuration itself: connectors and rules can be checked although something else is wrong.
#[derive(Debug, Clone)]
pub struct Examined {
    /// What could be read. Where there is a mistake it holds a default or a made-up value, so nothing may run
    /// with it unless `mistakes` is empty.
    pub loaded: Loaded,
    /// Every mistake.
    pub mistakes: Vec<Diagnostic>,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self {
            server: Server::default(),
            admin: Admin::default(),
            storage: Storage::default(),
            delivery: Delivery::default(),
            log: Log::default(),
            connectors_dir: None,
            store: Store::default(),
            tables: BTreeMap::new(),
            sources: BTreeMap::new(),
            destinations: BTreeMap::new(),
            routes: Vec::new(),
        };
        config.add_outcome_store();
        config
    }
}

impl Config {
    /// Reads the configuration in the directory `location`, or the file `location` itself.
    ///
    /// # Errors
    /// Every mistake in it, never only the first, and then the warnings.
    pub fn load(location: &Path, env: &Env) -> Result<Loaded, Vec<Diagnostic>> {
        let examined = load::examine(location, env)?;
        let mut mistakes = examined.mistakes;
        if mistakes.is_empty() {
            return Ok(examined.loaded);
        }
        mistakes.extend(examined.loaded.warnings);
        Err(mistakes)
    }

    /// Reads the configuration as [`Config::load`] does, and goes on where there is a mistake.
    ///
    /// # Errors
    /// When there is nothing to go on with: the file cannot be read or is not TOML.
    pub fn examine(location: &Path, env: &Env) -> Result<Examined, Vec<Diagnostic>> {
        load::examine(location, env)
    }

    /// Where senders reach `source`: its own public URL, or the server's with `/webhooks/{source}`.
    pub fn source_url(&self, source: &Source) -> Url {
        source
            .public_url
            .clone()
            .unwrap_or_else(|| self.server.webhook_url(&source.name))
    }

    /// The file that holds the outcome store.
    pub fn store_path(&self) -> PathBuf {
        self.store
            .path
            .clone()
            .unwrap_or_else(|| self.storage.dir.join("outcomes.sqlite"))
    }

    /// The destinations that an outcome may go to, in order of their names; conditions of routes are not asked. The built-in store gets
    /// every outcome, whatever the routes say; destinations that are switched off get none.
    pub fn destinations_for(&self, source: &SourceName, kind: OutcomeKind) -> Vec<&Destination> {
        let routed = |name: &DestinationName, group: &DestinationName| {
            self.routes.is_empty()
                || name.as_str() == OUTCOME_STORE
                || self
                    .routes
                    .iter()
                    .any(|route| route.takes(source, kind) && route.destinations.contains(group))
        };
        self.destinations
            .values()
            .filter(|destination| {
                destination.enabled && routed(&destination.name, destination.group())
            })
            .collect()
    }

    /// Adds the built-in store to the destinations, unless it is turned off or configured already.
    fn add_outcome_store(&mut self) {
        let names = (
            DestinationName::new(OUTCOME_STORE),
            ConnectorName::new(OUTCOME_STORE),
        );
        if let (true, (Ok(name), Ok(connector))) = (self.store.enabled, names) {
            let delivery = self.delivery.clone();
            self.destinations
                .entry(name.clone())
                .or_insert_with(|| Destination::new(name, connector, delivery));
        }
    }
}
