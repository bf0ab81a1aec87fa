//! Streams that a client of HTTP/2 cancels before they are answered: somebody who scrolls, or an attack (S22)?
//!
//! What a cancel costs us is work that no limit of concurrent streams holds back: its request has gone through the tunnel to an origin,
//! and the next one may come at once. So it is free once the answer has begun, or when the stream had its place for a second: then its
//! client does no more than it could by waiting. Every other one is paid for, out of an account that fills with time and with
//! requests that are answered. Who overdraws it is ended.

use crate::bucket::Bucket;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A stream that lived for so long is no rapid reset (Envoy's measure of a premature one).
const LIVED: Duration = Duration::from_secs(1);
/// Cancels at once …
pub(crate) const MAX_CANCELS: u32 = 500;
/// … and for each second after: more than a map's tiles ten times a second.
const PER_SECOND: f64 = 50.0;

/// One connection's account.
pub(crate) struct Cancels(Mutex<Account>);

struct Account {
    bucket: Bucket,
    overdrawn: bool,
}

impl Cancels {
    pub(crate) fn new() -> Self {
        let bucket = Bucket::holding(PER_SECOND, f64::from(MAX_CANCELS), Instant::now());
        Self(Mutex::new(Account { bucket, overdrawn: false }))
    }

    /// The client cancelled a stream that had begun so long ago and had no answer.
    pub(crate) fn canceled(&self, lived: Duration) {
        if lived < LIVED {
            let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            account.overdrawn |= !account.bucket.take(Instant::now());
        }
    }

    /// A request was answered whole.
    pub(crate) fn answered(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bucket.give();
    }

    /// Whether it goes too far.
    pub(crate) fn is_overdrawn(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).overdrawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const SOON: Duration = Duration::from_millis(5);

    /// Thirty tiles every three seconds, and a stream of events beside them: for a day.
    #[tokio::test(start_paused = true)]
    async fn a_map_is_panned_for_ever() {
        let cancels = Cancels::new();
        for _ in 0..24 * 1200 {
            (0..30).for_each(|_| cancels.canceled(SOON));
            advance(Duration::from_secs(3)).await;
        }
        assert!(!cancels.is_overdrawn());
    }

    /// Case 74.
    #[tokio::test(start_paused = true)]
    async fn what_was_answered_or_waited_for_may_be_canceled_and_some_hundreds_at_once() {
        let cancels = Cancels::new();
        (0..10_000).for_each(|_| cancels.canceled(LIVED));
        for _ in 0..10_000 {
            cancels.canceled(SOON);
            cancels.answered();
        }
        (0..MAX_CANCELS).for_each(|_| cancels.canceled(SOON));
        assert!(!cancels.is_overdrawn());
        cancels.canceled(SOON);
        assert!(cancels.is_overdrawn());
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_flood_ends() {
        let cancels = Cancels::new();
        for _ in 0..60 {
            (0..100).for_each(|_| cancels.canceled(SOON));
            advance(Duration::from_secs(1)).await;
        }
        assert!(cancels.is_overdrawn());
    }
}
