//! `connectors`: list, show, test, new.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::ConfigArgs;
use super::exit::{Exit, Failure};
use super::terminal::Output;
use crate::connector::{Catalogue, Connector, run_cases};
use crate::http::{connector_detail, connector_summary};
use crate::model::ConnectorName;

/// List, show and test connectors.
#[derive(Debug, Subcommand)]
pub(super) enum Connectors {
    /// List all connectors.
    List(Overlay),
    /// Show one connector: its fields and what to click at the vendor.
    Show {
        #[command(flatten)]
        overlay: Overlay,
        /// The connector.
        name: ConnectorName,
    },
    /// Run the cases and mapping tests of all connectors, or of those named.
    Test {
        #[command(flatten)]
        overlay: Overlay,
        /// The connectors; none means all.
        names: Vec<ConnectorName>,
    },
    /// Start a connector of your own: a folder that passes `connectors test`.
    New {
        /// Its name.
        name: ConnectorName,
        /// The directory it is made in.
        #[arg(long, value_name = "DIR", default_value = "connectors")]
        dir: PathBuf,
    },
}

/// A directory of connectors of your own.
#[derive(Debug, clap::Args)]
pub(super) struct Overlay {
    #[command(flatten)]
    config: ConfigArgs,
    /// Connectors that add to the built-in ones or replace them. Without it: those of the configuration, if there is one.
    #[arg(long, value_name = "DIR", env = "OUTCOME_BRIDGE_CONNECTORS")]
    dir: Option<PathBuf>,
}

impl Overlay {
    fn catalogue(&self, output: &Output) -> Result<Catalogue, Failure> {
        let dir = self.dir.clone().or_else(|| self.config.connectors_dir());
        let (catalogue, warnings) = Catalogue::load(dir.as_deref()).map_err(Failure::Mistakes)?;
        output.diagnostics(&warnings);
        Ok(catalogue)
    }
}

impl Connectors {
    pub(super) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List(overlay) => {
                let catalogue = overlay.catalogue(output)?;
                list(output, &catalogue);
                Ok(Exit::Done)
            }
            Self::Show { overlay, name } => {
                let catalogue = overlay.catalogue(output)?;
                show(output, find(&catalogue, &name)?);
                Ok(Exit::Done)
            }
            Self::Test { overlay, names } => {
                let catalogue = overlay.catalogue(output)?;
                let chosen: Vec<&Connector> = if names.is_empty() {
                    catalogue.iter().map(std::convert::AsRef::as_ref).collect()
                } else {
                    names
                        .iter()
                        .map(|name| find(&catalogue, name))
                        .collect::<Result<_, _>>()?
                };
                Ok(test(output, &chosen))
            }
            Self::New { name, dir } => {
                new(output, &dir.join(name.as_str()), &name)?;
                Ok(Exit::Done)
            }
        }
    }
}

fn find<'a>(catalogue: &'a Catalogue, name: &ConnectorName) -> Result<&'a Connector, Failure> {
    catalogue
        .get(name)
        .map(std::convert::AsRef::as_ref)
        .ok_or_else(|| {
            Failure::Usage(format!(
                "there is no connector `{name}`; `outcome-bridge connectors list` shows all"
            ))
        })
}

fn list(output: &Output, catalogue: &Catalogue) {
    let items: Vec<Value> = catalogue
        .iter()
        .map(|connector| connector_summary(connector))
        .collect();
    if output.is_json() {
        return output.json(&json!({ "items": items }));
    }
    let role = |connector: &Value| match (
        connector["source"] == true,
        connector["destination"] == true,
    ) {
        (true, true) => "both",
        (true, false) => "source",
        _ => "destination",
    };
    let rows = items.iter().map(|connector| {
        vec![
            Output::cell(&connector["name"]),
            role(connector).to_owned(),
            Output::cell(&connector["title"]),
            Output::cell(&connector["summary"]),
        ]
    });
    output.table(&["name", "role", "title", "summary"], rows);
}

fn show(output: &Output, connector: &Connector) {
    let detail = connector_detail(connector);
    if output.is_json() {
        return output.json(&detail);
    }
    output.line(&format!(
        "{}: {}\n{}\n",
        connector.name, connector.title, connector.summary
    ));
    let fields = detail["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|field| {
            ["key", "for", "required", "secret", "default", "help"]
                .map(|key| Output::cell(&field[key]))
                .to_vec()
        });
    output.table(
        &["field", "for", "required", "secret", "default", "help"],
        fields,
    );
    output.text(&connector.setup);
}

fn test(output: &Output, connectors: &[&Connector]) -> Exit {
    let mut passed = 0;
    let mut failed = Vec::new();
    let progress = output.progress("testing connectors", Some(connectors.len() as u64));
    for connector in connectors {
        progress.inc(1);
        for report in run_cases(connector) {
            if report.problems.is_empty() {
                passed += 1;
            } else {
                failed.push(json!({
                    "connector": connector.name,
                    "case": report.name,
                    "problems": report.problems,
                }));
            }
        }
    }
    progress.finish_and_clear();
    if output.is_json() {
        output.json(&json!({ "passed": passed, "failed": failed }));
    } else {
        for failure in &failed {
            output.line(&format!(
                "{} / {}",
                Output::cell(&failure["connector"]),
                Output::cell(&failure["case"])
            ));
            for line in failure["problems"].as_array().into_iter().flatten() {
                output.line(&format!("    {}", Output::cell(line)));
            }
        }
        output.line(&format!("{passed} passed, {} failed", failed.len()));
    }
    if failed.is_empty() {
        Exit::Done
    } else {
        Exit::Mistakes
    }
}

/// The files of a new connector: small, complete, and passing.
const SKELETON: &[(&str, &str)] = &[
    ("connector.toml", include_str!("skeleton/connector.toml")),
    ("mapping.toml", include_str!("skeleton/mapping.toml")),
    ("setup.md", include_str!("skeleton/setup.md")),
    (
        "cases/deal_won/case.toml",
        include_str!("skeleton/case.toml"),
    ),
    (
        "cases/deal_won/body.json",
        include_str!("skeleton/body.json"),
    ),
];

fn new(output: &Output, folder: &Path, name: &ConnectorName) -> Result<(), Failure> {
    if folder.exists() {
        return Err(Failure::Usage(format!(
            "{} is there already",
            folder.display()
        )));
    }
    for (file, content) in SKELETON {
        let path = folder.join(file);
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, content.replace("{{name}}", name.as_str())));
        written.map_err(|error| {
            Failure::Failed(format!("{} cannot be written: {error}", path.display()))
        })?;
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    output.line(&format!(
        "made {}; edit it, then: outcome-bridge connectors test --dir {} {name}",
        folder.display(),
        parent.display()
    ));
    Ok(())
}
