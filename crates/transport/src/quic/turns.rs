//! The runtime of QUIC endpoints: tokio, except that its drivers go last in each turn while there is much to do.
//!
//! A driver makes packets of what its streams have written, or takes what has come. tokio runs first who was woken last: the first stream
//! that writes would have a packet, and a system call, of its own. Who waits until the others of the turn have written sends theirs
//! along.

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use std::io;
use std::net::UdpSocket;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

/// With fewer open requests than this there is nobody to wait for.
const WORTH_WAITING: usize = 8;

/// Open requests over QUIC, of the whole process.
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

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Debug)]
pub(crate) struct Turns;

impl Runtime for Turns {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, driver: Driver) {
        tokio::spawn(Last { driver, has_waited: false, open: &OPEN });
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// A driver that is polled when all that can run now has run.
struct Last {
    driver: Driver,
    has_waited: bool,
    open: &'static AtomicUsize,
}

impl Future for Last {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_waited && self.open.load(Ordering::Relaxed) >= WORTH_WAITING {
            self.has_waited = true;
            // Wakes this task when its thread has nothing else to run, or has run so much that it looks for what has come.
            return pin!(tokio::task::yield_now()).poll(cx);
        }
        self.has_waited = false;
        self.driver.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Who ran, in order: a driver, and two streams that were woken after it.
    async fn order(open: &'static AtomicUsize) -> Vec<&'static str> {
        let ran: Arc<Mutex<Vec<&str>>> = Arc::default();
        let run = |who| {
            let ran = ran.clone();
            async move { ran.lock().unwrap().push(who) }
        };
        let driver = Last { driver: Box::pin(run("driver")), has_waited: false, open };
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
