//! Which addresses may be connected to.
//!
//! A destination's or an API's URL is an operator's, but parts of it may come from events, and names
//! resolve to whatever their owner says. So only public addresses are connected to unless the
//! operator allows more there. Checked are IP literals in the URL (which no resolver is asked about) and every
//! address that a name resolves to, at the moment of connecting: a second look-up cannot say
//! something else. Forms that carry an IPv4 address inside an IPv6 one are judged by both.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Which addresses may be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Every address.
    Any,
    /// Public ones, and those in the listed networks.
    PublicAnd(Vec<IpNet>),
}

/// An address that must not be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address {address} is {kind}; set allow_networks or allow_private at this source or destination if that is meant"
)]
pub struct AddressRefused {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub kind: AddressKind,
}

/// What a refused address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// RFC 1918, `fc00::/7`, `fec0::/10`.
    Private,
    /// `169.254.0.0/16`, `fe80::/10`; cloud metadata services live here.
    LinkLocal,
    /// `100.64.0.0/10`, behind a carrier's NAT.
    Shared,
    /// `224.0.0.0/4`, `ff00::/8`, and the broadcast address.
    Multicast,
    /// Set aside for documentation, benchmarks, protocols or the future.
    Reserved,
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Shared => "behind a carrier's NAT",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
        })
    }
}

impl AddressPolicy {
    /// Checks one address.
    ///
    /// # Errors
    /// [`AddressRefused`] when it must not be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let Self::PublicAnd(allowed) = self else {
            return Ok(());
        };
        let inner = embedded(address);
        let is_allowed = |address: &IpAddr| allowed.iter().any(|network| network.contains(address));
        let refused = match inner {
            // Both the outer form and what it leads to have to be fine.
            Some(inner) if is_allowed(&address) || is_allowed(&IpAddr::V4(inner)) => None,
            Some(inner) => kind_of_v4(inner),
            None if is_allowed(&address) => None,
            None => kind_of(address),
        };
        match refused {
            Some(kind) => Err(AddressRefused { address, kind }),
            None => Ok(()),
        }
    }

    /// Checks the host of `url` when it is an address and not a name.
    ///
    /// # Errors
    /// [`AddressRefused`] when it must not be connected to.
    pub fn check_literal(&self, url: &Url) -> Result<(), AddressRefused> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into()),
            Some(Host::Ipv6(address)) => self.check(address.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }
}

fn kind_of(address: IpAddr) -> Option<AddressKind> {
    match address {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => kind_of_v6(address),
    }
}

/// The IANA special-purpose registry for IPv4, as far as it is not globally reachable.
fn kind_of_v4(address: Ipv4Addr) -> Option<AddressKind> {
    use AddressKind::{LinkLocal, Loopback, Multicast, Private, Reserved, Shared, Unspecified};
    match address.octets() {
        [0, ..] => Some(Unspecified),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Private),
        [100, 64..=127, ..] => Some(Shared),
        [127, ..] => Some(Loopback),
        [169, 254, ..] => Some(LinkLocal),
        // Protocol assignments; documentation; the retired 6to4 relays; AS112; benchmarks.
        [192, 0, 0, _] | [192, 0, 2, _] | [192, 88, 99, _] | [198, 51, 100, _] => Some(Reserved),
        [203, 0, 113, _] | [198, 18..=19, ..] => Some(Reserved),
        [224..=239, ..] | [255, 255, 255, 255] => Some(Multicast),
        [240..=255, ..] => Some(Reserved),
        _ => None,
    }
}

/// The same for IPv6. Only `2000::/3` is given out; all else is refused without knowing its use.
fn kind_of_v6(address: Ipv6Addr) -> Option<AddressKind> {
    use AddressKind::{LinkLocal, Loopback, Multicast, Private, Reserved, Unspecified};
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Loopback),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some(Private),
        [0xfe80..=0xfebf, ..] => Some(LinkLocal),
        [0xff00..=0xffff, ..] => Some(Multicast),
        // 2001::/23 protocol assignments (Teredo among them), documentation in two sizes.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some(Reserved),
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Reserved),
    }
}

/// The IPv4 address inside an IPv6 one: mapped, compatible, 6to4, NAT64 (both prefixes).
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let joined = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            Some(joined(high, low))
        }
        [0x2002, high, low, ..] => Some(joined(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(joined(high, low)),
        // RFC 8215 leaves the prefix length of a local NAT64 open; /96 is the usual one.
        [0x64, 0xff9b, 1, .., high, low] => Some(joined(high, low)),
        _ => None,
    }
}

/// Resolves names by the system's resolver and leaves out what the policy refuses.
#[derive(Debug, Clone)]
pub(crate) struct GuardedResolver {
    policy: Arc<AddressPolicy>,
}

impl GuardedResolver {
    pub(crate) fn new(policy: Arc<AddressPolicy>) -> Self {
        Self { policy }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Addrs = Box::new(filter(&policy, found)?.into_iter());
            Ok(addresses)
        })
    }
}

/// The addresses that may be connected to; refused when there are some, but none of them may.
fn filter(
    policy: &AddressPolicy,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, AddressRefused> {
    let mut refused = None;
    let mut allowed = Vec::new();
    for address in found {
        match policy.check(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(refusal) => refused = Some(refusal),
        }
    }
    match refused {
        Some(refusal) if allowed.is_empty() => Err(refusal),
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn public_only() -> AddressPolicy {
        AddressPolicy::PublicAnd(Vec::new())
    }

    fn literal(host: &str) -> Result<(), AddressRefused> {
        public_only().check_literal(&Url::parse(&format!("http://{host}/x")).unwrap())
    }

    #[test]
    fn private_addresses_are_refused_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[::ffff:0:10.0.0.1]",
            "[2002:7f00:1::]",
            "[2002:a9fe:a9fe::1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::192.168.0.1]",
            "[2001:0:1::1]",
            "[2001:db8::1]",
            "[3fff::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[100::1]",
            "[5f00::1]",
        ] {
            assert!(literal(host).is_err(), "{host} should be refused");
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for host in [
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "192.167.0.1",
            "[2606:4700::1111]",
            "[::ffff:8.8.8.8]",
            "[2002:808:808::]",
            "[64:ff9b::8.8.8.8]",
            "example.com",
        ] {
            assert_eq!(literal(host), Ok(()), "{host} should pass");
        }
    }

    #[test]
    fn what_a_destination_allows_passes_and_nothing_else() {
        let policy = AddressPolicy::PublicAnd(vec!["10.1.0.0/16".parse().unwrap()]);
        assert!(policy.check("10.1.2.3".parse().unwrap()).is_ok());
        assert!(policy.check("::ffff:10.1.2.3".parse().unwrap()).is_ok());
        assert!(policy.check("10.2.0.1".parse().unwrap()).is_err());
        assert!(policy.check("127.0.0.1".parse().unwrap()).is_err());
        assert!(
            AddressPolicy::Any
                .check("127.0.0.1".parse().unwrap())
                .is_ok()
        );
    }

    #[test]
    fn a_name_that_resolves_to_both_is_connected_to_at_its_public_address_only() {
        let found = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            filter(&public_only(), addresses.into_iter())
        };
        assert_eq!(
            found(&["10.0.0.1:0", "8.8.8.8:0"]),
            Ok(vec!["8.8.8.8:0".parse().unwrap()])
        );
        let refused = found(&["[::1]:0", "10.0.0.1:0"]).unwrap_err();
        assert_eq!(refused.kind, AddressKind::Private);
        assert_eq!(found(&[]), Ok(Vec::new()));
    }

    #[tokio::test]
    async fn the_resolver_refuses_a_name_for_this_machine() {
        let resolver = GuardedResolver::new(Arc::new(public_only()));
        let Err(error) = resolver.resolve("localhost".parse().unwrap()).await else {
            panic!("localhost should be refused");
        };
        assert!(error.is::<AddressRefused>(), "{error}");
    }

    proptest! {
        #[test]
        fn an_address_wrapped_in_ipv6_is_refused_when_it_is_refused_bare(bits: u32) {
            let inner = Ipv4Addr::from(bits);
            let [a, b, c, d] = inner.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let bare = public_only().check(inner.into()).is_ok();
            for outer in [
                inner.to_ipv6_mapped(),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            ] {
                prop_assert_eq!(public_only().check(outer.into()).is_ok(), bare, "{}", outer);
            }
        }
    }
}
