//! A token bucket: so many in a second, so many at once.

use tokio::time::Instant;

/// Full when made.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    most: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Holds one second's share.
    pub(crate) fn full(per_second: u32, now: Instant) -> Self {
        Self::holding(f64::from(per_second), f64::from(per_second), now)
    }

    /// Holds `most`.
    pub(crate) fn holding(per_second: f64, most: f64, now: Instant) -> Self {
        let most = most.max(1.0);
        Self { per_second, most, tokens: most, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * self.per_second).min(self.most);
        self.at = now;
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }

    /// Puts one back.
    pub(crate) fn give(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.most);
    }

    /// Whether there is one.
    pub(crate) fn has_any(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= 1.0
    }

    /// Whether nothing was taken of late.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= self.most
    }
}
