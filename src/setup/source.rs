//! A configured source: how its requests are verified, and the rules that read its events.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::SignedDuration;
use serde_json::Value;

use super::{Refreshed, SharedTables};
use crate::config::{self, MappingFile};
use crate::connector::{BodyKind, Connector, Inbound};
use crate::diagnostic::Diagnostic;
use crate::mapping::{Ruleset, Tables};
use crate::metrics::SourceMetrics;
use crate::model::{Region, SourceName};

/// A configured source.
#[derive(Debug)]
pub struct Source {
    /// Its name; part of its URL.
    pub name: SourceName,
    /// The connector it uses.
    pub connector: Arc<Connector>,
    /// Verifies and reads its requests.
    pub inbound: Inbound,
    /// Where phone numbers without a country code are from.
    pub region: Option<Region>,
    /// The settings that rules may read as `setting.…`.
    pub settings: Value,
    /// Counts what comes in and what becomes of it.
    pub metrics: SourceMetrics,
    /// How long after an appointment's end it counts as attended when nobody said otherwise.
    pub grace: SignedDuration,
    /// Whether appointments count as attended when nobody said otherwise.
    pub infer_shown: bool,
    /// The tables of the configuration, which its rules may use.
    pub tables: Arc<SharedTables>,
    /// Where its rules are; none where nobody could put any.
    pub mapping: Option<MappingFile>,
    rules: RwLock<Arc<Rules>>,
    last_look: Mutex<LastLook>,
}

/// What somebody who looks again and again at the rules' file saw last.
#[derive(Debug, Default)]
struct LastLook {
    /// What was refused, so that it is reported once.
    refused: Option<Written>,
    /// Whether the file was gone from which the rules come that hold.
    gone: bool,
}

/// What rules are compiled from: the text of their file, and the tables that it may use.
#[derive(Debug, Clone, Default)]
struct Written {
    text: Text,
    tables: Arc<Tables>,
}

/// The operator's rules as they stand in their file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Text {
    /// There is no file, and none has to be there: the connector's own rules hold.
    #[default]
    Absent,
    Is(String),
    Unreadable(io::ErrorKind),
}

impl Written {
    fn read(mapping: &MappingFile, tables: Arc<Tables>) -> Self {
        let text = match std::fs::read_to_string(&mapping.path) {
            Ok(text) => Text::Is(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !mapping.named => Text::Absent,
            Err(error) => Text::Unreadable(error.kind()),
        };
        Self { text, tables }
    }

    /// Whether the same comes of both. The connector's own rules use no tables of the configuration.
    fn is(&self, other: &Self) -> bool {
        self.text == other.text
            && (self.text == Text::Absent || Arc::ptr_eq(&self.tables, &other.tables))
    }
}

/// The rules of a source at one moment, and the file they came from.
#[derive(Debug)]
pub struct Rules {
    /// The compiled rules.
    pub ruleset: Arc<Ruleset>,
    /// The operator's file, if there is one; otherwise the connector's own rules hold.
    pub file: Option<PathBuf>,
    written: Written,
}

impl Rules {
    /// Compiles the operator's rules over the connector's own, which hold alone where no file is there; they may use `tables`.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn load(
        connector: &Connector,
        mapping: Option<&MappingFile>,
        tables: Arc<Tables>,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        match mapping {
            Some(mapping) => {
                let written = Written::read(mapping, tables);
                Self::compile(connector, &mapping.path, written)
            }
            None => Ok((Self::of_connector(connector), Vec::new())),
        }
    }

    fn of_connector(connector: &Connector) -> Self {
        Self {
            ruleset: connector.rules.clone().unwrap_or_default(),
            file: None,
            written: Written::default(),
        }
    }

    fn compile(
        connector: &Connector,
        file: &Path,
        written: Written,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let text = match &written.text {
            Text::Is(text) => text,
            Text::Absent => return Ok((Self::of_connector(connector), Vec::new())),
            Text::Unreadable(why) => {
                let mistake = Diagnostic::error(file, format!("cannot be read: {why}"))
                    .help("the bridge must be able to read the file; without a file the connector's own rules hold");
                return Err(vec![mistake]);
            }
        };
        let base = connector.rules.as_deref();
        let (ruleset, mut warnings) = Ruleset::parse_with(file, text, base, &written.tables)?;
        let unknown = connector.unknown_lookups(&ruleset).into_iter();
        warnings
            .extend(unknown.map(|(message, help)| Diagnostic::warning(file, message).help(help)));
        let rules = Self {
            ruleset: Arc::new(ruleset),
            file: Some(file.to_owned()),
            written,
        };
        Ok((rules, warnings))
    }
}

impl Source {
    /// Puts a source together.
    pub fn new(
        name: SourceName,
        connector: Arc<Connector>,
        inbound: Inbound,
        region: Option<Region>,
        settings: Value,
        rules: Rules,
    ) -> Self {
        let metrics = SourceMetrics::new(&name);
        let rules = RwLock::new(Arc::new(rules));
        Self {
            name,
            connector,
            inbound,
            region,
            settings,
            metrics,
            grace: config::GRACE,
            infer_shown: true,
            tables: Arc::default(),
            mapping: None,
            rules,
            last_look: Mutex::default(),
        }
    }

    /// What its bodies are.
    pub fn body_kind(&self) -> BodyKind {
        self.inbound.body_kind()
    }

    /// The rules that hold now.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the rules' file and the tables again when they have changed. Answers whether new rules hold now.
    ///
    /// # Errors
    /// Every mistake of the new text or the new tables; the old ones go on holding.
    pub fn reload(&self) -> Result<bool, Vec<Diagnostic>> {
        let Some(mapping) = &self.mapping else {
            return Ok(false);
        };
        if let Refreshed::Refused { mistakes, .. } = self.tables.refresh() {
            return Err(mistakes);
        }
        self.take(mapping, Written::read(mapping, self.tables.current()))
    }

    /// The same, for somebody who looks again and again: what was refused before is not reported a second
    /// time, and a file that is gone may be about to be replaced, so that it counts as gone at the second look.
    ///
    /// # Errors
    /// Every mistake of the new text or the new tables.
    pub fn watch(&self) -> Result<bool, Vec<Diagnostic>> {
        let Some(mapping) = &self.mapping else {
            return Ok(false);
        };
        if let Refreshed::Refused {
            mistakes,
            new: true,
        } = self.tables.refresh()
        {
            return Err(mistakes);
        }
        let written = Written::read(mapping, self.tables.current());
        {
            let mut last = self
                .last_look
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let gone = written.text == Text::Absent && self.rules().file.is_some();
            let was_gone = std::mem::replace(&mut last.gone, gone);
            let known = last
                .refused
                .as_ref()
                .is_some_and(|refused| refused.is(&written));
            if known || (gone && !was_gone) {
                return Ok(false);
            }
        }
        self.take(mapping, written)
    }

    /// Compiles what is written unless that is what holds.
    fn take(&self, mapping: &MappingFile, written: Written) -> Result<bool, Vec<Diagnostic>> {
        let unchanged = written.is(&self.rules().written);
        let compiled =
            (!unchanged).then(|| Rules::compile(&self.connector, &mapping.path, written.clone()));
        let refused = matches!(compiled, Some(Err(_))).then_some(written);
        self.last_look
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .refused = refused;
        let Some(compiled) = compiled else {
            return Ok(false);
        };
        let (fresh, _warnings) = compiled?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(true)
    }
}
