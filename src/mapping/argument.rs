//! An argument of a function that is either written in the rule or read from the event.

use super::operation::Unusable;
use super::path::Path;
use super::scope::Scope;
use super::trace::shown;
use super::value::as_text;

/// A fixed value, or a path to its text.
#[derive(Debug, Clone)]
pub(super) enum Argument<T> {
    Fixed(T),
    Path(Path),
}

impl<T: Copy> Argument<T> {
    /// The value, read from the event where that is asked for.
    pub(super) fn get(
        &self,
        scope: &dyn Scope,
        function: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Unusable> {
        let path = match self {
            Self::Fixed(value) => return Ok(*value),
            Self::Path(path) => path,
        };
        let Some(value) = path.first(scope) else {
            return Err(Unusable::Unreadable(format!(
                "`{function}` needs {}, and nothing is there",
                path.as_str()
            )));
        };
        as_text(value).and_then(|text| read(&text)).ok_or_else(|| {
            Unusable::Unreadable(format!(
                "`{function}` cannot use {} of {}",
                shown(value),
                path.as_str()
            ))
        })
    }
}
