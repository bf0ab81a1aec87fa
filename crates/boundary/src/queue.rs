//! The queue between the engine's threads and Python's.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An event that knows whether it may be lost.
pub trait Expendable {
    /// True for what may be dropped when nobody takes events: what anybody can cause without a secret.
    fn is_expendable(&self) -> bool;
}

/// Expendable events are dropped, and counted, once as many are waiting as it may hold; the others never are: their number is
/// bounded by what connectors and supervisors can do.
pub struct EventQueue<E> {
    waiting: Mutex<Waiting<E>>,
    arrived: Condvar,
    capacity: usize,
    dropped: AtomicU64,
}

struct Waiting<E> {
    events: VecDeque<E>,
    closed: bool,
}

impl<E: Expendable> EventQueue<E> {
    /// A queue for `capacity` events.
    pub fn new(capacity: usize) -> Self {
        let waiting = Mutex::new(Waiting { events: VecDeque::new(), closed: false });
        Self { waiting, arrived: Condvar::new(), capacity, dropped: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<E>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, and wakes whoever waits.
    pub fn push(&self, event: impl Into<E>) {
        let event = event.into();
        let mut waiting = self.lock();
        if event.is_expendable() && waiting.events.len() >= self.capacity {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Waits up to `timeout` for the first, then takes at most `limit`. Empty on time-out, and after `close` once all are taken.
    pub fn take(&self, limit: usize, timeout: Duration) -> Vec<E> {
        let end = Instant::now().checked_add(timeout);
        let mut waiting = self.lock();
        while waiting.events.is_empty() && !waiting.closed {
            let left = match end {
                Some(end) => end.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if left.is_zero() {
                break;
            }
            waiting = self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let taken = limit.min(waiting.events.len());
        waiting.events.drain(..taken).collect()
    }

    /// Nobody waits any more, now or later.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// How many were dropped since start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Odd ones are expendable.
    impl Expendable for u8 {
        fn is_expendable(&self) -> bool {
            self % 2 == 1
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_what_is_expendable_and_nothing_else() {
        let queue = EventQueue::<u8>::new(2);
        [1, 3, 5, 2, 4, 7].into_iter().for_each(|event| queue.push(event));
        assert_eq!(queue.dropped(), 2);
        assert_eq!(queue.take(10, Duration::ZERO), [1, 3, 2, 4]);
    }

    #[test]
    fn a_waiting_thread_is_woken_by_a_push_and_by_close() {
        let queue = Arc::new(EventQueue::<u8>::new(8));
        let waiting = std::thread::spawn({
            let queue = queue.clone();
            move || (queue.take(1, Duration::from_secs(60)), queue.take(1, Duration::from_secs(60)))
        });
        queue.push(2);
        queue.close();
        assert_eq!(waiting.join().unwrap(), (vec![2], vec![]));
    }

    #[test]
    fn limit_and_time_out_are_kept_and_what_was_there_is_taken_after_close() {
        let queue = EventQueue::<u8>::new(8);
        queue.push(1);
        queue.push(3);
        assert_eq!(queue.take(1, Duration::from_secs(9)), [1]);
        queue.close();
        assert_eq!(queue.take(9, Duration::from_secs(9)), [3]);
        assert!(queue.take(9, Duration::from_millis(1)).is_empty());
    }
}
