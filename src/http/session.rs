//! Log-ins of browsers: who is logged in, until when, and how often a wrong token may be tried.
//!
//! A session is a random token in a cookie; only its hash is kept, in memory. So a stop logs everybody out, and
//! nothing that could log somebody in is on disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::auth::Role;
use crate::model::Secret;

/// How long a log-in holds.
pub(super) const LIFE: SignedDuration = SignedDuration::from_hours(12);
/// Sessions at a time; one more ends the oldest.
const MOST_SESSIONS: usize = 1_000;
/// Wrong tokens that one address may try in a row, and how long it waits then.
const MOST_FAILURES: u32 = 10;
const WAIT: SignedDuration = SignedDuration::from_mins(5);
/// Addresses that failures are remembered of.
const MOST_ADDRESSES: usize = 10_000;

type Hash = [u8; 32];

/// Somebody who is logged in.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) role: Role,
    /// What every form that changes something must bring.
    pub(super) csrf: Secret,
    until: Timestamp,
}

struct Failures {
    count: u32,
    last: Timestamp,
}

/// All log-ins.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<Hash, Session>>,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

impl Sessions {
    /// Begins a session and returns the token for its cookie.
    pub(super) fn begin(&self, role: Role, now: Timestamp) -> Secret {
        let token = random();
        let session = Session {
            role,
            csrf: random(),
            until: now.saturating_add(LIFE).unwrap_or(Timestamp::MAX),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| session.until > now);
        if open.len() >= MOST_SESSIONS {
            let oldest = open.iter().min_by_key(|(_, session)| session.until);
            if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
                open.remove(&oldest);
            }
        }
        open.insert(hash(token.expose()), session);
        token
    }

    /// The session of a cookie's token.
    pub(super) fn find(&self, token: &str, now: Timestamp) -> Option<Session> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&hash(token))
            .filter(|session| session.until > now)
            .cloned()
    }

    /// Ends a session.
    pub(super) fn end(&self, token: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&hash(token));
    }

    /// How long an address must wait before it may try again; `None`: it may try now.
    pub(super) fn wait(&self, from: IpAddr, now: Timestamp) -> Option<SignedDuration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failures.get(&network(from))?;
        let left = WAIT - now.duration_since(failed.last);
        (failed.count >= MOST_FAILURES && left.is_positive()).then_some(left)
    }

    /// Counts a wrong token.
    pub(super) fn failed(&self, from: IpAddr, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST_ADDRESSES {
            failures.retain(|_, failed| now.duration_since(failed.last) < WAIT);
        }
        if failures.len() >= MOST_ADDRESSES {
            // An attack from everywhere: forgetting is better than growing, the token is too long to be guessed.
            failures.clear();
        }
        let failed = failures.entry(network(from)).or_insert(Failures {
            count: 0,
            last: now,
        });
        if now.duration_since(failed.last) >= WAIT {
            failed.count = 0;
        }
        failed.count = failed.count.saturating_add(1);
        failed.last = now;
    }

    /// Forgets the wrong tokens of an address that brought the right one.
    pub(super) fn succeeded(&self, from: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&network(from));
    }
}

fn random() -> Secret {
    Secret::new(hex::encode(rand::random::<Hash>()))
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

/// One machine has a whole IPv6 network of 64 bits to try from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
    }

    #[test]
    fn a_session_holds_until_it_ends_or_expires() {
        let sessions = Sessions::default();
        let token = sessions.begin(Role::Viewer, at(0));
        assert!(sessions.find(token.expose(), at(719)).is_some());
        assert!(sessions.find(token.expose(), at(720)).is_none());
        assert!(sessions.find("another", at(0)).is_none());
        sessions.end(token.expose());
        assert!(sessions.find(token.expose(), at(0)).is_none());
    }

    #[test]
    fn one_too_many_ends_the_oldest() {
        let sessions = Sessions::default();
        let first = sessions.begin(Role::Admin, at(0));
        let second = sessions.begin(Role::Admin, at(1));
        for _ in 1..MOST_SESSIONS {
            sessions.begin(Role::Viewer, at(2));
        }
        assert!(sessions.find(first.expose(), at(2)).is_none());
        assert!(sessions.find(second.expose(), at(2)).is_some());
    }

    #[test]
    fn wrong_tokens_make_an_address_wait_and_no_other() {
        let sessions = Sessions::default();
        let (one, same, other): (IpAddr, IpAddr, IpAddr) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::ffff:2".parse().unwrap(),
            "2001:db8:1::1".parse().unwrap(),
        );
        for _ in 0..MOST_FAILURES {
            assert_eq!(sessions.wait(one, at(0)), None);
            sessions.failed(one, at(0));
        }
        assert_eq!(
            sessions.wait(same, at(1)),
            Some(SignedDuration::from_mins(4))
        );
        assert_eq!(sessions.wait(other, at(1)), None);
        assert_eq!(sessions.wait(one, at(5)), None);
        sessions.failed(one, at(5));
        assert_eq!(sessions.wait(one, at(5)), None);
        sessions.succeeded(one);
        assert!(sessions.failures.lock().unwrap().is_empty());
    }
}
