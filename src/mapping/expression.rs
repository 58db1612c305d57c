//! The place where expressions will live: `if = "…"` beside `when`, and `{= … }` in a text.
//!
//! This version of the language has rows and look-ups only. Both places are recognised here, so that
//! whoever writes one is told what to write instead.

/// What is said about `if`.
pub(super) const NO_CONDITION: (&str, &str) = (
    "expressions (`if`) come in a later version",
    "say it with rows: when = [{ field = \"event.status\", is = \"won\" }], `any = [ … ]` for or, `not = { … }` for not",
);

/// What is said about `{= … }`.
pub(super) const NO_VALUE: (&str, &str) = (
    "expressions (`{= … }`) come in a later version",
    "say it with a look-up: {event.a or event.b or 'text' | function}",
);
