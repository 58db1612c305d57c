//! The rule language: from a vendor's event to facts.
//!
//! A mapping file holds rules. A rule matches when all its rows hold (`{ field, operator, value }`);
//! it then gives a fact, whose values are text with look-ups (`{event.email | lower}`):
//!
//! ```toml
//! [[rule]]
//! id = "invoice_paid"
//! when = [{ field = "event.type", is = "invoice.paid" }]
//! outcome = "closed"
//! [rule.set]
//! deal_id = "{event.data.object.id}"
//! ```
//!
//! What rows and look-ups cannot say, a CEL expression can, in two places: `if`, asked after `when`,
//! and `{= … }` in a text.
//!
//! ```toml
//! if = "event.paid - event.refunded > 100 && event.items.exists(item, item.kind == 'course')"
//! notes = "{event.title}{= has(event.lost_reason) ? ': ' + event.lost_reason : '' }"
//! ```
//!
//! # Promises
//!
//! - **One definition of nothing.** Absent, `null`, blank text, `[]` and `{}` are "nothing there": no
//!   row holds for it but `exists = false`, no value is set from it.
//! - **Exact numbers.** Amounts are decimals from the event's own text to the fact.
//! - **First match wins** for each group of facts: outcomes (with retractions and ignored events),
//!   appointments, calls. One event gives at most one of each.
//! - **Never the whole event.** What cannot be read is not set, with a warning; a rule that insists
//!   says `require`.
//! - **Mistakes at load.** All mistakes of a file are told at once, each with its place and remedy. A
//!   file that loads cannot fail later for a reason that its author could have been told.
//! - **Explained.** [`Derivation::trace`] has every rule that was asked, every row, every value.
//! - **Bounded.** Work is linear in the event for each row and value; texts, batches and traces have
//!   limits, and the expressions of one event share a budget of work. Nothing here blocks, waits, or reads a clock.
//!
//! # Reading order
//!
//! [`Path`] and [`Template`] are the small languages inside TOML texts, [`Conditions`] the rows,
//! [`Ruleset`] a file; [`derive()`] applies it. Connectors use paths, templates and conditions with
//! roots of their own, through a [`Scope`].

mod apply;
mod argument;
mod cases;
mod check;
mod collector;
mod comparison;
mod condition;
mod cursor;
mod datum;
mod derive;
mod draft;
mod explain;
mod expression;
mod fields;
mod function;
mod key;
mod kind;
mod lint;
mod looked;
mod mask;
mod needs;
mod notes;
mod operation;
mod path;
mod reckon;
mod rows;
mod rule;
mod ruleset;
mod scope;
mod table;
mod table_file;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trace;
mod value;
mod word;

pub use cases::{ReadFile, TestResult, TestSource};
pub use check::Operator;
pub use collector::{Collector, in_file_order};
pub use condition::Conditions;
pub use cursor::TextMistake;
pub use datum::Datum;
pub use derive::{Context, Derivation, derive};
pub use explain::Personal;
pub use expression::Budget;
pub use fields::{differences, fields, kind_of};
pub use function::{Example, FUNCTIONS, Function};
pub use looked::{Looked, LookedUp};
pub use mask::mask;
pub use needs::Names;
pub use notes::Notes;
pub use path::Path;
pub use rule::ROOTS;
pub use ruleset::Ruleset;
pub use scope::Scope;
pub use table::{Table, Tables};
pub use template::{Template, Vocabulary};
pub use trace::{GroupKind, GroupStep, Origin, RowStep, SetStep, Step, Trace, shown};
pub use value::is_nothing;
pub use word::Word;
