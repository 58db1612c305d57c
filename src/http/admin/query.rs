//! Query strings of lists: filters, page size, cursor. A wrong value is an error, never ignored.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

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

    /// A moment: RFC 3339, a date (its midnight in UTC), or a span back from now such as `2h` or `3 days`.
    pub(in crate::http) fn moment(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.take::<String>(name, "a moment")? else {
            return Ok(None);
        };
        read_moment(&text, self.now).map(Some).ok_or_else(|| {
            bad(format!(
                "`{name}` is `{}`, expected a moment (2026-05-06T16:10:00Z), a date (2026-05-06) or a span back from now (2h)",
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

fn read_moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    if let Ok(date) = Date::strptime("%Y-%m-%d", text) {
        let midnight = date.to_zoned(TimeZone::UTC).ok()?;
        return Some(midnight.timestamp());
    }
    // "2h" and "2h ago" are the same.
    let ago: Span = text.parse().ok()?;
    let then = now.to_zoned(TimeZone::UTC).checked_sub(ago.abs()).ok()?;
    Some(then.timestamp())
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
    fn moments_are_rfc_3339_dates_in_utc_or_spans_back_from_now() {
        for (text, at) in [
            ("2h", "2026-05-06T14:00:00Z"),
            ("2h ago", "2026-05-06T14:00:00Z"),
            ("30days", "2026-04-06T16:00:00Z"),
            ("2026-05-04", "2026-05-04T00:00:00Z"),
            ("2026-05-04T10:00:00%2B02:00", "2026-05-04T08:00:00Z"),
        ] {
            let read = query(&format!("since={text}")).moment("since");
            assert_eq!(read.unwrap().unwrap().to_string(), at, "{text}");
        }
        for text in ["soon", "2026-05", "2026-13-01", "9999999years"] {
            let read = query(&format!("since={text}")).moment("since");
            assert!(read.is_err(), "{text}");
        }
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
