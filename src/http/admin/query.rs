//! Query strings of lists: filters, page size, cursor. A wrong value is an error, never ignored.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use crate::diagnostic::did_you_mean;
use crate::http::error::{ApiError, Code};
use crate::queue::PageRequest;

/// The most items a page may have.
const MOST: usize = 1000;
const DEFAULT: usize = 50;

/// The parameters of one request, taken out one by one; what is left over is a mistake.
pub(in crate::http) struct Query {
    parameters: BTreeMap<String, String>,
    known: Vec<&'static str>,
    now: Timestamp,
}

impl Query {
    pub(in crate::http) fn new(query: &str, now: Timestamp) -> Self {
        let parameters = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        Self {
            parameters,
            known: Vec::new(),
            now,
        }
    }

    /// The parameter as a value of its type, if it is given and not empty.
    pub(in crate::http) fn take<T: FromStr>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>, ApiError> {
        self.known.push(name);
        match self.parameters.remove(name) {
            None => Ok(None),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_unfit| {
                bad(format!(
                    "`{name}` is `{}`, expected {expected}",
                    text.escape_debug()
                ))
            }),
        }
    }

    /// A moment: RFC 3339, or a span back from now such as `2h` or `3 days`.
    pub(in crate::http) fn moment(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.take::<String>(name, "a moment")? else {
            return Ok(None);
        };
        if let Ok(at) = text.parse() {
            return Ok(Some(at));
        }
        text.parse::<SignedDuration>()
            .ok()
            .and_then(|ago| self.now.checked_sub(ago).ok())
            .map(Some)
            .ok_or_else(|| {
                bad(format!(
                    "`{name}` is `{}`, expected a moment (2026-05-06T16:10:00Z) or a span back from now (2h)",
                    text.escape_debug()
                ))
            })
    }

    /// `limit` and `cursor`.
    pub(in crate::http) fn page<C: FromStr>(&mut self) -> Result<PageRequest<C>, ApiError> {
        let limit = self
            .take::<usize>("limit", "a number from 1 to 1000")?
            .unwrap_or(DEFAULT);
        if limit == 0 || limit > MOST {
            return Err(bad(format!(
                "`limit` is {limit}, expected a number from 1 to {MOST}"
            )));
        }
        Ok(PageRequest {
            after: self.take("cursor", "the `next` of the page before")?,
            limit,
        })
    }

    /// Refuses parameters that nobody asked for.
    pub(in crate::http) fn finish(self) -> Result<(), ApiError> {
        match self.parameters.keys().next() {
            None => Ok(()),
            Some(name) => {
                let hint = did_you_mean(name, self.known.iter().copied())
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                Err(bad(format!(
                    "there is no parameter `{}`{hint} (known: {})",
                    name.escape_debug(),
                    self.known.join(", ")
                )))
            }
        }
    }
}

fn bad(detail: String) -> ApiError {
    ApiError::new(Code::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::new(text, "2026-05-06T16:00:00Z".parse().unwrap())
    }

    #[test]
    fn spans_count_back_from_now() {
        let at = query("since=2h").moment("since").unwrap().unwrap();
        assert_eq!(at.to_string(), "2026-05-06T14:00:00Z");
        assert!(query("since=soon").moment("since").is_err());
    }

    #[test]
    fn unknown_parameters_are_mistakes_with_a_hint() {
        let mut q = query("sorce=hubspot");
        let _: Option<String> = q.take("source", "a name").unwrap();
        let error = q.finish().unwrap_err().to_string();
        assert!(error.contains("did you mean `source`?"), "{error}");
    }

    #[test]
    fn pages_are_bounded() {
        assert!(query("limit=0").page::<u64>().is_err());
        assert!(query("limit=5000").page::<u64>().is_err());
        assert_eq!(query("").page::<u64>().unwrap().limit, DEFAULT);
    }
}
