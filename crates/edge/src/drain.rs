//! The edge's wish to stop, heard by every connection without a shared lock on the way of a request. First it is only told: answers
//! say that the connection closes, and everything is still served. Then nothing new is taken.

use futures_util::task::AtomicWaker;
use qanat_boundary::{Counter, Held};
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How far the stop has come; it never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Everything is served, and every client told to go.
    Leaving = 1,
    /// Only what is open is served.
    Closing,
}

/// See above.
#[derive(Default)]
pub(crate) struct Drain {
    stage: AtomicU8,
    /// Requests that came when the clients had been told.
    late: Counter,
    listeners: Mutex<Listeners>,
    /// Visitors' connections are another process's to take.
    pub(crate) is_elsewhere: watch::Sender<bool>,
}

#[derive(Default)]
struct Listeners {
    next: u64,
    wakers: HashMap<u64, Arc<AtomicWaker>>,
}

/// One who listens.
pub(crate) struct Ear<'a> {
    drain: &'a Drain,
    id: u64,
    waker: Arc<AtomicWaker>,
}

impl Drain {
    /// Whether it has come so far.
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    /// Counts a request that begins now, when it is a late one.
    pub(crate) fn late(&self) -> Option<Held<'_>> {
        self.has_reached(Stage::Leaving).then(|| self.late.hold())
    }

    /// Late requests that are open.
    pub(crate) fn open_late(&self) -> u64 {
        self.late.get()
    }

    /// Goes on to `stage`.
    pub(crate) fn reach(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::AcqRel);
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for waker in listeners.wakers.values() {
            waker.wake();
        }
    }

    pub(crate) fn listen(&self) -> Ear<'_> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let id = listeners.next;
        listeners.next += 1;
        let waker = Arc::new(AtomicWaker::new());
        listeners.wakers.insert(id, waker.clone());
        Ear { drain: self, id, waker }
    }

    /// Returns once it has come so far.
    pub(crate) async fn reached(&self, stage: Stage) {
        let ear = self.listen();
        poll_fn(|cx| ear.poll(cx, stage)).await;
    }
}

impl Ear<'_> {
    /// Ready once it has come so far.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, stage: Stage) -> Poll<()> {
        if self.drain.has_reached(stage) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.drain.has_reached(stage) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        let mut listeners = self.drain.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.wakers.remove(&self.id);
    }
}

/// Blocks until something is over, at most so long.
pub(crate) fn wait(limit: Duration, is_over: &dyn Fn() -> bool) {
    let end = Instant::now() + limit;
    while !is_over() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_hears_it_also_later() {
        let drain = Arc::new(Drain::default());
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.reached(Stage::Closing).await }
        });
        while drain.listeners.lock().unwrap().wakers.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(drain.late().is_none());
        drain.reach(Stage::Leaving);
        drain.reached(Stage::Leaving).await;
        let late = drain.late();
        assert!(late.is_some() && drain.open_late() == 1 && !waiting.is_finished());
        drop(late);
        assert_eq!(drain.open_late(), 0);
        drain.reach(Stage::Closing);
        drain.reach(Stage::Leaving);
        waiting.await.unwrap();
        drain.reached(Stage::Closing).await;
        assert!(drain.listeners.lock().unwrap().wakers.is_empty());
    }
}
