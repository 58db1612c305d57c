//! What can be set per destination, with its defaults.

use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;

use super::breaker::BreakerOptions;
use super::retry::RetryPolicy;
use crate::egress::{AddressPolicy, ClientOptions};

/// How deliveries to one destination are made.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationOptions {
    /// Requests in flight at a time. Default 16. The built-in store takes whole batches instead.
    pub concurrency: NonZeroUsize,
    /// Requests per second on the long run; unlimited when unset. Default unset.
    pub rate_per_second: Option<f64>,
    /// Requests that may go out at once before the rate holds. Default: one second's worth, at
    /// least 1.
    pub burst: Option<u32>,
    /// From sending a request to the end of its answer. Default 30 seconds.
    pub timeout: Duration,
    /// For the connection, TLS included. Default 5 seconds.
    pub connect_timeout: Duration,
    /// When failed attempts are repeated.
    pub retry: RetryPolicy,
    /// When a failing destination is left alone.
    pub breaker: BreakerOptions,
    /// How often a destination that refuses our credentials is asked again. The first two probes
    /// after a refusal come sooner: after a 300th and a tenth of it. Default 5 minutes.
    pub hold_probe: Duration,
    /// Whether every address may be connected to, private ones included. Default `false`.
    pub allow_private: bool,
    /// Private networks that may be connected to. Default none.
    pub allow_networks: Vec<IpNet>,
    /// Whether nothing is claimed for it until it is resumed. Default `false`.
    pub paused: bool,
}

impl Default for DestinationOptions {
    fn default() -> Self {
        Self {
            concurrency: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
            rate_per_second: None,
            burst: None,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            retry: RetryPolicy::default(),
            breaker: BreakerOptions::default(),
            hold_probe: Duration::from_secs(300),
            allow_private: false,
            allow_networks: Vec::new(),
            paused: false,
        }
    }
}

impl DestinationOptions {
    /// Which addresses may be connected to.
    pub fn address_policy(&self) -> AddressPolicy {
        if self.allow_private {
            AddressPolicy::Any
        } else {
            AddressPolicy::PublicAnd(self.allow_networks.clone())
        }
    }

    /// How requests are sent.
    pub(crate) fn client(&self) -> ClientOptions {
        ClientOptions {
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            idle_connections: self.concurrency.get(),
            addresses: self.address_policy(),
        }
    }
}
