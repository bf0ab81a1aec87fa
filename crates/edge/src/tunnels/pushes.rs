//! What one connection was sent of its tunnel's configuration, and whether it may take requests by now.

use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one connection was sent.
#[derive(Default)]
pub(crate) struct Pushes(Mutex<Progress>);

#[derive(Default)]
struct Progress {
    /// Highest version that was answered.
    answered: Option<i32>,
    running: bool,
    settled: bool,
}

impl Pushes {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True the first time: the connection may take requests.
    pub(crate) fn settle(&self) -> bool {
        !std::mem::replace(&mut self.lock().settled, true)
    }

    /// It may take requests.
    pub(crate) fn is_settled(&self) -> bool {
        self.lock().settled
    }

    /// True when no run is under way: it begins now.
    pub(super) fn start(&self) -> bool {
        !std::mem::replace(&mut self.lock().running, true)
    }

    /// This version was answered.
    pub(super) fn note_answer(&self, version: i32) {
        self.lock().answered = Some(version);
    }

    /// What is still to be sent of what `newest` gives; if nothing, the run ends, in one step, so that no later start is missed.
    pub(super) fn next(&self, newest: impl FnOnce() -> Option<(i32, Bytes)>) -> Option<(i32, Bytes)> {
        let mut progress = self.lock();
        let answered = progress.answered;
        let next = newest().filter(|(version, _)| answered.is_none_or(|a| *version > a));
        progress.running = next.is_some();
        next
    }
}
