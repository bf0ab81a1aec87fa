//! What the connections of one connector know of each other.

use crate::ways::Way;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// All connections.
pub(crate) struct Fleet {
    pub(crate) first_registered: watch::Sender<bool>,
    /// The way that one connection fell back to, since QUIC led nowhere.
    pub(crate) fallen_back: Mutex<Option<Way>>,
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
            fallen_back: Mutex::default(),
            switching: tokio::sync::Mutex::default(),
            scout: Arc::default(),
            scouted: watch::Sender::new(0),
        }
    }

    /// The way that one connection fell back to.
    pub(crate) fn fallback(&self) -> Option<Way> {
        *self.fallen_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the others.
    pub(crate) fn fall_back(&self, way: Option<Way>) {
        *self.fallen_back.lock().unwrap_or_else(PoisonError::into_inner) = way;
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

/// Connections that shall be made anew because somebody said so: whichever takes one first, after so long.
#[derive(Default)]
pub(crate) struct Reconnects {
    delays: Mutex<VecDeque<Duration>>,
    added: Notify,
}

impl Reconnects {
    /// Asks for one.
    pub(crate) fn add(&self, delay: Duration) {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner).push_back(delay);
        self.added.notify_one();
    }

    /// Waits for one. Cancel-safe.
    pub(crate) async fn next(&self) -> Duration {
        loop {
            let next = self.delays.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(delay) = next {
                return delay;
            }
            self.added.notified().await;
        }
    }
}
