//! Who dials the tunnel listener, how often, and how often in vain (S33). Only proved addresses are counted: nobody can use up
//! another's share by forging its address. A valid secret is never made to wait for the failures of others.

use crate::bucket::Bucket;
use ipnet::IpNet;
use qanat_transport::{Admission, owner};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// QUIC dials in a second, of all together, that need not prove their address (which costs a round trip).
const UNPROVED_PER_SECOND: u32 = 200;
/// Failures of an address in `WINDOW` before it has to wait longer.
const FAILURES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// Dials in a second of an address with more.
const AFTER_FAILURES: u32 = 5;
/// How long a refused connector is told to wait, and the most that this becomes.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(30);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Refusals of one address that are told: so many at once, so many in a second.
const TOLD_AT_ONCE: f64 = 10.0;
const TOLD_OF_ONE_PER_SECOND: f64 = 0.1;
/// Refusals told in a second, of each kind: those for tunnels that there are must not drown in the others.
const TOLD_PER_SECOND: u32 = 20;
const MAX_ADDRESSES: usize = 10_000;

/// What follows from a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// How long the connector is told to wait.
    pub(crate) retry_after: Duration,
    /// For how many refusals of this address an event shall stand; `None`: it is only counted.
    pub(crate) told: Option<u64>,
}

/// Counts dials and failures by address.
pub(crate) struct Dials {
    per_second: u32,
    exempt: Vec<IpNet>,
    book: Mutex<Book>,
}

struct Book {
    unproved: Bucket,
    /// For tunnels that there are, and for others.
    told: [Bucket; 2],
    by_address: HashMap<IpAddr, Own>,
    swept: Instant,
}

struct Own {
    dials: Bucket,
    after_failures: Bucket,
    failures: u32,
    failed: Instant,
    telling: Bucket,
    untold: u64,
}

impl Own {
    fn new(per_second: u32, now: Instant) -> Self {
        Self {
            dials: Bucket::full(per_second, now),
            after_failures: Bucket::full(AFTER_FAILURES, now),
            failures: 0,
            failed: now,
            telling: Bucket::holding(TOLD_OF_ONE_PER_SECOND, TOLD_AT_ONCE, now),
            untold: 0,
        }
    }

    fn failures(&self, now: Instant) -> u32 {
        let forgotten = now.saturating_duration_since(self.failed) > WINDOW.max(retry_after(self.failures));
        if forgotten { 0 } else { self.failures }
    }

    fn is_of_interest(&mut self, now: Instant) -> bool {
        self.failures(now) > 0 || !self.dials.is_full(now) || !self.telling.is_full(now)
    }
}

fn retry_after(failures: u32) -> Duration {
    let doubled = failures.saturating_sub(FAILURES - 1).min(10);
    (RETRY_AFTER * 2_u32.pow(doubled)).min(MAX_RETRY_AFTER)
}

/// The entry of an address; `None`: too many are of interest.
fn own<'a>(
    by_address: &'a mut HashMap<IpAddr, Own>,
    swept: &mut Instant,
    owner: IpAddr,
    per_second: u32,
    now: Instant,
) -> Option<&'a mut Own> {
    if by_address.len() >= MAX_ADDRESSES && !by_address.contains_key(&owner) {
        if now.saturating_duration_since(*swept) >= Duration::from_secs(1) {
            *swept = now;
            by_address.retain(|_, own| own.is_of_interest(now));
        }
        if by_address.len() >= MAX_ADDRESSES {
            return None;
        }
    }
    Some(by_address.entry(owner).or_insert_with(|| Own::new(per_second, now)))
}

impl Dials {
    pub(crate) fn new(per_second: u32, exempt: Vec<IpNet>) -> Self {
        let now = Instant::now();
        let book = Book {
            unproved: Bucket::full(UNPROVED_PER_SECOND, now),
            told: [Bucket::full(TOLD_PER_SECOND, now), Bucket::full(TOLD_PER_SECOND, now)],
            by_address: HashMap::new(),
            swept: now,
        };
        Self { per_second, exempt, book: Mutex::new(book) }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Many hosts are behind this address.
    pub(crate) fn is_shared(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.exempt.iter().any(|network| network.contains(&address))
    }

    /// Whether to take a dial.
    pub(crate) fn admit(&self, address: IpAddr, proved: bool) -> Admission {
        let now = Instant::now();
        if !proved {
            let is_quiet = self.lock().unproved.take(now);
            return if is_quiet { Admission::Admit } else { Admission::Prove };
        }
        if self.is_shared(address) {
            return Admission::Admit;
        }
        let mut guard = self.lock();
        let Book { by_address, swept, .. } = &mut *guard;
        let Some(own) = own(by_address, swept, owner(address), self.per_second, now) else { return Admission::Admit };
        let takes = match own.failures(now) {
            0..FAILURES => own.dials.take(now),
            _ => own.after_failures.take(now),
        };
        if takes { Admission::Admit } else { Admission::Refuse }
    }

    /// Notes a refused registration. `is_known`: the tunnel is there. `is_failure`: it came without a valid secret.
    pub(crate) fn refused(&self, address: IpAddr, is_known: bool, is_failure: bool) -> Verdict {
        let now = Instant::now();
        let is_shared = self.is_shared(address);
        let mut guard = self.lock();
        let Book { by_address, swept, told, .. } = &mut *guard;
        let Some(own) = own(by_address, swept, owner(address), self.per_second, now) else {
            return Verdict { retry_after: MAX_RETRY_AFTER, told: None };
        };
        if is_failure {
            own.failures = own.failures(now).saturating_add(1);
            own.failed = now;
        }
        own.untold += 1;
        let tells = (is_shared || own.telling.take(now)) && told[usize::from(!is_known)].take(now);
        let told = tells.then(|| std::mem::take(&mut own.untold));
        Verdict { retry_after: if is_shared { RETRY_AFTER } else { retry_after(own.failures) }, told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn admitted(dials: &Dials, from: IpAddr, count: usize) -> usize {
        (0..count).filter(|_| dials.admit(from, true) == Admission::Admit).count()
    }

    /// S33.
    #[tokio::test(start_paused = true)]
    async fn failures_make_an_address_wait_ever_longer_and_no_other() {
        let dials = Dials::new(50, Vec::new());
        let waits: Vec<u64> = (0..9).map(|_| dials.refused(ONE, true, true).retry_after.as_secs()).collect();
        assert_eq!(waits, [30, 30, 30, 30, 60, 120, 240, 300, 300]);
        assert_eq!(dials.refused(TWO, true, true).retry_after, RETRY_AFTER);
        assert_eq!((admitted(&dials, ONE, 100), admitted(&dials, TWO, 100)), (5, 50));
        assert!((0..9).all(|_| dials.refused(TWO, true, false).retry_after == RETRY_AFTER), "its secret was good");
        tokio::time::advance(Duration::from_secs(301)).await;
        assert_eq!(dials.refused(ONE, true, true).retry_after, RETRY_AFTER, "forgotten");
        assert_eq!(admitted(&dials, ONE, 100), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_told_once_in_a_while_with_their_number() {
        let dials = Dials::new(50, Vec::new());
        let told: Vec<_> = (0..100).filter_map(|_| dials.refused(ONE, false, true).told).collect();
        assert_eq!(told, [1; 10]);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(dials.refused(ONE, false, true).told, Some(91));
        assert_eq!(dials.refused(ONE, false, true).told, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_for_unknown_tunnels_does_not_hide_a_refusal_for_a_known_one() {
        let dials = Dials::new(50, Vec::new());
        let many = (0..5000_u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        let told = many.filter(|from| dials.refused(*from, false, true).told.is_some()).count();
        assert_eq!(told, TOLD_PER_SECOND as usize);
        assert_eq!(dials.refused(TWO, true, true).told, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn forged_addresses_use_up_nobodys_share() {
        let dials = Dials::new(50, Vec::new());
        let proofs = (0..1000).filter(|_| dials.admit(ONE, false) == Admission::Prove).count();
        assert_eq!(proofs, 1000 - UNPROVED_PER_SECOND as usize);
        assert_eq!(admitted(&dials, ONE, 100), 50);
        assert!(dials.lock().by_address.len() <= 1);
    }

    #[tokio::test(start_paused = true)]
    async fn listed_networks_dial_as_they_like() {
        let dials = Dials::new(50, vec!["192.0.2.0/24".parse().unwrap()]);
        assert_eq!(admitted(&dials, ONE, 1000), 1000);
        let refused: Vec<_> = (0..20).map(|_| dials.refused(ONE, true, true)).collect();
        assert!(refused.iter().all(|verdict| *verdict == Verdict { retry_after: RETRY_AFTER, told: Some(1) }));
    }

    #[tokio::test(start_paused = true)]
    async fn the_book_is_bounded_and_forgets() {
        let dials = Dials::new(50, Vec::new());
        for n in 0..20_000_u32 {
            dials.refused(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), false, true);
        }
        assert_eq!(dials.lock().by_address.len(), MAX_ADDRESSES);
        assert_eq!(dials.admit(ONE, true), Admission::Admit, "whoever holds a secret still gets in");
        tokio::time::advance(Duration::from_secs(101)).await;
        dials.refused(ONE, true, true);
        assert_eq!(dials.lock().by_address.len(), 1);
    }
}
