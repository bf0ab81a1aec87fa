//! Whether the window that all streams of one connection share is full of what one of them doesn't take.
//!
//! A qanat connector gives no bound to all streams of a connection together, so a body that its origin leaves unread holds its
//! own stream alone. Others do (Go's HTTP/2 server: 1 MiB; a stock connector over QUIC: 768 KiB at first): a few such bodies
//! leave no room for the others, over QUIC not even for the heads of new requests. They are given up then, and new requests
//! go elsewhere meanwhile.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Every peer takes so much of one stream: a body that stands below it waits for the connection's window, not for its own.
const MIN_WINDOW: u64 = 64 * 1024;
/// A stream below that stands for so long: the connection is choked.
const SUSPICION: Duration = Duration::from_millis(250);
/// … and counts as choked for so long after the last sign of it.
const CHOKED: Duration = Duration::from_secs(1);
/// On a choked connection a body may stand for so long.
const MAX_CHOKING: Duration = Duration::from_secs(3);

/// What the streams of one connection have seen of its window.
#[derive(Debug, Default)]
pub struct Choke(AtomicU64);

impl Choke {
    /// Milliseconds; 0 is never.
    fn now() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        let since = START.get_or_init(Instant::now).elapsed();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// True while there are signs of it.
    pub fn is_on(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            seen => Duration::from_millis(Self::now().saturating_sub(seen)) < CHOKED,
        }
    }

    /// Told of a body of which nothing was taken for `stood`, after `bytes` of it. True when it must go, so that the others
    /// can move.
    pub fn stands(&self, bytes: u64, stood: Duration) -> bool {
        if bytes < MIN_WINDOW && stood >= SUSPICION {
            self.0.store(Self::now(), Ordering::Relaxed);
        }
        bytes >= MIN_WINDOW && stood >= MAX_CHOKING && self.is_on()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_goes_only_while_others_wait_for_room() {
        let choke = Choke::default();
        assert!(!choke.stands(1 << 20, Duration::from_secs(60)), "nobody else waits");
        assert!(!choke.stands(0, Duration::from_millis(100)) && !choke.is_on());
        assert!(!choke.stands(0, SUSPICION) && choke.is_on());
        assert!(!choke.stands(1 << 20, Duration::from_secs(1)), "it may still move");
        assert!(choke.stands(1 << 20, MAX_CHOKING));
        tokio::time::advance(CHOKED).await;
        assert!(!choke.is_on() && !choke.stands(1 << 20, MAX_CHOKING));
    }
}
