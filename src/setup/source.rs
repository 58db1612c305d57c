//! A configured source: how its requests are verified, and the rules that read its events.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::SignedDuration;
use serde_json::Value;

use super::{Refreshed, SharedTables};
use crate::config;
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
    rules: RwLock<Arc<Rules>>,
    /// What was refused last, so that it is reported once.
    refused: Mutex<Option<Written>>,
}

/// What rules are compiled from: the text of their file, and the tables that it may use.
#[derive(Debug, Clone, Default)]
struct Written {
    text: Option<String>,
    tables: Arc<Tables>,
}

impl Written {
    fn is(&self, other: &Self) -> bool {
        self.text == other.text && Arc::ptr_eq(&self.tables, &other.tables)
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
    /// Compiles the operator's `file` over the connector's own rules; `None` takes those as they are.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn load(
        connector: &Connector,
        file: Option<&Path>,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        Self::load_with(connector, file, Arc::default())
    }

    /// The same; `file` may use `tables`.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn load_with(
        connector: &Connector,
        file: Option<&Path>,
        tables: Arc<Tables>,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let Some(file) = file else {
            let ruleset = connector.rules.clone().unwrap_or_default();
            return Ok((
                Self {
                    ruleset,
                    file: None,
                    written: Written::default(),
                },
                Vec::new(),
            ));
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            vec![
                Diagnostic::error(file, format!("cannot be read: {error}"))
                    .help("create the file or take `mapping` out of the source"),
            ]
        })?;
        let base = connector.rules.as_deref();
        let (ruleset, mut warnings) = Ruleset::parse_with(file, &text, base, &tables)?;
        let unknown = connector.unknown_lookups(&ruleset).into_iter();
        warnings
            .extend(unknown.map(|(message, help)| Diagnostic::warning(file, message).help(help)));
        let ruleset = Arc::new(ruleset);
        Ok((
            Self {
                ruleset,
                file: Some(file.to_owned()),
                written: Written {
                    text: Some(text),
                    tables,
                },
            },
            warnings,
        ))
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
            rules,
            refused: Mutex::default(),
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
        let current = self.rules();
        let Some(file) = &current.file else {
            return Ok(false);
        };
        if let Refreshed::Refused { mistakes, .. } = self.tables.refresh() {
            return Err(mistakes);
        }
        self.take(&current, file, self.written(file))
    }

    /// The same, for somebody who looks again and again: what was refused before is not reported a second
    /// time.
    ///
    /// # Errors
    /// Every mistake of the new text or the new tables.
    pub fn watch(&self) -> Result<bool, Vec<Diagnostic>> {
        let current = self.rules();
        let Some(file) = &current.file else {
            return Ok(false);
        };
        if let Refreshed::Refused {
            mistakes,
            new: true,
        } = self.tables.refresh()
        {
            return Err(mistakes);
        }
        let written = self.written(file);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let known = refused.as_ref().is_some_and(|refused| refused.is(&written));
        drop(refused);
        if known {
            return Ok(false);
        }
        self.take(&current, file, written)
    }

    /// What the rules would be compiled from now.
    fn written(&self, file: &Path) -> Written {
        Written {
            text: std::fs::read_to_string(file).ok(),
            tables: self.tables.current(),
        }
    }

    /// Compiles what is written unless that is what holds.
    fn take(
        &self,
        current: &Rules,
        file: &Path,
        written: Written,
    ) -> Result<bool, Vec<Diagnostic>> {
        if written.is(&current.written) {
            return Ok(false);
        }
        let loaded = Rules::load_with(&self.connector, Some(file), Arc::clone(&written.tables));
        // A file that cannot be read may be there again the next time without any change.
        let refused = (loaded.is_err() && written.text.is_some()).then_some(written);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        let (fresh, _warnings) = loaded?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(true)
    }
}
