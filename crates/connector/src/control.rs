//! Configurations that the edge pushes: handed to Python as an event, answered by it or by a time-out.

use crate::ConfigurationPushed;
use crate::server::Shared;
use qanat_transport::{Applied, ConfigurationPush};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Largest configuration taken, and how many a connection may push within a minute (security.md, S30).
const MAX_CONFIGURATION: usize = 1 << 20;
const MAX_PUSHES: u32 = 100;
const PUSH_WINDOW: Duration = Duration::from_secs(60);

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

    fn open(&self) -> (u64, oneshot::Receiver<Applied>) {
        let id = self.next_id.fetch_add(1, Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id, sender);
        (id, receiver)
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

    fn allows(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= PUSH_WINDOW {
            *self = Self::new(now);
        }
        self.count += 1;
        self.count <= MAX_PUSHES
    }
}

/// Takes one push in; the answer follows on its own.
pub(crate) fn take(shared: &Arc<Shared>, connection_index: u8, push: ConfigurationPush, limit: &mut PushLimit) {
    shared.counters.configuration_pushes.add(1);
    let refusal = if push.configuration.len() > MAX_CONFIGURATION {
        Some(format!("the configuration has {} bytes, more than {MAX_CONFIGURATION}", push.configuration.len()))
    } else if !limit.allows(Instant::now()) {
        Some(format!("more than {MAX_PUSHES} configurations within {} s", PUSH_WINDOW.as_secs()))
    } else {
        None
    };
    if let Some(reason) = refusal {
        shared.counters.configuration_pushes_refused.add(1);
        let version = shared.pushes.version.load(Relaxed);
        // The edge may have gone already.
        let _ = push.answer.send(Applied { version, error: Some(reason) });
        return;
    }
    let (push_id, answered) = shared.pushes.open();
    shared.events.push(ConfigurationPushed {
        push_id,
        connection_index,
        version: push.version,
        configuration: push.configuration,
    });
    let shared = shared.clone();
    let answer = push.answer;
    tokio::spawn(async move {
        // A little less than the edge waits, so that it hears the reason.
        let patience = shared.settings.rpc_timeout.mul_f64(0.9);
        let applied = match tokio::time::timeout(patience, answered).await {
            Ok(Ok(applied)) => applied,
            _ => {
                shared.pushes.lock().remove(&push_id);
                let error =
                    format!("the connector did not apply the configuration within {:.1} s", patience.as_secs_f64());
                Applied { version: shared.pushes.version.load(Relaxed), error: Some(error) }
            }
        };
        if applied.error.is_some() {
            shared.counters.configuration_pushes_refused.add(1);
        }
        let _ = answer.send(applied);
    });
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
