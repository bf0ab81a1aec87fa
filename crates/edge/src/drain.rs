//! The edge's wish to stop, heard by every connection without a shared lock on the way of a request.

use futures_util::task::AtomicWaker;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Off, then on for good.
#[derive(Default)]
pub(crate) struct Drain {
    on: AtomicBool,
    listeners: Mutex<Listeners>,
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
    /// Whether it has begun.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Begins it.
    pub(crate) fn start(&self) {
        self.on.store(true, Ordering::Release);
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

    /// Returns once it has begun.
    pub(crate) async fn started(&self) {
        let ear = self.listen();
        poll_fn(|cx| ear.poll(cx)).await;
    }
}

impl Ear<'_> {
    /// Ready once it has begun.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.drain.is_on() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.drain.is_on() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        let mut listeners = self.drain.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.wakers.remove(&self.id);
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
            async move { drain.started().await }
        });
        while drain.listeners.lock().unwrap().wakers.is_empty() {
            tokio::task::yield_now().await;
        }
        drain.start();
        waiting.await.unwrap();
        drain.started().await;
        assert!(drain.listeners.lock().unwrap().wakers.is_empty());
    }
}
