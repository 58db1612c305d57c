//! Loading everything that `serve` would load, and reporting every mistake in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;

use super::{Destination, Routes, Rules, SharedTables, Source};
use crate::config::{self, Config, Env, Examined};
use crate::connector::{
    Catalogue, Connector, Inbound, Outbound, SourceOptions, Transport, Verification,
};
use crate::delivery::{DestinationOptions, RetryPolicy};
use crate::diagnostic::{Diagnostic, add_findings, did_you_mean};
use crate::metrics;
use crate::model::{ConnectorName, Correlation, DestinationName, Place, SourceName};

/// Everything a running bridge is made from.
#[derive(Debug)]
pub struct Blueprint {
    /// The configuration.
    pub config: Config,
    /// All connectors.
    pub catalogue: Arc<Catalogue>,
    /// The sources by name.
    pub sources: Arc<BTreeMap<SourceName, Arc<Source>>>,
    /// The destinations that are switched on, by name.
    pub destinations: BTreeMap<DestinationName, Arc<Destination>>,
    /// Which destinations want which outcomes.
    pub routes: Arc<Routes>,
}

/// A blueprint without mistakes.
#[derive(Debug)]
pub struct Loaded {
    /// The blueprint.
    pub blueprint: Blueprint,
    /// What somebody should look at, though nothing stops for it.
    pub warnings: Vec<Diagnostic>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
}

/// Mistakes and warnings, gathered while building.
#[derive(Default)]
struct Findings {
    mistakes: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Findings {
    /// Keeps what went wrong or what to look at; answers what came of it.
    fn take<T>(&mut self, result: Result<(T, Vec<Diagnostic>), Vec<Diagnostic>>) -> Option<T> {
        match result {
            Ok((made, warnings)) => {
                self.warnings.extend(warnings);
                Some(made)
            }
            Err(mistakes) => {
                self.mistakes.extend(mistakes);
                None
            }
        }
    }

    /// The same for what belongs to a source or a destination.
    fn take_within<T>(
        &mut self,
        result: Result<(T, Vec<Diagnostic>), Vec<Diagnostic>>,
        context: &str,
    ) -> Option<T> {
        let within = |found: Vec<Diagnostic>| {
            let found = found.into_iter();
            found.map(|diagnostic| diagnostic.within(context)).collect()
        };
        self.take(match result {
            Ok((made, warnings)) => Ok((made, within(warnings))),
            Err(mistakes) => Err(within(mistakes)),
        })
    }
}

impl Blueprint {
    /// Reads the configuration at `location` and everything it names.
    ///
    /// # Errors
    /// Every mistake in configuration, connectors, settings, rules and routes.
    pub fn load(location: &Path, env: &Env) -> Result<Loaded, Vec<Diagnostic>> {
        let Examined {
            loaded,
            mut mistakes,
        } = Config::examine(location, env)?;
        let config::Loaded {
            config,
            warnings,
            files,
            ..
        } = loaded;
        // Connectors and rules are looked at even when the configuration has mistakes: whoever puts them
        // right wants to see all of them at once.
        match Self::build(config, location) {
            Ok((blueprint, more)) if mistakes.is_empty() => {
                let warnings = warnings.into_iter().chain(more).collect();
                Ok(Loaded {
                    blueprint,
                    warnings,
                    files,
                })
            }
            Ok((_, more)) => {
                add_findings(&mut mistakes, warnings);
                add_findings(&mut mistakes, more);
                Err(mistakes)
            }
            Err(found) => {
                add_findings(&mut mistakes, found);
                Err(mistakes)
            }
        }
    }

    /// Builds everything from a configuration. `file` is named by mistakes that have no better place.
    ///
    /// # Errors
    /// Every mistake in connectors, settings and rules.
    pub fn build(config: Config, file: &Path) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        // Counters belong to the recorder that is there when they are made.
        metrics::exposition();
        let mut findings = Findings::default();
        let Some(catalogue) = findings.take(Catalogue::load(config.connectors_dir.as_deref()))
        else {
            return Err(findings.mistakes);
        };
        let (tables, found) = SharedTables::load(config.tables.clone());
        findings.mistakes.extend(found);
        let tables = Arc::new(tables);
        let mut sources = BTreeMap::new();
        for source in config.sources.values() {
            if let Some(made) =
                make_source(&config, source, &catalogue, &tables, file, &mut findings)
            {
                sources.insert(source.name.clone(), Arc::new(made));
            }
        }
        let mut destinations = BTreeMap::new();
        for destination in config.destinations.values().filter(|d| d.enabled) {
            if let Some(made) =
                make_destination(&config, destination, &catalogue, file, &mut findings)
            {
                destinations.insert(destination.name.clone(), Arc::new(made));
            }
        }
        if !findings.mistakes.is_empty() {
            return Err(findings.mistakes);
        }
        let routes = Arc::new(Routes::new(&config, &destinations));
        let blueprint = Self {
            config,
            catalogue: Arc::new(catalogue),
            sources: Arc::new(sources),
            destinations,
            routes,
        };
        Ok((blueprint, findings.warnings))
    }
}

fn make_source(
    config: &Config,
    source: &config::Source,
    catalogue: &Catalogue,
    tables: &Arc<SharedTables>,
    file: &Path,
    findings: &mut Findings,
) -> Option<Source> {
    let context = format!("source `{}`", source.name);
    let place = source.settings.place.as_ref();
    let connector = find(
        catalogue,
        &source.connector,
        place,
        file,
        &context,
        findings,
    )?;
    if connector.inbound.is_none() {
        findings.mistakes.push(
            at(
                place,
                file,
                format!("`{}` cannot be a source", connector.name),
            )
            .help("it only receives outcomes: use it under [destinations]")
            .within(context),
        );
        return None;
    }
    let options = SourceOptions {
        source: source.name.clone(),
        public_url: config.source_url(source).to_string(),
        verification: match source.verification {
            config::Verification::Connector => Verification::Required,
            config::Verification::None => Verification::Off,
        },
        dedupe_window: source
            .dedupe_window
            .and_then(|w| SignedDuration::try_from(w).ok()),
    };
    let inbound = Inbound::new(connector, &source.settings, &options);
    let inbound = findings.take_within(inbound, &context);
    let rules = findings.take(Rules::load(
        connector,
        Some(&source.mapping),
        tables.current(),
    ));
    let (inbound, rules) = (inbound?, rules?);
    let mut settings = inbound.settings_value().clone();
    if let (Some(currency), Some(known)) = (source.currency, settings.as_object_mut()) {
        // A general option, but rules ask for it where the vendor names no currency.
        known.insert("currency".to_owned(), currency.code().into());
    }
    let mut made = Source::new(
        source.name.clone(),
        Arc::clone(connector),
        inbound,
        source.region,
        settings,
        rules,
    );
    made.tables = Arc::clone(tables);
    made.mapping = Some(source.mapping.clone());
    made.grace = source.grace;
    made.infer_shown = source.infer_shown;
    Some(made)
}

fn make_destination(
    config: &Config,
    destination: &config::Destination,
    catalogue: &Catalogue,
    file: &Path,
    findings: &mut Findings,
) -> Option<Destination> {
    let context = format!("destination `{}`", destination.name);
    let place = destination.settings.place.as_ref();
    let connector = find(
        catalogue,
        &destination.connector,
        place,
        file,
        &context,
        findings,
    )?;
    if connector.outbound.is_none() {
        findings.mistakes.push(
            at(
                place,
                file,
                format!("`{}` cannot be a destination", connector.name),
            )
            .help("it only sends webhooks: use it under [sources]")
            .within(context),
        );
        return None;
    }
    let outbound = Outbound::new(connector, &destination.settings);
    let outbound = findings.take_within(outbound, &context)?;
    if outbound.transport() == Transport::Store && !config.store.enabled {
        findings.mistakes.push(
            at(
                place,
                file,
                "it writes into the outcome store, which is turned off".to_owned(),
            )
            .help("turn [store] on (`enabled = true`), or remove this destination")
            .within(context),
        );
        return None;
    }
    let mode = destination.mode.unwrap_or_else(|| outbound.mode());
    Some(Destination {
        name: destination.name.clone(),
        connector: Arc::clone(connector),
        outbound: Arc::new(outbound),
        precedence: destination.precedence,
        when: destination.when.clone(),
        mode,
        deliver: destination.deliver,
        correlation: correlation(destination, config),
        options: options(&destination.delivery),
    })
}

/// Where a destination does not say whose call ids it knows, they are those of the sources with the same connector:
/// the platform that takes the outcome also told of the call. Without such a source they may be any source's.
fn correlation(destination: &config::Destination, config: &Config) -> Correlation {
    let mut correlation = destination.correlation.clone();
    if correlation.calls.is_none() {
        let sources = config.sources.values();
        let own: BTreeSet<_> = sources
            .filter(|source| source.connector == destination.connector)
            .map(|source| source.name.clone())
            .collect();
        correlation.calls = (!own.is_empty()).then_some(own);
    }
    correlation
}

fn find<'a>(
    catalogue: &'a Catalogue,
    name: &ConnectorName,
    place: Option<&Place>,
    file: &Path,
    context: &str,
    findings: &mut Findings,
) -> Option<&'a Arc<Connector>> {
    let found = catalogue.get(name);
    if found.is_none() {
        let known = catalogue.iter().map(|connector| connector.name.as_str());
        let near = did_you_mean(name.as_str(), known)
            .map(|near| format!("did you mean `{near}`? "))
            .unwrap_or_default();
        findings.mistakes.push(
            at(place, file, format!("there is no connector `{name}`"))
                .help(format!("{near}`outcome-bridge connectors list` shows all"))
                .within(context),
        );
    }
    found
}

/// A mistake at `place`, or in `file` when nobody knows the place.
fn at(place: Option<&Place>, file: &Path, message: String) -> Diagnostic {
    match place {
        Some(place) => Diagnostic::error(&place.file, message).at(&place.text, place.span.clone()),
        None => Diagnostic::error(file, message),
    }
}

/// Delivery options as the workers take them. What the configuration has no word for keeps its default.
fn options(delivery: &config::Delivery) -> DestinationOptions {
    let defaults = DestinationOptions::default();
    DestinationOptions {
        concurrency: delivery.concurrency,
        rate_per_second: delivery.rate_per_second.map(|rate| f64::from(rate.get())),
        timeout: delivery.timeout,
        connect_timeout: delivery.connect_timeout,
        retry: RetryPolicy {
            first: delivery.retry_first,
            factor: delivery.retry_factor,
            cap: delivery.retry_cap,
            max_age: SignedDuration::try_from(delivery.max_age).unwrap_or(SignedDuration::MAX),
            ..defaults.retry
        },
        hold_probe: delivery.hold_probe,
        allow_private: delivery.allow_private,
        allow_networks: delivery.allow_networks.clone(),
        ..defaults
    }
}
