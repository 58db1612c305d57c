//! `init`: a commented configuration to start from, for the connectors that were named.
//!
//! What must be set stands there as `${VARIABLE}`, so that no secret is ever written by us; everything
//! else stands as a comment with its default. What is there already is never overwritten.

mod text;

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use url::Url;

use crate::config::{FILE_NAME, Server};
use crate::model::{ConnectorName, SourceName};

/// What is written about a connector, taken from its catalogue entry.
#[derive(Debug, Clone)]
pub(super) struct ConnectorSketch {
    /// Its name; also the name of the source or destination.
    pub(super) name: ConnectorName,
    /// The product's name for people.
    pub(super) title: String,
    /// What it reports or takes, in a sentence.
    pub(super) summary: String,
    /// What an operator sets for the use that is meant, in order.
    pub(super) fields: Vec<FieldSketch>,
}

/// What is written about a field of a connector.
#[derive(Debug, Clone)]
pub(super) struct FieldSketch {
    /// Its key in the configuration.
    pub(super) key: String,
    /// Its name for people.
    pub(super) label: String,
    /// Where to find the value.
    pub(super) help: String,
    /// Whether it must not be seen. Written as a variable even when it is not required.
    pub(super) secret: bool,
    /// Whether it has to be set.
    pub(super) required: bool,
    /// What holds when it is not set.
    pub(super) default: Option<Value>,
    /// A value as it might be.
    pub(super) example: Option<Value>,
}

/// A variable of the environment that the written configuration refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    /// Its name.
    pub(super) name: String,
    /// What it holds, and where to find that.
    pub(super) meaning: String,
}

/// What was written, and what is left to do.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// The configuration directory.
    pub(super) dir: PathBuf,
    /// The files, in the order of writing.
    pub(super) files: Vec<PathBuf>,
    /// What must be set before `check` passes.
    pub(super) variables: Vec<Variable>,
    /// The URL to enter at each source's vendor.
    pub(super) webhooks: Vec<(SourceName, Url)>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum InitError {
    /// A file is there already.
    #[error("`{}` is there already, and nothing is overwritten; name another directory", .0.display())]
    Exists(PathBuf),
    /// A file or directory cannot be written.
    #[error("`{}` cannot be written: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes a configuration into `dir` that receives from `sources` and sends to `destinations`.
///
/// # Errors
/// [`InitError`]; when a file is there already nothing at all was written.
pub(super) fn write(
    dir: &Path,
    sources: &[ConnectorSketch],
    destinations: &[ConnectorSketch],
    public_url: Option<&Url>,
    connectors_dir: Option<&Path>,
) -> Result<Written, InitError> {
    let names: Vec<SourceName> = sources
        .iter()
        .filter_map(|sketch| SourceName::new(sketch.name.as_str()).ok())
        .collect();
    let mappings = names.iter().zip(sources).map(|(name, sketch)| {
        let path = dir.join("mappings").join(format!("{name}.toml"));
        (path, text::mapping(name, sketch))
    });
    let main = (
        dir.join(FILE_NAME),
        text::main_file(sources, destinations, public_url, connectors_dir),
    );
    let files: Vec<(PathBuf, String)> = std::iter::once(main).chain(mappings).collect();
    create_all(dir, &files)?;
    let server = Server {
        public_url: public_url.cloned(),
        ..Server::default()
    };
    Ok(Written {
        dir: dir.to_owned(),
        files: files.into_iter().map(|(path, _)| path).collect(),
        variables: variables(sources.iter().chain(destinations)),
        webhooks: names
            .into_iter()
            .map(|name| (name.clone(), server.webhook_url(&name)))
            .collect(),
    })
}

impl Written {
    /// What to do next, for people.
    pub(super) fn next_steps(&self) -> String {
        let mut text = String::from("Written:\n");
        let dir = self.dir.display();
        for file in &self.files {
            let _infallible = writeln!(text, "  {}", file.display());
        }
        if !self.variables.is_empty() {
            text.push_str("\nSet these variables of the environment:\n");
        }
        for variable in &self.variables {
            let _infallible = writeln!(text, "  {}  {}", variable.name, variable.meaning);
        }
        if !self.webhooks.is_empty() {
            text.push_str("\nEnter these URLs at the vendors (`outcome-bridge connectors show NAME` says where):\n");
        }
        for (source, url) in &self.webhooks {
            let _infallible = writeln!(text, "  {source}  {url}");
        }
        let _infallible = write!(
            text,
            "\nThen:\n  outcome-bridge check --config {dir}\n  outcome-bridge serve --config {dir}\n"
        );
        text
    }
}

/// Creates every file, or none when one of them is there.
fn create_all(dir: &Path, files: &[(PathBuf, String)]) -> Result<(), InitError> {
    if let Some((path, _)) = files
        .iter()
        .find(|(path, _)| path.symlink_metadata().is_ok())
    {
        return Err(InitError::Exists(path.clone()));
    }
    let mappings = dir.join("mappings");
    fs::create_dir_all(&mappings).map_err(|source| InitError::Io {
        path: mappings,
        source,
    })?;
    for (path, text) in files {
        create(path, text).map_err(|source| InitError::Io {
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Creates one file. `create_new`: not even a file that appeared just now is overwritten.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn must_be_set(field: &FieldSketch) -> bool {
    field.required && field.default.is_none()
}

fn variable_name(sketch: &ConnectorSketch, field: &FieldSketch) -> String {
    format!("{}_{}", sketch.name, field.key)
        .to_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

fn variables<'a>(sketches: impl Iterator<Item = &'a ConnectorSketch>) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    for sketch in sketches {
        for field in sketch.fields.iter().filter(|field| must_be_set(field)) {
            let name = variable_name(sketch, field);
            if variables.iter().all(|known| known.name != name) {
                let meaning = format!("{}: {}. {}", sketch.title, field.label, field.help);
                let meaning = meaning.trim().to_owned();
                variables.push(Variable { name, meaning });
            }
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Env};
    use crate::model::OutcomeKind;
    use serde_json::json;

    fn field(key: &str, required: bool, secret: bool, default: Option<Value>) -> FieldSketch {
        FieldSketch {
            key: key.to_owned(),
            label: "A field".to_owned(),
            help: "Settings > Developers >\n  API; a long way to go before anybody finds it, so that this wraps.".to_owned(),
            secret,
            required,
            default,
            example: None,
        }
    }

    fn sketch(name: &str, fields: Vec<FieldSketch>) -> ConnectorSketch {
        ConnectorSketch {
            name: ConnectorName::new(name).unwrap(),
            title: "A \"product\"\n[x]".to_owned(),
            summary: "Says $things.".to_owned(),
            fields,
        }
    }

    fn sources() -> [ConnectorSketch; 1] {
        [sketch(
            "cal-com",
            vec![
                field("secret", true, true, None),
                field("old_secret", false, true, None),
            ],
        )]
    }

    fn destinations() -> [ConnectorSketch; 1] {
        [sketch(
            "phonely",
            vec![
                field("api_key", true, true, None),
                field("agent_id", true, false, None),
                field("preference", true, false, Some(json!("last"))),
                field(
                    "labels",
                    false,
                    false,
                    Some(json!({ "closed": "Sold", "no_show": "x\ny" })),
                ),
                field("limits", false, false, Some(json!([1, 2.5, true]))),
            ],
        )]
    }

    #[test]
    fn what_is_written_loads_once_its_variables_are_set() {
        let dir = tempfile::tempdir().unwrap();
        let written = write(dir.path(), &sources(), &destinations(), None, None).unwrap();
        let names: Vec<&str> = written.variables.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(
            names,
            ["CAL_COM_SECRET", "PHONELY_API_KEY", "PHONELY_AGENT_ID"]
        );

        let env: Env = names.iter().map(|name| (*name, "set")).collect();
        let loaded = Config::load(dir.path(), &env).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        assert_eq!(loaded.files, written.files);
        let config = loaded.config;
        let source = &config.sources["cal-com"];
        assert_eq!(config.source_url(source), written.webhooks[0].1);
        assert_eq!(source.settings.get("secret"), Some(&json!("set")));
        assert_eq!(
            config
                .destinations_for(&source.name, OutcomeKind::Shown)
                .len(),
            2
        );
    }

    #[test]
    fn without_its_variables_each_of_them_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let written = write(dir.path(), &sources(), &destinations(), None, None).unwrap();
        let mistakes = Config::load(dir.path(), &Env::default()).unwrap_err();
        assert_eq!(mistakes.len(), written.variables.len());
    }

    #[test]
    fn what_is_a_comment_can_be_taken_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &sources(), &destinations(), None, None).unwrap();
        let path = dir.path().join(FILE_NAME);
        let text = fs::read_to_string(&path).unwrap();
        let is_setting = |line: &str| {
            line.starts_with("# [[")
                || line.strip_prefix("# ").is_some_and(|rest| {
                    rest.split_once(" = ")
                        .is_some_and(|(key, _)| !key.contains(' '))
                })
        };
        let live: Vec<&str> = text
            .lines()
            .map(|line| if is_setting(line) { &line[2..] } else { line })
            .collect();
        fs::write(&path, live.join("\n")).unwrap();
        let names = [
            "CAL_COM_SECRET",
            "CAL_COM_OLD_SECRET",
            "PHONELY_API_KEY",
            "PHONELY_AGENT_ID",
        ];
        let config = Config::load(
            dir.path(),
            &names.iter().map(|name| (*name, "set")).collect(),
        );
        let config = config.unwrap().config;
        let labels = config.destinations["phonely"].settings.get("labels");
        assert_eq!(
            labels,
            Some(&json!({ "closed": "Sold", "no_show": "x\ny" }))
        );
        assert_eq!(config.routes.len(), 1);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_half_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mappings")).unwrap();
        let mapping = dir.path().join("mappings/cal-com.toml");
        fs::write(&mapping, "mine").unwrap();
        let refused = write(dir.path(), &sources(), &destinations(), None, None).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("cal-com.toml` is there already")
        );
        assert_eq!(fs::read_to_string(&mapping).unwrap(), "mine");
        assert!(!dir.path().join(FILE_NAME).exists());
    }

    #[test]
    fn the_next_steps_name_variables_urls_and_commands() {
        let dir = tempfile::tempdir().unwrap();
        let url = Url::parse("https://hooks.example.com").unwrap();
        let written = write(dir.path(), &sources(), &destinations(), Some(&url), None).unwrap();
        let steps = written.next_steps();
        for part in [
            "CAL_COM_SECRET",
            "https://hooks.example.com/webhooks/cal-com",
            "check --config",
        ] {
            assert!(steps.contains(part), "{steps}");
        }
        let config = Config::load(
            dir.path(),
            &[
                ("CAL_COM_SECRET", "a"),
                ("PHONELY_API_KEY", "b"),
                ("PHONELY_AGENT_ID", "c"),
            ]
            .into_iter()
            .collect(),
        );
        assert_eq!(config.unwrap().config.server.public_url, Some(url));
    }
}
