//! How many public connections there may be, in all and from one address, and how fast one address may open them and fail (S29).

use crate::bucket::Bucket;
use ipnet::IpNet;
use qanat_transport::owner;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Addresses are forgotten when there are more than this and than twice those that are still of interest.
const SWEEP_ABOVE: usize = 1024;

/// What one address may do, and all together.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Open at once, in all.
    pub(crate) max: usize,
    /// Open at once, of one address.
    pub(crate) max_per_address: usize,
    /// Of one address in a second.
    pub(crate) new_per_second: u32,
    /// Failed handshakes of one address in a second.
    pub(crate) failed_per_second: u32,
    /// Many hosts are behind each of these addresses: only the bound of all counts for them.
    pub(crate) exempt: Vec<IpNet>,
}

/// Counts connections.
pub(crate) struct Limits {
    bounds: Bounds,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, Own>,
    sweep_at: usize,
}

struct Own {
    open: usize,
    new: Bucket,
    failed: Bucket,
}

/// One connection's place; dropped, it is free again.
pub(crate) struct Permit {
    limits: Arc<Limits>,
    /// `None`: exempt.
    owner: Option<IpAddr>,
}

impl Limits {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, open: Mutex::default() })
    }

    /// `None`: a limit is reached. `peer` is canonical.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Permit> {
        let bounds = &self.bounds;
        let owner = self.counted(peer);
        let now = Instant::now();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= bounds.max {
            return None;
        }
        if let Some(owner) = owner {
            open.sweep(now);
            let own = open.by_address.entry(owner).or_insert_with(|| Own {
                open: 0,
                new: Bucket::full(bounds.new_per_second, now),
                failed: Bucket::full(bounds.failed_per_second, now),
            });
            if own.open >= bounds.max_per_address || !own.failed.has_any(now) || !own.new.take(now) {
                return None;
            }
            own.open += 1;
        }
        open.all += 1;
        Some(Permit { limits: self.clone(), owner })
    }

    /// Whether `peer` may show one more secret: it hasn't shown too many bad ones of late.
    pub(crate) fn has_tries(&self, peer: IpAddr) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.counted(peer).and_then(|owner| open.by_address.get_mut(&owner));
        own.is_none_or(|own| own.failed.has_any(Instant::now()))
    }

    /// `peer` showed a bad one, which counts as a failed handshake.
    pub(crate) fn tried(&self, peer: IpAddr) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = self.counted(peer).and_then(|owner| open.by_address.get_mut(&owner)) {
            own.failed.take(Instant::now());
        }
    }

    fn counted(&self, peer: IpAddr) -> Option<IpAddr> {
        let is_exempt = self.bounds.exempt.iter().any(|network| network.contains(&peer));
        (!is_exempt).then(|| owner(peer))
    }
}

impl Open {
    fn sweep(&mut self, now: Instant) {
        if self.by_address.len() > self.sweep_at.max(SWEEP_ABOVE) {
            self.by_address.retain(|_, own| own.open > 0 || !own.new.is_full(now) || !own.failed.is_full(now));
            self.sweep_at = self.by_address.len() * 2;
        }
    }
}

impl Permit {
    /// Its handshake failed.
    pub(crate) fn failed(&self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = self.owner.and_then(|owner| open.by_address.get_mut(&owner)) {
            own.failed.take(Instant::now());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(own) = self.owner.and_then(|owner| open.by_address.get_mut(&owner)) {
            own.open -= 1;
        }
    }
}

/// The same number for every address of one host.
pub(crate) fn number(peer: IpAddr) -> u128 {
    match owner(peer) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn bounds() -> Bounds {
        Bounds { max: 3, max_per_address: 2, new_per_second: 100, failed_per_second: 10, exempt: Vec::new() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_limited_per_address_and_in_all_and_come_back() {
        let limits = Limits::new(bounds());
        let first = limits.admit(ip("192.0.2.1")).unwrap();
        let _second = limits.admit(ip("192.0.2.1")).unwrap();
        assert!(limits.admit(ip("192.0.2.1")).is_none());
        let _other = limits.admit(ip("192.0.2.2")).unwrap();
        assert!(limits.admit(ip("192.0.2.3")).is_none());
        drop(first);
        assert!(limits.admit(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn a_v6_host_counts_with_its_64() {
        let limits = Limits::new(Bounds { max: 10, max_per_address: 1, ..bounds() });
        let _one = limits.admit(ip("2001:db8::1")).unwrap();
        assert!(limits.admit(ip("2001:db8::2")).is_none());
        assert!(limits.admit(ip("2001:db8:0:1::2")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_may_open_and_fail_only_so_fast_and_others_do_not_notice() {
        let limits = Limits::new(Bounds { max: 1000, max_per_address: 1000, new_per_second: 50, ..bounds() });
        let opened = (0..200).filter(|_| limits.admit(ip("192.0.2.1")).is_some()).count();
        assert_eq!(opened, 50);
        assert!(limits.admit(ip("192.0.2.2")).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..10 {
            limits.admit(ip("192.0.2.1")).unwrap().failed();
        }
        assert!(limits.admit(ip("192.0.2.1")).is_none(), "ten failed");
        assert!(limits.admit(ip("192.0.2.2")).is_some());
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(limits.admit(ip("192.0.2.1")).is_some(), "two more by now");
    }

    #[tokio::test(start_paused = true)]
    async fn who_shows_bad_secrets_gets_no_more_tries_for_a_while() {
        let limits = Limits::new(bounds());
        let _open = limits.admit(ip("192.0.2.1")).unwrap();
        (0..10).for_each(|_| limits.tried(ip("192.0.2.1")));
        assert!(!limits.has_tries(ip("192.0.2.1")) && limits.has_tries(ip("192.0.2.2")));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(limits.has_tries(ip("192.0.2.1")));
    }

    #[test]
    fn listed_networks_have_only_the_bound_of_all() {
        let exempt = vec!["10.0.0.0/8".parse().unwrap()];
        let limits = Limits::new(Bounds { max: 100, exempt, ..bounds() });
        let open: Vec<_> = (0..200).filter_map(|_| limits.admit(ip("10.1.2.3"))).collect();
        open.iter().for_each(Permit::failed);
        assert_eq!(open.len(), 100);
        assert!(limits.admit(ip("192.0.2.1")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_of_no_interest_are_forgotten() {
        let limits = Limits::new(Bounds { max: 1_000_000, ..bounds() });
        let _kept = limits.admit(ip("203.0.113.9")).unwrap();
        for round in 0..8_u32 {
            for n in 0..1000_u32 {
                assert!(limits.admit(IpAddr::from((0x0a00_0000 + round * 1000 + n).to_be_bytes())).is_some());
            }
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        let open = limits.open.lock().unwrap();
        assert!(open.by_address.len() < 3000 && open.by_address.contains_key(&ip("203.0.113.9")));
    }
}
