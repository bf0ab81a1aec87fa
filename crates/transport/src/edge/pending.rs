//! Connections that have not registered yet, counted in all and by address, so that a flood of dials stays cheap and nobody takes
//! every place.

use crate::owner;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Above so many half-open ones every dial must prove its address (S26), whatever the limit.
const RETRY_ABOVE: usize = 1000;
/// One address may have so many of all places, ...
const SHARE: usize = 16;
/// ... but always a few.
const MIN_SHARE: usize = 8;

/// The places there are.
#[derive(Clone)]
pub(crate) struct Pending(Arc<Places>);

struct Places {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// What to do with a dial.
pub(crate) enum Verdict {
    /// Go on; the place is given back on drop.
    Accept(Place),
    /// Go on once the address is proved (QUIC Retry); as good as accepted where that can't be asked.
    Prove(Place),
    /// No place.
    Refuse,
}

/// A place taken, from the first packet until the connection has registered or ended.
pub(crate) struct Place {
    places: Arc<Places>,
    owner: IpAddr,
}

impl Pending {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Places { limit: limit.max(1), taken: Mutex::default() }))
    }

    /// `is_shared`: many hosts are behind this address.
    pub(crate) fn arrive(&self, address: IpAddr, is_shared: bool) -> Verdict {
        let owner = owner(address);
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.0.limit;
        let share = if is_shared { limit.div_ceil(2) } else { (limit / SHARE).max(MIN_SHARE).min(limit.div_ceil(2)) };
        let own = taken.by_address.get(&owner).copied().unwrap_or_default();
        if taken.total >= limit || own >= share {
            return Verdict::Refuse;
        }
        let prove = taken.total >= (limit / 2).clamp(1, RETRY_ABOVE) || own >= (share / 2).max(1);
        taken.total += 1;
        *taken.by_address.entry(owner).or_default() += 1;
        let place = Place { places: self.0.clone(), owner };
        if prove { Verdict::Prove(place) } else { Verdict::Accept(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= 1;
        if let Some(own) = taken.by_address.get_mut(&self.owner) {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepted, to be proved, refused; the places are kept in `places`.
    fn dial(
        pending: &Pending,
        places: &mut Vec<Place>,
        from: &str,
        shared: bool,
        dials: usize,
    ) -> (usize, usize, usize) {
        let mut seen = (0, 0, 0);
        for _ in 0..dials {
            match pending.arrive(from.parse().unwrap(), shared) {
                Verdict::Accept(place) => (seen.0 += 1, places.push(place)).1,
                Verdict::Prove(place) => (seen.1 += 1, places.push(place)).1,
                Verdict::Refuse => seen.2 += 1,
            }
        }
        seen
    }

    #[test]
    fn one_address_gets_its_share_and_all_get_the_limit() {
        let (pending, mut places) = (Pending::new(160), Vec::new());
        assert_eq!(dial(&pending, &mut places, "192.0.2.1", false, 20), (5, 5, 10));
        assert_eq!(dial(&pending, &mut places, "2001:db8::1", false, 5), (5, 0, 0));
        assert_eq!(dial(&pending, &mut places, "2001:db8::2", false, 20), (0, 5, 15), "one /64 is one address");
        assert_eq!(dial(&pending, &mut places, "10.0.0.1", true, 100), (40, 40, 20), "a listed network");
        assert_eq!(dial(&pending, &mut places, "192.0.2.2", false, 20), (0, 10, 10), "half of all is taken: proofs");
        let (accepted, proved, refused) = dial(&pending, &mut places, "10.0.0.2", true, 80);
        assert_eq!((accepted, proved, refused), (0, 50, 30), "{} in all", 160);
        places.clear();
        assert!(matches!(pending.arrive("192.0.2.9".parse().unwrap(), false), Verdict::Accept(_)));
    }
}
