//! Time limits of one request, on one timer that is moved forward and rarely fires.

use qanat_http::{Relay, Source, Stalled, Standing};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

use crate::cause::Cause;

/// How often progress is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Over how long the speed of a request body is measured.
const MEASURED: Duration = Duration::from_secs(10);
/// A request body may be slow for so long (S28).
const BODY_GRACE: Duration = Duration::from_secs(30);
/// Slowest request body after that, bytes a second.
const SLOWEST_BODY: u64 = 500;
/// A client may take none of its answer for so long: bytes of a connection (S28), or of a stream whose window it keeps shut
/// (S23).
pub(crate) const MAX_STALLED: Duration = Duration::from_secs(60);
pub(crate) const MAX_STALLED_STREAM: Duration = Duration::from_secs(30);
/// After the whole answer, the rest of the request body may pause for so long …
const LINGER_PAUSE: Duration = Duration::from_secs(1);
/// … and last so long in all.
const MAX_LINGER: Duration = Duration::from_secs(30);
/// The open half of a WebSocket may pause for so long once the other is closed.
const HALF_CLOSED_PAUSE: Duration = Duration::from_secs(60);

/// Watches one request.
pub(crate) struct Pace<'a> {
    sleep: Pin<&'a mut Sleep>,
    response_timeout: Duration,
    started: Instant,
    /// When something last moved, and how many bytes had then.
    moved: Instant,
    bytes: u64,
    /// When the measuring of the request body's speed began, and how many bytes it had then.
    measured: (Instant, u64),
    linger_pause: Duration,
    linger_end: Option<Instant>,
    /// The answer's body.
    standing: Standing,
    max_stalled: Duration,
}

impl<'a> Pace<'a> {
    /// Begins now. `sleep` may be any timer; it is reset. `max_stalled`: how long the client may take nothing.
    pub(crate) fn new(
        mut sleep: Pin<&'a mut Sleep>,
        response_timeout: Duration,
        standing: Standing,
        max_stalled: Duration,
    ) -> Self {
        let now = Instant::now();
        sleep.as_mut().reset(now + TICK.min(response_timeout));
        Self {
            sleep,
            response_timeout,
            started: now,
            moved: now,
            bytes: 0,
            measured: (now, 0),
            linger_pause: LINGER_PAUSE,
            linger_end: None,
            standing,
            max_stalled,
        }
    }

    /// Something happened that the wait for the answer counts from.
    pub(crate) fn touch(&mut self) {
        self.moved = Instant::now();
        self.sleep.as_mut().reset(self.moved + TICK.min(self.response_timeout));
    }

    /// The request has waited for its turn: all limits count from now on.
    pub(crate) fn restart(&mut self) {
        self.touch();
        self.started = self.moved;
        self.measured = (self.moved, self.bytes);
    }

    /// While the answer's head is awaited. `upload`: the request body's relay, when it is under way.
    pub(crate) fn poll_waiting(&mut self, cx: &mut Context<'_>, upload: Option<&Relay>) -> Poll<Cause> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if let Some(upload) = upload {
                let (begun, before) = self.measured;
                let since = now.duration_since(begun);
                if upload.is_blocked() {
                    self.measured = (now, upload.bytes());
                } else if since >= MEASURED {
                    let is_slow = upload.bytes() - before < SLOWEST_BODY * since.as_secs();
                    if is_slow && now.duration_since(self.started) >= BODY_GRACE {
                        return Poll::Ready(Cause::BodyTooSlow);
                    }
                    self.measured = (now, upload.bytes());
                }
                if upload.bytes() > self.bytes {
                    self.bytes = upload.bytes();
                    self.moved = now;
                }
            }
            let due = self.moved + self.response_timeout;
            if now >= due {
                return Poll::Ready(Cause::ResponseTimeout);
            }
            self.sleep.as_mut().reset(due.min(now + TICK));
        }
        Poll::Pending
    }

    /// Ready now and then, for limits that are kept elsewhere.
    pub(crate) fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.sleep.as_mut().reset(Instant::now() + TICK);
        // Registers for the next one.
        let _ = self.sleep.as_mut().poll(cx);
        Poll::Ready(())
    }

    /// The answer's head is there.
    pub(crate) fn start_answer(&mut self) {
        self.standing.restart();
    }

    /// While the answer's body moves. `Sink`: the client takes it too slowly, or others need the room (S23).
    pub(crate) fn poll_answering<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        download: &Relay,
        body: &mut S,
    ) -> Poll<Stalled> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            match self.standing.look(cx, download, body) {
                Ok(stood) if stood >= self.max_stalled => return Poll::Ready(Stalled::Sink),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Stalled::Source(error)),
            }
            self.sleep.as_mut().reset(Instant::now() + TICK);
        }
        self.standing.poll_evicted(cx).map(|()| Stalled::Sink)
    }

    /// The answer is over, the request body isn't.
    pub(crate) fn start_linger(&mut self, half_closed: bool) {
        let now = Instant::now();
        if half_closed {
            self.linger_pause = HALF_CLOSED_PAUSE;
        } else {
            self.linger_end = Some(now + MAX_LINGER);
        }
        self.moved = now;
        self.bytes = u64::MAX;
        self.sleep.as_mut().reset(now + self.linger_pause);
    }

    /// Ready when nobody should wait for the rest of the request body any longer.
    pub(crate) fn poll_linger(&mut self, cx: &mut Context<'_>, upload: &Relay) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if upload.bytes() == self.bytes || self.linger_end.is_some_and(|end| now >= end) {
                return Poll::Ready(());
            }
            self.bytes = upload.bytes();
            self.sleep.as_mut().reset(now + self.linger_pause);
        }
        Poll::Pending
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use qanat_http::{Frame, Sink, Source, StreamError};
    use std::future::poll_fn;
    use std::pin::pin;

    /// Gives one byte each time it is asked to, takes nothing when it is full.
    pub(crate) struct End {
        pub(crate) give: bool,
        pub(crate) full: bool,
    }

    impl Source for End {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
            if std::mem::take(&mut self.give) { Poll::Ready(Some(Ok(Frame::Data("x".into())))) } else { Poll::Pending }
        }
        fn stop(&mut self) {}
    }

    impl Sink for End {
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
            if self.full { Poll::Pending } else { Poll::Ready(Ok(())) }
        }
        fn send(&mut self, _: bytes::Bytes) {}
        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
            Poll::Ready(Ok(()))
        }
        fn poll_finish(
            &mut self,
            _: &mut Context<'_>,
            _: &mut Option<qanat_http::Headers>,
        ) -> Poll<Result<(), StreamError>> {
            Poll::Ready(Ok(()))
        }
        fn reset(&mut self) {}
        fn poll_stopped(&mut self, _: &mut Context<'_>) -> Poll<StreamError> {
            Poll::Pending
        }
    }

    pub(crate) fn step(relay: &mut Relay, End { give, full }: End) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = relay.poll(&mut cx, &mut End { give, full: false }, &mut End { give: false, full });
    }

    const LIMIT: Duration = Duration::from_secs(100);

    fn pace_of(sleep: Pin<&mut Sleep>, response_timeout: Duration) -> Pace<'_> {
        let owner = qanat_http::Owner { tunnel: 1, visitor: 1 };
        Pace::new(sleep, response_timeout, Standing::new(&qanat_http::Backlog::new(1 << 20), owner), MAX_STALLED)
    }

    fn idle() -> End {
        End { give: false, full: false }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_times_out_exactly() {
        let start = Instant::now();
        let sleep = pin!(tokio::time::sleep(LIMIT));
        let mut pace = pace_of(sleep, Duration::from_secs(25));
        assert_eq!(poll_fn(|cx| pace.poll_waiting(cx, None)).await, Cause::ResponseTimeout);
        assert_eq!(start.elapsed().as_secs(), 25);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickling_body_ends_after_its_grace() {
        let start = Instant::now();
        let sleep = pin!(tokio::time::sleep(LIMIT));
        let mut pace = pace_of(sleep, LIMIT);
        let mut relay = Relay::new();
        let cause = poll_fn(|cx| {
            step(&mut relay, End { give: true, full: false });
            pace.poll_waiting(cx, Some(&relay))
        })
        .await;
        assert_eq!(cause, Cause::BodyTooSlow);
        assert!((30..=41).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }

    /// Case 28: there is no limit in all for a body that flows, however long it takes.
    #[tokio::test(start_paused = true)]
    async fn a_slow_body_that_flows_is_not_cut() {
        let sleep = pin!(tokio::time::sleep(LIMIT));
        let mut pace = pace_of(sleep, LIMIT);
        let mut relay = Relay::new();
        let waited = tokio::time::timeout(
            Duration::from_secs(3600),
            poll_fn(|cx| {
                (0..2 * SLOWEST_BODY).for_each(|_| step(&mut relay, End { give: true, full: false }));
                pace.poll_waiting(cx, Some(&relay))
            }),
        )
        .await;
        assert!(waited.is_err(), "{waited:?}");
        assert!(relay.bytes() > 3500 * SLOWEST_BODY);
    }

    /// A request that was held must not pay for that with its own limits.
    #[tokio::test(start_paused = true)]
    async fn limits_count_from_the_end_of_a_wait() {
        let sleep = pin!(tokio::time::sleep(LIMIT));
        let mut pace = pace_of(sleep, Duration::from_secs(60));
        let mut relay = Relay::new();
        tokio::time::advance(Duration::from_secs(59)).await;
        let start = Instant::now();
        pace.restart();
        let cause = poll_fn(|cx| {
            step(&mut relay, End { give: true, full: false });
            pace.poll_waiting(cx, Some(&relay))
        })
        .await;
        assert_eq!(cause, Cause::BodyTooSlow);
        assert!(start.elapsed().as_secs() >= 30, "{:?}", start.elapsed());
        pace.restart();
        let start = Instant::now();
        assert_eq!(poll_fn(|cx| pace.poll_waiting(cx, None)).await, Cause::ResponseTimeout);
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_and_a_shut_window_sooner() {
        assert_eq!((MAX_STALLED.as_secs(), MAX_STALLED_STREAM.as_secs()), (60, 30));
        for limit in [MAX_STALLED, MAX_STALLED_STREAM] {
            let start = Instant::now();
            let sleep = pin!(tokio::time::sleep(LIMIT));
            let mut pace = Pace { max_stalled: limit, ..pace_of(sleep, LIMIT) };
            let mut relay = Relay::new();
            pace.start_answer();
            step(&mut relay, End { give: true, full: true });
            assert_eq!(poll_fn(|cx| pace.poll_answering(cx, &relay, &mut idle())).await, Stalled::Sink);
            assert!((0..=2).contains(&(start.elapsed() - limit).as_secs()), "{:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_answer_is_not_cut() {
        let sleep = pin!(tokio::time::sleep(LIMIT));
        let mut pace = pace_of(sleep, LIMIT);
        let mut relay = Relay::new();
        pace.start_answer();
        step(&mut relay, End { give: false, full: false });
        let waited =
            tokio::time::timeout(Duration::from_secs(3600), poll_fn(|cx| pace.poll_answering(cx, &relay, &mut idle())))
                .await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_request_body_may_not_pause() {
        let start = Instant::now();
        let sleep = pin!(tokio::time::sleep(LIMIT));
        let mut pace = pace_of(sleep, LIMIT);
        let relay = Relay::new();
        pace.start_linger(false);
        poll_fn(|cx| pace.poll_linger(cx, &relay)).await;
        assert!(start.elapsed() <= Duration::from_secs(3));
    }
}
