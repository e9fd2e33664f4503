//! Wrong tokens, counted by the address that they come from.
//!
//! The first [`FREE`] are answered as what they are. From then on each begins a back-off, twice as
//! long as the one before up to [`BACKOFF_MAX`], in which further ones are told to wait. After
//! [`FORGET`] without a wrong token an address begins anew.
//!
//! # Invariants
//! - At most [`ADDRESSES_MAX`] addresses are known.
//! - At most one log line in [`LOG_EVERY`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Addresses of which wrong tokens are counted. When one more comes all are forgotten: whoever
/// has so many addresses gains some tries at each by that, of 2^256.
pub const ADDRESSES_MAX: usize = 4096;
/// Wrong tokens without a back-off: people mistype.
const FREE: u32 = 10;
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
const FORGET: Duration = Duration::from_secs(600);
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Wrong tokens by address.
#[derive(Debug, Default)]
pub(super) struct Failures {
    by_address: HashMap<IpAddr, Entry>,
    logged: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    /// Wrong tokens that were not told to wait.
    count: u32,
    /// The end of its last back-off, or the last wrong token.
    until: Instant,
}

impl Failures {
    /// Counts a wrong token at `now`; says how long the address is to wait, if it is.
    pub(super) fn count(&mut self, address: IpAddr, now: Instant) -> Option<Duration> {
        let address = network(address);
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            self.by_address.clear();
        }
        let begin = Entry {
            count: 0,
            until: now,
        };
        let entry = self.by_address.entry(address).or_insert(begin);
        if let Some(wait) = entry.until.checked_duration_since(now)
            && !wait.is_zero()
        {
            return Some(wait);
        }
        if now.duration_since(entry.until) >= FORGET {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.until = now + backoff(entry.count);
        let count = entry.count;
        if count >= FREE && self.may_log(now) {
            tracing::warn!(%address, count, "wrong tokens again and again from one address");
        }
        None
    }

    fn may_log(&mut self, now: Instant) -> bool {
        let may = self.logged.is_none_or(|at| now >= at + LOG_EVERY);
        if may {
            self.logged = Some(now);
        }
        may
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> usize {
        self.by_address.len()
    }
}

/// How long is to be waited after so many wrong tokens.
fn backoff(count: u32) -> Duration {
    let Some(beyond) = count.checked_sub(FREE) else {
        return Duration::ZERO;
    };
    let doubled = 1_u32.checked_shl(beyond).unwrap_or(u32::MAX);
    BACKOFF_MIN.saturating_mul(doubled).min(BACKOFF_MAX)
}

/// What one client has: an address, or of IPv6 a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(network).into()
        }
        v4 => v4,
    }
}
