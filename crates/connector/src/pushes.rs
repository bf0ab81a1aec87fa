//! Configurations that the edge pushed and Python has not answered yet.

use qanat_transport::Applied;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How many a connection may push within a minute (security.md, S30).
pub(crate) const MAX_PUSHES: u32 = 100;
pub(crate) const PUSH_WINDOW: Duration = Duration::from_secs(60);

/// Pushes that Python has not answered yet, and the version it applied last.
pub(crate) struct Pushes {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Applied>>>,
    next_id: AtomicU64,
    version: AtomicI32,
}

impl Pushes {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), next_id: AtomicU64::new(1), version: AtomicI32::new(-1) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Applied>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A push that waits from now on: its id and where the answer comes out.
    pub(crate) fn open(&self) -> (u64, oneshot::Receiver<Applied>) {
        let id = self.next_id.fetch_add(1, Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id, sender);
        (id, receiver)
    }

    /// The version applied last, -1 before the first.
    pub(crate) fn version(&self) -> i32 {
        self.version.load(Relaxed)
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// False when nobody waits for it (any more).
    pub(crate) fn answer(&self, id: u64, version: i32, error: &str) -> bool {
        self.version.fetch_max(version, Relaxed);
        let waiting = self.lock().remove(&id);
        let error = (!error.is_empty()).then(|| error.to_owned());
        waiting.is_some_and(|sender| sender.send(Applied { version, error }).is_ok())
    }
}

/// How many pushes one connection made lately.
pub(crate) struct PushLimit {
    since: Instant,
    count: u32,
}

impl PushLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// Whether one more may be taken in.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= PUSH_WINDOW {
            *self = Self::new(now);
        }
        self.count += 1;
        self.count <= MAX_PUSHES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_reaches_the_push_it_is_for_and_only_once() {
        let pushes = Pushes::new();
        let (first, first_answer) = pushes.open();
        let (second, second_answer) = pushes.open();
        assert!(pushes.answer(second, 7, "ingress[0]: bad"));
        assert!(pushes.answer(first, 7, ""));
        assert!(!pushes.answer(first, 8, ""));
        assert_eq!(first_answer.await, Ok(Applied { version: 7, error: None }));
        assert_eq!(second_answer.await, Ok(Applied { version: 7, error: Some("ingress[0]: bad".into()) }));
    }

    #[test]
    fn a_hundred_pushes_a_minute_and_no_more() {
        let start = Instant::now();
        let mut limit = PushLimit::new(start);
        assert!((0..100).all(|_| limit.allows(start)));
        assert!(!limit.allows(start + Duration::from_secs(59)));
        assert!(limit.allows(start + Duration::from_secs(60)));
    }
}
