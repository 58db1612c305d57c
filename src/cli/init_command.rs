//! `init`: a commented starting configuration for the connectors one names.

use std::path::PathBuf;

use reqwest::Url;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::init::{self, ConnectorSketch, FieldSketch};
use super::terminal::Output;
use crate::connector::{Catalogue, Connector, Role};
use crate::model::ConnectorName;

/// Write a commented starting configuration.
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// The directory to write to; nothing in it is overwritten.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A connector you use; may be given several times. What it can be, source or destination, it becomes.
    #[arg(long = "connector", value_name = "NAME")]
    connectors: Vec<ConnectorName>,
    /// Connectors of your own, which add to the built-in ones or replace them.
    #[arg(long, value_name = "DIR", env = "OUTCOME_BRIDGE_CONNECTORS")]
    connectors_dir: Option<PathBuf>,
    /// Where senders reach this bridge, e.g. <https://hooks.example.com>.
    #[arg(long, value_name = "URL")]
    public_url: Option<Url>,
}

impl Init {
    pub(super) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let (catalogue, _) =
            Catalogue::load(self.connectors_dir.as_deref()).map_err(Failure::Mistakes)?;
        let mut sources = Vec::new();
        let mut destinations = Vec::new();
        for name in &self.connectors {
            let connector = catalogue.get(name).ok_or_else(|| {
                Failure::Usage(format!(
                    "there is no connector `{name}`; `outcome-bridge connectors list` shows all"
                ))
            })?;
            if connector.inbound.is_some() {
                sources.push(sketch(connector, Role::Source));
            }
            if connector.outbound.is_some() {
                destinations.push(sketch(connector, Role::Destination));
            }
        }
        // The configuration is read from wherever the bridge is started.
        let own = self.connectors_dir.as_ref().map(std::path::absolute);
        let own = own.transpose().map_err(Failure::of)?;
        let public_url = self.public_url.as_ref();
        let written = init::write(
            &self.dir,
            &sources,
            &destinations,
            public_url,
            own.as_deref(),
        )
        .map_err(Failure::of)?;
        if output.is_json() {
            output.json(&json!({
                "files": written.files,
                "variables": written.variables.iter().map(|v| &v.name).collect::<Vec<_>>(),
                "webhooks": written.webhooks.iter().map(|(source, url)| json!({ "source": source, "url": url.as_str() })).collect::<Vec<_>>(),
            }));
        } else {
            output.text(&written.next_steps());
        }
        Ok(Exit::Done)
    }
}

fn sketch(connector: &Connector, used_as: Role) -> ConnectorSketch {
    let fields = connector
        .fields
        .iter()
        .filter(|field| field.role.is_none_or(|role| role == used_as))
        .map(|field| FieldSketch {
            key: field.key.clone(),
            label: field.label.clone(),
            help: field.help.clone(),
            secret: field.secret,
            required: field.required,
            default: field.default.clone(),
            example: field.example.clone().map(Value::from),
        });
    ConnectorSketch {
        name: connector.name.clone(),
        title: connector.title.clone(),
        summary: connector.summary.clone(),
        fields: fields.collect(),
    }
}
