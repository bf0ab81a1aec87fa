//! A moment that several threads may read and set.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// To the microsecond; at first the start of the process, or near it.
#[derive(Default)]
pub(crate) struct Moment(AtomicU64);

impl Moment {
    pub(crate) fn set(&self, at: Instant) {
        let since = at.saturating_duration_since(*BASE).as_micros();
        self.0.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Release);
    }

    pub(crate) fn get(&self) -> Instant {
        *BASE + Duration::from_micros(self.0.load(Ordering::Acquire))
    }
}
