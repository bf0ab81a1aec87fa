//! What the connections of one connector know of each other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;

/// All connections.
pub(crate) struct Fleet {
    pub(crate) first_registered: watch::Sender<bool>,
    /// UDP seems blocked: one connection fell back.
    pub(crate) udp_blocked: AtomicBool,
    /// Held by the one connection that goes back to QUIC.
    pub(crate) switching: tokio::sync::Mutex<()>,
    /// Held by the one connection that finds out whether a restarted edge is back; the others follow it.
    scout: Arc<tokio::sync::Mutex<()>>,
    /// How often one has.
    pub(crate) scouted: watch::Sender<u64>,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self {
            first_registered: watch::Sender::new(false),
            udp_blocked: AtomicBool::new(false),
            switching: tokio::sync::Mutex::default(),
            scout: Arc::default(),
            scouted: watch::Sender::new(0),
        }
    }

    /// Finds out for all whether a restarted edge is back, unless another connection does already.
    pub(crate) fn scout(self: &Arc<Self>) -> Option<Scout> {
        let alone = self.scout.clone().try_lock_owned().ok()?;
        Some(Scout { fleet: self.clone(), _alone: alone })
    }
}

/// Being that one.
pub(crate) struct Scout {
    fleet: Arc<Fleet>,
    _alone: tokio::sync::OwnedMutexGuard<()>,
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.fleet.scouted.send_modify(|count| *count += 1);
    }
}
