//! After an answer that came before the end of its request's body: what still comes of the body is read and dropped for a while.
//!
//! A socket that is closed on unread bytes sends a TCP reset, which may destroy the answer before the client has read it (RFC
//! 9112 9.6); and an RST_STREAM, even the NO_ERROR after a whole answer that RFC 9113 8.1 allows, makes some clients lose the
//! answer. Time ends it, as nginx's `lingering_close` does, and a number of bytes that only a download in reverse reaches.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The rest may pause for so long (nginx's `lingering_timeout`) …
const PAUSE: Duration = Duration::from_secs(5);
/// … last so long in all (its `lingering_time`) …
const MAX_TIME: Duration = Duration::from_secs(30);
/// … and be so large.
const MAX_BYTES: usize = 256 << 20;
/// The same where no more time is given away: to a client that was too slow, or while memory is short.
const BRIEF: Duration = Duration::from_secs(1);
const BRIEF_BYTES: usize = 64 * 1024;
/// After so many bytes the other tasks get their turn.
const TURN: usize = 256 * 1024;
/// What a read costs beside its bytes.
const READ: usize = 1024;

/// How long one answer is waited after.
#[derive(Debug)]
pub(crate) struct Linger {
    pause: Duration,
    max: Duration,
    end: Option<Instant>,
    left: usize,
}

impl Linger {
    /// For a client like any other.
    pub(crate) fn new() -> Self {
        Self { pause: PAUSE, max: MAX_TIME, end: None, left: MAX_BYTES }
    }

    /// Where no more time is given away.
    pub(crate) fn brief() -> Self {
        Self { pause: BRIEF, max: BRIEF, end: None, left: BRIEF_BYTES }
    }

    /// Drops what is there. `read`: how many bytes it dropped, or `None` when nothing more comes. Ready then, or when enough
    /// came.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut Context<'_>) -> Poll<Option<usize>>,
    ) -> Poll<()> {
        let mut turn = TURN;
        while self.left > 0 {
            if turn == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(dropped) = ready!(read(cx)) else { return Poll::Ready(()) };
            self.left = self.left.saturating_sub(dropped);
            turn = turn.saturating_sub(dropped + READ);
        }
        Poll::Ready(())
    }

    /// The same until its time is over; called again, it goes on with what is left of that.
    pub(crate) async fn run(&mut self, mut read: impl FnMut(&mut Context<'_>) -> Poll<Option<usize>>) {
        let now = Instant::now();
        let end = *self.end.get_or_insert(now + self.max);
        let mut paused = pin!(sleep(self.pause.min(end.duration_since(now))));
        poll_fn(|cx| {
            let before = self.left;
            if self.poll(cx, &mut read).is_ready() {
                return Poll::Ready(());
            }
            if self.left < before {
                paused.as_mut().reset(end.min(Instant::now() + self.pause));
            }
            paused.as_mut().poll(cx)
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives 1000 bytes each time it is asked, every `period`.
    async fn lasted(mut linger: Linger, period: Duration) -> (Duration, usize) {
        let start = Instant::now();
        let mut next = pin!(sleep(period));
        let mut dropped = 0;
        let read = |cx: &mut Context<'_>| {
            ready!(next.as_mut().poll(cx));
            next.as_mut().reset(Instant::now() + period);
            dropped += 1000;
            Poll::Ready(Some(1000))
        };
        linger.run(read).await;
        (start.elapsed(), dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_by_a_pause_by_time_and_by_bytes() {
        let seconds = Duration::from_secs;
        let (idle, _) = lasted(Linger::new(), seconds(3600)).await;
        assert_eq!(idle.as_secs(), 5);
        let (busy, dropped) = lasted(Linger::new(), Duration::from_millis(100)).await;
        assert!(busy.as_secs() == 30 && dropped > 250_000, "{busy:?}, {dropped} bytes");
        let (quick, dropped) = lasted(Linger::new(), Duration::ZERO).await;
        assert!(quick.as_secs() < 30 && dropped >= MAX_BYTES, "{quick:?}, {dropped} bytes");
        let (brief, _) = lasted(Linger::brief(), Duration::from_millis(100)).await;
        assert_eq!(brief.as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_body_and_its_time_runs_on() {
        let mut linger = Linger::new();
        let start = Instant::now();
        linger.run(|_| Poll::Ready(None)).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            linger.run(|_| Poll::Pending).await;
        }
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
