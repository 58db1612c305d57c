//! Configuration, connectors and rules brought together: checked, compiled, ready to run.
//!
//! [`Blueprint::load`] is what `check` does and what `serve` starts from: whatever it accepts runs,
//! and whatever is wrong with files, connectors, settings, rules or routes is reported at once.

mod blueprint;
mod destination;
mod routes;
mod source;
mod tables;
#[cfg(test)]
mod tests;

pub use blueprint::{Blueprint, Loaded};
pub use destination::Destination;
pub use routes::{Chosen, LeftOut, Routes, Taken};
pub use source::{Rules, Source};
pub use tables::{Refreshed, SharedTables};
