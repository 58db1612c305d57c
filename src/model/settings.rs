//! What an operator set for a source or a destination, before a connector has looked at it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

/// Where a setting stands, for diagnostics.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Its text.
    pub text: Arc<str>,
    /// Which bytes of it.
    pub span: Range<usize>,
}

/// One setting: its value with `${VAR}` and `file:` filled in. `Debug` shows nothing of the value,
/// since only the connector knows which settings are secret.
#[derive(Clone)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it stands; `None` when it came from the environment or from code.
    pub place: Option<Place>,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Setting(…)")
    }
}

/// Settings by key.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The settings.
    pub entries: BTreeMap<String, Setting>,
    /// Where the whole entry stands, for "… is missing".
    pub place: Option<Place>,
}

impl Settings {
    /// Settings made in code, e.g. for a case or the demo. Anything but an object gives none.
    pub fn from_json(object: Value) -> Self {
        let entries = match object {
            Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| (key, Setting { value, place: None }))
                .collect(),
            _ => BTreeMap::new(),
        };
        Self {
            entries,
            place: None,
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).map(|setting| &setting.value)
    }
}
