//! How short of memory the edge is (S29), as it was told: public requests are shed before the system ends the whole process.

use std::sync::atomic::{AtomicU8, Ordering};

/// What a shed request's page says.
pub(crate) const SHED: &str = "the edge is short of memory and takes no requests now";

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing.
    None,
    /// New public requests get 503 with Retry-After. Those under way, and the connections of connectors, go on.
    Shed,
    /// New public connections are closed as well.
    Refuse,
}

/// The level in force.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU8);

impl Gauge {
    pub(crate) fn set(&self, pressure: Pressure) {
        self.0.store(pressure as u8, Ordering::Relaxed);
    }

    pub(crate) fn sheds(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Pressure::Shed as u8
    }

    pub(crate) fn refuses(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Pressure::Refuse as u8
    }
}
