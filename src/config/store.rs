//! `[store]`: the built-in outcome store, and the keys of the APIs that it serves.

use std::collections::BTreeSet;
use std::path::PathBuf;

use config::{Map, Value, ValueKind};
use jiff::Timestamp;

use super::read::{self, Read};
use super::section::Section;
use super::wrong::Wrong;
use crate::diagnostic::Severity;
use crate::model::{Basis, currency};

/// The built-in outcome store.
#[derive(Debug, Clone)]
pub struct Store {
    /// Whether outcomes are kept here as well. Default: yes.
    pub enabled: bool,
    /// Its SQLite file. Default: `outcomes.sqlite` in the data directory.
    pub path: Option<PathBuf>,
    /// The currency of a value that comes without one, where nothing else tells it. Default: none, it is summed apart.
    pub currency: Option<String>,
    /// APIs that answer without a key. Default: none.
    pub open: BTreeSet<StoreApi>,
    /// The keys, by name.
    pub keys: Vec<StoreKey>,
}

/// An API that the store serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreApi {
    /// `/api/calls/…`, as Phonely's.
    Phonely,
    /// `/v1/calls/…`, as Aura's.
    Aura,
    /// `/api/v1/…`, as change-outcome's.
    ChangeOutcome,
}

impl StoreApi {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Phonely, Self::Aura, Self::ChangeOutcome];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Phonely => "phonely",
            Self::Aura => "aura",
            Self::ChangeOutcome => "change-outcome",
        }
    }
}

/// A key for the store's APIs. The key itself is known to its holder only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreKey {
    /// Its name: who wrote something is told by it.
    pub name: String,
    /// SHA-256 of each text that opens: two while a key is changed for another.
    pub hashes: Vec<[u8; 32]>,
    /// The APIs that it opens. Default: all.
    pub apis: BTreeSet<StoreApi>,
    /// The agents whose calls it reaches. Default: all.
    pub agents: Option<Vec<String>>,
    /// When it ends. Default: never.
    pub expires: Option<Timestamp>,
    /// What it writes is reported, or set by hand and then holds. Default: reported.
    pub basis: Basis,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            enabled: true,
            path: None,
            currency: None,
            open: BTreeSet::new(),
            keys: Vec::new(),
        }
    }
}

impl Store {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let keys = section.get("keys", table).unwrap_or_default();
        let store = Self {
            enabled: section.get("enabled", read::flag).unwrap_or(true),
            path: section.optional("path", read::text).map(PathBuf::from),
            currency: section.optional("currency", currency_code),
            open: section.optional("open", apis).unwrap_or_default(),
            keys: read_keys(&mut section, keys),
        };
        if !store.open.is_empty() {
            let names: Vec<_> = store.open.iter().map(|api| api.as_str()).collect();
            let place = section.findings.file.place("store.open");
            let message = format!("the store's APIs {} answer without a key", names.join(", "));
            let wrong = Wrong::new(message)
                .help("anybody who reaches the listener can read and write calls");
            section.findings.note(Severity::Warning, place, None, wrong);
        }
        section.finish();
        store
    }
}

fn table(value: &Value) -> Read<Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(entries) => Ok(entries.clone()),
        other => Err(read::mistyped("a table", other)),
    }
}

fn currency_code(value: &Value) -> Read<String> {
    let text = read::text(value)?;
    currency(&text)
        .map(|currency| currency.code().to_owned())
        .map_err(|error| Wrong::new(error.to_string()).help("write three letters, such as \"USD\""))
}

fn apis(value: &Value) -> Read<BTreeSet<StoreApi>> {
    let api = |text: String| {
        StoreApi::ALL
            .into_iter()
            .find(|api| api.as_str() == text)
            .ok_or_else(|| {
                Wrong::new(format!("`{text}` is not an API of the store"))
                    .help("use \"phonely\", \"aura\" or \"change-outcome\"")
            })
    };
    read::texts(value)?.into_iter().map(api).collect()
}

fn hashes(value: &Value) -> Read<Vec<[u8; 32]>> {
    let hash = |text: String| {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let mut hash = [0; 32];
        hex::decode_to_slice(hex, &mut hash)
            .map(|()| hash)
            .map_err(|_not_a_hash| {
                // Not shown: it may be the key itself.
                Wrong::new("not the hash of a key").help(
                    "make a key with `outcome-bridge calls new-key NAME`: it shows the key once, and the `sha256:…` for here",
                )
            })
    };
    read::texts(value)?.into_iter().map(hash).collect()
}

fn moment(value: &Value) -> Read<Timestamp> {
    read::text(value)?.parse().map_err(|_unreadable| {
        Wrong::new("not a moment").help("write it as \"2027-01-31T00:00:00Z\"")
    })
}

fn basis(value: &Value) -> Read<Basis> {
    match read::text(value)?.as_str() {
        "reported" => Ok(Basis::Reported),
        "manual" => Ok(Basis::Manual),
        other => {
            Err(Wrong::new(format!("`{other}` is not a basis"))
                .help("use \"reported\" or \"manual\""))
        }
    }
}

/// What to do without a hash.
pub(super) const NEW_KEY: &str = "`outcome-bridge calls new-key NAME` makes a key and its hash";

fn read_keys(section: &mut Section<'_, '_>, keys: Map<String, Value>) -> Vec<StoreKey> {
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_by(|(a, _), (b, _)| a.cmp(b));
    keys.into_iter()
        .filter_map(|(name, value)| read_key(section, name, value))
        .collect()
}

fn read_key(section: &mut Section<'_, '_>, name: String, value: Value) -> Option<StoreKey> {
    let path = format!("store.keys.{name}");
    let mut entry =
        Section::new(section.findings, (path, Some(value))).within(format!("key {name}"));
    let key = StoreKey {
        hashes: entry
            .required("hash", NEW_KEY, read::some(hashes, NEW_KEY))
            .unwrap_or_default(),
        apis: entry
            .get("apis", read::some(apis, "leave it out for all APIs"))
            .unwrap_or_else(|| StoreApi::ALL.into()),
        agents: entry.get(
            "agents",
            read::some(read::texts, "leave it out for the calls of all agents"),
        ),
        expires: entry.optional("expires", moment),
        basis: entry.get("basis", basis).unwrap_or_default(),
        name,
    };
    entry.finish();
    Some(key)
}
