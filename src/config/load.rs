//! Reading a configuration: layers, then sections, then what they say about each other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::{Map, Value, ValueKind};

use super::advice;
use super::condition::Written;
use super::document::Document;
use super::layer::{Layer, effective, merge};
use super::overrides;
use super::read;
use super::route::{self, Names};
use super::section::{Findings, Section};
use super::wrong::Wrong;
use super::{
    Admin, Config, Delivery, Destination, Env, Examined, FILE_NAME, Loaded, Log, Server, Source,
    Storage, Store, Table,
};
use crate::diagnostic::{Diagnostic, Severity, did_you_mean};
use crate::model::DestinationName;

/// The compiled-in lowest layer.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The tables at the top, in the order of the documentation.
const SECTIONS: [&str; 11] = [
    "server",
    "admin",
    "storage",
    "delivery",
    "log",
    "connectors",
    "store",
    "tables",
    "sources",
    "destinations",
    "routes",
];

pub(super) fn examine(location: &Path, env: &Env) -> Result<Examined, Vec<Diagnostic>> {
    let (file, dir) = locate(location);
    let text = read_text(&file)?;
    let document = Document::parse(&file, &text, Layer::File.origin(), env, &dir)?;
    let written = Written::parse(&text, env, &dir);
    read_layers(&document, &written, env, &dir)
}

/// The configuration of the compiled-in defaults, `document` and the environment.
fn read_layers<'a>(
    document: &'a Document,
    written: &'a Written<'a>,
    env: &Env,
    dir: &Path,
) -> Result<Examined, Vec<Diagnostic>> {
    let defaults = defaults();
    let overrides = overrides::read(env, document, &defaults, dir);
    let mut findings = Findings {
        file: document,
        written,
        defaults: &defaults,
        mistakes: document.mistakes(|path| overrides.replaces(path)),
        warnings: overrides.warnings,
    };
    findings.mistakes.extend(overrides.mistakes);
    let layers = [&defaults.tree, &document.tree, &overrides.tree];
    let merged = merge(layers, &SECTIONS)
        .map_err(|error| vec![Diagnostic::error(document.file(), error.to_string())])?;
    report_unknown_sections(&mut findings);
    let effective = effective(&merged, &defaults);
    let config = read_sections(merged, &mut findings, dir);
    let files = files(&config, document.file());
    advice::give(&config, &mut findings, dir);
    let Findings {
        mut mistakes,
        warnings,
        ..
    } = findings;
    // References were looked at before everything else; people read from top to bottom.
    mistakes.sort_by_key(|mistake| mistake.span.as_ref().map(|span| span.start));
    let loaded = Loaded {
        config,
        warnings,
        files,
        effective,
    };
    Ok(Examined { loaded, mistakes })
}

/// The file, and the directory that relative paths in it start from. What is not there yet is taken for a
/// file if it is named like one.
fn locate(location: &Path) -> (PathBuf, PathBuf) {
    let looks_like_a_file = location.extension().is_some_and(|end| end == "toml");
    if location.is_dir() || !(location.exists() || looks_like_a_file) {
        return (location.join(FILE_NAME), location.to_owned());
    }
    let dir = location.parent().filter(|dir| !dir.as_os_str().is_empty());
    (
        location.to_owned(),
        dir.unwrap_or(Path::new(".")).to_owned(),
    )
}

fn read_text(file: &Path) -> Result<String, Vec<Diagnostic>> {
    std::fs::read_to_string(file).map_err(|error| {
        let mistake = match error.kind() {
            io::ErrorKind::NotFound => Diagnostic::error(file, "there is no such file")
                .help("`outcome-bridge init DIR` writes a configuration to start from"),
            io::ErrorKind::InvalidData => {
                Diagnostic::error(file, "not valid UTF-8").help("save the file as UTF-8")
            }
            _ => Diagnostic::error(file, format!("cannot be read: {error}")),
        };
        vec![mistake]
    })
}

/// The lowest layer, with its places: they say which options there are.
pub(super) fn defaults() -> Document {
    let (file, dir) = (Path::new("config/default.toml"), Path::new("."));
    let origin = Layer::Default.origin();
    Document::parse(file, DEFAULTS, origin, &Env::default(), dir)
        .expect("the file is a constant and is tested")
}

fn report_unknown_sections(findings: &mut Findings<'_>) {
    let document = findings.file;
    let mut unknown: Vec<&String> = document
        .tree
        .keys()
        .filter(|key| !SECTIONS.contains(&key.as_str()))
        .collect();
    unknown.sort();
    for key in unknown {
        let suffix = format!(".{key}");
        let option = findings
            .defaults
            .paths()
            .find(|path| path.ends_with(&suffix));
        let help = match (did_you_mean(key, SECTIONS), option) {
            (Some(section), _) => format!("did you mean `{section}`?"),
            (None, Some(option)) => format!("did you mean `{option}`?"),
            (None, None) => format!("the sections are {}", SECTIONS.join(", ")),
        };
        let wrong = Wrong::new(format!("`{key}` is not a section")).help(help);
        findings.note(Severity::Error, document.key_place(key), None, wrong);
    }
}

fn read_sections(
    mut merged: Map<String, Value>,
    findings: &mut Findings<'_>,
    dir: &Path,
) -> Config {
    let names = Names::of(&merged);
    let mut take = |key: &str| (key.to_owned(), merged.remove(key));
    let [
        server,
        admin,
        storage,
        delivery,
        log,
        connectors,
        store,
        tables,
        sources,
        destinations,
        routes,
    ] = SECTIONS.map(&mut take);
    let mut config = Config {
        server: Server::read(Section::new(findings, server)),
        admin: Admin::read(Section::new(findings, admin)),
        storage: Storage::read(Section::new(findings, storage)),
        delivery: general_delivery(Section::new(findings, delivery)),
        log: Log::read(Section::new(findings, log)),
        connectors_dir: connectors_dir(Section::new(findings, connectors), dir),
        store: Store::read(Section::new(findings, store)),
        tables: BTreeMap::new(),
        sources: BTreeMap::new(),
        destinations: BTreeMap::new(),
        routes: Vec::new(),
    };
    config.tables = entries(findings, tables, "table", |_, section| {
        Table::read(section, dir)
    });
    config.sources = entries(findings, sources, "source", |name, section| {
        Source::read(name, section, dir)
    });
    let general = config.delivery.clone();
    let path = destinations.0.clone();
    let read = entries(findings, destinations, "destination", |name, section| {
        Destination::read(name, section, &general, &names)
    });
    config.destinations = one_map(findings, &path, read);
    config.add_outcome_store();
    report_address_twice(&config, findings);
    config.routes = route::read(findings, routes.1, &names, config.store.enabled);
    config
}

/// A port of all addresses cannot be listened on at one of them as well. The same address twice is one listener.
fn report_address_twice(config: &Config, findings: &mut Findings<'_>) {
    let (server, admin) = (config.server.bind, config.admin.bind);
    // `::` takes IPv4 along.
    let takes = |all: SocketAddr, one: SocketAddr| {
        all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4())
    };
    let meet = takes(server, admin) || takes(admin, server);
    if server != admin && server.port() == admin.port() && server.port() != 0 && meet {
        let file = findings.file;
        let place = file.place("admin.bind").or(file.place("server.bind"));
        let message =
            format!("`server.bind` ({server}) and `admin.bind` ({admin}) are in each other's way");
        let wrong = Wrong::new(message)
            .help("take another port, or the same address for both on one listener");
        findings.note(Severity::Error, place, None, wrong);
    }
}

/// Destinations and their actions by name.
fn one_map(
    findings: &mut Findings<'_>,
    path: &str,
    read: BTreeMap<DestinationName, Vec<Destination>>,
) -> BTreeMap<DestinationName, Destination> {
    let configured: BTreeSet<DestinationName> = read.keys().cloned().collect();
    let mut destinations = BTreeMap::new();
    for destination in read.into_values().flatten() {
        let group = destination.group().clone();
        let name = destination.name.clone();
        let taken = configured.contains(&name) || destinations.contains_key(&name);
        destinations.insert(name.clone(), destination);
        if name != group && taken {
            let wrong = Wrong::new(format!("there are two destinations `{name}`"))
                .help("give the action another `name`, or the other destination");
            let place = findings.file.key_place(&format!("{path}.{group}"));
            let context = format!("destination `{group}`");
            findings.note(Severity::Error, place, Some(&context), wrong);
        }
    }
    destinations
}

fn general_delivery(mut section: Section<'_, '_>) -> Delivery {
    let delivery = Delivery::read(&mut section, &Delivery::default());
    section.finish();
    delivery
}

fn connectors_dir(mut section: Section<'_, '_>, dir: &Path) -> Option<PathBuf> {
    let overlay = section.optional("dir", |value| {
        let path = dir.join(read::text(value)?);
        if path.is_dir() {
            return Ok(path);
        }
        Err(
            Wrong::new(format!("there is no directory `{}`", path.display()))
                .help("the path is relative to the configuration directory"),
        )
    });
    section.finish();
    overlay
}

/// The entries of `[sources]` or `[destinations]`, by name.
fn entries<'a, N, T>(
    findings: &mut Findings<'a>,
    (path, value): (String, Option<Value>),
    what: &str,
    mut read: impl FnMut(N, Section<'_, 'a>) -> Option<T>,
) -> BTreeMap<N, T>
where
    N: std::str::FromStr<Err = crate::model::NameError> + Ord + Clone,
{
    let tables = match value.map(|value| value.kind) {
        Some(ValueKind::Table(tables)) => tables,
        None | Some(ValueKind::Nil) => Map::new(),
        Some(other) => {
            let place = findings.file.place(&path);
            let wrong = Wrong::new(format!(
                "`{path}`: {}",
                read::mistyped("a table", &other).message
            ));
            findings.note(
                Severity::Error,
                place,
                None,
                wrong.help(format!("write [{path}.NAME]")),
            );
            Map::new()
        }
    };
    let mut tables: Vec<_> = tables.into_iter().collect();
    tables.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut read_one = |(key, value): (String, Value)| {
        let path = format!("{path}.{key}");
        let context = format!("{what} `{key}`");
        match key.parse::<N>() {
            Ok(name) => {
                let section = Section::new(findings, (path, Some(value))).within(context);
                Some((name.clone(), read(name, section)?))
            }
            Err(error) => {
                let place = findings.file.key_place(&path);
                findings.note(
                    Severity::Error,
                    place,
                    Some(&context),
                    Wrong::new(error.to_string()),
                );
                None
            }
        }
    };
    tables.into_iter().filter_map(&mut read_one).collect()
}

/// The configuration file, the mapping files that belong to its sources, and the files of its tables.
fn files(config: &Config, file: &Path) -> Vec<PathBuf> {
    let mappings = config
        .sources
        .values()
        .filter_map(|source| Some(source.mapping.in_use()?.to_owned()));
    let tables = config.tables.values().filter_map(|table| table.rows.file());
    std::iter::once(file.to_owned())
        .chain(mappings)
        .chain(tables.map(Path::to_owned))
        .collect()
}
