//! Who drives a connection goes last in each turn of its thread while there is much to do.
//!
//! A driver makes packets or records of what its streams have written, or takes what has come. tokio runs first who was woken last:
//! the first stream that writes would have a packet, and a system call, of its own. Who waits until the others of the turn have
//! written sends theirs along.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// With fewer open requests than this there is nobody to wait for.
const WORTH_WAITING: usize = 8;

/// Open requests on tunnels, of the whole process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// One of them.
pub(crate) struct OpenRequest(());

impl OpenRequest {
    pub(crate) fn count() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is to be done after each poll of a driver.
pub(crate) trait Turn {
    fn end(&mut self, cx: &mut Context<'_>);
}

/// Nothing.
impl Turn for () {
    fn end(&mut self, _: &mut Context<'_>) {}
}

impl<T: Turn> Turn for &mut T {
    fn end(&mut self, cx: &mut Context<'_>) {
        (**self).end(cx);
    }
}

/// A driver that is polled when all that can run now has run.
pub(crate) struct Last<D, T> {
    driver: D,
    turn: T,
    has_waited: bool,
    open: &'static AtomicUsize,
}

impl<D: Future + Unpin, T: Turn + Unpin> Last<D, T> {
    pub(crate) fn new(driver: D, turn: T) -> Self {
        Self { driver, turn, has_waited: false, open: &OPEN }
    }
}

impl<D: Future + Unpin, T: Turn + Unpin> Future for Last<D, T> {
    type Output = D::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        if !self.has_waited && self.open.load(Ordering::Relaxed) >= WORTH_WAITING {
            self.has_waited = true;
            // Wakes this task when its thread has nothing else to run, or has run so much that it looks for what has come.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        self.has_waited = false;
        let polled = Pin::new(&mut self.driver).poll(cx);
        self.turn.end(cx);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Who ran, in order: a driver, and two streams that were woken after it.
    async fn order(open: &'static AtomicUsize) -> Vec<&'static str> {
        let ran: Arc<Mutex<Vec<&str>>> = Arc::default();
        let run = |who| {
            let ran = ran.clone();
            async move { ran.lock().unwrap().push(who) }
        };
        let driver = Last { open, ..Last::new(Box::pin(run("driver")), ()) };
        let tasks = [tokio::spawn(driver), tokio::spawn(run("stream")), tokio::spawn(run("stream"))];
        for task in tasks {
            task.await.unwrap();
        }
        ran.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn among_many_requests_a_driver_goes_last_and_else_in_its_turn() {
        static FEW: AtomicUsize = AtomicUsize::new(WORTH_WAITING - 1);
        static MANY: AtomicUsize = AtomicUsize::new(WORTH_WAITING);
        assert_eq!(order(&FEW).await, ["driver", "stream", "stream"]);
        assert_eq!(order(&MANY).await, ["stream", "stream", "driver"]);
    }
}
