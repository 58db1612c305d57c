//! outcome-bridge: signed webhooks in, normalized outcomes out, nothing lost.

pub mod clock;
pub mod config;
pub mod connector;
pub mod delivery;
pub mod diagnostic;
pub mod mapping;
pub mod metrics;
pub mod model;
pub mod queue;
pub mod store;
pub mod telemetry;
pub mod truth;
