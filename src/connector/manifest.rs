//! One catalogue entry: a connector's folder, read and checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::body::BodyKind;
use super::case::Case;
use super::field::{Checked, Field, Role};
use super::fill::Fill;
use super::folder::Folder;
use super::inbound;
use super::lookup::Lookups;
use super::outbound::{self, Transport};
use super::reader::{Log, Reader};
use super::verify::Strength;
use crate::diagnostic::{Diagnostic, Severity, did_you_mean};
use crate::mapping::Ruleset;
use crate::model::ConnectorName;

/// What a connector can receive.
#[derive(Debug, Clone)]
pub struct InboundFacts {
    /// How bodies are written.
    pub body: BodyKind,
    /// The vendor's names of events that the default rules know.
    pub event_types: Vec<String>,
    /// What verification protects.
    pub strength: Strength,
}

/// What a connector can send.
#[derive(Debug, Clone, Copy)]
pub struct OutboundFacts {
    /// How outcomes are brought there.
    pub transport: Transport,
}

/// A connector.
#[derive(Debug)]
pub struct Connector {
    /// Its folder's name.
    pub name: ConnectorName,
    /// The product's name.
    pub title: String,
    /// One sentence.
    pub summary: String,
    /// The vendor's page about it.
    pub homepage: Option<String>,
    /// What an operator sets.
    pub fields: Vec<Field>,
    /// What to click at the vendor, as Markdown.
    pub setup: String,
    /// What it can receive.
    pub inbound: Option<InboundFacts>,
    /// What it can send.
    pub outbound: Option<OutboundFacts>,
    /// The names of its look-ups, which rules read as `lookup.NAME`.
    pub lookups: Vec<String>,
    /// Its default rules.
    pub rules: Option<Arc<Ruleset>>,
    /// Requests and answers that show what it does.
    pub cases: Vec<Case>,
    pub(super) path: PathBuf,
    pub(super) text: Arc<str>,
}

const FORMAT: u64 = 1;

impl Connector {
    /// Reads a folder.
    pub(super) fn from_folder(
        name: &str,
        folder: &Folder,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let path = folder.path.join("connector.toml");
        let refuse = |message: String| vec![Diagnostic::error(&path, message)];
        let name = ConnectorName::new(name).map_err(|error| refuse(error.to_string()))?;
        let text = folder
            .text("connector.toml")
            .ok_or_else(|| refuse("a connector's folder needs a `connector.toml`".to_owned()))?;
        let mut found = Vec::new();
        let cases = Case::read_all(folder, &mut found);
        let log = Log::new(path.clone(), text.into());
        let mut connector = Self::read(&log, name, path.clone(), text);
        if let Some(connector) = &mut connector {
            connector.setup = folder.text("setup.md").unwrap_or_default().to_owned();
            connector.cases = cases;
            connector.rules = read_rules(folder, &mut found);
            connector.check(&log);
        }
        let is_error = |d: &Diagnostic| d.severity == Severity::Error;
        let failed = log.has_errors() || found.iter().any(is_error);
        found.splice(0..0, log.into_diagnostics());
        match connector {
            Some(connector) if !failed => Ok((connector, found)),
            _ => Err(found),
        }
    }

    /// Reads everything but `[inbound]` and `[outbound]`.
    fn read(log: &Log, name: ConnectorName, path: PathBuf, text: &str) -> Option<Self> {
        let table = log.parse(text)?;
        let fill = Fill::nothing();
        let reader = Reader::new(log, &fill, table.get_ref(), 0..0, "connector.toml");
        if let Some(format) = reader.number::<u64>("format")
            && format != FORMAT
        {
            log.error(
                0..0,
                format!("format {format} is not known; this is {FORMAT}"),
            );
        }
        let title = reader.required("title", "\"Stripe\"");
        let summary = reader.required("summary", "\"Paid checkouts and invoices.\"");
        let homepage = reader.text("homepage").map(|text| text.value);
        let fields = reader.children("field").into_iter().filter_map(Field::read);
        let fields: Vec<Field> = fields.collect();
        reader.skip("inbound");
        reader.skip("outbound");
        reader.skip("api");
        reader.skip("lookup");
        if !reader.has("inbound") && !reader.has("outbound") {
            log.error(0..0, "a connector has `[inbound]`, `[outbound]` or both");
        }
        reader.finish();
        Some(Self {
            name,
            title: title?.value,
            summary: summary?.value,
            homepage,
            fields,
            setup: String::new(),
            inbound: None,
            outbound: None,
            lookups: Vec::new(),
            rules: None,
            cases: Vec::new(),
            path,
            text: text.into(),
        })
    }

    /// Compiles both sides with made-up settings, so that mistakes show before anybody uses them.
    fn check(&mut self, log: &Log) {
        if self.has(log, "inbound") {
            let sample = Checked::sample(&self.fields, Role::Source);
            let extra = [
                ("public_url", "https://bridge.example.com"),
                ("source", "s"),
            ];
            self.inbound =
                inbound::Rules::read_from(log, self, &sample, &extra).map(|rules| InboundFacts {
                    body: rules.body,
                    strength: rules.strength(),
                    event_types: rules.event_types,
                });
            self.check_lookups(log, &sample, &extra);
        }
        if self.has(log, "outbound") {
            let sample = Checked::sample(&self.fields, Role::Destination);
            let rules = outbound::Rules::read_from(log, self, &sample);
            self.outbound = rules.map(|rules| OutboundFacts {
                transport: rules.transport,
            });
        }
        self.check_settings_named(log);
    }

    /// Its look-ups, and that its rules read no others.
    fn check_lookups(&mut self, log: &Log, sample: &Checked, extra: &[(&str, &str)]) {
        let Some(lookups) = Lookups::read_from(log, self, sample, extra) else {
            return;
        };
        self.lookups = lookups.names().map(str::to_owned).collect();
        for (message, help) in self
            .rules
            .iter()
            .flat_map(|rules| self.unknown_lookups(rules))
        {
            log.error_with_help(0..0, message, help);
        }
    }

    /// Look-ups that rules read and the connector does not have, each in words and with a remedy: a typo there
    /// would be silent.
    pub fn unknown_lookups(&self, rules: &Ruleset) -> Vec<(String, String)> {
        let known = || self.lookups.iter().map(String::as_str);
        let unknown = rules.lookups().into_iter();
        let unknown = unknown.filter(|name| !known().any(|known| known == name));
        let told = unknown.map(|name| {
            let help = match (did_you_mean(&name, known()), self.lookups.is_empty()) {
                (Some(near), _) => format!("did you mean `lookup.{near}`?"),
                (None, true) => {
                    "it has none; a connector of your own may declare them with [[lookup]]"
                        .to_owned()
                }
                (None, false) => format!("known: {}", self.lookups.join(", ")),
            };
            let message =
                format!("the rules read `lookup.{name}`, and the connector has no such look-up");
            (message, help)
        });
        told.collect()
    }

    fn has(&self, log: &Log, key: &'static str) -> bool {
        let text = Arc::clone(&self.text);
        log.parse(&text)
            .is_some_and(|table| table.get_ref().contains_key(key))
    }

    /// Every `setting.KEY` that a template reads has to be a field: a typo there would be silent.
    fn check_settings_named(&self, log: &Log) {
        let built_in = ["public_url", "source"];
        let mut from = 0;
        while let Some(at) = self.text[from..].find("setting.").map(|at| from + at) {
            let start = at + "setting.".len();
            let rest = &self.text[start..];
            let length = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            from = start + length;
            let key = &rest[..length];
            let opened = self.text[..at].ends_with(['{', ' ', '"']);
            let known = self.fields.iter().any(|field| field.key == key);
            if !opened || known || built_in.contains(&key) || self.is_comment(at) {
                continue;
            }
            let fields = self.fields.iter().map(|field| field.key.as_str());
            let help = match did_you_mean(key, fields) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it with [[field]]".to_owned(),
            };
            log.error_with_help(start..from, format!("there is no field `{key}`"), help);
        }
    }

    fn is_comment(&self, at: usize) -> bool {
        let line = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        self.text[line..at].trim_start().starts_with('#')
    }

    /// A log for mistakes that show when an operator's settings are applied.
    pub(super) fn log(&self) -> Log {
        Log::new(self.path.clone(), Arc::clone(&self.text))
    }

    /// Where its `connector.toml` is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The fields for one use.
    pub fn fields_for(&self, role: Role) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.is_for(role))
    }
}

fn read_rules(folder: &Folder, found: &mut Vec<Diagnostic>) -> Option<Arc<Ruleset>> {
    let text = folder.text("mapping.toml")?;
    match Ruleset::parse(&folder.path.join("mapping.toml"), text) {
        Ok((rules, warnings)) => {
            found.extend(warnings);
            Some(Arc::new(rules))
        }
        Err(mistakes) => {
            found.extend(mistakes);
            None
        }
    }
}
