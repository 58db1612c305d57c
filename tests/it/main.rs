//! The promises of outcome-bridge, each with tests that try to break it.
//!
//! A real bridge runs in this process over a directory of its own and is spoken to by HTTP, on both
//! sides; the command line and `serve` run as the built binary. Destinations are scripted and strict.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows tests by their attribute, not what they call"
)]

#[path = "../durability/shim.rs"]
mod shim;
mod support;

mod cli;
mod console;
mod corrections;
mod dead_letters;
mod deduplication;
mod delivering;
mod disk;
mod documentation;
mod health;
mod lookups;
mod mapping;
mod methods;
mod network;
mod observability;
mod receiving;
mod recovery;
mod replaying;
mod retrying;
mod routing;
mod store;
mod upkeep;
