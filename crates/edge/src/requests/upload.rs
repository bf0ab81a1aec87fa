//! A request body of which no more is taken: who must notice what, while nobody reads the client.

use crate::cause::Cause;
use qanat_http::{Choke, Relay};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// How often is looked, so that a client's departure is noticed within 100 ms (S24).
const TICK: Duration = Duration::from_millis(50);

/// Watches one request body while its connector takes nothing.
pub(crate) struct UploadWatch {
    tick: Option<Pin<Box<Sleep>>>,
    stood: Instant,
    bytes: u64,
    limit: Duration,
}

impl UploadWatch {
    /// `limit`: how long it may stand.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { tick: None, stood: Instant::now(), bytes: 0, limit }
    }

    /// To be polled while the request waits and nobody reads its body: ready once the client has left, though its bytes are unread.
    pub(crate) fn poll_left(&mut self, cx: &mut Context<'_>, has_left: impl Fn() -> bool) -> Poll<()> {
        let tick = self.tick.get_or_insert_with(|| Box::pin(sleep(TICK)));
        while tick.as_mut().poll(cx).is_ready() {
            tick.as_mut().reset(Instant::now() + TICK);
            if has_left() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Counts from now on.
    pub(crate) fn restart(&mut self) {
        self.tick = None;
    }

    /// To be polled while a request's head or body is under way; `relay` is `None` before the body's turn. Ready with the
    /// reason to give the request up. `has_left` tells whether the client is gone, though its bytes are unread.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        relay: Option<&Relay>,
        choke: &Choke,
        has_left: impl Fn() -> bool,
    ) -> Poll<Cause> {
        let is_blocked = relay.is_none_or(Relay::is_blocked);
        if self.tick.is_none() {
            if !is_blocked {
                return Poll::Pending;
            }
            self.stood = Instant::now();
        }
        let tick = self.tick.get_or_insert_with(|| Box::pin(sleep(TICK)));
        while tick.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            tick.as_mut().reset(now + TICK);
            let bytes = relay.map_or(0, Relay::bytes);
            if is_blocked && has_left() {
                return Poll::Ready(Cause::ClientClosed);
            }
            if !is_blocked || bytes != self.bytes {
                (self.stood, self.bytes) = (now, bytes);
                continue;
            }
            let stood = now.duration_since(self.stood);
            if choke.stands(bytes, stood) || stood >= self.limit {
                return Poll::Ready(Cause::UploadStalled);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::pace::tests::{End, step};
    use std::future::poll_fn;

    async fn ended(watch: &mut UploadWatch, relay: &mut Relay, choke: &Choke, left: bool) -> (Cause, Duration) {
        let start = Instant::now();
        let cause = poll_fn(|cx| {
            step(relay, End { give: true, full: true });
            watch.poll(cx, Some(relay), choke, || left)
        });
        (cause.await, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_departure_behind_unread_bytes_is_noticed_within_100_ms() {
        let (mut watch, mut relay) = (UploadWatch::new(Duration::from_secs(100)), Relay::new());
        let (cause, after) = ended(&mut watch, &mut relay, &Choke::default(), true).await;
        assert!(cause == Cause::ClientClosed && after <= Duration::from_millis(100), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_stands_no_longer_than_its_limit() {
        let (mut watch, mut relay) = (UploadWatch::new(Duration::from_secs(100)), Relay::new());
        let (cause, after) = ended(&mut watch, &mut relay, &Choke::default(), false).await;
        assert!(cause == Cause::UploadStalled && after.as_secs() == 100, "{after:?}");
    }
}
