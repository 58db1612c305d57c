//! outcome-bridge: signed webhooks in, normalized outcomes out, nothing lost.
//!
//! A voice-AI or call team wants to know what each call led to. CRMs, calendars and payment tools know
//! it, later and elsewhere. This service receives their signed webhooks, turns each into *facts* by
//! declarative rules, and brings the newest truth about each call to outcome APIs and to a built-in
//! store. This page is the map; each module's header tells its own story.
//!
//! # The life of an event
//!
//! 1. A request arrives at `POST /webhooks/{source}` ([`http`]). Its body is read once, within limits.
//! 2. The source's connector verifies it ([`connector`]): only verification can make a
//!    [`connector::VerifiedRequest`], and only that becomes an event. Handshakes are answered here.
//! 3. A duplicate key is derived. Event, key and the mark "to process" become one record of the journal
//!    ([`queue`]), shared with all requests of that moment; one sync makes them durable.
//! 4. Only then the sender gets its 2xx, as this vendor expects it.
//! 5. The processor ([`processing`]) takes the event, reads its body and runs the source's rules
//!    ([`mapping`]): facts, a disposition with its reason, and a trace of every decision.
//! 6. Routing finds the destinations that want each outcome, and its address (the *target*) at each.
//! 7. One durable write stores all that and revises the *lanes*: a lane is one target of one destination,
//!    and the unit of order.
//! 8. The lane's current truth is found anew from the set of its revisions ([`truth`]); if it changed, a
//!    delivery falls due and what it overtakes is superseded.
//! 9. A worker of the destination claims the lane ([`delivery`]), renders the request from the truth of this
//!    very moment, sends it, and judges the answer by the connector's rules: delivered, retry, refused, hold.
//! 10. The settlement is durable, too: receipt, next due time, or dead letter with its reason.
//!
//! Every stage restarts from disk; no stage holds the only copy of anything in memory.
//!
//! # Where things live
//!
//! | module | what it is | knows |
//! | --- | --- | --- |
//! | [`model`] | the values everybody speaks in | nothing of ours |
//! | [`diagnostic`] | a mistake in something that a person wrote, and how it is shown | `model` |
//! | [`clock`], [`metrics`], [`telemetry`] | time, numbers, logs | `model`, `queue`'s types |
//! | [`fault`] | where a test lets the process die; nothing in a release | nothing of ours |
//! | [`config`] | what an operator sets, every mistake with its place | `model`, `diagnostic`, `clock` |
//! | [`mapping`] | the rule language; pure | `model`, `diagnostic` |
//! | [`connector`] | the catalogue, verification, requests and responses; pure | `mapping`, `queue`'s types |
//! | [`truth`] | which revision holds; pure | `model` |
//! | [`queue`] | the durable queue: one trait, one engine (journal + index) | `truth`, `model` |
//! | [`registry`] | what earlier facts told of appointments, calls, deals and contacts; pure | `model`, `queue`'s types |
//! | [`store`] | the built-in outcome store (SQLite) | `queue`'s types |
//! | [`egress`] | HTTP out: one guarded client | `connector`'s requests |
//! | [`delivery`] | workers, retries, breaker | `queue`, `connector`, `store`, `egress` |
//! | [`lookup`] | asks vendors' APIs for what events leave out, durably | `connector`, `queue`, `egress` |
//! | [`setup`] | configuration, connectors and rules brought together | all of the above |
//! | [`processing`] | events to facts to lanes | `setup`, `mapping`, `registry`, `queue` |
//! | `quotes` | quoted cells of comma-separated values that never end | nothing of ours |
//! | `story` | an event's story in words | `mapping`'s trace |
//! | [`http`] | webhooks in, admin API, console | `setup`, `processing`, `queue`, `delivery`, `store`, `story` |
//! | [`backup`], [`doctor`] | the data directory as files: copied, restored, examined, repaired | `queue`'s engine, `store` |
//! | [`app`] | the composition root | everything but `cli` |
//! | [`cli`] | the command line | `app` |
//!
//! No two modules import each other. One foreign crate has one home: actix-web in `http`, sled
//! and lsm-tree in `queue::local`, sqlx in `store`, clap in `cli`, rlibphonenumber in `model`.
//!
//! # Promises and their limits
//!
//! A 2xx to a sender means that the event is on stable storage: it survives `kill -9` and power loss. Every
//! accepted event ends in exactly one visible disposition. Each outcome reaches each routed destination at
//! least once or stands in the dead letters; older truth never overwrites newer truth. A slow or dead
//! destination delays nothing else. Not promised: exactly once (a request may repeat after a crash), and
//! order between different targets.

pub mod app;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connector;
pub mod delivery;
pub mod diagnostic;
pub mod doctor;
pub mod egress;
pub mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod lookup;
pub mod mapping;
pub mod metrics;
pub mod model;
pub mod processing;
pub mod queue;
mod quotes;
pub mod registry;
pub mod setup;
pub mod store;
mod story;
pub mod telemetry;
pub mod truth;
