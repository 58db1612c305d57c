//! The environment: the process's own, or one that a test makes.

use std::collections::BTreeMap;

/// Variables of the environment, as they were when it was made.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, Option<String>>);

/// What a name stands for in the environment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variable<'a> {
    /// This text.
    Text(&'a str),
    /// Bytes that are not UTF-8.
    NotText,
    /// Nothing.
    Unset,
}

impl Env {
    /// The variables of this process.
    pub fn system() -> Self {
        let entries = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.into_string().ok()))
        });
        Self(entries.collect())
    }

    /// The value of `name`, if it is set and is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }

    pub(super) fn variable(&self, name: &str) -> Variable<'_> {
        match self.0.get(name) {
            Some(Some(text)) => Variable::Text(text),
            Some(None) => Variable::NotText,
            None => Variable::Unset,
        }
    }

    /// Names and values of the variables whose names start with `prefix`, in order of their names.
    pub(super) fn starting_with(&self, prefix: &str) -> impl Iterator<Item = (&str, Variable<'_>)> {
        self.0
            .range(prefix.to_owned()..)
            .map(|(name, _)| name.as_str())
            .take_while(move |name| name.starts_with(prefix))
            .map(|name| (name, self.variable(name)))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let entries = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), Some(value.into())));
        Self(entries.collect())
    }
}

/// Shows names only: values may be secrets.
impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
