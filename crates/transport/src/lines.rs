//! How long the lines to the other ends are, and what window a stream needs there: `quinn` fixes a connection's stream window
//! when it is made, so that what is known of an address from before decides.

use crate::quic::Congestion;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of one stream that may lie unread, at least.
pub(crate) const MIN_WINDOW: u32 = 1 << 20;
/// On a longer line a stream's window lets through so many bytes a second; half of it where losses have to be mended meanwhile.
const RATE: f64 = 80.0 * (1 << 20) as f64;
/// After this time a line may have become longer.
const KEPT: Duration = Duration::from_secs(600);
const MAX_KEPT: usize = 4096;

/// The round trips to other ends, each the shortest of late.
pub struct Lines {
    max_window: u32,
    seen: Mutex<HashMap<IpAddr, Seen>>,
}

struct Seen {
    rtt: Duration,
    at: Instant,
}

impl Lines {
    /// Nothing is known yet. `max_window`: bytes of one stream that may lie unread, however long its line.
    pub fn new(max_window: u32) -> Arc<Self> {
        Arc::new(Self { max_window: max_window.max(MIN_WINDOW), seen: Mutex::default() })
    }

    /// A round trip was measured. The window that a stream needs on this line.
    pub fn note(&self, address: IpAddr, rtt: Duration) -> u32 {
        let (address, now) = (address.to_canonical(), Instant::now());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_KEPT && !seen.contains_key(&address) {
            seen.retain(|_, one| now.duration_since(one.at) < KEPT);
            if seen.len() >= MAX_KEPT {
                seen.clear();
            }
        }
        let one = seen.entry(address).or_insert(Seen { rtt, at: now });
        if rtt <= one.rtt || now.duration_since(one.at) >= KEPT {
            *one = Seen { rtt, at: now };
        }
        self.suits(one.rtt)
    }

    /// The window for a new connection with this address.
    pub(crate) fn window(&self, address: IpAddr) -> u32 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&address.to_canonical()).map_or(MIN_WINDOW, |one| self.suits(one.rtt))
    }

    /// The window for a round trip.
    pub(crate) fn suits(&self, rtt: Duration) -> u32 {
        // A float's conversion to an integer saturates.
        ((rtt.as_secs_f64() * RATE) as u32).clamp(MIN_WINDOW, self.max_window)
    }
}

/// How the streams of connections use the network between edge and connector.
#[derive(Clone)]
pub struct Flow {
    /// What is known of it.
    pub lines: Arc<Lines>,
    /// How fast is sent; over QUIC only, with TCP it is the system's choice.
    pub congestion: Congestion,
    /// What its owner wants otherwise than usual, over QUIC.
    pub wanted: Wanted,
}

/// What the owner of a connector may want of its QUIC connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Bytes of one stream that may lie unread, in place of what its line needs.
    pub stream_window: Option<u32>,
    /// Bytes of all streams of a connection that may lie unread; no bound of their own otherwise.
    pub connection_window: Option<u32>,
    /// Packets stay as small as the first ones.
    pub no_mtu_discovery: bool,
    /// How long a stream may wait for the edge to take something, before it is reset.
    pub write_timeout: Option<Duration>,
}

impl Default for Flow {
    /// Windows that don't grow.
    fn default() -> Self {
        Self { lines: Lines::new(MIN_WINDOW), congestion: Congestion::Tolerant, wanted: Wanted::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_window_grows_with_the_line_up_to_what_memory_allows() {
        let lines = Lines::new(4 << 20);
        assert_eq!(lines.window(ip(1)), 1 << 20, "nothing is known");
        for (ms, window) in [(1, 1 << 20), (12, 1 << 20), (25, 2 << 20), (50, 4 << 20), (800, 4 << 20)] {
            assert_eq!(Lines::new(4 << 20).note(ip(1), Duration::from_millis(ms)), window, "{ms}");
        }
        assert_eq!(Lines::new(0).note(ip(1), Duration::from_secs(1)), 1 << 20);
        assert_eq!(lines.suits(Duration::MAX), 4 << 20);
    }

    #[test]
    fn the_shortest_round_trip_counts_for_each_address_alone() {
        let lines = Lines::new(4 << 20);
        lines.note(ip(1), Duration::from_millis(100));
        assert_eq!((lines.window(ip(1)), lines.window(ip(2))), (4 << 20, 1 << 20));
        lines.note(ip(1), Duration::from_millis(10));
        lines.note(ip(1), Duration::from_millis(100));
        assert_eq!(lines.window(ip(1)), 1 << 20);
    }

    #[test]
    fn so_many_addresses_are_kept() {
        let lines = Lines::new(4 << 20);
        for n in 0..20_000 {
            lines.note(ip(n), Duration::from_millis(100));
        }
        assert!(lines.seen.lock().unwrap().len() <= MAX_KEPT);
        assert_eq!(lines.window(ip(19_999)), 4 << 20);
    }
}
