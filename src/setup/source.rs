//! A configured source: how its requests are verified, and the rules that read its events.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::SignedDuration;
use serde_json::Value;

use crate::config;
use crate::connector::{BodyKind, Connector, Inbound};
use crate::diagnostic::Diagnostic;
use crate::mapping::Ruleset;
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
    rules: RwLock<Arc<Rules>>,
    /// A text of the rules' file that was refused, so that it is reported once.
    refused: Mutex<Option<String>>,
}

/// The rules of a source at one moment, and the file they came from.
#[derive(Debug)]
pub struct Rules {
    /// The compiled rules.
    pub ruleset: Arc<Ruleset>,
    /// The operator's file, if there is one; otherwise the connector's own rules hold.
    pub file: Option<PathBuf>,
    text: Option<String>,
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
        let Some(file) = file else {
            let ruleset = connector.rules.clone().unwrap_or_default();
            return Ok((
                Self {
                    ruleset,
                    file: None,
                    text: None,
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
        let (ruleset, warnings) = match &connector.rules {
            Some(base) => Ruleset::parse_over(file, &text, base)?,
            None => Ruleset::parse(file, &text)?,
        };
        let ruleset = Arc::new(ruleset);
        Ok((
            Self {
                ruleset,
                file: Some(file.to_owned()),
                text: Some(text),
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

    /// Reads the rules' file again when its text has changed. Answers whether new rules hold now.
    ///
    /// # Errors
    /// Every mistake of the new text; the old rules go on holding.
    pub fn reload(&self) -> Result<bool, Vec<Diagnostic>> {
        let current = self.rules();
        let Some(file) = &current.file else {
            return Ok(false);
        };
        let text = std::fs::read_to_string(file).ok();
        if text == current.text {
            return Ok(false);
        }
        let loaded = Rules::load(&self.connector, Some(file));
        let refused = if loaded.is_err() { text } else { None };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        let (fresh, _warnings) = loaded?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(true)
    }

    /// The same, for somebody who looks again and again: a text that was refused before is not
    /// reported a second time.
    ///
    /// # Errors
    /// Every mistake of the new text.
    pub fn watch(&self) -> Result<bool, Vec<Diagnostic>> {
        let Some(file) = &self.rules().file else {
            return Ok(false);
        };
        let text = std::fs::read_to_string(file).ok();
        let known = *self.refused.lock().unwrap_or_else(PoisonError::into_inner) == text;
        if known && text.is_some() {
            Ok(false)
        } else {
            self.reload()
        }
    }
}
