//! Binds a verified request to an account: some vendors sign for all customers with one key.

use serde_json::Value;

use super::field::Checked;
use super::reader::Reader;
use super::request::{Refusal, RefusalCode};
use super::verify::Arrival;
use crate::mapping::Path;

/// Where the account may be named.
const ROOTS: [&str; 3] = ["event", "header", "query"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Exact,
    /// Salesforce ids have 15 characters, or the same and three of a checksum.
    First15,
}

/// One `[[inbound.assert]]`.
pub(super) struct Tenant {
    /// The first that is there is asked.
    paths: Vec<Path>,
    /// As written, for people.
    written: String,
    allowed: Vec<String>,
    compare: Compare,
    field: String,
}

impl Tenant {
    /// `None` when a mistake was reported; an unset field allows everybody, with a warning.
    pub(super) fn read(reader: Reader<'_>, settings: &Checked) -> Option<Self> {
        let path = reader.required("field", "\"event.locationId\"");
        let field = reader.required("one_of", "\"location_ids\"");
        let comparisons = [("exact", Compare::Exact), ("first15", Compare::First15)];
        let compare = reader.choice("compare", &comparisons);
        let written = path.as_ref().map(|text| text.value.clone());
        let paths = path.and_then(|text| {
            let one = |part| reader.parse_path(part, text.span.clone(), &ROOTS);
            text.value.split(" or ").map(str::trim).map(one).collect()
        });
        let log = reader.log;
        reader.finish();
        let field = field?.value;
        let allowed: Vec<String> = settings
            .values_of(&field)
            .iter()
            .map(|value| value.expose().to_owned())
            .collect();
        let (paths, written) = (paths?, written?);
        if allowed.is_empty() && !settings.sample {
            log.warning(
                format!("`{field}` is not set, so events of any account are accepted"),
                format!(
                    "the vendor signs for all its customers with one key: set `{field}` to your own `{written}`"
                ),
            );
        }
        Some(Self {
            paths,
            written,
            allowed,
            compare: compare.unwrap_or(Compare::Exact),
            field,
        })
    }

    /// Whether every account named in the request is an allowed one.
    pub(super) fn check(&self, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        if self.allowed.is_empty() {
            return Ok(());
        }
        for path in &self.paths {
            let mut named = path.each(arrival).peekable();
            if named.peek().is_none() {
                continue;
            }
            if named.all(|account| self.allows(account)) {
                return Ok(());
            }
            break;
        }
        Err(Refusal::new(
            RefusalCode::ForeignTenant,
            format!(
                "`{}` is not one of `{}`: the event is genuine, but of another account",
                self.written, self.field
            ),
        ))
    }

    fn allows(&self, account: &Value) -> bool {
        let text = match account {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return false,
        };
        self.allowed.iter().any(|own| match self.compare {
            Compare::Exact => *own == text,
            Compare::First15 => match (own.get(..15), text.get(..15)) {
                (Some(own), Some(text)) => own == text,
                _ => *own == text,
            },
        })
    }
}
