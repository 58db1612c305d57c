//! The layer of the environment: `OUTCOME_BRIDGE__SECTION__KEY`.
//!
//! Names are lower-cased and split at `__`. Names of sources and destinations may hold `-`, which a
//! variable may not: it is written `_` there and matched with the entries of the file.

use std::path::Path;

use config::{Map, Value, ValueKind};

use super::document::Document;
use super::env::{Env, Variable};
use super::layer::Layer;
use super::reference::read_file;
use super::wrong::Wrong;
use crate::diagnostic::{Diagnostic, did_you_mean};

const PREFIX: &str = "OUTCOME_BRIDGE__";

/// What the names of all our variables start with.
const OURS: &str = "OUTCOME_BRIDGE_";

/// What stands in for a file in diagnostics about variables.
pub(super) const ENVIRONMENT: &str = "environment";

/// The layer, and what was found on the way.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) tree: Map<String, Value>,
    /// The dotted paths of its values.
    paths: Vec<String>,
    pub(super) mistakes: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Overrides {
    /// Whether what the file has at `path` is replaced, by itself or with the list or table that it belongs to.
    pub(super) fn replaces(&self, path: &str) -> bool {
        self.paths.iter().any(|own| {
            path.strip_prefix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

/// Why a variable is not used.
enum Refusal {
    /// It sets nothing that there is. It may belong to another version, so nothing stops for it.
    Unknown(Wrong),
    /// It is meant for us but cannot be used.
    Unusable(Wrong),
}

/// Reads the variables that belong to us.
pub(super) fn read(env: &Env, file: &Document, defaults: &Document, dir: &Path) -> Overrides {
    let scene = Scene {
        env,
        file,
        defaults,
        dir,
    };
    let mut overrides = Overrides::default();
    for (name, variable) in env.starting_with(PREFIX) {
        let read = scene
            .path_of(name)
            .and_then(|path| Ok((path, scene.value_of(name, variable)?)));
        match read {
            Ok((path, value)) => {
                put(&mut overrides.tree, &path, value);
                overrides.paths.push(path.join("."));
            }
            Err(Refusal::Unknown(wrong)) => overrides.warnings.push(Diagnostic {
                help: wrong.help,
                ..Diagnostic::warning(ENVIRONMENT, wrong.message)
            }),
            Err(Refusal::Unusable(wrong)) => overrides.mistakes.push(Diagnostic {
                help: wrong.help,
                ..Diagnostic::error(ENVIRONMENT, wrong.message)
            }),
        }
    }
    overrides.warnings.extend(unknown_words(env, defaults));
    overrides
}

/// Warnings of variables with one `_` where two are meant. Others that begin like ours are none of our business: Kubernetes
/// sets a handful of them for a service of our name.
fn unknown_words(env: &Env, defaults: &Document) -> Vec<Diagnostic> {
    let ours = env.starting_with(OURS).map(|(name, _)| name);
    ours.filter(|name| !name.starts_with(PREFIX))
        .filter_map(|name| {
            let plain = |text: &str| text.to_uppercase().replace(['.', '-'], "_");
            let is_meant = |path: &&str| {
                // `OUTCOME_BRIDGE_CONNECTORS` is a flag of the command line; no section is an option.
                path.contains('.') && plain(path) == plain(&name[OURS.len()..])
            };
            let meant = defaults.paths().find(is_meant).map(variable_for)?;
            let warning =
                Diagnostic::warning(ENVIRONMENT, format!("`{name}` sets nothing that there is"));
            Some(warning.help(format!("did you mean `{meant}`?")))
        })
        .collect()
}

/// What variables are matched with.
struct Scene<'a> {
    env: &'a Env,
    file: &'a Document,
    defaults: &'a Document,
    dir: &'a Path,
}

impl Scene<'_> {
    /// The value of a variable. `file:PATH` is read; `${}` is not: the environment was filled in already.
    fn value_of(&self, name: &str, variable: Variable<'_>) -> Result<Value, Refusal> {
        let Variable::Text(text) = variable else {
            let message = format!("`{name}` is not valid UTF-8");
            return Err(Refusal::Unusable(Wrong::new(message)));
        };
        let text = match text.strip_prefix("file:") {
            None if holds_reference(text) => {
                let message = format!("`{name}` holds a `${{…}}`, which nothing fills in there");
                let help = "write the value itself, or `file:PATH` and the value into that file";
                return Err(Refusal::Unusable(Wrong::new(message).help(help)));
            }
            None => text.to_owned(),
            Some(path) => read_file(path, self.dir).map_err(|wrong| {
                let message = format!("`{name}`: {}", wrong.message);
                Refusal::Unusable(Wrong { message, ..wrong })
            })?,
        };
        let origin = Layer::Environment(name.to_owned()).origin().to_owned();
        Ok(Value::new(Some(&origin), ValueKind::String(text)))
    }

    /// The path that a variable sets.
    fn path_of(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let lower = name[PREFIX.len()..].to_lowercase();
        let parts: Vec<&str> = lower.split("__").collect();
        match parts.as_slice() {
            [kind @ ("sources" | "destinations"), entry, rest @ ..]
                if !rest.is_empty() && parts.iter().all(|part| !part.is_empty()) =>
            {
                let entry = self.entry_of(name, kind, entry)?;
                let keys = rest.iter().map(|&key| key.to_owned());
                Ok([(*kind).to_owned(), entry]
                    .into_iter()
                    .chain(keys)
                    .collect())
            }
            _ if self.is_option(&parts) => Ok(parts.into_iter().map(str::to_owned).collect()),
            _ => Err(self.unknown(name, &parts)),
        }
    }

    fn is_option(&self, parts: &[&str]) -> bool {
        parts.len() == 2 && self.defaults.place(&parts.join(".")).is_some()
    }

    fn unknown(&self, name: &str, parts: &[&str]) -> Refusal {
        let options = self.defaults.paths().filter(|path| path.contains('.'));
        let help = match did_you_mean(&parts.join("."), options) {
            Some(path) => format!("did you mean `{}`?", variable_for(path)),
            None => format!("the form is `{PREFIX}SECTION__KEY`, e.g. `{PREFIX}SERVER__BIND`"),
        };
        let message = format!("`{name}` sets no option that there is");
        Refusal::Unknown(Wrong::new(message).help(help))
    }

    /// The source or destination that `written` stands for: one of the file's, or a new one if its
    /// connector is set by the environment as well.
    fn entry_of(&self, name: &str, kind: &str, written: &str) -> Result<String, Refusal> {
        let entries: Vec<&str> = match self.file.tree.get(kind).map(|value| &value.kind) {
            Some(ValueKind::Table(entries)) => entries.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        let is_meant = |entry: &&str| entry.to_lowercase().replace('-', "_") == written;
        let mut meant: Vec<&str> = entries.iter().copied().filter(is_meant).collect();
        meant.sort_unstable();
        let connector = variable_for(&format!("{kind}.{written}.connector"));
        match meant.as_slice() {
            [entry] => Ok((*entry).to_owned()),
            [] if self.env.get(&connector).is_some() => Ok(written.to_owned()),
            [] => {
                let what = kind.trim_end_matches('s');
                let help = match did_you_mean(written, entries) {
                    Some(entry) => format!("did you mean the {what} `{entry}`?"),
                    None => format!("configure it, or set `{connector}` as well"),
                };
                let message = format!("`{name}` belongs to no {what} that is configured");
                Err(Refusal::Unknown(Wrong::new(message).help(help)))
            }
            several => {
                let message = format!("`{name}` could mean any of {}", several.join(", "));
                let help = "set it in the file, with a `${VAR}` of its own for each";
                Err(Refusal::Unusable(Wrong::new(message).help(help)))
            }
        }
    }
}

/// Whether somebody wrote a reference. `$$` is a dollar sign, after which none begins.
fn holds_reference(text: &str) -> bool {
    text.replace("$$", "").contains("${")
}

fn variable_for(path: &str) -> String {
    let upper = path.to_uppercase().replace('.', "__").replace('-', "_");
    format!("{PREFIX}{upper}")
}

/// Puts `value` at `path`, making tables on the way. Variables come in order of their names, so a
/// scalar is seen before what would lie inside of it; the later one wins.
fn put(tree: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        tree.insert(key.clone(), value);
        return;
    }
    let entry = tree
        .entry(key.clone())
        .or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
    if !matches!(entry.kind, ValueKind::Table(_)) {
        *entry = Value::new(None, Map::<String, Value>::new());
    }
    if let ValueKind::Table(entries) = &mut entry.kind {
        put(entries, rest, value);
    }
}
