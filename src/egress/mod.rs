//! HTTP on the way out, shared by deliveries and look-ups: one guarded client, and what is made of its
//! answers for people to read.
//!
//! # Promises
//!
//! - No redirect is followed, no proxy used, no cookie kept, no request repeated unasked.
//! - Private addresses are refused unless the operator allows them, at the moment of connecting.
//! - At most 64 KiB of an answer are read, in bounded time, after decompression.
//! - What is shown of an answer is printable and short; its owner's secrets are taken out first.

mod address;
mod client;
mod excerpt;
mod retry_after;

pub use address::{AddressKind, AddressPolicy, AddressRefused};
pub use client::ClientError;
pub(crate) use client::{Answer, Client, ClientOptions, SendError};
pub(crate) use excerpt::{MaskedTarget, excerpt, printable};
pub(crate) use retry_after::parse_retry_after;
