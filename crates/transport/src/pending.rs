//! Handshakes under way, counted in all and by address, so that a flood of dials stays cheap and nobody takes every place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Above so many half-open ones every dial must prove its address (S26), whatever the limit.
const RETRY_ABOVE: usize = 1000;

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

/// A place taken.
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Pending {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Places { limit: limit.max(1), taken: Mutex::default() }))
    }

    pub(crate) fn arrive(&self, address: IpAddr) -> Verdict {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.0.limit;
        // One address may have half of the places.
        let own = taken.by_address.get(&address).copied().unwrap_or_default();
        if taken.total >= limit || own >= limit.div_ceil(2) {
            return Verdict::Refuse;
        }
        let prove = taken.total >= (limit / 2).clamp(1, RETRY_ABOVE) || own >= (limit / 4).max(1);
        taken.total += 1;
        *taken.by_address.entry(address).or_default() += 1;
        let place = Place { places: self.0.clone(), address };
        if prove { Verdict::Prove(place) } else { Verdict::Accept(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= 1;
        if let Some(own) = taken.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_half_and_all_get_the_limit() {
        let pending = Pending::new(8);
        let (a, b, c) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 3]));
        let mut places = Vec::new();
        let mut count = |address, dials| {
            let mut seen = (0, 0, 0);
            for _ in 0..dials {
                match pending.arrive(address) {
                    Verdict::Accept(place) => (seen.0 += 1, places.push(place)).1,
                    Verdict::Prove(place) => (seen.1 += 1, places.push(place)).1,
                    Verdict::Refuse => seen.2 += 1,
                }
            }
            seen
        };
        assert_eq!(count(a, 6), (2, 2, 2));
        assert_eq!(count(b, 6), (0, 4, 2));
        assert_eq!(count(c, 1), (0, 0, 1));
        places.clear();
        assert!(matches!(pending.arrive(c), Verdict::Accept(_)));
    }
}
