//! Whether a link is suspect, for everybody who holds it.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Whether a link is suspect: what was sent on it isn't acknowledged in time.
#[derive(Default)]
pub(crate) struct Doubt {
    suspect: AtomicBool,
    changed: Notify,
}

impl Doubt {
    /// It is.
    pub(crate) fn is_on(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Ready at the next change after its first poll.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}
